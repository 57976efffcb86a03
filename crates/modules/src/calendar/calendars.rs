//! The calendars themselves: groups of events, one of them the default.

use mana_registry::prelude::*;

use super::Calendar;

/// The user's time zone by name.
fn zone_name(cx: &Cx) -> Result<TimeZoneName> {
    TimeZoneName::parse(&cx.membership().timezone)
        .or_else(|_| TimeZoneName::parse("UTC"))
        .map_err(|why| ToolError::field("timezone", why))
}

/// A new calendar's colour, if nothing is said.
const COLOR: &str = "#6366f1";

fn usual_color() -> Result<Color> {
    Color::parse(COLOR).map_err(|why| ToolError::field("color", why))
}

/// The calendar that is meant: the named one, else the default one, else any, else a new one.
pub(super) async fn calendar_for(cx: &Cx, named: Option<RecordId>) -> Result<Stored<Calendar>> {
    let records = cx.records::<Calendar>();
    if let Some(id) = named {
        return records.check("calendarId", id).await;
    }
    if let Some(found) = records.first(Filter::new(Order::Recent).flag("isDefault", true)).await? {
        return Ok(found);
    }
    if let Some(found) = records.first(Filter::new(Order::Recent)).await? {
        return Ok(found);
    }
    let name = match cx.lang() {
        Lang::De => "Kalender",
        Lang::En => "Calendar",
    };
    let name = Line::parse(name).map_err(|why| ToolError::field("name", why))?;
    let calendar =
        Calendar { name, color: usual_color()?, timezone: zone_name(cx)?, is_default: true, is_hidden: false };
    records.add(calendar).await
}

/// What a new calendar is made of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewCalendar {
    /// What it is called.
    name: Line<120>,
    /// Its colour, `#rrggbb`; `#6366f1` if left out.
    color: Option<Color>,
    /// The time zone of its events (IANA); the user's if left out.
    timezone: Option<TimeZoneName>,
    /// Whether new events go here if nothing else is said. The first calendar has this anyway.
    #[serde(default)]
    is_default: bool,
}

pub(super) async fn create(cx: Cx, new: NewCalendar) -> Result<Stored<Calendar>> {
    let records = cx.records::<Calendar>();
    let is_first = records.count(Filter::new(Order::Recent)).await? == 0;
    let calendar = Calendar {
        name: new.name,
        color: match new.color {
            Some(color) => color,
            None => usual_color()?,
        },
        timezone: match new.timezone {
            Some(zone) => zone,
            None => zone_name(&cx)?,
        },
        is_default: new.is_default || is_first,
        is_hidden: false,
    };
    if calendar.is_default {
        no_default(&cx, None).await?;
    }
    records.add(calendar).await
}

/// Takes the mark of the default from every other calendar.
async fn no_default(cx: &Cx, but: Option<RecordId>) -> Result<()> {
    let records = cx.records::<Calendar>();
    for calendar in records.all(Filter::new(Order::Recent).flag("isDefault", true)).await? {
        if Some(calendar.id) != but {
            records
                .update(calendar.id, None, |calendar| {
                    calendar.is_default = false;
                    Ok(())
                })
                .await?;
        }
    }
    Ok(())
}

pub(super) async fn list(cx: Cx, paging: Paging) -> Result<Page<Stored<Calendar>>> {
    cx.records().list(paging.of(Filter::new(Order::Recent))?).await
}

/// New values for fields of a calendar.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CalendarChange {
    /// The calendar's id.
    calendar_id: RecordId,
    /// Only if the calendar is at this revision.
    expected_rev: Option<i64>,
    /// What it is called.
    name: Option<Line<120>>,
    /// Its colour, `#rrggbb`.
    color: Option<Color>,
    /// The time zone of events that are added from now on (IANA).
    timezone: Option<TimeZoneName>,
    /// Make it the calendar that new events go to.
    make_default: Option<bool>,
    /// Whether its events are left out of the agenda.
    is_hidden: Option<bool>,
}

pub(super) async fn update(cx: Cx, change: CalendarChange) -> Result<Stored<Calendar>> {
    let becomes_default = change.make_default == Some(true);
    let changed = cx
        .records::<Calendar>()
        .update(change.calendar_id, change.expected_rev, |calendar| {
            calendar.name = change.name.clone().unwrap_or_else(|| calendar.name.clone());
            calendar.color = change.color.clone().unwrap_or_else(|| calendar.color.clone());
            calendar.timezone = change.timezone.clone().unwrap_or_else(|| calendar.timezone.clone());
            calendar.is_default |= becomes_default;
            calendar.is_hidden = change.is_hidden.unwrap_or(calendar.is_hidden);
            Ok(())
        })
        .await?;
    if becomes_default {
        no_default(&cx, Some(changed.id)).await?;
    }
    Ok(changed)
}
