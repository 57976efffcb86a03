//! Tasks.

use mana_registry::ToolError;
use serde_json::{Value, json};

use crate::support::each_world;

fn titles(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("a page").iter().map(|item| item["title"].as_str().expect("a title")).collect()
}

#[tokio::test]
async fn a_task_is_made_found_done_and_put_away() {
    each_world(|world| async move {
        let project = world.ok("todo_project_create", json!({ "name": "Umzug", "color": "#AABBCC" })).await;
        let milk = world
            .ok(
                "todo_create",
                json!({ "title": " Milch kaufen ", "dueDate": "2026-11-18T18:00:00+01:00", "tags": ["Einkauf"],
                        "projectId": project["id"], "subtasks": [{ "title": "Geld" }], "description": null }),
            )
            .await;
        assert_eq!(
            (milk["title"].as_str(), milk["priority"].as_str(), milk["rev"].as_i64()),
            (Some("Milch kaufen"), Some("medium"), Some(1))
        );
        assert_eq!(milk["dueDate"], "2026-11-18T17:00:00.000Z");
        world.ok("todo_create", json!({ "title": "Irgendwann" })).await;
        world
            .ok("todo_create", json!({ "title": "Gestern", "dueDate": "2026-11-17T10:00:00Z", "priority": "high" }))
            .await;
        assert_eq!(titles(&world.ok("todo_list", json!({})).await), ["Gestern", "Milch kaufen", "Irgendwann"]);
        assert_eq!(titles(&world.ok("todo_overdue", json!({})).await), ["Gestern"]);
        let today = world.ok("todo_today", json!({})).await;
        assert_eq!(
            (today["date"].as_str(), today["due"][0]["title"].as_str()),
            (Some("2026-11-18"), Some("Milch kaufen"))
        );
        assert_eq!(titles(&world.ok("todo_search", json!({ "query": "einkauf" })).await), ["Milch kaufen"]);
        let id = &milk["id"];
        let done = world.ok("todo_complete", json!({ "taskId": id })).await;
        assert_eq!(done["isCompleted"], true);
        let again = world.ok("todo.complete", json!({ "taskId": id })).await;
        assert_eq!((&again["completedAt"], &again["rev"]), (&done["completedAt"], &done["rev"]));
        assert_eq!(titles(&world.ok("todo_list", json!({})).await), ["Gestern", "Irgendwann"]);
        assert_eq!(titles(&world.ok("todo_list", json!({ "includeCompleted": true })).await).len(), 3);
        let stats = world.ok("todo_stats", json!({})).await;
        assert_eq!(
            (&stats["open"], &stats["overdue"], &stats["completed"], &stats["openHigh"]),
            (&json!(2), &json!(1), &json!(1), &json!(1))
        );
        assert_eq!(world.ok("todo_project_list", json!({})).await["items"][0]["openTasks"], 0);
        world.ok("todo_reopen", json!({ "taskId": id })).await;
        let changed = world
            .ok(
                "todo_update",
                json!({ "taskId": id, "expectedRev": 3, "title": "Brot", "clear": ["dueDate", "projectId"] }),
            )
            .await;
        assert!(changed.get("dueDate").is_none() && changed.get("projectId").is_none());
        let stale = world.call("todo_update", json!({ "taskId": id, "expectedRev": 3, "title": "x" })).await;
        assert!(matches!(stale, Err(ToolError::Conflict { rev: 4, .. })), "{stale:?}");
        world.ok("todo_archive", json!({ "taskId": id })).await;
        assert_eq!(titles(&world.ok("todo_list", json!({ "archived": true })).await), ["Brot"]);
        world.ok("todo_restore", json!({ "taskId": id })).await;
        assert_eq!(world.ok("todo_get", json!({ "taskId": id })).await["rev"], 6);
        let stranger = world.somebody_else().await;
        let hidden = stranger.call("todo_get", json!({ "taskId": id })).await;
        assert!(matches!(hidden, Err(ToolError::NotFound { what: "task", .. })), "{hidden:?}");
        assert!(titles(&stranger.ok("todo_list", json!({})).await).is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_task_that_comes_again_does_so_once() {
    each_world(|world| async move {
        let task = world
            .ok("todo_create", json!({ "title": "Blumen giessen", "dueDate": "2026-10-24T08:00:00+02:00", "recurrence": { "every": "week" } }))
            .await;
        let done = world.ok("todo_complete", json!({ "taskId": task["id"] })).await;
        // The clocks go back on 25 October: eight in the morning stays eight in the morning.
        assert_eq!(done["next"]["dueDate"], "2026-10-31T07:00:00.000Z");
        world.ok("todo_complete", json!({ "taskId": task["id"] })).await;
        assert_eq!(titles(&world.ok("todo_list", json!({})).await), ["Blumen giessen"]);
    })
    .await;
}

#[tokio::test]
async fn every_wrong_field_is_named_and_nothing_is_kept() {
    each_world(|world| async move {
        let wrong = json!({
            "titel": "x", "priority": "sehr", "dueDate": "morgen", "estimateMinutes": 0, "tags": ["", "x"],
            "subtasks": [{ "title": "a" }, { "tittle": "b" }],
        });
        let fields = world.wrong_fields("todo_create", wrong).await;
        assert_eq!(
            fields,
            [
                "dueDate",
                "estimateMinutes",
                "priority",
                "subtasks[1].title",
                "subtasks[1].tittle",
                "tags[0]",
                "titel",
                "title"
            ]
        );
        assert_eq!(world.wrong_fields("todo_create", json!({ "title": "   " })).await, ["title"]);
        assert_eq!(
            world
                .wrong_fields("todo_create", json!({ "title": "x", "projectId": world.caller.membership.space }))
                .await,
            ["projectId"]
        );
        assert_eq!(world.wrong_fields("todo_list", json!({ "cursor": "x", "limit": 501 })).await, ["limit"]);
        assert_eq!(world.wrong_fields("todo_list", json!({ "cursor": "x" })).await, ["cursor"]);
        assert_eq!(world.ok("todo_stats", json!({})).await["open"], 0);
    })
    .await;
}

#[tokio::test]
async fn a_key_makes_a_retry_harmless_and_a_dry_run_changes_nothing() {
    each_world(|world| async move {
        let arguments = json!({ "title": "Einmal" });
        let first = world.call_keyed("todo_create", arguments.clone(), Some("k1")).await.expect("creates");
        let second = world.call_keyed("todo_create", arguments.clone(), Some("k1")).await.expect("answers again");
        assert_eq!(first, second);
        let as_argument = world.ok("todo_create", json!({ "title": "Einmal", "idempotencyKey": "k1" })).await;
        assert_eq!(first, as_argument);
        let other = world.call_keyed("todo_create", json!({ "title": "Anders" }), Some("k1")).await;
        assert!(matches!(other, Err(ToolError::KeyReused)), "{other:?}");
        world.ok("todo_create", json!({ "title": "Nur zum Schein", "dryRun": true })).await;
        assert_eq!(titles(&world.ok("todo_list", json!({})).await), ["Einmal"]);
        let both =
            futures::future::join_all((0..8).map(|_| world.call_keyed("todo_create", arguments.clone(), Some("k2"))))
                .await;
        let ids: std::collections::BTreeSet<String> =
            both.into_iter().map(|result| result.expect("answers")["id"].to_string()).collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(titles(&world.ok("todo_list", json!({})).await).len(), 2);
    })
    .await;
}

#[tokio::test]
async fn one_line_becomes_a_task() {
    each_world(|world| async move {
        let task = world.ok("todo_quick_add", json!({ "line": "Mama anrufen morgen 18:00 !hoch #familie" })).await;
        assert_eq!((task["title"].as_str(), task["priority"].as_str()), (Some("Mama anrufen"), Some("high")));
        assert_eq!((task["dueDate"].as_str(), &task["tags"]), (Some("2026-11-19T17:00:00.000Z"), &json!(["familie"])));
        assert_eq!(world.wrong_fields("todo_quick_add", json!({ "line": "morgen !hoch" })).await, ["line"]);
    })
    .await;
}
