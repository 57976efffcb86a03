//! The addresses of the doors, what stands before them, and how their errors leave.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, http::HeaderValue};
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use mana_registry::{Membership, ToolError};
use mana_store::space;
use mana_token::{Principal, TokenError};
use mana_types::{RequestId, SpaceId, input_hash};
use mana_web::{Json, Problem, bearer_token};
use rmcp::ServerHandler;
use serde_json::{Value, json};

use crate::audit::{Door, Opening, Outcome};
use crate::call::Visit;
use crate::choice::Choice;
use crate::error::Error;
use crate::mcp::{Handler, Sessions};
use crate::{Gateway, mcp, origin, rest};

/// Where protected resources describe themselves (RFC 9728).
const METADATA: &str = "/.well-known/oauth-protected-resource";

/// The one scope that a token of this release has.
const SCOPE: &str = "mana";

/// Everything that the gateway serves.
pub fn router(gateway: Gateway) -> Router {
    let tools = Router::new()
        .route("/api/v1/tools", get(rest::list))
        .route("/api/v1/tools/{name}", post(rest::call))
        .route_layer(from_fn_with_state(gateway.clone(), enter))
        .route("/api/v1/audit", get(rest::audit))
        .route("/openapi.json", get(openapi))
        .with_state(gateway.clone())
        .layer(origin::cors(gateway.options()));
    let handler = Handler::new(gateway.clone());
    mount(gateway, handler, Sessions::None).merge(tools)
}

/// An MCP endpoint for this handler, at `/mcp` and `/mcp/s/{space}`, behind the layers that production has: CORS, host
/// and origin, bearer, membership, body limit. The production handler and the conformance fixtures both come through here.
pub fn mount<H: ServerHandler + Clone>(gateway: Gateway, handler: H, sessions: Sessions) -> Router {
    let endpoint = mcp::endpoint(&gateway, handler, sessions);
    let cors = origin::cors(gateway.options());
    Router::new()
        .route("/mcp", endpoint.clone())
        .route("/mcp/s/{space}", endpoint)
        .route_layer(from_fn_with_state(gateway.clone(), enter))
        .route(METADATA, get(root_metadata))
        .route("/.well-known/oauth-protected-resource/{*resource}", get(metadata))
        .with_state(gateway)
        .layer(cors)
}

/// Lets a request in: who calls, in which space, with which tools. What it found out travels on as `Arc<Visit>`.
async fn enter(State(gateway): State<Gateway>, mut request: Request, next: Next) -> Response {
    let principal = match authenticated(&gateway, request.headers()).await {
        Ok(principal) => principal,
        Err(error) => return challenge(&gateway, &error, request.uri().path()),
    };
    let named = named_space(&request);
    let membership = match membership(&gateway, &principal, named).await {
        Ok(membership) => membership,
        Err(error @ Error::NoSuchSpace) => {
            let noted = denied(&gateway, &principal, request).await;
            return problem(noted.as_ref().err().unwrap_or(&error)).into_response();
        }
        Err(error) => return problem(&error).into_response(),
    };
    let choice = match Choice::read(request.uri().query(), request.headers(), gateway.registry()) {
        Ok(choice) => choice,
        Err(error) => return problem(&error).into_response(),
    };
    let visit = Visit {
        principal,
        membership,
        choice,
        request: request_id(&gateway, &request),
        agent: agent(request.headers()),
    };
    request.extensions_mut().insert(Arc::new(visit));
    next.run(request).await
}

async fn authenticated(gateway: &Gateway, headers: &HeaderMap) -> Result<Arc<Principal>, Error> {
    let token = bearer_token(headers).ok_or(Error::NoToken)?;
    Ok(gateway.verifier().verify(token).await?)
}

/// The space that a request names, in its path or in `X-Mana-Space`.
fn named_space(request: &Request) -> Option<Result<SpaceId, Error>> {
    let in_path = request.uri().path().strip_prefix("/mcp/s/");
    let in_header = request.headers().get("x-mana-space").map(|value| value.to_str().unwrap_or_default());
    in_path.or(in_header).map(|text| text.parse().map_err(|_| Error::NoSuchSpace))
}

/// The caller's membership of the named space, else of his own, as it is now.
async fn membership(
    gateway: &Gateway,
    principal: &Principal,
    named: Option<Result<SpaceId, Error>>,
) -> Result<Membership, Error> {
    let found = match named {
        Some(space) => space::membership(gateway.db(), principal.user_id, space?).await?,
        None => space::personal(gateway.db(), principal.user_id).await?,
    };
    found.ok_or(Error::NoSuchSpace)
}

fn request_id(gateway: &Gateway, request: &Request) -> RequestId {
    let given = request.extensions().get::<RequestId>().copied();
    given.unwrap_or_else(|| RequestId::new(&**gateway.clock(), &**gateway.random()))
}

fn agent(headers: &HeaderMap) -> Option<String> {
    headers.get(USER_AGENT)?.to_str().ok().map(str::to_owned)
}

/// Writes down a tool call that was turned away because its caller is no member of the space.
async fn denied(gateway: &Gateway, principal: &Principal, request: Request) -> Result<(), Error> {
    let request_id = request_id(gateway, &request);
    let (parts, body) = request.into_parts();
    let in_path = parts.uri.path().strip_prefix("/api/v1/tools/").map(str::to_owned);
    let Ok(body) = mcp::read(body, gateway.options().body_limit).await else { return Ok(()) };
    let body = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    let (door, tool, input) = match in_path {
        Some(tool) => (Door::Rest, tool, body),
        None if body["method"] == "tools/call" => {
            let name = body["params"]["name"].as_str().unwrap_or_default().to_owned();
            (Door::Mcp, name, body["params"]["arguments"].clone())
        }
        None => return Ok(()),
    };
    let pending = gateway
        .trail()
        .open(Opening {
            user: principal.user_id,
            space: None,
            door,
            client: agent(&parts.headers).as_deref(),
            correlation: None,
            tool: &tool,
            input_hash: input_hash(&input),
            request: request_id,
        })
        .await?;
    pending.close(Outcome::Denied, Some("not-a-member".into()));
    Ok(())
}

/// 401 with where to get a token (RFC 9728, RFC 6750).
fn challenge(gateway: &Gateway, error: &Error, path: &str) -> Response {
    let resource = if path.starts_with("/mcp") { path } else { "" };
    let metadata = format!("{}{METADATA}{resource}", gateway.options().public_url);
    let reason = match error {
        Error::NoToken => String::new(),
        _ => format!("error=\"invalid_token\", error_description=\"{error}\", "),
    };
    let header = format!("Bearer {reason}resource_metadata=\"{metadata}\", scope=\"{SCOPE}\"");
    let problem = problem(error);
    match HeaderValue::from_str(&header) {
        Ok(header) if problem.status() == StatusCode::UNAUTHORIZED => problem.header(WWW_AUTHENTICATE, header),
        _ => problem,
    }
    .into_response()
}

async fn root_metadata(State(gateway): State<Gateway>) -> Json<Value> {
    Json(described(&gateway, "/mcp"))
}

/// What stands at `…/oauth-protected-resource/{resource}`: only for resources that exist.
async fn metadata(State(gateway): State<Gateway>, Path(resource): Path<String>) -> Result<Json<Value>, Problem> {
    let exists =
        resource == "mcp" || resource.strip_prefix("mcp/s/").is_some_and(|space| space.parse::<SpaceId>().is_ok());
    if exists { Ok(Json(described(&gateway, &format!("/{resource}")))) } else { Err(Problem::not_found("resource")) }
}

fn described(gateway: &Gateway, path: &str) -> Value {
    let options = gateway.options();
    json!({
        "resource": format!("{}{path}", options.public_url),
        "authorization_servers": [options.issuer],
        "bearer_methods_supported": ["header"],
        "scopes_supported": [SCOPE],
        "resource_name": "Mana",
    })
}

async fn openapi(State(gateway): State<Gateway>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], gateway.openapi_document().clone())
}

/// The one place where an error gets its status.
pub(crate) fn problem(error: &Error) -> Problem {
    match error {
        Error::NoToken => Problem::unauthorized("UNAUTHORIZED", error.to_string()),
        Error::Token(TokenError::Expired) => Problem::unauthorized("TOKEN_EXPIRED", error.to_string()),
        Error::Token(TokenError::Invalid) => Problem::unauthorized("TOKEN_INVALID", error.to_string()),
        Error::Token(TokenError::KeysUnavailable(_)) | Error::AuditUnavailable => {
            Problem::unavailable(error.to_string())
        }
        Error::NoSuchSpace => Problem::not_found("space"),
        Error::Choice(faults) => Problem::validation(faults.clone()),
        Error::UnknownTool { near, .. } => {
            let problem = Problem::new(StatusCode::NOT_FOUND, "UNKNOWN_TOOL", error.to_string());
            match near {
                Some(near) => problem.with("didYouMean", json!(near)),
                None => problem,
            }
        }
        Error::Store(cause) if cause.is_transient() => Problem::unavailable("the data cannot be reached at the moment"),
        Error::Store(_) | Error::Panicked(_) => Problem::internal(error),
        Error::Tool(error) => tool_problem(error),
    }
}

fn tool_problem(error: &ToolError) -> Problem {
    let failure = error.failure();
    let (status, code) = match error {
        ToolError::NotFound { .. } => (StatusCode::NOT_FOUND, "NOT_FOUND"),
        ToolError::Invalid(faults) => {
            return Problem::validation(faults.clone()).with("hint", json!(failure.hint));
        }
        ToolError::Conflict { .. } => (StatusCode::CONFLICT, "CONFLICT"),
        ToolError::Rule { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "RULE"),
        ToolError::Denied { retry_after_ms: Some(_), .. } => (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_EXCEEDED"),
        ToolError::Denied { .. } => (StatusCode::FORBIDDEN, "FORBIDDEN"),
        ToolError::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_REUSED"),
        ToolError::Deadline(_) => (StatusCode::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED"),
        ToolError::Store(cause) if cause.is_transient() => {
            return Problem::unavailable("the data cannot be reached at the moment");
        }
        ToolError::Unavailable(why) => return Problem::unavailable(why.clone()),
        ToolError::ReadOnly | ToolError::Media(_) | ToolError::Store(_) | ToolError::Output(_) => {
            return Problem::internal(error);
        }
    };
    let mut problem = Problem::new(status, code, failure.message)
        .with("reason", json!(failure.code))
        .with("retryable", json!(failure.retryable));
    if let Some(hint) = failure.hint {
        problem = problem.with("hint", json!(hint));
    }
    if let Some(millis) = failure.retry_after_ms {
        let seconds = HeaderValue::from(millis.div_ceil(1_000));
        problem = problem.with("retryAfterMs", json!(millis)).header(RETRY_AFTER, seconds);
    }
    problem
}
