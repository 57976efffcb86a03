//! The journal.

use mana_registry::ToolError;
use serde_json::{Value, json};

use crate::support::each_world;

fn dates(entries: &Value) -> Vec<&str> {
    entries.as_array().expect("a list").iter().map(|item| item["date"].as_str().expect("a date")).collect()
}

#[tokio::test]
async fn days_are_told_found_and_corrected() {
    each_world(|world| async move {
        let entry = world
            .ok(
                "journal_add",
                json!({ "title": "Nein gesagt", "content": "Danach war es still – dann ging es weiter.", "mood": "grateful", "tags": ["Arbeit"] }),
            )
            .await;
        assert_eq!((entry["date"].as_str(), &entry["wordCount"]), (Some("2026-11-18"), &json!(8)));
        world.ok("journal_add", json!({ "date": "2026-11-10", "content": "Regen, zum Glück.", "mood": "content" })).await;
        world.ok("journal_add", json!({ "date": "2026-11-14", "content": "Zu viel vorgenommen.", "mood": "stressed" })).await;
        let list = world.ok("journal_list", json!({})).await;
        assert_eq!(dates(&list["items"]), ["2026-11-18", "2026-11-14", "2026-11-10"]);
        assert_eq!(list["items"][2]["excerpt"], "Regen, zum Glück.");
        let some = world.ok("journal_list", json!({ "from": "2026-11-10", "until": "2026-11-14" })).await;
        assert_eq!(dates(&some["items"]), ["2026-11-14", "2026-11-10"], "both ends belong to it");
        assert_eq!(dates(&world.ok("journal_list", json!({ "mood": "stressed" })).await["items"]), ["2026-11-14"]);
        assert_eq!(dates(&world.ok("journal_list", json!({ "tag": "arbeit" })).await["items"]), ["2026-11-18"]);
        assert_eq!(dates(&world.ok("journal_search", json!({ "query": "GLÜCK" })).await["items"]), ["2026-11-10"]);
        let none = world.ok("journal_search", json!({ "query": "glück", "mood": "angry" })).await;
        assert!(dates(&none["items"]).is_empty());
        let id = &entry["id"];
        let changed = world
            .ok("journal_update", json!({ "entryId": id, "content": "Kurz.", "date": "2026-11-17", "clear": ["mood", "title"] }))
            .await;
        assert_eq!((&changed["wordCount"], &changed["date"]), (&json!(1), &json!("2026-11-17")));
        assert!(changed.get("mood").is_none() && changed.get("title").is_none());
        world.ok("journal_archive", json!({ "entryId": id })).await;
        assert_eq!(dates(&world.ok("journal_list", json!({ "archived": true })).await["items"]), ["2026-11-17"]);
        world.ok("journal_restore", json!({ "entryId": id })).await;
        assert_eq!(world.ok("journal_get", json!({ "entryId": id })).await["content"], "Kurz.");
        let stranger = world.somebody_else().await;
        let hidden = stranger.call("journal_get", json!({ "entryId": id })).await;
        assert!(matches!(hidden, Err(ToolError::NotFound { what: "entry", .. })), "{hidden:?}");
    })
    .await;
}

#[tokio::test]
async fn today_is_where_the_user_is() {
    each_world(|world| async move {
        // A quarter past midnight in Berlin is still the day before in London.
        world.test.clock.advance_millis(14 * 3_600_000 + 15 * 60_000);
        let entry = world.ok("journal_add", json!({ "content": "Noch wach." })).await;
        assert_eq!(entry["date"], "2026-11-19");
        assert_eq!(world.ok("journal_on_this_day", json!({})).await["date"], "2026-11-19");
    })
    .await;
}

#[tokio::test]
async fn a_day_is_seen_again_in_later_years() {
    each_world(|world| async move {
        let days = [
            "2026-11-18",
            "2025-11-18",
            "2025-11-18",
            "2025-11-17",
            "2025-11-19",
            "2022-12-01",
            "2022-11-18",
            "2021-03-01",
            "2020-11-17",
            "2019-11-19",
            "2019-11-18",
            "1999-11-18",
        ];
        for (n, date) in days.iter().enumerate() {
            world.ok("journal_add", json!({ "date": date, "content": format!("Eintrag {n}") })).await;
        }
        let archived = world.ok("journal_add", json!({ "date": "2024-11-18", "content": "weg" })).await;
        world.ok("journal_archive", json!({ "entryId": archived["id"] })).await;
        let seen = world.ok("journal_on_this_day", json!({})).await;
        assert_eq!(dates(&seen["entries"]), ["2025-11-18", "2025-11-18", "2022-11-18", "2019-11-18", "1999-11-18"]);
        assert_eq!(seen["entries"][0]["excerpt"], "Eintrag 2", "the later one of a day comes first");
        let other = world.ok("journal_on_this_day", json!({ "date": "2023-12-01" })).await;
        assert_eq!(dates(&other["entries"]), ["2022-12-01"]);
        for date in ["2024-02-29", "2021-02-28", "2020-02-29", "2016-02-29"] {
            world.ok("journal_add", json!({ "date": date, "content": "Schalttag" })).await;
        }
        let leap = world.ok("journal_on_this_day", json!({ "date": "2024-02-29" })).await;
        assert_eq!(dates(&leap["entries"]), ["2020-02-29", "2016-02-29"]);
        let early = world.ok("journal_on_this_day", json!({ "date": "0001-01-01" })).await;
        assert!(dates(&early["entries"]).is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_entry_has_its_bounds() {
    each_world(|world| async move {
        let wrong = json!({ "date": "gestern", "content": "x".repeat(200_001), "mood": "froh", "tags": ["x".repeat(61)], "wordCount": 3 });
        assert_eq!(world.wrong_fields("journal_add", wrong).await, ["content", "date", "mood", "tags[0]", "wordCount"]);
        for empty in [json!({}), json!({ "content": "" }), json!({ "content": " \n " })] {
            assert_eq!(world.wrong_fields("journal_add", empty).await, ["content"]);
        }
        for mood in ["grateful", "happy", "content", "neutral", "thoughtful", "sad", "stressed", "angry"] {
            assert_eq!(world.ok("journal_add", json!({ "content": "x", "mood": mood })).await["mood"], mood);
        }
    })
    .await;
}
