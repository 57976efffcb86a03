use http::Method;
use mana_testkit::each_db;
use serde_json::{Value, json};

use crate::{App, fields, text};

const HOUR: i64 = 60 * 60 * 1_000;

fn finish(owner: &str, epoch: i64, outcome: &str) -> Value {
    json!({
        "owner": owner, "epoch": epoch, "outcome": outcome, "engine": "rehearsal", "simulated": true,
        "goal": "Einkauf", "summary": "Ging so.", "usage": { "inputTokens": 12, "note": "a\0b" },
        "hashes": { "prompt": "p1", "tools": "t1", "memory": "m1" },
        "actions": [
            { "index": 0, "toolName": "todo_list", "module": "todo", "inputHash": "aa", "result": "ok", "latencyMs": 3, "toolUseId": "u0" },
            { "index": 1, "toolName": "todo_create", "module": "todo", "inputHash": "bb", "result": "error", "code": "handler-error",
              "errorMessage": "nein", "latencyMs": 4, "toolUseId": "u1" },
        ],
        "feedback": [
            { "module": "todo", "rating": 4, "notes": "berechnet", "evidence": [0, 1], "quote": "Ging so.", "confidence": 0.5, "simulated": true },
            { "module": "notes", "rating": null, "noOpinion": "nicht benutzt", "evidence": [] },
            { "module": "__parse", "rating": 2, "notes": "kein JSON", "evidence": [] },
        ],
    })
}

#[tokio::test]
async fn a_visit_ends_once_and_its_repetition_is_answered_the_same() {
    each_db(|test| async {
        let app = App::start(test).await;
        let id = app.add("anna", json!({})).await;
        let claim = app.claim_one("one").await;
        let path = format!("ticks/{}/finish", text(&claim["tickId"]));
        app.later(30_000);
        let answer = app.post(&path, finish("one", 1, "completed")).await;
        let due = "2026-11-19T09:00:30.001Z";
        assert_eq!(answer, json!({ "ok": true, "written": { "actions": 2, "feedback": 3 }, "nextDueAt": due }));
        app.later(1_000);
        assert_eq!(app.post(&path, finish("one", 1, "completed")).await, answer);
        assert_eq!(app.internal(&path, &finish("two", 1, "completed")).await.1["code"], "STALE_EPOCH");
        assert_eq!(app.internal(&path, &finish("one", 2, "completed")).await.0, 409);
        assert_eq!((app.count("persona_action").await, app.count("persona_feedback").await), (2, 3));

        let page = app.get(&format!("personas/{id}")).await;
        let persona = &page["persona"];
        assert_eq!((&persona["state"], &persona["nextDueAt"]), (&json!("idle"), &json!(due)));
        assert_eq!(persona["lastTick"]["outcome"], "completed");
        assert_eq!((&persona["meanRating"], &persona["simulated"]["meanRating"]), (&Value::Null, &json!(4.0)));
        let tick = &page["ticks"][0];
        for (field, value) in [
            ("outcome", json!("completed")),
            ("engine", json!("rehearsal")),
            ("simulated", json!(true)),
            ("goal", json!("Einkauf")),
            ("usage", json!({ "inputTokens": 12, "note": "a\u{fffd}b" })),
            ("promptHash", json!("p1")),
            ("actions", json!(2)),
            ("ratings", json!(3)),
            ("attempt", json!(1)),
            ("finishedAt", json!("2026-11-18T09:00:30.000Z")),
        ] {
            assert_eq!(tick[field], value, "{field}");
        }
        let rows = app.get("actions").await["items"].clone();
        assert!(rows.as_array().expect("a list").iter().all(|row| row["simulated"] == true), "{rows}");
        assert_eq!((&rows[0]["errorMessage"], &rows[0]["toolUseId"]), (&json!("nein"), &json!("u1")));
        let rated = &page["feedbackByModule"];
        assert_eq!(
            rated[0],
            json!({ "module": "notes", "ratings": 0, "avgRating": null, "simulatedRatings": 0,
            "simulatedAvgRating": null, "noOpinion": 1 })
        );
    })
    .await;
}

#[tokio::test]
async fn a_bad_finish_names_every_fault_and_leaves_the_visit_open() {
    each_db(|test| async {
        let app = App::start(test).await;
        app.add("anna", json!({})).await;
        let claim = app.claim_one("one").await;
        let path = format!("ticks/{}/finish", text(&claim["tickId"]));
        let mut bad = finish("one", 1, "done");
        bad["feedback"][0]["rating"] = json!(2.5);
        bad["actions"][1]["result"] = json!("so-so");
        let (status, problem) = app.internal(&path, &bad).await;
        assert_eq!(status, 400);
        assert_eq!(fields(&problem), ["outcome", "actions[1].result", "feedback[0].rating"], "all at once");
        assert_eq!(app.count("persona_action").await, 0);
        assert_eq!(app.internal("ticks/unknown/finish", &finish("one", 1, "completed")).await.0, 404);
        app.post(&path, finish("one", 1, "completed")).await;
    })
    .await;
}

#[tokio::test]
async fn failures_wait_longer_each_time_and_the_eighth_quarantines() {
    each_db(|test| async {
        let app = App::start(test).await;
        let id = app.add("anna", json!({})).await;
        let mut earlier = 0;
        for round in 1..=8_i64 {
            let claim = app.claim_one("one").await;
            assert_eq!(claim["epoch"], round, "the attempt counts even if sign-in fails");
            let path = format!("ticks/{}/finish", text(&claim["tickId"]));
            let answer = app
                .post(
                    &path,
                    json!({ "owner": "one", "epoch": round, "outcome": "mcp_unauthorized", "engine": "rehearsal" }),
                )
                .await;
            assert!(app.claim("one", 10).await.is_empty(), "not due at once");
            if round == 8 {
                assert_eq!(answer["nextDueAt"], Value::Null);
                break;
            }
            let next: mana_types::Timestamp = text(&answer["nextDueAt"]).parse().expect("a time");
            let wait = next.since(mana_types::Clock::now(&*app.test.clock));
            assert!(wait >= earlier && wait <= 24 * HOUR, "{wait} after {earlier}");
            earlier = wait / 2;
            app.later(wait);
        }
        let persona = app.get(&format!("personas/{id}")).await["persona"].clone();
        assert_eq!((&persona["state"], &persona["failures"]), (&json!("quarantined"), &json!(8)));
        assert_eq!(persona["pauseReason"], "8 failed visits in a row, the last one ended `mcp_unauthorized`");
        app.later(1_000 * HOUR);
        assert!(app.claim("one", 10).await.is_empty());
        assert_eq!(app.admin(Method::POST, &format!("personas/{id}/run"), None).await.1["code"], "NOT_RUNNABLE");
        let (_, resumed) = app.admin(Method::POST, &format!("personas/{id}/resume"), None).await;
        assert_eq!((&resumed["state"], &resumed["failures"]), (&json!("idle"), &json!(0)));
        app.claim_one("one").await;
    })
    .await;
}

#[tokio::test]
async fn a_providers_fault_is_not_the_personas() {
    each_db(|test| async {
        let app = App::start(test).await;
        let id = app.add("anna", json!({})).await;
        let first = app.claim_one("one").await;
        app.post(&format!("ticks/{}/finish", text(&first["tickId"])), finish("one", 1, "mcp_unavailable")).await;
        let before = run_row(&app).await;
        assert_eq!(before.2, 1, "one failure of its own");
        app.later(HOUR);
        // Either word will do, and whatever the outcome is called.
        for (round, end) in (2..).zip([("provider_down", false), ("failed", true), ("provider_down", true), ("timeout", true)].repeat(3)) {
            let claim = app.claim_one("one").await;
            assert_eq!((&claim["attempt"], &claim["resumed"]), (&json!(1), &json!(false)), "a visit of its own each time");
            let path = format!("ticks/{}/finish", text(&claim["tickId"]));
            let body = json!({ "owner": "one", "epoch": round, "outcome": end.0, "engine": "anthropic", "providerFault": end.1 });
            let answer = app.post(&path, body).await;
            let due: mana_types::Timestamp = text(&answer["nextDueAt"]).parse().expect("a time");
            assert_eq!(due.since(mana_types::Clock::now(&*app.test.clock)), 60_000, "due again after the pause");
            assert_eq!(run_row(&app).await, before, "slot, priority, failures and last activity are as they were");
            app.later(59_999);
            assert!(app.claim("one", 10).await.is_empty(), "not in a circle");
            app.later(1);
        }
        let persona = app.get(&format!("personas/{id}")).await["persona"].clone();
        assert_eq!((&persona["state"], &persona["failures"]), (&json!("idle"), &json!(1)));
        let claim = app.claim_one("one").await;
        app.post(&format!("ticks/{}/finish", text(&claim["tickId"])), finish("one", 14, "completed")).await;
        let after = run_row(&app).await;
        assert!(after.0 > before.0 && after.2 == 0, "{after:?}");
    })
    .await;
}

/// Slot, priority, failures, attempts and last activity of the one persona there is.
async fn run_row(app: &App) -> (i64, i64, i64, i64, Option<i64>) {
    let row = app.test.db.query("SELECT slot_at, prio, failures, attempts, last_active_at FROM run_state");
    row.one().await.expect("one persona")
}

#[tokio::test]
async fn a_pause_lets_a_visit_end_and_begins_no_other() {
    each_db(|test| async {
        let app = App::start(test).await;
        let id = app.add("anna", json!({ "tickCadence": "hourly" })).await;
        let claim = app.claim_one("one").await;
        for _ in 0..2 {
            let (status, view) =
                app.admin(Method::POST, &format!("personas/{id}/pause"), Some(json!({ "reason": "holiday" }))).await;
            assert_eq!((status, &view["state"], &view["pauseReason"]), (200, &json!("paused"), &json!("holiday")));
        }
        let tick = text(&claim["tickId"]);
        let beat = json!({ "owner": "one", "ticks": [{ "tickId": tick, "epoch": 1 }], "leaseMs": 60_000 });
        assert_eq!(app.post("ticks/heartbeat", beat).await["held"], json!([tick]));
        let answer = app.post(&format!("ticks/{tick}/finish"), finish("one", 1, "completed")).await;
        assert_eq!(answer["nextDueAt"], Value::Null);
        app.later(30 * HOUR);
        assert!(app.claim("one", 10).await.is_empty());
        for _ in 0..2 {
            let (_, view) = app.admin(Method::POST, &format!("personas/{id}/resume"), None).await;
            assert_eq!((&view["state"], &view["pauseReason"]), (&json!("idle"), &Value::Null));
        }
        app.claim_one("one").await;
    })
    .await;
}

#[tokio::test]
async fn run_makes_somebody_due_at_once_and_ahead() {
    each_db(|test| async {
        let app = App::start(test).await;
        let anna = app.add("anna", json!({})).await;
        let claim = app.claim_one("one").await;
        app.post(&format!("ticks/{}/finish", text(&claim["tickId"])), finish("one", 1, "completed")).await;
        app.add("ben", json!({})).await;
        for _ in 0..2 {
            assert_eq!(app.admin(Method::POST, &format!("personas/{anna}/run"), None).await.0, 200);
        }
        let claims = app.claim("one", 1).await;
        assert_eq!(claims[0]["persona"]["userId"], anna.as_str(), "before somebody who never ran");
        let (status, view) = app.admin(Method::POST, &format!("personas/{anna}/run"), None).await;
        assert_eq!((status, &view["state"]), (200, &json!("running")), "what runs already is left alone");
    })
    .await;
}
