//! Media behind its doors: requests over the real router, or over a socket.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use mana_media::{DoorOptions, Location, Options, router};
use mana_testkit::TestDb;
use mana_token::{AUDIENCE, Claims, FetchKeys, Jwks, Role, SigningKey, TOKEN_LIFETIME_MS, Verifier};
use mana_types::{Clock, KeyId, Secret, SessionId, UserId};
use mana_web::ServiceKeys;
use serde_json::Value;
use tower::ServiceExt;

use crate::{World, open, options};

/// What programs of this installation show.
pub(crate) const KEY: &str = "a service key for tests";
const ISSUER: &str = "http://mana.test";

pub(crate) struct Doors {
    pub(crate) world: World,
    pub(crate) router: Router,
    pub(crate) verifier: Arc<Verifier>,
    key: SigningKey,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("visible ASCII"))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The fields that a refusal names.
    pub(crate) fn fields(&self) -> Vec<String> {
        let body = self.json();
        let details = body["details"].as_array().cloned().unwrap_or_default();
        details.iter().map(|fault| fault["field"].as_str().unwrap_or_default().to_owned()).collect()
    }

    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?} {}", self.headers, String::from_utf8_lossy(&self.bytes));
        self
    }
}

impl Doors {
    pub(crate) async fn new(test: TestDb) -> Self {
        Self::with(test, DoorOptions::default(), |_| ()).await
    }

    pub(crate) async fn with(test: TestDb, doors: DoorOptions, change: impl FnOnce(&mut Options)) -> Self {
        let mut world = World::new(test, Location::Disk).await;
        let mut chosen = options(&world.location, &world.work);
        change(&mut chosen);
        world.media = open(&world.test, chosen).await;
        let key = SigningKey::from_seed(KeyId::new(&*world.test.clock, &*world.test.random), &[9; 32]);
        let jwks = Jwks { keys: vec![key.public()] };
        let fetch: FetchKeys = Arc::new(move || {
            let jwks = jwks.clone();
            Box::pin(async move { Ok(jwks) })
        });
        let verifier = Arc::new(Verifier::new(ISSUER, Arc::clone(&world.test.clock) as Arc<dyn Clock>, fetch));
        let keys = ServiceKeys::new([Secret::new("an older key"), Secret::new(KEY)]);
        let router = router(world.media.clone(), Arc::clone(&verifier), keys, doors);
        Self { world, router, verifier, key }
    }

    /// An access token of this moment.
    pub(crate) fn token(&self, user: UserId) -> String {
        let now = self.world.test.clock.now();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user,
            email: "somebody@mana.test".to_owned(),
            role: Role::User,
            sid: SessionId::new(&*self.world.test.clock, &*self.world.test.random),
            tier: "free".to_owned(),
            iat: now.as_secs(),
            exp: now.plus_millis(TOKEN_LIFETIME_MS).as_secs(),
        };
        self.key.sign(&claims).expect("signs")
    }

    pub(crate) fn anna(&self) -> String {
        format!("Bearer {}", self.token(self.world.anna))
    }

    pub(crate) fn ben(&self) -> String {
        format!("Bearer {}", self.token(self.world.ben))
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("the router always answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("the body ends");
        Answer { status, headers, bytes }
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask(Method::GET, path, headers, Body::empty()).await
    }

    /// As somebody.
    pub(crate) async fn get_as(&self, who: &str, path: &str) -> Answer {
        self.get(path, &[("authorization", who)]).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        self.ask(Method::POST, path, headers, body.to_string()).await
    }

    /// A form as curl sends it.
    pub(crate) async fn upload(&self, who: &str, parts: &[Part<'_>]) -> Answer {
        self.upload_with(&[("authorization", who)], parts).await
    }

    pub(crate) async fn upload_with(&self, headers: &[(&str, &str)], parts: &[Part<'_>]) -> Answer {
        let mut headers = headers.to_vec();
        headers.push(("content-type", FORM));
        self.ask(Method::POST, "/api/v1/media/upload", &headers, form(parts)).await
    }

    /// The id of an uploaded file.
    pub(crate) async fn uploaded(&self, who: &str, name: &str, bytes: &[u8]) -> String {
        let answer = self.upload(who, &[file(name, bytes)]).await.expect(201);
        answer.json()["id"].as_str().expect("an id").to_owned()
    }

    pub(crate) async fn work(&self) {
        self.world.media.run_pending_jobs_once().await.expect("worked");
    }

    /// Listens on a port of this machine until the test ends.
    pub(crate) async fn listen(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = self.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
        address
    }
}

pub(crate) const FORM: &str = "multipart/form-data; boundary=------------------------d74496d66958873e";
const BOUNDARY: &str = "------------------------d74496d66958873e";

/// One part of a form: its field, its file name and type, its bytes.
pub(crate) struct Part<'a> {
    pub(crate) field: &'a str,
    pub(crate) file: Option<(&'a str, &'a str)>,
    pub(crate) bytes: &'a [u8],
}

pub(crate) fn field<'a>(field: &'a str, value: &'a str) -> Part<'a> {
    Part { field, file: None, bytes: value.as_bytes() }
}

/// A file as curl sends one whose type it does not know.
pub(crate) fn file<'a>(name: &'a str, bytes: &'a [u8]) -> Part<'a> {
    Part { field: "file", file: Some((name, "application/octet-stream")), bytes }
}

pub(crate) fn form(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for Part { field, file, bytes } in parts {
        let head = match file {
            None => format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n"),
            Some((name, mime)) => format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\nContent-Type: {mime}\r\n\r\n"
            ),
        };
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

/// A JPEG that says where it was taken: 48.2 north, 16.37 east, with a camera named `Mana 1`.
pub(crate) fn photo_with_place(number: u32) -> Vec<u8> {
    let entry = |tag: u16, kind: u16, count: u32, value: [u8; 4]| {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&tag.to_be_bytes());
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&count.to_be_bytes());
        bytes.extend_from_slice(&value);
        bytes
    };
    let offset = |at: u32| at.to_be_bytes();
    let mut tiff = b"MM\0\x2a\0\0\0\x08".to_vec();
    // The first directory at 8: two entries, 2 + 24 + 4 bytes; the model at 38, the place at 46.
    tiff.extend_from_slice(&2_u16.to_be_bytes());
    tiff.extend(entry(0x0110, 2, 7, offset(38)));
    tiff.extend(entry(0x8825, 4, 1, offset(46)));
    tiff.extend_from_slice(&[0; 4]);
    tiff.extend_from_slice(b"Mana 1\0\0");
    // The place: four entries, 2 + 48 + 4 bytes; its numbers at 100 and 124.
    tiff.extend_from_slice(&4_u16.to_be_bytes());
    tiff.extend(entry(1, 2, 2, *b"N\0\0\0"));
    tiff.extend(entry(2, 5, 3, offset(100)));
    tiff.extend(entry(3, 2, 2, *b"E\0\0\0"));
    tiff.extend(entry(4, 5, 3, offset(124)));
    tiff.extend_from_slice(&[0; 4]);
    for (degrees, minutes, seconds) in [(48_u32, 12_u32, 0_u32), (16, 22, 12)] {
        for number in [degrees, 1, minutes, 1, seconds, 1] {
            tiff.extend_from_slice(&number.to_be_bytes());
        }
    }
    let jpeg = crate::photo(number, 60, 40);
    let mut bytes = jpeg[..2].to_vec();
    bytes.extend_from_slice(&[0xff, 0xe1]);
    bytes.extend_from_slice(&u16::try_from(tiff.len() + 8).expect("small").to_be_bytes());
    bytes.extend_from_slice(b"Exif\0\0");
    bytes.extend(tiff);
    bytes.extend_from_slice(&jpeg[2..]);
    bytes
}
