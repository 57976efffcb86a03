//! From where browsers and names may reach the doors.

use axum::http::{HeaderName, HeaderValue, Method};
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::GatewayOptions;
use crate::choice;

/// Where programs on the same machine come from.
const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
const LOOPBACK_ORIGINS: [&str; 4] =
    ["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*", "https://localhost:*"];

/// Every header that a client may send to the doors.
const REQUEST_HEADERS: [&str; 12] = [
    "authorization",
    "content-type",
    "accept",
    "mcp-protocol-version",
    "mcp-method",
    "mcp-name",
    "mcp-session-id",
    "last-event-id",
    "x-mana-space",
    "x-mana-tick",
    "idempotency-key",
    "x-correlation-id",
];

/// Every header of an answer that a page may read.
const RESPONSE_HEADERS: [&str; 5] =
    ["mcp-session-id", "mcp-protocol-version", "www-authenticate", "retry-after", "x-request-id"];

/// The `Host` values that are answered, as `rmcp` reads them: an entry without a port stands for any port.
pub(crate) fn hosts(options: &GatewayOptions) -> Vec<String> {
    let own = options.public_url.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or(rest).to_owned());
    LOOPBACK_HOSTS.map(str::to_owned).into_iter().chain(own).chain(options.hosts.iter().cloned()).collect()
}

/// The `Origin` values that are answered, as `rmcp` reads them.
pub(crate) fn origins(options: &GatewayOptions) -> Vec<String> {
    let own = (!options.public_url.is_empty()).then(|| with_port(&options.public_url));
    LOOPBACK_ORIGINS
        .map(str::to_owned)
        .into_iter()
        .chain(own)
        .chain(options.origins.iter().map(|origin| with_port(origin)))
        .collect()
}

/// An origin always names its port, so that no port is not any port.
fn with_port(origin: &str) -> String {
    let Some((scheme, rest)) = origin.split_once("://") else { return origin.to_owned() };
    let host = rest.split('/').next().unwrap_or(rest);
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    match (has_port, scheme) {
        (true, _) => format!("{scheme}://{host}"),
        (false, "https") => format!("{scheme}://{host}:443"),
        (false, _) => format!("{scheme}://{host}:80"),
    }
}

/// Answers preflight requests, without auth, and tells browsers what they may read.
pub(crate) fn cors(options: &GatewayOptions) -> CorsLayer {
    let allowed = origins(options);
    let names = |names: &[&'static str]| names.iter().map(|name| HeaderName::from_static(name)).collect::<Vec<_>>();
    let request_headers: Vec<&'static str> = REQUEST_HEADERS.into_iter().chain(choice::HEADERS).collect();
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin: &HeaderValue, _| {
            origin.to_str().is_ok_and(|origin| is_allowed(origin, &allowed))
        }))
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(names(&request_headers))
        .expose_headers(names(&RESPONSE_HEADERS))
        .max_age(Duration::from_mins(10))
}

fn is_allowed(origin: &str, allowed: &[String]) -> bool {
    let origin = with_port(&origin.to_ascii_lowercase());
    allowed.iter().any(|entry| match entry.strip_suffix(":*") {
        Some(any_port) => origin.rsplit_once(':').is_some_and(|(host, _)| host == any_port),
        None => *entry == origin,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_and_this_machine_may_call() {
        let mut options = GatewayOptions::new("https://mana.example");
        options.origins = vec!["https://app.example:*".into()];
        let allowed = origins(&options);
        for origin in ["https://mana.example", "http://localhost:6274", "http://[::1]:80", "https://app.example:8443"] {
            assert!(is_allowed(origin, &allowed), "{origin}");
        }
        for origin in [
            "https://mana.example:444",
            "http://mana.example",
            "https://evil.example",
            "null",
            "http://localhost.evil.example",
        ] {
            assert!(!is_allowed(origin, &allowed), "{origin}");
        }
        assert_eq!(hosts(&options), ["localhost", "127.0.0.1", "::1", "mana.example"]);
    }
}
