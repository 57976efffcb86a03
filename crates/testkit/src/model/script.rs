//! What the model says, as a function of what it is asked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Ask, Turn, visits};

/// A function from a request to an answer. It should look at nothing but the request: then it works for any number of
/// conversations at once, and after every crash.
#[derive(Clone)]
pub struct Script(Arc<dyn Fn(&Ask) -> Turn + Send + Sync>);

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script(..)")
    }
}

impl Script {
    /// Answers by this function.
    pub fn new(answer: impl Fn(&Ask) -> Turn + Send + Sync + 'static) -> Self {
        Self(Arc::new(answer))
    }

    /// The first reply of a conversation is the first of these, and so on; when they run out, a closing sentence.
    pub fn turns(turns: impl Into<Vec<Turn>>) -> Self {
        let turns = turns.into();
        Self::new(move |ask| turns.get(ask.turns()).cloned().unwrap_or_else(|| Turn::say("That was all.")))
    }

    /// The first request, in whatever conversation, gets the first of these, and so on; then the script below. For
    /// faults that go away.
    pub fn first(self, turns: impl Into<Vec<Turn>>) -> Self {
        let turns = turns.into();
        self.but(move |ask| turns.get(ask.number).cloned())
    }

    /// A persona that lives a short day over whatever tools it is shown: lists, creates, goes on with the id it was
    /// given, reads two things at once, closes with a sentence, writes a diary and rates what it used.
    pub fn visits() -> Self {
        Self::new(visits::answer)
    }

    /// This script, taking its time: before an answer, and between the chunks of it.
    pub fn paced(self, before: Duration, between: Duration) -> Self {
        Self::new(move |ask| self.answer(ask).delay(before).pause(between))
    }

    /// This script, except where `other` has an answer.
    pub fn but(self, other: impl Fn(&Ask) -> Option<Turn> + Send + Sync + 'static) -> Self {
        Self::new(move |ask| other(ask).unwrap_or_else(|| self.answer(ask)))
    }

    pub(crate) fn answer(&self, ask: &Ask) -> Turn {
        (self.0)(ask)
    }
}
