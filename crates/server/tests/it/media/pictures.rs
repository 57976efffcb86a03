//! A folder of files of every kind, and what is true of each.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use mana_types::Timestamp;

/// An image as it was made.
pub(super) struct Picture {
    name: String,
    pub(super) size: usize,
    pub(super) mime: &'static str,
    /// The clock of the camera, `2019:05:01 12:00:00`.
    pub(super) taken: Option<String>,
    /// The moment that this was; a camera that noted no offset is taken to show UTC.
    pub(super) utc: Option<Timestamp>,
    pub(super) place: Option<(u32, u32)>,
    pub(super) camera: Option<&'static str>,
}

impl Picture {
    /// What it is called once it is stored: without control characters.
    pub(super) fn stored_name(&self) -> String {
        self.name.replace('\u{7}', "")
    }
}

/// The folder.
pub(super) struct Folder {
    pub(super) root: PathBuf,
    pub(super) pictures: Vec<Picture>,
    /// How many files have the bytes of another.
    pub(super) duplicates: usize,
    /// Images that cannot be decoded.
    pub(super) damaged: Vec<PathBuf>,
    /// Files that are no images.
    pub(super) others: Vec<PathBuf>,
    /// The one of them that is empty.
    pub(super) empty: PathBuf,
}

impl Folder {
    pub(super) fn make(root: &Path, count: u32) -> Self {
        let folders =
            ["", "Urlaub 2019", "Größe & Ümläute/tief/tiefer", ".", "DCIM/100TESTA"].map(|name| root.join(name));
        for folder in &folders {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        let write = |path: PathBuf, bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("written");
            path
        };
        let mut pictures = Vec::new();
        let mut duplicates = 0;
        for number in 0..count {
            let (mut picture, bytes) = picture(number);
            picture.size = bytes.len();
            let folder = &folders[number as usize % folders.len()];
            write(folder.join(&picture.name), &bytes);
            if number % 16 == 3 {
                // The later of two names for the same bytes is the one that stays.
                picture.name = format!("Kopie von {number}.jpg");
                write(folder.join(&picture.name), &bytes);
                duplicates += 1;
            }
            pictures.push(picture);
        }
        let damaged = vec![
            write(root.join("damaged.jpg"), b"\xff\xd8\xff\xe0\x00\x10JFIF\0 and then nothing"),
            // Of the same name as the other.
            write(root.join("Urlaub 2019/damaged.jpg"), b"RIFF\x40\0\0\0WEBPVP8 and then nothing"),
        ];
        let empty = write(root.join("empty.jpg"), b"");
        let mut others = vec![
            write(root.join("notes \u{7}.txt"), b"no picture"),
            write(root.join("page.jpg"), b"<!doctype html><script>alert(1)</script>"),
            write(root.join("drawing.svg"), b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ];
        others.push(empty.clone());
        // Nobody sees these.
        let (_, hidden) = picture(count + 1);
        write(root.join(".hidden.jpg"), &hidden);
        std::fs::create_dir(root.join(".thumbnails")).expect("a folder");
        write(root.join(".thumbnails/thumb.jpg"), &hidden);
        #[cfg(unix)]
        std::os::unix::fs::symlink("..", root.join("round and round")).expect("a link");
        Self { root: root.to_owned(), pictures, duplicates, damaged, others, empty }
    }
}

/// A picture that no other number has.
fn picture(number: u32) -> (Picture, Vec<u8>) {
    let pixels = RgbImage::from_fn(60 + number % 7, 40, |x, y| {
        Rgb([x * 3 + number, y * 5 + number / 256, number].map(|value| value.to_le_bytes()[0]))
    });
    let (extension, mime, format) = match number % 8 {
        5 => ("png", "image/png", Some(ImageFormat::Png)),
        6 => ("gif", "image/gif", Some(ImageFormat::Gif)),
        7 => ("bmp", "image/bmp", Some(ImageFormat::Bmp)),
        _ => ("jpg", "image/jpeg", None),
    };
    let name = match number % 10 {
        2 => format!("Bild\u{7} {number}.{extension}"),
        4 => format!("Käse & Brot {number}.{extension}"),
        _ => format!("IMG_{number:04}.{extension}"),
    };
    let mut picture = Picture { name, size: 0, mime, taken: None, utc: None, place: None, camera: None };
    if let Some(format) = format {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::ImageRgb8(pixels).write_to(&mut bytes, format).expect("encoded");
        return (picture, bytes.into_inner());
    }
    let mut fields = Exif::default();
    if number % 8 != 3 {
        // Noon, so that no offset moves it to another year.
        let (year, month, day) = (2015 + number % 9, 1 + number % 12, 1 + number % 28);
        let offset = [None, Some("+02:00"), Some("-05:00")][number as usize % 3];
        let clock = format!("12:{:02}:{:02}", number / 60 % 60, number % 60);
        let moment = format!("{year}-{month:02}-{day:02}T{clock}{}", offset.unwrap_or("Z"));
        picture.utc = Some(moment.parse().expect("a time"));
        let taken = format!("{year}:{month:02}:{day:02} {clock}");
        let camera = ["Testa", "Probica"][number as usize % 2];
        fields.picture.push((0x0110, Value::Text(camera.into())));
        fields.exposure.push((0x9003, Value::Text(taken.clone())));
        fields.exposure.extend(offset.map(|offset| (0x9011, Value::Text(offset.into()))));
        (picture.taken, picture.camera) = (Some(taken), Some(camera));
    }
    if number.is_multiple_of(3) {
        let place = (40 + number % 20, 5 + number % 30);
        fields.place = vec![
            (1, Value::Text("N".into())),
            (2, Value::Degrees(place.0)),
            (3, Value::Text("E".into())),
            (4, Value::Degrees(place.1)),
        ];
        picture.place = Some(place);
    }
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 85);
    encoder.add_exif_metadata(&fields.block()).expect("fits");
    let (width, height) = (u16::try_from(pixels.width()), u16::try_from(pixels.height()));
    encoder
        .encode(pixels.as_raw(), width.expect("small"), height.expect("small"), jpeg_encoder::ColorType::Rgb)
        .expect("encoded");
    (picture, bytes)
}

/// A value of a field.
enum Value {
    Text(String),
    Degrees(u32),
}

/// The fields of an EXIF block (Exif 2.32, a TIFF without pixels): of the picture, of the exposure, of the place.
#[derive(Default)]
struct Exif {
    picture: Vec<(u16, Value)>,
    exposure: Vec<(u16, Value)>,
    place: Vec<(u16, Value)>,
}

impl Exif {
    fn block(&self) -> Vec<u8> {
        let mut block = b"MM\0\x2a\0\0\0\x08".to_vec();
        let after_picture = |block: &Vec<u8>| u32::try_from(block.len()).expect("short");
        let at = block.len();
        directory(&mut block, &self.picture, 2);
        for (index, (tag, fields)) in [(0x8769_u16, &self.exposure), (0x8825, &self.place)].into_iter().enumerate() {
            let start = after_picture(&block);
            let entry = at + 2 + (self.picture.len() + index) * 12;
            block[entry..entry + 2].copy_from_slice(&tag.to_be_bytes());
            block[entry + 2..entry + 8].copy_from_slice(&[0, 4, 0, 0, 0, 1]);
            block[entry + 8..entry + 12].copy_from_slice(&start.to_be_bytes());
            directory(&mut block, fields, 0);
        }
        block
    }
}

fn directory(block: &mut Vec<u8>, fields: &[(u16, Value)], more: usize) {
    let at = block.len();
    let count = fields.len() + more;
    block.extend(u16::try_from(count).expect("few").to_be_bytes());
    block.resize(at + 2 + count * 12 + 4, 0);
    for (index, (tag, value)) in fields.iter().enumerate() {
        let (kind, count, mut data): (u16, usize, Vec<u8>) = match value {
            Value::Text(text) => (2, text.len() + 1, text.bytes().chain([0]).collect()),
            Value::Degrees(degrees) => {
                let parts = [*degrees, 1, 30, 1, 0, 1];
                (5, 3, parts.iter().flat_map(|part| part.to_be_bytes()).collect())
            }
        };
        if data.len() > 4 {
            let place = u32::try_from(block.len()).expect("short").to_be_bytes();
            block.append(&mut data);
            block.resize(block.len().next_multiple_of(2), 0);
            data = place.to_vec();
        }
        data.resize(4, 0);
        let entry = at + 2 + index * 12;
        let count = u32::try_from(count).expect("short").to_be_bytes();
        block[entry..entry + 2].copy_from_slice(&tag.to_be_bytes());
        block[entry + 2..entry + 4].copy_from_slice(&kind.to_be_bytes());
        block[entry + 4..entry + 8].copy_from_slice(&count);
        block[entry + 8..entry + 12].copy_from_slice(&data);
    }
}
