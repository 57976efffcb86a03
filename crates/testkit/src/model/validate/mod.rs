//! The documented rules of the Messages API, as far as a client can break them.
//!
//! A request that passes here should not be answered with 400 by a provider for its form; the rules of our own beyond
//! that (tools sorted by name, a stream always) say so where they stand.

mod format;
mod marks;
mod messages;
mod tools;

use std::fmt;

use axum::http::{HeaderMap, header};
use serde_json::Value;

/// The largest body that is taken: 32 MB.
const LARGEST: usize = 32 * 1024 * 1024;

/// The version that knows no sampling parameters any more.
const OCTOBER: &str = "2026-10-21";

/// Versions of the interface that may be asked for.
const VERSIONS: [&str; 2] = [OCTOBER, "2023-06-01"];

/// What a request may have at its top.
const MEMBERS: [&str; 15] = [
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "output_config",
    "service_tier",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

/// A rule that a request broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule, as one word.
    pub rule: &'static str,
    /// Where in the request: `headers`, `tools[2].name`, `messages[4].content[0]`.
    pub at: String,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}: {}", self.rule, self.at, self.what)
    }
}

/// Everything found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, rule: &'static str, at: impl Into<String>, what: impl Into<String>) {
        self.0.push(Violation { rule, at: at.into(), what: what.into() });
    }

    /// Adds it unless it holds.
    fn must(&mut self, holds: bool, rule: &'static str, at: &str, what: &str) {
        if !holds {
            self.add(rule, at, what);
        }
    }

    /// Every member must be one of those.
    fn members(&mut self, value: &Value, known: &[&str], at: &str) {
        for name in value.as_object().into_iter().flat_map(|object| object.keys()) {
            self.must(known.contains(&name.as_str()), "member", &format!("{at}.{name}"), "unknown member");
        }
    }
}

/// Holds one request against the rules. Nothing found: it is fine.
pub fn validate(headers: &HeaderMap, body: &[u8]) -> Vec<Violation> {
    let mut found = Findings::default();
    let version = check_headers(headers, &mut found);
    found.must(body.len() <= LARGEST, "size", "body", "larger than 32 MB");
    match serde_json::from_slice::<Value>(body) {
        Ok(body) if body.is_object() => check_body(&body, version == OCTOBER, &mut found),
        Ok(_) => found.add("json", "body", "no object"),
        Err(error) => found.add("json", "body", error.to_string()),
    }
    found.0
}

/// Checks the headers and answers the version.
fn check_headers<'a>(headers: &'a HeaderMap, found: &mut Findings) -> &'a str {
    let one = |name: &str| -> Option<&'a str> {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    };
    let count = |name: &str| headers.get_all(name).iter().count();
    let (keys, bearers) = (count("x-api-key"), count("authorization"));
    found.must(keys + bearers == 1, "auth", "headers", "needs exactly one of `x-api-key` and `authorization`");
    if keys == 1 {
        found.must(one("x-api-key").is_some_and(|key| !key.trim().is_empty()), "auth", "headers", "an empty key");
    }
    if bearers == 1 {
        let token = one("authorization").and_then(|value| value.strip_prefix("Bearer "));
        found.must(token.is_some_and(|token| !token.trim().is_empty()), "auth", "headers", "no `Bearer` with a token");
    }
    let version = one("anthropic-version").unwrap_or_default();
    found.must(VERSIONS.contains(&version), "version", "headers", "unknown `anthropic-version`, or not one");
    let json = one(header::CONTENT_TYPE.as_str()).and_then(|value| value.split(';').next());
    found.must(json == Some("application/json"), "content-type", "headers", "`content-type` is not `application/json`");
    version
}

fn check_body(body: &Value, october: bool, found: &mut Findings) {
    found.members(body, &MEMBERS, "body");
    let model = body["model"].as_str().unwrap_or_default();
    found.must(!model.trim().is_empty(), "model", "model", "missing or empty");
    found.must(body["max_tokens"].as_u64().is_some_and(|most| most >= 1), "max-tokens", "max_tokens", "less than 1");
    // A rule of ours: every answer is read as a stream.
    found.must(body["stream"] == true, "stream", "stream", "is not `true`");
    check_sampling(body, october, found);
    check_thinking(body, model, found);
    check_metadata(body, found);
    check_system(&body["system"], found);
    tools::check(body, is_5_5(model), found);
    messages::check(&body["messages"], found);
    marks::check(body, found);
    format::check(body, found);
}

/// Models of the 5.5 generation take neither a forced tool nor a fixed thinking.
fn is_5_5(model: &str) -> bool {
    model.contains("-5-5") || model.starts_with("claude-fable-5-2")
}

fn check_sampling(body: &Value, october: bool, found: &mut Findings) {
    for name in ["temperature", "top_p", "top_k"] {
        if october && body.get(name).is_some() {
            found.add("sampling", name, format!("was removed with version {OCTOBER}, also at its default"));
        }
    }
}

fn check_thinking(body: &Value, model: &str, found: &mut Findings) {
    let Some(thinking) = body.get("thinking") else { return };
    let kind = thinking["type"].as_str().unwrap_or_default();
    found.must(["adaptive", "disabled", "enabled"].contains(&kind), "thinking", "thinking.type", "unknown");
    if is_5_5(model) {
        found.must(kind == "adaptive", "thinking", "thinking.type", "this model decides by itself whether to think");
    }
    if kind == "enabled" {
        let budget = thinking["budget_tokens"].as_u64().unwrap_or(0);
        let fits = budget >= 1024 && budget < body["max_tokens"].as_u64().unwrap_or(0);
        found.must(fits, "thinking", "thinking.budget_tokens", "at least 1024 and less than `max_tokens`");
    }
}

fn check_metadata(body: &Value, found: &mut Findings) {
    if let Some(metadata) = body.get("metadata") {
        found.members(metadata, &["user_id"], "metadata");
    }
    if let Some(sequences) = body.get("stop_sequences") {
        let good = |entry: &Value| entry.as_str().is_some_and(|text| !text.trim().is_empty());
        let all = sequences.as_array().is_some_and(|list| list.iter().all(good));
        found.must(all, "stop-sequences", "stop_sequences", "texts that are not blank");
    }
}

fn check_system(system: &Value, found: &mut Findings) {
    match system {
        Value::Null => {}
        Value::String(text) => found.must(!text.trim().is_empty(), "system", "system", "is empty"),
        Value::Array(blocks) => {
            found.must(!blocks.is_empty(), "system", "system", "has no block");
            for (index, block) in blocks.iter().enumerate() {
                let at = format!("system[{index}]");
                found.must(block["type"] == "text", "system", &at, "is no text block");
                let text = block["text"].as_str().unwrap_or_default();
                found.must(!text.trim().is_empty(), "system", &at, "is empty");
                found.members(block, &["type", "text", "cache_control"], &at);
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            found.add("system", "system", "neither a text nor a list of text blocks");
        }
    }
}
