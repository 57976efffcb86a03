//! Taking over events from another calendar.

use std::collections::HashMap;

use mana_registry::prelude::*;

use super::calendars::calendar_for;
use super::{Event, MOST_EXCEPTIONS, ics};

/// The most events of one file.
const MOST: usize = 500;

/// What to import.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Import {
    /// The text of an iCalendar file with at most 500 events.
    ics: Text<1, 500_000>,
    /// The calendar they go to, by id; the default one if left out.
    calendar_id: Option<RecordId>,
}

/// What could not be taken over.
#[derive(Debug, Serialize, JsonSchema)]
struct Notice {
    /// The event's place in the file, from 1.
    event: usize,
    /// What, and why.
    message: String,
}

/// What an import did.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Imported {
    /// How many events were added.
    added: usize,
    /// How many were already here.
    already_here: usize,
    /// The calendar they went to.
    calendar_id: RecordId,
    /// The ids of those that were added, in the order of the file.
    event_ids: Vec<RecordId>,
    /// What could not be taken over.
    notices: Vec<Notice>,
}

/// The event that another calendar calls so: taken over before, or exported from here.
async fn known(cx: &Cx, uid: &str) -> Result<Option<RecordId>> {
    let records = cx.records::<Event>();
    if let Ok(id) = uid.parse::<RecordId>()
        && let Some(found) = records.find(id).await?
    {
        return Ok(Some(found.id));
    }
    let same = || Filter::new(Order::Recent).is("uid", uid);
    // Also one that was put away here: whoever archived it does not want it back by an import.
    let found = match records.first(same()).await? {
        Some(found) => Some(found),
        None => records.first(same().archived(true)).await?,
    };
    Ok(found.map(|event| event.id))
}

pub(super) async fn import(cx: Cx, import: Import) -> Result<Imported> {
    let calendar = calendar_for(&cx, import.calendar_id).await?;
    let events = ics::read(&import.ics, &calendar);
    if events.is_empty() || events.len() > MOST {
        let message = format!("expected 1 to {MOST} events (`BEGIN:VEVENT`), found {}", events.len());
        return Err(ToolError::field("ics", message));
    }
    let mut imported =
        Imported { added: 0, already_here: 0, calendar_id: calendar.id, event_ids: Vec::new(), notices: Vec::new() };
    let mut left_out: HashMap<String, Vec<Date>> = HashMap::new();
    for (place, read) in events.into_iter().enumerate() {
        let mut notice = |message: String| imported.notices.push(Notice { event: place + 1, message });
        let ics::Read { mut event, uid, instead_of, notices } = match read {
            Ok(read) => read,
            Err(why) => {
                notice(format!("left out: {why}"));
                continue;
            }
        };
        notices.into_iter().for_each(&mut notice);
        let uid = uid.map(|uid| match instead_of {
            Some(day) => {
                left_out.entry(uid.clone()).or_default().push(day);
                format!("{uid}/{day}")
            }
            None => uid,
        });
        if let Some(uid) = &uid {
            if known(&cx, uid).await?.is_some() {
                imported.already_here += 1;
                continue;
            }
            match Line::parse(uid) {
                Ok(uid) => event.uid = Some(uid),
                Err(why) => notice(format!("`UID`: {why}; a second import will add this event again")),
            }
        }
        if let Err(why) = event.settle() {
            let Some(rule) = event.recurrence.take() else {
                notice(format!("left out: {why}"));
                continue;
            };
            if event.settle().is_err() {
                notice(format!("left out: {why}"));
                continue;
            }
            notice(format!("the event does not come again here, `{}`: {why}", rule.as_str()));
        }
        imported.event_ids.push(cx.records().add(event).await?.id);
        imported.added += 1;
    }
    for (uid, days) in left_out {
        if let Some(series) = known(&cx, &uid).await? {
            leave_out(&cx, series, days).await?;
        }
    }
    Ok(imported)
}

/// Takes days out of a series, because events of their own stand for them.
async fn leave_out(cx: &Cx, series: RecordId, days: Vec<Date>) -> Result<()> {
    let records = cx.records::<Event>();
    let known = records.get(series).await?.data.except_dates;
    if days.iter().all(|day| known.contains(day)) {
        return Ok(());
    }
    records
        .update(series, None, |event| {
            event.except_dates.extend(&days);
            event.except_dates.sort();
            event.except_dates.dedup();
            event.except_dates.truncate(MOST_EXCEPTIONS);
            Ok(())
        })
        .await
        .map(drop)
}
