//! Pictures, boards, and the reference images of `me`.

use mana_registry::ToolError;
use serde_json::{Value, json};

use crate::media::Snap;
use crate::support::each_world;

#[tokio::test]
async fn pictures_are_made_after_ones_own_rated_and_laid_on_boards() {
    each_world(|world| async move {
        let user = world.caller.principal.user_id;
        let face = world.media.snap(user, &Snap { name: "face.jpg", ..Snap::default() });
        let paper = world.media.snap(user, &Snap { name: "a.pdf", mime: "application/pdf", ..Snap::default() });
        let wish = json!({ "prompt": "Ich am Meer", "referenceMediaIds": [face], "n": 2 });
        let foreign = world.call("picture_generate", wish.clone()).await;
        assert!(matches!(foreign, Err(ToolError::Rule { code: "reference-missing", .. })), "{foreign:?}");

        assert_eq!(world.wrong_fields("me_add", json!({ "kind": "face", "mediaId": paper })).await, ["mediaId"]);
        assert_eq!(world.wrong_fields("me_add", json!({ "kind": "ear", "mediaId": face })).await, ["kind"]);
        let me = world.ok("me_add", json!({ "kind": "face", "mediaId": face })).await;
        let again = world.ok("me_add", json!({ "kind": "face", "mediaId": face })).await;
        assert_eq!(again["id"], me["id"], "added once");
        world.ok("me_add", json!({ "kind": "reference", "mediaId": face, "label": "vorn" })).await;
        assert_eq!(world.ok("me_list", json!({ "kind": "face" })).await["items"].as_array().map(Vec::len), Some(1));

        let made = world.call_keyed("picture_generate", wish.clone(), Some("key")).await.expect("made");
        assert_eq!((&made["credits"], made["images"].as_array().map(Vec::len)), (&json!(10), Some(2)));
        assert_eq!(world.call_keyed("picture_generate", wish, Some("key")).await.expect("the same"), made);
        let wishes = world.media.wishes();
        assert_eq!((wishes.len(), wishes[0].key.as_deref(), wishes[0].count), (1, Some("key"), 2));
        let dry = world.call("picture_generate", json!({ "prompt": "x", "dryRun": true })).await;
        assert!(matches!(dry, Err(ToolError::Rule { code: "no-dry-run", .. })), "{dry:?}");
        assert_eq!(world.ok("picture_credits", json!({})).await["credits"], 90);
        let bad = json!({ "prompt": "", "n": 5, "referenceMediaIds": "x" });
        assert_eq!(world.wrong_fields("picture_generate", bad).await, ["n", "prompt", "referenceMediaIds"]);

        let (one, two) = (&made["images"][0]["id"], &made["images"][1]["id"]);
        world.ok("picture_update", json!({ "imageId": one, "rating": 5, "isFavorite": true })).await;
        let favorites = world.ok("picture_list", json!({ "favorites": true, "query": "MEER" })).await;
        assert_eq!((&favorites["items"][0]["id"], &favorites["items"][0]["rating"]), (one, &json!(5)));
        let cleared = world.ok("picture_update", json!({ "imageId": one, "clear": ["rating"] })).await;
        assert!(cleared.get("rating").is_none() && cleared["isFavorite"] == true);

        let board = world.ok("picture_board_create", json!({ "name": "Ideen" })).await;
        let place = json!([{ "imageId": one, "x": 0, "y": 0 }, { "imageId": two, "x": -5, "y": 40, "width": 200 }]);
        world.ok("picture_board_update", json!({ "boardId": board["id"], "place": place })).await;
        let moved =
            json!({ "boardId": board["id"], "place": [{ "imageId": one, "x": 9, "y": 9 }], "removeImageIds": [two] });
        let moved = world.ok("picture_board_update", moved).await;
        assert_eq!(moved["items"], json!([{ "imageId": one, "x": 9, "y": 9 }]));
        let unknown = json!({ "boardId": board["id"], "place": [{ "imageId": board["id"], "x": 0, "y": 0 }] });
        assert_eq!(world.wrong_fields("picture_board_update", unknown).await, ["place[0].imageId"]);
        let whole = world.ok("picture_board_get", json!({ "boardId": board["id"] })).await;
        assert_eq!(whole["images"][0]["id"], *one);
        assert_eq!(world.ok("picture_board_list", json!({})).await["items"][0]["count"], 1);
        world.ok("picture_board_archive", json!({ "boardId": board["id"] })).await;
        assert_eq!(world.ok("picture_board_list", json!({})).await["items"], json!([]));
        world.ok("picture_archive", json!({ "imageId": two })).await;
        assert_eq!(world.ok("picture_list", json!({})).await["items"].as_array().map(Vec::len), Some(1));
        world.ok("picture_restore", json!({ "imageId": two })).await;

        // With the last mark the file is let go of; the photo stays.
        let list: Value = world.ok("me_list", json!({})).await;
        for (at, left) in [(0, vec!["photos", "me"]), (1, vec!["photos"])] {
            let removed = world.ok("me_remove", json!({ "imageId": list["items"][at]["id"] })).await;
            assert_eq!(world.ok("me_remove", json!({ "imageId": removed["id"] })).await["rev"], removed["rev"]);
            assert_eq!(world.media.apps(user, &face.to_string()), left);
        }
        assert_eq!(world.ok("me_list", json!({})).await["items"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn where_no_files_are_kept_it_says_so() {
    each_world(|mut world| async move {
        world.registry = mana_modules::registry().expect("the modules fit together");
        for (tool, arguments) in [("photos_list", json!({})), ("picture_generate", json!({ "prompt": "x" }))] {
            let refused = world.call(tool, arguments).await;
            assert!(matches!(refused, Err(ToolError::Rule { code: "media-unavailable", .. })), "{refused:?}");
        }
    })
    .await;
}
