//! What was said, to be held against what comes back: history only grows, and replies are resent as they were.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use super::ask::blocks;
use super::validate::Violation;

/// A conversation up to some point, as a number. Two messages of one role in a row count as one, because that is how a
/// provider reads them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    hash: u64,
    role: String,
}

impl Line {
    /// The line of these messages.
    pub(crate) fn of(messages: &[Value]) -> Self {
        let mut line = Self::default();
        for message in messages {
            line.message(message);
        }
        line
    }

    fn message(&mut self, message: &Value) {
        self.say(message["role"].as_str().unwrap_or_default(), &blocks(&message["content"]));
    }

    fn say(&mut self, role: &str, content: &[Value]) {
        if self.role != role {
            role.clone_into(&mut self.role);
            self.mix(role);
        }
        for block in content {
            if let Some(block) = as_said(block) {
                self.mix(&block.to_string());
            }
        }
    }

    fn mix(&mut self, text: &str) {
        let mut hasher = DefaultHasher::new();
        self.hash.hash(&mut hasher);
        text.hash(&mut hasher);
        self.hash = hasher.finish();
    }

    /// The number of this line.
    pub(crate) fn number(&self) -> u64 {
        self.hash
    }
}

/// A block without what a client may add (cache marks); none where it may be left out (a text that is empty, which
/// providers send but do not take back).
fn as_said(block: &Value) -> Option<Value> {
    if block["type"] == "text" && block["text"].as_str().is_some_and(|text| text.trim().is_empty()) {
        return None;
    }
    let mut block = block.clone();
    if let Some(object) = block.as_object_mut() {
        object.remove("cache_control");
    }
    for part in block.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten() {
        part.as_object_mut().and_then(|part| part.remove("cache_control"));
    }
    Some(block)
}

/// Everything the model said in all conversations.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    /// A conversation up to the end of a reply, and whether the reply only paused there.
    said: HashMap<u64, bool>,
}

impl Replies {
    /// Remembers a reply to these messages.
    pub(crate) fn remember(&mut self, messages: &[Value], content: &[Value], paused: bool) {
        let mut line = Line::of(messages);
        line.say("assistant", content);
        self.said.insert(line.number(), paused);
    }

    /// What of these messages was never said so; and takes back from `found` what a pause makes right: a reply that only
    /// paused may stand last, and another may follow it.
    pub(crate) fn check(&self, messages: &[Value], found: &mut Vec<Violation>) {
        let mut line = Line::default();
        for (index, message) in messages.iter().enumerate() {
            line.message(message);
            if message["role"] != "assistant" {
                continue;
            }
            match self.said.get(&line.number()) {
                None => found.push(Violation {
                    rule: "verbatim",
                    at: format!("messages[{index}]"),
                    what: "this is not what the model said here, or something before it was edited".into(),
                }),
                Some(true) => {
                    let next = format!("messages[{}]", index + 1);
                    let last = index + 1 == messages.len();
                    found.retain(|violation| {
                        !(last && violation.rule == "prefill"
                            || violation.rule == "alternation" && violation.at == next)
                    });
                }
                Some(false) => {}
            }
        }
    }
}
