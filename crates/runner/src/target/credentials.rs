//! Tokens by OAuth's client credentials (RFC 6749, section 4.4; for one resource by RFC 8707). One is fetched for all
//! visits to a target and kept until shortly before it runs out.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mana_types::Secret;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use tokio::time::Instant;

use crate::hash::short_hash;
use crate::mcp::McpError;

/// How long asking for a token may take.
const ASKING: Duration = Duration::from_secs(15);

/// How long a token is kept that does not say how long it is good for.
const UNSAID: u64 = 300;

/// A token is not used in the last minute of its life, nor in its last tenth if that is shorter.
const MARGIN: u64 = 60;

/// How much of an answer is read, in bytes.
const ANSWER: usize = 64 * 1024;

/// For how many targets tokens are kept.
const KEPT: usize = 256;

/// How many characters of an error are quoted.
const QUOTED: usize = 200;

/// Who asks for a token, and for what.
#[derive(Debug)]
pub(super) struct Grantee {
    pub(super) http: reqwest::Client,
    pub(super) token_url: Url,
    pub(super) id: String,
    pub(super) secret: Secret,
    pub(super) scope: Option<String>,
    /// The address that the token is for.
    pub(super) resource: Url,
}

/// A token for a connection.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) token: Secret,
    /// Which one of those that were issued for this target.
    pub(super) number: u64,
    /// Whether it was issued just now.
    pub(super) is_fresh: bool,
}

#[derive(Debug, Default)]
struct Kept {
    token: Option<(Secret, Instant)>,
    number: u64,
}

/// The tokens that are good at the moment.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Kept>>>>);

impl Tokens {
    /// A token that is good. Whoever comes while one is being fetched waits for that one.
    pub(super) async fn get(&self, grantee: &Grantee) -> Result<Issued, McpError> {
        let place = self.place(grantee);
        let mut kept = place.lock().await;
        if let Some((token, until)) = &kept.token
            && Instant::now() < *until
        {
            return Ok(Issued { token: token.clone(), number: kept.number, is_fresh: false });
        }
        let (token, lasts) = grantee.ask().await.map_err(McpError::NoToken)?;
        kept.number += 1;
        kept.token = Some((token.clone(), Instant::now() + lasts));
        Ok(Issued { token, number: kept.number, is_fresh: true })
    }

    /// A token that is not taken any more is not used again; a later one stays.
    pub(super) async fn forget(&self, grantee: &Grantee, number: u64) {
        let place = self.place(grantee);
        let mut kept = place.lock().await;
        if kept.number == number {
            kept.token = None;
        }
    }

    fn place(&self, grantee: &Grantee) -> Arc<tokio::sync::Mutex<Kept>> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = grantee.key();
        if places.len() >= KEPT && !places.contains_key(&key) {
            places.clear();
        }
        Arc::clone(places.entry(key).or_default())
    }
}

impl Grantee {
    fn key(&self) -> String {
        let scope = self.scope.as_deref().unwrap_or_default();
        let parts = [self.token_url.as_str(), &self.id, self.secret.expose(), scope, self.resource.as_str()];
        short_hash(parts.join("\n").as_bytes())
    }

    /// Asks for a token, and says how long it may be used.
    async fn ask(&self) -> Result<(Secret, Duration), String> {
        let mut body = format!("grant_type=client_credentials&resource={}", encoded(self.resource.as_str()));
        if let Some(scope) = &self.scope {
            write!(body, "&scope={}", encoded(scope)).expect("writing to a String cannot fail");
        }
        let request = self
            .http
            .post(self.token_url.clone())
            .basic_auth(encoded(&self.id), Some(encoded(self.secret.expose())))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body)
            .timeout(ASKING);
        let mut response = request.send().await.map_err(unanswered)?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unanswered)? {
            if bytes.len() + chunk.len() > ANSWER {
                return Err("the token endpoint answers far too much".into());
            }
            bytes.extend_from_slice(&chunk);
        }
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let text = |member: &str| answer.get(member).and_then(Value::as_str);
        if !status.is_success() {
            let said = [text("error"), text("error_description")].into_iter().flatten().collect::<Vec<_>>().join(", ");
            let said = said.replace(self.secret.expose(), "***");
            let said: String = said.chars().filter(|c| !c.is_control()).take(QUOTED).collect();
            let gap = if said.is_empty() { "" } else { ": " };
            return Err(format!("the token endpoint refused with {status}{gap}{said}"));
        }
        if !text("token_type").is_none_or(|kind| kind.eq_ignore_ascii_case("bearer")) {
            return Err("the token endpoint gave a token of a type other than `Bearer`".into());
        }
        let token =
            text("access_token").filter(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()));
        let token = token.ok_or("the token endpoint gave no `access_token`")?;
        let said = answer.get("expires_in");
        let lasts = said.and_then(|said| said.as_u64().or_else(|| said.as_str()?.parse().ok())).unwrap_or(UNSAID);
        // A year is as good as for ever, and keeps the clock's arithmetic in bounds.
        let lasts = lasts.min(31_536_000);
        Ok((Secret::new(token), Duration::from_secs(lasts - MARGIN.min(lasts / 10))))
    }
}

fn unanswered(error: reqwest::Error) -> String {
    // The address may hold what nobody should read.
    let error = error.without_url();
    if error.is_timeout() {
        return "the token endpoint does not answer in time".into();
    }
    let mut cause: &dyn std::error::Error = &error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    format!("the token endpoint does not answer: {cause}")
}

/// A text as a form holds it.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut form, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            form.push(char::from(byte));
        } else {
            write!(form, "%{byte:02X}").expect("writing to a String cannot fail");
        }
        form
    })
}
