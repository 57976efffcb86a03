//! The plain HTTP interfaces of identity and personas, as the runner uses them.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use mana_types::{Secret, SpaceId, TickId};
use reqwest::{Client, RequestBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::error::Error;
use crate::options::RunnerOptions;
use crate::wire::{
    Beat, Claim, Claims, Finish, Held, JournalEntry, Journaled, Refreshed, Reserve, Settle, SignedIn, Space,
};

const IDENTITY: &str = "identity";
const PERSONAS: &str = "personas";

/// The pauses between the tries of a request that changes nothing when repeated.
const PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];

/// How many personas sign in at a time. A password takes its time on purpose: of a thousand who asked at once, most would
/// find that nobody answers in time.
const SIGN_INS: usize = 8;

/// How many characters of a foreign answer an error quotes.
const QUOTED: usize = 300;

/// One HTTP client for everything, so that connections are used again.
pub(crate) fn http_client(options: &RunnerOptions) -> Result<Client, Error> {
    // Fails when a provider is installed already, which is just as well: it is the process's choice.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("mana-runner/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .pool_idle_timeout(Duration::from_secs(90));
    let urls = [&options.identity_url, &options.personas_url, &options.mcp_url];
    if !urls.iter().any(|url| url.starts_with("https:")) {
        // Nothing to verify: reading the system's certificates costs time and memory, and fails where there are none. And
        // no proxy of the environment has any business with the service key.
        builder = builder.tls_certs_only([]).no_proxy();
    }
    builder.build().map_err(Error::Client)
}

/// The services, spoken to as the program that the service key proves.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    http: Client,
    identity: String,
    personas: String,
    service_key: Secret,
    timeout: Duration,
    lease_ms: u64,
    owner: String,
    sign_ins: Arc<Semaphore>,
}

impl Api {
    pub(crate) fn new(http: Client, options: &RunnerOptions, owner: String) -> Self {
        Self {
            http,
            identity: options.identity_url.trim_end_matches('/').to_owned(),
            personas: options.personas_url.trim_end_matches('/').to_owned(),
            service_key: options.service_key.clone(),
            timeout: options.timing.request,
            lease_ms: u64::try_from(options.timing.lease.as_millis()).unwrap_or(u64::MAX),
            owner,
            sign_ins: Arc::new(Semaphore::new(SIGN_INS)),
        }
    }

    pub(crate) async fn login(&self, email: &str, password: &Secret) -> Result<SignedIn, Error> {
        let _place = self.sign_ins.acquire().await.expect("nobody closes this semaphore");
        let body = json!({ "email": email, "password": password.expose() });
        self.identity_post("/api/v1/auth/login", &body).await
    }

    pub(crate) async fn refresh(&self, refresh_token: &str) -> Result<Refreshed, Error> {
        self.identity_post("/api/v1/auth/refresh", &json!({ "refreshToken": refresh_token })).await
    }

    /// The personal space of whoever this token speaks for.
    pub(crate) async fn personal_space(&self, access_token: &str) -> Result<SpaceId, Error> {
        let request = self.http.get(format!("{}/api/v1/spaces", self.identity)).bearer_auth(access_token);
        let spaces: Vec<Space> = self.send(IDENTITY, &self.identity, request).await?;
        spaces
            .iter()
            .find(|space| space.metadata.r#type == "personal")
            .map(|space| space.id)
            .ok_or_else(|| Error::Unexpected { service: IDENTITY, reason: "the account has no personal space".into() })
    }

    /// Claims up to `limit` due personas.
    pub(crate) async fn claim(&self, limit: usize, engine: &str) -> Result<Vec<Claim>, Error> {
        let body = json!({ "owner": self.owner, "limit": limit, "leaseMs": self.lease_ms, "engine": engine });
        let claims: Claims = self.personas_post("claim", &body).await?;
        Ok(claims.claims)
    }

    /// A sign of life for all held visits in one request.
    pub(crate) async fn heartbeat(&self, ticks: &[Held]) -> Result<Beat, Error> {
        let body = json!({ "owner": self.owner, "ticks": ticks, "leaseMs": self.lease_ms });
        self.personas_post("ticks/heartbeat", &body).await
    }

    /// Writes lines to a visit's journal; with them the last model call is settled and money for the next one put aside.
    pub(crate) async fn journal(
        &self,
        tick: &TickId,
        epoch: i64,
        entries: &[JournalEntry],
        settle: Option<&Settle>,
        reserve: Option<&Reserve>,
    ) -> Result<Journaled, Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            owner: &'a str,
            epoch: i64,
            entries: &'a [JournalEntry],
            #[serde(skip_serializing_if = "Option::is_none")]
            settle: Option<&'a Settle>,
            #[serde(skip_serializing_if = "Option::is_none")]
            reserve: Option<&'a Reserve>,
        }
        let body = Body { owner: &self.owner, epoch, entries, settle, reserve };
        self.repeated(&format!("ticks/{}/journal", segment(tick)), &body).await
    }

    /// What a persona remembers, to begin this visit with.
    pub(crate) async fn memory(&self, tick: &TickId, epoch: i64) -> Result<Value, Error> {
        let request = self
            .http
            .get(format!("{}/api/v1/internal/personas/ticks/{}/memory", self.personas, segment(tick)))
            .query(&[("owner", self.owner.as_str()), ("epoch", &epoch.to_string())])
            .header("x-service-key", self.service_key.expose());
        self.send(PERSONAS, &self.personas, request).await
    }

    pub(crate) async fn finish(&self, tick: &TickId, epoch: i64, finish: &Finish) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            owner: &'a str,
            epoch: i64,
            #[serde(flatten)]
            finish: &'a Finish,
        }
        let body = Body { owner: &self.owner, epoch, finish };
        self.repeated::<Value>(&format!("ticks/{}/finish", segment(tick)), &body).await.map(drop)
    }

    pub(crate) async fn release(&self, tick: &TickId, epoch: i64) -> Result<(), Error> {
        let body = json!({ "owner": self.owner, "epoch": epoch });
        self.personas_post::<Value>(&format!("ticks/{}/release", segment(tick)), &body).await.map(drop)
    }

    /// For requests that may be sent twice: tried again while nobody answers or the service is in trouble.
    async fn repeated<T: DeserializeOwned>(&self, path: &str, body: &(impl Serialize + Sync)) -> Result<T, Error> {
        let mut pauses = PAUSES.iter();
        loop {
            match self.personas_post(path, body).await {
                Err(error) if error.is_transient() => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(error),
                },
                other => return other,
            }
        }
    }

    async fn identity_post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Error> {
        let request = self.http.post(format!("{}{path}", self.identity)).json(body);
        self.send(IDENTITY, &self.identity, request).await
    }

    async fn personas_post<T: DeserializeOwned>(&self, path: &str, body: &(impl Serialize + Sync)) -> Result<T, Error> {
        let request = self
            .http
            .post(format!("{}/api/v1/internal/personas/{path}", self.personas))
            .header("x-service-key", self.service_key.expose())
            .json(body);
        self.send(PERSONAS, &self.personas, request).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        service: &'static str,
        url: &str,
        request: RequestBuilder,
    ) -> Result<T, Error> {
        let unreachable = |source: reqwest::Error| Error::Unreachable { service, url: url.to_owned(), source };
        let response = request.timeout(self.timeout).send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        if !status.is_success() {
            return Err(refusal(service, status, &body));
        }
        serde_json::from_slice(&body).map_err(|error| Error::Unexpected { service, reason: error.to_string() })
    }
}

/// A tick id as one segment of a path: ids of ours are UUIDs, others may hold a slash.
fn segment(tick: &TickId) -> String {
    use std::fmt::Write as _;
    tick.as_str().bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("writing to a String cannot fail");
        }
        text
    })
}

fn refusal(service: &'static str, status: StatusCode, body: &[u8]) -> Error {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |member: &str| problem.get(member).and_then(Value::as_str).map(str::to_owned);
    let detail = text("detail").or_else(|| text("error")).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let detail = detail.chars().take(QUOTED).collect();
    Error::Refused { service, status, code: text("code"), detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_quotes_the_problem_document_and_never_more_than_a_little_of_anything_else() {
        let error = refusal(PERSONAS, StatusCode::CONFLICT, br#"{"code":"STALE_EPOCH","detail":"not yours"}"#);
        assert!(error.is_stale());
        assert_eq!(error.to_string(), "the personas service refused with 409 Conflict `STALE_EPOCH`: not yours");
        let page = "<html>".repeat(1000);
        let error = refusal(IDENTITY, StatusCode::BAD_GATEWAY, page.as_bytes());
        assert!(error.is_transient() && error.to_string().len() < 400);
    }

    #[test]
    fn a_tick_id_stays_one_segment() {
        assert_eq!(segment(&"a/b?c".parse().expect("a tick id")), "a%2Fb%3Fc");
    }
}
