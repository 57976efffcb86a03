//! What no answer of a server may be, whatever it was asked.

use std::collections::HashMap;

use crate::wire::{Action, ActionResult};

/// Codes that say that the server itself is at fault, in lower case and with `-` for `_`.
const FAULTS: [&str; 12] = [
    "internal",
    "internal-error",
    "internal-server-error",
    "method-not-found",
    "panic",
    "protocol-error",
    "server-error",
    "service-unavailable",
    "timeout",
    "unavailable",
    "unexpected",
    "unreachable",
];

/// Words that speak of the inside: of panics, of databases, of types, of the places of files.
const INSIDES: [&str; 48] = [
    "panicked",
    "stack backtrace",
    "rust_backtrace",
    "traceback (most recent call last)",
    "thread 'main'",
    "thread 'tokio",
    "unwrap()",
    "assertion failed",
    "index out of bounds",
    "nullpointerexception",
    "segmentation fault",
    "sqlite",
    "sqlstate",
    "sqlx",
    "postgres",
    "syntax error at or near",
    "no such table",
    "no such column",
    "relation \"",
    "duplicate key value",
    "violates foreign key",
    "violates unique",
    "violates check",
    "unique constraint",
    "constraint failed",
    "invalid byte sequence",
    "unsupported unicode escape",
    "insert into ",
    "select * ",
    "on conflict",
    "deadlock detected",
    "database is locked",
    "connection refused",
    "broken pipe",
    "os error",
    ".rs:",
    ".py\", line",
    "/src/",
    "/home/",
    "/usr/",
    "/var/",
    "c:\\",
    "serde",
    "option<",
    "result<",
    "vec<",
    "::",
    "expected struct",
];

/// Names of types that only a programmer knows, as whole words.
const TYPES: [&str; 17] = [
    "bool", "bytea", "f32", "f64", "i16", "i32", "i64", "i8", "isize", "jsonb", "nonetype", "u16", "u32", "u64", "u8",
    "usize", "varchar",
];

/// Words of an error that say what is wrong with which part, or what to do.
const HELPS: [&str; 40] = [
    "again",
    "already",
    "archive",
    "at least",
    "at most",
    "before",
    "between",
    "call",
    "cannot be",
    "characters",
    "choose",
    "correct",
    "did you mean",
    "expected",
    "fewer",
    "instead",
    "is missing",
    "larger than",
    "leave",
    "limit",
    "list",
    "longer",
    "longer than",
    "must",
    "needs",
    "no such",
    "none of",
    "not a ",
    "not allowed",
    "not found",
    "one of",
    "only",
    "read it",
    "required",
    "shorter",
    "there is no",
    "too ",
    "try",
    "unknown",
    "use ",
];

/// How many characters of an answer are quoted.
const QUOTED: usize = 160;

/// Looks at the audit rows of a visit and at what its calls were answered (`tool_use` id, text, whether it is an error),
/// and says what is wrong with it, a sentence each: a fault of the server, an error that shows its inside or helps
/// nobody, an answer that holds one of the `foreign` ids, which belong to other spaces, and rows that do not say what
/// was answered. An error may name a foreign id: it repeats what it was asked.
pub(super) fn oracle(actions: &[Action], results: &[(&str, &str, bool)], foreign: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rows: HashMap<&str, &Action> = HashMap::new();
    for action in actions {
        let name = named(action);
        if rows.insert(&action.tool_use_id, action).is_some() {
            found.push(format!("{name}: there is more than one row of this call"));
        }
        if action.result == ActionResult::Error {
            if let Some(code) = action.code.as_deref().filter(|code| is_fault(code)) {
                found.push(format!("{name}: the server is at fault, code `{code}`: {}", quoted(message_of(action))));
            }
            if let Some(inside) = inside(message_of(action)) {
                found.push(format!("{name}: the error shows the inside (`{inside}`): {}", quoted(message_of(action))));
            }
        }
    }
    for (id, text, is_error) in results {
        let Some(action) = rows.get(id) else {
            found.push(format!("`{id}`: it was answered and has no row"));
            continue;
        };
        let name = named(action);
        if action.is_error() != *is_error {
            found.push(format!("{name}: row and answer differ about whether it failed"));
        }
        if !is_error {
            let leaked = foreign.iter().filter(|id| contains_id(text, id));
            found.extend(leaked.map(|id| format!("{name}: the answer holds `{id}`, which belongs to another space")));
            continue;
        }
        match inside(text) {
            // What the row keeps was looked at already.
            Some(_) if inside(message_of(action)).is_some() => {}
            Some(inside) => found.push(format!("{name}: the error shows the inside (`{inside}`): {}", quoted(text))),
            None if helps(text) => {}
            None => found.push(format!("{name}: the error names no field and no way out: {}", quoted(text))),
        }
    }
    found
}

fn named(action: &Action) -> String {
    format!("`{}` (`{}`)", action.tool_use_id, action.tool_name)
}

fn message_of(action: &Action) -> &str {
    action.error_message.as_deref().unwrap_or_default()
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED).collect()
}

fn is_fault(code: &str) -> bool {
    let code = code.to_lowercase().replace('_', "-");
    let is_status = code.len() == 3 && code.starts_with('5') && code.bytes().all(|byte| byte.is_ascii_digit());
    is_status || FAULTS.contains(&code.as_str())
}

/// The first word in it that speaks of the inside.
fn inside(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    let word = |word: &&&str| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == **word);
    INSIDES.iter().find(|inside| text.contains(**inside)).or_else(|| TYPES.iter().find(word)).copied()
}

/// Whether whoever reads it knows what to do: it puts a name into quotes, or uses a word that says what is wanted.
fn helps(text: &str) -> bool {
    let lower = text.to_lowercase();
    lower.contains('`') || HELPS.iter().any(|help| lower.contains(help))
}

fn contains_id(text: &str, id: &str) -> bool {
    !id.is_empty() && text.to_ascii_lowercase().contains(&id.to_ascii_lowercase())
}
