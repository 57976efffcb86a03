//! Content lines: the form that iCalendar (RFC 5545, 3.1) and vCard (RFC 6350, 3) have in common.
//!
//! `NAME;PARAM=value:text`, folded at 75 octets, with `\n`, `\,`, `\;` and `\\` escaped in texts.

use mana_registry::{Tag, Tags};

/// The most octets of one line on the wire.
const FOLD: usize = 75;

/// One unfolded line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContentLine {
    /// The property's name in upper case, without a group before it.
    pub(crate) name: String,
    params: Vec<(String, String)>,
    /// The value as it stands there, still escaped.
    pub(crate) value: String,
}

impl ContentLine {
    /// The value of a parameter, by its name in upper case.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value as text.
    pub(crate) fn text(&self) -> String {
        unescape(&self.value)
    }

    /// The parts of the value between these signs, each as text.
    pub(crate) fn parts(&self, separator: char) -> Vec<String> {
        let mut parts = vec![String::new()];
        let mut escaped = false;
        for c in self.value.chars() {
            if c == separator && !escaped {
                parts.push(String::new());
                continue;
            }
            if let Some(part) = parts.last_mut() {
                part.push(c);
            }
            escaped = c == '\\' && !escaped;
        }
        parts.iter().map(|part| unescape(part)).collect()
    }

    fn read(line: &str) -> Option<Self> {
        let mut quoted = false;
        let colon = line.char_indices().find_map(|(at, c)| {
            quoted ^= c == '"';
            (c == ':' && !quoted).then_some(at)
        })?;
        let mut head = pieces(&line[..colon]).into_iter();
        let name = head.next()?;
        let name = name.rsplit('.').next().unwrap_or_default().trim().to_ascii_uppercase();
        let params = head
            .map(|param| {
                // vCard 2.1 writes a bare `HOME` for `TYPE=HOME`.
                let (name, value) = param.split_once('=').unwrap_or(("TYPE", &param));
                (name.trim().to_ascii_uppercase(), value.trim_matches('"').to_owned())
            })
            .collect();
        Some(Self { name, params, value: line[colon + 1..].to_owned() })
    }
}

/// Parts between semicolons that do not stand in quotes.
fn pieces(head: &str) -> Vec<String> {
    let mut quoted = false;
    let mut pieces = vec![String::new()];
    for c in head.chars() {
        quoted ^= c == '"';
        match pieces.last_mut() {
            Some(piece) if c != ';' || quoted => piece.push(c),
            _ => pieces.push(String::new()),
        }
    }
    pieces
}

/// All lines of a text, unfolded; what is no content line is left out.
pub(crate) fn read(text: &str) -> Vec<ContentLine> {
    let mut unfolded: Vec<String> = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        match (line.strip_prefix([' ', '\t']), unfolded.last_mut()) {
            (Some(rest), Some(last)) => last.push_str(rest),
            _ => unfolded.push(line.to_owned()),
        }
    }
    unfolded.iter().filter_map(|line| ContentLine::read(line)).collect()
}

/// The lines of each component of this name; those of a component within are called `VALARM.TRIGGER` and the like.
pub(crate) fn components(lines: &[ContentLine], name: &str) -> Vec<Vec<ContentLine>> {
    let mut found: Vec<Vec<ContentLine>> = Vec::new();
    let mut open: Vec<String> = Vec::new();
    for line in lines {
        match line.name.as_str() {
            "BEGIN" => {
                let begins = line.value.trim().to_ascii_uppercase();
                if begins == name {
                    found.push(Vec::new());
                }
                open.push(begins);
            }
            "END" => drop(open.pop()),
            property => {
                let depth = open.iter().position(|outer| outer == name);
                if let (Some(depth), Some(component)) = (depth, found.last_mut()) {
                    let mut line = line.clone();
                    if let Some(inner) = open.get(depth + 1) {
                        line.name = format!("{inner}.{property}");
                    }
                    component.push(line);
                }
            }
        }
    }
    found
}

fn unescape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n' | 'N') => text.push('\n'),
                Some(other) => text.push(other),
                None => {}
            },
            c => text.push(c),
        }
    }
    text
}

/// A text as it may stand in a value.
pub(crate) fn escape(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | ',' | ';' => value.extend(['\\', c]),
            '\n' => value.push_str("\\n"),
            '\r' => {}
            c => value.push(c),
        }
    }
    value
}

/// Adds a line, folded, with the line end that both standards ask for.
pub(crate) fn write(out: &mut String, name: &str, value: &str) {
    let mut width = 0;
    for c in name.chars().chain([':']).chain(value.chars()) {
        if width + c.len_utf8() > FOLD {
            out.push_str("\r\n ");
            width = 1;
        }
        out.push(c);
        width += c.len_utf8();
    }
    out.push_str("\r\n");
}

/// Adds a line for a text that is there.
pub(crate) fn write_text(out: &mut String, name: &str, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        write(out, name, &escape(text));
    }
}

/// The categories of a card or event as tags: what is too long for one, or one too many, is told.
pub(crate) fn tags<const MAX: usize>(mut names: Vec<String>, notices: &mut Vec<String>) -> Tags<MAX> {
    names.retain(|name| !name.trim().is_empty());
    let told = names.len();
    names.retain(|name| Tag::parse(name).is_ok());
    names.truncate(MAX);
    if names.len() < told {
        notices.push(format!("`CATEGORIES`: {} of {told} were left out", told - names.len()));
    }
    serde_json::to_value(names).and_then(serde_json::from_value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = "Zeile eins; mit Semikolon, Komma und \\ Strich\nZeile zwei, so lang, dass sie gefaltet werden muss: ÄÖÜ äöü ßßß €€€ 😀";
        let mut out = String::new();
        write_text(&mut out, "NOTE", Some(text));
        assert!(out.split("\r\n").all(|line| line.len() <= FOLD), "{out}");
        let lines = read(&out);
        assert_eq!((lines.len(), lines[0].name.as_str(), lines[0].text().as_str()), (1, "NOTE", text));
    }

    #[test]
    fn names_parameters_and_parts_are_told_apart() {
        let lines = read("item1.tel;TYPE=\"cell;x:y\",voice;PREF=1:+49 30:1\nN:Doe\\;x;Jane;;;\nno line\n");
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].name.as_str(), lines[0].param("PREF")), ("TEL", Some("1")));
        assert_eq!(lines[0].value, "+49 30:1");
        assert_eq!(lines[1].parts(';'), ["Doe;x", "Jane", "", "", ""]);
    }

    #[test]
    fn components_within_components_are_told_apart() {
        let lines = read(
            "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:a\nBEGIN:VALARM\nTRIGGER:-PT5M\nEND:VALARM\nUID:u\nEND:VEVENT\nEND:VCALENDAR",
        );
        let events = components(&lines, "VEVENT");
        let names: Vec<&str> = events[0].iter().map(|line| line.name.as_str()).collect();
        assert_eq!((events.len(), names), (1, vec!["SUMMARY", "VALARM.TRIGGER", "UID"]));
    }
}
