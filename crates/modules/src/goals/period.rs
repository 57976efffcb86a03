//! Days, weeks, months and years as spans of days.

use jiff::ToSpan;
use jiff::civil;
use jiff::tz::TimeZone;
use mana_registry::{Date, Timestamp};

use super::Period;

/// From one day to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: Date,
    pub(super) last: Date,
}

/// The span without a beginning or end: as far as times reach that have a place in every zone.
const ALL: Span = Span { first: Date(civil::Date::constant(1, 1, 1)), last: Date(civil::Date::constant(9998, 12, 31)) };

impl Span {
    /// The period that a day belongs to.
    pub(super) fn around(period: Period, day: Date) -> Self {
        let date = day.0;
        let (first, last) = match period {
            Period::Day => (date, date),
            Period::Week => {
                let first = date.saturating_sub(i64::from(date.weekday().to_monday_zero_offset()).days());
                (first, first.saturating_add(6.days()))
            }
            Period::Month => (date.first_of_month(), date.last_of_month()),
            Period::Year => (date.first_of_year(), date.last_of_year()),
            Period::Total => return ALL,
        };
        Self { first: Date(first), last: Date(last) }
    }

    /// What of it lies between these days.
    pub(super) fn within(self, first: Date, last: Option<Date>) -> Self {
        Self { first: self.first.max(first), last: last.map_or(self.last, |last| self.last.min(last)) }
    }

    /// Whether there is no day in it.
    pub(super) fn is_empty(self) -> bool {
        self.last < self.first
    }

    /// The last day, if it has one.
    pub(super) fn end(self) -> Option<Date> {
        (self.last != ALL.last).then_some(self.last)
    }

    /// The moments at which it begins and is over, in this time zone.
    pub(super) fn times(self, zone: &TimeZone) -> (Timestamp, Timestamp) {
        (start(self.first, zone), start(self.last.plus_days(1), zone))
    }
}

fn start(day: Date, zone: &TimeZone) -> Timestamp {
    day.0.to_zoned(zone.clone()).map_or(day.start_utc(), |zoned| Timestamp::from_jiff(zoned.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_lies_in_its_periods() {
        let day: Date = "2026-11-18".parse().expect("a Wednesday");
        for (period, first, last) in [
            (Period::Day, "2026-11-18", "2026-11-18"),
            (Period::Week, "2026-11-16", "2026-11-22"),
            (Period::Month, "2026-11-01", "2026-11-30"),
            (Period::Year, "2026-01-01", "2026-12-31"),
        ] {
            let span = Span::around(period, day);
            assert_eq!((span.first.to_string().as_str(), span.last.to_string().as_str()), (first, last));
        }
        let total = Span::around(Period::Total, day).within(day, None);
        assert_eq!((total.first, total.end()), (day, None));
        let (from, until) = total.times(&TimeZone::get("Pacific/Kiritimati").expect("known"));
        assert!(from < until);
        assert!(Span::around(Period::Day, day).within(day.plus_days(1), None).is_empty());
    }

    #[test]
    fn a_day_begins_where_the_user_is() {
        let day: Date = "2026-10-25".parse().expect("the clocks go back");
        let (from, until) = Span::around(Period::Day, day).times(&TimeZone::get("Europe/Berlin").expect("known"));
        assert_eq!(until.since(from), 25 * 3_600_000);
    }
}
