//! What a visit has come to so far: the conversation, the audit rows, and the journal that brings both back.

use std::collections::HashSet;
use std::sync::Arc;

use mana_types::{Date, input_hash};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::conversation::{Conversation, Role, StopReason, ToolUse, Usage, spoken, text_block};
use crate::options::EngineChoice;
use crate::toolbox::Toolbox;
use crate::wire::{Action, ActionResult, JournalEntry};

/// How many bytes of a tool's name, and of a call's id, an audit row keeps: a model may ask for anything.
const NAME: usize = 128;

/// What stands in the row of a call that names no tool.
const NAMELESS: &str = "(nameless)";

/// How many times in a row an engine may ask to be sent the same again.
const PAUSES: usize = 5;

/// One entry of the journal. Written before it is acted on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(crate) enum Entry {
    /// The visit begins with this message.
    Start(Start),
    /// What the engine said.
    Assistant {
        content: Vec<Value>,
        stop_reason: StopReason,
        /// The size of the prompt before it.
        #[serde(default)]
        prompt_tokens: u64,
        /// Calls whose input was no JSON, and what it was.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        broken_inputs: Vec<(String, String)>,
        /// What it took.
        #[serde(default, skip_serializing_if = "Usage::is_nothing")]
        usage: Usage,
    },
    /// A reply that was cut in the middle. It is no part of the conversation, and none of its calls is made.
    Discarded {
        content: Vec<Value>,
        actions: Vec<Action>,
        /// What it took nevertheless.
        #[serde(default, skip_serializing_if = "Usage::is_nothing")]
        usage: Usage,
    },
    /// What the tools answered, and the audit rows of these calls.
    ToolResults {
        content: Vec<Value>,
        actions: Vec<Action>,
        /// The main turn ends with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ended: Option<MainEnd>,
    },
    /// After the main turn we ask something.
    Ask {
        phase: Phase,
        message: String,
        /// How the main turn ended.
        ended: MainEnd,
    },
    /// The persona's story so far, told anew.
    Story { text: String },
    /// Something a later version writes.
    #[serde(other)]
    Other,
}

/// How a visit begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Start {
    pub(crate) engine: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    pub(crate) date: Date,
    #[serde(default)]
    pub(crate) goal: Option<String>,
    pub(crate) message: String,
    pub(crate) prompt_hash: String,
    pub(crate) tools_hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memory_hash: Option<String>,
    /// The last visit that the memory's story covers is this many visits ago: it is time to tell it anew.
    #[serde(default)]
    pub(crate) story_is_due: bool,
}

impl Start {
    /// The model that began it, as the books take its name.
    pub(crate) fn model(&self) -> Option<String> {
        self.model.as_deref().map(|name| name[..name.floor_char_boundary(NAME)].to_owned())
    }

    /// The engine that began the visit, and whether what it leaves is simulated; none for one that is not known here.
    pub(crate) fn maker(&self) -> Option<(&'static str, bool)> {
        let engine: EngineChoice = self.engine.parse().ok()?;
        Some((engine.as_str(), engine != EngineChoice::Anthropic))
    }
}

/// Where in a visit we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// The persona spends its day.
    Main,
    /// It looks back.
    Diary,
    /// It rates what it used.
    Rating,
    /// It rates again what could not be read.
    Repair,
}

/// How a main turn ended, if the visit can still be talked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MainEnd {
    /// By the engine's word.
    Ended,
    /// The engine would not.
    Refused,
    /// Cut: too many replies, or replies that were cut themselves.
    Truncated,
    /// The money for it was used up.
    Budget,
    /// Two calls had the same id: no conversation can go on from there.
    Doubled,
}

/// What comes next in a phase.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// The first message.
    Begin,
    /// It is the engine's turn.
    Speak,
    /// Calls wait for an answer. They are made only if the reply ended by asking for them; else the main turn ends so.
    Answer { calls: Vec<ToolUse>, ends: Option<MainEnd> },
    /// The engine has said its word.
    Over(MainEnd),
}

/// What a visit has come to so far.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) conversation: Conversation,
    pub(crate) actions: Vec<Action>,
    pub(crate) start: Option<Start>,
    pub(crate) phase: Phase,
    /// How the main turn ended, once it has.
    pub(crate) ended: Option<MainEnd>,
    /// What the engine said last in each phase that has been answered.
    pub(crate) said: Vec<(Phase, String)>,
    pub(crate) story: Option<String>,
    /// How many replies there were in this phase, those included that were cut.
    pub(crate) replies: usize,
    /// How many replies in a row were cut.
    pub(crate) cut: usize,
    /// The size of the latest prompt, in tokens.
    pub(crate) prompt_tokens: Option<u64>,
    /// Calls whose input was no JSON, and what it was.
    pub(crate) broken_inputs: Vec<(String, String)>,
    /// What the replies took that are in the journal.
    pub(crate) used: Usage,
    /// Which limit stood against the next reply, if one did.
    pub(crate) unpaid: Option<String>,
    /// Lines that are not in the journal yet.
    pub(crate) unsent: Vec<JournalEntry>,
    stopped: Option<StopReason>,
    pauses: usize,
    next_seq: i64,
}

impl Progress {
    /// A visit in which nothing has happened.
    pub(crate) fn new() -> Self {
        Self {
            conversation: Conversation::new(Arc::new(Toolbox::default())),
            actions: Vec::new(),
            start: None,
            phase: Phase::Main,
            ended: None,
            said: Vec::new(),
            story: None,
            replies: 0,
            cut: 0,
            prompt_tokens: None,
            broken_inputs: Vec::new(),
            used: Usage::default(),
            unpaid: None,
            unsent: Vec::new(),
            stopped: None,
            pauses: 0,
            next_seq: 0,
        }
    }

    /// A visit brought back from its journal. Entries that cannot be read are passed over, with a word in the log.
    pub(crate) fn replay(mut journal: Vec<JournalEntry>) -> Self {
        let mut progress = Self::new();
        journal.sort_by_key(|line| line.seq);
        for line in journal {
            progress.next_seq = progress.next_seq.max(line.seq + 1);
            match serde_json::from_value(line.entry) {
                Ok(entry) => progress.take(entry),
                Err(error) => tracing::warn!(seq = line.seq, %error, "runner.journal.unreadable_entry"),
            }
        }
        progress
    }

    /// What comes next in this phase.
    pub(crate) fn next(&self) -> Next {
        let Some(stopped) = self.stopped else {
            return if self.start.is_some() { Next::Speak } else { Next::Begin };
        };
        let ended = match stopped {
            StopReason::PauseTurn | StopReason::MaxTokens | StopReason::ModelContextWindowExceeded => {
                MainEnd::Truncated
            }
            StopReason::Refusal => MainEnd::Refused,
            StopReason::EndTurn | StopReason::StopSequence | StopReason::ToolUse | StopReason::Other => MainEnd::Ended,
        };
        let calls = self.conversation.open_calls();
        if !calls.is_empty() {
            return Next::Answer { calls, ends: (stopped != StopReason::ToolUse).then_some(ended) };
        }
        if stopped == StopReason::PauseTurn && self.pauses <= PAUSES { Next::Speak } else { Next::Over(ended) }
    }

    /// Takes an entry in and puts it down for the journal.
    pub(crate) fn note(&mut self, entry: Entry) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let line = serde_json::to_value(&entry).expect("an entry is made of JSON");
        self.unsent.push(JournalEntry { seq, entry: line });
        self.take(entry);
    }

    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Start(start) => {
                self.conversation.say(Role::User, vec![text_block(&start.message)]);
                self.start = Some(start);
            }
            Entry::Assistant { content, stop_reason, prompt_tokens, broken_inputs, usage } => {
                self.used = self.used.plus(usage);
                self.pauses = if stop_reason == StopReason::PauseTurn { self.pauses + 1 } else { 0 };
                self.stopped = Some(stop_reason);
                self.replies += 1;
                self.cut = 0;
                self.broken_inputs = broken_inputs;
                if prompt_tokens > 0 {
                    self.prompt_tokens = Some(prompt_tokens);
                }
                self.hear(&content);
                self.conversation.say(Role::Assistant, content);
            }
            Entry::Discarded { content, actions, usage } => {
                self.used = self.used.plus(usage);
                self.replies += 1;
                self.cut += 1;
                if matches!(self.phase, Phase::Rating | Phase::Repair) {
                    // Half a list may hold whole ratings.
                    self.hear(&content);
                }
                self.add_rows(actions);
            }
            Entry::ToolResults { content, actions, ended } => {
                self.stopped = None;
                self.ended = self.ended.or(ended);
                self.add_rows(actions);
                self.conversation.say(Role::User, content);
            }
            Entry::Ask { phase, message, ended } => {
                self.phase = phase;
                self.ended = Some(ended);
                self.stopped = None;
                self.replies = 0;
                self.cut = 0;
                self.conversation.say(Role::User, vec![text_block(&message)]);
            }
            Entry::Story { text } => self.story = Some(text),
            Entry::Other => {}
        }
    }

    fn hear(&mut self, content: &[Value]) {
        let text = spoken(content);
        if !text.trim().is_empty() {
            self.said.retain(|(phase, _)| *phase != self.phase);
            self.said.push((self.phase, text));
        }
    }

    /// Adds rows. A second try may ask for the same calls as the one that was cut, and a call has one row.
    pub(crate) fn add_rows(&mut self, rows: Vec<Action>) {
        let again = |known: &Action| rows.iter().any(|row| row.tool_use_id == known.tool_use_id);
        self.actions.retain(|known| known.was_made() || !again(known));
        self.actions.extend(rows);
        for (index, row) in self.actions.iter_mut().enumerate() {
            row.index = index;
        }
    }

    /// What the engine said last in a phase.
    pub(crate) fn said_in(&self, phase: Phase) -> Option<&str> {
        self.said.iter().find(|(said, _)| *said == phase).map(|(_, text)| text.as_str())
    }

    /// The ids of all calls that were asked for before the last message.
    pub(crate) fn earlier_calls(&self) -> HashSet<String> {
        let messages = &self.conversation.messages;
        let earlier = &messages[..messages.len().saturating_sub(1)];
        earlier
            .iter()
            .flat_map(|message| crate::conversation::tool_uses(&message.content))
            .map(|call| call.id)
            .collect()
    }

    /// The rows as the audit takes them: a model may give a call an id of any length, and one that is refused would take
    /// all the others with it.
    pub(crate) fn rows(&self) -> Vec<Action> {
        let mut rows = self.actions.clone();
        for row in &mut rows {
            row.tool_use_id.truncate(row.tool_use_id.floor_char_boundary(NAME));
        }
        rows
    }

    /// The audit row of a call, numbered `offset` places after those that are written.
    pub(crate) fn row(&self, offset: usize, call: &ToolUse) -> Action {
        let name = &call.name[..call.name.floor_char_boundary(NAME)];
        Action {
            index: self.actions.len() + offset,
            tool_name: if name.trim().is_empty() { NAMELESS.to_owned() } else { name.to_owned() },
            module: self.conversation.tools.module_of(&call.name),
            input_hash: input_hash(&call.input),
            result: ActionResult::Ok,
            code: None,
            error_message: None,
            latency_ms: 0,
            tool_use_id: call.id.clone(),
            result_bytes: None,
            result_hash: None,
        }
    }

    /// The row of a call that was not made.
    pub(crate) fn unmade(&self, offset: usize, call: &ToolUse, code: &str, message: &str) -> Action {
        Action {
            result: ActionResult::Error,
            code: Some(code.to_owned()),
            error_message: Some(message.to_owned()),
            ..self.row(offset, call)
        }
    }

    /// Writes rows for the calls that were asked for and have none yet, with this code: every call has exactly one row.
    pub(crate) fn close_open_calls(&mut self, code: &str, message: &str) {
        let mut known: HashSet<String> = self.actions.iter().map(|row| row.tool_use_id.clone()).collect();
        let mut calls = self.conversation.open_calls();
        calls.retain(|call| known.insert(call.id.clone()));
        let rows: Vec<Action> =
            calls.iter().enumerate().map(|(offset, call)| self.unmade(offset, call, code, message)).collect();
        self.add_rows(rows);
    }

    /// How many calls failed.
    pub(crate) fn errors(&self) -> usize {
        self.actions.iter().filter(|action| action.is_error()).count()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_is_one_that_the_audit_takes_whatever_the_model_calls_it() {
        let mut progress = Progress::new();
        let long = "ü".repeat(200);
        let call = |id: &str, name: &str| ToolUse { id: id.into(), name: name.into(), input: json!({}) };
        let calls = [call(&long, "todo_list"), call("b", " "), call("c", &long)];
        progress.add_rows(calls.iter().enumerate().map(|(at, call)| progress.row(at, call)).collect());
        let rows = progress.rows();
        assert!(rows.iter().all(|row| row.tool_use_id.len() <= 128 && row.tool_name.len() <= 128));
        assert_eq!((rows[0].tool_name.as_str(), rows[1].tool_name.as_str()), ("todo_list", "(nameless)"));
        progress.conversation.say(Role::Assistant, vec![crate::conversation::tool_use_block(&calls[0])]);
        progress.close_open_calls("not_executed", "");
        assert_eq!(progress.actions.len(), 3, "by its whole id it is known to have a row");
    }

    #[test]
    fn a_journal_of_the_version_before_reads_as_it_was() {
        let line = |seq, entry| JournalEntry { seq, entry };
        let progress = Progress::replay(vec![
            line(
                0,
                json!({ "kind": "start", "engine": "rehearsal", "date": "2026-11-19", "goal": null, "message": "Guten Tag",
                "promptHash": "p", "toolsHash": "t" }),
            ),
            line(
                1,
                json!({ "kind": "assistant", "stopReason": "tool_use",
                "content": [{ "type": "tool_use", "id": "a", "name": "todo_list", "input": {} }] }),
            ),
            line(
                2,
                json!({ "kind": "tool_results", "content": [{ "type": "tool_result", "tool_use_id": "a", "content": [] }],
                "actions": [{ "index": 0, "toolName": "todo_list", "module": "todo", "inputHash": "h", "result": "ok",
                    "latencyMs": 3, "toolUseId": "a" }] }),
            ),
        ]);
        assert_eq!((progress.actions.len(), progress.conversation.messages.len()), (1, 3));
        assert_eq!(progress.next(), Next::Speak);
        let start = progress.start.expect("a start");
        assert_eq!((start.maker(), start.model, start.memory_hash), (Some(("rehearsal", true)), None, None));
    }
}
