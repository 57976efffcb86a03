//! SIGKILL in the middle of a pass.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mana_store::{Db, DbOptions};
use mana_types::SystemClock;
use serde_json::Value;

use crate::support::{Home, Server};

async fn killed_and_started_again(home: &Home, after: Duration) {
    let lease = ("PERSONA_LEASE_MS", "2000");
    let mut command = home.mana(&["up", "--listen", "127.0.0.1:0"]);
    command.env(lease.0, lease.1);
    let mut server = Server::start(command).await;
    server.wait_for("first pass").await;
    tokio::time::sleep(after).await;
    server.kill().await;

    let mut command = home.mana(&["up", "--listen", "127.0.0.1:0"]);
    command.envs([lease, ("TICK_INTERVAL_MS", "1000")]);
    let mut server = Server::start(command).await;
    server.wait_for(" due, ").await;
    // Nobody is stuck for longer than one lease; the loop looks every second.
    let mut stuck = Vec::new();
    for _ in 0..80 {
        let personas = home.json(&["personas", "list"]).await;
        stuck = personas["personas"]
            .as_array()
            .expect("a list")
            .iter()
            .filter(|persona| {
                persona["state"] == "running"
                    || (persona["lastTick"].is_object() && persona["lastTick"]["finishedAt"].is_null())
            })
            .map(|persona| persona["email"].to_string())
            .collect();
        let answers = server.get("/health").await.0 == 200;
        if stuck.is_empty() && answers {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(stuck.is_empty(), "still not finished: {stuck:?}");
    assert_eq!(server.terminate().await, 0);

    // One visit each, every action in its place once, and no tool call took effect twice.
    let personas = home.json(&["personas", "list"]).await;
    for persona in personas["personas"].as_array().expect("a list") {
        let detail = home.json(&["personas", "show", persona["email"].as_str().expect("an e-mail")]).await;
        let visits = detail["ticks"].as_array().expect("visits");
        assert!(visits.len() <= 1, "{} visited {} times", persona["email"], visits.len());
    }
    let actions = home.json(&["actions", "--limit", "500"]).await;
    let mut places: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for action in actions["items"].as_array().expect("a page") {
        places.entry(action["tickId"].to_string()).or_default().extend(action["index"].as_i64());
    }
    for (tick, mut indexes) in places {
        indexes.sort_unstable();
        let expected: Vec<i64> = (0..).take(indexes.len()).collect();
        assert_eq!(indexes, expected, "visit {tick} has lost or doubled a row");
    }
    every_effect_has_its_call(home, &actions).await;
}

/// What a call wrote and the answer to its key lie in one transaction, so a key without an action would be an effect
/// that nobody knows of, and two calls of one key would be an effect made twice.
async fn every_effect_has_its_call(home: &Home, actions: &Value) {
    let address = home.database.clone().unwrap_or_else(|| format!("sqlite:{}", home.data().join("mana.db").display()));
    let db = Db::open(&DbOptions::new(address), Arc::new(SystemClock::default())).await.expect("opens");
    let keys: Vec<(String,)> = db.query("SELECT key FROM idempotency").all().await.expect("reads");
    let calls: Vec<String> = actions["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|action| action["result"] == "ok")
        .map(|action| {
            format!(
                "{}:{}",
                action["tickId"].as_str().unwrap_or_default(),
                action["toolUseId"].as_str().unwrap_or_default()
            )
        })
        .collect();
    assert!(!keys.is_empty(), "personas wrote nothing");
    for (key,) in keys {
        assert_eq!(calls.iter().filter(|call| **call == key).count(), 1, "{key}");
    }
    let strays: (i64,) = db
        .query(
            "SELECT COUNT(*) FROM record_change WHERE tick IS NOT NULL AND tick NOT IN (SELECT id FROM persona_tick)",
        )
        .one()
        .await
        .expect("reads");
    assert_eq!(strays.0, 0);
}

#[tokio::test]
async fn interrupted_visits_are_finished_once() {
    for after in [20, 120, 300] {
        killed_and_started_again(&Home::sqlite(), Duration::from_millis(after)).await;
    }
}

#[tokio::test]
async fn interrupted_visits_are_finished_once_on_postgresql() {
    if let Some(home) = Home::postgres().await {
        killed_and_started_again(&home, Duration::from_millis(150)).await;
    }
}
