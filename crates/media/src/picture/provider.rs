//! The way to whoever makes pictures: the images API of `OpenAI`, which others speak as well.
//!
//! What comes back is never trusted: it is bounded in time and size, its words are cut and cleared of the key, and only
//! bytes that are an image are taken. Bytes are asked for; an address is followed only within the provider itself, so
//! that nobody can point us into our own network.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use mana_types::{Random, Secret};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::json;

use super::models::Model;

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(10);
/// The most bytes of an answer: four large pictures in base64.
const MOST: usize = 96 << 20;
/// The most bytes of an answer that says what is wrong.
const MOST_ERROR: usize = 64 << 10;
/// The longest text that is passed on.
const DETAIL: usize = 500;

/// Who makes pictures.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Where it is, such as `https://api.openai.com`; `/v1/images/…` is added.
    pub url: String,
    /// The key that it wants, if it wants one.
    pub key: Secret,
    /// The models that are offered here, the usual one first; empty for all that are known.
    pub models: Vec<String>,
    /// How long it may take to answer.
    pub timeout: Duration,
}

impl Provider {
    /// A provider at this address, with all models that are known, and two minutes of time.
    pub fn new(url: impl Into<String>, key: Secret) -> Self {
        Self { url: url.into(), key, models: Vec::new(), timeout: Duration::from_mins(2) }
    }

    /// Whether its address will do; the error says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        address(&self.url).map(drop)
    }
}

/// What is asked of the provider.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) model: &'a str,
    pub(super) known: &'a Model,
    pub(super) prompt: &'a str,
    pub(super) quality: Option<&'a str>,
    pub(super) size: Option<&'a str>,
    pub(super) count: u8,
    /// Pictures to go by, as PNG; none for one out of nothing.
    pub(super) references: Vec<Vec<u8>>,
}

/// A way to a provider.
#[derive(Debug)]
pub(super) struct Line {
    http: reqwest::Client,
    base: Url,
    key: Secret,
    timeout: Duration,
}

#[derive(Debug, Deserialize)]
struct Answer {
    data: Vec<Image>,
}

#[derive(Debug, Deserialize)]
struct Image {
    b64_json: Option<String>,
    url: Option<String>,
}

impl Line {
    pub(super) fn new(provider: &Provider) -> Result<Self, String> {
        let base = address(&provider.url)?;
        // Fails when a provider is installed already, which is just as well: it is the process's choice.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("mana-media/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT);
        if base.scheme() == "http" {
            // Nothing to verify: reading the system's certificates costs time and memory, and fails where there are none.
            builder = builder.tls_certs_only([]).no_proxy();
        }
        let http = builder.build().map_err(|error| format!("no client for the provider could be made: {error}"))?;
        Ok(Self { http, base, key: provider.key.clone(), timeout: provider.timeout })
    }

    /// Has pictures made. The error is fit to be shown.
    pub(super) async fn make(&self, wanted: &Wanted<'_>, random: &dyn Random) -> Result<Vec<Bytes>, String> {
        let made = tokio::time::timeout(self.timeout, self.ask(wanted, random)).await;
        let made = made.unwrap_or_else(|_| Err(format!("it did not answer within {} s", self.timeout.as_secs())));
        made.map_err(|detail| self.shown(&detail))
    }

    async fn ask(&self, wanted: &Wanted<'_>, random: &dyn Random) -> Result<Vec<Bytes>, String> {
        let request = if wanted.references.is_empty() {
            let mut body = json!({ "model": wanted.model, "prompt": wanted.prompt, "n": wanted.count });
            for (name, value) in wanted.settings() {
                body[name] = json!(value);
            }
            self.request(Method::POST, self.join("v1/images/generations")?).json(&body)
        } else {
            let (kind, body) = form(wanted, random);
            let request = self.request(Method::POST, self.join("v1/images/edits")?);
            request.header(reqwest::header::CONTENT_TYPE, kind).body(body)
        };
        let answer = request.send().await.map_err(|error| unreached(&error))?;
        let status = answer.status();
        if !status.is_success() {
            let body = read(answer, MOST_ERROR).await.unwrap_or_default();
            return Err(format!("it answered {}: {}", status.as_u16(), said(&body)));
        }
        let body = read(answer, MOST).await?;
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_| "its answer is not in the form of the images API".to_owned())?;
        let mut made = Vec::new();
        for image in answer.data.into_iter().take(usize::from(wanted.count)) {
            made.push(self.bytes_of(image).await?);
        }
        if made.is_empty() { Err("its answer holds no picture".into()) } else { Ok(made) }
    }

    async fn bytes_of(&self, image: Image) -> Result<Bytes, String> {
        let bytes = match (image.b64_json, image.url) {
            (Some(text), _) => {
                Bytes::from(STANDARD.decode(text.trim()).map_err(|_| "a picture of its answer is not in base64")?)
            }
            (None, Some(address)) => self.fetch(&address).await?,
            (None, None) => return Err("a picture of its answer has no bytes".into()),
        };
        let head = &bytes[..bytes.len().min(4096)];
        if crate::image::sniff(head).is_image() { Ok(bytes) } else { Err("what it answered is no picture".into()) }
    }

    /// A picture that the provider keeps for us: only from the provider itself, whom the operator has named.
    async fn fetch(&self, address: &str) -> Result<Bytes, String> {
        let url = self.base.join(address).map_err(|_| "the address of a picture is none")?;
        if url.origin() != self.base.origin() {
            return Err(
                "it answered the address of a picture elsewhere, which is not followed: have it answer bytes".into()
            );
        }
        let answer = self.request(Method::GET, url).send().await.map_err(|error| unreached(&error))?;
        if !answer.status().is_success() {
            return Err(format!("a picture could not be fetched: {}", answer.status().as_u16()));
        }
        read(answer, MOST).await
    }

    fn join(&self, path: &str) -> Result<Url, String> {
        self.base.join(path).map_err(|error| error.to_string())
    }

    fn request(&self, method: Method, url: Url) -> reqwest::RequestBuilder {
        let request = self.http.request(method, url);
        if self.key.is_empty() { request } else { request.bearer_auth(self.key.expose()) }
    }

    /// A text from outside as it may be shown: short, on one line, without anything that looks like a key.
    fn shown(&self, detail: &str) -> String {
        let mut text = detail.to_owned();
        if !self.key.is_empty() {
            text = text.replace(self.key.expose(), "***");
        }
        let words = text.split_whitespace().map(|word| {
            let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
            if bare.starts_with("sk-") || bare.starts_with("eyJ") { "***" } else { word }
        });
        let line: String = words.collect::<Vec<_>>().join(" ");
        line.chars().filter(|c| !c.is_control()).take(DETAIL).collect()
    }
}

impl Wanted<'_> {
    fn settings(&self) -> Vec<(&'static str, &str)> {
        let format = self.known.format.then_some("b64_json");
        [("quality", self.quality), ("size", self.size), ("response_format", format)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

/// The address below which the API lies: encrypted, unless it is this machine, and without anything secret in it.
fn address(text: &str) -> Result<Url, String> {
    let text = text.trim_end_matches('/').trim_end_matches("/v1");
    let base = Url::parse(&format!("{text}/")).map_err(|error| format!("the provider's address is none: {error}"))?;
    let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback =
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match base.scheme() {
        "https" => {}
        "http" if is_loopback => {}
        _ => return Err("the provider's address is not encrypted, expected `https`".into()),
    }
    if !base.username().is_empty() || base.password().is_some() || base.query().is_some() {
        return Err(
            "the provider's address holds a name, a password or parameters: the key has a setting of its own".into()
        );
    }
    Ok(base)
}

/// The wish as `multipart/form-data`.
fn form(wanted: &Wanted<'_>, random: &dyn Random) -> (String, Vec<u8>) {
    let boundary = format!("mana-{:016x}{:016x}", random.next_u64(), random.next_u64());
    let count = wanted.count.to_string();
    let mut fields = vec![("model", wanted.model), ("prompt", wanted.prompt), ("n", &count)];
    fields.extend(wanted.settings());
    let mut head = String::new();
    for (name, value) in fields {
        let _ = write!(head, "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    let mut body = head.into_bytes();
    let field = if wanted.references.len() == 1 { "image" } else { "image[]" };
    for (at, picture) in wanted.references.iter().enumerate() {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"reference-{at}.png\"\r\n\
             Content-Type: image/png\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(picture);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

fn unreached(error: &reqwest::Error) -> String {
    if error.is_connect() { "it cannot be reached".into() } else { "the connection to it broke off".into() }
}

/// A body of at most so many bytes.
async fn read(mut answer: reqwest::Response, most: usize) -> Result<Bytes, String> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| unreached(&error))? {
        if body.len() + part.len() > most {
            return Err(format!("its answer is larger than {most} bytes"));
        }
        body.extend_from_slice(&part);
    }
    Ok(body.into())
}

/// What a body says is wrong: `error.message` where it is in that form, else its beginning.
fn said(body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    match value["error"]["message"].as_str().or_else(|| value["error"].as_str()) {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(&body[..body.len().min(4 * DETAIL)]).into_owned(),
    }
}
