//! What a visit has come to so far: the conversation, the audit rows, and the journal that brings both back.

use std::collections::HashSet;
use std::sync::Arc;

use mana_types::{Date, input_hash};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::conversation::{Conversation, Role, StopReason, ToolUse, text_block};
use crate::toolbox::Toolbox;
use crate::wire::{Action, ActionResult, JournalEntry};

/// How many bytes of a tool's name an audit row keeps: a model may ask for anything.
const NAME: usize = 128;

/// One entry of the journal. Written before it is acted on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(crate) enum Entry {
    /// The visit begins with this message.
    Start {
        engine: String,
        date: Date,
        #[serde(default)]
        goal: Option<String>,
        message: String,
        prompt_hash: String,
        tools_hash: String,
    },
    /// What the engine said.
    Assistant { content: Vec<Value>, stop_reason: StopReason },
    /// What the tools answered, and the audit rows of these calls.
    ToolResults { content: Vec<Value>, actions: Vec<Action> },
    /// Something a later version writes.
    #[serde(other)]
    Other,
}

/// What a visit has come to so far.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) conversation: Conversation,
    pub(crate) actions: Vec<Action>,
    pub(crate) goal: Option<String>,
    pub(crate) date: Option<Date>,
    pub(crate) prompt_hash: Option<String>,
    pub(crate) tools_hash: Option<String>,
    /// Why the last reply ended.
    pub(crate) stopped: Option<StopReason>,
    next_seq: i64,
}

impl Progress {
    /// A visit in which nothing has happened.
    pub(crate) fn new() -> Self {
        Self {
            conversation: Conversation::new(Arc::new(Toolbox::default())),
            actions: Vec::new(),
            goal: None,
            date: None,
            prompt_hash: None,
            tools_hash: None,
            stopped: None,
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

    /// Whether the first message has been said.
    pub(crate) fn has_begun(&self) -> bool {
        !self.conversation.messages.is_empty()
    }

    /// Whether the main turn is over: the last word was the engine's, and it asked for nothing.
    pub(crate) fn has_ended(&self) -> bool {
        let last = self.conversation.messages.last();
        last.is_some_and(|message| message.role == Role::Assistant) && self.conversation.open_calls().is_empty()
    }

    /// The journal line of an entry.
    pub(crate) fn line(&mut self, entry: &Entry) -> JournalEntry {
        let seq = self.next_seq;
        self.next_seq += 1;
        let entry = serde_json::to_value(entry).expect("an entry is made of JSON");
        JournalEntry { seq, entry }
    }

    /// Takes an entry in, which is in the journal.
    pub(crate) fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Start { date, goal, message, prompt_hash, tools_hash, .. } => {
                self.date = Some(date);
                self.goal = goal;
                self.prompt_hash = Some(prompt_hash);
                self.tools_hash = Some(tools_hash);
                self.conversation.say(Role::User, vec![text_block(&message)]);
            }
            Entry::Assistant { content, stop_reason } => {
                self.stopped = Some(stop_reason);
                self.conversation.say(Role::Assistant, content);
            }
            Entry::ToolResults { content, actions } => {
                self.actions.extend(actions);
                self.conversation.say(Role::User, content);
            }
            Entry::Other => {}
        }
    }

    /// The audit row of a call, numbered `offset` places after those that are written.
    pub(crate) fn row(&self, offset: usize, call: &ToolUse) -> Action {
        Action {
            index: self.actions.len() + offset,
            tool_name: call.name[..call.name.floor_char_boundary(NAME)].to_owned(),
            module: self.conversation.tools.module_of(&call.name),
            input_hash: input_hash(&call.input),
            result: ActionResult::Ok,
            code: None,
            error_message: None,
            latency_ms: 0,
            tool_use_id: call.id.clone(),
        }
    }

    /// Writes rows for the calls that were asked for and have none yet, with this code: every call has exactly one row.
    pub(crate) fn close_open_calls(&mut self, code: &str, message: &str) {
        let mut known: HashSet<String> = self.actions.iter().map(|row| row.tool_use_id.clone()).collect();
        let mut calls = self.conversation.open_calls();
        calls.retain(|call| known.insert(call.id.clone()));
        let closed = |(offset, call): (usize, &ToolUse)| Action {
            result: ActionResult::Error,
            code: Some(code.to_owned()),
            error_message: Some(message.to_owned()),
            ..self.row(offset, call)
        };
        let rows: Vec<Action> = calls.iter().enumerate().map(closed).collect();
        self.actions.extend(rows);
    }

    /// How many calls failed.
    pub(crate) fn errors(&self) -> usize {
        self.actions.iter().filter(|action| action.is_error()).count()
    }
}
