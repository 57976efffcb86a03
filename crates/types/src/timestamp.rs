//! Points in time and civil dates, as they are stored and as they are spoken.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is no time or no date.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct InvalidTime {
    text: String,
    expected: &'static str,
}

/// A point in time: milliseconds since 1970-01-01T00:00:00Z. Stored as a number, spoken as RFC 3339 in UTC.
///
/// Reading takes any offset; a time without one is refused, because it names no point in time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Later than every time that is written down.
    pub const MAX: Self = Self(i64::MAX);
    /// Earlier than every time that is written down.
    pub const MIN: Self = Self(i64::MIN);

    /// The time of this many milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Later by this many milliseconds, held at the ends of time.
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// How many milliseconds have passed since `earlier`; negative if it lies ahead.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The same point for calendar arithmetic, held within the years that a calendar has.
    pub fn to_jiff(self) -> jiff::Timestamp {
        let (min, max) = (jiff::Timestamp::MIN.as_millisecond(), jiff::Timestamp::MAX.as_millisecond());
        jiff::Timestamp::from_millisecond(self.0.clamp(min, max)).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    /// The point that calendar arithmetic arrived at.
    pub fn from_jiff(time: jiff::Timestamp) -> Self {
        Self(time.as_millisecond())
    }

    /// The date at this point in this time zone.
    pub fn date_in(self, zone: &jiff::tz::TimeZone) -> Date {
        Date(zone.to_datetime(self.to_jiff()).date())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.to_jiff())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        text.parse::<jiff::Timestamp>().map(Self::from_jiff).map_err(|_| InvalidTime {
            text: text.chars().take(60).collect(),
            expected: "a time with offset, expected RFC 3339 such as `2026-11-20T09:30:00+01:00`",
        })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// A day of the calendar, without a time zone: `2026-11-20`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(pub jiff::civil::Date);

impl Date {
    /// Midnight of this day in UTC: the sort key of things that have a day but no hour.
    pub fn start_utc(self) -> Timestamp {
        self.0.to_zoned(jiff::tz::TimeZone::UTC).map_or(Timestamp::MIN, |zoned| Timestamp::from_jiff(zoned.timestamp()))
    }

    /// The day this many days later, or earlier when negative; held at the ends of the calendar.
    pub fn plus_days(self, days: i64) -> Self {
        let span = jiff::Span::new().try_days(days).unwrap_or_default();
        Self(self.0.saturating_add(span))
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Date {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let plain = text.len() == 10;
        text.parse().ok().filter(|_| plain).map(Self).ok_or_else(|| InvalidTime {
            text: text.chars().take(60).collect(),
            expected: "a date, expected year-month-day such as `2026-11-20`",
        })
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Date {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Date".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_any_offset_and_spoken_in_utc() {
        let time: Timestamp = "2026-11-20T09:30:00+01:00".parse().expect("valid");
        assert_eq!(time.to_string(), "2026-11-20T08:30:00.000Z");
        assert!("2026-11-20T09:30:00".parse::<Timestamp>().is_err());
        assert!("tomorrow".parse::<Timestamp>().is_err());
    }

    #[test]
    fn extreme_times_do_not_panic() {
        assert_eq!(Timestamp::MAX.to_string().len(), "9999-12-30T22:00:00.999Z".len());
        let _ = Timestamp::MIN.to_string();
    }

    #[test]
    fn dates_are_only_dates() {
        let date: Date = "2026-02-28".parse().expect("valid");
        assert_eq!(date.plus_days(1).to_string(), "2026-03-01");
        for bad in ["2026-02-30", "2026-11-20T10:00:00Z", "20261120", "heute"] {
            assert!(bad.parse::<Date>().is_err(), "{bad}");
        }
    }
}
