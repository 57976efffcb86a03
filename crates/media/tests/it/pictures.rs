//! Pictures made by a model: the order of refusals, credits, keys, and a provider that does everything wrong.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode, Uri};
use mana_media::client::{Auth, Client};
use mana_media::picture::{Order, PictureOptions, Pictures, Provider};
use mana_media::{DoorOptions, Upload, Viewer};
use mana_testkit::{TestDb, each_db};
use mana_types::{MediaId, Random, Secret, UserId};
use mana_web::ServiceKeys;
use serde_json::{Value, json};

use crate::doors_world::{Answer, Doors, KEY};
use crate::{empty, photo};

const PATH: &str = "/api/v1/picture/generate-with-reference";
const SECRET: &str = "the-key-of-the-provider";

/// What the provider does.
#[derive(Debug, Clone)]
enum Mood {
    Good,
    Slow,
    Says(u16, String),
    Huge,
    Addresses(&'static str),
}

/// A provider of pictures on this machine.
#[derive(Debug, Clone)]
struct Studio {
    mood: Arc<Mutex<Mood>>,
    asked: Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>,
    url: String,
}

async fn answer(State(studio): State<Studio>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let number = {
        let mut asked = studio.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push((uri.path().to_owned(), headers, body.clone()));
        u32::try_from(asked.len()).expect("few")
    };
    let mood = studio.mood.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if uri.path().starts_with("/kept/") {
        return photo(number + 500, 32, 24).into_response();
    }
    let text = String::from_utf8_lossy(&body);
    let two = text.contains("name=\"n\"\r\n\r\n2\r\n") || text.contains("\"n\":2");
    let count: u32 = if two { 2 } else { 1 };
    let images = |of: &dyn Fn(u32) -> Value| json!({ "data": (0..count).map(of).collect::<Vec<_>>() }).to_string();
    match mood {
        Mood::Good => {
            images(&|n| json!({ "b64_json": STANDARD.encode(photo(number * 10 + n, 64, 48)) })).into_response()
        }
        Mood::Slow => {
            tokio::time::sleep(Duration::from_mins(1)).await;
            StatusCode::OK.into_response()
        }
        Mood::Says(status, body) => (StatusCode::from_u16(status).expect("a status"), body).into_response(),
        Mood::Huge => vec![b' '; 97 << 20].into_response(),
        Mood::Addresses(address) => images(&|_| json!({ "url": address })).into_response(),
    }
}

impl Studio {
    async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let studio = Self { mood: Arc::new(Mutex::new(Mood::Good)), asked: Arc::default(), url };
        let router =
            Router::new().fallback(answer).layer(axum::extract::DefaultBodyLimit::disable()).with_state(studio.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        studio
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }

    fn asked(&self) -> Vec<(String, HeaderMap, Bytes)> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Scene {
    doors: Doors,
    pictures: Pictures,
    studio: Studio,
}

impl Scene {
    async fn new(test: TestDb, credits: i64) -> Self {
        Self::with(test, credits, true).await
    }

    async fn with(test: TestDb, credits: i64, provided: bool) -> Self {
        let studio = Studio::open().await;
        let mut doors = Doors::new(test).await;
        let mut maker = Provider::new(studio.url.clone(), Secret::new(SECRET));
        maker.timeout = Duration::from_secs(2);
        let options = PictureOptions { provider: provided.then_some(maker), credits };
        let (media, db) = (doors.world.media.clone(), doors.world.test.db.clone());
        let random = Arc::clone(&doors.world.test.random) as Arc<dyn Random>;
        let pictures = Pictures::new(media, db, random, options).expect("the options fit");
        let keys = ServiceKeys::new([Secret::new(KEY)]);
        let verifier = Arc::clone(&doors.verifier);
        let router = mana_media::picture::router(pictures.clone(), verifier, keys, &DoorOptions::default());
        doors.router = std::mem::take(&mut doors.router).merge(router);
        Self { doors, pictures, studio }
    }

    async fn reference(&self, user: UserId, app: &str, number: u32) -> MediaId {
        let upload =
            Upload { user, app: Some(app.into()), name: "me.jpg".into(), declared: None, skip_processing: true };
        self.doors.world.media.put(upload, photo(number, 80, 60)).await.expect("kept").id
    }

    async fn ask(&self, body: Value) -> Answer {
        self.doors.post(PATH, &[("authorization", &self.doors.anna())], body).await
    }

    async fn ask_keyed(&self, key: &str, body: Value) -> Answer {
        self.doors.post(PATH, &[("authorization", &self.doors.anna()), ("idempotency-key", key)], body).await
    }

    async fn credits(&self) -> i64 {
        self.pictures.credits(self.doors.world.anna).await.expect("a number")
    }
}

#[tokio::test]
async fn a_picture_is_made_after_ones_own() {
    each_db(|test| async {
        let scene = Scene::new(test, 100).await;
        let anna = scene.doors.world.anna;
        let (one, two) = (scene.reference(anna, "me", 1).await, scene.reference(anna, "wardrobe", 2).await);
        let wish = json!({ "prompt": " Ich am Meer ", "referenceMediaIds": [one, two, one], "n": 2, "quality": "low", "size": "1536x1024" });
        let made = scene.ask_keyed("k", wish.clone()).await.expect(200).json();
        let images = made["images"].as_array().expect("a list");
        assert_eq!((images.len(), &made["mode"], &made["model"]), (2, &json!("edit"), &json!("gpt-image-1")));
        assert_eq!((&made["prompt"], &made["referenceMediaIds"]), (&json!("Ich am Meer"), &json!([one, two])));
        let id = images[0]["mediaId"].as_str().expect("an id");
        assert_eq!(images[0]["imageUrl"], format!("/api/v1/media/{id}/file"));
        assert_eq!(images[0]["thumbnailUrl"], format!("/api/v1/media/{id}/file/thumb"));
        for name in ["imageUrl", "mediaId", "thumbnailUrl"] {
            assert_eq!(made[name], images[0][name], "the first once more");
        }
        assert_eq!(scene.credits().await, 96, "two credits each");
        for image in images {
            let id = image["mediaId"].as_str().expect("an id").parse().expect("an id");
            let record = scene.doors.world.media.get(id, Viewer::User(anna)).await.expect("answers").expect("is hers");
            assert_eq!((record.app.as_deref(), &*record.mime_type), (Some("picture"), "image/jpeg"));
        }

        let (path, headers, body) = scene.studio.asked().remove(0);
        assert_eq!((&*path, &headers["authorization"]), ("/v1/images/edits", &format!("Bearer {SECRET}").parse().expect("a header")));
        let text = String::from_utf8_lossy(&body);
        for part in ["name=\"prompt\"\r\n\r\nIch am Meer\r\n", "name=\"model\"\r\n\r\ngpt-image-1\r\n", "name=\"quality\"\r\n\r\nlow\r\n", "name=\"size\"\r\n\r\n1536x1024\r\n"] {
            assert!(text.contains(part), "{part}");
        }
        assert_eq!(text.matches("name=\"image[]\"").count(), 2);
        assert_eq!(text.matches("\u{fffd}PNG\r\n").count(), 2, "normalised before they leave");

        // A retry is free and answers the same; another wish under the key is refused.
        let again = scene.ask_keyed("k", wish).await.expect(200).json();
        assert_eq!((again, scene.credits().await, scene.studio.asked().len()), (made, 96, 1));
        let other = scene.ask_keyed("k", json!({ "prompt": "Anderes", "referenceMediaIds": [one] })).await.expect(422);
        assert_eq!(other.code(), "IDEMPOTENCY_KEY_REUSED");

        // Without pictures to go by, and for a program of this installation.
        let bearer = scene.doors.anna();
        let plain = json!({ "prompt": "Meer", "model": "dall-e-2" });
        let plain = scene.doors.post("/api/v1/picture/generate", &[("authorization", &bearer)], plain).await;
        assert_eq!(plain.expect(200).json()["mode"], "generate");
        let (path, _, body) = scene.studio.asked().remove(1);
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(path, "/v1/images/generations");
        assert_eq!(body, json!({ "model": "dall-e-2", "prompt": "Meer", "n": 1, "response_format": "b64_json" }));
        let path = format!("{PATH}?userId={anna}");
        let wish = json!({ "prompt": "x", "referenceMediaIds": [one] });
        scene.doors.post(&path, &[("x-service-key", KEY)], wish.clone()).await.expect(200);
        scene.doors.post(PATH, &[("x-service-key", KEY)], wish.clone()).await.expect(400);
        scene.doors.post(PATH, &[("x-service-key", "wrong")], wish.clone()).await.expect(401);
        scene.doors.post(PATH, &[], wish).await.expect(401);
        assert_eq!(scene.credits().await, 96 - 2 - 5);
    })
    .await;
}

#[tokio::test]
async fn refusals_come_in_their_order() {
    each_db(|test| async {
        let mut twin = test.clone();
        twin.db = test.again().await;
        let scene = Scene::with(test, 10, false).await;
        // Everything is wrong; what is named is mended, and the next fault shows.
        let ids = vec!["01900000-0000-4000-8000-000000000000"; 9];
        let field = async |scene: &Scene, body: Value| scene.ask(body).await.expect(400).fields().concat();
        for prompt in [json!(""), json!("  "), json!(7), Value::Null, json!("x".repeat(4_001))] {
            let body = json!({ "prompt": prompt, "referenceMediaIds": [], "model": "none", "n": 99 });
            assert_eq!(field(&scene, body).await, "prompt");
        }
        for none in [json!([]), Value::Null, json!("x")] {
            assert_eq!(field(&scene, json!({ "prompt": "x", "referenceMediaIds": none, "model": "none" })).await, "referenceMediaIds");
        }
        let many = scene.ask(json!({ "prompt": "x", "referenceMediaIds": ids, "model": "none" })).await.expect(400);
        assert_eq!(many.json()["limit"], 8);
        let body = json!({ "prompt": "x", "referenceMediaIds": &ids[..2], "model": "none", "n": 99 });
        scene.ask(body.clone()).await.expect(503);
        drop(scene);

        empty(&twin).await;
        let scene = Scene::with(twin, 10, true).await;
        assert_eq!(field(&scene, body).await, "model");
        let body = |quality: &str, references: Value| {
            json!({ "prompt": "x", "referenceMediaIds": references, "model": "gpt-image-1", "quality": quality, "n": 99 })
        };
        assert_eq!(field(&scene, body("superb", json!([ids[0]]))).await, "quality");
        // Four at seventeen credits each: `n` is held within 4.
        let poor = scene.ask(body("high", json!([ids[0]]))).await.expect(402).json();
        assert_eq!((&poor["required"], &poor["available"]), (&json!(68), &json!(10)));
        let (anna, ben) = (scene.doors.world.anna, scene.doors.world.ben);
        let hers = scene.reference(anna, "comic", 1).await;
        let (his, elsewhere) = (scene.reference(ben, "me", 2).await, scene.reference(anna, "photos", 3).await);
        let missing = scene.ask(body("low", json!([hers, his, elsewhere, "nonsense", 5]))).await.expect(404).json();
        assert_eq!(missing["missing"], json!([his, elsewhere, "nonsense", "5"]));
        let upload = Upload { user: anna, app: Some("me".into()), name: "a.txt".into(), declared: None, skip_processing: true };
        let text = scene.doors.world.media.put(upload, "no picture".into()).await.expect("kept").id;
        let unreadable = scene.ask(body("low", json!([hers, text]))).await.expect(502);
        assert_eq!(unreadable.code(), "REFERENCE_UNREADABLE");
        assert!(scene.studio.asked().is_empty(), "nothing was sent until now");
        assert_eq!(scene.credits().await, 10, "and nothing spent");
        scene.studio.is(Mood::Says(500, "broken".into()));
        assert_eq!(scene.ask(body("low", json!([hers]))).await.expect(502).code(), "PROVIDER_FAILED");
        for key in ["", "ä", &"k".repeat(201)] {
            assert!(matches!(scene.ask_keyed(key, body("low", json!([hers]))).await.status, 400), "{key}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_provider_may_do_anything_and_nobody_pays_for_it() {
    each_db(|test| async {
        let scene = Scene::new(test, 10).await;
        let reference = scene.reference(scene.doors.world.anna, "me", 1).await;
        let wish = json!({ "prompt": "x", "referenceMediaIds": [reference], "quality": "low" });
        let error =
            json!({ "error": { "message": format!("bad key {SECRET}, sk-proj-abcdef\u{7} {}", "w ".repeat(900)) } });
        let moods = [
            Mood::Says(401, error.to_string()),
            Mood::Says(429, "slow down".into()),
            Mood::Says(500, String::new()),
            Mood::Says(302, String::new()),
            Mood::Says(200, "garbage".into()),
            Mood::Says(200, json!({ "data": [] }).to_string()),
            Mood::Says(200, json!({ "data": [{}] }).to_string()),
            Mood::Says(200, json!({ "data": [{ "b64_json": "%%%" }] }).to_string()),
            Mood::Says(200, json!({ "data": [{ "b64_json": STANDARD.encode("<html>") }] }).to_string()),
            Mood::Addresses("http://127.0.0.1:1/secret"),
            Mood::Addresses("file:///etc/passwd"),
            Mood::Addresses("http://169.254.169.254/latest/meta-data"),
            Mood::Huge,
            Mood::Slow,
        ];
        for mood in moods {
            let shown = format!("{mood:?}").chars().take(80).collect::<String>();
            scene.studio.is(mood);
            let answer = scene.ask_keyed("k", wish.clone()).await.expect(502).json();
            let detail = answer["detail"].as_str().expect("a sentence");
            assert_eq!(answer["code"], "PROVIDER_FAILED", "{shown}");
            assert!(detail.chars().count() <= 600 && !detail.contains(char::is_control), "{shown}: {detail}");
            assert!(!detail.contains(SECRET) && !detail.contains("sk-proj"), "{shown}: {detail}");
            assert_eq!(scene.credits().await, 10, "{shown}");
        }
        // An address within the provider is followed. The key that failed so often works at last.
        scene.studio.is(Mood::Addresses("/kept/1"));
        scene.ask_keyed("k", wish.clone()).await.expect(200);
        assert_eq!(scene.credits().await, 8);
        // One that answers fewer than it was asked for is paid for what it answered.
        scene
            .studio
            .is(Mood::Says(200, json!({ "data": [{ "b64_json": STANDARD.encode(photo(77, 20, 20)) }] }).to_string()));
        let fewer = json!({ "prompt": "x", "referenceMediaIds": [reference], "quality": "low", "n": 3 });
        assert_eq!(scene.ask(fewer).await.expect(200).json()["credits"], 2);
        assert_eq!(scene.credits().await, 6);
    })
    .await;
}

#[tokio::test]
async fn credits_are_never_overdrawn_and_never_lost() {
    each_db(|test| async {
        let scene = Scene::new(test, 10).await;
        let anna = scene.doors.world.anna;
        let reference = scene.reference(anna, "me", 1).await;
        let wish = json!({ "prompt": "x", "referenceMediaIds": [reference], "quality": "low" });
        let all = futures::future::join_all((0..8).map(|_| scene.ask(wish.clone()))).await;
        let made = all.iter().filter(|answer| answer.status == 200).count();
        assert!(all.iter().all(|answer| matches!(answer.status, 200 | 402)), "{all:?}");
        assert_eq!((made, scene.credits().await), (5, 0));

        // The same wish under one key, many times at once, is made once.
        let rich = |credits: i64| {
            let db = scene.doors.world.test.db.clone();
            async move {
                let mut tx = db.begin().await.expect("begins");
                tx.query("UPDATE picture_account SET balance = $1").bind(credits).execute().await.expect("given");
                tx.commit().await.expect("kept");
            }
        };
        rich(20).await;
        let before = scene.studio.asked().len();
        let all = futures::future::join_all((0..6).map(|_| scene.ask_keyed("once", wish.clone()))).await;
        assert!(all.iter().any(|answer| answer.status == 200), "{all:?}");
        assert!(all.iter().all(|answer| matches!(answer.status, 200 | 409)), "{all:?}");
        assert_eq!((scene.studio.asked().len() - before, scene.credits().await), (1, 18));

        // Who asked goes away: the reservation is settled all the same.
        scene.studio.is(Mood::Slow);
        let order = || Order {
            prompt: "x".into(),
            references: vec![reference.to_string()],
            needs_reference: true,
            count: 1,
            ..Order::default()
        };
        let left = tokio::time::timeout(Duration::from_millis(300), scene.pictures.make(anna, order(), None)).await;
        assert!(left.is_err());
        assert_eq!(scene.credits().await, 13, "reserved");
        let mut waited = 0;
        while scene.credits().await != 18 {
            waited += 1;
            assert!(waited < 100, "it was never given back");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }

        // A process died with a reservation: it is given back once its time is over.
        let mut tx = scene.doors.world.test.db.begin().await.expect("begins");
        let now = mana_types::Clock::now(&*scene.doors.world.test.clock);
        tx.query(
            "INSERT INTO picture_wish (id, user_id, key, input, state, reserved, expires, created)
             VALUES ($1, $2, 'dead', 'x', 'reserved', 7, $3, $3)",
        )
        .bind(reference)
        .bind(anna)
        .bind(now)
        .execute()
        .await
        .expect("added");
        tx.query("UPDATE picture_account SET balance = 11").execute().await.expect("taken");
        tx.commit().await.expect("kept");
        assert_eq!(scene.credits().await, 18);
        scene.studio.is(Mood::Good);
        scene.ask(wish).await.expect(200);
        assert_eq!(scene.credits().await, 16, "given back once, not twice");
    })
    .await;
}

#[tokio::test]
async fn the_client_asks_for_a_user() {
    each_db(|test| async {
        let scene = Scene::new(test, 100).await;
        let anna = scene.doors.world.anna;
        let reference = scene.reference(anna, "me", 1).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let router = scene.doors.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let client = Client::new(&url, Auth::ServiceKey(Secret::new(KEY))).expect("an address").for_user(anna);
        let order = Order {
            prompt: "x".into(),
            references: vec![reference.to_string()],
            needs_reference: true,
            count: 1,
            ..Order::default()
        };
        let made = client.make_pictures(&order, Some("k")).await.expect("made");
        let again = client.make_pictures(&order, Some("k")).await.expect("the same");
        assert_eq!((made.images[0].media_id, made.credits), (again.images[0].media_id, 5));
        assert_eq!(client.picture_credits().await.expect("a number"), 95);
        let plain = Order { references: Vec::new(), needs_reference: false, ..order };
        client.make_pictures(&plain, None).await.expect("made");
    })
    .await;
}

#[test]
fn an_address_that_is_not_safe_is_refused() {
    // Looked at without a database: `Pictures::new` fails before anything else.
    for (url, fits) in [
        ("https://api.example/v1", true),
        ("http://127.0.0.1:8080", true),
        ("http://[::1]:8080/", true),
        ("http://localhost", true),
        ("http://api.example", false),
        ("http://10.0.0.1", false),
        ("ftp://api.example", false),
        ("https://me:pw@api.example", false),
        ("https://api.example?key=x", false),
        ("api.example", false),
    ] {
        let checked = Provider::new(url, Secret::default()).check();
        assert_eq!(checked.is_ok(), fits, "{url}: {checked:?}");
    }
}
