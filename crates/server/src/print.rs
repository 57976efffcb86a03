//! What a person or a program reads: data on standard output, narration on standard error.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::failure::{Failure, Result};

/// Writes a line to standard output.
pub(crate) fn out(text: &str) -> Result {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()) {
        // Whoever reads has seen enough, as with `mana actions | head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::Failed(format!("standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Tells a person what happens. Nothing is lost if nobody can read it.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", harmless(text));
}

/// The text without characters that a terminal obeys: an error message may come from anybody's server or from a model.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(|char| if char.is_control() && !"\n\t".contains(char) { '\u{fffd}' } else { char }).collect()
}

/// Writes JSON to standard output.
pub(crate) fn json(value: &Value) -> Result {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Failed(error.to_string()))?;
    out(&text)
}

/// A table for people: plain columns, fitted to the terminal where there is one of a sensible width.
pub(crate) fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    const SENSIBLE: u16 = 60;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if std::io::stdout().is_terminal() && table.width().is_some_and(|width| width >= SENSIBLE) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(head);
    for row in rows {
        table.add_row(row.iter().map(|cell| harmless(cell)));
    }
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// A member of a JSON object as text; empty if it is absent.
pub(crate) fn text(value: &Value, member: &str) -> String {
    match &value[member] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A time as people in a hurry read it: `2026-11-20 09:30`.
pub(crate) fn time(value: &Value, member: &str) -> String {
    let text = text(value, member);
    match text.split_once('T') {
        Some((date, clock)) => format!("{date} {}", clock.get(..5).unwrap_or_default()),
        None => text,
    }
}

/// Text as one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    text.bytes().fold(String::new(), |mut segment, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            let _ = write!(segment, "%{byte:02X}"); // writing to a String cannot fail
        }
        segment
    })
}

/// Text cut to a length that fits a table.
pub(crate) fn short(text: &str, length: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= length {
        return line;
    }
    let mut cut: String = line.chars().take(length.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        let table = table(&["tool"], vec![vec!["a\u{1b}]0;own\u{7}b\u{9b}2J".to_owned()]]);
        assert!(table.contains("a\u{fffd}]0;own\u{fffd}b\u{fffd}2J"), "{table:?}");
        assert_eq!(harmless("two\nlines\r"), "two\nlines\u{fffd}");
    }
}
