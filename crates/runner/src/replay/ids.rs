//! Which record of this visit is which record of the recorded one.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::cassette::normal::{CURSORS, Mark, marks, replace};
use crate::conversation::Message;

/// Recorded ids, and the ids that stand in their places now.
#[derive(Debug, Default)]
pub(super) struct Ids {
    ids: HashMap<String, String>,
    /// Places in lists, which are whole texts.
    cursors: HashMap<String, String>,
}

/// What stands at one place of a conversation.
enum Found<'a> {
    Id(&'a str),
    Cursor(&'a str),
}

impl Ids {
    /// Matches two conversations: what a call was answered then with what it is answered now, and other text by its place.
    /// An id that stands in several places goes by the first.
    pub(super) fn between<'m>(
        recorded: impl Iterator<Item = &'m Message>,
        live: impl Iterator<Item = &'m Message>,
    ) -> Self {
        let now = texts(live);
        let now: HashMap<&str, &Value> = now.iter().map(|(place, value)| (place.as_str(), value)).collect();
        let mut ids = Self::default();
        for (place, then) in texts(recorded) {
            if let Some(now) = now.get(place.as_str()) {
                ids.pair(&then, now);
            }
        }
        ids
    }

    fn pair(&mut self, then: &Value, now: &Value) {
        let (mut was, mut is) = (Vec::new(), HashMap::new());
        walk(then, "", &mut |place, found| was.push((place, found)));
        walk(now, "", &mut |place, found| {
            is.insert(place, found);
        });
        for (place, found) in was {
            match (found, is.get(&place)) {
                (Found::Id(then), Some(Found::Id(now))) => {
                    self.ids.entry(then.to_ascii_lowercase()).or_insert_with(|| (*now).to_owned());
                }
                (Found::Cursor(then), Some(Found::Cursor(now))) => {
                    self.cursors.entry(then.to_owned()).or_insert_with(|| (*now).to_owned());
                }
                (Found::Id(_) | Found::Cursor(_), _) => {}
            }
        }
    }

    /// A recorded value as it is said now.
    pub(super) fn translated(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(match self.cursors.get(text) {
                Some(cursor) => cursor.clone(),
                None => replace(text, |mark, found| match mark {
                    Mark::Id => self.ids.get(&found.to_ascii_lowercase()).cloned(),
                    Mark::Time | Mark::Date => None,
                }),
            }),
            Value::Array(items) => items.iter().map(|item| self.translated(item)).collect(),
            Value::Object(members) => {
                let said = members.iter().map(|(name, member)| (name.clone(), self.translated(member)));
                Value::Object(said.collect::<Map<_, _>>())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }
}

/// Everything said, each piece with the place where it stands; the text of an answer as JSON where it is JSON.
fn texts<'m>(messages: impl Iterator<Item = &'m Message>) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (at, message) in messages.enumerate() {
        for (i, block) in message.content.iter().enumerate() {
            let Some(call) = block.get("tool_use_id").and_then(Value::as_str) else {
                found.push((format!("{at}/{i}"), block.clone()));
                continue;
            };
            for (part, content) in block.get("content").and_then(Value::as_array).into_iter().flatten().enumerate() {
                let text = content.get("text").and_then(Value::as_str);
                let json = text.and_then(|text| serde_json::from_str::<Value>(text).ok());
                found.push((format!("{call} {part}"), json.unwrap_or_else(|| content.clone())));
            }
        }
    }
    found
}

/// Visits every id and every cursor with its place.
fn walk<'v>(value: &'v Value, place: &str, visit: &mut impl FnMut(String, Found<'v>)) {
    match value {
        Value::String(text) => {
            let ids = marks(text).into_iter().filter(|(mark, _)| *mark == Mark::Id);
            for (i, (_, at)) in ids.enumerate() {
                visit(format!("{place}#{i}"), Found::Id(&text[at]));
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                walk(item, &format!("{place}/{i}"), visit);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if CURSORS.contains(&name.as_str()) => {
                        visit(format!("{place}/{name}"), Found::Cursor(text));
                    }
                    other => walk(other, &format!("{place}/{name}"), visit),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
