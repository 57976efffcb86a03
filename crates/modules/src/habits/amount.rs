//! How much was done: more than nothing, to three decimals.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The largest amount.
const MOST: f64 = 1_000_000.0;

/// An amount above 0. It is counted in thousandths, so that ten times 0.1 is 1 and reaches a target of 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Amount(u64);

impl Amount {
    pub(super) const ONE: Self = Self(1000);

    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            serializer.serialize_u64(self.0 / 1000)
        } else {
            #[expect(clippy::cast_precision_loss, reason = "an amount has far fewer than 53 bits")]
            serializer.serialize_f64(self.0 as f64 / 1000.0)
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        if !(number > 0.0 && number <= MOST) {
            return Err(D::Error::custom("expected a number above 0, at most 1000000"));
        }
        // Less than half a thousandth is still more than nothing.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between 0 and a milliard")]
        let thousandths = (number * 1000.0).round() as u64;
        Ok(Self(thousandths.max(1)))
    }
}

impl JsonSchema for Amount {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1_000_000 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(json: &str) -> Result<Amount, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn ten_tenths_are_one() {
        let tenth = amount("0.1").expect("fits");
        let sum = (0..9).fold(tenth, |sum, _| sum.plus(tenth));
        assert_eq!(sum, Amount::ONE);
        assert_eq!(serde_json::to_string(&sum).expect("is a number"), "1");
        assert_eq!(serde_json::to_string(&amount("2.5").expect("fits")).expect("is a number"), "2.5");
    }

    #[test]
    fn nothing_and_less_are_no_amounts() {
        for bad in ["0", "-1", "1000001", "\"viel\""] {
            assert!(amount(bad).is_err(), "{bad}");
        }
        assert!(amount("0.0001").is_ok());
    }
}
