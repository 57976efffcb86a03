//! Bodies, queries and path parameters, read into types; what does not fit is answered with the place and the reason.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{FieldError, Problem};

/// A JSON body, in or out.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let RawBody(body) = RawBody::from_request(request, state).await?;
        Self::read(&body)
    }
}

/// A body as it came, for where something is to be looked at before it is read with [`Json::read`].
#[derive(Debug, Clone)]
pub struct RawBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Bytes::from_request(request, state).await.map(Self).map_err(|rejection| unreadable(&rejection))
    }
}

fn unreadable(rejection: &BytesRejection) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", "the body is larger than this route takes")
    } else {
        Problem::validation(vec![FieldError::new("", "the body could not be read to its end")])
    }
}

impl<T: DeserializeOwned> Json<T> {
    /// Reads a body that is at hand.
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        if body.is_empty() {
            return Err(Problem::validation(vec![FieldError::new("", "the body is empty, expected JSON")]));
        }
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let path = error.path().to_string();
            // Where the text is no JSON, the path says only how far it was read.
            let field = if path == "." || !error.inner().is_data() { String::new() } else { path };
            Problem::validation(vec![FieldError::new(field, plain(&error.into_inner()))])
        })?;
        deserializer
            .end()
            .map_err(|_| Problem::validation(vec![FieldError::new("", "there is more after the end of the JSON")]))?;
        Ok(Self(value))
    }
}

/// What is wrong, in our words: serde's speak of Rust.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if !error.is_data() {
        let (what, place) = text.rsplit_once(" at ").unwrap_or((&text, "its start"));
        return match what {
            "recursion limit exceeded" => format!("the body is nested too deeply, at {place}"),
            _ => format!("the body is not valid JSON in UTF-8, look at {place}"),
        };
    }
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(before, _)| before);
    let Some((found, expected)) = text.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected "))
    else {
        return text.to_owned();
    };
    format!("expected {}, found {}", kind(expected), kind(found))
}

/// A kind of value as JSON knows it.
fn kind(serde: &str) -> &str {
    match serde.split(' ').next().unwrap_or_default() {
        "a" if serde == "a map" => "an object",
        "map" | "struct" => "an object",
        "sequence" => "a list",
        "string" => "a text",
        "integer" | "floating" => "a number",
        "boolean" => "true or false",
        _ => serde,
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response(),
            Err(error) => Problem::internal(&error).into_response(),
        }
    }
}

/// The query of the address, read into a type.
#[derive(Debug, Clone, Copy)]
pub struct QueryOf<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let wrong = |reason: &str| Problem::validation(vec![FieldError::new("query", reason)]);
        // No text of a database holds it, so nothing can be found by it; PostgreSQL calls it an error.
        if parts.uri.query().is_some_and(|query| query.contains("%00")) {
            return Err(wrong("the character U+0000 has no place here"));
        }
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(rejection) => {
                let text = rejection.body_text();
                let reason = text.split_once(": ").map_or(text.as_str(), |(_, reason)| reason);
                Err(wrong(&number_in_words(reason)))
            }
        }
    }
}

/// `limit: invalid digit found in string` as a reader of the query understands it.
fn number_in_words(reason: &str) -> String {
    match reason.split_once(": ") {
        Some((field, why)) if why.contains("digit") || why.contains("number too") || why.contains("empty string") => {
            format!("`{field}`: expected a whole number in range")
        }
        _ => reason.to_owned(),
    }
}

/// A path parameter, read into a type. What is no id names nothing, so it answers 404.
#[derive(Debug, Clone, Copy)]
pub struct PathOf<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Path::<T>::from_request_parts(parts, state)
            .await
            .map(|Path(value)| Self(value))
            .map_err(|_| Problem::not_found("resource"))
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::extract::DefaultBodyLimit;
    use axum::routing::{get, post};
    use serde::Deserialize;
    use serde_json::{Map, Value};
    use tower::ServiceExt;

    use super::*;

    #[derive(Deserialize)]
    struct Which {
        limit: Option<u32>,
    }

    async fn ask(request: Request) -> (StatusCode, Value) {
        let router = Router::new()
            .route("/read", post(async |Json(_): Json<Map<String, Value>>| "read"))
            .route("/raw", post(async |RawBody(body): RawBody| body.len().to_string()))
            .route("/find", get(async |QueryOf(which): QueryOf<Which>| format!("{:?}", which.limit)))
            .layer(DefaultBodyLimit::max(1_000));
        let answer = router.oneshot(request).await.expect("an answer");
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.expect("a body");
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn send(path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
        ask(Request::post(path).body(body.into()).expect("a request")).await
    }

    #[tokio::test]
    async fn a_body_that_is_no_object_is_told_in_words_of_json() {
        for (body, said) in [
            (&b"[]"[..], "expected an object, found a list"),
            (b"\"x\"", "expected an object, found a text"),
            (b"1.5", "expected an object, found a number"),
            (b"{\"a\":", "the body is not valid JSON in UTF-8, look at line 1 column 5"),
            (b"{\"a\":\"\xff\"}", "the body is not valid JSON in UTF-8, look at line 1 column 7"),
            (&[b'['; 400], "expected an object, found a list"),
            (&b"{\"a\":".repeat(150), "the body is nested too deeply, at line 1 column 636"),
            (b"", "the body is empty, expected JSON"),
        ] {
            let (status, answer) = send("/read", body.to_vec()).await;
            assert_eq!((status, &answer["code"]), (StatusCode::BAD_REQUEST, &Value::from("VALIDATION")));
            assert_eq!((&answer["error"], &answer["details"][0]["field"]), (&Value::from(said), &Value::from("")));
        }
    }

    #[tokio::test]
    async fn a_large_body_is_a_problem_document_however_it_is_read() {
        for path in ["/read", "/raw"] {
            let (status, answer) = send(path, vec![b'x'; 1_001]).await;
            assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
            assert_eq!(answer["code"], "PAYLOAD_TOO_LARGE", "{path}");
        }
    }

    #[tokio::test]
    async fn a_query_is_refused_in_plain_words() {
        for (query, said) in [
            ("limit=x", "`query`: `limit`: expected a whole number in range"),
            ("limit=-1", "`query`: `limit`: expected a whole number in range"),
            ("limit=99999999999", "`query`: `limit`: expected a whole number in range"),
            ("limit=", "`query`: `limit`: expected a whole number in range"),
            ("name=a%00b", "`query`: the character U+0000 has no place here"),
        ] {
            let request = Request::get(format!("/find?{query}")).body(Body::empty()).expect("a request");
            let (status, answer) = ask(request).await;
            assert_eq!((status, &answer["error"]), (StatusCode::BAD_REQUEST, &Value::from(said)), "{query}");
        }
    }
}
