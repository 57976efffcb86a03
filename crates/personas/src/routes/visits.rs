//! Visits and what they cost, for administrators.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use mana_types::TickId;
use mana_web::{Admin, Json, PathOf, Problem, QueryOf};
use serde::Deserialize;

use super::{App, read_limit, read_query};
use crate::cost::CostReport;
use crate::visits::{VisitFilter, VisitList, VisitPage};
use crate::{Error, Personas};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/v1/admin/personas/cost", get(cost))
        .route("/api/v1/admin/personas/visits", get(visits))
        .route("/api/v1/admin/personas/visits/{tick}", get(visit))
}

/// As text, so that what is wrong is said in our words.
#[derive(Debug, Deserialize)]
struct CostQuery {
    from: Option<String>,
    to: Option<String>,
    by: Option<String>,
}

async fn cost(
    _: Admin,
    State(personas): State<Personas>,
    QueryOf(query): QueryOf<CostQuery>,
) -> Result<Json<CostReport>, Problem> {
    let mut faults = Vec::new();
    let from = read_query("from", query.from.as_deref(), &mut faults);
    let to = read_query("to", query.to.as_deref(), &mut faults);
    let by = read_query("by", query.by.as_deref(), &mut faults).unwrap_or_default();
    if !faults.is_empty() {
        return Err(Error::Invalid(faults).into());
    }
    Ok(Json(personas.cost(from, to, by).await?))
}

#[derive(Debug, Deserialize)]
struct VisitQuery {
    persona: Option<String>,
    outcome: Option<String>,
    engine: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

async fn visits(
    _: Admin,
    State(personas): State<Personas>,
    QueryOf(query): QueryOf<VisitQuery>,
) -> Result<Json<VisitList>, Problem> {
    let mut faults = Vec::new();
    let limit = read_limit(query.limit.as_deref(), 50, &mut faults);
    let outcome = read_query("outcome", query.outcome.as_deref(), &mut faults);
    let before = read_query("cursor", query.cursor.as_deref(), &mut faults);
    if !faults.is_empty() {
        return Err(Error::Invalid(faults).into());
    }
    let persona = match &query.persona {
        None => None,
        Some(name) => Some(personas.resolve(name).await?),
    };
    let filter = VisitFilter { persona, outcome, engine: query.engine, tick: None, before };
    Ok(Json(personas.visits(&filter, limit).await?))
}

async fn visit(
    _: Admin,
    State(personas): State<Personas>,
    PathOf(tick): PathOf<TickId>,
) -> Result<Json<VisitPage>, Problem> {
    Ok(Json(personas.visit(&tick).await?))
}
