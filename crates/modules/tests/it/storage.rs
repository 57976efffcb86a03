//! Storage.

use mana_registry::ToolError;
use serde_json::{Value, json};

use crate::media::Snap;
use crate::support::{World, each_world};

fn names(page: &Value) -> Vec<&str> {
    let mut names: Vec<&str> =
        page["items"].as_array().expect("a page").iter().map(|item| item["name"].as_str().expect("a name")).collect();
    names.sort_unstable();
    names
}

async fn rule(world: &World, tool: &str, arguments: Value) -> &'static str {
    match world.call(tool, arguments).await {
        Err(ToolError::Rule { code, .. }) => code,
        other => panic!("a rule should refuse it: {other:?}"),
    }
}

#[tokio::test]
async fn files_have_a_place_versions_and_a_content() {
    each_world(|world| async move {
        let folder = world.ok("storage_folder_create", json!({ "name": "Rezepte" })).await;
        let file = json!({ "name": "Brot.txt", "content": "TWVobA==", "parentId": folder["id"], "tags": ["Küche"] });
        let file = world.ok("storage_upload", file).await;
        assert_eq!((&file["kind"], &file["version"], &file["size"]), (&json!("file"), &json!(1), &json!(4)));
        let id = &file["id"];
        let second =
            world.ok("storage_upload", json!({ "name": "egal.txt", "text": "Mehl, Wasser", "entryId": id })).await;
        assert_eq!((&second["version"], &second["name"]), (&json!(2), &json!("Brot.txt")));
        let whole = world.ok("storage_get", json!({ "entryId": id })).await;
        assert_eq!((&whole["path"], whole["versions"].as_array().map(Vec::len)), (&json!("Rezepte/Brot.txt"), Some(2)));
        assert!(whole["urls"]["original"].is_string());
        assert_eq!(world.ok("storage_read", json!({ "entryId": id })).await["text"], "Mehl, Wasser");
        assert_eq!(world.ok("storage_read", json!({ "entryId": id, "version": 1 })).await["text"], "Mehl");
        assert_eq!(world.wrong_fields("storage_read", json!({ "entryId": id, "version": 3 })).await, ["version"]);
        // The first version again, as a third one.
        let back = json!({ "mediaId": whole["versions"][0]["mediaId"], "entryId": id });
        assert_eq!(world.ok("storage_add", back.clone()).await["version"], 3);
        assert_eq!(world.ok("storage_add", back).await["version"], 3, "the same bytes are no new version");
        let binary = world.ok("storage_upload", json!({ "name": "x.bin", "content": "/wD+" })).await;
        let read = world.ok("storage_read", json!({ "entryId": binary["id"] })).await;
        assert_eq!((&read["base64"], read.get("text")), (&json!("/wD+"), None));

        assert_eq!(names(&world.ok("storage_list", json!({})).await), ["Rezepte", "x.bin"]);
        assert_eq!(names(&world.ok("storage_list", json!({ "parentId": folder["id"] })).await), ["Brot.txt"]);
        assert_eq!(names(&world.ok("storage_search", json!({ "query": "küche" })).await), ["Brot.txt"]);
        world.ok("storage_update", json!({ "entryId": id, "isFavorite": true })).await;
        assert_eq!(names(&world.ok("storage_list", json!({ "favorites": true })).await), ["Brot.txt"]);

        let url = world.ok("storage_upload_url", json!({ "name": "Film.mp4" })).await;
        assert_eq!(url["url"], "https://mana.test/upload/storage/Film.mp4");
        let photo = world.media.snap(world.caller.principal.user_id, &Snap { name: "meer.jpg", ..Snap::default() });
        let added = world.ok("storage_add", json!({ "mediaId": photo })).await;
        assert_eq!(added["name"], "meer.jpg");
        let apps = world.media.apps(world.caller.principal.user_id, &photo.to_string());
        assert_eq!(apps, ["photos", "storage"], "it stays when the photo goes");

        let other = world.somebody_else().await;
        assert_eq!(other.wrong_fields("storage_add", json!({ "mediaId": photo })).await, ["mediaId"]);
        let hidden = other.call("storage_get", json!({ "entryId": id })).await;
        assert!(matches!(hidden, Err(ToolError::NotFound { .. })), "{hidden:?}");
    })
    .await;
}

#[tokio::test]
async fn bad_uploads_are_refused_before_anything_is_kept() {
    each_world(|world| async move {
        let folder = world.ok("storage_folder_create", json!({ "name": "A" })).await;
        let (text, wrong) = ("YQ==", |arguments| world.wrong_fields("storage_upload", arguments));
        assert_eq!(wrong(json!({ "name": "", "content": 1 })).await, ["content", "name"]);
        assert_eq!(wrong(json!({ "name": "a/b", "content": text })).await, ["name"]);
        assert_eq!(wrong(json!({ "name": "..", "content": text })).await, ["name"]);
        assert_eq!(wrong(json!({ "name": "a", "content": "no base64!" })).await, ["content"]);
        assert_eq!(wrong(json!({ "name": "a", "content": "" })).await, ["content"]);
        assert_eq!(wrong(json!({ "name": "a" })).await, ["content"]);
        assert_eq!(wrong(json!({ "name": "a", "content": text, "text": "a" })).await, ["content"]);
        assert_eq!(wrong(json!({ "name": "a", "content": "A".repeat(349_600) })).await, ["content"]);
        assert_eq!(wrong(json!({ "name": "a", "text": "ä".repeat(200_000) })).await, ["text"]);
        assert_eq!(wrong(json!({ "name": "a", "content": text, "entryId": folder["id"] })).await, ["entryId"]);
        let nowhere = "01900000-0000-7000-8000-000000000000";
        assert_eq!(wrong(json!({ "name": "a", "content": text, "parentId": nowhere })).await, ["parentId"]);
        assert_eq!(
            rule(&world, "storage_upload", json!({ "name": "b", "content": text, "dryRun": true })).await,
            "no-dry-run"
        );
        world.ok("storage_upload", json!({ "name": "a.txt", "content": text })).await;
        assert_eq!(rule(&world, "storage_upload", json!({ "name": "A.TXT", "content": "Yg==" })).await, "name-taken");
        let stats = world.ok("photos_stats", json!({})).await;
        assert_eq!(stats["files"], 1, "nothing else was kept");
        // The same call under a key is one file.
        let call = json!({ "name": "key.txt", "content": "Yw==" });
        let first = world.call_keyed("storage_upload", call.clone(), Some("k1")).await.expect("kept");
        assert_eq!(world.call_keyed("storage_upload", call, Some("k1")).await.expect("the same"), first);
    })
    .await;
}

#[tokio::test]
async fn folders_move_without_cycles_and_come_back_from_the_trash() {
    each_world(|world| async move {
        let folder = async |name: &str, parent: &Value| {
            world.ok("storage_folder_create", json!({ "name": name, "parentId": parent })).await["id"].clone()
        };
        let a = folder("A", &Value::Null).await;
        let b = folder("B", &a).await;
        let c = folder("C", &b).await;
        let file =
            world.ok("storage_upload", json!({ "name": "f.txt", "text": "f", "parentId": c })).await["id"].clone();
        for (moved, into) in [(&a, &a), (&a, &c), (&b, &c)] {
            let change = json!({ "entryId": moved, "parentId": into });
            assert_eq!(world.wrong_fields("storage_update", change).await, ["parentId"]);
        }
        assert_eq!(world.wrong_fields("storage_update", json!({ "entryId": a, "parentId": file })).await, ["parentId"]);
        assert_eq!(rule(&world, "storage_folder_create", json!({ "name": "a" })).await, "name-taken");
        world.ok("storage_update", json!({ "entryId": c, "clear": ["parentId"], "name": "Ganz oben" })).await;
        assert_eq!(world.ok("storage_get", json!({ "entryId": file })).await["path"], "Ganz oben/f.txt");
        assert_eq!(rule(&world, "storage_update", json!({ "entryId": c, "name": "A" })).await, "name-taken");
        world.ok("storage_update", json!({ "entryId": c, "parentId": b, "name": "C" })).await;

        // A file that went before stays in the trash when its folder comes back.
        let early =
            world.ok("storage_upload", json!({ "name": "early.txt", "text": "e", "parentId": b })).await["id"].clone();
        world.ok("storage_trash", json!({ "entryId": early })).await;
        let gone = world.ok("storage_trash", json!({ "entryId": a })).await;
        assert_eq!(world.ok("storage_trash", json!({ "entryId": a })).await["rev"], gone["rev"]);
        assert!(names(&world.ok("storage_list", json!({})).await).is_empty());
        assert!(names(&world.ok("storage_search", json!({ "query": "f.txt" })).await).is_empty());
        assert_eq!(names(&world.ok("storage_list", json!({ "trashed": true })).await), ["A", "early.txt"]);
        assert_eq!(rule(&world, "storage_restore", json!({ "entryId": file })).await, "trashed-with-folder");
        assert_eq!(rule(&world, "storage_update", json!({ "entryId": a, "name": "Z" })).await, "in-trash");
        // The name was taken meanwhile.
        let other = folder("a", &Value::Null).await;
        assert_eq!(rule(&world, "storage_restore", json!({ "entryId": a })).await, "name-taken");
        world.ok("storage_restore", json!({ "entryId": a, "name": "A wieder" })).await;
        assert_eq!(world.ok("storage_get", json!({ "entryId": file })).await["path"], "A wieder/B/C/f.txt");
        assert_eq!(names(&world.ok("storage_list", json!({ "trashed": true })).await), ["early.txt"]);
        // Its folder is gone for good as far as it can know, so it comes to the top.
        world.ok("storage_trash", json!({ "entryId": other })).await;
        world.ok("storage_trash", json!({ "entryId": b })).await;
        world.ok("storage_restore", json!({ "entryId": early })).await;
        assert_eq!(world.ok("storage_get", json!({ "entryId": early })).await["path"], "early.txt");
    })
    .await;
}

#[tokio::test]
async fn of_two_that_take_a_name_at_once_one_gets_it() {
    each_world(|world| async move {
        let make = || Box::pin(world.call("storage_folder_create", json!({ "name": "Eins" })));
        let (first, second, third) = tokio::join!(make(), make(), make());
        let successes = [&first, &second, &third].into_iter().filter(|result| result.is_ok()).count();
        assert_eq!(successes, 1, "{first:?} {second:?} {third:?}");
        assert_eq!(names(&world.ok("storage_list", json!({})).await), ["Eins"]);
    })
    .await;
}
