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
    ToolUse,
    MaxTokens,
    Refusal,
    /// A reason that this version does not know: the turn ends, nothing panics.
    #[serde(other)]
    Other,
}

/// What an engine said next.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) content: Vec<Value>,
    pub(crate) stop_reason: StopReason,
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
    pub(crate) tools: Arc<Toolbox>,
    pub(crate) messages: Vec<Message>,
}

impl Conversation {
    pub(crate) fn new(tools: Arc<Toolbox>) -> Self {
        Self { tools, messages: Vec::new() }
    }

    pub(crate) fn say(&mut self, role: Role, content: Vec<Value>) {
        self.messages.push(Message { role, content });
    }

    /// How many replies there were.
    pub(crate) fn replies(&self) -> usize {
        self.messages.iter().filter(|message| message.role == Role::Assistant).count()
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
