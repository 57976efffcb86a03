//! How much of the provider one process uses: how many calls at once, no call before it asked for one, and none while
//! it is broken.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mana_types::{Clock, Timestamp};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::error::{Again, Failure, Health};

/// How many calls run at once before anything is known.
const START: usize = 2;

/// How many calls without overload earn one more at once.
const CLEAN: u32 = 10;

/// How many faults in a row open the circuit.
const FAULTS: u32 = 5;

/// How long the circuit stays open at first, and at most.
const PAUSE: Duration = Duration::from_mins(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(15);

/// A pause that the provider asks for closes the door for new visits, if it is at least this long.
const NOTICEABLE: Duration = Duration::from_mins(1);

/// Why a call is not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turned {
    /// The provider is left alone; the reason and until when.
    Away(String),
    /// The deadline comes before its turn.
    TooLate,
}

/// The limits of one provider and model, shared by all visits of the process.
#[derive(Debug)]
pub(super) struct Limits {
    places: Semaphore,
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct State {
    width: Width,
    breaker: Breaker,
    /// The provider asked for no call before this.
    not_before: Option<Instant>,
}

impl Limits {
    pub(super) fn new(most: usize, clock: Arc<dyn Clock>) -> Self {
        let width = Width::new(most);
        let state = State { width, breaker: Breaker::default(), not_before: None };
        Self { places: Semaphore::new(width.now), state: Mutex::new(state), clock }
    }

    /// Waits for a place.
    pub(super) async fn enter(&self, deadline: Instant) -> Result<Pass<'_>, Turned> {
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Err(Turned::TooLate);
            }
            if let Some(reason) = self.lock().breaker.closed(now) {
                return Err(Turned::Away(reason));
            }
            if let Some(until) = self.asked_pause(now) {
                if until >= deadline {
                    return Err(Turned::Away(self.pause_reason(until - now)));
                }
                sleep_until(until).await;
                continue;
            }
            let Ok(place) = timeout_at(deadline, self.places.acquire()).await else { return Err(Turned::TooLate) };
            let place = place.expect("nobody closes the semaphore");
            let now = Instant::now();
            if self.asked_pause(now).is_some() {
                continue;
            }
            let mut state = self.lock();
            let is_probe = state.breaker.admit(now).map_err(Turned::Away)?;
            let generation = state.width.generation;
            return Ok(Pass { limits: self, place: Some(place), generation, is_probe });
        }
    }

    /// Why no visit should begin now: the reason and until when.
    pub(super) fn closed_for(&self) -> Option<String> {
        let now = Instant::now();
        let closed = self.lock().breaker.closed(now);
        closed.or_else(|| {
            let left = self.asked_pause(now)? - now;
            (left >= NOTICEABLE).then(|| self.pause_reason(left))
        })
    }

    fn asked_pause(&self, now: Instant) -> Option<Instant> {
        self.lock().not_before.filter(|until| *until > now)
    }

    fn pause_reason(&self, left: Duration) -> String {
        format!("the model provider asks for a pause until {}", later(self.clock.now(), left))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place for one call. Given back when dropped, also where the call is cancelled.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    limits: &'a Limits,
    place: Option<SemaphorePermit<'a>>,
    generation: u64,
    is_probe: bool,
}

impl Pass<'_> {
    /// The call led to a reply.
    pub(super) fn succeeded(mut self) {
        let is_probe = std::mem::take(&mut self.is_probe);
        let mut state = self.limits.lock();
        state.breaker.settle(is_probe, Health::Fine, "", Instant::now(), self.limits.clock.now());
        if state.width.widen() {
            self.limits.places.add_permits(1);
        }
    }

    /// The call failed.
    pub(super) fn failed(mut self, failure: &Failure) {
        let is_probe = std::mem::take(&mut self.is_probe);
        let now = Instant::now();
        let mut state = self.limits.lock();
        state.breaker.settle(is_probe, failure.health, &failure.reason, now, self.limits.clock.now());
        if failure.overloaded {
            let fewer = state.width.halve(self.generation);
            let gone = self.limits.places.forget_permits(fewer);
            // The rest are in use and vanish when they are given back.
            state.width.owed += fewer - gone;
        }
        if let Again::After(pause) = failure.again {
            let until = now + pause.min(LONGEST_PAUSE);
            state.not_before = state.not_before.max(Some(until));
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.limits.lock();
        if self.is_probe {
            // Cancelled before it said anything: the next one may try.
            state.breaker.probing = false;
        }
        if let Some(place) = self.place.take()
            && state.width.owed > 0
        {
            state.width.owed -= 1;
            place.forget();
        }
    }
}

/// How many calls run at once: one more for every ten clean ones, half as many on overload, never less than one.
#[derive(Debug, Clone, Copy)]
struct Width {
    now: usize,
    most: usize,
    clean: u32,
    /// Counts the halvings, so that calls that ran side by side into one overload halve once.
    generation: u64,
    /// Places that are gone, though still in use.
    owed: usize,
}

impl Width {
    fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { now: START.min(most), most, clean: 0, generation: 0, owed: 0 }
    }

    /// Counts a clean call. Whether a place has to be added.
    fn widen(&mut self) -> bool {
        self.clean += 1;
        if self.clean < CLEAN {
            return false;
        }
        self.clean = 0;
        if self.now >= self.most {
            return false;
        }
        self.now += 1;
        if self.owed > 0 {
            self.owed -= 1;
            return false;
        }
        true
    }

    /// How many places go.
    fn halve(&mut self, generation: u64) -> usize {
        self.clean = 0;
        if generation != self.generation {
            return 0;
        }
        self.generation += 1;
        let fewer = self.now - (self.now / 2).max(1);
        self.now -= fewer;
        fewer
    }
}

/// Leaves a broken provider alone, and lets one call through from time to time to see whether it is back.
#[derive(Debug, Default)]
struct Breaker {
    faults: u32,
    open: Option<Open>,
    probing: bool,
}

#[derive(Debug)]
struct Open {
    reason: String,
    pause: Duration,
    until: Instant,
    until_told: Timestamp,
}

impl Open {
    fn new(reason: &str, pause: Duration, now: Instant, time: Timestamp) -> Self {
        Self { reason: reason.to_owned(), pause, until: now + pause, until_told: later(time, pause) }
    }
}

impl Breaker {
    /// Why no call is made now.
    fn closed(&self, now: Instant) -> Option<String> {
        let open = self.open.as_ref()?;
        if now < open.until {
            Some(format!("the model provider is left alone until {}: {}", open.until_told, open.reason))
        } else if self.probing {
            Some(format!("the model provider is just being tried again: {}", open.reason))
        } else {
            None
        }
    }

    /// Whether a call may be made, and whether it is the one that tries.
    fn admit(&mut self, now: Instant) -> Result<bool, String> {
        if let Some(reason) = self.closed(now) {
            return Err(reason);
        }
        self.probing = self.open.is_some();
        Ok(self.probing)
    }

    /// Learns from a call.
    fn settle(&mut self, is_probe: bool, health: Health, reason: &str, now: Instant, time: Timestamp) {
        if is_probe {
            self.probing = false;
        }
        let opens = match health {
            Health::Fine | Health::Alive => {
                self.faults = 0;
                // A call from before the circuit opened says nothing about now.
                if is_probe {
                    tracing::info!("the model provider answers again");
                    self.open = None;
                }
                return;
            }
            Health::Unsaid => return,
            Health::Faulty => {
                self.faults = self.faults.saturating_add(1);
                self.faults >= FAULTS
            }
            Health::Closed => true,
        };
        let pause = match &self.open {
            Some(open) if is_probe => (open.pause * 2).min(LONGEST_PAUSE),
            None if opens => PAUSE,
            Some(_) | None => return,
        };
        let open = Open::new(reason, pause, now, time);
        if health == Health::Closed {
            tracing::error!(reason, until = %open.until_told, "the model provider will not serve us");
        } else {
            tracing::warn!(reason, until = %open.until_told, "the model provider is broken, leaving it alone");
        }
        self.open = Some(open);
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.plus_millis(i64::try_from(by.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use mana_types::ManualClock;

    use super::*;
    use crate::engine::EngineErrorKind;

    const TIME: Timestamp = Timestamp::from_millis(0);

    fn failure(health: Health, again: Again, overloaded: bool) -> Failure {
        Failure { kind: EngineErrorKind::ProviderDown, reason: "it broke".into(), again, health, overloaded }
    }

    fn limits(most: usize) -> Limits {
        Limits::new(most, Arc::new(ManualClock::at(TIME)))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn width_grows_by_one_and_shrinks_by_half() {
        let mut width = Width::new(4);
        let grown: Vec<usize> = (0..40)
            .map(|_| {
                width.widen();
                width.now
            })
            .collect();
        assert_eq!((grown[8], grown[9], grown[18], grown[19], grown[39]), (2, 3, 3, 4, 4));
        assert_eq!((width.halve(0), width.now), (2, 2));
        assert_eq!((width.halve(0), width.now), (0, 2), "from the same overload");
        assert_eq!((width.halve(1), width.now), (1, 1));
        assert_eq!((width.halve(2), width.now), (0, 1));
        assert_eq!((Width::new(0).now, Width::new(1).now), (1, 1));
        let clean_again = (0..9).all(|_| !width.widen());
        assert!(clean_again && width.widen());
    }

    #[tokio::test]
    async fn places_in_use_vanish_when_given_back() {
        let limits = limits(8);
        let first = limits.enter(soon()).await.unwrap();
        let second = limits.enter(soon()).await.unwrap();
        assert_eq!(limits.enter(Instant::now() + Duration::from_millis(20)).await.unwrap_err(), Turned::TooLate);
        first.failed(&failure(Health::Unsaid, Again::Soon, true));
        assert_eq!(limits.places.available_permits(), 0, "one place is left, and it is in use");
        drop(second);
        assert_eq!(limits.places.available_permits(), 1);
        for _ in 0..10 {
            limits.enter(soon()).await.unwrap().succeeded();
        }
        assert_eq!(limits.places.available_permits(), 2);
    }

    #[tokio::test]
    async fn a_pause_that_is_asked_for_holds_for_everybody() {
        let limits = limits(2);
        let pause = Duration::from_millis(80);
        let began = Instant::now();
        limits.enter(soon()).await.unwrap().failed(&failure(Health::Unsaid, Again::After(pause), false));
        assert_eq!(limits.closed_for(), None, "a short pause is no reason to skip a visit");
        let too_early = limits.enter(began + Duration::from_millis(40)).await.unwrap_err();
        let Turned::Away(reason) = too_early else { panic!("{too_early:?}") };
        assert!(reason.starts_with("the model provider asks for a pause until 1970-01-01T00:00:00.0"), "{reason}");
        limits.enter(soon()).await.unwrap().succeeded();
        assert!(began.elapsed() >= pause);

        limits.enter(soon()).await.unwrap().failed(&failure(
            Health::Unsaid,
            Again::After(Duration::from_hours(24)),
            false,
        ));
        assert!(
            limits.closed_for().unwrap().contains("asks for a pause until 1970-01-01T00:1"),
            "a quarter of an hour at most"
        );
    }

    #[test]
    fn five_faults_in_a_row_open_the_circuit_and_one_call_tries_again() {
        let mut breaker = Breaker::default();
        let start = Instant::now();
        let at = |secs: u64| start + Duration::from_secs(secs);
        let fail = |breaker: &mut Breaker, health, now| {
            let probe = breaker.admit(now)?;
            breaker.settle(probe, health, "it broke", now, TIME);
            Ok::<_, String>(())
        };
        for _ in 0..4 {
            fail(&mut breaker, Health::Faulty, start).unwrap();
        }
        fail(&mut breaker, Health::Alive, start).unwrap();
        for _ in 0..4 {
            fail(&mut breaker, Health::Faulty, start).unwrap();
            fail(&mut breaker, Health::Unsaid, start).unwrap();
        }
        assert_eq!(breaker.closed(start), None);
        fail(&mut breaker, Health::Faulty, start).unwrap();
        let reason = "the model provider is left alone until 1970-01-01T00:01:00.000Z: it broke";
        assert_eq!(breaker.closed(at(59)).as_deref(), Some(reason));
        assert_eq!(breaker.closed(at(60)), None);
        assert_eq!(breaker.admit(at(60)), Ok(true));
        assert!(breaker.admit(at(60)).is_err(), "one call at a time");
        assert!(breaker.closed(at(60)).is_some_and(|reason| reason.contains("tried again")));

        let mut now = 60;
        for pause in [120, 240, 480, 900, 900] {
            breaker.settle(true, Health::Faulty, "still", at(now), TIME);
            assert!(breaker.closed(at(now + pause - 1)).is_some(), "{pause}");
            now += pause;
            assert_eq!(breaker.admit(at(now)), Ok(true), "{pause}");
        }
        breaker.settle(false, Health::Fine, "", at(now), TIME);
        assert!(breaker.closed(at(now)).is_some(), "a call from before says nothing");
        breaker.settle(true, Health::Fine, "", at(now), TIME);
        assert_eq!((breaker.closed(at(now)), breaker.admit(at(now))), (None, Ok(false)));
        breaker.settle(false, Health::Closed, "no key", at(now), TIME);
        assert!(breaker.closed(at(now + 59)).is_some() && breaker.closed(at(now + 60)).is_none());
    }

    #[tokio::test]
    async fn a_cancelled_try_leaves_room_for_the_next() {
        let limits = limits(1);
        limits.enter(soon()).await.unwrap().failed(&failure(Health::Closed, Again::Never, false));
        assert!(matches!(limits.enter(soon()).await.unwrap_err(), Turned::Away(_)));
        assert!(limits.closed_for().is_some());
        limits.lock().breaker.open.as_mut().unwrap().until = Instant::now();
        assert_eq!(limits.closed_for(), None);
        let tries = limits.enter(soon()).await.unwrap();
        assert!(limits.closed_for().is_some());
        drop(tries);
        assert_eq!(limits.closed_for(), None);
        limits.enter(soon()).await.unwrap().succeeded();
        assert!(limits.lock().breaker.open.is_none());
    }
}
