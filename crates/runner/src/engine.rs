//! What decides a persona's next step.
//!
//! An enum with one variant rather than a trait: a trait stands where there are two real implementations, and there is
//! one. The model engine becomes the second variant; the loop sees only [`Engine::step`].

use crate::conversation::{Conversation, Reply};
use crate::rehearsal::Rehearsal;

/// What decides a persona's next step.
#[derive(Debug)]
pub(crate) enum Engine {
    /// Deterministic, without a model.
    Rehearsal(Rehearsal),
}

impl Engine {
    /// The next reply in this conversation.
    pub(crate) fn step(&self, conversation: &Conversation) -> Reply {
        match self {
            Self::Rehearsal(rehearsal) => rehearsal.step(conversation),
        }
    }

    /// The engine's name, in every row that a visit leaves.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Rehearsal(_) => "rehearsal",
        }
    }

    /// Whether what it leaves is labelled as simulated.
    pub(crate) const fn is_simulated(&self) -> bool {
        match self {
            Self::Rehearsal(_) => true,
        }
    }
}
