//! `/health` and the two diagnostic routes, which answer callers on this machine only, and never in production.
//!
//! They ask for no key, so who is on this machine is looked at closely: a page in a browser here is not.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mana_web::{Json, Problem, QueryOf, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Error;
use crate::schedule::{Health, Runner};

/// Everything a runner answers when it has an address of its own: `/health`, `/diag/login`, `/diag/tick`.
pub fn router(runner: Runner) -> Router {
    Router::new().route("/health", get(health)).with_state(runner.clone()).merge(diagnostics(runner))
}

/// The diagnostic routes alone, for where `/health` is answered by somebody else with [`Runner::health`].
pub fn diagnostics(runner: Runner) -> Router {
    Router::new()
        .route("/diag/login", get(login))
        .route("/diag/tick", post(tick))
        .layer(from_fn_with_state(runner.clone(), guard))
        .with_state(runner)
}

async fn health(State(runner): State<Runner>) -> Json<Health> {
    Json(runner.health())
}

/// Nobody from elsewhere, and nobody at all in production.
async fn guard(State(runner): State<Runner>, request: Request, next: Next) -> Response {
    if runner.options().production {
        return Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND", "diagnostics disabled in production").into_response();
    }
    let caller = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    if !caller.is_some_and(|address| address.to_canonical().is_loopback()) || speaks_for_another(request.headers()) {
        return Problem::forbidden("diagnostics answer callers on the same machine only").into_response();
    }
    next.run(request).await
}

/// Whether something on this machine only passes the request on: a proxy for a caller elsewhere, or a browser for a page
/// from elsewhere, be it by its origin or by a name of its own that leads here (DNS rebinding).
fn speaks_for_another(headers: &HeaderMap) -> bool {
    let passed_on = ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name));
    let foreign_page = headers.get(header::ORIGIN).is_some_and(|origin| {
        let authority =
            origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
        !authority.is_some_and(names_this_machine)
    });
    let foreign_name = headers.get(header::HOST).is_some_and(|host| !host.to_str().is_ok_and(is_plain));
    passed_on || foreign_page || foreign_name
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.split(':').next().unwrap_or(authority),
    }
}

fn names_this_machine(authority: &str) -> bool {
    let host = host_of(authority);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// An address, or a name without a dot: nobody outside can have such a name lead here.
fn is_plain(authority: &str) -> bool {
    let host = host_of(authority);
    !host.contains('.') || host.parse::<IpAddr>().is_ok()
}

#[derive(Deserialize)]
struct LoginQuery {
    #[serde(default)]
    email: String,
}

async fn login(State(runner): State<Runner>, QueryOf(query): QueryOf<LoginQuery>) -> Result<Json<Value>, Problem> {
    if query.email.is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "VALIDATION", "email query required"));
    }
    let found = runner.check_login(&query.email).await?;
    Ok(Json(json!({ "ok": true, "email": found.email, "userId": found.user_id, "spaceId": found.space_id })))
}

async fn tick(State(runner): State<Runner>) -> Result<Json<Value>, Problem> {
    let result = runner.pass().await?;
    Ok(Json(json!({ "ok": true, "result": result })))
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (status, code) = match &error {
            Error::PassRunning => (StatusCode::CONFLICT, "PASS_RUNNING"),
            Error::Disabled(_) => (StatusCode::INTERNAL_SERVER_ERROR, "RUNNER_DISABLED"),
            Error::Unreachable { .. } | Error::Refused { .. } | Error::Unexpected { .. } | Error::Client(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "DIAGNOSTIC_FAILED")
            }
        };
        Self::new(status, code, error.to_string()).with("ok", Value::Bool(false))
    }
}
