//! When a persona acts next: pure rules, no clock of their own.
//!
//! Hourly means more than an hour after the last visit, daily more than a day, weekdays more than a day and Monday to
//! Friday in the persona's zone. A persona with a window visits inside it only, and its slots lie at the same local
//! time every day: a phase taken from its id, so that a thousand personas do not come at nine o'clock sharp. Slots that
//! were missed are made up for by one visit, because the next slot is always counted from the last visit.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use mana_types::{Random, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
const DAY_MINUTES: i64 = 24 * 60;

/// Five crashed claims of one visit are enough.
pub const MAX_ATTEMPTS: i64 = 5;
/// Eight failed visits without a good one between them are enough.
pub const MAX_FAILURES: i64 = 8;
/// How long a visit waits that failed because of the model's provider.
pub const PROVIDER_PAUSE_MS: i64 = MINUTE_MS;

/// How often a persona visits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cadence {
    /// More than an hour after the last visit.
    Hourly,
    /// More than a day after the last visit.
    Daily,
    /// Like daily, but not on Saturday and Sunday.
    Weekdays,
}

impl Cadence {
    /// All of them, as they are spoken.
    pub const WORDS: [&str; 3] = ["hourly", "daily", "weekdays"];

    /// The word that is stored and spoken.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekdays => "weekdays",
        }
    }

    const fn interval_ms(self) -> i64 {
        match self {
            Self::Hourly => HOUR_MS,
            Self::Daily | Self::Weekdays => DAY_MS,
        }
    }
}

impl FromStr for Cadence {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "hourly" => Ok(Self::Hourly),
            "daily" => Ok(Self::Daily),
            "weekdays" => Ok(Self::Weekdays),
            other => Err(format!("`{other}` is not a cadence, expected `hourly`, `daily` or `weekdays`")),
        }
    }
}

/// The part of the day in which a persona visits, in local wall time; the end may lie after midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    start_minute: i16,
    end_minute: i16,
}

impl Window {
    /// A window from `HH:MM` to `HH:MM`. None if either is no time of day or both are the same.
    pub fn new(start: &str, end: &str) -> Option<Self> {
        let (start_minute, end_minute) = (minute_of(start)?, minute_of(end)?);
        (start_minute != end_minute).then_some(Self { start_minute, end_minute })
    }

    /// When it opens, `HH:MM`.
    pub fn start(self) -> String {
        clock_face(self.start_minute)
    }

    /// When it closes, `HH:MM`.
    pub fn end(self) -> String {
        clock_face(self.end_minute)
    }

    fn length_minutes(self) -> i64 {
        (i64::from(self.end_minute) - i64::from(self.start_minute)).rem_euclid(DAY_MINUTES)
    }

    fn holds(self, time: Time) -> bool {
        let minute = i16::from(time.hour()) * 60 + i16::from(time.minute());
        if self.start_minute < self.end_minute {
            (self.start_minute..self.end_minute).contains(&minute)
        } else {
            minute >= self.start_minute || minute < self.end_minute
        }
    }
}

fn minute_of(text: &str) -> Option<i16> {
    let (hours, minutes) = text.split_once(':')?;
    // `parse` alone would take `+8` for a number of two digits.
    let is_number = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    let digits = |part: &str| is_number(part).then(|| part.parse::<u8>().ok()).flatten().map(i16::from);
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

fn clock_face(minute: i16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

/// A persona's rhythm.
#[derive(Clone, PartialEq)]
pub struct Schedule {
    cadence: Cadence,
    zone: TimeZone,
    window: Option<Window>,
    /// Where in its window this persona's slot lies, as a share of 2^32.
    phase: u32,
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zone = self.zone.iana_name().unwrap_or("UTC");
        f.debug_struct("Schedule").field("cadence", &self.cadence).field("zone", &zone).finish_non_exhaustive()
    }
}

/// The zone of an IANA name.
pub fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

impl Schedule {
    /// The rhythm of this persona; UTC where it has no zone.
    pub fn new(persona: UserId, cadence: Cadence, zone_name: Option<&str>, window: Option<Window>) -> Self {
        let hash = Sha256::digest(persona.uuid().as_bytes());
        let phase = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
        let zone = zone_name.and_then(zone).unwrap_or(TimeZone::UTC);
        Self { cadence, zone, window, phase }
    }

    /// When a persona that never ran is due: as soon as its weekdays and its window allow.
    pub fn first_due(&self, now: Timestamp) -> Timestamp {
        self.admit(now)
    }

    /// The next due time after a visit at `last`. Always later than `last`.
    pub fn next_due(&self, last: Timestamp) -> Timestamp {
        match self.window {
            None => self.admit(last.plus_millis(self.cadence.interval_ms() + 1)),
            Some(window) => self.next_slot(last, window),
        }
    }

    /// When to try again after so many failures, this one included.
    pub fn retry_at(&self, now: Timestamp, failures: i64, random: &dyn Random) -> Timestamp {
        let doublings = u32::try_from(failures.saturating_sub(1).clamp(0, 20)).unwrap_or(20);
        let longest = (5 * MINUTE_MS).saturating_mul(1 << doublings).min(DAY_MS);
        let half = longest / 2;
        let jitter = i64::try_from(random.next_u64() % half.unsigned_abs()).unwrap_or_default();
        self.admit(now.plus_millis(half + jitter))
    }

    /// The earliest time from `time` on at which this persona may visit at all.
    pub fn admit(&self, time: Timestamp) -> Timestamp {
        let mut local = self.zone.to_datetime(time.to_jiff());
        if self.allows(local) {
            return time;
        }
        // Openings are at the start of a window or of a day: eight days hold one whatever the weekday.
        for _ in 0..=8 {
            let opening = self.opening_of(local);
            let candidate = if opening > local { opening } else { self.opening_of(next_day(local)) };
            // Looked at again after the conversion: daylight saving may move an opening out of its window.
            let at = self.at(candidate);
            if at >= time && self.allows(self.zone.to_datetime(at.to_jiff())) {
                return at;
            }
            local = if candidate.date() > local.date() { candidate } else { next_day(local) };
        }
        time
    }

    fn opening_of(&self, local: DateTime) -> DateTime {
        let minute = self.window.map_or(0, |window| i64::from(window.start_minute));
        plus_minutes(midnight(local), minute)
    }

    /// Whether a visit may happen at this local time.
    fn allows(&self, local: DateTime) -> bool {
        self.works_on(local) && self.window.is_none_or(|window| window.holds(local.time()))
    }

    fn works_on(&self, local: DateTime) -> bool {
        self.cadence != Cadence::Weekdays || !matches!(local.date().weekday(), Weekday::Saturday | Weekday::Sunday)
    }

    /// The first slot after `last`: one a day, or one an hour inside the window.
    fn next_slot(&self, last: Timestamp, window: Window) -> Timestamp {
        let length = window.length_minutes();
        let (step, reach) = match self.cadence {
            Cadence::Hourly => (60.min(length), length),
            Cadence::Daily | Cadence::Weekdays => (length, length),
        };
        let phase = (step * i64::from(self.phase)) >> 32;
        // From the day before, because a window may reach over midnight.
        let local = self.zone.to_datetime(last.to_jiff());
        let mut day = midnight(local.saturating_sub(jiff::Span::new().days(1)));
        for _ in 0..=10 {
            let mut offset = phase;
            while offset < reach {
                let slot = plus_minutes(day, i64::from(window.start_minute) + offset);
                let at = self.at(slot);
                // The second condition: a slot that daylight saving has moved out of the window is left out.
                if at > last && self.allows(self.zone.to_datetime(at.to_jiff())) {
                    return at;
                }
                offset += step;
            }
            day = next_day(day);
        }
        self.admit(last.plus_millis(self.cadence.interval_ms() + 1))
    }

    /// The point in time of a local wall time; one that daylight saving skips moves on by the gap.
    fn at(&self, local: DateTime) -> Timestamp {
        self.zone.to_timestamp(local).map_or(Timestamp::MAX, Timestamp::from_jiff)
    }
}

fn midnight(local: DateTime) -> DateTime {
    local.date().to_datetime(Time::midnight())
}

fn next_day(local: DateTime) -> DateTime {
    midnight(local.saturating_add(jiff::Span::new().days(1)))
}

fn plus_minutes(local: DateTime, minutes: i64) -> DateTime {
    local.saturating_add(jiff::Span::new().minutes(minutes))
}

#[cfg(test)]
mod tests {
    use mana_types::SeededRandom;
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn schedule(cadence: Cadence, zone: Option<&str>, window: Option<(&str, &str)>) -> Schedule {
        let persona = UserId::from_uuid(uuid::Uuid::from_u128(7));
        Schedule::new(persona, cadence, zone, window.map(|(start, end)| Window::new(start, end).expect("a window")))
    }

    #[test]
    fn without_a_window_the_interval_counts_from_the_last_visit() {
        let friday = at("2026-11-20T10:00:00Z");
        for (cadence, next) in [
            (Cadence::Hourly, "2026-11-20T11:00:00.001Z"),
            (Cadence::Daily, "2026-11-21T10:00:00.001Z"),
            (Cadence::Weekdays, "2026-11-23T00:00:00Z"),
        ] {
            assert_eq!(schedule(cadence, None, None).next_due(friday), at(next), "{cadence:?}");
        }
    }

    #[test]
    fn a_weekend_is_that_of_the_personas_zone() {
        // Sunday noon in UTC is already Monday on Kiritimati, and Monday 06:00 in UTC is still Sunday in Los Angeles.
        let sunday = at("2026-11-22T12:00:00Z");
        assert_eq!(schedule(Cadence::Weekdays, Some("Pacific/Kiritimati"), None).first_due(sunday), sunday);
        assert_eq!(schedule(Cadence::Weekdays, None, None).first_due(sunday), at("2026-11-23T00:00:00Z"));
        let monday = at("2026-11-23T06:00:00Z");
        let los_angeles = schedule(Cadence::Weekdays, Some("America/Los_Angeles"), None);
        assert_eq!(los_angeles.first_due(monday), at("2026-11-23T08:00:00Z"));
    }

    #[test]
    fn a_window_holds_the_slot_at_the_same_local_time_across_daylight_saving() {
        let schedule = schedule(Cadence::Daily, Some("Europe/Berlin"), Some(("08:00", "09:00")));
        let before = schedule.next_due(at("2026-10-23T20:00:00Z"));
        let after = schedule.next_due(before.plus_millis(36 * HOUR_MS));
        assert_eq!(after.since(before), 2 * DAY_MS + HOUR_MS, "the clocks went back by an hour between");
        // A late visit does not move the slot of the next day.
        assert_eq!(schedule.next_due(before.plus_millis(9 * HOUR_MS)), schedule.next_due(before));
    }

    #[test]
    fn a_window_may_reach_over_midnight() {
        let night = schedule(Cadence::Daily, None, Some(("22:00", "02:00")));
        assert_eq!(night.admit(at("2026-11-20T01:30:00Z")), at("2026-11-20T01:30:00Z"));
        assert_eq!(night.admit(at("2026-11-20T12:00:00Z")), at("2026-11-20T22:00:00Z"));
    }

    #[test]
    fn retries_double_up_to_a_day_and_are_jittered_downwards() {
        let random = SeededRandom::new(1);
        let now = at("2026-11-20T10:00:00Z");
        let schedule = schedule(Cadence::Hourly, None, None);
        for (failures, longest) in [(1, 5 * MINUTE_MS), (2, 10 * MINUTE_MS), (4, 40 * MINUTE_MS), (30, DAY_MS)] {
            let wait = schedule.retry_at(now, failures, &random).since(now);
            assert!((longest / 2..=longest).contains(&wait), "{failures} failures: {wait} ms");
        }
    }

    #[test]
    fn windows_are_times_of_day() {
        for (start, end) in [
            ("8:00", "09:00"),
            ("+8:00", "09:00"),
            ("24:00", "01:00"),
            ("08:60", "09:00"),
            ("", ""),
            ("09:00", "09:00"),
        ] {
            assert_eq!(Window::new(start, end), None, "{start}-{end}");
        }
        let window = Window::new("08:05", "17:30").expect("a window");
        assert_eq!((window.start(), window.end()), ("08:05".to_owned(), "17:30".to_owned()));
    }

    fn schedules() -> impl Strategy<Value = Schedule> {
        let zones = prop::sample::select(vec![
            "UTC",
            "Europe/Berlin",
            "America/New_York",
            "Asia/Kathmandu",
            "Australia/Lord_Howe",
        ]);
        let cadences = prop::sample::select(vec![Cadence::Hourly, Cadence::Daily, Cadence::Weekdays]);
        let windows = prop::option::of((0_i16..1440, 30_i16..1440));
        (any::<u128>(), cadences, zones, windows).prop_map(|(id, cadence, zone, window)| {
            let window = window
                .map(|(start_minute, length)| Window { start_minute, end_minute: (start_minute + length) % 1440 });
            Schedule::new(UserId::from_uuid(uuid::Uuid::from_u128(id)), cadence, Some(zone), window)
        })
    }

    proptest! {
        #[test]
        fn the_next_visit_is_later_and_allowed(schedule in schedules(), last in 1_500_000_000_000_i64..2_500_000_000_000) {
            let last = Timestamp::from_millis(last);
            let next = schedule.next_due(last);
            prop_assert!(next > last);
            prop_assert!(schedule.allows(schedule.zone.to_datetime(next.to_jiff())), "{schedule:?} {last} {next}");
            prop_assert_eq!(schedule.admit(next), next);
            // No later than the first opening four days on: Friday to Monday, and a gap of daylight saving.
            prop_assert!(next.since(last) <= 4 * DAY_MS + 2 * HOUR_MS, "{} to {}", last, next);
        }

        #[test]
        fn a_daily_window_has_one_slot_a_day(id in any::<u128>(), last in 1_500_000_000_000_i64..2_500_000_000_000) {
            let window = Window::new("07:00", "21:00");
            let schedule = Schedule::new(UserId::from_uuid(uuid::Uuid::from_u128(id)), Cadence::Daily, Some("Europe/Berlin"), window);
            let first = schedule.next_due(Timestamp::from_millis(last));
            let second = schedule.next_due(first);
            prop_assert!((23 * HOUR_MS..=25 * HOUR_MS).contains(&second.since(first)));
        }

        #[test]
        fn admission_is_never_earlier_and_holds(schedule in schedules(), time in 1_500_000_000_000_i64..2_500_000_000_000) {
            let time = Timestamp::from_millis(time);
            let admitted = schedule.admit(time);
            prop_assert!(admitted >= time);
            prop_assert!(schedule.allows(schedule.zone.to_datetime(admitted.to_jiff())));
        }
    }
}
