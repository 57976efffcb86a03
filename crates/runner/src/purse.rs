//! The money of a visit: put aside before every model call, settled after it.
//!
//! The personas service keeps the books and knows all limits but one; reservation and settlement travel with the lines
//! of the journal. What was put aside for a call whose process died stays booked: better too much than too little.

use crate::conversation::Usage;
use crate::engine::{Engine, Estimate, Step};
use crate::options::Budget;
use crate::wire::{Limits, Reserve, Settle};

/// How large the two closing questions and the answers to the first may be, in bytes.
const CLOSING_BYTES: usize = 12_000;

/// The money of a visit.
#[derive(Debug)]
pub(crate) struct Purse {
    budget: Budget,
    next_call: i64,
    /// The reservation that is open, and whom it is for.
    open: Option<(i64, String)>,
    /// What is to be told with the next lines of the journal.
    pub(crate) settle: Option<Settle>,
    /// Everything that this visit took, as far as it is known: what a process took in its last moment before it died is
    /// only booked.
    pub(crate) used: Usage,
}

impl Purse {
    /// `used`: what earlier processes took in this visit.
    pub(crate) fn new(budget: Budget, used: Usage) -> Self {
        Self { budget, next_call: 1, open: None, settle: None, used }
    }

    /// What to put aside for this step; none where the engine takes no money. `closing`: how many tokens each of the
    /// replies may have that the visit must still be able to pay for.
    pub(crate) fn reserve(
        &mut self,
        engine: &Engine,
        step: &Step<'_>,
        last_prompt: Option<u64>,
        new_bytes: usize,
        closing: &[u32],
    ) -> Option<Result<Reserve, String>> {
        let Estimate { tokens, micro_usd } = engine.estimate(step, last_prompt, new_bytes)?;
        if let Some(limit) = self.budget.call_micro_usd.filter(|limit| micro_usd > *limit) {
            return Some(Err(format!(
                "one call could cost {}, more than the limit of {} for a call",
                dollars(micro_usd),
                dollars(limit)
            )));
        }
        let (hold_back_tokens, hold_back_micro_usd) = closing
            .iter()
            .filter_map(|max_tokens| {
                engine.estimate(&Step { max_tokens: *max_tokens, ..*step }, Some(tokens), CLOSING_BYTES)
            })
            .fold((0, 0), |(tokens, micro_usd), more| (tokens + more.tokens, micro_usd + more.micro_usd));
        let call = self.next_call;
        self.next_call += 1;
        let model = engine.model().unwrap_or_default().to_owned();
        self.open = Some((call, model.clone()));
        Some(Ok(Reserve {
            call,
            model,
            tokens,
            cost_micro_usd: micro_usd,
            hold_back_micro_usd,
            hold_back_tokens,
            limits: Limits {
                tick_micro_usd: self.budget.tick_micro_usd,
                persona_day_micro_usd: self.budget.persona_day_micro_usd,
                day_micro_usd: self.budget.day_micro_usd,
                month_micro_usd: self.budget.month_micro_usd,
                tick_tokens: self.budget.tick_tokens,
            },
        }))
    }

    /// The reservation was refused: nothing is open.
    pub(crate) fn refused(&mut self) {
        self.open = None;
    }

    /// Closes the open reservation with what was really taken.
    pub(crate) fn take(&mut self, engine: &Engine, usage: Usage) {
        self.used = self.used.plus(usage);
        if let Some((call, model)) = self.open.take() {
            self.settle = Some(Settle { call, model, usage, cost_micro_usd: engine.cost_micro_usd(&usage) });
        }
    }

    /// Whether a model was used at all.
    pub(crate) fn is_used(&self) -> bool {
        !self.used.is_nothing()
    }
}

/// An amount for people.
pub(crate) fn dollars(micro_usd: i64) -> String {
    let cents = micro_usd.unsigned_abs().div_ceil(100);
    format!("${}.{:04}", cents / 10_000, cents % 10_000)
}

#[cfg(test)]
mod tests {
    use super::dollars;

    #[test]
    fn amounts_are_rounded_up() {
        assert_eq!([dollars(1), dollars(1_000_000), dollars(2_345_678)], ["$0.0001", "$1.0000", "$2.3457"]);
    }
}
