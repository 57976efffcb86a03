//! The tools of the small world, and how they are listed.

use serde_json::{Value, json};

/// Tasks and notes, in the shapes that schemas have.
pub(crate) fn tools() -> Value {
    let tool = |name: &str, read_only: bool, destructive: bool, properties: Value, required: &[&str]| {
        json!({
            "name": name, "description": "A tool.",
            "inputSchema": { "type": "object", "properties": properties, "required": required, "additionalProperties": false },
            "annotations": { "readOnlyHint": read_only, "destructiveHint": destructive },
        })
    };
    let line = json!({ "type": "string", "minLength": 1, "maxLength": 60 });
    let id = json!({ "type": "string", "format": "uuid" });
    let steering = json!({ "type": "string" });
    json!([
        tool(
            "todo_create",
            false,
            false,
            json!({
                "title": line, "priority": { "type": "string", "enum": ["low", "medium", "high"] },
                "dueDate": { "type": "string", "format": "date-time" }, "idempotencyKey": steering, "dryRun": { "type": "boolean" },
            }),
            &["title"]
        ),
        tool(
            "todo_list",
            true,
            false,
            json!({ "limit": { "type": "integer", "minimum": 1, "maximum": 100 }, "cursor": steering }),
            &[]
        ),
        tool("todo_get", true, false, json!({ "taskId": id }), &["taskId"]),
        tool("todo_complete", false, false, json!({ "taskId": id, "expectedRev": { "type": "integer" } }), &["taskId"]),
        tool("todo_purge", false, true, json!({ "taskId": id }), &["taskId"]),
        tool(
            "notes_create",
            false,
            false,
            json!({
                "title": line, "content": { "type": "string", "maxLength": 20_000 },
                "tags": { "type": "array", "items": line, "maxItems": 5 }, "color": { "type": "string", "pattern": "^#[0-9a-fA-F]{6}$" },
            }),
            &["title", "content"]
        ),
        tool("notes_list", true, false, json!({}), &[]),
        tool("notes_append", false, false, json!({ "noteId": id, "text": line }), &["noteId", "text"]),
    ])
}

/// The list in two pages, so that a client which reads only the first one is found out.
pub(crate) fn page(params: &Value) -> Value {
    let tools = tools();
    let all = tools.as_array().expect("a list");
    if params["cursor"] == "rest" {
        json!({ "resultType": "complete", "tools": all[3..] })
    } else {
        json!({ "resultType": "complete", "tools": all[..3], "nextCursor": "rest" })
    }
}

/// A page of some list, from the place that the cursor names.
pub(crate) fn page_of(tools: &[Value], size: usize, params: &Value) -> Value {
    let from: usize = params["cursor"].as_str().map_or(0, |cursor| cursor.parse().expect("a cursor of ours"));
    let to = tools.len().min(from + size);
    let mut page = json!({ "resultType": "complete", "tools": tools[from..to] });
    if to < tools.len() {
        page["nextCursor"] = json!(to.to_string());
    }
    page
}
