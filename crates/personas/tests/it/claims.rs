use std::collections::HashSet;
use std::time::Duration;

use axum::Router;
use http::Method;
use mana_store::EngineKind;
use mana_testkit::each_db;
use serde_json::{Value, json};

use crate::{App, fields, internal, router, text};

#[tokio::test]
async fn a_claim_hands_out_a_visit_with_all_that_it_needs() {
    each_db(|test| async {
        let app = App::start(test).await;
        let more = json!({ "timezone": "Europe/Vienna", "behaviour": { "toleratedErrors": 2, "typoRate": 0.1 } });
        let id = app.add("anna", more).await;
        let claim = app.claim_one("one").await;
        let tick = text(&claim["tickId"]);
        assert_eq!(
            claim,
            json!({
                "tickId": tick, "epoch": 1, "attempt": 1, "leaseUntil": "2026-11-18T09:01:00.000Z", "resumed": false,
                "journal": [],
                "persona": {
                    "userId": id, "email": "persona.anna@mana.test", "name": "anna", "archetype": "adhd-student",
                    "systemPrompt": "Ich bin anna und lebe hier seit gestern.", "moduleMix": { "todo": 0.7, "notes": 0.3 },
                    "tickCadence": "daily", "locale": "de", "timezone": "Europe/Vienna",
                    "behaviour": { "toleratedErrors": 2, "typoRate": 0.1 }, "target": null, "tools": null, "lastActiveAt": null,
                },
            })
        );
        let view = app.get(&format!("personas/{id}")).await["persona"].clone();
        assert_eq!((&view["state"], &view["lastTick"]["tickId"]), (&json!("running"), &json!(tick)));
        assert_eq!(view["lastTick"]["outcome"], Value::Null);
        assert_eq!(view["lastTick"]["simulated"], true, "said from the start");
    })
    .await;
}

#[tokio::test]
async fn a_bad_claim_names_every_fault() {
    each_db(|test| async {
        let app = App::start(test).await;
        let (status, problem) = app.internal("claim", &json!({ "owner": "", "limit": -1, "leaseMs": 5 })).await;
        assert_eq!((status, fields(&problem)), (400, vec!["owner", "limit", "leaseMs", "engine"]));
        let (_, problem) = app.internal("ticks/heartbeat", &json!({ "owner": "one", "ticks": [{ "epoch": 1 }] })).await;
        assert_eq!(fields(&problem), ["ticks[0].tickId", "ticks[0].tickId"]);
        let (_, problem) =
            app.internal("ticks/x/journal", &json!({ "owner": "one", "epoch": 1, "entries": [{ "seq": -1 }] })).await;
        assert_eq!(fields(&problem), ["entries[0].seq", "entries[0].entry"]);
        for path in ["ticks/x/heartbeat", "ticks/x/release", "ticks/x/journal"] {
            let (status, problem) = app.internal(path, &json!({})).await;
            assert_eq!((status, &fields(&problem)[..2]), (400, &["owner", "epoch"][..]), "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_lease_that_ran_out_is_taken_up_with_its_journal_and_fences_the_first_out() {
    each_db(|test| async {
        let app = App::start(test).await;
        let id = app.add("anna", json!({})).await;
        let claim = app.claim_one("one").await;
        let tick = text(&claim["tickId"]);
        let path = format!("ticks/{tick}/journal");
        let said = json!({ "kind": "assistant", "text": "nul \0 and 𝄞", "z": 1, "a": 1.0 });
        let body = json!({ "owner": "one", "epoch": 1, "entries": [{ "seq": 0, "entry": said }, { "seq": 1, "entry": { "kind": "note" } }] });
        assert_eq!(app.post(&path, body.clone()).await, json!({ "ok": true, "written": 2 }));
        assert_eq!(app.post(&path, body).await["written"], 0, "repeated");
        assert!(app.claim("two", 10).await.is_empty(), "the lease holds");

        app.later(60_000);
        let again = app.claim_one("two").await;
        assert_eq!((&again["tickId"], &again["epoch"], &again["attempt"]), (&json!(tick), &json!(2), &json!(2)));
        assert_eq!(again["resumed"], true);
        assert_eq!(again["journal"], json!([{ "seq": 0, "entry": said }, { "seq": 1, "entry": { "kind": "note" } }]));

        // Whatever the first says now changes nothing.
        let late = json!({ "owner": "one", "epoch": 1, "entries": [{ "seq": 2, "entry": { "kind": "late" } }],
            "outcome": "completed", "engine": "rehearsal", "actions": [{ "toolName": "todo_list", "result": "ok" }] });
        for call in ["journal", "finish", "release", "heartbeat"] {
            let (status, problem) = app.internal(&format!("ticks/{tick}/{call}"), &late).await;
            assert_eq!((status, text(&problem["code"])), (409, "STALE_EPOCH"), "{call}");
        }
        // The right owner with an older epoch is as stale.
        let older = json!({ "owner": "two", "epoch": 1, "outcome": "completed", "engine": "rehearsal" });
        assert_eq!(app.internal(&format!("ticks/{tick}/finish"), &older).await.0, 409);
        assert_eq!((app.count("tick_journal").await, app.count("persona_action").await), (2, 0));
        let beat = json!({ "owner": "one", "ticks": [{ "tickId": tick, "epoch": 1 }, { "tickId": "gone", "epoch": 9 }] });
        assert_eq!(app.post("ticks/heartbeat", beat).await, json!({ "held": [], "lost": [tick, "gone"] }));
        let done = json!({ "owner": "two", "epoch": 2, "outcome": "completed", "engine": "rehearsal" });
        app.post(&format!("ticks/{tick}/finish"), done).await;
        assert_eq!(app.get(&format!("personas/{id}")).await["ticks"].as_array().map(Vec::len), Some(1), "one visit");
    })
    .await;
}

#[tokio::test]
async fn heartbeats_keep_leases_and_an_expired_one_is_lost_even_if_nobody_took_it() {
    each_db(|test| async {
        let app = App::start(test).await;
        app.add("anna", json!({})).await;
        app.add("ben", json!({})).await;
        let claims = app.claim("one", 2).await;
        let ticks: Vec<Value> = claims.iter().map(|claim| json!({ "tickId": claim["tickId"], "epoch": 1 })).collect();
        for _ in 0..5 {
            app.later(45_000);
            let answer =
                app.post("ticks/heartbeat", json!({ "owner": "one", "ticks": ticks, "leaseMs": 60_000 })).await;
            assert_eq!(answer["held"].as_array().map(Vec::len), Some(2), "{answer}");
            assert!(app.claim("two", 10).await.is_empty());
        }
        let foreign = app.post("ticks/heartbeat", json!({ "owner": "two", "ticks": ticks, "leaseMs": 900_000 })).await;
        assert_eq!(foreign["held"], json!([]), "the epoch alone is not enough");
        let one = format!("ticks/{}/heartbeat", text(&claims[0]["tickId"]));
        app.later(59_999);
        app.post(&one, json!({ "owner": "one", "epoch": 1, "leaseMs": 60_000 })).await;
        app.later(1);
        let answer = app.post("ticks/heartbeat", json!({ "owner": "one", "ticks": ticks })).await;
        assert_eq!((&answer["held"][0], &answer["lost"][0]), (&claims[0]["tickId"], &claims[1]["tickId"]));
        let late = json!({ "owner": "one", "epoch": 1, "outcome": "completed", "engine": "rehearsal" });
        assert_eq!(app.internal(&format!("ticks/{}/finish", text(&claims[1]["tickId"])), &late).await.0, 409);
    })
    .await;
}

#[tokio::test]
async fn a_released_visit_goes_on_at_once_and_charges_nobody() {
    each_db(|test| async {
        let app = App::start(test).await;
        app.add("anna", json!({})).await;
        for round in 1..=10 {
            let claim = app.claim_one("one").await;
            assert_eq!((&claim["attempt"], &claim["epoch"]), (&json!(1), &json!(round)));
            assert_eq!(claim["resumed"], round > 1);
            let path = format!("ticks/{}/release", text(&claim["tickId"]));
            for _ in 0..2 {
                app.post(&path, json!({ "owner": "one", "epoch": round })).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_fifth_crash_of_a_visit_quarantines() {
    each_db(|test| async {
        let app = App::start(test).await;
        let id = app.add("anna", json!({})).await;
        for attempt in 1..=5 {
            assert_eq!(app.claim_one("one").await["attempt"], attempt);
            app.later(60_001);
        }
        assert!(app.claim("one", 10).await.is_empty());
        let page = app.get(&format!("personas/{id}")).await;
        assert_eq!(page["persona"]["state"], "quarantined");
        assert_eq!(page["persona"]["pauseReason"], "five attempts at the same visit ended without a word");
        assert_eq!((&page["ticks"][0]["outcome"], &page["ticks"][0]["attempt"]), (&json!("failed"), &json!(6)));
        app.later(1_000_000_000);
        assert!(app.claim("one", 10).await.is_empty());
        let summary = app.get("personas/summary").await;
        assert_eq!(summary["states"], json!({ "idle": 0, "running": 0, "paused": 0, "quarantined": 1 }));
        // By hand it goes on, with a new visit. A pause in between loses nothing.
        for path in ["pause", "resume", "resume"] {
            assert_eq!(app.admin(Method::POST, &format!("personas/{id}/{path}"), None).await.0, 200);
        }
        let claim = app.claim_one("one").await;
        assert_eq!((&claim["attempt"], &claim["resumed"], &claim["epoch"]), (&json!(1), &json!(false), &json!(7)));
    })
    .await;
}

#[tokio::test]
async fn an_idle_claim_does_not_wait_for_a_writer() {
    each_db(|test| async {
        let app = App::start(test).await;
        app.add("anna", json!({})).await;
        app.claim_one("one").await;
        let writing = app.test.db.begin().await.expect("begins");
        let idle = tokio::time::timeout(Duration::from_secs(2), app.claim("one", 10)).await;
        assert_eq!(idle.expect("nothing is due, so nothing is written").len(), 0);
        drop(writing);
    })
    .await;
}

#[tokio::test]
async fn many_claimers_in_two_processes_never_share_a_persona() {
    each_db(|test| async {
        let app = App::start(test).await;
        let names: Vec<String> = (0..40).map(|number| format!("p{number}")).collect();
        for name in &names {
            app.add(name, json!({})).await;
        }
        let other = router(&app.test, &app.identity, app.test.again().await);
        // Three rounds: in each, everybody is claimed exactly once, whoever asks.
        for round in 1..=3 {
            let tasks: Vec<_> = (0..12)
                .map(|number| {
                    tokio::spawn(claim_all(if number % 2 == 0 { app.router.clone() } else { other.clone() }, number))
                })
                .collect();
            let mut seen = HashSet::new();
            for task in tasks {
                for claim in task.await.expect("a claimer ends") {
                    assert_eq!(claim["epoch"], round);
                    assert!(seen.insert(text(&claim["persona"]["userId"]).to_owned()), "claimed twice: {claim}");
                }
            }
            assert_eq!(seen.len(), names.len());
            app.later(60_000);
        }
        if app.test.engine() == EngineKind::Postgres {
            assert_eq!(app.count("persona_tick").await, 40, "the same visits, taken up again");
        }
    })
    .await;
}

/// Claims until nothing is left, a few at a time.
async fn claim_all(router: Router, number: usize) -> Vec<Value> {
    let mut claims = Vec::new();
    loop {
        let body = json!({ "owner": format!("owner-{number}"), "limit": 3, "leaseMs": 60_000, "engine": "rehearsal" });
        let (status, answer) = internal(&router, "claim", &body).await;
        assert_eq!(status, 200, "{answer}");
        let found = answer["claims"].as_array().expect("a list").clone();
        if found.is_empty() {
            return claims;
        }
        claims.extend(found);
    }
}

#[tokio::test]
async fn of_two_ends_of_a_visit_only_the_holders_is_written() {
    each_db(|test| async {
        let app = App::start(test).await;
        app.add("anna", json!({})).await;
        for round in (1..=19).step_by(2) {
            let claim = app.claim_one("one").await;
            let tick = text(&claim["tickId"]).to_owned();
            app.later(60_000);
            app.claim_one("two").await;
            let end = |owner: &str, epoch: i64| {
                let actions = json!([{ "index": epoch, "toolName": format!("todo_{owner}"), "result": "ok" }]);
                let body = json!({ "owner": owner, "epoch": epoch, "outcome": "completed", "engine": "rehearsal", "actions": actions });
                let (router, path) = (app.router.clone(), format!("ticks/{tick}/finish"));
                async move { internal(&router, &path, &body).await.0 }
            };
            let (stale, good) = tokio::join!(end("one", round), end("two", round + 1));
            assert_eq!((stale, good), (409, 200));
            app.later(25 * 60 * 60 * 1_000);
        }
        assert_eq!(app.count("persona_action").await, 10);
        assert_eq!(app.get("actions?tool=todo_one").await["items"], json!([]));
    })
    .await;
}
