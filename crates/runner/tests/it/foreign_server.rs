//! The MCP server of another product: of the protocol before the newest, with sessions, pages and odd names. It writes
//! down whatever is said to it, and misbehaves when told to.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// One tool call that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) tool: String,
    pub(crate) arguments: Value,
    pub(crate) id: Value,
    pub(crate) headers: HeaderMap,
}

/// What happened, and how it misbehaves.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) tools: Vec<Value>,
    /// Tools in one page.
    pub(crate) page: usize,
    pub(crate) pages_asked: usize,
    /// The page after the last is the first.
    pub(crate) goes_round: bool,
    /// The tokens that are taken; none takes everything.
    pub(crate) tokens: Option<HashSet<String>>,
    pub(crate) handshakes: usize,
    /// After how many calls it forgets, once, whom it knows.
    pub(crate) forgets_after: Option<usize>,
    sessions: HashSet<String>,
    pub(crate) calls: Vec<Call>,
    pub(crate) cancelled: Vec<Value>,
    /// How many calls were given up because nobody was there any more to take the answer.
    pub(crate) given_up: usize,
    /// It speaks the newest protocol, without sessions.
    pub(crate) is_modern: bool,
    /// What a tool answers.
    pub(crate) answers: HashMap<String, Value>,
    /// What the token endpoint was asked: who, and the form.
    pub(crate) asked: Vec<(String, String)>,
    pub(crate) grants_refused: bool,
}

pub(crate) struct Foreign {
    log: Mutex<Log>,
    pub(crate) happened: Notify,
    pub(crate) url: String,
}

impl Foreign {
    pub(crate) async fn start(tools: Vec<Value>) -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let log = Log { tools, page: 50, ..Log::default() };
        let foreign = Arc::new(Self { log: Mutex::new(log), happened: Notify::new(), url });
        let router = Router::new()
            .route("/mcp", any(mcp))
            .route("/token", post(token))
            .route("/moved", any(|| async { Redirect::temporary("/mcp") }))
            .with_state(Arc::clone(&foreign));
        tokio::spawn(async move { axum::serve(listener, router).await });
        foreign
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only these tokens are taken from now on.
    pub(crate) fn take_tokens(&self, tokens: &[&str]) {
        self.log().tokens = Some(tokens.iter().map(|token| (*token).to_owned()).collect());
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, mut so: impl FnMut(&Log) -> bool) {
        let waited = async {
            while !so(&self.log()) {
                // Heard or not, it looks again; what it waits for must come true within the ten seconds below.
                let _ = tokio::time::timeout(Duration::from_millis(20), self.happened.notified()).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waited).await.expect("it came to be so");
    }
}

fn bearer(headers: &HeaderMap) -> &str {
    let value = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.strip_prefix("Bearer ").unwrap_or_default()
}

async fn mcp(
    State(foreign): State<Arc<Foreign>>,
    method: axum::http::Method,
    headers: HeaderMap,
    body: String,
) -> Response {
    if method == axum::http::Method::DELETE {
        return StatusCode::OK.into_response();
    }
    if method != axum::http::Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let taken = foreign.log().tokens.as_ref().is_none_or(|tokens| tokens.contains(bearer(&headers)));
    if !taken {
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", "Bearer")], "who are you?").into_response();
    }
    let message: Value = serde_json::from_str(&body).expect("JSON-RPC");
    let asked = message["method"].as_str().unwrap_or_default();
    let session = headers.get("mcp-session-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    if asked == "initialize" {
        let mut log = foreign.log();
        log.handshakes += 1;
        let session = format!("session-{}", log.handshakes);
        log.sessions.insert(session.clone());
        let result = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "shop", "version": "1.0.0" },
        });
        let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
        let headers = [("content-type", "text/event-stream"), ("mcp-session-id", session.as_str())];
        return (headers, format!("event: message\ndata: {answer}\n\n")).into_response();
    }
    let is_modern = foreign.log().is_modern;
    if is_modern && asked == "server/discover" {
        let result = json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} },
            "ttlMs": 0, "cacheScope": "private",
        });
        return Json(json!({ "jsonrpc": "2.0", "id": message["id"], "result": result })).into_response();
    }
    let known = session.as_ref().map(|session| foreign.log().sessions.contains(session));
    match known {
        // As servers of that time say it.
        None if is_modern => {}
        None => return error(StatusCode::BAD_REQUEST, -32000, "Bad Request: Server not initialized"),
        Some(false) => return error(StatusCode::NOT_FOUND, -32001, "Session not found"),
        Some(true) => {}
    }
    match asked {
        "tools/list" => list(&foreign, &message),
        "tools/call" => call(&foreign, &message, headers).await,
        "notifications/cancelled" => {
            foreign.log().cancelled.push(message["params"]["requestId"].clone());
            foreign.happened.notify_waiters();
            StatusCode::ACCEPTED.into_response()
        }
        _ => StatusCode::ACCEPTED.into_response(),
    }
}

fn error(status: StatusCode, code: i32, message: &str) -> Response {
    let body = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": code, "message": message } });
    (status, Json(body)).into_response()
}

fn list(foreign: &Foreign, message: &Value) -> Response {
    let mut log = foreign.log();
    log.pages_asked += 1;
    let from: usize = message["params"]["cursor"].as_str().map_or(0, |cursor| cursor.parse().expect("our cursor"));
    let to = (from + log.page).min(log.tools.len());
    let next = (to < log.tools.len()).then(|| to.to_string()).or_else(|| log.goes_round.then(|| "0".to_owned()));
    let mut result = json!({ "tools": log.tools[from..to] });
    if let Some(next) = next {
        result["nextCursor"] = next.into();
    }
    Json(json!({ "jsonrpc": "2.0", "id": message["id"], "result": result })).into_response()
}

async fn call(foreign: &Foreign, message: &Value, headers: HeaderMap) -> Response {
    let tool = message["params"]["name"].as_str().unwrap_or_default().to_owned();
    let arguments = message["params"]["arguments"].clone();
    let token = bearer(&headers).to_owned();
    let id = message["id"].clone();
    foreign.log().calls.push(Call { tool: tool.clone(), arguments: arguments.clone(), id: id.clone(), headers });
    {
        let mut log = foreign.log();
        if log.forgets_after == Some(log.calls.len()) {
            log.forgets_after = None;
            log.sessions.clear();
        }
    }
    foreign.happened.notify_waiters();
    let answer = foreign.log().answers.get(&tool).cloned();
    let result = match (tool.as_str(), answer) {
        (_, Some(answer)) => answer,
        ("hang", None) => {
            let _until_done = GivenUp(foreign);
            tokio::time::sleep(Duration::from_mins(1)).await;
            json!({ "content": [] })
        }
        ("flood", None) => {
            let chunks = (0..40).map(|_| Ok::<_, std::io::Error>("x".repeat(1024 * 1024)));
            let body = Body::from_stream(futures::stream::iter(chunks));
            return ([("content-type", "application/json")], body).into_response();
        }
        ("busy", None) => return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")], "later").into_response(),
        ("echo", None) => json!({
            "content": [{ "type": "text", "text": format!("you sent {token}") }],
            "structuredContent": { "sent": [token] },
        }),
        (_, None) => json!({ "content": [{ "type": "text", "text": format!("{tool} {arguments}") }] }),
    };
    let answer = json!({ "jsonrpc": "2.0", "id": id, "result": result });
    ([("content-type", "text/event-stream")], format!(": hello\n\ndata: {answer}\n\n")).into_response()
}

/// Counts a call whose work is dropped.
struct GivenUp<'a>(&'a Foreign);

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        self.0.log().given_up += 1;
    }
}

/// Issues `token-1`, `token-2` and so on; the latest is the one that is taken.
async fn token(State(foreign): State<Arc<Foreign>>, headers: HeaderMap, body: String) -> Response {
    let who = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut log = foreign.log();
    log.asked.push((who, body));
    if log.grants_refused {
        let refusal = json!({ "error": "invalid_client", "error_description": "no such client" });
        return (StatusCode::UNAUTHORIZED, Json(refusal)).into_response();
    }
    let token = format!("token-{}", log.asked.len());
    log.tokens = Some(HashSet::from([token.clone()]));
    Json(json!({ "access_token": token, "token_type": "bearer", "expires_in": 3600 })).into_response()
}
