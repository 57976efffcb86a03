//! What decides a persona's next step.
//!
//! The loop sees only [`Engine::step`]: it does not know which engine it runs.

use std::path::PathBuf;
use std::sync::Arc;

use mana_types::{Clock, Date, Random, Timestamp};
use serde_json::Value;
use tokio::time::Instant;

use crate::cassette::{self, CassetteError, FORMAT, Header, Recorder};
use crate::conversation::{Conversation, Reply, Usage};
use crate::model::Model;
use crate::options::{EngineChoice, RunnerOptions};
use crate::prompt;
use crate::rehearsal::Rehearsal;
use crate::rehearsal::chaos::Chaos;
use crate::replay::{Mode, Replay, Which};
use crate::wire::Claim;

/// What an engine is asked: to go on with this conversation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step<'a> {
    pub(crate) conversation: &'a Conversation,
    /// How long the reply may be.
    pub(crate) max_tokens: u32,
    /// The JSON schema that the reply must follow; none for free speech.
    pub(crate) format: Option<&'a Value>,
    /// When the visit is over at the latest.
    pub(crate) deadline: Instant,
}

/// What a step may take at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Estimate {
    /// Prompt and reply.
    pub(crate) tokens: u64,
    /// Millionths of a US dollar.
    pub(crate) micro_usd: i64,
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct EngineError {
    pub(crate) kind: EngineErrorKind,
    /// For people; without secrets.
    pub(crate) reason: String,
    /// What was taken nevertheless.
    pub(crate) usage: Usage,
}

/// Whose fault it is, and so what becomes of the visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineErrorKind {
    /// The provider is away, or will not serve us: not the persona's fault.
    ProviderDown,
    /// The provider refuses this very request.
    Rejected,
    /// The visit's time would be over before an answer.
    OutOfTime,
    /// A recording does not fit what happens.
    Replay,
}

/// What decides a persona's next step.
#[derive(Debug)]
pub(crate) enum Engine {
    /// Deterministic, without a model.
    Rehearsal(Rehearsal),
    /// The same with bad input.
    Chaos(Chaos),
    /// A model; what it says is recorded, if that is wanted.
    Model(Model, Option<Recorder>),
    /// A recorded visit of a model.
    Replay(Replay),
}

impl Engine {
    /// The next reply in this conversation.
    pub(crate) async fn step(&self, step: Step<'_>) -> Result<Reply, EngineError> {
        match self {
            Self::Rehearsal(rehearsal) => Ok(rehearsal.step(step.conversation)),
            Self::Chaos(chaos) => Ok(chaos.step(step.conversation)),
            Self::Model(model, recorder) => {
                let reply = model.step(&step).await?;
                if let Some(recorder) = recorder
                    && let Err(error) = recorder.step(&step, &reply)
                {
                    tracing::warn!(%error, "runner.recording.failed");
                }
                Ok(reply)
            }
            Self::Replay(replay) => replay.step(&step),
        }
    }

    /// What a step may take at most; none where the engine takes no money. `last_prompt`: the size of the latest prompt in
    /// tokens; `new_bytes`: what came after it. Without the first the whole conversation is counted.
    pub(crate) fn estimate(&self, step: &Step<'_>, last_prompt: Option<u64>, new_bytes: usize) -> Option<Estimate> {
        match self {
            Self::Model(model, _) => Some(model.estimate(step, last_prompt, new_bytes)),
            Self::Rehearsal(_) | Self::Chaos(_) | Self::Replay(_) => None,
        }
    }

    /// What this usage cost, in millionths of a US dollar.
    pub(crate) fn cost_micro_usd(&self, usage: &Usage) -> i64 {
        match self {
            Self::Model(model, _) => model.cost_micro_usd(usage),
            Self::Rehearsal(_) | Self::Chaos(_) | Self::Replay(_) => 0,
        }
    }

    /// The model behind it, if there is one.
    pub(crate) fn model(&self) -> Option<&str> {
        match self {
            Self::Model(model, _) => Some(model.name()),
            Self::Replay(replay) => replay.header().model.as_deref(),
            Self::Rehearsal(_) | Self::Chaos(_) => None,
        }
    }

    /// Whether it can be talked with: it has a memory, keeps a diary and rates by itself.
    pub(crate) const fn converses(&self) -> bool {
        matches!(self, Self::Model(..) | Self::Replay(_))
    }

    /// The engine's name, in every row that a visit leaves.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Rehearsal(_) => EngineChoice::Rehearsal.as_str(),
            Self::Chaos(_) => EngineChoice::Chaos.as_str(),
            Self::Model(..) => EngineChoice::Anthropic.as_str(),
            Self::Replay(_) => EngineChoice::Replay.as_str(),
        }
    }

    /// Whether what it leaves is labelled as simulated: nobody thought about it while it happened.
    pub(crate) const fn is_simulated(&self) -> bool {
        !matches!(self, Self::Model(..))
    }
}

/// Makes the engines of visits.
#[derive(Debug)]
pub(crate) enum Engines {
    Rehearsal,
    Chaos,
    Model { model: Model, record: Option<PathBuf> },
    Replay { dir: PathBuf, mode: Mode },
}

/// Why a visit has no engine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoEngine {
    /// There is nothing to replay for this persona.
    #[error("there is no recorded visit of `{0}`")]
    NotRecorded(String),
    /// A recording cannot be read or written.
    #[error(transparent)]
    Cassette(#[from] CassetteError),
}

impl Engines {
    /// By the options of this runner. Fails with a sentence that names what is missing.
    pub(crate) fn new(
        options: &RunnerOptions,
        clock: &Arc<dyn Clock>,
        random: &Arc<dyn Random>,
    ) -> Result<Self, String> {
        if let Some(obstacle) = options.obstacle() {
            return Err(obstacle);
        }
        Ok(match options.engine() {
            EngineChoice::Auto | EngineChoice::Rehearsal => Self::Rehearsal,
            EngineChoice::Chaos => Self::Chaos,
            EngineChoice::Anthropic => {
                if let Some(dir) = &options.record {
                    cassette::make_usable(dir)?;
                }
                let model = Model::new(&options.model, Arc::clone(clock), Arc::clone(random))?;
                Self::Model { model, record: options.record.clone() }
            }
            EngineChoice::Replay => {
                let dir = options.replay.clone().unwrap_or_default();
                cassette::check_readable(&dir)?;
                Self::Replay { dir, mode: if options.replay_strict { Mode::Strict } else { Mode::Loose } }
            }
        })
    }

    /// The engine of one visit.
    pub(crate) fn of_visit(&self, claim: &Claim, today: Date, now: Timestamp) -> Result<Engine, NoEngine> {
        let Claim { persona, tick_id, .. } = claim;
        Ok(match self {
            Self::Rehearsal => Engine::Rehearsal(Rehearsal::new(persona, today, tick_id)),
            Self::Chaos => Engine::Chaos(Chaos::new(persona, today, tick_id, Vec::new())),
            Self::Model { model, record } => {
                let recorder = match record {
                    Some(dir) => Some(Recorder::create(dir, &header(claim, today, now, model.name()))?),
                    None => None,
                };
                Engine::Model(model.clone(), recorder)
            }
            Self::Replay { dir, mode } => {
                let replay = Replay::open(dir, &persona.email, Which::Latest, *mode)?;
                Engine::Replay(replay.ok_or_else(|| NoEngine::NotRecorded(persona.email.clone()))?)
            }
        })
    }

    /// Why no model can be asked at present, and until when.
    pub(crate) fn closed_for(&self) -> Option<String> {
        match self {
            Self::Model { model, .. } => model.closed_for(),
            Self::Rehearsal | Self::Chaos | Self::Replay { .. } => None,
        }
    }
}

fn header(claim: &Claim, today: Date, now: Timestamp, model: &str) -> Header {
    Header {
        format: FORMAT,
        persona: claim.persona.email.clone(),
        tick: claim.tick_id.clone(),
        date: today,
        engine: EngineChoice::Anthropic.as_str().to_owned(),
        model: Some(model.to_owned()),
        templates: Some(prompt::VERSION.to_owned()),
        recorded_at: now,
    }
}
