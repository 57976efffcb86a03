//! Moods.

use mana_registry::ToolError;
use serde_json::{Value, json};

use crate::support::each_world;

fn levels(logs: &Value) -> Vec<i64> {
    logs.as_array().expect("a list").iter().map(|log| log["level"].as_i64().expect("a level")).collect()
}

#[tokio::test]
async fn moods_are_logged_listed_and_corrected() {
    each_world(|world| async move {
        let log = world
            .ok(
                "mood_log",
                json!({ "level": 4, "emotion": "müde", "secondaryEmotions": ["gereizt", "Gereizt"], "activity": "Bahnfahrt",
                        "withWhom": "allein", "notes": "Zu wenig geschlafen.", "tags": ["Schlaf"] }),
            )
            .await;
        assert_eq!((&log["date"], &log["secondaryEmotions"]), (&json!("2026-11-18"), &json!(["gereizt"])));
        world.ok("mood_log", json!({ "level": 7 })).await;
        world.ok("mood_log", json!({ "level": 9, "date": "2026-11-15" })).await;
        let today = world.ok("mood_today", json!({})).await;
        assert_eq!((levels(&today["logs"]), &today["average"]), (vec![7, 4], &json!(5.5)));
        let other = world.ok("mood_today", json!({ "date": "2026-11-16" })).await;
        assert!(other.get("average").is_none() && levels(&other["logs"]).is_empty());
        assert_eq!(levels(&world.ok("mood_recent", json!({})).await["items"]), [7, 4, 9]);
        assert_eq!(levels(&world.ok("mood_recent", json!({ "until": "2026-11-17" })).await["items"]), [9]);
        assert_eq!(levels(&world.ok("mood_recent", json!({ "from": "2026-11-18", "limit": 1 })).await["items"]), [7]);
        for query in ["bahn", "GESCHLAFEN", "allein", "müde", "gereizt"] {
            assert_eq!(levels(&world.ok("mood_recent", json!({ "query": query })).await["items"]), [4], "{query}");
        }
        assert_eq!(levels(&world.ok("mood_recent", json!({ "tag": "schlaf" })).await["items"]), [4]);
        let id = &log["id"];
        let changed = world
            .ok("mood_update", json!({ "logId": id, "expectedRev": 1, "level": 5, "clear": ["emotion", "secondaryEmotions", "withWhom"] }))
            .await;
        assert_eq!((&changed["level"], &changed["secondaryEmotions"], &changed["activity"]), (&json!(5), &json!([]), &json!("Bahnfahrt")));
        assert!(changed.get("emotion").is_none() && changed.get("withWhom").is_none());
        world.ok("mood_archive", json!({ "logId": id })).await;
        assert_eq!(world.ok("mood_today", json!({})).await["average"], 7.0);
        assert_eq!(levels(&world.ok("mood_recent", json!({ "archived": true })).await["items"]), [5]);
        world.ok("mood_restore", json!({ "logId": id })).await;
        assert_eq!(world.ok("mood_get", json!({ "logId": id })).await["level"], 5);
        let hidden = world.somebody_else().await.call("mood_get", json!({ "logId": id })).await;
        assert!(matches!(hidden, Err(ToolError::NotFound { what: "log", .. })), "{hidden:?}");
    })
    .await;
}

#[tokio::test]
async fn insights_are_averages_with_their_numbers() {
    each_world(|world| async move {
        let nothing = world.ok("mood_insights", json!({})).await;
        assert_eq!((&nothing["n"], &nothing["byWeekday"], &nothing["byEmotion"]), (&json!(0), &json!([]), &json!([])));
        assert!(nothing.get("average").is_none() && nothing.get("lowest").is_none());
        let logs = [
            json!({ "date": "2026-11-16", "level": 3, "emotion": "müde", "activity": "Schreibtisch" }),
            json!({ "date": "2026-11-09", "level": 4, "emotion": "Müde", "secondaryEmotions": ["müde", "ruhig"], "activity": "schreibtisch" }),
            json!({ "date": "2026-11-15", "level": 9, "emotion": "ruhig", "activity": "Spaziergang" }),
            json!({ "date": "2026-11-16", "level": 3 }),
            json!({ "date": "2026-01-01", "level": 1, "activity": "Spaziergang" }),
        ];
        for log in logs {
            world.ok("mood_log", log).await;
        }
        let seen = world.ok("mood_insights", json!({})).await;
        assert_eq!((&seen["from"], &seen["until"]), (&json!("2026-08-20"), &json!("2026-11-18")));
        assert_eq!((&seen["n"], &seen["average"], &seen["lowest"], &seen["highest"]), (&json!(4), &json!(4.75), &json!(3), &json!(9)));
        assert_eq!(
            seen["byWeekday"],
            json!([{ "name": "monday", "n": 3, "average": 3.33 }, { "name": "sunday", "n": 1, "average": 9.0 }])
        );
        assert_eq!(
            seen["byActivity"],
            json!([{ "name": "Schreibtisch", "n": 2, "average": 3.5 }, { "name": "Spaziergang", "n": 1, "average": 9.0 }]),
            "as it was written last"
        );
        assert_eq!(
            seen["byEmotion"],
            json!([{ "name": "müde", "n": 2, "average": 3.5 }, { "name": "ruhig", "n": 2, "average": 6.5 }])
        );
        let year = world.ok("mood_insights", json!({ "from": "2026-01-01" })).await;
        assert_eq!((&year["n"], &year["lowest"]), (&json!(5), &json!(1)));
        let wrong = json!({ "from": "2026-11-02", "until": "2026-11-01" });
        assert_eq!(world.wrong_fields("mood_insights", wrong).await, ["from"]);
    })
    .await;
}

#[tokio::test]
async fn a_mood_has_its_bounds() {
    each_world(|world| async move {
        let wrong = json!({
            "level": 11, "secondaryEmotions": ["a", "b", "c", "d", "e", "f"], "notes": "x".repeat(5001),
            "tags": ["x".repeat(61)], "emotoin": "froh",
        });
        assert_eq!(
            world.wrong_fields("mood_log", wrong).await,
            ["emotoin", "level", "notes", "secondaryEmotions", "tags[0]"]
        );
        for level in [json!(0), json!(5.5), json!("fünf"), json!(null)] {
            assert_eq!(world.wrong_fields("mood_log", json!({ "level": level })).await, ["level"]);
        }
        let tags: Vec<String> = (0..21).map(|n| format!("t{n}")).collect();
        assert_eq!(world.wrong_fields("mood_log", json!({ "level": 5, "tags": tags })).await, ["tags"]);
        for level in [1, 10] {
            world
                .ok(
                    "mood_log",
                    json!({ "level": level, "tags": tags[..20], "secondaryEmotions": ["a", "b", "c", "d", "e"] }),
                )
                .await;
        }
    })
    .await;
}
