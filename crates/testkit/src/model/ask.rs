//! What a script is asked: one request, with the views that scripts decide by.

use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::http::HeaderMap;
use serde_json::Value;

/// One request to the model.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, byte by byte.
    pub bytes: Bytes,
    /// How many requests with the same conversation came before: 0 the first time, 1 for the first retry. An unchecked
    /// model counts requests of the very same bytes.
    pub attempt: usize,
    /// How many requests came before at all.
    pub number: usize,
    pub(crate) read: OnceLock<Arc<Value>>,
}

impl Ask {
    /// Its body, read when somebody first looks; `null` where it is no JSON.
    pub fn body(&self) -> &Value {
        self.read.get_or_init(|| Arc::new(serde_json::from_slice(&self.bytes).unwrap_or_default()))
    }

    /// [`Ask::turns`], counted over the bytes of a body written without blanks: for measurements, in which reading a
    /// hundred tools each time would weigh more than what is measured.
    pub fn turns_at_a_glance(&self) -> usize {
        // Inside of a text the quotation marks would be escaped.
        let reply = b"\"role\":\"assistant\"";
        self.bytes.windows(reply.len()).filter(|window| window == reply).count()
    }

    /// The model that is asked for; at a glance where nobody has read the body.
    pub(crate) fn model(&self) -> &str {
        if let Some(body) = self.read.get() {
            return body["model"].as_str().unwrap_or_default();
        }
        let member = b"\"model\":\"";
        let after = self.bytes.windows(member.len()).rposition(|window| window == member).map(|at| at + member.len());
        let rest = after.map_or(&[][..], |after| &self.bytes[after..]);
        let name = rest.split(|byte| *byte == b'"').next().unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }

    /// The messages, oldest first.
    pub fn messages(&self) -> &[Value] {
        self.body()["messages"].as_array().map_or(&[], Vec::as_slice)
    }

    /// How many replies the conversation has so far.
    pub fn turns(&self) -> usize {
        self.messages().iter().filter(|message| message["role"] == "assistant").count()
    }

    /// The tools on offer.
    pub fn tools(&self) -> &[Value] {
        self.body()["tools"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The schema of the answer that is wanted, where JSON is wanted.
    pub fn wanted_schema(&self) -> Option<&Value> {
        self.body()["output_config"]["format"].get("schema")
    }

    /// The limit of the reply.
    pub fn max_tokens(&self) -> u64 {
        self.body()["max_tokens"].as_u64().unwrap_or(0)
    }

    /// The blocks of the last message.
    pub fn last(&self) -> Vec<Value> {
        self.messages().last().map(|message| blocks(&message["content"])).unwrap_or_default()
    }

    /// The text of the last message, without what tools answered.
    pub fn last_text(&self) -> String {
        self.messages().last().map(|message| text_of(&message["content"])).unwrap_or_default()
    }

    /// All text of `system`.
    pub fn system(&self) -> String {
        text_of(&self.body()["system"])
    }
}

/// Content as blocks, also where it is written as a string.
pub(crate) fn blocks(content: &Value) -> Vec<Value> {
    match content {
        Value::String(text) => vec![serde_json::json!({ "type": "text", "text": text })],
        Value::Array(blocks) => blocks.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

/// The text of some content, joined by lines.
pub(crate) fn text_of(content: &Value) -> String {
    let texts: Vec<String> = blocks(content)
        .iter()
        .filter(|block| block["type"] == "text")
        .filter_map(|block| block["text"].as_str().map(str::to_owned))
        .collect();
    texts.join("\n")
}

/// What a `tool_result` says.
pub(crate) fn result_text(result: &Value) -> String {
    text_of(&result["content"])
}
