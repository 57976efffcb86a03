//! What somebody has, and letting go of it.

use std::fmt::Write as _;
use std::str::FromStr;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, header};
use mana_types::{Date, MediaId, Timestamp};
use mana_web::{FieldError, Json, PathOf, Problem, QueryOf, StatusCode};
use serde::Deserialize;

use super::App;
use super::caller::Caller;
use crate::delivery::encoded;
use crate::list::{AllQuery, ListQuery, Stats};
use crate::wire::{AllBody, RecordBody};
use crate::{Error, Hash};

/// Texts, so that all that is wrong is named.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Query {
    app: Option<String>,
    user_id: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
    apps: Option<String>,
    mime_type: Option<String>,
    date_from: Option<String>,
    date_to: Option<String>,
    has_location: Option<String>,
    offset: Option<String>,
    sort_by: Option<String>,
    sort_order: Option<String>,
}

/// Reads a value; an empty one is none, a wrong one is noted.
fn value<T: FromStr>(name: &str, text: Option<&String>, expected: &str, faults: &mut Vec<FieldError>) -> Option<T> {
    let text = text.map(String::as_str).filter(|text| !text.is_empty())?;
    let value = text.parse().ok();
    if value.is_none() {
        faults.push(FieldError::new(name, expected));
    }
    value
}

fn limit(query: &Query, faults: &mut Vec<FieldError>) -> i64 {
    const EXPECTED: &str = "expected a whole number from 1 to 500";
    match value("limit", query.limit.as_ref(), EXPECTED, faults) {
        None => 50,
        Some(limit @ 1..) => i64::min(limit, 500),
        Some(_) => {
            faults.push(FieldError::new("limit", EXPECTED));
            50
        }
    }
}

/// A moment, or a day: its beginning or its end.
fn moment(name: &str, text: Option<&String>, ends: bool, faults: &mut Vec<FieldError>) -> Option<Timestamp> {
    if let Some(Ok(day)) = text.map(|text| text.parse::<Date>()) {
        return Some(if ends { day.plus_days(1).start_utc().plus_millis(-1) } else { day.start_utc() });
    }
    value(name, text, "expected a day such as `2026-11-20`, or a time with offset in RFC 3339", faults)
}

fn all_of<T>(value: T, faults: Vec<FieldError>) -> Result<T, Problem> {
    if faults.is_empty() { Ok(value) } else { Err(Problem::validation(faults)) }
}

pub(super) async fn list(
    caller: Caller,
    State(app): State<App>,
    QueryOf(query): QueryOf<Query>,
) -> Result<Response, Problem> {
    let mut faults = Vec::new();
    let wanted = ListQuery {
        viewer: caller.viewer(query.user_id.as_deref(), &mut faults),
        app: query.app.clone().filter(|app| !app.is_empty()),
        limit: limit(&query, &mut faults),
        after: value("cursor", query.cursor.as_ref(), "was not given out by this list, leave it out", &mut faults),
    };
    let wanted = all_of(wanted, faults)?;
    let page = app.media.list(&wanted).await?;
    let items: Vec<RecordBody> = page.items.into_iter().map(app.shown(wanted.viewer).await?).collect();
    let mut answer = Json(items).into_response();
    // The body is a plain array, so where it goes on stands in the headers.
    if let Some(cursor) = page.next_cursor {
        let mut next = format!("{}/api/v1/media?limit={}&cursor={cursor}", app.doors.base, wanted.limit);
        for (name, value) in [("app", &wanted.app), ("userId", &query.user_id)] {
            if let Some(value) = value {
                let _ = write!(next, "&{name}={}", encoded(value)); // writing to a String cannot fail
            }
        }
        let headers =
            [(header::LINK, format!("<{next}>; rel=\"next\"")), (HeaderName::from_static("x-next-cursor"), cursor)];
        for (name, text) in headers {
            if let Ok(text) = HeaderValue::from_str(&text) {
                answer.headers_mut().insert(name, text);
            }
        }
    }
    Ok(answer)
}

pub(super) async fn list_all(
    caller: Caller,
    State(app): State<App>,
    QueryOf(query): QueryOf<Query>,
) -> Result<Json<AllBody>, Problem> {
    let mut faults = Vec::new();
    let limit = limit(&query, &mut faults);
    let offset = match value("offset", query.offset.as_ref(), "expected a whole number, 0 or more", &mut faults) {
        Some(offset @ ..0) => {
            faults.push(FieldError::new("offset", format!("expected a whole number, 0 or more, found {offset}")));
            0
        }
        offset => offset.unwrap_or(0),
    };
    let mime_type = query.mime_type.clone().filter(|text| !text.is_empty()).map(|text| text.to_ascii_lowercase());
    if mime_type.as_deref().is_some_and(|text| !is_pattern(text)) {
        faults.push(FieldError::new("mimeType", "expected a type such as `image/png`, or `image/*`"));
    }
    let ascending = match query.sort_order.as_deref() {
        None | Some("" | "desc") => false,
        Some("asc") => true,
        Some(_) => {
            faults.push(FieldError::new("sortOrder", "expected `asc` or `desc`"));
            false
        }
    };
    let wanted = AllQuery {
        viewer: caller.viewer(query.user_id.as_deref(), &mut faults),
        apps: query
            .apps
            .iter()
            .flat_map(|apps| apps.split(','))
            .map(str::trim)
            .map(str::to_owned)
            .filter(|app| !app.is_empty())
            .collect(),
        mime_type,
        date_from: moment("dateFrom", query.date_from.as_ref(), false, &mut faults),
        date_to: moment("dateTo", query.date_to.as_ref(), true, &mut faults),
        has_location: value("hasLocation", query.has_location.as_ref(), "expected `true` or `false`", &mut faults),
        limit,
        offset,
        sort_by: value("sortBy", query.sort_by.as_ref(), "expected `createdAt`, `dateTaken` or `size`", &mut faults)
            .unwrap_or_default(),
        ascending,
    };
    let wanted = all_of(wanted, faults)?;
    let all = app.media.list_all(&wanted).await?;
    let items = all.items.into_iter().map(app.shown(wanted.viewer).await?).collect();
    Ok(Json(AllBody { items, total: all.total, has_more: all.has_more }))
}

fn is_pattern(text: &str) -> bool {
    let part = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*');
    text.split_once('/').is_some_and(|(kind, sub)| part(kind) && (sub == "*" || part(sub)))
}

pub(super) async fn stats(
    caller: Caller,
    State(app): State<App>,
    QueryOf(query): QueryOf<Query>,
) -> Result<Json<Stats>, Problem> {
    let mut faults = Vec::new();
    let viewer = caller.viewer(query.user_id.as_deref(), &mut faults);
    Ok(Json(app.media.stats(all_of(viewer, faults)?).await?))
}

pub(super) async fn one(
    caller: Caller,
    State(app): State<App>,
    PathOf(id): PathOf<MediaId>,
    QueryOf(query): QueryOf<Query>,
) -> Result<Json<RecordBody>, Problem> {
    let mut faults = Vec::new();
    let viewer = caller.viewer(query.user_id.as_deref(), &mut faults);
    let viewer = all_of(viewer, faults)?;
    let record = app.media.get(id, viewer).await?.ok_or(Error::UnknownMedia)?;
    Ok(Json(app.shown(viewer).await?(record)))
}

pub(super) async fn by_hash(
    caller: Caller,
    State(app): State<App>,
    PathOf(hash): PathOf<String>,
    QueryOf(query): QueryOf<Query>,
) -> Result<Json<RecordBody>, Problem> {
    let mut faults = Vec::new();
    let viewer = caller.viewer(query.user_id.as_deref(), &mut faults);
    let viewer = all_of(viewer, faults)?;
    // What is no hash is the hash of nothing.
    let hash: Hash = hash.parse().map_err(|_| Error::UnknownMedia)?;
    let record = app.media.by_hash(&hash, viewer).await?.ok_or(Error::UnknownMedia)?;
    Ok(Json(app.shown(viewer).await?(record)))
}

pub(super) async fn remove(
    caller: Caller,
    State(app): State<App>,
    PathOf(id): PathOf<MediaId>,
    QueryOf(query): QueryOf<Query>,
) -> Result<StatusCode, Problem> {
    let user = caller.user(query.user_id.as_deref())?;
    let for_app = query.app.as_deref().filter(|app| !app.is_empty());
    app.media.delete(id, user, for_app).await?;
    Ok(StatusCode::NO_CONTENT)
}
