//! Notes.

use mana_registry::ToolError;
use serde_json::{Value, json};

use crate::support::each_world;

fn titles(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("a page").iter().map(|item| item["title"].as_str().expect("a title")).collect()
}

#[tokio::test]
async fn a_note_grows_is_found_and_put_away() {
    each_world(|world| async move {
        let note = world
            .ok(
                "notes_create",
                json!({ "title": "Sauerteig", "content": "# Plan\n- Füttern um acht", "color": "#F59E0B", "tags": ["Küche", "küche", "Brot"] }),
            )
            .await;
        assert_eq!((note["color"].as_str(), &note["tags"]), (Some("#f59e0b"), &json!(["Küche", "Brot"])));
        assert_eq!((&note["isPinned"], &note["rev"]), (&json!(false), &json!(1)));
        let id = &note["id"];
        let empty = world.ok("notes_create", json!({ "title": "Nur ein Titel" })).await;
        assert_eq!(empty["content"], "");
        assert_eq!(titles(&world.ok("notes_list", json!({})).await), ["Nur ein Titel", "Sauerteig"]);
        world.ok("notes_append", json!({ "noteId": id, "text": "- Backen bei 240 Grad" })).await;
        let whole = world.ok("notes_get", json!({ "noteId": id })).await;
        assert_eq!(whole["content"], "# Plan\n- Füttern um acht\n- Backen bei 240 Grad");
        let list = world.ok("notes_list", json!({})).await;
        assert_eq!(titles(&list), ["Sauerteig", "Nur ein Titel"], "the latest change comes first");
        assert_eq!(list["items"][0]["excerpt"], "# Plan - Füttern um acht - Backen bei 240 Grad");
        for query in ["BACKEN", "sauer", "füttern UM", "küche"] {
            assert_eq!(titles(&world.ok("notes_search", json!({ "query": query })).await), ["Sauerteig"], "{query}");
        }
        for (tag, found) in [("KÜCHE", 1), ("Küch", 0), ("Titel", 0)] {
            assert_eq!(titles(&world.ok("notes_list", json!({ "tag": tag })).await).len(), found, "{tag}");
            let search = world.ok("notes_search", json!({ "query": "a", "tag": tag })).await;
            assert_eq!(titles(&search).len(), found, "{tag}");
        }
        let pinned = world.ok("notes_pin", json!({ "noteId": id })).await;
        let again = world.ok("notes_pin", json!({ "noteId": id })).await;
        assert_eq!((&again["isPinned"], &again["rev"]), (&json!(true), &pinned["rev"]));
        assert_eq!(titles(&world.ok("notes_list", json!({ "isPinned": true })).await), ["Sauerteig"]);
        assert_eq!(titles(&world.ok("notes_list", json!({ "isPinned": false })).await), ["Nur ein Titel"]);
        world.ok("notes_pin", json!({ "noteId": id, "isPinned": false })).await;
        let changed = world
            .ok("notes_update", json!({ "noteId": id, "expectedRev": 4, "title": "Brot", "clear": ["color", "tags", "content"] }))
            .await;
        assert!(changed.get("color").is_none());
        assert_eq!((&changed["title"], &changed["content"], &changed["tags"]), (&json!("Brot"), &json!(""), &json!([])));
        assert!(titles(&world.ok("notes_search", json!({ "query": "küche" })).await).is_empty(), "it is gone");
        let stale = world.call("notes_update", json!({ "noteId": id, "expectedRev": 4, "title": "x" })).await;
        assert!(matches!(stale, Err(ToolError::Conflict { what: "note", rev: 5 })), "{stale:?}");
        let gone = world.ok("notes_archive", json!({ "noteId": id })).await;
        assert_eq!(world.ok("notes_archive", json!({ "noteId": id })).await["rev"], gone["rev"]);
        assert_eq!(titles(&world.ok("notes_list", json!({})).await), ["Nur ein Titel"]);
        assert_eq!(titles(&world.ok("notes_list", json!({ "archived": true })).await), ["Brot"]);
        world.ok("notes_restore", json!({ "noteId": id })).await;
        assert_eq!(titles(&world.ok("notes_list", json!({})).await), ["Brot", "Nur ein Titel"]);
        let stranger = world.somebody_else().await;
        for tool in ["notes_get", "notes_archive", "notes_pin"] {
            let hidden = stranger.call(tool, json!({ "noteId": id })).await;
            assert!(matches!(hidden, Err(ToolError::NotFound { what: "note", .. })), "{hidden:?}");
        }
        assert!(titles(&stranger.ok("notes_search", json!({ "query": "Brot" })).await).is_empty());
    })
    .await;
}

#[tokio::test]
async fn notes_page_and_signs_of_patterns_are_only_text() {
    each_world(|world| async move {
        for title in ["100 % Baumwolle", "a_b", "a\\b", "axb"] {
            world.ok("notes_create", json!({ "title": title, "isPinned": true })).await;
        }
        for (query, found) in [("%", "100 % Baumwolle"), ("a_b", "a_b"), ("a\\b", "a\\b")] {
            assert_eq!(titles(&world.ok("notes_search", json!({ "query": query })).await), [found]);
        }
        let first = world.ok("notes_list", json!({ "limit": 3 })).await;
        world.ok("notes_create", json!({ "title": "kommt dazwischen" })).await;
        let second = world.ok("notes_list", json!({ "limit": 3, "cursor": first["nextCursor"] })).await;
        assert_eq!((titles(&first), titles(&second)), (vec!["axb", "a\\b", "a_b"], vec!["100 % Baumwolle"]));
        assert!(second.get("nextCursor").is_none());
    })
    .await;
}

#[tokio::test]
async fn a_note_has_its_bounds() {
    each_world(|world| async move {
        let wrong = json!({ "title": "x".repeat(501), "content": "x".repeat(200_001), "color": "rot", "tag": ["a"], "isPinned": "ja" });
        assert_eq!(world.wrong_fields("notes_create", wrong).await, ["color", "content", "isPinned", "tag", "title"]);
        assert_eq!(world.wrong_fields("notes_create", json!({ "title": "a\nb" })).await, ["title"]);
        assert_eq!(world.wrong_fields("notes_search", json!({ "query": "x".repeat(501), "limit": 101 })).await, ["limit", "query"]);
        assert_eq!(world.wrong_fields("notes_search", json!({})).await, ["query"]);
        assert_eq!(world.wrong_fields("notes_update", json!({ "noteId": "x", "clear": ["title"] })).await, ["clear[0]", "noteId"]);
        let full = world.ok("notes_create", json!({ "title": "voll", "content": "ä".repeat(200_000) })).await;
        assert_eq!(world.wrong_fields("notes_append", json!({ "noteId": full["id"], "text": "x" })).await, ["text"]);
        assert_eq!(world.ok("notes_get", json!({ "noteId": full["id"] })).await["rev"], 1);
        assert_eq!(world.ok("notes_list", json!({})).await["items"].as_array().map(Vec::len), Some(1));
    })
    .await;
}
