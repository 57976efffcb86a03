//! One visit of one persona: sign in, connect, main turn, rating, finish.
//!
//! Every claimed visit is finished or released. What cannot go on says why and is never rated: no tools, no token and no
//! answer are not an experience of the product.

use std::sync::Arc;
use std::time::Duration;

use mana_types::{Clock, Date};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::closing::Closing;
use crate::conversation::Conversation;
use crate::engine::{Engine, EngineError, EngineErrorKind, Engines, NoEngine};
use crate::error::Error;
use crate::event::{Event, Events};
use crate::hash::short_hash;
use crate::mcp::McpError;
use crate::options::RunnerOptions;
use crate::password::derive_password;
use crate::progress::{Entry, MainEnd, Next, Phase, Progress, Start};
use crate::prompt::{self, Memory, Opening};
use crate::purse::Purse;
use crate::rating;
use crate::rehearsal::chaos::Chaos;
use crate::rehearsal::{Rehearsal, lang_of, zone_of};
use crate::schedule::{ModuleRating, VisitReport};
use crate::session::Session;
use crate::target::Targets;
use crate::toolbox::{Toolbox, Toolboxes};
use crate::turn::{Turn, TurnEnd, last_moment, send};
use crate::unmade::Unmade;
use crate::wire::{Claim, Feedback, Finish, Hashes, Outcome, Story};

/// How long giving a visit back may take when the runner stops.
const RELEASE: Duration = Duration::from_secs(2);

/// After how many visits a persona's story is told for the first time.
const FIRST_STORY: usize = 5;

/// What all visits of a runner share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: RunnerOptions,
    pub(crate) api: Api,
    pub(crate) targets: Targets,
    pub(crate) toolboxes: Toolboxes,
    pub(crate) events: Events,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) engines: Result<Engines, String>,
}

impl Shared {
    /// What makes engines, or why nothing can.
    pub(crate) fn engines(&self) -> Result<&Engines, &str> {
        self.engines.as_ref().map_err(String::as_str)
    }
}

/// What can end a visit from outside.
#[derive(Debug, Clone)]
pub(crate) struct Controls {
    /// The lease is lost: nothing more may be written.
    pub(crate) lost: CancellationToken,
    /// The runner stops: go on to the next journal point.
    pub(crate) stop: CancellationToken,
    /// The time of grace is over.
    pub(crate) cut: CancellationToken,
    /// Stop at once, also without giving the visit back.
    pub(crate) at_once: CancellationToken,
}

/// How a visit came to its end.
enum End {
    Done(Outcome, Option<String>),
    Lost,
    Stopped,
    AtOnce,
}

/// Makes one claimed visit.
pub(crate) async fn visit(shared: &Shared, claim: Claim, controls: Controls) -> VisitReport {
    let started = Instant::now();
    shared.events.send(Event::Claimed {
        tick: claim.tick_id.to_string(),
        persona: claim.persona.email.clone(),
        name: claim.persona.shown_name(),
        resumed: claim.resumed,
    });
    let mut report = match Visit::begin(shared, claim, controls, started) {
        Ok(visit) => visit.run().await,
        Err(unmade) => unmade.settle(shared).await,
    };
    report.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    metrics::counter!("persona_ticks_total", "outcome" => report.outcome.as_str()).increment(1);
    metrics::histogram!("persona_tick_duration_seconds", "outcome" => report.outcome.as_str())
        .record(started.elapsed().as_secs_f64());
    shared.events.send(Event::Finished {
        tick: report.tick.clone(),
        persona: report.persona.clone(),
        outcome: report.outcome,
        error: report.error.clone(),
        calls: report.calls,
        errors: report.errors,
        duration_ms: report.duration_ms,
    });
    tracing::info!(
        tick = %report.tick, persona = %report.persona, outcome = report.outcome.as_str(),
        calls = report.calls, errors = report.errors, duration_ms = report.duration_ms, "runner.visit"
    );
    report
}

struct Visit<'a> {
    shared: &'a Shared,
    claim: Claim,
    controls: Controls,
    progress: Progress,
    purse: Purse,
    engine: Engine,
    today: Date,
    /// When the visit is over at the latest.
    deadline: Instant,
    feedback: Vec<Feedback>,
    provider_fault: bool,
}

impl<'a> Visit<'a> {
    fn begin(shared: &'a Shared, claim: Claim, controls: Controls, now: Instant) -> Result<Self, Box<Unmade>> {
        let journal = claim.journal.clone();
        let progress = if journal.is_empty() { Progress::new() } else { Progress::replay(journal) };
        let begun = progress.start.as_ref().map(|start| start.date);
        let today = begun.unwrap_or_else(|| shared.clock.now().date_in(&zone_of(&claim.persona)));
        let engine = match shared.engines() {
            Ok(engines) => engines.of_visit(&claim, today, shared.clock.now()).map_err(|error| match error {
                NoEngine::NotRecorded(_) => (Outcome::Skipped, error.to_string()),
                NoEngine::Cassette(_) => (Outcome::Failed, error.to_string()),
            }),
            Err(reason) => Err((Outcome::Failed, reason.to_owned())),
        };
        match engine {
            Ok(engine) => Ok(Self {
                purse: Purse::new(shared.options.budget, progress.used),
                deadline: now + shared.options.timing.visit_cap,
                shared,
                claim,
                controls,
                progress,
                engine,
                today,
                feedback: Vec::new(),
                provider_fault: false,
            }),
            Err((outcome, reason)) => Err(Box::new(Unmade { claim, outcome, reason, progress })),
        }
    }

    async fn run(mut self) -> VisitReport {
        let controls = self.controls.clone();
        let end = tokio::select! {
            biased;
            () = controls.at_once.cancelled() => End::AtOnce,
            () = controls.lost.cancelled() => End::Lost,
            () = controls.cut.cancelled() => End::Stopped,
            () = tokio::time::sleep_until(self.deadline) => self.out_of_time(),
            end = self.perform() => end,
        };
        self.settle(end).await
    }

    /// From signing in to the rating.
    async fn perform(&mut self) -> End {
        if self.controls.stop.is_cancelled() {
            return End::Stopped;
        }
        if let Some(end) = self.stays_away() {
            return end;
        }
        if let Some(ended) = self.main_turn_is_over()
            && !self.engine.converses()
        {
            // Only the finish was missing.
            return self.judge(TurnEnd::Main(ended));
        }
        let stop = self.controls.stop.clone();
        let signed_in = tokio::select! {
            biased;
            signed_in = self.sign_in() => signed_in,
            () = last_moment(&stop) => return End::Stopped,
        };
        let mut session = match signed_in {
            Ok(session) => session,
            Err(end) => return end,
        };
        match self.talk(&mut session).await {
            Ok(end) => end,
            Err(error) => self.failed("personas", &error),
        }
    }

    fn main_turn_is_over(&self) -> Option<MainEnd> {
        match self.progress.next() {
            Next::Over(ended) => Some(self.progress.ended.unwrap_or(ended)),
            Next::Begin | Next::Speak | Next::Answer { .. } => self.progress.ended,
        }
    }

    /// Why there is no visit today, if there is none.
    fn stays_away(&self) -> Option<End> {
        let Some(start) = &self.progress.start else {
            let was_active = self.claim.persona.last_active_at.is_some();
            let skips = !matches!(self.engine, Engine::Replay(_)) && self.who().skips(was_active);
            return (skips && !self.claim.resumed).then_some(End::Done(Outcome::Skipped, None));
        };
        let now = (self.engine.name(), self.engine.model());
        let begun = (start.engine.as_str(), start.model.as_deref());
        (now != begun).then(|| {
            let shown = |(engine, model): (&str, Option<&str>)| match model {
                Some(model) => format!("`{engine}` ({model})"),
                None => format!("`{engine}`"),
            };
            let reason = format!("the visit was begun by {}, and now {} is set", shown(begun), shown(now));
            End::Done(Outcome::Interrupted, Some(reason))
        })
    }

    /// The person behind the visit, as far as chance makes it. A recorded visit keeps the chances of its first time.
    fn who(&self) -> Rehearsal {
        match &self.engine {
            Engine::Replay(replay) => Rehearsal::new(&self.claim.persona, replay.header().date, &replay.header().tick),
            Engine::Rehearsal(_) | Engine::Chaos(_) | Engine::Model(..) => {
                Rehearsal::new(&self.claim.persona, self.today, &self.claim.tick_id)
            }
        }
    }

    fn out_of_time(&self) -> End {
        let cap = self.shared.options.timing.visit_cap.as_secs();
        End::Done(Outcome::Timeout, Some(format!("the visit took longer than {cap} seconds")))
    }

    async fn sign_in(&mut self) -> Result<Session, End> {
        let Shared { api, options, .. } = self.shared;
        let email = &self.claim.persona.email;
        let password = derive_password(&options.seed_secret, email);
        let signed_in = api.login(email, &password).await.map_err(|error| self.failed("login", &error))?;
        let space = api.personal_space(&signed_in.access_token).await.map_err(|error| self.failed("login", &error))?;
        self.tell(|tick, persona| Event::SignedIn { tick, persona });

        let resumed = self.progress.conversation.open_calls().into_iter().map(|call| call.id).collect();
        let connected = async {
            let target = self.shared.targets.of(self.claim.persona.target.as_ref())?;
            let modules = target.modules().clone();
            let session = Session::open(target, signed_in, space, resumed).await?;
            let tools = session.connection.tools().await?;
            Ok((session, self.shared.toolboxes.of_list_with(tools, &modules)))
        };
        let (session, tools) = connected.await.map_err(|error| no_mcp(&error))?;
        if tools.tools().is_empty() {
            return Err(no_mcp(&McpError::Unavailable("it offers no tools".into())));
        }
        let count = tools.tools().len();
        self.tell(|tick, persona| Event::Connected { tick, persona, tools: count });
        self.use_tools(tools);
        Ok(session)
    }

    /// The tools of this visit. If the list is another one than when it began, it goes on with what there is.
    fn use_tools(&mut self, tools: Arc<Toolbox>) {
        if self.progress.start.as_ref().is_some_and(|start| start.tools_hash != tools.hash()) {
            tracing::info!(tick = %self.claim.tick_id, "runner.visit.tools_changed");
        }
        self.progress.conversation.tools = tools;
    }

    /// The main turn, and with an engine that can look back, the diary, the ratings and the story.
    async fn talk(&mut self, session: &mut Session) -> Result<End, Error> {
        let persona = &self.claim.persona;
        if self.engine.converses() {
            self.progress.conversation.rules = prompt::rules(lang_of(persona));
            self.progress.conversation.persona = prompt::persona(persona);
        }
        if self.progress.start.is_none() {
            let start = self.start().await?;
            self.progress.note(Entry::Start(start));
        }
        let mut dice = self.who().dice(7_000);
        let mut turn = Turn {
            api: &self.shared.api,
            events: &self.shared.events,
            engine: &self.engine,
            claim: &self.claim,
            session,
            progress: &mut self.progress,
            purse: &mut self.purse,
            budget: self.shared.options.budget,
            stop: &self.controls.stop,
            tool_limit: self.shared.options.timing.tool_call,
            deadline: self.deadline,
        };
        let end = turn.run().await?;
        if let TurnEnd::Main(ended @ (MainEnd::Ended | MainEnd::Truncated | MainEnd::Budget)) = end
            && self.engine.converses()
        {
            match turn.close(ended, &mut dice).await? {
                Closing::Rated(feedback) => self.feedback = feedback,
                Closing::Stopped => return Ok(End::Stopped),
            }
            let start = turn.progress.start.as_ref();
            if start.is_some_and(|start| start.story_is_due) && turn.progress.story.is_none() {
                match remembered(&self.shared.api, &self.claim).await {
                    Ok(memory) => turn.tell_story(&memory).await?,
                    Err(error) if error.is_stale() => return Err(error),
                    // The visit itself is over, and the old story does for another one.
                    Err(error) => tracing::warn!(tick = %self.claim.tick_id, %error, "runner.story.not_told"),
                }
            }
        }
        Ok(self.judge(end))
    }

    async fn start(&self) -> Result<Start, Error> {
        let persona = &self.claim.persona;
        let (lang, zone) = (lang_of(persona), zone_of(persona));
        let mut opening = Opening { persona, lang, today: self.today, goal: None, memory_text: None, events: &[] };
        let mut start = Start {
            engine: self.engine.name().into(),
            model: self.engine.model().map(str::to_owned),
            date: self.today,
            goal: None,
            message: String::new(),
            prompt_hash: short_hash(persona.system_prompt.as_bytes()),
            tools_hash: self.progress.conversation.tools.hash().to_owned(),
            memory_hash: None,
            story_is_due: false,
        };
        match &self.engine {
            Engine::Rehearsal(_) | Engine::Chaos(_) => {
                start.goal = self.who().goal();
                start.message = prompt::opening(&Opening { goal: start.goal.as_deref(), ..opening });
            }
            Engine::Replay(replay) => start.message = replay.opening().unwrap_or_default(),
            Engine::Model(..) => {
                let memory = remembered(&self.shared.api, &self.claim).await?;
                let remembers = memory.text(lang, &zone);
                let events = prompt::life_events(persona, self.today);
                start.goal = prompt::goal(persona, self.today, &self.claim.tick_id, Some(&memory));
                opening.events = &events;
                opening.memory_text = Some(&remembers);
                start.message = prompt::opening(&Opening { goal: start.goal.as_deref(), ..opening });
                start.memory_hash = Some(Memory::hash(&remembers));
                let Conversation { rules, persona: told, .. } = &self.progress.conversation;
                start.prompt_hash = short_hash(format!("{rules}\n{told}").as_bytes());
                let since = match &memory.story {
                    Some(story) => story.visits_since,
                    // The first story is due once there is enough to tell.
                    None if memory.last_visits.len() >= FIRST_STORY => u32::MAX,
                    None => 0,
                };
                start.story_is_due = prompt::story_is_due(since, &persona.email);
            }
        }
        Ok(start)
    }

    /// From the end of a turn to the outcome of the visit.
    fn judge(&mut self, end: TurnEnd) -> End {
        if let (Engine::Chaos(chaos), TurnEnd::Main(_)) = (&self.engine, &end) {
            // Nobody loses patience with what he broke himself.
            let faults = chaos.faults(&self.progress.conversation, &self.progress.actions);
            let tried = Chaos::tried(&self.progress.actions).join("; ");
            return if faults.is_empty() {
                End::Done(Outcome::Completed, Some(tried))
            } else {
                End::Done(Outcome::Failed, Some(format!("{}; tried: {tried}", faults.join("; "))))
            };
        }
        match end {
            TurnEnd::Main(MainEnd::Ended) if self.lost_patience() => End::Done(Outcome::GaveUp, None),
            TurnEnd::Main(MainEnd::Ended) => End::Done(Outcome::Completed, None),
            TurnEnd::Main(MainEnd::Refused) => End::Done(Outcome::Refused, None),
            TurnEnd::Main(MainEnd::Truncated) => End::Done(Outcome::Truncated, None),
            TurnEnd::Main(MainEnd::Budget) => End::Done(Outcome::Budget, None),
            TurnEnd::Main(MainEnd::Doubled) => self.judge(TurnEnd::Protocol("two calls had the same id".into())),
            TurnEnd::Unreachable(reason) => {
                count_error("mcp_lost");
                End::Done(Outcome::McpUnavailable, Some(reason))
            }
            TurnEnd::TokenRevoked => {
                count_error("token_revoked");
                End::Done(
                    Outcome::McpUnauthorized,
                    Some("token_revoked: the token was revoked during the visit".into()),
                )
            }
            TurnEnd::Protocol(reason) => {
                count_error("protocol");
                End::Done(Outcome::Failed, Some(format!("protocol_error: {reason}")))
            }
            TurnEnd::NoReply(EngineError { kind, reason, .. }) => {
                let outcome = match kind {
                    EngineErrorKind::ProviderDown => {
                        self.provider_fault = true;
                        Outcome::ProviderDown
                    }
                    EngineErrorKind::OutOfTime => Outcome::Timeout,
                    EngineErrorKind::Rejected | EngineErrorKind::Replay => Outcome::Failed,
                };
                count_error(outcome.as_str());
                End::Done(outcome, Some(reason))
            }
            TurnEnd::Stopped => End::Stopped,
        }
    }

    /// Whether there were more errors, or more waiting, than this persona puts up with.
    fn lost_patience(&self) -> bool {
        let behaviour = self.claim.persona.behaviour.unwrap_or_default();
        let waited: u64 = self.progress.actions.iter().map(|action| action.latency_ms).sum();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of one visit are far below 2^52")]
        let minutes = waited as f64 / 60_000.0;
        // What the engine did wrong by itself is not the product's fault.
        let met = self.progress.actions.iter().filter(|action| action.is_error() && action.was_made()).count();
        usize::try_from(behaviour.tolerated_errors).is_ok_and(|tolerated| met > tolerated)
            || minutes > behaviour.tolerated_minutes
    }

    fn failed(&self, step: &'static str, error: &Error) -> End {
        if error.is_stale() {
            return End::Lost;
        }
        count_error(step);
        tracing::warn!(tick = %self.claim.tick_id, persona = %self.claim.persona.email, step, %error, "runner.visit.failed");
        let what = if step == "login" { "signing in failed: " } else { "" };
        End::Done(Outcome::Failed, Some(format!("{what}{error}")))
    }

    fn tell(&self, event: impl FnOnce(String, String) -> Event) {
        self.shared.events.send(event(self.claim.tick_id.to_string(), self.claim.persona.email.clone()));
    }

    /// Writes down how it ended, or gives the visit back.
    async fn settle(mut self, end: End) -> VisitReport {
        let (outcome, error) = match end {
            End::Done(outcome, error) => (outcome, error),
            End::Stopped => {
                self.release().await;
                return self.report(Outcome::Interrupted, Some("the runner stopped".into()));
            }
            End::AtOnce => return self.report(Outcome::Interrupted, Some("the runner stopped at once".into())),
            End::Lost => {
                count_error("lease_lost");
                return self.report(Outcome::Interrupted, Some("the lease was lost".into()));
            }
        };
        self.progress.close_open_calls("not_executed", "the visit ended before this call was answered");
        if outcome.is_rated() && !self.engine.converses() {
            self.feedback = self.by_behaviour();
        }
        match self.finish(outcome, error.clone()).await {
            Ok(()) => self.report(outcome, error),
            Err(cause) if cause.is_stale() => {
                count_error("lease_lost");
                self.report(Outcome::Interrupted, Some("the lease was lost".into()))
            }
            Err(cause) => {
                count_error("finish");
                tracing::error!(tick = %self.claim.tick_id, error = %cause, "runner.visit.not_finished");
                let reason = format!("the end of the visit could not be written: {cause}");
                self.feedback.clear();
                if !cause.is_transient() {
                    // Better an end without its rows than a visit that is made again and again.
                    self.progress.actions.clear();
                    if let Err(error) = self.finish(Outcome::Failed, Some(reason.clone())).await {
                        tracing::error!(tick = %self.claim.tick_id, %error, "runner.visit.not_ended");
                    }
                }
                self.report(Outcome::Failed, Some(reason))
            }
        }
    }

    async fn finish(&mut self, outcome: Outcome, error: Option<String>) -> Result<(), Error> {
        self.flush().await?;
        let start = self.progress.start.as_ref();
        // A visit that another engine began was made by that one.
        let (engine, simulated) =
            start.and_then(Start::maker).unwrap_or((self.engine.name(), self.engine.is_simulated()));
        let model = start.map_or_else(|| self.engine.model().map(str::to_owned), Start::model);
        let finish = Finish {
            outcome,
            engine,
            model,
            simulated,
            goal: start.and_then(|start| start.goal.clone()),
            summary: error.or_else(|| self.progress.said_in(Phase::Main).map(str::to_owned)),
            diary: self.progress.said_in(Phase::Diary).map(str::to_owned),
            story: self.progress.story.clone().map(|text| Story { text, through_tick: self.claim.tick_id.clone() }),
            usage: self.purse.is_used().then_some(self.purse.used),
            settle: None,
            hashes: Hashes {
                prompt: start.map(|start| start.prompt_hash.clone()),
                tools: start.map(|start| start.tools_hash.clone()),
                memory: start.and_then(|start| start.memory_hash.clone()),
            },
            actions: self.progress.rows(),
            feedback: self.feedback.clone(),
            provider_fault: self.provider_fault,
        };
        self.shared.api.finish(&self.claim.tick_id, self.claim.epoch, &finish).await
    }

    /// Writes what is left into the journal. Lines that are refused once are refused for ever: without them the visit can
    /// still end, with all its rows.
    async fn flush(&mut self) -> Result<(), Error> {
        for _ in 0..2 {
            match send(&self.shared.api, &self.claim, &mut self.progress, &mut self.purse, None).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_stale() || error.is_transient() => return Err(error),
                Err(error) => {
                    tracing::error!(tick = %self.claim.tick_id, %error, "runner.journal.refused");
                    if std::mem::take(&mut self.progress.unsent).is_empty() {
                        // What was put aside stays booked.
                        self.purse.settle = None;
                    }
                }
            }
        }
        self.purse.settle = None;
        Ok(())
    }

    fn by_behaviour(&self) -> Vec<Feedback> {
        let mut dice = self.who().dice(7_000);
        rating::from_behaviour(&self.progress.actions, lang_of(&self.claim.persona), &mut dice)
    }

    async fn release(&self) {
        let release = self.shared.api.release(&self.claim.tick_id, self.claim.epoch);
        match timeout(RELEASE, release).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(tick = %self.claim.tick_id, %error, "runner.visit.not_released"),
            Err(_) => tracing::warn!(tick = %self.claim.tick_id, "runner.visit.not_released_in_time"),
        }
    }

    fn report(&self, outcome: Outcome, error: Option<String>) -> VisitReport {
        let rated = |row: &Feedback| Some(ModuleRating { module: row.module.clone(), rating: row.rating? });
        VisitReport {
            tick: self.claim.tick_id.to_string(),
            persona: self.claim.persona.email.clone(),
            name: self.claim.persona.shown_name(),
            outcome,
            error: error.or_else(|| self.progress.unpaid.clone().filter(|_| outcome == Outcome::Budget)),
            resumed: self.claim.resumed,
            calls: self.progress.actions.len(),
            errors: self.progress.errors(),
            ratings: self.feedback.iter().filter_map(rated).collect(),
            duration_ms: 0,
        }
    }
}

/// What the persona remembers.
async fn remembered(api: &Api, claim: &Claim) -> Result<Memory, Error> {
    let told = api.memory(&claim.tick_id, claim.epoch).await?;
    serde_json::from_value(told).map_err(|error| Error::Unexpected { service: "personas", reason: error.to_string() })
}

fn no_mcp(error: &McpError) -> End {
    match error {
        McpError::Unauthorized | McpError::NoToken(_) => {
            count_error("mcp_unauthorized");
            End::Done(Outcome::McpUnauthorized, Some(error.to_string()))
        }
        other => {
            count_error("mcp_unavailable");
            let reason = match other {
                McpError::Protocol { message, .. } => format!("the MCP server refused: {message}"),
                other => other.to_string(),
            };
            End::Done(Outcome::McpUnavailable, Some(reason))
        }
    }
}

pub(crate) fn count_error(kind: &'static str) {
    metrics::counter!("persona_errors_total", "kind" => kind).increment(1);
}
