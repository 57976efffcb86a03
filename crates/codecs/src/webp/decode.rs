//! Decoding of still pictures.

use libwebp_sys as c;

use super::{Error, Yuv420, bytes, chroma, dimensions};

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Whether there is an alpha channel.
    pub alpha: bool,
    /// Whether this is an animation, which cannot be decoded here.
    pub animated: bool,
    /// Whether it is stored as planes: lossy. Not known of an animation.
    pub lossy: bool,
}

/// Decoded pixels, 8-bit RGBA with straight alpha.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgba {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// `width * height * 4` bytes.
    pub pixels: Vec<u8>,
}

/// Reads the header. Nothing is allocated.
pub fn features(data: &[u8]) -> Result<Features, Error> {
    let mut found =
        c::WebPBitstreamFeatures { width: 0, height: 0, has_alpha: 0, has_animation: 0, format: 0, pad: [0; 5] };
    // SAFETY: the pointer is valid for `data.len()` bytes, and `found` for writing.
    let status = unsafe { c::WebPGetFeatures(data.as_ptr(), data.len(), &raw mut found) };
    if status != c::VP8StatusCode::VP8_STATUS_OK {
        return Err(Error::Decode(status as u32));
    }
    let (Ok(width), Ok(height)) = (u32::try_from(found.width), u32::try_from(found.height)) else {
        return Err(Error::Decode(c::VP8StatusCode::VP8_STATUS_BITSTREAM_ERROR as u32));
    };
    let (alpha, animated) = (found.has_alpha != 0, found.has_animation != 0);
    Ok(Features { width, height, alpha, animated, lossy: found.format == 1 })
}

/// Decodes to planes. Alpha, if there is any, is lost: look at [`features`] first.
pub fn decode_yuv420(data: &[u8]) -> Result<Yuv420, Error> {
    let Features { width, height, .. } = features(data)?;
    let (across, _) = dimensions(width, height)?;
    let chroma_len = bytes(chroma(width), chroma(height), 1);
    let mut planes =
        Yuv420 { width, height, y: vec![0; bytes(width, height, 1)], u: vec![0; chroma_len], v: vec![0; chroma_len] };
    let chroma_stride = (across + 1) / 2;
    // SAFETY: each plane is valid for the length passed along with it, and libwebp refuses a length that is too short for the
    // stride and the dimensions in the data.
    let done = unsafe {
        c::WebPDecodeYUVInto(
            data.as_ptr(),
            data.len(),
            planes.y.as_mut_ptr(),
            planes.y.len(),
            across,
            planes.u.as_mut_ptr(),
            planes.u.len(),
            chroma_stride,
            planes.v.as_mut_ptr(),
            planes.v.len(),
            chroma_stride,
        )
    };
    if done.is_null() { Err(Error::Decode(c::VP8StatusCode::VP8_STATUS_BITSTREAM_ERROR as u32)) } else { Ok(planes) }
}

/// Decodes to RGBA.
pub fn decode_rgba(data: &[u8]) -> Result<Rgba, Error> {
    let Features { width, height, .. } = features(data)?;
    let (across, _) = dimensions(width, height)?;
    let mut pixels = vec![0; bytes(width, height, 4)];
    // SAFETY: `pixels` is valid for the length passed, which libwebp checks against the stride and the dimensions.
    let done =
        unsafe { c::WebPDecodeRGBAInto(data.as_ptr(), data.len(), pixels.as_mut_ptr(), pixels.len(), across * 4) };
    if done.is_null() {
        return Err(Error::Decode(c::VP8StatusCode::VP8_STATUS_BITSTREAM_ERROR as u32));
    }
    Ok(Rgba { width, height, pixels })
}
