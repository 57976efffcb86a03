//! For the runner and other programs of this installation, who show a service key.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use mana_types::{TickId, UserId};
use mana_web::{FieldError, Json, PathOf, Problem, QueryOf, RawBody, ServiceCaller};
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use crate::action::Written;
use crate::claim::{Claim, ClaimRequest, Heartbeat};
use crate::fields::Fields;
use crate::memory::Memory;
use crate::population::DuePersona;
use crate::tick::{Finish, Journal, Lease};
use crate::{Error, Personas};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/v1/internal/personas/due", get(due))
        .route("/api/v1/internal/personas/claim", post(claim))
        .route("/api/v1/internal/personas/ticks/heartbeat", post(heartbeat))
        .route("/api/v1/internal/personas/ticks/{tick}/heartbeat", post(heartbeat_one))
        .route("/api/v1/internal/personas/ticks/{tick}/journal", post(journal))
        .route("/api/v1/internal/personas/ticks/{tick}/memory", get(memory))
        .route("/api/v1/internal/personas/ticks/{tick}/finish", post(finish))
        .route("/api/v1/internal/personas/ticks/{tick}/release", post(release))
        .route("/api/v1/internal/personas/{id}/actions", post(actions))
        .route("/api/v1/internal/personas/{id}/feedback", post(feedback))
}

#[derive(Debug, Deserialize)]
struct DueQuery {
    limit: Option<u32>,
}

async fn due(
    _: ServiceCaller,
    State(personas): State<Personas>,
    QueryOf(query): QueryOf<DueQuery>,
) -> Result<Json<Value>, Problem> {
    let limit = query.limit.unwrap_or(1_000).min(10_000);
    let (due, now) = personas.due(limit).await?;
    let due: Vec<Value> = due.into_iter().map(due_json).collect();
    Ok(Json(json!({ "personas": due, "serverTime": now })))
}

fn due_json(due: DuePersona) -> Value {
    let DuePersona { user_id, email, descriptor, last_active_at } = due;
    json!({
        "userId": user_id,
        "email": email,
        "archetype": descriptor.archetype,
        "systemPrompt": descriptor.system_prompt,
        "moduleMix": descriptor.module_mix,
        "tickCadence": descriptor.cadence,
        "lastActiveAt": last_active_at,
    })
}

async fn claim(
    _: ServiceCaller,
    State(personas): State<Personas>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Problem> {
    let request = ClaimRequest::read(&body)?;
    let (claims, now) = personas.claim(&request).await?;
    let claims: Vec<Value> = claims.into_iter().map(claim_json).collect();
    Ok(Json(json!({ "claims": claims, "serverTime": now })))
}

fn claim_json(claim: Claim) -> Value {
    let descriptor = claim.descriptor;
    let journal: Vec<Value> =
        claim.journal.into_iter().map(|entry| json!({ "seq": entry.seq, "entry": entry.entry })).collect();
    json!({
        "tickId": claim.tick,
        "epoch": claim.epoch,
        "persona": {
            "userId": claim.persona,
            "email": claim.email,
            "name": claim.name,
            "archetype": descriptor.archetype,
            "systemPrompt": descriptor.system_prompt,
            "moduleMix": descriptor.module_mix,
            "tickCadence": descriptor.cadence,
            "locale": claim.locale,
            "timezone": descriptor.timezone.as_deref().unwrap_or("UTC"),
            "behaviour": descriptor.behaviour,
            "target": descriptor.target,
            "tools": descriptor.tools,
            "lastActiveAt": claim.last_active_at,
        },
        "attempt": claim.attempt,
        "leaseUntil": claim.lease_until,
        "resumed": claim.resumed,
        "journal": journal,
    })
}

async fn heartbeat(
    _: ServiceCaller,
    State(personas): State<Personas>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Problem> {
    let beat = personas.heartbeat(&Heartbeat::read(&body)?).await?;
    Ok(Json(json!({ "held": beat.held, "lost": beat.lost })))
}

async fn heartbeat_one(
    _: ServiceCaller,
    State(personas): State<Personas>,
    PathOf(tick): PathOf<TickId>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Problem> {
    let beat = Heartbeat::read_one(tick, &body)?;
    if personas.heartbeat(&beat).await?.lost.is_empty() {
        Ok(Json(json!({ "ok": true, "leaseMs": beat.lease_ms })))
    } else {
        Err(Error::StaleEpoch.into())
    }
}

async fn journal(
    _: ServiceCaller,
    State(personas): State<Personas>,
    PathOf(tick): PathOf<TickId>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Problem> {
    let journaled = personas.journal(&tick, &Journal::read(&body)?).await?;
    let mut answer = json!(journaled);
    answer["ok"] = json!(true);
    Ok(Json(answer))
}

/// A lease in a query, whose values are text.
#[derive(Debug, Deserialize)]
struct LeaseQuery {
    owner: Option<String>,
    epoch: Option<String>,
}

async fn memory(
    _: ServiceCaller,
    State(personas): State<Personas>,
    PathOf(tick): PathOf<TickId>,
    QueryOf(query): QueryOf<LeaseQuery>,
) -> Result<Json<Memory>, Problem> {
    let mut faults = Vec::new();
    if query.owner.is_none() {
        faults.push(FieldError::new("owner", "is missing"));
    }
    let epoch = query.epoch.and_then(|epoch| epoch.parse().ok());
    if epoch.is_none() {
        faults.push(FieldError::new("epoch", "expected the epoch of the claim"));
    }
    match query.owner.zip(epoch) {
        Some((owner, epoch)) => Ok(Json(personas.memory(&tick, &Lease { owner, epoch }).await?)),
        None => Err(Problem::validation(faults)),
    }
}

async fn finish(
    _: ServiceCaller,
    State(personas): State<Personas>,
    PathOf(tick): PathOf<TickId>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Problem> {
    let finished = personas.finish(&tick, &Finish::read(&body)?).await?;
    Ok(Json(json!({
        "ok": true,
        "written": { "actions": finished.actions, "feedback": finished.feedback },
        "nextDueAt": finished.next_due_at,
    })))
}

async fn release(
    _: ServiceCaller,
    State(personas): State<Personas>,
    PathOf(tick): PathOf<TickId>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Problem> {
    let mut faults = Vec::new();
    let lease = Fields::of(&body, "", &mut faults).and_then(|mut fields| Lease::read(&mut fields));
    let lease = lease.ok_or(Error::Invalid(faults))?;
    personas.release(&tick, &lease).await?;
    Ok(Json(json!({ "ok": true })))
}

/// The body of a batch, read only after the persona is known: 404 comes before 400.
async fn batch(personas: &Personas, persona: UserId, body: &[u8]) -> Result<Value, Problem> {
    if !personas.exists(persona).await? {
        return Err(Error::UnknownPersona.into());
    }
    Json::<Value>::read(body).map(|Json(body)| body)
}

fn written(written: Written) -> Json<Value> {
    Json(json!({ "ok": true, "written": written.written, "received": written.received }))
}

async fn actions(
    _: ServiceCaller,
    State(personas): State<Personas>,
    PathOf(persona): PathOf<UserId>,
    RawBody(body): RawBody,
) -> Result<Json<Value>, Problem> {
    let body = batch(&personas, persona, &body).await?;
    Ok(written(personas.record_actions(persona, &body).await?))
}

async fn feedback(
    _: ServiceCaller,
    State(personas): State<Personas>,
    PathOf(persona): PathOf<UserId>,
    RawBody(body): RawBody,
) -> Result<Json<Value>, Problem> {
    let body = batch(&personas, persona, &body).await?;
    Ok(written(personas.record_feedback(persona, &body).await?))
}
