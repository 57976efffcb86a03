//! The product that a persona visits where it is not this installation: another MCP server, and how to get in.
//!
//! A descriptor is stored, listed and copied, so no secret ever stands in it. `env:NAME` names the setting that holds
//! one; whoever makes the visit looks it up.

use std::collections::BTreeMap;

use axum::http::Uri;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fields::{Fields, kind_of};

/// The most tools of an allow-list, modules of a mapping, and headers.
const MOST_TOOLS: usize = 500;
const MOST_MODULES: usize = 500;
const MOST_HEADERS: usize = 20;
/// The longest name of a tool.
const LONGEST_TOOL: usize = 128;

/// How the names of secrets for other servers begin: no other variable of the environment is ever sent to one.
const FOR_TARGETS: &str = "TARGET_";
/// Headers that belong to the connection.
const OWN_HEADERS: [&str; 6] = ["host", "connection", "content-length", "content-type", "transfer-encoding", "accept"];
/// Parts of the names of headers that carry secrets.
const SECRET_WORDS: [&str; 7] = ["authorization", "cookie", "token", "secret", "key", "password", "credential"];

/// How a persona shows who it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// With its token of this installation.
    #[default]
    Mana,
    /// With a fixed token.
    Bearer,
    /// With a token that is fetched by OAuth's client credentials (RFC 6749, section 4.4).
    ClientCredentials,
    /// With nothing, or with what its headers say.
    None,
}

impl std::str::FromStr for Auth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mana" => Ok(Self::Mana),
            "bearer" => Ok(Self::Bearer),
            "client-credentials" => Ok(Self::ClientCredentials),
            "none" => Ok(Self::None),
            other => Err(format!("`{other}` is no way in, expected `mana`, `bearer`, `client-credentials` or `none`")),
        }
    }
}

/// Another product. Secrets are references such as `env:TARGET_SHOP_TOKEN`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The address of its MCP server.
    pub url: String,
    /// How the persona gets in.
    #[serde(default)]
    pub auth: Auth,
    /// The token of [`Auth::Bearer`]: a reference.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub token: Option<String>,
    /// Who asks for a token, with [`Auth::ClientCredentials`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_id: Option<String>,
    /// Its secret: a reference.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_secret: Option<String>,
    /// Where it asks.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub token_url: Option<String>,
    /// For what it asks, if the server wants to know.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scope: Option<String>,
    /// Headers of every request; a value may be a reference.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub headers: BTreeMap<String, String>,
    /// Which module a tool belongs to, by its name or by `prefix*`. Others belong to what stands first in their name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub modules: BTreeMap<String, String>,
}

impl Target {
    const NAMES: [&'static str; 9] =
        ["url", "auth", "token", "clientId", "clientSecret", "tokenUrl", "scope", "headers", "modules"];

    /// Reads it; every fault is noted, and with any there is none worth having.
    pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Self> {
        fields.only(&Self::NAMES);
        if fields.value("url").is_none() {
            fields.wrong("url", "is missing");
        }
        let url = read_url(&mut fields, "url");
        let auth = match fields.value("auth") {
            None => Some(Auth::Mana),
            Some(_) => fields.parsed("auth"),
        };
        let token = read_reference(&mut fields, "token");
        let client_id = fields.text("clientId", 500);
        let client_secret = read_reference(&mut fields, "clientSecret");
        let token_url = read_url(&mut fields, "tokenUrl");
        let scope = fields.text("scope", 500);
        if let Some(auth) = auth {
            let ways = [
                ("token", Auth::Bearer),
                ("clientId", Auth::ClientCredentials),
                ("clientSecret", Auth::ClientCredentials),
                ("tokenUrl", Auth::ClientCredentials),
            ];
            for (name, way) in ways {
                match fields.value(name) {
                    None if way == auth => fields.wrong(name, "is missing, this way in needs it"),
                    Some(_) if way != auth => fields.wrong(name, "belongs to another way in, see `auth`"),
                    _ => {}
                }
            }
        }
        if scope.is_some() && auth.is_some_and(|auth| auth != Auth::ClientCredentials) {
            fields.wrong("scope", "belongs to another way in, see `auth`");
        }
        let headers = fields.object("headers").map(read_headers).unwrap_or_default();
        let modules = fields.object("modules").map(read_modules).unwrap_or_default();
        Some(Self { url: url?, auth: auth?, token, client_id, client_secret, token_url, scope, headers, modules })
    }
}

/// An address of the web, without a name or password in it: those are secrets, too.
fn read_url(fields: &mut Fields<'_, '_>, name: &str) -> Option<String> {
    let text = fields.text(name, 2_000)?;
    let address = text.parse::<Uri>().ok().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    let Some(authority) = address.as_ref().and_then(Uri::authority).filter(|part| !part.host().is_empty()) else {
        fields.wrong(name, "not an address, expected one such as `https://shop.example/mcp`");
        return None;
    };
    if authority.as_str().contains('@') {
        fields.wrong(name, "no name or password may stand in an address, use `auth` or `headers`");
        return None;
    }
    Some(text)
}

/// The name in a reference.
fn reference(text: &str) -> Option<&str> {
    let name = text.strip_prefix("env:")?;
    let word = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
    (word && name.len() <= 128).then_some(name)
}

/// Notes what is wrong with a reference; what stands there instead is never repeated.
fn check_reference(fields: &mut Fields<'_, '_>, name: &str, text: &str) -> bool {
    match reference(text) {
        None => fields.wrong(
            name,
            "a secret has no place in a description: keep it in the environment of the runner and name it here, such as `env:TARGET_SHOP_TOKEN`",
        ),
        Some(other) if !other.starts_with(FOR_TARGETS) => {
            fields.wrong(name, format!("`{other}` is not sent to another server: name the variable `{FOR_TARGETS}…`"));
        }
        Some(_) => return true,
    }
    false
}

fn read_reference(fields: &mut Fields<'_, '_>, name: &str) -> Option<String> {
    let text = fields.text(name, 1_000)?;
    check_reference(fields, name, &text).then_some(text)
}

fn read_headers(mut fields: Fields<'_, '_>) -> BTreeMap<String, String> {
    let names: Vec<&str> = fields.names().collect();
    if names.len() > MOST_HEADERS {
        fields.wrong("", format!("at most {MOST_HEADERS} headers, found {}", names.len()));
    }
    let mut headers = BTreeMap::new();
    for name in names {
        let lower = name.to_ascii_lowercase();
        let is_token =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if !is_token {
            fields.wrong(name, "not the name of a header");
        } else if OWN_HEADERS.contains(&lower.as_str()) {
            fields.wrong(name, "belongs to the connection and cannot be set");
        }
        let Some(value) = fields.text(name, 2_000) else { continue };
        let is_secret = SECRET_WORDS.iter().any(|word| lower.contains(word));
        if (is_secret || value.starts_with("env:")) && !check_reference(&mut fields, name, &value) {
            continue;
        }
        if !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            fields.wrong(name, "the value of a header is visible ASCII");
            continue;
        }
        headers.insert(name.to_owned(), value);
    }
    headers
}

fn read_modules(mut fields: Fields<'_, '_>) -> BTreeMap<String, String> {
    let patterns: Vec<&str> = fields.names().collect();
    if patterns.len() > MOST_MODULES {
        fields.wrong("", format!("at most {MOST_MODULES} tools, found {}", patterns.len()));
    }
    let mut modules = BTreeMap::new();
    for pattern in patterns {
        if !is_pattern(pattern) {
            fields.wrong(pattern, NO_PATTERN);
        }
        match fields.text(pattern, 64) {
            Some(module) if crate::descriptor::is_word(&module) => {
                modules.insert(pattern.to_owned(), module);
            }
            Some(module) => {
                fields.wrong(pattern, format!("`{module}` is not the name of a module, expected one such as `orders`"));
            }
            None if fields.value(pattern).is_none() => fields.wrong(pattern, "expected the name of a module"),
            None => {}
        }
    }
    modules
}

const NO_PATTERN: &str = "expected the name of a tool, or the beginning of one with `*` behind it, such as `orders_*`";

/// A tool's name, or the beginning of one and a `*`.
fn is_pattern(text: &str) -> bool {
    let name = text.strip_suffix('*').unwrap_or(text);
    !text.is_empty() && text.len() <= LONGEST_TOOL && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*')
}

/// The tools that a persona may call; none means all of them. Every fault is noted.
pub(crate) fn read_tools(fields: &mut Fields<'_, '_>) -> Option<Vec<String>> {
    let entries = match fields.value("tools")? {
        Value::Array(entries) if entries.is_empty() => {
            fields.wrong("tools", "is empty, so that nothing may be called; leave it out to allow all tools");
            return None;
        }
        Value::Array(entries) if entries.len() > MOST_TOOLS => {
            fields.wrong("tools", format!("at most {MOST_TOOLS} names, found {}", entries.len()));
            return None;
        }
        Value::Array(entries) => entries,
        other => {
            fields.wrong("tools", format!("expected a list of names, found {}", kind_of(other)));
            return None;
        }
    };
    let mut tools: Vec<String> = Vec::with_capacity(entries.len());
    for (place, entry) in entries.iter().enumerate() {
        let name = format!("tools[{place}]");
        match entry.as_str() {
            None => fields.wrong(&name, format!("expected a name, found {}", kind_of(entry))),
            Some(pattern) if !is_pattern(pattern) => fields.wrong(&name, NO_PATTERN),
            Some(pattern) if tools.iter().any(|known| known == pattern) => fields.wrong(&name, "is in this list twice"),
            Some(pattern) => tools.push(pattern.to_owned()),
        }
    }
    Some(tools)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(target: &Value) -> Result<Target, Vec<String>> {
        let mut faults = Vec::new();
        let read = Fields::of(target, "target", &mut faults).and_then(Target::read);
        if faults.is_empty() {
            return Ok(read.expect("without a fault there is one"));
        }
        Err(faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect())
    }

    #[test]
    fn good_targets_read_and_speak_the_same() {
        for target in [
            json!({ "url": "http://127.0.0.1:9/mcp", "auth": "mana" }),
            json!({ "url": "https://shop.example/mcp?v=2", "auth": "bearer", "token": "env:TARGET_SHOP_TOKEN",
                "headers": { "x-api-key": "env:TARGET_SHOP_KEY", "x-tenant": "blue" }, "modules": { "orders_*": "orders", "search": "catalog" } }),
            json!({ "url": "https://shop.example/mcp", "auth": "client-credentials", "clientId": "mana",
                "clientSecret": "env:TARGET_SHOP_SECRET", "tokenUrl": "https://id.example/token", "scope": "orders" }),
        ] {
            let read = read(&target).expect("good");
            assert_eq!(serde_json::to_value(&read).expect("speaks"), target);
            assert_eq!(serde_json::from_value::<Target>(target).expect("is stored that way"), read);
        }
        assert_eq!(read(&json!({ "url": "https://a.example" })).expect("good").auth, Auth::Mana);
    }

    #[test]
    fn every_fault_is_named_and_no_secret_repeated() {
        let faults = read(&json!({
            "url": "https://me:hunter2@shop.example", "auth": "bearer", "token": "sk-hunter2", "clientId": "mana", "tolken": 1,
            "headers": { "Host": "x", "X-Api-Key": "hunter2", "x y": "1", "x-ok": "a\nb", "x-own": "env:mana_service_key_FILE" },
            "modules": { "*orders": "orders", "list_*": "Not A Word", "gone": null },
        }))
        .expect_err("all of it is wrong");
        let secret = "a secret has no place in a description: keep it in the environment of the runner and name it here, such as `env:TARGET_SHOP_TOKEN`";
        for expected in [
            "target.url: no name or password may stand in an address, use `auth` or `headers`".to_owned(),
            "target.tolken: unknown key, did you mean `token`?".into(),
            format!("target.token: {secret}"),
            "target.clientId: belongs to another way in, see `auth`".into(),
            "target.headers.Host: belongs to the connection and cannot be set".into(),
            format!("target.headers.X-Api-Key: {secret}"),
            "target.headers.x y: not the name of a header".into(),
            "target.headers.x-ok: the value of a header is visible ASCII".into(),
            format!("target.modules.*orders: {NO_PATTERN}"),
            "target.modules.list_*: `Not A Word` is not the name of a module, expected one such as `orders`".into(),
            "target.modules.gone: expected the name of a module".into(),
        ] {
            assert!(faults.contains(&expected), "missing: {expected}\nin: {faults:#?}");
        }
        assert!(faults.iter().any(|fault| fault.contains("is not sent to another server")), "{faults:#?}");
        assert!(faults.iter().all(|fault| !fault.contains("hunter2")), "{faults:#?}");
        for url in ["ftp://a.example", "shop.example/mcp", "https://", "", "https://a b"] {
            assert!(read(&json!({ "url": url })).is_err(), "{url}");
        }
        let faults = read(&json!({ "url": "https://a.example", "auth": "client-credentials" })).expect_err("half");
        assert_eq!(faults.len(), 3, "{faults:?}");
    }

    #[test]
    fn an_allow_list_is_names_and_beginnings_of_names() {
        let list = |tools: Value| {
            let mut faults = Vec::new();
            let body = json!({ "tools": tools });
            let read = Fields::of(&body, "", &mut faults).and_then(|mut fields| read_tools(&mut fields));
            (read, faults.into_iter().map(|fault| fault.field).collect::<Vec<_>>())
        };
        assert_eq!(
            list(json!(["todo_*", "notes_list"])).0.as_deref(),
            Some(&["todo_*".to_owned(), "notes_list".into()][..])
        );
        assert_eq!(list(Value::Null), (None, Vec::new()));
        assert_eq!(list(json!([])).1, ["tools"]);
        assert_eq!(list(json!("todo_*")).1, ["tools"]);
        assert_eq!(
            list(json!(["a*b", 3, "a", "a", "", "ä"])).1,
            ["tools[0]", "tools[1]", "tools[3]", "tools[4]", "tools[5]"]
        );
    }
}
