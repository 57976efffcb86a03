//! For administrators.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use mana_types::{Cursor, Page, Timestamp, UserId};
use mana_web::{Admin, Json, PathOf, Problem, QueryOf, RawBody};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, read_limit, read_query};
use crate::descriptor::NewPersona;
use crate::fields::Fields;
use crate::history::{ActionFilter, ActionRow, RatingFilter, RatingRow};
use crate::population::{PersonaPage, PersonaView};
use crate::{Error, Personas};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/v1/admin/personas", post(upsert).get(list))
        .route("/api/v1/admin/personas/summary", get(summary))
        .route("/api/v1/admin/personas/{id}", get(show).delete(remove))
        .route("/api/v1/admin/personas/{id}/pause", post(pause))
        .route("/api/v1/admin/personas/{id}/resume", post(resume))
        .route("/api/v1/admin/personas/{id}/run", post(run))
        .route("/api/v1/admin/actions", get(actions))
        .route("/api/v1/admin/ratings", get(ratings))
}

async fn upsert(_: Admin, State(personas): State<Personas>, Json(body): Json<Value>) -> Result<Json<Value>, Problem> {
    let new = NewPersona::read(&body).map_err(Error::Invalid)?;
    let (account, created) = personas.upsert(&new).await?;
    Ok(Json(json!({ "ok": true, "userId": account.id, "email": account.email, "created": created })))
}

/// A page of a list: the text of a query holds numbers as text, so they are read here with their own words.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageQuery {
    limit: Option<String>,
    cursor: Option<String>,
    since: Option<String>,
    persona: Option<String>,
    tick: Option<String>,
    tool: Option<String>,
    result: Option<String>,
    module: Option<String>,
}

/// What a query asks for, with every fault named.
#[derive(Debug)]
struct Asked {
    limit: u32,
    cursor: Option<Cursor>,
    since: Option<Timestamp>,
}

impl PageQuery {
    fn read(&self, usual: u32) -> Result<Asked, Error> {
        let mut faults = Vec::new();
        let limit = read_limit(self.limit.as_deref(), usual, &mut faults);
        let cursor = read_query("cursor", self.cursor.as_deref(), &mut faults);
        let since = read_query("since", self.since.as_deref(), &mut faults);
        if faults.is_empty() { Ok(Asked { limit, cursor, since }) } else { Err(Error::Invalid(faults)) }
    }
}

async fn list(
    _: Admin,
    State(personas): State<Personas>,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Json<Value>, Problem> {
    let asked = query.read(100)?;
    let page = personas.list(asked.limit, asked.cursor).await?;
    Ok(Json(json!({ "personas": page.items, "nextCursor": page.next_cursor })))
}

async fn summary(
    _: Admin,
    State(personas): State<Personas>,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Json<Value>, Problem> {
    let asked = query.read(1)?;
    Ok(Json(personas.summary(asked.since).await?))
}

async fn show(
    _: Admin,
    State(personas): State<Personas>,
    PathOf(user): PathOf<UserId>,
) -> Result<Json<PersonaPage>, Problem> {
    Ok(Json(personas.page(user).await?))
}

async fn remove(
    _: Admin,
    State(personas): State<Personas>,
    PathOf(user): PathOf<UserId>,
) -> Result<Json<Value>, Problem> {
    personas.remove(user).await?;
    Ok(Json(json!({ "ok": true, "userId": user })))
}

async fn pause(
    _: Admin,
    State(personas): State<Personas>,
    PathOf(user): PathOf<UserId>,
    RawBody(body): RawBody,
) -> Result<Json<PersonaView>, Problem> {
    let body = if body.is_empty() { json!({}) } else { Json::<Value>::read(&body)?.0 };
    let mut faults = Vec::new();
    let reason = Fields::of(&body, "", &mut faults).and_then(|mut fields| fields.text("reason", 500));
    if !faults.is_empty() {
        return Err(Problem::validation(faults));
    }
    Ok(Json(personas.pause(user, reason.as_deref()).await?))
}

async fn resume(
    _: Admin,
    State(personas): State<Personas>,
    PathOf(user): PathOf<UserId>,
) -> Result<Json<PersonaView>, Problem> {
    Ok(Json(personas.resume(user).await?))
}

async fn run(
    _: Admin,
    State(personas): State<Personas>,
    PathOf(user): PathOf<UserId>,
) -> Result<Json<PersonaView>, Problem> {
    Ok(Json(personas.run_now(user).await?))
}

async fn actions(
    _: Admin,
    State(personas): State<Personas>,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Json<Page<ActionRow>>, Problem> {
    let asked = query.read(50)?;
    let mut faults = Vec::new();
    let result = read_query("result", query.result.as_deref(), &mut faults);
    if !faults.is_empty() {
        return Err(Problem::validation(faults));
    }
    let filter = ActionFilter {
        persona: persona_of(&personas, &query).await?,
        tick: query.tick,
        tool: query.tool,
        result,
        since: asked.since,
        before: asked.cursor.map(|cursor| cursor.id),
    };
    Ok(Json(personas.actions(&filter, asked.limit).await?))
}

async fn ratings(
    _: Admin,
    State(personas): State<Personas>,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Json<Page<RatingRow>>, Problem> {
    let asked = query.read(50)?;
    let filter = RatingFilter {
        persona: persona_of(&personas, &query).await?,
        tick: query.tick,
        module: query.module,
        since: asked.since,
        before: asked.cursor.map(|cursor| cursor.id),
    };
    Ok(Json(personas.ratings(&filter, asked.limit).await?))
}

async fn persona_of(personas: &Personas, query: &PageQuery) -> Result<Option<UserId>, Problem> {
    match &query.persona {
        None => Ok(None),
        Some(name) => Ok(Some(personas.resolve(name).await?)),
    }
}
