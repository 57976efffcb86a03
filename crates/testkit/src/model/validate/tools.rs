//! The tools on offer, and which of them must be used.

use std::collections::HashSet;

use serde_json::Value;

use super::Findings;

/// What a tool may have.
const MEMBERS: [&str; 7] =
    ["cache_control", "description", "eager_input_streaming", "input_examples", "input_schema", "name", "strict"];

pub(super) fn check(body: &Value, is_5_5: bool, found: &mut Findings) {
    let tools = match body.get("tools") {
        None => &[][..],
        Some(Value::Array(tools)) => tools,
        Some(_) => return found.add("tools", "tools", "is no list"),
    };
    let mut names = HashSet::new();
    let mut before = "";
    for (index, tool) in tools.iter().enumerate() {
        let at = format!("tools[{index}]");
        let name = tool["name"].as_str().unwrap_or_default();
        check_tool(tool, name, &at, found);
        found.must(names.insert(name), "tool-unique", &at, "a second tool of this name");
        // A rule of ours: a list that is always the same keeps the provider's cache.
        found.must(before <= name, "tool-order", &at, "not sorted by name");
        before = name;
    }
    check_choice(body, &names, is_5_5, found);
}

fn check_tool(tool: &Value, name: &str, at: &str, found: &mut Findings) {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    found.must((1..=64).contains(&name.len()) && letters, "tool-name", at, "the name is not ^[a-zA-Z0-9_-]{1,64}$");
    found.members(tool, &MEMBERS, at);
    if let Some(description) = tool.get("description") {
        found.must(description.is_string(), "tool-description", at, "the description is no text");
    }
    let schema = &tool["input_schema"];
    found.must(schema["type"] == "object", "tool-schema", at, "`input_schema` is no schema of an object");
    for word in ["oneOf", "anyOf", "allOf"] {
        found.must(schema.get(word).is_none(), "tool-schema", at, "`oneOf`, `anyOf` or `allOf` at the top");
    }
    let properties = schema.get("properties").is_none_or(Value::is_object);
    found.must(properties, "tool-schema", at, "`properties` is no object");
}

fn check_choice(body: &Value, names: &HashSet<&str>, is_5_5: bool, found: &mut Findings) {
    let Some(choice) = body.get("tool_choice") else { return };
    found.members(choice, &["type", "name", "disable_parallel_tool_use"], "tool_choice");
    let kind = choice["type"].as_str().unwrap_or_default();
    let at = "tool_choice";
    found.must(["any", "auto", "none", "tool"].contains(&kind), "tool-choice", at, "unknown type");
    found.must(!names.is_empty() || kind == "none", "tool-choice", at, "there is no tool to choose");
    if is_5_5 {
        found.must(!matches!(kind, "any" | "tool"), "tool-choice", at, "this model cannot be forced to use a tool");
    }
    if kind == "tool" {
        let name = choice["name"].as_str().unwrap_or_default();
        found.must(names.contains(name), "tool-choice", at, "names a tool that is not on offer");
    }
}
