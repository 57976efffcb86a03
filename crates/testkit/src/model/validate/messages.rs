//! The conversation: who speaks when, and that every call is answered once, at once, in order.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Findings;

/// Pictures that a model can look at.
const PICTURES: [&str; 4] = ["image/gif", "image/jpeg", "image/png", "image/webp"];

pub(super) fn check(messages: &Value, found: &mut Findings) {
    let Some(messages) = messages.as_array().filter(|messages| !messages.is_empty()) else {
        return found.add("messages", "messages", "missing or empty");
    };
    check_roles(messages, found);
    let mut ids = HashSet::new();
    let mut open: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages[{index}]");
        found.members(message, &["role", "content"], &at);
        let user = message["role"] == "user";
        let blocks = content(&message["content"], &at, found);
        for (place, block) in blocks.iter().enumerate() {
            check_block(block, user, &format!("{at}.content[{place}]"), found);
        }
        check_results(&open, blocks, &at, found);
        let calls = blocks.iter().filter(|block| !user && block["type"] == "tool_use");
        open = calls.filter_map(|block| block["id"].as_str()).collect();
        for id in &open {
            found.must(ids.insert(*id), "call-unique", &at, &format!("the id `{id}` of a call is used twice"));
        }
    }
    for id in open {
        found.add("call-answered", "messages", format!("the call `{id}` is not answered"));
    }
}

fn check_roles(messages: &[Value], found: &mut Findings) {
    found.must(messages[0]["role"] == "user", "first", "messages[0]", "the first message is not the user's");
    let last = messages.len() - 1;
    found.must(
        messages[last]["role"] != "assistant",
        "prefill",
        &format!("messages[{last}]"),
        "the last message is the assistant's",
    );
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages[{index}]");
        let role = message["role"].as_str().unwrap_or_default();
        found.must(role == "user" || role == "assistant", "role", &at, "neither `user` nor `assistant`");
        let again = index > 0 && messages[index - 1]["role"] == message["role"];
        found.must(!again, "alternation", &at, "the same role twice in a row");
    }
}

/// The blocks of a message; none where it is a text.
fn content<'a>(content: &'a Value, at: &str, found: &mut Findings) -> &'a [Value] {
    match content {
        Value::String(text) => {
            found.must(!text.trim().is_empty(), "empty", at, "an empty message");
            &[]
        }
        Value::Array(blocks) => {
            found.must(!blocks.is_empty(), "empty", at, "an empty message");
            blocks
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            found.add("content", at, "the content is neither a text nor a list of blocks");
            &[]
        }
    }
}

fn check_block(block: &Value, user: bool, at: &str, found: &mut Findings) {
    let kind = block["type"].as_str().unwrap_or_default();
    match (kind, user) {
        ("text", _) => {
            let text = block["text"].as_str().unwrap_or_default();
            found.must(!text.trim().is_empty(), "empty", at, "an empty text");
            if user {
                found.members(block, &["type", "text", "cache_control", "citations"], at);
            }
        }
        ("image", true) => check_image(block, at, found),
        ("tool_result", true) => check_result(block, at, found),
        ("document", true) => {}
        ("tool_use", false) => {
            let named = ["id", "name"].iter().all(|name| block[name].as_str().is_some_and(|text| !text.is_empty()));
            found.must(named, "call", at, "a call without id or name");
            found.must(block["input"].is_object(), "call", at, "the input of a call is no object");
        }
        // Whatever the model said goes back to it, also blocks that nobody here knows; those of the user's side do not.
        ("tool_result" | "image" | "", false) | (_, true) => {
            found.add("block", at, format!("a block of type `{kind}` has no place here"));
        }
        (_, false) => {}
    }
}

fn check_result(block: &Value, at: &str, found: &mut Findings) {
    found.members(block, &["type", "tool_use_id", "content", "is_error", "cache_control"], at);
    found.must(block.get("is_error").is_none_or(Value::is_boolean), "result", at, "`is_error` is no boolean");
    let mut empty = true;
    match &block["content"] {
        Value::Null => {}
        Value::String(text) => empty = text.is_empty(),
        Value::Array(parts) => {
            for (index, part) in parts.iter().enumerate() {
                empty = false;
                let at = format!("{at}.content[{index}]");
                match part["type"].as_str() {
                    Some("text") => {
                        let text = part["text"].as_str().unwrap_or_default();
                        found.must(!text.trim().is_empty(), "empty", &at, "an empty text");
                        found.members(part, &["type", "text", "cache_control"], &at);
                    }
                    Some("image") => check_image(part, &at, found),
                    _ => found.add("result", at, "a result consists of texts and images"),
                }
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            found.add("result", at, "the content of a result is neither a text nor a list of blocks");
        }
    }
    found.must(!(empty && block["is_error"] == true), "empty-error", at, "an error without a word");
}

fn check_image(block: &Value, at: &str, found: &mut Findings) {
    found.members(block, &["type", "source", "cache_control"], at);
    let source = &block["source"];
    match source["type"].as_str() {
        Some("base64") => {
            let kind = source["media_type"].as_str().unwrap_or_default();
            found.must(PICTURES.contains(&kind), "image", at, "neither png, jpeg, gif nor webp");
            let data = source["data"].as_str().unwrap_or_default();
            let good = STANDARD.decode(data).is_ok_and(|bytes| !bytes.is_empty());
            found.must(good, "image", at, "the data is no base64");
        }
        Some("url") => found.must(source["url"].is_string(), "image", at, "an address without an address"),
        _ => found.add("image", at, "the source is neither `base64` nor `url`"),
    }
}

/// Every open call is answered here, once, in order, before anything else is said; and nothing else is answered.
fn check_results(open: &[&str], blocks: &[Value], at: &str, found: &mut Findings) {
    let is_result = |block: &&Value| block["type"] == "tool_result";
    let id = |block: &'_ Value| block["tool_use_id"].as_str().unwrap_or_default().to_owned();
    let answered: Vec<String> = blocks.iter().filter(is_result).map(id).collect();
    let first = blocks.iter().take_while(is_result).count();
    found.must(first == answered.len(), "result-first", at, "something is said before the results");
    for open in open {
        match answered.iter().filter(|answer| answer == open).count() {
            0 => found.add("call-answered", at, format!("the call `{open}` is not answered in the next message")),
            1 => {}
            _ => found.add("call-answered", at, format!("the call `{open}` is answered twice")),
        }
    }
    for answer in &answered {
        let called = open.contains(&answer.as_str());
        found.must(called, "result-unasked", at, &format!("a result for `{answer}`, which was not called just before"));
    }
    let in_order: Vec<&str> =
        open.iter().copied().filter(|open| answered.iter().any(|answer| answer == open)).collect();
    let called: Vec<&str> = answered.iter().map(String::as_str).filter(|answer| open.contains(answer)).collect();
    // Doubles have been named already.
    if called.len() == in_order.len() {
        found.must(called == in_order, "result-order", at, "the results are not in the order of the calls");
    }
}
