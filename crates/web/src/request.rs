//! Every request has an id, one line in the log, and an answer even if its handler panics.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode};
use mana_types::{Clock, Random, RequestId};

use crate::Problem;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of the request that is being answered.
pub fn current_request_id() -> Option<RequestId> {
    CURRENT.try_with(|id| *id).ok()
}

/// What the request layer needs.
#[derive(Debug, Clone)]
pub struct RequestScope {
    /// For the time in a request's id.
    pub clock: Arc<dyn Clock>,
    /// For its random part.
    pub random: Arc<dyn Random>,
}

/// The outermost layer: `axum::middleware::from_fn_with_state(scope, request_layer)`.
///
/// Gives the request an id (answered as `X-Request-Id`), turns a panic into a problem document, and writes one line.
/// Neither the query nor a body is logged: both may hold what is nobody's business.
pub async fn request_layer(State(scope): State<RequestScope>, mut request: Request, next: Next) -> Response {
    let id = RequestId::new(&*scope.clock, &*scope.random);
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route =
        request.extensions().get::<MatchedPath>().map_or_else(|| "unmatched".into(), |path| path.as_str().to_owned());
    request.extensions_mut().insert(id);
    let answered = CURRENT.scope(id, async {
        match futures_catch(next.run(request)).await {
            Ok(response) => response,
            Err(what) => {
                tracing::error!(panic = %what, "web.handler_panicked");
                Problem::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "INTERNAL",
                    "something went wrong on our side, please report it with the `requestId`",
                )
                .into_response()
            }
        }
    });
    let mut response = answered.await;
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert("x-request-id", value);
    }
    let took = started.elapsed();
    let status = response.status();
    metrics::counter!("mana_http_requests_total", "method" => known(&method), "route" => route.clone(), "status" => status.as_u16().to_string()).increment(1);
    metrics::histogram!("mana_http_request_duration_seconds", "route" => route).record(took.as_secs_f64());
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(request.id = %id, %method, path, status = status.as_u16(), duration_ms, "http.request");
    response
}

/// The method for a metric: anybody can invent methods, and each would be a series of its own.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// Runs a future to its end or to its panic.
async fn futures_catch(future: impl Future<Output = Response>) -> Result<Response, String> {
    use futures::FutureExt;
    std::panic::AssertUnwindSafe(future).catch_unwind().await.map_err(|panic| {
        panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without words".into())
    })
}
