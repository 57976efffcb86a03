//! Identity over its routes, in process, on each database.

mod accounts;
mod bad_input;
mod keys;
mod lockout;
mod register;
mod sessions;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http_body_util::BodyExt;
use mana_identity::{HashCost, Identity, IdentityOptions, router};
use mana_store::Db;
use mana_testkit::TestDb;
use mana_types::{Clock, Random};
use serde_json::{Value, json};
use tower::ServiceExt;

const ISSUER: &str = "http://mana.test";
const PASSWORD: &str = "correct horse";

/// One identity service with its routes.
#[derive(Clone)]
struct App {
    test: TestDb,
    identity: Identity,
    router: Router,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    fn text(&self, member: &str) -> String {
        self.body[member].as_str().unwrap_or_else(|| panic!("no `{member}` in {}", self.body)).to_owned()
    }

    /// Status and code in one, to compare them at once.
    fn outcome(&self) -> (u16, &str) {
        (self.status, self.code())
    }
}

fn options() -> IdentityOptions {
    IdentityOptions { hash_cost: HashCost { memory_kib: 8, passes: 1 }, ..IdentityOptions::new(ISSUER) }
}

impl App {
    async fn new(test: TestDb) -> Self {
        let db = test.db.clone();
        Self::with(test, db, options()).await
    }

    async fn with(test: TestDb, db: Db, options: IdentityOptions) -> Self {
        let clock = Arc::clone(&test.clock) as Arc<dyn Clock>;
        let random = Arc::clone(&test.random) as Arc<dyn Random>;
        let identity = Identity::open(db, clock, random, options).await.expect("identity opens");
        let router = router(identity.clone(), identity.verifier());
        Self { test, identity, router }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("a router always answers");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("the body ends").to_bytes();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("JSON") };
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn post_bytes(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(Request::post(path).body(body.into()).expect("a request")).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_bytes(path, body.to_string()).await
    }

    async fn get(&self, path: &str, bearer: &str) -> Answer {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {bearer}"));
        self.send(request.body(Body::empty()).expect("a request")).await
    }

    async fn get_openly(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    async fn register(&self, email: &str) -> Answer {
        self.post("/api/v1/auth/register", json!({ "email": email, "password": PASSWORD })).await
    }

    async fn login(&self, email: &str, password: &str) -> Answer {
        self.post("/api/v1/auth/login", json!({ "email": email, "password": password })).await
    }

    async fn refresh(&self, token: &str) -> Answer {
        self.post("/api/v1/auth/refresh", json!({ "refreshToken": token })).await
    }

    async fn rows(&self, table: &str) -> i64 {
        let (rows,) =
            self.test.db.query(format!("SELECT COUNT(*) FROM {table}")).one::<(i64,)>().await.expect("counts");
        rows
    }
}

/// The header (0) or the claims (1) of a token, unchecked.
fn part_of_token(token: &str, part: usize) -> Value {
    let text = token.split('.').nth(part).expect("three parts");
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64url")).expect("JSON")
}
