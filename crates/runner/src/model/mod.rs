//! The engine that is a model: a client of the Messages API, which Claude and many servers for local models speak.
//!
//! A reply is one request. Here it is built (`request`), sent (`call`), cut into events (`sse`), put together
//! (`assemble`), judged where it fails (`error`) and repeated where that may help. `limit` holds the whole process to what
//! the provider bears; `table` knows what models take and cost; `redact` keeps secrets out of what a provider says.

mod assemble;
mod call;
mod error;
mod limit;
mod options;
pub(crate) mod redact;
mod request;
mod sse;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::tz::TimeZone;
use mana_types::{Clock, Random};
use tokio::time::{Instant, sleep, timeout_at};

use self::assemble::{Assembly, BYTES_A_TOKEN};
use self::call::Line;
use self::error::{Again, Failure, Health, silent};
use self::limit::{Limits, Turned};
pub use self::options::{ApiVersion, AuthStyle, ModelOptions};
use self::request::{Allowed, ToolTexts};
use self::table::Family;
use crate::conversation::{Reply, Usage};
use crate::engine::{EngineError, EngineErrorKind, Estimate, Step};

/// How often one request is sent at most.
const ATTEMPTS: u32 = 8;

/// The bound of the first pause between two attempts; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// A model and the way to it. One for the whole process; a copy is another handle to it.
#[derive(Debug, Clone)]
pub(crate) struct Model(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    /// Its entry in the table; none for a model that is not known here.
    family: Option<&'static Family>,
    allowed: Allowed,
    line: Line,
    limits: Limits,
    tools: ToolTexts,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Model {
    /// What is wrong with these options, as a sentence that says what to do.
    pub(crate) fn check(options: &ModelOptions) -> Result<(), String> {
        options::check(options)
    }

    pub(crate) fn new(options: &ModelOptions, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self, String> {
        Self::check(options)?;
        let family = table::family(&options.model);
        let allowed = Allowed {
            structured: options.structured.unwrap_or_else(|| family.is_some_and(|family| family.structured)),
            // A Claude of tomorrow keeps prefixes as well; other servers do so without being told.
            cache: family.map_or_else(|| options.model.starts_with("claude-"), |family| family.cache),
        };
        Ok(Self(Arc::new(Inner {
            name: options.model.clone(),
            family,
            allowed,
            line: Line::new(options, Arc::clone(&clock))?,
            limits: Limits::new(options.most_at_once, Arc::clone(&clock)),
            tools: ToolTexts::default(),
            clock,
            random,
        })))
    }

    /// The model's name, as it is asked for.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// Why no visit should begin now: the reason and until when.
    pub(crate) fn closed_for(&self) -> Option<String> {
        self.0.limits.closed_for()
    }

    /// What a step takes at most: the last prompt, `new_bytes` said since then (the last reply included), and a reply as
    /// long as it may be. Without a last prompt, the whole conversation is counted and `new_bytes` is in it.
    pub(crate) fn estimate(&self, step: &Step<'_>, last_prompt_tokens: Option<u64>, new_bytes: usize) -> Estimate {
        let tokens_of = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX).div_ceil(BYTES_A_TOKEN);
        let prompt = if let Some(last) = last_prompt_tokens {
            last.saturating_add(tokens_of(new_bytes))
        } else {
            let tools = self.0.tools.of(&step.conversation.tools, self.0.allowed.cache);
            tokens_of(request::size(step.conversation, &tools))
        };
        let output = u64::from(step.max_tokens);
        let micro_usd = self.0.price(prompt).map_or(0, |price| price.at_most_micro_usd(prompt, output));
        Estimate { tokens: prompt.saturating_add(output), micro_usd }
    }

    /// What these tokens cost in millionths of a US dollar, rounded up; nothing for a model without a price.
    pub(crate) fn cost_micro_usd(&self, usage: &Usage) -> i64 {
        let prompt = if usage.largest_prompt > 0 { usage.largest_prompt } else { usage.prompt_tokens() };
        self.0.price(prompt).map_or(0, |price| price.micro_usd(usage))
    }

    /// The next reply in this conversation.
    #[tracing::instrument(name = "runner.model.step", skip_all, fields(model = self.0.name))]
    pub(crate) async fn step(&self, step: &Step<'_>) -> Result<Reply, EngineError> {
        let began = Instant::now();
        let result = self.0.step(step).await;
        let (usage, outcome) = match &result {
            Ok(reply) => (&reply.usage, "ok"),
            Err(error) => (&error.usage, outcome_of(error.kind)),
        };
        self.count(usage, outcome, began.elapsed());
        result
    }

    fn count(&self, usage: &Usage, outcome: &'static str, took: Duration) {
        let model = &self.0.name;
        metrics::counter!("model_calls_total", "model" => model.clone(), "outcome" => outcome).increment(1);
        metrics::histogram!("model_call_duration_seconds", "model" => model.clone()).record(took.as_secs_f64());
        for (class, tokens) in [
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("cache_read", usage.cache_read_tokens),
            ("cache_write_5m", usage.cache_write_5m_tokens),
            ("cache_write_1h", usage.cache_write_1h_tokens),
        ] {
            if tokens > 0 {
                metrics::counter!("model_tokens_total", "model" => model.clone(), "class" => class).increment(tokens);
            }
        }
        let cost = u64::try_from(self.cost_micro_usd(usage)).unwrap_or(0);
        metrics::counter!("model_cost_micro_usd_total", "model" => model.clone()).increment(cost);
    }
}

impl Inner {
    async fn step(&self, step: &Step<'_>) -> Result<Reply, EngineError> {
        let mut spent = Usage::default();
        let failed = |kind, reason, usage| Err(EngineError { kind, reason, usage });
        let tools = self.tools.of(&step.conversation.tools, self.allowed.cache);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let pass = match self.limits.enter(step.deadline).await {
                Ok(pass) => pass,
                Err(Turned::Away(reason)) => return failed(EngineErrorKind::ProviderDown, reason, spent),
                Err(Turned::TooLate) => {
                    let reason = "the time of the visit is over before the model's turn".into();
                    return failed(EngineErrorKind::OutOfTime, reason, spent);
                }
            };
            // Not before there is a place for it: a thousand visits that wait would hold a thousand copies of all tools.
            let body = match request::body(&self.name, self.allowed, step, &tools) {
                Ok(body) => Bytes::from(body),
                Err(reason) => return failed(EngineErrorKind::Rejected, reason, spent),
            };
            let length = body.len();
            let mut assembly = Assembly::default();
            let began = Instant::now();
            let heard = timeout_at(step.deadline, self.line.call(body, &mut assembly)).await;
            let failure = match heard {
                Ok(Ok(())) => {
                    pass.succeeded();
                    let reply = assembly.into_reply(length);
                    return Ok(Reply { usage: spent.plus(reply.usage), ..reply });
                }
                Ok(Err(failure)) => failure,
                Err(_) => out_of_time(began.elapsed(), assembly.is_empty()),
            };
            spent = spent.plus(assembly.spent(length));
            pass.failed(&failure);
            let Some(pause) = self.pause(&failure, attempt) else {
                return failed(failure.kind, failure.reason, spent);
            };
            if Instant::now() + pause >= step.deadline {
                let reason = format!("{}; the visit would be over before another try", failure.reason);
                return failed(failure.kind, reason, spent);
            }
            let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            tracing::info!(attempt, pause_ms, reason = failure.reason, "the model did not reply, trying again");
            sleep(pause).await;
        }
    }

    /// How long to wait before the next attempt; none if there is to be none.
    fn pause(&self, failure: &Failure, attempt: u32) -> Option<Duration> {
        if attempt >= ATTEMPTS {
            return None;
        }
        match failure.again {
            Again::Never => None,
            Again::After(pause) => Some(pause),
            Again::Soon => {
                let bound = FIRST_PAUSE.saturating_mul(1 << (attempt - 1)).min(LONGEST_PAUSE);
                let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
                Some(Duration::from_micros(self.random.next_u64() % micros))
            }
        }
    }

    fn price(&self, prompt_tokens: u64) -> Option<&'static table::Price> {
        let today = self.clock.now().date_in(&TimeZone::UTC).0;
        self.family.map(|family| family.price(prompt_tokens, today))
    }
}

/// The end of a visit's time in the middle of a call. A provider that gave nothing for long is not there.
fn out_of_time(took: Duration, heard_nothing: bool) -> Failure {
    let health = if heard_nothing && took >= LONGEST_PAUSE { Health::Faulty } else { Health::Unsaid };
    Failure {
        kind: EngineErrorKind::OutOfTime,
        reason: "the time of the visit is over in the middle of a reply".into(),
        again: Again::Never,
        health,
        ..silent(took)
    }
}

const fn outcome_of(kind: EngineErrorKind) -> &'static str {
    match kind {
        EngineErrorKind::ProviderDown => "provider_down",
        EngineErrorKind::Rejected => "rejected",
        EngineErrorKind::OutOfTime => "out_of_time",
        EngineErrorKind::Replay => "replay",
    }
}
