//! Calendars and their events: appointments that may come again, free time, conflicts, iCalendar in and out.

mod agenda;
mod calendars;
mod ics;
mod import;
mod rule;

use jiff::tz::TimeZone;
use mana_registry::prelude::*;

use self::agenda::{Conflict, Days, Hours, Occurrence, Shown, Slot};
use self::calendars::calendar_for;
use self::rule::Rule;

/// A calendar: a group of events.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Calendar {
    /// What it is called.
    name: Line<120>,
    /// Its colour, `#rrggbb`.
    color: Color,
    /// The time zone of its events (IANA).
    timezone: TimeZoneName,
    /// Whether new events go here if nothing else is said; one calendar has this.
    #[serde(default)]
    is_default: bool,
    /// Whether its events are left out of the agenda.
    #[serde(default)]
    is_hidden: bool,
}

impl Record for Calendar {
    const KIND: &'static str = "calendar.calendar";

    fn words(&self) -> String {
        self.name.to_string()
    }
}

/// The most single days that a series leaves out.
const MOST_EXCEPTIONS: usize = 200;

/// An appointment, once or again and again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Event {
    /// The calendar it belongs to, by id.
    calendar_id: RecordId,
    /// What it is.
    title: Line<500>,
    /// When it begins (the first time, if it comes again); midnight of the first day for whole days.
    start: Timestamp,
    /// When it is over; midnight after the last day for whole days.
    end: Timestamp,
    /// Whether it takes whole days.
    #[serde(default)]
    all_day: bool,
    /// The time zone in which it keeps its hour when the clocks change (IANA).
    timezone: TimeZoneName,
    /// Where it is.
    location: Option<Line<500>>,
    /// More about it.
    description: Option<Text<0, 10_000>>,
    /// How it comes again: a rule of RFC 5545.
    recurrence: Option<Rule>,
    /// Days on which it does not take place though the rule says so.
    #[serde(default)]
    except_dates: Vec<Date>,
    /// When to remind of it, in minutes before the start.
    #[serde(default)]
    reminders: Vec<Whole<0, 40_320>>,
    /// Words to find it by.
    #[serde(default)]
    tags: Tags<20>,
    /// The id that another calendar gave it; set by an import, so that a second import adds nothing.
    uid: Option<Line<400>>,
    /// Whether it lasts longer than a day; computed.
    #[serde(default)]
    is_long: bool,
}

impl Record for Event {
    const KIND: &'static str = "calendar.event";

    fn at(&self) -> Option<Timestamp> {
        Some(self.start)
    }

    fn words(&self) -> String {
        let location = self.location.as_deref().unwrap_or_default();
        let description = self.description.as_deref().unwrap_or_default();
        format!("{} {location} {description} {}", self.title, self.tags.joined())
    }
}

impl Event {
    fn zone(&self) -> TimeZone {
        TimeZone::get(&self.timezone).unwrap_or(TimeZone::UTC)
    }

    /// When it would be over if it began then: as long after on the wall clock as it is now.
    fn end_if_begun(&self, start: Timestamp) -> Timestamp {
        let zone = self.zone();
        let wall = |time: Timestamp| zone.to_datetime(time.to_jiff());
        let start = if self.all_day { agenda::start_of(start.date_in(&zone), &zone) } else { start };
        let end = rule::end_of(wall(start), wall(self.start).duration_until(wall(self.end)));
        rule::moment(end, &zone).map_or(self.end, Timestamp::from_jiff)
    }

    /// Checks what the fields say together, and computes what follows from them.
    fn settle(&mut self) -> Result<()> {
        let zone = self.zone();
        let mut faults = Vec::new();
        if self.end < self.start {
            faults.push(FieldError::new("end", format!("expected the start `{}` or a later time", self.start)));
        } else if self.end > self.start.plus_millis(agenda::LONGEST_DAYS * 24 * 3_600_000) {
            faults.push(FieldError::new(
                "end",
                format!("expected at most {} days after the start", agenda::LONGEST_DAYS),
            ));
        }
        let years = zone.to_datetime(self.start.to_jiff()).year();
        if !(1900..2200).contains(&years) {
            faults.push(FieldError::new("start", "expected a year from 1900 to 2199"));
        }
        if self.all_day && faults.is_empty() {
            let first = self.start.date_in(&zone);
            // Who ends an event of whole days at midnight means the day before.
            let last = self.end.plus_millis(if self.end > self.start { -1 } else { 0 }).date_in(&zone);
            self.start = agenda::start_of(first, &zone);
            self.end = agenda::start_of(last.plus_days(1), &zone);
        }
        if let (Some(rule), true) = (&self.recurrence, faults.is_empty())
            && let Err(why) = rule.check(zone.to_datetime(self.start.to_jiff()), &zone)
        {
            faults.push(FieldError::new("recurrence", why));
        }
        self.except_dates.sort();
        self.except_dates.dedup();
        self.is_long = self.end.since(self.start) > 24 * 3_600_000;
        if faults.is_empty() { Ok(()) } else { Err(ToolError::Invalid(faults)) }
    }
}

/// The module.
pub(crate) fn module() -> Module {
    Module::new("calendar", "Keep appointments.")
        .labels("Calendar", "Kalender")
        .tool(write("calendar_event_create", "Create an event: title and start, and if you like end, place, recurrence, reminders, tags.", event_create))
        .tool(read("calendar_today", "Events of today in the user's time zone, with recurring ones, the soonest first.", today))
        .tool(read("calendar_agenda", "Agenda: all that takes place between two days (the next seven if left out), with recurring events expanded, the soonest first.", agenda))
        .tool(read("calendar_event_list", "List or search events as they were entered, the latest start first. For what takes place when, use `calendar_agenda`.", event_list))
        .tool(read("calendar_event_get", "Read one event.", event_get))
        .tool(write("calendar_event_update", "Change fields of an event (of the whole series, if it comes again). Fields left out stay; a new start keeps the length.", event_update))
        .tool(write("calendar_event_archive", "Put an event (the whole series) out of sight; it can be restored.", event_archive).idempotent())
        .tool(write("calendar_event_restore", "Bring an archived event back.", event_restore).idempotent())
        .tool(read("calendar_free_slots", "Find free time between the events of some days, within given hours.", free_slots))
        .tool(read("calendar_conflicts", "Find events that overlap.", conflicts))
        .tool(read("calendar_export", "Export events as iCalendar (ICS) text, page by page, the soonest start first.", export))
        .tool(write("calendar_import", "Import events from iCalendar (ICS) text. Events whose UID is already here are left alone.", import::import))
        .tool(write("calendar_create", "Create a calendar to group events. The first event makes one by itself.", calendars::create))
        .tool(read("calendar_list", "List calendars, the latest change first.", calendars::list))
        .tool(write("calendar_update", "Change a calendar: name, colour, time zone, whether it is the default, whether it is hidden.", calendars::update))
}

/// What a new event is made of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewEvent {
    /// What it is.
    title: Line<500>,
    /// When it begins, RFC 3339 with offset.
    start: Timestamp,
    /// When it is over, RFC 3339 with offset; an hour after the start if left out, the same day for whole days.
    end: Option<Timestamp>,
    /// Whether it takes whole days: those on which it starts and ends.
    #[serde(default)]
    all_day: bool,
    /// The calendar, by id; the default one if left out.
    calendar_id: Option<RecordId>,
    /// The time zone in which it keeps its hour (IANA); the calendar's if left out.
    timezone: Option<TimeZoneName>,
    /// Where it is.
    location: Option<Line<500>>,
    /// More about it.
    description: Option<Text<0, 10_000>>,
    /// How it comes again: a rule of RFC 5545 such as `FREQ=WEEKLY;BYDAY=MO,WE`, at most daily.
    recurrence: Option<Rule>,
    /// When to remind of it, in minutes before the start.
    #[serde(default)]
    #[schemars(length(max = 5))]
    reminders: Vec<Whole<0, 40_320>>,
    /// Words to find it by.
    #[serde(default)]
    tags: Tags<20>,
}

async fn event_create(cx: Cx, new: NewEvent) -> Result<Stored<Event>> {
    let calendar = calendar_for(&cx, new.calendar_id).await?;
    let usual_end = if new.all_day { new.start } else { new.start.plus_millis(3_600_000) };
    let mut event = Event {
        calendar_id: calendar.id,
        title: new.title,
        start: new.start,
        end: new.end.unwrap_or(usual_end),
        all_day: new.all_day,
        timezone: new.timezone.unwrap_or(calendar.data.timezone),
        location: new.location,
        description: new.description,
        recurrence: new.recurrence,
        except_dates: Vec::new(),
        reminders: new.reminders,
        tags: new.tags,
        uid: None,
        is_long: false,
    };
    event.settle()?;
    cx.records().add(event).await
}

/// What takes place on a day.
#[derive(Debug, Serialize, JsonSchema)]
struct Today {
    /// The day, where the user is.
    date: Date,
    /// The soonest first; at most 100.
    events: Vec<Occurrence>,
}

async fn today(cx: Cx, _: Nothing) -> Result<Today> {
    let days = Days::read(&cx, None, None, 1, 1)?;
    let mut events = agenda::occurrences(&cx, &days, &Shown::of(&cx, None).await?).await?;
    events.truncate(100);
    Ok(Today { date: days.first, events })
}

/// Between which days to look.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Between {
    /// The first day; today if left out.
    from: Option<Date>,
    /// The last day; six days after the first if left out, at most 366 days in all.
    to: Option<Date>,
    /// Only this calendar, by id, even if it is hidden.
    calendar_id: Option<RecordId>,
    #[serde(flatten)]
    paging: Paging<50, 200>,
}

async fn agenda(cx: Cx, between: Between) -> Result<Page<Occurrence>> {
    let days = Days::read(&cx, between.from, between.to, 7, 366)?;
    let shown = Shown::of(&cx, between.calendar_id).await?;
    let mut items = agenda::occurrences(&cx, &days, &shown).await?;
    if let Some(after) = between.paging.cursor()? {
        items.retain(|item| (item.start.as_millis(), item.event_id.uuid()) > (after.key, after.id));
    }
    let limit = between.paging.limit() as usize;
    let more = items.len() > limit;
    items.truncate(limit);
    let place = |item: &Occurrence| mana_registry::Cursor { key: item.start.as_millis(), id: item.event_id.uuid() };
    let next_cursor = items.last().filter(|_| more).map(|last| place(last).to_string());
    Ok(Page { items, next_cursor })
}

/// Which events to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Which {
    /// Words that occur together in title, place, description or tags, whatever their case.
    query: Option<Line<200>>,
    /// Only this calendar, by id.
    calendar_id: Option<RecordId>,
    /// Only events with this tag.
    tag: Option<Tag>,
    /// List the archived events instead.
    #[serde(default)]
    archived: bool,
    #[serde(flatten)]
    paging: Paging,
}

async fn event_list(cx: Cx, which: Which) -> Result<Page<Stored<Event>>> {
    let mut filter = Filter::new(Order::Latest).archived(which.archived);
    if let Some(query) = &which.query {
        filter = filter.words(query);
    }
    if let Some(id) = which.calendar_id {
        filter = filter.is("calendarId", id.to_string());
    }
    if let Some(tag) = &which.tag {
        filter = filter.holds("tags", tag.as_str());
    }
    cx.records().list(which.paging.of(filter)?).await
}

/// One event.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct One {
    /// The event's id.
    event_id: RecordId,
}

async fn event_get(cx: Cx, one: One) -> Result<Stored<Event>> {
    cx.records().get(one.event_id).await
}

async fn event_archive(cx: Cx, one: One) -> Result<Stored<Event>> {
    cx.records().archive(one.event_id).await
}

async fn event_restore(cx: Cx, one: One) -> Result<Stored<Event>> {
    cx.records().restore(one.event_id).await
}

/// New values for fields of an event.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Change {
    /// The event's id.
    event_id: RecordId,
    /// Only if the event is at this revision.
    expected_rev: Option<i64>,
    /// What it is.
    title: Option<Line<500>>,
    /// When it begins, RFC 3339 with offset.
    start: Option<Timestamp>,
    /// When it is over, RFC 3339 with offset.
    end: Option<Timestamp>,
    /// Whether it takes whole days.
    all_day: Option<bool>,
    /// The calendar, by id.
    calendar_id: Option<RecordId>,
    /// The time zone in which it keeps its hour (IANA).
    timezone: Option<TimeZoneName>,
    /// Where it is.
    location: Option<Line<500>>,
    /// More about it.
    description: Option<Text<0, 10_000>>,
    /// How it comes again: a rule of RFC 5545, at most daily.
    recurrence: Option<Rule>,
    /// Days on which the series does not take place; replaces those there are.
    #[schemars(length(max = 200))]
    except_dates: Option<Vec<Date>>,
    /// Minutes before the start; replaces those there are.
    #[schemars(length(max = 5))]
    reminders: Option<Vec<Whole<0, 40_320>>>,
    /// All tags; replaces those there are.
    tags: Option<Tags<20>>,
    /// Fields to empty.
    #[serde(default)]
    clear: Vec<Clearable>,
}

/// A field that can be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Clearable {
    Location,
    Description,
    Recurrence,
}

async fn event_update(cx: Cx, change: Change) -> Result<Stored<Event>> {
    if let Some(id) = change.calendar_id {
        cx.records::<Calendar>().check("calendarId", id).await?;
    }
    cx.records::<Event>()
        .update(change.event_id, change.expected_rev, |event| {
            for field in &change.clear {
                match field {
                    Clearable::Location => event.location = None,
                    Clearable::Description => event.description = None,
                    Clearable::Recurrence => event.recurrence = None,
                }
            }
            let before = event.clone();
            event.title = change.title.clone().unwrap_or_else(|| event.title.clone());
            event.start = change.start.unwrap_or(event.start);
            event.end = change.end.unwrap_or_else(|| before.end_if_begun(event.start));
            event.all_day = change.all_day.unwrap_or(event.all_day);
            event.calendar_id = change.calendar_id.unwrap_or(event.calendar_id);
            event.timezone = change.timezone.clone().unwrap_or_else(|| event.timezone.clone());
            event.location = change.location.clone().or_else(|| event.location.take());
            event.description = change.description.clone().or_else(|| event.description.take());
            event.recurrence = change.recurrence.clone().or_else(|| event.recurrence.take());
            event.except_dates = change.except_dates.clone().unwrap_or_else(|| std::mem::take(&mut event.except_dates));
            event.reminders = change.reminders.clone().unwrap_or_else(|| std::mem::take(&mut event.reminders));
            event.tags = change.tags.clone().unwrap_or_else(|| std::mem::take(&mut event.tags));
            event.settle()
        })
        .await
}

/// What free time is looked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Free {
    /// The first day; today if left out.
    from: Option<Date>,
    /// The last day; six days after the first if left out, at most 31 days in all.
    to: Option<Date>,
    /// How much time is needed at least, in minutes; 60 if left out.
    minutes: Option<Whole<5, 1440>>,
    /// The hour of the day from which on time counts; 9 if left out.
    from_hour: Option<Whole<0, 23>>,
    /// The hour of the day until which time counts; 18 if left out.
    until_hour: Option<Whole<1, 24>>,
    /// Also look on Saturdays and Sundays.
    #[serde(default)]
    weekends: bool,
}

/// Free time.
#[derive(Debug, Serialize, JsonSchema)]
struct FreeSlots {
    /// The soonest first; at most 100.
    slots: Vec<Slot>,
}

async fn free_slots(cx: Cx, free: Free) -> Result<FreeSlots> {
    let days = Days::read(&cx, free.from, free.to, 7, 31)?;
    let hour = |hour: i64| i8::try_from(hour).unwrap_or(24);
    let hours = Hours {
        first: hour(free.from_hour.map_or(9, Whole::get)),
        last: hour(free.until_hour.map_or(18, Whole::get)),
        minutes: free.minutes.map_or(60, Whole::get),
        weekends: free.weekends,
    };
    if hours.last <= hours.first {
        return Err(ToolError::field("untilHour", format!("expected an hour after {}", hours.first)));
    }
    let occurrences = agenda::occurrences(&cx, &days, &Shown::of(&cx, None).await?).await?;
    let mut slots = agenda::free(&occurrences, &days, hours, cx.now());
    slots.truncate(100);
    Ok(FreeSlots { slots })
}

/// Where to look for conflicts.
#[derive(Debug, Deserialize, JsonSchema)]
struct Where {
    /// The first day; today if left out.
    from: Option<Date>,
    /// The last day; 29 days after the first if left out, at most 366 days in all.
    to: Option<Date>,
}

/// Events that overlap.
#[derive(Debug, Serialize, JsonSchema)]
struct Conflicts {
    /// The soonest first; at most 50.
    conflicts: Vec<Conflict>,
    /// How many there are in all.
    total: usize,
}

async fn conflicts(cx: Cx, place: Where) -> Result<Conflicts> {
    let days = Days::read(&cx, place.from, place.to, 30, 366)?;
    let occurrences = agenda::occurrences(&cx, &days, &Shown::of(&cx, None).await?).await?;
    let (conflicts, total) = agenda::conflicts(&occurrences, 50);
    Ok(Conflicts { conflicts, total })
}

/// Which events to export.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Export {
    /// Only this calendar, by id.
    calendar_id: Option<RecordId>,
    #[serde(flatten)]
    paging: Paging<100, 200>,
}

/// Events as iCalendar.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Exported {
    /// A whole file, also when more pages follow.
    ics: String,
    /// How many events are in it.
    count: usize,
    /// Where the next page begins; absent on the last page.
    next_cursor: Option<String>,
}

async fn export(cx: Cx, export: Export) -> Result<Exported> {
    let mut filter = Filter::new(Order::Soonest);
    if let Some(id) = export.calendar_id {
        filter = filter.is("calendarId", id.to_string());
    }
    let page = cx.records::<Event>().list(export.paging.of(filter)?).await?;
    Ok(Exported { ics: ics::write(&page.items, cx.now()), count: page.items.len(), next_cursor: page.next_cursor })
}
