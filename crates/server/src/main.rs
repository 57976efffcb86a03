//! `mana`: the binary. Reads settings and arguments, wires the services together, and speaks with the shell.

mod app;
mod bench;
mod cli;
mod commands;
mod doctor;
mod failure;
mod local;
mod media;
mod pass;
mod print;
mod seed;
mod settings;
mod up;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::cli::{Cli, Command, Config};
use crate::failure::Result;
use crate::settings::Settings;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print::say(&format!("error: {failure}"));
            ExitCode::from(failure.code())
        }
    }
}

fn run(cli: Cli) -> Result {
    // What needs neither settings nor a runtime.
    match &cli.command {
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "mana", &mut script);
            return print::out(&String::from_utf8_lossy(&script));
        }
        Some(Command::Config(Config::Example)) => return print::out(&settings::example()),
        _ => {}
    }
    let mut flags = cli.global.flags();
    if let Some(Command::Tick(tick)) = &cli.command {
        flags.given.extend(tick.given());
    }
    let settings = Settings::load(&flags)?;
    start_log(&settings)?;
    // The provider of TLS for outgoing requests; a second installation is refused and would be the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| failure::Failure::Failed(format!("the runtime cannot be started: {error}")))?;
    let json = cli.global.json;
    runtime.block_on(async {
        match cli.command {
            None => up::up(&settings, cli.up).await,
            Some(Command::Up(options)) => up::up(&settings, options).await,
            Some(Command::Serve(options)) => up::serve(&settings, &options).await,
            Some(Command::Tick(_)) => up::tick(&settings, json).await,
            Some(Command::Doctor) => doctor::run(&settings, json).await,
            Some(Command::Bench(options)) => bench::run(&settings, &options, json).await,
            Some(command) => commands::run(&settings, command, json).await,
        }
    })
}

/// The filter of the log. Below `info` the MCP library writes down whole calls and results, which are somebody's records:
/// it is left out of what is said for everything, and whoever names it gets it all the same.
fn filter_of(log: &str) -> String {
    let talks = |part: &str| ["debug", "trace"].iter().any(|level| part.trim().eq_ignore_ascii_case(level));
    if log.split(',').any(talks) { format!("rmcp=info,{log}") } else { log.to_owned() }
}

/// Logs go to standard error, so that standard output stays data.
#[expect(clippy::disallowed_methods, reason = "NO_COLOR is a convention of the environment, not a setting")]
fn start_log(settings: &Settings) -> Result {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_new(filter_of(&settings.log)).map_err(|error| {
        let origin = &settings.values["log"].origin;
        settings::Invalid(vec![format!("`log` ({origin}): `{}` is not a filter: {error}", settings.log)])
    })?;
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(color);
    if settings.log_json {
        log.json().init();
    } else {
        log.init();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::filter_of;

    #[test]
    fn the_mcp_library_is_never_louder_than_asked_for() {
        for quiet in ["warn", "error", "info", "warn,mana_runner=debug", "rmcp=trace"] {
            assert_eq!(filter_of(quiet), quiet);
        }
        assert_eq!(filter_of("debug"), "rmcp=info,debug");
        assert_eq!(filter_of("sqlx=warn, TRACE"), "rmcp=info,sqlx=warn, TRACE");
        assert_eq!(filter_of("debug,rmcp=debug"), "rmcp=info,debug,rmcp=debug", "the last word holds");
    }
}
