//! What went wrong in a call, and what follows from it: whether to try again, when, and what it says about the provider.

use std::time::Duration;

use http::HeaderMap;
use mana_types::{Secret, Timestamp};
use serde_json::Value;

use super::redact::redact;
use super::sse::TooMuch;
use crate::engine::EngineErrorKind;

/// How many bytes of a foreign text are quoted.
const QUOTED: usize = 2 * 1024;

/// One attempt that led to no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: EngineErrorKind,
    /// For people; without secrets.
    pub(super) reason: String,
    pub(super) again: Again,
    pub(super) health: Health,
    /// The provider has more to do than it can: fewer calls at once.
    pub(super) overloaded: bool,
}

/// Whether the same request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    /// After a pause of our choice.
    Soon,
    /// After the pause that the provider asks for.
    After(Duration),
}

/// What an attempt says about the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// It replied.
    Fine,
    /// It answered, though not with a reply.
    Alive,
    /// Nothing.
    Unsaid,
    /// It is broken, or out of reach.
    Faulty,
    /// It will not serve us until somebody changes something.
    Closed,
}

/// The words about a provider, with what may not be said taken out.
#[derive(Debug, Clone)]
pub(super) struct Words {
    key: Secret,
}

impl Words {
    pub(super) const fn new(key: Secret) -> Self {
        Self { key }
    }

    /// A foreign text that may be shown: no secret in it, not even our key in a shape of its own, one line, and not long.
    pub(super) fn clean(&self, text: &str) -> String {
        let key = self.key.expose();
        let redacted = if key.is_empty() { redact(text) } else { redact(&text.replace(key, "***")) };
        let mut line = redacted.split_whitespace().collect::<Vec<_>>().join(" ");
        line.truncate(line.floor_char_boundary(QUOTED));
        line
    }

    /// An answer that is no success. The body may be anything: JSON in the provider's shape or another, HTML, nothing.
    pub(super) fn of_answer(&self, status: u16, headers: &HeaderMap, body: &str, now: Timestamp) -> Failure {
        let parsed: Value = serde_json::from_str(body).unwrap_or_default();
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let told = Told {
            after: asked_pause(header("retry-after-ms"), header("retry-after"), now),
            names_pause: headers.contains_key("retry-after") || headers.contains_key("retry-after-ms"),
            should_retry: match header("x-should-retry") {
                Some("true") => Some(true),
                Some("false") => Some(false),
                _ => None,
            },
        };
        let error = parsed.get("error").unwrap_or(&Value::Null);
        let message = message_of(&parsed, error).unwrap_or(body);
        let request = parsed.get("request_id").and_then(Value::as_str).or_else(|| header("request-id"));
        self.judge(status, error, message, request, &told)
    }

    /// An `error` event in the middle of a stream, or an error under a status of success.
    pub(super) fn of_event(&self, event: &Value) -> Failure {
        let error = event.get("error").unwrap_or(&Value::Null);
        let status = match error.get("type").and_then(Value::as_str).unwrap_or_default() {
            "invalid_request_error" => 400,
            "authentication_error" => 401,
            "billing_error" => 402,
            "permission_error" => 403,
            "not_found_error" => 404,
            "request_too_large" => 413,
            "rate_limit_error" => 429,
            "timeout_error" => 504,
            "overloaded_error" => 529,
            _ => 500,
        };
        let request = event.get("request_id").and_then(Value::as_str);
        self.judge(status, error, message_of(event, error).unwrap_or_default(), request, &Told::default())
    }

    fn judge(&self, status: u16, error: &Value, message: &str, request: Option<&str>, told: &Told) -> Failure {
        let kind_of_error = error.get("type").and_then(Value::as_str).unwrap_or_default();
        let code = error.pointer("/details/error_code").and_then(Value::as_str).unwrap_or_default();
        let spent = is_spend_limit(status, code, message, told.names_pause);
        let (kind, health, passes) = match status {
            _ if spent => (EngineErrorKind::ProviderDown, Health::Closed, false),
            400 | 413 | 422 => (EngineErrorKind::Rejected, Health::Alive, false),
            401..=404 => (EngineErrorKind::ProviderDown, Health::Closed, false),
            409 => (EngineErrorKind::ProviderDown, Health::Alive, true),
            429 => (EngineErrorKind::ProviderDown, Health::Unsaid, true),
            408 | 500.. => (EngineErrorKind::ProviderDown, Health::Faulty, true),
            _ => (EngineErrorKind::ProviderDown, Health::Alive, false),
        };
        let again = match (told.should_retry.unwrap_or(passes), told.after) {
            (false, _) => Again::Never,
            (true, Some(pause)) => Again::After(pause),
            (true, None) => Again::Soon,
        };
        // What the provider itself wants repeated is no closed door.
        let health = if again != Again::Never && health == Health::Closed { Health::Alive } else { health };
        let mut reason = format!("the model provider answered {status}");
        for (before, part, after) in [(" ", kind_of_error, ""), (" (", code, ")"), (": ", message, "")] {
            let part = self.clean(part);
            if !part.is_empty() {
                reason.extend([before, &part, after]);
            }
        }
        if let Some(request) = request {
            let id: String = self.clean(request).chars().take(80).collect();
            reason.extend([" (request ", &id, ")"]);
        }
        let hint = match status {
            300..=399 => "; it points elsewhere, and a key is not carried there: set the base URL to the final address",
            401 | 403 => "; check the key and the way it is sent",
            404 => "; check the name of the model and the base URL",
            _ if spent => "; raise the spending limit there, or wait until it renews",
            _ => "",
        };
        reason.push_str(hint);
        Failure { kind, reason, again, health, overloaded: matches!(status, 429 | 529) && !spent }
    }

    /// No connection, or one that broke.
    pub(super) fn of_connection(&self, error: reqwest::Error) -> Failure {
        // Its text would name the address, and the causes are what explains it.
        let error = error.without_url();
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(current) = cause {
            text.extend([": ", &current.to_string()]);
            cause = current.source();
        }
        broken(format!("the model provider cannot be reached: {}", self.clean(&text)))
    }

    /// An answer that is no message of this protocol.
    pub(super) fn of_nonsense(&self, what: &str) -> Failure {
        broken(format!("the model provider's answer cannot be read: {}", self.clean(what)))
    }
}

/// Nothing came for too long.
pub(super) fn silent(idle: Duration) -> Failure {
    broken(format!("the model provider sent nothing for {} seconds", idle.as_secs_f32()))
}

/// An end before the end.
pub(super) fn cut_off() -> Failure {
    broken("the model provider's answer broke off before its end".into())
}

/// More than anybody has reason to send.
pub(super) fn too_much(cause: TooMuch) -> Failure {
    let reason = format!("the model provider's answer cannot be taken: {cause}");
    Failure {
        kind: EngineErrorKind::ProviderDown,
        reason,
        again: Again::Never,
        health: Health::Alive,
        overloaded: false,
    }
}

/// What may be better next time.
fn broken(reason: String) -> Failure {
    Failure {
        kind: EngineErrorKind::ProviderDown,
        reason,
        again: Again::Soon,
        health: Health::Faulty,
        overloaded: false,
    }
}

/// What an answer's headers say about trying again.
#[derive(Debug, Default)]
struct Told {
    after: Option<Duration>,
    /// There is such a header, whatever it says.
    names_pause: bool,
    should_retry: Option<bool>,
}

/// Whether money is the matter: a limit of the account, or one that its owner set. The latter comes as a bad request
/// that can be told only by its words.
fn is_spend_limit(status: u16, code: &str, message: &str, names_pause: bool) -> bool {
    match status {
        429 => !names_pause && code.contains("spend"),
        400 => {
            code.contains("spend")
                || (message.starts_with("You have reached your specified") && message.contains("usage limits"))
        }
        _ => false,
    }
}

/// The message in a body: the provider's shape, or one of those that other servers of the interface use.
fn message_of<'a>(body: &'a Value, error: &'a Value) -> Option<&'a str> {
    let candidates = [error.get("message"), Some(error), body.get("message"), body.get("detail")];
    candidates.into_iter().flatten().find_map(Value::as_str)
}

/// The pause that the headers ask for; none where they say nothing, nothing that can be read, or nothing to wait for.
fn asked_pause(millis: Option<&str>, after: Option<&str>, now: Timestamp) -> Option<Duration> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let from_millis = millis.and_then(number).map(|millis| millis / 1_000.0);
    let seconds = from_millis.or_else(|| {
        let text = after?.trim();
        number(text).or_else(|| {
            let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            Some(Duration::from_millis(u64::try_from(Timestamp::from_jiff(date).since(now)).ok()?).as_secs_f64())
        })
    })?;
    // Longer than a year is longer than anybody waits, and shorter than what overflows.
    (seconds > 0.0 && seconds < 3.2e7).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn words() -> Words {
        Words::new(Secret::new("canary-key-of-no-known-shape"))
    }

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Failure {
        let headers =
            headers.iter().map(|(name, value)| ((*name).parse().unwrap(), HeaderValue::from_static(value))).collect();
        words().of_answer(status, &headers, body, Timestamp::from_millis(784_111_777_000))
    }

    #[test]
    fn a_status_says_what_follows() {
        use EngineErrorKind::{ProviderDown, Rejected};
        let cases = [
            (400, Rejected, Again::Never, Health::Alive, false),
            (401, ProviderDown, Again::Never, Health::Closed, false),
            (402, ProviderDown, Again::Never, Health::Closed, false),
            (403, ProviderDown, Again::Never, Health::Closed, false),
            (404, ProviderDown, Again::Never, Health::Closed, false),
            (408, ProviderDown, Again::Soon, Health::Faulty, false),
            (409, ProviderDown, Again::Soon, Health::Alive, false),
            (413, Rejected, Again::Never, Health::Alive, false),
            (418, ProviderDown, Again::Never, Health::Alive, false),
            (429, ProviderDown, Again::Soon, Health::Unsaid, true),
            (500, ProviderDown, Again::Soon, Health::Faulty, false),
            (502, ProviderDown, Again::Soon, Health::Faulty, false),
            (503, ProviderDown, Again::Soon, Health::Faulty, false),
            (504, ProviderDown, Again::Soon, Health::Faulty, false),
            (529, ProviderDown, Again::Soon, Health::Faulty, true),
            (301, ProviderDown, Again::Never, Health::Alive, false),
        ];
        for (status, kind, again, health, overloaded) in cases {
            for body in [
                "",
                "<html><body>nope</body></html>",
                "{\"type\":\"error\",\"error\":{\"type\":\"x\"}}",
                "[1",
                "null",
                "7",
            ] {
                let found = answer(status, &[], body);
                let expected = Failure { kind, reason: found.reason.clone(), again, health, overloaded };
                assert_eq!(found, expected, "{status} {body}");
                assert!(found.reason.contains(&status.to_string()));
            }
        }
    }

    #[test]
    fn the_provider_may_say_otherwise() {
        assert_eq!(answer(529, &[("x-should-retry", "false")], "").again, Again::Never);
        assert_eq!(answer(400, &[("x-should-retry", "true")], "").again, Again::Soon);
        assert_eq!(answer(400, &[("x-should-retry", "maybe")], "").again, Again::Never);
        let told = answer(401, &[("x-should-retry", "true"), ("retry-after", "2")], "");
        assert_eq!((told.again, told.health), (Again::After(Duration::from_secs(2)), Health::Alive));
    }

    #[test]
    fn pauses_are_read_in_every_spelling() {
        let wait = |headers: &[(&'static str, &'static str)]| answer(429, headers, "").again;
        let secs = |secs: f64| Again::After(Duration::from_secs_f64(secs));
        assert_eq!(wait(&[("retry-after", "1")]), secs(1.0));
        assert_eq!(wait(&[("retry-after", " 1.5 ")]), secs(1.5));
        assert_eq!(wait(&[("retry-after-ms", "250"), ("retry-after", "9")]), secs(0.25));
        assert_eq!(wait(&[("retry-after-ms", "soon"), ("retry-after", "9")]), secs(9.0));
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT")]), secs(3.0));
        for none in ["0", "-3", "soon", "", "NaN", "inf", "1e300", "Sun, 06 Nov 1994 08:49:30 GMT", "Mon, 99 Nov"] {
            assert_eq!(wait(&[("retry-after", none)]), Again::Soon, "{none}");
        }
    }

    #[test]
    fn a_spending_limit_closes_the_door() {
        let body = json!({ "type": "error", "error": { "type": "rate_limit_error", "message": "limit",
            "details": { "error_code": "enforced_spend_limit_reached" } }, "request_id": "req_1" })
        .to_string();
        let found = answer(429, &[], &body);
        assert_eq!((found.again, found.health, found.overloaded), (Again::Never, Health::Closed, false));
        assert_eq!(
            found.reason,
            "the model provider answered 429 rate_limit_error (enforced_spend_limit_reached): limit (request req_1); \
             raise the spending limit there, or wait until it renews"
        );
        assert_eq!(answer(429, &[("retry-after", "5")], &body).again, Again::After(Duration::from_secs(5)));
        let own =
            json!({ "error": { "message": "You have reached your specified API usage limits. Access returns." } });
        assert_eq!(answer(400, &[], &own.to_string()).health, Health::Closed);
    }

    #[test]
    fn no_secret_and_no_novel_gets_into_a_reason() {
        let long = format!("<html>x-api-key: canary-header\n{} canary-key-of-no-known-shape ü", "é".repeat(5_000));
        let bodies = [
            long.as_str(),
            r#"{"error":{"type":"sk-canary-type","message":"bad key canary-key-of-no-known-shape, Bearer canary12"}}"#,
            r#"{"error":"password in https://me:canary@host/"}"#,
            r#"{"detail":"{\"authorization\":\"canary\"}","request_id":"sk-canary-request"}"#,
        ];
        for body in bodies {
            let reason = answer(500, &[("request-id", "sk-canary-request")], body).reason;
            assert!(!reason.contains("canary"), "{reason}");
            assert!(reason.len() < QUOTED + 200, "{}", reason.len());
        }
    }

    #[test]
    fn errors_in_a_stream_are_judged_alike() {
        let found = |kind: &str| words().of_event(&json!({ "error": { "type": kind, "message": "m" } }));
        assert!(found("overloaded_error").overloaded);
        assert_eq!(found("api_error").again, Again::Soon);
        assert_eq!(found("anything").again, Again::Soon);
        assert_eq!(found("authentication_error").health, Health::Closed);
        assert_eq!(found("invalid_request_error").kind, EngineErrorKind::Rejected);
        assert_eq!(words().of_event(&json!(null)).again, Again::Soon);
    }
}
