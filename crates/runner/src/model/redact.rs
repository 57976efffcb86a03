//! Takes secrets out of text that came from outside, before it reaches a log, an error or the journal.
//!
//! It knows secrets by where they stand (headers, fields, the userinfo of a URL) and by how they look (`sk-…`,
//! `Bearer …`, JWT). Better a word too many is hidden than a secret too few.

/// What stands in place of a secret.
const HIDDEN: &str = "***";

/// Headers whose whole value is secret, to the end of the line or of the quotes.
const HEADERS: &[&str] =
    &["proxy-authorization", "authorization", "set-cookie", "cookie", "x-api-key", "x-auth-token", "x-goog-api-key"];

/// Fields whose value is one secret word.
const FIELDS: &[&str] = &["access_token", "refresh_token", "id_token", "client_secret", "api_key", "api-key", "apikey"];

/// The text without what looks like a secret. Redacting twice changes nothing more.
pub(crate) fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let mut kept = 0;
    while at < text.len() {
        let starts_word = at == 0 || !text.as_bytes()[at - 1].is_ascii_alphanumeric();
        let found = if starts_word { secret_at(text, at) } else { None };
        if let Some((from, to)) = found.or_else(|| userinfo_at(text, at)) {
            out.push_str(&text[kept..from]);
            out.push_str(HIDDEN);
            at = to;
            kept = to;
        } else {
            at += 1;
        }
    }
    out.push_str(&text[kept..]);
    out
}

/// The span of the secret that is announced or begins at this byte.
fn secret_at(text: &str, at: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    match bytes[at].to_ascii_lowercase() {
        b'a' | b'c' | b'i' | b'p' | b'r' | b's' | b'x' => {
            if let Some(name) = HEADERS.iter().find(|name| word_at(bytes, at, name)) {
                return value_after(bytes, at + name.len(), true);
            }
            if let Some(name) = FIELDS.iter().find(|name| word_at(bytes, at, name)) {
                return value_after(bytes, at + name.len(), false);
            }
            key_at(bytes, at)
        }
        b'b' => bearer_at(bytes, at),
        b'e' => jwt_at(bytes, at),
        _ => None,
    }
}

/// `sk-…`, with at least six characters behind it.
fn key_at(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    if !word_at(bytes, at, "sk-") {
        return None;
    }
    let end = run(bytes, at + 3, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    (end >= at + 9).then_some((at, end))
}

/// What follows `Bearer `; not the words of a sentence about bearer tokens, nor the parameters of a challenge.
fn bearer_at(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    if !word_at(bytes, at, "bearer") {
        return None;
    }
    let from = run(bytes, at + 6, |byte| matches!(byte, b' ' | b'\t'));
    let end = run(bytes, from, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
    });
    let value = &bytes[from..end];
    let is_plain = [&b"realm="[..], b"error=", b"scope=", b"tokens"].iter().any(|word| value.starts_with(word));
    (from > at + 6 && value.len() >= 6 && !is_plain).then_some((from, end))
}

/// Three parts in base64url, the first of which begins an object; or a long piece of the first.
fn jwt_at(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    if !bytes[at..].starts_with(b"eyJ") {
        return None;
    }
    let in_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let mut end = run(bytes, at, in_part);
    let is_long = end - at >= 24;
    let mut parts = 1;
    while parts < 3 && bytes.get(end) == Some(&b'.') && bytes.get(end + 1).copied().is_some_and(in_part) {
        end = run(bytes, end + 1, in_part);
        parts += 1;
    }
    (is_long || parts > 1).then_some((at, end))
}

/// `user:password` between `://` and `@`.
fn userinfo_at(text: &str, at: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    if at == 0 || !bytes[at..].starts_with(b"://") {
        return None;
    }
    let from = at + 3;
    let end = run(bytes, from, |byte| {
        !byte.is_ascii_whitespace() && !matches!(byte, b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>' | b'\\')
    });
    let userinfo = from + bytes[from..end].iter().rposition(|byte| *byte == b'@')?;
    (userinfo > from).then_some((from, userinfo))
}

/// The value behind a name, as in a header line, JSON, `Debug` output or a query. `whole`: up to the end of the line.
fn value_after(bytes: &[u8], from: usize, whole: bool) -> Option<(usize, usize)> {
    let quotes = |byte: u8| matches!(byte, b'"' | b'\'' | b'\\');
    let spaces = |byte: u8| matches!(byte, b' ' | b'\t');
    let named = run(bytes, from, quotes);
    let separator = run(bytes, named, spaces);
    let is_separator = match bytes.get(separator)? {
        b':' | b'=' => true,
        // A pair in `Debug` output.
        b',' => named > from,
        _ => false,
    };
    if !is_separator {
        return None;
    }
    let start = run(bytes, run(bytes, separator + 1, spaces), quotes);
    let is_quoted = bytes.get(start.saturating_sub(1)).copied().is_some_and(|byte| matches!(byte, b'"' | b'\''));
    let end = run(bytes, start, |byte| match byte {
        b'\r' | b'\n' | b'"' | b'<' => false,
        b'\'' | b'\\' => !is_quoted && whole,
        b' ' | b'\t' | b'&' | b',' | b';' | b')' | b'}' | b']' => is_quoted || whole,
        _ => true,
    });
    (end > start).then_some((start, end))
}

/// Whether this ASCII word stands here, in whatever case.
fn word_at(bytes: &[u8], at: usize, word: &str) -> bool {
    bytes.get(at..at + word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()))
}

/// Where the run of such bytes that begins here ends. What it stops at is ASCII or the end, so it ends between characters.
fn run(bytes: &[u8], from: usize, belongs: impl Fn(u8) -> bool) -> usize {
    bytes[from..].iter().position(|byte| !belongs(*byte)).map_or(bytes.len(), |length| from + length)
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn secrets_go_and_the_rest_stays() {
        let cases = [
            ("authorization: Bearer canary.1 x\nnext", "authorization: ***\nnext"),
            (r#"{"authorization":"Basic Y2FuYXJ5","a":1}"#, r#"{"authorization":"***","a":1}"#),
            (r#""{\"x-api-key\": \"canary\"}""#, r#""{\"x-api-key\": \"***\"}""#),
            (r#"("x-api-key", "canary")"#, r#"("x-api-key", "***")"#),
            ("X-API-Key=canary", "X-API-Key=***"),
            ("Cookie: sid=canary; lang=de\r\nHost: a", "Cookie: ***\r\nHost: a"),
            ("Set-Cookie: sid=canary; HttpOnly", "Set-Cookie: ***"),
            ("incorrect key sk-ant-canary_01 given", "incorrect key *** given"),
            ("got bearer abcdef123 there", "got bearer *** there"),
            ("token eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJjYW5hcnkifQ.c2ln-_x!", "token ***!"),
            ("cut eyJhbGciOiJFZERTQSJ9eyJzdWIi", "cut ***"),
            ("https://me:canary@host/path?x=1", "https://***@host/path?x=1"),
            ("see postgres://u:p@ss@db:5432/x and more", "see postgres://***@db:5432/x and more"),
            ("?api_key=canary&x=1", "?api_key=***&x=1"),
            (r#"{"access_token":"can ary","n":2}"#, r#"{"access_token":"***","n":2}"#),
            ("grüße: x-api-key: schlüssel-ß", "grüße: x-api-key: ***"),
            ("<p>authorization: canary</p>", "<p>authorization: ***</p>"),
        ];
        for (text, expected) in cases {
            assert_eq!(redact(text), expected, "{text}");
            assert_eq!(redact(expected), expected, "twice: {text}");
        }
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        let plain = [
            "",
            "the bearer of bad news, a bearer token, Bearer realm=\"x\"",
            "a task-management plan, risk-averse, sk-SK, eyJ",
            "x-api-key header is required",
            "write to mail@example.com or https://example.com/@someone",
            "cookies: are they tasty? 🍪 ja",
            "://@ and ://",
        ];
        for text in plain {
            assert_eq!(redact(text), text);
        }
    }
}
