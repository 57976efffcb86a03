//! A persona's run state, and how it changes: pure steps from one row to the next.

use mana_types::{Random, Timestamp, UserId};
use serde::Serialize;

use crate::due::{MAX_FAILURES, PROVIDER_PAUSE_MS, Schedule};
use crate::tick::Outcome;

/// Asked for by hand.
pub(crate) const PRIO_ASKED: i64 = 0;
/// Never run.
pub(crate) const PRIO_NEW: i64 = 1;
/// Everybody else.
pub(crate) const PRIO_ORDINARY: i64 = 2;

/// Whether a persona acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits until it is due.
    Idle,
    /// A visit is under way, or its lease has run out and it waits to be taken up.
    Running,
    /// Somebody has stopped it.
    Paused,
    /// It failed too often and waits for somebody to look.
    Quarantined,
}

impl State {
    /// The word that is stored and spoken.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Quarantined => "quarantined",
        }
    }
}

impl std::str::FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Idle, Self::Running, Self::Paused, Self::Quarantined]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("unknown state `{text}`"))
    }
}

/// The row of one persona, and its rhythm.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) persona: UserId,
    pub(crate) state: State,
    pub(crate) prio: i64,
    pub(crate) ready_at: Timestamp,
    pub(crate) epoch: i64,
    pub(crate) owner: Option<String>,
    pub(crate) lease_until: Option<Timestamp>,
    pub(crate) tick: Option<String>,
    pub(crate) attempts: i64,
    pub(crate) failures: i64,
    pub(crate) pause_reason: Option<String>,
    pub(crate) last_active_at: Option<Timestamp>,
    pub(crate) slot_at: Timestamp,
    pub(crate) schedule: Schedule,
}

impl Run {
    /// Of a persona that was made just now.
    pub(crate) fn new(persona: UserId, schedule: Schedule, now: Timestamp) -> Self {
        let slot_at = schedule.first_due(now);
        Self {
            persona,
            state: State::Idle,
            prio: PRIO_NEW,
            ready_at: slot_at,
            epoch: 0,
            owner: None,
            lease_until: None,
            tick: None,
            attempts: 0,
            failures: 0,
            pause_reason: None,
            last_active_at: None,
            slot_at,
            schedule,
        }
    }

    /// A visit is under way right now.
    fn is_leased(&self, now: Timestamp) -> bool {
        self.owner.is_some() && self.lease_until.is_some_and(|until| until > now)
    }

    /// Stops it. A visit under way may end, and nothing new begins.
    pub(crate) fn pause(&mut self, reason: Option<&str>) {
        if self.state != State::Paused || reason.is_some() {
            self.pause_reason = reason.map(str::to_owned);
        }
        self.leave_quarantine();
        self.state = State::Paused;
        self.ready_at = Timestamp::MAX;
    }

    /// Starts with a clean sheet; the visit that brought it there is over.
    fn leave_quarantine(&mut self) {
        if self.state == State::Quarantined {
            self.failures = 0;
            self.attempts = 0;
            self.tick = None;
        }
    }

    /// Lets it go on, from a pause or from quarantine.
    pub(crate) fn resume(&mut self, now: Timestamp) {
        match self.state {
            State::Idle | State::Running => return,
            State::Quarantined => {
                self.leave_quarantine();
                self.state = State::Idle;
                self.ready_at = self.schedule.admit(now);
            }
            State::Paused if self.is_leased(now) => {
                self.state = State::Running;
                self.ready_at = self.lease_until.unwrap_or(now);
            }
            State::Paused => {
                self.state = State::Idle;
                self.ready_at = if self.tick.is_some() { now } else { self.slot_at };
            }
        }
        self.pause_reason = None;
    }

    /// Makes it due at once. What is running or waiting to be taken up is due already.
    pub(crate) fn run_now(&mut self, now: Timestamp) -> Result<(), State> {
        match self.state {
            State::Paused | State::Quarantined => return Err(self.state),
            State::Running => {}
            State::Idle => {
                self.prio = PRIO_ASKED;
                self.ready_at = self.ready_at.min(now);
            }
        }
        Ok(())
    }

    /// It has done something outside of a claimed visit: the next visit counts from here.
    pub(crate) fn was_active(&mut self, now: Timestamp) {
        self.last_active_at = Some(now);
        if self.state != State::Running {
            self.prio = PRIO_ORDINARY;
            self.slot_at = self.schedule.next_due(now);
        }
        if self.state == State::Idle {
            self.ready_at = self.slot_at;
        }
    }

    /// Its rhythm was changed; it counts from the last visit.
    pub(crate) fn reschedule(&mut self, schedule: Schedule, now: Timestamp) {
        self.schedule = schedule;
        self.slot_at = match self.last_active_at {
            Some(last) => self.schedule.next_due(last),
            None => self.schedule.first_due(now),
        };
        if self.state == State::Idle && self.tick.is_none() && self.failures == 0 {
            self.ready_at = self.slot_at;
        }
    }

    /// Its visit is over.
    pub(crate) fn finish(&mut self, outcome: Outcome, provider_fault: bool, now: Timestamp, random: &dyn Random) {
        self.owner = None;
        self.lease_until = None;
        self.tick = None;
        self.attempts = 0;
        let ready_at = if provider_fault || outcome == Outcome::ProviderDown {
            // Not the persona's fault: its slot stays, and the visit is made up for when the provider is back.
            now.plus_millis(PROVIDER_PAUSE_MS)
        } else {
            self.last_active_at = Some(now);
            self.prio = PRIO_ORDINARY;
            self.slot_at = self.schedule.next_due(now);
            if outcome.is_failure() {
                self.failures += 1;
                self.schedule.retry_at(now, self.failures, random)
            } else {
                self.failures = 0;
                self.slot_at
            }
        };
        if self.state == State::Paused {
            return; // the slot is kept for when it goes on
        }
        if self.failures >= MAX_FAILURES {
            self.state = State::Quarantined;
            self.ready_at = Timestamp::MAX;
            let outcome = outcome.as_str();
            self.pause_reason =
                Some(format!("{} failed visits in a row, the last one ended `{outcome}`", self.failures));
        } else {
            self.state = State::Idle;
            self.ready_at = ready_at;
        }
    }

    /// Its visit is given back unfinished, to be taken up by whoever claims next; nobody has failed.
    pub(crate) fn release(&mut self, now: Timestamp) {
        self.owner = None;
        self.lease_until = None;
        self.attempts = (self.attempts - 1).max(0);
        if self.state == State::Running {
            self.ready_at = now;
        }
    }

    /// When it acts next; none while it does not.
    pub(crate) fn next_due_at(&self) -> Option<Timestamp> {
        (self.ready_at < Timestamp::MAX).then_some(self.ready_at)
    }
}

#[cfg(test)]
mod tests {
    use mana_types::SeededRandom;

    use super::*;
    use crate::due::Cadence;

    const NOW: Timestamp = Timestamp::from_millis(1_794_992_400_000);

    fn running() -> Run {
        let persona = UserId::from_uuid(uuid::Uuid::from_u128(1));
        let mut run = Run::new(persona, Schedule::new(persona, Cadence::Daily, None, None), NOW);
        run.state = State::Running;
        run.owner = Some("one".into());
        run.tick = Some("tick".into());
        run.attempts = 1;
        run.lease_until = Some(NOW.plus_millis(1_000));
        run.ready_at = NOW.plus_millis(1_000);
        run
    }

    #[test]
    fn a_good_visit_moves_the_next_one_by_the_cadence() {
        let mut run = running();
        run.failures = 3;
        run.finish(Outcome::Completed, false, NOW, &SeededRandom::new(1));
        assert_eq!(run.ready_at, NOW.plus_millis(24 * 3_600_000 + 1));
        assert_eq!((run.failures, run.attempts, run.state), (0, 0, State::Idle));
    }

    #[test]
    fn eight_failures_quarantine_and_a_providers_fault_counts_for_nothing() {
        let random = SeededRandom::new(1);
        let mut run = running();
        for _ in 0..7 {
            run.finish(Outcome::McpUnavailable, false, NOW, &random);
            assert_eq!(run.state, State::Idle);
            run.finish(Outcome::Failed, true, NOW, &random);
            assert_eq!(run.ready_at, NOW.plus_millis(PROVIDER_PAUSE_MS));
        }
        run.finish(Outcome::McpUnavailable, false, NOW, &random);
        assert_eq!(run.state, State::Quarantined);
        assert_eq!(run.pause_reason.as_deref(), Some("8 failed visits in a row, the last one ended `mcp_unavailable`"));
        assert_eq!(run.next_due_at(), None);
        run.resume(NOW);
        assert_eq!((run.state, run.failures, run.ready_at), (State::Idle, 0, NOW));
    }

    #[test]
    fn a_pause_lets_the_visit_end_and_keeps_the_slot() {
        let mut run = running();
        run.pause(Some("holiday"));
        run.pause(None);
        assert_eq!(run.pause_reason.as_deref(), Some("holiday"), "pausing twice keeps the reason");
        let mut early = run.clone();
        early.resume(NOW);
        assert_eq!(
            (early.state, early.ready_at),
            (State::Running, NOW.plus_millis(1_000)),
            "the visit is still leased"
        );
        run.finish(Outcome::Completed, false, NOW, &SeededRandom::new(1));
        assert_eq!((run.state, run.next_due_at()), (State::Paused, None));
        assert_eq!(run.run_now(NOW), Err(State::Paused));
        run.resume(NOW);
        assert_eq!((run.state, run.ready_at), (State::Idle, run.slot_at));
    }

    #[test]
    fn a_released_visit_is_due_at_once_and_charged_to_nobody() {
        let mut run = running();
        run.release(NOW);
        assert_eq!((run.ready_at, run.attempts, run.failures), (NOW, 0, 0));
        assert_eq!(run.tick.as_deref(), Some("tick"));
    }
}
