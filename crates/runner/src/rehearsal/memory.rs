//! What a rehearsing persona has seen so far in its visit: which calls it made, and which records they showed.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::kinds::{self, Kind};
use super::names;
use crate::conversation::{Conversation, Role, tool_results, tool_uses};

/// How deep records are looked for in an answer.
const DEPTH: usize = 4;

/// One call that was made and answered.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) tool: String,
    pub(crate) ok: bool,
}

/// A record that an answer showed.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) module: String,
    /// What it is called; none for the records that a module is mainly about.
    pub(crate) noun: Option<String>,
    pub(crate) fields: Map<String, Value>,
    /// Whether it was put away.
    pub(crate) archived: bool,
}

/// Everything seen so far, the latest last.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) played: Vec<Played>,
    pub(crate) seen: Vec<Seen>,
    /// Which records a tool did not take.
    refused: HashSet<(String, String)>,
}

impl Memory {
    /// Remembers a conversation.
    pub(crate) fn of(conversation: &Conversation) -> Self {
        let mut memory = Self::default();
        let mut asked = HashMap::new();
        for message in &conversation.messages {
            if message.role == Role::Assistant {
                asked.extend(tool_uses(&message.content).into_iter().map(|call| (call.id.clone(), call)));
                continue;
            }
            for result in tool_results(&message.content) {
                let Some(call) = asked.remove(result.tool_use_id) else { continue };
                if result.is_error {
                    memory.refused.extend(ids_of(&call.input).map(|id| (call.name.clone(), id.to_owned())));
                } else {
                    let module = conversation.tools.module_of(&call.name);
                    let answer = serde_json::from_str(result.text).unwrap_or_default();
                    let kinds = kinds::of_module(&conversation.tools, &module);
                    memory.learn(Source { module: &module, tool: &call.name, kinds: &kinds }, &call.input, &answer);
                }
                memory.played.push(Played { tool: call.name, ok: !result.is_error });
            }
        }
        memory
    }

    /// How often a tool was called.
    pub(crate) fn calls_of(&self, tool: &str) -> usize {
        self.played.iter().filter(|played| played.tool == tool).count()
    }

    /// Whether a tool did not take a record.
    pub(crate) fn was_refused(&self, tool: &str, id: &str) -> bool {
        self.refused.contains(&(tool.to_owned(), id.to_owned()))
    }

    /// How many calls failed.
    pub(crate) fn errors(&self) -> usize {
        self.played.iter().filter(|played| !played.ok).count()
    }

    fn learn(&mut self, source: Source<'_>, input: &Value, answer: &Value) {
        let noun = names::nouns(source.tool).into_iter().next();
        self.look(source, noun.as_deref(), answer, 0);
        if let Some(id) = answer.get("id").and_then(Value::as_str)
            && let Some(seen) = self.seen.iter_mut().find(|seen| seen.id == id)
        {
            // An answer may leave out a long text that went in with the call.
            for (name, value) in input.as_object().into_iter().flatten() {
                seen.fields.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        let away = if names::puts_away(source.tool) {
            true
        } else if names::brings_back(source.tool) {
            false
        } else {
            return;
        };
        let named: Vec<&str> = ids_of(input).collect();
        self.seen.iter_mut().filter(|seen| named.contains(&seen.id.as_str())).for_each(|seen| seen.archived = away);
    }

    fn look(&mut self, source: Source<'_>, place: Option<&str>, value: &Value, depth: usize) {
        if depth > DEPTH {
            return;
        }
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.look(source, place, item, depth + 1)),
            Value::Object(fields) => {
                for (name, member) in fields {
                    if member.is_array() || member.is_object() {
                        let inner = names::singular(name);
                        let inner = if name == "items" { place } else { Some(inner.as_str()) };
                        self.look(source, inner, member, depth + 1);
                    }
                }
                if let Some(id) = fields.get("id").and_then(Value::as_str) {
                    let noun = kinds::noun_of(source.kinds, fields, place, source.tool, depth == 0);
                    self.see(source.module, noun, id, fields);
                }
            }
            _ => {}
        }
    }

    fn see(&mut self, module: &str, noun: Option<String>, id: &str, fields: &Map<String, Value>) {
        let known = self.seen.iter().position(|seen| seen.id == id).map(|place| self.seen.remove(place));
        let mut seen = known.unwrap_or_else(|| Seen {
            id: id.to_owned(),
            module: module.to_owned(),
            noun,
            fields: Map::new(),
            archived: false,
        });
        seen.archived = fields.contains_key("archivedAt");
        for (name, value) in fields {
            seen.fields.insert(name.clone(), value.clone());
        }
        self.seen.push(seen);
    }
}

/// Where an answer came from.
#[derive(Clone, Copy)]
struct Source<'a> {
    module: &'a str,
    tool: &'a str,
    kinds: &'a [Kind],
}

fn ids_of(input: &Value) -> impl Iterator<Item = &str> {
    let members = input.as_object().into_iter().flatten();
    members.filter(|(name, _)| names::is_reference(name)).filter_map(|(_, value)| value.as_str())
}
