//! Recurrence: rules of RFC 5545 (3.3.10), as far as a calendar of appointments needs them, and their occurrences.
//!
//! A rule that could come more often than once a day is refused: then no rule, whoever wrote it, yields more
//! occurrences than the days that were asked about. Occurrences are computed on the wall clock, so that eight in the
//! morning stays eight in the morning when the clocks change.

use std::borrow::Cow;
use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use mana_registry::prelude::{Deserialize, JsonSchema, Serialize};
use rrule::RRuleSet;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::Deserializer;
use serde::de::Error as _;

/// The parts that a rule may have; those that would make it come several times a day are left out.
const PARTS: [&str; 11] = [
    "FREQ",
    "INTERVAL",
    "COUNT",
    "UNTIL",
    "BYDAY",
    "BYMONTHDAY",
    "BYMONTH",
    "BYYEARDAY",
    "BYWEEKNO",
    "BYSETPOS",
    "WKST",
];

/// The most repetitions that a rule may count.
const MOST_COUNTED: u32 = 1_000;

/// A rule such as `FREQ=WEEKLY;BYDAY=MO,WE`.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Rule(String);

impl Rule {
    /// Checks the form of a rule; whether it ever comes true depends on the start.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim().to_ascii_uppercase();
        let text = text.strip_prefix("RRULE:").unwrap_or(&text).trim_end_matches(';');
        if text.len() > 300 {
            return Err("expected at most 300 characters".into());
        }
        let mut seen: Vec<&str> = Vec::new();
        for part in text.split(';') {
            let Some((name, value)) = part.split_once('=').filter(|(_, value)| !value.is_empty()) else {
                return Err(format!("`{part}` is no part of a rule such as `FREQ=WEEKLY;BYDAY=MO,WE`"));
            };
            if !PARTS.contains(&name) {
                return Err(format!("`{name}` cannot be used, known are: {}", PARTS.join(", ")));
            }
            if seen.contains(&name) {
                return Err(format!("`{name}` stands twice"));
            }
            let fits = match name {
                "FREQ" => matches!(value, "DAILY" | "WEEKLY" | "MONTHLY" | "YEARLY"),
                "INTERVAL" => value.parse::<u16>().is_ok_and(|number| (1..=1000).contains(&number)),
                "COUNT" => value.parse::<u32>().is_ok_and(|number| (1..=MOST_COUNTED).contains(&number)),
                "UNTIL" => until(value, &TimeZone::UTC).is_some(),
                _ => true,
            };
            if !fits {
                let expected = match name {
                    "FREQ" => "expected DAILY, WEEKLY, MONTHLY or YEARLY",
                    "UNTIL" => "expected a day such as 20261231 or a time such as 20261231T225959Z",
                    _ => "expected a whole number from 1 to 1000",
                };
                return Err(format!("`{part}`: {expected}"));
            }
            seen.push(name);
        }
        if !seen.contains(&"FREQ") {
            return Err("`FREQ` is missing, expected a rule such as `FREQ=WEEKLY;BYDAY=MO,WE`".into());
        }
        if seen.contains(&"COUNT") && seen.contains(&"UNTIL") {
            return Err("`COUNT` and `UNTIL` exclude each other".into());
        }
        let rule = Self(text.to_owned());
        rule.set(DateTime::constant(2000, 1, 3, 12, 0, 0, 0), &TimeZone::UTC, true)?;
        Ok(rule)
    }

    /// The rule as RFC 5545 writes it, without the name of the property.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn part(&self, name: &str) -> Option<&str> {
        self.0
            .split(';')
            .filter_map(|part| part.split_once('='))
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// The rule for the library, on the wall clock: it is told that the wall clock shows UTC.
    fn set(&self, start: DateTime, zone: &TimeZone, form_only: bool) -> Result<RRuleSet, String> {
        let mut parts: Vec<Cow<'_, str>> = Vec::new();
        for part in self.0.split(';') {
            match part.strip_prefix("UNTIL=").map(|value| until(value, zone)) {
                None => parts.push(part.into()),
                Some(_) if form_only => {}
                Some(Some(last)) if last < start => return Err("`UNTIL` lies before the start".into()),
                Some(last) => {
                    let last = last.unwrap_or(start);
                    parts.push(format!("UNTIL={}Z", last.strftime("%Y%m%dT%H%M%S")).into());
                }
            }
        }
        let text = format!("DTSTART:{}Z\nRRULE:{}", start.strftime("%Y%m%dT%H%M%S"), parts.join(";"));
        text.parse::<RRuleSet>().map(RRuleSet::limit).map_err(|why| format!("is no rule that can be followed: {why}"))
    }

    /// Checks that the rule comes true at all for an event that starts then.
    pub(super) fn check(&self, start: DateTime, zone: &TimeZone) -> Result<(), String> {
        match self.set(start, zone, false)?.into_iter().next() {
            Some(_) => Ok(()),
            None => Err("this never happens".into()),
        }
    }

    /// Where the library may begin to count for times from `from` on: as late as possible, and in step with the start.
    /// So a daily event of ten years ago costs no more than one of yesterday.
    fn head_start(&self, start: DateTime, from: DateTime) -> DateTime {
        let interval: i64 = self.part("INTERVAL").and_then(|number| number.parse().ok()).unwrap_or(1);
        let step = match self.part("FREQ") {
            Some("DAILY") => interval,
            Some("WEEKLY") => interval * 7,
            _ => return start,
        };
        let days = start.date().until(from.date()).map_or(0, |span| i64::from(span.get_days()));
        if self.part("COUNT").is_some() || days <= 2 * step {
            return start;
        }
        start.checked_add(((days / step - 1) * step).days()).unwrap_or(start)
    }

    /// The starts of the occurrences from `from` on and before `until`, on the wall clock. The event's own start is one.
    pub(super) fn starts(
        &self,
        start: DateTime,
        zone: &TimeZone,
        from: DateTime,
        until: DateTime,
    ) -> Result<Vec<DateTime>, String> {
        let mut starts: Vec<DateTime> = Vec::new();
        if (from..until).contains(&start) {
            starts.push(start);
        }
        let begin = self.head_start(start, from);
        let past_end = self.part("UNTIL").and_then(|value| self::until(value, zone)).is_some_and(|last| last < begin);
        if past_end {
            return Ok(starts);
        }
        for occurrence in &self.set(begin, zone, false)? {
            let Ok(second) = Timestamp::from_second(occurrence.timestamp()) else { break };
            let wall = TimeZone::UTC.to_datetime(second);
            if wall >= until {
                break;
            }
            if wall >= from && wall > start {
                starts.push(wall);
            }
        }
        Ok(starts)
    }
}

/// The last moment of a rule on the wall clock of a zone.
fn until(value: &str, zone: &TimeZone) -> Option<DateTime> {
    if let Some(utc) = value.strip_suffix('Z') {
        let utc = DateTime::strptime("%Y%m%dT%H%M%S", utc).ok()?;
        return Some(zone.to_datetime(utc.to_zoned(TimeZone::UTC).ok()?.timestamp()));
    }
    if value.len() == 8 {
        return Some(Date::strptime("%Y%m%d", value).ok()?.to_datetime(Time::constant(23, 59, 59, 0)));
    }
    DateTime::strptime("%Y%m%dT%H%M%S", value).ok()
}

/// A time of the wall clock as a moment. What the clock skips comes later by as much, what it shows twice is the first.
pub(super) fn moment(wall: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    wall.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp())
}

/// The same length on the wall clock, from another start.
pub(super) fn end_of(start: DateTime, length: SignedDuration) -> DateTime {
    start.saturating_add(length)
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Rule {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Rule".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(RRULE:)?([A-Z]+=.+;)?FREQ=(DAILY|WEEKLY|MONTHLY|YEARLY)(;.+)?$", "maxLength": 300 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(text: &str) -> DateTime {
        text.parse().expect("a date and time")
    }

    fn starts(rule: &str, start: &str, from: &str, until: &str) -> Vec<String> {
        let zone = TimeZone::get("Europe/Berlin").expect("known");
        let rule = Rule::parse(rule).expect("a rule");
        let starts = rule.starts(wall(start), &zone, wall(from), wall(until)).expect("can be followed");
        starts.iter().map(|start| start.strftime("%m-%d %H:%M").to_string()).collect()
    }

    #[test]
    fn rules_come_when_they_should() {
        for (rule, start, from, until, expected) in [
            (
                "FREQ=DAILY",
                "2016-01-01T08:00",
                "2026-11-18T00:00",
                "2026-11-20T00:00",
                vec!["11-18 08:00", "11-19 08:00"],
            ),
            (
                "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE",
                "2026-11-02T09:00",
                "2026-11-16T00:00",
                "2026-12-01T00:00",
                vec!["11-16 09:00", "11-18 09:00", "11-30 09:00"],
            ),
            (
                "FREQ=MONTHLY;BYDAY=-1FR",
                "2026-01-30T18:00",
                "2026-11-01T00:00",
                "2026-12-31T00:00",
                vec!["11-27 18:00", "12-25 18:00"],
            ),
            ("FREQ=YEARLY", "2024-02-29T10:00", "2026-01-01T00:00", "2029-01-01T00:00", vec!["02-29 10:00"]),
            (
                "FREQ=DAILY;COUNT=3",
                "2026-11-17T08:00",
                "2026-11-18T00:00",
                "2027-01-01T00:00",
                vec!["11-18 08:00", "11-19 08:00"],
            ),
            (
                "FREQ=DAILY;UNTIL=20261119",
                "2026-11-17T08:00",
                "2026-11-18T00:00",
                "2027-01-01T00:00",
                vec!["11-18 08:00", "11-19 08:00"],
            ),
            // Seven in the morning in UTC is eight in Berlin: the third day still belongs to it.
            (
                "FREQ=DAILY;UNTIL=20261119T070000Z",
                "2026-11-17T08:00",
                "2026-11-18T00:00",
                "2027-01-01T00:00",
                vec!["11-18 08:00", "11-19 08:00"],
            ),
            ("FREQ=DAILY;UNTIL=20200101", "2016-01-01T08:00", "2026-11-18T00:00", "2026-11-20T00:00", vec![]),
            // A start that the rule does not name is an occurrence all the same.
            (
                "FREQ=WEEKLY;BYDAY=MO",
                "2026-11-18T08:00",
                "2026-11-18T00:00",
                "2026-11-24T00:00",
                vec!["11-18 08:00", "11-23 08:00"],
            ),
        ] {
            assert_eq!(starts(rule, start, from, until), expected, "{rule} from {start}");
        }
    }

    #[test]
    fn a_head_start_changes_nothing() {
        for rule in [
            "FREQ=DAILY;INTERVAL=3",
            "FREQ=WEEKLY;INTERVAL=3;BYDAY=TU,SU",
            "FREQ=DAILY;BYMONTH=11;BYDAY=SA",
            "FREQ=WEEKLY;WKST=SU;INTERVAL=2;BYDAY=SU,MO",
        ] {
            let slow: Vec<String> = starts(rule, "2025-01-07T08:00", "2025-01-01T00:00", "2027-01-01T00:00");
            let quick = starts(rule, "2025-01-07T08:00", "2026-11-01T00:00", "2027-01-01T00:00");
            assert!(!quick.is_empty() && slow.ends_with(&quick), "{rule}: {quick:?}");
        }
    }

    #[test]
    fn rules_without_end_or_sense_are_refused() {
        for bad in [
            "",
            "weekly",
            "FREQ=SECONDLY",
            "FREQ=HOURLY",
            "FREQ=DAILY;BYHOUR=1,2,3",
            "FREQ=DAILY;COUNT=100000",
            "FREQ=DAILY;INTERVAL=0",
            "FREQ=DAILY;COUNT=2;UNTIL=20270101",
            "FREQ=DAILY;FREQ=DAILY",
            "INTERVAL=2",
            "FREQ=DAILY;UNTIL=soon",
            "FREQ=WEEKLY;BYDAY=XX",
            "FREQ=DAILY\nRDATE:20260101T000000Z",
            "FREQ=MONTHLY;BYMONTHDAY=99",
        ] {
            assert!(Rule::parse(bad).is_err(), "{bad}");
        }
        let never = Rule::parse("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30").expect("well formed");
        assert!(never.check(wall("2026-01-01T08:00"), &TimeZone::UTC).is_err());
        let over = Rule::parse("FREQ=DAILY;UNTIL=20200101").expect("well formed");
        assert!(over.check(wall("2026-01-01T08:00"), &TimeZone::UTC).is_err());
    }
}
