//! The MCP client: one connection for one persona, its token and its space.

use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use mana_types::{SpaceId, TickId};
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, ClientRequest, ErrorCode,
    Implementation, MetaObject, PaginatedRequestParams, ProtocolVersion, RequestMetaObject, ServerResult, Tool,
};
use rmcp::service::{ClientInitializeError, PeerRequestOptions, RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::{AuthRequiredError, StreamableHttpClientTransportConfig};
use rmcp::{ClientLifecycleMode, ClientServiceExt, RoleClient};
use serde_json::{Map, Value};
use tokio::time::timeout;

/// How long connecting and listing may take together.
const CONNECT: Duration = Duration::from_secs(20);

/// A list of tools longer than this many pages does not end.
const PAGES: usize = 100;

/// How many characters of a foreign error are kept.
const QUOTED: usize = 300;

/// Why the server did not answer a request as a tool would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum McpError {
    /// 401: the token is not taken.
    #[error("the MCP server does not take the token")]
    Unauthorized,
    /// Nobody there, or nobody who speaks MCP.
    #[error("the MCP server does not answer: {0}")]
    Unavailable(String),
    /// No answer within the time of one call.
    #[error("the tool did not answer within {} seconds", .0.as_secs())]
    Timeout(Duration),
    /// The server refused the request itself, before any tool.
    #[error("{message}")]
    Protocol {
        /// The JSON-RPC code.
        code: i32,
        /// What the server said.
        message: String,
    },
}

impl McpError {
    /// The stable code of an audit row.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Unavailable(_) => "unreachable",
            Self::Timeout(_) => "timeout",
            Self::Protocol { code, .. } if *code == ErrorCode::INVALID_PARAMS.0 => "invalid_params",
            Self::Protocol { code, .. } if *code == ErrorCode::METHOD_NOT_FOUND.0 => "method_not_found",
            Self::Protocol { .. } => "protocol_error",
        }
    }

    /// Whether a new connection may help.
    pub(crate) fn is_broken_connection(&self) -> bool {
        matches!(self, Self::Unauthorized | Self::Unavailable(_))
    }
}

/// A connection that speaks for one persona in one space.
#[derive(Debug)]
pub(crate) struct Connection {
    service: RunningService<RoleClient, ClientConfig>,
}

impl Connection {
    /// Connects: stateless by the newest protocol, else with the handshake of the one before.
    pub(crate) async fn open(http: &reqwest::Client, url: &str, token: &str, space: SpaceId) -> Result<Self, McpError> {
        let space = HeaderValue::from_str(&space.to_string()).expect("a UUID is visible ASCII");
        let config = StreamableHttpClientTransportConfig::with_uri(url)
            .auth_header(token)
            .custom_headers(HashMap::from([(HeaderName::from_static("x-mana-space"), space)]));
        let transport = StreamableHttpClientTransport::with_client(http.clone(), config);
        let client = ClientConfig::new(
            ClientCapabilities::default(),
            Implementation::new("mana-runner", env!("CARGO_PKG_VERSION")),
        );
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::V_2025_11_25),
        };
        match timeout(CONNECT, client.serve_with_lifecycle(transport, lifecycle)).await {
            Ok(Ok(service)) => Ok(Self { service }),
            Ok(Err(error)) => Err(connect_error(&error)),
            Err(_) => Err(McpError::Unavailable(format!("no answer within {} seconds", CONNECT.as_secs()))),
        }
    }

    /// All tools, to the last page.
    pub(crate) async fn tools(&self) -> Result<Vec<Tool>, McpError> {
        timeout(CONNECT, self.all_pages()).await.unwrap_or_else(|_| {
            Err(McpError::Unavailable(format!("no list of tools within {} seconds", CONNECT.as_secs())))
        })
    }

    async fn all_pages(&self) -> Result<Vec<Tool>, McpError> {
        let mut tools = Vec::new();
        let mut cursor = None;
        for _ in 0..PAGES {
            let params = PaginatedRequestParams::default().with_cursor(cursor);
            let page = self.service.list_tools(Some(params)).await.map_err(|error| call_error(&error))?;
            tools.extend(page.tools);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(tools);
            }
        }
        Err(McpError::Unavailable(format!("the list of tools does not end within {PAGES} pages")))
    }

    /// Calls a tool. The key makes a repeated call of the same visit happen once.
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
        let handle =
            self.service.send_cancellable_request(request, options).await.map_err(|error| call_error(&error))?;
        match handle.await_response().await.map_err(|error| call_error(&error))? {
            ServerResult::CallToolResult(result) => Ok(result),
            _ => Err(McpError::Protocol {
                code: ErrorCode::INVALID_REQUEST.0,
                message: "the tool wants more input than this client can give".into(),
            }),
        }
    }
}

fn connect_error(error: &ClientInitializeError) -> McpError {
    let last = match error {
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => fallback,
        other => other,
    };
    if last.auth_challenge().is_some() || is_unauthorized(last) {
        McpError::Unauthorized
    } else {
        McpError::Unavailable(cut(last))
    }
}

fn call_error(error: &ServiceError) -> McpError {
    match error {
        ServiceError::McpError(data) => {
            McpError::Protocol { code: data.code.0, message: data.message.chars().take(QUOTED).collect() }
        }
        ServiceError::Timeout { timeout } => McpError::Timeout(*timeout),
        ServiceError::TransportSend(cause) if is_unauthorized(&*cause.error) => McpError::Unauthorized,
        other => McpError::Unavailable(cut(other)),
    }
}

/// Whether a 401 is behind this. With a challenge the transport has a type for it, without one only its text tells.
fn is_unauthorized(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if current.is::<AuthRequiredError>() || current.to_string().contains("HTTP 401") {
            return true;
        }
        cause = current.source();
    }
    false
}

fn cut(error: &dyn std::error::Error) -> String {
    error.to_string().chars().take(QUOTED).collect()
}
