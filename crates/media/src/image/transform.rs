//! Pictures of any size, on demand.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::colour;
use super::decode::{Want, decode};
use super::encode::{self, Encoded};
use super::error::ImageError;
use super::guarded;
use super::inspect::inspect;
use super::limits::{Deadline, Limits};
use super::pixels::{Layout, Picture, Pixels};
use super::resize::{Crop, inside, scaled};

/// How a picture goes into a frame of `w` by `h`, in the words that sharp uses. Only `fill` enlarges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fit {
    /// Fills the frame and loses what sticks out, from the middle. A picture smaller than the frame gives a smaller result.
    #[default]
    Cover,
    /// Lies within the frame, with black around it: the result is always as large as the frame.
    Contain,
    /// Lies within the frame; the result is as large as the picture in it.
    Inside,
    /// Reaches over the frame: the shorter way of the two decides.
    Outside,
    /// Exactly the frame, whatever that does to the proportions.
    Fill,
}

/// What comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// WebP.
    #[default]
    Webp,
    /// JPEG; what is transparent becomes white.
    Jpeg,
    /// PNG; the quality does not matter.
    Png,
}

impl Format {
    /// Its media type.
    pub const fn mime(self) -> &'static str {
        match self {
            Self::Webp => "image/webp",
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
        }
    }
}

impl FromStr for Fit {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        match text {
            "cover" => Ok(Self::Cover),
            "contain" => Ok(Self::Contain),
            "inside" => Ok(Self::Inside),
            "outside" => Ok(Self::Outside),
            "fill" => Ok(Self::Fill),
            _ => parameter("`fit` is one of `cover`, `contain`, `inside`, `outside` and `fill`"),
        }
    }
}

impl FromStr for Format {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        match text {
            "webp" => Ok(Self::Webp),
            "jpeg" | "jpg" => Ok(Self::Jpeg),
            "png" => Ok(Self::Png),
            "avif" => parameter("`avif` is not made here, it costs too much time: ask for `webp`"),
            _ => parameter("`format` is one of `webp`, `jpeg` and `png`"),
        }
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Cover => "cover",
            Self::Contain => "contain",
            Self::Inside => "inside",
            Self::Outside => "outside",
            Self::Fill => "fill",
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Webp => "webp",
            Self::Jpeg => "jpeg",
            Self::Png => "png",
        })
    }
}

fn parameter<T>(text: &str) -> Result<T, ImageError> {
    Err(ImageError::Parameter(text.to_owned()))
}

/// What to make of a picture: checked, so that every value of this type can be made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transform {
    w: Option<u32>,
    h: Option<u32>,
    fit: Fit,
    format: Format,
    q: u8,
}

impl Transform {
    /// The longest side of a result.
    pub const MAX_SIDE: u32 = 4096;

    /// How long one may take.
    pub const MAX_TIME: Duration = Duration::from_secs(2);

    /// The quality when none is asked for.
    pub const QUALITY: u8 = 80;

    /// Checks the parameters. With one side, the other follows from the proportions; with none, the picture keeps its size,
    /// up to [`Self::MAX_SIDE`].
    pub fn new(w: Option<u32>, h: Option<u32>, fit: Fit, format: Format, q: Option<u8>) -> Result<Self, ImageError> {
        let side = |value: Option<u32>| value.is_none_or(|side| (1..=Self::MAX_SIDE).contains(&side));
        if !side(w) {
            return parameter("`w` is 1 to 4096");
        }
        if !side(h) {
            return parameter("`h` is 1 to 4096");
        }
        let q = q.unwrap_or(Self::QUALITY);
        if !(1..=100).contains(&q) {
            return parameter("`q` is 1 to 100");
        }
        // What makes no difference is one and the same transform, and is made once.
        let fit = if w.is_some() && h.is_some() { fit } else { Fit::Inside };
        let q = if format == Format::Png { 100 } else { q };
        Ok(Self { w, h, fit, format, q })
    }

    /// Checks the parameters as they come in a query string.
    pub fn parse(
        w: Option<&str>,
        h: Option<&str>,
        fit: Option<&str>,
        format: Option<&str>,
        q: Option<&str>,
    ) -> Result<Self, ImageError> {
        // A number that does not fit is as wrong as zero.
        let number = |text: &str| text.parse::<u32>().unwrap_or(0);
        let q = q.map(|text| u8::try_from(number(text)).unwrap_or(0));
        let fit = fit.map(str::parse).transpose()?.unwrap_or_default();
        let format = format.map(str::parse).transpose()?.unwrap_or_default();
        Self::new(w.map(number), h.map(number), fit, format, q)
    }

    /// The parameters in one spelling: equal exactly if the results are. Safe in a file name.
    pub fn canonical(&self) -> String {
        let side = |side: Option<u32>| side.map_or_else(|| "auto".to_owned(), |side| side.to_string());
        format!("w{}-h{}-{}-q{}.{}", side(self.w), side(self.h), self.fit, self.q, self.format)
    }

    /// The media type of the result.
    pub const fn mime(&self) -> &'static str {
        self.format.mime()
    }

    /// What part of a picture to take, how large it gets, and the frame it lies in.
    fn plan(&self, size: (u32, u32)) -> (Crop, (u32, u32), Option<(u32, u32)>) {
        let most = Self::MAX_SIDE;
        let whole = Crop::whole(size);
        let frame = (self.w.unwrap_or(most), self.h.unwrap_or(most));
        match self.fit {
            Fit::Inside => (whole, inside(size, frame), None),
            Fit::Contain => (whole, inside(size, frame), Some(frame)),
            Fit::Fill => (whole, frame, None),
            Fit::Outside => {
                let scale =
                    (f64::from(frame.0) / f64::from(size.0)).max(f64::from(frame.1) / f64::from(size.1)).min(1.0);
                (whole, inside(scaled(size, scale), (most, most)), None)
            }
            Fit::Cover => {
                let to = (frame.0.min(size.0), frame.1.min(size.1));
                // The scale comes from the frame, so that a side that is long enough is shrunk no further than it must.
                let scale =
                    (f64::from(frame.0) / f64::from(size.0)).max(f64::from(frame.1) / f64::from(size.1)).min(1.0);
                let (width, height) = (f64::from(to.0) / scale, f64::from(to.1) / scale);
                let (width, height) = (width.min(size.0.into()), height.min(size.1.into()));
                let (left, top) = ((f64::from(size.0) - width) / 2.0, (f64::from(size.1) - height) / 2.0);
                (Crop { left, top, width, height }, to, None)
            }
        }
    }
}

/// Makes a transform: upright, sRGB, without metadata, in at most [`Transform::MAX_TIME`].
pub fn transform(bytes: &[u8], limits: &Limits, transform: &Transform) -> Result<Encoded, ImageError> {
    guarded(|| {
        let deadline = Deadline::after(limits.cpu.min(Transform::MAX_TIME));
        let info = inspect(bytes, limits)?;
        let (crop, to, frame) = transform.plan((info.width, info.height));
        // The plan is for the upright picture; the samples are not turned yet.
        let lies = info.orientation >= 5;
        let (crop, to) = if lies {
            (Crop { left: crop.top, top: crop.left, width: crop.height, height: crop.width }, (to.1, to.0))
        } else {
            (crop, to)
        };
        let planes = transform.format == Format::Webp && frame.is_none();
        let shrink = (crop.width / f64::from(to.0)).min(crop.height / f64::from(to.1));
        let want = if planes { Want::Planes { shrink } } else { Want::Rgb };
        let source = decode(bytes, &info, limits, want, deadline)?;
        let mut picture = source.samples.resized(crop.of(info.stored(), source.samples.size()), to)?;
        if let (Picture::Pixels(pixels), Some(profile)) = (&mut picture, &source.profile) {
            profile.apply(pixels)?;
        }
        drop(source);
        deadline.check()?;
        let picture = match picture.upright(info.orientation) {
            Picture::Pixels(pixels) => pixels,
            planes @ Picture::Planes(_) => return encode::webp(&planes, transform.q, METHOD, deadline),
        };
        let picture = match frame {
            Some(frame) => framed(&picture, frame),
            None => picture,
        };
        let encoded = match transform.format {
            Format::Webp if picture.layout == Layout::Rgba => {
                encode::webp(&Picture::Pixels(picture), transform.q, METHOD, deadline)
            }
            Format::Webp => encode::webp(&Picture::Planes(colour::planes(&picture)), transform.q, METHOD, deadline),
            Format::Jpeg => encode::jpeg(opaque(picture, 255), transform.q),
            Format::Png => encode::png(picture),
        }?;
        deadline.check()?;
        Ok(encoded)
    })
}

/// How hard the encoder tries for a transform, whose result is cached.
const METHOD: u8 = 2;

/// The picture in the middle of a black frame.
fn framed(pixels: &Pixels, (width, height): (u32, u32)) -> Pixels {
    let channels = pixels.layout.channels();
    let black: &[u8] = if pixels.layout == Layout::Rgba { &[0, 0, 0, 255] } else { &[0, 0, 0] };
    let mut data = black[..channels].repeat(width as usize * height as usize);
    let (left, top) = ((width - pixels.width) / 2, (height - pixels.height) / 2);
    let (stride, row) = (width as usize * channels, pixels.width as usize * channels);
    for (y, from) in pixels.data.chunks_exact(row).enumerate() {
        let at = (top as usize + y) * stride + left as usize * channels;
        data[at..at + row].copy_from_slice(from);
    }
    Pixels { width, height, layout: pixels.layout, data }
}

/// The picture on a ground of one shade, if it is transparent anywhere.
fn opaque(pixels: Pixels, ground: u16) -> Pixels {
    if pixels.layout != Layout::Rgba {
        return pixels;
    }
    let over = |value: u8, alpha: u8| {
        let alpha = u16::from(alpha);
        u8::try_from((u16::from(value) * alpha + ground * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
    };
    let pixel = |[r, g, b, a]: &[u8; 4]| [over(*r, *a), over(*g, *a), over(*b, *a)];
    let data = pixels.data.as_chunks::<4>().0.iter().flat_map(pixel).collect();
    Pixels { layout: Layout::Rgb, data, ..pixels }
}

/// The picture as a provider of generated pictures gets it: PNG, RGB, at most 1024 a side, upright, without metadata.
pub fn reference(bytes: &[u8], limits: &Limits) -> Result<Vec<u8>, ImageError> {
    const SIDE: u32 = 1024;
    guarded(|| {
        let deadline = Deadline::after(limits.cpu);
        let info = inspect(bytes, limits)?;
        let source = decode(bytes, &info, limits, Want::Rgb, deadline)?;
        let size = info.stored();
        let mut picture = source.samples.resized(Crop::whole(size), inside(size, (SIDE, SIDE)))?;
        if let (Picture::Pixels(pixels), Some(profile)) = (&mut picture, &source.profile) {
            profile.apply(pixels)?;
        }
        drop(source);
        let Picture::Pixels(pixels) = picture.upright(info.orientation) else {
            return Err(ImageError::Encode("the decoder gave planes where pixels were wanted".to_owned()));
        };
        let mut pixels = opaque(pixels, 255);
        if pixels.layout == Layout::Luma {
            pixels.data = pixels.data.iter().flat_map(|grey| [*grey; 3]).collect();
            pixels.layout = Layout::Rgb;
        }
        deadline.check()?;
        Ok(encode::png(pixels)?.bytes)
    })
}
