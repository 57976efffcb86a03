//! A rehearsal that misbehaves: the same plan of the same person, and between its calls others that no server can want.
//!
//! Every such call carries its kind of mischief in its id (`chaos_07_missing`), so that a report can count them from the
//! audit rows alone. Nothing destructive is ever called, and no more than one huge input goes out in a reply. As with the
//! rehearsal, a reply follows from the seed and from the conversation, and from nothing else.

use std::collections::BTreeMap;

use mana_types::{Date, TickId};
use serde_json::Value;

use self::mischief::Mischief;
use self::oracle::oracle;
use super::Rehearsal;
use super::dice::Dice;
use super::memory::Memory;
use crate::conversation::{
    Conversation, Message, Reply, Role, StopReason, ToolUse, text_block, tool_results, tool_use_block, tool_uses,
};
use crate::wire::{Action, Persona};

mod mischief;
mod oracle;
#[cfg(test)]
mod tests;

/// After how many replies a visit ends: below the most that a visit may have.
const REPLIES: usize = 13;

/// How many kinds of mischief are tried in one reply, at most.
const TOGETHER: i64 = 3;

macro_rules! families {
    ($($(#[$doc:meta])* $name:ident = $word:literal),+ $(,)?) => {
        /// A kind of mischief.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Family { $($(#[$doc])* $name),+ }

        impl Family {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            /// Its word in ids and reports.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),+ }
            }
        }
    };
}

families! {
    /// A required field is left out, or all of them.
    Missing = "missing",
    /// A value of another type than the schema wants.
    WrongType = "type",
    /// A text of a megabyte, or a list of ten thousand entries.
    Huge = "huge",
    /// Values within values.
    Deep = "deep",
    /// Right-to-left marks, joiners, characters beyond the first plane, NUL, what looks like half a character.
    Unicode = "unicode",
    /// Text that wants to be taken for instructions, for a query, for markup or for a path.
    Injection = "injection",
    /// Days that do not exist, numbers at the ends of their range.
    Edge = "edge",
    /// Ids of nothing, of records of other modules, of other spaces.
    Foreign = "foreign",
    /// The same call twice in one reply.
    Double = "double",
    /// Tools that do not exist.
    Unknown = "unknown",
    /// Fields that do not exist.
    Extra = "extra",
    /// Texts without a word in them.
    Empty = "empty",
}

impl Family {
    /// The kind of mischief that a call was; none for calls that mean well.
    pub(crate) fn of_call(tool_use_id: &str) -> Option<Self> {
        let (_, word) = tool_use_id.strip_prefix("chaos_")?.split_once('_')?;
        Self::ALL.iter().copied().find(|family| family.as_str() == word)
    }
}

/// How many calls of each kind a visit made, and how many of them were refused.
fn counted(actions: &[Action]) -> BTreeMap<Family, (usize, usize)> {
    let mut counts = BTreeMap::new();
    for action in actions {
        let Some(family) = Family::of_call(&action.tool_use_id) else { continue };
        let (calls, refused) = counts.entry(family).or_insert((0, 0));
        *calls += 1;
        *refused += usize::from(action.is_error());
    }
    counts
}

/// A misbehaving persona on one visit.
#[derive(Debug)]
pub(crate) struct Chaos {
    rehearsal: Rehearsal,
    /// Ids of records that belong to other spaces.
    foreign: Vec<String>,
}

impl Chaos {
    pub(crate) fn new(persona: &Persona, today: Date, tick: &TickId, foreign: Vec<String>) -> Self {
        Self { rehearsal: Rehearsal::new(persona, today, tick), foreign }
    }

    /// The next reply: by turns what the person would do, and mischief.
    pub(crate) fn step(&self, conversation: &Conversation) -> Reply {
        let replies = conversation.messages.iter().filter(|message| message.role == Role::Assistant).count();
        let meant_well = self.rehearsal.step(&well_meant(conversation));
        if replies >= REPLIES {
            return self.close();
        }
        if replies.is_multiple_of(2) && meant_well.stop_reason == StopReason::ToolUse {
            return meant_well;
        }
        let calls = self.mischief(conversation, replies);
        if calls.is_empty() { meant_well } else { Reply::free(calls, StopReason::ToolUse) }
    }

    /// What was tried on this visit, a line for each kind.
    pub(crate) fn tried(actions: &[Action]) -> Vec<String> {
        let line = |(family, (calls, refused)): (Family, (usize, usize))| {
            format!("{}: {calls} calls, {refused} refused", family.as_str())
        };
        counted(actions).into_iter().map(line).collect()
    }

    /// What was wrong with the answers, a line each.
    pub(crate) fn faults(&self, conversation: &Conversation, actions: &[Action]) -> Vec<String> {
        let answers = conversation.messages.iter().flat_map(|message| tool_results(&message.content));
        let answers: Vec<(&str, &str, bool)> =
            answers.map(|answer| (answer.tool_use_id, answer.text, answer.is_error)).collect();
        let foreign: Vec<&str> = self.foreign.iter().map(String::as_str).collect();
        oracle(actions, &answers, &foreign)
    }

    fn mischief(&self, conversation: &Conversation, replies: usize) -> Vec<Value> {
        let mut dice = self.rehearsal.dice(8_000 + u64::try_from(replies).unwrap_or(u64::MAX));
        let memory = Memory::of(conversation);
        let mut made: Vec<Option<Family>> = Vec::new();
        for message in conversation.messages.iter().filter(|message| message.role == Role::Assistant) {
            made.extend(tool_uses(&message.content).iter().map(|call| Family::of_call(&call.id)));
        }
        let order = self.order();
        // Where the order goes on: after the kind that was tried last.
        let last = made.iter().rev().find_map(|family| *family);
        let start = last.and_then(|last| order.iter().position(|family| *family == last)).map_or(0, |at| at + 1);
        let wanted = usize::try_from(dice.between(1, TOGETHER)).unwrap_or(1);
        let mut blocks = Vec::new();
        let mut tried = 0;
        for family in order.iter().cycle().skip(start).take(order.len()) {
            if tried >= wanted {
                break;
            }
            let mut mischief = Mischief::new(&self.rehearsal, conversation, &memory, &self.foreign, &mut dice);
            let calls = mischief.calls(*family);
            tried += usize::from(!calls.is_empty());
            for (name, input) in calls {
                let id = format!("chaos_{:02}_{}", made.len() + blocks.len() + 1, family.as_str());
                blocks.push(tool_use_block(&ToolUse { id, name, input }));
            }
        }
        blocks
    }

    /// In which order the kinds come on this visit.
    fn order(&self) -> Vec<Family> {
        let mut dice = self.rehearsal.dice(8_900);
        shuffled(Family::ALL, &mut dice)
    }

    fn close(&self) -> Reply {
        let sentence = super::stock::closing(self.rehearsal.lang, "bad", &mut self.rehearsal.dice(4_000));
        Reply::free(vec![text_block(sentence)], StopReason::EndTurn)
    }
}

fn shuffled<T: Copy>(from: &[T], dice: &mut Dice) -> Vec<T> {
    let mut left = from.to_vec();
    let mut order = Vec::with_capacity(left.len());
    while !left.is_empty() {
        order.push(left.swap_remove(dice.below(left.len())));
    }
    order
}

/// The conversation as it would be without the mischief: the plan of the person goes on from there.
fn well_meant(conversation: &Conversation) -> Conversation {
    let is_mischief = |block: &Value| {
        let of = |name: &str| block.get(name).and_then(Value::as_str).is_some_and(|id| Family::of_call(id).is_some());
        of("id") || of("tool_use_id")
    };
    let kept = |message: &Message| Message {
        role: message.role,
        content: message.content.iter().filter(|block| !is_mischief(block)).cloned().collect(),
    };
    Conversation {
        rules: conversation.rules.clone(),
        persona: conversation.persona.clone(),
        tools: conversation.tools.clone(),
        messages: conversation.messages.iter().map(kept).collect(),
    }
}
