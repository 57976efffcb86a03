//! The loop: a pass every interval, never two at once, a few personas at a time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use mana_types::{Clock, Random, TickId};
use serde::Serialize;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::api::{Api, http_client};
use crate::engine::Engines;
use crate::error::Error;
use crate::event::{Event, Events};
use crate::lease::Leases;
use crate::options::{EngineChoice, RunnerOptions};
use crate::password::derive_password;
use crate::target::Targets;
use crate::toolbox::Toolboxes;
use crate::visit::{Controls, Shared, count_error, visit};
use crate::wire::{Claim, Outcome};

/// How many personas are claimed in one request: the service gives no more.
const CLAIM: usize = 100;

/// How a module was rated in a visit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleRating {
    /// The module.
    pub module: String,
    /// From 1 to 5.
    pub rating: u8,
}

/// What came of one visit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VisitReport {
    /// The visit's id.
    pub tick: String,
    /// The persona's e-mail.
    pub persona: String,
    /// Its name.
    pub name: String,
    /// How the visit ended.
    pub outcome: Outcome,
    /// What was wrong, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether an interrupted visit went on.
    pub resumed: bool,
    /// How many calls were asked for.
    pub calls: usize,
    /// How many of them failed.
    pub errors: usize,
    /// The ratings, in the order of first use.
    pub ratings: Vec<ModuleRating>,
    /// How long it took.
    pub duration_ms: u64,
}

/// A visit that did not come to a good end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedVisit {
    /// The persona's e-mail.
    pub persona: String,
    /// What was wrong.
    pub error: String,
}

/// What came of a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PassResult {
    /// How many personas were due and claimed.
    pub due: usize,
    /// How many visits came to a good end.
    pub ran_successfully: usize,
    /// The others.
    pub failed: Vec<FailedVisit>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Why claiming stopped early, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Every visit, in the order in which they ended.
    pub visits: Vec<VisitReport>,
}

/// What the loop does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LoopState {
    /// It makes passes.
    Running,
    /// It was told to do nothing.
    Paused,
    /// Something that it needs is missing.
    Disabled,
}

/// The body of `GET /health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// `ok`: the process answers.
    pub status: &'static str,
    /// Which service this is.
    pub service: &'static str,
    /// Whether the runner was told to do nothing.
    pub paused: bool,
    /// Milliseconds from one pass to the next.
    pub tick_interval_ms: u64,
    /// How many personas visit at a time.
    pub concurrency: usize,
    /// The engine that will run.
    pub engine: &'static str,
    /// The model, where the engine is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Why the model's provider is not asked at present, and until when; nothing while it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// What the loop does.
    pub r#loop: LoopState,
    /// Why it does not run, if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Who a sign-in check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoginCheck {
    /// The persona's e-mail.
    pub email: String,
    /// Its account.
    pub user_id: String,
    /// Its personal space.
    pub space_id: String,
}

/// The runner. Cheap to clone; every clone is the same runner.
#[derive(Debug, Clone)]
pub struct Runner(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    /// Held by whoever makes a pass.
    pass: Arc<tokio::sync::Mutex<()>>,
    stop: CancellationToken,
    at_once: CancellationToken,
}

impl Runner {
    /// A runner with these options. Nothing is claimed before [`Runner::run`] or [`Runner::pass`].
    pub fn new(options: RunnerOptions, clock: Arc<dyn Clock>, random: &Arc<dyn Random>) -> Result<Self, Error> {
        let http = http_client(&options)?;
        let engines = Engines::new(&options, &clock, random);
        // A fresh owner for every process: a restarted runner is somebody else, and its old leases run out.
        let owner = format!("runner-{}", TickId::new(&*clock, &**random));
        let api = Api::new(http.clone(), &options, owner);
        let targets = Targets::new(http, &options.mcp_url, options.secrets.clone(), options.allow_private_targets);
        let shared =
            Shared { options, api, targets, toolboxes: Toolboxes::default(), events: Events::new(), clock, engines };
        Ok(Self(Arc::new(Inner {
            shared: Arc::new(shared),
            pass: Arc::default(),
            stop: CancellationToken::new(),
            at_once: CancellationToken::new(),
        })))
    }

    /// What the runner was told.
    pub(crate) fn options(&self) -> &RunnerOptions {
        &self.0.shared.options
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.0.shared.events.subscribe()
    }

    /// How the runner is.
    pub fn health(&self) -> Health {
        let options = self.options();
        let reason = self.0.shared.engines().err().map(str::to_owned);
        let state = match (&reason, options.paused) {
            (Some(_), _) => LoopState::Disabled,
            (None, true) => LoopState::Paused,
            (None, false) => LoopState::Running,
        };
        Health {
            status: "ok",
            service: "persona-runner",
            paused: options.paused,
            tick_interval_ms: options.tick_interval_ms,
            concurrency: options.concurrency,
            engine: options.engine().as_str(),
            model: (options.engine() == EngineChoice::Anthropic).then(|| options.model.model.clone()),
            provider: self.0.shared.engines().ok().and_then(Engines::closed_for),
            r#loop: state,
            reason,
        }
    }

    /// Makes passes until `stop`; then running visits go on to their next journal point and are given back, for at most
    /// the time of grace. `at_once` cuts that short. Returns when nothing runs any more.
    pub async fn run(&self, stop: CancellationToken, at_once: CancellationToken) {
        let wired = self.clone();
        let (asked, urged) = (stop.clone(), at_once.clone());
        let wiring = tokio::spawn(async move {
            asked.cancelled().await;
            wired.0.stop.cancel();
            urged.cancelled().await;
            wired.0.at_once.cancel();
        });
        match self.health() {
            Health { reason: Some(reason), .. } => {
                tracing::warn!(%reason, "runner.loop.disabled");
                stop.cancelled().await;
            }
            Health { paused: true, .. } => {
                tracing::info!("runner.loop.paused");
                stop.cancelled().await;
            }
            _ => self.make_passes(&stop).await,
        }
        // A pass that was asked for by hand may still be running: it sees the same signal.
        self.0.stop.cancel();
        drop(self.0.pass.lock().await);
        wiring.abort();
    }

    async fn make_passes(&self, stop: &CancellationToken) {
        let period = Duration::from_millis(self.options().tick_interval_ms.max(1));
        let first = if self.options().first_pass_at_once { Instant::now() } else { Instant::now() + period };
        let mut interval = tokio::time::interval_at(first, period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = interval.tick() => {}
            }
            match self.pass().await {
                Ok(result) if result.due > 0 => {
                    let PassResult { due, ran_successfully, duration_ms, .. } = result;
                    tracing::info!(due, ran_successfully, duration_ms, "runner.pass");
                }
                Ok(_) => {}
                Err(Error::PassRunning) => tracing::debug!("runner.pass.already_running"),
                Err(error) => tracing::warn!(%error, "runner.pass.failed"),
            }
        }
    }

    /// Claims everything that is due and runs it. Fails if a pass is running already.
    pub async fn pass(&self) -> Result<PassResult, Error> {
        let guard = Arc::clone(&self.0.pass).try_lock_owned().map_err(|_| Error::PassRunning)?;
        if let Err(reason) = self.0.shared.engines() {
            return Err(Error::Disabled(reason.to_owned()));
        }
        if self.options().paused {
            return Ok(PassResult::default());
        }
        // A task of its own: whoever asked may go away, the visits go on.
        let inner = Arc::clone(&self.0);
        let task = tokio::spawn(async move {
            let result = Pass::new(&inner).run().await;
            drop(guard);
            result
        });
        match task.await {
            Ok(result) => result,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    /// Signs a persona in as a visit would, and says who it is.
    pub async fn check_login(&self, email: &str) -> Result<LoginCheck, Error> {
        let Shared { api, options, .. } = &*self.0.shared;
        let signed_in = api.login(email, &derive_password(&options.seed_secret, email)).await?;
        let space = api.personal_space(&signed_in.access_token).await?;
        Ok(LoginCheck { email: email.to_owned(), user_id: signed_in.user.id.to_string(), space_id: space.to_string() })
    }
}

/// One pass.
struct Pass<'a> {
    inner: &'a Inner,
    leases: Arc<Leases>,
    /// Running visits. A persona that is claimed twice in a pass would be due for ever.
    seen: HashSet<String>,
    running: JoinSet<VisitReport>,
    /// The time of grace is over.
    cut: CancellationToken,
    result: PassResult,
}

impl<'a> Pass<'a> {
    fn new(inner: &'a Inner) -> Self {
        Self {
            inner,
            leases: Arc::new(Leases::new(inner.shared.options.timing)),
            seen: HashSet::new(),
            running: JoinSet::new(),
            cut: CancellationToken::new(),
            result: PassResult::default(),
        }
    }

    async fn run(mut self) -> Result<PassResult, Error> {
        let started = Instant::now();
        let shared = Arc::clone(&self.inner.shared);
        shared.events.send(Event::PassStarted);
        let beating = CancellationToken::new();
        let _stops_beating = beating.clone().drop_guard();
        let (leases, api) = (Arc::clone(&self.leases), shared.api.clone());
        tokio::spawn(async move { beating.run_until_cancelled(leases.keep(&api)).await });
        let cut = self.cut.clone();
        let (stop, grace) = (self.inner.stop.clone(), shared.options.timing.grace);
        let grace = tokio::spawn(async move {
            stop.cancelled().await;
            tokio::time::sleep(grace).await;
            cut.cancel();
        });

        let mut claiming = true;
        loop {
            claiming = claiming && !self.inner.stop.is_cancelled();
            if claiming {
                claiming = self.claim().await?;
                if claiming && self.running.len() < self.inner.shared.options.concurrency {
                    continue;
                }
            }
            match self.running.join_next().await {
                Some(Ok(report)) => self.take(report),
                Some(Err(error)) => {
                    count_error("panic");
                    tracing::error!(%error, "runner.visit.panicked");
                    self.result
                        .failed
                        .push(FailedVisit { persona: "unknown".into(), error: "the visit panicked".into() });
                }
                None if claiming => {}
                None => break,
            }
        }
        grace.abort();
        self.result.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        shared.events.send(Event::PassFinished { result: self.result.clone() });
        Ok(self.result)
    }

    /// Fills the free places. Answers whether there may be more to claim.
    async fn claim(&mut self) -> Result<bool, Error> {
        let Shared { api, options, .. } = &*self.inner.shared;
        let free = options.concurrency.max(1).saturating_sub(self.running.len()).min(CLAIM);
        if free == 0 {
            return Ok(true);
        }
        if let Some(reason) = self.inner.shared.engines().ok().and_then(Engines::closed_for) {
            // Whoever is due stays due, and is not charged an attempt.
            tracing::warn!(%reason, "runner.provider.down");
            self.result.error = Some(reason);
            return Ok(false);
        }
        let claims = match api.claim(free, options.engine().as_str()).await {
            Ok(claims) => claims,
            Err(error) => {
                count_error(error.kind());
                if self.result.due == 0 {
                    return Err(error);
                }
                tracing::warn!(%error, "runner.claim.failed");
                self.result.error = Some(format!("claiming stopped early: {error}"));
                return Ok(false);
            }
        };
        let mut more = claims.len() >= free;
        for claim in claims {
            if self.seen.insert(claim.persona.email.clone()) {
                self.start(claim);
            } else {
                more = false;
                if let Err(error) = api.release(&claim.tick_id, claim.epoch).await {
                    tracing::warn!(tick = %claim.tick_id, %error, "runner.visit.not_released");
                }
            }
        }
        Ok(more)
    }

    fn start(&mut self, claim: Claim) {
        self.result.due += 1;
        let held = self.leases.hold(claim.tick_id.clone(), claim.epoch);
        let controls = Controls {
            lost: held.lost(),
            stop: self.inner.stop.clone(),
            cut: self.cut.clone(),
            at_once: self.inner.at_once.clone(),
        };
        let shared = Arc::clone(&self.inner.shared);
        self.running.spawn(async move {
            let report = visit(&shared, claim, controls).await;
            drop(held);
            report
        });
    }

    fn take(&mut self, report: VisitReport) {
        if report.outcome.is_success() {
            self.result.ran_successfully += 1;
        } else {
            let error = report.error.clone().unwrap_or_else(|| report.outcome.as_str().to_owned());
            self.result.failed.push(FailedVisit { persona: report.persona.clone(), error });
        }
        self.result.visits.push(report);
    }
}
