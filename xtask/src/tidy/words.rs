//! Words that belong to some rooms of the house and to no other.

use super::source::Source;

/// Every word of `source` that `path` may not use.
pub(super) fn check(path: &str, source: &Source) -> Vec<String> {
    let place = Place::of(path);
    if place.in_tests {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if !place.is_store() {
        findings.extend(sql(path, source));
    }
    if !place.knows_status() {
        findings.extend(found(
            path,
            source,
            &["StatusCode"],
            "status codes belong to `web` and to files named `routes.rs`",
        ));
    }
    if !place.reads_environment() {
        let words = ["std::env", "env::var", "env::vars", "env::var_os", "env::vars_os", "env::args", "env::args_os"];
        findings.extend(found(
            path,
            source,
            &words,
            "only `server` reads the environment: take the value as a parameter",
        ));
    }
    if place.krate == "modules" {
        let words = ["sqlx", "axum", "rmcp"];
        findings.extend(found(path, source, &words, "a module sees the registry and nothing below it"));
    }
    findings
}

/// Where a file stands.
struct Place<'p> {
    /// The folder under `crates/`, or the first folder of the path.
    krate: &'p str,
    /// Folders and file below the crate, the file without `.rs`.
    parts: Vec<&'p str>,
    /// A test, a benchmark or an example: nothing that is shipped.
    in_tests: bool,
}

impl<'p> Place<'p> {
    fn of(path: &'p str) -> Self {
        let inside = path.strip_prefix("crates/").unwrap_or(path);
        let mut parts = inside.trim_end_matches(".rs").split('/');
        let krate = parts.next().unwrap_or_default();
        let parts: Vec<&str> = parts.collect();
        let in_tests = parts.iter().any(|part| matches!(*part, "tests" | "benches" | "examples"));
        Self { krate, parts, in_tests }
    }

    /// Whether the file is `name.rs` or lies in a folder `name`.
    fn named(&self, name: &str) -> bool {
        self.parts.contains(&name)
    }

    fn is_store(&self) -> bool {
        matches!(self.krate, "store" | "testkit" | "xtask") || self.named("store")
    }

    fn knows_status(&self) -> bool {
        matches!(self.krate, "web" | "server" | "testkit")
            || self.named("routes")
            || (self.krate == "gateway" && (self.named("mcp") || self.named("rest")))
            // A client reads what the others answered, where it speaks to them.
            || (self.krate == "runner" && (self.named("api") || self.named("error") || self.named("mcp")))
            || (self.krate == "media" && (self.named("client") || self.named("provider")))
    }

    fn reads_environment(&self) -> bool {
        matches!(self.krate, "server" | "testkit" | "xtask") || self.parts == ["build"]
    }
}

fn found(path: &str, source: &Source, words: &[&str], why: &str) -> Vec<String> {
    words
        .iter()
        .flat_map(|word| source.lines_with(word).into_iter().map(move |line| (line, word)))
        .map(|(line, word)| format!("{path}:{line}: `{word}`: {why}"))
        .collect()
}

const SQL: &str = "SQL belongs to `store` and to files named `store.rs`";

fn sql(path: &str, source: &Source) -> Vec<String> {
    let calls = ["sqlx::query", "sqlx::query_as", "sqlx::query_scalar", "sqlx::raw_sql"];
    let mut findings = found(path, source, &calls, SQL);
    for (line, text) in &source.strings {
        if is_statement(text) {
            let start: String = text.trim_start().chars().take(24).collect();
            findings.push(format!("{path}:{line}: `{}…`: {SQL}", start.trim_end()));
        }
    }
    findings
}

/// Whether a string starts as a statement does.
///
/// Statements are written in capitals; `DELETE /api/…` is a route and `UPDATE` alone a word.
fn is_statement(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match first {
        "SELECT" | "UPDATE" | "PRAGMA" => !second.is_empty() && !second.starts_with('/'),
        "INSERT" => matches!(second, "INTO" | "OR"),
        "DELETE" => second == "FROM",
        "CREATE" | "ALTER" | "DROP" => {
            matches!(second, "TABLE" | "INDEX" | "UNIQUE" | "VIEW" | "TRIGGER" | "TEMP" | "DATABASE" | "SCHEMA")
        }
        "WITH" => text.contains(" AS "),
        _ => false,
    }
}

/// Absolute paths of somebody's machine, in any file.
pub(super) fn machine_paths(path: &str, text: &str) -> Vec<String> {
    // Put together here, so that this file does not accuse itself.
    let folders = ["home", "root", "work"].map(|folder| format!("/{folder}/"));
    text.lines()
        .enumerate()
        .filter_map(|(index, line)| {
            let folder = folders.iter().find(|folder| starts_a_path(line, folder))?;
            Some(format!("{path}:{}: a path below `{folder}` is of one machine only: use a relative one", index + 1))
        })
        .collect()
}

/// Whether `folder` occurs where a path begins, and is followed by a name.
fn starts_a_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(start, _)| {
        let inside = |char: char| char.is_alphanumeric() || matches!(char, '_' | '-' | '.' | '}' | '/');
        let before = line[..start].chars().next_back();
        let after = line[start + folder.len()..].chars().next();
        !before.is_some_and(inside) && after.is_some_and(|char| char.is_alphanumeric() || matches!(char, '.' | '_'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(path, &Source::parse(text))
    }

    #[test]
    fn sql_outside_of_a_store_is_found() {
        let text = "const Q: &str = \"\\\n    x\";\nlet q = \"SELECT id FROM a\";\n";
        assert_eq!(
            findings("crates/identity/src/account.rs", text),
            [
                "crates/identity/src/account.rs:3: `SELECT id FROM a…`: SQL belongs to `store` and to files named `store.rs`"
            ]
        );
        assert_eq!(findings("crates/runner/src/visit.rs", "sqlx::query(text)").len(), 1);
        for path in [
            "crates/store/src/db.rs",
            "crates/identity/src/store.rs",
            "crates/personas/src/store/claim.rs",
            "crates/testkit/src/lib.rs",
            "crates/identity/tests/all/main.rs",
        ] {
            assert!(findings(path, text).is_empty(), "{path}");
        }
    }

    #[test]
    fn statements_are_told_from_words_and_routes() {
        for text in [
            "\n   SELECT 1",
            "INSERT INTO a VALUES ($1)",
            "INSERT OR IGNORE INTO a",
            "UPDATE a SET b = 1",
            "DELETE FROM a",
            "CREATE UNIQUE INDEX a",
            "ALTER TABLE a",
            "DROP TABLE a",
            "PRAGMA optimize",
            "WITH a AS (SELECT 1)",
        ] {
            assert!(is_statement(text), "{text}");
        }
        for text in [
            "",
            "SELECT",
            "Select one from the list.",
            "UPDATE",
            "DELETE",
            "DELETE /api/v1/me",
            "CREATE a task",
            "with as",
            "Update it.",
        ] {
            assert!(!is_statement(text), "{text}");
        }
    }

    #[test]
    fn sql_in_a_comment_or_a_test_module_is_nobody() {
        let text = "// \"SELECT 1 FROM a\"\n#[cfg(test)]\nmod tests { const Q: &str = \"SELECT 1 FROM a\"; }";
        assert!(findings("crates/web/src/lib.rs", text).is_empty());
    }

    #[test]
    fn status_codes_have_their_rooms() {
        let text = "use http::StatusCode;";
        assert_eq!(findings("crates/identity/src/error.rs", text).len(), 1);
        assert_eq!(findings("crates/runner/src/rest.rs", text).len(), 1);
        for path in [
            "crates/web/src/problem.rs",
            "crates/identity/src/routes.rs",
            "crates/gateway/src/mcp.rs",
            "crates/gateway/src/rest/openapi.rs",
            "crates/server/src/up.rs",
            "crates/runner/src/api.rs",
            "crates/runner/src/mcp/http.rs",
            "crates/media/src/client.rs",
        ] {
            assert!(findings(path, text).is_empty(), "{path}");
        }
    }

    #[test]
    fn the_environment_is_read_in_one_place() {
        assert_eq!(findings("crates/runner/src/lib.rs", "fn f() { std::env::temp_dir(); }").len(), 1);
        assert_eq!(findings("crates/runner/src/lib.rs", "use std::{env, fs};\nfn f() { env::var(\"A\"); }").len(), 1);
        assert!(findings("crates/runner/src/lib.rs", "const V: &str = env!(\"CARGO_PKG_VERSION\");").is_empty());
        for path in ["crates/server/src/settings.rs", "crates/store/build.rs", "crates/testkit/src/postgres.rs"] {
            assert!(findings(path, "std::env::var(name)").is_empty(), "{path}");
        }
    }

    #[test]
    fn a_module_names_no_machinery() {
        assert_eq!(findings("crates/modules/src/todo.rs", "use mana_registry::sqlx;").len(), 1);
        assert!(findings("crates/modules/src/todo.rs", "// no sqlx here\nuse mana_registry::Cx;").is_empty());
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        let path_of = |folder: &str, rest: &str| format!("see /{folder}/{rest}");
        for text in [
            path_of("home", "ann/mana"),
            path_of("root", ".cargo"),
            format!("a\n\"{}\"", &path_of("work", "main")[4..]),
        ] {
            assert_eq!(machine_paths("README.md", &text).len(), 1, "{text}");
        }
        for text in ["https://example.org/work/life", "crates/root/src", "/homework/a", "see home/x", "Arbeit/Zuhause"]
        {
            assert_eq!(machine_paths("README.md", text), [""; 0], "{text}");
        }
    }
}
