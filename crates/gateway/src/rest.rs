//! The REST door: the same tools for programs that speak plain HTTP.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use http::HeaderMap;
use mana_types::{ActionId, Cursor, Page, RequestId, SpaceId, TickId, Timestamp};
use mana_web::{Bearer, FieldError, Json, Problem, QueryOf};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::Gateway;
use crate::audit::Door;
use crate::call::{Asked, Visit};
use crate::mcp;
use crate::routes::problem;
use crate::store;

/// `GET /api/v1/tools`: the tools that the caller may call, with their modules.
pub(crate) async fn list(State(gateway): State<Gateway>, Extension(visit): Extension<Arc<Visit>>) -> Json<Value> {
    let shown: Vec<_> = gateway.registry().tools().filter(|tool| visit.choice.shows(tool, gateway.core())).collect();
    let tools: Vec<Value> = shown
        .iter()
        .map(|tool| {
            json!({
                "name": tool.name(),
                "title": tool.dotted(),
                "module": tool.module(),
                "description": tool.description(),
                "scope": tool.scope(),
                "policyHint": tool.hint(),
                "idempotent": tool.is_idempotent(),
                "inputSchema": tool.input_schema(),
                "outputSchema": tool.output_schema(),
            })
        })
        .collect();
    let modules: Vec<Value> = gateway
        .registry()
        .modules()
        .iter()
        .filter(|module| shown.iter().any(|tool| tool.module() == module.name()))
        .map(|module| {
            let labels = json!({
                "de": module.label(mana_registry::Lang::De),
                "en": module.label(mana_registry::Lang::En),
            });
            json!({ "name": module.name(), "about": module.about(), "labels": labels })
        })
        .collect();
    Json(json!({ "modules": modules, "tools": tools }))
}

/// `POST /api/v1/tools/{name}`: calls a tool; the body is its arguments, the answer its result.
pub(crate) async fn call(
    State(gateway): State<Gateway>,
    Extension(visit): Extension<Arc<Visit>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let body = mcp::read(body, gateway.options().body_limit).await?;
    let arguments = if body.is_empty() { Map::new() } else { Json::<Map<String, Value>>::read(&body)?.0 };
    let mut faults = Vec::new();
    // A key or a visit that cannot be read must not be left out in silence: the call would be made twice, or for nobody.
    let mut header = |name: &str| {
        let text = headers.get(name)?.to_str();
        if text.is_err() {
            faults.push(FieldError::new(name, "expected visible ASCII characters"));
        }
        text.ok().map(str::to_owned)
    };
    let (key, tick) = (header("idempotency-key"), header("x-mana-tick").map(|tick| tick.parse::<TickId>()));
    let tick = tick.transpose().unwrap_or_else(|error| {
        faults.push(FieldError::new("x-mana-tick", error.to_string()));
        None
    });
    if !faults.is_empty() {
        return Err(Problem::validation(faults));
    }
    let correlation = headers.get("x-correlation-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let asked = Asked { name, arguments, key, dry_run: false, client: None, correlation, tick };
    gateway.call(&visit, Door::Rest, asked).await.map(Json).map_err(|error| problem(&error))
}

/// The most rows of the trail on one page.
const PAGE_MOST: u32 = 100;

/// `GET /api/v1/audit`: which part of the trail.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Which {
    limit: Option<u32>,
    cursor: Option<String>,
}

/// One call of the caller's, as it is answered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    id: ActionId,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    space_id: Option<SpaceId>,
    door: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    tool: String,
    input_hash: String,
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    duration_ms: i64,
    request_id: RequestId,
}

/// `GET /api/v1/audit`: the caller's own calls, the newest first.
pub(crate) async fn audit(
    State(gateway): State<Gateway>,
    Bearer(principal): Bearer,
    QueryOf(which): QueryOf<Which>,
) -> Result<Json<Page<Row>>, Problem> {
    let limit = which.limit.unwrap_or(20);
    let mut faults = Vec::new();
    if !(1..=PAGE_MOST).contains(&limit) {
        faults.push(FieldError::new("limit", format!("expected 1 to {PAGE_MOST}")));
    }
    let cursor = which.cursor.map(|text| text.parse::<Cursor>()).transpose();
    let cursor = cursor.unwrap_or_else(|error| {
        faults.push(FieldError::new("cursor", error.to_string()));
        None
    });
    if !faults.is_empty() {
        return Err(Problem::validation(faults));
    }
    // What the caller has just done must be in the list.
    gateway.flush().await.map_err(|error| problem(&error))?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut rows = store::own(gateway.db(), principal.user_id, cursor, i64::from(limit) + 1)
        .await
        .map_err(|error| problem(&error.into()))?;
    let more = rows.len() > most;
    rows.truncate(most);
    let last = rows.last().filter(|_| more);
    let next_cursor = last.map(|row| Cursor { key: row.at.as_millis(), id: row.id.uuid() }.to_string());
    let items = rows
        .into_iter()
        .map(|row| Row {
            id: row.id,
            at: row.at,
            space_id: row.space,
            door: row.door,
            client: row.client,
            correlation_id: row.correlation,
            tool: row.tool,
            input_hash: row.input,
            outcome: row.outcome,
            reason: row.reason,
            duration_ms: row.millis,
            request_id: row.request,
        })
        .collect();
    Ok(Json(Page { items, next_cursor }))
}
