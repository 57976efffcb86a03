//! A reference: which user and app a file belongs to, and what they call it.

use crate::{Error, Result};

/// The longest name of a file, in characters.
const NAME: usize = 255;

/// The app of a reference; empty text stands for none.
pub(crate) fn app(app: Option<&str>) -> Result<String> {
    let Some(app) = app else { return Ok(String::new()) };
    let fits = (1..=64).contains(&app.len())
        && app.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-'));
    if fits { Ok(app.to_owned()) } else { Err(Error::InvalidApp) }
}

/// The last part of a path, without what no file name holds: control characters, and the marks that turn text around,
/// with which `gpj.exe` reads as `exe.jpg`.
pub(crate) fn clean_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).find(|part| !part.trim().is_empty()).unwrap_or_default();
    let hides =
        |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let clean: String = last.chars().filter(|c| !c.is_control() && !hides(*c)).collect();
    let clean = clean.trim().trim_end_matches('.').trim_end();
    if clean.is_empty() {
        return "file".to_owned();
    }
    if clean.chars().count() <= NAME {
        return clean.to_owned();
    }
    // Too long: the extension is what people and programs go by, so it stays.
    let extension = clean.rsplit_once('.').map(|(_, extension)| extension).filter(|text| text.chars().count() <= 16);
    match extension {
        Some(extension) => {
            let stem: String = clean.chars().take(NAME - 1 - extension.chars().count()).collect();
            format!("{stem}.{extension}")
        }
        None => clean.chars().take(NAME).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_part_of_a_path_that_can_be_seen() {
        for (given, clean) in [
            ("photo.jpg", "photo.jpg"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Users\\me\\Bild 1.JPG", "Bild 1.JPG"),
            ("a\r\nSet-Cookie: b.png", "aSet-Cookie: b.png"),
            ("\u{202e}gpj.exe", "gpj.exe"),
            ("  ", "file"),
            ("", "file"),
            ("..", "file"),
            ("dir/", "dir"),
            ("Größe 🌱.webp", "Größe 🌱.webp"),
        ] {
            assert_eq!(clean_name(given), clean, "{given:?}");
        }
        let long = clean_name(&format!("{}.jpeg", "ü".repeat(400)));
        assert!(long.split('.').next_back() == Some("jpeg") && long.chars().count() == NAME, "{long}");
        assert_eq!(clean_name(&"x".repeat(400)).len(), NAME);
    }

    #[test]
    fn an_app_is_a_short_word() {
        assert_eq!(app(None).expect("none is fine"), "");
        assert_eq!(app(Some("me.wardrobe-2")).expect("a word"), "me.wardrobe-2");
        for bad in ["", "a b", "ü", "a/b", &"x".repeat(65)] {
            assert!(app(Some(bad)).is_err(), "{bad}");
        }
    }
}
