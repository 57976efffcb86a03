//! Spending: money is reserved before a model is asked, and settled when it has answered.
//!
//! Both happen in the transaction that writes the journal, behind its fence, so that no crash lies between what was said
//! and what it cost. A check reads running totals, never a history: of the visit, of the persona's day, of everybody's
//! day and month. Their rows are locked in the order of their key, so that reservations made at the same time queue up
//! and no limit is ever passed by two who both saw room. What is never settled stays booked at what was reserved.
//!
//! Money is in millionths of a US dollar.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use mana_store::{FromRow, Tx};
use mana_types::{TickId, Timestamp, UserId};
use mana_web::FieldError;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::fields::Fields;
use crate::{Error, Personas, Result, store};

/// The most money of one call, and the largest limit: a million and a billion dollars. Sums of them stay numbers.
const MOST_MICRO: i64 = 1_000_000_000_000;
const MOST_LIMIT: i64 = 1_000_000_000_000_000;
/// The most tokens of one class in one call.
const MOST_TOKENS: i64 = 1_000_000_000;
/// The largest number of a call.
const MOST_CALL: i64 = 1_000_000;

/// What a call used, by class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, FromRow)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// Read, and neither from nor into a cache.
    pub input_tokens: i64,
    /// Written, thinking included.
    pub output_tokens: i64,
    /// Read from a cache.
    pub cache_read_tokens: i64,
    /// Kept in a cache for five minutes.
    pub cache_write_5m_tokens: i64,
    /// Kept in a cache for an hour.
    pub cache_write_1h_tokens: i64,
}

impl Tokens {
    fn read(fields: &mut Fields<'_, '_>) -> Self {
        let mut class = |name: &str| fields.whole(name, 0, MOST_TOKENS).unwrap_or_default();
        Self {
            input_tokens: class("inputTokens"),
            output_tokens: class("outputTokens"),
            cache_read_tokens: class("cacheReadTokens"),
            cache_write_5m_tokens: class("cacheWrite5mTokens"),
            cache_write_1h_tokens: class("cacheWrite1hTokens"),
        }
    }

    /// All of them.
    pub const fn sum(&self) -> i64 {
        self.input_tokens
            + self.output_tokens
            + self.cache_read_tokens
            + self.cache_write_5m_tokens
            + self.cache_write_1h_tokens
    }
}

/// What a call came to that was reserved before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settle {
    /// Its number under this claim.
    pub call: i64,
    /// The model that answered.
    pub model: String,
    /// What it used.
    pub tokens: Tokens,
    /// What it cost.
    pub cost_micro: i64,
    /// Not by the provider's own figures.
    pub estimated: bool,
}

impl Settle {
    /// Reads it; every fault is noted.
    pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Self> {
        let call = fields.needed_whole("call", 0, MOST_CALL);
        let model = fields.needed_text("model", 128);
        let tokens = Tokens::read(&mut fields);
        let cost_micro = fields.needed_whole("costMicroUsd", 0, MOST_MICRO);
        let estimated = fields.flag("estimated").unwrap_or_default();
        Some(Self { call: call?, model: model?, tokens, cost_micro: cost_micro?, estimated })
    }

    fn repeats(&self, known: &CallRow) -> bool {
        self.cost_micro == known.cost_micro && self.tokens == known.tokens
    }
}

/// What a call may cost at most, before it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserve {
    /// Its number under this claim.
    pub call: i64,
    /// The model that is to be asked.
    pub model: String,
    /// The most tokens.
    pub tokens: i64,
    /// The most money.
    pub cost_micro: i64,
    /// Money that must be left after it, for what the visit still has to do.
    pub hold_back_micro: i64,
    /// Tokens that must be left after it, likewise.
    pub hold_back_tokens: i64,
    /// What must not be passed.
    pub limits: Limits,
}

/// What must not be passed; what is absent is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Money of the visit, under all its claims.
    pub tick_micro: Option<i64>,
    /// Money of the persona on this day, in UTC.
    pub persona_day_micro: Option<i64>,
    /// Money of everybody on this day.
    pub day_micro: Option<i64>,
    /// Money of everybody in this month.
    pub month_micro: Option<i64>,
    /// Tokens of the visit.
    pub tick_tokens: Option<i64>,
}

impl Limits {
    fn read(mut fields: Fields<'_, '_>) -> Self {
        // A limit that is misspelt is no limit, so it is refused.
        fields.only(&["tickMicroUsd", "personaDayMicroUsd", "dayMicroUsd", "monthMicroUsd", "tickTokens"]);
        let mut limit = |name: &str| fields.whole(name, 0, MOST_LIMIT);
        Self {
            tick_micro: limit("tickMicroUsd"),
            persona_day_micro: limit("personaDayMicroUsd"),
            day_micro: limit("dayMicroUsd"),
            month_micro: limit("monthMicroUsd"),
            tick_tokens: limit("tickTokens"),
        }
    }
}

impl Reserve {
    /// Reads it; every fault is noted.
    pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Self> {
        let call = fields.needed_whole("call", 0, MOST_CALL);
        let model = fields.needed_text("model", 128);
        let tokens = fields.needed_whole("tokens", 0, MOST_TOKENS);
        let cost_micro = fields.needed_whole("costMicroUsd", 0, MOST_MICRO);
        let hold_back_micro = fields.whole("holdBackMicroUsd", 0, MOST_MICRO).unwrap_or_default();
        let hold_back_tokens = fields.whole("holdBackTokens", 0, MOST_TOKENS).unwrap_or_default();
        let limits = fields.object("limits").map(Limits::read).unwrap_or_default();
        Some(Self {
            call: call?,
            model: model?,
            tokens: tokens?,
            cost_micro: cost_micro?,
            hold_back_micro,
            hold_back_tokens,
            limits,
        })
    }

    fn repeats(&self, known: &CallRow) -> bool {
        self.cost_micro == known.reserved_micro && self.tokens == known.reserved_tokens
    }

    /// The first limit that it passes, where these are the totals with it.
    fn passes(&self, keys: &Keys, totals: &store::Totals) -> Option<Reservation> {
        let spent = |key: &Key| totals.get(key).copied().unwrap_or_default();
        let limits = self.limits;
        let money = [
            (Limit::Tick, limits.tick_micro, &keys.tick),
            (Limit::PersonaDay, limits.persona_day_micro, &keys.persona_day),
            (Limit::Day, limits.day_micro, &keys.day),
            (Limit::Month, limits.month_micro, &keys.month),
        ];
        for (limit, most, key) in money {
            let (with_it, _) = spent(key);
            if let Some(most) = most.filter(|most| with_it.saturating_add(self.hold_back_micro) > *most) {
                return Some(Reservation::Refused { limit, most, spent: with_it - self.cost_micro });
            }
        }
        let (_, with_it) = spent(&keys.tick);
        let most = limits.tick_tokens.filter(|most| with_it.saturating_add(self.hold_back_tokens) > *most)?;
        Some(Reservation::Refused { limit: Limit::TickTokens, most, spent: with_it - self.tokens })
    }
}

/// Which limit it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Limit {
    /// Money of the visit.
    Tick,
    /// Money of the persona on this day.
    PersonaDay,
    /// Money of everybody on this day.
    Day,
    /// Money of everybody in this month.
    Month,
    /// Tokens of the visit.
    TickTokens,
}

/// What became of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reservation {
    /// It is booked: the call may be made.
    Granted,
    /// It would pass a limit: nothing is booked.
    Refused {
        /// Which one.
        limit: Limit,
        /// How much it allows, in its unit.
        most: i64,
        /// How much of it is spent or reserved.
        spent: i64,
    },
}

impl Serialize for Reservation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("granted", &(*self == Self::Granted))?;
        if let Self::Refused { limit, most, spent } = self {
            let (most_name, spent_name) = match limit {
                Limit::Tick | Limit::PersonaDay | Limit::Day | Limit::Month => ("limitMicroUsd", "spentMicroUsd"),
                Limit::TickTokens => ("limitTokens", "spentTokens"),
            };
            map.serialize_entry("limit", limit)?;
            map.serialize_entry(most_name, most)?;
            map.serialize_entry(spent_name, spent)?;
        }
        map.end()
    }
}

/// One call of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
#[serde(rename_all = "camelCase")]
pub struct CallRow {
    /// Of the claim that made it.
    pub epoch: i64,
    /// Its number under this claim.
    pub call: i64,
    /// The model.
    pub model: String,
    /// When it was reserved.
    pub at: Timestamp,
    /// The day that it counts for, in UTC.
    pub day: String,
    /// The tokens that were reserved.
    pub reserved_tokens: i64,
    /// The money that was reserved.
    #[serde(rename = "reservedMicroUsd")]
    pub reserved_micro: i64,
    /// When it was settled; none where the process died before.
    pub settled_at: Option<Timestamp>,
    /// What it used.
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub tokens: Tokens,
    /// What it cost: what was reserved until it is settled.
    #[serde(rename = "costMicroUsd")]
    pub cost_micro: i64,
    /// Not settled, or not by the provider's own figures.
    pub estimated: bool,
}

/// Whom a call is booked to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payer<'a> {
    pub(crate) tick: &'a TickId,
    pub(crate) persona: UserId,
    pub(crate) epoch: i64,
}

/// Scope and period of a running total.
pub(crate) type Key = (String, String);

/// The four totals of a call.
struct Keys {
    day: Key,
    month: Key,
    persona_day: Key,
    tick: Key,
}

impl Keys {
    fn of(payer: &Payer<'_>, day: &str) -> Self {
        let month = day.get(..7).unwrap_or(day);
        Self {
            day: ("all".into(), day.into()),
            month: ("all".into(), month.into()),
            persona_day: (format!("persona:{}", payer.persona), day.into()),
            tick: (format!("tick:{}", payer.tick), String::new()),
        }
    }
}

/// What is added to running totals, in the order of their keys: the one order in which they are ever locked.
#[derive(Debug, Default)]
pub(crate) struct Changes(BTreeMap<Key, store::Change>);

impl Changes {
    fn add(&mut self, keys: &Keys, persona: UserId, cost_micro: i64, tokens: i64) {
        let owners =
            [(&keys.day, None), (&keys.month, None), (&keys.persona_day, Some(persona)), (&keys.tick, Some(persona))];
        for (key, persona) in owners {
            let change = self.0.entry(key.clone()).or_default();
            change.persona = persona;
            change.cost_micro += cost_micro;
            change.tokens += tokens;
        }
    }

    async fn write(self, tx: &mut Tx) -> Result<store::Totals> {
        Ok(if self.0.is_empty() { store::Totals::new() } else { store::add_to_totals(tx, self.0).await? })
    }
}

/// The day that a time belongs to in the books.
pub(crate) fn day_of(now: Timestamp) -> String {
    now.date_in(&TimeZone::UTC).to_string()
}

fn refused(field: &str, message: String) -> Error {
    Error::Invalid(vec![FieldError::new(field, message)])
}

impl Personas {
    /// Settles one call and reserves another, in this order, where the fence is passed and everything else is written:
    /// the totals of everybody are locked from here to the end of the transaction.
    pub(crate) async fn book(
        &self,
        tx: &mut Tx,
        payer: Payer<'_>,
        (settle, reserve): (Option<&Settle>, Option<&Reserve>),
        now: Timestamp,
    ) -> Result<Option<Reservation>> {
        let Some(any) = settle.map(|settle| settle.call).or(reserve.map(|reserve| reserve.call)) else {
            return Ok(None);
        };
        let other = reserve.map_or(any, |reserve| reserve.call);
        let known = store::calls_named(tx, payer, [any, other]).await?;
        let find = |number: i64| known.iter().find(|call| call.call == number);
        let mut changes = Changes::default();

        if let Some(settle) = settle {
            let number = settle.call;
            let call = find(number).ok_or_else(|| {
                refused("settle.call", format!("call {number} was never reserved under this epoch, reserve it first"))
            })?;
            match call.settled_at {
                Some(_) if settle.repeats(call) => {}
                Some(_) => {
                    return Err(refused("settle.call", format!("call {number} is settled already with other figures")));
                }
                None => {
                    let keys = Keys::of(&payer, &call.day);
                    let tokens = settle.tokens.sum() - call.reserved_tokens;
                    changes.add(&keys, payer.persona, settle.cost_micro - call.cost_micro, tokens);
                    store::settle_call(tx, payer, settle, now).await?;
                }
            }
        }

        let Some(reserve) = reserve else {
            changes.write(tx).await?;
            return Ok(None);
        };
        if let Some(call) = find(reserve.call) {
            if !reserve.repeats(call) {
                let message =
                    format!("call {} is reserved already with other figures, take a new number", reserve.call);
                return Err(refused("reserve.call", message));
            }
            changes.write(tx).await?;
            return Ok(Some(Reservation::Granted));
        }
        let day = day_of(now);
        let keys = Keys::of(&payer, &day);
        changes.add(&keys, payer.persona, reserve.cost_micro, reserve.tokens);
        let totals = changes.write(tx).await?;
        if let Some(refusal) = reserve.passes(&keys, &totals) {
            let mut back = Changes::default();
            back.add(&keys, payer.persona, -reserve.cost_micro, -reserve.tokens);
            back.write(tx).await?;
            return Ok(Some(refusal));
        }
        store::reserve_call(tx, payer, reserve, &day, now).await?;
        Ok(Some(Reservation::Granted))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn totals_are_locked_in_one_order_whatever_the_day() {
        let tick: TickId = "t1".parse().expect("an id");
        let persona = UserId::from_uuid(uuid::Uuid::from_u128(7));
        let payer = Payer { tick: &tick, persona, epoch: 1 };
        let mut changes = Changes::default();
        changes.add(&Keys::of(&payer, "2026-12-01"), persona, 5, 1);
        changes.add(&Keys::of(&payer, "2026-11-30"), persona, -3, -1);
        let order: Vec<String> = changes.0.keys().map(|(scope, period)| format!("{scope} {period}")).collect();
        let person = "persona:00000000-0000-0000-0000-000000000007";
        assert_eq!(
            order,
            [
                "all 2026-11".to_owned(),
                "all 2026-11-30".into(),
                "all 2026-12".into(),
                "all 2026-12-01".into(),
                format!("{person} 2026-11-30"),
                format!("{person} 2026-12-01"),
                "tick:t1 ".into(),
            ]
        );
        assert_eq!(changes.0.values().last().map(|change| (change.cost_micro, change.tokens)), Some((2, 0)));
    }

    #[test]
    fn a_refusal_speaks_in_the_unit_of_its_limit() {
        let money = Reservation::Refused { limit: Limit::PersonaDay, most: 5, spent: 3 };
        let expected = json!({ "granted": false, "limit": "personaDay", "limitMicroUsd": 5, "spentMicroUsd": 3 });
        assert_eq!(json!(money), expected);
        let tokens = Reservation::Refused { limit: Limit::TickTokens, most: 5, spent: 3 };
        let expected = json!({ "granted": false, "limit": "tickTokens", "limitTokens": 5, "spentTokens": 3 });
        assert_eq!(json!(tokens), expected);
        assert_eq!(json!(Reservation::Granted), json!({ "granted": true }));
    }
}
