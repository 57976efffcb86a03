//! Stories of personas, told over HTTP to the router, on each database.

mod admin;
mod batches;
mod claims;
mod due;
mod memory;
mod pages;
mod spend;
mod visits;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{Method, Request};
use http_body_util::BodyExt;
use mana_identity::{HashCost, Identity, IdentityOptions};
use mana_personas::Personas;
use mana_store::Db;
use mana_testkit::TestDb;
use mana_types::{Clock, Random, Secret, UserId};
use mana_web::ServiceKeys;
use serde_json::{Value, json};
use tower::ServiceExt;

const KEY: &str = "a service key for tests";

/// The service over one database.
struct App {
    test: TestDb,
    identity: Identity,
    router: Router,
    admin: UserId,
}

impl App {
    async fn start(test: TestDb) -> Self {
        let options = IdentityOptions {
            hash_cost: HashCost { memory_kib: 8, passes: 1 },
            ..IdentityOptions::new("http://mana.test")
        };
        let (clock, random): (Arc<dyn Clock>, Arc<dyn Random>) = (test.clock.clone(), test.random.clone());
        let identity = Identity::open(test.db.clone(), clock, random, options).await.expect("identity opens");
        let admin = identity.add_admin("admin@mana.test", None, "a good password").await.expect("added").id;
        let router = router(&test, &identity, test.db.clone());
        Self { test, identity, router, admin }
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> (u16, Value) {
        send(&self.router, method, path, headers, body.into()).await
    }

    /// As an administrator, with a token of this moment.
    async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let token = self.identity.mint(self.admin).await.expect("a token");
        let bearer = format!("Bearer {token}");
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(method, &format!("/api/v1/admin/{path}"), &[("authorization", &bearer)], body).await
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.admin(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// As a program of this installation.
    async fn internal(&self, path: &str, body: &Value) -> (u16, Value) {
        internal(&self.router, path, body).await
    }

    /// The same, where it must succeed.
    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.internal(path, &body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    async fn due(&self) -> Vec<String> {
        let path = "/api/v1/internal/personas/due";
        let (status, answer) = self.send(Method::GET, path, &[("x-service-key", KEY)], Body::empty()).await;
        assert_eq!(status, 200, "{answer}");
        let personas = answer["personas"].as_array().expect("a list");
        personas
            .iter()
            .map(|persona| text(&persona["email"]).split(['.', '@']).nth(1).unwrap_or_default().to_owned())
            .collect()
    }

    /// Adds a persona and returns its id.
    async fn add(&self, name: &str, more: Value) -> String {
        let (status, answer) = self.admin(Method::POST, "personas", Some(persona(name, &more))).await;
        assert_eq!(status, 200, "{answer}");
        text(&answer["userId"]).to_owned()
    }

    async fn claim(&self, owner: &str, limit: usize) -> Vec<Value> {
        let body = json!({ "owner": owner, "limit": limit, "leaseMs": 60_000, "engine": "rehearsal" });
        self.post("claim", body).await["claims"].as_array().expect("a list").clone()
    }

    /// Claims the one persona that is due.
    async fn claim_one(&self, owner: &str) -> Value {
        let mut claims = self.claim(owner, 10).await;
        assert_eq!(claims.len(), 1, "{claims:?}");
        claims.remove(0)
    }

    fn later(&self, millis: i64) {
        self.test.clock.advance_millis(millis);
    }

    async fn count(&self, table: &'static str) -> i64 {
        let (count,) =
            self.test.db.query(format!("SELECT COUNT(*) FROM {table}")).one::<(i64,)>().await.expect("counts");
        count
    }
}

fn router(test: &TestDb, identity: &Identity, db: Db) -> Router {
    let (clock, random): (Arc<dyn Clock>, Arc<dyn Random>) = (test.clock.clone(), test.random.clone());
    let personas = Personas::new(db, identity.clone(), clock, random);
    mana_personas::router(personas, identity.verifier(), ServiceKeys::new([Secret::new(KEY)]))
}

async fn send(router: &Router, method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(body).expect("a request")).await.expect("an answer");
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

async fn internal(router: &Router, path: &str, body: &Value) -> (u16, Value) {
    let path = format!("/api/v1/internal/personas/{path}");
    send(router, Method::POST, &path, &[("x-service-key", KEY)], Body::from(body.to_string())).await
}

/// The body that makes a persona.
fn persona(name: &str, more: &Value) -> Value {
    let mut body = json!({
        "email": format!("persona.{name}@mana.test"),
        "name": name,
        "password": "a derived password",
        "archetype": "adhd-student",
        "systemPrompt": format!("Ich bin {name} und lebe hier seit gestern."),
        "moduleMix": { "todo": 0.7, "notes": 0.3 },
        "locale": "de",
    });
    let more = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(more);
    body
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// The fields that a problem names.
fn fields(problem: &Value) -> Vec<&str> {
    let details = problem["details"].as_array().unwrap_or_else(|| panic!("{problem} names no fields"));
    details.iter().map(|detail| text(&detail["field"])).collect()
}
