//! The main turn: engine step, journal, tool calls, journal, and again. It does not know which engine it runs.
//!
//! A reply is in the journal before any of its calls is made, and the answers are in it before the engine sees them. So
//! a visit that dies is brought back by whoever claims it next: what was answered is not called again, and what was
//! asked for without an answer is called with the same idempotency key, which makes it happen once.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::conversation::{Conversation, Reply, StopReason, ToolUse, text_block, tool_result_block, tool_uses};
use crate::engine::{Engine, EngineError, Step};
use crate::error::Error;
use crate::event::{Event, Events};
use crate::mcp::McpError;
use crate::model::redact::redact;
use crate::options::Budget;
use crate::progress::{Entry, MainEnd, Next, Progress};
use crate::purse::{Purse, dollars};
use crate::result;
use crate::session::Session;
use crate::wire::{Action, ActionResult, Claim, Grant};

/// How many reading calls run at a time.
const TOGETHER: usize = 4;

/// How many tokens a reply of the main turn may have.
const REPLY_TOKENS: u32 = 4_096;

/// How many tokens the closing replies may have, which must still be paid for after the main turn.
pub(crate) const CLOSING_TOKENS: [u32; 2] = [1_536, 3_072];

/// How long a model or a tool may go on when the runner stops.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// How a turn ended.
#[derive(Debug)]
pub(crate) enum TurnEnd {
    /// So that the visit can still be talked about.
    Main(MainEnd),
    /// The MCP server is gone.
    Unreachable(String),
    /// The token is not taken, not even a fresh one.
    TokenRevoked,
    /// The engine broke the rules of the conversation.
    Protocol(String),
    /// The engine gave no reply.
    NoReply(EngineError),
    /// The runner stops; the journal is complete.
    Stopped,
}

/// Everything that a turn works with.
pub(crate) struct Turn<'a> {
    pub(crate) api: &'a Api,
    pub(crate) events: &'a Events,
    pub(crate) engine: &'a Engine,
    pub(crate) claim: &'a Claim,
    pub(crate) session: &'a mut Session,
    pub(crate) progress: &'a mut Progress,
    pub(crate) purse: &'a mut Purse,
    pub(crate) budget: Budget,
    pub(crate) stop: &'a CancellationToken,
    pub(crate) tool_limit: Duration,
    /// When the visit is over at the latest.
    pub(crate) deadline: Instant,
}

/// What became of asking the engine.
pub(crate) enum Spoken {
    /// Its reply is noted.
    Replied,
    /// There is no money for it; the sentence says which limit stands against it.
    NoMoney(String),
    /// It gave none.
    Failed(EngineError),
    /// The runner stops.
    Stopped,
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
            if let Some(ended) = self.progress.ended {
                return Ok(TurnEnd::Main(ended));
            }
            let is_last = self.progress.replies >= self.budget.model_calls;
            match self.progress.next() {
                Next::Begin => return Ok(TurnEnd::Protocol("the visit has no first message".into())),
                Next::Over(ended) => return Ok(TurnEnd::Main(ended)),
                Next::Answer { calls, ends: Some(ended) } => {
                    self.leave(&calls, "the reply ended without asking for it", Some(ended));
                }
                Next::Answer { calls, .. } if is_last => {
                    self.leave(&calls, "the visit had no further step", Some(MainEnd::Truncated));
                }
                Next::Answer { calls, .. } => {
                    if let Some(end) = self.answer(calls).await? {
                        return Ok(end);
                    }
                }
                Next::Speak if is_last || self.progress.cut > 1 => return Ok(TurnEnd::Main(MainEnd::Truncated)),
                Next::Speak => {
                    if self.stop.is_cancelled() {
                        self.flush().await?;
                        return Ok(TurnEnd::Stopped);
                    }
                    match self.speak(REPLY_TOKENS, None, &CLOSING_TOKENS).await? {
                        Spoken::Replied => {}
                        Spoken::NoMoney(reason) => {
                            tracing::info!(tick = %self.claim.tick_id, %reason, "runner.visit.budget");
                            self.progress.unpaid = Some(reason);
                            return Ok(TurnEnd::Main(MainEnd::Budget));
                        }
                        Spoken::Failed(error) => return Ok(TurnEnd::NoReply(error)),
                        Spoken::Stopped => return Ok(TurnEnd::Stopped),
                    }
                }
            }
        }
    }

    /// Writes everything that waits for it into the journal.
    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        send(self.api, self.claim, self.progress, self.purse, None).await.map(drop)
    }

    /// Asks the engine to go on: puts money aside, waits for its reply, notes it and has it in the journal.
    pub(crate) async fn speak(
        &mut self,
        max_tokens: u32,
        format: Option<&Value>,
        closing: &[u32],
    ) -> Result<Spoken, Error> {
        // What was cut gets a second chance with more room.
        let max_tokens = if self.progress.cut > 0 { max_tokens * 2 } else { max_tokens };
        match self.step(None, max_tokens, format, closing).await? {
            Ok(reply) => {
                self.take_reply(reply);
                self.flush().await?;
                Ok(Spoken::Replied)
            }
            Err(without) => Ok(without),
        }
    }

    /// Asks something in a conversation of its own, which is not kept.
    pub(crate) async fn speak_apart(
        &mut self,
        conversation: &Conversation,
        max_tokens: u32,
    ) -> Result<Result<Reply, String>, Error> {
        Ok(self.step(Some(conversation), max_tokens, None, &[]).await?.map_err(|without| match without {
            Spoken::NoMoney(reason) => reason,
            Spoken::Failed(error) => error.reason,
            Spoken::Replied | Spoken::Stopped => "the runner stops".into(),
        }))
    }

    async fn step(
        &mut self,
        apart: Option<&Conversation>,
        max_tokens: u32,
        format: Option<&Value>,
        closing: &[u32],
    ) -> Result<Result<Reply, Spoken>, Error> {
        let (last_prompt, new_bytes) = match apart {
            Some(_) => (None, 0),
            None => (self.progress.prompt_tokens, self.new_bytes()),
        };
        let conversation = apart.unwrap_or(&self.progress.conversation);
        let step = Step { conversation, max_tokens, format, deadline: self.deadline };
        let reserve = match self.purse.reserve(self.engine, &step, last_prompt, new_bytes, closing).transpose() {
            Ok(reserve) => reserve,
            Err(reason) => return Ok(Err(Spoken::NoMoney(reason))),
        };
        let grant = send(self.api, self.claim, self.progress, self.purse, reserve.as_ref()).await?;
        if reserve.is_some() && grant.is_none() {
            // Without an answer there is no money, and without money no call.
            self.purse.refused();
            let reason = "it says nothing to a reservation: is it older than the runner?".into();
            return Err(Error::Unexpected { service: "personas", reason });
        }
        if let Some(reason) = grant.as_ref().and_then(refusal) {
            self.purse.refused();
            return Ok(Err(Spoken::NoMoney(reason)));
        }
        let conversation = apart.unwrap_or(&self.progress.conversation);
        let step = Step { conversation, max_tokens, format, deadline: self.deadline };
        let reply = tokio::select! {
            biased;
            reply = self.engine.step(step) => reply,
            () = last_moment(self.stop) => return Ok(Err(Spoken::Stopped)),
        };
        match reply {
            Ok(reply) => {
                self.purse.take(self.engine, reply.usage);
                Ok(Ok(reply))
            }
            Err(error) => {
                self.purse.take(self.engine, error.usage);
                Ok(Err(Spoken::Failed(error)))
            }
        }
    }

    /// The bytes that came after the prompt whose size is known: the last reply and what was said to it.
    fn new_bytes(&self) -> usize {
        self.progress.conversation.messages.iter().rev().take(2).map(|message| size(&message.content)).sum()
    }

    fn take_reply(&mut self, reply: Reply) {
        let Reply { content, stop_reason, prompt_tokens, broken_inputs, usage, .. } = reply;
        if stop_reason == StopReason::MaxTokens {
            // Half a message may hold half a call: none of its calls is made, and nothing of it is said again.
            let mut calls = tool_uses(&content);
            let mut seen = HashSet::new();
            calls.retain(|call| seen.insert(call.id.clone()));
            let unmade = |(offset, call): (usize, &ToolUse)| {
                self.progress.unmade(offset, call, "not_executed", "the reply was cut in the middle")
            };
            let actions = calls.iter().enumerate().map(unmade).collect();
            self.progress.note(Entry::Discarded { content, actions, usage });
        } else {
            self.progress.note(Entry::Assistant { content, stop_reason, prompt_tokens, broken_inputs, usage });
        }
    }

    /// Answers calls without making them. Whether two of them had the same id.
    pub(crate) fn leave(&mut self, calls: &[ToolUse], why: &str, ended: Option<MainEnd>) -> bool {
        let asked = calls.len();
        let mut seen = self.progress.earlier_calls();
        let calls: Vec<&ToolUse> = calls.iter().filter(|call| seen.insert(call.id.clone())).collect();
        let doubled = calls.len() < asked;
        let left = calls.iter().enumerate().map(|(offset, call)| {
            let row = self.progress.unmade(offset, call, "not_executed", why);
            said(call, row)
        });
        let (content, actions) = left.fold((Vec::new(), Vec::new()), |(mut content, mut rows), answered| {
            content.extend(answered.content);
            rows.push(answered.row);
            (content, rows)
        });
        let ended = if doubled { Some(MainEnd::Doubled) } else { ended };
        self.progress.note(Entry::ToolResults { content, actions, ended });
        doubled
    }

    /// Makes the calls of one reply, in its order, and notes the answers.
    async fn answer(&mut self, calls: Vec<ToolUse>) -> Result<Option<TurnEnd>, Error> {
        let asked = calls.len();
        let mut seen: HashSet<String> = self.progress.earlier_calls();
        let calls: Vec<ToolUse> = calls.into_iter().filter(|call| seen.insert(call.id.clone())).collect();
        let ended = (calls.len() < asked).then_some(MainEnd::Doubled);

        let mut content = Vec::new();
        let mut rows = Vec::new();
        let mut rest = calls.as_slice();
        while !rest.is_empty() {
            let together = rest.iter().take_while(|call| self.is_read_only(call)).count().max(1);
            let (group, later) = rest.split_at(together);
            rest = later;
            let stop = self.stop.clone();
            let answers = tokio::select! {
                biased;
                answers = self.call_group(group, rows.len()) => answers,
                // Their keys make it safe to make them again.
                () = last_moment(&stop) => return Ok(Some(TurnEnd::Stopped)),
            };
            let mut lost = None;
            for answered in answers {
                self.tell(&answered.row);
                lost = lost.or(answered.broken);
                content.extend(answered.content);
                rows.push(answered.row);
            }
            if let Some(error) = lost {
                self.progress.add_rows(rows);
                self.progress.close_open_calls("not_executed", "the connection was lost before");
                return Ok(Some(match error {
                    McpError::Unauthorized => TurnEnd::TokenRevoked,
                    other => TurnEnd::Unreachable(redact(&other.to_string())),
                }));
            }
        }
        let said = self.progress.conversation.messages.iter().flat_map(|message| &message.content);
        result::fit_pictures(said, &mut content);
        self.progress.note(Entry::ToolResults { content, actions: rows, ended });
        Ok(None)
    }

    fn is_read_only(&self, call: &ToolUse) -> bool {
        self.progress.conversation.tools.get(&call.name).is_some_and(|tool| tool.read_only)
    }

    /// Makes the calls of a group, a few at a time. Where the connection broke, it is mended once and those calls are
    /// made again that may be made twice.
    async fn call_group(&mut self, group: &[ToolUse], offset: usize) -> Vec<Answered> {
        let mut calls = Vec::with_capacity(group.len());
        for (i, call) in group.iter().enumerate() {
            calls.push(self.call(call, offset + i));
        }
        let first: Vec<Answered> = futures::stream::iter(calls).buffered(TOGETHER).collect().await;
        let Some(broken) = first.iter().find_map(|answered| answered.broken.clone()) else { return first };
        if let Err(error) = self.session.mend(self.api, &broken).await {
            tracing::warn!(tick = %self.claim.tick_id, %error, "runner.mcp.not_mended");
            return first;
        }
        let mut mended = Vec::with_capacity(first.len());
        for (i, answered) in first.into_iter().enumerate() {
            let again = match &answered.broken {
                None => answered,
                Some(_) if self.may_repeat(&group[i]) => self.call(&group[i], offset + i).await,
                Some(_) => {
                    let row = self.progress.unmade(offset + i, &group[i], "unknown_fate", UNKNOWN_FATE);
                    said(&group[i], row)
                }
            };
            mended.push(again);
        }
        mended
    }

    /// Whether a call that may have happened may be made again.
    fn may_repeat(&self, call: &ToolUse) -> bool {
        let tool = self.progress.conversation.tools.get(&call.name);
        self.session.is_keyed() || tool.is_none_or(|tool| tool.read_only || tool.idempotent)
    }

    /// Makes one call and turns whatever happens into an answer and a row.
    async fn call(&self, call: &ToolUse, offset: usize) -> Answered {
        let unmade = |code: &str, message: &str| said(call, self.progress.unmade(offset, call, code, message));
        let tools = &self.progress.conversation.tools;
        let Some(tool) = tools.get(&call.name) else {
            let near = mana_types::nearest(&call.name, tools.tools().iter().map(|tool| tool.name.as_str()));
            let hint = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
            return unmade("unknown_tool", &format!("there is no tool `{}`{hint}", short(&call.name)));
        };
        if !self.claim.persona.may_call(&tool.original) {
            return unmade("denied", &format!("you may not use `{}`", call.name));
        }
        if self.progress.actions.len() + offset >= self.budget.tool_calls {
            return unmade("over_budget", "the visit has no further calls: come to an end");
        }
        if let Some((_, raw)) = self.progress.broken_inputs.iter().find(|(id, _)| *id == call.id) {
            let mut answered = unmade("invalid_json", "the input was no valid JSON: send it again as one JSON object");
            // The text itself is for the audit only.
            let raw: String = raw.chars().take(400).collect();
            answered.row.error_message = Some(format!("the input was no valid JSON: {}", redact(&raw)));
            return answered;
        }
        let Some(arguments) = arguments(&call.input) else {
            return unmade("invalid_input", "the input must be a JSON object");
        };
        if self.session.resumed_calls.contains(&call.id) && !self.may_repeat(call) {
            return unmade("unknown_fate", UNKNOWN_FATE);
        }
        let row = self.progress.row(offset, call);
        let started = Instant::now();
        let connection = &self.session.connection;
        let answer = connection.call(&tool.original, arguments, &self.claim.tick_id, &call.id, self.tool_limit).await;
        let latency_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        match answer {
            Ok(result) => read(call, Action { latency_ms, ..row }, &result),
            Err(error) => {
                let broken = error.is_broken_connection().then(|| error.clone());
                let row = self.progress.unmade(offset, call, error.code(), &redact(&error.to_string()));
                let answered = said(call, Action { latency_ms, ..row });
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

const UNKNOWN_FATE: &str = "the connection was lost: it may have happened or not, look before you repeat it";

/// Sends the lines that wait, the settlement that waits, and the reservation. Only what was taken is forgotten.
pub(crate) async fn send(
    api: &Api,
    claim: &Claim,
    progress: &mut Progress,
    purse: &mut Purse,
    reserve: Option<&crate::wire::Reserve>,
) -> Result<Option<Grant>, Error> {
    if progress.unsent.is_empty() && purse.settle.is_none() && reserve.is_none() {
        return Ok(None);
    }
    let journaled = api.journal(&claim.tick_id, claim.epoch, &progress.unsent, purse.settle.as_ref(), reserve).await?;
    progress.unsent.clear();
    purse.settle = None;
    Ok(journaled.reserve)
}

/// Which limit stands against a call, as a sentence; none if it may be made.
fn refusal(grant: &Grant) -> Option<String> {
    if grant.granted {
        return None;
    }
    let limit = match (grant.limit_micro_usd, grant.limit_tokens) {
        (Some(micro_usd), _) => dollars(micro_usd),
        (None, Some(tokens)) => format!("{tokens} tokens"),
        (None, None) => "nothing".into(),
    };
    let whose = match grant.limit.as_deref().unwrap_or_default() {
        "tick" | "tickTokens" => "a visit",
        "personaDay" => "a persona's day",
        "day" => "the day",
        "month" => "the month",
        other => other,
    };
    Some(format!("the budget of {whose} ({limit}) has no room for another call"))
}

/// Waits until the runner has stopped and a last moment is over.
pub(crate) async fn last_moment(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LAST_MOMENT).await;
}

fn size(content: &[Value]) -> usize {
    content.iter().map(|block| block.to_string().len()).sum()
}

fn short(name: &str) -> &str {
    &name[..name.floor_char_boundary(100)]
}

fn arguments(input: &Value) -> Option<Map<String, Value>> {
    match input {
        Value::Object(arguments) => Some(arguments.clone()),
        Value::Null => Some(Map::new()),
        _ => None,
    }
}

fn read(call: &ToolUse, row: Action, result: &rmcp::model::CallToolResult) -> Answered {
    let reading = result::read(result);
    let row = Action { result_bytes: u64::try_from(reading.bytes).ok(), result_hash: Some(reading.hash), ..row };
    let row = if reading.is_error {
        let message = reading.message.map(|message| redact(&message));
        Action { result: ActionResult::Error, code: reading.code, error_message: message, ..row }
    } else {
        row
    };
    Answered { content: vec![tool_result_block(&call.id, reading.content, reading.is_error)], row, broken: None }
}

/// An answer that we give ourselves, in the form in which a tool gives its errors.
fn said(call: &ToolUse, row: Action) -> Answered {
    let body = json!({ "code": row.code, "message": row.error_message });
    let content = vec![tool_result_block(&call.id, vec![text_block(&body.to_string())], true)];
    Answered { content, row, broken: None }
}
