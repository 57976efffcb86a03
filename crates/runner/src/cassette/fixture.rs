//! A server and a visit for the tests of recordings, replays and mischief.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::conversation::{Conversation, Reply, Role, StopReason, ToolUse, text_block, tool_result_block, tool_uses};
use crate::engine::Step;
use crate::rehearsal::Rehearsal;
use crate::toolbox::{Toolbox, Toolboxes};
use crate::wire::{Action, ActionResult, Persona};

pub(crate) const EMAIL: &str = "persona.kai@mana.test";

pub(crate) fn persona() -> Persona {
    serde_json::from_value(json!({
        "email": EMAIL, "archetype": "solo-dev", "systemPrompt": "Ich bin Kai.", "locale": "de",
        "timezone": "Europe/Berlin", "moduleMix": { "todo": 0.6, "notes": 0.4 },
        "behaviour": { "toleratedErrors": 2, "typoRate": 0.05, "skipRate": 0.0, "verbosity": 0.9 },
    }))
    .expect("a persona")
}

pub(crate) fn rehearsal(tick: u32) -> Rehearsal {
    Rehearsal::new(&persona(), "2026-11-20".parse().expect("a date"), &tick_id(tick))
}

pub(crate) fn tick_id(tick: u32) -> mana_types::TickId {
    format!("tick-{tick}").parse().expect("a tick id")
}

fn list() -> Value {
    let tool = |name: &str, hints: (bool, bool), properties: Value, required: &[&str]| {
        json!({
            "name": name, "description": "A tool.",
            "inputSchema": { "type": "object", "properties": properties, "required": required, "additionalProperties": false },
            "annotations": { "readOnlyHint": hints.0, "destructiveHint": hints.1 },
        })
    };
    let (reads, writes, destroys) = ((true, false), (false, false), (false, true));
    let line = json!({ "type": "string", "minLength": 1, "maxLength": 200, "pattern": "\\S" });
    let text = json!({ "type": "string", "maxLength": 20_000 });
    let id = json!({ "type": "string", "format": "uuid" });
    json!([
        tool(
            "todo_create",
            writes,
            json!({
                "title": { "type": "string", "minLength": 1, "maxLength": 200 }, "notes": { "anyOf": [text, { "type": "null" }] },
                "dueDate": { "type": "string", "format": "date-time" }, "estimate": { "type": "integer", "minimum": 1, "maximum": 480 },
                "tags": { "type": "array", "items": line, "maxItems": 5 },
            }),
            &["title"]
        ),
        tool("todo_list", reads, json!({ "limit": { "type": "integer", "minimum": 1, "maximum": 100 } }), &[]),
        tool("todo_complete", writes, json!({ "taskId": id }), &["taskId"]),
        tool("todo_purge", destroys, json!({ "taskId": id }), &["taskId"]),
        tool(
            "notes_create",
            writes,
            json!({ "title": { "type": "string", "minLength": 1, "maxLength": 200 }, "content": text }),
            &["title", "content"]
        ),
        tool("notes_list", reads, json!({}), &[]),
        tool("notes_get", reads, json!({ "noteId": id }), &["noteId"]),
    ])
}

pub(crate) fn tools() -> Arc<Toolbox> {
    Toolboxes::default().of_list(serde_json::from_value(list()).expect("a list of tools"))
}

/// A server that knows its records, checks what it gets, and gives fresh ids and times.
pub(crate) struct Server {
    records: Vec<(String, Value)>,
    next: u64,
    day: &'static str,
    /// What it adds to every answer about a record.
    pub(crate) extra: Option<(&'static str, Value)>,
}

impl Server {
    pub(crate) fn new(first: u64, day: &'static str) -> Self {
        Self { records: Vec::new(), next: first, day, extra: None }
    }

    fn answer(&mut self, call: &ToolUse) -> Result<Value, (&'static str, String)> {
        let tools = list();
        let tool = tools.as_array().expect("a list").iter().find(|tool| tool["name"] == *call.name);
        let tool = tool.ok_or(("unknown_tool", format!("there is no tool `{}`", call.name)))?;
        assert_ne!(tool["annotations"]["destructiveHint"], true, "{} destroys", call.name);
        let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&tool["inputSchema"]);
        if let Err(error) = validator.expect("a schema").validate(&call.input) {
            return Err(("invalid-input", format!("`{}`: is not what the schema wants", error.instance_path())));
        }
        let (module, verb) = call.name.split_once('_').expect("module_verb");
        match verb {
            "create" => {
                let mut record = call.input.clone();
                record["id"] = json!(format!("0199a3f2-7c1e-7b60-9a51-{:012x}", self.next));
                record["createdAt"] = json!(format!("{}T10:00:{:02}.5Z", self.day, self.next % 60));
                record["createdOn"] = json!(self.day);
                if let Some((name, value)) = &self.extra {
                    record[*name] = value.clone();
                }
                self.next += 1;
                self.records.push((module.to_owned(), record.clone()));
                Ok(record)
            }
            "list" => {
                let items: Vec<&Value> =
                    self.records.iter().filter(|(of, _)| of == module).map(|(_, record)| record).collect();
                Ok(json!({ "items": items, "nextCursor": format!("cursor-{}", self.next) }))
            }
            _ => {
                let id = call.input.as_object().and_then(|input| input.values().next()).cloned().unwrap_or_default();
                let found = self.records.iter().find(|(of, record)| of == module && record["id"] == id);
                found
                    .map(|(_, record)| record.clone())
                    .ok_or_else(|| ("not-found", format!("there is no record `{id}` here")))
            }
        }
    }
}

/// A visit that was made.
pub(crate) struct Visited {
    pub(crate) conversation: Conversation,
    pub(crate) calls: Vec<ToolUse>,
    pub(crate) rows: Vec<Action>,
}

impl Visited {
    pub(crate) fn begin() -> Self {
        let mut conversation = Conversation::new(tools());
        conversation.rules = "Du bist ein Mensch.".into();
        conversation.persona = "Ich bin Kai.".into();
        conversation.say(Role::User, vec![text_block("Heute ist Freitag, der 2026-11-20.")]);
        Self { conversation, calls: Vec::new(), rows: Vec::new() }
    }

    /// Takes a reply in and answers its calls. False when the visit is over.
    pub(crate) fn take(&mut self, reply: Reply, server: &mut Server) -> bool {
        let asked = tool_uses(&reply.content);
        self.conversation.say(Role::Assistant, reply.content);
        if reply.stop_reason != StopReason::ToolUse {
            return false;
        }
        let mut answers = Vec::new();
        for call in asked {
            let answer = server.answer(&call);
            let text = match &answer {
                Ok(value) => value.to_string(),
                Err((code, message)) => json!({ "code": code, "message": message }).to_string(),
            };
            answers.push(tool_result_block(&call.id, vec![text_block(&text)], answer.is_err()));
            self.rows.push(Action {
                result: if answer.is_err() { ActionResult::Error } else { ActionResult::Ok },
                code: answer.as_ref().err().map(|(code, _)| (*code).to_owned()),
                error_message: answer.err().map(|(_, message)| message),
                ..row(&call)
            });
            self.calls.push(call);
        }
        self.conversation.say(Role::User, answers);
        true
    }

    /// Goes on to the end with an engine.
    pub(crate) fn run(mut self, server: &mut Server, mut engine: impl FnMut(&Conversation) -> Reply) -> Self {
        loop {
            let reply = engine(&self.conversation);
            if !self.take(reply, server) {
                return self;
            }
        }
    }
}

pub(crate) fn row(call: &ToolUse) -> Action {
    serde_json::from_value(json!({
        "index": 0, "toolName": call.name, "module": "todo", "inputHash": "", "result": "ok", "latencyMs": 1,
        "toolUseId": call.id,
    }))
    .expect("a row")
}

pub(crate) fn step(conversation: &Conversation) -> Step<'_> {
    Step { conversation, max_tokens: 4_096, format: None, deadline: Instant::now() }
}
