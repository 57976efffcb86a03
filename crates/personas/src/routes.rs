//! The HTTP interface.

mod admin;
mod internal;
mod visits;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use mana_token::Verifier;
use mana_web::{FieldError, Problem, ServiceKeys, StatusCode};
use serde_json::json;

use crate::{Error, Personas};

/// The largest body: a batch of 500 actions with long errors, or a journal with long results.
const LARGEST_BODY: usize = 8 * 1024 * 1024;

#[derive(Debug, Clone)]
struct App {
    personas: Personas,
    verifier: Arc<Verifier>,
    keys: ServiceKeys,
}

impl FromRef<App> for Personas {
    fn from_ref(app: &App) -> Self {
        app.personas.clone()
    }
}

impl FromRef<App> for Arc<Verifier> {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.verifier)
    }
}

impl FromRef<App> for ServiceKeys {
    fn from_ref(app: &App) -> Self {
        app.keys.clone()
    }
}

/// The routes for administrators and for programs of this installation.
pub fn router(personas: Personas, verifier: Arc<Verifier>, keys: ServiceKeys) -> Router {
    Router::new()
        .merge(admin::routes())
        .merge(internal::routes())
        .merge(visits::routes())
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(App { personas, verifier, keys })
}

/// A value of a query, which is text there; a fault is noted.
fn read_query<T: std::str::FromStr>(name: &str, text: Option<&str>, faults: &mut Vec<FieldError>) -> Option<T>
where
    T::Err: std::fmt::Display,
{
    match text?.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            faults.push(FieldError::new(name, error.to_string()));
            None
        }
    }
}

/// How many rows a list may have; a fault is noted.
fn read_limit(text: Option<&str>, usual: u32, faults: &mut Vec<FieldError>) -> u32 {
    match text.map(str::parse) {
        None => usual,
        Some(Ok(limit @ 1..)) => u32::min(limit, 500),
        Some(_) => {
            faults.push(FieldError::new("limit", "expected a whole number from 1 to 500"));
            usual
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::UnknownPersona => Self::not_found("persona"),
            Error::UnknownTick => Self::not_found("visit"),
            Error::Invalid(faults) => Self::validation(faults),
            Error::NotAPersona => Self::new(StatusCode::BAD_REQUEST, "NOT_A_PERSONA", detail.clone())
                .with("details", json!([FieldError::new("id", detail)])),
            Error::ForeignTick(tick) => {
                Self::new(StatusCode::CONFLICT, "FOREIGN_TICK", detail).with("tickId", json!(tick))
            }
            Error::StaleEpoch => Self::new(StatusCode::CONFLICT, "STALE_EPOCH", detail),
            Error::NotRunnable(state) => {
                Self::new(StatusCode::CONFLICT, "NOT_RUNNABLE", detail).with("state", json!(state))
            }
            Error::Identity(error) => error.into(),
            Error::Store(ref cause) if cause.is_transient() => {
                tracing::warn!(error = %cause, "personas.store_unavailable");
                Self::unavailable("personas cannot be reached at the moment, try again")
            }
            Error::Store(_) => Self::internal(&error),
        }
    }
}
