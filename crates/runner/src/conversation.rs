//! A visit as a conversation, in the shape of the Messages API: text, `tool_use`, `tool_result`.
//!
//! Blocks are kept as the JSON they came as, because a model engine must send them back unchanged, down to fields that
//! nobody here knows; typed views are laid over them. History only grows: nothing said is edited.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::toolbox::Toolbox;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    User,
    Assistant,
}

/// One message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) role: Role,
    pub(crate) content: Vec<Value>,
}

/// Why a reply ended there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StopReason {
    EndTurn,
    StopSequence,
    ToolUse,
    MaxTokens,
    ModelContextWindowExceeded,
    Refusal,
    /// The provider wants the same conversation sent again, with this reply at its end.
    PauseTurn,
    /// A reason that this version does not know: the turn ends, nothing panics.
    #[serde(other)]
    Other,
}

/// The tokens that a reply took, by what they cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Usage {
    /// Read anew.
    pub(crate) input_tokens: u64,
    /// Written, thinking included.
    pub(crate) output_tokens: u64,
    /// Read from the provider's cache.
    pub(crate) cache_read_tokens: u64,
    /// Put into the cache for five minutes.
    pub(crate) cache_write_5m_tokens: u64,
    /// Put into the cache for an hour.
    pub(crate) cache_write_1h_tokens: u64,
    /// The provider did not say all of it.
    pub(crate) estimated: bool,
    /// The largest prompt among those of several attempts: a price depends on the size of one prompt, not on their sum.
    #[serde(skip)]
    pub(crate) largest_prompt: u64,
}

impl Usage {
    /// Everything that was read: the size of the prompt.
    pub(crate) const fn prompt_tokens(&self) -> u64 {
        self.input_tokens + self.cache_read_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens
    }

    /// Whether nothing was taken.
    pub(crate) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Both together, for a reply that took several attempts.
    pub(crate) const fn plus(self, other: Self) -> Self {
        let is_larger = self.largest_prompt >= other.largest_prompt;
        Self {
            input_tokens: self.input_tokens + other.input_tokens,
            output_tokens: self.output_tokens + other.output_tokens,
            cache_read_tokens: self.cache_read_tokens + other.cache_read_tokens,
            cache_write_5m_tokens: self.cache_write_5m_tokens + other.cache_write_5m_tokens,
            cache_write_1h_tokens: self.cache_write_1h_tokens + other.cache_write_1h_tokens,
            estimated: self.estimated || other.estimated,
            largest_prompt: if is_larger { self.largest_prompt } else { other.largest_prompt },
        }
    }
}

/// What an engine said next.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// Its blocks, as they came.
    pub(crate) content: Vec<Value>,
    pub(crate) stop_reason: StopReason,
    /// What this reply took; failed attempts at it included.
    pub(crate) usage: Usage,
    /// The model as the provider calls it; none where none spoke.
    pub(crate) model: Option<String>,
    /// The size of the prompt that led to it, in tokens: the measure for the next reservation.
    pub(crate) prompt_tokens: u64,
    /// Calls whose input was no JSON object: the id and the raw text. Their blocks hold `{}`, because only that can be sent
    /// back.
    pub(crate) broken_inputs: Vec<(String, String)>,
}

impl Reply {
    /// What an engine says that takes no tokens.
    pub(crate) fn free(content: Vec<Value>, stop_reason: StopReason) -> Self {
        Self { content, stop_reason, usage: Usage::default(), model: None, prompt_tokens: 0, broken_inputs: Vec::new() }
    }
}

/// One call that a reply asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ToolUse {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) input: Value,
}

/// Everything said so far.
#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    /// What holds for every persona alike, to the letter: the part that all of them share in a provider's cache.
    pub(crate) rules: Arc<str>,
    /// Who this persona is.
    pub(crate) persona: Arc<str>,
    pub(crate) tools: Arc<Toolbox>,
    pub(crate) messages: Vec<Message>,
}

impl Conversation {
    pub(crate) fn new(tools: Arc<Toolbox>) -> Self {
        Self { rules: "".into(), persona: "".into(), tools, messages: Vec::new() }
    }

    /// Adds to the end. Who goes on speaking adds blocks to the last message, because the Messages API wants the speakers
    /// to take turns. Text without a word in it is left out: it may not be sent back.
    pub(crate) fn say(&mut self, role: Role, mut content: Vec<Value>) {
        content.retain(|block| !is_empty_text(block));
        if content.is_empty() {
            return;
        }
        match self.messages.last_mut() {
            Some(last) if last.role == role => last.content.extend(content),
            _ => self.messages.push(Message { role, content }),
        }
    }

    /// The calls that the last message asks for and nobody has answered.
    pub(crate) fn open_calls(&self) -> Vec<ToolUse> {
        match self.messages.last() {
            Some(message) if message.role == Role::Assistant => tool_uses(&message.content),
            _ => Vec::new(),
        }
    }
}

pub(crate) fn text_block(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

pub(crate) fn tool_use_block(call: &ToolUse) -> Value {
    json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": call.input })
}

fn is_empty_text(block: &Value) -> bool {
    block.get("type").and_then(Value::as_str) == Some("text")
        && block.get("text").and_then(Value::as_str).is_some_and(|text| text.trim().is_empty())
}

/// The answer to a call. `content` is never empty: some servers of the Messages API refuse that.
pub(crate) fn tool_result_block(id: &str, content: Vec<Value>, is_error: bool) -> Value {
    let content = if content.is_empty() { vec![text_block("(no output)")] } else { content };
    let mut block = json!({ "type": "tool_result", "tool_use_id": id, "content": content });
    if is_error {
        block["is_error"] = Value::Bool(true);
    }
    block
}

/// The calls among some blocks, in order. A block without id or name is no call that could be answered.
pub(crate) fn tool_uses(content: &[Value]) -> Vec<ToolUse> {
    let of_type = |block: &&Value| block.get("type").and_then(Value::as_str) == Some("tool_use");
    content
        .iter()
        .filter(of_type)
        .filter_map(|block| {
            Some(ToolUse {
                id: block.get("id")?.as_str()?.to_owned(),
                name: block.get("name")?.as_str()?.to_owned(),
                input: block.get("input").cloned().unwrap_or_else(|| json!({})),
            })
        })
        .collect()
}

/// A view of one answer to a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ToolResult<'a> {
    pub(crate) tool_use_id: &'a str,
    pub(crate) text: &'a str,
    pub(crate) is_error: bool,
}

/// The answers among some blocks, each with its first text.
pub(crate) fn tool_results(content: &[Value]) -> impl Iterator<Item = ToolResult<'_>> {
    content.iter().filter_map(|block| {
        let tool_use_id = block.get("tool_use_id")?.as_str()?;
        let parts = block.get("content").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let text = parts.iter().find_map(|part| part.get("text").and_then(Value::as_str)).unwrap_or_default();
        let is_error = block.get("is_error").and_then(Value::as_bool).unwrap_or(false);
        Some(ToolResult { tool_use_id, text, is_error })
    })
}

/// All text of some blocks, joined.
pub(crate) fn spoken(content: &[Value]) -> String {
    let texts = content.iter().filter(|block| block.get("type").and_then(Value::as_str) == Some("text"));
    texts.filter_map(|block| block.get("text").and_then(Value::as_str)).collect::<Vec<_>>().join("\n")
}
