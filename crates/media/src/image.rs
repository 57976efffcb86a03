//! Pictures: what a file really is, what is in it, and smaller ones of it.
//!
//! Everything here is pure and synchronous: bytes in, bytes out, no file and no clock but the one that ends work that takes too
//! long. Run it on a thread for blocking work, one decode per permit.
//!
//! Nothing about a file is believed. Its type comes from its bytes ([`sniff`]), its size is checked in the header before a
//! single pixel is allocated ([`inspect`]), a decoder that panics is an [`ImageError::Damaged`], and work that takes too long
//! ends. Pictures that come out carry pixels alone: no metadata, upright, in sRGB.
//!
//! The fast way is short. A JPEG and a lossy WebP hold luma and chroma, and so does the WebP that is wanted: the samples are
//! shrunk as they are, never converted to RGB, decoded once, and each smaller picture is made from the next larger one.

mod colour;
mod decode;
mod encode;
mod error;
mod exif;
mod inspect;
mod jpeg;
mod limits;
mod pixels;
mod resize;
mod sniff;
mod transform;
mod variants;
mod webp;

pub use self::encode::Encoded;
pub use self::error::ImageError;
pub use self::exif::{Exif, Taken, exif};
pub use self::inspect::{Info, inspect};
pub use self::limits::Limits;
pub use self::sniff::{Kind, sniff};
pub use self::transform::{Fit, Format, Transform, reference, transform};
pub use self::variants::{Recipe, Variants, variants};

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs what reads foreign bytes. A decoder that panics has a fault, and the file that found it is refused like a damaged one.
fn guarded<T>(work: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(ImageError::Damaged("the decoder failed on it".to_owned())))
}

#[cfg(test)]
mod tests;
