//! What to deliver: the whole, a part, or the word that nothing changed (RFC 9110, sections 13 and 14), and under which
//! file name (RFC 6266 with RFC 8187). Headers in, a decision out.

use std::fmt::Write as _;
use std::ops::Range;

use http::{HeaderMap, header};
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};
use mana_types::Timestamp;

use crate::Blob;

/// What a request for bytes is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The caller has it already.
    NotModified,
    /// All of it.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// None of the bytes that were asked for are there.
    Unsatisfiable,
}

/// Decides by the validators that the caller sent. A range counts only for bytes that are fetched, and only one.
pub(crate) fn decide(headers: &HeaderMap, fetches: bool, blob: &Blob) -> Delivery {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let unchanged = if headers.contains_key(header::IF_NONE_MATCH) {
        headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','))
            .any(|tag| is_tag(tag.trim().trim_start_matches("W/"), &blob.etag) || tag.trim() == "*")
    } else {
        let since = text(header::IF_MODIFIED_SINCE).and_then(read_date);
        since.is_some_and(|since| blob.modified.as_secs() <= since)
    };
    if unchanged {
        return Delivery::NotModified;
    }
    // What the part would be joined to is another version: the whole instead.
    let outdated = text(header::IF_RANGE).is_some_and(|validator| {
        !is_tag(validator.trim(), &blob.etag) && read_date(validator) != Some(blob.modified.as_secs())
    });
    let mut ranges = headers.get_all(header::RANGE).iter();
    match (ranges.next(), ranges.next()) {
        (Some(range), None) if fetches && !outdated => {
            range.to_str().map_or(Delivery::Whole, |range| part(range, blob.size))
        }
        _ => Delivery::Whole,
    }
}

fn is_tag(quoted: &str, etag: &str) -> bool {
    quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) == Some(etag)
}

/// One range. What cannot be read, and more than one, is as if nothing had been asked.
fn part(header: &str, size: u64) -> Delivery {
    let Some((unit, ranges)) = header.split_once('=') else { return Delivery::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || ranges.contains(',') {
        return Delivery::Whole;
    }
    let Some((first, last)) = ranges.trim().split_once('-') else { return Delivery::Whole };
    match (place(first), place(last)) {
        (Place::None, Place::At(0)) => Delivery::Unsatisfiable,
        (Place::None, Place::At(count)) => Delivery::Part(size.saturating_sub(count)..size),
        (Place::At(first), Place::None) if first < size => Delivery::Part(first..size),
        (Place::At(first), Place::At(last)) if first > last => Delivery::Whole,
        (Place::At(first), Place::At(last)) if first < size => Delivery::Part(first..last.saturating_add(1).min(size)),
        (Place::At(_), Place::None | Place::At(_)) => Delivery::Unsatisfiable,
        (Place::None, Place::None) | (Place::Wrong, _) | (_, Place::Wrong) => Delivery::Whole,
    }
}

enum Place {
    None,
    At(u64),
    Wrong,
}

fn place(text: &str) -> Place {
    match text {
        "" => Place::None,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Place::At(digits.parse().unwrap_or(u64::MAX)),
        _ => Place::Wrong,
    }
}

/// A date as HTTP writes it.
pub(crate) fn write_date(time: Timestamp) -> String {
    // Fails only before the year 0 and after 9999, where no file is from.
    DateTimePrinter::new().timestamp_to_rfc9110_string(&time.to_jiff()).unwrap_or_default()
}

/// The second that a date of HTTP names.
fn read_date(text: &str) -> Option<i64> {
    DateTimeParser::new().parse_timestamp(text.trim()).ok().map(jiff::Timestamp::as_second)
}

/// `Content-Disposition`: shown within a page or saved, and under which name. The plain name is for old clients; all
/// others read the encoded one.
pub(crate) fn disposition(name: &str, inline: bool) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = last.chars().filter(|c| !c.is_control()).collect();
    let name = if name.trim().trim_matches('.').is_empty() { "file" } else { name.trim() };
    let plain: String = name
        .chars()
        .map(|c| if (c.is_ascii_graphic() || c == ' ') && !matches!(c, '"' | '\\' | '%') { c } else { '_' })
        .collect();
    let kind = if inline { "inline" } else { "attachment" };
    if plain == name {
        return format!("{kind}; filename=\"{plain}\"");
    }
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{}", encoded(name))
}

/// A text as a part of an address or of an encoded parameter: everything but letters, digits and `-._~` escaped.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}"); // writing to a String cannot fail
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_a_part_and_nonsense_is_nothing() {
        for (header, expected) in [
            ("bytes=0-9", Delivery::Part(0..10)),
            ("bytes=5-", Delivery::Part(5..100)),
            ("Bytes=99-", Delivery::Part(99..100)),
            ("bytes=-10", Delivery::Part(90..100)),
            ("bytes=-1000", Delivery::Part(0..100)),
            ("bytes=90-1000", Delivery::Part(90..100)),
            ("bytes=0-99999999999999999999999", Delivery::Part(0..100)),
            ("bytes=100-", Delivery::Unsatisfiable),
            ("bytes=99999999999999999999999-", Delivery::Unsatisfiable),
            ("bytes=200-300", Delivery::Unsatisfiable),
            ("bytes=-0", Delivery::Unsatisfiable),
            ("bytes=0-1,5-6", Delivery::Whole),
            ("bytes=9-1", Delivery::Whole),
            ("bytes=-", Delivery::Whole),
            ("bytes=", Delivery::Whole),
            ("bytes=a-b", Delivery::Whole),
            ("bytes=+1-2", Delivery::Whole),
            ("bytes=--2", Delivery::Whole),
            ("bytes=1.5-2", Delivery::Whole),
            ("items=0-1", Delivery::Whole),
            ("0-1", Delivery::Whole),
            ("", Delivery::Whole),
        ] {
            assert_eq!(part(header, 100), expected, "{header}");
        }
    }

    #[test]
    fn a_date_reads_back() {
        let time = Timestamp::from_millis(784_111_777_000);
        // The example of RFC 9110, section 5.6.7.
        assert_eq!(write_date(time), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(read_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(read_date("yesterday"), None);
    }

    #[test]
    fn a_name_breaks_out_of_nothing() {
        for (name, expected) in [
            ("photo.jpg", "filename=\"photo.jpg\""),
            ("Bild 1.jpg", "filename=\"Bild 1.jpg\""),
            ("Größe.png", "filename=\"Gr__e.png\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe.png"),
            ("a\"; x=\"b.txt", "filename=\"a_; x=_b.txt\"; filename*=UTF-8''a%22%3B%20x%3D%22b.txt"),
            ("100%25.txt", "filename=\"100_25.txt\"; filename*=UTF-8''100%2525.txt"),
            ("../../etc/passwd", "filename=\"passwd\""),
            ("C:\\x\\y.txt", "filename=\"y.txt\""),
            ("a\r\nSet-Cookie: b", "filename=\"aSet-Cookie: b\""),
            ("..", "filename=\"file\""),
            ("", "filename=\"file\""),
        ] {
            assert_eq!(disposition(name, false), format!("attachment; {expected}"), "{name:?}");
        }
        assert_eq!(disposition("x.png", true), "inline; filename=\"x.png\"");
    }
}
