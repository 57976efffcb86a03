use http::Method;
use mana_testkit::each_db;
use serde_json::{Value, json};

use crate::{App, fields, text};

/// Makes a visit of whoever is due and returns its id.
async fn visit(app: &App, engine: &str, outcome: &str) -> String {
    let claim = app.claim("one", 1).await.remove(0);
    let tick = text(&claim["tickId"]).to_owned();
    let simulated = engine == "rehearsal";
    let body = json!({
        "owner": "one", "epoch": claim["epoch"], "outcome": outcome, "engine": engine, "simulated": simulated, "goal": "Einkauf",
        "model": "m", "summary": "Ging so.", "usage": { "inputTokens": 7 }, "hashes": { "prompt": "p", "tools": "t", "memory": "m" },
        "actions": [
            { "index": 1, "toolName": "todo_create", "result": "error", "code": "x", "resultBytes": 40_000, "resultHash": "ab" },
            { "index": 0, "toolName": "todo_list", "result": "ok" },
        ],
        "feedback": [
            { "module": "todo", "rating": 4, "notes": "gut", "evidence": [0, 1], "quote": "Ging so.", "confidence": 0.7 },
            { "module": "notes", "noOpinion": "kaum benutzt", "evidence": [] },
        ],
    });
    let entries = json!([{ "seq": 0, "entry": { "kind": "start" } }, { "seq": 1, "entry": { "kind": "assistant", "z": 1, "a": 2 } }]);
    app.post(&format!("ticks/{tick}/journal"), json!({ "owner": "one", "epoch": claim["epoch"], "entries": entries }))
        .await;
    app.later(1_000);
    app.post(&format!("ticks/{tick}/finish"), body).await;
    tick
}

#[tokio::test]
async fn visits_come_newest_first_in_pages_and_by_what_is_asked() {
    each_db(|test| async {
        let app = App::start(test).await;
        let anna = app.add("anna", json!({ "tickCadence": "hourly" })).await;
        app.add("ben", json!({ "tickCadence": "hourly" })).await;
        let mut ticks = Vec::new();
        for round in 0..3 {
            for engine in ["rehearsal", "anthropic"] {
                ticks.push(visit(&app, engine, if round == 1 { "gave_up" } else { "completed" }).await);
            }
            app.later(2 * 60 * 60 * 1_000);
        }
        // Two that begin at the same time, one of them under way.
        let running = app.claim("one", 2).await;
        app.post(&format!("{anna}/actions"), json!({ "actions": [{ "tickId": "t&1", "toolName": "todo_list", "result": "ok" }] })).await;

        let all = app.get("personas/visits").await;
        assert_eq!(all.get("nextCursor"), None);
        let all = all["visits"].as_array().expect("a list").clone();
        assert_eq!(all.len(), 9);
        let starts: Vec<&str> = all.iter().map(|visit| text(&visit["startedAt"])).collect();
        assert!(starts.is_sorted_by(|one, other| one >= other), "{starts:?}");
        let mut paged = Vec::new();
        let mut next = "personas/visits?limit=2".to_owned();
        loop {
            let page = app.get(&next).await;
            paged.extend(page["visits"].as_array().expect("a list").clone());
            match page["nextCursor"].as_str() {
                Some(cursor) => next = format!("personas/visits?limit=2&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(paged, all);

        let last = all.iter().find(|visit| visit["tickId"] == ticks[5].as_str()).expect("is there");
        assert_eq!(
            last,
            &json!({ "tickId": ticks[5], "persona": last["persona"], "startedAt": last["startedAt"], "finishedAt": last["finishedAt"],
                "outcome": "completed", "engine": "anthropic", "model": "m", "simulated": false, "goal": "Einkauf",
                "summary": "Ging so.", "attempts": 1, "actions": 2, "errors": 1, "ratings": 2, "costMicroUsd": 0 })
        );
        let open = all.iter().find(|visit| visit["tickId"] == running[0]["tickId"]).expect("is there");
        assert_eq!((&open["finishedAt"], &open["outcome"], &open["actions"]), (&Value::Null, &Value::Null, &json!(0)));
        let count = async |query: &str| app.get(&format!("personas/visits?{query}")).await["visits"].as_array().map(Vec::len);
        assert_eq!(count("outcome=gave_up").await, Some(2));
        assert_eq!(count("engine=anthropic").await, Some(3));
        assert_eq!(count("engine=anthropic&outcome=completed&limit=1").await, Some(1));
        assert_eq!(count(&format!("persona={anna}")).await, count("persona=persona.anna@mana.test").await);
        let visits = app.get("personas/visits?persona=persona.anna@mana.test").await;
        assert_eq!(visits["visits"][0]["persona"], json!({ "userId": anna, "email": "persona.anna@mana.test", "name": "anna" }));

        let (status, problem) = app.admin(Method::GET, "personas/visits?outcome=compleated&cursor=zzz&limit=0", None).await;
        assert_eq!((status, fields(&problem)), (400, vec!["limit", "outcome", "cursor"]));
        assert!(text(&problem["details"][1]["message"]).ends_with("did you mean `completed`?"), "{problem}");
        assert_eq!(app.admin(Method::GET, "personas/visits?persona=nobody@mana.test", None).await.0, 404);
        for path in ["visits", "visits/x"] {
            assert_eq!(app.send(Method::GET, &format!("/api/v1/admin/personas/{path}"), &[], "").await.0, 401);
        }
    })
    .await;
}

#[tokio::test]
async fn a_visit_shows_all_that_was_said_and_done_also_after_its_end() {
    each_db(|test| async {
        let app = App::start(test).await;
        app.add("anna", json!({})).await;
        let tick = visit(&app, "anthropic", "completed").await;
        let page = app.get(&format!("personas/visits/{tick}")).await;
        assert_eq!((&page["tickId"], &page["usage"]), (&json!(tick), &json!({ "inputTokens": 7 })));
        assert_eq!(page["hashes"], json!({ "prompt": "p", "tools": "t", "memory": "m" }));
        let at = "2026-11-18T09:00:00.000Z";
        assert_eq!(
            page["journal"],
            json!([{ "seq": 0, "at": at, "entry": { "kind": "start" } }, { "seq": 1, "at": at, "entry": { "kind": "assistant", "z": 1, "a": 2 } }])
        );
        let tools: Vec<&str> = page["actions"].as_array().expect("a list").iter().map(|row| text(&row["toolName"])).collect();
        assert_eq!(tools, ["todo_list", "todo_create"], "in the order in which they were made");
        assert_eq!((&page["actions"][1]["resultBytes"], &page["actions"][1]["resultHash"]), (&json!(40_000), &json!("ab")));
        let [notes, todo] = page["feedback"].as_array().expect("a list").as_slice() else { panic!("{page}") };
        assert_eq!((&notes["module"], &notes["rating"], &notes["noOpinion"], &notes["notes"]), (&json!("notes"), &Value::Null, &json!("kaum benutzt"), &json!("kaum benutzt")));
        assert_eq!((&todo["rating"], &todo["noOpinion"], &todo["evidence"]), (&json!(4), &Value::Null, &json!([0, 1])));
        assert_eq!((&todo["quote"], &todo["confidence"], &todo["notes"]), (&json!("Ging so."), &json!(0.7), &json!("gut")));
        assert_eq!((&page["calls"], &page["diary"]), (&json!([]), &Value::Null));
        for path in ["unknown", "a%20b"] {
            let (status, _) = app.admin(Method::GET, &format!("personas/visits/{path}"), None).await;
            assert_eq!(status, 404, "{path}");
        }
        assert_eq!(app.get(&format!("ratings?tick={tick}")).await["items"].as_array().map(Vec::len), Some(2));
        assert_eq!(app.get("ratings?tick=unknown").await["items"], json!([]));
    })
    .await;
}
