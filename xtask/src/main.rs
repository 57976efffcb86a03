//! `cargo xtask tidy`: the checks of the house that a machine can make.
//!
//! What is checked is what `ARCHITECTURE.md` promises; how, stands in `tidy.rs` and the files beside it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for a terminal")]

mod tidy;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask tidy    check arrows, words, file lengths and the list of modules";

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "a tool of its own, it has no settings to go through")]
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => tidy_up(),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn tidy_up() -> ExitCode {
    match tidy::run() {
        Ok(report) if report.findings.is_empty() => {
            println!("tidy: {} crates and {} files are in order", report.crates, report.files);
            ExitCode::SUCCESS
        }
        Ok(report) => {
            for finding in &report.findings {
                eprintln!("{finding}");
            }
            eprintln!("tidy: {} to mend", report.findings.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("tidy could not look: {error:#}");
            ExitCode::FAILURE
        }
    }
}
