//! One attempt at one request, over the wire.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use mana_types::Clock;
use reqwest::{Client, Response, Url};
use tokio::time::timeout;

use super::assemble::Assembly;
use super::error::{Failure, Words, cut_off, silent, too_much};
use super::options::{AuthStyle, ModelOptions, messages_url};
use super::sse::{ANSWER, Splitter, TooMuch};

/// How much is read of an answer that is no success: enough to parse what a provider says, not what a gateway paints.
const ERROR_BODY: usize = 64 * 1024;

/// How long the end of an answer is waited for whose message is complete, so that its connection can be used again.
const DRAIN: Duration = Duration::from_millis(50);

/// The line to a provider.
#[derive(Debug)]
pub(super) struct Line {
    http: Client,
    url: Url,
    headers: HeaderMap,
    idle: Duration,
    clock: Arc<dyn Clock>,
    words: Words,
}

impl Line {
    pub(super) fn new(options: &ModelOptions, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let url = messages_url(&options.base_url)?;
        let mut headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (ACCEPT, HeaderValue::from_static("text/event-stream")),
            (HeaderName::from_static("anthropic-version"), HeaderValue::from_static(options.version.as_str())),
        ]);
        headers.extend(credentials(options)?);
        let http = client(&url, options.connect_timeout)?;
        Ok(Self { http, url, headers, idle: options.idle_timeout, clock, words: Words::new(options.key.clone()) })
    }

    /// Sends the request and hears the answer out. What was heard stays in `assembly`, also when this fails or is dropped.
    pub(super) async fn call(&self, body: Bytes, assembly: &mut Assembly) -> Result<(), Failure> {
        let request = self.http.post(self.url.clone()).headers(self.headers.clone()).body(body);
        let sent = timeout(self.idle, request.send()).await.map_err(|_| silent(self.idle))?;
        let mut response = sent.map_err(|error| self.words.of_connection(error))?;
        let status = response.status();
        if !status.is_success() {
            let body = self.start_of_body(&mut response).await;
            return Err(self.words.of_answer(status.as_u16(), response.headers(), &body, self.clock.now()));
        }
        match media_type(&response).as_str() {
            "application/json" => self.hear_whole(&mut response, assembly).await,
            "text/html" => {
                let page = self.start_of_body(&mut response).await;
                Err(self.words.of_nonsense(&format!("it is a web page: {page}")))
            }
            _ => self.hear_stream(&mut response, assembly).await,
        }
    }

    async fn hear_stream(&self, response: &mut Response, assembly: &mut Assembly) -> Result<(), Failure> {
        let mut splitter = Splitter::default();
        let mut events = Vec::new();
        loop {
            let chunk = self.chunk(response).await?;
            match &chunk {
                Some(bytes) => splitter.push(bytes, &mut events).map_err(too_much)?,
                None => splitter.finish(&mut events),
            }
            for event in events.drain(..) {
                assembly.take(&event, &self.words)?;
                if assembly.is_complete() {
                    drain(response).await;
                    return Ok(());
                }
            }
            if chunk.is_none() {
                return Err(cut_off());
            }
        }
    }

    async fn hear_whole(&self, response: &mut Response, assembly: &mut Assembly) -> Result<(), Failure> {
        let mut body = Vec::new();
        while let Some(bytes) = self.chunk(response).await? {
            if body.len() + bytes.len() > ANSWER {
                return Err(too_much(TooMuch::Answer));
            }
            body.extend_from_slice(&bytes);
        }
        let message = serde_json::from_slice(&body)
            .map_err(|cause| self.words.of_nonsense(&format!("it says to be JSON: {cause}")))?;
        assembly.take_whole(&message, &self.words)
    }

    async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, Failure> {
        let chunk = timeout(self.idle, response.chunk()).await.map_err(|_| silent(self.idle))?;
        chunk.map_err(|error| self.words.of_connection(error))
    }

    /// What an answer says that is no success, as far as it comes: the status is told in any case.
    async fn start_of_body(&self, response: &mut Response) -> String {
        let mut body = Vec::new();
        while let Ok(Some(bytes)) = self.chunk(response).await {
            body.extend_from_slice(&bytes);
            if body.len() > ERROR_BODY {
                break;
            }
        }
        String::from_utf8_lossy(&body).into_owned()
    }
}

/// Takes the last bytes of an answer. What they are, or that they do not come, makes no difference.
async fn drain(response: &mut Response) {
    let rest = async { while let Ok(Some(_)) = response.chunk().await {} };
    let _ = timeout(DRAIN, rest).await;
}

/// The header that proves who asks, marked so that no log shows it; none without a key.
fn credentials(options: &ModelOptions) -> Result<Option<(HeaderName, HeaderValue)>, String> {
    if options.key.is_empty() {
        return Ok(None);
    }
    let key = options.key.expose();
    let (name, text) = match options.auth {
        AuthStyle::ApiKey => (HeaderName::from_static("x-api-key"), key.to_owned()),
        AuthStyle::Bearer => (AUTHORIZATION, format!("Bearer {key}")),
    };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| "the key of the model provider has characters that no header can carry, such as a line break")?;
    value.set_sensitive(true);
    Ok(Some((name, value)))
}

fn client(url: &Url, connect_timeout: Duration) -> Result<Client, String> {
    // Fails when a provider is installed already, which is just as well: it is the process's choice.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("mana-runner/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(Duration::from_secs(90));
    if url.scheme() == "http" {
        // On this machine. Nothing to verify, and no proxy has any business with it.
        builder = builder.tls_certs_only([]).no_proxy();
    }
    builder.build().map_err(|error| format!("cannot make an HTTP client for the model provider: {error}"))
}

fn media_type(response: &Response) -> String {
    let told = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    told.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
