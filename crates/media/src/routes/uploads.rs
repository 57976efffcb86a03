//! Files come in: by whoever proves who he is, or at an address that was handed out for one.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use mana_types::Timestamp;
use mana_web::{FieldError, Json, PathOf, Problem, RawBody, StatusCode};
use serde::{Deserialize, Serialize};

use super::App;
use super::body::{self, Received};
use super::caller::Caller;
use crate::media::{Record, Upload, Viewer};

fn missing() -> Problem {
    Problem::validation(vec![FieldError::new("file", "is missing, send it as `multipart/form-data`")])
}

pub(super) async fn upload(caller: Caller, State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let form = body::read(&app, &parts.headers, body, false).await?;
    let Received { spooled, name, declared } = form.file.ok_or_else(missing)?;
    let user = caller.user(form.user_id.as_deref())?;
    let upload =
        Upload { user, app: form.app, name: name.unwrap_or_default(), declared, skip_processing: form.skip_processing };
    created(&app, app.media.keep(upload, spooled).await?, Viewer::User(user)).await
}

async fn created(app: &App, record: Record, viewer: Viewer) -> Result<Response, Problem> {
    let location = format!("{}/api/v1/media/{}", app.doors.base, record.id);
    let record = app.shown(viewer).await?(record);
    let mut answer = (StatusCode::CREATED, Json(record)).into_response();
    if let Ok(location) = HeaderValue::from_str(&location) {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    Ok(answer)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wish {
    app: Option<String>,
    name: Option<String>,
    user_id: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UrlBody {
    url: String,
    expires_at: Timestamp,
    max_bytes: u64,
}

pub(super) async fn upload_url(
    caller: Caller,
    State(app): State<App>,
    RawBody(body): RawBody,
) -> Result<(StatusCode, Json<UrlBody>), Problem> {
    let wish = if body.is_empty() { Wish::default() } else { Json::<Wish>::read(&body)?.0 };
    let user = caller.user(wish.user_id.as_deref())?;
    let granted = app.media.upload_url(user, wish.app.as_deref(), wish.name.as_deref()).await?;
    let url = format!("{}{}", app.doors.base, granted.path);
    let answer = UrlBody { url, expires_at: granted.expires_at, max_bytes: granted.max_bytes };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Whoever has the address may leave a file there, once: the plain bytes, or a form with a `file`.
pub(super) async fn leave(
    State(app): State<App>,
    PathOf(token): PathOf<String>,
    request: Request,
) -> Result<Response, Problem> {
    let ticket = app.media.upload_ticket(&token).await?;
    let (parts, body) = request.into_parts();
    let form = body::read(&app, &parts.headers, body, true).await?;
    let Received { spooled, name, declared } = form.file.ok_or_else(missing)?;
    let viewer = Viewer::User(ticket.user());
    created(&app, app.media.keep_left(ticket, spooled, name, declared).await?, viewer).await
}
