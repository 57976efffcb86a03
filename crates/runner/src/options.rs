//! What a runner is told at its start.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use mana_types::Secret;

use crate::model::ModelOptions;
use crate::password::DEVELOPMENT_SEED_SECRET;
use crate::target::Secrets;

/// Which engine decides a persona's next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineChoice {
    /// The best one that can run: a model where there is a key, else `rehearsal`.
    #[default]
    Auto,
    /// Deterministic, without a model; its visits are labelled as simulated.
    Rehearsal,
    /// A model behind the Messages API.
    Anthropic,
    /// Recorded visits of a model.
    Replay,
    /// `rehearsal` with bad input: a test of the product, not a visit.
    Chaos,
}

impl EngineChoice {
    /// The choice as it is written in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Rehearsal => "rehearsal",
            Self::Anthropic => "anthropic",
            Self::Replay => "replay",
            Self::Chaos => "chaos",
        }
    }
}

impl FromStr for EngineChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "rehearsal" => Ok(Self::Rehearsal),
            "anthropic" => Ok(Self::Anthropic),
            "replay" => Ok(Self::Replay),
            "chaos" => Ok(Self::Chaos),
            other => Err(format!(
                "`{other}` is not an engine, expected `auto`, `rehearsal`, `anthropic`, `replay` or `chaos`"
            )),
        }
    }
}

/// The times a runner keeps to. The defaults belong together: a lease outlives three lost beats, and a visit stops by
/// itself before its lease can run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long a claimed visit is ours without a sign of life.
    pub lease: Duration,
    /// How often a sign of life is given.
    pub beat: Duration,
    /// After how long without an accepted beat a visit stops by itself.
    pub self_abort: Duration,
    /// How long a visit may take at most.
    pub visit_cap: Duration,
    /// How long running visits may go on after the runner was asked to stop.
    pub grace: Duration,
    /// How long one tool call may take.
    pub tool_call: Duration,
    /// How long signing in, listing spaces and every other plain request may take.
    pub request: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_mins(2),
            beat: Duration::from_secs(30),
            self_abort: Duration::from_secs(90),
            visit_cap: Duration::from_mins(15),
            grace: Duration::from_secs(20),
            tool_call: Duration::from_secs(30),
            request: Duration::from_secs(15),
        }
    }
}

/// What a visit may take, and what all of them together. Money is in millionths of a US dollar; no limit where nothing
/// is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// For one model call.
    pub call_micro_usd: Option<i64>,
    /// For one visit.
    pub tick_micro_usd: Option<i64>,
    /// For one persona on one day (UTC).
    pub persona_day_micro_usd: Option<i64>,
    /// For all personas on one day (UTC).
    pub day_micro_usd: Option<i64>,
    /// For all personas in one month (UTC).
    pub month_micro_usd: Option<i64>,
    /// Tokens of one visit, read and written.
    pub tick_tokens: Option<u64>,
    /// Replies of the main turn of a visit.
    pub model_calls: usize,
    /// Tool calls of a visit.
    pub tool_calls: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            call_micro_usd: Some(1_000_000),
            tick_micro_usd: Some(2_000_000),
            persona_day_micro_usd: Some(4_000_000),
            day_micro_usd: Some(20_000_000),
            month_micro_usd: Some(200_000_000),
            tick_tokens: None,
            model_calls: 15,
            tool_calls: 40,
        }
    }
}

/// What a runner is told at its start. Where these values come from is the server's affair.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own that is on or off")]
pub struct RunnerOptions {
    /// The address of the identity service, without a slash at the end.
    pub identity_url: String,
    /// The address of the personas service, without a slash at the end.
    pub personas_url: String,
    /// The address of the MCP endpoint, with its path.
    pub mcp_url: String,
    /// What proves this program to the internal interfaces (`MANA_SERVICE_KEY`).
    pub service_key: Secret,
    /// From what the passwords of personas are derived (`PERSONA_SEED_SECRET`).
    pub seed_secret: Secret,
    /// The model and its provider.
    pub model: ModelOptions,
    /// Where visits of a model are recorded (`MANA_RECORD`); nowhere if nothing is said.
    pub record: Option<PathBuf>,
    /// Where recorded visits are (`MANA_REPLAY`).
    pub replay: Option<PathBuf>,
    /// Whether a recorded reply is given only to the request that it was given to (`MANA_REPLAY_MODE`).
    pub replay_strict: bool,
    /// Which engine is wanted (`MANA_ENGINE`).
    pub engine: EngineChoice,
    /// Milliseconds from one pass of the loop to the next (`TICK_INTERVAL_MS`).
    pub tick_interval_ms: u64,
    /// How many personas visit at a time (`PERSONA_CONCURRENCY`).
    pub concurrency: usize,
    /// Whether nothing happens (`RUNNER_PAUSED`).
    pub paused: bool,
    /// Whether this is a production installation (`MANA_ENV`).
    pub production: bool,
    /// Whether the loop makes its first pass at once, or only after one interval.
    pub first_pass_at_once: bool,
    /// The times it keeps to.
    pub timing: Timing,
    /// What visits may take.
    pub budget: Budget,
    /// The secrets that targets of personas name.
    pub secrets: Secrets,
    /// Whether personas may visit products at private addresses, other than this installation.
    pub allow_private_targets: bool,
}

impl Default for RunnerOptions {
    /// Everything on one address on this machine, for development.
    fn default() -> Self {
        Self {
            identity_url: "http://127.0.0.1:3001".into(),
            personas_url: "http://127.0.0.1:3001".into(),
            mcp_url: "http://127.0.0.1:3001/mcp".into(),
            service_key: Secret::default(),
            seed_secret: Secret::new(DEVELOPMENT_SEED_SECRET),
            model: ModelOptions::default(),
            record: None,
            replay: None,
            replay_strict: true,
            engine: EngineChoice::Auto,
            tick_interval_ms: 60_000,
            concurrency: 2,
            paused: false,
            production: false,
            first_pass_at_once: true,
            timing: Timing::default(),
            budget: Budget::default(),
            secrets: Secrets::default(),
            allow_private_targets: false,
        }
    }
}

impl RunnerOptions {
    /// The engine that will run: `auto` is a model where there is a key for one.
    pub(crate) fn engine(&self) -> EngineChoice {
        match self.engine {
            EngineChoice::Auto if self.model.key.is_empty() => EngineChoice::Rehearsal,
            EngineChoice::Auto => EngineChoice::Anthropic,
            chosen => chosen,
        }
    }

    /// Why no pass can be made, as a sentence that names what is missing.
    pub(crate) fn obstacle(&self) -> Option<String> {
        if self.service_key.is_empty() {
            return Some("`MANA_SERVICE_KEY` is not set, so the runner cannot claim personas: set it to a key of the personas service".into());
        }
        match self.engine() {
            EngineChoice::Anthropic if self.model.key.is_empty() => Some(
                "`ANTHROPIC_API_KEY` is not set, and the engine `anthropic` needs it: set it, or `MANA_ENGINE=rehearsal` for simulated visits".into(),
            ),
            EngineChoice::Anthropic => crate::model::Model::check(&self.model).err(),
            EngineChoice::Replay if self.replay.is_none() => Some(
                "`MANA_REPLAY` is not set, and the engine `replay` needs it: set it to a folder of recorded visits".into(),
            ),
            EngineChoice::Auto | EngineChoice::Rehearsal | EngineChoice::Chaos | EngineChoice::Replay => None,
        }
    }
}

/// Everything that keeps these options from being used in production, one sentence each; empty if nothing does.
pub fn production_offenders(options: &RunnerOptions) -> Vec<String> {
    let mut offenders = Vec::new();
    if options.service_key.is_empty() {
        offenders.push("`MANA_SERVICE_KEY` is not set, so the runner could not claim personas".into());
    }
    if options.model.key.is_empty() && matches!(options.engine, EngineChoice::Auto | EngineChoice::Anthropic) {
        offenders.push(format!(
            "`ANTHROPIC_API_KEY` is not set, and `MANA_ENGINE={}` needs it: set it, or `MANA_ENGINE=rehearsal` if simulated visits are wanted",
            options.engine.as_str()
        ));
    }
    if options.seed_secret.is_empty() {
        offenders.push(
            "`PERSONA_SEED_SECRET` is not set, so every persona would have a password that anybody can derive".into(),
        );
    } else if options.seed_secret.expose() == DEVELOPMENT_SEED_SECRET {
        offenders.push(
            "`PERSONA_SEED_SECRET` is the development secret, which anybody can read: set one of your own".into(),
        );
    }
    offenders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn production_names_every_offender_at_once() {
        let offenders = production_offenders(&RunnerOptions::default());
        assert_eq!(offenders.len(), 3, "{offenders:?}");
        for name in ["MANA_SERVICE_KEY", "ANTHROPIC_API_KEY", "PERSONA_SEED_SECRET"] {
            assert!(offenders.iter().any(|offender| offender.contains(name)), "{name}");
        }
    }

    #[test]
    fn production_takes_complete_options() {
        let options = RunnerOptions {
            service_key: Secret::new("key"),
            seed_secret: Secret::new("a secret of our own"),
            engine: EngineChoice::Rehearsal,
            ..RunnerOptions::default()
        };
        assert_eq!(production_offenders(&options), Vec::<String>::new());
        let with_model = RunnerOptions {
            engine: EngineChoice::Auto,
            model: ModelOptions { key: Secret::new("sk"), ..ModelOptions::default() },
            ..options
        };
        assert_eq!(production_offenders(&with_model), Vec::<String>::new());
    }

    #[test]
    fn debug_shows_no_secret() {
        let options = RunnerOptions {
            service_key: Secret::new("canary-1"),
            model: ModelOptions { key: Secret::new("canary-2"), ..ModelOptions::default() },
            ..RunnerOptions::default()
        };
        let text = format!("{options:?}");
        assert!(!text.contains("canary") && !text.contains(DEVELOPMENT_SEED_SECRET), "{text}");
    }
}
