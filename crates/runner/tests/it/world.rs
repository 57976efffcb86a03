//! A small world: two accounts, a queue of due personas, and an MCP server with two modules. It writes down whatever is
//! said to it, and misbehaves when told to.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mana_runner::{CancellationToken, EngineChoice, Runner, RunnerOptions, Timing, derive_password};
use mana_types::{ManualClock, Random, Secret, SeededRandom, Timestamp};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use crate::ledger::Ledger;
use crate::tools::{page, page_of, tools};

pub(crate) const SERVICE_KEY: &str = "test-service-key";
pub(crate) const SPACE: &str = "0199a3f2-7c1e-7b60-9a51-1f0c7d2e4b11";
const USER: &str = "0199a3f2-7c1e-7b60-9a51-1f0c7d2e4b12";

/// One tool call that arrived.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) tool: String,
    pub(crate) arguments: Value,
    pub(crate) key: String,
    pub(crate) tick: String,
    pub(crate) token: String,
    pub(crate) space: String,
}

/// How the MCP server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mcp {
    #[default]
    Works,
    TakesNoToken,
    HasNoTools,
    /// 404 to everything.
    Missing,
    /// Knows only the protocol before the newest.
    Legacy,
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) due: VecDeque<Value>,
    pub(crate) logins: usize,
    pub(crate) refreshes: usize,
    pub(crate) claim_limits: Vec<u64>,
    pub(crate) journal: HashMap<String, Vec<Value>>,
    pub(crate) finishes: Vec<(String, Value)>,
    pub(crate) releases: Vec<String>,
    pub(crate) beats: usize,
    pub(crate) calls: Vec<Call>,
    pub(crate) running: usize,
    pub(crate) most_running: usize,
    /// How it misbehaves.
    pub(crate) mcp: Mcp,
    pub(crate) login_fails: bool,
    pub(crate) beats_fail: bool,
    pub(crate) lost: HashSet<String>,
    pub(crate) stale: HashSet<String>,
    pub(crate) failing_tools: HashSet<String>,
    pub(crate) slow_tools: HashMap<String, Duration>,
    /// After how many calls the access token is not taken any more, until it is refreshed.
    pub(crate) token_dies_after: Option<usize>,
    pub(crate) refresh_fails: bool,
    /// What is offered instead of the tools below, and how many in a page.
    pub(crate) offered: Option<(Vec<Value>, usize)>,
    /// What a tool answers, whatever it is asked: a result as it stands on the wire.
    pub(crate) results: HashMap<String, Value>,
    /// Calls by their number that are answered with this status, once each, and whether they happen nevertheless.
    pub(crate) broken_calls: HashMap<usize, (StatusCode, bool)>,
    /// Every MCP request: method, token and space.
    pub(crate) requests: Vec<(String, String, String)>,
    /// The keys of calls whose answer nobody waited for: the connection was closed.
    pub(crate) given_up: Vec<String>,
    /// What a persona remembers; nothing where nothing is said.
    pub(crate) memory: Value,
    pub(crate) ledger: Ledger,
    /// The personal spaces of those who have not the usual one, by e-mail.
    pub(crate) spaces: HashMap<String, String>,
    /// How many journal requests there were.
    pub(crate) journaled: usize,
    /// The journal request of this number is never answered; whether it is taken in nevertheless.
    pub(crate) silent_at: Option<(usize, bool)>,
    /// Journal requests with an entry of this kind are refused for good.
    pub(crate) refused_kind: Option<&'static str>,
    answered: HashMap<String, Value>,
    pub(crate) records: Vec<(String, Value)>,
}

pub(crate) struct World {
    log: Mutex<Log>,
    pub(crate) happened: Notify,
    pub(crate) url: String,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    pub(crate) async fn start() -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let stop = CancellationToken::new();
        let world = Arc::new(Self { log: Mutex::default(), happened: Notify::new(), url, stop: stop.clone() });
        let router = Router::new()
            .route("/api/v1/auth/login", post(login))
            .route("/api/v1/auth/refresh", post(refresh))
            .route("/api/v1/spaces", get(spaces))
            .route("/api/v1/internal/personas/claim", post(claim))
            .route("/api/v1/internal/personas/ticks/heartbeat", post(heartbeat))
            .route("/api/v1/internal/personas/ticks/{tick}/{what}", post(write).get(memory))
            .route("/mcp", post(mcp))
            .with_state(Arc::downgrade(&world));
        tokio::spawn(mana_web::serve(listener, router, stop, Duration::from_millis(10)));
        world
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn options(&self) -> RunnerOptions {
        RunnerOptions {
            identity_url: self.url.clone(),
            personas_url: self.url.clone(),
            mcp_url: format!("{}/mcp", self.url),
            service_key: Secret::new(SERVICE_KEY),
            engine: EngineChoice::Rehearsal,
            tick_interval_ms: 50,
            timing: Timing { request: Duration::from_secs(5), ..Timing::default() },
            ..RunnerOptions::default()
        }
    }

    pub(crate) fn runner(&self) -> Runner {
        runner_with(self.options())
    }

    pub(crate) fn make_due(&self, claims: impl IntoIterator<Item = Value>) {
        self.log().due.extend(claims);
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, mut so: impl FnMut(&Log) -> bool) {
        let waited = async {
            loop {
                let happened = self.happened.notified();
                if so(&self.log()) {
                    return;
                }
                // Heard or not, it looks again; what it waits for must come true within the ten seconds below.
                let _ = tokio::time::timeout(Duration::from_millis(20), happened).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waited).await.expect("it happens within ten seconds");
    }
}

pub(crate) fn runner_with(options: RunnerOptions) -> Runner {
    let now: Timestamp = "2026-11-20T09:30:00+01:00".parse().expect("a time");
    let chance: Arc<dyn Random> = Arc::new(SeededRandom::new(7));
    Runner::new(options, Arc::new(ManualClock::at(now)), &chance).expect("a runner")
}

/// A claim of a persona that likes tasks and notes.
pub(crate) fn persona(name: &str, tick: &str) -> Value {
    json!({
        "tickId": tick, "epoch": 3, "attempt": 1, "resumed": false, "leaseUntil": "2026-11-20T08:32:00Z", "journal": [],
        "persona": {
            "userId": USER, "email": format!("persona.{name}@mana.test"), "name": name, "archetype": "adhd-student",
            "systemPrompt": "Ich bin hier, um Aufgaben zu erledigen und Notizen zu machen.",
            "moduleMix": { "todo": 0.6, "notes": 0.4, "weather": 0.5 }, "tickCadence": "daily", "locale": "de",
            "timezone": "Europe/Berlin", "lastActiveAt": null,
            "behaviour": { "toleratedErrors": 3, "toleratedMinutes": 6, "typoRate": 0.05, "skipRate": 0.1, "verbosity": 0.9 },
        },
    })
}

type Shared = State<std::sync::Weak<World>>;

fn problem(status: u16, code: &str, detail: &str) -> Response {
    let body = json!({ "status": status, "code": code, "detail": detail, "error": detail }).to_string();
    (StatusCode::from_u16(status).expect("a status"), [("content-type", "application/problem+json")], body)
        .into_response()
}

fn answer(body: &Value) -> Response {
    ([("content-type", "application/json")], body.to_string()).into_response()
}

fn read(body: &[u8]) -> Value {
    serde_json::from_slice(body).expect("the runner sends JSON")
}

async fn login(State(world): Shared, body: axum::body::Bytes) -> Response {
    let Some(world) = world.upgrade() else { return problem(503, "SERVICE_UNAVAILABLE", "gone") };
    let body = read(&body);
    let email = body["email"].as_str().expect("an e-mail").to_owned();
    let mut log = world.log();
    log.logins += 1;
    let expected = derive_password(&RunnerOptions::default().seed_secret, &email);
    if log.login_fails || body["password"] != expected.expose() || !email.ends_with("@mana.test") {
        return problem(401, "INVALID_CREDENTIALS", "e-mail or password is wrong");
    }
    let token = format!("access-1-{email}");
    answer(&json!({
        "user": { "id": USER, "email": email, "name": "x", "role": "user", "kind": "persona", "tier": "founder" },
        "token": token, "accessToken": token, "refreshToken": format!("refresh-{email}"), "expiresIn": 900,
    }))
}

async fn refresh(State(world): Shared, body: axum::body::Bytes) -> Response {
    let Some(world) = world.upgrade() else { return problem(503, "SERVICE_UNAVAILABLE", "gone") };
    let body = read(&body);
    let mut log = world.log();
    log.refreshes += 1;
    let Some(email) = body["refreshToken"].as_str().and_then(|token| token.strip_prefix("refresh-")) else {
        return problem(401, "TOKEN_INVALID", "no");
    };
    if log.refresh_fails {
        return problem(401, "TOKEN_INVALID", "revoked");
    }
    answer(&json!({ "accessToken": format!("access-2-{email}"), "token": "x", "refreshToken": "refresh-next" }))
}

async fn spaces(State(world): Shared, headers: HeaderMap) -> Response {
    let Some(world) = world.upgrade() else { return problem(503, "SERVICE_UNAVAILABLE", "gone") };
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !bearer.starts_with("Bearer access-") {
        return problem(401, "UNAUTHORIZED", "no token");
    }
    let email = bearer.trim_start_matches("Bearer access-1-");
    let personal = world.log().spaces.get(email).cloned().unwrap_or_else(|| SPACE.to_owned());
    answer(&json!([
        { "id": "0199a3f2-7c1e-7b60-9a51-000000000000", "name": "WG", "slug": "wg", "metadata": { "type": "family" }, "role": "member" },
        { "id": personal, "name": "Personal", "slug": "me", "metadata": { "type": "personal" }, "role": "owner" },
    ]))
}

fn is_service(headers: &HeaderMap) -> bool {
    headers.get("x-service-key").is_some_and(|key| key == SERVICE_KEY)
}

async fn claim(State(world): Shared, headers: HeaderMap, body: axum::body::Bytes) -> Response {
    let Some(world) = world.upgrade() else { return problem(503, "SERVICE_UNAVAILABLE", "gone") };
    if !is_service(&headers) {
        return problem(401, "UNAUTHORIZED", "wrong service key");
    }
    let body = read(&body);
    assert!(body["owner"].as_str().is_some_and(|owner| owner.len() > 10) && body["leaseMs"].as_u64() > Some(0));
    assert!(["anthropic", "chaos", "rehearsal", "replay"].iter().any(|engine| body["engine"] == *engine), "{body}");
    let limit = body["limit"].as_u64().expect("a limit");
    let mut log = world.log();
    log.claim_limits.push(limit);
    let count = usize::try_from(limit).expect("small").min(log.due.len());
    let claims: Vec<Value> = log.due.drain(..count).collect();
    log.running += claims.len();
    log.most_running = log.most_running.max(log.running);
    answer(&json!({ "claims": claims, "serverTime": "2026-11-20T08:30:00Z" }))
}

async fn heartbeat(State(world): Shared, headers: HeaderMap, body: axum::body::Bytes) -> Response {
    let Some(world) = world.upgrade() else { return problem(503, "SERVICE_UNAVAILABLE", "gone") };
    assert!(is_service(&headers));
    let body = read(&body);
    let mut log = world.log();
    log.beats += 1;
    if log.beats_fail {
        return problem(503, "SERVICE_UNAVAILABLE", "later");
    }
    let ticks: Vec<String> = body["ticks"]
        .as_array()
        .expect("ticks")
        .iter()
        .map(|tick| tick["tickId"].as_str().expect("an id").to_owned())
        .collect();
    let (lost, held): (Vec<String>, Vec<String>) = ticks.into_iter().partition(|tick| log.lost.contains(tick));
    answer(&json!({ "held": held, "lost": lost }))
}

async fn write(
    State(world): Shared,
    Path((tick, what)): Path<(String, String)>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Response {
    let Some(world) = world.upgrade() else { return problem(503, "SERVICE_UNAVAILABLE", "gone") };
    assert!(is_service(&headers));
    let body = read(&body);
    assert!(body["owner"].is_string() && body["epoch"].is_i64(), "{body}");
    if what == "journal" && world.falls_silent(&tick, &body) {
        world.happened.notify_waiters();
        return std::future::pending().await;
    }
    let mut log = world.log();
    if log.stale.contains(&tick) {
        return problem(409, "STALE_EPOCH", "somebody else holds this visit");
    }
    let has_kind =
        |kind: &str| body["entries"].as_array().into_iter().flatten().any(|line| line["entry"]["kind"] == kind);
    if what == "journal" && log.refused_kind.is_some_and(has_kind) {
        return problem(413, "TOO_LARGE", "too large");
    }
    let mut said = json!({ "ok": true });
    match what.as_str() {
        "journal" => said["reserve"] = log.take_lines(&tick, &body),
        "finish" => {
            log.running -= 1;
            log.finishes.push((tick, body));
        }
        "release" => {
            log.running -= 1;
            log.releases.push(tick);
        }
        other => panic!("no such route: {other}"),
    }
    drop(log);
    world.happened.notify_waiters();
    answer(&said)
}

async fn memory(
    State(world): Shared,
    Path((tick, what)): Path<(String, String)>,
    headers: HeaderMap,
    axum::extract::RawQuery(query): axum::extract::RawQuery,
) -> Response {
    let Some(world) = world.upgrade() else { return problem(503, "SERVICE_UNAVAILABLE", "gone") };
    assert!(is_service(&headers) && what == "memory" && !tick.is_empty());
    assert!(query.is_some_and(|query| query.contains("owner=") && query.contains("epoch=")));
    let log = world.log();
    answer(if log.memory.is_null() { &NOTHING } else { &log.memory })
}

/// What somebody remembers who was never here.
static NOTHING: std::sync::LazyLock<Value> = std::sync::LazyLock::new(
    || json!({ "lastVisits": [], "daysSinceLast": null, "openGoals": [], "annoyances": [], "story": null }),
);

impl World {
    /// Whether this journal request gets no answer: for a runner that dies there.
    fn falls_silent(&self, tick: &str, body: &Value) -> bool {
        let mut log = self.log();
        log.journaled += 1;
        let Some((_, is_taken)) = log.silent_at.filter(|(at, _)| log.journaled == *at) else { return false };
        if is_taken {
            log.take_lines(tick, body);
        }
        true
    }
}

impl Log {
    /// Takes lines into the journal and what they say about money; answers what is said to a reservation.
    fn take_lines(&mut self, tick: &str, body: &Value) -> Value {
        let journal = self.journal.entry(tick.to_owned()).or_default();
        for entry in body["entries"].as_array().expect("entries") {
            match journal.iter().find(|known| known["seq"] == entry["seq"]) {
                Some(known) => assert_eq!(known, entry, "a line of the journal is never another one later"),
                None => journal.push(entry.clone()),
            }
        }
        self.ledger.take(tick, body)
    }
}

/// A call that somebody waits for; dropped with the connection.
struct Waiting<'a>(&'a World, &'a str);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.log().given_up.push(self.1.to_owned());
        self.0.happened.notify_waiters();
    }
}

async fn mcp(State(world): Shared, headers: HeaderMap, body: axum::body::Bytes) -> Response {
    let Some(world) = world.upgrade() else { return problem(503, "SERVICE_UNAVAILABLE", "gone") };
    let message = read(&body);
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let token = text("authorization").trim_start_matches("Bearer ").to_owned();
    let state = {
        let log = world.log();
        let is_dead =
            token.starts_with("access-1-") && log.token_dies_after.is_some_and(|calls| log.calls.len() >= calls);
        if is_dead { Mcp::TakesNoToken } else { log.mcp }
    };
    world.log().requests.push((
        message["method"].as_str().unwrap_or_default().to_owned(),
        token.clone(),
        text("x-mana-space"),
    ));
    match state {
        Mcp::TakesNoToken => {
            let challenge = [("www-authenticate", "Bearer error=\"invalid_token\"")];
            return (StatusCode::UNAUTHORIZED, challenge, "{}").into_response();
        }
        Mcp::Missing => return problem(404, "NOT_FOUND", "nothing here"),
        Mcp::Works | Mcp::HasNoTools | Mcp::Legacy => {}
    }
    let id = message["id"].clone();
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" if state == Mcp::Legacy => json!({
            "protocolVersion": "2025-11-25", "capabilities": { "tools": {} }, "serverInfo": { "name": "old", "version": "1" },
        }),
        "notifications/initialized" => return StatusCode::ACCEPTED.into_response(),
        "server/discover" if state != Mcp::Legacy => json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} },
            "ttlMs": 0, "cacheScope": "private",
        }),
        "tools/list" if state == Mcp::HasNoTools => json!({ "resultType": "complete", "tools": [] }),
        "tools/list" => match &world.log().offered {
            Some((tools, size)) => page_of(tools, *size, &message["params"]),
            None => page(&message["params"]),
        },
        "tools/call" => {
            let params = &message["params"];
            let call = Call {
                tool: params["name"].as_str().unwrap_or_default().to_owned(),
                arguments: params["arguments"].clone(),
                key: params["_meta"]["mana/idempotencyKey"].as_str().unwrap_or_default().to_owned(),
                tick: params["_meta"]["mana/tickId"].as_str().unwrap_or_default().to_owned(),
                token,
                space: text("x-mana-space"),
            };
            let broken = {
                let mut log = world.log();
                log.calls.push(call.clone());
                let number = log.calls.len();
                log.broken_calls.remove(&number)
            };
            world.happened.notify_waiters();
            if let Some((status, happens)) = broken {
                if happens {
                    use_tool(&mut world.log(), &call);
                }
                return (status, [("x-debug", "Bearer canary-in-a-header")], "sk-canary-in-a-body").into_response();
            }
            let pause = world.log().slow_tools.get(&call.tool).copied();
            if let Some(pause) = pause {
                let waiting = Waiting(&world, &call.key);
                tokio::time::sleep(pause).await;
                std::mem::forget(waiting);
            }
            use_tool(&mut world.log(), &call)
        }
        _ => {
            return answer(
                &json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": "unknown method" } }),
            );
        }
    };
    answer(&json!({ "jsonrpc": "2.0", "id": id, "result": result }))
}

fn use_tool(log: &mut Log, call: &Call) -> Value {
    if let Some(result) = log.results.get(&call.tool) {
        let mut result = result.clone();
        result["resultType"] = json!("complete");
        return result;
    }
    if let Some(known) = log.answered.get(&call.key) {
        return known.clone();
    }
    let result = if log.failing_tools.contains(&call.tool) {
        Err(("BROKEN", format!("{} is broken", call.tool)))
    } else {
        check(call).and_then(|()| run(log, call))
    };
    let answer = match result {
        Ok(value) => json!({
            "resultType": "complete", "content": [{ "type": "text", "text": value.to_string() }], "structuredContent": value,
        }),
        Err((code, message)) => json!({
            "resultType": "complete", "isError": true, "content": [{ "type": "text", "text": message }],
            "structuredContent": { "code": code, "message": message },
        }),
    };
    log.answered.insert(call.key.clone(), answer.clone());
    answer
}

/// What a server with a schema checks.
fn check(call: &Call) -> Result<(), (&'static str, String)> {
    let tools = tools();
    let tool = tools.as_array().expect("a list").iter().find(|tool| tool["name"] == *call.tool);
    let schema = &tool.ok_or(("UNKNOWN", "no such tool".to_owned()))?["inputSchema"];
    let arguments = call.arguments.as_object().expect("an object");
    for required in schema["required"].as_array().expect("a list") {
        if !arguments.contains_key(required.as_str().expect("a name")) {
            return Err(("VALIDATION", format!("{required} is missing")));
        }
    }
    for (name, value) in arguments {
        let Some(property) = schema["properties"].get(name) else {
            return Err(("VALIDATION", format!("{name} is unknown")));
        };
        let length = value.as_str().map_or(1, |text| text.chars().count());
        if length < 1
            || property["maxLength"].as_u64().is_some_and(|most| length > usize::try_from(most).expect("small"))
        {
            return Err(("VALIDATION", format!("`{name}` has the wrong length")));
        }
        if property["enum"].as_array().is_some_and(|options| !options.contains(value)) {
            return Err(("VALIDATION", format!("{name} is none of the options")));
        }
        if property["format"] == "date-time" && value.as_str().is_none_or(|time| time.parse::<Timestamp>().is_err()) {
            return Err(("VALIDATION", format!("`{name}` is no time")));
        }
    }
    Ok(())
}

fn run(log: &mut Log, call: &Call) -> Result<Value, (&'static str, String)> {
    let (module, verb) = call.tool.split_once('_').expect("module_verb");
    let arguments = call.arguments.as_object().expect("an object");
    match verb {
        "create" => {
            let number = log.records.len() + 1;
            let mut record: Map<String, Value> = arguments.clone();
            record.insert("id".into(), json!(format!("0199a3f2-7c1e-7b60-9a51-{number:012}")));
            record.insert("rev".into(), json!(1));
            log.records.push((module.to_owned(), Value::Object(record.clone())));
            Ok(Value::Object(record))
        }
        "list" => {
            let items: Vec<&Value> =
                log.records.iter().filter(|(of, _)| of == module).map(|(_, record)| record).collect();
            Ok(json!({ "items": items }))
        }
        _ => {
            let id = arguments.get("taskId").or_else(|| arguments.get("noteId")).cloned().unwrap_or_default();
            let found = log.records.iter_mut().find(|(of, record)| of == module && record["id"] == id);
            let (_, record) = found.ok_or(("NOT_FOUND", format!("there is no record {id}")))?;
            if verb == "complete" {
                record["isCompleted"] = json!(true);
            }
            Ok(record.clone())
        }
    }
}
