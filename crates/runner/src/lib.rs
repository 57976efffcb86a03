//! The persona runner: claims the personas that are due, lets each spend a short day in the product, and hands in what
//! came of it.
//!
//! It is a client. It signs personas in at the identity service as any user signs in, uses tools over MCP as any agent
//! does, and reports to the personas service over HTTP; also where all of them run in one process.
//!
//! A tick goes `schedule` (claim) -> `visit` (sign in, connect, list tools) -> `turn` (engine step, journal, tool calls,
//! journal) -> `rating` -> finish.

mod api;
mod cassette;
mod closing;
mod conversation;
mod engine;
mod error;
mod event;
mod hash;
mod lease;
mod mcp;
mod model;
mod options;
mod password;
mod progress;
mod prompt;
mod purse;
mod rating;
mod rehearsal;
mod replay;
mod result;
mod routes;
mod schedule;
mod session;
mod target;
mod toolbox;
mod turn;
mod unmade;
mod visit;
mod wire;

pub use error::Error;
pub use event::Event;
pub use mana_web::CancellationToken;
pub use model::{ApiVersion, AuthStyle, ModelOptions};
pub use options::{Budget, EngineChoice, RunnerOptions, Timing, production_offenders};
pub use password::{DEVELOPMENT_SEED_SECRET, derive_password};
pub use routes::{diagnostics, router};
pub use schedule::{FailedVisit, Health, LoginCheck, LoopState, ModuleRating, PassResult, Runner, VisitReport};
pub use target::Secrets;
pub use wire::Outcome;

/// Says what this crate counts.
pub fn describe_metrics() {
    metrics::describe_counter!("persona_ticks_total", "Visits by outcome");
    metrics::describe_counter!("persona_tool_calls_total", "Tool calls of personas by tool and result");
    metrics::describe_counter!("persona_errors_total", "What went wrong in visits, by kind");
    metrics::describe_histogram!("persona_tick_duration_seconds", "Time of a visit by outcome");
    metrics::describe_histogram!("persona_tool_call_duration_seconds", "Time of a tool call by tool");
    metrics::describe_counter!("model_calls_total", "Replies asked of a model, by model and outcome");
    metrics::describe_counter!("model_tokens_total", "Tokens of a model, by class");
    metrics::describe_counter!("model_cost_micro_usd_total", "Cost of a model in millionths of a US dollar");
    metrics::describe_histogram!("model_call_duration_seconds", "Time of a model's reply, repeated attempts included");
}
