//! Actions: one tool call of a visit, the row of the audit trail.

use mana_types::{TickId, Timestamp, UserId};
use mana_web::FieldError;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::fields::{Fields, kind_of};
use crate::store::{self, Batch};
use crate::{Error, Personas, Result};

/// The most rows of one batch.
pub const MOST_ACTIONS: usize = 500;
/// The largest place of an action in its visit: it has 16 bits in the row's id.
const MOST_INDEX: i64 = 65_535;

/// Whether a call did what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It did.
    Ok,
    /// It did not.
    Error,
}

impl Outcome {
    /// The word that is stored and spoken.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

impl std::str::FromStr for Outcome {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ok" => Ok(Self::Ok),
            "error" => Ok(Self::Error),
            other => Err(format!("`{other}` is not a result, expected `ok` or `error`")),
        }
    }
}

/// An action to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAction {
    /// Its place in the visit.
    pub index: i64,
    /// The tool, by its wire name.
    pub tool: String,
    /// The module that the tool belongs to.
    pub module: String,
    /// The id of the call in the conversation.
    pub tool_use_id: Option<String>,
    /// The hash of its arguments.
    pub input_hash: Option<String>,
    /// Whether it did what it should.
    pub result: Outcome,
    /// What kind of error it was.
    pub code: Option<String>,
    /// What the error said.
    pub error_message: Option<String>,
    /// How long it took, in milliseconds.
    pub latency_ms: Option<i64>,
    /// How large the answer was before it was cut for the persona.
    pub result_bytes: Option<i64>,
    /// The hash of the whole answer.
    pub result_hash: Option<String>,
    /// Decided by the rehearsal engine and not by a model.
    pub simulated: bool,
    /// When it happened, where that is told.
    pub at: Option<Timestamp>,
}

impl NewAction {
    /// Reads one row; `place` is its index where it names none.
    fn read(fields: &mut Fields<'_, '_>, place: usize) -> Option<Self> {
        let tool = fields.needed_text("toolName", 128);
        let named = fields.text("module", 64);
        let module = named.or_else(|| tool.as_deref().map(module_of));
        let index = match fields.value("index") {
            None => i64::try_from(place).ok(),
            Some(_) => fields.whole("index", 0, MOST_INDEX),
        };
        if fields.value("result").is_none() {
            fields.wrong("result", "is missing, expected `ok` or `error`");
        }
        let result = fields.parsed("result");
        let latency_ms = fields.number("latencyMs", 0.0, 1.0e12);
        let action = Self {
            index: index.unwrap_or_default(),
            tool: tool.unwrap_or_default(),
            module: module.unwrap_or_default(),
            tool_use_id: fields.text("toolUseId", 128),
            input_hash: fields.text("inputHash", 128),
            result: result.unwrap_or(Outcome::Error),
            code: fields.cut_text("code", 64),
            error_message: fields.cut_text("errorMessage", 2_000),
            #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
            latency_ms: latency_ms.map(|millis| millis.round() as i64),
            result_bytes: fields.whole("resultBytes", 0, 1 << 50),
            result_hash: fields.text("resultHash", 128),
            simulated: fields.flag("simulated").unwrap_or_default(),
            at: fields.parsed("at"),
        };
        (index.is_some() && result.is_some() && !action.tool.is_empty()).then_some(action)
    }

    /// The id on the wire.
    pub(crate) fn wire_id(&self, tick: &TickId) -> String {
        format!("{tick}-{}-{}", self.index, self.tool)
    }
}

/// The module of a tool by the convention of its name: what stands before the first `_` or `.`.
fn module_of(tool: &str) -> String {
    tool.split(['_', '.']).next().unwrap_or(tool).chars().take(64).collect()
}

/// The id of a row in the database: `UUIDv8` (RFC 9562) of 48 bits of the start of its visit in milliseconds, 16 bits of
/// its place in it, and 58 bits of a hash of persona and wire id. It sorts by time, so that new rows land at the end
/// of an index, and it is the same for the same row, so that a repeated batch changes nothing.
pub(crate) fn row_id(started: Timestamp, sequence: i64, persona: UserId, wire_id: &str) -> Uuid {
    let mut hasher = Sha256::new();
    hasher.update(persona.uuid().as_bytes());
    hasher.update(wire_id.as_bytes());
    let hash = hasher.finalize();
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    let tail = u128::from_be_bytes(first) >> (128 - 58);
    let millis = u128::from(started.as_millis().clamp(0, (1 << 48) - 1).unsigned_abs());
    let sequence = u128::from(sequence.clamp(0, MOST_INDEX).unsigned_abs());
    let (high, low) = (sequence >> 4, sequence & 0xf);
    // 48 bits time, 4 bits version 8, 12 bits sequence, 2 bits variant, 4 bits sequence, 58 bits hash.
    Uuid::from_u128(millis << 80 | 8 << 76 | high << 64 | 0b10 << 62 | low << 58 | tail)
}

/// The first row id that a visit started at this time can have: where a range of rows begins.
pub(crate) fn first_row_id(started: Timestamp) -> Uuid {
    let millis = u128::from(started.as_millis().clamp(0, (1 << 48) - 1).unsigned_abs());
    Uuid::from_u128(millis << 80)
}

/// What a batch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Rows that are new.
    pub written: u64,
    /// Rows of the input.
    pub received: usize,
}

/// A batch as it came, and who sends it where a claim stands behind its visits.
#[derive(Debug)]
pub(crate) struct Input<T> {
    pub(crate) rows: Vec<(TickId, T)>,
    pub(crate) lease: Option<(String, i64)>,
}

/// Reads a batch: an object with a list of rows under `list`, each with its `tickId`. All of it or nothing; every
/// fault is named.
pub(crate) fn read_batch<T>(
    body: &Value,
    list: &str,
    most: usize,
    mut read: impl FnMut(&mut Fields<'_, '_>, usize) -> Option<T>,
) -> Result<Input<T>> {
    let mut faults = Vec::new();
    let mut lease = None;
    let mut entries: &[Value] = &[];
    if let Some(mut fields) = Fields::of(body, "", &mut faults) {
        let owner = fields.text("owner", 128);
        let epoch = fields.whole("epoch", 0, i64::MAX);
        lease = owner.zip(epoch);
        match fields.value(list) {
            None => fields.wrong(list, "is missing"),
            Some(Value::Array(found)) if found.is_empty() => fields.wrong(list, "is empty"),
            Some(Value::Array(found)) if found.len() > most => {
                fields.wrong(list, format!("at most {most} rows in a batch, found {}", found.len()));
            }
            Some(Value::Array(found)) => entries = found,
            Some(other) => fields.wrong(list, format!("expected a list, found {}", kind_of(other))),
        }
    }
    let rows = read_rows(entries, list, &mut faults, |fields, place| {
        if fields.value("tickId").is_none() {
            fields.wrong("tickId", "is missing");
        }
        let tick = fields.text("tickId", 128).and_then(|text| {
            let tick = text.parse::<TickId>();
            if tick.is_err() {
                fields.wrong("tickId", "expected 1 to 128 visible ASCII characters");
            }
            tick.ok()
        });
        let row = read(fields, place);
        tick.zip(row)
    });
    if faults.is_empty() { Ok(Input { rows, lease }) } else { Err(Error::Invalid(faults)) }
}

/// Reads the rows of a list that is at hand; faults are noted as `list[3].field`.
pub(crate) fn read_rows<T>(
    entries: &[Value],
    list: &str,
    faults: &mut Vec<FieldError>,
    mut read: impl FnMut(&mut Fields<'_, '_>, usize) -> Option<T>,
) -> Vec<T> {
    let mut rows = Vec::with_capacity(entries.len());
    for (place, entry) in entries.iter().enumerate() {
        let row =
            Fields::of(entry, &format!("{list}[{place}]"), faults).and_then(|mut fields| read(&mut fields, place));
        rows.extend(row);
    }
    rows
}

/// The actions of a visit's end.
pub(crate) fn read_actions(entries: &[Value], faults: &mut Vec<FieldError>) -> Vec<NewAction> {
    read_rows(entries, "actions", faults, NewAction::read)
}

impl Personas {
    /// Writes a batch of actions of one persona. The persona is known; what is wrong with the rows is named.
    #[tracing::instrument(name = "personas.action.record", skip_all, fields(persona = %persona))]
    pub async fn record_actions(&self, persona: UserId, body: &Value) -> Result<Written> {
        let input = read_batch(body, "actions", MOST_ACTIONS, NewAction::read)?;
        let received = input.rows.len();
        let now = self.db.now().await?;
        let mut tx = self.db.begin().await?;
        let ticks = self.enter(&mut tx, persona, &input, now, |row| row.simulated).await?;
        let mut batch = Batch::default();
        for (tick, action) in &input.rows {
            let started = ticks.get(tick).copied().unwrap_or(now);
            batch.add_action(persona, tick, started, action, now);
        }
        let written = store::insert_actions(&mut tx, &mut batch).await?;
        self.was_active(&mut tx, persona, now).await?;
        tx.commit().await?;
        Ok(Written { written, received })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_id_sorts_by_time_and_place_and_repeats_itself() {
        let persona = UserId::from_uuid(Uuid::from_u128(5));
        let at = Timestamp::from_millis(1_790_000_000_000);
        let id =
            |started: Timestamp, sequence| row_id(started, sequence, persona, &format!("tick-{sequence}-todo_list"));
        assert_eq!(id(at, 3), id(at, 3));
        assert_eq!(id(at, 3).get_version_num(), 8);
        assert_eq!(id(at, 3).get_variant(), uuid::Variant::RFC4122);
        let mut sorted = vec![id(at, 0), id(at, 1), id(at, 15), id(at, 16), id(at, 65_535), id(at.plus_millis(1), 0)];
        let in_order = sorted.clone();
        sorted.sort();
        assert_eq!(sorted, in_order);
        assert!(first_row_id(at) < id(at, 0) && id(at, 65_535) < first_row_id(at.plus_millis(1)));
    }

    #[test]
    fn the_module_of_a_tool_is_what_stands_first() {
        for (tool, module) in [("todo_create", "todo"), ("journal.create", "journal"), ("search", "search")] {
            assert_eq!(module_of(tool), module);
        }
    }
}
