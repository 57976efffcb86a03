//! Which model is asked, where, and in which dialect.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use mana_types::Secret;
use reqwest::Url;

use super::table;

/// How long the name of a model may be: the books take no longer one.
const LONGEST_NAME: usize = 128;

/// How a key is shown to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthStyle {
    /// `x-api-key: …`
    #[default]
    ApiKey,
    /// `Authorization: Bearer …`
    Bearer,
}

impl AuthStyle {
    /// The style as it is written in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "x-api-key",
            Self::Bearer => "bearer",
        }
    }
}

impl FromStr for AuthStyle {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "x-api-key" => Ok(Self::ApiKey),
            "bearer" => Ok(Self::Bearer),
            other => Err(format!("`{other}` is no way to show a key, expected `x-api-key` or `bearer`")),
        }
    }
}

/// A version of the Messages API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ApiVersion {
    /// `2026-10-21`, which knows no sampling parameters.
    #[default]
    V20261021,
    /// `2023-06-01`, which most other servers of the interface speak.
    V20230601,
}

impl ApiVersion {
    /// The version as the header `anthropic-version` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V20261021 => "2026-10-21",
            Self::V20230601 => "2023-06-01",
        }
    }
}

impl FromStr for ApiVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "2026-10-21" => Ok(Self::V20261021),
            "2023-06-01" => Ok(Self::V20230601),
            other => Err(format!(
                "`{other}` is no version of the Messages API known here, expected `2026-10-21` or `2023-06-01`"
            )),
        }
    }
}

/// How a model is reached: Claude, or any server of the same interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelOptions {
    /// The address before `/v1/messages` (`ANTHROPIC_BASE_URL`): https, or http on this machine.
    pub base_url: String,
    /// How the key is shown.
    pub auth: AuthStyle,
    /// Which version of the interface is spoken.
    pub version: ApiVersion,
    /// What proves who asks (`ANTHROPIC_API_KEY`); empty where the server wants none.
    pub key: Secret,
    /// The model's name (`MANA_MODEL`).
    pub model: String,
    /// Whether a model without a price may be used. What it takes is then counted in tokens, and costs nothing.
    pub allow_unpriced: bool,
    /// Whether ratings are asked for with a JSON schema; none: if the table says that the model's server holds to one.
    pub structured: Option<bool>,
    /// How many calls may run at once, at most.
    pub most_at_once: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long the provider may be silent in the middle of a call.
    pub idle_timeout: Duration,
}

impl Default for ModelOptions {
    /// The smallest Claude, without a key.
    fn default() -> Self {
        Self {
            base_url: "https://api.anthropic.com".into(),
            auth: AuthStyle::default(),
            version: ApiVersion::default(),
            key: Secret::default(),
            model: "claude-haiku-5-5".into(),
            allow_unpriced: false,
            structured: None,
            most_at_once: 8,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_mins(1),
        }
    }
}

/// What is wrong with these options, as a sentence that says what to do.
pub(super) fn check(options: &ModelOptions) -> Result<(), String> {
    messages_url(&options.base_url)?;
    let name = &options.model;
    if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(format!(
            "the model has no usable name (at most {LONGEST_NAME} characters): set it to one such as `claude-haiku-5-5`"
        ));
    }
    if table::family(name).is_none() && !options.allow_unpriced {
        let known = table::priced().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ");
        return Err(format!(
            "the model `{name}` has no price here ({}), so no budget could hold it: set `MANA_MODEL` to one of {known}, or `MANA_ALLOW_UNPRICED=true`",
            table::source()
        ));
    }
    Ok(())
}

/// Where messages are sent.
pub(super) fn messages_url(base: &str) -> Result<Url, String> {
    let base = base.trim_end_matches('/');
    // The address is quoted nowhere: it may hold a password that does not parse as one.
    let mut url = Url::parse(base).map_err(|cause| {
        format!(
            "the base URL of the model provider is none ({cause}), expected one such as `https://api.anthropic.com`"
        )
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the base URL of the model provider holds a user name or password: set the key instead".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("the base URL of the model provider has a query or a fragment: leave it out".into());
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => {
            return Err(
                "the base URL of the model provider is http to another machine, where anybody on the way could read the key and the prompts: use https"
                    .into(),
            );
        }
        _ => return Err("the base URL of the model provider is not https".into()),
    }
    if url.path().ends_with("/v1") || url.path().ends_with("/v1/messages") {
        return Err("the base URL of the model provider goes too far: leave out `/v1` and what follows".into());
    }
    let path = format!("{}/v1/messages", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or_else(|_| host == "localhost" || host.ends_with(".localhost"), |ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_safe_or_refused() {
        let url = |base: &str| messages_url(base).map(String::from);
        let good = [
            ("https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
            ("https://api.anthropic.com/", "https://api.anthropic.com/v1/messages"),
            ("https://gate.example/team/a/", "https://gate.example/team/a/v1/messages"),
            ("http://localhost:11434", "http://localhost:11434/v1/messages"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/messages"),
            ("http://[::1]:8080", "http://[::1]:8080/v1/messages"),
        ];
        for (base, expected) in good {
            assert_eq!(url(base).as_deref(), Ok(expected), "{base}");
        }
        let bad = [
            ("http://api.anthropic.com", "use https"),
            ("http://127.0.0.1.example.com", "use https"),
            ("https://me:canary@api.example", "set the key instead"),
            ("https://canary@api.example", "set the key instead"),
            ("https://api.example?key=canary", "leave it out"),
            ("https://api.example/#canary", "leave it out"),
            ("https://api.example/v1", "leave out `/v1`"),
            ("https://api.example/v1/messages/", "leave out `/v1`"),
            ("ftp://api.example", "not https"),
            ("file:///etc/canary", "not https"),
            ("canary", "expected one such as"),
            ("", "expected one such as"),
        ];
        for (base, expected) in bad {
            let refused = url(base).unwrap_err();
            assert!(refused.contains(expected) && !refused.contains("canary"), "{base}: {refused}");
        }
    }

    #[test]
    fn a_model_needs_a_name_and_a_price() {
        let with = |model: &str, allow_unpriced| {
            check(&ModelOptions { model: model.into(), allow_unpriced, ..ModelOptions::default() })
        };
        assert_eq!(with("claude-haiku-5-5", false), Ok(()));
        assert_eq!(with("claude-opus-5-5-20261101", false), Ok(()));
        assert!(with("qwen3-coder", false).unwrap_err().contains("`qwen3-coder` has no price"));
        assert_eq!(with("qwen3-coder", true), Ok(()));
        assert!(with("", true).is_err() && with("a\nb", true).is_err());
        assert_eq!(with(&"q".repeat(128), true), Ok(()));
        assert!(with(&"q".repeat(129), true).unwrap_err().contains("at most 128 characters"));
    }

    #[test]
    fn words_of_settings_read_back() {
        for style in [AuthStyle::ApiKey, AuthStyle::Bearer] {
            assert_eq!(style.as_str().parse(), Ok(style));
        }
        for version in [ApiVersion::V20261021, ApiVersion::V20230601] {
            assert_eq!(version.as_str().parse(), Ok(version));
        }
        assert!("basic".parse::<AuthStyle>().unwrap_err().contains("`x-api-key` or `bearer`"));
        assert!("2024-01-01".parse::<ApiVersion>().unwrap_err().contains("`2026-10-21`"));
    }

    #[test]
    fn debug_shows_no_key() {
        let options = ModelOptions { key: Secret::new("canary"), ..ModelOptions::default() };
        assert!(!format!("{options:?}").contains("canary"));
    }
}
