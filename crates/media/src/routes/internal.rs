//! For programs of this installation, who show a service key.

use std::collections::HashSet;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use mana_types::{MediaId, UserId};
use mana_web::{FieldError, Json, PathOf, Problem, QueryOf, ServiceCaller, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Media;

/// Ids as texts: what is no id names a file that nobody has.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ownership {
    user_id: UserId,
    #[serde(default)]
    ids: Vec<String>,
    #[serde(default)]
    apps: Vec<String>,
}

pub(super) async fn ownership(
    _: ServiceCaller,
    State(media): State<Media>,
    Json(body): Json<Ownership>,
) -> Result<Json<Value>, Problem> {
    let ids: Vec<MediaId> = body.ids.iter().filter_map(|id| id.parse().ok()).collect();
    let apps: Vec<&str> = body.apps.iter().map(String::as_str).collect();
    let missing: HashSet<MediaId> = media.verify_ownership(body.user_id, &ids, &apps).await?.into_iter().collect();
    let missing: Vec<&String> =
        body.ids.iter().filter(|text| text.parse().map_or(true, |id: MediaId| missing.contains(&id))).collect();
    if missing.is_empty() {
        return Ok(Json(json!({ "ok": true })));
    }
    let detail = "some of these files are not there or belong to somebody else, see `missing`";
    Err(Problem::new(StatusCode::NOT_FOUND, "MEDIA_MISSING", detail).with("missing", json!(missing)))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Whose {
    user_id: Option<String>,
}

/// A user's image as image generators take it.
pub(super) async fn reference(
    _: ServiceCaller,
    State(media): State<Media>,
    PathOf(id): PathOf<MediaId>,
    QueryOf(whose): QueryOf<Whose>,
) -> Result<Response, Problem> {
    let user = whose.user_id.as_deref().unwrap_or_default().parse().map_err(|_| {
        Problem::validation(vec![FieldError::new("userId", "expected the id of the user whose image it is")])
    })?;
    let png = media.reference(id, user).await?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("image/png"))], png).into_response())
}
