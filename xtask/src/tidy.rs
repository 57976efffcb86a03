//! What may stand where: the plan of the house as tables, and the walk over the tree that holds the tree to it.
//!
//! Every rule is a function from text to findings; only [`run`] touches the disk.

mod arrows;
mod modules;
mod source;
mod words;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use self::arrows::Metadata;
use self::source::Source;

/// Which of our crates may name which: the arrows of `ARCHITECTURE.md`.
///
/// An arrow also allows whatever lies below its head, because that is further down the same order.
/// A new crate starts with a line here and in `ARCHITECTURE.md`.
pub(crate) const ARROWS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("token", &["types"]),
    ("store", &["types"]),
    ("web", &["types", "token"]),
    ("registry", &["store", "token"]),
    ("modules", &["registry"]),
    ("identity", &["store", "web"]),
    ("personas", &["identity", "store", "web"]),
    ("codecs", &[]),
    ("media", &["store", "web", "codecs"]),
    ("gateway", &["registry", "web"]),
    ("runner", &["types", "token", "web"]),
    ("console", &["types", "token", "store", "web", "identity", "personas", "registry", "gateway"]),
    (
        "server",
        &[
            "types", "token", "store", "web", "registry", "modules", "identity", "personas", "media", "gateway",
            "runner", "console",
        ],
    ),
    ("testkit", &["types", "token", "store", "registry"]),
    ("xtask", &[]),
];

/// Crates whose arrows are all they get, nothing below included: a module sees the registry and nothing else.
/// Their tests may reach further down.
pub(crate) const STRICT: &[&str] = &["modules"];

/// The crate that every other may use in its tests.
pub(crate) const FOR_TESTS: &str = "testkit";

/// Foreign crates that only some of ours may name.
pub(crate) const ONLY: &[(&str, &[&str])] = &[("rmcp", &["gateway", "runner"])];

/// Foreign crates that some of ours may never name.
pub(crate) const NEVER: &[(&str, &[&str])] =
    &[("modules", &["axum", "rmcp", "sqlx"]), ("types", &["axum", "reqwest", "tokio"])];

/// Lines a source file may have before it wants to be two.
pub(crate) const LINES: usize = 600;

/// What a walk saw.
pub(crate) struct Report {
    /// How many of our crates were looked at.
    pub(crate) crates: usize,
    /// How many files were read.
    pub(crate) files: usize,
    /// What is wrong, each with its place and what to do.
    pub(crate) findings: Vec<String>,
}

/// Checks the whole tree that the current directory belongs to.
pub(crate) fn run() -> Result<Report> {
    let output = stdout_of(Command::new("cargo").args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Metadata = serde_json::from_str(&output).context("`cargo metadata` answered something unreadable")?;
    let mut findings = arrows::check(&metadata);

    let root = Path::new(&metadata.workspace_root);
    let mut files = 0;
    let mut module_files = Vec::new();
    let mut module_list = None;
    for path in tracked(root)? {
        let file = root.join(&path);
        if !file.is_file() {
            // Deleted but not committed yet, or a link to a folder.
            continue;
        }
        let bytes = std::fs::read(&file).with_context(|| format!("cannot read `{path}`"))?;
        let Ok(text) = String::from_utf8(bytes) else {
            continue; // an image or the like
        };
        files += 1;
        findings.extend(words::machine_paths(&path, &text));
        if !has_extension(&path, "rs") {
            continue;
        }
        let source = Source::parse(&text);
        findings.extend(words::check(&path, &source));
        findings.extend(length(&path, &text, &source));
        if let Some(name) = modules::name_of(&path) {
            module_files.push(name.to_owned());
        }
        if path == modules::LIST {
            module_list = modules::listed(&source);
        }
    }
    findings.extend(modules::check(&module_files, module_list.as_deref()));
    Ok(Report { crates: metadata.packages.len(), files, findings })
}

/// Files that git tracks or would track, relative to `root`, with forward slashes.
fn tracked(root: &Path) -> Result<Vec<String>> {
    // In a container the clone often belongs to somebody else; listing files is harmless all the same.
    let list = stdout_of(Command::new("git").current_dir(root).args([
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    Ok(list.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

fn stdout_of(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} answered no text"))
}

/// Whether the file name ends in `.extension`.
fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

/// A file too long, not counting its test modules. Generated files say so in their first lines.
fn length(path: &str, text: &str, source: &Source) -> Option<String> {
    let generated = text.lines().take(3).any(|line| line.contains("@generated"));
    let lines = text.lines().count() - source.test_lines;
    (!generated && lines > LINES)
        .then(|| format!("{path}: {lines} lines without tests, at most {LINES}: split it by its nouns"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_length(text: &str) -> Option<String> {
        length("crates/a/src/b.rs", text, &Source::parse(text))
    }

    #[test]
    fn a_long_file_is_found() {
        let at_most = "// line\n".repeat(LINES);
        assert_eq!(check_length(&at_most), None);
        let finding = check_length(&format!("{at_most}// one more\n")).expect("too long");
        assert_eq!(finding, "crates/a/src/b.rs: 601 lines without tests, at most 600: split it by its nouns");
    }

    #[test]
    fn tests_and_generated_text_do_not_count() {
        let code = "fn f() {}\n".repeat(LINES);
        assert_eq!(check_length(&format!("{code}#[cfg(test)]\nmod tests {{\n{code}}}\n")), None);
        assert_eq!(check_length(&format!("// @generated by a tool\n{code}{code}")), None);
        assert!(check_length(&format!("#[cfg(test)]\nmod tests {{}}\n{code}{code}")).is_some());
    }

    #[test]
    fn every_arrow_points_to_a_known_crate() {
        let known: Vec<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
        for (name, below) in ARROWS {
            for other in *below {
                assert!(known.contains(other), "`{name}` -> `{other}`, which has no line of its own");
            }
        }
    }
}
