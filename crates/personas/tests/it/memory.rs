use http::Method;
use mana_testkit::each_db;
use serde_json::{Value, json};

use crate::{App, KEY, fields, text};

const DAY: i64 = 24 * 60 * 60 * 1_000 + 60_000;

fn call(index: i64, tool: &str, result: &str) -> Value {
    json!({ "index": index, "toolName": tool, "result": result, "code": if result == "ok" { Value::Null } else { json!("handler-error") },
        "errorMessage": if result == "ok" { Value::Null } else { json!(format!("{tool} sagt nein {}", "x".repeat(500))) } })
}

impl App {
    /// Makes a whole visit and returns its id.
    async fn whole_visit(&self, more: Value) -> String {
        let claim = self.claim_one("one").await;
        let tick = text(&claim["tickId"]).to_owned();
        let mut end = json!({ "owner": "one", "epoch": claim["epoch"], "outcome": "completed", "engine": "anthropic",
            "goal": "Einkauf", "summary": "Ging so.", "feedback": [{ "module": "todo", "rating": 2, "notes": "zaeh" }] });
        end.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        self.post(&format!("ticks/{tick}/finish"), end).await;
        self.later(DAY);
        tick
    }

    async fn memory(&self, tick: &str, query: &str) -> (u16, Value) {
        let path = format!("/api/v1/internal/personas/ticks/{tick}/memory?{query}");
        self.send(Method::GET, &path, &[("x-service-key", KEY)], "").await
    }

    async fn remembered(&self) -> Value {
        let claim = self.claim_one("one").await;
        let tick = text(&claim["tickId"]);
        let (status, memory) = self.memory(tick, &format!("owner=one&epoch={}", claim["epoch"])).await;
        assert_eq!(status, 200, "{memory}");
        self.post(&format!("ticks/{tick}/release"), json!({ "owner": "one", "epoch": claim["epoch"] })).await;
        memory
    }
}

#[tokio::test]
async fn somebody_new_remembers_nothing_and_only_the_holder_may_ask() {
    each_db(|test| async {
        let app = App::start(test).await;
        app.add("anna", json!({})).await;
        let nothing = json!({ "lastVisits": [], "daysSinceLast": null, "openGoals": [], "annoyances": [] });
        assert_eq!(app.remembered().await, nothing);
        let claim = app.claim_one("one").await;
        let tick = text(&claim["tickId"]);
        for query in ["owner=two&epoch=2", "owner=one&epoch=1"] {
            let (status, problem) = app.memory(tick, query).await;
            assert_eq!((status, text(&problem["code"])), (409, "STALE_EPOCH"), "{query}");
        }
        let (status, problem) = app.memory(tick, "epoch=x").await;
        assert_eq!((status, fields(&problem)), (400, vec!["owner", "epoch"]));
        assert_eq!(app.memory("unknown", "owner=one&epoch=2").await.0, 404);
        let path = format!("/api/v1/internal/personas/ticks/{tick}/memory?owner=one&epoch=2");
        assert_eq!(app.send(Method::GET, &path, &[], "").await.0, 401);
        app.later(60_000);
        assert_eq!(app.memory(tick, "owner=one&epoch=2").await.0, 409, "the lease is over");
    })
    .await;
}

#[tokio::test]
async fn the_ledger_is_the_last_seven_visits_with_what_stayed_open() {
    each_db(|test| async {
        let app = App::start(test).await;
        app.add("anna", json!({ "timezone": "Europe/Berlin" })).await;
        app.whole_visit(json!({ "goal": "Uralt", "outcome": "gave_up", "actions": [call(0, "mood_log", "error")] })).await;
        // What was asked for and never made is no annoyance.
        let never_made = json!({ "index": 1, "toolName": "mood_log", "result": "error", "code": "not_executed" });
        let mut visits = Vec::new();
        for (outcome, goal, actions) in [
            ("completed", "Einkauf", json!([])),
            ("completed", "Einkauf", json!([])),
            ("gave_up", "Steuer", json!([call(0, "todo_list", "error"), call(1, "todo_create", "error"), call(2, "todo_list", "ok")])),
            ("completed", "Einkauf", json!([call(0, "todo_create", "error"), call(1, "notes_add", "error"), call(2, "notes_add", "error")])),
            ("budget", "Post", json!([])),
            ("truncated", "Post", json!([call(0, "notes_list", "ok"), never_made])),
            ("completed", "Einkauf", json!([call(0, "todo_update", "ok"), call(1, "notes_list", "ok"), call(2, "todo_update", "error")])),
        ] {
            visits.push(app.whole_visit(json!({ "goal": goal, "outcome": outcome, "actions": actions })).await);
        }
        // Visits that never came to be are not remembered.
        for outcome in ["skipped", "mcp_unavailable"] {
            app.whole_visit(json!({ "outcome": outcome, "goal": "Nichts" })).await;
        }
        let memory = app.remembered().await;
        let ids: Vec<&str> = memory["lastVisits"].as_array().expect("a list").iter().map(|visit| text(&visit["tickId"])).collect();
        let newest_first: Vec<&str> = visits.iter().rev().map(String::as_str).collect();
        assert_eq!(ids, newest_first);
        let last = &memory["lastVisits"][0];
        assert_eq!(
            last,
            &json!({ "tickId": visits[6], "startedAt": last["startedAt"], "outcome": "completed", "goal": "Einkauf",
                "summary": "Ging so.", "actions": 3, "errors": 1,
                "modules": [{ "module": "notes", "calls": 1, "errors": 0 }, { "module": "todo", "calls": 2, "errors": 1 }] })
        );
        assert_eq!(memory["daysSinceLast"], 3);
        assert_eq!(memory["openGoals"], json!(["Post", "Steuer"]));
        let annoyances: Vec<_> = memory["annoyances"].as_array().expect("a list").iter().map(|row| (text(&row["tool"]), text(&row["tickId"]))).collect();
        assert_eq!(annoyances, [("todo_update", visits[6].as_str()), ("notes_add", &visits[3]), ("todo_create", &visits[3])], "each once; what worked later is forgiven");
        let first = &memory["annoyances"][0];
        assert_eq!((&first["module"], &first["code"]), (&json!("todo"), &json!("handler-error")));
        assert_eq!(text(&first["message"]).chars().count(), 300);
        assert!(!memory.to_string().contains("zaeh") && !memory.to_string().contains("rating"), "past ratings are never shown: {memory}");
    })
    .await;
}

#[tokio::test]
async fn rehearsals_are_remembered_only_by_those_who_know_nothing_else() {
    each_db(|test| async {
        let app = App::start(test).await;
        app.add("anna", json!({})).await;
        let simulated = json!({ "engine": "rehearsal", "simulated": true, "goal": "Probe", "outcome": "gave_up" });
        let rehearsed = app.whole_visit(simulated.clone()).await;
        let memory = app.remembered().await;
        assert_eq!(memory["lastVisits"][0]["tickId"], rehearsed.as_str());
        let real = app.whole_visit(json!({})).await;
        app.whole_visit(simulated).await;
        let memory = app.remembered().await;
        assert_eq!(
            (memory["lastVisits"].as_array().map(Vec::len), &memory["lastVisits"][0]["tickId"]),
            (Some(1), &json!(real))
        );
        assert_eq!((&memory["openGoals"], &memory["daysSinceLast"]), (&json!([]), &json!(2)));
    })
    .await;
}

#[tokio::test]
async fn a_story_is_kept_with_the_visits_that_it_cites() {
    each_db(|test| async {
        let app = App::start(test).await;
        let id = app.add("anna", json!({})).await;
        let first = app.whole_visit(json!({})).await;
        let unknown = "0199a3f2-7c1e-7b60-9a51-1f0c7d2e4b11";
        let claim = app.claim_one("one").await;
        let tick = text(&claim["tickId"]);
        let story = |text: &str, through: &str| {
            json!({ "owner": "one", "epoch": claim["epoch"], "outcome": "completed", "engine": "anthropic",
                "diary": format!("Heute nul \0{}", "y".repeat(9_000)), "story": { "text": text, "throughTick": through } })
        };
        let path = format!("ticks/{tick}/finish");
        for (bad, named) in [
            (story("So war es.", unknown), vec!["story.throughTick"]),
            (story(" ", "a b"), vec!["story.text", "story.throughTick"]),
        ] {
            let (status, problem) = app.internal(&path, &bad).await;
            assert_eq!((status, fields(&problem)), (400, named));
        }
        let told = format!("Ich fing an [{first}]. Heute ging es [{tick}, {unknown}]. {}", "z".repeat(3_000));
        app.post(&path, story(&told, tick)).await;
        app.later(DAY);
        let memory = app.remembered().await;
        assert_eq!(memory["story"]["ticks"], json!([first, tick]), "only visits that there were");
        assert_eq!((&memory["story"]["throughTick"], &memory["story"]["visitsSince"]), (&json!(tick), &json!(0)));
        assert_eq!(text(&memory["story"]["text"]).chars().count(), 2_000);
        let page = app.get(&format!("personas/visits/{tick}")).await;
        assert!(text(&page["diary"]).starts_with("Heute nul \u{fffd}y"));
        assert_eq!(text(&page["diary"]).chars().count(), 8_000);

        app.whole_visit(json!({})).await;
        let newer = app.whole_visit(json!({ "outcome": "skipped" })).await;
        assert_eq!(app.remembered().await["story"]["visitsSince"], 1);
        app.whole_visit(json!({ "story": { "text": "Neu.", "throughTick": newer } })).await;
        let story = app.remembered().await["story"].clone();
        assert_eq!((&story["text"], &story["ticks"], &story["visitsSince"]), (&json!("Neu."), &json!([]), &json!(1)));
        assert_eq!(app.count("persona_story").await, 1);

        // Nobody else's visit, and nothing is left behind.
        app.admin(Method::POST, &format!("personas/{id}/pause"), None).await;
        app.add("ben", json!({})).await;
        let claim = app.claim_one("one").await;
        let body = json!({ "owner": "one", "epoch": 1, "outcome": "completed", "engine": "anthropic", "story": { "text": "x", "throughTick": tick } });
        assert_eq!(app.internal(&format!("ticks/{}/finish", text(&claim["tickId"])), &body).await.0, 400);
        assert_eq!(app.admin(Method::DELETE, &format!("personas/{id}"), None).await.0, 200);
        assert_eq!(app.count("persona_story").await, 0);
    })
    .await;
}
