//! What the camera wrote: itself, the exposure, the time and the place.
//!
//! Only ever a hint. Values that cannot be are left out one by one, and nothing here fails.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::exif::{Context, DateTime, In, Reader, Tag, Value};
use mana_types::Timestamp;
use serde::{Deserialize, Serialize};

use super::inspect::be32;
use super::sniff::{Kind, sniff};
use super::webp;

/// How much of a file, or of its EXIF block, is looked at.
const MOST: usize = 1 << 20;

/// The longest text that is kept.
const TEXT: usize = 100;

/// What the camera wrote. Times and places are as private as the picture.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exif {
    /// Who made the camera.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub make: Option<String>,
    /// The camera.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The lens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lens: Option<String>,
    /// Exposure, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure_time: Option<f64>,
    /// Aperture: focal length over its diameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub f_number: Option<f64>,
    /// Sensitivity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iso: Option<u32>,
    /// Focal length, millimetres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub focal_length: Option<f64>,
    /// When it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
    /// Degrees north; south is negative. There only together with the longitude.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    /// Degrees east; west is negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    /// Metres above the sea.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub altitude: Option<f64>,
}

/// When a picture was taken, as the camera's own clock had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    /// What the clock showed.
    pub local: jiff::civil::DateTime,
    /// How far it was ahead of UTC, in minutes, if the camera knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_minutes: Option<i16>,
}

impl Taken {
    /// The moment. Where the offset is not known, the clock is taken for UTC.
    pub fn timestamp(&self) -> Timestamp {
        let minutes = i64::from(self.offset_minutes.unwrap_or(0));
        let midnight = mana_types::Date(self.local.date()).start_utc();
        let time = self.local.time();
        let seconds = i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second());
        midnight.plus_millis((seconds - minutes * 60) * 1000)
    }
}

/// Reads what the camera wrote, from JPEG, PNG, WebP, TIFF, HEIC and AVIF; `None` if it wrote nothing that can be believed.
pub fn exif(bytes: &[u8]) -> Option<Exif> {
    let found = with_fields(bytes, Fields::all)?;
    (found != Exif::default()).then_some(found)
}

/// How the picture has to be turned, 1..=8; 1 where nothing is said or what is said cannot be.
pub(crate) fn orientation(bytes: &[u8]) -> u8 {
    let value = with_fields(bytes, |fields| fields.number(Tag::Orientation));
    value.flatten().and_then(|value| u8::try_from(value).ok()).filter(|value| (1..=8).contains(value)).unwrap_or(1)
}

fn with_fields<T>(bytes: &[u8], read: impl FnOnce(&Fields) -> T) -> Option<T> {
    // The parser has no loops to fall into and checks its indices; should it panic all the same, the picture has no metadata.
    catch_unwind(AssertUnwindSafe(|| fields(bytes).map(|fields| read(&fields)))).ok().flatten()
}

fn fields(bytes: &[u8]) -> Option<Fields> {
    let mut reader = Reader::new();
    reader.continue_on_error(true);
    let found = match sniff(bytes) {
        // These two keep it behind the pixels as often as before them: found by walking, not by reading.
        Kind::Webp => reader.read_raw(block(webp::chunk(bytes, *b"EXIF")?)),
        Kind::Png => reader.read_raw(block(png_chunk(bytes)?)),
        Kind::Jpeg | Kind::Tiff | Kind::Heif | Kind::Avif => {
            reader.read_from_container(&mut Cursor::new(&bytes[..bytes.len().min(MOST)]))
        }
        Kind::Gif | Kind::Bmp | Kind::Svg | Kind::Html | Kind::Script | Kind::Other => return None,
    };
    // A block with faults gives what is right in it.
    found.or_else(|error| error.distill_partial_result(|_| {})).ok().map(Fields)
}

/// The block itself; some writers put JPEG's marker before it.
fn block(payload: &[u8]) -> Vec<u8> {
    let payload = payload.strip_prefix(b"Exif\0\0").unwrap_or(payload);
    payload[..payload.len().min(MOST)].to_vec()
}

fn png_chunk(bytes: &[u8]) -> Option<&[u8]> {
    let mut at = 8_usize;
    loop {
        let length = be32(bytes, at)? as usize;
        let end = at.checked_add(8)?.checked_add(length)?;
        match bytes.get(at + 4..at + 8)? {
            b"eXIf" => return bytes.get(at + 8..end),
            b"IEND" => return None,
            _ => at = end.checked_add(4)?,
        }
    }
}

struct Fields(::exif::Exif);

impl Fields {
    fn all(&self) -> Exif {
        let place = self.degrees(Tag::GPSLatitude, Tag::GPSLatitudeRef, *b"NS", 90.0).zip(self.degrees(
            Tag::GPSLongitude,
            Tag::GPSLongitudeRef,
            *b"EW",
            180.0,
        ));
        let positive = |tag, most: f64| self.real(tag).filter(|value| *value > 0.0 && *value <= most);
        Exif {
            make: self.text(Tag::Make),
            model: self.text(Tag::Model),
            lens: self.text(Tag::LensModel),
            exposure_time: positive(Tag::ExposureTime, 86_400.0),
            f_number: positive(Tag::FNumber, 1_000.0),
            iso: self.number(Tag::PhotographicSensitivity).filter(|iso| (1..=10_000_000).contains(iso)),
            focal_length: positive(Tag::FocalLength, 100_000.0),
            taken: self.taken(),
            latitude: place.map(|(latitude, _)| latitude),
            longitude: place.map(|(_, longitude)| longitude),
            altitude: place.and_then(|_| self.altitude()),
        }
    }

    fn value(&self, tag: Tag) -> Option<&Value> {
        self.0.get_field(tag, In::PRIMARY).map(|field| &field.value)
    }

    fn number(&self, tag: Tag) -> Option<u32> {
        self.value(tag)?.get_uint(0)
    }

    fn ascii(&self, tag: Tag) -> Option<&[u8]> {
        match self.value(tag)? {
            Value::Ascii(lines) => lines.first().map(Vec::as_slice),
            _ => None,
        }
    }

    /// Text without control characters and the blanks that cameras fill their fields with.
    fn text(&self, tag: Tag) -> Option<String> {
        let raw = self.ascii(tag)?;
        let text = String::from_utf8_lossy(&raw[..raw.len().min(TEXT * 4)]);
        let text: String =
            text.chars().filter(|c| !c.is_control() && *c != char::REPLACEMENT_CHARACTER).take(TEXT).collect();
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn reals(&self, tag: Tag) -> Option<Vec<f64>> {
        let reals: Vec<f64> = match self.value(tag)? {
            Value::Rational(values) => values.iter().take(3).map(::exif::Rational::to_f64).collect(),
            Value::SRational(values) => values.iter().take(3).map(::exif::SRational::to_f64).collect(),
            _ => return None,
        };
        // A denominator of zero.
        reals.iter().all(|value| value.is_finite()).then_some(reals)
    }

    fn real(&self, tag: Tag) -> Option<f64> {
        self.reals(tag)?.first().copied()
    }

    fn degrees(&self, tag: Tag, side: Tag, [plus, minus]: [u8; 2], most: f64) -> Option<f64> {
        let parts = self.reals(tag)?;
        let part = |at: usize| parts.get(at).copied().unwrap_or(0.0);
        let sign = match self.ascii(side)?.first()?.to_ascii_uppercase() {
            letter if letter == plus => 1.0,
            letter if letter == minus => -1.0,
            _ => return None,
        };
        let degrees = part(0) + part(1) / 60.0 + part(2) / 3600.0;
        (parts.iter().all(|part| *part >= 0.0) && !parts.is_empty() && degrees <= most).then_some(sign * degrees)
    }

    fn altitude(&self) -> Option<f64> {
        let metres = self.real(Tag::GPSAltitude)?;
        let below = self.number(Tag::GPSAltitudeRef) == Some(1);
        (metres.abs() <= 100_000.0).then_some(if below { -metres } else { metres })
    }

    fn taken(&self) -> Option<Taken> {
        let offset_of = |number| Tag(Context::Exif, number);
        // When the shutter opened, when it became a file, when that was last changed.
        [
            (Tag::DateTimeOriginal, offset_of(0x9011)),
            (Tag::DateTimeDigitized, offset_of(0x9012)),
            (Tag::DateTime, offset_of(0x9010)),
        ]
        .into_iter()
        .find_map(|(time, offset)| self.moment(time, offset))
    }

    fn moment(&self, time: Tag, offset: Tag) -> Option<Taken> {
        let mut read = DateTime::from_ascii(self.ascii(time)?).ok()?;
        let part = |value: u8| i8::try_from(value).ok();
        let (month, day) = (part(read.month)?, part(read.day)?);
        let (hour, minute, second) = (part(read.hour)?, part(read.minute)?, part(read.second)?);
        let year = i16::try_from(read.year).ok().filter(|year| (1826..=9998).contains(year))?;
        let local = jiff::civil::DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
        let offset_minutes = self
            .ascii(offset)
            .and_then(|text| read.parse_offset(text).ok().and(read.offset))
            .filter(|minutes| (-14 * 60..=14 * 60).contains(minutes));
        Some(Taken { local, offset_minutes })
    }
}
