//! Held leases: a sign of life for all of them in one request, and the end of those that are lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use mana_types::TickId;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::options::Timing;
use crate::wire::Held;

#[derive(Debug)]
struct Lease {
    epoch: i64,
    /// When the service last said that the visit is ours, by the monotonic clock.
    accepted: Instant,
    lost: CancellationToken,
}

/// The leases of the visits that run.
#[derive(Debug)]
pub(crate) struct Leases {
    timing: Timing,
    held: Mutex<HashMap<TickId, Lease>>,
}

/// A lease that is held as long as this lives.
#[derive(Debug)]
pub(crate) struct HeldLease {
    leases: Arc<Leases>,
    tick: TickId,
    lost: CancellationToken,
}

impl HeldLease {
    /// Cancelled when the lease is lost.
    pub(crate) fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        self.leases.all().remove(&self.tick);
    }
}

impl Leases {
    pub(crate) fn new(timing: Timing) -> Self {
        Self { timing, held: Mutex::default() }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<TickId, Lease>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a lease that was just claimed.
    pub(crate) fn hold(self: &Arc<Self>, tick: TickId, epoch: i64) -> HeldLease {
        let lost = CancellationToken::new();
        self.all().insert(tick.clone(), Lease { epoch, accepted: Instant::now(), lost: lost.clone() });
        HeldLease { leases: Arc::clone(self), tick, lost }
    }

    /// Gives signs of life for ever.
    pub(crate) async fn keep(&self, api: &Api) {
        let mut next_beat = Instant::now() + self.timing.beat;
        loop {
            sleep_until(self.next_expiry().map_or(next_beat, |expiry| expiry.min(next_beat))).await;
            if Instant::now() >= next_beat {
                next_beat = Instant::now() + self.timing.beat;
                self.beat(api).await;
            }
            self.drop_expired();
        }
    }

    async fn beat(&self, api: &Api) {
        let held: Vec<Held> =
            self.all().iter().map(|(tick, lease)| Held { tick_id: tick.clone(), epoch: lease.epoch }).collect();
        if held.is_empty() {
            return;
        }
        let sent = Instant::now();
        match api.heartbeat(&held).await {
            Ok(answer) => {
                let mut all = self.all();
                for tick in &answer.held {
                    if let Some(lease) = all.get_mut(tick) {
                        lease.accepted = sent;
                    }
                }
                for tick in &answer.lost {
                    if let Some(lease) = all.get(tick) {
                        tracing::warn!(%tick, "runner.lease.lost");
                        lease.lost.cancel();
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "runner.heartbeat.failed"),
        }
    }

    fn next_expiry(&self) -> Option<Instant> {
        self.all()
            .values()
            .filter(|lease| !lease.lost.is_cancelled())
            .map(|lease| lease.accepted + self.timing.self_abort)
            .min()
    }

    /// Ends the visits of which nothing was heard for so long that somebody else may soon hold them.
    fn drop_expired(&self) {
        let now = Instant::now();
        for (tick, lease) in self.all().iter() {
            if !lease.lost.is_cancelled() && now >= lease.accepted + self.timing.self_abort {
                tracing::warn!(%tick, "runner.lease.not_confirmed");
                lease.lost.cancel();
            }
        }
    }
}
