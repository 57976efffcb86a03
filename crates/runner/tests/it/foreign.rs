//! Visits to another product: its MCP server knows nothing of Mana.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use mana_runner::{PassResult, RunnerOptions, Secrets, Timing};
use mana_types::Secret;
use serde_json::{Value, json};

use crate::foreign_server::Foreign;
use crate::world::{World, persona, runner_with};

const SECRET: &str = "canary-secret-of-the-shop";

fn tool(name: &str, read_only: bool) -> Value {
    json!({
        "name": name, "description": "Something of the shop.",
        "inputSchema": { "type": "object", "properties": { "title": { "type": "string" } }, "required": ["title"] },
        "annotations": { "readOnlyHint": read_only, "destructiveHint": false },
    })
}

fn shop() -> Vec<Value> {
    let long = format!("Shop.{}", "very/long/".repeat(8));
    vec![
        tool("Shop.Order/Create", false),
        tool("Shop.Order Create", false),
        tool(&long, false),
        tool("shop_list", true),
    ]
}

/// Somebody who goes to the shop and nowhere else.
fn customer(foreign: &Foreign) -> Value {
    let mut claim = persona("anna", "tick-1");
    claim["persona"]["moduleMix"] = json!({ "shop": 1.0 });
    claim["persona"]["behaviour"] = json!({ "toleratedErrors": 9, "skipRate": 0.0 });
    claim["persona"]["target"] = json!({
        "url": format!("{}/mcp", foreign.url), "auth": "bearer", "token": "env:SHOP_TOKEN",
        "headers": { "x-tenant": "blue" }, "modules": { "Shop.*": "shop" },
    });
    claim
}

fn options(world: &World) -> RunnerOptions {
    let secrets = Secrets::new(|name| (name == "SHOP_TOKEN").then(|| Secret::new(SECRET)));
    RunnerOptions { secrets, ..world.options() }
}

async fn visit(world: &Arc<World>, claim: Value, options: RunnerOptions) -> (PassResult, Value) {
    world.make_due([claim]);
    let result = runner_with(options).pass().await.expect("a pass");
    let log = world.log();
    assert_eq!(log.finishes.len(), 1, "{:?}", log.finishes);
    assert!(log.calls.is_empty(), "nothing was asked of Mana itself");
    let everything = format!("{:?} {:?}", log.finishes, log.journal);
    assert!(!everything.contains(SECRET), "{everything}");
    let finish = log.finishes[0].1.clone();
    (result, finish)
}

#[tokio::test]
async fn another_product_is_visited_and_rated_like_mana_itself() {
    let (world, foreign) = (World::start().await, Foreign::start(shop()).await);
    foreign.take_tokens(&[SECRET]);
    foreign.log().page = 1;
    foreign.log().answers.insert("shop_list".into(), json!({ "content": [], "structuredContent": { "items": [] } }));
    let (result, finish) = visit(&world, customer(&foreign), options(&world)).await;
    assert_eq!((result.ran_successfully, &finish["outcome"]), (1, &json!("completed")), "{finish}");

    let log = foreign.log();
    assert_eq!((log.pages_asked, log.handshakes), (4, 1));
    let actions = finish["actions"].as_array().expect("rows");
    assert!(!actions.is_empty() && actions.len() == log.calls.len(), "{finish}");
    for (row, call) in actions.iter().zip(&log.calls) {
        let wire = row["toolName"].as_str().expect("a name");
        assert!(wire.len() <= 64 && wire.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{wire}");
        assert!(shop().iter().any(|tool| tool["name"] == *call.tool), "its own name, not ours: {}", call.tool);
        assert_eq!((&row["module"], &row["result"]), (&json!("shop"), &json!("ok")), "{row}");
        assert_eq!(row["inputHash"], mana_types::input_hash(&call.arguments));
        assert_eq!(call.headers["x-tenant"], "blue");
    }
    let ids: HashSet<String> = log.calls.iter().map(|call| call.id.to_string()).collect();
    assert_eq!(ids.len(), log.calls.len());
    assert_eq!(finish["feedback"].as_array().map(Vec::len), Some(1));
    assert_eq!(finish["feedback"][0]["module"], "shop");
}

#[tokio::test]
async fn a_session_that_is_forgotten_in_the_middle_is_opened_again() {
    let (world, foreign) = (World::start().await, Foreign::start(shop()).await);
    foreign.log().forgets_after = Some(1);
    let (_, finish) = visit(&world, customer(&foreign), options(&world)).await;
    assert_eq!(finish["outcome"], "completed", "{finish}");
    let actions = finish["actions"].as_array().expect("rows");
    assert!(actions.len() > 2, "the visit went on: {finish}");
    // What may have happened is not made again, where nobody knows its key and it is no mere look.
    let unknown: Vec<&Value> = actions.iter().filter(|row| row["code"] == "unknown_fate").collect();
    let lost = &actions[1];
    let expected = if lost["toolName"] == "shop_list" { Vec::new() } else { vec![lost] };
    assert_eq!(unknown, expected);
    let log = foreign.log();
    assert_eq!((log.handshakes, log.calls.len()), (2, actions.len() - unknown.len()));
}

#[tokio::test]
async fn a_tool_that_hangs_costs_one_row_and_is_cancelled() {
    for is_modern in [false, true] {
        let (world, foreign) = (World::start().await, Foreign::start(vec![tool("hang", false)]).await);
        foreign.log().is_modern = is_modern;
        let mut claim = customer(&foreign);
        claim["persona"]["moduleMix"] = json!({ "hang": 1.0 });
        let timing = Timing { tool_call: Duration::from_millis(100), ..world.options().timing };
        let (_, finish) = visit(&world, claim, RunnerOptions { timing, ..options(&world) }).await;
        assert_eq!(finish["actions"][0]["code"], "timeout", "{finish}");
        assert!(finish["actions"][0]["latencyMs"].as_u64().is_some_and(|ms| ms >= 100));
        foreign.until(|log| log.given_up == log.calls.len()).await;
        let log = foreign.log();
        assert_eq!(log.cancelled.len(), if is_modern { 0 } else { log.calls.len() });
    }
}

#[tokio::test]
async fn a_target_that_cannot_be_used_ends_the_visit_with_its_reason() {
    let foreign = Foreign::start(shop()).await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut claim = customer(&foreign);
        change(&mut claim["persona"]["target"]);
        claim
    };
    let cases = [
        (
            with(&|target| *target = json!({ "url": format!("{}/mcp", foreign.url) })),
            "mcp_unavailable",
            "wants the persona's token of this installation",
        ),
        (with(&|target| target["token"] = json!("env:GONE")), "mcp_unavailable", "names `GONE`, which is not set"),
        (with(&|target| target["url"] = json!("https://10.0.0.1/mcp")), "mcp_unavailable", "not a public address"),
    ];
    for (claim, outcome, reason) in cases {
        let world = World::start().await;
        let (_, finish) = visit(&world, claim, options(&world)).await;
        assert_eq!((&finish["outcome"], &finish["feedback"]), (&json!(outcome), &json!([])), "{finish}");
        assert!(finish["summary"].as_str().is_some_and(|said| said.contains(reason)), "{finish}");
        assert_eq!(foreign.log().handshakes, 0, "nothing was sent there");
    }
    foreign.log().goes_round = true;
    let world = World::start().await;
    let (_, finish) = visit(&world, customer(&foreign), options(&world)).await;
    assert!(finish["summary"].as_str().is_some_and(|said| said.contains("round in circles")), "{finish}");
    foreign.log().grants_refused = true;
    let world = World::start().await;
    let refused = with(&|target| {
        *target = json!({
            "url": format!("{}/mcp", foreign.url), "auth": "client-credentials", "clientId": "mana",
            "clientSecret": "env:SHOP_TOKEN", "tokenUrl": format!("{}/token", foreign.url),
        });
    });
    let (_, finish) = visit(&world, refused, options(&world)).await;
    assert_eq!(finish["outcome"], "mcp_unauthorized", "{finish}");
    assert!(finish["summary"].as_str().is_some_and(|said| said.contains("invalid_client")), "{finish}");
    assert_eq!(foreign.log().asked.len(), 1);
}
