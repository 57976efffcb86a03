use axum::body::Body;
use http::Method;
use mana_testkit::each_db;
use serde_json::{Value, json};

use crate::{App, KEY, fields, text};

fn action(tick: &str, tool: &str) -> Value {
    json!({ "tickId": tick, "toolName": tool, "inputHash": "ab12", "result": "ok", "latencyMs": 12 })
}

#[tokio::test]
async fn a_wrong_key_opens_nothing() {
    each_db(|test| async {
        let app = App::start(test).await;
        let id = app.add("anna", json!({})).await;
        for path in ["due".to_owned(), "claim".into(), format!("{id}/actions"), "ticks/x/finish".into()] {
            let method = if path == "due" { Method::GET } else { Method::POST };
            for headers in [vec![], vec![("x-service-key", "wrong")], vec![("x-service-key", "")]] {
                let url = format!("/api/v1/internal/personas/{path}");
                let (status, problem) = app.send(method.clone(), &url, &headers, "{}").await;
                assert_eq!((status, text(&problem["code"])), (401, "INVALID_SERVICE_KEY"), "{path}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_unknown_persona_is_told_before_a_bad_body() {
    each_db(|test| async {
        let app = App::start(test).await;
        let id = app.add("anna", json!({})).await;
        let unknown = "0199a3f2-7c1e-7b60-9a51-1f0c7d2e4b11";
        for list in ["actions", "feedback"] {
            for body in [&b"{ no json"[..], b"", b"{}", b"\xff\xfe"] {
                for (who, expected) in [(unknown, 404), ("nobody", 404), (id.as_str(), 400)] {
                    let url = format!("/api/v1/internal/personas/{who}/{list}");
                    let (status, _) = app.send(Method::POST, &url, &[("x-service-key", KEY)], body.to_vec()).await;
                    assert_eq!(status, expected, "{who}/{list}");
                }
            }
            // The administrator is a user, but no persona.
            let path = format!("{}/{list}", app.admin);
            assert_eq!(app.internal(&path, &json!({})).await.0, 404);
        }
    })
    .await;
}

#[tokio::test]
async fn a_bad_batch_names_every_bad_row_and_writes_nothing() {
    each_db(|test| async {
        let app = App::start(test).await;
        let id = app.add("anna", json!({})).await;
        let path = format!("{id}/actions");
        let too_many: Vec<Value> = (0..501).map(|_| action("t", "todo_list")).collect();
        let deep = format!("{}1{}", "[".repeat(300), "]".repeat(300));
        let (status, _) = app
            .send(
                Method::POST,
                &format!("/api/v1/internal/personas/{path}"),
                &[("x-service-key", KEY)],
                Body::from(deep),
            )
            .await;
        assert_eq!(status, 400, "deep JSON");
        for (body, expected) in [
            (json!({}), vec!["actions"]),
            (json!({ "actions": [] }), vec!["actions"]),
            (json!({ "actions": {} }), vec!["actions"]),
            (json!([]), vec![""]),
            (json!({ "actions": too_many }), vec!["actions"]),
            (
                json!({ "actions": [
                    action("t", "todo_list"),
                    { "toolName": "x", "result": "ok" },
                    { "tickId": "a b", "toolName": "", "result": "maybe", "latencyMs": -1, "index": 1.5 },
                    "row",
                    { "tickId": "t", "toolName": "x", "errorMessage": 3 },
                ] }),
                vec![
                    "actions[1].tickId",
                    "actions[2].tickId",
                    "actions[2].toolName",
                    "actions[2].index",
                    "actions[2].result",
                    "actions[2].latencyMs",
                    "actions[3]",
                    "actions[4].result",
                    "actions[4].errorMessage",
                ],
            ),
        ] {
            let (status, problem) = app.internal(&path, &body).await;
            assert_eq!((status, text(&problem["code"])), (400, "VALIDATION"), "{problem}");
            assert_eq!(fields(&problem), expected);
        }
        assert_eq!((app.count("persona_action").await, app.count("persona_tick").await), (0, 0));
        let page = app.get(&format!("personas/{id}")).await;
        assert_eq!(page["persona"]["lastActiveAt"], Value::Null, "a refused batch is no activity");
    })
    .await;
}

#[tokio::test]
async fn a_batch_sent_twice_is_written_once() {
    each_db(|test| async {
        let app = App::start(test).await;
        let id = app.add("anna", json!({})).await;
        let path = format!("{id}/actions");
        let mut same = action("t1", "todo_list");
        same["index"] = json!(0);
        let batch = json!({ "actions": [action("t1", "todo_list"), action("t1", "todo_create"), same] });
        let answer = app.post(&path, batch.clone()).await;
        assert_eq!(answer, json!({ "ok": true, "written": 2, "received": 3 }), "the third row is the first again");
        app.later(5_000);
        let answer = app.post(&path, batch).await;
        assert_eq!(answer, json!({ "ok": true, "written": 0, "received": 3 }));
        // A second batch of the same visit does not collide where rows say their place.
        let mut next = action("t1", "todo_list");
        next["index"] = json!(2);
        assert_eq!(app.post(&path, json!({ "actions": [next] })).await["written"], 1);
        let rows = app.get("actions?tick=t1").await;
        let ids: Vec<&str> = rows["items"].as_array().expect("a list").iter().map(|row| text(&row["id"])).collect();
        assert_eq!(ids, ["t1-2-todo_list", "t1-1-todo_create", "t1-0-todo_list"]);
        let first = &rows["items"][2];
        assert_eq!(first["at"], "2026-11-18T09:00:00.000Z", "the first writing counts");
        assert_eq!(
            (&first["module"], &first["latencyMs"], &first["inputHash"]),
            (&json!("todo"), &json!(12), &json!("ab12"))
        );
        assert_eq!((&first["simulated"], &first["errorMessage"]), (&json!(false), &Value::Null));
        let page = app.get(&format!("personas/{id}")).await;
        assert_eq!(page["persona"]["lastActiveAt"], "2026-11-18T09:00:05.000Z");
        assert_eq!(page["persona"]["actions7d"], 3);
    })
    .await;
}

#[tokio::test]
async fn five_hundred_rows_fit_and_odd_text_survives() {
    each_db(|test| async {
        let app = App::start(test).await;
        let id = app.add("anna", json!({})).await;
        let path = format!("{id}/actions");
        let rows: Vec<Value> = (0..500).map(|_| action("big", "todo_list")).collect();
        assert_eq!(app.post(&path, json!({ "actions": rows })).await["written"], 500);
        let odd = json!({
            "tickId": "odd", "toolName": "notes_create", "result": "error", "code": "input-invalid",
            "errorMessage": format!("nul \0, quote \", slash \\, 𝄞, \u{202e}rtl {}", "x".repeat(3_000)),
            "latencyMs": 12.6, "simulated": true,
        });
        assert_eq!(app.post(&path, json!({ "actions": [odd] })).await["written"], 1);
        let row = app.get("actions?result=error").await["items"][0].clone();
        let message = text(&row["errorMessage"]);
        assert!(message.starts_with("nul \u{fffd}, quote \", slash \\, 𝄞, \u{202e}rtl x"), "{message}");
        assert_eq!(message.chars().count(), 2_000);
        assert_eq!((&row["latencyMs"], &row["simulated"]), (&json!(13), &json!(true)));
    })
    .await;
}

#[tokio::test]
async fn a_visit_belongs_to_one_persona() {
    each_db(|test| async {
        let app = App::start(test).await;
        let (anna, ben) = (app.add("anna", json!({})).await, app.add("ben", json!({})).await);
        app.post(&format!("{anna}/actions"), json!({ "actions": [action("t1", "todo_list")] })).await;
        let batch = json!({ "actions": [action("t2", "todo_list"), action("t1", "todo_list")] });
        let (status, problem) = app.internal(&format!("{ben}/actions"), &batch).await;
        assert_eq!((status, text(&problem["code"]), text(&problem["tickId"])), (409, "FOREIGN_TICK", "t1"));
        let feedback = json!({ "feedback": [{ "tickId": "t1", "module": "todo", "rating": 4 }] });
        assert_eq!(app.internal(&format!("{ben}/feedback"), &feedback).await.0, 409);
        assert_eq!((app.count("persona_action").await, app.count("persona_tick").await), (1, 1), "all or nothing");
    })
    .await;
}

#[tokio::test]
async fn ratings_are_whole_numbers_and_unreadable_answers_are_none() {
    each_db(|test| async {
        let app = App::start(test).await;
        let id = app.add("anna", json!({})).await;
        let path = format!("{id}/feedback");
        let rating = |rating: Value| json!({ "feedback": [{ "tickId": "t1", "module": "todo", "rating": rating }] });
        for bad in [json!(2.5), json!(0), json!(6), json!("4"), json!(null), json!(true), json!(1e300)] {
            let (status, problem) = app.internal(&path, &rating(bad.clone())).await;
            assert_eq!((status, fields(&problem)), (400, vec!["feedback[0].rating"]), "{bad}");
        }
        for (row, field) in [
            (json!({ "rating": 4, "noOpinion": "kaum benutzt" }), "feedback[0].noOpinion"),
            (json!({ "noOpinion": " " }), "feedback[0].noOpinion"),
            (json!({ "noOpinion": "kaum benutzt", "confidence": 1.1 }), "feedback[0].confidence"),
            (json!({ "rating": 4, "confidence": -0.1 }), "feedback[0].confidence"),
        ] {
            let mut body = rating(Value::Null);
            body["feedback"][0].as_object_mut().expect("a row").extend(row.as_object().expect("fields").clone());
            let (status, problem) = app.internal(&path, &body).await;
            assert_eq!((status, fields(&problem)), (400, vec![field]), "{row}");
        }
        let (_, problem) = app.internal(&path, &rating(json!(2.5))).await;
        assert_eq!(problem["details"][0]["message"], "2.5 is not a whole number from 1 to 5");
        let many: Vec<Value> = (0..101).map(|_| rating(json!(3))["feedback"][0].clone()).collect();
        assert_eq!(app.internal(&path, &json!({ "feedback": many })).await.0, 400);
        let rows = json!({ "feedback": [
            { "tickId": "t1", "module": "todo", "rating": 4, "notes": "geht", "evidence": [0, 2], "quote": "na ja", "confidence": 0.7 },
            { "tickId": "t1", "module": "notes", "rating": 5.0 },
            { "tickId": "t1", "module": "mood", "noOpinion": "nur einmal gesehen", "notes": "später mehr", "confidence": 0 },
            { "tickId": "t1", "module": "__parse", "rating": 3, "notes": "no JSON" },
        ] });
        app.later(1_000);
        assert_eq!(app.post(&path, rows.clone()).await, json!({ "ok": true, "written": 4, "received": 4 }));
        assert_eq!(app.post(&path, rows).await, json!({ "ok": true, "written": 0, "received": 4 }));
        app.post(&path, json!({ "feedback": [{ "tickId": "t2", "module": "todo", "rating": 1 }] })).await;
        app.post(&path, json!({ "feedback": [{ "tickId": "t3", "module": "todo", "rating": 5, "simulated": true }] })).await;

        let page = app.get(&format!("personas/{id}")).await;
        assert_eq!(
            page["feedbackByModule"],
            json!([
                { "module": "mood", "ratings": 0, "avgRating": null, "simulatedRatings": 0, "simulatedAvgRating": null, "noOpinion": 1 },
                { "module": "notes", "ratings": 1, "avgRating": 5.0, "simulatedRatings": 0, "simulatedAvgRating": null, "noOpinion": 0 },
                { "module": "todo", "ratings": 2, "avgRating": 2.5, "simulatedRatings": 1, "simulatedAvgRating": 5.0, "noOpinion": 0 },
            ])
        );
        assert_eq!(page["parseFailures"], 1);
        assert_eq!(page["persona"]["lastActiveAt"], "2026-11-18T09:00:01.000Z");
        let mean = page["persona"]["meanRating"].as_f64().expect("a number");
        assert!((mean - 10.0 / 3.0).abs() < 1e-9, "{mean} is the average of 4, 5 and 1");
        assert_eq!(page["persona"]["simulated"], json!({ "ratings": 1, "meanRating": 5.0 }));
        let row = app.get("ratings?module=mood").await["items"][0].clone();
        assert_eq!((&row["rating"], &row["notes"]), (&Value::Null, &json!("nur einmal gesehen\nspäter mehr")));
        let rows = app.get("ratings?module=__parse").await;
        assert_eq!((&rows["items"][0]["id"], &rows["items"][0]["rating"]), (&json!("t1-__parse"), &Value::Null));
        let row = &app.get("ratings?module=todo&limit=1&persona=persona.anna@mana.test").await["items"][0];
        assert_eq!(row["id"], "t3-todo");
    })
    .await;
}

#[tokio::test]
async fn a_claimed_visit_takes_batches_only_with_its_lease() {
    each_db(|test| async {
        let app = App::start(test).await;
        let id = app.add("anna", json!({})).await;
        let claim = app.claim_one("one").await;
        let tick = text(&claim["tickId"]);
        let path = format!("{id}/actions");
        let bare = json!({ "actions": [action(tick, "todo_list")] });
        assert_eq!(app.internal(&path, &bare).await.1["code"], "STALE_EPOCH");
        let foreign = json!({ "owner": "two", "epoch": 1, "actions": [action(tick, "todo_list")] });
        assert_eq!(app.internal(&path, &foreign).await.0, 409);
        let own = json!({ "owner": "one", "epoch": 1, "actions": [action(tick, "todo_list")] });
        assert_eq!(app.post(&path, own).await["written"], 1);
        assert_eq!(app.count("persona_action").await, 1);
    })
    .await;
}
