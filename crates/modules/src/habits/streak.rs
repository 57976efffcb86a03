//! Streaks: on how many of its days in a row a habit was done.

use mana_registry::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    pub(super) const ALL: [Self; 7] =
        [Self::Monday, Self::Tuesday, Self::Wednesday, Self::Thursday, Self::Friday, Self::Saturday, Self::Sunday];

    pub(super) fn of(date: Date) -> Self {
        match date.0.weekday() {
            jiff::civil::Weekday::Monday => Self::Monday,
            jiff::civil::Weekday::Tuesday => Self::Tuesday,
            jiff::civil::Weekday::Wednesday => Self::Wednesday,
            jiff::civil::Weekday::Thursday => Self::Thursday,
            jiff::civil::Weekday::Friday => Self::Friday,
            jiff::civil::Weekday::Saturday => Self::Saturday,
            jiff::civil::Weekday::Sunday => Self::Sunday,
        }
    }
}

/// How many scheduled days in a row were done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Up to the day of reckoning.
    pub(super) current: usize,
    /// The most there ever were.
    pub(super) longest: usize,
}

/// The streaks up to `today`, of a habit that was `done` on these days (in order, each once) and is meant for these
/// weekdays. Days it is not meant for neither count nor break; today breaks nothing as long as it is not over.
pub(super) fn streaks(done: &[Date], schedule: &[Weekday], today: Date) -> Run {
    let is_meant = |date: Date| schedule.contains(&Weekday::of(date));
    let next = |date: Date| (1..=7).map(|days| date.plus_days(days)).find(|date| is_meant(*date));
    let (mut run, mut longest, mut last) = (0, 0, None);
    for &date in done.iter().filter(|date| is_meant(**date) && **date <= today) {
        run = if last.and_then(next) == Some(date) { run + 1 } else { 1 };
        longest = longest.max(run);
        last = Some(date);
    }
    let is_alive = last.is_some_and(|last| last == today || next(last).is_some_and(|next| next >= today));
    Run { current: if is_alive { run } else { 0 }, longest }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dates(days: &[&str]) -> Vec<Date> {
        days.iter().map(|day| format!("2026-{day}").parse().expect("a date")).collect()
    }

    fn run(done: &[&str], schedule: &[Weekday], today: &str) -> (usize, usize) {
        let Run { current, longest } = streaks(&dates(done), schedule, dates(&[today])[0]);
        (current, longest)
    }

    #[test]
    fn days_in_a_row_count_and_gaps_end_a_streak() {
        let every = Weekday::ALL;
        assert_eq!(run(&[], &every, "11-18"), (0, 0));
        assert_eq!(run(&["11-18"], &every, "11-18"), (1, 1));
        assert_eq!(run(&["11-16", "11-17"], &every, "11-18"), (2, 2), "today is not over");
        assert_eq!(run(&["11-15", "11-16"], &every, "11-18"), (0, 2));
        assert_eq!(run(&["11-10", "11-11", "11-12", "11-17", "11-18"], &every, "11-18"), (2, 3));
        assert_eq!(run(&["10-31", "11-01"], &every, "11-01"), (2, 2), "months end, streaks do not");
        assert_eq!(run(&["11-17", "11-18", "11-19"], &every, "11-18"), (2, 2), "what lies ahead does not count");
    }

    #[test]
    fn days_off_neither_count_nor_break() {
        let workdays = [Weekday::Monday, Weekday::Wednesday, Weekday::Friday];
        assert_eq!(run(&["11-13", "11-16"], &workdays, "11-18"), (2, 2), "Friday and Monday, on Wednesday");
        assert_eq!(run(&["11-13", "11-16"], &workdays, "11-19"), (0, 2), "Wednesday was missed");
        assert_eq!(run(&["11-13", "11-14", "11-15", "11-16"], &workdays, "11-17"), (2, 2));
        assert_eq!(run(&["11-14"], &workdays, "11-14"), (0, 0), "a Saturday is not meant");
        let sundays = [Weekday::Sunday];
        assert_eq!(run(&["11-08", "11-15"], &sundays, "11-21"), (2, 2));
    }
}
