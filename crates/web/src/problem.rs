//! Problem documents (RFC 9457): the one shape of every error that leaves over HTTP.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use mana_types::FieldError;
use serde_json::{Map, Value, json};

use crate::request::current_request_id;

/// An error as a client reads it: a status, a stable `code`, and a sentence that says what to do next.
///
/// Boxed, because it is the error of nearly every handler and seldom happens.
#[derive(Debug, Clone)]
pub struct Problem(Box<Document>);

#[derive(Debug, Clone)]
struct Document {
    status: StatusCode,
    code: &'static str,
    detail: String,
    members: Map<String, Value>,
    headers: HeaderMap,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self(Box::new(Document { status, code, detail, members: Map::new(), headers: HeaderMap::new() }))
    }

    /// 400 `VALIDATION`, naming every wrong field.
    #[expect(clippy::needless_pass_by_value, reason = "callers are done with their list of faults")]
    pub fn validation(fields: Vec<FieldError>) -> Self {
        let detail = match &*fields {
            [only] if only.field.is_empty() => only.message.clone(),
            [only] => format!("`{}`: {}", only.field, only.message),
            many => format!("{} fields are wrong, see `details`", many.len()),
        };
        Self::new(StatusCode::BAD_REQUEST, "VALIDATION", detail).with("details", json!(fields))
    }

    /// 404 `NOT_FOUND`: it does not exist, or the caller may not know that it does.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", format!("there is no such {what}"))
    }

    /// 403 `FORBIDDEN`.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", detail)
    }

    /// 401 with the challenge of RFC 6750.
    pub fn unauthorized(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail)
            .header(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 503 `SERVICE_UNAVAILABLE`: the same request may work in a moment.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", detail)
            .header(http::header::RETRY_AFTER, HeaderValue::from_static("2"))
    }

    /// 500 `INTERNAL`: the log gets the error with its causes, the client only the request's id to quote.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = %causes(error), "web.internal_error");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL",
            "something went wrong on our side, please report it with the `requestId`",
        )
    }

    /// Adds a member to the document.
    pub fn with(mut self, member: &str, value: Value) -> Self {
        self.0.members.insert(member.to_owned(), value);
        self
    }

    /// Adds a header to the answer.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.0.code
    }
}

/// An error and all its causes on one line, for a log.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        line.push_str(": ");
        line.push_str(&next.to_string());
        cause = next.source();
    }
    line
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = *self.0;
        let mut body = json!({
            "type": "about:blank",
            "title": document.status.canonical_reason().unwrap_or("Error"),
            "status": document.status.as_u16(),
            "code": document.code,
            "detail": document.detail,
            "error": document.detail, // what older clients read
        });
        if let Value::Object(body) = &mut body {
            body.extend(document.members);
            if let Some(id) = current_request_id() {
                body.insert("requestId".into(), json!(id));
            }
        }
        let content_type = (CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        (document.status, document.headers, [content_type], body.to_string()).into_response()
    }
}
