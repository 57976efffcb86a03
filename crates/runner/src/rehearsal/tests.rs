use std::sync::Arc;

use mana_types::Date;
use serde_json::{Value, json};

use super::Rehearsal;
use super::arguments::Writer;
use super::memory::Memory;
use crate::conversation::{Conversation, Role, StopReason, ToolUse, text_block, tool_result_block, tool_uses};
use crate::toolbox::{Tool, Toolbox};
use crate::wire::Persona;

fn persona(locale: &str, typo_rate: f64) -> Persona {
    serde_json::from_value(json!({
        "email": "persona.kai@mana.test", "archetype": "solo-dev", "systemPrompt": "Ich bin Kai.", "locale": locale,
        "timezone": "Europe/Berlin", "moduleMix": { "todo": 0.5, "notes": 0.5 },
        "behaviour": { "toleratedErrors": 2, "typoRate": typo_rate, "skipRate": 0.0, "verbosity": 0.9 },
    }))
    .expect("a persona")
}

fn rehearsal(persona: &Persona, tick: u32) -> Rehearsal {
    let today: Date = "2026-11-20".parse().expect("a date");
    Rehearsal::new(persona, today, &format!("tick-{tick}").parse().expect("a tick id"))
}

fn tool(name: &str, read_only: bool, schema: Value, answers: &[&str]) -> Tool {
    let Value::Object(schema) = schema else { panic!("a schema is an object") };
    Tool {
        name: name.into(),
        module: name.split('_').next().unwrap_or_default().into(),
        schema: Arc::new(schema),
        answers: answers.iter().map(|field| (*field).to_owned()).collect(),
        read_only,
        destructive: false,
        ..Tool::default()
    }
}

fn object(properties: &Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn toolbox() -> Toolbox {
    let id = json!({ "type": "string", "format": "uuid" });
    let line = json!({ "type": "string", "minLength": 1, "maxLength": 200 });
    let task = ["id", "rev", "title", "dueDate", "isCompleted"];
    let project = ["id", "rev", "name", "color"];
    Toolbox::new(
        vec![
            tool("todo_create", false, object(&json!({ "title": line, "projectId": id }), &["title"]), &task),
            tool("todo_list", true, object(&json!({}), &[]), &[]),
            tool("todo_complete", false, object(&json!({ "taskId": id }), &["taskId"]), &task),
            tool("todo_project_create", false, object(&json!({ "name": line }), &["name"]), &project),
            tool("todo_project_archive", false, object(&json!({ "projectId": id }), &["projectId"]), &project),
            tool("todo_project_restore", false, object(&json!({ "projectId": id }), &["projectId"]), &project),
            tool(
                "notes_create",
                false,
                object(&json!({ "title": line, "content": { "type": "string" } }), &["title", "content"]),
                &[],
            ),
            tool("notes_get", true, object(&json!({ "noteId": id }), &["noteId"]), &[]),
        ],
        "hash".into(),
    )
}

/// Plays a whole visit against a server that takes everything and knows its records.
fn play(who: &Rehearsal, tools: Toolbox) -> (Vec<ToolUse>, Conversation) {
    let mut conversation = Conversation::new(Arc::new(tools));
    conversation.say(Role::User, vec![text_block("Heute ist Freitag.")]);
    let mut made: Vec<(String, Value)> = Vec::new();
    let mut calls = Vec::new();
    loop {
        let reply = who.step(&conversation);
        conversation.say(Role::Assistant, reply.content.clone());
        if reply.stop_reason != StopReason::ToolUse {
            return (calls, conversation);
        }
        let mut answers = Vec::new();
        for call in tool_uses(&reply.content) {
            let kind = call.name.rsplit_once('_').map_or("", |(kind, _)| kind).to_owned();
            let answer = if call.name.ends_with("create") {
                let mut record = call.input.clone();
                record["id"] = json!(format!("{kind}-{}", made.len()));
                made.push((kind, record.clone()));
                record
            } else if call.name.ends_with("list") {
                let items: Vec<&Value> = made.iter().filter(|(of, _)| *of == kind).map(|(_, record)| record).collect();
                json!({ "items": items })
            } else {
                let named = call.input.as_object().and_then(|input| input.values().next()).cloned().unwrap_or_default();
                let found = made.iter().find(|(of, record)| *of == kind && record["id"] == named);
                found.unwrap_or_else(|| panic!("{call:?} names no record of its kind")).1.clone()
            };
            answers.push(tool_result_block(&call.id, vec![text_block(&answer.to_string())], false));
            calls.push(call);
        }
        conversation.say(Role::User, answers);
    }
}

#[test]
fn the_same_seed_says_the_same_bytes_and_another_says_something_else() {
    let persona = persona("de", 0.05);
    let said = |tick| {
        let (_, conversation) = play(&rehearsal(&persona, tick), toolbox());
        conversation.messages.into_iter().map(|message| Value::Array(message.content).to_string()).collect::<String>()
    };
    let visits: Vec<String> = (0..20).map(said).collect();
    assert_eq!(visits, (0..20).map(said).collect::<Vec<_>>());
    let mut different = visits;
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 20);
}

#[test]
fn every_reference_names_a_record_of_its_kind_that_was_seen_before() {
    let persona = persona("de", 0.0);
    let mut used = std::collections::BTreeSet::new();
    for tick in 0..60 {
        // `play` panics where a call names something that is not there.
        let (calls, _) = play(&rehearsal(&persona, tick), toolbox());
        assert!((3..=9).contains(&calls.len()), "{calls:?}");
        let mut archived = Vec::new();
        for call in &calls {
            let named = call.input.get("projectId").cloned();
            match call.name.as_str() {
                "todo_project_archive" => archived.extend(named),
                "todo_project_restore" => assert!(named.is_some_and(|named| archived.contains(&named)), "{calls:?}"),
                "todo_create" => assert!(named.is_none_or(|named| !archived.contains(&named)), "{calls:?}"),
                _ => {}
            }
        }
        used.extend(calls.into_iter().map(|call| call.name));
    }
    assert_eq!(used.len(), toolbox().tools().len(), "{used:?}");
}

#[test]
fn a_server_that_refuses_everything_is_left_soon() {
    let persona = persona("en", 0.0);
    let mut conversation = Conversation::new(Arc::new(toolbox()));
    conversation.say(Role::User, vec![text_block("Today is Friday.")]);
    let who = rehearsal(&persona, 1);
    let mut calls = 0;
    for _ in 0..10 {
        let reply = who.step(&conversation);
        let asked = tool_uses(&reply.content);
        conversation.say(Role::Assistant, reply.content);
        if asked.is_empty() {
            break;
        }
        calls += asked.len();
        let no = asked.iter().map(|call| tool_result_block(&call.id, vec![text_block("no")], true)).collect();
        conversation.say(Role::User, no);
    }
    assert!((3..=4).contains(&calls), "{calls} calls, two errors are tolerated");
    assert!(conversation.open_calls().is_empty());
}

/// Schemas with everything that a foreign server may come up with.
fn schemas() -> Vec<Value> {
    vec![
        object(&json!({ "title": { "type": "string", "minLength": 3, "maxLength": 20 } }), &["title"]),
        object(&json!({ "content": { "type": "string", "minLength": 300, "maxLength": 350 } }), &["content"]),
        object(
            &json!({ "level": { "type": "integer", "minimum": 1, "maximum": 10 }, "share": { "type": "number", "exclusiveMinimum": 0, "maximum": 1 } }),
            &["level", "share"],
        ),
        object(
            &json!({ "mood": { "enum": ["gut", "schlecht"] }, "kind": { "const": "log" }, "on": { "type": "boolean" } }),
            &["mood", "kind", "on"],
        ),
        object(
            &json!({ "date": { "type": "string", "format": "date" }, "start": { "type": "string", "format": "date-time" }, "end": { "type": "string", "format": "date-time" } }),
            &["date", "start", "end"],
        ),
        object(
            &json!({ "email": { "type": "string", "format": "email" }, "url": { "type": "string", "format": "uri" } }),
            &["email", "url"],
        ),
        object(
            &json!({ "color": { "type": "string", "pattern": "^#[0-9a-fA-F]{6}$" }, "currency": { "type": "string", "pattern": "^[A-Z]{3}$" } }),
            &["color", "currency"],
        ),
        object(
            &json!({ "tags": { "type": "array", "items": { "type": "string", "maxLength": 12 }, "minItems": 2, "maxItems": 3, "uniqueItems": true } }),
            &["tags"],
        ),
        object(
            &json!({ "lines": { "type": "array", "minItems": 1, "items": object(&json!({ "title": { "type": "string" }, "qty": { "type": "number", "minimum": 0.25 } }), &["title", "qty"]) } }),
            &["lines"],
        ),
        object(
            &json!({ "value": { "oneOf": [{ "type": "null" }, { "type": "integer", "minimum": 5 }] }, "other": { "anyOf": [{ "type": "string", "format": "date" }] } }),
            &["value", "other"],
        ),
        object(&json!({ "note": { "type": ["string", "null"], "maxLength": 30 } }), &["note"]),
        json!({
            "type": "object", "required": ["task"],
            "properties": { "task": { "$ref": "#/$defs/Task" } },
            "$defs": {
                "Task": { "allOf": [{ "$ref": "#/$defs/Named" }, { "type": "object", "properties": { "done": { "type": "boolean" } }, "required": ["done"] }] },
                "Named": { "type": "object", "properties": { "name": { "type": "string", "minLength": 1 } }, "required": ["name"] },
            },
        }),
        json!({ "type": "object", "properties": {}, "additionalProperties": false }),
        json!({ "type": "object" }),
    ]
}

#[test]
fn arguments_fit_their_schema() {
    for (i, schema) in schemas().into_iter().enumerate() {
        let validator =
            jsonschema::draft202012::options().should_validate_formats(true).build(&schema).expect("a valid schema");
        let tools = Toolbox::new(vec![tool("things_create", false, schema.clone(), &[])], "hash".into());
        for tick in 0..40 {
            let who = rehearsal(&persona(if tick % 2 == 0 { "de" } else { "en" }, 0.3), tick);
            let memory = Memory::default();
            let written = Writer::new(&who, &tools.tools()[0], &tools, &memory, who.dice(9)).arguments();
            let arguments = Value::Object(written.unwrap_or_else(|| panic!("schema {i}: nothing was written")));
            if let Err(error) = validator.validate(&arguments) {
                panic!("schema {i}: {arguments}: {error}");
            }
        }
    }
}

#[test]
fn what_nobody_can_know_is_not_made_up() {
    for schema in [
        object(&json!({ "taskId": { "type": "string", "format": "uuid" } }), &["taskId"]),
        object(&json!({ "code": { "type": "string", "pattern": "^[A-F]{3}-[0-9]{9}$" } }), &["code"]),
    ] {
        let tools = Toolbox::new(vec![tool("things_use", false, schema, &[])], "hash".into());
        let who = rehearsal(&persona("de", 0.0), 1);
        assert_eq!(Writer::new(&who, &tools.tools()[0], &tools, &Memory::default(), who.dice(9)).arguments(), None);
    }
}

#[test]
fn an_end_lies_after_its_start_and_text_that_belongs_together_stays_together() {
    let time = json!({ "type": "string", "format": "date-time" });
    let event = object(
        &json!({ "title": { "type": "string" }, "location": { "type": "string" }, "start": time, "end": time }),
        &["title", "location", "start", "end"],
    );
    let tools = Toolbox::new(vec![tool("calendar_create", false, event, &[])], "hash".into());
    for tick in 0..50 {
        let who = rehearsal(&persona("de", 0.0), tick);
        let written =
            Writer::new(&who, &tools.tools()[0], &tools, &Memory::default(), who.dice(9)).arguments().expect("written");
        let time = |name: &str| {
            written[name].as_str().and_then(|text| text.parse::<mana_types::Timestamp>().ok()).expect("a time")
        };
        assert!(time("start") < time("end"), "{written:?}");
        let place = |role: &str, name: &str| {
            let phrases = super::stock::of_module(mana_types::Lang::De, "calendar", role);
            phrases.iter().position(|phrase| written[name] == **phrase)
        };
        assert_eq!(place("title", "title"), place("location", "location"), "{written:?}");
    }
}
