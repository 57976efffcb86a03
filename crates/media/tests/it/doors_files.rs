//! Bytes through the doors: validators, ranges, names, variants, transforms, signed addresses.

use std::time::Duration;

use http::Method;
use mana_media::{DoorOptions, SignedUrls};
use mana_testkit::each_db;
use mana_types::Secret;
use serde_json::json;

use crate::doors_world::{Doors, KEY, Part};
use crate::photo;

#[tokio::test]
async fn delivery_knows_what_the_caller_has_and_what_part_he_wants() {
    each_db(|test| async move {
        let doors = Doors::new(test).await;
        let anna = doors.anna();
        let bytes: Vec<u8> = b"0123456789".repeat(10);
        let part = Part { field: "file", file: Some(("Gr\u{f6}\u{df}e.txt", "text/plain")), bytes: &bytes };
        let id = doors.upload(&anna, &[part]).await.expect(201).json()["id"].as_str().expect("an id").to_owned();
        let path = format!("/api/v1/media/{id}/file");
        let whole = doors.get(&path, &[]).await.expect(200);
        let etag = format!("\"{}\"", mana_media::Hash::of(&bytes));
        let modified = "Wed, 18 Nov 2026 09:00:00 GMT";
        for (name, value) in [
            ("etag", &*etag),
            ("last-modified", modified),
            ("content-length", "100"),
            ("content-type", "text/plain"),
            ("accept-ranges", "bytes"),
            ("cache-control", "public, max-age=31536000, immutable"),
            ("content-disposition", &format!("attachment; filename=\"{id}.txt\"")),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "sandbox; default-src 'none'"),
        ] {
            assert_eq!(whole.header(name), value, "{name}");
        }
        assert_eq!(whole.bytes, bytes);
        let head = doors.ask(Method::HEAD, &path, &[("range", "bytes=0-1")], "").await.expect(200);
        assert_eq!((head.bytes.len(), head.header("content-length"), head.header("etag")), (0, "100", &*etag));

        // Her own name is hers: no proxy may answer anybody else with it.
        let hers = doors.get_as(&anna, &path).await.expect(200);
        assert_eq!(
            hers.header("content-disposition"),
            "attachment; filename=\"Gr__e.txt\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe.txt"
        );
        assert_eq!(hers.header("cache-control"), "private, max-age=31536000, immutable");
        assert!(whole.header("vary").contains("Authorization") && hers.header("vary").contains("Authorization"));
        let his = doors.get_as(&doors.ben(), &path).await.expect(200);
        assert_eq!(his.header("content-disposition"), format!("attachment; filename=\"{id}.txt\""));
        doors.get(&path, &[("authorization", "Bearer nonsense")]).await.expect(200);

        let (other, later, earlier) = ("\"abc\"", "Wed, 18 Nov 2026 09:00:01 GMT", "Wed, 18 Nov 2026 08:59:59 GMT");
        let weak = format!("W/{etag}");
        let list = format!("{other}, {etag}");
        for (headers, status) in [
            (&[("if-none-match", &*etag)][..], 304),
            (&[("if-none-match", &*weak)], 304),
            (&[("if-none-match", &*list)], 304),
            (&[("if-none-match", "*")], 304),
            (&[("if-none-match", other)], 200),
            (&[("if-none-match", other), ("if-modified-since", modified)], 200),
            (&[("if-modified-since", modified)], 304),
            (&[("if-modified-since", later)], 304),
            (&[("if-modified-since", earlier)], 200),
            (&[("if-modified-since", "whenever")], 200),
            (&[("if-none-match", &*etag), ("range", "bytes=0-1")], 304),
            (&[("range", "bytes=10-19"), ("if-range", &*etag)], 206),
            (&[("range", "bytes=10-19"), ("if-range", modified)], 206),
            (&[("range", "bytes=10-19"), ("if-range", other)], 200),
            (&[("range", "bytes=10-19"), ("if-range", &*weak)], 200),
            (&[("range", "bytes=10-19"), ("if-range", later)], 200),
        ] {
            for method in [Method::GET, Method::HEAD] {
                let answer = doors.ask(method.clone(), &path, headers, "").await;
                let expected = if method == Method::HEAD && status == 206 { 200 } else { status };
                let answer = answer.expect(expected);
                assert_eq!(answer.header("etag"), etag, "{headers:?}");
                assert!(answer.status != 304 || answer.bytes.is_empty(), "{headers:?}");
            }
        }
        for (range, place, expected) in [
            ("bytes=10-14", "bytes 10-14/100", &b"01234"[..]),
            ("bytes=95-", "bytes 95-99/100", b"56789"),
            ("bytes=-3", "bytes 97-99/100", b"789"),
            ("bytes=98-1000000", "bytes 98-99/100", b"89"),
            ("bytes=0-0", "bytes 0-0/100", b"0"),
        ] {
            let answer = doors.get(&path, &[("range", range)]).await.expect(206);
            assert_eq!((answer.header("content-range"), &*answer.bytes), (place, expected), "{range}");
            assert_eq!(answer.header("content-length"), expected.len().to_string(), "{range}");
        }
        for range in ["bytes=100-", "bytes=-0", "bytes=500-600"] {
            let answer = doors.get(&path, &[("range", range)]).await.expect(416);
            assert_eq!(
                (answer.header("content-range"), &*answer.code()),
                ("bytes */100", "RANGE_NOT_SATISFIABLE"),
                "{range}"
            );
        }
        for range in ["bytes=0-1,5-6", "bytes=5-1", "bytes=x", "lines=1-2", "bytes", "bytes=1-2-3"] {
            assert_eq!(doors.get(&path, &[("range", range)]).await.expect(200).bytes, bytes, "{range}");
        }
        let missing = doors.get("/api/v1/media/7d444840-9dc0-41d1-b245-5ffdce74fad2/file", &[]).await.expect(404);
        assert_eq!(missing.header("cache-control"), "");
        doors.get("/api/v1/media/x/file", &[]).await.expect(404);
        doors.ask(Method::PUT, &path, &[], "").await.expect(405);
    })
    .await;
}

#[tokio::test]
async fn a_variant_is_itself_or_a_word_about_it() {
    each_db(|test| async move {
        let doors = Doors::with(test, DoorOptions { private: true, ..DoorOptions::default() }, |_| ()).await;
        let anna = doors.anna();
        let id = doors.uploaded(&anna, "p.jpg", &photo(1, 1_000, 500)).await;
        let path = |variant: &str| format!("/api/v1/media/{id}/file/{variant}");
        for variant in ["thumb", "medium", "large"] {
            let answer = doors.get(&path(variant), &[]).await.expect(202);
            assert_eq!((answer.header("retry-after"), answer.header("cache-control")), ("2", "no-store"));
            assert_eq!(answer.json(), json!({ "status": "processing", "variant": variant, "retryAfter": 2 }));
        }
        doors.work().await;
        let thumb = doors.get(&path("thumb"), &[]).await.expect(200);
        assert_eq!((thumb.header("content-type"), &thumb.bytes[8..12]), ("image/webp", &b"WEBP"[..]));
        assert_eq!(thumb.header("cache-control"), "private, max-age=31536000, immutable");
        assert_eq!(thumb.header("content-disposition"), format!("inline; filename=\"{id}-thumb.webp\""));
        doors.get(&path("thumb"), &[("if-none-match", thumb.header("etag"))]).await.expect(304);
        let part = doors.get(&path("medium"), &[("range", "bytes=8-11")]).await.expect(206);
        assert_eq!(&*part.bytes, b"WEBP");
        assert_eq!(doors.get(&path("large"), &[]).await.expect(404).code(), "NO_SUCH_VARIANT");
        doors.get(&path("huge"), &[]).await.expect(404);
        doors.get(&path("original"), &[]).await.expect(404);

        let text = doors.uploaded(&anna, "a.txt", b"a text").await;
        doors.get(&format!("/api/v1/media/{text}/file/thumb"), &[]).await.expect(404);
        let broken = photo(2, 400, 400);
        let broken = doors.uploaded(&anna, "b.jpg", &[&broken[..400], &[0; 4_000]].concat()).await;
        doors.work().await;
        let record = doors.get_as(&anna, &format!("/api/v1/media/{broken}")).await.expect(200).json();
        assert_eq!(record["status"], "failed");
        let answer = doors.get(&format!("/api/v1/media/{broken}/file/thumb"), &[]).await.expect(422);
        assert_eq!((answer.code(), &answer.json()["detail"]), ("PROCESSING_FAILED".into(), &record["reason"]));
        doors.get(&format!("/api/v1/media/{broken}/file"), &[]).await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn a_transform_is_checked_made_and_kept() {
    each_db(|test| async move {
        let doors = Doors::new(test).await;
        let anna = doors.anna();
        let id = doors.uploaded(&anna, "p.jpg", &photo(1, 400, 200)).await;
        let path = |query: &str| format!("/api/v1/media/{id}/transform?{query}");
        for (query, mime) in [
            ("w=100", "image/webp"),
            ("w=50&h=50&fit=cover&format=jpeg&q=70", "image/jpeg"),
            ("h=20&format=png", "image/png"),
            ("", "image/webp"),
        ] {
            let answer = doors.get(&path(query), &[]).await.expect(200);
            assert_eq!(answer.header("content-type"), mime, "{query}");
            assert!(answer.header("content-disposition").starts_with("inline"), "{query}");
            let again = doors.get(&path(query), &[("if-none-match", answer.header("etag"))]).await.expect(304);
            assert_eq!(again.header("etag"), answer.header("etag"));
            let head = doors.ask(Method::HEAD, &path(query), &[], "").await.expect(200);
            assert_eq!(head.header("content-length"), answer.bytes.len().to_string());
        }
        for (query, fields) in [
            ("w=0", &["w"][..]),
            ("w=4097", &["w"]),
            ("w=-1", &["w"]),
            ("w=", &["w"]),
            ("w=1e3", &["w"]),
            ("w=99999999999999", &["w"]),
            ("q=101", &["q"]),
            ("q=0", &["q"]),
            ("w=0&h=x&fit=squeeze&format=bmp&q=101", &["w", "h", "fit", "format", "q"]),
            ("format=avif", &["format"]),
            ("w=1&w=2", &["query"]),
        ] {
            let answer = doors.get(&path(query), &[]).await.expect(400);
            assert_eq!(
                (answer.code(), answer.fields()),
                ("VALIDATION".into(), fields.iter().map(|s| (*s).to_owned()).collect()),
                "{query}"
            );
        }
        let text = doors.uploaded(&anna, "a.txt", b"a text").await;
        assert_eq!(
            doors.get(&format!("/api/v1/media/{text}/transform?w=1"), &[]).await.expect(415).code(),
            "NOT_AN_IMAGE"
        );
        let svg = doors.uploaded(&anna, "a.svg", b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>").await;
        doors.get(&format!("/api/v1/media/{svg}/transform?w=1"), &[]).await.expect(415);
        let broken = doors.uploaded(&anna, "b.png", b"\x89PNG\r\n\x1a\nand nothing else").await;
        assert_eq!(
            doors.get(&format!("/api/v1/media/{broken}/transform?w=1"), &[]).await.expect(422).code(),
            "IMAGE_REFUSED"
        );
        doors.get("/api/v1/media/7d444840-9dc0-41d1-b245-5ffdce74fad2/transform?w=1", &[]).await.expect(404);
        let url = doors.get_as(&anna, &format!("/api/v1/media/{id}/url?h=20&w=10")).await.expect(200).json();
        assert_eq!(url, json!({ "url": format!("/api/v1/media/{id}/transform?w=10&h=20") }));
    })
    .await;
}

#[tokio::test]
async fn signed_addresses_alone_open_where_that_is_asked_for() {
    each_db(|test| async move {
        let signed = SignedUrls { secret: Secret::new("a secret for tests"), lifetime: Duration::from_hours(1) };
        let options = DoorOptions {
            signed_urls: Some(signed),
            public_url: Some("https://m.test".into()),
            ..DoorOptions::default()
        };
        let doors = Doors::with(test, options, |_| ()).await;
        let anna = doors.anna();
        let id = doors.uploaded(&anna, "p.jpg", &photo(1, 1_000, 500)).await;
        doors.work().await;
        let record = doors.get_as(&anna, &format!("/api/v1/media/{id}")).await.expect(200).json();
        let local = |url: &serde_json::Value| {
            url.as_str().and_then(|url| url.strip_prefix("https://m.test")).expect("a whole address").to_owned()
        };
        let plain = format!("/api/v1/media/{id}/file");
        for which in ["original", "thumbnail", "medium"] {
            let url = local(&record["urls"][which]);
            let answer = doors.get(&url, &[]).await.expect(200);
            let kept: i64 = answer
                .header("cache-control")
                .strip_prefix("private, max-age=")
                .and_then(|rest| rest.strip_suffix(", immutable"))
                .expect("private")
                .parse()
                .expect("seconds");
            assert!((1_800..=3_600).contains(&kept), "{kept}");
            for wrong in [
                url.replace("sig=", "sig=0"),
                url.replace("exp=1", "exp=2"),
                format!("{url}&exp=1"),
                url.replace("/file?", "/file/large?"),
            ] {
                if wrong != url {
                    assert_eq!(doors.get(&wrong, &[]).await.expect(403).code(), "SIGNATURE_INVALID", "{wrong}");
                }
            }
        }
        let unknown = "/api/v1/media/7d444840-9dc0-41d1-b245-5ffdce74fad2/file";
        for path in [&*plain, &format!("{plain}/thumb"), &format!("/api/v1/media/{id}/transform?w=10"), unknown] {
            let answer = doors.get(path, &[]).await.expect(403);
            assert_eq!(answer.code(), "SIGNATURE_REQUIRED", "whether it exists or not");
            doors.get_as(&doors.ben(), path).await.expect(403);
        }
        // Its holder and the programs of this installation need none.
        for path in [&*plain, &format!("{plain}/thumb"), &format!("/api/v1/media/{id}/transform?w=10")] {
            let answer = doors.get_as(&anna, path).await.expect(200);
            assert!(answer.header("cache-control").starts_with("private"));
            doors.get(path, &[("x-service-key", KEY)]).await.expect(200);
        }
        // A transform is signed with its parameters.
        let asked = doors.get_as(&anna, &format!("/api/v1/media/{id}/url?w=40&format=png")).await.expect(200).json();
        let url = local(&asked["url"]);
        assert_eq!(doors.get(&url, &[]).await.expect(200).header("content-type"), "image/png");
        assert_eq!(doors.get(&url.replace("w=40", "w=41"), &[]).await.expect(403).code(), "SIGNATURE_INVALID");
        assert_eq!(
            doors.get_as(&anna, &format!("/api/v1/media/{id}/url?w=0&variant=x")).await.expect(400).fields(),
            ["variant"]
        );
        let thumb = doors.get_as(&anna, &format!("/api/v1/media/{id}/url?variant=thumb")).await.expect(200).json();
        assert_eq!(thumb["url"], record["urls"]["thumbnail"]);
        doors.get_as(&doors.ben(), &format!("/api/v1/media/{id}/url")).await.expect(404);

        let url = local(&record["urls"]["original"]);
        doors.world.test.clock.advance_millis(3_600_000);
        assert_eq!(doors.get(&url, &[]).await.expect(403).code(), "SIGNATURE_EXPIRED");
    })
    .await;
}

#[tokio::test]
async fn only_pages_of_known_origins_may_read() {
    each_db(|test| async move {
        let options = DoorOptions {
            public_url: Some("https://mana.test".into()),
            origins: vec!["https://app.test".into()],
            ..DoorOptions::default()
        };
        let doors = Doors::with(test, options, |_| ()).await;
        let id = doors.uploaded(&doors.anna(), "a.txt", b"a text").await;
        let path = format!("/api/v1/media/{id}/file");
        for (origin, allowed) in [
            ("https://mana.test", "https://mana.test"),
            ("https://app.test", "https://app.test"),
            ("https://evil.test", ""),
            ("null", ""),
        ] {
            let answer = doors.get(&path, &[("origin", origin)]).await.expect(200);
            assert_eq!(answer.header("access-control-allow-origin"), allowed, "{origin}");
            let headers = [("origin", origin), ("access-control-request-method", "POST")];
            let answer = doors.ask(Method::OPTIONS, "/api/v1/media/upload", &headers, "").await.expect(200);
            assert_eq!(answer.header("access-control-allow-origin"), allowed, "{origin}");
        }
        let vary: Vec<_> =
            doors.get(&path, &[("origin", "https://app.test")]).await.headers.get_all("vary").iter().cloned().collect();
        let vary = vary.iter().map(|value| value.to_str().expect("text").to_lowercase()).collect::<Vec<_>>().join(",");
        assert!(vary.contains("authorization") && vary.contains("origin"), "{vary}");
    })
    .await;
}
