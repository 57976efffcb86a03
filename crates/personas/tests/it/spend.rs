use http::Method;
use mana_store::EngineKind;
use mana_testkit::each_db;
use serde_json::{Value, json};

use crate::{App, fields, internal, router, text};

const HOUR: i64 = 60 * 60 * 1_000;

/// A visit under way, and how it speaks with the service.
struct Visit<'a> {
    app: &'a App,
    tick: String,
    epoch: i64,
    owner: String,
}

impl<'a> Visit<'a> {
    async fn begin(app: &'a App, owner: &str) -> Self {
        let claim = app.claim_one(owner).await;
        let epoch = claim["epoch"].as_i64().expect("a number");
        Self { app, tick: text(&claim["tickId"]).to_owned(), epoch, owner: owner.into() }
    }

    fn body(&self, more: &Value) -> Value {
        let mut body = json!({ "owner": self.owner, "epoch": self.epoch });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    }

    async fn send(&self, call: &str, more: Value) -> (u16, Value) {
        self.app.internal(&format!("ticks/{}/{call}", self.tick), &self.body(&more)).await
    }

    async fn journal(&self, more: Value) -> Value {
        let (status, answer) = self.send("journal", more).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn reserve(&self, call: i64, cost: i64, limits: Value) -> Value {
        self.journal(json!({ "entries": [], "reserve": reserve(call, cost, &limits) })).await["reserve"].clone()
    }
}

fn reserve(call: i64, cost: i64, limits: &Value) -> Value {
    json!({ "call": call, "model": "sonnet", "tokens": 1_000, "costMicroUsd": cost, "limits": limits })
}

fn settle(call: i64, cost: i64) -> Value {
    json!({ "call": call, "model": "sonnet-5", "inputTokens": 100, "outputTokens": 20, "cacheReadTokens": 300,
        "cacheWrite5mTokens": 40, "cacheWrite1hTokens": 5, "costMicroUsd": cost, "estimated": false })
}

fn entry(seq: i64) -> Value {
    json!([{ "seq": seq, "entry": { "kind": "note", "seq": seq } }])
}

async fn total(app: &App, scope: &str, period: &str) -> Option<(i64, i64)> {
    let found = app.test.db.query("SELECT cost_micro, tokens FROM model_spend WHERE scope = $1 AND period = $2");
    found.bind(scope.to_owned()).bind(period.to_owned()).optional().await.expect("reads")
}

#[tokio::test]
async fn money_is_reserved_and_settled_with_the_journal_and_booked_once() {
    each_db(|test| async {
        let app = App::start(test).await;
        let id = app.add("anna", json!({})).await;
        let visit = Visit::begin(&app, "one").await;
        let limits = json!({ "tickMicroUsd": 1_000, "personaDayMicroUsd": 1_000, "dayMicroUsd": 1_000, "monthMicroUsd": 1_000, "tickTokens": 9_000 });
        let first = json!({ "entries": entry(0), "reserve": reserve(1, 400, &limits) });
        let granted = json!({ "ok": true, "written": 1, "reserve": { "granted": true } });
        assert_eq!(visit.journal(first.clone()).await, granted);
        assert_eq!(visit.journal(first).await["reserve"], granted["reserve"], "repeated");
        let scopes = [
            ("all".to_owned(), "2026-11-18"),
            ("all".into(), "2026-11"),
            (format!("persona:{id}"), "2026-11-18"),
            (format!("tick:{}", visit.tick), ""),
        ];
        for (scope, period) in &scopes {
            assert_eq!(total(&app, scope, period).await, Some((400, 1_000)), "{scope} {period}");
        }

        let second = json!({ "entries": entry(1), "settle": settle(1, 250), "reserve": reserve(2, 300, &limits) });
        for written in [1, 0] {
            let answer = visit.journal(second.clone()).await;
            assert_eq!(answer, json!({ "ok": true, "written": written, "reserve": { "granted": true } }));
        }
        for (scope, period) in &scopes {
            assert_eq!(total(&app, scope, period).await, Some((550, 1_465)), "{scope} {period}");
        }

        // What was booked under a number stays: other figures are refused, and with them everything of the request.
        for (more, field) in [
            (json!({ "entries": entry(2), "settle": settle(1, 251) }), "settle.call"),
            (json!({ "entries": entry(2), "settle": settle(7, 1) }), "settle.call"),
            (json!({ "entries": entry(2), "reserve": reserve(2, 301, &json!({})) }), "reserve.call"),
            (json!({ "entries": entry(2), "settle": settle(2, 1), "reserve": reserve(2, 300, &json!({})) }), "reserve.call"),
        ] {
            let (status, problem) = visit.send("journal", more).await;
            assert_eq!((status, fields(&problem)), (400, vec![field]), "{problem}");
        }
        assert_eq!(app.count("tick_journal").await, 2);

        // The end settles the last call; repeated, it changes nothing.
        app.later(1_000);
        let end = json!({ "outcome": "completed", "engine": "anthropic", "model": "sonnet-5", "settle": settle(2, 310) });
        for _ in 0..2 {
            assert_eq!(visit.send("finish", end.clone()).await.0, 200);
        }
        assert_eq!(total(&app, "all", "2026-11-18").await, Some((560, 930)), "more than was reserved, if so it was");
        let page = app.get(&format!("personas/visits/{}", visit.tick)).await;
        assert_eq!(page["costMicroUsd"], 560);
        assert_eq!(
            page["calls"][0],
            json!({ "epoch": 1, "call": 1, "model": "sonnet-5", "at": "2026-11-18T09:00:00.000Z", "day": "2026-11-18",
                "reservedTokens": 1_000, "reservedMicroUsd": 400, "settledAt": "2026-11-18T09:00:00.000Z", "inputTokens": 100,
                "outputTokens": 20, "cacheReadTokens": 300, "cacheWrite5mTokens": 40, "cacheWrite1hTokens": 5,
                "costMicroUsd": 250, "estimated": false })
        );
        assert_eq!(page["calls"][1]["settledAt"], "2026-11-18T09:00:01.000Z");
    })
    .await;
}

#[tokio::test]
async fn a_bad_booking_names_every_fault() {
    each_db(|test| async {
        let app = App::start(test).await;
        app.add("anna", json!({})).await;
        let visit = Visit::begin(&app, "one").await;
        let bad = json!({
            "settle": { "call": -1, "inputTokens": "many", "estimated": 1 },
            "reserve": { "call": 1, "model": "m", "tokens": 1.5, "costMicroUsd": -3, "limits": { "dayMicroUsd": -1, "dayMicroUSD": 5 } },
        });
        let (status, problem) = visit.send("journal", bad).await;
        assert_eq!(status, 400);
        assert_eq!(
            fields(&problem),
            ["settle.call", "settle.model", "settle.inputTokens", "settle.costMicroUsd", "settle.estimated",
                "reserve.tokens", "reserve.costMicroUsd", "reserve.limits.dayMicroUSD", "reserve.limits.dayMicroUsd"]
        );
        assert_eq!(fields(&visit.send("journal", json!({ "settle": 3, "reserve": [] })).await.1), ["settle", "reserve"]);
        assert_eq!(fields(&visit.send("journal", json!({})).await.1), ["entries"]);
        // A stale claim books nothing.
        let stale = json!({ "owner": "two", "epoch": 1, "entries": [], "reserve": reserve(1, 5, &json!({})) });
        assert_eq!(app.internal(&format!("ticks/{}/journal", visit.tick), &stale).await.1["code"], "STALE_EPOCH");
        assert_eq!((app.count("model_call").await, app.count("model_spend").await), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn each_limit_holds_by_itself_and_a_refusal_keeps_the_rest() {
    each_db(|test| async {
        let app = App::start(test).await;
        app.add("anna", json!({})).await;
        let visit = Visit::begin(&app, "one").await;
        assert_eq!(visit.reserve(1, 100, json!({ "tickMicroUsd": 100 })).await, json!({ "granted": true }), "up to it");
        for (name, limit) in [
            ("tickMicroUsd", "tick"),
            ("personaDayMicroUsd", "personaDay"),
            ("dayMicroUsd", "day"),
            ("monthMicroUsd", "month"),
        ] {
            let refusal = json!({ "granted": false, "limit": limit, "limitMicroUsd": 109, "spentMicroUsd": 100 });
            assert_eq!(visit.reserve(2, 10, json!({ name: 109 })).await, refusal);
        }
        let tokens = json!({ "granted": false, "limit": "tickTokens", "limitTokens": 1_999, "spentTokens": 1_000 });
        assert_eq!(visit.reserve(2, 10, json!({ "tickTokens": 1_999 })).await, tokens);
        let mut held_back = reserve(2, 10, &json!({ "tickTokens": 2_500 }));
        held_back["holdBackTokens"] = json!(501);
        let refused = visit.journal(json!({ "entries": [], "reserve": held_back })).await["reserve"].clone();
        assert_eq!(
            refused,
            json!({ "granted": false, "limit": "tickTokens", "limitTokens": 2_500, "spentTokens": 1_000 })
        );
        let mut kept_back = reserve(2, 10, &json!({ "tickMicroUsd": 115 }));
        kept_back["holdBackMicroUsd"] = json!(6);
        let refused =
            visit.journal(json!({ "entries": entry(0), "settle": settle(1, 100), "reserve": kept_back })).await;
        assert_eq!((&refused["reserve"]["limit"], &refused["written"]), (&json!("tick"), &json!(1)));
        assert_eq!(app.count("model_call").await, 1, "a refused call is not booked");
        let page = app.get(&format!("personas/visits/{}", visit.tick)).await;
        assert_ne!(page["calls"][0]["settledAt"], Value::Null, "the settlement is");
        kept_back["holdBackMicroUsd"] = json!(5);
        assert_eq!(
            visit.journal(json!({ "reserve": kept_back })).await["reserve"]["granted"],
            true,
            "the same number is free"
        );
        assert_eq!(total(&app, "all", "2026-11-18").await, Some((110, 1_465)));
    })
    .await;
}

#[tokio::test]
async fn a_dead_process_leaves_what_it_reserved_and_the_next_claim_counts_on() {
    each_db(|test| async {
        let app = App::start(test).await;
        app.add("anna", json!({})).await;
        let first = Visit::begin(&app, "one").await;
        first.reserve(1, 70, json!({})).await;
        app.later(60_000);
        let second = Visit::begin(&app, "two").await;
        assert_eq!((second.tick.as_str(), second.epoch), (first.tick.as_str(), 2));
        assert_eq!(first.send("journal", json!({ "settle": settle(1, 1) })).await.0, 409, "the dead settle nothing");
        let (status, problem) = second.send("journal", json!({ "settle": settle(1, 1) })).await;
        assert_eq!((status, fields(&problem)), (400, vec!["settle.call"]), "nor does anybody for them");
        let refused = second.reserve(1, 31, json!({ "tickMicroUsd": 100 })).await;
        assert_eq!(refused["spentMicroUsd"], 70, "the limit of a visit spans its claims");
        assert_eq!(second.reserve(1, 30, json!({ "tickMicroUsd": 100 })).await["granted"], true, "numbers begin anew");
        let end = json!({ "outcome": "completed", "engine": "anthropic", "settle": settle(1, 20) });
        assert_eq!(second.send("finish", end).await.0, 200);
        let cost = app.get("personas/cost").await;
        let totals = &cost["totals"];
        assert_eq!(
            (&totals["calls"], &totals["costMicroUsd"], &totals["estimatedMicroUsd"]),
            (&json!(2), &json!(90), &json!(70))
        );
    })
    .await;
}

#[tokio::test]
async fn a_call_counts_for_the_day_on_which_it_was_reserved() {
    each_db(|test| async {
        let app = App::start(test).await;
        app.add("anna", json!({})).await;
        app.later((12 * 24 + 15) * HOUR - 30_000); // thirty seconds before December
        let visit = Visit::begin(&app, "one").await;
        visit.reserve(1, 100, json!({})).await;
        app.later(40_000);
        let limits = json!({ "dayMicroUsd": 60, "monthMicroUsd": 60, "personaDayMicroUsd": 60 });
        let next = json!({ "settle": settle(1, 90), "reserve": reserve(2, 50, &limits) });
        assert_eq!(visit.journal(next).await["reserve"]["granted"], true, "a new day, a new month");
        for (period, cost) in [("2026-11-30", 90), ("2026-11", 90), ("2026-12-01", 50), ("2026-12", 50)] {
            assert_eq!(total(&app, "all", period).await.map(|(cost, _)| cost), Some(cost), "{period}");
        }
        let cost = app.get("personas/cost?from=2026-11-30&to=2026-12-01").await;
        let days: Vec<_> =
            cost["rows"].as_array().expect("rows").iter().map(|row| (&row["key"], &row["costMicroUsd"])).collect();
        assert_eq!(days, [(&json!("2026-11-30"), &json!(90)), (&json!("2026-12-01"), &json!(50))]);
        assert_eq!((&cost["today"], &cost["month"]), (&json!({ "costMicroUsd": 50 }), &json!({ "costMicroUsd": 50 })));
    })
    .await;
}

/// The law: however many reserve at once, in however many processes, no limit is passed and no room is left that
/// another would have fitted into.
#[tokio::test]
async fn reservations_at_the_same_time_never_pass_a_limit() {
    each_db(|test| async {
        let app = App::start(test).await;
        for number in 0..24 {
            app.add(&format!("p{number}"), json!({})).await;
        }
        let claims = app.claim("one", 24).await;
        assert_eq!(claims.len(), 24);
        let other = router(&app.test, &app.identity, app.test.again().await);
        let limits = json!({ "dayMicroUsd": 1_000, "monthMicroUsd": 10_000, "personaDayMicroUsd": 200, "tickMicroUsd": 200 });
        let tasks: Vec<_> = claims
            .iter()
            .enumerate()
            .map(|(number, claim)| {
                let router = if number % 2 == 0 { app.router.clone() } else { other.clone() };
                let path = format!("ticks/{}/journal", text(&claim["tickId"]));
                let limits = limits.clone();
                tokio::spawn(async move {
                    let mut granted = 0;
                    for call in 1..=4 {
                        // Every second request settles the call before, at what was reserved.
                        let mut body = json!({ "owner": "one", "epoch": 1, "entries": entry(call), "reserve": reserve(call, 40, &limits) });
                        if call % 2 == 0 && granted == call - 1 {
                            body["settle"] = settle(call - 1, 40);
                        }
                        let (status, answer) = internal(&router, &path, &body).await;
                        assert_eq!(status, 200, "{answer}");
                        granted += i64::from(answer["reserve"]["granted"] == true);
                    }
                    granted
                })
            })
            .collect();
        let mut granted = 0;
        for task in tasks {
            granted += task.await.expect("a visit ends");
        }
        assert_eq!(granted, 25, "25 of 96 fit into the limit of the day");
        assert_eq!(total(&app, "all", "2026-11-18").await.map(|(cost, _)| cost), Some(1_000));
        assert_eq!(total(&app, "all", "2026-11").await.map(|(cost, _)| cost), Some(1_000));
        let (calls, booked) = app.test.db.query("SELECT COUNT(*), CAST(SUM(cost_micro) AS BIGINT) FROM model_call").one::<(i64, i64)>().await.expect("reads");
        assert_eq!((calls, booked), (25, 1_000));
        assert_eq!(app.count("tick_journal").await, 96, "what was said is kept, refused or not");
        let (people, visits) = if app.test.engine() == EngineKind::Postgres { ("persona:%", "tick:%") } else { ("persona:*", "tick:*") };
        let like = if app.test.engine() == EngineKind::Postgres { "LIKE" } else { "GLOB" };
        for pattern in [people, visits] {
            let sql = format!("SELECT CAST(SUM(cost_micro) AS BIGINT), MAX(cost_micro) FROM model_spend WHERE scope {like} $1");
            let (sum, most) = app.test.db.query(sql).bind(pattern.to_owned()).one::<(i64, i64)>().await.expect("reads");
            assert_eq!(sum, 1_000, "{pattern}");
            assert!(most <= 200, "{pattern}: {most}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_same_reservation_sent_at_once_is_booked_once() {
    each_db(|test| async {
        let app = App::start(test).await;
        app.add("anna", json!({})).await;
        let visit = Visit::begin(&app, "one").await;
        let path = format!("ticks/{}/journal", visit.tick);
        let body =
            visit.body(&json!({ "entries": entry(0), "reserve": reserve(1, 40, &json!({ "dayMicroUsd": 40 })) }));
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (router, path, body) = (app.router.clone(), path.clone(), body.clone());
                tokio::spawn(async move { internal(&router, &path, &body).await })
            })
            .collect();
        for task in tasks {
            let (status, answer) = task.await.expect("ends");
            assert_eq!((status, &answer["reserve"]), (200, &json!({ "granted": true })));
        }
        assert_eq!(total(&app, "all", "2026-11-18").await, Some((40, 1_000)));
    })
    .await;
}

#[tokio::test]
async fn a_persona_may_be_removed_while_its_visit_spends() {
    each_db(|test| async {
        let app = App::start(test).await;
        for number in 0..6 {
            app.add(&format!("p{number}"), json!({})).await;
        }
        let spending: Vec<_> = app
            .claim("one", 6)
            .await
            .iter()
            .map(|claim| {
                let (router, path) = (app.router.clone(), format!("ticks/{}/journal", text(&claim["tickId"])));
                tokio::spawn(async move {
                    for call in 1..=400 {
                        let body = json!({ "owner": "one", "epoch": 1, "entries": entry(call), "reserve": reserve(call, 1, &json!({})) });
                        let (status, answer) = internal(&router, &path, &body).await;
                        assert!(status == 200 || status == 404, "{answer}");
                        if status == 404 {
                            return call - 1;
                        }
                    }
                    400
                })
            })
            .collect();
        let ids: Vec<Value> = app.get("personas").await["personas"].as_array().expect("a list").clone();
        for persona in &ids {
            let (status, answer) = app.admin(Method::DELETE, &format!("personas/{}", text(&persona["userId"])), None).await;
            assert_eq!(status, 200, "{answer}");
        }
        let mut spent = 0;
        for visit in spending {
            spent += visit.await.expect("a visit ends");
        }
        assert_eq!(total(&app, "all", "2026-11").await.map(|(cost, _)| cost), (spent > 0).then_some(spent));
        assert_eq!((app.count("model_call").await, app.count("model_spend").await), (0, if spent > 0 { 2 } else { 0 }));
    })
    .await;
}

#[tokio::test]
async fn the_report_adds_up_by_day_persona_and_model() {
    each_db(|test| async {
        let app = App::start(test).await;
        let anna = app.add("anna", json!({})).await;
        let visit = Visit::begin(&app, "one").await;
        visit.reserve(1, 100, json!({})).await;
        visit.journal(json!({ "settle": settle(1, 60), "reserve": reserve(2, 30, &json!({})) })).await;
        let mut guessed = settle(2, 30);
        guessed["estimated"] = json!(true);
        visit.send("finish", json!({ "outcome": "completed", "engine": "anthropic", "settle": guessed })).await;
        app.later(24 * HOUR);
        let ben = app.add("ben", json!({})).await;
        app.admin(Method::POST, &format!("personas/{anna}/pause"), None).await;
        let visit = Visit::begin(&app, "one").await;
        visit.reserve(1, 500, json!({})).await;
        visit.send("finish", json!({ "outcome": "completed", "engine": "anthropic" })).await;

        let report = app.get("personas/cost").await;
        assert_eq!(
            (&report["by"], &report["from"], &report["to"]),
            (&json!("day"), &json!("2026-11-01"), &json!("2026-11-19"))
        );
        assert_eq!(
            report["rows"][0],
            json!({ "key": "2026-11-18", "calls": 2, "inputTokens": 200, "outputTokens": 40, "cacheReadTokens": 600,
                "cacheWriteTokens": 90, "costMicroUsd": 90, "estimatedMicroUsd": 30 })
        );
        assert_eq!((&report["totals"]["costMicroUsd"], &report["totals"]["calls"]), (&json!(590), &json!(3)));
        assert_eq!((&report["today"]["costMicroUsd"], &report["month"]["costMicroUsd"]), (&json!(500), &json!(590)));
        let rows = app.get("personas/cost?by=persona").await["rows"].clone();
        assert_eq!(
            (&rows[0]["key"], &rows[0]["name"], &rows[0]["costMicroUsd"]),
            (&json!(ben), &json!("ben"), &json!(500))
        );
        assert_eq!(
            (&rows[1]["key"], &rows[1]["email"], &rows[1]["estimatedMicroUsd"]),
            (&json!(anna), &json!("persona.anna@mana.test"), &json!(30))
        );
        let rows = app.get("personas/cost?by=model&from=2026-11-18&to=2026-11-19").await["rows"].clone();
        assert_eq!((&rows[0]["key"], &rows[1]["key"]), (&json!("sonnet"), &json!("sonnet-5")));
        assert_eq!(app.get("personas/cost?from=2026-11-19").await["totals"]["calls"], 1);
        assert_eq!(app.get("personas/cost?to=2026-10-05").await["from"], "2026-10-01");

        // Whoever is removed takes the rows along; the money stays spent.
        assert_eq!(app.admin(Method::DELETE, &format!("personas/{ben}"), None).await.0, 200);
        let report = app.get("personas/cost").await;
        assert_eq!((&report["totals"]["costMicroUsd"], &report["removed"]["costMicroUsd"]), (&json!(90), &json!(500)));
        assert_eq!(report["month"]["costMicroUsd"], 590);
        let (mine,) = app
            .test
            .db
            .query("SELECT COUNT(*) FROM model_spend WHERE scope <> 'all'")
            .one::<(i64,)>()
            .await
            .expect("reads");
        assert_eq!(mine, 2, "Anna's day and visit");

        for (query, named) in [
            ("by=week", vec!["by"]),
            ("from=yesterday&to=2026-13-01&by=x", vec!["from", "to", "by"]),
            ("from=2026-11-20&to=2026-11-19", vec!["to"]),
            ("from=2020-01-01", vec!["from"]),
        ] {
            let (status, problem) = app.admin(Method::GET, &format!("personas/cost?{query}"), None).await;
            assert_eq!((status, fields(&problem)), (400, named), "{query}");
        }
        assert_eq!(app.send(Method::GET, "/api/v1/admin/personas/cost", &[], "").await.0, 401);
    })
    .await;
}
