//! The trail: one row per call, whatever became of it.

use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode};
use mana_testkit::each_db;
use serde_json::json;

use crate::world::{World, mcp_request, rest_request};

#[tokio::test]
async fn every_call_leaves_a_row_that_its_caller_can_read() {
    each_db(|db| async {
        let world = World::new(db).await;
        let token = &world.anna.token;
        let meta = json!({ "mana/correlationId": "c-1" });
        let params = json!({ "name": "misc_echo", "arguments": { "text": "hi" }, "_meta": meta });
        world.mcp(token, "tools/call", params).await;
        world.rest(token, "todo_create", json!({ "title": 7 })).await;
        world.rest(token, "misc_refuse", json!({})).await;
        world.rest(token, "no_such", json!({})).await;
        let tick = [("x-mana-tick", "tick-1"), ("user-agent", "curl/8")];
        world.send(rest_request(token, "todo_create", &tick, json!({ "title": "x" }).to_string())).await;
        world.rest(&world.ben.token, "todo_list", json!({})).await;
        let trail = world.trail(token).await;
        let seen: Vec<_> = trail
            .iter()
            .map(|row| {
                [&row["tool"], &row["door"], &row["outcome"], &row["reason"]].map(|field| field.as_str().unwrap_or("-"))
            })
            .collect();
        let mut seen = seen;
        seen.sort_unstable();
        assert_eq!(
            seen,
            [
                ["misc_echo", "mcp", "success", "-"],
                ["misc_refuse", "rest", "handler-error", "already-sent"],
                ["no_such", "rest", "input-invalid", "unknown-tool"],
                ["todo_create", "rest", "input-invalid", "invalid-input"],
                ["todo_create", "rest", "success", "-"],
            ]
        );
        let echo = trail.iter().find(|row| row["tool"] == "misc_echo").unwrap();
        assert_eq!((&echo["client"], &echo["correlationId"]), (&json!("test/1"), &json!("c-1")));
        assert_eq!(echo["inputHash"], mana_types::input_hash(&json!({ "text": "hi" })));
        assert_eq!(echo["spaceId"], json!(world.anna.space));
        let ticked = trail.iter().find(|row| row["client"] == "curl/8").unwrap();
        assert_eq!(ticked["correlationId"], "tick-1");
        assert_eq!(world.trail(&world.ben.token).await.len(), 1, "everybody reads his own");
    })
    .await;
}

#[tokio::test]
async fn the_trail_comes_in_pages() {
    each_db(|db| async {
        let world = World::new(db).await;
        let token = &world.anna.token;
        for _ in 0..5 {
            world.test.clock.advance_millis(1);
            world.rest(token, "todo_list", json!({})).await;
        }
        let page = async |query: String| {
            let request =
                Request::get(format!("/api/v1/audit?{query}")).header("authorization", format!("Bearer {token}"));
            world.send(request.body(Body::empty()).unwrap()).await
        };
        let mut seen = Vec::new();
        let mut query = "limit=2".to_owned();
        loop {
            let answer = page(query).await;
            let items = answer.body["items"].as_array().unwrap();
            seen.extend(items.iter().map(|row| row["at"].as_str().unwrap().to_owned()));
            match answer.body["nextCursor"].as_str() {
                Some(cursor) => query = format!("limit=2&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), 5);
        assert!(seen.is_sorted_by(|newer, older| newer > older), "{seen:?}");
        let wrong = page("limit=0&cursor=nonsense".into()).await;
        assert_eq!((wrong.status, wrong.body["details"].as_array().map(Vec::len)), (StatusCode::BAD_REQUEST, Some(2)));
    })
    .await;
}

#[tokio::test]
async fn a_late_or_abandoned_call_is_undone_and_written_down() {
    each_db(|db| async {
        let world = World::new(db).await;
        let token = &world.anna.token;
        let late = world.tool(token, "misc_slow", json!({ "title": "x" })).await;
        assert_eq!(late["_meta"]["mana/error"]["code"], "deadline-exceeded", "{late}");
        let params = json!({ "name": "misc_slow", "arguments": { "title": "x" } });
        let request = mcp_request("/mcp", token, &[], "tools/call", params);
        let abandoned = tokio::time::timeout(Duration::from_millis(300), world.send(request)).await;
        assert!(abandoned.is_err(), "the client went away");
        // The handler learns of it on its own task; its row tells when it has.
        let mut outcomes = Vec::new();
        for _ in 0..100 {
            let trail = world.trail(token).await;
            outcomes = trail.iter().map(|row| row["outcome"].as_str().unwrap().to_owned()).collect();
            if outcomes.len() == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        outcomes.sort_unstable();
        assert_eq!(outcomes, ["cancelled", "handler-error"]);
        let listed = world.tool(token, "todo_list", json!({})).await;
        assert_eq!(listed["structuredContent"]["items"], json!([]), "nothing of either was kept");
    })
    .await;
}

#[tokio::test]
async fn the_trail_is_whole_when_the_process_stops_and_goes_with_the_account() {
    each_db(|db| async {
        let world = World::new(db).await;
        let token = &world.anna.token;
        for _ in 0..20 {
            world.rest(token, "todo_list", json!({})).await;
        }
        world.gateway.close().await;
        let count = async || {
            let (rows,): (i64,) = world.test.db.query("SELECT COUNT(*) FROM audit").one().await.unwrap();
            rows
        };
        assert_eq!(count().await, 20);
        let refused = world.rest(token, "todo_list", json!({})).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "without a trail no call is made");
        let mut tx = world.test.db.begin().await.unwrap();
        tx.query("DELETE FROM account WHERE id = $1").bind(world.anna.id).execute().await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(count().await, 0);
    })
    .await;
}

#[tokio::test]
async fn rows_of_a_deleted_account_do_not_hold_up_those_of_others() {
    each_db(|db| async {
        let world = World::new(db).await;
        let token = &world.anna.token;
        let params = json!({ "name": "misc_slow", "arguments": { "title": "x" } });
        let slow = world.send(mcp_request("/mcp", token, &[], "tools/call", params));
        let meanwhile = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let read = world.rest(&world.ben.token, "todo_list", json!({})).await;
            assert_eq!(read.status, StatusCode::OK);
        };
        let (_, ()) = tokio::join!(slow, meanwhile);
        let mut tx = world.test.db.begin().await.unwrap();
        tx.query("DELETE FROM account WHERE id = $1").bind(world.anna.id).execute().await.unwrap();
        tx.commit().await.unwrap();
        // His token is still good, his account is gone: no space, no call, no row, and no error either.
        let gone = world.rest(token, "todo_list", json!({})).await;
        assert_eq!(gone.status, StatusCode::NOT_FOUND);
        assert_eq!(world.trail(&world.ben.token).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_row_that_a_database_would_refuse_takes_no_other_with_it() {
    each_db(|db| async {
        let world = World::new(db).await;
        let token = &world.anna.token;
        let meta = json!({
            "mana/correlationId": "c\0",
            "io.modelcontextprotocol/clientInfo": { "name": "n\0", "version": "\0" },
        });
        world.rest(&world.ben.token, "todo_list", json!({})).await;
        world.mcp(token, "tools/call", json!({ "name": "todo_list", "arguments": {}, "_meta": meta })).await;
        world.rest(token, "to%00do", json!({})).await;
        assert_eq!(world.trail(&world.ben.token).await.len(), 1);
        let trail = world.trail(token).await;
        let mut tools: Vec<_> = trail.iter().filter_map(|row| row["tool"].as_str()).collect();
        tools.sort_unstable();
        assert_eq!(tools, ["todo_list", "to\u{fffd}do"]);
        assert!(trail.iter().any(|row| row["correlationId"] == "c\u{fffd}"), "{trail:?}");
    })
    .await;
}
