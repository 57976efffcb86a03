//! Goals.

use serde_json::json;

use crate::support::{World, each_world};

async fn value(world: &World, metric: &str, period: &str) -> (i64, i64) {
    let goal = json!({ "title": metric, "metric": metric, "target": { "value": 4, "period": period }, "startDate": "2026-11-01" });
    let goal = world.ok("goals_create", goal).await;
    let progress = world.ok("goals_progress", json!({ "goalId": goal["id"] })).await;
    (
        progress["progress"]["value"].as_i64().expect("a number"),
        progress["progress"]["percent"].as_i64().expect("a number"),
    )
}

/// The records of each module that a goal counts, made by the tools of that module.
#[tokio::test]
async fn progress_is_counted_in_the_other_modules() {
    each_world(|world| async move {
        let task = world.ok("todo_create", json!({ "title": "a" })).await;
        world.ok("todo_create", json!({ "title": "b" })).await;
        world.ok("todo_complete", json!({ "taskId": task["id"] })).await;
        world.ok("todo_archive", json!({ "taskId": task["id"] })).await;
        assert_eq!(value(&world, "tasks_completed", "day").await, (1, 25), "done stays done, also when put away");

        world.ok("journal_add", json!({ "content": "Heute" })).await;
        world.ok("journal_add", json!({ "content": "Montag", "date": "2026-11-16" })).await;
        world.ok("journal_add", json!({ "content": "Sonntag", "date": "2026-11-15" })).await;
        assert_eq!(value(&world, "journal_entries", "day").await, (1, 25));
        assert_eq!(value(&world, "journal_entries", "week").await, (2, 50));
        assert_eq!(value(&world, "journal_entries", "month").await, (3, 75));

        let habit = world.ok("habits_create", json!({ "title": "Laufen" })).await;
        let other = world.ok("habits_create", json!({ "title": "Lesen" })).await;
        world.ok("habits_log", json!({ "habitId": habit["id"] })).await;
        world.ok("habits_log", json!({ "habitId": other["id"] })).await;
        assert_eq!(value(&world, "habit_logs", "week").await, (2, 50));
        let of_one = json!({ "title": "Laufen", "metric": "habit_logs", "habitId": habit["id"], "target": { "value": 1, "period": "day" } });
        let of_one = world.ok("goals_create", of_one).await;
        let progress = world.ok("goals_progress", json!({ "goalId": of_one["id"] })).await;
        assert_eq!(progress["progress"], json!({ "from": "2026-11-18", "to": "2026-11-18", "value": 1, "percent": 100, "isMet": true }));

        world.ok("notes_create", json!({ "title": "N", "content": "x" })).await;
        assert_eq!(value(&world, "notes_written", "total").await, (1, 25));
        world.ok("mood_log", json!({ "level": 7 })).await;
        assert_eq!(value(&world, "mood_logs", "year").await, (1, 25));
        world.ok("dreams_create", json!({ "title": "D", "content": "x" })).await;
        assert_eq!(value(&world, "dreams_recorded", "month").await, (1, 25));
        let book = world.ok("library_create", json!({ "kind": "book", "title": "B" })).await;
        assert_eq!(value(&world, "library_completed", "year").await, (0, 0));
        world.ok("library_set_status", json!({ "entryId": book["id"], "status": "completed" })).await;
        assert_eq!(value(&world, "library_completed", "year").await, (1, 25));
        assert_eq!(value(&world.somebody_else().await, "journal_entries", "month").await, (0, 0));
    })
    .await;
}

#[tokio::test]
async fn a_goal_of_ones_own_is_logged_and_ends() {
    each_world(|world| async move {
        let run = json!({
            "title": "Laufen", "metric": "custom", "startDate": "2026-10-01", "endDate": "2026-12-31",
            "target": { "value": 20, "unit": "km", "period": "month" },
        });
        let goal = world.ok("goals_create", run).await;
        let id = &goal["id"];
        world.ok("goals_entry_add", json!({ "goalId": id, "amount": 15, "date": "2026-10-31" })).await;
        let first = world.ok("goals_entry_add", json!({ "goalId": id, "amount": 12, "note": "Park" })).await;
        assert_eq!(first["progress"], json!({ "from": "2026-11-01", "to": "2026-11-30", "value": 12, "percent": 60, "isMet": false }));
        let second = world.ok("goals_entry_add", json!({ "goalId": id, "amount": 8 })).await;
        assert_eq!(second["progress"]["isMet"], true);
        world.ok("goals_entry_archive", json!({ "entryId": first["id"] })).await;
        let seen = world.ok("goals_progress", json!({ "goalId": id })).await;
        assert_eq!((&seen["progress"]["value"], &seen["before"][0]["value"]), (&json!(8), &json!(15)));
        assert_eq!((seen["before"].as_array().map(Vec::len), seen["entries"].as_array().map(Vec::len)), (Some(1), Some(2)));
        let listed = world.ok("goals_list", json!({})).await;
        assert_eq!(listed["items"][0]["progress"], seen["progress"]);
        let changed = json!({ "goalId": id, "status": "paused", "target": { "value": 5, "period": "total", "comparison": "at_most" }, "clear": ["endDate"] });
        world.ok("goals_update", changed).await;
        assert_eq!(world.ok("goals_list", json!({})).await["items"], json!([]));
        let paused = world.ok("goals_list", json!({ "status": "paused" })).await;
        assert_eq!(paused["items"][0]["progress"], json!({ "from": "2026-10-01", "value": 23, "percent": 460, "isMet": false }));
        world.ok("goals_archive", json!({ "goalId": id })).await;
        assert_eq!(world.ok("goals_list", json!({ "archived": true })).await["items"].as_array().map(Vec::len), Some(1));
        world.ok("goals_restore", json!({ "goalId": id })).await;
    })
    .await;
}

#[tokio::test]
async fn a_goal_has_its_bounds() {
    each_world(|world| async move {
        let wrong = json!({ "title": "", "metric": "luck", "target": { "value": -1, "period": "decade" }, "startDate": "x" });
        assert_eq!(world.wrong_fields("goals_create", wrong).await, ["metric", "startDate", "target.period", "target.value", "title"]);
        let no_habit = "01900000-0000-7000-8000-000000000000";
        let senseless = json!({
            "title": "x", "metric": "custom", "habitId": no_habit, "target": { "value": 0, "period": "day" },
            "startDate": "2026-11-18", "endDate": "2026-11-17",
        });
        assert_eq!(world.wrong_fields("goals_create", senseless).await, ["endDate", "habitId", "target.value"]);
        let unknown = json!({ "title": "x", "metric": "habit_logs", "habitId": no_habit, "target": { "value": 1, "period": "day" } });
        assert_eq!(world.wrong_fields("goals_create", unknown).await, ["habitId"]);
        let counted = world.ok("goals_create", json!({ "title": "x", "metric": "notes_written", "target": { "value": 1, "period": "day" } })).await;
        let refused = world.call("goals_entry_add", json!({ "goalId": counted["id"] })).await.expect_err("is counted");
        assert_eq!(refused.code(), "metric-is-counted");
        let own = world.ok("goals_create", json!({ "title": "x", "metric": "custom", "target": { "value": 1, "period": "day" } })).await;
        assert_eq!(world.wrong_fields("goals_entry_add", json!({ "goalId": own["id"], "date": "2026-11-17" })).await, ["date"]);
    })
    .await;
}
