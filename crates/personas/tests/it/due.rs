use http::Method;
use mana_testkit::each_db;
use mana_types::Timestamp;
use serde_json::json;

use crate::App;

const HOUR: i64 = 60 * 60 * 1_000;
const DAY: i64 = 24 * HOUR;

/// Three personas of each cadence that have just been here. It is Wednesday, 09:00 UTC.
async fn visited(app: &App) -> Vec<String> {
    let mut ids = Vec::new();
    for (name, cadence) in [("hourly", "hourly"), ("daily", "daily"), ("weekdays", "weekdays")] {
        let id = app.add(name, json!({ "tickCadence": cadence })).await;
        let row = json!({ "tickId": format!("tick-{name}"), "toolName": "todo_list", "result": "ok" });
        app.post(&format!("{id}/actions"), json!({ "actions": [row] })).await;
        ids.push(id);
    }
    ids
}

#[tokio::test]
async fn cadences_count_from_the_last_activity_and_exclude_the_exact_moment() {
    each_db(|test| async {
        let app = App::start(test).await;
        visited(&app).await;
        let none: [&str; 0] = [];
        assert_eq!(app.due().await, none);
        app.later(HOUR);
        assert_eq!(app.due().await, none, "an hour is not more than an hour");
        app.later(1);
        assert_eq!(app.due().await, ["hourly"]);
        app.later(23 * HOUR);
        assert_eq!(app.due().await.len(), 3, "Thursday, more than a day later");
    })
    .await;
}

#[tokio::test]
async fn weekdays_rest_on_saturday_and_sunday_in_their_zone() {
    each_db(|test| async {
        let app = App::start(test).await;
        app.test.clock.set(at("2026-11-20T10:00:00Z")); // Friday
        visited(&app).await;
        for (time, expected) in [
            ("2026-11-21T10:00:01Z", vec!["daily", "hourly"]),
            ("2026-11-22T23:59:59Z", vec!["daily", "hourly"]),
            ("2026-11-23T00:00:00Z", vec!["daily", "hourly", "weekdays"]),
        ] {
            app.test.clock.set(at(time));
            let mut due = app.due().await;
            due.sort();
            assert_eq!(due, expected, "{time}");
        }
        // Sunday 23:30 in UTC is Monday in Berlin, and Monday 01:00 in UTC still Sunday in New York.
        app.test.clock.set(at("2026-11-22T23:30:00Z"));
        app.add("berlin", json!({ "tickCadence": "weekdays", "timezone": "Europe/Berlin" })).await;
        app.add("newyork", json!({ "tickCadence": "weekdays", "timezone": "America/New_York" })).await;
        let due = app.due().await;
        assert!(due.contains(&"berlin".to_owned()) && !due.contains(&"newyork".to_owned()), "{due:?}");
        app.test.clock.set(at("2026-11-23T05:00:00Z"));
        assert!(app.due().await.contains(&"newyork".to_owned()), "midnight in New York");
    })
    .await;
}

#[tokio::test]
async fn who_never_ran_comes_first_then_the_longest_idle() {
    each_db(|test| async {
        let app = App::start(test).await;
        for name in ["second", "first"] {
            let id = app.add(name, json!({})).await;
            let row = json!({ "tickId": format!("tick-{name}"), "toolName": "todo_list", "result": "ok" });
            app.later(if name == "first" { -HOUR } else { 0 });
            app.post(&format!("{id}/actions"), json!({ "actions": [row] })).await;
        }
        app.later(3 * DAY);
        let new = app.add("new", json!({})).await;
        let (paused, gone) = (app.add("paused", json!({})).await, app.add("gone", json!({})).await);
        assert_eq!(app.admin(Method::POST, &format!("personas/{paused}/pause"), None).await.0, 200);
        assert_eq!(app.admin(Method::DELETE, &format!("personas/{gone}"), None).await.0, 200);
        assert_eq!(app.due().await, ["new", "first", "second"]);
        // A claim sees it the same way.
        let claims = app.claim("one", 2).await;
        assert_eq!(claims[0]["persona"]["userId"], new.as_str());
        assert_eq!(claims[1]["persona"]["email"], "persona.first@mana.test");
        assert_eq!(app.due().await, ["second"], "who is visiting is not due");
    })
    .await;
}

#[tokio::test]
async fn missed_slots_become_one_visit() {
    each_db(|test| async {
        let app = App::start(test).await;
        app.add("anna", json!({ "tickCadence": "hourly" })).await;
        app.later(30 * DAY);
        let claim = app.claim_one("one").await;
        let finish = json!({ "owner": "one", "epoch": 1, "outcome": "completed", "engine": "rehearsal" });
        app.post(&format!("ticks/{}/finish", crate::text(&claim["tickId"])), finish).await;
        assert!(app.claim("one", 10).await.is_empty());
        app.later(HOUR + 1);
        assert_eq!(app.claim("one", 10).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_changed_rhythm_counts_from_the_last_visit_and_a_window_holds_it() {
    each_db(|test| async {
        let app = App::start(test).await;
        let ids = visited(&app).await;
        app.later(2 * HOUR);
        assert_eq!(app.due().await, ["hourly"]);
        // Daily becomes hourly and is due at once; hourly becomes daily and is not any more.
        app.add("daily", json!({ "tickCadence": "hourly" })).await;
        app.add("hourly", json!({ "tickCadence": "daily" })).await;
        assert_eq!(app.due().await, ["daily"]);
        // From 14 to 16 o'clock in Berlin, 13 to 15 in UTC; it is 11 now.
        let window = json!({ "window": { "start": "14:00", "end": "16:00" }, "timezone": "Europe/Berlin" });
        app.add("daily", window).await;
        assert_eq!(app.due().await.len(), 0);
        let page = app.get(&format!("personas/{}", ids[1])).await;
        let next = crate::text(&page["persona"]["nextDueAt"]).to_owned();
        assert!(
            ("2026-11-18T13:00:00.000Z".to_owned().."2026-11-18T15:00:00.000Z".to_owned()).contains(&next),
            "{next}"
        );
        app.test.clock.set(at(&next));
        assert_eq!(app.due().await, ["daily"]);
    })
    .await;
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}
