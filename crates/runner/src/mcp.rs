//! The MCP client: one connection to one server, for one persona.

mod http;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ::http::{HeaderName, HeaderValue};
use mana_types::{Secret, SpaceId, TickId};
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, ClientRequest,
    ContentBlock, ErrorCode, Implementation, ListToolsRequest, MetaObject, PaginatedRequestParams, ProtocolVersion,
    RequestMetaObject, ServerResult, Tool,
};
use rmcp::service::{ClientInitializeError, PeerRequestOptions, RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::{StreamableHttpClientTransportConfig, StreamableHttpError};
use rmcp::{ClientLifecycleMode, ClientServiceExt, RoleClient};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use self::http::{Http, HttpError};

/// How long connecting and listing may take together.
const CONNECT: Duration = Duration::from_secs(20);

/// How long telling the server that nobody waits any more may take.
const TELL: Duration = Duration::from_secs(6);

/// A list of tools longer than this many pages does not end.
const PAGES: usize = 50;

/// More tools than this are not offered to anybody.
const TOOLS: usize = 2_000;

/// How many characters of a foreign error are kept.
const QUOTED: usize = 300;

/// A secret shorter than this, in bytes, would hide half of every text.
const HIDDEN: usize = 8;

/// How a server of ours names itself.
const MANA: &str = "mana";

/// Why the server did not answer a request as a tool would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum McpError {
    /// 401: the token is not taken.
    #[error("the MCP server does not take the token")]
    Unauthorized,
    /// Nobody there, or nobody who speaks MCP, or a session that the server has forgotten.
    #[error("the MCP server does not answer: {0}")]
    Unavailable(String),
    /// No answer within the time of one call.
    #[error("the tool did not answer within {} seconds", .0.as_secs())]
    Timeout(Duration),
    /// 429: it is asked too often.
    #[error("the MCP server is asked too often{}", .retry_after.as_ref().map(|wait| format!(", try again in {wait} seconds")).unwrap_or_default())]
    Busy {
        /// What it said about when, if anything.
        retry_after: Option<String>,
    },
    /// The server refused the request itself, before any tool.
    #[error("{message}")]
    Protocol {
        /// The JSON-RPC code.
        code: i32,
        /// What the server said.
        message: String,
    },
    /// Whoever gives tokens for the target gave none.
    #[error("there is no token for the MCP server: {0}")]
    NoToken(String),
    /// We do not go there: the persona's target is not one that may be reached.
    #[error("{0}")]
    Target(String),
}

impl McpError {
    /// The stable code of an audit row.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Unavailable(_) => "unreachable",
            Self::Timeout(_) => "timeout",
            Self::Busy { .. } => "rate_limited",
            Self::Protocol { code, .. } if *code == ErrorCode::INVALID_PARAMS.0 => "invalid_params",
            Self::Protocol { code, .. } if *code == ErrorCode::METHOD_NOT_FOUND.0 => "method_not_found",
            Self::Protocol { .. } => "protocol_error",
            Self::NoToken(_) => "no_token",
            Self::Target(_) => "target_refused",
        }
    }

    /// Whether a new connection may help.
    pub(crate) fn is_broken_connection(&self) -> bool {
        matches!(self, Self::Unauthorized | Self::Unavailable(_))
    }
}

/// The way to a server: where it is and what opens it.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) http: reqwest::Client,
    pub(crate) url: String,
    pub(crate) bearer: Option<Secret>,
    /// Sent with every request; sensitive values are marked.
    pub(crate) headers: HashMap<HeaderName, HeaderValue>,
    /// What must not come back in any text.
    pub(crate) secrets: Vec<Secret>,
    /// Whether it is our own endpoint, which does a call with the same key once.
    pub(crate) is_own: bool,
    /// Which of the tokens that were issued for the target this one is.
    pub(crate) issue: u64,
}

/// A connection that speaks for one persona.
#[derive(Debug)]
pub(crate) struct Connection {
    service: RunningService<RoleClient, ClientConfig>,
    secrets: Vec<Secret>,
    is_own: bool,
    issue: u64,
}

impl Connection {
    /// Connects: stateless by the newest protocol, else with the handshake of the one before.
    pub(crate) async fn through(door: Door) -> Result<Self, McpError> {
        let Door { http, url, bearer, headers, mut secrets, is_own, issue } = door;
        secrets.retain(|secret| secret.expose().len() >= HIDDEN);
        let mut config = StreamableHttpClientTransportConfig::with_uri(url)
            .custom_headers(headers)
            // Whether a call is made again is not for the transport to decide.
            .reinit_on_expired_session(false);
        config.auth_header = bearer.map(|token| token.expose().to_owned());
        let transport = StreamableHttpClientTransport::with_client(Http(http), config);
        let client = ClientConfig::new(
            ClientCapabilities::default(),
            Implementation::new("mana-runner", env!("CARGO_PKG_VERSION")),
        );
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::V_2025_11_25),
        };
        match timeout(CONNECT, client.serve_with_lifecycle(transport, lifecycle)).await {
            Ok(Ok(service)) => Ok(Self { service, secrets, is_own, issue }),
            Ok(Err(error)) => Err(hidden_in(connect_error(&error), &secrets)),
            Err(_) => Err(McpError::Unavailable(format!("no answer within {} seconds", CONNECT.as_secs()))),
        }
    }

    /// Whether the server makes a call once that comes twice with the same key.
    pub(crate) fn is_keyed(&self) -> bool {
        let name = || self.service.peer_info().and_then(|info| info.server_info.as_ref().map(|it| it.name == MANA));
        self.is_own || name().unwrap_or(false)
    }

    /// Which of the tokens that were issued for the target opened it.
    pub(crate) fn issue(&self) -> u64 {
        self.issue
    }

    /// All tools, to the last page.
    pub(crate) async fn tools(&self) -> Result<Vec<Tool>, McpError> {
        let tools = timeout(CONNECT, self.all_pages()).await.unwrap_or_else(|_| {
            Err(McpError::Unavailable(format!("no list of tools within {} seconds", CONNECT.as_secs())))
        });
        tools.map_err(|error| hidden_in(error, &self.secrets))
    }

    async fn all_pages(&self) -> Result<Vec<Tool>, McpError> {
        let mut tools = Vec::new();
        let mut cursor = None;
        let mut seen = HashSet::new();
        for _ in 0..PAGES {
            let (page, next) = self.page(cursor).await?;
            tools.extend(page);
            if tools.len() > TOOLS {
                return Err(McpError::Unavailable(format!("it offers more than {TOOLS} tools")));
            }
            let Some(next) = next else { return Ok(tools) };
            if !seen.insert(next.clone()) {
                return Err(McpError::Unavailable("the list of tools goes round in circles".into()));
            }
            cursor = Some(next);
        }
        Err(McpError::Unavailable(format!("the list of tools does not end within {PAGES} pages")))
    }

    async fn page(&self, cursor: Option<String>) -> Result<(Vec<Tool>, Option<String>), McpError> {
        let params = PaginatedRequestParams::default().with_cursor(cursor);
        let request = ClientRequest::ListToolsRequest(ListToolsRequest::with_param(params));
        match self.service.send_request(request).await.map_err(|error| call_error(&error))? {
            ServerResult::ListToolsResult(page) => Ok((page.tools, page.next_cursor)),
            ServerResult::CustomResult(page) => readable(&page.0).ok_or_else(unreadable_list),
            _ => Err(unreadable_list()),
        }
    }

    /// Calls a tool by the name that its server gave it. The key makes a repeated call of the same visit happen once,
    /// where the server knows such keys. After `limit` the server is told that nobody waits any more.
    pub(crate) async fn call(
        &self,
        name: &str,
        arguments: Map<String, Value>,
        tick: &TickId,
        tool_use_id: &str,
        limit: Duration,
    ) -> Result<CallToolResult, McpError> {
        let mut meta = Map::new();
        meta.insert("mana/tickId".into(), tick.as_str().into());
        meta.insert("mana/idempotencyKey".into(), format!("{tick}:{tool_use_id}").into());
        let params = CallToolRequestParams::new(name.to_owned()).with_arguments(arguments);
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let options = PeerRequestOptions::with_timeout(limit).with_meta(RequestMetaObject(MetaObject(meta)));
        let answered = async {
            let handle = self.service.send_cancellable_request(request, options).await?;
            handle.await_response().await
        };
        let answer = match timeout(limit + TELL, answered).await {
            Ok(answer) => answer.map_err(|error| hidden_in(call_error(&error), &self.secrets))?,
            Err(_) => return Err(McpError::Timeout(limit)),
        };
        let result = match answer {
            ServerResult::CallToolResult(result) => Some(result),
            ServerResult::CustomResult(result) => lenient(result.0),
            _ => None,
        };
        let result = result.ok_or_else(|| McpError::Protocol {
            code: ErrorCode::INVALID_REQUEST.0,
            message: "the tool wants more input than this client can give".into(),
        })?;
        Ok(self.without_secrets(result))
    }

    /// A server may say back what it was sent: its answer goes into a journal and to a model, our secrets do not.
    fn without_secrets(&self, mut result: CallToolResult) -> CallToolResult {
        if self.secrets.is_empty() {
            return result;
        }
        for block in &mut result.content {
            if let ContentBlock::Text(text) = block {
                text.text = hidden(std::mem::take(&mut text.text), &self.secrets);
            }
        }
        if let Some(value) = &mut result.structured_content {
            hide_in_json(value, &self.secrets);
        }
        if let Some(meta) = &mut result.meta {
            meta.0.values_mut().for_each(|value| hide_in_json(value, &self.secrets));
        }
        result
    }
}

/// The header that names the space to our own endpoint.
pub(crate) fn space_header(space: SpaceId) -> (HeaderName, HeaderValue) {
    let space = HeaderValue::from_str(&space.to_string()).expect("a UUID is visible ASCII");
    (HeaderName::from_static("x-mana-space"), space)
}

/// A page in which some tools are not described as the protocol wants: the others can be used.
fn readable(page: &Value) -> Option<(Vec<Tool>, Option<String>)> {
    let listed = page.get("tools")?.as_array()?;
    let read = |tool: &Value| match serde_json::from_value(tool.clone()) {
        Ok(tool) => Some(tool),
        Err(error) => {
            let name: String = tool.get("name").and_then(Value::as_str).unwrap_or_default().chars().take(64).collect();
            tracing::warn!(tool = %name, %error, "runner.mcp.unreadable_tool");
            None
        }
    };
    let next = page.get("nextCursor").and_then(Value::as_str).map(str::to_owned);
    Some((listed.iter().filter_map(read).collect(), next))
}

fn unreadable_list() -> McpError {
    McpError::Unavailable("its list of tools cannot be read".into())
}

/// A result with parts that nobody here knows: they become a line of text.
fn lenient(mut result: Value) -> Option<CallToolResult> {
    for block in result.get_mut("content")?.as_array_mut()? {
        if serde_json::from_value::<ContentBlock>(block.clone()).is_err() {
            let kind: String =
                block.get("type").and_then(Value::as_str).unwrap_or("unknown").chars().take(64).collect();
            *block = json!({ "type": "text", "text": format!("(something of type {kind})") });
        }
    }
    serde_json::from_value(result).ok()
}

fn connect_error(error: &ClientInitializeError) -> McpError {
    let last = match error {
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => fallback,
        other => other,
    };
    let http = match last {
        ClientInitializeError::TransportError { error, .. } => http_error(&*error.error),
        _ => None,
    };
    match http {
        Some(HttpError::Unauthorized | HttpError::Forbidden(_)) => McpError::Unauthorized,
        Some(error) => McpError::Unavailable(cut(&error)),
        // Where the transport ended itself, only its last words are left.
        None if last.to_string().contains("HTTP 401") => McpError::Unauthorized,
        None => McpError::Unavailable(cut(last)),
    }
}

fn call_error(error: &ServiceError) -> McpError {
    match error {
        ServiceError::McpError(data) => {
            McpError::Protocol { code: data.code.0, message: data.message.chars().take(QUOTED).collect() }
        }
        ServiceError::Timeout { timeout } => McpError::Timeout(*timeout),
        ServiceError::TransportSend(cause) => match http_error(&*cause.error) {
            Some(HttpError::Unauthorized) => McpError::Unauthorized,
            Some(HttpError::Busy { retry_after }) => McpError::Busy { retry_after },
            Some(error @ (HttpError::Forbidden(_) | HttpError::TooLarge)) => {
                McpError::Protocol { code: ErrorCode::INVALID_REQUEST.0, message: cut(&error) }
            }
            Some(error) => McpError::Unavailable(cut(&error)),
            None => McpError::Unavailable(cut(&*cause.error)),
        },
        other => McpError::Unavailable(cut(other)),
    }
}

/// What HTTP said, if it was HTTP that failed.
fn http_error(error: &(dyn std::error::Error + 'static)) -> Option<HttpError> {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(StreamableHttpError::Client(error)) = current.downcast_ref::<StreamableHttpError<HttpError>>() {
            return Some(error.clone());
        }
        cause = current.source();
    }
    None
}

fn cut(error: &dyn std::error::Error) -> String {
    error.to_string().chars().take(QUOTED).collect()
}

fn hidden(text: String, secrets: &[Secret]) -> String {
    secrets.iter().fold(
        text,
        |text, secret| {
            if text.contains(secret.expose()) { text.replace(secret.expose(), "***") } else { text }
        },
    )
}

fn hidden_in(error: McpError, secrets: &[Secret]) -> McpError {
    match error {
        McpError::Unavailable(text) => McpError::Unavailable(hidden(text, secrets)),
        McpError::Protocol { code, message } => McpError::Protocol { code, message: hidden(message, secrets) },
        same @ (McpError::Unauthorized
        | McpError::Timeout(_)
        | McpError::Busy { .. }
        | McpError::NoToken(_)
        | McpError::Target(_)) => same,
    }
}

fn hide_in_json(value: &mut Value, secrets: &[Secret]) {
    match value {
        Value::String(text) => *text = hidden(std::mem::take(text), secrets),
        Value::Array(items) => items.iter_mut().for_each(|item| hide_in_json(item, secrets)),
        Value::Object(members) => members.values_mut().for_each(|member| hide_in_json(member, secrets)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
