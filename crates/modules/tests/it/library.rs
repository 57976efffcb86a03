//! The library.

use mana_registry::ToolError;
use serde_json::{Value, json};

use crate::support::each_world;

fn titles(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("a page").iter().map(|item| item["title"].as_str().expect("a title")).collect()
}

fn day(time: &Value) -> &str {
    time.as_str().and_then(|time| time.split_once('T')).expect("a time").0
}

#[tokio::test]
async fn a_book_is_wished_for_read_and_reviewed() {
    each_world(|world| async move {
        let book = world
            .ok("library_create", json!({ "kind": "book", "title": "Momo", "creators": ["Michael Ende"], "year": 1973 }))
            .await;
        assert_eq!((&book["status"], &book["rev"]), (&json!("planned"), &json!(1)));
        assert!(book.get("startedAt").is_none() && book.get("rating").is_none());
        let id = &book["id"];
        let film = world.ok("library_create", json!({ "kind": "film", "title": "Metropolis", "creators": ["Fritz Lang"], "status": "completed", "rating": 4 })).await;
        assert_eq!(day(&film["completedAt"]), "2026-11-18");
        let begun = world.ok("library_set_status", json!({ "entryId": id, "status": "active" })).await;
        assert_eq!((day(&begun["startedAt"]), &begun["rev"]), ("2026-11-18", &json!(2)));
        let again = world.ok("library_set_status", json!({ "entryId": id, "status": "active" })).await;
        assert_eq!(again["rev"], 2);
        world.test.clock.advance_millis(3 * 24 * 3_600_000);
        let done = world.ok("library_set_status", json!({ "entryId": id, "status": "completed" })).await;
        assert_eq!((&done["startedAt"], day(&done["completedAt"])), (&begun["startedAt"], "2026-11-21"));
        let rated = world.ok("library_rate", json!({ "entryId": id, "rating": 5, "review": "Langsam hineingefunden." })).await;
        let twice = world.ok("library_rate", json!({ "entryId": id, "rating": 5 })).await;
        assert_eq!((&twice["rev"], &twice["review"]), (&rated["rev"], &json!("Langsam hineingefunden.")));
        assert_eq!(titles(&world.ok("library_list", json!({})).await), ["Momo", "Metropolis"]);
        assert_eq!(titles(&world.ok("library_list", json!({ "kind": "film" })).await), ["Metropolis"]);
        assert!(titles(&world.ok("library_list", json!({ "status": "dropped" })).await).is_empty());
        for query in ["ENDE", "momo", "hineingefunden"] {
            assert_eq!(titles(&world.ok("library_search", json!({ "query": query })).await), ["Momo"], "{query}");
        }
        assert!(titles(&world.ok("library_search", json!({ "query": "momo", "kind": "comic" })).await).is_empty());
        let stats = world.ok("library_stats", json!({})).await;
        assert_eq!((&stats["rated"], &stats["averageRating"], &stats["completedThisYear"]), (&json!(2), &json!(4.5), &json!(2)));
        assert_eq!(stats["byKind"][0], json!({ "kind": "book", "planned": 0, "active": 0, "completed": 1, "paused": 0, "dropped": 0 }));
        let changed = world
            .ok("library_update", json!({ "entryId": id, "title": "Momo!", "completedAt": "2025-12-31T23:30:00+01:00", "clear": ["rating", "year", "creators"] }))
            .await;
        assert!(changed.get("rating").is_none() && changed.get("year").is_none());
        assert_eq!((&changed["creators"], &changed["title"]), (&json!([]), &json!("Momo!")));
        let stats = world.ok("library_stats", json!({})).await;
        assert_eq!((&stats["averageRating"], &stats["completedThisYear"]), (&json!(4.0), &json!(1)));
        world.ok("library_archive", json!({ "entryId": id })).await;
        assert_eq!(titles(&world.ok("library_list", json!({ "archived": true })).await), ["Momo!"]);
        world.ok("library_restore", json!({ "entryId": id })).await;
        let hidden = world.somebody_else().await.call("library_rate", json!({ "entryId": id, "rating": 1 })).await;
        assert!(matches!(hidden, Err(ToolError::NotFound { what: "entry", .. })), "{hidden:?}");
        assert!(world.ok("library_get", json!({ "entryId": id })).await.get("rating").is_none());
    })
    .await;
}

#[tokio::test]
async fn an_entry_has_its_bounds() {
    each_world(|world| async move {
        let wrong = json!({ "kind": "buch", "creators": "Ende", "year": "früher", "status": "done", "rating": 2.5, "titel": "x" });
        assert_eq!(world.wrong_fields("library_create", wrong).await, ["creators", "kind", "rating", "status", "titel", "title", "year"]);
        let many: Vec<String> = (0..21).map(|n| format!("Person {n}")).collect();
        assert_eq!(world.wrong_fields("library_create", json!({ "kind": "book", "title": "x", "creators": many })).await, ["creators"]);
        let odyssey = world.ok("library_create", json!({ "kind": "book", "title": "Odyssee", "year": -700 })).await;
        assert_eq!(world.wrong_fields("library_rate", json!({ "entryId": odyssey["id"], "rating": 0 })).await, ["rating"]);
        let empty = world.somebody_else().await.ok("library_stats", json!({})).await;
        assert!(empty.get("averageRating").is_none());
        assert_eq!(empty["rated"], 0);
    })
    .await;
}
