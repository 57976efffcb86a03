//! A provider for tests: it answers each request with the next of its scripts, over a real socket, and keeps what it was
//! asked.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};

/// What happens next in an answer.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Send(Bytes),
    Wait(Duration),
    /// The connection breaks.
    Cut,
}

/// One answer.
#[derive(Debug, Clone)]
pub(super) struct Script {
    status: u16,
    headers: Vec<(&'static str, String)>,
    parts: Vec<Part>,
}

impl Script {
    pub(super) fn of(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self { status, headers: vec![("content-type", content_type.into())], parts: vec![Part::Send(body.into())] }
    }

    /// A stream that is sent in these pieces.
    pub(super) fn stream(parts: Vec<Part>) -> Self {
        Self { status: 200, headers: vec![("content-type", "text/event-stream; charset=utf-8".into())], parts }
    }

    /// An error in the provider's shape.
    pub(super) fn error(status: u16, kind: &str) -> Self {
        let error = json!({ "type": "error", "error": { "type": kind, "message": "no" }, "request_id": "req_7" });
        Self::of(status, "application/json", error.to_string())
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) headers: HeaderMap,
    pub(super) text: String,
    pub(super) body: Value,
}

#[derive(Debug, Default)]
struct Desk {
    scripts: Mutex<VecDeque<Script>>,
    asked: Mutex<Vec<Asked>>,
}

#[derive(Debug)]
pub(super) struct Provider {
    pub(super) url: String,
    desk: Arc<Desk>,
}

impl Provider {
    pub(super) async fn start(scripts: Vec<Script>) -> Self {
        let desk = Arc::new(Desk { scripts: Mutex::new(scripts.into()), asked: Mutex::default() });
        let app = axum::Router::new().fallback(answer).with_state(Arc::clone(&desk));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, desk }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.desk.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer(State(desk): State<Arc<Desk>>, request: Request<Body>) -> Response<Body> {
    assert_eq!(request.uri().path(), "/v1/messages");
    let headers = request.headers().clone();
    let bytes = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
    let body = serde_json::from_slice(&bytes).unwrap();
    desk.asked.lock().unwrap().push(Asked { headers, text: String::from_utf8(bytes.to_vec()).unwrap(), body });
    let script = desk.scripts.lock().unwrap().pop_front();
    let script = script.unwrap_or_else(|| Script::error(500, "the_script_is_over").with("x-should-retry", "false"));
    let mut response = Response::builder().status(script.status);
    for (name, value) in &script.headers {
        response = response.header(*name, value);
    }
    let parts = stream::unfold(script.parts.into_iter(), |mut parts| async move {
        loop {
            match parts.next()? {
                Part::Send(bytes) => return Some((Ok(bytes), parts)),
                Part::Wait(time) => tokio::time::sleep(time).await,
                Part::Cut => return Some((Err(io::Error::other("cut")), parts)),
            }
        }
    });
    response.body(Body::from_stream(parts)).unwrap()
}

/// Events as a provider writes them.
pub(super) fn events(events: &[Value]) -> String {
    events.iter().fold(String::new(), |mut text, event| {
        let name = event["type"].as_str().unwrap();
        write!(text, "event: {name}\ndata: {event}\n\n").unwrap();
        text
    })
}

/// The beginning of a message.
pub(super) fn start() -> Value {
    json!({ "type": "message_start", "message": { "id": "msg_1", "type": "message", "role": "assistant",
        "model": "claude-haiku-5-5-20261021", "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": { "input_tokens": 100, "output_tokens": 1, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 0 } } })
}

/// The events of one block: its start, its pieces, its end.
pub(super) fn block(index: usize, block: &Value, deltas: &[Value]) -> Vec<Value> {
    let mut events = vec![json!({ "type": "content_block_start", "index": index, "content_block": block })];
    events.extend(deltas.iter().map(|delta| json!({ "type": "content_block_delta", "index": index, "delta": delta })));
    events.push(json!({ "type": "content_block_stop", "index": index }));
    events
}

/// The end of a message.
pub(super) fn end(reason: &str) -> Vec<Value> {
    vec![
        json!({ "type": "message_delta", "delta": { "stop_reason": reason, "stop_sequence": null },
            "usage": { "input_tokens": null, "output_tokens": 50 } }),
        json!({ "type": "message_stop" }),
    ]
}

/// A whole message of these blocks.
pub(super) fn message(blocks: Vec<Vec<Value>>, reason: &str) -> String {
    let mut all = vec![start(), json!({ "type": "ping" })];
    all.extend(blocks.into_iter().flatten());
    all.extend(end(reason));
    events(&all)
}

/// A message that says one thing.
pub(super) fn said(text: &str) -> String {
    let delta = json!({ "type": "text_delta", "text": text });
    message(vec![block(0, &json!({ "type": "text", "text": "" }), &[delta])], "end_turn")
}

/// The same as a script.
pub(super) fn says(text: &str) -> Script {
    Script::stream(vec![Part::Send(said(text).into())])
}
