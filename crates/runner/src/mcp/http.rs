//! MCP over HTTP, as the protocol's client sends it: within limits, and without an address in any error.
//!
//! The client library brings an adapter of its own, but one that reads an answer of any size, quotes addresses with
//! whatever secrets their query holds, and keeps a second stream open for news that nobody here waits for.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use futures::stream::{BoxStream, try_unfold};
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use reqwest::{RequestBuilder, Response};
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, ErrorData, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use sha2::{Digest, Sha256};
use sse_stream::{Sse, SseStream};

/// How large one answer may be, in bytes. Pictures come as base64.
const ANSWER: usize = 32 * 1024 * 1024;

/// How much of a refusal is read, in bytes.
const REFUSAL: usize = 64 * 1024;

/// How many characters of a refusal are quoted.
const QUOTED: usize = 300;

const SESSION: &str = "mcp-session-id";
const LAST_EVENT: &str = "last-event-id";
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// Why a request got no answer that the protocol knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HttpError {
    #[error("{0}")]
    Unreachable(String),
    #[error("HTTP 401 Unauthorized")]
    Unauthorized,
    #[error("HTTP 403 Forbidden{0}")]
    Forbidden(String),
    #[error("HTTP 429 Too Many Requests")]
    Busy { retry_after: Option<String> },
    #[error("HTTP {status}{quoted}")]
    Refused { status: StatusCode, quoted: String },
    #[error("the answer is larger than {} MiB", ANSWER / 1024 / 1024)]
    TooLarge,
}

type Failure = StreamableHttpError<HttpError>;

/// An HTTP client that speaks the protocol.
#[derive(Debug, Clone)]
pub(super) struct Http(pub(super) reqwest::Client);

impl StreamableHttpClient for Http {
    type Error = HttpError;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failure> {
        let in_session = session_id.is_some();
        let request = self.0.post(&*uri).json(&message);
        let response = send(request, session_id, auth_header, custom_headers).await?;
        let status = response.status();
        match status {
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT => return Ok(StreamableHttpPostResponse::Accepted),
            StatusCode::NOT_FOUND if in_session => return Err(StreamableHttpError::SessionExpired),
            status if !status.is_success() => return refused(response, &message, in_session).await,
            _ => {}
        }
        let session = header(&response, SESSION);
        let kind = header(&response, CONTENT_TYPE.as_str()).unwrap_or_default();
        if kind.starts_with(EVENTS) {
            return Ok(StreamableHttpPostResponse::Sse(events(response), session));
        }
        let body = body(response, ANSWER).await?;
        match read(&message, &body) {
            Ok(answer) => Ok(StreamableHttpPostResponse::Json(answer, session)),
            // Nobody waits for an answer to this.
            Err(_) if !matches!(message, ClientJsonRpcMessage::Request(_)) => Ok(StreamableHttpPostResponse::Accepted),
            Err(_) if !kind.starts_with(JSON) => Err(StreamableHttpError::UnexpectedContentType(Some(kind))),
            Err(error) => Err(StreamableHttpError::Deserialize(error)),
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failure> {
        // Whether the server keeps it or not is its affair: to us it is over.
        send(self.0.delete(&*uri), Some(session_id), auth_header, custom_headers).await.map(drop)
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Failure> {
        // Only to go on with the answer to a call; a stream of news would be one more connection for each visit.
        let Some(last) = last_event_id else { return Err(StreamableHttpError::ServerDoesNotSupportSse) };
        let request = self.0.get(&*uri).header(LAST_EVENT, last);
        let response = send(request, session_id, auth_header, custom_headers).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(StreamableHttpError::Client(refusal(&response, String::new())));
        }
        Ok(events(response))
    }
}

/// Lists of tools as they were read, by the hash of their bytes. Everybody who visits a server is told the same, and
/// reading it is most of what a visit costs here.
static LISTS: Mutex<VecDeque<([u8; 32], Box<ServerJsonRpcMessage>)>> = Mutex::new(VecDeque::new());

/// How many lists are kept, and from how many bytes on it is worth it.
const LISTS_KEPT: usize = 8;
const LARGE_LIST: usize = 16 * 1024;

fn read(message: &ClientJsonRpcMessage, body: &[u8]) -> serde_json::Result<ServerJsonRpcMessage> {
    let is_list = matches!(message, ClientJsonRpcMessage::Request(asked) if matches!(asked.request, ClientRequest::ListToolsRequest(_)));
    if !is_list || body.len() < LARGE_LIST {
        return serde_json::from_slice(body);
    }
    let hash: [u8; 32] = Sha256::digest(body).into();
    let lists = || LISTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, known)) = lists().iter().find(|(of, _)| *of == hash) {
        return Ok((**known).clone());
    }
    let answer: ServerJsonRpcMessage = serde_json::from_slice(body)?;
    let mut lists = lists();
    if lists.len() >= LISTS_KEPT {
        lists.pop_front();
    }
    lists.push_back((hash, Box::new(answer.clone())));
    Ok(answer)
}

async fn send(
    mut request: RequestBuilder,
    session_id: Option<Arc<str>>,
    auth_header: Option<String>,
    custom_headers: HashMap<HeaderName, HeaderValue>,
) -> Result<Response, Failure> {
    request = request.header(ACCEPT, format!("{EVENTS}, {JSON}"));
    if let Some(token) = auth_header {
        request = request.bearer_auth(token);
    }
    for (name, value) in custom_headers {
        request = request.header(name, value);
    }
    if let Some(session) = session_id {
        request = request.header(SESSION, &*session);
    }
    request.send().await.map_err(unreachable)
}

/// The cause at the bottom, which never quotes the address.
fn unreachable(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    if error.is_timeout() {
        return StreamableHttpError::Client(HttpError::Unreachable("no answer in time".into()));
    }
    let mut cause: &dyn std::error::Error = &error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    StreamableHttpError::Client(HttpError::Unreachable(cause.to_string()))
}

fn header(response: &Response, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if bytes.len() + chunk.len() > limit {
            return Err(StreamableHttpError::Client(HttpError::TooLarge));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn events(response: Response) -> BoxStream<'static, Result<Sse, SseError>> {
    let chunks = try_unfold((response, 0_usize), |(mut response, read)| async move {
        match response.chunk().await {
            Ok(Some(chunk)) if read + chunk.len() <= ANSWER => {
                let read = read + chunk.len();
                Ok(Some((chunk, (response, read))))
            }
            Ok(Some(_)) => Err(StreamableHttpError::Client(HttpError::TooLarge)),
            Ok(None) => Ok(None),
            Err(error) => Err(unreachable(error)),
        }
    });
    SseStream::from_bytes_stream(chunks.boxed()).boxed()
}

/// An answer that is no success: the protocol's own error where it holds one.
async fn refused(
    response: Response,
    message: &ClientJsonRpcMessage,
    in_session: bool,
) -> Result<StreamableHttpPostResponse, Failure> {
    let status = response.status();
    let bare = refusal(&response, String::new());
    let Ok(body) = body(response, REFUSAL).await else { return Err(StreamableHttpError::Client(bare)) };
    let ClientJsonRpcMessage::Request(request) = message else { return Err(StreamableHttpError::Client(bare)) };
    let told = match serde_json::from_slice(&body) {
        Ok(ServerJsonRpcMessage::Error(told)) => Some(told.error),
        _ => None,
    };
    let quoted = quoted(&body, told.as_ref());
    let is_about_us = matches!(bare, HttpError::Unauthorized | HttpError::Forbidden(_) | HttpError::Busy { .. });
    let is_probe = matches!(request.request, ClientRequest::DiscoverRequest(_)) && !in_session;
    let is_down = matches!(status.as_u16(), 502..=504);
    let error = match told {
        _ if is_about_us => None,
        Some(error) => Some(error),
        // A server of an older generation does not know the question, and says so in its own way.
        None if is_probe && !is_down && !status.is_redirection() => {
            Some(ErrorData::invalid_request(format!("HTTP {status}{quoted}"), None))
        }
        None => None,
    };
    match error {
        // Such an answer often names no request, and would be lost.
        Some(error) => {
            let answer = ServerJsonRpcMessage::error(error, Some(request.id.clone()));
            Ok(StreamableHttpPostResponse::Json(answer, None))
        }
        None => Err(StreamableHttpError::Client(match bare {
            HttpError::Forbidden(_) => HttpError::Forbidden(quoted),
            HttpError::Refused { status, .. } => HttpError::Refused { status, quoted },
            other => other,
        })),
    }
}

fn refusal(response: &Response, quoted: String) -> HttpError {
    match response.status() {
        StatusCode::UNAUTHORIZED => HttpError::Unauthorized,
        StatusCode::FORBIDDEN => HttpError::Forbidden(quoted),
        StatusCode::TOO_MANY_REQUESTS => {
            let seconds = header(response, RETRY_AFTER.as_str()).filter(|wait| wait.len() <= 40);
            HttpError::Busy { retry_after: seconds }
        }
        status => HttpError::Refused { status, quoted },
    }
}

/// What a refusal says, shortly: its own sentence where it has one.
fn quoted(body: &[u8], told: Option<&ErrorData>) -> String {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let member = |name: &str| problem.get(name)?.as_str().map(str::to_owned);
    let said = told.map(|error| error.message.to_string());
    let said = said.or_else(|| member("detail")).or_else(|| member("error_description")).or_else(|| member("error"));
    let text = said.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(QUOTED).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}
