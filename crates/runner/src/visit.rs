//! One visit of one persona: sign in, connect, main turn, rating, finish.
//!
//! Every claimed visit is finished or released. What cannot go on says why and is never rated: no tools, no token and no
//! answer are not an experience of the product.

use std::time::Duration;

use mana_types::{Clock, Secret};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::conversation::spoken;
use crate::engine::Engine;
use crate::error::Error;
use crate::event::{Event, Events};
use crate::hash::short_hash;
use crate::mcp::{Connection, McpError};
use crate::opening;
use crate::options::RunnerOptions;
use crate::password::derive_password;
use crate::progress::{Entry, Progress};
use crate::rating;
use crate::rehearsal::{Rehearsal, lang_of, zone_of};
use crate::schedule::{ModuleRating, VisitReport};
use crate::toolbox::{Toolbox, Toolboxes};
use crate::turn::{Session, Turn, TurnEnd};
use crate::wire::{Claim, Feedback, Finish, Hashes, Outcome};

/// How long giving a visit back may take when the runner stops.
const RELEASE: Duration = Duration::from_secs(2);

/// What all visits of a runner share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: RunnerOptions,
    pub(crate) api: Api,
    pub(crate) http: reqwest::Client,
    pub(crate) toolboxes: Toolboxes,
    pub(crate) events: Events,
    pub(crate) clock: std::sync::Arc<dyn Clock>,
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
    let journal = claim.journal.clone();
    let progress = if journal.is_empty() { Progress::new() } else { Progress::replay(journal) };
    let today = progress.date.unwrap_or_else(|| shared.clock.now().date_in(&zone_of(&claim.persona)));
    let rehearsal = Rehearsal::new(&claim.persona, today, &claim.tick_id);
    let mut visit = Visit { shared, claim, controls, progress, engine: Engine::Rehearsal(rehearsal) };
    let controls = visit.controls.clone();
    let end = tokio::select! {
        biased;
        () = controls.at_once.cancelled() => End::AtOnce,
        () = controls.lost.cancelled() => End::Lost,
        () = controls.cut.cancelled() => End::Stopped,
        () = tokio::time::sleep(shared.options.timing.visit_cap) => {
            let cap = shared.options.timing.visit_cap.as_secs();
            End::Done(Outcome::Timeout, Some(format!("the visit took longer than {cap} seconds")))
        }
        end = visit.perform() => end,
    };
    let mut report = visit.settle(end).await;
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
    engine: Engine,
}

impl Visit<'_> {
    /// From signing in to the end of the main turn.
    async fn perform(&mut self) -> End {
        let Engine::Rehearsal(rehearsal) = &self.engine;
        if !self.claim.resumed && rehearsal.skips(self.claim.persona.last_active_at.is_some()) {
            return End::Done(Outcome::Skipped, None);
        }
        if self.controls.stop.is_cancelled() {
            return End::Stopped;
        }
        if self.progress.has_ended() {
            // Only the finish was missing.
            return End::Done(Outcome::Completed, None);
        }
        let mut session = match self.sign_in().await {
            Ok(session) => session,
            Err(end) => return end,
        };
        match self.turn(&mut session).await {
            Ok(end) => self.judge(end),
            Err(error) => self.failed("personas", &error),
        }
    }

    async fn sign_in(&mut self) -> Result<Session, End> {
        let Shared { api, options, http, .. } = self.shared;
        let email = &self.claim.persona.email;
        let password = derive_password(&options.seed_secret, email);
        let signed_in = api.login(email, &password).await.map_err(|error| self.failed("login", &error))?;
        let space = api.personal_space(&signed_in.access_token).await.map_err(|error| self.failed("login", &error))?;
        self.tell(|tick, persona| Event::SignedIn { tick, persona });

        let connected = async {
            let connection = Connection::open(http, &options.mcp_url, &signed_in.access_token, space).await?;
            let tools = connection.tools().await?;
            Ok((connection, self.shared.toolboxes.of_list(tools)))
        };
        let (connection, tools) = connected.await.map_err(|error| no_mcp(&error))?;
        if tools.tools().is_empty() {
            return Err(no_mcp(&McpError::Unavailable("it offers no tools".into())));
        }
        let count = tools.tools().len();
        self.tell(|tick, persona| Event::Connected { tick, persona, tools: count });
        self.use_tools(tools);
        Ok(Session {
            http: http.clone(),
            mcp_url: options.mcp_url.clone(),
            access_token: Secret::new(signed_in.access_token),
            refresh_token: Secret::new(signed_in.refresh_token),
            space,
            connection,
            refreshed: false,
        })
    }

    /// The tools of this visit. If the list is another one than when it began, it goes on with what there is.
    fn use_tools(&mut self, tools: std::sync::Arc<Toolbox>) {
        if self.progress.tools_hash.as_deref().is_some_and(|known| known != tools.hash()) {
            tracing::info!(tick = %self.claim.tick_id, "runner.visit.tools_changed");
        }
        self.progress.conversation.tools = tools;
    }

    async fn turn(&mut self, session: &mut Session) -> Result<TurnEnd, Error> {
        let opening = (!self.progress.has_begun()).then(|| self.opening());
        let mut turn = Turn {
            api: &self.shared.api,
            events: &self.shared.events,
            engine: &self.engine,
            claim: &self.claim,
            session,
            progress: &mut self.progress,
            stop: &self.controls.stop,
            tool_limit: self.shared.options.timing.tool_call,
        };
        if let Some(opening) = opening {
            turn.record(opening).await?;
        }
        turn.run().await
    }

    fn opening(&self) -> Entry {
        let persona = &self.claim.persona;
        let date = self.shared.clock.now().date_in(&zone_of(persona));
        let Engine::Rehearsal(rehearsal) = &self.engine;
        let goal = rehearsal.goal();
        Entry::Start {
            engine: self.engine.name().into(),
            date,
            message: opening::message(persona, lang_of(persona), date, goal.as_deref()),
            goal,
            prompt_hash: short_hash(persona.system_prompt.as_bytes()),
            tools_hash: self.progress.conversation.tools.hash().to_owned(),
        }
    }

    /// From the end of a turn to the outcome of the visit.
    fn judge(&self, end: TurnEnd) -> End {
        let tolerated = usize::try_from(self.claim.persona.behaviour.unwrap_or_default().tolerated_errors);
        match end {
            TurnEnd::Ended if tolerated.is_ok_and(|tolerated| self.progress.errors() > tolerated) => {
                End::Done(Outcome::GaveUp, None)
            }
            TurnEnd::Ended => End::Done(Outcome::Completed, None),
            TurnEnd::Refused => End::Done(Outcome::Refused, None),
            TurnEnd::Truncated => End::Done(Outcome::Truncated, None),
            TurnEnd::Unreachable(reason) => {
                count_error("mcp_lost");
                End::Done(Outcome::McpUnavailable, Some(reason))
            }
            TurnEnd::TokenRevoked => {
                count_error("token_revoked");
                End::Done(Outcome::McpUnauthorized, Some("the token was revoked during the visit".into()))
            }
            TurnEnd::Protocol(reason) => {
                count_error("protocol");
                End::Done(Outcome::Failed, Some(reason))
            }
            TurnEnd::Stopped => End::Stopped,
        }
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
                return self.report(Outcome::Interrupted, Some("the runner stopped".into()), &[]);
            }
            End::AtOnce => return self.report(Outcome::Interrupted, Some("the runner stopped at once".into()), &[]),
            End::Lost => {
                count_error("lease_lost");
                return self.report(Outcome::Interrupted, Some("the lease was lost".into()), &[]);
            }
        };
        self.progress.close_open_calls("not_executed", "the visit ended before this call was answered");
        let feedback = if outcome.is_rated() { self.ratings() } else { Vec::new() };
        match self.finish(outcome, error.clone(), feedback.clone()).await {
            Ok(()) => self.report(outcome, error, &feedback),
            Err(cause) if cause.is_stale() => {
                count_error("lease_lost");
                self.report(Outcome::Interrupted, Some("the lease was lost".into()), &[])
            }
            Err(cause) => {
                count_error("finish");
                tracing::error!(tick = %self.claim.tick_id, error = %cause, "runner.visit.not_finished");
                let reason = format!("the end of the visit could not be written: {cause}");
                if !cause.is_transient() {
                    // Better an end without its rows than a visit that is made again and again.
                    self.progress.actions.clear();
                    if let Err(error) = self.finish(Outcome::Failed, Some(reason.clone()), Vec::new()).await {
                        tracing::error!(tick = %self.claim.tick_id, %error, "runner.visit.not_ended");
                    }
                }
                self.report(Outcome::Failed, Some(reason), &[])
            }
        }
    }

    async fn finish(&self, outcome: Outcome, error: Option<String>, feedback: Vec<Feedback>) -> Result<(), Error> {
        let last = self.progress.conversation.messages.last().filter(|_| self.progress.has_ended());
        let said = last.map(|message| spoken(&message.content)).filter(|said| !said.is_empty());
        let finish = Finish {
            outcome,
            engine: self.engine.name(),
            simulated: self.engine.is_simulated(),
            goal: self.progress.goal.clone(),
            summary: error.or(said),
            hashes: Hashes { prompt: self.progress.prompt_hash.clone(), tools: self.progress.tools_hash.clone() },
            actions: self.progress.actions.clone(),
            feedback,
        };
        self.shared.api.finish(&self.claim.tick_id, self.claim.epoch, &finish).await
    }

    fn ratings(&self) -> Vec<Feedback> {
        let Engine::Rehearsal(rehearsal) = &self.engine;
        rating::from_behaviour(&self.progress.actions, lang_of(&self.claim.persona), &mut rehearsal.dice(7_000))
    }

    async fn release(&self) {
        let release = self.shared.api.release(&self.claim.tick_id, self.claim.epoch);
        match timeout(RELEASE, release).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(tick = %self.claim.tick_id, %error, "runner.visit.not_released"),
            Err(_) => tracing::warn!(tick = %self.claim.tick_id, "runner.visit.not_released_in_time"),
        }
    }

    fn report(&self, outcome: Outcome, error: Option<String>, feedback: &[Feedback]) -> VisitReport {
        VisitReport {
            tick: self.claim.tick_id.to_string(),
            persona: self.claim.persona.email.clone(),
            name: self.claim.persona.shown_name(),
            outcome,
            error,
            resumed: self.claim.resumed,
            calls: self.progress.actions.len(),
            errors: self.progress.errors(),
            ratings: feedback
                .iter()
                .map(|row| ModuleRating { module: row.module.clone(), rating: row.rating })
                .collect(),
            duration_ms: 0,
        }
    }
}

fn no_mcp(error: &McpError) -> End {
    match error {
        McpError::Unauthorized => {
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
