//! Claims: who works on which persona, until when.
//!
//! A claim is a lease with a fencing epoch. It writes the attempt before anything costs money: the epoch and the number
//! of attempts grow, a visit is there. Whoever dies leaves a lease that runs out; the next claim takes the same visit up
//! again, with its journal. The fifth lease that runs out is the last: the persona is quarantined.

use mana_types::{TickId, Timestamp, UserId};
use serde::Serialize;
use serde_json::Value;

use crate::descriptor::Descriptor;
use crate::fields::Fields;
use crate::store;
use crate::tick::{Entry, Lease};
use crate::{Error, Personas, Result};

/// The most personas of one claim.
const MOST_CLAIMED: i64 = 100;
/// The most visits of one heartbeat.
const MOST_HELD: usize = 1_000;
/// The shortest and the longest lease.
const LEASES_MS: (i64, i64) = (1_000, 15 * 60 * 1_000);
/// The engines whose visits are simulated.
const SIMULATED: [&str; 3] = ["rehearsal", "chaos", "replay"];

/// Who wants to work, and on how many.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// A fresh id per process start.
    pub owner: String,
    /// At most this many.
    pub limit: i64,
    /// For how long.
    pub lease_ms: i64,
    /// With which engine.
    pub engine: String,
}

impl ClaimRequest {
    /// Reads a request; with any fault, all of them come back.
    pub fn read(body: &Value) -> Result<Self> {
        let mut faults = Vec::new();
        let read = Fields::of(body, "", &mut faults).and_then(|mut fields| {
            let owner = fields.needed_text("owner", 128);
            let limit = match fields.value("limit") {
                None => Some(1),
                Some(_) => fields.whole("limit", 0, i64::from(i32::MAX)),
            };
            let lease_ms = read_lease_ms(&mut fields);
            let engine = fields.needed_text("engine", 64);
            Some(Self { owner: owner?, limit: limit?.min(MOST_CLAIMED), lease_ms: lease_ms?, engine: engine? })
        });
        match read {
            Some(request) if faults.is_empty() => Ok(request),
            _ => Err(Error::Invalid(faults)),
        }
    }

    /// Whether visits of this engine are simulated.
    pub fn is_simulated(&self) -> bool {
        SIMULATED.contains(&self.engine.as_str())
    }
}

pub(crate) fn read_lease_ms(fields: &mut Fields<'_, '_>) -> Option<i64> {
    match fields.value("leaseMs") {
        None => Some(120_000),
        Some(_) => fields.whole("leaseMs", LEASES_MS.0, LEASES_MS.1),
    }
}

/// A claimed visit.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The visit.
    pub tick: TickId,
    /// The fencing token.
    pub epoch: i64,
    /// The persona.
    pub persona: UserId,
    /// Its e-mail.
    pub email: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub descriptor: Descriptor,
    /// Its language: its own, or its account's.
    pub locale: String,
    /// When it was last here.
    pub last_active_at: Option<Timestamp>,
    /// How often this visit was claimed, this time included.
    pub attempt: i64,
    /// Until when the lease runs.
    pub lease_until: Timestamp,
    /// Somebody began this visit before.
    pub resumed: bool,
    /// What was said and done so far.
    pub journal: Vec<Entry>,
}

/// What became of the leases of a heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Beat {
    /// Still held, until the new time.
    pub held: Vec<TickId>,
    /// Over, or somebody else's: stop working on them.
    pub lost: Vec<TickId>,
}

/// Who wants to keep which leases.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// The process that claimed.
    pub owner: String,
    /// Visits with their epochs.
    pub ticks: Vec<(TickId, i64)>,
    /// For how long, from now.
    pub lease_ms: i64,
}

impl Heartbeat {
    /// Reads a request for many visits; with any fault, all of them come back.
    pub fn read(body: &Value) -> Result<Self> {
        let mut faults = Vec::new();
        let read = Fields::of(body, "", &mut faults).and_then(|mut fields| {
            let owner = fields.needed_text("owner", 128);
            let lease_ms = read_lease_ms(&mut fields);
            let rows = match fields.value("ticks") {
                Some(Value::Array(rows)) if rows.len() <= MOST_HELD => Some(rows),
                _ => {
                    fields.wrong("ticks", format!("expected a list of at most {MOST_HELD} visits"));
                    None
                }
            };
            Some((owner?, lease_ms?, rows?))
        });
        if let Some((owner, lease_ms, rows)) = read {
            let ticks = crate::action::read_rows(rows, "ticks", &mut faults, |fields, _| {
                let tick = fields.needed_text("tickId", 128).and_then(|text| text.parse().ok());
                if tick.is_none() {
                    fields.wrong("tickId", "expected the id of a visit");
                }
                let epoch = fields.whole("epoch", 0, i64::MAX);
                if epoch.is_none() {
                    fields.wrong("epoch", "expected the epoch of the claim");
                }
                tick.zip(epoch)
            });
            if faults.is_empty() {
                return Ok(Self { owner, ticks, lease_ms });
            }
        }
        Err(Error::Invalid(faults))
    }

    /// Reads a request for one visit.
    pub fn read_one(tick: TickId, body: &Value) -> Result<Self> {
        let mut faults = Vec::new();
        let read = Fields::of(body, "", &mut faults).and_then(|mut fields| {
            let lease = Lease::read(&mut fields);
            let lease_ms = read_lease_ms(&mut fields);
            lease.zip(lease_ms)
        });
        match read {
            Some((lease, lease_ms)) if faults.is_empty() => {
                Ok(Self { owner: lease.owner, ticks: vec![(tick, lease.epoch)], lease_ms })
            }
            _ => Err(Error::Invalid(faults)),
        }
    }
}

impl Personas {
    /// Claims personas that are due, those asked for by hand first, then those that never ran, then by due time.
    /// Where nothing is due, nothing is written. Returns the time at which it claimed, too.
    #[tracing::instrument(name = "personas.claim", skip_all, fields(owner = %request.owner))]
    pub async fn claim(&self, request: &ClaimRequest) -> Result<(Vec<Claim>, Timestamp)> {
        let now = self.db.now().await?;
        if request.limit == 0 {
            return Ok((Vec::new(), now));
        }
        let fresh: Vec<TickId> = (0..request.limit).map(|_| TickId::new(&*self.clock, &*self.random)).collect();
        let taken = store::claim(&self.db, request, &fresh, now).await?;
        for persona in &taken.quarantined {
            tracing::error!(persona = %persona, "personas.quarantined");
            metrics::counter!("mana_persona_quarantined_total").increment(1);
        }
        let mut claims = taken.claims;
        if claims.iter().any(|claim| claim.resumed) {
            let resumed = claims.iter().filter(|claim| claim.resumed).map(|claim| &claim.tick);
            let mut journals = store::journals(&self.db, resumed).await?;
            for claim in &mut claims {
                claim.journal = journals.remove(&claim.tick).unwrap_or_default();
            }
        }
        metrics::counter!("mana_persona_claims_total").increment(claims.len() as u64);
        Ok((claims, now))
    }

    /// Keeps leases alive, all in one statement. What does not come back as held is lost.
    #[tracing::instrument(name = "personas.heartbeat", skip_all, fields(owner = %beat.owner))]
    pub async fn heartbeat(&self, beat: &Heartbeat) -> Result<Beat> {
        if beat.ticks.is_empty() {
            return Ok(Beat::default());
        }
        let now = self.db.now().await?;
        let mut tx = self.db.begin().await?;
        let held = store::heartbeat(&mut tx, beat, now).await?;
        tx.commit().await?;
        let (held, lost) = beat.ticks.iter().map(|(tick, _)| tick.clone()).partition(|tick| held.contains(tick));
        Ok(Beat { held, lost })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_model_is_not_simulated() {
        for (engine, expected) in [("anthropic", false), ("rehearsal", true), ("chaos", true), ("replay", true)] {
            let request = ClaimRequest::read(&json!({ "owner": "one", "engine": engine })).expect("a request");
            assert_eq!(request.is_simulated(), expected, "{engine}");
        }
    }
}
