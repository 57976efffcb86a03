//! Dreams.

use mana_registry::ToolError;
use serde_json::{Value, json};

use crate::support::each_world;

fn titles(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("a page").iter().map(|item| item["title"].as_str().expect("a title")).collect()
}

#[tokio::test]
async fn dreams_are_found_by_what_stands_out_in_them() {
    each_world(|world| async move {
        let moon = world
            .ok(
                "dreams_create",
                json!({ "title": "Großvater repariert den Mond", "content": "Er steht auf der Leiter und schraubt.",
                        "people": ["Großvater"], "symbols": ["Mond", "Leiter", "mond"], "clarity": 4, "isLucid": true }),
            )
            .await;
        assert_eq!((&moon["date"], &moon["symbols"]), (&json!("2026-11-18"), &json!(["Mond", "Leiter"])));
        world
            .ok(
                "dreams_create",
                json!({ "title": "Der Nachbar", "content": "Herr Mond klingelt unter dem Mondlicht.", "people": ["Mond"],
                        "symbols": ["Mondlicht"], "date": "2026-11-12" }),
            )
            .await;
        world.ok("dreams_create", json!({ "title": "Die Brücke", "content": "Über den Fluss.", "symbols": ["Leiter"], "date": "2026-11-01" })).await;
        assert_eq!(titles(&world.ok("dreams_list", json!({})).await), ["Großvater repariert den Mond", "Der Nachbar", "Die Brücke"]);
        assert_eq!(titles(&world.ok("dreams_list", json!({ "isLucid": true })).await), ["Großvater repariert den Mond"]);
        assert_eq!(titles(&world.ok("dreams_list", json!({ "isLucid": false, "from": "2026-11-02" })).await), ["Der Nachbar"]);
        let cases = [
            (json!({ "symbol": "MOND" }), vec!["Großvater repariert den Mond"]),
            (json!({ "person": "mond" }), vec!["Der Nachbar"]),
            (json!({ "query": "mond" }), vec!["Großvater repariert den Mond", "Der Nachbar"]),
            (json!({ "symbol": "leiter" }), vec!["Großvater repariert den Mond", "Die Brücke"]),
            (json!({ "symbol": "Leiter", "query": "fluss" }), vec!["Die Brücke"]),
            (json!({ "symbol": "Leiter", "isLucid": true }), vec!["Großvater repariert den Mond"]),
            (json!({ "isLucid": true }), vec!["Großvater repariert den Mond"]),
            (json!({ "symbol": "Fuchs" }), vec![]),
        ];
        for (search, found) in cases {
            assert_eq!(titles(&world.ok("dreams_search", search.clone()).await), found, "{search}");
        }
        let first = world.ok("dreams_search", json!({ "symbol": "Leiter", "limit": 1 })).await;
        let second = world.ok("dreams_search", json!({ "symbol": "Leiter", "limit": 1, "cursor": first["nextCursor"] })).await;
        assert_eq!(titles(&second), ["Die Brücke"]);
        let symbols = world.ok("dreams_symbols", json!({})).await;
        assert_eq!(symbols["dreams"], 3);
        assert_eq!(symbols["symbols"][0], json!({ "name": "Leiter", "dreams": 2, "lastDate": "2026-11-18" }));
        assert_eq!(symbols["symbols"].as_array().map(Vec::len), Some(3));
        let id = &moon["id"];
        let changed = world.ok("dreams_update", json!({ "dreamId": id, "symbols": ["Schraube"], "isLucid": false, "clear": ["clarity", "title"] })).await;
        assert!(changed.get("clarity").is_none() && changed.get("title").is_none());
        assert!(titles(&world.ok("dreams_search", json!({ "symbol": "Mond" })).await).is_empty());
        world.ok("dreams_archive", json!({ "dreamId": id })).await;
        assert_eq!(world.ok("dreams_symbols", json!({})).await["dreams"], 2);
        world.ok("dreams_restore", json!({ "dreamId": id })).await;
        assert_eq!(world.ok("dreams_get", json!({ "dreamId": id })).await["symbols"], json!(["Schraube"]));
        let hidden = world.somebody_else().await.call("dreams_get", json!({ "dreamId": id })).await;
        assert!(matches!(hidden, Err(ToolError::NotFound { what: "dream", .. })), "{hidden:?}");
    })
    .await;
}

#[tokio::test]
async fn a_dream_has_its_bounds() {
    each_world(|world| async move {
        let wrong = json!({ "content": "", "clarity": 6, "people": "Anna", "symbols": [""], "lucid": true, "date": "2026-13-01" });
        assert_eq!(world.wrong_fields("dreams_create", wrong).await, ["clarity", "content", "date", "lucid", "people", "symbols[0]"]);
        assert_eq!(world.wrong_fields("dreams_search", json!({ "symbol": "a\u{1f}b" })).await, ["symbol"]);
        assert_eq!(world.ok("dreams_symbols", json!({})).await["dreams"], 0);
    })
    .await;
}
