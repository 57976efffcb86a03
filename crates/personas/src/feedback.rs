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
    /// Reads one row of a batch, where a rating must be there.
    fn read(fields: &mut Fields<'_, '_>) -> Option<Self> {
        let row = Self::read_lenient(fields)?;
        if row.rating.is_none() && row.module != PARSE && fields.value("rating").is_none() {
            fields.wrong("rating", "is missing, expected a whole number from 1 to 5");
        }
        Some(row)
    }

    /// Reads one row; no rating means no opinion.
    fn read_lenient(fields: &mut Fields<'_, '_>) -> Option<Self> {
        let module = fields.needed_text("module", 64)?;
        // What could not be read has no number, whatever an older client sends along.
        let rating = if module == PARSE { None } else { fields.whole("rating", 1, 5) };
        Some(Self {
            module,
            rating,
            notes: fields.cut_text("notes", 4_000),
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
    read_rows(entries, "feedback", faults, |fields, _| NewFeedback::read_lenient(fields))
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
