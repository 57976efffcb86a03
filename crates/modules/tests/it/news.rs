//! News.

use serde_json::{Value, json};

use crate::support::{World, each_world};

fn titles(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("a page").iter().map(|item| item["title"].as_str().expect("a title")).collect()
}

async fn save(world: &World, title: &str, day: u32, source: &str, topic: &str) -> Value {
    let published = format!("2026-11-{day:02}T08:00:00Z");
    let url = format!("https://{source}/{title}");
    world.ok("news_save", json!({ "url": url, "title": title, "topic": topic, "publishedAt": published })).await
}

#[tokio::test]
async fn articles_are_saved_once_read_and_put_away() {
    each_world(|world| async move {
        let url = "https://www.blatt.test/a?b=1";
        let saved = world.ok("news_save", json!({ "url": url, "title": "Alpha", "content": "Der ganze Text." })).await;
        assert_eq!((&saved["source"], &saved["publishedAt"]), (&json!("blatt.test"), &saved["createdAt"]));
        let again = world.ok("news_save", json!({ "url": url, "title": "Anders" })).await;
        assert_eq!((&again["id"], &again["title"], &again["rev"]), (&saved["id"], &json!("Alpha"), &json!(1)));
        let id = &saved["id"];
        assert!(world.ok("news_list", json!({})).await["items"][0].get("content").is_none());
        assert_eq!(world.ok("news_get", json!({ "articleId": id })).await["content"], "Der ganze Text.");
        let read = world.ok("news_mark", json!({ "articleId": id })).await;
        assert_eq!((&read["isRead"], &read["isFavorite"]), (&json!(true), &json!(false)));
        assert_eq!(world.ok("news_mark", json!({ "articleId": id })).await["rev"], read["rev"]);
        assert_eq!(titles(&world.ok("news_list", json!({})).await), [""; 0]);
        world.ok("news_mark", json!({ "articleId": id, "isFavorite": true, "isRead": false })).await;
        assert_eq!(titles(&world.ok("news_list", json!({ "state": "favorite" })).await), ["Alpha"]);
        assert_eq!(titles(&world.ok("news_search", json!({ "query": "BLATT" })).await), ["Alpha"]);
        world.ok("news_archive", json!({ "articleId": id })).await;
        assert_eq!(titles(&world.ok("news_list", json!({ "archived": true, "state": "all" })).await), ["Alpha"]);
        let back = world.ok("news_save", json!({ "url": url, "title": "Alpha" })).await;
        assert!(back["id"] == *id && back.get("archivedAt").is_none());
        world.ok("news_archive", json!({ "articleId": id })).await;
        assert!(world.ok("news_restore", json!({ "articleId": id })).await.get("archivedAt").is_none());
    })
    .await;
}

#[tokio::test]
async fn what_is_liked_comes_first() {
    each_world(|world| async move {
        save(&world, "stadt", 18, "a.test", "Stadt").await;
        let bees = save(&world, "bienen", 17, "b.test", "Natur").await;
        save(&world, "wald", 16, "b.test", "Natur").await;
        save(&world, "boulevard", 18, "c.test", "Leute").await;
        let set = json!({ "likedTopics": ["natur"], "blockedSources": ["C.test"] });
        let preferences = world.ok("news_preferences_set", set.clone()).await;
        assert_eq!(
            world.ok("news_preferences_set", json!({ "blockedTopics": [] })).await["likedTopics"],
            preferences["likedTopics"]
        );
        // A liked topic is worth two days.
        assert_eq!(titles(&world.ok("news_list", json!({})).await), ["bienen", "wald", "stadt"]);
        assert_eq!(titles(&world.ok("news_list", json!({ "order": "newest" })).await).len(), 4);
        world.ok("news_react", json!({ "articleId": bees["id"], "reaction": "not_interested" })).await;
        assert_eq!(titles(&world.ok("news_list", json!({})).await), ["bienen", "stadt", "wald"]);
        world.ok("news_react", json!({ "articleId": bees["id"], "reaction": "hidden" })).await;
        assert_eq!(titles(&world.ok("news_list", json!({})).await), ["wald", "stadt"]);
        assert_eq!(titles(&world.ok("news_list", json!({ "state": "hidden" })).await), ["bienen"]);
        assert!(world.ok("news_react", json!({ "articleId": bees["id"] })).await.get("reaction").is_none());
        world.ok("news_react", json!({ "articleId": bees["id"], "reaction": "interested" })).await;
        let overview = world.ok("news_preferences", json!({})).await;
        assert_eq!(overview["topics"][0], json!({ "name": "Natur", "articles": 2, "liking": 1 }));
        let both =
            json!({ "likedTopics": ["x"], "blockedTopics": ["X"], "likedSources": ["y"], "blockedSources": ["y"] });
        assert_eq!(world.wrong_fields("news_preferences_set", both).await, ["blockedSources", "blockedTopics"]);
    })
    .await;
}

#[tokio::test]
async fn the_order_of_preference_pages() {
    each_world(|world| async move {
        for day in 1..=7 {
            save(&world, &format!("t{day}"), day, "a.test", if day % 2 == 0 { "gut" } else { "egal" }).await;
        }
        world.ok("news_preferences_set", json!({ "likedTopics": ["gut"] })).await;
        let whole = world.ok("news_list", json!({})).await;
        let (mut paged, mut cursor) = (Vec::new(), Value::Null);
        for _ in 0..4 {
            let page = world.ok("news_list", json!({ "limit": 2, "cursor": cursor })).await;
            paged.extend(titles(&page).into_iter().map(str::to_owned));
            cursor = page["nextCursor"].clone();
        }
        assert_eq!(paged, titles(&whole));
        assert_eq!((paged.len(), cursor), (7, Value::Null));
        assert_eq!(world.wrong_fields("news_list", json!({ "cursor": "x" })).await, ["cursor"]);
        let wrong = json!({ "url": "ftp://x", "title": "", "topic": "", "publishedAt": "heute" });
        assert_eq!(world.wrong_fields("news_save", wrong).await, ["publishedAt", "title", "topic"]);
    })
    .await;
}
