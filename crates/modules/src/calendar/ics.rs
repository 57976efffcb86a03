//! Events as iCalendar text (RFC 5545), out and in.

use std::collections::BTreeMap;

use jiff::civil::{self, DateTime};
use jiff::tz::{Dst, Offset, TimeZone};
use jiff::{Span, ToSpan};
use mana_registry::prelude::*;

use super::rule::{self, Rule};
use super::{Calendar, Event};
use crate::shared::lines::{self, ContentLine};

const WALL: &str = "%Y%m%dT%H%M%S";

fn utc(time: Timestamp) -> String {
    time.to_jiff().strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Writes a file with these events. `now` is its time stamp.
pub(super) fn write(events: &[Stored<Event>], now: Timestamp) -> String {
    let mut out = String::new();
    lines::write(&mut out, "BEGIN", "VCALENDAR");
    lines::write(&mut out, "VERSION", "2.0");
    lines::write(&mut out, "PRODID", "-//Mana//Calendar//EN");
    lines::write(&mut out, "CALSCALE", "GREGORIAN");
    // A zone is written where the wall clock matters: an event that comes again. All else stands in UTC.
    let mut zones: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for event in events.iter().filter(|event| event.data.recurrence.is_some() && !event.data.all_day) {
        let earliest = zones.entry(&event.data.timezone).or_insert(event.data.start);
        *earliest = (*earliest).min(event.data.start);
    }
    for (name, since) in zones {
        write_zone(&mut out, name, since, now);
    }
    for event in events {
        write_event(&mut out, event, now);
    }
    lines::write(&mut out, "END", "VCALENDAR");
    out
}

fn offset(offset: Offset) -> String {
    let seconds = offset.seconds();
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
    format!("{sign}{:02}{:02}", minutes / 60, minutes % 60)
}

/// How far ahead the changes of the clock are written, in years.
const ZONE_YEARS: i64 = 10;

/// The changes of the clock of a zone, from the one before the first event on; equal changes in one component.
fn write_zone(out: &mut String, name: &str, since: Timestamp, now: Timestamp) {
    let Ok(zone) = TimeZone::get(name) else { return };
    let end = now.max(since).to_jiff().to_zoned(TimeZone::UTC).saturating_add(ZONE_YEARS.years()).timestamp();
    let first = zone.preceding(since.to_jiff()).next();
    let mut before = first
        .as_ref()
        .map_or(zone.to_offset(since.to_jiff()), |change| zone.to_offset(change.timestamp() - 1.second()));
    let mut kinds: Vec<(Dst, Offset, Offset, String, Vec<String>)> = Vec::new();
    for change in first.into_iter().chain(zone.following(since.to_jiff()).take_while(|change| change.timestamp() < end))
    {
        let wall = before.to_datetime(change.timestamp()).strftime(WALL).to_string();
        let key = (change.dst(), before, change.offset(), change.abbreviation().to_owned());
        match kinds.iter_mut().find(|kind| (kind.0, kind.1, kind.2, &kind.3) == (key.0, key.1, key.2, &key.3)) {
            Some(kind) => kind.4.push(wall),
            None => kinds.push((key.0, key.1, key.2, key.3, vec![wall])),
        }
        before = change.offset();
    }
    if kinds.is_empty() {
        kinds.push((Dst::No, before, before, name.to_owned(), vec!["19700101T000000".into()]));
    }
    lines::write(out, "BEGIN", "VTIMEZONE");
    lines::write(out, "TZID", name);
    for (dst, from, to, abbreviation, walls) in kinds {
        let component = if dst.is_dst() { "DAYLIGHT" } else { "STANDARD" };
        lines::write(out, "BEGIN", component);
        lines::write(out, "DTSTART", &walls[0]);
        if walls.len() > 1 {
            lines::write(out, "RDATE", &walls[1..].join(","));
        }
        lines::write(out, "TZOFFSETFROM", &offset(from));
        lines::write(out, "TZOFFSETTO", &offset(to));
        lines::write(out, "TZNAME", &abbreviation);
        lines::write(out, "END", component);
    }
    lines::write(out, "END", "VTIMEZONE");
}

fn write_event(out: &mut String, event: &Stored<Event>, now: Timestamp) {
    let Event { title, start, end, all_day, recurrence, timezone, .. } = &event.data;
    let zone = event.data.zone();
    let wall = |time: Timestamp| zone.to_datetime(time.to_jiff());
    lines::write(out, "BEGIN", "VEVENT");
    let uid = event.data.uid.as_ref().map_or_else(|| event.id.to_string(), ToString::to_string);
    lines::write(out, "UID", &lines::escape(&uid));
    lines::write(out, "DTSTAMP", &utc(now));
    lines::write(out, "LAST-MODIFIED", &utc(event.updated_at));
    for (name, time) in [("DTSTART", *start), ("DTEND", *end)] {
        if *all_day {
            lines::write(out, &format!("{name};VALUE=DATE"), &wall(time).strftime("%Y%m%d").to_string());
        } else if recurrence.is_some() {
            lines::write(out, &format!("{name};TZID={timezone}"), &wall(time).strftime(WALL).to_string());
        } else {
            lines::write(out, name, &utc(time));
        }
    }
    if let Some(rule) = recurrence {
        lines::write(out, "RRULE", rule.as_str());
        for day in &event.data.except_dates {
            if *all_day {
                lines::write(out, "EXDATE;VALUE=DATE", &day.0.strftime("%Y%m%d").to_string());
            } else {
                let at = day.0.to_datetime(wall(*start).time()).strftime(WALL).to_string();
                lines::write(out, &format!("EXDATE;TZID={timezone}"), &at);
            }
        }
    }
    lines::write_text(out, "SUMMARY", Some(title));
    lines::write_text(out, "LOCATION", event.data.location.as_deref());
    lines::write_text(out, "DESCRIPTION", event.data.description.as_deref());
    let tags: Vec<String> = event.data.tags.as_slice().iter().map(|tag| lines::escape(tag)).collect();
    if !tags.is_empty() {
        lines::write(out, "CATEGORIES", &tags.join(","));
    }
    for minutes in &event.data.reminders {
        lines::write(out, "BEGIN", "VALARM");
        lines::write(out, "ACTION", "DISPLAY");
        lines::write(out, "TRIGGER", &format!("-PT{}M", minutes.get()));
        lines::write_text(out, "DESCRIPTION", Some(title));
        lines::write(out, "END", "VALARM");
    }
    lines::write(out, "END", "VEVENT");
}

/// An event that was read, and what of it could not be taken over.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) event: Event,
    /// What the file calls it, or the series that it belongs to.
    pub(super) uid: Option<String>,
    /// The day of the series that this event stands for, if it does.
    pub(super) instead_of: Option<Date>,
    pub(super) notices: Vec<String>,
}

/// All events of a file, for this calendar; or why one cannot be read.
pub(super) fn read(text: &str, calendar: &Stored<Calendar>) -> Vec<std::result::Result<Read, String>> {
    let lines = lines::read(text);
    let events = lines::components(&lines, "VEVENT");
    events.iter().map(|lines| read_event(lines, calendar)).collect()
}

/// A time of a file: what the wall clock shows, in which zone, and whether it is only a day.
struct When {
    wall: DateTime,
    zone: TimeZoneName,
    is_day: bool,
}

impl When {
    fn read(line: &ContentLine, usual: &TimeZoneName, notices: &mut Vec<String>) -> Option<Self> {
        Self::read_value(line, &line.value, usual, notices)
    }

    /// One of the values of a line that may have several.
    fn read_value(line: &ContentLine, value: &str, usual: &TimeZoneName, notices: &mut Vec<String>) -> Option<Self> {
        let value = value.trim();
        if value.len() == 8 {
            let day = civil::Date::strptime("%Y%m%d", value).ok()?;
            return Some(Self { wall: day.at(0, 0, 0, 0), zone: usual.clone(), is_day: true });
        }
        if let Some(value) = value.strip_suffix('Z') {
            let utc = DateTime::strptime(WALL, value).ok()?.to_zoned(TimeZone::UTC).ok()?;
            let wall = TimeZone::get(usual).ok()?.to_datetime(utc.timestamp());
            return Some(Self { wall, zone: usual.clone(), is_day: false });
        }
        let wall = DateTime::strptime(WALL, value).ok()?;
        let named = line.param("TZID");
        let zone = match named.map(TimeZoneName::parse) {
            Some(Ok(zone)) => zone,
            Some(Err(_)) => {
                notices.push(format!(
                    "the time zone `{}` is not known, `{usual}` was taken",
                    short(named.unwrap_or_default())
                ));
                usual.clone()
            }
            None => usual.clone(),
        };
        Some(Self { wall, zone, is_day: false })
    }

    fn moment(&self) -> Option<Timestamp> {
        self.after(Span::new())
    }

    /// The moment when the wall clock has gone on by so much.
    fn after(&self, span: Span) -> Option<Timestamp> {
        let zone = TimeZone::get(&self.zone).ok()?;
        rule::moment(self.wall.checked_add(span).ok()?, &zone).map(Timestamp::from_jiff)
    }
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

fn read_event(lines: &[ContentLine], calendar: &Stored<Calendar>) -> std::result::Result<Read, String> {
    let mut notices = Vec::new();
    let line = |name: &str| lines.iter().find(|line| line.name == name);
    let text = |name: &str| line(name).map(ContentLine::text).filter(|text| !text.trim().is_empty());
    let start = line("DTSTART").and_then(|line| When::read(line, &calendar.data.timezone, &mut notices));
    let start = start.ok_or("`DTSTART` is missing or is no time")?;
    let begins = start.moment().ok_or("`DTSTART` is no time of the calendar")?;
    let ends = match (line("DTEND"), line("DURATION")) {
        (Some(line), _) => When::read(line, &start.zone, &mut notices).and_then(|end| end.moment()),
        (None, Some(line)) => line.value.trim().parse().ok().and_then(|span| start.after(span)),
        (None, None) if start.is_day => start.after(1.day()),
        (None, None) => Some(begins),
    };
    let ends = ends.ok_or("`DTEND` or `DURATION` cannot be read")?;
    let uid = text("UID").map(|uid| uid.trim().to_owned());
    let instead_of = line("RECURRENCE-ID").and_then(|line| When::read(line, &start.zone, &mut notices));
    let instead_of = instead_of.map(|day| Date(day.wall.date()));
    let recurrence = match line("RRULE").map(|line| Rule::parse(&line.value)) {
        Some(Ok(rule)) => Some(rule),
        Some(Err(why)) => {
            notices.push(format!("the event does not come again here, its `RRULE`: {why}"));
            None
        }
        None => None,
    };
    let except_dates = lines
        .iter()
        .filter(|line| line.name == "EXDATE")
        .flat_map(|line| line.value.split(',').map(move |value| (line, value)))
        .filter_map(|(line, value)| When::read_value(line, value, &start.zone, &mut notices))
        .map(|day| Date(day.wall.date()))
        .take(super::MOST_EXCEPTIONS)
        .collect();
    let categories = lines.iter().filter(|line| line.name == "CATEGORIES").flat_map(|line| line.parts(','));
    let tags = lines::tags(categories.collect(), &mut notices);
    let reminders = lines.iter().filter(|line| line.name == "VALARM.TRIGGER").filter_map(|line| reminder(&line.value));
    let event = Event {
        calendar_id: calendar.id,
        title: fitting(text("SUMMARY"), 500, Line::parse, "SUMMARY", &mut notices)
            .map_or_else(|| Line::parse("(no title)"), Ok)?,
        start: begins,
        end: ends,
        all_day: start.is_day,
        timezone: start.zone.clone(),
        location: fitting(text("LOCATION"), 500, Line::parse, "LOCATION", &mut notices),
        description: fitting(text("DESCRIPTION"), 10_000, Text::parse, "DESCRIPTION", &mut notices),
        recurrence,
        except_dates,
        reminders: reminders.take(5).collect(),
        tags,
        uid: None,
        is_long: false,
    };
    Ok(Read { event, uid, instead_of, notices })
}

/// Minutes before the start, from `-PT15M` or `-P1D`.
fn reminder(trigger: &str) -> Option<Whole<0, 40_320>> {
    let span: Span = trigger.trim().parse().ok()?;
    let minutes = span.total((jiff::Unit::Minute, jiff::SpanRelativeTo::days_are_24_hours())).ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "a number of minutes; too great a one is refused next")]
    Whole::new(-(minutes.round() as i64)).ok()
}

/// A text in the form of a field; one that is too long is cut, and a notice says so.
fn fitting<T>(
    text: Option<String>,
    most: usize,
    parse: impl Fn(&str) -> std::result::Result<T, String>,
    name: &str,
    notices: &mut Vec<String>,
) -> Option<T> {
    let text = text?;
    let one_line = || text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Ok(value) = parse(text.trim()).or_else(|_| parse(&one_line())) {
        return Some(value);
    }
    let cut: String = one_line().chars().take(most).collect();
    match parse(&cut) {
        Ok(value) => {
            notices.push(format!("`{name}` was cut to {most} characters"));
            Some(value)
        }
        Err(why) => {
            notices.push(format!("`{name}`: {why}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reminders_are_minutes_before() {
        for (trigger, minutes) in
            [("-PT15M", Some(15)), ("-P1D", Some(1440)), ("PT0S", Some(0)), ("PT5M", None), ("soon", None)]
        {
            assert_eq!(reminder(trigger).map(Whole::get), minutes, "{trigger}");
        }
    }

    #[test]
    fn a_zone_is_written_with_its_changes() {
        let since: Timestamp = "2026-06-01T00:00:00Z".parse().expect("a time");
        let mut out = String::new();
        write_zone(&mut out, "Europe/Berlin", since, since);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(
            &lines[..4],
            ["BEGIN:VTIMEZONE", "TZID:Europe/Berlin", "BEGIN:DAYLIGHT", "DTSTART:20260329T020000"],
            "{out}"
        );
        assert!(out.contains("TZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\nTZNAME:CEST"), "{out}");
        assert!(out.contains("BEGIN:STANDARD\r\nDTSTART:20261025T030000"), "{out}");
        let mut utc = String::new();
        write_zone(&mut utc, "UTC", since, since);
        assert!(utc.contains("TZOFFSETTO:+0000"), "{utc}");
    }
}
