//! Visits: their journal, their end, and who may write to them.
//!
//! Every write of a claimed visit starts with its fence in the same transaction: the row of the run state is locked
//! where persona, owner and epoch are those of the caller and the lease has not run out. No row, no write.

use std::collections::BTreeMap;

use mana_store::Tx;
use mana_types::{TickId, Timestamp, UserId};
use mana_web::FieldError;
use serde::Serialize;
use serde_json::Value;

use crate::action::{Input, NewAction, read_actions};
use crate::feedback::{MOST_FEEDBACK, NewFeedback, read_feedback};
use crate::fields::{Fields, kind_of, value_without_nul};
use crate::memory::NewStory;
use crate::run::Run;
use crate::spend::{Payer, Reservation, Reserve, Settle};
use crate::store::{self, Batch};
use crate::{Error, Personas, Result};

/// The most journal entries of one request.
const MOST_ENTRIES: usize = 500;
/// The most actions of a visit: every call that a model asks for has a row, also those that were never made.
const MOST_OF_A_VISIT: usize = 10_000;
/// The longest diary and the longest story, in characters; what is longer is cut.
const LONGEST_DIARY: usize = 8_000;
const LONGEST_STORY: usize = 2_000;

macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident = $word:literal),+ $(,)?) => {
        /// How a visit ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Outcome { $($(#[$doc])* $name),+ }

        impl Outcome {
            /// The word that is stored and spoken.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),+ }
            }
        }

        impl std::str::FromStr for Outcome {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$name),)+
                    other => {
                        let meant = mana_types::nearest(other, [$($word),+]);
                        let meant = meant.map(|word| format!(", did you mean `{word}`?")).unwrap_or_default();
                        Err(format!("`{other}` is not the outcome of a visit{meant}"))
                    }
                }
            }
        }
    };
}

outcomes! {
    /// As it should.
    Completed = "completed",
    /// The model was cut off.
    Truncated = "truncated",
    /// The model refused.
    Refused = "refused",
    /// The persona lost patience.
    GaveUp = "gave_up",
    /// The persona did not feel like it.
    Skipped = "skipped",
    /// The money or the tokens were used up.
    Budget = "budget",
    /// It took too long.
    Timeout = "timeout",
    /// The tools could not be reached.
    McpUnavailable = "mcp_unavailable",
    /// The tools refused the persona's token.
    McpUnauthorized = "mcp_unauthorized",
    /// The model's provider could not be reached.
    ProviderDown = "provider_down",
    /// The runner was stopped.
    Interrupted = "interrupted",
    /// The model did not keep to the protocol.
    ProtocolError = "protocol_error",
    /// The persona's token was revoked on the way.
    TokenRevoked = "token_revoked",
    /// Anything else.
    Failed = "failed",
}

impl Outcome {
    /// Whether it is tried again soon, later each time. The others are answers: the next visit is the next slot.
    pub const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::Timeout
                | Self::McpUnavailable
                | Self::McpUnauthorized
                | Self::Interrupted
                | Self::ProtocolError
                | Self::TokenRevoked
                | Self::Failed
        )
    }
}

/// Who writes to a visit: the claim that it shows.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The process that claimed.
    pub owner: String,
    /// The epoch that it got.
    pub epoch: i64,
}

impl Lease {
    /// Reads `owner` and `epoch`.
    pub(crate) fn read(fields: &mut Fields<'_, '_>) -> Option<Self> {
        let owner = fields.needed_text("owner", 128);
        if fields.value("epoch").is_none() {
            fields.wrong("epoch", "is missing");
        }
        let epoch = fields.whole("epoch", 0, i64::MAX);
        Some(Self { owner: owner?, epoch: epoch? })
    }
}

/// The end of a visit.
#[derive(Debug)]
pub struct Finish {
    pub(crate) lease: Lease,
    pub(crate) outcome: Outcome,
    pub(crate) provider_fault: bool,
    pub(crate) engine: String,
    pub(crate) model: Option<String>,
    pub(crate) simulated: bool,
    pub(crate) goal: Option<String>,
    pub(crate) summary: Option<String>,
    pub(crate) usage: Option<Value>,
    pub(crate) prompt_hash: Option<String>,
    pub(crate) tools_hash: Option<String>,
    pub(crate) memory_hash: Option<String>,
    pub(crate) diary: Option<String>,
    pub(crate) story: Option<NewStory>,
    pub(crate) settle: Option<Settle>,
    pub(crate) actions: Vec<NewAction>,
    pub(crate) feedback: Vec<NewFeedback>,
}

/// The rows under a name; absent means none.
fn rows_of<'a>(fields: &mut Fields<'a, '_>, name: &str, most: usize) -> &'a [Value] {
    match fields.value(name) {
        None => &[],
        Some(Value::Array(rows)) if rows.len() <= most => rows,
        Some(Value::Array(rows)) => {
            fields.wrong(name, format!("at most {most} rows, found {}", rows.len()));
            &[]
        }
        Some(other) => {
            fields.wrong(name, format!("expected a list, found {}", kind_of(other)));
            &[]
        }
    }
}

fn read_story(mut fields: Fields<'_, '_>) -> Option<NewStory> {
    let text = fields.cut_text("text", LONGEST_STORY).filter(|text| !text.trim().is_empty());
    if text.is_none() {
        fields.wrong("text", "is missing or blank");
    }
    let through_tick = fields.needed_text("throughTick", 128).and_then(|text| text.parse().ok());
    if through_tick.is_none() {
        fields.wrong("throughTick", "expected the id of a visit");
    }
    Some(NewStory { text: text?, through_tick: through_tick? })
}

impl Finish {
    /// Reads a request; with any fault, all of them come back.
    pub fn read(body: &Value) -> Result<Self> {
        let mut faults = Vec::new();
        let read = Fields::of(body, "", &mut faults).map(|mut fields| {
            let lease = Lease::read(&mut fields);
            if fields.value("outcome").is_none() {
                fields.wrong("outcome", "is missing");
            }
            let outcome = fields.parsed("outcome");
            let engine = fields.needed_text("engine", 64);
            let usage = fields.value("usage").cloned().map(value_without_nul);
            if usage.as_ref().is_some_and(|usage| !usage.is_object()) {
                fields.wrong("usage", "expected an object");
            }
            let [prompt_hash, tools_hash, memory_hash] = match fields.object("hashes") {
                None => [None, None, None],
                Some(mut hashes) => ["prompt", "tools", "memory"].map(|name| hashes.text(name, 128)),
            };
            let actions = rows_of(&mut fields, "actions", MOST_OF_A_VISIT);
            let feedback = rows_of(&mut fields, "feedback", MOST_FEEDBACK);
            let provider_fault = fields.flag("providerFault").unwrap_or_default();
            let (model, simulated) = (fields.text("model", 128), fields.flag("simulated").unwrap_or_default());
            let (goal, summary) = (fields.cut_text("goal", 1_000), fields.cut_text("summary", 4_000));
            let diary = fields.cut_text("diary", LONGEST_DIARY);
            let story = fields.object("story").and_then(read_story);
            let settle = fields.object("settle").and_then(Settle::read);
            // Only now may something be missing: what comes before is read in any case, so that all its faults are named.
            let finish = lease.zip(outcome).zip(engine).map(|((lease, outcome), engine)| Self {
                lease,
                outcome,
                provider_fault,
                engine,
                model,
                simulated,
                goal,
                summary,
                usage,
                prompt_hash,
                tools_hash,
                memory_hash,
                diary,
                story,
                settle,
                actions: Vec::new(),
                feedback: Vec::new(),
            });
            (finish, actions, feedback)
        });
        if let Some((finish, actions, feedback)) = read {
            let (actions, feedback) = (read_actions(actions, &mut faults), read_feedback(feedback, &mut faults));
            if let Some(finish) = finish.filter(|_| faults.is_empty()) {
                return Ok(Self { actions, feedback, ..finish });
            }
        }
        Err(Error::Invalid(faults))
    }
}

/// What a finish wrote, and when the persona is due next; none while it does not act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// Actions that are new.
    pub actions: i64,
    /// Ratings that are new.
    pub feedback: i64,
    /// When the persona is due next.
    pub next_due_at: Option<Timestamp>,
}

/// One entry of a journal: what was said or done, as JSON to the letter.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its place.
    pub seq: i64,
    /// What it says.
    pub entry: Value,
}

/// What goes into a journal at once, and what is booked with it.
#[derive(Debug, Clone)]
pub struct Journal {
    /// Who writes.
    pub lease: Lease,
    /// What was said or done.
    pub entries: Vec<Entry>,
    /// What the last call of a model came to.
    pub settle: Option<Settle>,
    /// What the next one may cost.
    pub reserve: Option<Reserve>,
}

/// What a journal request did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Journaled {
    /// How many entries are new.
    pub written: u64,
    /// Whether the next call may be made, where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve: Option<Reservation>,
}

impl Journal {
    /// Reads a request; with any fault, all of them come back.
    pub fn read(body: &Value) -> Result<Self> {
        let mut faults = Vec::new();
        let read = Fields::of(body, "", &mut faults).and_then(|mut fields| {
            let lease = Lease::read(&mut fields);
            let books = fields.value("settle").is_some() || fields.value("reserve").is_some();
            if fields.value("entries").is_none() && !books {
                fields.wrong("entries", "is missing");
            }
            let rows = rows_of(&mut fields, "entries", MOST_ENTRIES);
            let settle = fields.object("settle").and_then(Settle::read);
            let reserve = fields.object("reserve").and_then(Reserve::read);
            if let (Some(settle), Some(reserve)) = (&settle, &reserve)
                && settle.call == reserve.call
            {
                fields.wrong("reserve.call", "is the call that is settled, take a new number");
            }
            Some((Self { lease: lease?, entries: Vec::new(), settle, reserve }, rows))
        });
        if let Some((journal, rows)) = read {
            let entries = read_entries(rows, &mut faults);
            if faults.is_empty() {
                return Ok(Self { entries, ..journal });
            }
        }
        Err(Error::Invalid(faults))
    }
}

fn read_entries(rows: &[Value], faults: &mut Vec<FieldError>) -> Vec<Entry> {
    crate::action::read_rows(rows, "entries", faults, |fields, _| {
        if fields.value("seq").is_none() {
            fields.wrong("seq", "is missing");
        }
        let seq = fields.whole("seq", 0, i64::from(i32::MAX));
        let entry = fields.value("entry").filter(|entry| entry.is_object()).cloned();
        if entry.is_none() {
            fields.wrong("entry", "expected an object");
        }
        Some(Entry { seq: seq?, entry: entry? })
    })
}

impl Personas {
    /// The fence: locks and reads the run state of a visit if this lease holds it, else [`Error::StaleEpoch`], or
    /// [`Error::UnknownTick`] where there is no such visit at all.
    pub(crate) async fn fence(&self, tx: &mut Tx, tick: &TickId, lease: &Lease, now: Timestamp) -> Result<Run> {
        if let Some(run) = store::fence(tx, tick, lease, now).await? {
            return Ok(run);
        }
        match store::tick(tx, tick).await? {
            Some(_) => Err(Error::StaleEpoch),
            None => Err(Error::UnknownTick),
        }
    }

    /// Appends to a visit's journal, settles its last call of a model and reserves the next. An entry that is there
    /// already stays as it is. A refused reservation is an answer: the entries and the settlement are written all the
    /// same. Repeating the request is answered the same and books nothing twice.
    #[tracing::instrument(name = "personas.tick.journal", skip_all, fields(tick = %tick))]
    pub async fn journal(&self, tick: &TickId, journal: &Journal) -> Result<Journaled> {
        let Journal { lease, entries, settle, reserve } = journal;
        let now = self.db.now().await?;
        let mut tx = self.db.begin().await?;
        let run = self.fence(&mut tx, tick, lease, now).await?;
        let written = if entries.is_empty() { 0 } else { store::append_journal(&mut tx, tick, entries, now).await? };
        // Last, because it locks what everybody wants.
        let payer = Payer { tick, persona: run.persona, epoch: lease.epoch };
        let reserve = self.book(&mut tx, payer, (settle.as_ref(), reserve.as_ref()), now).await?;
        tx.commit().await?;
        Ok(Journaled { written, reserve })
    }

    /// Ends a visit: actions, ratings, figures and the next due time in one transaction. Repeating it is answered the
    /// same and changes nothing.
    #[tracing::instrument(name = "personas.tick.finish", skip_all, fields(tick = %tick))]
    pub async fn finish(&self, tick: &TickId, finish: &Finish) -> Result<Finished> {
        let now = self.db.now().await?;
        let mut tx = self.db.begin().await?;
        let mut run = match self.fence(&mut tx, tick, &finish.lease, now).await {
            Ok(run) => run,
            Err(Error::StaleEpoch) => {
                let earlier = store::tick(&mut tx, tick).await?.and_then(|row| row.finished_by(&finish.lease));
                return earlier.ok_or(Error::StaleEpoch);
            }
            Err(error) => return Err(error),
        };
        let row = store::tick(&mut tx, tick).await?.ok_or(Error::UnknownTick)?;
        if let Some(story) = &finish.story {
            self.keep_story(&mut tx, run.persona, story, now).await?;
        }
        let mut batch = Batch::default();
        for action in &finish.actions {
            batch.add_action(run.persona, tick, row.started, action, now);
        }
        for feedback in &finish.feedback {
            batch.add_feedback(run.persona, tick, row.started, feedback, now);
        }
        if finish.simulated {
            batch.mark_simulated();
        }
        let actions = store::insert_actions(&mut tx, &mut batch).await?;
        let feedback = store::insert_feedback(&mut tx, &mut batch).await?;
        run.finish(finish.outcome, finish.provider_fault, now, &*self.random);
        store::save_run(&mut tx, &run).await?;
        let finished = Finished {
            actions: i64::try_from(actions).unwrap_or(i64::MAX),
            feedback: i64::try_from(feedback).unwrap_or(i64::MAX),
            next_due_at: run.next_due_at(),
        };
        store::finish_tick(&mut tx, tick, finish, finished, now).await?;
        let payer = Payer { tick, persona: run.persona, epoch: finish.lease.epoch };
        self.book(&mut tx, payer, (finish.settle.as_ref(), None), now).await?;
        // Who ends a visit knows only what it took itself, and others may have begun it.
        store::add_up_usage(&mut tx, tick).await?;
        tx.commit().await?;
        Ok(finished)
    }

    /// Keeps a persona's story, which tells of visits up to one of its own.
    async fn keep_story(&self, tx: &mut Tx, persona: UserId, story: &NewStory, now: Timestamp) -> Result<()> {
        let through = store::tick(tx, &story.through_tick).await?;
        if through.is_none_or(|through| through.persona != persona) {
            let message = "is no visit of this persona";
            return Err(Error::Invalid(vec![FieldError::new("story.throughTick", message)]));
        }
        Ok(store::save_story(tx, persona, story, now).await?)
    }

    /// Gives a claimed visit back, to be taken up at once by whoever claims next. Repeating it changes nothing.
    #[tracing::instrument(name = "personas.tick.release", skip_all, fields(tick = %tick))]
    pub async fn release(&self, tick: &TickId, lease: &Lease) -> Result<()> {
        let now = self.db.now().await?;
        let mut tx = self.db.begin().await?;
        match self.fence(&mut tx, tick, lease, now).await {
            Ok(mut run) => {
                run.release(now);
                store::save_run(&mut tx, &run).await?;
                Ok(tx.commit().await?)
            }
            Err(Error::StaleEpoch) => {
                let row = store::tick(&mut tx, tick).await?;
                let given_back = row.is_some_and(|row| row.is_given_back_by(lease));
                if given_back { Ok(()) } else { Err(Error::StaleEpoch) }
            }
            Err(error) => Err(error),
        }
    }

    /// Checks that a batch may write to its visits, and makes those that are new. Returns when each began.
    ///
    /// A visit that was claimed is written to only with its lease; one that is only reported has none.
    pub(crate) async fn enter<T>(
        &self,
        tx: &mut Tx,
        persona: UserId,
        input: &Input<T>,
        now: Timestamp,
        simulated: impl Fn(&T) -> bool,
    ) -> Result<BTreeMap<TickId, Timestamp>> {
        let mut reported: BTreeMap<&TickId, bool> = BTreeMap::new();
        for (tick, row) in &input.rows {
            *reported.entry(tick).or_default() |= simulated(row);
        }
        let lease = input.lease.as_ref().map(|(owner, epoch)| Lease { owner: owner.clone(), epoch: *epoch });
        match store::add_reported_ticks(tx, persona, &reported, now).await {
            Err(mana_store::Error::Dangling(_)) => return Err(Error::UnknownPersona), // deleted since the look at it
            done => done?,
        };
        let rows = store::ticks(tx, reported.keys().copied()).await?;
        let mut started = BTreeMap::new();
        for row in rows {
            let tick = row.id.clone();
            if row.persona != persona {
                return Err(Error::ForeignTick(tick));
            }
            if row.is_claimed() {
                let lease = lease.as_ref().ok_or(Error::StaleEpoch)?;
                self.fence(tx, &tick, lease, now).await?;
            }
            started.insert(tick, row.started);
        }
        Ok(started)
    }

    /// Moves the time of the last activity, and with it the next due time.
    pub(crate) async fn was_active(&self, tx: &mut Tx, persona: UserId, now: Timestamp) -> Result<()> {
        let mut run = store::run(tx, persona).await?.ok_or(Error::UnknownPersona)?;
        run.was_active(now);
        Ok(store::save_run(tx, &run).await?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_finish_names_all_its_faults() {
        let body = json!({
            "owner": "one", "epoch": -1, "outcome": "complete", "engine": "rehearsal", "usage": 3,
            "actions": [{ "toolName": "todo_list", "result": "fine" }, "x"],
            "feedback": [{ "module": "todo", "rating": 2.5 }],
        });
        let Err(Error::Invalid(faults)) = Finish::read(&body) else { panic!("it has faults") };
        let lines: Vec<String> = faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect();
        assert!(
            lines.contains(&"outcome: `complete` is not the outcome of a visit, did you mean `completed`?".to_owned()),
            "{lines:?}"
        );
        for start in
            ["epoch: -1 is not", "usage: ", "actions[0].result: `fine`", "actions[1]: ", "feedback[0].rating: 2.5"]
        {
            assert!(lines.iter().any(|line| line.starts_with(start)), "{start} is not in {lines:?}");
        }
    }
}
