//! A request as text that two visits can be compared by.
//!
//! The same visit made twice is never the same to the letter: records get fresh ids, and answers say when they were
//! given. So ids become `<id 1>`, `<id 2>` in the order in which they are first seen, times of day become `<time>`, and
//! in what tools answer, days become `<date>` and places in a list `<cursor>`. Everything else counts.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;

use serde_json::{Map, Value};

use super::clean;
use crate::conversation::{Message, Role};
use crate::hash::short_hash;

/// The members of an answer that say where a list goes on: opaque, and made of ids and times.
pub(crate) const CURSORS: [&str; 2] = ["cursor", "nextCursor"];

/// What stands around the messages of a request, as far as it decides what is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) tools: String,
    pub(crate) rules: String,
    pub(crate) persona: String,
    pub(crate) max_tokens: u32,
    pub(crate) format: Option<String>,
}

/// A request, ready to be compared.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) frame: Frame,
    pub(crate) messages: Vec<ShownMessage>,
}

/// A message as lines.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ShownMessage {
    pub(crate) role: Role,
    pub(crate) lines: Vec<String>,
}

impl Shown {
    pub(crate) fn new<'m>(frame: Frame, messages: impl Iterator<Item = &'m Message>) -> Self {
        let mut normal = Normal::default();
        Self { frame, messages: messages.map(|message| normal.message(message)).collect() }
    }

    /// The request's hash: the same for two requests that differ in nothing that counts.
    pub(crate) fn hash(&self) -> String {
        let Frame { tools, rules, persona, max_tokens, format } = &self.frame;
        let format = format.as_deref().unwrap_or("none");
        let mut text = format!("{tools}\n{rules}\n{persona}\n{max_tokens}\n{format}\n");
        for message in &self.messages {
            // Lengths first, so that no text can look like the end of a message.
            let _ = writeln!(text, "{:?} {}", message.role, message.lines.len()); // writing to a String cannot fail
            for line in &message.lines {
                let _ = writeln!(text, "{} {line}", line.len());
            }
        }
        short_hash(text.as_bytes())
    }
}

/// Ids by the order in which they were seen.
#[derive(Default)]
struct Normal {
    ids: HashMap<String, usize>,
}

impl Normal {
    fn message(&mut self, message: &Message) -> ShownMessage {
        let mut lines = Vec::new();
        for block in &message.content {
            self.block(block, &mut lines);
        }
        ShownMessage { role: message.role, lines }
    }

    fn block(&mut self, block: &Value, lines: &mut Vec<String>) {
        let member = |name: &str| block.get(name).and_then(Value::as_str).unwrap_or_default();
        match member("type") {
            "text" => lines.extend(self.text(member("text"), false).lines().map(str::to_owned)),
            "tool_use" => {
                lines.push(self.text(&format!("tool_use {} {}", member("id"), member("name")), false));
                let input = block.get("input").map(|input| self.value(input, false));
                put(input.as_ref(), lines);
            }
            "tool_result" => {
                let failed = block.get("is_error").and_then(Value::as_bool) == Some(true);
                let mark = if failed { " error" } else { "" };
                lines.push(self.text(&format!("tool_result {}{mark}", member("tool_use_id")), false));
                for part in block.get("content").and_then(Value::as_array).into_iter().flatten() {
                    self.answer(part, lines);
                }
            }
            _ => put(Some(&self.value(block, false)), lines),
        }
    }

    /// A part of what a tool answered; JSON by its members, so that a difference has a line of its own.
    fn answer(&mut self, part: &Value, lines: &mut Vec<String>) {
        let Some(text) = part.get("text").and_then(Value::as_str) else {
            return put(Some(&self.value(part, true)), lines);
        };
        match serde_json::from_str::<Value>(text) {
            Ok(value @ (Value::Object(_) | Value::Array(_))) => put(Some(&self.value(&value, true)), lines),
            _ => lines.extend(self.text(text, true).lines().map(str::to_owned)),
        }
    }

    fn value(&mut self, value: &Value, answered: bool) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text, answered)),
            Value::Array(items) => items.iter().map(|item| self.value(item, answered)).collect(),
            Value::Object(members) => {
                let normal = members.iter().map(|(name, member)| {
                    let member = match member {
                        Value::String(_) if CURSORS.contains(&name.as_str()) => "<cursor>".into(),
                        other => self.value(other, answered),
                    };
                    (self.text(name, answered), member)
                });
                Value::Object(normal.collect::<Map<_, _>>())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn text(&mut self, text: &str, answered: bool) -> String {
        let text = clean(text);
        replace(&text, |mark, found| match mark {
            Mark::Id => {
                let next = self.ids.len() + 1;
                let number = *self.ids.entry(found.to_ascii_lowercase()).or_insert(next);
                Some(format!("<id {number}>"))
            }
            Mark::Time => Some("<time>".into()),
            Mark::Date => answered.then(|| "<date>".into()),
        })
    }
}

fn put(value: Option<&Value>, lines: &mut Vec<String>) {
    let pretty = value.and_then(|value| serde_json::to_string_pretty(value).ok()).unwrap_or_default();
    lines.extend(pretty.lines().map(str::to_owned));
}

/// What is looked for in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// A UUID.
    Id,
    /// A time of RFC 3339, also without seconds or offset.
    Time,
    /// A day of RFC 3339.
    Date,
}

/// The text with what was found in it replaced; none leaves it as it is.
pub(crate) fn replace(text: &str, mut with: impl FnMut(Mark, &str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (mark, at) in marks(text) {
        if let Some(new) = with(mark, &text[at.clone()]) {
            out.push_str(&text[done..at.start]);
            out.push_str(&new);
            done = at.end;
        }
    }
    out.push_str(&text[done..]);
    out
}

/// Where ids, times and days stand in a text, in order.
pub(crate) fn marks(text: &str) -> Vec<(Mark, Range<usize>)> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let begins = bytes[at].is_ascii_hexdigit() && (at == 0 || !bytes[at - 1].is_ascii_alphanumeric());
        let Some((mark, length)) = begins.then(|| mark_at(&bytes[at..])).flatten() else {
            at += 1;
            continue;
        };
        found.push((mark, at..at + length));
        at += length;
    }
    found
}

fn mark_at(bytes: &[u8]) -> Option<(Mark, usize)> {
    if fits(bytes, "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh") && !bytes.get(36).is_some_and(u8::is_ascii_alphanumeric) {
        return Some((Mark::Id, 36));
    }
    if !fits(bytes, "dddd-dd-dd") || bytes.get(10).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let separated = matches!(bytes.get(10), Some(b'T' | b't' | b' '));
    if !separated || !fits(&bytes[11..], "dd:dd") {
        return Some((Mark::Date, 10));
    }
    let mut length = 16;
    if fits(&bytes[length..], ":dd") {
        length += 3;
        if fits(&bytes[length..], ".d") {
            length += 1 + bytes[length + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        }
    }
    match bytes.get(length) {
        Some(b'Z' | b'z') => length += 1,
        Some(b'+' | b'-') if fits(&bytes[length + 1..], "dd:dd") => length += 6,
        _ => {}
    }
    Some((Mark::Time, length))
}

/// Whether some bytes begin as a form says: `h` a hexadecimal digit, `d` a digit, anything else itself.
fn fits(bytes: &[u8], form: &str) -> bool {
    bytes.len() >= form.len()
        && form.bytes().zip(bytes).all(|(wanted, byte)| match wanted {
            b'h' => byte.is_ascii_hexdigit(),
            b'd' => byte.is_ascii_digit(),
            other => *byte == other,
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::conversation::{text_block, tool_result_block};

    #[test]
    fn ids_times_and_days_are_found_and_nothing_that_looks_alike() {
        let id = "0199a3f2-7c1e-7b60-9a51-1f0c7d2e4b11";
        let table: &[(&str, &[(Mark, &str)])] = &[
            (&format!("no `{id}` here"), &[(Mark::Id, id)]),
            (&format!("{id}@2026-11-20"), &[(Mark::Id, id), (Mark::Date, "2026-11-20")]),
            (&format!("x{id}"), &[]),
            (&format!("{id}0"), &[]),
            ("2026-11-20T09:30:00.123+01:00, then", &[(Mark::Time, "2026-11-20T09:30:00.123+01:00")]),
            ("am 2026-11-20 09:30 Uhr", &[(Mark::Time, "2026-11-20 09:30")]),
            ("2026-11-20T09:30:00Z", &[(Mark::Time, "2026-11-20T09:30:00Z")]),
            ("2026-11-20T", &[(Mark::Date, "2026-11-20")]),
            ("12026-11-20", &[]),
            ("2026-11-201", &[]),
            ("größer 🦊 2026-11-20", &[(Mark::Date, "2026-11-20")]),
            ("2026-11-20T09:3", &[(Mark::Date, "2026-11-20")]),
        ];
        for (text, expected) in table {
            let found: Vec<(Mark, &str)> = marks(text).into_iter().map(|(mark, at)| (mark, &text[at])).collect();
            assert_eq!(&found, expected, "{text}");
        }
    }

    fn frame() -> Frame {
        Frame { tools: "t".into(), rules: "r".into(), persona: "p".into(), max_tokens: 10, format: None }
    }

    fn hash_of(first: &str, answer: &str) -> String {
        let messages = [
            Message { role: Role::User, content: vec![text_block(first)] },
            Message { role: Role::User, content: vec![tool_result_block("call_01", vec![text_block(answer)], false)] },
        ];
        Shown::new(frame(), messages.iter()).hash()
    }

    #[test]
    fn fresh_ids_and_times_count_for_nothing_and_all_else_counts() {
        let answer = |id: u32, day: &str, title: &str| {
            json!({
                "items": [{ "id": format!("0199a3f2-7c1e-7b60-9a51-{id:012}"), "title": title, "createdAt": format!("{day}T10:00:00Z"), "day": day }],
                "nextCursor": format!("cursor{id}"),
            })
            .to_string()
        };
        let one = hash_of("Heute ist Freitag, der 2026-11-20.", &answer(1, "2026-11-20", "Milch"));
        assert_eq!(one, hash_of("Heute ist Freitag, der 2026-11-20.", &answer(2, "2026-11-23", "Milch")));
        assert_ne!(one, hash_of("Heute ist Freitag, der 2026-11-20.", &answer(1, "2026-11-20", "Brot")));
        assert_ne!(one, hash_of("Heute ist Freitag, der 2026-11-27.", &answer(1, "2026-11-20", "Milch")));
    }

    #[test]
    fn the_same_id_twice_is_another_thing_than_two_ids() {
        let answer = |a: u32, b: u32| format!("0199a3f2-7c1e-7b60-9a51-{a:012} 0199a3f2-7c1e-7b60-9a51-{b:012}");
        assert_ne!(hash_of("x", &answer(1, 1)), hash_of("x", &answer(1, 2)));
        assert_eq!(hash_of("x", &answer(7, 8)), hash_of("x", &answer(1, 2)));
    }

    #[test]
    fn no_text_can_pass_for_the_end_of_a_message() {
        let plain = |texts: &[&str]| {
            let messages: Vec<Message> =
                texts.iter().map(|text| Message { role: Role::User, content: vec![text_block(text)] }).collect();
            Shown::new(frame(), messages.iter()).hash()
        };
        assert_ne!(plain(&["a", "b"]), plain(&["a\nUser 1\n1 b"]));
    }
}
