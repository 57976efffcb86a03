//! What the header of a picture says, and whether the picture is worth decoding.

use std::io::Cursor;

use ::image::ImageDecoder;
use ::image::codecs::bmp::BmpDecoder;
use ::image::codecs::tiff::TiffDecoder;

use super::error::ImageError;
use super::limits::{Limits, at_most};
use super::sniff::{Kind, sniff};
use super::{exif, guarded, jpeg, webp};

/// What the header of a picture says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// Pixels across, once upright.
    pub width: u32,
    /// Pixels down, once upright.
    pub height: u32,
    /// What it is.
    pub format: Kind,
    /// Whether it may have transparent pixels.
    pub has_alpha: bool,
    /// How it has to be turned, 1..=8 as in EXIF. The dimensions are those after turning.
    pub orientation: u8,
    /// How many frames; 1 unless it is an animation.
    pub frames: u32,
}

impl Info {
    /// The dimensions as they are stored, before turning.
    pub(crate) const fn stored(&self) -> (u32, u32) {
        if self.orientation >= 5 { (self.height, self.width) } else { (self.width, self.height) }
    }
}

/// Reads the header: no pixel is decoded and none is allocated.
///
/// A file that breaks off is refused here where the format shows it (JPEG, GIF, WebP), else by the decoder.
pub fn inspect(bytes: &[u8], limits: &Limits) -> Result<Info, ImageError> {
    guarded(|| {
        let format = sniff(bytes);
        let header = match format {
            Kind::Jpeg => jpeg::header(bytes, limits)?,
            Kind::Png => png(bytes, limits)?,
            Kind::Gif => gif(bytes, limits)?,
            Kind::Webp => webp::header(bytes, limits)?,
            Kind::Bmp => simple(&BmpDecoder::new(Cursor::new(bytes)).map_err(ImageError::damaged)?),
            Kind::Tiff => simple(&TiffDecoder::new(Cursor::new(bytes)).map_err(ImageError::damaged)?),
            Kind::Heif => return Err(ImageError::Unsupported("HEIC")),
            Kind::Avif => return Err(ImageError::Unsupported("AVIF")),
            Kind::Svg => return Err(ImageError::Unsupported("SVG")),
            Kind::Html => return Err(ImageError::Unsupported("HTML")),
            Kind::Script | Kind::Other => return Err(ImageError::Unsupported("a file that is no image")),
        };
        limits.check(header.width, header.height)?;
        let orientation = match format {
            Kind::Tiff => TiffDecoder::new(Cursor::new(bytes))
                .and_then(|mut decoder| decoder.orientation())
                .map_or(1, ::image::metadata::Orientation::to_exif),
            _ => exif::orientation(bytes),
        };
        let (width, height) =
            if orientation >= 5 { (header.height, header.width) } else { (header.width, header.height) };
        Ok(Info { width, height, format, has_alpha: header.has_alpha, orientation, frames: header.frames })
    })
}

/// A header, dimensions as stored.
pub(crate) struct Header {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) has_alpha: bool,
    pub(crate) frames: u32,
}

fn simple(decoder: &impl ImageDecoder) -> Header {
    let (width, height) = decoder.dimensions();
    Header { width, height, has_alpha: decoder.color_type().has_alpha(), frames: 1 }
}

/// PNG: the first chunk has the dimensions; what stands before the pixels says whether it moves and has a transparent colour.
fn png(bytes: &[u8], limits: &Limits) -> Result<Header, ImageError> {
    let broken = || ImageError::Damaged("the PNG breaks off in its header".to_owned());
    let (mut at, mut header, mut transparent, mut frames) = (8, None, false, 1);
    loop {
        let length = be32(bytes, at).ok_or_else(broken)?;
        let kind = bytes.get(at + 4..at + 8).ok_or_else(broken)?;
        let data = bytes.get(at + 8..).ok_or_else(broken)?;
        let data = data.get(..length as usize);
        match kind {
            b"IHDR" => {
                let data = data.filter(|data| data.len() == 13).ok_or_else(broken)?;
                let size = be32(data, 0).zip(be32(data, 4)).ok_or_else(broken)?;
                // At once: a file that lies goes no further.
                limits.check(size.0, size.1)?;
                header = Some((size, matches!(data[9], 4 | 6)));
            }
            b"tRNS" => transparent = true,
            b"acTL" => {
                frames = data.and_then(|data| be32(data, 0)).ok_or_else(broken)?.max(1);
                at_most("frames", frames.into(), limits.frames.into())?;
            }
            b"IDAT" | b"IEND" => break,
            _ => {}
        }
        at = at.checked_add(12 + length as usize).ok_or_else(broken)?;
    }
    let ((width, height), alpha) = header.ok_or_else(broken)?;
    Ok(Header { width, height, has_alpha: alpha || transparent, frames })
}

/// GIF: a walk over its blocks counts the frames and finds the end.
fn gif(bytes: &[u8], limits: &Limits) -> Result<Header, ImageError> {
    let broken = || ImageError::Damaged("the GIF breaks off".to_owned());
    let byte = |at: usize| bytes.get(at).copied().ok_or_else(broken);
    let (width, height) = (le16(bytes, 6).ok_or_else(broken)?, le16(bytes, 8).ok_or_else(broken)?);
    limits.check(width, height)?;
    let table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let mut at = 13 + table(byte(10)?);
    let (mut frames, mut transparent) = (0_u32, false);
    // Sub-blocks end with an empty one.
    let skip = |mut at: usize| -> Result<usize, ImageError> {
        loop {
            let length = usize::from(byte(at)?);
            at += 1 + length;
            if length == 0 {
                return Ok(at);
            }
        }
    };
    loop {
        match byte(at)? {
            0x3b => break,
            0x21 => {
                if byte(at + 1)? == 0xf9 && frames == 0 {
                    transparent |= byte(at + 3)? & 1 == 1;
                }
                at = skip(at + 2)?;
            }
            0x2c => {
                frames += 1;
                at_most("frames", frames.into(), limits.frames.into())?;
                at = skip(at + 11 + table(byte(at + 9)?))?;
            }
            _ => return Err(ImageError::Damaged("the GIF has an unknown block".to_owned())),
        }
    }
    if frames == 0 {
        return Err(ImageError::Damaged("the GIF has no picture".to_owned()));
    }
    Ok(Header { width, height, has_alpha: transparent, frames })
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_be_bytes)
}

fn le16(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(|pair| u16::from_le_bytes(pair).into())
}
