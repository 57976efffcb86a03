//! A pass, as it is watched on a terminal.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use mana_runner::{Event, Outcome, PassResult, Runner};
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;

use crate::failure::{Failure, Result};
use crate::print;

/// Runs a pass and tells what happens as it happens: a moving line on a terminal, a line a visit elsewhere.
pub(crate) async fn run(runner: &Runner) -> Result<PassResult> {
    let mut events = runner.events();
    let watching = tokio::spawn(async move {
        let bar = std::io::stderr().is_terminal().then(moving_line);
        loop {
            match events.recv().await {
                Ok(Event::PassFinished { .. }) | Err(RecvError::Closed) => break,
                Ok(event) => tell(&event, bar.as_ref()),
                Err(RecvError::Lagged(_)) => {}
            }
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    });
    let passed = runner.pass().await;
    if passed.is_err() {
        watching.abort();
    } else if tokio::time::timeout(Duration::from_secs(2), watching).await.is_err() {
        tracing::debug!("server.pass.watcher_late");
    }
    passed.map_err(|error| Failure::Failed(error.to_string()))
}

fn moving_line() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn tell(event: &Event, bar: Option<&ProgressBar>) {
    let moving = |text: String| {
        if let Some(bar) = bar {
            bar.set_message(text);
        }
    };
    match event {
        Event::Claimed { name, resumed, .. } => {
            moving(format!("{name} {}", if *resumed { "goes on with an interrupted visit" } else { "arrives" }));
        }
        Event::ToolCall { persona, tool, ok, .. } => {
            moving(format!("{persona}  {tool}{}", if *ok { "" } else { "  (an error)" }));
        }
        Event::Finished { persona, outcome, error, calls, errors, duration_ms, .. } => {
            let outcome = outcome.as_str();
            let mut line = format!("  {persona:<28} {outcome:<10} {calls} calls, {errors} errors, {duration_ms} ms");
            if let Some(error) = error {
                line.push_str("  ");
                line.push_str(error);
            }
            match bar {
                Some(bar) => bar.println(line),
                None => print::say(&line),
            }
        }
        Event::PassStarted | Event::SignedIn { .. } | Event::Connected { .. } | Event::PassFinished { .. } => {}
    }
}

/// The pass in a line: every outcome under its own name, because who gave up has not completed.
pub(crate) fn summary(result: &PassResult) -> String {
    let count = |outcome: Outcome| result.visits.iter().filter(|visit| visit.outcome == outcome).count();
    let mut line = format!("{} due, {} completed", result.due, count(Outcome::Completed));
    for outcome in [Outcome::GaveUp, Outcome::Skipped, Outcome::Truncated, Outcome::Refused, Outcome::Budget] {
        match count(outcome) {
            0 => {}
            some => {
                let _ = write!(line, ", {some} {}", outcome.as_str()); // writing to a String cannot fail
            }
        }
    }
    let _ = write!(line, ", {} failed, {} ms", result.failed.len(), result.duration_ms);
    line
}

/// The pass as a table.
pub(crate) fn table(result: &PassResult) -> String {
    let value = serde_json::to_value(result).unwrap_or(Value::Null);
    let rows: Vec<Vec<String>> = value["visits"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|visit| {
            let ratings: Vec<String> = visit["ratings"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|rating| format!("{} {}", print::text(rating, "module"), print::text(rating, "rating")))
                .collect();
            vec![
                print::text(visit, "name"),
                print::text(visit, "outcome"),
                print::text(visit, "calls"),
                print::text(visit, "errors"),
                ratings.join(", "),
            ]
        })
        .collect();
    print::table(&["persona", "outcome", "calls", "errors", "ratings"], rows)
}
