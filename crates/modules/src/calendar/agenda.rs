//! What takes place when: events with their recurrences expanded, free time between them, and where they collide.

use std::collections::HashMap;

use jiff::civil::{self, DateTime, Time};
use jiff::tz::TimeZone;
use mana_registry::prelude::*;

use super::rule;
use super::{Calendar, Event};

/// The most occurrences that one call computes.
const MOST: usize = 20_000;

/// The longest an event lasts, in days.
pub(super) const LONGEST_DAYS: i64 = 366;

/// One time that an event takes place.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Occurrence {
    /// The event's id.
    pub(super) event_id: RecordId,
    /// What it is.
    title: Line<500>,
    /// The name of its calendar.
    calendar: Line<120>,
    /// When it begins.
    pub(super) start: Timestamp,
    /// When it is over.
    pub(super) end: Timestamp,
    /// When it begins on the user's clock, such as `2026-11-18 18:00`; only the day for an event of whole days.
    local_start: String,
    /// When it is over on the user's clock; the last day for an event of whole days.
    local_end: String,
    /// Whether it takes whole days.
    pub(super) all_day: bool,
    /// Where it is.
    location: Option<Line<500>>,
    /// Whether it comes again.
    is_recurring: bool,
}

/// The days that are asked about, where the user is.
#[derive(Debug, Clone)]
pub(super) struct Days {
    pub(super) first: Date,
    pub(super) last: Date,
    pub(super) zone: TimeZone,
}

/// The beginning of a day.
pub(super) fn start_of(day: Date, zone: &TimeZone) -> Timestamp {
    let midnight = day.0.to_datetime(Time::midnight());
    rule::moment(midnight, zone).map_or(day.start_utc(), Timestamp::from_jiff)
}

impl Days {
    /// The days between two, with what is meant if one is left out.
    pub(super) fn read(cx: &Cx, from: Option<Date>, to: Option<Date>, usual: i64, most: i64) -> Result<Self> {
        let first = from.unwrap_or_else(|| cx.today());
        let last = to.unwrap_or_else(|| first.plus_days(usual - 1));
        if last < first || last > first.plus_days(most - 1) {
            return Err(ToolError::field(
                "to",
                format!("expected `{first}` or a later day, at most {most} days in all"),
            ));
        }
        Ok(Self { first, last, zone: cx.zone() })
    }

    pub(super) fn start(&self) -> Timestamp {
        start_of(self.first, &self.zone)
    }

    pub(super) fn end(&self) -> Timestamp {
        start_of(self.last.plus_days(1), &self.zone)
    }
}

/// The calendars of the space that are shown, with their names.
pub(super) struct Shown(HashMap<RecordId, Line<120>>);

impl Shown {
    /// All that are not hidden, or only this one, hidden or not.
    pub(super) async fn of(cx: &Cx, only: Option<RecordId>) -> Result<Self> {
        let calendars = match only {
            Some(id) => vec![cx.records::<Calendar>().check("calendarId", id).await?],
            None => cx.records::<Calendar>().all(Filter::new(Order::Recent).flag("isHidden", false)).await?,
        };
        Ok(Self(calendars.into_iter().map(|calendar| (calendar.id, calendar.data.name)).collect()))
    }
}

/// All that takes place on these days, the soonest first.
pub(super) async fn occurrences(cx: &Cx, days: &Days, shown: &Shown) -> Result<Vec<Occurrence>> {
    // Days begin at other times elsewhere: look a day further on both sides, and choose exactly afterwards.
    let from = days.start().plus_millis(-36 * 3_600_000);
    let until = days.end().plus_millis(36 * 3_600_000);
    let filter = || {
        let filter = Filter::new(Order::Soonest);
        match shown.0.keys().next() {
            Some(id) if shown.0.len() == 1 => filter.is("calendarId", id.to_string()),
            _ => filter,
        }
    };
    let records = cx.records::<Event>();
    let mut events = records.all(filter().absent("recurrence").from(from).until(until)).await?;
    let long_before = from.plus_millis(-LONGEST_DAYS * 24 * 3_600_000);
    events.extend(records.all(filter().absent("recurrence").flag("isLong", true).from(long_before).until(from)).await?);
    events.extend(records.all(filter().is_not("recurrence", "").until(until)).await?);
    let mut found = Vec::new();
    for event in &events {
        let Some(calendar) = shown.0.get(&event.data.calendar_id) else { continue };
        let times = event.data.times(from, until).map_err(|why| {
            ToolError::rule("recurrence-broken", format!("the recurrence of event `{}` {why}", event.id))
                .hint("give it another recurrence with `calendar_event_update`")
        })?;
        for (start, end) in times {
            if let Some(occurrence) = occurrence(event, calendar, start, end, days) {
                found.push(occurrence);
            }
        }
        if found.len() > MOST {
            return Err(ToolError::rule(
                "too-many-occurrences",
                format!("more than {MOST} events lie between these days"),
            )
            .hint("ask for fewer days or for one calendar"));
        }
    }
    found.sort_by_key(|occurrence| (occurrence.start, occurrence.event_id.uuid()));
    Ok(found)
}

/// An occurrence as the user sees it, if it touches the days.
fn occurrence(
    event: &Stored<Event>,
    calendar: &Line<120>,
    start: Timestamp,
    end: Timestamp,
    days: &Days,
) -> Option<Occurrence> {
    let Event { title, all_day, location, recurrence, .. } = &event.data;
    let (local_start, local_end) = if *all_day {
        // Whole days are the same days for everybody, wherever he is.
        let zone = event.data.zone();
        let (first, last) = (start.date_in(&zone), end.plus_millis(-1).date_in(&zone));
        if last < days.first || first > days.last {
            return None;
        }
        (first.to_string(), last.to_string())
    } else {
        let touches = start < days.end() && (end > days.start() || (start == end && start >= days.start()));
        if !touches {
            return None;
        }
        (local(start, &days.zone), local(end, &days.zone))
    };
    Some(Occurrence {
        event_id: event.id,
        title: title.clone(),
        calendar: calendar.clone(),
        start,
        end,
        local_start,
        local_end,
        all_day: *all_day,
        location: location.clone(),
        is_recurring: recurrence.is_some(),
    })
}

/// A moment on the clock of a zone.
pub(super) fn local(time: Timestamp, zone: &TimeZone) -> String {
    zone.to_datetime(time.to_jiff()).strftime("%Y-%m-%d %H:%M").to_string()
}

impl Event {
    /// Beginnings and ends that may touch the time between two moments: a few too many rather than one too few.
    fn times(&self, from: Timestamp, until: Timestamp) -> std::result::Result<Vec<(Timestamp, Timestamp)>, String> {
        let Some(recurrence) = &self.recurrence else {
            return Ok(vec![(self.start, self.end)]);
        };
        let zone = self.zone();
        let wall = |time: Timestamp| zone.to_datetime(time.to_jiff());
        let length = wall(self.start).duration_until(wall(self.end));
        let from = wall(from).saturating_sub(length);
        let starts = recurrence.starts(wall(self.start), &zone, from, wall(until))?;
        let takes_place = |start: &DateTime| !self.except_dates.contains(&Date(start.date()));
        let times = starts.into_iter().filter(takes_place).filter_map(|start| {
            let end = rule::moment(rule::end_of(start, length), &zone)?;
            Some((Timestamp::from_jiff(rule::moment(start, &zone)?), Timestamp::from_jiff(end)))
        });
        Ok(times.collect())
    }
}

/// Time without an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Slot {
    /// When it begins.
    start: Timestamp,
    /// When it is over.
    end: Timestamp,
    /// When it begins on the user's clock, such as `2026-11-18 18:00`.
    local_start: String,
    /// When it is over on the user's clock.
    local_end: String,
    /// How long it is.
    minutes: i64,
}

/// The hours of a day in which free time is looked for, and how much of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hours {
    pub(super) first: i8,
    pub(super) last: i8,
    pub(super) minutes: i64,
    pub(super) weekends: bool,
}

/// Free time on these days from `now` on. Events of whole days leave the day free.
pub(super) fn free(occurrences: &[Occurrence], days: &Days, hours: Hours, now: Timestamp) -> Vec<Slot> {
    let busy: Vec<(Timestamp, Timestamp)> = occurrences
        .iter()
        .filter(|occurrence| !occurrence.all_day)
        .map(|occurrence| (occurrence.start, occurrence.end))
        .collect();
    let mut slots = Vec::new();
    let mut day = days.first;
    while day <= days.last {
        let is_weekend = matches!(day.0.weekday(), civil::Weekday::Saturday | civil::Weekday::Sunday);
        if hours.weekends || !is_weekend {
            slots.extend(free_on(day, &busy, days, hours, now));
        }
        let next = day.plus_days(1);
        if next == day {
            break; // the last day that there is
        }
        day = next;
    }
    slots
}

fn free_on(day: Date, busy: &[(Timestamp, Timestamp)], days: &Days, hours: Hours, now: Timestamp) -> Vec<Slot> {
    let at = |hour: i8| {
        let wall = if hour == 24 { day.plus_days(1).0.to_datetime(Time::midnight()) } else { day.0.at(hour, 0, 0, 0) };
        rule::moment(wall, &days.zone).map(Timestamp::from_jiff)
    };
    let (Some(begin), Some(close)) = (at(hours.first), at(hours.last)) else { return Vec::new() };
    let mut free_from = begin.max(now);
    let mut slots = Vec::new();
    let mut add = |from: Timestamp, until: Timestamp| {
        let minutes = until.since(from) / 60_000;
        if minutes >= hours.minutes {
            let (local_start, local_end) = (local(from, &days.zone), local(until, &days.zone));
            slots.push(Slot { start: from, end: until, local_start, local_end, minutes });
        }
    };
    for (start, end) in busy.iter().filter(|(start, end)| *end > begin && *start < close) {
        add(free_from, *start);
        free_from = free_from.max(*end);
    }
    add(free_from, close);
    slots
}

/// Two events at the same time.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Conflict {
    /// The one that begins first.
    first: Occurrence,
    /// The other one.
    second: Occurrence,
    /// How long both last at once.
    overlap_minutes: i64,
}

/// Pairs of events that overlap, at most so many; and how many there are. Events of whole days collide with nothing.
pub(super) fn conflicts(occurrences: &[Occurrence], most: usize) -> (Vec<Conflict>, usize) {
    let timed: Vec<&Occurrence> = occurrences.iter().filter(|occurrence| !occurrence.all_day).collect();
    let mut found = Vec::new();
    let mut total = 0;
    for (place, first) in timed.iter().enumerate() {
        for second in timed[place + 1..].iter().take_while(|second| second.start < first.end) {
            let overlap = first.end.min(second.end).since(second.start);
            if overlap <= 0 {
                continue;
            }
            total += 1;
            if found.len() < most {
                let (first, second) = ((*first).clone(), (*second).clone());
                found.push(Conflict { first, second, overlap_minutes: overlap / 60_000 });
            }
        }
    }
    (found, total)
}
