//! The product that a persona visits: Mana itself, or the MCP server of any other.
//!
//! A descriptor says where another product is and how one gets in; secrets stand in it by name only. Before anything is
//! sent there, it is made sure that it is a place where the runner may go, and that nothing is sent that is not meant for
//! it: a token of Mana goes to Mana.

mod credentials;
mod guard;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use mana_types::{Secret, SpaceId};
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

use self::credentials::{Grantee, Tokens};
use self::guard::{Guard, Rules};
use crate::mcp::{Connection, Door, McpError, space_header};
use crate::toolbox::ModuleMap;

/// How long a connection to another product may take to open.
const CONNECT: Duration = Duration::from_secs(5);

/// Headers that belong to the connection or to the protocol.
const OWN_HEADERS: [&str; 13] = [
    "accept",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "transfer-encoding",
    "x-mana-space",
];

/// Where the secrets come from that targets name (`env:SHOP_TOKEN`). Whoever starts the runner decides which names it
/// answers; by default none.
#[derive(Clone, Default)]
pub struct Secrets(Option<Arc<Find>>);

type Find = dyn Fn(&str) -> Option<Secret> + Send + Sync;

impl Secrets {
    /// Secrets that this function finds by their name.
    pub fn new(find: impl Fn(&str) -> Option<Secret> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(find)))
    }

    fn get(&self, name: &str) -> Option<Secret> {
        self.0.as_ref().and_then(|find| find(name)).filter(|secret| !secret.is_empty())
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Secrets(***)" } else { "Secrets(none)" })
    }
}

/// How a persona shows who it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Auth {
    /// With its token of this installation.
    #[default]
    Mana,
    /// With a fixed token.
    Bearer,
    /// With a token that is fetched by OAuth's client credentials.
    ClientCredentials,
    /// With nothing, or with what its headers say.
    None,
}

/// Another product, as a descriptor names it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    url: String,
    #[serde(default)]
    auth: Auth,
    token: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    token_url: Option<String>,
    scope: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    modules: BTreeMap<String, String>,
}

/// What all targets of a runner share.
#[derive(Debug)]
pub(crate) struct Targets {
    own: Arc<Own>,
    secrets: Secrets,
    guard: Guard,
    /// The clients for other products, with and without TLS, made when they are first needed.
    clients: [OnceLock<Result<reqwest::Client, String>>; 2],
    tokens: Arc<Tokens>,
}

/// Our own endpoint.
#[derive(Debug)]
struct Own {
    http: reqwest::Client,
    url: String,
}

/// What a visit needs for the way in to Mana itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnToken<'a> {
    pub(crate) token: &'a Secret,
    pub(crate) space: SpaceId,
}

/// What can be done about a token that is not taken any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// It is the persona's own: identity gives a fresh one.
    OwnToken,
    /// It is forgotten: the next connection gets another.
    Fresh,
    /// Nothing: there is only this one.
    Nothing,
}

/// Where one persona goes. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    http: reqwest::Client,
    url: String,
    way: Way,
    headers: HashMap<HeaderName, HeaderValue>,
    secrets: Vec<Secret>,
    modules: ModuleMap,
    /// Whether it is Mana itself.
    is_own: bool,
}

/// What opens it.
#[derive(Debug, Clone)]
enum Way {
    OwnToken,
    Fixed(Secret),
    Issued(Arc<Tokens>, Arc<Grantee>),
    Open,
}

impl Targets {
    /// `http` is the client for our own endpoint at `mcp_url`. Other products are reached only at public addresses,
    /// except on the host of our own endpoint; with `allow_private` anywhere.
    pub(crate) fn new(http: reqwest::Client, mcp_url: &str, secrets: Secrets, allow_private: bool) -> Self {
        let own_host = Url::parse(mcp_url).ok().and_then(|url| url.host_str().map(str::to_owned));
        Self {
            own: Arc::new(Own { http, url: mcp_url.to_owned() }),
            secrets,
            guard: Guard::new(Rules { own_host, allow_private }),
            clients: [OnceLock::new(), OnceLock::new()],
            tokens: Arc::default(),
        }
    }

    /// The target that a persona's descriptor names; none is Mana itself. Fails with a sentence that says what is wrong
    /// with it.
    pub(crate) fn of(&self, described: Option<&Value>) -> Result<Target, McpError> {
        let Some(described) = described.filter(|value| !value.is_null()) else {
            return Ok(Target {
                http: self.own.http.clone(),
                url: self.own.url.clone(),
                way: Way::OwnToken,
                headers: HashMap::new(),
                secrets: Vec::new(),
                modules: ModuleMap::default(),
                is_own: true,
            });
        };
        let described: Described = serde_json::from_value(described.clone())
            .map_err(|error| McpError::Target(format!("the persona's target cannot be read: {error}")))?;
        self.foreign(described).map_err(McpError::Target)
    }

    fn foreign(&self, described: Described) -> Result<Target, String> {
        let url = Url::parse(&described.url).map_err(|_| "the target's `url` is no address".to_owned())?;
        let is_own = Url::parse(&self.own.url).is_ok_and(|own| own.origin() == url.origin());
        let http = if is_own { self.own.http.clone() } else { self.client("url", &url)? };
        let mut secrets = Vec::new();
        let mut secret = |field: &str, reference: Option<&String>| -> Result<Secret, String> {
            let reference =
                reference.ok_or_else(|| format!("the target has no `{field}`, and its `auth` needs one"))?;
            let found = self.find(field, reference)?;
            secrets.push(found.clone());
            Ok(found)
        };
        let way = match described.auth {
            Auth::Mana if is_own => Way::OwnToken,
            Auth::Mana => {
                let host = url.host_str().unwrap_or_default();
                return Err(format!(
                    "the target wants the persona's token of this installation, but `{host}` is not its MCP endpoint: set `auth` to what that server takes"
                ));
            }
            Auth::Bearer => Way::Fixed(secret("token", described.token.as_ref())?),
            Auth::ClientCredentials => {
                let needed = |field: &str| format!("the target has no `{field}`, and its `auth` needs one");
                let token_url = described.token_url.ok_or_else(|| needed("tokenUrl"))?;
                let token_url =
                    Url::parse(&token_url).map_err(|_| "the target's `tokenUrl` is no address".to_owned())?;
                let grantee = Grantee {
                    http: self.client("tokenUrl", &token_url)?,
                    token_url,
                    id: described.client_id.ok_or_else(|| needed("clientId"))?,
                    secret: secret("clientSecret", described.client_secret.as_ref())?,
                    scope: described.scope,
                    resource: url.clone(),
                };
                Way::Issued(Arc::clone(&self.tokens), Arc::new(grantee))
            }
            Auth::None => Way::Open,
        };
        let mut headers = HashMap::new();
        for (name, value) in &described.headers {
            let (name, value) = self.header(name, value, &mut secrets)?;
            headers.insert(name, value);
        }
        let modules = ModuleMap::of(described.modules);
        Ok(Target { http, url: url.into(), way, headers, secrets, modules, is_own })
    }

    fn find(&self, field: &str, reference: &str) -> Result<Secret, String> {
        let name = reference.strip_prefix("env:").ok_or_else(|| {
            format!("the target's `{field}` must name a setting of the runner, such as `env:SHOP_TOKEN`, and hold no secret itself")
        })?;
        self.secrets.get(name).ok_or_else(|| {
            format!("the target's `{field}` names `{name}`, which is not set for the runner: set it in its environment")
        })
    }

    fn header(&self, name: &str, value: &str, secrets: &mut Vec<Secret>) -> Result<(HeaderName, HeaderValue), String> {
        let wrong = |what: &str| format!("the target's header `{name}` {what}");
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("has no name that HTTP allows"))?;
        if OWN_HEADERS.contains(&parsed.as_str()) {
            return Err(wrong("belongs to the connection: see `auth` for tokens"));
        }
        let is_secret = value.starts_with("env:");
        let value = if is_secret { self.find(name, value)? } else { Secret::new(value) };
        let mut parsed_value =
            HeaderValue::from_str(value.expose()).map_err(|_| wrong("has no value that HTTP allows"))?;
        parsed_value.set_sensitive(is_secret);
        if is_secret {
            secrets.push(value);
        }
        Ok((parsed, parsed_value))
    }

    /// The client for an address, if the runner may go there.
    fn client(&self, field: &str, url: &Url) -> Result<reqwest::Client, String> {
        self.guard.check(url).map_err(|reason| format!("the target's `{field}` {reason}"))?;
        let with_tls = url.scheme() == "https";
        self.clients[usize::from(with_tls)].get_or_init(|| self.guard.client(with_tls)).clone()
    }
}

impl Target {
    /// Which tool belongs to which module, where its names do not tell.
    pub(crate) fn modules(&self) -> &ModuleMap {
        &self.modules
    }

    /// A new connection. `own` is used only by a target that is Mana itself.
    pub(crate) async fn connect(&self, own: OwnToken<'_>) -> Result<Connection, McpError> {
        let Way::Issued(tokens, grantee) = &self.way else {
            let mut headers = self.headers.clone();
            let bearer = match &self.way {
                Way::OwnToken => {
                    headers.extend([space_header(own.space)]);
                    Some(own.token.clone())
                }
                Way::Fixed(token) => Some(token.clone()),
                Way::Open | Way::Issued(..) => None,
            };
            return Connection::through(self.door(headers, bearer, 0)).await;
        };
        let issued = tokens.get(grantee).await?;
        let door = self.door(self.headers.clone(), Some(issued.token), issued.number);
        match Connection::through(door).await {
            // A token that an earlier visit got may have been revoked since.
            Err(McpError::Unauthorized) if !issued.is_fresh => {
                tokens.forget(grantee, issued.number).await;
                let issued = tokens.get(grantee).await?;
                Connection::through(self.door(self.headers.clone(), Some(issued.token), issued.number)).await
            }
            other => other,
        }
    }

    /// After a 401 on this connection: what can be done before the next one.
    pub(crate) async fn renew(&self, broken: &Connection) -> Renewal {
        match &self.way {
            Way::OwnToken => Renewal::OwnToken,
            Way::Issued(tokens, grantee) => {
                tokens.forget(grantee, broken.issue()).await;
                Renewal::Fresh
            }
            Way::Fixed(_) | Way::Open => Renewal::Nothing,
        }
    }

    fn door(&self, headers: HashMap<HeaderName, HeaderValue>, bearer: Option<Secret>, issue: u64) -> Door {
        let mut secrets = self.secrets.clone();
        secrets.extend(bearer.clone());
        Door { http: self.http.clone(), url: self.url.clone(), bearer, headers, secrets, is_own: self.is_own, issue }
    }
}

#[cfg(test)]
mod tests;
