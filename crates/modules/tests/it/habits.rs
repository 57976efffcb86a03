//! Habits.

use mana_registry::ToolError;
use serde_json::{Value, json};

use crate::support::each_world;

fn titles(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|item| item["title"].as_str().expect("a title")).collect()
}

#[tokio::test]
async fn a_habit_is_made_done_and_kept_up() {
    each_world(|world| async move {
        let stretch = world.ok("habits_create", json!({ "title": "Dehnen" })).await;
        assert_eq!((stretch["icon"].as_str(), stretch["color"].as_str()), (Some("star"), Some("#6366f1")));
        assert_eq!(stretch["schedule"].as_array().map(Vec::len), Some(7));
        assert!(stretch.get("targetPerDay").is_none());
        let id = &stretch["id"];
        for date in ["2026-11-16", "2026-11-17"] {
            world.ok("habits_log", json!({ "habitId": id, "date": date })).await;
        }
        let day = world.ok("habits_today", json!({})).await;
        assert_eq!((&day["date"], &day["scheduled"], &day["done"]), (&json!("2026-11-18"), &json!(1), &json!(0)));
        assert_eq!((&day["habits"][0]["isDone"], &day["habits"][0]["streak"]), (&json!(false), &json!(2)));
        let done = world.ok("habits_log", json!({ "habitId": id, "notes": "Kurz, aber gemacht." })).await;
        assert_eq!(
            (&done["isDone"], &done["streak"], &done["habitTitle"]),
            (&json!(true), &json!(3), &json!("Dehnen"))
        );
        let again = world.ok("habits_log", json!({ "habitId": id })).await;
        assert_eq!((&again["id"], &again["rev"], &again["amountOfDay"]), (&done["id"], &done["rev"], &json!(1)));
        let remark = world.ok("habits_log", json!({ "habitId": id, "notes": "Doch länger." })).await;
        assert_eq!((&remark["id"], &remark["notes"], &remark["rev"]), (&done["id"], &json!("Doch länger."), &json!(2)));
        let streak = world.ok("habits_streak", json!({ "habitId": id })).await;
        assert_eq!(
            (&streak["current"], &streak["longest"], &streak["lastDone"]),
            (&json!(3), &json!(3), &json!("2026-11-18"))
        );
        assert_eq!((&streak["doneLast30Days"], &streak["scheduledLast30Days"]), (&json!(3), &json!(30)));
        let undone = world.ok("habits_unlog", json!({ "habitId": id, "date": "2026-11-17" })).await;
        assert_eq!(undone["logs"], 1);
        assert_eq!(world.ok("habits_unlog", json!({ "habitId": id, "date": "2026-11-17" })).await["logs"], 0);
        assert_eq!(world.ok("habits_streak", json!({ "habitId": id })).await["current"], 1);
        let logs = world.ok("habits_log_list", json!({ "habitId": id })).await;
        assert_eq!(logs["items"].as_array().map(Vec::len), Some(2));
        assert_eq!(logs["items"][0]["date"], "2026-11-18");
        world.ok("habits_archive", json!({ "habitId": id })).await;
        assert_eq!(world.ok("habits_today", json!({})).await["habits"], json!([]));
        assert_eq!(world.wrong_fields("habits_log", json!({ "habitId": id })).await, ["habitId"]);
        assert_eq!(titles(&world.ok("habits_list", json!({ "archived": true })).await["items"]), ["Dehnen"]);
        world.ok("habits_restore", json!({ "habitId": id })).await;
        assert_eq!(world.ok("habits_get", json!({ "habitId": id })).await["title"], "Dehnen");
        let stranger = world.somebody_else().await;
        let hidden = stranger.call("habits_streak", json!({ "habitId": id })).await;
        assert!(matches!(hidden, Err(ToolError::NotFound { what: "habit", .. })), "{hidden:?}");
        assert_eq!(stranger.wrong_fields("habits_log", json!({ "habitId": id })).await, ["habitId"]);
        assert_eq!(stranger.ok("habits_log_list", json!({})).await["items"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn amounts_of_a_day_add_up_to_its_target() {
    each_world(|world| async move {
        let water = world
            .ok("habits_create", json!({ "title": "Wasser in Litern", "targetPerDay": 1.5, "icon": "glass" }))
            .await;
        assert_eq!(water["targetPerDay"], 1.5);
        let id = &water["id"];
        for (amount, sum, done) in
            [(json!(0.7), json!(0.7), false), (json!(0.7), json!(1.4), false), (json!(0.1), json!(1.5), true)]
        {
            let log = world.ok("habits_log", json!({ "habitId": id, "amount": amount })).await;
            assert_eq!((&log["amountOfDay"], &log["isDone"]), (&sum, &json!(done)));
        }
        let one = world.ok("habits_log", json!({ "habitId": id })).await;
        assert_eq!((&one["amount"], &one["amountOfDay"], &one["streak"]), (&json!(1), &json!(2.5), &json!(1)));
        let day = world.ok("habits_today", json!({})).await;
        assert_eq!((&day["done"], &day["habits"][0]["amount"]), (&json!(1), &json!(2.5)));
        assert_eq!(world.ok("habits_unlog", json!({ "habitId": id })).await["logs"], 4);
        let day = world.ok("habits_today", json!({})).await;
        assert_eq!(day["done"], 0);
        assert!(day["habits"][0].get("amount").is_none());
        world.ok("habits_update", json!({ "habitId": id, "targetPerDay": 3 })).await;
        let cleared = world.ok("habits_update", json!({ "habitId": id, "clear": ["targetPerDay", "icon"] })).await;
        assert!(cleared.get("targetPerDay").is_none());
        assert_eq!(cleared["icon"], "star");
    })
    .await;
}

#[tokio::test]
async fn a_habit_rests_on_the_other_weekdays() {
    each_world(|world| async move {
        // The story begins on a Wednesday.
        let run =
            world.ok("habits_create", json!({ "title": "Laufen", "schedule": ["friday", "monday", "friday"] })).await;
        assert_eq!(run["schedule"], json!(["monday", "friday"]));
        let id = &run["id"];
        for date in ["2026-11-09", "2026-11-13", "2026-11-16"] {
            world.ok("habits_log", json!({ "habitId": id, "date": date })).await;
        }
        let streak = world.ok("habits_streak", json!({ "habitId": id })).await;
        assert_eq!((&streak["current"], &streak["scheduledLast30Days"]), (&json!(3), &json!(8)));
        assert_eq!(world.ok("habits_today", json!({})).await["habits"], json!([]));
        world.ok("habits_log", json!({ "habitId": id })).await;
        let day = world.ok("habits_today", json!({})).await;
        assert_eq!(
            (&day["scheduled"], &day["habits"][0]["isScheduled"], &day["habits"][0]["isDone"]),
            (&json!(0), &json!(false), &json!(true))
        );
        assert_eq!(
            world.ok("habits_streak", json!({ "habitId": id })).await["current"],
            3,
            "an extra day is no day of the streak"
        );
        assert_eq!(titles(&world.ok("habits_today", json!({ "date": "2026-11-20" })).await["habits"]), ["Laufen"]);
    })
    .await;
}

#[tokio::test]
async fn a_habit_has_its_bounds() {
    each_world(|world| async move {
        let wrong = json!({ "title": "x".repeat(121), "icon": "x".repeat(41), "color": "#123", "targetPerDay": 0, "schedule": ["montag"] });
        assert_eq!(world.wrong_fields("habits_create", wrong).await, ["color", "icon", "schedule[0]", "targetPerDay", "title"]);
        assert_eq!(world.wrong_fields("habits_create", json!({ "title": "x", "schedule": [] })).await, ["schedule"]);
        let habit = world.ok("habits_create", json!({ "title": "x" })).await;
        assert_eq!(world.wrong_fields("habits_log", json!({ "habitId": habit["id"], "date": "2026-11-19" })).await, ["date"]);
        assert_eq!(world.wrong_fields("habits_log", json!({ "amount": -1 })).await, ["amount", "habitId"]);
        assert_eq!(world.ok("habits_log_list", json!({})).await["items"], json!([]));
    })
    .await;
}
