//! The rules: a good request passes, and for every rule there is a request that breaks only it.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::wire::{ask, post};
use crate::model::{FakeModel, Script, Turn, cache, validate};

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

const GOOD: [(&str, &str); 3] =
    [("x-api-key", "sk-test"), ("anthropic-version", "2026-10-21"), ("content-type", "application/json")];

/// A request with everything in it.
fn good() -> Value {
    json!({
        "model": "claude-haiku-5-5", "max_tokens": 2048, "stream": true,
        "thinking": { "type": "adaptive" },
        "tool_choice": { "type": "auto" },
        "tools": [
            { "name": "a-read", "description": "Reads.", "input_schema": { "type": "object" } },
            { "name": "b_write", "input_schema": { "type": "object", "properties": { "x": { "oneOf": [] } } },
              "cache_control": { "type": "ephemeral", "ttl": "1h" } },
        ],
        "system": [
            { "type": "text", "text": "Rules.", "cache_control": { "type": "ephemeral" } },
            { "type": "text", "text": "You are Anna." },
        ],
        "messages": [
            { "role": "user", "content": "Today is Friday." },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "", "signature": "c2ln" },
                { "type": "text", "text": "Two at once." },
                { "type": "tool_use", "id": "toolu_1", "name": "a-read", "input": {} },
                { "type": "tool_use", "id": "toolu_2", "name": "b_write", "input": { "x": 1 } },
                { "type": "weather", "rain": true },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "toolu_1", "content": [
                    { "type": "text", "text": "[]" },
                    { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "iVBORw0=" } },
                ] },
                { "type": "tool_result", "tool_use_id": "toolu_2", "content": "no such thing", "is_error": true,
                  "cache_control": { "type": "ephemeral", "ttl": "5m" } },
                { "type": "text", "text": "And now?" },
            ] },
        ],
        "output_config": { "format": { "type": "json_schema", "schema": {
            "type": "object", "additionalProperties": false, "required": ["ratings"],
            "properties": { "ratings": { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/maximum" } } },
            "$defs": { "maximum": { "type": "object", "additionalProperties": false, "properties": {
                "pattern": { "enum": [1, 2] }, "minimum": { "anyOf": [{ "type": "string" }, { "type": "null" }] },
            } } },
        } } },
    })
}

fn rules(pairs: &[(&'static str, &'static str)], body: &Value) -> BTreeSet<&'static str> {
    validate(&headers(pairs), body.to_string().as_bytes()).into_iter().map(|violation| violation.rule).collect()
}

#[test]
fn good_requests_pass() {
    assert_eq!(validate(&headers(&GOOD), good().to_string().as_bytes()), []);
    let bearer = [("authorization", "Bearer x"), GOOD[1], ("content-type", "application/json; charset=utf-8")];
    assert!(rules(&bearer, &good()).is_empty());
    let mut older = good();
    older["model"] = "claude-haiku-4-5".into();
    older["temperature"] = 0.5.into();
    older["thinking"] = json!({ "type": "enabled", "budget_tokens": 1024 });
    older["tool_choice"] = json!({ "type": "tool", "name": "b_write" });
    older["system"] = "Rules.".into();
    assert!(rules(&[GOOD[0], ("anthropic-version", "2023-06-01"), GOOD[2]], &older).is_empty());
    assert!(rules(&GOOD, &ask("Hello")).is_empty());
}

#[test]
fn bad_headers_are_found() {
    let bearer = ("authorization", "Bearer x");
    let table: [(&str, &[(&'static str, &'static str)]); 8] = [
        ("auth", &[GOOD[1], GOOD[2]]),
        ("auth", &[GOOD[0], bearer, GOOD[1], GOOD[2]]),
        ("auth", &[("authorization", "x"), GOOD[1], GOOD[2]]),
        ("auth", &[("x-api-key", ""), GOOD[1], GOOD[2]]),
        ("version", &[GOOD[0], GOOD[2]]),
        ("version", &[GOOD[0], ("anthropic-version", "2024-01-01"), GOOD[2]]),
        ("content-type", &[GOOD[0], GOOD[1]]),
        ("content-type", &[GOOD[0], GOOD[1], ("content-type", "text/plain")]),
    ];
    for (rule, pairs) in table {
        assert_eq!(rules(pairs, &good()), BTreeSet::from([rule]), "{pairs:?}");
    }
}

#[test]
fn bad_bodies_are_found() {
    let mark = json!({ "type": "ephemeral" });
    // The rule, what is changed, and into what; `null` takes a member away.
    let table: Vec<(&str, &str, Value)> = vec![
        ("model", "/model", "".into()),
        ("model", "/model", Value::Null),
        ("max-tokens", "/max_tokens", 0.into()),
        ("max-tokens", "/max_tokens", Value::Null),
        ("stream", "/stream", false.into()),
        ("stream", "/stream", Value::Null),
        ("member", "/seed", 7.into()),
        ("member", "/metadata", json!({ "email": "x" })),
        ("sampling", "/temperature", 1.into()),
        ("sampling", "/top_p", 1.into()),
        ("sampling", "/top_k", 1.into()),
        ("stop-sequences", "/stop_sequences", json!([" "])),
        ("thinking", "/thinking", json!({ "type": "disabled" })),
        ("thinking", "/thinking", json!({ "type": "enabled", "budget_tokens": 1024 })),
        ("thinking", "/thinking", json!({ "type": "deep" })),
        ("tool-choice", "/tool_choice", json!({ "type": "any" })),
        ("tool-choice", "/tool_choice", json!({ "type": "tool", "name": "b_write" })),
        ("tool-choice", "/tool_choice", json!({ "type": "some" })),
        ("tools", "/tools", json!({})),
        ("tool-name", "/tools/1/name", "b.write".into()),
        ("tool-name", "/tools/1/name", "x".repeat(65).into()),
        ("tool-unique", "/tools/1/name", "a-read".into()),
        ("tool-order", "/tools/0/name", "c".into()),
        ("tool-description", "/tools/0/description", 1.into()),
        ("member", "/tools/0/annotations", json!({ "readOnlyHint": true })),
        ("tool-schema", "/tools/0/input_schema", Value::Null),
        ("tool-schema", "/tools/0/input_schema", json!({})),
        ("tool-schema", "/tools/0/input_schema/oneOf", json!([])),
        ("tool-schema", "/tools/0/input_schema/anyOf", json!([])),
        ("tool-schema", "/tools/0/input_schema/allOf", json!([])),
        ("tool-schema", "/tools/0/input_schema/properties", json!([])),
        ("system", "/system", "".into()),
        ("system", "/system", json!([])),
        ("system", "/system", 1.into()),
        ("system", "/system/1/text", " ".into()),
        ("system", "/system/1/type", "image".into()),
        ("mark-count", "/system", vec![json!({ "type": "text", "text": "x", "cache_control": mark }); 3].into()),
        ("mark-kind", "/system/0/cache_control", json!({ "type": "persistent" })),
        ("mark-kind", "/system/0/cache_control", json!({ "type": "ephemeral", "ttl": "2h" })),
        ("member", "/system/0/cache_control/scope", "global".into()),
        ("mark-order", "/messages/2/content/1/cache_control/ttl", "1h".into()),
        ("mark-place", "/messages/1/content/0/cache_control", mark.clone()),
        ("messages", "/messages", json!([])),
        ("messages", "/messages", Value::Null),
        ("role", "/messages/0/role", "system".into()),
        ("prefill", "/messages/3", json!({ "role": "assistant", "content": "{" })),
        ("alternation", "/messages/3", json!({ "role": "user", "content": "More." })),
        ("member", "/messages/0/name", "Anna".into()),
        ("empty", "/messages/0/content", "".into()),
        ("empty", "/messages/0/content", json!([])),
        ("content", "/messages/0/content", 1.into()),
        ("empty", "/messages/1/content/1/text", "".into()),
        ("empty", "/messages/2/content/2/text", " \n".into()),
        ("empty", "/messages/2/content/0/content/0/text", "".into()),
        ("call", "/messages/1/content/2/name", "".into()),
        ("call", "/messages/1/content/3/input", "{\"x\":".into()),
        ("block", "/messages/1/content/4/type", "image".into()),
        ("block", "/messages/2/content/2", json!({ "type": "tool_use", "id": "x", "name": "x", "input": {} })),
        ("block", "/messages/2/content/2", json!({ "type": "resource_link", "uri": "x" })),
        ("member", "/messages/2/content/1/structuredContent", json!({})),
        ("result", "/messages/2/content/0/is_error", "no".into()),
        ("result", "/messages/2/content/0/content/0", json!({ "type": "audio" })),
        ("result", "/messages/2/content/0/content", json!({ "a": 1 })),
        ("empty-error", "/messages/2/content/1/content", "".into()),
        ("empty-error", "/messages/2/content/1/content", json!([])),
        ("empty-error", "/messages/2/content/1/content", Value::Null),
        ("image", "/messages/2/content/0/content/1/source/media_type", "image/bmp".into()),
        ("image", "/messages/2/content/0/content/1/source/data", "!!".into()),
        ("image", "/messages/2/content/0/content/1/source/type", "file".into()),
        ("call-answered", "/messages/2/content", json!([{ "type": "tool_result", "tool_use_id": "toolu_1" }])),
        ("format", "/output_config/format/type", "json".into()),
        ("format", "/output_config/format/schema", Value::Null),
        ("member", "/output_config/format/name", "rating".into()),
        ("member", "/output_config/verbosity", "low".into()),
        ("schema", "/output_config/format/schema/additionalProperties", Value::Null),
        ("schema", "/output_config/format/schema/required", json!(["other"])),
        ("schema", "/output_config/format/schema/properties/ratings/minItems", 2.into()),
        ("schema", "/output_config/format/schema/properties/ratings/maxItems", 3.into()),
        ("schema", "/output_config/format/schema/properties/ratings/items", json!({ "$ref": "https://example.org" })),
        ("schema", "/output_config/format/schema/$defs/maximum/additionalProperties", true.into()),
        ("schema", "/output_config/format/schema/$defs/maximum/properties/pattern/minimum", 1.into()),
        ("schema", "/output_config/format/schema/$defs/maximum/properties/minimum/anyOf/0/maxLength", 1.into()),
        ("schema", "/output_config/format/schema/$defs/maximum/properties/minimum/anyOf/0/pattern", "x".into()),
    ];
    for (rule, place, value) in table {
        let body = changed(good(), place, value.clone());
        let found = validate(&headers(&GOOD), body.to_string().as_bytes());
        let rules: BTreeSet<&str> = found.iter().map(|violation| violation.rule).collect();
        // The first message cannot be of another role without being no user's.
        let wanted = if rule == "role" { BTreeSet::from(["role", "first"]) } else { BTreeSet::from([rule]) };
        assert_eq!(rules, wanted, "{place} = {value}: {found:?}");
    }
}

#[test]
fn broken_pairs_are_found() {
    let result = |id: &str| json!({ "type": "tool_result", "tool_use_id": id, "content": "x" });
    let text = json!({ "type": "text", "text": "First this." });
    let table: Vec<(&str, Vec<Value>)> = vec![
        ("result-first", vec![text.clone(), result("toolu_1"), result("toolu_2")]),
        ("result-first", vec![result("toolu_1"), text.clone(), result("toolu_2")]),
        ("result-order", vec![result("toolu_2"), result("toolu_1")]),
        ("result-unasked", vec![result("toolu_1"), result("toolu_2"), result("toolu_3")]),
        ("call-answered", vec![result("toolu_1"), result("toolu_2"), result("toolu_1")]),
        ("call-answered", vec![result("toolu_2")]),
        ("call-answered", vec![text]),
    ];
    for (rule, content) in table {
        let body = changed(good(), "/messages/2/content", content.into());
        assert_eq!(rules(&GOOD, &body), BTreeSet::from([rule]), "{}", body["messages"][2]);
    }
    let mut twice = good();
    let (again, answers) = (twice["messages"][1].clone(), twice["messages"][2].clone());
    let messages = twice["messages"].as_array_mut().unwrap();
    messages[2]["content"][1].as_object_mut().unwrap().remove("cache_control");
    messages.extend([again, answers]);
    assert_eq!(rules(&GOOD, &twice), BTreeSet::from(["call-unique"]));
    let late = json!([
        { "role": "user", "content": "x" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "a-read", "input": {} }] },
        { "role": "user", "content": "wait" },
        { "role": "assistant", "content": "ok" },
        { "role": "user", "content": [result("t")] },
    ]);
    let found = rules(&GOOD, &changed(good(), "/messages", late));
    assert_eq!(found, BTreeSet::from(["call-answered", "result-unasked"]));
}

#[test]
fn what_is_no_request_is_found() {
    let found = |body: &[u8]| validate(&headers(&GOOD), body).into_iter().map(|found| found.rule).collect::<Vec<_>>();
    assert_eq!(found(b"{"), ["json"]);
    assert_eq!(found(b"[]"), ["json"]);
    let mut large = good().to_string().into_bytes();
    large.resize((32 << 20) + 1, b' ');
    assert_eq!(found(&large), ["size"]);
    let mut starts_with_reply = good();
    starts_with_reply["messages"] =
        json!([{ "role": "assistant", "content": "Hi." }, { "role": "user", "content": "Hi." }]);
    assert_eq!(rules(&GOOD, &starts_with_reply), BTreeSet::from(["first"]));
}

fn changed(mut body: Value, place: &str, value: Value) -> Value {
    let (parent, name) = place.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap_or_else(|| panic!("{place} is nowhere"));
    match parent {
        Value::Array(list) if name.parse() == Ok(list.len()) => list.push(value),
        Value::Array(list) => list[name.parse::<usize>().unwrap()] = value,
        Value::Object(object) if value.is_null() => {
            object.remove(name);
        }
        parent => parent[name] = value,
    }
    body
}

/// What a careless client does to a conversation.
type Change = fn(&mut Vec<Value>);

/// Says hello, then sends what `change` makes of the conversation.
async fn resent(first: Turn, change: impl Fn(&mut Vec<Value>)) -> Vec<String> {
    let model = FakeModel::start(Script::turns([first])).await;
    let mut body = ask("Hello");
    let (content, _) = post(&model, &body, Duration::from_secs(5)).await.message();
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({ "role": "assistant", "content": content }));
    messages.push(json!({ "role": "user", "content": "Go on." }));
    change(messages);
    post(&model, &body, Duration::from_secs(5)).await;
    let found = model.violations();
    // Seen: nothing is left for the end of the test.
    for rule in ["verbatim", "prefill", "alternation", "empty", "first"] {
        model.forgive(rule);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_must_come_back_as_it_was() {
    let first = || {
        let unknown = json!({ "type": "weather", "rain": 0.5, "later": { "unknown": true } });
        Turn::new().thinking("Hm.", "c2ln").redacted_thinking("eHg=").text("Hello.").block(unknown)
    };
    assert_eq!(resent(first(), |_| {}).await, Vec::<String>::new());
    let marked = |messages: &mut Vec<Value>| {
        messages[0]["content"][0]["cache_control"] = json!({ "type": "ephemeral" });
        messages[1]["content"][2]["cache_control"] = json!({ "type": "ephemeral" });
    };
    assert_eq!(resent(first(), marked).await, Vec::<String>::new());
    let changes: [(&str, Change); 7] = [
        ("a signature", |messages| messages[1]["content"][0]["signature"] = "x".into()),
        ("a thought", |messages| messages[1]["content"][0]["thinking"] = "".into()),
        ("a thought left out", |messages| drop(messages[1]["content"].as_array_mut().unwrap().remove(1))),
        ("a text", |messages| messages[1]["content"][2]["text"] = "Hello".into()),
        ("an unknown member", |messages| drop(messages[1]["content"][3]["later"].take())),
        ("the order", |messages| messages[1]["content"].as_array_mut().unwrap().swap(0, 1)),
        ("what came before", |messages| messages[0]["content"][0]["text"] = "Hullo".into()),
    ];
    for (name, change) in changes {
        let found = resent(first(), change).await;
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert!(found[0].starts_with("request 1: [verbatim] messages[1]"), "{name}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_may_be_sent_back_last_and_an_empty_text_left_out() {
    let without_last = |messages: &mut Vec<Value>| drop(messages.pop());
    assert_eq!(resent(Turn::say("Wait.").stop("pause_turn"), without_last).await, Vec::<String>::new());
    let followed = |messages: &mut Vec<Value>| {
        messages.pop();
        messages.push(json!({ "role": "assistant", "content": "…" }));
    };
    let found = resent(Turn::say("Wait.").stop("pause_turn"), followed).await;
    assert!(found.iter().any(|line| line.contains("[prefill] messages[2]")), "{found:?}");
    assert!(!found.iter().any(|line| line.contains("alternation")), "{found:?}");
    let found = resent(Turn::say("Done."), without_last).await;
    assert_eq!(found, ["request 1: [prefill] messages[1]: the last message is the assistant's"]);
    let left_out = |messages: &mut Vec<Value>| drop(messages[1]["content"].as_array_mut().unwrap().remove(0));
    assert_eq!(resent(Turn::say("").text("Yes."), left_out).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_was_asked_badly_fails_the_test() {
    let model = FakeModel::start(Script::visits()).await;
    let mut body = ask("Hello");
    body["temperature"] = 1.into();
    post(&model, &body, Duration::from_secs(5)).await;
    assert_eq!(model.violations().len(), 1);
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(model))).unwrap_err();
    let text = failed.downcast_ref::<String>().unwrap();
    assert!(text.contains("request 0: [sampling] temperature: was removed with version 2026-10-21"), "{text}");
}

fn seen(body: &Value) -> crate::model::SeenRequest {
    let bytes = body.to_string().into_bytes().into();
    crate::model::SeenRequest { headers: HeaderMap::new(), bytes, body: body.clone().into() }
}

#[test]
fn the_share_of_a_kept_prefix() {
    let mark = json!({ "type": "ephemeral" });
    let text = |text: &str, marked: bool| {
        let mut block = json!({ "type": "text", "text": text });
        if marked {
            block["cache_control"] = mark.clone();
        }
        block
    };
    let long = "x".repeat(1000);
    let body = |system: &str, messages: Vec<(&str, Vec<Value>)>| {
        let messages: Vec<Value> =
            messages.into_iter().map(|(role, content)| json!({ "role": role, "content": content })).collect();
        let tools =
            [json!({ "name": "a", "input_schema": { "type": "object" }, "description": long, "cache_control": mark })];
        seen(&json!({ "tools": tools, "system": [text(system, true)], "messages": messages }))
    };
    let first = body("s", vec![("user", vec![text(&long, true)])]);
    let second = vec![
        ("user", vec![text(&long, false)]),
        ("assistant", vec![text("a", false)]),
        ("user", vec![text("b", true)]),
    ];
    let share = |a, b| cache::prefix_share(&[a, b])[0];

    // The mark has moved on; what it marked before is unchanged.
    let moved = share(first.clone(), body("s", second.clone()));
    assert!(moved.prompt - moved.kept < 200 && moved.kept > 2000, "{moved:?}");
    assert!(moved.share() > 0.9);
    // Another system text: only the tools are kept.
    let other = share(first.clone(), body("t", second.clone()));
    assert!((1000..1200).contains(&other.kept), "{other:?}");
    // The first message was changed: tools and system are kept.
    let mut changed = second.clone();
    changed[0].1[0] = text(&"y".repeat(1000), false);
    let changed = share(first.clone(), body("s", changed));
    assert!(changed.kept > other.kept && changed.kept < 1300, "{changed:?}");
    // The next mark is too far away to look back to the first message, but the marks before it still serve.
    let mut far = second;
    far[2].1.splice(0..0, (0..20).map(|_| text("c", false)));
    let far = share(first.clone(), body("s", far));
    assert_eq!(far.kept, changed.kept);
    // Nobody marked anything.
    let plain = seen(&json!({ "system": "s", "messages": [{ "role": "user", "content": "x" }] }));
    let plain = share(plain.clone(), plain);
    assert_eq!((plain.kept, plain.share() > 0.0), (0, false));
    // Members in another order are other bytes.
    let one = seen(&Value::Null);
    let raw = |text: &str| crate::model::SeenRequest { bytes: text.to_owned().into(), ..one.clone() };
    let a = raw(r#"{"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}]}"#);
    let b = raw(r#"{"system":[{"text":"s","type":"text","cache_control":{"type":"ephemeral"}}]}"#);
    assert_eq!(share(a.clone(), b).kept, 0);
    assert!(share(a.clone(), a).kept > 0);
}
