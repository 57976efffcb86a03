//! WebP through libwebp: planar YUV and RGBA, in and out.
//!
//! Pictures that come from a JPEG are planes already, and so is what WebP stores: handing the planes over saves the way through
//! RGB and back. Planes are 8 bit, 4:2:0, tightly packed, BT.601 in the limited range (luma 16..235), as WebP defines them.

mod decode;
mod encode;

pub use self::decode::{Features, Rgba, decode_rgba, decode_yuv420, features};
pub use self::encode::{Options, encode_rgba, encode_yuv420};

/// The longest side that WebP can store.
pub const MAX_SIDE: u32 = 16_383;

/// Why a picture was not encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A side is zero, or longer than the format can hold.
    #[error("a webp has sides of 1 to 16383 pixels, not {0}x{1}")]
    Dimensions(u32, u32),
    /// The samples given do not fill the dimensions given.
    #[error("the samples do not match the dimensions")]
    Samples,
    /// The quality or the method is out of range.
    #[error("the quality is 0 to 100 and the method 0 to 6")]
    Options,
    /// The deadline came before the end.
    #[error("encoding took too long")]
    TooSlow,
    /// The encoder gave up; the number is its own.
    #[error("the webp encoder failed with code {0}")]
    Encode(u32),
    /// The bytes are no WebP, or a damaged one; the number is the decoder's own.
    #[error("the webp cannot be read, code {0}")]
    Decode(u32),
    /// No memory.
    #[error("there is not enough memory for this webp")]
    Memory,
}

/// A picture as three planes, tightly packed; the chroma planes have half the width and height, rounded up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Yuv420 {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Luma, `width * height` samples.
    pub y: Vec<u8>,
    /// Blue difference, `chroma(width) * chroma(height)` samples.
    pub u: Vec<u8>,
    /// Red difference, as many.
    pub v: Vec<u8>,
}

/// How many chroma samples stand for this many pixels.
pub const fn chroma(side: u32) -> u32 {
    side.div_ceil(2)
}

/// The dimensions as C wants them, if the format can hold them.
fn dimensions(width: u32, height: u32) -> Result<(i32, i32), Error> {
    let fits = |side: u32| (1..=MAX_SIDE).contains(&side);
    match (i32::try_from(width), i32::try_from(height)) {
        (Ok(across), Ok(down)) if fits(width) && fits(height) => Ok((across, down)),
        _ => Err(Error::Dimensions(width, height)),
    }
}

/// How many bytes a plane of this many samples and channels has. Cannot overflow after [`dimensions`].
fn bytes(width: u32, height: u32, channels: usize) -> usize {
    width as usize * height as usize * channels
}

#[cfg(test)]
mod tests;
