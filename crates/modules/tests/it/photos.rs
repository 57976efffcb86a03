//! Photos.

use mana_registry::ToolError;
use serde_json::{Value, json};

use crate::media::Snap;
use crate::support::{World, each_world};

fn names(photos: &Value) -> Vec<&str> {
    photos.as_array().expect("a list").iter().map(|photo| photo["name"].as_str().expect("a name")).collect()
}

async fn listed(world: &World, which: Value) -> Vec<String> {
    names(&world.ok("photos_list", which).await["items"]).into_iter().map(str::to_owned).collect()
}

const BERLIN: (f64, f64) = (52.5163, 13.3777);
const HAMBURG: (f64, f64) = (53.551, 9.994);

/// Seven photos, a document and somebody else's photo.
fn gallery(world: &World) -> Vec<String> {
    let user = world.caller.principal.user_id;
    let berlin = Some(BERLIN);
    let snaps = [
        Snap {
            name: "a",
            taken: Some("2023-11-18T10:00:00Z"),
            place: berlin,
            camera: Some("Canon EOS R6"),
            ..Snap::default()
        },
        Snap { name: "b", taken: Some("2023-11-18T10:00:00Z"), place: Some((52.5164, 13.3779)), ..Snap::default() },
        // Late on the eve in UTC, but that day where it was taken.
        Snap {
            name: "c",
            taken: Some("2024-11-17T23:30:00Z"),
            offset_minutes: Some(60),
            camera: Some("Fairphone 5"),
            ..Snap::default()
        },
        Snap {
            name: "d",
            taken: Some("2025-06-01T12:00:00Z"),
            place: Some(HAMBURG),
            camera: Some("Canon EOS R6"),
            ..Snap::default()
        },
        Snap { name: "e", app: "plants", ..Snap::default() },
        Snap { name: "f", taken: Some("2020-02-29T08:00:00Z"), ..Snap::default() },
        Snap { name: "g.svg", mime: "image/svg+xml", ..Snap::default() },
        Snap { name: "h.pdf", mime: "application/pdf", app: "storage", ..Snap::default() },
    ];
    snaps.iter().map(|snap| world.media.snap(user, snap).to_string()).collect()
}

#[tokio::test]
async fn the_gallery_shows_every_image_in_pages_and_by_what_is_wanted() {
    each_world(|world| async move {
        let ids = gallery(&world);
        let other = world.somebody_else().await;
        let foreign =
            world.media.snap(other.caller.principal.user_id, &Snap { name: "x", ..Snap::default() }).to_string();
        let all = listed(&world, json!({})).await;
        assert_eq!(all.len(), 6, "no drawing, no document, nothing of others: {all:?}");
        assert_eq!((&*all[0], &*all[5]), ("e", "f"), "the latest taken first");
        let (mut pages, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let page = world.ok("photos_list", json!({ "limit": 2, "cursor": cursor })).await;
            pages.extend(names(&page["items"]).into_iter().map(str::to_owned));
            cursor = page["nextCursor"].clone();
            if cursor.is_null() {
                break;
            }
            // What comes in meanwhile does not shift what is still to come.
            world.media.snap(world.caller.principal.user_id, &Snap { name: "new", ..Snap::default() });
        }
        assert_eq!(pages, all);

        let of = |which: Value| listed(&world, which);
        assert_eq!(of(json!({ "from": "2024-01-01T00:00:00Z", "to": "2025-06-01T12:00:00Z" })).await, ["c"]);
        let mut near = of(json!({ "lat": BERLIN.0, "lon": BERLIN.1 })).await;
        near.sort();
        assert_eq!(near, ["a", "b"]);
        assert_eq!(of(json!({ "lat": BERLIN.0, "lon": BERLIN.1, "radiusKm": 300 })).await.len(), 3);
        assert_eq!(of(json!({ "hasLocation": true })).await.len(), 3);
        assert_eq!(of(json!({ "camera": "canon" })).await, ["d", "a"]);
        assert_eq!(of(json!({ "app": "plants" })).await, ["e"]);
        assert_eq!(world.wrong_fields("photos_list", json!({ "lat": 1 })).await, ["lat"]);
        assert_eq!(world.wrong_fields("photos_list", json!({ "lat": 91, "limit": 0 })).await, ["lat", "limit"]);

        let one = world.ok("photos_get", json!({ "mediaId": ids[0] })).await;
        assert_eq!(one["exif"]["camera"], "Canon EOS R6");
        assert_eq!(one["urls"]["large"], format!("https://mana.test/{}/large", ids[0]));
        for unknown in [&foreign, &ids[7]] {
            let missing = world.call("photos_get", json!({ "mediaId": unknown })).await;
            assert!(matches!(missing, Err(ToolError::NotFound { what: "photo", .. })), "{missing:?}");
        }
        let places = world.ok("photos_explore", json!({ "by": "place" })).await;
        assert_eq!((&places["groups"][0]["name"], &places["groups"][0]["count"]), (&json!("52.52, 13.38"), &json!(2)));
        assert_eq!(places["groups"].as_array().expect("a list").len(), 2);
        let cameras = world.ok("photos_explore", json!({ "by": "camera" })).await;
        assert_eq!(
            (&cameras["groups"][0]["name"], &cameras["groups"][0]["count"]),
            (&json!("Canon EOS R6"), &json!(2))
        );
        // Today is 18 November 2026.
        let day = world.ok("photos_on_this_day", json!({})).await;
        let mut on_this_day = names(&day["photos"]);
        assert_eq!(on_this_day[0], "c");
        on_this_day.sort_unstable();
        assert_eq!(on_this_day, ["a", "b", "c"]);
        let leap = world.ok("photos_on_this_day", json!({ "date": "2024-02-29" })).await;
        assert_eq!(names(&leap["photos"]), ["f"]);
        let stats = world.ok("photos_stats", json!({})).await;
        assert_eq!((&stats["photos"], &stats["withPlace"], &stats["files"]), (&json!(7), &json!(3), &json!(9)));
        assert_eq!(other.ok("photos_stats", json!({})).await["photos"], 1);
    })
    .await;
}

#[tokio::test]
async fn albums_favourites_and_tags() {
    each_world(|world| async move {
        let ids = gallery(&world);
        let other = world.somebody_else().await;
        let foreign = world.media.snap(other.caller.principal.user_id, &Snap { name: "x", ..Snap::default() }).to_string();
        let tags = json!({ "mediaIds": [ids[0], ids[3], ids[0]], "favorite": true, "addTags": ["Reise", "reise"] });
        let marked = world.ok("photos_mark", tags.clone()).await;
        assert_eq!(marked["photos"].as_array().expect("a list").len(), 2);
        assert_eq!(world.ok("photos_mark", tags).await, marked, "twice changes nothing");
        assert_eq!(listed(&world, json!({ "favorite": true })).await, ["d", "a"]);
        assert_eq!(listed(&world, json!({ "tag": "REISE", "to": "2024-01-01T00:00:00Z" })).await, ["a"]);
        world.ok("photos_mark", json!({ "mediaIds": [ids[0]], "removeTags": ["Reise"], "addTags": ["Haus"] })).await;
        assert_eq!(listed(&world, json!({ "tag": "reise" })).await, ["d"]);
        assert_eq!(world.ok("photos_explore", json!({ "by": "tag" })).await["groups"].as_array().expect("a list").len(), 2);
        assert_eq!(world.wrong_fields("photos_mark", json!({ "mediaIds": [ids[0], foreign] })).await, ["mediaIds"]);

        let album = world.ok("photos_album_create", json!({ "name": "Berlin", "mediaIds": [ids[0], ids[1]] })).await;
        assert_eq!((&album["count"], &album["coverMediaId"]), (&json!(2), &json!(ids[0])));
        let id = &album["id"];
        assert_eq!(listed(&world, json!({ "albumId": id })).await.len(), 2);
        assert_eq!(listed(&world, json!({ "albumId": id, "favorite": true })).await, ["a"]);
        assert_eq!(world.ok("photos_get", json!({ "mediaId": ids[1] })).await["albums"], json!(["Berlin"]));
        let change = json!({ "albumId": id, "addMediaIds": [ids[3], ids[1]], "removeMediaIds": [ids[0]], "clear": ["coverMediaId"] });
        let changed = world.ok("photos_album_update", change).await;
        assert_eq!((&changed["count"], changed.get("coverMediaId")), (&json!(2), None));
        assert_eq!(listed(&world, json!({ "albumId": id })).await, ["d", "b"]);
        let foreign = json!({ "albumId": id, "addMediaIds": [foreign] });
        assert_eq!(world.wrong_fields("photos_album_update", foreign).await, ["addMediaIds"]);

        let rule = json!({ "camera": "canon", "favorite": true });
        let smart = world.ok("photos_album_create", json!({ "name": "Beste", "rule": rule })).await;
        assert_eq!(listed(&world, json!({ "albumId": smart["id"] })).await, ["d", "a"]);
        let fixed = world.call("photos_album_update", json!({ "albumId": smart["id"], "addMediaIds": [ids[1]] })).await;
        assert!(matches!(fixed, Err(ToolError::Rule { code: "album-has-rule", .. })), "{fixed:?}");
        let bad = json!({ "name": "x", "rule": { "lat": 3 } });
        assert_eq!(world.wrong_fields("photos_album_create", bad).await, ["rule.lat"]);

        world.ok("photos_album_archive", json!({ "albumId": id })).await;
        assert_eq!(names(&world.ok("photos_album_list", json!({})).await["items"]), ["Beste"]);
        world.ok("photos_album_restore", json!({ "albumId": id })).await;
        let found = world.ok("photos_album_list", json!({ "query": "berl" })).await;
        assert_eq!((names(&found["items"]), &found["items"][0]["count"]), (vec!["Berlin"], &json!(2)));
    })
    .await;
}
