//! The fake model itself: a server on a free port, its memory, and its verdict.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, OriginalUri, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use axum::routing::post;
use axum::serve::ListenerExt;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::replies::{Line, Replies};
use super::{Ask, Script, Turn, Usage, Violation, stream, validate};

/// A request that the model saw.
#[derive(Debug, Clone)]
pub struct SeenRequest {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, byte by byte.
    pub bytes: Bytes,
    /// Its body, read; `null` where it was no JSON.
    pub body: Arc<Value>,
}

/// A model behind a real socket. Dropping it ends it, and fails the test if a request broke a rule.
#[derive(Debug)]
pub struct FakeModel {
    url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    script: Script,
    checked: bool,
    memory: Mutex<Memory>,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

#[derive(Debug, Default)]
struct Memory {
    requests: Vec<SeenRequest>,
    violations: Vec<(&'static str, String)>,
    forgiven: HashSet<&'static str>,
    replies: Replies,
    attempts: HashMap<u64, usize>,
    number: usize,
}

impl FakeModel {
    /// Starts a model that answers by the script, keeps every request and checks it.
    pub async fn start(script: Script) -> Self {
        Self::serve(script, true).await
    }

    /// Starts a model that neither keeps nor checks anything, for measurements.
    pub async fn start_unchecked(script: Script) -> Self {
        Self::serve(script, false).await
    }

    async fn serve(script: Script, checked: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port of this machine can be had");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            script,
            checked,
            memory: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let app = Router::new()
            .route("/v1/messages", post(messages))
            .fallback(elsewhere)
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&shared));
        // Otherwise small chunks wait for the acknowledgement of those before.
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("an open socket takes an option"));
        let task = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("serving a bound listener does not end");
        });
        Self { url: format!("http://{address}"), shared, task }
    }

    /// The base address, without `/v1/messages`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Every request so far, in the order in which they came.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.shared.memory().requests.clone()
    }

    /// How many requests came, also those of an unchecked model.
    pub fn served(&self) -> usize {
        self.shared.memory().number
    }

    /// How many answers were being prepared at once, at most. A stream that is still being read does not count.
    pub fn most_at_once(&self) -> usize {
        self.shared.most.load(Ordering::Relaxed)
    }

    /// The requests by conversation (same `system`, same first message), each in order.
    pub fn conversations(&self) -> Vec<Vec<SeenRequest>> {
        let mut places: HashMap<u64, usize> = HashMap::new();
        let mut conversations: Vec<Vec<SeenRequest>> = Vec::new();
        for request in self.requests() {
            let first = Line::of(&messages_of(&request.body)[..messages_of(&request.body).len().min(1)]).number();
            let key = number(&(first, request.body["system"].to_string()));
            let place = *places.entry(key).or_insert_with(|| {
                conversations.push(Vec::new());
                conversations.len() - 1
            });
            conversations[place].push(request);
        }
        conversations
    }

    /// What was wrong with the requests so far, each with its number.
    pub fn violations(&self) -> Vec<String> {
        let memory = self.shared.memory();
        let counts = |(rule, _): &&(&'static str, String)| !memory.forgiven.contains(rule);
        memory.violations.iter().filter(counts).map(|(_, text)| text.clone()).collect()
    }

    /// Does not count violations of this rule: for tests that break it on purpose, or speak as another server would.
    pub fn forgive(&self, rule: &'static str) {
        self.shared.memory().forgiven.insert(rule);
    }

    /// Fails, with a list, if a request broke a rule.
    #[track_caller]
    pub fn assert_clean(&self) {
        let violations = self.violations();
        assert!(violations.is_empty(), "requests broke the rules of the Messages API:\n{}", violations.join("\n"));
    }
}

impl Drop for FakeModel {
    fn drop(&mut self) {
        self.task.abort();
        if !std::thread::panicking() {
            self.assert_clean();
        }
    }
}

impl Shared {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request and everything wrong with it; answers what the script is asked.
    fn note(&self, headers: HeaderMap, bytes: Bytes) -> Ask {
        let mut ask = Ask { headers, bytes, attempt: 0, number: 0, read: OnceLock::new() };
        let mut found = Vec::new();
        let conversation = if self.checked {
            found = validate(&ask.headers, &ask.bytes);
            let body = ask.body();
            number(&(Line::of(ask.messages()).number(), body["system"].to_string(), body["output_config"].to_string()))
        } else {
            number(&ask.bytes)
        };
        let mut memory = self.memory();
        if self.checked {
            memory.replies.check(ask.messages(), &mut found);
            let body = ask.read.get().map(Arc::clone).unwrap_or_default();
            memory.requests.push(SeenRequest { headers: ask.headers.clone(), bytes: ask.bytes.clone(), body });
        }
        memory.complain(found);
        let seen = memory.attempts.entry(conversation).or_default();
        ask.attempt = *seen;
        *seen += 1;
        ask.number = memory.number;
        memory.number += 1;
        ask
    }
}

impl Memory {
    fn complain(&mut self, found: Vec<Violation>) {
        let number = self.number;
        let line = |violation: Violation| (violation.rule, format!("request {number}: {violation}"));
        self.violations.extend(found.into_iter().map(line));
    }
}

async fn messages(State(shared): State<Arc<Shared>>, headers: HeaderMap, bytes: Bytes) -> Response {
    let now = shared.under_way.fetch_add(1, Ordering::Relaxed) + 1;
    shared.most.fetch_max(now, Ordering::Relaxed);
    let _leaving = Leaving(&shared.under_way);
    let ask = shared.note(headers, bytes);
    let turn = shared.script.answer(&ask);
    if shared.checked && turn.refused.is_none() {
        shared.memory().replies.remember(ask.messages(), &turn.content(), turn.is_pause());
    }
    let usage = turn.usage.unwrap_or_else(|| usage(&ask, &turn));
    stream::response(&turn, ask.model(), &format!("msg_{:06}", ask.number), usage).await
}

/// Counts a request out, also when its caller has gone away.
struct Leaving<'a>(&'a AtomicUsize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn elsewhere(State(shared): State<Arc<Shared>>, method: Method, OriginalUri(uri): OriginalUri) -> Response {
    let what = format!("`{method} {uri}` is no address of the Messages API");
    shared.memory().complain(vec![Violation { rule: "address", at: "request".into(), what }]);
    stream::response(&Turn::status(404), "", "", Usage::default()).await
}

/// A plausible usage: four bytes to a token, and from the second turn on three quarters of the prompt from the cache, if
/// it has marks.
fn usage(ask: &Ask, turn: &Turn) -> Usage {
    let tokens = |bytes: usize| u64::try_from(bytes).expect("a length fits") / 4;
    let prompt = tokens(ask.bytes.len()).max(1);
    let mark = b"\"cache_control\"";
    let marked = if ask.bytes.windows(mark.len()).any(|window| window == mark) { prompt * 3 / 4 } else { 0 };
    let (write_5m, read) = if ask.turns_at_a_glance() == 0 { (marked, 0) } else { (0, marked) };
    let output = turn.blocks.iter().map(|block| block.whole.to_string().len()).sum();
    Usage { input: prompt - marked, write_5m, write_1h: 0, read, output: tokens(output).max(1) }
}

fn messages_of(body: &Value) -> &[Value] {
    body["messages"].as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
