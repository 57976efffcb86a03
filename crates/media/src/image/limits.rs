//! What a picture may cost.

use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use super::error::ImageError;

/// What a picture may cost. Checked in the header, before anything is allocated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The most pixels. Decoding holds up to four bytes of each, nine for a progressive JPEG.
    pub pixels: u64,
    /// The longest side.
    pub side: u32,
    /// The most frames of an animation. Only the first is ever decoded.
    pub frames: u32,
    /// The most scans of a JPEG. Cameras write 1, progressive files about 10.
    pub scans: u32,
    /// How long one call may work.
    pub cpu: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { pixels: 50_000_000, side: 30_000, frames: 2_000, scans: 64, cpu: Duration::from_secs(15) }
    }
}

impl Limits {
    /// Refuses a picture of these dimensions if it is none, or too large.
    pub(crate) fn check(&self, width: u32, height: u32) -> Result<(), ImageError> {
        if width == 0 || height == 0 {
            return Err(ImageError::Damaged("it has no pixels".to_owned()));
        }
        at_most("pixels a side", width.max(height).into(), self.side.into())?;
        at_most("pixels", u64::from(width) * u64::from(height), self.pixels)
    }

    /// The most bytes of decoded pixels.
    pub(crate) const fn bytes(&self) -> u64 {
        self.pixels.saturating_mul(4)
    }
}

/// Refuses more than the limit.
pub(crate) const fn at_most(what: &'static str, found: u64, limit: u64) -> Result<(), ImageError> {
    if found > limit { Err(ImageError::TooLarge { what, found, limit }) } else { Ok(()) }
}

/// When work has to end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// From now on.
    pub(crate) fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// Refuses to go on when the time is over.
    pub(crate) fn check(self) -> Result<(), ImageError> {
        if Instant::now() < self.0 { Ok(()) } else { Err(ImageError::TooSlow) }
    }

    /// The moment itself, for the encoder that asks by itself.
    pub(crate) const fn instant(self) -> Instant {
        self.0
    }
}

/// Bytes that cannot be read any more once the time is over, which ends a decoder in the middle of its work.
pub(crate) struct Watched<'a> {
    bytes: Cursor<&'a [u8]>,
    deadline: Deadline,
}

impl<'a> Watched<'a> {
    /// How much a decoder gets before the clock is asked again.
    const STEP: usize = 16 * 1024;

    pub(crate) const fn new(bytes: &'a [u8], deadline: Deadline) -> Self {
        Self { bytes: Cursor::new(bytes), deadline }
    }

    fn check(&self) -> io::Result<()> {
        self.deadline.check().map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.len() > 64 {
            self.check()?;
        }
        let most = buffer.len().min(Self::STEP);
        self.bytes.read(&mut buffer[..most])
    }
}

impl BufRead for Watched<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.check()?;
        let rest = self.bytes.fill_buf()?;
        Ok(&rest[..rest.len().min(Self::STEP)])
    }

    fn consume(&mut self, amount: usize) {
        self.bytes.consume(amount);
    }
}

impl Seek for Watched<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(to)
    }
}
