use http::Method;
use mana_testkit::each_db;
use mana_types::Secret;
use serde_json::{Value, json};

use crate::{App, fields, persona, text};

#[tokio::test]
async fn a_new_persona_signs_up_like_any_user_and_a_second_call_changes_nothing() {
    each_db(|test| async {
        let app = App::start(test).await;
        let body = persona("anna", &json!({ "timezone": "Europe/Berlin" }));
        let (status, first) = app.admin(Method::POST, "personas", Some(body.clone())).await;
        assert_eq!((status, &first["ok"], &first["email"]), (200, &json!(true), &json!("persona.anna@mana.test")));
        let (_, second) = app.admin(Method::POST, "personas", Some(body)).await;
        assert_eq!(first["userId"], second["userId"]);
        assert_eq!((app.count("persona").await, app.count("run_state").await, app.count("space").await), (1, 1, 2));
        let account = app.identity.user_by_email("persona.anna@mana.test").await.expect("reads").expect("is there");
        let facts = (account.kind.as_str(), account.tier.as_str(), account.email_verified, account.timezone.as_str());
        assert_eq!(facts, ("persona", "founder", true, "Europe/Berlin"));
        assert_eq!((account.locale.as_str(), account.name.as_str()), ("de", "anna"));

        // A new description and a new password, in other letters of the same e-mail.
        let changed = json!({ "email": "Persona.Anna@mana.test", "password": "another password", "archetype": "ceo-busy", "name": "Anna B." });
        let before = app.get(&format!("personas/{}", text(&first["userId"]))).await["persona"].clone();
        assert_eq!(app.add("anna", changed).await, first["userId"]);
        let after = app.get(&format!("personas/{}", text(&first["userId"]))).await["persona"].clone();
        assert_eq!((&after["archetype"], &after["name"]), (&json!("ceo-busy"), &json!("Anna B.")));
        assert_eq!(after["promptHash"], before["promptHash"]);
        let email = "persona.anna@mana.test";
        assert!(app.identity.sign_in(email, &Secret::new("another password")).await.is_ok());
        assert!(app.identity.sign_in(email, &Secret::new("a derived password")).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn only_administrators_get_in_and_people_stay_people() {
    each_db(|test| async {
        let app = App::start(test).await;
        let human = app.identity.add_user("anna@example.org", None, "a good password").await.expect("added");
        let token = app.identity.mint(human.id).await.expect("a token");
        for (path, method) in
            [("personas", Method::GET), ("personas", Method::POST), ("actions", Method::GET), ("ratings", Method::GET)]
        {
            let path = format!("/api/v1/admin/{path}");
            assert_eq!(app.send(method.clone(), &path, &[], "{}").await.0, 401);
            let bearer = format!("Bearer {token}");
            assert_eq!(app.send(method, &path, &[("authorization", &bearer)], "{}").await.0, 403);
        }
        let body = persona("x", &json!({ "email": "Anna@Example.org" }));
        let (status, problem) = app.admin(Method::POST, "personas", Some(body)).await;
        assert_eq!((status, text(&problem["code"])), (409, "ACCOUNT_BELONGS_TO_PERSON"));
        let (status, problem) = app.admin(Method::DELETE, &format!("personas/{}", human.id), None).await;
        assert_eq!((status, text(&problem["code"])), (400, "NOT_A_PERSONA"));
        assert_eq!(app.identity.user(human.id).await.expect("reads").expect("is there"), human);
        assert!(app.identity.sign_in("anna@example.org", &Secret::new("a good password")).await.is_ok());
        for path in ["personas/0199a3f2-7c1e-7b60-9a51-1f0c7d2e4b11", "personas/nobody"] {
            for method in [Method::GET, Method::DELETE] {
                assert_eq!(app.admin(method, path, None).await.0, 404);
            }
            for call in ["pause", "resume", "run"] {
                assert_eq!(app.admin(Method::POST, &format!("{path}/{call}"), None).await.0, 404);
            }
        }
        assert_eq!(app.admin(Method::GET, &format!("personas/{}", human.id), None).await.0, 404);
    })
    .await;
}

#[tokio::test]
async fn a_bad_description_names_every_wrong_field() {
    each_db(|test| async {
        let app = App::start(test).await;
        let bad = json!({
            "email": "nobody", "archetype": 3, "systemPrompt": "kurz", "moduleMix": { "todo": -1 }, "tickCadence": "monthly",
            "timezone": "Berlin", "window": { "start": "9:00", "end": "10:00" },
        });
        let (status, problem) = app.admin(Method::POST, "personas", Some(bad)).await;
        assert_eq!((status, text(&problem["code"])), (400, "VALIDATION"));
        assert_eq!(
            fields(&problem),
            ["email", "password", "archetype", "systemPrompt", "moduleMix.todo", "tickCadence", "timezone", "window"]
        );
        for body in ["", "{", "[]", "{\"email\":\"a@b.de\"} x", "\"\""] {
            let token = format!("Bearer {}", app.identity.mint(app.admin).await.expect("a token"));
            let (status, _) = app.send(Method::POST, "/api/v1/admin/personas", &[("authorization", &token)], body).await;
            assert_eq!(status, 400, "{body}");
        }
        assert_eq!(app.count("persona").await, 0);
        for path in ["personas?limit=0", "personas?limit=many", "actions?cursor=zzz", "actions?since=yesterday", "actions?result=maybe"] {
            assert_eq!(app.admin(Method::GET, path, None).await.0, 400, "{path}");
        }
        assert_eq!(app.admin(Method::GET, "actions?persona=nobody@mana.test", None).await.0, 404);
    })
    .await;
}

#[tokio::test]
async fn a_persona_may_live_elsewhere_and_no_secret_is_ever_stored() {
    each_db(|test| async {
        let app = App::start(test).await;
        let target = json!({ "url": "https://shop.example/mcp", "auth": "bearer", "token": "env:TARGET_SHOP_TOKEN",
            "headers": { "X-Api-Key": "env:TARGET_SHOP_KEY", "X-Tenant": "blue" }, "modules": { "search": "catalog" } });
        let more = json!({ "moduleMix": { "orders": 1, "catalog": 2 }, "target": target, "tools": ["orders_*", "search"] });
        let id = app.add("eva", more).await;
        let shown = app.get(&format!("personas/{id}")).await["persona"].clone();
        assert_eq!((&shown["target"], &shown["tools"]), (&target, &json!(["orders_*", "search"])));
        let claimed = app.claim_one("one").await["persona"].clone();
        assert_eq!((&claimed["target"], &claimed["tools"]), (&target, &json!(["orders_*", "search"])));

        let bad = json!({ "tools": [], "target": { "url": "ftp://x", "auth": "basic", "token": "sk-hunter2", "headers": { "Cookie": "a=hunter2" } } });
        let (status, problem) = app.admin(Method::POST, "personas", Some(persona("eva", &bad))).await;
        assert_eq!((status, fields(&problem)), (400, vec!["target.url", "target.auth", "target.token", "target.headers.Cookie", "tools"]));
        assert!(text(&problem["details"][2]["message"]).starts_with("a secret has no place in a description"), "{problem}");
        assert!(!problem.to_string().contains("hunter2"), "{problem}");
        assert_eq!(app.get(&format!("personas/{id}")).await["persona"]["target"], target, "nothing of it was taken");

        // A description is sent as a whole: without a target it is this installation again.
        app.add("eva", json!({})).await;
        let shown = app.get(&format!("personas/{id}")).await["persona"].clone();
        assert_eq!((&shown["target"], &shown["tools"]), (&Value::Null, &Value::Null));
    })
    .await;
}

#[tokio::test]
async fn lists_come_newest_first_in_pages() {
    each_db(|test| async {
        let app = App::start(test).await;
        let mut ids = Vec::new();
        for name in ["anna", "ben", "kai", "lena", "maya"] {
            ids.push(app.add(name, json!({})).await);
            app.later(if name == "kai" { 0 } else { 1_000 }); // two of the same time
        }
        for (number, id) in ids.iter().enumerate() {
            let rows: Vec<Value> = (0..3)
                .map(|index| json!({ "tickId": format!("tick-{number}"), "index": index, "toolName": "todo_list", "result": if index == 2 { "error" } else { "ok" } }))
                .collect();
            app.post(&format!("{id}/actions"), json!({ "actions": rows })).await;
            let rating = json!({ "tickId": format!("tick-{number}"), "module": "todo", "rating": 1 + number });
            app.post(&format!("{id}/feedback"), json!({ "feedback": [rating] })).await;
            app.later(10);
        }
        let all = app.get("personas").await["personas"].as_array().expect("a list").clone();
        assert_eq!(all.len(), 5);
        assert_eq!(all[4]["email"], "persona.anna@mana.test");
        assert_eq!((&all[4]["actions7d"], &all[4]["meanRating"], &all[4]["ratings"]), (&json!(3), &json!(1.0), &json!(1)));
        assert_eq!(all[0]["lastTick"]["tickId"], "tick-4");
        assert_eq!(pages(&app, "personas?limit=2", "personas").await, all);

        let actions = app.get("actions").await["items"].as_array().expect("a list").clone();
        assert_eq!((actions.len(), text(&actions[0]["id"])), (15, "tick-4-2-todo_list"));
        assert_eq!(pages(&app, "actions?limit=4", "items").await, actions);
        assert_eq!(pages(&app, "actions?result=error&limit=2", "items").await.len(), 5);
        assert_eq!(pages(&app, &format!("actions?persona={}&limit=2", ids[1]), "items").await.len(), 3);
        assert_eq!(app.get("actions?since=2026-11-18T09:00:04.035Z").await["items"].as_array().map(Vec::len), Some(3));
        let ratings = app.get("ratings").await["items"].as_array().expect("a list").clone();
        assert_eq!(pages(&app, "ratings?limit=2", "items").await, ratings);
        assert_eq!((ratings.len(), &ratings[0]["rating"]), (5, &json!(5)));

        let summary = app.get("personas/summary").await;
        assert_eq!(summary["personas"], 5);
        assert_eq!(summary["recent"]["outcomes"], json!([{ "outcome": "reported", "simulated": false, "ticks": 5 }]));
        assert_eq!((&summary["recent"]["actions"], &summary["recent"]["errors"]), (&json!(15), &json!(5)));
        assert_eq!(summary["recent"]["rated"], json!({ "ratings": 5, "meanRating": 3.0 }));
        // After a week the actions are not of the last seven days any more.
        app.later(7 * 24 * 60 * 60 * 1_000);
        assert_eq!(app.get("personas").await["personas"][0]["actions7d"], 0);
    })
    .await;
}

/// All pages of a list, one after the other.
async fn pages(app: &App, path: &str, list: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut next = path.to_owned();
    loop {
        let page = app.get(&next).await;
        items.extend(page[list].as_array().expect("a list").clone());
        match page["nextCursor"].as_str() {
            Some(cursor) => next = format!("{path}&cursor={cursor}"),
            None => return items,
        }
    }
}

#[tokio::test]
async fn a_removed_persona_leaves_nothing_behind() {
    each_db(|test| async {
        let app = App::start(test).await;
        let id = app.add("anna", json!({})).await;
        let claim = app.claim_one("one").await;
        let tick = text(&claim["tickId"]);
        let entries = json!([{ "seq": 0, "entry": { "kind": "note" } }]);
        app.post(&format!("ticks/{tick}/journal"), json!({ "owner": "one", "epoch": 1, "entries": entries })).await;
        let rows = json!({ "owner": "one", "epoch": 1, "outcome": "completed", "engine": "rehearsal",
            "actions": [{ "toolName": "todo_list", "result": "ok" }], "feedback": [{ "module": "todo", "rating": 4 }] });
        app.post(&format!("ticks/{tick}/finish"), rows).await;
        let kept = app.add("ben", json!({})).await;
        assert_eq!(app.admin(Method::DELETE, &format!("personas/{id}"), None).await.0, 200);
        assert_eq!(app.admin(Method::DELETE, &format!("personas/{id}"), None).await.0, 404);
        for table in ["persona_tick", "tick_journal", "persona_action", "persona_feedback"] {
            assert_eq!(app.count(table).await, 0, "{table}");
        }
        assert_eq!((app.count("persona").await, app.count("run_state").await), (1, 1));
        assert_eq!((app.count("account").await, app.count("space").await), (2, 2), "the administrator and Ben");
        assert_eq!(app.get(&format!("personas/{kept}")).await["persona"]["name"], "ben");
        assert_eq!(app.internal(&format!("{id}/actions"), &json!({})).await.0, 404);
    })
    .await;
}
