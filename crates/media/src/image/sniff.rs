//! What a file is, from its first bytes. What it is called or declared as does not count.

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// JPEG.
    Jpeg,
    /// PNG, animated or not.
    Png,
    /// GIF.
    Gif,
    /// WebP.
    Webp,
    /// BMP.
    Bmp,
    /// TIFF, and the raw formats that are built on it.
    Tiff,
    /// HEIC and its relatives.
    Heif,
    /// AVIF.
    Avif,
    /// SVG: a document that can run scripts, never shown inline.
    Svg,
    /// HTML: the same.
    Html,
    /// A program's text: never shown inline.
    Script,
    /// Anything else.
    Other,
}

impl Kind {
    /// The media type, as far as the bytes tell.
    pub const fn mime(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
            Self::Bmp => "image/bmp",
            Self::Tiff => "image/tiff",
            Self::Heif => "image/heic",
            Self::Avif => "image/avif",
            Self::Svg => "image/svg+xml",
            Self::Html => "text/html",
            Self::Script => "text/plain",
            Self::Other => "application/octet-stream",
        }
    }

    /// A short name: `jpeg`, `png`, ….
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Webp => "webp",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
            Self::Heif => "heif",
            Self::Avif => "avif",
            Self::Svg => "svg",
            Self::Html => "html",
            Self::Script => "script",
            Self::Other => "other",
        }
    }

    /// Whether it is a picture made of pixels, and may be shown inline.
    pub const fn is_image(self) -> bool {
        match self {
            Self::Jpeg | Self::Png | Self::Gif | Self::Webp | Self::Bmp | Self::Tiff | Self::Heif | Self::Avif => true,
            Self::Svg | Self::Html | Self::Script | Self::Other => false,
        }
    }

    /// Whether variants can be made of it.
    pub const fn is_decodable(self) -> bool {
        match self {
            Self::Jpeg | Self::Png | Self::Gif | Self::Webp | Self::Bmp | Self::Tiff => true,
            Self::Heif | Self::Avif | Self::Svg | Self::Html | Self::Script | Self::Other => false,
        }
    }
}

/// How much of a text is looked at.
const HEAD: usize = 4096;

/// Says what a file is from its first bytes; 4 KiB are enough.
pub fn sniff(head: &[u8]) -> Kind {
    let starts = |magic: &[u8]| head.starts_with(magic);
    if starts(b"\xff\xd8\xff") {
        return Kind::Jpeg;
    }
    if starts(b"\x89PNG\r\n\x1a\n") {
        return Kind::Png;
    }
    if starts(b"GIF87a") || starts(b"GIF89a") {
        return Kind::Gif;
    }
    if starts(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        return Kind::Webp;
    }
    if starts(b"II\x2a\0") || starts(b"MM\0\x2a") || starts(b"II\x2b\0") || starts(b"MM\0\x2b") {
        return Kind::Tiff;
    }
    if is_bmp(head) {
        return Kind::Bmp;
    }
    if head.get(4..8) == Some(b"ftyp") {
        return brands(head);
    }
    text(&head[..head.len().min(HEAD)])
}

/// `BM` alone is also how a text may begin: the reserved bytes are zero and the header has one of its known sizes.
fn is_bmp(head: &[u8]) -> bool {
    head.starts_with(b"BM")
        && head.get(6..10) == Some(&[0; 4])
        && head.get(14..18).is_some_and(|size| {
            matches!(u32::from_le_bytes([size[0], size[1], size[2], size[3]]), 12 | 16 | 40 | 52 | 56 | 64 | 108 | 124)
        })
}

/// ISO base media: the major brand and every compatible one count, because phones disagree about which comes first.
fn brands(head: &[u8]) -> Kind {
    let declared = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let end = declared.clamp(16, 16 + 64 * 4).min(head.len());
    let major = head.get(8..12);
    let compatible = head.get(16..end).unwrap_or_default().as_chunks::<4>().0;
    let all = || major.into_iter().chain(compatible.iter().map(<[u8; 4]>::as_slice));
    if all().any(|brand| matches!(brand, b"avif" | b"avis")) {
        return Kind::Avif;
    }
    let heif = |brand: &[u8]| {
        matches!(
            brand,
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"hevm" | b"hevs" | b"mif1" | b"mif2" | b"msf1"
        )
    };
    if all().any(heif) { Kind::Heif } else { Kind::Other }
}

/// Texts that a browser would run.
fn text(head: &[u8]) -> Kind {
    let text = decoded(head);
    let mut rest = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}' || c == '\0');
    if rest.starts_with("#!") {
        return Kind::Script;
    }
    // What may stand before the first element: the prolog, comments, a document type.
    loop {
        rest = rest.trim_start();
        let end = if rest.starts_with("<?") {
            if rest.starts_with("<?php") {
                return Kind::Script;
            }
            "?>"
        } else if rest.starts_with("<!--") {
            "-->"
        } else if starts_with_ignoring_case(rest, "<!doctype") {
            let name = rest["<!doctype".len()..].trim_start();
            if starts_with_ignoring_case(name, "html") {
                return Kind::Html;
            }
            if starts_with_ignoring_case(name, "svg") {
                return Kind::Svg;
            }
            ">"
        } else {
            break;
        };
        match rest.find(end) {
            Some(at) => rest = &rest[at + end.len()..],
            // It goes on beyond what is looked at: what can be found in it decides.
            None => return element_within(rest),
        }
    }
    if let Some(kind) = element(rest) {
        return kind;
    }
    Kind::Other
}

/// The kind that the element at the start of a text gives away.
fn element(text: &str) -> Option<Kind> {
    const HTML: [&str; 14] = [
        "html", "head", "body", "iframe", "title", "meta", "link", "style", "table", "div", "img", "form", "object",
        "embed",
    ];
    let name = text.strip_prefix('<')?;
    let is = |wanted: &str| {
        starts_with_ignoring_case(name, wanted)
            && name[wanted.len()..].chars().next().is_none_or(|c| c.is_whitespace() || matches!(c, '>' | '/' | ':'))
    };
    if is("svg") || name.split_once(':').is_some_and(|(_, local)| starts_with_ignoring_case(local, "svg")) {
        return Some(Kind::Svg);
    }
    if is("script") {
        return Some(Kind::Script);
    }
    HTML.into_iter().any(is).then_some(Kind::Html)
}

/// The first telling element anywhere in a text.
fn element_within(text: &str) -> Kind {
    text.match_indices('<').find_map(|(at, _)| element(&text[at..])).unwrap_or(Kind::Other)
}

fn starts_with_ignoring_case(text: &str, wanted: &str) -> bool {
    text.as_bytes().get(..wanted.len()).is_some_and(|start| start.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// The head as text, UTF-16 included: browsers read that, too.
fn decoded(head: &[u8]) -> String {
    let wide = |little: bool| {
        let units = head[2..].as_chunks::<2>().0.iter();
        let units = units.map(|pair| if little { u16::from_le_bytes(*pair) } else { u16::from_be_bytes(*pair) });
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    if head.starts_with(b"\xff\xfe") {
        wide(true)
    } else if head.starts_with(b"\xfe\xff") {
        wide(false)
    } else {
        String::from_utf8_lossy(head).into_owned()
    }
}
