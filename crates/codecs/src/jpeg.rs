//! JPEG through libjpeg (the fork of libjpeg-turbo that Mozilla keeps): decoding only.
//!
//! What a JPEG stores is luma and chroma, the chroma mostly at half the size. [`Decoder::planes`] gives just that, without the upsampling
//! and the way to RGB that others take; [`Decoder::pixels`] gives RGB, grey or inks.
//!
//! Strict: where libjpeg would warn that data is corrupt and go on with grey, this is an error.
//!
//! libjpeg leaves its work by calling `error_exit`, which must not return. Here it unwinds: through C frames that were compiled
//! for that (`-fexceptions`), and functions declared `C-unwind`, up to a `catch_unwind` in this file and never further.

use std::any::Any;
use std::ffi::{c_int, c_ulong, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use mozjpeg_sys as c;

/// Why a JPEG was not decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The data is corrupt or breaks off; in the words of libjpeg.
    #[error("{0}")]
    Damaged(String),
    /// It has no luma and chroma, or components that mean nothing.
    #[error("this jpeg has other components than wanted")]
    Components,
    /// The deadline came before the end.
    #[error("decoding took too long")]
    TooSlow,
}

/// Samples of one kind, row by row, tightly packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plane {
    /// Samples across.
    pub width: u32,
    /// Samples down.
    pub height: u32,
    /// `width * height` samples.
    pub data: Vec<u8>,
}

/// What the samples of a pixel are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// One: grey.
    Grey,
    /// Three: luma and two differences, BT.601 in the full range.
    Ycc,
    /// Three: red, green, blue.
    Rgb,
    /// Four: cyan, magenta, yellow, black, as they are stored, which is mostly inverted.
    Cmyk,
    /// Another number of components, or a meaning that nobody wrote down.
    Other,
}

impl Colour {
    /// Samples of a pixel.
    pub const fn channels(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Ycc | Self::Rgb => 3,
            Self::Cmyk => 4,
            Self::Other => 0,
        }
    }
}

/// Decoded pixels, the samples of each together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// What they are: never [`Colour::Ycc`] or [`Colour::Other`].
    pub colour: Colour,
    /// `width * height * colour.channels()` samples.
    pub data: Vec<u8>,
}

/// An opened JPEG whose header was read.
pub struct Decoder<'a> {
    c: Box<State>,
    /// libjpeg reads it during the whole life of `c`.
    _data: &'a [u8],
}

impl std::fmt::Debug for Decoder<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Decoder").field("size", &self.size()).field("colour", &self.colour()).finish_non_exhaustive()
    }
}

/// What libjpeg holds pointers to, and so may not move.
struct State {
    info: c::jpeg_decompress_struct,
    error: c::jpeg_error_mgr,
    progress: c::jpeg_progress_mgr,
    deadline: Option<Instant>,
}

impl<'a> Decoder<'a> {
    /// Reads the header.
    pub fn new(data: &'a [u8], deadline: Option<Instant>) -> Result<Self, Error> {
        let length = c_ulong::try_from(data.len()).map_err(|_| Error::Damaged("it is too long".to_owned()))?;
        // SAFETY: plain C structs of integers, pointers, optional functions and enums with a variant of zero: all zeroes is how
        // libjpeg itself begins.
        let (info, error, progress) = unsafe { (std::mem::zeroed(), std::mem::zeroed(), std::mem::zeroed()) };
        let mut state = Box::new(State { info, error, progress, deadline });
        // SAFETY: the error manager is valid for writing.
        unsafe { c::jpeg_std_error(&mut state.error) };
        state.error.error_exit = Some(error_exit);
        state.error.emit_message = Some(emit_message);
        state.progress.progress_monitor = Some(progress_monitor);
        state.info.common.err = &raw mut state.error;
        // From here on `Drop` destroys it, which libjpeg allows in every state.
        let mut decoder = Self { c: state, _data: data };
        decoder.guarded(|state| {
            // SAFETY: the struct is zeroed and has an error manager; `data` outlives the decoder; the box does not move.
            unsafe {
                c::jpeg_create_decompress(&raw mut state.info);
                state.info.common.progress = &raw mut state.progress;
                state.info.common.client_data = (&raw mut state.deadline).cast::<c_void>();
                c::jpeg_mem_src(&mut state.info, data.as_ptr(), length);
                c::jpeg_read_header(&mut state.info, 1);
            }
        })?;
        Ok(decoder)
    }

    /// Pixels across and down.
    pub const fn size(&self) -> (u32, u32) {
        (self.c.info.image_width, self.c.info.image_height)
    }

    /// What is stored.
    pub fn colour(&self) -> Colour {
        match (self.c.info.jpeg_color_space, self.c.info.num_components) {
            (c::J_COLOR_SPACE::JCS_GRAYSCALE, 1) => Colour::Grey,
            (c::J_COLOR_SPACE::JCS_YCbCr, 3) => Colour::Ycc,
            (c::J_COLOR_SPACE::JCS_RGB, 3) => Colour::Rgb,
            (c::J_COLOR_SPACE::JCS_CMYK | c::J_COLOR_SPACE::JCS_YCCK, 4) => Colour::Cmyk,
            _ => Colour::Other,
        }
    }

    /// Decodes luma and chroma as they are stored: each plane has its own size. `eighths` of 4, 2 or 1 give a half, a quarter and an
    /// eighth of the picture for much less work; chroma stored at half the size keeps it then.
    pub fn planes(mut self, eighths: u8) -> Result<[Plane; 3], Error> {
        if self.colour() != Colour::Ycc {
            return Err(Error::Components);
        }
        self.c.info.raw_data_out = 1;
        self.start(eighths)?;
        let info = &self.c.info;
        // SAFETY: after the header, `comp_info` has one element for each component, and there are three.
        let components = unsafe { std::slice::from_raw_parts(info.comp_info, 3) };
        let (most_across, most_down) = (info.max_h_samp_factor.unsigned_abs(), info.max_v_samp_factor.unsigned_abs());
        let (width, height, eighths) = (info.image_width, info.image_height, u32::from(eighths));
        let mut strips = [0, 1, 2].map(|at: usize| {
            let component = &components[at];
            let (across, down) = (component.h_samp_factor.unsigned_abs(), component.v_samp_factor.unsigned_abs());
            // libjpeg's own rule: what is stored smaller is scaled down less.
            let mut block = eighths;
            while block < 8
                && (most_across * eighths).is_multiple_of(across * block * 2)
                && (most_down * eighths).is_multiple_of(down * block * 2)
            {
                block *= 2;
            }
            // No overflow: a side has 16 bits, a factor is at most 4.
            let side = |pixels: u32, factor: u32, most: u32| (pixels * factor * block).div_ceil(most * 8);
            let (plane_width, plane_height) = (side(width, across, most_across), side(height, down, most_down));
            // Whole blocks, and room for those that fill up the last unit of a row.
            let stride = (component.width_in_blocks as usize + most_across as usize) * block as usize;
            Strip {
                plane: Plane {
                    width: plane_width,
                    height: plane_height,
                    data: Vec::with_capacity(plane_width as usize * plane_height as usize),
                },
                stride,
                rows: vec![0; stride * (down * block) as usize],
            }
        });
        let lines = most_down * eighths;
        while self.c.info.output_scanline < self.c.info.output_height {
            self.check()?;
            let mut rows = strips.each_mut().map(|strip| {
                let stride = strip.stride;
                strip.rows.chunks_exact_mut(stride).map(<[u8]>::as_mut_ptr).collect::<Vec<_>>()
            });
            let mut images = rows.each_mut().map(Vec::as_mut_ptr);
            // SAFETY: for every component there are as many rows as one call writes, each as long as the blocks in it.
            let read =
                self.guarded(|state| unsafe { c::jpeg_read_raw_data(&mut state.info, images.as_mut_ptr(), lines) })?;
            if read == 0 {
                return Err(Error::Damaged("it breaks off".to_owned()));
            }
            strips.iter_mut().for_each(Strip::take);
        }
        self.finish()?;
        if strips.iter().any(|strip| strip.plane.data.len() != strip.plane.width as usize * strip.plane.height as usize)
        {
            return Err(Error::Damaged("it breaks off".to_owned()));
        }
        Ok(strips.map(|strip| strip.plane))
    }

    /// Decodes to RGB, to grey where that is what is stored, or to inks.
    pub fn pixels(mut self) -> Result<Pixels, Error> {
        let (space, colour) = match self.colour() {
            Colour::Grey => (c::J_COLOR_SPACE::JCS_GRAYSCALE, Colour::Grey),
            Colour::Ycc | Colour::Rgb => (c::J_COLOR_SPACE::JCS_RGB, Colour::Rgb),
            Colour::Cmyk => (c::J_COLOR_SPACE::JCS_CMYK, Colour::Cmyk),
            Colour::Other => return Err(Error::Components),
        };
        self.c.info.out_color_space = space;
        self.start(8)?;
        let (width, height) = (self.c.info.output_width, self.c.info.output_height);
        let stride = width as usize * colour.channels();
        if (width, height) != self.size() || usize::try_from(self.c.info.output_components) != Ok(colour.channels()) {
            return Err(Error::Components);
        }
        let mut data = vec![0; stride * height as usize];
        for row in data.chunks_exact_mut(stride) {
            if self.c.info.output_scanline.is_multiple_of(16) {
                self.check()?;
            }
            let mut row = row.as_mut_ptr();
            // SAFETY: one row, as long as libjpeg said a row is.
            if self.guarded(|state| unsafe { c::jpeg_read_scanlines(&mut state.info, &raw mut row, 1) })? != 1 {
                return Err(Error::Damaged("it breaks off".to_owned()));
            }
        }
        self.finish()?;
        Ok(Pixels { width, height, colour, data })
    }

    fn start(&mut self, eighths: u8) -> Result<(), Error> {
        self.c.info.scale_num = eighths.into();
        self.c.info.scale_denom = 8;
        // It would soften what a progressive file left out; a file that left anything out is refused.
        self.c.info.do_block_smoothing = 0;
        // SAFETY: the header was read.
        self.guarded(|state| unsafe { c::jpeg_start_decompress(&mut state.info) }).map(|_| ())
    }

    fn finish(&mut self) -> Result<(), Error> {
        // SAFETY: all rows were read.
        self.guarded(|state| unsafe { c::jpeg_finish_decompress(&mut state.info) }).map(|_| ())
    }

    fn check(&self) -> Result<(), Error> {
        if self.c.deadline.is_some_and(|deadline| Instant::now() >= deadline) { Err(Error::TooSlow) } else { Ok(()) }
    }

    /// Calls libjpeg, and catches it where it leaves. After an error, nothing but `Drop` may follow: the callers return at once.
    fn guarded<T>(&mut self, call: impl FnOnce(&mut State) -> T) -> Result<T, Error> {
        catch_unwind(AssertUnwindSafe(|| call(&mut self.c))).map_err(|thrown: Box<dyn Any + Send>| {
            thrown.downcast::<Error>().map_or_else(|_| Error::Damaged("the decoder failed".to_owned()), |error| *error)
        })
    }
}

impl Drop for Decoder<'_> {
    fn drop(&mut self) {
        // It frees memory and calls none of our functions, so there is nothing to catch, but an abort would be worse than a leak.
        // SAFETY: allowed in every state, that of all zeroes included.
        let _ = self.guarded(|state| unsafe { c::jpeg_destroy_decompress(&mut state.info) });
    }
}

/// What one call writes of a component, and where it is collected.
struct Strip {
    plane: Plane,
    stride: usize,
    rows: Vec<u8>,
}

impl Strip {
    /// Takes over the samples that belong to the picture, as far as there are any left to take.
    fn take(&mut self) {
        let width = self.plane.width as usize;
        let whole = width * self.plane.height as usize;
        for row in self.rows.chunks_exact(self.stride) {
            if self.plane.data.len() < whole {
                self.plane.data.extend_from_slice(&row[..width]);
            }
        }
    }
}

/// libjpeg cannot go on.
unsafe extern "C-unwind" fn error_exit(info: &mut c::jpeg_common_struct) {
    // SAFETY: the error manager is part of the state that the struct belongs to.
    let code = unsafe { info.err.as_ref() }.map_or(0, |error| error.msg_code);
    resume_unwind(Box::new(Error::Damaged(format!("libjpeg refuses it, code {code}"))));
}

/// libjpeg has something to say: a negative level is a warning that data is corrupt.
unsafe extern "C-unwind" fn emit_message(info: &mut c::jpeg_common_struct, level: c_int) {
    if level >= 0 {
        return;
    }
    // SAFETY: as above.
    let code = unsafe { info.err.as_ref() }.map_or(0, |error| error.msg_code);
    let harmless = [c::JWRN_ADOBE_XFORM, c::JWRN_JFIF_MAJOR, c::JWRN_EXTRANEOUS_DATA];
    if harmless.iter().all(|known| *known as c_int != code) {
        resume_unwind(Box::new(Error::Damaged(format!("libjpeg finds corrupt data, code {code}"))));
    }
}

/// libjpeg has done another row, of whatever pass.
unsafe extern "C-unwind" fn progress_monitor(info: &mut c::jpeg_common_struct) {
    // SAFETY: `client_data` points to the deadline of the state that the struct belongs to, or is null.
    let deadline = unsafe { info.client_data.cast::<Option<Instant>>().as_ref() };
    if deadline.copied().flatten().is_some_and(|deadline| Instant::now() >= deadline) {
        resume_unwind(Box::new(Error::TooSlow));
    }
}

#[cfg(test)]
mod tests;
