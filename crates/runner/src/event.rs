//! What happens in a runner, as it happens: for whoever watches.

use serde::Serialize;
use tokio::sync::broadcast;

use crate::schedule::PassResult;
use crate::wire::Outcome;

/// How many events a slow watcher may lag behind before it misses some.
const BACKLOG: usize = 4096;

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// A pass began.
    PassStarted,
    /// A persona's visit was claimed.
    Claimed {
        /// The visit.
        tick: String,
        /// The persona's e-mail.
        persona: String,
        /// Its name.
        name: String,
        /// Whether an interrupted visit goes on.
        resumed: bool,
    },
    /// The persona signed in.
    SignedIn {
        /// The visit.
        tick: String,
        /// The persona's e-mail.
        persona: String,
    },
    /// The persona is connected to the MCP server.
    Connected {
        /// The visit.
        tick: String,
        /// The persona's e-mail.
        persona: String,
        /// How many tools it sees.
        tools: usize,
    },
    /// A tool was called and has answered, or could not be called.
    ToolCall {
        /// The visit.
        tick: String,
        /// The persona's e-mail.
        persona: String,
        /// The tool.
        tool: String,
        /// Its module.
        module: String,
        /// Whether it worked.
        ok: bool,
        /// Of an error: its stable code.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// How long it took.
        latency_ms: u64,
    },
    /// A visit is over.
    Finished {
        /// The visit.
        tick: String,
        /// The persona's e-mail.
        persona: String,
        /// How it ended.
        outcome: Outcome,
        /// What was wrong, if anything.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// How many tools were called.
        calls: usize,
        /// How many of those calls failed.
        errors: usize,
        /// How long it took.
        duration_ms: u64,
    },
    /// A pass is over.
    PassFinished {
        /// What came of it.
        result: PassResult,
    },
}

/// Where events go. Nobody has to listen.
#[derive(Debug, Clone)]
pub(crate) struct Events(broadcast::Sender<Event>);

impl Events {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }

    pub(crate) fn send(&self, event: Event) {
        // An error only says that nobody listens.
        let _ = self.0.send(event);
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}
