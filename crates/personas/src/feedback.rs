//! Feedback: what a persona thought of one module in one visit.

use mana_types::{TickId, UserId};
use mana_web::FieldError;
use serde_json::Value;

use crate::action::{Written, read_batch, read_rows};
use crate::fields::{Fields, kind_of, whole_number};
use crate::store::{self, Batch};
use crate::{Personas, Result};

/// The most rows of one batch.
pub const MOST_FEEDBACK: usize = 100;
/// Marks an answer that could not be read: kept for operators, never a number.
pub const PARSE: &str = "__parse";

/// A rating to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct NewFeedback {
    /// The module.
    pub module: String,
    /// 1 to 5; none for no opinion, and always none for [`PARSE`].
    pub rating: Option<i64>,
    /// Why.
    pub notes: Option<String>,
    /// The places of the actions that it rests on.
    pub evidence: Vec<i64>,
    /// A sentence from the visit.
    pub quote: Option<String>,
    /// How sure the persona is, 0 to 1.
    pub confidence: Option<f64>,
    /// Rated by the rehearsal engine and not by a model.
    pub simulated: bool,
}

impl NewFeedback {
    /// Reads one row: a rating, or the reason why there is none.
    fn read(fields: &mut Fields<'_, '_>) -> Option<Self> {
        let module = fields.needed_text("module", 64)?;
        let notes = fields.cut_text("notes", 4_000);
        // What could not be read has no number, whatever an older client sends along.
        let (rating, notes) =
            if module == PARSE { (None, notes) } else { (fields.whole("rating", 1, 5), read_reason(fields, notes)) };
        Some(Self {
            module,
            rating,
            notes,
            evidence: read_evidence(fields),
            quote: fields.cut_text("quote", 1_000),
            confidence: fields.number("confidence", 0.0, 1.0),
            simulated: fields.flag("simulated").unwrap_or_default(),
        })
    }

    /// The row's id.
    pub(crate) fn wire_id(&self, tick: &TickId) -> String {
        format!("{tick}-{}", self.module)
    }
}

/// The notes of a row: those of a rating, or the reason why there is none. It is one or the other.
fn read_reason(fields: &mut Fields<'_, '_>, notes: Option<String>) -> Option<String> {
    match (fields.value("rating").is_some(), fields.value("noOpinion").is_some()) {
        (true, false) => notes,
        (true, true) => {
            fields.wrong("noOpinion", "whoever has no opinion gives no rating, send one of the two");
            None
        }
        (false, true) => {
            let reason = fields.cut_text("noOpinion", 2_000)?;
            if reason.trim().is_empty() {
                fields.wrong("noOpinion", "must not be blank, say why there is none");
            }
            Some(match notes.filter(|notes| *notes != reason) {
                Some(notes) => format!("{reason}\n{notes}"),
                None => reason,
            })
        }
        (false, false) => {
            fields.wrong("rating", "is missing, expected a whole number from 1 to 5 or `noOpinion` with the reason");
            None
        }
    }
}

fn read_evidence(fields: &mut Fields<'_, '_>) -> Vec<i64> {
    match fields.value("evidence") {
        None => Vec::new(),
        Some(Value::Array(places)) => {
            let numbers: Vec<i64> = places.iter().filter_map(whole_number).filter(|place| *place >= 0).collect();
            if numbers.len() < places.len() || numbers.len() > 100 {
                fields.wrong("evidence", "expected at most 100 places of actions, whole numbers from 0");
            }
            numbers
        }
        Some(other) => {
            fields.wrong("evidence", format!("expected a list, found {}", kind_of(other)));
            Vec::new()
        }
    }
}

/// The ratings of a visit's end.
pub(crate) fn read_feedback(entries: &[Value], faults: &mut Vec<FieldError>) -> Vec<NewFeedback> {
    read_rows(entries, "feedback", faults, |fields, _| NewFeedback::read(fields))
}

impl Personas {
    /// Writes a batch of ratings of one persona. The persona is known; what is wrong with the rows is named.
    #[tracing::instrument(name = "personas.feedback.record", skip_all, fields(persona = %persona))]
    pub async fn record_feedback(&self, persona: UserId, body: &Value) -> Result<Written> {
        let input = read_batch(body, "feedback", MOST_FEEDBACK, |fields, _| NewFeedback::read(fields))?;
        let received = input.rows.len();
        let now = self.db.now().await?;
        let mut tx = self.db.begin().await?;
        let ticks = self.enter(&mut tx, persona, &input, now, |row| row.simulated).await?;
        let mut batch = Batch::default();
        for (tick, feedback) in &input.rows {
            let started = ticks.get(tick).copied().unwrap_or(now);
            batch.add_feedback(persona, tick, started, feedback, now);
        }
        let written = store::insert_feedback(&mut tx, &mut batch).await?;
        self.was_active(&mut tx, persona, now).await?;
        tx.commit().await?;
        Ok(Written { written, received })
    }
}
