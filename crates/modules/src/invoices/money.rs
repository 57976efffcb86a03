//! Exact amounts: whole minor units, quantities in thousandths, and one rule of rounding.
//!
//! A line's net amount is quantity times unit price, its tax is that rounded net amount times the rate. Both are
//! rounded to whole minor units, halves away from zero, as commerce rounds. Totals are sums of lines, so what is
//! printed adds up.

use std::borrow::Cow;

use mana_registry::prelude::*;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserializer, Serializer};

/// How much of something: more than 0, at most a million, with up to three decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quantity(i64);

impl Quantity {
    pub(super) const ONE: Self = Self(1000);

    fn parse(number: f64) -> std::result::Result<Self, String> {
        let thousandths = (number * 1000.0).round();
        let fits =
            number > 0.0 && number <= 1_000_000.0 && (number * 1000.0 - thousandths).abs() < 1e-4 && thousandths >= 1.0;
        if !fits {
            return Err("expected a number above 0 and up to 1000000, with at most three decimals".into());
        }
        #[expect(clippy::cast_possible_truncation, reason = "a whole number of at most a thousand million")]
        Ok(Self(thousandths as i64))
    }

    /// The number with as many decimals as it needs.
    pub(super) fn text(self, lang: Lang) -> String {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        if rest == 0 {
            return whole.to_string();
        }
        let point = if lang == Lang::De { ',' } else { '.' };
        format!("{whole}{point}{}", format!("{rest:03}").trim_end_matches('0'))
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if self.0 % 1000 == 0 {
            return serializer.serialize_i64(self.0 / 1000);
        }
        #[expect(clippy::cast_precision_loss, reason = "at most a thousand million, which a double holds exactly")]
        serializer.serialize_f64(self.0 as f64 / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Self::parse(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1_000_000 })
    }
}

/// One line of an invoice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct InvoiceLine {
    /// What was delivered.
    pub(super) title: Line<300>,
    /// How much of it, with at most three decimals; 1 if left out.
    #[serde(default = "one")]
    pub(super) qty: Quantity,
    /// The net price of one, in minor units: 1250 is 12.50 EUR.
    pub(super) unit_price: Whole<-1_000_000_000, 1_000_000_000>,
    /// The rate of value added tax in basis points: 1900 is 19 %, 0 is none.
    pub(super) vat_rate: Whole<0, 10_000>,
}

fn one() -> Quantity {
    Quantity::ONE
}

/// Divides, halves away from zero.
fn rounded(amount: i128, by: i128) -> i64 {
    let half = if amount < 0 { -by / 2 } else { by / 2 };
    i64::try_from((amount + half) / by).unwrap_or(i64::MAX)
}

impl InvoiceLine {
    /// Quantity times unit price, in minor units.
    pub(super) fn net(&self) -> i64 {
        rounded(i128::from(self.qty.0) * i128::from(self.unit_price.get()), 1000)
    }

    fn vat(&self) -> i64 {
        rounded(i128::from(self.net()) * i128::from(self.vat_rate.get()), 10_000)
    }
}

/// What an invoice comes to, in minor units of its currency.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Totals {
    /// Without tax.
    pub(super) net: i64,
    /// Tax, each line's rounded by itself.
    pub(super) vat: i64,
    /// To be paid.
    pub(super) gross: i64,
    /// By rate, the lowest first.
    pub(super) by_rate: Vec<RateTotal>,
}

/// What the lines of one rate come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RateTotal {
    /// The rate in basis points.
    pub(super) vat_rate: i64,
    /// Without tax.
    pub(super) net: i64,
    /// Tax.
    pub(super) vat: i64,
}

impl Totals {
    /// Adds up lines.
    pub(super) fn of(lines: &[InvoiceLine]) -> Self {
        let mut totals = Self::default();
        for line in lines {
            let (rate, net, vat) = (line.vat_rate.get(), line.net(), line.vat());
            totals.net += net;
            totals.vat += vat;
            match totals.by_rate.iter_mut().find(|known| known.vat_rate == rate) {
                Some(known) => {
                    known.net += net;
                    known.vat += vat;
                }
                None => totals.by_rate.push(RateTotal { vat_rate: rate, net, vat }),
            }
        }
        totals.gross = totals.net + totals.vat;
        totals.by_rate.sort_by_key(|rate| rate.vat_rate);
        totals
    }
}

/// How many decimals the minor unit of a currency has (ISO 4217).
fn decimals(currency: &str) -> usize {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "VND" | "VUV"
        | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

/// `1.234,56` or `1,234.56`.
pub(super) fn amount(minor: i64, currency: &str, lang: Lang) -> String {
    let (group, point) = if lang == Lang::De { ('.', ',') } else { (',', '.') };
    let decimals = decimals(currency);
    let digits = format!("{:0width$}", minor.unsigned_abs(), width = decimals + 1);
    let (whole, rest) = digits.split_at(digits.len() - decimals);
    let mut text = String::from(if minor < 0 { "-" } else { "" });
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            text.push(group);
        }
        text.push(digit);
    }
    if decimals > 0 {
        text.push(point);
        text.push_str(rest);
    }
    text
}

/// `19 %` or `5,5 %`.
pub(super) fn rate(basis_points: i64, lang: Lang) -> String {
    let (whole, rest) = (basis_points / 100, basis_points % 100);
    let point = if lang == Lang::De { ',' } else { '.' };
    let decimals = format!("{point}{rest:02}");
    let decimals = if rest == 0 { "" } else { decimals.trim_end_matches('0') };
    format!("{whole}{decimals} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(qty: f64, unit_price: i64, vat_rate: i64) -> InvoiceLine {
        InvoiceLine {
            title: Line::parse("x").expect("a line"),
            qty: Quantity::parse(qty).expect("a quantity"),
            unit_price: Whole::new(unit_price).expect("a price"),
            vat_rate: Whole::new(vat_rate).expect("a rate"),
        }
    }

    #[test]
    fn every_line_is_rounded_by_itself_and_halves_go_away_from_zero() {
        for (qty, price, rate, net, vat) in [
            (1.0, 1250, 1900, 1250, 238), // 237.5
            (1.0, -1250, 1900, -1250, -238),
            (0.333, 100, 700, 33, 2), // 33.3, 2.31
            (2.5, 3, 0, 8, 0),        // 7.5
            (0.001, 1, 1900, 0, 0),
            (1_000_000.0, 1_000_000_000, 10_000, 1_000_000_000_000_000, 1_000_000_000_000_000),
        ] {
            let line = line(qty, price, rate);
            assert_eq!((line.net(), line.vat()), (net, vat), "{qty} x {price} at {rate}");
        }
        let totals = Totals::of(&[line(1.0, 1250, 1900), line(1.0, 1250, 1900), line(3.0, 999, 700)]);
        assert_eq!((totals.net, totals.vat, totals.gross), (5497, 238 + 238 + 210, 6183));
        assert_eq!(
            totals.by_rate.iter().map(|rate| (rate.vat_rate, rate.net, rate.vat)).collect::<Vec<_>>(),
            [(700, 2997, 210), (1900, 2500, 476)]
        );
    }

    #[test]
    fn quantities_are_exact() {
        for (number, text) in
            [(1.0, "1"), (1.5, "1,5"), (0.125, "0,125"), (12.34, "12,34"), (999_999.999, "999999,999")]
        {
            assert_eq!(Quantity::parse(number).map(|qty| qty.text(Lang::De)).as_deref(), Ok(text));
        }
        for bad in [0.0, -1.0, 0.0001, 1.0005, 1_000_000.5, f64::NAN, f64::INFINITY] {
            assert!(Quantity::parse(bad).is_err(), "{bad}");
        }
        let back = serde_json::to_value(Quantity::parse(2.25).expect("fits")).expect("a number");
        assert_eq!(back, serde_json::json!(2.25));
    }

    #[test]
    fn amounts_are_written_as_people_write_them() {
        for (minor, currency, lang, text) in [
            (123_456_789, "EUR", Lang::De, "1.234.567,89"),
            (-5, "EUR", Lang::En, "-0.05"),
            (1234, "JPY", Lang::En, "1,234"),
            (1234, "KWD", Lang::En, "1.234"),
            (100_000, "CHF", Lang::De, "1.000,00"),
        ] {
            assert_eq!(amount(minor, currency, lang), text);
        }
        assert_eq!(
            (rate(1900, Lang::De), rate(550, Lang::De), rate(825, Lang::En)),
            ("19 %".into(), "5,5 %".into(), "8.25 %".into())
        );
    }
}
