//! A claimed visit that is over before it begins: there is no engine for it.

use crate::progress::{Progress, Start};
use crate::schedule::VisitReport;
use crate::visit::Shared;
use crate::wire::{Claim, Finish, Hashes, Outcome};

/// A claimed visit that cannot even begin.
pub(crate) struct Unmade {
    pub(crate) claim: Claim,
    pub(crate) outcome: Outcome,
    pub(crate) reason: String,
    /// What an earlier process did in it.
    pub(crate) progress: Progress,
}

impl Unmade {
    /// Writes down why.
    pub(crate) async fn settle(self, shared: &Shared) -> VisitReport {
        let Self { claim, outcome, reason, mut progress } = self;
        progress.close_open_calls("not_executed", "the visit ended before this call was answered");
        let start = progress.start.as_ref();
        let (engine, simulated) = start.and_then(Start::maker).unwrap_or((shared.options.engine().as_str(), true));
        let finish = Finish {
            outcome,
            engine,
            model: start.and_then(Start::model),
            simulated,
            goal: None,
            summary: Some(reason.clone()),
            diary: None,
            story: None,
            usage: None,
            settle: None,
            hashes: Hashes::default(),
            actions: progress.rows(),
            feedback: Vec::new(),
            provider_fault: false,
        };
        if let Err(error) = shared.api.finish(&claim.tick_id, claim.epoch, &finish).await {
            tracing::error!(tick = %claim.tick_id, %error, "runner.visit.not_finished");
        }
        VisitReport {
            tick: claim.tick_id.to_string(),
            persona: claim.persona.email.clone(),
            name: claim.persona.shown_name(),
            outcome,
            error: Some(reason),
            resumed: claim.resumed,
            calls: progress.actions.len(),
            errors: progress.errors(),
            ratings: Vec::new(),
            duration_ms: 0,
        }
    }
}
