//! Articles.

use mana_registry::ToolError;
use serde_json::{Value, json};

use crate::support::each_world;

const TEXT: &str =
    "Im Stock gibt es keine Besprechung. Jede Biene prüft, was in ihrer Nähe fehlt,\nund wechselt die Aufgabe.";

fn titles(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("a page").iter().map(|item| item["title"].as_str().expect("a title")).collect()
}

#[tokio::test]
async fn an_article_is_saved_read_and_finished() {
    each_world(|world| async move {
        let url = "https://example.org/bienen";
        let saved = world
            .ok("articles_save", json!({ "url": url, "title": "Was Bienen wissen", "author": "Aylin Demir", "content": TEXT, "tags": ["Natur"] }))
            .await;
        assert_eq!((&saved["isNew"], &saved["status"], &saved["progress"], &saved["wordCount"]), (&json!(true), &json!("unread"), &json!(0), &json!(18)));
        let id = &saved["id"];
        let again = world.ok("articles_save", json!({ "url": url, "title": "Anders", "content": "Anderer Text" })).await;
        assert_eq!((&again["isNew"], &again["id"], &again["title"], &again["rev"]), (&json!(false), id, &saved["title"], &json!(1)));
        let bare = world.ok("articles_save", json!({ "url": "https://example.org/leer", "title": "Ohne Text" })).await;
        assert!(bare.get("content").is_none());
        assert_eq!(titles(&world.ok("articles_list", json!({})).await), ["Ohne Text", "Was Bienen wissen"]);
        assert_eq!(titles(&world.ok("articles_list", json!({ "tag": "natur" })).await), ["Was Bienen wissen"]);
        for query in ["DEMIR", "besprechung", "/bienen", "natur"] {
            assert_eq!(titles(&world.ok("articles_search", json!({ "query": query })).await), ["Was Bienen wissen"], "{query}");
        }
        assert_eq!(world.ok("articles_continue", json!({})).await["items"], json!([]));
        let half = world.ok("articles_set_progress", json!({ "articleId": id, "progress": 50 })).await;
        assert_eq!((&half["status"], &half["rev"]), (&json!("reading"), &json!(2)));
        assert_eq!(world.ok("articles_set_progress", json!({ "articleId": id, "progress": 50 })).await["rev"], 2);
        world.ok("articles_set_progress", json!({ "articleId": bare["id"], "progress": 10 })).await;
        let begun = world.ok("articles_continue", json!({})).await;
        assert_eq!(titles(&begun), ["Ohne Text", "Was Bienen wissen"]);
        assert!(begun["items"][0].get("passage").is_none());
        assert_eq!((&begun["items"][1]["passage"], &begun["items"][1]["minutesLeft"]), (&json!("was in ihrer Nähe fehlt,\nund wechselt die Aufgabe."), &json!(1)));
        let done = world.ok("articles_set_progress", json!({ "articleId": id, "progress": 100 })).await;
        assert_eq!(done["status"], "finished");
        assert!(done["finishedAt"].is_string());
        let set = world.ok("articles_set_status", json!({ "articleId": id, "status": "finished" })).await;
        assert_eq!((&set["rev"], &set["finishedAt"]), (&done["rev"], &done["finishedAt"]));
        let reread = world.ok("articles_set_status", json!({ "articleId": id, "status": "reading" })).await;
        assert_eq!(reread["progress"], 0);
        world.ok("articles_set_status", json!({ "articleId": id, "status": "archived" })).await;
        assert_eq!(titles(&world.ok("articles_list", json!({})).await), ["Ohne Text"]);
        assert_eq!(titles(&world.ok("articles_list", json!({ "status": "archived" })).await), ["Was Bienen wissen"]);
        let back = world.ok("articles_save", json!({ "url": url, "title": "Was Bienen wissen" })).await;
        assert_eq!((&back["status"], &back["isNew"]), (&json!("unread"), &json!(false)));
        let filled = world.ok("articles_save", json!({ "url": "https://example.org/leer", "title": "x", "content": "Doch ein Text." })).await;
        assert_eq!((&filled["title"], &filled["wordCount"], &filled["progress"]), (&json!("Ohne Text"), &json!(3), &json!(10)));
        let changed = world.ok("articles_update", json!({ "articleId": id, "title": "Bienen", "clear": ["author", "tags"] })).await;
        assert!(changed.get("author").is_none());
        let stranger = world.somebody_else().await;
        let hidden = stranger.call("articles_get", json!({ "articleId": id })).await;
        assert!(matches!(hidden, Err(ToolError::NotFound { what: "article", .. })), "{hidden:?}");
        assert_eq!(stranger.ok("articles_save", json!({ "url": url, "title": "Mein eigenes" })).await["isNew"], true);
    })
    .await;
}

#[tokio::test]
async fn only_what_an_article_says_can_be_highlighted() {
    each_world(|world| async move {
        let article = world
            .ok("articles_save", json!({ "url": "https://example.org/a", "title": "Bienen", "content": TEXT }))
            .await;
        let id = &article["id"];
        let across = "was in ihrer Nähe fehlt, und wechselt";
        let first = world.ok("articles_highlight", json!({ "articleId": id, "text": across })).await;
        let again = world.ok("articles_highlight", json!({ "articleId": id, "text": across })).await;
        assert_eq!((&again["id"], &again["rev"]), (&first["id"], &json!(1)));
        let noted =
            world.ok("articles_highlight", json!({ "articleId": id, "text": across, "note": "Zitierfähig." })).await;
        assert_eq!((&noted["id"], &noted["note"]), (&first["id"], &json!("Zitierfähig.")));
        world.ok("articles_highlight", json!({ "articleId": id, "text": "keine Besprechung" })).await;
        for text in ["Im Stock", "steht hier nirgends", "im stock gibt es keine"] {
            assert_eq!(
                world.wrong_fields("articles_highlight", json!({ "articleId": id, "text": text })).await,
                ["text"],
                "{text}"
            );
        }
        assert_eq!(
            world.wrong_fields("articles_highlight", json!({ "articleId": id, "text": "x".repeat(501) })).await,
            ["text"]
        );
        let whole = world.ok("articles_get", json!({ "articleId": id })).await;
        assert_eq!((whole["highlights"].as_array().map(Vec::len), &whole["content"]), (Some(2), &json!(TEXT)));
        let found = world.ok("articles_highlight_list", json!({ "query": "zitierfähig" })).await;
        assert_eq!((found["items"].as_array().map(Vec::len), &found["items"][0]["articleId"]), (Some(1), id));
        let shorter = json!({ "articleId": id, "content": "Im Stock gibt es keine Besprechung." });
        assert_eq!(world.wrong_fields("articles_update", shorter.clone()).await, ["content"]);
        world.ok("articles_highlight_archive", json!({ "highlightId": first["id"] })).await;
        assert_eq!(world.ok("articles_update", shorter).await["wordCount"], 6);
        assert_eq!(
            world.ok("articles_highlight_list", json!({ "articleId": id })).await["items"].as_array().map(Vec::len),
            Some(1)
        );
        let bare = world.ok("articles_save", json!({ "url": "https://example.org/b", "title": "Leer" })).await;
        let none = json!({ "articleId": bare["id"], "text": "Im Stock gibt es" });
        assert_eq!(world.wrong_fields("articles_highlight", none).await, ["articleId"]);
        let stranger = world.somebody_else().await;
        let foreign = json!({ "articleId": id, "text": "keine Besprechung" });
        assert_eq!(stranger.wrong_fields("articles_highlight", foreign).await, ["articleId"]);
    })
    .await;
}

#[tokio::test]
async fn an_article_has_its_bounds() {
    each_world(|world| async move {
        let wrong = json!({ "url": "ftp://example.org", "content": "", "author": "x".repeat(201), "tags": [1] });
        let fields = world.wrong_fields("articles_save", wrong).await;
        assert_eq!(fields, ["author", "content", "tags[0]", "title"]);
        for url in ["ftp://example.org", "javascript:alert(1)", "https://"] {
            assert_eq!(
                world.wrong_fields("articles_save", json!({ "url": url, "title": "x" })).await,
                ["url"],
                "{url}"
            );
        }
        assert_eq!(
            world.wrong_fields("articles_set_progress", json!({ "articleId": "1", "progress": 101 })).await,
            ["articleId", "progress"]
        );
        assert_eq!(world.wrong_fields("articles_continue", json!({ "limit": 21 })).await, ["limit"]);
        assert_eq!(world.ok("articles_list", json!({})).await["items"], json!([]));
    })
    .await;
}
