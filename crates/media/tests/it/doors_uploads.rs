//! Uploads through the doors: any order of fields, every refusal, and addresses that work once.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::Method;
use mana_media::DoorOptions;
use mana_testkit::each_db;
use serde_json::json;

use crate::doors_world::{Doors, FORM, KEY, Part, field, file, form};
use crate::photo;

/// A body of which a part comes, and then nothing, or the end of the line.
fn broken(bytes: Vec<u8>, ends: bool) -> Body {
    use futures::StreamExt;
    let first = futures::stream::once(async move { Ok(Bytes::from(bytes)) });
    if ends {
        let error = futures::stream::once(async { Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)) });
        return Body::from_stream(first.chain(error));
    }
    Body::from_stream(first.chain(futures::stream::pending()))
}

async fn nothing_is_left(doors: &Doors) {
    let store = doors.world.work.with_file_name("store");
    let empty = || std::fs::read_dir(store.join("tmp")).is_ok_and(|mut files| files.next().is_none());
    assert!(crate::eventually(empty).await, "temporary files are left");
    assert_eq!(doors.world.count("SELECT COUNT(*) FROM media").await, 0);
    assert_eq!(doors.world.objects().await, 0);
}

#[tokio::test]
async fn fields_count_before_the_file_and_after_it() {
    each_db(|test| async move {
        let doors = Doors::new(test).await;
        let key = ("x-service-key", KEY);
        let anna = doors.world.anna.to_string();
        let mut bytes = photo(1, 300, 200).to_vec();
        for (number, order) in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1]].into_iter().enumerate() {
            bytes.extend_from_slice(&number.to_le_bytes());
            let parts = order.map(|part| match part {
                0 => file("p.jpg", &bytes),
                1 => field("app", "wardrobe"),
                2 => field("userId", &anna),
                _ => field("skipProcessing", "true"),
            });
            let record = doors.upload_with(&[key], &parts).await.expect(201).json();
            assert_eq!((&record["app"], &record["status"]), (&json!("wardrobe"), &json!("ready")), "{order:?}");
        }
        assert_eq!(doors.world.media.run_pending_jobs_once().await.expect("worked"), 0, "all were skipped");
        let hers = doors.get_as(&doors.anna(), "/api/v1/media?app=wardrobe").await.expect(200);
        assert_eq!(hers.json().as_array().expect("a list").len(), 4);
        // What newer clients may send is left aside.
        let parts = [field("album", "x"), file("p.jpg", b"more"), field("caption", "y"), field("app", "")];
        assert_eq!(doors.upload(&doors.anna(), &parts).await.expect(201).json()["app"], json!(null));
    })
    .await;
}

#[tokio::test]
async fn a_bad_upload_is_refused_and_leaves_nothing() {
    each_db(|test| async move {
        let doors = Doors::with(test, DoorOptions::default(), |options| {
            options.max_bytes = 100_000;
            options.allowed = vec!["image/*".into(), "text/plain".into()];
        })
        .await;
        let anna = doors.anna();
        let large = vec![b'x'; 100_001];
        let long = "x".repeat(5_000);
        let many: Vec<Part<'_>> = (0..70).map(|_| field("a", "b")).collect();
        let text = Part { field: "file", file: Some(("a.txt", "text/plain")), bytes: b"text" };
        let again = Part { field: "file", file: Some(("b.txt", "text/plain")), bytes: b"more" };
        for (parts, status, code, fields) in [
            (&[field("app", "me")][..], 400, "VALIDATION", &["file"][..]),
            (&[], 400, "VALIDATION", &["file"]),
            (&[file("empty.jpg", b"")], 400, "FILE_EMPTY", &["file"]),
            (&[file("large.txt", &large)], 413, "PAYLOAD_TOO_LARGE", &[]),
            (&[file("page.html", b"<!doctype html><script>alert(1)</script>")], 415, "TYPE_NOT_ALLOWED", &[]),
            (
                &[Part { field: "file", file: Some(("x.png", "image/png")), bytes: b"no picture" }],
                415,
                "TYPE_NOT_ALLOWED",
                &[],
            ),
            (&[text, again], 400, "VALIDATION", &["file"]),
            (&[field("app", &long)], 400, "VALIDATION", &["app"]),
            (&[Part { field: "app", file: None, bytes: b"\xff\xfe" }], 400, "VALIDATION", &["app"]),
            (&[field("skipProcessing", "perhaps")], 400, "VALIDATION", &["skipProcessing"]),
            (&many, 400, "VALIDATION", &[""]),
        ] {
            let answer = doors.upload(&anna, parts).await.expect(status);
            assert_eq!((&*answer.code(), answer.fields()), (code, fields.iter().map(|s| (*s).to_owned()).collect()));
            assert_eq!(answer.header("content-type"), "application/problem+json");
        }
        let text = |bytes| Part { field: "file", file: Some(("a.txt", "text/plain")), bytes };
        let answer = doors.upload(&anna, &[field("app", "no app!"), text(b"text")]).await.expect(400);
        assert_eq!(answer.fields(), ["app"]);
        let limit = doors.upload(&anna, &[file("large.txt", &large)]).await.json()["limit"].clone();
        assert_eq!(limit, 100_000);

        let whole = form(&[text(b"a text that is cut off somewhere")]);
        let cut = &whole[..whole.len() - 20];
        let endless =
            [b"--------------------------d74496d66958873e\r\nX-Head: ".to_vec(), vec![b'x'; 600_000]].concat();
        for (content_type, body, status) in [
            ("", Body::empty(), 400),
            ("", Body::from("plain"), 400),
            ("application/json", Body::from("{}"), 400),
            ("multipart/form-data", Body::from("x"), 400),
            (FORM, Body::empty(), 400),
            (FORM, Body::from("no form at all"), 400),
            (FORM, Body::from(cut.to_vec()), 400),
            (FORM, broken(cut.to_vec(), true), 400),
            (
                FORM,
                Body::from_stream(futures::stream::iter(
                    endless
                        .chunks(16_384)
                        .map(|part| Ok::<_, std::io::Error>(Bytes::copy_from_slice(part)))
                        .collect::<Vec<_>>(),
                )),
                400,
            ),
            (FORM, Body::from(vec![b'x'; 2_000_000]), 413),
        ] {
            let headers = [("authorization", &*anna), ("content-type", content_type)];
            doors.ask(Method::POST, "/api/v1/media/upload", &headers, body).await.expect(status);
        }
        // Refused by what it says of itself, before a byte of it is read.
        let headers = [
            ("authorization", &*anna),
            ("content-type", FORM),
            ("content-length", "999999999999"),
            ("expect", "100-continue"),
        ];
        let body = broken(Vec::new(), false);
        doors.ask(Method::POST, "/api/v1/media/upload", &headers, body).await.expect(413);
        // And nobody who has not said who he is gets as far as that.
        let headers = [("content-type", FORM)];
        doors.ask(Method::POST, "/api/v1/media/upload", &headers, broken(Vec::new(), false)).await.expect(401);
        nothing_is_left(&doors).await;
    })
    .await;
}

#[tokio::test]
async fn a_file_is_what_its_bytes_say_and_is_called_what_can_be_seen() {
    each_db(|test| async move {
        let doors = Doors::new(test).await;
        let anna = doors.anna();
        for (name, declared, bytes, mime, kept) in [
            ("a.png", "text/plain", photo(1, 20, 20).to_vec(), "image/jpeg", "a.png"),
            ("x.png", "image/png", b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_vec(), "image/svg+xml", "x.png"),
            ("y.jpg", "image/jpeg", b"<html><script>1</script></html>".to_vec(), "text/html", "y.jpg"),
            ("../../etc/passwd", "text/plain", b"root".to_vec(), "text/plain", "passwd"),
            (
                "C:\\\\x\\\\Gr\u{f6}\u{df}e\u{202e}gpj.exe",
                "text/plain",
                b"text".to_vec(),
                "text/plain",
                "Gr\u{f6}\u{df}egpj.exe",
            ),
            ("", "application/pdf", b"%PDF-1.7".to_vec(), "application/pdf", "file"),
        ] {
            let parts = [Part { field: "file", file: Some((name, declared)), bytes: &bytes }];
            let record = doors.upload(&anna, &parts).await.expect(201).json();
            assert_eq!((&record["mimeType"], &record["originalName"]), (&json!(mime), &json!(kept)), "{name}");
            let id = record["id"].as_str().expect("an id");
            let answer = doors.get(&format!("/api/v1/media/{id}/file"), &[]).await.expect(200);
            let shown = if mime == "image/jpeg" { "inline" } else { "attachment" };
            assert!(answer.header("content-disposition").starts_with(shown), "{mime}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            assert_eq!(answer.header("content-security-policy"), "sandbox; default-src 'none'");
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_that_stands_still_is_given_up() {
    each_db(|test| async move {
        let options = DoorOptions { idle: Duration::from_millis(200), ..DoorOptions::default() };
        let doors = Doors::with(test, options, |_| ()).await;
        let anna = doors.anna();
        let cut = form(&[file("a.txt", b"half of it")])[..150].to_vec();
        let headers = [("authorization", &*anna), ("content-type", FORM), ("expect", "100-continue")];
        let answer = doors.ask(Method::POST, "/api/v1/media/upload", &headers, broken(cut, false)).await.expect(408);
        assert_eq!(answer.code(), "UPLOAD_TOO_SLOW");
        nothing_is_left(&doors).await;
    })
    .await;
}

#[tokio::test]
async fn an_upload_address_works_once_and_not_for_long() {
    each_db(|test| async move {
        let doors = Doors::with(
            test,
            DoorOptions { public_url: Some("https://mana.test/".into()), ..DoorOptions::default() },
            |options| {
                options.max_bytes = 1_000;
            },
        )
        .await;
        let anna = doors.anna();
        let bearer = [("authorization", &*anna)];
        let path = "/api/v1/media/upload-urls";
        let grant = async |body: serde_json::Value| {
            let answer = doors.post(path, &bearer, body).await.expect(201).json();
            assert_eq!(
                (&answer["maxBytes"], &answer["expiresAt"]),
                (&json!(1_000), &json!("2026-11-18T09:15:00.000Z"))
            );
            let url = answer["url"].as_str().expect("an address").to_owned();
            url.strip_prefix("https://mana.test").expect("a whole address").to_owned()
        };
        // Plain bytes under the name that was agreed.
        let url = grant(json!({ "app": "storage", "name": "../report.txt" })).await;
        let put = |url: String, bytes: Vec<u8>| {
            let doors = &doors;
            async move { doors.ask(Method::PUT, &url, &[("content-type", "text/plain")], bytes).await }
        };
        // What fails does not use it up.
        assert_eq!(put(url.clone(), Vec::new()).await.expect(400).code(), "FILE_EMPTY");
        put(url.clone(), vec![b'x'; 1_001]).await.expect(413);
        let record = put(url.clone(), b"a report".to_vec()).await.expect(201).json();
        assert_eq!((&record["originalName"], &record["app"]), (&json!("report.txt"), &json!("storage")));
        assert_eq!(
            record["urls"]["original"],
            format!("https://mana.test/api/v1/media/{}/file", record["id"].as_str().expect("an id"))
        );
        assert_eq!(put(url, b"another".to_vec()).await.expect(410).code(), "UPLOAD_URL_SPENT");
        let hers = doors.get_as(&anna, "/api/v1/media?app=storage").await.expect(200).json();
        assert_eq!(hers[0]["id"], record["id"]);

        // A form; user and app are those of the address, whatever it says.
        let url = grant(json!({})).await;
        let ben = doors.world.ben.to_string();
        let parts = [field("app", "me"), field("userId", &ben), file("mine.txt", b"a form")];
        let record = doors.ask(Method::POST, &url, &[("content-type", FORM)], form(&parts)).await.expect(201).json();
        assert_eq!((&record["originalName"], &record["app"]), (&json!("mine.txt"), &json!(null)));
        doors
            .get_as(&doors.ben(), &format!("/api/v1/media/{}", record["id"].as_str().expect("an id")))
            .await
            .expect(404);

        // Many at once: one.
        let url = grant(json!({ "name": "race.txt" })).await;
        let racers = (0..8).map(|number| put(url.clone(), format!("racer {number}").into_bytes()));
        let mut codes: Vec<u16> =
            futures::future::join_all(racers).await.into_iter().map(|answer| answer.status).collect();
        codes.sort_unstable();
        assert_eq!(codes, [201, 410, 410, 410, 410, 410, 410, 410]);

        let late = grant(json!({})).await;
        doors.world.test.clock.advance_millis(15 * 60_000);
        put(late, b"too late".to_vec()).await.expect(410);
        put(format!("{path}/{}", "a".repeat(64)), b"guessed".to_vec()).await.expect(404);
        put(format!("{path}/x"), b"guessed".to_vec()).await.expect(404);
        doors.post(path, &[], json!({})).await.expect(401);
        let now = doors.anna();
        let answer = doors.post(path, &[("authorization", &now)], json!({ "app": "no app!" })).await.expect(400);
        assert_eq!(answer.fields(), ["app"]);
        doors.post(path, &[("x-service-key", KEY)], json!({})).await.expect(400);
        doors.post(path, &[("x-service-key", KEY)], json!({ "userId": doors.world.anna })).await.expect(201);
        doors.ask(Method::POST, path, &[("authorization", &now)], Body::empty()).await.expect(201);
        assert_eq!(doors.world.count("SELECT COUNT(*) FROM media_reference").await, 3);
    })
    .await;
}

#[tokio::test]
async fn a_program_in_the_same_process_hands_out_addresses_too() {
    each_db(|test| async move {
        let doors = Doors::new(test).await;
        let granted = doors.world.media.upload_url(doors.world.ben, Some("photos"), None).await.expect("granted");
        let headers = [("content-type", "image/jpeg")];
        let answer = doors.ask(Method::POST, &granted.path, &headers, photo(2, 50, 50)).await.expect(201);
        assert_eq!((&answer.json()["originalName"], &answer.json()["app"]), (&json!("file"), &json!("photos")));
        // The row holds nothing with which anybody could come again.
        let token = granted.path.rsplit('/').next().expect("a token");
        let (kept,) =
            doors.world.test.db.query("SELECT token FROM media_upload_url").one::<(String,)>().await.expect("a row");
        assert_eq!((token.len(), kept == token), (64, false));
        let stranger = mana_types::UserId::new(&*doors.world.test.clock, &*doors.world.test.random);
        let refused = doors.world.media.upload_url(stranger, None, None).await;
        assert!(matches!(refused, Err(mana_media::Error::UnknownUser)), "{refused:?}");
        let refused = doors.world.media.upload_url(doors.world.ben, Some("no app!"), None).await;
        assert!(matches!(refused, Err(mana_media::Error::InvalidApp)), "{refused:?}");
    })
    .await;
}
