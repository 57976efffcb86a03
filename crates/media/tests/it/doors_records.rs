//! The table of records: one, by hash, lists, figures, deletion; each its own and nothing of anybody else's.

use http::Method;
use mana_testkit::each_db;
use serde_json::{Value, json};

use crate::doors_world::{Doors, KEY, field, file, photo_with_place};
use crate::photo;

fn ids(list: &Value) -> Vec<String> {
    let items = list.as_array().expect("an array").iter();
    items.map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn a_record_is_what_the_contract_says() {
    each_db(|test| async move {
        let doors = Doors::new(test).await;
        let (anna, bytes) = (doors.anna(), photo(1, 900, 600));
        let answer = doors.upload(&anna, &[file("photo.jpg", &bytes), field("app", "me")]).await.expect(201);
        let first = answer.json();
        let id = first["id"].as_str().expect("an id").to_owned();
        assert_eq!(answer.header("location"), format!("/api/v1/media/{id}"));
        let hash = first["hash"].as_str().expect("a hash").to_owned();
        assert_eq!(
            first,
            json!({
                "id": id,
                "status": "processing",
                "originalName": "photo.jpg",
                "app": "me",
                "mimeType": "image/jpeg",
                "size": bytes.len(),
                "hash": mana_media::Hash::of(&bytes).to_string(),
                "urls": { "original": format!("/api/v1/media/{id}/file") },
                "metadata": {},
                "createdAt": "2026-11-18T09:00:00.000Z",
            })
        );
        doors.work().await;
        let ready = doors.get_as(&anna, &format!("/api/v1/media/{id}")).await.expect(200).json();
        assert_eq!(ready["status"], "ready");
        assert_eq!(ready["metadata"], json!({ "width": 900, "height": 600, "format": "jpeg", "hasAlpha": false }));
        assert_eq!(
            ready["urls"],
            json!({
                "original": format!("/api/v1/media/{id}/file"),
                "thumbnail": format!("/api/v1/media/{id}/file/thumb"),
                "medium": format!("/api/v1/media/{id}/file/medium"),
            }),
            "only what exists: it is no larger than `large`"
        );
        let by_hash = doors.get_as(&anna, &format!("/api/v1/media/hash/{hash}")).await.expect(200).json();
        assert_eq!(by_hash, ready);
        assert_eq!(doors.get_as(&anna, &format!("/api/v1/media/hash/{}", hash.to_uppercase())).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn nobody_learns_anything_of_others() {
    each_db(|test| async move {
        let doors = Doors::new(test).await;
        let (anna, ben) = (doors.anna(), doors.ben());
        let id = doors.uploaded(&anna, "Anna.txt", b"a letter of Anna's").await;
        let hash = mana_media::Hash::of(b"a letter of Anna's");
        let unknown = "7d444840-9dc0-41d1-b245-5ffdce74fad2";
        let never = |id: &str| format!("/api/v1/media/{id}");
        let not_his = doors.get_as(&ben, &never(&id)).await.expect(404).json();
        let not_there = doors.get_as(&ben, &never(unknown)).await.expect(404).json();
        assert_eq!(not_his, not_there, "the same to the letter");
        assert_eq!(not_his["code"], "NOT_FOUND");
        for path in [format!("hash/{hash}"), "hash/abc".into(), "no-id".into(), "0".into(), format!("{id}/url")] {
            doors.get_as(&ben, &format!("/api/v1/media/{path}")).await.expect(404);
        }
        for path in [never(&id), never(unknown)] {
            doors.ask(Method::DELETE, &path, &[("authorization", &ben)], "").await.expect(404);
        }
        // Without a proof, or with a wrong one, there is no answer at all.
        for headers in [
            &[][..],
            &[("authorization", "Bearer nonsense")],
            &[("authorization", "Basic YTpi")],
            &[("x-service-key", "wrong")],
            &[("x-service-key", "")],
            &[("x-service-key", "wrong"), ("authorization", &*anna)],
        ] {
            for path in ["", "/", "/stats", "/list/all", &format!("/{id}"), &format!("/hash/{hash}")] {
                let answer = doors.get(&format!("/api/v1/media{path}"), headers).await.expect(401);
                assert_eq!(answer.header("content-type"), "application/problem+json");
                assert_eq!(answer.header("www-authenticate"), "Bearer");
            }
        }

        // The second uploader has the same file, under his own name, and his own only.
        doors.world.test.clock.advance_millis(5_000);
        assert_eq!(doors.uploaded(&ben, "Ben.txt", b"a letter of Anna's").await, id);
        let his = doors.get_as(&ben, &never(&id)).await.expect(200).json();
        assert_eq!((&his["originalName"], &his["createdAt"]), (&json!("Ben.txt"), &json!("2026-11-18T09:00:05.000Z")));
        assert_eq!(doors.get_as(&anna, &never(&id)).await.json()["originalName"], "Anna.txt");
        assert_eq!(doors.world.objects().await, 1);

        // Each lets go of his own.
        doors.ask(Method::DELETE, &never(&id), &[("authorization", &anna)], "").await.expect(204);
        doors.get_as(&anna, &never(&id)).await.expect(404);
        doors.get_as(&ben, &never(&id)).await.expect(200);
        doors.get(&format!("/api/v1/media/{id}/file"), &[]).await.expect(200);
        doors.ask(Method::DELETE, &never(&id), &[("authorization", &anna)], "").await.expect(404);
        doors.ask(Method::DELETE, &never(&id), &[("authorization", &ben)], "").await.expect(204);
        doors.get(&format!("/api/v1/media/{id}/file"), &[]).await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn a_program_sees_all_and_acts_for_whom_it_names() {
    each_db(|test| async move {
        let doors = Doors::new(test).await;
        let (anna, ben) = (doors.world.anna.to_string(), doors.world.ben.to_string());
        let (key, bearer) = (("x-service-key", KEY), format!("Bearer {KEY}"));
        let older = ("x-service-key", "an older key");
        for (number, proof) in [key, ("authorization", &*bearer), older].into_iter().enumerate() {
            let bytes = format!("file {number}");
            let parts = [field("userId", &anna), file("a.txt", bytes.as_bytes())];
            doors.upload_with(&[proof], &parts).await.expect(201);
        }
        let answer = doors.upload_with(&[key], &[file("a.txt", b"whose?")]).await.expect(400);
        assert_eq!(answer.fields(), ["userId"]);
        let answer = doors.upload_with(&[key], &[file("a.txt", b"x"), field("userId", "nobody")]).await.expect(400);
        assert_eq!(answer.fields(), ["userId"]);
        let stranger = "0199a3f2-7c1e-7b60-9a51-1f0c7d2e4b11";
        doors.upload_with(&[key], &[file("a.txt", b"x"), field("userId", stranger)]).await.expect(404);

        // For anybody else `userId` does not count.
        let sneaky = doors.upload(&doors.ben(), &[field("userId", &anna), file("b.txt", b"Ben's")]).await.expect(201);
        let bens = sneaky.json()["id"].as_str().expect("an id").to_owned();
        doors.get_as(&doors.anna(), &format!("/api/v1/media/{bens}")).await.expect(404);
        let as_anna = doors.get_as(&doors.ben(), &format!("/api/v1/media?userId={anna}")).await.expect(200);
        assert_eq!(ids(&as_anna.json()), [&*bens]);
        let figures = doors.get_as(&doors.ben(), &format!("/api/v1/media/stats?userId={anna}")).await.expect(200);
        assert_eq!(figures.json()["totalCount"], 1);
        let path = format!("/api/v1/media/{bens}?userId={ben}");
        doors.ask(Method::DELETE, &path, &[("authorization", &doors.anna())], "").await.expect(404);

        let all = doors.get("/api/v1/media", &[key]).await.expect(200);
        assert_eq!(ids(&all.json()).len(), 4);
        let hers = doors.get(&format!("/api/v1/media?userId={anna}"), &[key]).await.expect(200);
        assert_eq!(ids(&hers.json()).len(), 3);
        doors.get("/api/v1/media?userId=x", &[key]).await.expect(400);
        doors.get(&format!("/api/v1/media/{bens}"), &[key]).await.expect(200);
        doors.get(&format!("/api/v1/media/{bens}?userId={anna}"), &[key]).await.expect(404);
        doors.ask(Method::DELETE, &format!("/api/v1/media/{bens}"), &[key], "").await.expect(400);
        doors.ask(Method::DELETE, &path, &[key], "").await.expect(204);
    })
    .await;
}

#[tokio::test]
async fn only_the_holder_learns_where_a_photo_was_taken() {
    each_db(|test| async move {
        let doors = Doors::new(test).await;
        let anna = doors.anna();
        let id = doors.uploaded(&anna, "holiday.jpg", &photo_with_place(3)).await;
        doors.work().await;
        let path = format!("/api/v1/media/{id}");
        let hers = doors.get_as(&anna, &path).await.expect(200).json();
        assert_eq!(hers["exif"]["model"], "Mana 1");
        let near = |value: &Value, degrees: f64| (value.as_f64().expect("a number") - degrees).abs() < 1e-6;
        assert!(near(&hers["exif"]["latitude"], 48.2) && near(&hers["exif"]["longitude"], 16.37), "{hers}");

        let key = ("x-service-key", KEY);
        let for_her = doors.get(&format!("{path}?userId={}", doors.world.anna), &[key]).await.expect(200).json();
        assert_eq!(for_her, hers);
        for path in [path.clone(), format!("/api/v1/media/hash/{}", hers["hash"].as_str().expect("a hash"))] {
            let seen = doors.get(&path, &[key]).await.expect(200).json();
            assert_eq!(seen["exif"], json!({ "model": "Mana 1" }), "the camera, not the place");
        }
        assert_eq!(doors.get("/api/v1/media", &[key]).await.json()[0]["exif"], json!({ "model": "Mana 1" }));

        // Nothing of it is in what is made of it.
        for made in ["file/thumb", "transform?w=30&format=jpeg", "transform?w=30"] {
            let bytes = doors.get(&format!("{path}/{made}"), &[]).await.expect(200).bytes;
            assert!(!bytes.windows(6).any(|part| part == b"Mana 1" || part == b"Exif\0\0"), "{made}");
        }
        let located = |value| format!("/api/v1/media/list/all?hasLocation={value}");
        assert_eq!(doors.get_as(&anna, &located("true")).await.json()["total"], 1);
        assert_eq!(doors.get_as(&anna, &located("false")).await.json()["total"], 0);
    })
    .await;
}

#[tokio::test]
async fn lists_page_filter_and_count_each_file_once() {
    each_db(|test| async move {
        let doors = Doors::new(test).await;
        let anna = doors.anna();
        let mut newest_first = Vec::new();
        for number in 0..7_u32 {
            doors.world.test.clock.advance_millis(1_000);
            let bytes = format!("file {number}{}", "x".repeat(number as usize * 10));
            let app = if number % 2 == 0 { "notes" } else { "me" };
            let part = crate::doors_world::Part {
                field: "file",
                file: Some(("a.txt", if number < 3 { "text/plain" } else { "application/json" })),
                bytes: bytes.as_bytes(),
            };
            let answer = doors.upload(&anna, &[part, field("app", app)]).await.expect(201);
            newest_first.insert(0, answer.json()["id"].as_str().expect("an id").to_owned());
        }
        doors.world.test.clock.advance_millis(1_000);
        // A second reference of Anna's to a file of hers, and one of Ben's: neither makes it two.
        doors.upload(&anna, &[file("again.txt", b"file 0"), field("app", "me")]).await.expect(201);
        doors.uploaded(&doors.ben(), "his.txt", b"file 0").await;
        let oldest = newest_first.pop().expect("seven");
        newest_first.insert(0, oldest.clone());

        for path in ["/api/v1/media", "/api/v1/media/", "/api/v1/media?limit=1000"] {
            let answer = doors.get_as(&anna, path).await.expect(200);
            assert_eq!(ids(&answer.json()), newest_first, "{path}");
            assert_eq!(answer.header("link"), "");
        }
        let mut seen = Vec::new();
        let mut path = "/api/v1/media?limit=3&app=".to_owned();
        loop {
            let answer = doors.get_as(&anna, &path).await.expect(200);
            seen.extend(ids(&answer.json()));
            let Some(next) = answer.header("link").strip_prefix('<') else { break };
            let (next, rest) = next.split_once('>').expect("an address");
            assert_eq!(rest, "; rel=\"next\"");
            assert!(next.ends_with(answer.header("x-next-cursor")), "{next}");
            path = next.to_owned();
        }
        assert_eq!(seen, newest_first);
        let mine = doors.get_as(&anna, "/api/v1/media?app=me&limit=2").await.expect(200);
        assert!(mine.header("link").contains("&app=me>"), "{:?}", mine.headers);
        assert_eq!(ids(&mine.json()).len(), 2);
        assert_eq!(doors.get_as(&anna, "/api/v1/media?app=%27%20OR%201").await.expect(200).json(), json!([]));

        let figures = doors.get_as(&anna, "/api/v1/media/stats").await.expect(200).json();
        let size: usize = (0..7).map(|number| 6 + number * 10).sum();
        assert_eq!((&figures["totalCount"], &figures["totalSize"]), (&json!(7), &json!(size)));
        assert_eq!(figures["byYear"], json!({ "2026": { "count": 7, "size": size } }));
        assert_eq!((&figures["byApp"]["notes"]["count"], &figures["byApp"]["me"]["count"]), (&json!(4), &json!(4)));

        let all =
            async |query: &str| doors.get_as(&anna, &format!("/api/v1/media/list/all{query}")).await.expect(200).json();
        let every = all("").await;
        assert_eq!((&every["total"], &every["hasMore"]), (&json!(7), &json!(false)));
        assert_eq!(ids(&every["items"]), newest_first);
        let part = all("?limit=2&offset=4&sortBy=size&sortOrder=asc").await;
        assert_eq!((&part["total"], &part["hasMore"]), (&json!(7), &json!(true)));
        assert_eq!(part["items"][0]["size"], 46);
        for (query, count) in [
            ("?apps=notes", 4),
            ("?apps=notes,me", 7),
            ("?apps=nothing", 0),
            ("?mimeType=text/plain", 3),
            ("?mimeType=Application/JSON", 4),
            ("?mimeType=image/*", 0),
            ("?mimeType=text/*&apps=me", 2),
            ("?hasLocation=false", 7),
            ("?hasLocation=true", 0),
            ("?dateFrom=2026-11-18&dateTo=2026-11-18", 7),
            ("?dateFrom=2026-11-19", 0),
            ("?dateTo=2026-11-17", 0),
            ("?dateFrom=2026-11-18T09:00:07Z", 2),
            ("?dateTo=2026-11-18T10:00:03%2B01:00", 2),
            ("?sortBy=dateTaken&limit=&apps=", 7),
        ] {
            assert_eq!(all(query).await["total"], count, "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn every_wrong_parameter_is_named() {
    each_db(|test| async move {
        let doors = Doors::new(test).await;
        let anna = doors.anna();
        for (path, fields) in [
            ("?limit=0", &["limit"][..]),
            ("?limit=-1", &["limit"]),
            ("?limit=many&cursor=x", &["limit", "cursor"]),
            ("/list/all?limit=0&offset=-1&sortBy=colour&sortOrder=up&hasLocation=maybe&dateFrom=yesterday&dateTo=2026-13-01&mimeType=image", &[
                "limit", "offset", "mimeType", "sortOrder", "dateFrom", "dateTo", "hasLocation", "sortBy",
            ]),
            ("/list/all?dateFrom=2026-11-18T09:00:00", &["dateFrom"]),
            ("/list/all?mimeType=*/*", &["mimeType"]),
            ("?app=a%00b", &["query"]),
            ("?limit=1&limit=2", &["query"]),
        ] {
            let answer = doors.get_as(&anna, &format!("/api/v1/media{path}")).await.expect(400);
            assert_eq!((answer.code(), answer.fields()), ("VALIDATION".into(), fields.iter().map(|s| (*s).to_owned()).collect()), "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn ownership_is_one_question_about_exactly_these_files() {
    each_db(|test| async move {
        let doors = Doors::new(test).await;
        let anna = doors.anna();
        let me = doors.upload(&anna, &[file("a", b"one"), field("app", "me")]).await.expect(201).json()["id"].clone();
        let none = doors.upload(&anna, &[file("b", b"two")]).await.expect(201).json()["id"].clone();
        let foreign = doors.upload(&doors.ben(), &[file("c", b"three")]).await.expect(201).json()["id"].clone();
        let ask = async |ids: Value, apps: Value| {
            let body = json!({ "userId": doors.world.anna, "ids": ids, "apps": apps });
            doors.post("/api/v1/internal/media/ownership", &[("x-service-key", KEY)], body).await
        };
        for (ids, apps) in
            [(json!([]), json!(["me"])), (json!([me]), json!(["me", "wardrobe"])), (json!([me, none]), json!([]))]
        {
            assert_eq!(ask(ids, apps).await.expect(200).json(), json!({ "ok": true }));
        }
        for (ids, apps, missing) in [
            (json!([none, me, foreign]), json!(["me"]), json!([none, foreign])),
            (json!([foreign]), json!([]), json!([foreign])),
            (json!(["no id", me]), json!([]), json!(["no id"])),
        ] {
            let answer = ask(ids, apps).await.expect(404);
            assert_eq!((answer.code(), &answer.json()["missing"]), ("MEDIA_MISSING".into(), &missing));
        }
        let body = json!({ "userId": doors.world.anna, "ids": [me] });
        doors.post("/api/v1/internal/media/ownership", &[("authorization", &anna)], body).await.expect(401);

        let photo = doors.uploaded(&anna, "p.jpg", &photo(5, 1_500, 100)).await;
        let path = |user: &dyn std::fmt::Display| format!("/api/v1/internal/media/{photo}/reference?userId={user}");
        let key = [("x-service-key", KEY)];
        let png = doors.get(&path(&doors.world.anna), &key).await.expect(200);
        assert_eq!((png.header("content-type"), &png.bytes[1..4]), ("image/png", &b"PNG"[..]));
        doors.get(&path(&doors.world.ben), &key).await.expect(404);
        doors.get(&path(&"x"), &key).await.expect(400);
        doors.get(&path(&doors.world.anna), &[("authorization", &anna)]).await.expect(401);
    })
    .await;
}
