//! Edge cases of tools and their server: rows 20 to 25 of the table.

use std::time::Duration;

use axum::http::StatusCode;
use mana_runner::Outcome;
use mana_testkit::model::{Script, Turn};
use serde_json::{Value, json};

use crate::model_world::{Day, create, day, done, results, somebody};
use crate::world::{Mcp, World};

fn tool(name: &str, read_only: bool) -> Value {
    json!({
        "name": name, "description": "A tool.", "inputSchema": { "type": "object", "properties": {} },
        "annotations": { "readOnlyHint": read_only },
    })
}

#[tokio::test]
async fn row_20_every_kind_of_result_is_sent_in_a_form_that_a_model_takes() {
    const PNG: &str = "iVBORw0KGgo=";
    let novel = "Zeile mit Umlaut ü. ".repeat(20_000);
    let items: Vec<Value> = (0..9_000).map(|i| json!({ "id": i, "title": "ein Eintrag von vielen" })).collect();
    let answers = [
        ("files_a_empty", json!({ "content": [] })),
        ("files_b_image", json!({ "content": [{ "type": "image", "mimeType": "image/png", "data": PNG }] })),
        ("files_c_audio", json!({ "content": [{ "type": "audio", "mimeType": "audio/wav", "data": "AAAA" }] })),
        ("files_d_link", json!({ "content": [{ "type": "resource_link", "uri": "file:///a.txt", "name": "a.txt" }] })),
        (
            "files_e_structured",
            json!({ "content": [{ "type": "text", "text": "x" }], "structuredContent": { "id": 7 } }),
        ),
        ("files_f_long", json!({ "content": [{ "type": "text", "text": novel }] })),
        ("files_g_items", json!({ "content": [], "structuredContent": { "items": items, "nextCursor": "n" } })),
        ("files_h_error", json!({ "content": [], "isError": true })),
    ];
    let asked = answers.iter().fold(Turn::new(), |turn, (name, _)| turn.tool_use(name, name, json!({})));
    let day = Day::of(day([asked, done()])).await;
    {
        let mut log = day.world.log();
        log.offered = Some((answers.iter().map(|(name, _)| tool(name, true)).collect(), 100));
        log.results.extend(answers.iter().map(|(name, answer)| ((*name).to_owned(), answer.clone())));
    }

    let lived = day.live().await;

    assert_eq!(lived.outcome(), Outcome::Completed);
    let message = day.asked(1);
    let blocks = message["content"].as_array().expect("blocks");
    let content = |at: usize| blocks[at]["content"].as_array().expect("parts");
    let text = |at: usize| content(at)[0]["text"].as_str().expect("text");
    assert_eq!(text(0), "(no output)");
    assert_eq!(content(1)[0]["source"], json!({ "type": "base64", "media_type": "image/png", "data": PNG }));
    assert_eq!(text(2), "(audio of type audio/wav, 4 bytes)");
    assert_eq!(text(3), "(a link to file:///a.txt, a.txt)");
    assert_eq!(text(4), "{\"id\":7}");
    assert!(text(5).len() <= 16 * 1024 && text(5).contains("bytes left out"), "{}", text(5).len());
    assert!(text(5).starts_with("Zeile mit Umlaut ü.") && text(5).trim_end().ends_with("Umlaut ü."));
    let cut: Value = serde_json::from_str(text(6)).expect("JSON that lost items is still JSON");
    assert!(
        cut["items"].as_array().is_some_and(|kept| kept.len() > 100 && kept.len() < 9_000) && cut["nextCursor"] == "n"
    );
    assert_eq!(blocks[7]["is_error"], true);
    assert!(!content(7).is_empty(), "an error is never empty");
    // The audit keeps the size and the hash of what there was.
    for row in lived.rows() {
        assert_eq!(row["resultHash"].as_str().map(str::len), Some(16), "{row}");
    }
    assert!(lived.rows()[5]["resultBytes"].as_u64() > Some(400_000), "{}", lived.rows()[5]);
    assert_eq!(lived.codes()[7], ("files_h_error", "tool_error"));
}

#[tokio::test]
async fn row_21_a_tool_that_hangs_is_cancelled_and_its_latency_kept() {
    let mut day = Day::of(day([create("a").tool_use("b", "todo_list", json!({})), done()])).await;
    day.options.timing.tool_call = Duration::from_millis(100);
    day.world.log().slow_tools.insert("todo_create".into(), Duration::from_secs(20));

    let lived = day.live().await;

    assert_eq!(lived.outcome(), Outcome::Completed);
    assert_eq!(lived.codes(), [("a", "timeout"), ("b", "ok")]);
    let took = lived.rows()[0]["latencyMs"].as_u64().expect("a latency");
    assert!((100..5_000).contains(&took), "{took}");
    let answered = results(&day.asked(1));
    assert!(answered[0].2 && answered[0].1.contains("timeout"), "{answered:?}");
    assert_eq!(day.world.log().given_up, ["tick-1:a"], "the server is told that nobody waits");
}

#[tokio::test]
async fn row_22_a_connection_that_is_gone_is_mended_once_and_a_keyed_call_made_again() {
    for happened in [true, false] {
        let day = Day::of(day([Turn::new().tool_use("a", "todo_list", json!({})), create("b"), done()])).await;
        day.world.log().broken_calls.insert(2, (StatusCode::NOT_FOUND, happened));

        let lived = day.live().await;

        assert_eq!((lived.outcome(), lived.codes()), (Outcome::Completed, vec![("a", "ok"), ("b", "ok")]));
        let log = day.world.log();
        let keys: Vec<&str> = log.calls.iter().map(|call| call.key.as_str()).collect();
        assert_eq!(keys, ["tick-1:a", "tick-1:b", "tick-1:b"]);
        assert_eq!(log.records.len(), 1, "it happens once");
        let opened = log.requests.iter().filter(|(method, ..)| method == "server/discover").count();
        assert_eq!(opened, 2);
    }
}

#[tokio::test]
async fn row_22_a_connection_that_stays_gone_ends_the_visit_with_a_row_for_each_call() {
    let both = Turn::new().tool_use("a", "todo_list", json!({})).tool_use("b", "notes_list", json!({}));
    let day = Day::of(day([both.tool_use("c", "todo_create", json!({ "title": "x" })), done()])).await;
    for number in [1, 3] {
        // One of the two that run together, and its repetition.
        day.world.log().broken_calls.insert(number, (StatusCode::BAD_GATEWAY, false));
    }

    let lived = day.live().await;

    assert_eq!(lived.outcome(), Outcome::McpUnavailable);
    let mut codes: Vec<&str> = lived.codes().iter().map(|(_, code)| *code).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["not_executed", "ok", "unreachable"], "what ran beside it keeps its row");
    assert_eq!((lived.ratings().len(), day.requests().len()), (0, 1));
    assert!(!lived.finish.to_string().contains("canary"), "{}", lived.finish);
}

#[tokio::test]
async fn row_22_without_a_key_only_what_is_idempotent_is_made_again() {
    let shop = World::start().await;
    let day = Day::of(day([create("a"), Turn::new().tool_use("b", "todo_list", json!({})), done()])).await;
    shop.log().broken_calls.extend([(1, (StatusCode::NOT_FOUND, true)), (2, (StatusCode::NOT_FOUND, false))]);
    let mut claim = somebody("anna", "tick-1");
    claim["persona"]["target"] = json!({ "url": format!("{}/mcp", shop.url), "auth": "none" });

    let lived = day.live_as(claim).await;

    assert_eq!(lived.outcome(), Outcome::Completed);
    assert_eq!(lived.codes(), [("a", "unknown_fate"), ("b", "ok")]);
    let tools: Vec<String> = shop.log().calls.iter().map(|call| call.tool.clone()).collect();
    assert_eq!(tools, ["todo_create", "todo_list", "todo_list"], "what may have happened is not done again");
    let told = results(&day.asked(1));
    assert!(told[0].2 && told[0].1.contains("it may have happened or not"), "{told:?}");
    assert!(shop.log().requests.iter().all(|(_, token, space)| token.is_empty() && space.is_empty()));
}

#[tokio::test]
async fn row_23_without_a_server_a_token_or_a_tool_no_model_is_asked() {
    let cases = [
        (Some(Mcp::TakesNoToken), Outcome::McpUnauthorized),
        (Some(Mcp::Missing), Outcome::McpUnavailable),
        (Some(Mcp::HasNoTools), Outcome::McpUnavailable),
        (None, Outcome::McpUnavailable),
    ];
    for (state, expected) in cases {
        let mut day = Day::of(Script::visits()).await;
        match state {
            Some(state) => day.world.log().mcp = state,
            None => day.options.mcp_url = "http://127.0.0.1:1/mcp".into(),
        }
        day.world.make_due([somebody("anna", "tick-1")]);
        let result = day.runner().pass().await.expect("a pass");
        assert_eq!(result.visits[0].outcome, expected, "{state:?}");
        assert_eq!(day.model.served(), 0, "{state:?}");
        let log = day.world.log();
        let finish = &log.finishes[0].1;
        assert_eq!((&finish["actions"], &finish["feedback"]), (&json!([]), &json!([])));
        assert_eq!((log.journaled, log.ledger.reserved.len()), (0, 0));
        assert!(finish["summary"].as_str().is_some_and(|reason| !reason.is_empty()));
    }
}

#[tokio::test]
async fn row_24_a_token_that_dies_is_refreshed_once() {
    let two = |a: &str, b: &str| Turn::new().tool_use(a, "todo_list", json!({})).tool_use(b, "notes_list", json!({}));
    let day = Day::of(day([Turn::new().tool_use("a", "todo_list", json!({})), two("b", "c"), done()])).await;
    day.world.log().token_dies_after = Some(1);
    let lived = day.live().await;
    assert_eq!((lived.outcome(), lived.codes()), (Outcome::Completed, vec![("a", "ok"), ("b", "ok"), ("c", "ok")]));
    assert_eq!(day.world.log().refreshes, 1);
}

#[tokio::test]
async fn row_24_a_token_that_cannot_be_refreshed_ends_the_visit_and_open_calls_get_rows() {
    let three = create("b").tool_use("c", "todo_list", json!({})).tool_use("d", "notes_list", json!({}));
    let reads = Turn::new().tool_use("b", "todo_list", json!({})).tool_use("c", "notes_list", json!({}));
    let cases = [
        (three, vec![("a", "ok"), ("b", "unauthorized"), ("c", "not_executed"), ("d", "not_executed")]),
        (reads, vec![("a", "ok"), ("b", "unauthorized"), ("c", "unauthorized")]),
    ];
    for (turn, expected) in cases {
        let day = Day::of(day([create("a"), turn, done()])).await;
        day.world.log().token_dies_after = Some(1);
        day.world.log().refresh_fails = true;
        let lived = day.live().await;
        assert_eq!((lived.outcome(), lived.codes()), (Outcome::McpUnauthorized, expected));
        assert!(lived.summary().starts_with("token_revoked"), "{}", lived.summary());
        assert_eq!((lived.ratings().len(), day.requests().len()), (0, 2));
        assert_eq!(day.world.log().ledger.open(), 0, "what was said is paid");
    }
}

/// Tools in all the shapes that servers have, the later letters first.
fn odd_tools() -> Vec<Value> {
    let schemas = [
        json!({}),
        json!({ "properties": { "title": { "type": "string" } } }),
        json!({
            "type": "object", "properties": { "at": { "$ref": "#/$defs/When" } },
            "$defs": { "When": { "type": "string", "format": "date-time" } },
        }),
        json!({ "oneOf": [
            { "type": "object", "properties": { "id": { "type": "string" } }, "required": ["id"] },
            { "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] },
        ] }),
    ];
    let tool = |i: usize| {
        json!({
            "name": format!("area{:02}_tool{i:03}", i % 20), "description": format!("Tool number {i}."),
            "inputSchema": schemas[i % schemas.len()], "annotations": { "readOnlyHint": i.is_multiple_of(2) },
        })
    };
    (0..200).rev().map(tool).collect()
}

#[tokio::test]
async fn row_25_two_hundred_tools_on_pages_are_all_there_normal_and_in_one_order() {
    let mut seen = Vec::new();
    for (mut tools, page) in [(odd_tools(), 50), (odd_tools(), 7)] {
        if page == 7 {
            tools.rotate_left(77);
        }
        let day = Day::of(day([Turn::new().tool_use("a", "area00_tool000", json!({})), done()])).await;
        {
            let mut log = day.world.log();
            log.results.insert("area00_tool000".into(), json!({ "content": [{ "type": "text", "text": "gut" }] }));
            log.offered = Some((tools, page));
        }
        let lived = day.live().await;
        assert_eq!((lived.outcome(), lived.codes()), (Outcome::Completed, vec![("a", "ok")]));
        for request in day.requests() {
            let tools = request.body["tools"].as_array().expect("tools");
            assert_eq!(tools.len(), 200);
            let names: Vec<&str> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
            assert!(names.is_sorted());
            for tool in tools {
                let schema = &tool["input_schema"];
                assert_eq!(schema["type"], "object", "{tool}");
                assert!(["oneOf", "anyOf", "allOf"].iter().all(|word| schema.get(*word).is_none()), "{tool}");
            }
            seen.push(request.body["tools"].clone());
        }
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "the same list, whatever order it came in");
}
