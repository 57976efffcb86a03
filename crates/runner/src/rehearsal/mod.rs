//! The engine without a model: deterministic, and still a person.
//!
//! A reply follows from the seed (persona, date, visit, version) and from the conversation so far, and from nothing else.
//! So a visit that was interrupted goes on as it would have gone, and the same seed says the same bytes.

mod arguments;
pub(crate) mod chaos;
pub(crate) mod dice;
mod kinds;
mod memory;
mod names;
mod plan;
pub(crate) mod stock;
mod words;

#[cfg(test)]
mod tests;

use jiff::tz::TimeZone;
use mana_types::{Date, Lang, TickId};
use sha2::{Digest, Sha256};

use self::dice::Dice;
use self::memory::Memory;
use crate::conversation::{Conversation, Reply, StopReason, text_block, tool_use_block};
use crate::wire::{Behaviour, Persona};

/// Part of the seed: a change of the engine is a change of what it says.
const VERSION: u32 = 1;

/// A rehearsing persona on one visit.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    seed: [u8; 32],
    lang: Lang,
    archetype: String,
    mix: Vec<(String, f64)>,
    behaviour: Behaviour,
    zone: TimeZone,
    today: Date,
}

impl Rehearsal {
    pub(crate) fn new(persona: &Persona, today: Date, tick: &TickId) -> Self {
        let seed = Sha256::digest(format!("rehearsal\n{VERSION}\n{}\n{today}\n{tick}", persona.email));
        Self {
            seed: seed.into(),
            lang: lang_of(persona),
            archetype: persona.archetype.clone(),
            mix: persona.module_mix.iter().map(|(module, weight)| (module.clone(), *weight)).collect(),
            behaviour: persona.behaviour.unwrap_or_default(),
            zone: zone_of(persona),
            today,
        }
    }

    /// One of the sequences of chance that belong to this visit.
    pub(crate) fn dice(&self, stream: u64) -> Dice {
        Dice::new(&self.seed, stream)
    }

    /// The next reply.
    pub(crate) fn step(&self, conversation: &Conversation) -> Reply {
        let memory = Memory::of(conversation);
        let tolerated = usize::try_from(self.behaviour.tolerated_errors).unwrap_or(usize::MAX);
        if memory.errors() > tolerated {
            return self.close("bad");
        }
        let calls = plan::next(self, &conversation.tools, &memory);
        if calls.is_empty() {
            let mostly_bad = memory.errors() * 2 > memory.played.len();
            return self.close(if mostly_bad { "bad" } else { "good" });
        }
        Reply::free(calls.iter().map(tool_use_block).collect(), StopReason::ToolUse)
    }

    fn close(&self, mood: &str) -> Reply {
        let sentence = stock::closing(self.lang, mood, &mut self.dice(4_000));
        Reply::free(vec![text_block(sentence)], StopReason::EndTurn)
    }

    /// Whether the persona stays away today. A persona that was never there comes.
    pub(crate) fn skips(&self, was_active: bool) -> bool {
        was_active && self.dice(5_000).chance(self.behaviour.skip_rate)
    }

    /// What the persona has in mind today, if anything.
    pub(crate) fn goal(&self) -> Option<String> {
        let mut dice = self.dice(6_000);
        if dice.chance(0.5) {
            return None;
        }
        dice.pick(stock::of_archetype(self.lang, &self.archetype, "title")).cloned()
    }
}

/// The language that a persona speaks.
pub(crate) fn lang_of(persona: &Persona) -> Lang {
    persona.locale.as_deref().map_or(Lang::default(), Lang::of_locale)
}

/// Where a persona lives; UTC where that is unknown.
pub(crate) fn zone_of(persona: &Persona) -> TimeZone {
    persona.timezone.as_deref().and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC)
}
