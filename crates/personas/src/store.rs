//! All statements of this crate.
//!
//! Where the engines differ, both texts stand side by side in one function. Batches go in as one JSON array and one
//! statement; ids in it are 32 hexadecimal digits, which PostgreSQL takes for a UUID and SQLite turns into 16 bytes.

mod claim;
mod history;
mod memory;
mod persona;
mod spend;
mod tick;

use std::collections::BTreeMap;

use mana_store::{Error, FromRow, Json, Result};
use mana_types::{Timestamp, UserId};
use uuid::Uuid;

use crate::descriptor::{Behaviour, Descriptor};
use crate::due::{Schedule, Window};
use crate::run::Run;
use crate::target::Target;

pub(crate) use claim::{claim, heartbeat, journals};
pub(crate) use history::{actions, actions_of, journal, module_ratings, ratings, resolve, ticks_of, visits};
pub(crate) use memory::{
    PastAction, PastVisit, actions_in, holds, known_ticks, past_visits, save_story, story, visits_after,
};
pub(crate) use persona::{add_run, counts, due, is_persona, list, persona, recent, run, save_persona, save_run};
pub(crate) use spend::{
    Change, Totals, add_to_totals, add_up_usage, calls_named, calls_of, costs, reserve_call, settle_call, spent,
    spent_by_removed,
};
pub(crate) use tick::{
    Batch, add_reported_ticks, append_journal, fence, finish_tick, insert_actions, insert_feedback, tick, ticks,
};

/// An id as it goes into a batch.
fn hex(id: Uuid) -> String {
    id.simple().to_string()
}

fn damaged(what: &'static str) -> impl Fn(String) -> Error {
    move |why| Error::Damaged { what, why }
}

fn read_window(start: Option<&str>, end: Option<&str>) -> Option<Window> {
    Window::new(start?, end?)
}

const DESCRIPTOR: &str = "p.archetype, p.system_prompt, p.module_mix, p.cadence, p.timezone, p.locale, p.window_start,
    p.window_end, p.behaviour, p.target, p.tools";

#[derive(Debug, FromRow)]
struct DescriptorRow {
    archetype: String,
    system_prompt: String,
    module_mix: Json<BTreeMap<String, f64>>,
    cadence: String,
    timezone: Option<String>,
    locale: Option<String>,
    window_start: Option<String>,
    window_end: Option<String>,
    behaviour: Json<Behaviour>,
    target: Option<Json<Target>>,
    tools: Option<Json<Vec<String>>>,
}

impl DescriptorRow {
    fn read(self) -> Result<Descriptor> {
        Ok(Descriptor {
            window: read_window(self.window_start.as_deref(), self.window_end.as_deref()),
            archetype: self.archetype,
            system_prompt: self.system_prompt,
            module_mix: self.module_mix.0,
            cadence: self.cadence.parse().map_err(damaged("persona"))?,
            timezone: self.timezone,
            locale: self.locale,
            behaviour: self.behaviour.0,
            target: self.target.map(|target| target.0),
            tools: self.tools.map(|tools| tools.0),
        })
    }
}

const RUN: &str =
    "r.persona, r.state, r.prio, r.ready_at, r.epoch, r.owner, r.lease_until, r.tick, r.attempts, r.failures,
    r.pause_reason, r.last_active_at, r.slot_at, p.cadence, p.timezone, p.window_start, p.window_end";

#[derive(Debug, FromRow)]
struct RunRow {
    persona: UserId,
    state: String,
    prio: i64,
    ready_at: Timestamp,
    epoch: i64,
    owner: Option<String>,
    lease_until: Option<Timestamp>,
    tick: Option<String>,
    attempts: i64,
    failures: i64,
    pause_reason: Option<String>,
    last_active_at: Option<Timestamp>,
    slot_at: Timestamp,
    cadence: String,
    timezone: Option<String>,
    window_start: Option<String>,
    window_end: Option<String>,
}

impl RunRow {
    fn read(self) -> Result<Run> {
        let cadence = self.cadence.parse().map_err(damaged("persona"))?;
        let window = read_window(self.window_start.as_deref(), self.window_end.as_deref());
        Ok(Run {
            schedule: Schedule::new(self.persona, cadence, self.timezone.as_deref(), window),
            persona: self.persona,
            state: self.state.parse().map_err(damaged("run_state"))?,
            prio: self.prio,
            ready_at: self.ready_at,
            epoch: self.epoch,
            owner: self.owner,
            lease_until: self.lease_until,
            tick: self.tick,
            attempts: self.attempts,
            failures: self.failures,
            pause_reason: self.pause_reason,
            last_active_at: self.last_active_at,
            slot_at: self.slot_at,
        })
    }
}
#[cfg(test)]
mod tests {
    use mana_store::EngineKind;

    use super::{claim, history, memory, persona, tick};

    /// What makes a claim, a batch or a page among a million as cheap as one among ten: nothing that is done all the
    /// time walks through the population. `PostgreSQL` knows its tables' sizes; SQLite has to be led.
    #[tokio::test]
    async fn no_statement_walks_through_the_population() {
        let test = mana_testkit::sqlite().await;
        let statements = [
            claim::ANY_DUE.to_owned(),
            claim::DUE_SQLITE.to_owned(),
            claim::TAKE_SQLITE.split(';').next().unwrap_or_default().to_owned(),
            claim::BEAT_SQLITE.to_owned(),
            tick::by_id(),
            tick::by_ids(EngineKind::Sqlite),
            tick::fence_sql(EngineKind::Sqlite),
            persona::run_sql(EngineKind::Sqlite),
            persona::select(persona::ONE),
            persona::select(persona::NEWEST),
            memory::HOLDS.to_owned(),
            memory::past(memory::WITH_MODEL),
            memory::past(""),
            history::count(EngineKind::Sqlite, "persona_feedback", "seq", "COUNT(*)"),
            format!("{} WHERE t.persona = $1 ORDER BY t.started DESC, t.id DESC LIMIT $2", history::VISITS),
            format!(
                "{} WHERE (t.started, t.id) < ($1, $2) ORDER BY t.started DESC, t.id DESC LIMIT $3",
                history::VISITS
            ),
        ];
        for sql in statements {
            let plan = test.db.query(format!("EXPLAIN QUERY PLAN {sql}")).all::<(i64, i64, i64, String)>().await;
            for (.., step) in plan.expect("a plan") {
                let walks = ["SCAN r", "SCAN p", "SCAN a", "SCAN t", "SCAN s", "SCAN x"]
                    .iter()
                    .any(|start| step.starts_with(start));
                let in_order = step.starts_with("SCAN p USING INDEX persona_by_age")
                    || step.starts_with("SCAN t USING INDEX persona_tick_by_start");
                let by_bucket_only = step.ends_with("(bucket=?)") || step.ends_with("(bucket=? AND lane=?)");
                assert!((!walks || in_order) && !by_bucket_only && !step.contains("ORDER BY"), "{step}\nin {sql}");
            }
        }
    }
}
