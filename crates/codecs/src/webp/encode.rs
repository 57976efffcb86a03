//! Encoding.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::time::Instant;

use libwebp_sys as c;

use super::{Error, Yuv420, bytes, chroma, dimensions};

/// How to encode.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// 0..=100.
    pub quality: f32,
    /// How hard to try, 0 (fast) to 6 (small).
    pub method: u8,
    /// When to give up.
    pub deadline: Option<Instant>,
}

impl Options {
    fn config(&self) -> Result<c::WebPConfig, Error> {
        let mut config = c::WebPConfig::new().map_err(|()| Error::Options)?;
        config.quality = self.quality;
        config.method = c_int::from(self.method);
        if self.method <= 2 {
            // Without the search that a higher method does, libwebp's own 50 takes too much from smooth places: 30 gives a
            // third of the lost similarity back, for a fifth of a per cent more bytes.
            config.sns_strength = 30;
        }
        // SAFETY: `config` is initialised and lives until the call returns; the function only reads it.
        if unsafe { c::WebPValidateConfig(&raw const config) } == 0 {
            return Err(Error::Options);
        }
        Ok(config)
    }
}

/// Encodes three planes, lossy.
pub fn encode_yuv420(planes: &Yuv420, options: &Options) -> Result<Vec<u8>, Error> {
    let (width, height) = dimensions(planes.width, planes.height)?;
    let (chroma_width, chroma_height) = (chroma(planes.width), chroma(planes.height));
    let chroma_len = bytes(chroma_width, chroma_height, 1);
    if planes.y.len() != bytes(planes.width, planes.height, 1)
        || planes.u.len() != chroma_len
        || planes.v.len() != chroma_len
    {
        return Err(Error::Samples);
    }
    let mut picture = Picture::new(width, height)?;
    // libwebp reads a picture's planes and never writes to them: the mutable pointers are how C spells it. It does not free
    // them either, because `memory_` stays null.
    picture.0.y = planes.y.as_ptr().cast_mut();
    picture.0.u = planes.u.as_ptr().cast_mut();
    picture.0.v = planes.v.as_ptr().cast_mut();
    picture.0.y_stride = width;
    picture.0.uv_stride = (width + 1) / 2;
    picture.encode(options)
}

/// Encodes 8-bit RGBA with straight alpha, lossy in colour and lossless in alpha.
pub fn encode_rgba(pixels: &[u8], width: u32, height: u32, options: &Options) -> Result<Vec<u8>, Error> {
    let (across, down) = dimensions(width, height)?;
    if pixels.len() != bytes(width, height, 4) {
        return Err(Error::Samples);
    }
    let mut picture = Picture::new(across, down)?;
    // SAFETY: `pixels` holds `down` rows of `across * 4` bytes, as checked; the picture is initialised and gets its own memory.
    let imported = unsafe { c::WebPPictureImportRGBA(&raw mut picture.0, pixels.as_ptr(), across * 4) };
    if imported == 0 {
        return Err(Error::Memory);
    }
    picture.encode(options)
}

/// A picture of libwebp's, whose memory is freed with it.
struct Picture(c::WebPPicture);

impl Picture {
    fn new(width: c_int, height: c_int) -> Result<Self, Error> {
        let mut picture = c::WebPPicture::new().map_err(|()| Error::Memory)?;
        picture.width = width;
        picture.height = height;
        Ok(Self(picture))
    }

    fn encode(&mut self, options: &Options) -> Result<Vec<u8>, Error> {
        let config = options.config()?;
        let mut writer = Writer::new();
        self.0.writer = Some(c::WebPMemoryWrite);
        self.0.custom_ptr = (&raw mut writer.0).cast::<c_void>();
        if let Some(deadline) = &options.deadline {
            self.0.progress_hook = Some(in_time);
            self.0.user_data = ptr::from_ref(deadline).cast_mut().cast::<c_void>();
        }
        // SAFETY: the picture's planes are valid for its dimensions (checked by both callers), `writer` and the deadline
        // outlive the call, and the hook and the writer are given exactly what they expect.
        let done = unsafe { c::WebPEncode(&raw const config, &raw mut self.0) };
        self.0.custom_ptr = ptr::null_mut();
        self.0.user_data = ptr::null_mut();
        if done != 0 {
            return Ok(writer.bytes().to_vec());
        }
        Err(match self.0.error_code {
            c::WebPEncodingError::VP8_ENC_ERROR_USER_ABORT => Error::TooSlow,
            c::WebPEncodingError::VP8_ENC_ERROR_OUT_OF_MEMORY
            | c::WebPEncodingError::VP8_ENC_ERROR_BITSTREAM_OUT_OF_MEMORY => Error::Memory,
            other => Error::Encode(other as u32),
        })
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        // SAFETY: the picture was initialised; this frees what libwebp allocated for it, and only that.
        unsafe { c::WebPPictureFree(&raw mut self.0) };
    }
}

/// Where the encoder writes; its memory is freed with it.
struct Writer(c::WebPMemoryWriter);

impl Writer {
    fn new() -> Self {
        let mut writer = c::WebPMemoryWriter { mem: ptr::null_mut(), size: 0, max_size: 0, pad: [0] };
        // SAFETY: it sets the fields, nothing else.
        unsafe { c::WebPMemoryWriterInit(&raw mut writer) };
        Self(writer)
    }

    fn bytes(&self) -> &[u8] {
        if self.0.mem.is_null() {
            return &[];
        }
        // SAFETY: libwebp wrote `size` bytes at `mem`, which lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.0.mem, self.0.size) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // SAFETY: the writer was initialised; the memory is libwebp's own.
        unsafe { c::WebPMemoryWriterClear(&raw mut self.0) };
    }
}

/// The encoder asks every few rows: nonzero means go on.
///
/// # Safety
/// `user_data` of the picture points to an `Instant`, as [`Picture::encode`] sees to.
unsafe extern "C" fn in_time(_percent: c_int, picture: *const c::WebPPicture) -> c_int {
    // SAFETY: as above; the encoder passes the picture that it is working on.
    let deadline = unsafe { &*(*picture).user_data.cast::<Instant>() };
    c_int::from(Instant::now() < *deadline)
}
