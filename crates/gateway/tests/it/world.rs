//! A small world: two people, their spaces, a few tools, and the doors before them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use mana_gateway::{Gateway, GatewayOptions, PolicyMode};
use mana_registry::prelude::*;
use mana_store::space::{self, SpaceKind, SpaceRole};
use mana_testkit::TestDb;
use mana_token::{AUDIENCE, Claims, FetchKeys, Jwks, Role, SigningKey, TOKEN_LIFETIME_MS, Verifier};
use mana_types::{Clock, KeyId, Random, SessionId};
use serde_json::{Value, json};
use tower::ServiceExt;

/// The address that the doors believe to have.
pub(crate) const URL: &str = "http://mana.test";

/// How long a call may take in this world.
const DEADLINE: Duration = Duration::from_secs(2);

/// A thing to do.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Task {
    /// What is to be done.
    title: Line<200>,
    /// How many times.
    #[serde(default)]
    times: u8,
}

impl Record for Task {
    const KIND: &'static str = "todo.task";
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// How many at most.
    #[serde(default)]
    limit: Limit<20, 100>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Echo {
    /// What was said.
    said: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Say {
    /// What to say.
    text: Text<1, 200_000>,
}

async fn create(cx: Cx, task: Task) -> Result<Stored<Task>> {
    cx.records().add(task).await
}

async fn list(cx: Cx, which: Which) -> Result<Page<Stored<Task>>> {
    cx.records().list(Filter::new(Order::Recent).page(which.limit.get(), None)).await
}

async fn echo(_: Cx, say: Say) -> Result<Echo> {
    Ok(Echo { said: say.text.to_string() })
}

async fn wipe(_: Cx, _: Nothing) -> Result<Echo> {
    Ok(Echo { said: "gone".into() })
}

async fn slow(cx: Cx, task: Task) -> Result<Stored<Task>> {
    let stored = cx.records().add(task).await?;
    tokio::time::sleep(Duration::from_mins(1)).await;
    Ok(stored)
}

async fn broken(_: Cx, say: Say) -> Result<Echo> {
    panic!("{}", say.text.to_string())
}

async fn refuse(_: Cx, _: Nothing) -> Result<Echo> {
    Err(ToolError::rule("already-sent", "this was sent already").hint("write a new one"))
}

/// The tools of this world.
pub(crate) fn registry() -> Registry {
    let todo = Module::new("todo", "Keep a list of things to do.")
        .labels("To-do", "Aufgaben")
        .tool(write("todo_create", "Create a task.", create))
        .tool(read("todo_list", "List the tasks.", list))
        .tool(destructive("todo_wipe", "Destroy all tasks.", wipe));
    let misc = Module::new("misc", "Odds and ends.")
        .tool(read("misc_echo", "Say the same.", echo))
        .tool(write("misc_slow", "Take a minute.", slow))
        .tool(read("misc_broken", "Panic.", broken))
        .tool(write("misc_refuse", "Say no.", refuse))
        .tool(write("misc_admin", "Only for administrators.", wipe).admin());
    Registry::new(vec![todo, misc]).expect("the tools fit together")
}

/// Somebody with an account, a space of his own and a token.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) id: UserId,
    pub(crate) space: SpaceId,
    pub(crate) token: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

pub(crate) struct World {
    pub(crate) test: TestDb,
    pub(crate) key: SigningKey,
    pub(crate) gateway: Gateway,
    pub(crate) router: Router,
    pub(crate) anna: Person,
    pub(crate) ben: Person,
}

impl World {
    pub(crate) async fn new(test: TestDb) -> Self {
        Self::with_policy(test, PolicyMode::Enforce).await
    }

    pub(crate) async fn with_policy(test: TestDb, policy: PolicyMode) -> Self {
        let key = SigningKey::from_seed(KeyId::new(&*test.clock, &*test.random), &[9; 32]);
        let jwks = Jwks { keys: vec![key.public()] };
        let fetch: FetchKeys = Arc::new(move || {
            let jwks = jwks.clone();
            Box::pin(async move { Ok(jwks) })
        });
        let clock = Arc::clone(&test.clock) as Arc<dyn Clock>;
        let random = Arc::clone(&test.random) as Arc<dyn Random>;
        let verifier = Arc::new(Verifier::new(URL, Arc::clone(&clock), fetch));
        let options = GatewayOptions { policy, deadline: DEADLINE, ..GatewayOptions::new(URL) };
        let gateway = Gateway::new(test.db.clone(), registry(), verifier, clock, random, options);
        let router = mana_gateway::router(gateway.clone());
        let anna = person(&test, &key, "anna").await;
        let ben = person(&test, &key, "ben").await;
        Self { test, key, gateway, router, anna, ben }
    }

    /// A request through the doors; a body that is no JSON comes back as text.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("the router always answers");
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("the body ends");
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { status, headers, body }
    }

    /// A tool call over REST.
    pub(crate) async fn rest(&self, token: &str, tool: &str, arguments: Value) -> Answer {
        self.send(rest_request(token, tool, &[], arguments.to_string())).await
    }

    /// A message of 2026-07-28.
    pub(crate) async fn mcp(&self, token: &str, method: &str, params: Value) -> Answer {
        self.send(mcp_request("/mcp", token, &[], method, params)).await
    }

    /// A tool call over MCP: the result, or the JSON-RPC error.
    pub(crate) async fn tool(&self, token: &str, tool: &str, arguments: Value) -> Value {
        let answer = self.mcp(token, "tools/call", json!({ "name": tool, "arguments": arguments })).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        if answer.body["error"].is_null() { answer.body["result"].clone() } else { answer.body["error"].clone() }
    }

    /// The caller's own trail, the newest first.
    pub(crate) async fn trail(&self, token: &str) -> Vec<Value> {
        let request = Request::get("/api/v1/audit?limit=100").header("authorization", format!("Bearer {token}"));
        let answer = self.send(request.body(Body::empty()).expect("a request")).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        answer.body["items"].as_array().cloned().unwrap_or_default()
    }

    /// A space that both belong to.
    pub(crate) async fn shared(&self) -> SpaceId {
        let id = SpaceId::new(&*self.test.clock, &*self.test.random);
        let at = self.test.clock.now();
        let mut tx = self.test.db.begin().await.expect("begins");
        space::create(&mut tx, id, SpaceKind::Team, "Team", "team", at).await.expect("creates");
        space::join(&mut tx, id, self.anna.id, SpaceRole::Owner, at).await.expect("joins");
        space::join(&mut tx, id, self.ben.id, SpaceRole::Member, at).await.expect("joins");
        tx.commit().await.expect("commits");
        id
    }
}

/// The claims of a good token.
pub(crate) fn claims(test: &TestDb, user: UserId) -> Claims {
    let now = test.clock.now();
    Claims {
        iss: URL.into(),
        aud: AUDIENCE.into(),
        sub: user,
        email: "somebody@mana.test".into(),
        role: Role::User,
        sid: SessionId::new(&*test.clock, &*test.random),
        tier: "free".into(),
        iat: now.as_secs(),
        exp: now.plus_millis(TOKEN_LIFETIME_MS).as_secs(),
    }
}

/// Adds an account with its personal space.
pub(crate) async fn person(test: &TestDb, key: &SigningKey, name: &str) -> Person {
    let (id, space) = (UserId::new(&*test.clock, &*test.random), SpaceId::new(&*test.clock, &*test.random));
    let at = test.clock.now();
    let mut tx = test.db.begin().await.expect("begins");
    tx.query(
        "INSERT INTO account (id, email, email_key, name, password_hash, role, kind, tier, email_verified, locale, timezone, created, updated)
         VALUES ($1, $2, $2, $3, '', 'user', 'human', 'free', $4, 'de', 'Europe/Berlin', $5, $5)",
    )
    .bind(id)
    .bind(format!("{name}-{id}@mana.test"))
    .bind(name.to_owned())
    .bind(true)
    .bind(at)
    .execute()
    .await
    .expect("adds the account");
    space::create(&mut tx, space, SpaceKind::Personal, name, &id.to_string(), at).await.expect("creates the space");
    space::join(&mut tx, space, id, SpaceRole::Owner, at).await.expect("joins");
    tx.commit().await.expect("commits");
    let token = key.sign(&claims(test, id)).expect("signs");
    Person { id, space, token }
}

/// A tool call over REST, not sent yet.
pub(crate) fn rest_request(token: &str, tool: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::post(format!("/api/v1/tools/{tool}")).header("content-type", "application/json");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).expect("a request")
}

/// A message of 2026-07-28 with everything that the version demands, not sent yet.
pub(crate) fn mcp_request(
    path: &str,
    token: &str,
    headers: &[(&str, &str)],
    method: &str,
    mut params: Value,
) -> Request<Body> {
    let mut meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
    });
    if let (Some(meta), Some(given)) = (meta.as_object_mut(), params["_meta"].as_object()) {
        meta.extend(given.clone());
    }
    params["_meta"] = meta;
    let mut request = Request::post(path)
        .header("host", "mana.test")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method);
    if let Some(name) = params["name"].as_str() {
        request = request.header("mcp-name", name);
    }
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    request.body(Body::from(body.to_string())).expect("a request")
}
