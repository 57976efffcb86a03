//! The books of the small world: what was put aside for model calls, and what they came to.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The number of a model call: its visit, the epoch of the claim, and its place.
type Number = (String, i64, i64);

/// What was put aside and what was spent.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) reserved: BTreeMap<Number, Value>,
    pub(crate) settled: BTreeMap<Number, Value>,
    /// Reservations that were refused.
    pub(crate) refused: Vec<Value>,
}

impl Ledger {
    /// Reads what a journal request says about money, and answers the reservation in it.
    pub(crate) fn take(&mut self, tick: &str, body: &Value) -> Value {
        let number = |of: &Value| -> Number {
            let call = of["call"].as_i64().expect("a number");
            (tick.to_owned(), body["epoch"].as_i64().expect("an epoch"), call)
        };
        if let Some(settle) = body.get("settle") {
            assert!(self.reserved.contains_key(&number(settle)), "nothing was put aside for {settle}");
            let known = self.settled.insert(number(settle), settle.clone());
            assert!(known.is_none_or(|known| known == *settle), "settled twice: {settle}");
        }
        let Some(reserve) = body.get("reserve") else { return Value::Null };
        let cost = |of: &Value| of["costMicroUsd"].as_i64().expect("an amount");
        let limit = reserve["limits"]["tickMicroUsd"].as_i64().unwrap_or(i64::MAX);
        let others = self.spent(tick, Some(&number(reserve)));
        let held_back = reserve["holdBackMicroUsd"].as_i64().expect("an amount");
        if others + cost(reserve) + held_back > limit {
            self.refused.push(reserve.clone());
            return json!({ "granted": false, "limit": "tick", "limitMicroUsd": limit });
        }
        self.reserved.insert(number(reserve), reserve.clone());
        json!({ "granted": true })
    }

    /// What a visit has cost: what was settled, and what is put aside for the rest.
    pub(crate) fn spent(&self, tick: &str, but: Option<&Number>) -> i64 {
        let of_visit = self.reserved.iter().filter(|(number, _)| number.0 == tick && but != Some(number));
        of_visit
            .map(|(number, reserve)| {
                let settled = self.settled.get(number).unwrap_or(reserve);
                settled["costMicroUsd"].as_i64().expect("an amount")
            })
            .sum()
    }

    /// Calls whose end nobody told.
    pub(crate) fn open(&self) -> usize {
        self.reserved.keys().filter(|number| !self.settled.contains_key(number)).count()
    }
}
