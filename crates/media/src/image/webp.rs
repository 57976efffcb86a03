//! WebP: the walk over its chunks, and decoding of the first frame.

use mana_codecs::webp::{Error, Features};

use super::colour;
use super::decode::{Samples, Source, Want};
use super::error::ImageError;
use super::inspect::Header;
use super::limits::{Deadline, Limits, at_most};
use super::pixels::{Layout, Picture, Pixels};

fn broken() -> ImageError {
    ImageError::Damaged("the WebP breaks off".to_owned())
}

fn unreadable(error: Error) -> ImageError {
    match error {
        Error::Memory => ImageError::damaged("there is not enough memory for it"),
        other => ImageError::damaged(other),
    }
}

/// The chunks of a container, without those that lie beyond its end.
struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Chunks<'a> {
    /// The chunks of a file, whose header has to tell the truth about its length.
    fn of_file(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let length = le(bytes.get(4..8).ok_or_else(broken)?);
        let end = 8_usize.checked_add(length).ok_or_else(broken)?;
        Ok(Self { rest: bytes.get(12..end).ok_or_else(broken)? })
    }
}

impl<'a> Iterator for Chunks<'a> {
    /// Name, payload, and the chunk as it stands.
    type Item = Result<(&'a [u8], &'a [u8], &'a [u8]), ImageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.len() < 8 {
            return None;
        }
        let length = le(&self.rest[4..8]);
        let Some(payload) = 8_usize.checked_add(length).and_then(|end| self.rest.get(8..end)) else {
            self.rest = &[];
            return Some(Err(broken()));
        };
        let name = &self.rest[..4];
        let end = (8 + length + length % 2).min(self.rest.len());
        let (whole, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(Ok((name, payload, whole)))
    }
}

fn le(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// A payload by its chunk's name.
pub(crate) fn chunk(bytes: &[u8], wanted: [u8; 4]) -> Option<&[u8]> {
    let mut chunks = Chunks::of_file(bytes).ok()?.map_while(Result::ok);
    chunks.find_map(|(name, payload, _)| (name == wanted).then_some(payload))
}

/// The dimensions (of the canvas, if there is one), and how many frames there are.
pub(crate) fn header(bytes: &[u8], limits: &Limits) -> Result<Header, ImageError> {
    let (mut canvas, mut still, mut frames) = (None, None, 0_u32);
    for chunk in Chunks::of_file(bytes)? {
        let (name, payload, whole) = chunk?;
        match name {
            b"VP8X" => {
                let flags = *payload.first().ok_or_else(broken)?;
                let size = payload.get(4..10).ok_or_else(broken)?;
                canvas = Some((1 + u24(&size[..3]), 1 + u24(&size[3..]), flags & 0x10 != 0));
            }
            b"ANMF" => {
                frames += 1;
                at_most("frames", frames.into(), limits.frames.into())?;
            }
            b"VP8 " | b"VP8L" if still.is_none() => {
                still = Some(mana_codecs::webp::features(&wrapped(
                    &[whole.get(..whole.len().min(64)).unwrap_or(whole)],
                    whole.len(),
                )));
            }
            _ => {}
        }
    }
    let (width, height, has_alpha) = match (canvas, still) {
        (Some(canvas), Some(_)) => canvas,
        (Some(canvas), None) if frames > 0 => canvas,
        (None, Some(features)) => {
            let Features { width, height, alpha, .. } = features.map_err(unreadable)?;
            (width, height, alpha)
        }
        _ => return Err(ImageError::Damaged("the WebP has no picture".to_owned())),
    };
    limits.check(width, height)?;
    Ok(Header { width, height, has_alpha, frames: frames.max(1) })
}

fn u24(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0])
}

/// Chunks as a file of their own. `length` is what the header claims they have: more than is there, to read a header only.
fn wrapped(chunks: &[&[u8]], length: usize) -> Vec<u8> {
    let mut file = Vec::with_capacity(12 + length);
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&u32::try_from(length + 4).unwrap_or(u32::MAX).to_le_bytes());
    file.extend_from_slice(b"WEBP");
    for chunk in chunks {
        file.extend_from_slice(chunk);
    }
    file
}

/// Decodes a still picture, or the first frame of an animation.
pub(crate) fn decode(bytes: &[u8], limits: &Limits, want: Want, deadline: Deadline) -> Result<Source, ImageError> {
    let profile = chunk(bytes, *b"ICCP").and_then(colour::Profile::parse);
    let animated = Chunks::of_file(bytes)?.map_while(Result::ok).find(|(name, ..)| *name == b"ANMF");
    let picture = match animated {
        Some((_, frame, _)) => first_frame(bytes, frame, limits)?,
        None => still(bytes, if profile.is_some() { Want::Rgb } else { want })?,
    };
    deadline.check()?;
    Ok(Source { samples: Samples::Picture(picture), profile })
}

fn still(bytes: &[u8], want: Want) -> Result<Picture, ImageError> {
    let features = mana_codecs::webp::features(bytes).map_err(unreadable)?;
    if features.lossy && !features.alpha && matches!(want, Want::Planes { .. }) {
        return mana_codecs::webp::decode_yuv420(bytes).map(Picture::Planes).map_err(unreadable);
    }
    let rgba = mana_codecs::webp::decode_rgba(bytes).map_err(unreadable)?;
    Ok(Picture::Pixels(Pixels::new(rgba.width, rgba.height, Layout::Rgba, rgba.pixels)?))
}

/// The first frame on its canvas, which is transparent around it.
fn first_frame(bytes: &[u8], frame: &[u8], limits: &Limits) -> Result<Picture, ImageError> {
    let canvas = header(bytes, limits)?;
    let (head, data) = frame.split_at_checked(16).ok_or_else(broken)?;
    let (left, top) = (2 * u24(&head[..3]), 2 * u24(&head[3..6]));
    let (width, height) = (1 + u24(&head[6..9]), 1 + u24(&head[9..12]));
    if left + width > canvas.width || top + height > canvas.height {
        return Err(ImageError::Damaged("a frame of the WebP lies outside of it".to_owned()));
    }
    // A frame with alpha is a picture of its own only behind a header that says so.
    let mut chunks = Vec::new();
    let mut extended = *b"VP8X\x0a\0\0\0\x10\0\0\0\0\0\0\0\0\0";
    for chunk in (Chunks { rest: data }) {
        let (name, _, whole) = chunk?;
        match name {
            b"ALPH" => {
                extended[12..15].copy_from_slice(&(width - 1).to_le_bytes()[..3]);
                extended[15..18].copy_from_slice(&(height - 1).to_le_bytes()[..3]);
                chunks.push(whole);
            }
            b"VP8 " | b"VP8L" => chunks.push(whole),
            _ => {}
        }
    }
    if chunks.len() > 1 {
        chunks.insert(0, &extended);
    }
    let length = chunks.iter().map(|chunk| chunk.len()).sum();
    let rgba = mana_codecs::webp::decode_rgba(&wrapped(&chunks, length)).map_err(unreadable)?;
    if (rgba.width, rgba.height) != (width, height) {
        return Err(ImageError::Damaged("a frame of the WebP has another size than it says".to_owned()));
    }
    if (width, height) == (canvas.width, canvas.height) {
        return Ok(Picture::Pixels(Pixels::new(width, height, Layout::Rgba, rgba.pixels)?));
    }
    let (stride, row) = (canvas.width as usize * 4, width as usize * 4);
    let mut data = vec![0; stride * canvas.height as usize];
    for (y, from) in rgba.pixels.chunks_exact(row).enumerate() {
        let at = (top as usize + y) * stride + left as usize * 4;
        data[at..at + row].copy_from_slice(from);
    }
    Ok(Picture::Pixels(Pixels::new(canvas.width, canvas.height, Layout::Rgba, data)?))
}
