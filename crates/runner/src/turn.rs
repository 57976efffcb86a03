//! The main turn: engine step, journal, tool calls, journal, and again. It does not know which engine it runs.
//!
//! A reply is in the journal before any of its calls is made, and the answers are in it before the engine sees them. So
//! a visit that dies is brought back by whoever claims it next: what was answered is not called again, and what was
//! asked for without an answer is called with the same idempotency key, which makes it happen once.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use mana_types::{Secret, SpaceId};
use rmcp::model::CallToolResult;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::conversation::{StopReason, ToolUse, text_block, tool_result_block};
use crate::engine::Engine;
use crate::error::Error;
use crate::event::{Event, Events};
use crate::mcp::{Connection, McpError};
use crate::progress::{Entry, Progress};
use crate::result;
use crate::wire::{Action, ActionResult, Claim};

/// How many replies a visit may have.
const REPLIES: usize = 15;

/// How many reading calls run at a time.
const TOGETHER: usize = 4;

/// How a main turn ended.
#[derive(Debug)]
pub(crate) enum TurnEnd {
    /// By the engine's word.
    Ended,
    /// The engine would not.
    Refused,
    /// Cut: too many replies, or a reply that was cut itself.
    Truncated,
    /// The MCP server is gone.
    Unreachable(String),
    /// The token is not taken, not even a fresh one.
    TokenRevoked,
    /// The engine broke the rules of the conversation.
    Protocol(String),
    /// The runner stops; the journal is complete.
    Stopped,
}

/// A signed-in persona with its connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) http: reqwest::Client,
    pub(crate) mcp_url: String,
    pub(crate) access_token: Secret,
    pub(crate) refresh_token: Secret,
    pub(crate) space: SpaceId,
    pub(crate) connection: Connection,
    pub(crate) refreshed: bool,
}

impl Session {
    async fn reconnect(&mut self) -> Result<(), McpError> {
        self.connection = Connection::open(&self.http, &self.mcp_url, self.access_token.expose(), self.space).await?;
        Ok(())
    }
}

/// Everything that a main turn works with.
pub(crate) struct Turn<'a> {
    pub(crate) api: &'a Api,
    pub(crate) events: &'a Events,
    pub(crate) engine: &'a Engine,
    pub(crate) claim: &'a Claim,
    pub(crate) session: &'a mut Session,
    pub(crate) progress: &'a mut Progress,
    pub(crate) stop: &'a CancellationToken,
    pub(crate) tool_limit: Duration,
}

/// What became of one call.
struct Answered {
    content: Vec<Value>,
    row: Action,
    /// The server gave no answer that the persona could read.
    broken: Option<McpError>,
}

impl Turn<'_> {
    /// Runs to the end of the main turn.
    pub(crate) async fn run(&mut self) -> Result<TurnEnd, Error> {
        loop {
            let calls = self.progress.conversation.open_calls();
            if self.progress.stopped == Some(StopReason::MaxTokens) {
                // Half a message may hold half a call: none of its calls is made.
                return Ok(TurnEnd::Truncated);
            }
            if !calls.is_empty() {
                if let Some(end) = self.answer(calls).await? {
                    return Ok(end);
                }
            } else if self.progress.has_ended() {
                return Ok(self.end());
            }
            if self.stop.is_cancelled() {
                return Ok(TurnEnd::Stopped);
            }
            if self.progress.conversation.replies() >= REPLIES {
                return Ok(TurnEnd::Truncated);
            }
            let reply = self.engine.step(&self.progress.conversation);
            self.record(Entry::Assistant { content: reply.content, stop_reason: reply.stop_reason }).await?;
        }
    }

    fn end(&self) -> TurnEnd {
        match self.progress.stopped {
            Some(StopReason::Refusal) => TurnEnd::Refused,
            _ => TurnEnd::Ended,
        }
    }

    /// Journals an entry, then takes it in.
    pub(crate) async fn record(&mut self, entry: Entry) -> Result<(), Error> {
        let line = self.progress.line(&entry);
        self.api.journal(&self.claim.tick_id, self.claim.epoch, &[line]).await?;
        self.progress.take(entry);
        Ok(())
    }

    /// Makes the calls of one reply, in its order, and journals the answers.
    async fn answer(&mut self, calls: Vec<ToolUse>) -> Result<Option<TurnEnd>, Error> {
        let asked = calls.len();
        let mut seen: HashSet<String> = self.progress.actions.iter().map(|row| row.tool_use_id.clone()).collect();
        let calls: Vec<ToolUse> = calls.into_iter().filter(|call| seen.insert(call.id.clone())).collect();
        let doubled = asked - calls.len();

        let mut content = Vec::new();
        let mut rows = Vec::new();
        let mut rest = calls.as_slice();
        while !rest.is_empty() {
            let together = rest.iter().take_while(|call| self.is_read_only(call)).count().max(1);
            let (group, later) = rest.split_at(together);
            rest = later;
            for answered in self.call_group(group, rows.len()).await {
                self.tell(&answered.row);
                if let Some(error) = answered.broken {
                    rows.push(answered.row);
                    self.progress.actions.extend(rows);
                    self.progress.close_open_calls("not_executed", "the connection was lost before");
                    return Ok(Some(match error {
                        McpError::Unauthorized => TurnEnd::TokenRevoked,
                        other => TurnEnd::Unreachable(other.to_string()),
                    }));
                }
                content.extend(answered.content);
                rows.push(answered.row);
            }
        }
        self.record(Entry::ToolResults { content, actions: rows }).await?;
        if doubled > 0 {
            return Ok(Some(TurnEnd::Protocol(format!("{doubled} calls used the id of another call"))));
        }
        Ok(None)
    }

    fn is_read_only(&self, call: &ToolUse) -> bool {
        self.progress.conversation.tools.get(&call.name).is_some_and(|tool| tool.read_only)
    }

    /// Makes the calls of a group, a few at a time. Where the connection broke, it is mended once and those calls are
    /// made again: their keys make that safe.
    async fn call_group(&mut self, group: &[ToolUse], offset: usize) -> Vec<Answered> {
        let mut calls = Vec::with_capacity(group.len());
        for (i, call) in group.iter().enumerate() {
            calls.push(self.call(call, offset + i));
        }
        let first: Vec<Answered> = futures::stream::iter(calls).buffered(TOGETHER).collect().await;
        let Some(broken) = first.iter().find_map(|answered| answered.broken.clone()) else { return first };
        if let Err(error) = self.mend(&broken).await {
            tracing::warn!(tick = %self.claim.tick_id, %error, "runner.mcp.not_mended");
            return first;
        }
        let mut mended = Vec::with_capacity(first.len());
        for (i, answered) in first.into_iter().enumerate() {
            let again = if answered.broken.is_some() { self.call(&group[i], offset + i).await } else { answered };
            mended.push(again);
        }
        mended
    }

    /// A new connection; before that, after a 401, a new token, but only once in a visit.
    async fn mend(&mut self, broken: &McpError) -> Result<(), McpError> {
        if *broken == McpError::Unauthorized {
            if self.session.refreshed {
                return Err(McpError::Unauthorized);
            }
            self.session.refreshed = true;
            let fresh = self.api.refresh(self.session.refresh_token.expose()).await.map_err(|error| {
                tracing::warn!(tick = %self.claim.tick_id, %error, "runner.token.not_refreshed");
                McpError::Unauthorized
            })?;
            self.session.access_token = Secret::new(fresh.access_token);
            self.session.refresh_token = Secret::new(fresh.refresh_token);
        }
        self.session.reconnect().await
    }

    /// Makes one call and turns whatever happens into an answer and a row.
    async fn call(&self, call: &ToolUse, offset: usize) -> Answered {
        let row = self.progress.row(offset, call);
        let tools = &self.progress.conversation.tools;
        if tools.get(&call.name).is_none() {
            let near = mana_types::nearest(&call.name, tools.tools().iter().map(|tool| tool.name.as_str()));
            let hint = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
            return said(call, failed(row, "unknown_tool", &format!("there is no tool `{}`{hint}", call.name)));
        }
        let Some(arguments) = arguments(&call.input) else {
            return said(call, failed(row, "invalid_input", "the input must be a JSON object"));
        };
        let started = Instant::now();
        let connection = &self.session.connection;
        let answer = connection.call(&call.name, arguments, &self.claim.tick_id, &call.id, self.tool_limit).await;
        let latency_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let row = Action { latency_ms, ..row };
        match answer {
            Ok(result) => read(call, row, &result),
            Err(error) => {
                let broken = error.is_broken_connection().then(|| error.clone());
                let answered = said(call, failed(row, error.code(), &error.to_string()));
                Answered { broken, ..answered }
            }
        }
    }

    fn tell(&self, row: &Action) {
        let known = self.progress.conversation.tools.get(&row.tool_name);
        let tool = known.map_or("unknown", |tool| tool.name.as_str()).to_owned();
        let outcome = if row.is_error() { "error" } else { "ok" };
        metrics::counter!("persona_tool_calls_total", "tool" => tool.clone(), "result" => outcome).increment(1);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of one call are far below 2^52")]
        metrics::histogram!("persona_tool_call_duration_seconds", "tool" => tool)
            .record(row.latency_ms as f64 / 1000.0);
        self.events.send(Event::ToolCall {
            tick: self.claim.tick_id.to_string(),
            persona: self.claim.persona.email.clone(),
            tool: row.tool_name.clone(),
            module: row.module.clone(),
            ok: !row.is_error(),
            code: row.code.clone(),
            latency_ms: row.latency_ms,
        });
    }
}

fn arguments(input: &Value) -> Option<Map<String, Value>> {
    match input {
        Value::Object(arguments) => Some(arguments.clone()),
        Value::Null => Some(Map::new()),
        _ => None,
    }
}

fn read(call: &ToolUse, row: Action, result: &CallToolResult) -> Answered {
    let reading = result::read(result);
    let row = if reading.is_error {
        Action { result: ActionResult::Error, code: reading.code, error_message: reading.message, ..row }
    } else {
        row
    };
    Answered { content: vec![tool_result_block(&call.id, reading.content, reading.is_error)], row, broken: None }
}

fn failed(row: Action, code: &str, message: &str) -> Action {
    Action { result: ActionResult::Error, code: Some(code.to_owned()), error_message: Some(message.to_owned()), ..row }
}

/// An answer that we give ourselves, in the form in which a tool gives its errors.
fn said(call: &ToolUse, row: Action) -> Answered {
    let body = json!({ "code": row.code, "message": row.error_message });
    let content = vec![tool_result_block(&call.id, vec![text_block(&body.to_string())], true)];
    Answered { content, row, broken: None }
}
