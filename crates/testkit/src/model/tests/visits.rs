//! The persona: a whole visit over tools shaped like those of a Mana, and ratings that fit their schema.

use std::time::Duration;

use serde_json::{Value, json};

use super::wire::{ask, post};
use crate::model::{FakeModel, Script, cache};

fn tool(name: &str, properties: &Value, required: &[&str]) -> Value {
    json!({ "name": name, "input_schema": { "type": "object", "properties": properties, "required": required } })
}

fn tools() -> Vec<Value> {
    let title = json!({ "type": "string", "minLength": 1, "maxLength": 20 });
    let id = json!({ "type": "string", "format": "uuid" });
    vec![
        tool("journal_list", &json!({}), &[]),
        tool("todo_archive", &json!({ "todoId": id }), &["todoId"]),
        tool(
            "todo_create",
            &json!({
                "title": title, "priority": { "$ref": "#/$defs/priority" }, "due": { "type": "string", "format": "date" },
                "steps": { "type": "array", "minItems": 2, "items": { "type": "string" } },
                "minutes": { "type": "integer", "minimum": 5, "maximum": 6 },
                "share": { "anyOf": [{ "type": "null" }, { "type": "number", "exclusiveMinimum": 0, "maximum": 0.5 }] },
            }),
            &["title", "priority", "due", "steps", "minutes", "share"],
        ),
        tool("todo_get", &json!({ "todoId": id }), &["todoId"]),
        tool("todo_list", &json!({ "limit": { "type": "integer" } }), &[]),
        tool("todo_update", &json!({ "todoId": id, "title": title }), &["todoId"]),
    ]
}

/// The tools of `todo`, with `$defs` where they belong.
fn listed() -> Vec<Value> {
    let mut tools = tools();
    tools[2]["input_schema"]["$defs"] = json!({ "priority": { "type": "string", "enum": ["low", "high"] } });
    tools
}

fn schema() -> Value {
    let closed = |properties: Value, required: Value| json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required });
    let module = json!({ "type": "string", "enum": ["journal", "todo"] });
    let rated = closed(
        json!({
            "module": module, "rating": { "type": "integer", "enum": [1, 2, 3, 4, 5] }, "notes": { "type": "string" },
            "evidence": { "type": "array", "items": { "type": "integer" } }, "quote": { "type": "string" },
            "confidence": { "type": "string", "enum": ["low", "medium", "high"] },
        }),
        json!(["module", "rating", "notes", "evidence", "quote", "confidence"]),
    );
    let silent = closed(json!({ "module": module, "noOpinion": { "type": "string" } }), json!(["module", "noOpinion"]));
    closed(json!({ "ratings": { "type": "array", "items": { "anyOf": [silent, rated] } } }), json!(["ratings"]))
}

const ID: &str = "0195b7c4-1111-7abc-8def-000000000001";

/// What tools would answer.
fn results(content: &[Value]) -> Vec<Value> {
    let answer = |block: &Value| {
        let said = match block["name"].as_str().unwrap() {
            "todo_create" => json!({ "todo": { "id": ID, "title": "x" } }),
            name if name.ends_with("_list") => json!({ "items": [], "nextCursor": null }),
            _ => json!({ "id": ID, "rev": 2 }),
        };
        json!({ "type": "tool_result", "tool_use_id": block["id"], "content": [{ "type": "text", "text": said.to_string() }] })
    };
    content.iter().filter(|block| block["type"] == "tool_use").map(answer).collect()
}

/// Puts the one mark that moves on the newest block.
fn marked(mut body: Value) -> Value {
    let last = body["messages"].as_array_mut().unwrap().last_mut().unwrap();
    last["content"].as_array_mut().unwrap().last_mut().unwrap()["cache_control"] = json!({ "type": "ephemeral" });
    body
}

async fn visit(model: &FakeModel, goal: &str) -> (Vec<Value>, Value) {
    visit_with(model, goal, "todo", listed()).await
}

async fn visit_with(model: &FakeModel, goal: &str, liked: &str, tools: Vec<Value>) -> (Vec<Value>, Value) {
    let wait = Duration::from_secs(5);
    let mut body = ask(&format!("Today is Friday, 2026-11-20. {goal} You like to use: {liked}."));
    let end = tools.len() - 1;
    body["tools"] = tools.into();
    body["tools"][end]["cache_control"] = json!({ "type": "ephemeral", "ttl": "1h" });
    body["system"] = json!([{ "type": "text", "text": format!("You are Anna. {}", "She is real. ".repeat(40)), "cache_control": { "type": "ephemeral" } }]);
    let say = |body: &mut Value, role: &str, content: Vec<Value>| {
        body["messages"].as_array_mut().unwrap().push(json!({ "role": role, "content": content }));
    };
    let mut calls = Vec::new();
    loop {
        let (content, stop) = post(model, &marked(body.clone()), wait).await.message();
        say(&mut body, "assistant", content.clone());
        if stop != "tool_use" {
            break;
        }
        calls.extend(content.iter().filter(|block| block["type"] == "tool_use").cloned());
        say(&mut body, "user", results(&content));
    }
    say(&mut body, "user", vec![json!({ "type": "text", "text": "Write your diary." })]);
    let (diary, _) = post(model, &marked(body.clone()), wait).await.message();
    say(&mut body, "assistant", diary);
    let list: Vec<String> = calls
        .iter()
        .enumerate()
        .map(|(i, call)| format!("- [{}] {} ok", i + 1, call["name"].as_str().unwrap()))
        .collect();
    let question = format!("Rate todo and journal.\n{}", list.join("\n"));
    say(&mut body, "user", vec![json!({ "type": "text", "text": question })]);
    body["output_config"] = json!({ "format": { "type": "json_schema", "schema": schema() } });
    let (rating, _) = post(model, &marked(body), wait).await.message();
    (calls, serde_json::from_str(rating[0]["text"].as_str().unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_is_plausible_from_the_list_to_the_rating() {
    let model = FakeModel::start(Script::visits()).await;
    let (calls, rating) = visit(&model, "Nothing special.").await;
    let names: Vec<&str> = calls.iter().map(|call| call["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    assert_eq!(names[..2], ["todo_list", "todo_create"]);
    assert!(["todo_get", "todo_update"].contains(&names[2]), "{names:?}");
    assert_eq!(names[3..], ["todo_list", "journal_list"]);
    assert_eq!(calls[2]["input"]["todoId"], ID, "the id of the answer is chained");
    for call in &calls {
        let tool = listed().into_iter().find(|tool| tool["name"] == call["name"]).unwrap();
        assert!(jsonschema::is_valid(&tool["input_schema"], &call["input"]), "{call}");
    }
    assert!(jsonschema::is_valid(&schema(), &rating), "{rating}");
    let ratings = rating["ratings"].as_array().unwrap();
    assert_eq!(ratings.len(), 2);
    assert_eq!((&ratings[0]["module"], &ratings[0]["evidence"]), (&json!("journal"), &json!([5])));
    assert_eq!((&ratings[1]["module"], &ratings[1]["evidence"]), (&json!("todo"), &json!([1, 2, 3])));
    assert_eq!(ratings[1]["rating"], 4);
    let diary = model.requests().last().unwrap().body["messages"].to_string();
    let quote = serde_json::to_string(&ratings[1]["quote"]).unwrap();
    assert!(diary.contains(quote.trim_matches('"')), "{quote} is not in {diary}");

    // Said with the moving mark, all but the newest words lie before a mark.
    for shared in &cache::prefix_share(&model.requests())[1..] {
        assert!(shared.share() > 0.7, "{shared:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn visits_are_the_same_every_time_and_differ_by_their_day() {
    let model = FakeModel::start(Script::visits()).await;
    let (one, two, other) =
        tokio::join!(visit(&model, "One."), visit(&model, "One."), visit(&model, "Something else."));
    assert_eq!(one, two);
    assert_ne!(one.0[0]["id"], other.0[0]["id"]);
    assert_eq!(model.conversations().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_held_against_the_module() {
    let model = FakeModel::start(Script::visits()).await;
    let mut body = ask("Today. You like: todo.");
    body["tools"] = listed().into();
    body["messages"] = json!([
        body["messages"][0],
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "todo_list", "input": {} }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "is_error": true, "content": "no" }] },
        { "role": "assistant", "content": "Enough." },
        { "role": "user", "content": "Rate:\n1. todo_list: error" },
    ]);
    body["output_config"] = json!({ "format": { "type": "json_schema", "schema": schema() } });
    model.forgive("verbatim"); // the conversation was made up
    let (content, _) = post(&model, &body, Duration::from_secs(5)).await.message();
    let rating: Value = serde_json::from_str(content[0]["text"].as_str().unwrap()).unwrap();
    assert_eq!((&rating["ratings"][1]["rating"], &rating["ratings"][1]["evidence"]), (&json!(2), &json!([1])));
    assert_eq!(rating["ratings"][1]["quote"], "Enough.");
}

/// The tools of this product, as its description of them lies in the repository.
fn ours() -> Vec<Value> {
    let api: Value = serde_json::from_str(include_str!("../../../../../openapi/mana.json")).unwrap();
    let prefix = "/api/v1/tools/";
    let paths = api["paths"].as_object().unwrap().iter();
    let tools = paths.filter_map(|(path, item)| {
        let schema = &item["post"]["requestBody"]["content"]["application/json"]["schema"];
        Some(json!({ "name": path.strip_prefix(prefix)?, "input_schema": schema }))
    });
    let mut tools: Vec<Value> = tools.collect();
    tools.sort_by_key(|tool| tool["name"].as_str().unwrap().to_owned());
    tools
}

#[tokio::test(flavor = "multi_thread")]
async fn every_module_of_ours_can_be_visited() {
    let model = FakeModel::start(Script::visits()).await;
    let tools = ours();
    let of_name = |name: &Value| tools.iter().find(|tool| tool["name"] == *name).unwrap();
    for module in [
        "articles", "calendar", "contacts", "dreams", "goals", "habits", "invoices", "journal", "library", "mood",
        "news", "notes", "todo",
    ] {
        let (calls, _) = visit_with(&model, "Nothing special.", module, tools.clone()).await;
        let names: Vec<&str> = calls.iter().map(|call| call["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), 5, "{module}: {names:?}");
        assert!(names[..4].iter().all(|name| name.starts_with(module)), "{module}: {names:?}");
        assert!(calls[2]["input"].to_string().contains(ID), "{module}: {}", calls[2]);
        assert_ne!(calls[1]["input"], json!({}), "{module} is told nothing");
        for call in &calls {
            let schema = &of_name(&call["name"])["input_schema"];
            assert!(jsonschema::is_valid(schema, &call["input"]), "{call}");
        }
    }
}
