//! Calendars and events. The stories begin on Wednesday, 18 November 2026, ten in the morning in Berlin.

use mana_registry::ToolError;
use serde_json::{Value, json};

use crate::support::{World, each_world};

/// `local start title`, for each item.
fn lines(items: &Value) -> Vec<String> {
    let line = |item: &Value| {
        format!("{} {}", item["localStart"].as_str().expect("a time"), item["title"].as_str().expect("a title"))
    };
    items.as_array().expect("a list").iter().map(line).collect()
}

async fn event(world: &World, title: &str, start: &str, more: Value) -> Value {
    let mut arguments = json!({ "title": title, "start": start });
    arguments.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    world.ok("calendar_event_create", arguments).await
}

#[tokio::test]
async fn an_event_is_made_found_moved_and_put_away() {
    each_world(|world| async move {
        let dentist =
            event(&world, "Zahnarzt", "2026-11-18T15:00:00+01:00", json!({ "location": "Praxis", "reminders": [60] }))
                .await;
        assert_eq!(
            (&dentist["end"], &dentist["timezone"]),
            (&json!("2026-11-18T15:00:00.000Z"), &json!("Europe/Berlin"))
        );
        let calendars = world.ok("calendar_list", json!({})).await;
        assert_eq!(
            (&calendars["items"][0]["name"], &calendars["items"][0]["isDefault"]),
            (&json!("Kalender"), &json!(true))
        );
        event(
            &world,
            "Tagung",
            "2026-11-17T00:00:00+01:00",
            json!({ "allDay": true, "end": "2026-11-18T00:00:01+01:00" }),
        )
        .await;
        event(&world, "Gestern", "2026-11-17T15:00:00+01:00", json!({})).await;
        event(&world, "Nachtzug", "2026-11-17T23:00:00+01:00", json!({ "end": "2026-11-18T07:00:00+01:00" })).await;
        let today = world.ok("calendar_today", json!({})).await;
        assert_eq!(today["date"], "2026-11-18");
        assert_eq!(
            lines(&today["events"]),
            ["2026-11-17 Tagung", "2026-11-17 23:00 Nachtzug", "2026-11-18 15:00 Zahnarzt"]
        );
        assert_eq!(today["events"][0]["localEnd"], "2026-11-18");
        // Two days with the hour that the clocks go back stay two days elsewhere.
        let trip = event(
            &world,
            "Reise",
            "2026-10-24T00:00:00+02:00",
            json!({ "allDay": true, "end": "2026-10-25T12:00:00+01:00" }),
        )
        .await;
        let later = json!({ "eventId": trip["id"], "start": "2026-12-01T12:00:00+01:00" });
        let later = world.ok("calendar_event_update", later).await;
        assert_eq!(
            (&later["start"], &later["end"]),
            (&json!("2026-11-30T23:00:00.000Z"), &json!("2026-12-02T23:00:00.000Z"))
        );
        let id = &dentist["id"];
        let moved = world
            .ok(
                "calendar_event_update",
                json!({ "eventId": id, "start": "2026-11-19T09:00:00+01:00", "clear": ["location"] }),
            )
            .await;
        assert_eq!(
            (&moved["end"], moved.get("location")),
            (&json!("2026-11-19T09:00:00.000Z"), None),
            "the length stays"
        );
        let agenda = world.ok("calendar_agenda", json!({ "from": "2026-11-19" })).await;
        assert_eq!(lines(&agenda["items"]), ["2026-11-19 09:00 Zahnarzt"]);
        let found = world.ok("calendar_event_list", json!({ "query": "zahn" })).await;
        assert_eq!(found["items"][0]["id"], *id);
        world.ok("calendar_event_archive", json!({ "eventId": id })).await;
        assert_eq!(world.ok("calendar_agenda", json!({ "from": "2026-11-19" })).await["items"], json!([]));
        world.ok("calendar_event_restore", json!({ "eventId": id })).await;
        assert_eq!(world.ok("calendar_event_get", json!({ "eventId": id })).await["rev"], 4);
        let stranger = world.somebody_else().await;
        assert_eq!(stranger.ok("calendar_today", json!({})).await["events"], json!([]));
        let hidden = stranger.call("calendar_event_get", json!({ "eventId": id })).await;
        assert!(matches!(hidden, Err(ToolError::NotFound { what: "event", .. })), "{hidden:?}");
    })
    .await;
}

#[tokio::test]
async fn what_comes_again_keeps_its_hour_when_the_clocks_change() {
    each_world(|world| async move {
        // Last Sunday of March 2027: the clocks go forward.
        let run = event(&world, "Laufen", "2016-01-04T07:00:00+01:00", json!({ "recurrence": "FREQ=DAILY" })).await;
        event(&world, "Chor", "2026-11-02T19:30:00+01:00", json!({ "recurrence": "RRULE:FREQ=WEEKLY;BYDAY=MO" })).await;
        let days = json!({ "from": "2027-03-27", "to": "2027-03-29" });
        let agenda = world.ok("calendar_agenda", days.clone()).await;
        let expected =
            ["2027-03-27 07:00 Laufen", "2027-03-28 07:00 Laufen", "2027-03-29 07:00 Laufen", "2027-03-29 19:30 Chor"];
        assert_eq!(lines(&agenda["items"]), expected);
        let starts: Vec<&str> = agenda["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| item["start"].as_str().expect("a time"))
            .collect();
        assert_eq!(&starts[..2], ["2027-03-27T06:00:00.000Z", "2027-03-28T05:00:00.000Z"]);
        world.ok("calendar_event_update", json!({ "eventId": run["id"], "exceptDates": ["2027-03-28"] })).await;
        assert_eq!(lines(&world.ok("calendar_agenda", days).await["items"]).len(), 3);
        let (mut paged, mut cursor) = (Vec::new(), Value::Null);
        for _ in 0..3 {
            let page = world
                .ok(
                    "calendar_agenda",
                    json!({ "from": "2027-03-01", "to": "2027-03-31", "limit": 15, "cursor": cursor }),
                )
                .await;
            paged.extend(lines(&page["items"]));
            cursor = page["nextCursor"].clone();
        }
        assert_eq!((paged.len(), cursor), (30 + 5, Value::Null));
        assert!(paged.is_sorted());
    })
    .await;
}

#[tokio::test]
async fn a_far_future_holds_no_more_than_was_asked_for() {
    each_world(|world| async move {
        for n in 0..60 {
            event(&world, &format!("e{n}"), "1950-01-01T08:00:00Z", json!({ "recurrence": "FREQ=DAILY" })).await;
        }
        assert_eq!(world.ok("calendar_today", json!({})).await["events"].as_array().map(Vec::len), Some(60));
        let year = world
            .call("calendar_conflicts", json!({ "from": "2027-01-01", "to": "2027-12-31" }))
            .await
            .expect_err("too much");
        assert_eq!(year.code(), "too-many-occurrences");
        assert_eq!(
            world.wrong_fields("calendar_agenda", json!({ "from": "2026-01-01", "to": "2099-01-01" })).await,
            ["to"]
        );
        assert_eq!(
            world.wrong_fields("calendar_agenda", json!({ "from": "2026-01-02", "to": "2026-01-01" })).await,
            ["to"]
        );
    })
    .await;
}

#[tokio::test]
async fn free_time_and_conflicts_lie_between_events() {
    each_world(|world| async move {
        event(&world, "A", "2026-11-19T09:30:00+01:00", json!({ "end": "2026-11-19T12:00:00+01:00" })).await;
        event(&world, "B", "2026-11-19T11:00:00+01:00", json!({ "end": "2026-11-19T11:30:00+01:00" })).await;
        event(&world, "C", "2026-11-19T12:00:00+01:00", json!({ "end": "2026-11-19T17:30:00+01:00" })).await;
        event(&world, "Feiertag", "2026-11-19T00:00:00+01:00", json!({ "allDay": true })).await;
        let found = world.ok("calendar_conflicts", json!({})).await;
        assert_eq!((&found["total"], &found["conflicts"][0]["overlapMinutes"]), (&json!(1), &json!(30)));
        assert_eq!(
            (&found["conflicts"][0]["first"]["title"], &found["conflicts"][0]["second"]["title"]),
            (&json!("A"), &json!("B"))
        );
        let days = json!({ "from": "2026-11-18", "to": "2026-11-23", "minutes": 30 });
        let free = world.ok("calendar_free_slots", days).await;
        let slots: Vec<String> = free["slots"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|slot| format!("{} {}", slot["localStart"].as_str().expect("a time"), slot["minutes"]))
            .collect();
        // Today only from now on; the weekend is left out.
        let expected = [
            "2026-11-18 10:00 479",
            "2026-11-19 09:00 30",
            "2026-11-19 17:30 30",
            "2026-11-20 09:00 540",
            "2026-11-23 09:00 540",
        ];
        assert_eq!(slots, expected);
        // The calendar ends with the year 9999, and so must a walk over its days.
        world.ok("calendar_free_slots", json!({ "from": "9999-12-30", "weekends": true })).await;
        let bad = json!({ "fromHour": 12, "untilHour": 12 });
        assert_eq!(world.wrong_fields("calendar_free_slots", bad).await, ["untilHour"]);
    })
    .await;
}

#[tokio::test]
async fn calendars_group_events_and_one_is_the_default() {
    each_world(|world| async move {
        let work = world.ok("calendar_create", json!({ "name": "Arbeit" })).await;
        let club = world
            .ok(
                "calendar_create",
                json!({ "name": "Verein", "color": "#00FF00", "timezone": "America/New_York", "isDefault": true }),
            )
            .await;
        assert_eq!(
            (&work["isDefault"], &work["color"], &club["color"]),
            (&json!(true), &json!("#6366f1"), &json!("#00ff00"))
        );
        let calendars = world.ok("calendar_list", json!({})).await;
        let defaults: Vec<&Value> =
            calendars["items"].as_array().expect("a page").iter().filter(|item| item["isDefault"] == true).collect();
        assert_eq!((defaults.len(), &defaults[0]["id"]), (1, &club["id"]));
        let match_day = event(&world, "Spiel", "2026-11-20T20:00:00Z", json!({})).await;
        assert_eq!((&match_day["calendarId"], &match_day["timezone"]), (&club["id"], &json!("America/New_York")));
        event(&world, "Bericht", "2026-11-20T09:00:00+01:00", json!({ "calendarId": work["id"] })).await;
        assert_eq!(
            lines(&world.ok("calendar_agenda", json!({ "calendarId": work["id"] })).await["items"]),
            ["2026-11-20 09:00 Bericht"]
        );
        world.ok("calendar_update", json!({ "calendarId": club["id"], "isHidden": true })).await;
        world.ok("calendar_update", json!({ "calendarId": work["id"], "makeDefault": true, "name": "Büro" })).await;
        assert_eq!(lines(&world.ok("calendar_agenda", json!({})).await["items"]), ["2026-11-20 09:00 Bericht"]);
        assert_eq!(
            lines(&world.ok("calendar_agenda", json!({ "calendarId": club["id"] })).await["items"]),
            ["2026-11-20 21:00 Spiel"]
        );
        let next = event(&world, "Kaffee", "2026-11-21T15:00:00+01:00", json!({})).await;
        assert_eq!(next["calendarId"], work["id"]);
    })
    .await;
}

#[tokio::test]
async fn files_go_out_and_come_in_once() {
    each_world(|world| async move {
        event(
            &world,
            "Chor; Probe, lang",
            "2026-11-02T19:30:00+01:00",
            json!({ "recurrence": "FREQ=WEEKLY;BYDAY=MO", "description": "Zeile 1\nZeile 2", "tags": ["Musik"], "reminders": [15, 1440] }),
        )
        .await;
        event(&world, "Urlaub", "2026-12-01T00:00:00+01:00", json!({ "allDay": true, "end": "2026-12-05T12:00:00+01:00" })).await;
        let out = world.ok("calendar_export", json!({})).await;
        let ics = out["ics"].as_str().expect("text");
        for part in [
            "BEGIN:VTIMEZONE\r\nTZID:Europe/Berlin\r\n",
            "DTSTART;TZID=Europe/Berlin:20261102T193000\r\n",
            "RRULE:FREQ=WEEKLY;BYDAY=MO\r\n",
            "SUMMARY:Chor\\; Probe\\, lang\r\n",
            "DTSTART;VALUE=DATE:20261201\r\nDTEND;VALUE=DATE:20261206\r\n",
            "TRIGGER:-PT15M\r\n",
        ] {
            assert!(ics.contains(part), "{part:?} is missing in\n{ics}");
        }
        assert_eq!(world.ok("calendar_import", json!({ "ics": ics })).await["alreadyHere"], 2);
        let other = world.somebody_else().await;
        let taken = other.ok("calendar_import", json!({ "ics": ics })).await;
        assert_eq!((&taken["added"], &taken["notices"]), (&json!(2), &json!([])));
        let days = json!({ "from": "2026-11-30", "to": "2026-12-07" });
        let (mine, theirs) = (world.ok("calendar_agenda", days.clone()).await, other.ok("calendar_agenda", days).await);
        assert_eq!(lines(&mine["items"]), ["2026-11-30 19:30 Chor; Probe, lang", "2026-12-01 Urlaub", "2026-12-07 19:30 Chor; Probe, lang"]);
        assert_eq!(lines(&mine["items"]), lines(&theirs["items"]));
        let event = other.ok("calendar_event_get", json!({ "eventId": taken["eventIds"][0] })).await;
        assert_eq!((&event["description"], &event["reminders"], &event["tags"]), (&json!("Zeile 1\nZeile 2"), &json!([15, 1440]), &json!(["Musik"])));
        assert_eq!(other.ok("calendar_import", json!({ "ics": ics })).await["alreadyHere"], 2);
    })
    .await;
}

#[tokio::test]
async fn a_file_of_another_program_is_taken_over_as_far_as_it_goes() {
    each_world(|world| async move {
        let ics = "BEGIN:VCALENDAR\nVERSION:2.0\n\
            BEGIN:VEVENT\nUID:a\nDTSTART;TZID=America/New_York:20261119T090000\nDURATION:PT1H30M\nRRULE:FREQ=DAILY;COUNT=3\n\
            EXDATE;TZID=America/New_York:20261120T090000\nSUMMARY:Stand-up\nEND:VEVENT\n\
            BEGIN:VEVENT\nUID:a\nRECURRENCE-ID;TZID=America/New_York:20261121T090000\nDTSTART;TZID=America/New_York:20261121T110000\n\
            DTEND;TZID=America/New_York:20261121T113000\nSUMMARY:Stand-up spät\nEND:VEVENT\n\
            BEGIN:VEVENT\nUID:b\nDTSTART;TZID=Mond/Basis:20261119T080000\nRRULE:FREQ=MINUTELY\nSUMMARY:Oft\nEND:VEVENT\n\
            BEGIN:VEVENT\nUID:c\nSUMMARY:Wann?\nEND:VEVENT\n\
            BEGIN:VEVENT\nUID:d\nDTSTART;VALUE=DATE:20261119\nEND:VEVENT\n\
            END:VCALENDAR";
        let taken = world.ok("calendar_import", json!({ "ics": ics })).await;
        assert_eq!(taken["added"], 4);
        let notices: Vec<(i64, &str)> = taken["notices"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|notice| (notice["event"].as_i64().expect("a place"), notice["message"].as_str().expect("a text")))
            .collect();
        assert_eq!(notices.iter().map(|(event, _)| *event).collect::<Vec<_>>(), [3, 3, 4], "{notices:?}");
        let agenda = world.ok("calendar_agenda", json!({ "from": "2026-11-19", "to": "2026-11-22" })).await;
        let expected = ["2026-11-19 (no title)", "2026-11-19 08:00 Oft", "2026-11-19 15:00 Stand-up", "2026-11-21 17:00 Stand-up spät"];
        assert_eq!(lines(&agenda["items"]), expected);
        assert_eq!(agenda["items"][2]["localEnd"], "2026-11-19 16:30");
        assert_eq!(world.ok("calendar_import", json!({ "ics": ics })).await["alreadyHere"], 4);
        assert_eq!(world.wrong_fields("calendar_import", json!({ "ics": "BEGIN:VCALENDAR\nEND:VCALENDAR" })).await, ["ics"]);
    })
    .await;
}

#[tokio::test]
async fn an_event_has_its_bounds() {
    each_world(|world| async move {
        let wrong = json!({ "title": "", "start": "heute", "end": "2026-11-18", "recurrence": "FREQ=SECONDLY", "reminders": [-1], "timezone": "" });
        let fields = world.wrong_fields("calendar_event_create", wrong).await;
        assert_eq!(fields, ["end", "recurrence", "reminders[0]", "start", "timezone", "title"]);
        for (more, field) in [
            (json!({ "end": "2026-11-18T08:59:00Z" }), "end"),
            (json!({ "end": "2028-11-18T10:00:00Z" }), "end"),
            (json!({ "recurrence": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30" }), "recurrence"),
            (json!({ "recurrence": "FREQ=DAILY;UNTIL=20200101" }), "recurrence"),
            (json!({ "recurrence": "FREQ=DAILY;BYHOUR=1,2" }), "recurrence"),
            (json!({ "timezone": "Mars/Base" }), "timezone"),
            (json!({ "calendarId": "01900000-0000-7000-8000-000000000000" }), "calendarId"),
            (json!({ "start": "1850-01-01T00:00:00Z" }), "start"),
        ] {
            let mut arguments = json!({ "title": "x", "start": "2026-11-18T09:00:00Z" });
            arguments.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            assert_eq!(world.wrong_fields("calendar_event_create", arguments).await, [field], "{more}");
        }
        assert_eq!(world.ok("calendar_event_list", json!({})).await["items"], json!([]));
        assert_eq!(world.ok("calendar_list", json!({})).await["items"], json!([]), "a refused event leaves no calendar behind");
    })
    .await;
}
