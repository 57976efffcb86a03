//! The body of a request, in the order in which a provider caches it: tools, rules, persona, messages.
//!
//! The tools are most of it and the same for everybody, so their JSON is made once and copied in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::Serialize;
use serde_json::{Value, json};

use crate::conversation::{Conversation, Message, Role};
use crate::engine::Step;
use crate::toolbox::{Tool, Toolbox};

/// Marks the end of a prefix that the provider should keep.
const MARK: &str = r#","cache_control":{"type":"ephemeral"}"#;

/// How many tool lists are remembered as JSON.
const REMEMBERED: usize = 1_024;

/// What may be sent to this model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    /// A JSON schema for the reply.
    pub(super) structured: bool,
    /// Marks for the cache.
    pub(super) cache: bool,
}

/// The body of a request.
pub(super) fn body(model: &str, allowed: Allowed, step: &Step<'_>, tools: &str) -> Result<Vec<u8>, String> {
    let conversation = step.conversation;
    check(conversation)?;
    let mut out = Vec::with_capacity(tools.len() + size_of_speech(conversation) * 5 / 4 + 1_024);
    put(&mut out, r#"{"model":"#);
    put_json(&mut out, model);
    put(&mut out, r#","max_tokens":"#);
    put_json(&mut out, &step.max_tokens.max(1));
    put(&mut out, r#","stream":true"#);
    if !tools.is_empty() {
        put(&mut out, r#","tools":"#);
        put(&mut out, tools);
    }
    put_system(&mut out, [&conversation.rules, &conversation.persona], allowed.cache);
    put(&mut out, r#","messages":"#);
    put_messages(&mut out, &conversation.messages, allowed.cache);
    if let Some(schema) = step.format
        && allowed.structured
    {
        put(&mut out, r#","output_config":"#);
        put_json(&mut out, &json!({ "format": { "type": "json_schema", "schema": schema } }));
    }
    put(&mut out, "}");
    Ok(out)
}

/// What no server takes, found before it costs anything.
fn check(conversation: &Conversation) -> Result<(), String> {
    if conversation.messages.first().is_none_or(|message| message.role != Role::User || message.content.is_empty()) {
        return Err("a conversation begins with something said by the user".into());
    }
    let open = conversation.open_calls();
    if let Some(call) = open.first() {
        return Err(format!("the call `{}` of `{}` has no answer yet", call.id, call.name));
    }
    Ok(())
}

fn put_system(out: &mut Vec<u8>, parts: [&Arc<str>; 2], cache: bool) {
    let mut before = r#","system":["#;
    for part in parts.into_iter().filter(|part| !part.trim().is_empty()) {
        put(out, before);
        put(out, r#"{"type":"text","text":"#);
        put_json(out, &**part);
        put(out, if cache { MARK } else { "" });
        put(out, "}");
        before = ",";
    }
    if before == "," {
        put(out, "]");
    }
}

/// The messages, with a mark on the newest block that the user said.
fn put_messages(out: &mut Vec<u8>, messages: &[Message], cache: bool) {
    let newest = messages.iter().rposition(|message| message.role == Role::User).filter(|_| cache);
    for (m, message) in messages.iter().enumerate() {
        put(out, if m == 0 { r#"[{"role":"# } else { r#",{"role":"# });
        let role = match message.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        put_json(out, role);
        put(out, r#","content":["#);
        for (b, block) in message.content.iter().enumerate() {
            put(out, if b == 0 { "" } else { "," });
            put_json(out, block);
        }
        if newest == Some(m) {
            // The last block of the user is an object of ours, and never an empty one.
            out.pop();
            put(out, MARK);
            put(out, "}");
        }
        put(out, "]}");
    }
    put(out, "]");
}

/// Everything that a request carries besides its frame, in bytes: for the first estimate.
pub(super) fn size(conversation: &Conversation, tools: &str) -> usize {
    tools.len() + size_of_speech(conversation)
}

fn size_of_speech(conversation: &Conversation) -> usize {
    let blocks = conversation.messages.iter().flat_map(|message| &message.content);
    conversation.rules.len() + conversation.persona.len() + blocks.map(size_of_value).sum::<usize>()
}

/// About how long a value is as JSON.
fn size_of_value(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 6,
        Value::String(text) => text.len() + 3,
        Value::Array(items) => 2 + items.iter().map(size_of_value).sum::<usize>(),
        Value::Object(fields) => {
            2 + fields.iter().map(|(name, value)| name.len() + 4 + size_of_value(value)).sum::<usize>()
        }
    }
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn put_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("JSON values and texts have a JSON form, and a vector takes every byte");
}

/// The JSON of tool lists by the list's address, made once for each. Lists with the same JSON share it.
#[derive(Debug, Default)]
pub(super) struct ToolTexts(Mutex<HashMap<usize, Written>>);

/// A list and its JSON. The weak reference keeps the address taken, so that it never becomes another list's.
type Written = (Weak<Toolbox>, Arc<str>);

impl ToolTexts {
    /// The `tools` of a request; empty where there are none.
    pub(super) fn of(&self, toolbox: &Arc<Toolbox>, cache: bool) -> Arc<str> {
        let address = Arc::as_ptr(toolbox).addr();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = known.get(&address) {
            return Arc::clone(text);
        }
        let made = text_of(toolbox.tools(), cache);
        known.retain(|_, (list, _)| list.strong_count() > 0);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        let same = known.values().find(|(_, text)| **text == *made).map(|(_, text)| Arc::clone(text));
        let text = same.unwrap_or_else(|| made.into());
        known.insert(address, (Arc::downgrade(toolbox), Arc::clone(&text)));
        text
    }
}

fn text_of(tools: &[Tool], cache: bool) -> String {
    #[derive(Serialize)]
    struct Offered<'a> {
        name: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        description: &'a str,
        input_schema: &'a serde_json::Map<String, Value>,
    }
    let mut out = Vec::new();
    for (i, tool) in tools.iter().enumerate() {
        put(&mut out, if i == 0 { "[" } else { "," });
        put_json(&mut out, &Offered { name: &tool.name, description: &tool.description, input_schema: &tool.schema });
    }
    if !tools.is_empty() {
        if cache {
            out.pop();
            put(&mut out, MARK);
            put(&mut out, "}");
        }
        put(&mut out, "]");
    }
    String::from_utf8(out).expect("JSON is UTF-8")
}
