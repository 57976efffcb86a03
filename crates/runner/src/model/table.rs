//! What models take and what they cost, from `data/models.toml`.

use std::sync::LazyLock;

use jiff::civil::Date;
use serde::{Deserialize, Deserializer};

use crate::conversation::Usage;

/// The table that this version was built with.
static TABLE: LazyLock<Table> =
    LazyLock::new(|| toml::from_str(include_str!("../../data/models.toml")).expect("a test reads the table"));

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// Where the figures were read.
    source: String,
    model: Vec<Family>,
}

/// A model with all its spellings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Family {
    name: String,
    /// Whether its server holds a reply to a JSON schema.
    pub(super) structured: bool,
    /// Whether its server keeps marked prefixes.
    pub(super) cache: bool,
    prices: Vec<Price>,
}

/// The prices of one band from one date on, in thousandths of a millionth of a US dollar per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Price {
    effective_from: Date,
    /// A prompt has to be larger than this.
    #[serde(default)]
    above_prompt_tokens: u64,
    #[serde(deserialize_with = "rate")]
    input: u64,
    #[serde(deserialize_with = "rate")]
    output: u64,
    #[serde(deserialize_with = "rate")]
    cache_read: u64,
    #[serde(deserialize_with = "rate")]
    cache_write_5m: u64,
    #[serde(deserialize_with = "rate")]
    cache_write_1h: u64,
}

/// The entry of a model, if it has one.
pub(super) fn family(model: &str) -> Option<&'static Family> {
    TABLE.model.iter().find(|family| family.is_called(model))
}

/// The names of all models with a price.
pub(super) fn priced() -> impl Iterator<Item = &'static str> {
    TABLE.model.iter().map(|family| family.name.as_str())
}

/// Where the prices were read.
pub(super) fn source() -> &'static str {
    &TABLE.source
}

impl Family {
    /// `claude-haiku-5-5`, `claude-haiku-5-5-20261021`, `claude-haiku-5-5@20261021` and `claude-haiku-5-5-latest`, but not
    /// the next model that begins with the same letters.
    fn is_called(&self, model: &str) -> bool {
        let Some(rest) = model.strip_prefix(self.name.as_str()) else { return false };
        let is_date = |text: &str| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
        rest.is_empty() || rest == "-latest" || rest.strip_prefix(['-', '@']).is_some_and(is_date)
    }

    /// What a prompt of this size costs on this day. Before the first date the first prices count: better those than none.
    pub(super) fn price(&self, prompt_tokens: u64, day: Date) -> &Price {
        let first = self.prices.iter().map(|price| price.effective_from).min().unwrap_or(Date::MIN);
        let has_come = |price: &&Price| price.effective_from <= day.max(first);
        let fits = |price: &&Price| price.above_prompt_tokens == 0 || prompt_tokens > price.above_prompt_tokens;
        let candidates = self.prices.iter().filter(has_come).filter(fits);
        candidates
            .max_by_key(|price| (price.effective_from, price.above_prompt_tokens))
            .expect("a test sees to it that every date has a lowest band")
    }
}

impl Price {
    /// What these tokens cost in millionths of a US dollar, rounded up.
    pub(super) fn micro_usd(&self, usage: &Usage) -> i64 {
        let classes = [
            (usage.input_tokens, self.input),
            (usage.output_tokens, self.output),
            (usage.cache_read_tokens, self.cache_read),
            (usage.cache_write_5m_tokens, self.cache_write_5m),
            (usage.cache_write_1h_tokens, self.cache_write_1h),
        ];
        let thousandths: u128 = classes.iter().map(|(tokens, rate)| u128::from(*tokens) * u128::from(*rate)).sum();
        i64::try_from(thousandths.div_ceil(1_000)).unwrap_or(i64::MAX)
    }

    /// What a call costs at most: the prompt all in its dearest class, and the whole of a reply. Caches are written for
    /// five minutes only, so the class of an hour does not occur.
    pub(super) fn at_most_micro_usd(&self, prompt_tokens: u64, output_tokens: u64) -> i64 {
        let dearest = self.input.max(self.cache_read).max(self.cache_write_5m);
        Self { input: dearest, ..*self }.micro_usd(&Usage {
            input_tokens: prompt_tokens,
            output_tokens,
            ..Usage::default()
        })
    }
}

/// Dollars per million tokens, which is millionths per token, kept in exact thousandths of that.
fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let dollars = f64::deserialize(deserializer)?;
    let thousandths = (dollars * 1_000.0).round();
    if !(0.0..=1e9).contains(&thousandths) || (thousandths / 1_000.0 - dollars).abs() > 1e-9 {
        return Err(serde::de::Error::custom(format!(
            "`{dollars}` is no price, expected US dollars per million tokens with at most three decimals"
        )));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number within the bounds above"
    )]
    Ok(thousandths as u64)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn usage(input: u64, output: u64, read: u64, short: u64, long: u64) -> Usage {
        Usage {
            input_tokens: input,
            output_tokens: output,
            cache_read_tokens: read,
            cache_write_5m_tokens: short,
            cache_write_1h_tokens: long,
            estimated: false,
            largest_prompt: 0,
        }
    }

    #[test]
    fn the_table_is_whole() {
        assert!(!TABLE.source.is_empty());
        for family in &TABLE.model {
            for price in &family.prices {
                let lowest =
                    |other: &&Price| other.effective_from == price.effective_from && other.above_prompt_tokens == 0;
                assert_eq!(family.prices.iter().filter(lowest).count(), 1, "{}", family.name);
                assert!(price.cache_read <= price.input && price.input <= price.output, "{}", family.name);
                assert!(price.cache_write_5m <= price.cache_write_1h, "{}", family.name);
            }
            assert!(!family.prices.is_empty(), "{}", family.name);
            let same = TABLE.model.iter().filter(|other| other.is_called(&family.name)).count();
            assert_eq!(same, 1, "{} has one entry", family.name);
        }
    }

    #[test]
    fn a_family_is_known_by_all_its_spellings() {
        let name = |model: &str| family(model).map(|family| family.name.as_str());
        assert_eq!(name("claude-haiku-5-5"), Some("claude-haiku-5-5"));
        assert_eq!(name("claude-haiku-5-5-20261021"), Some("claude-haiku-5-5"));
        assert_eq!(name("claude-haiku-4-5@20251001"), Some("claude-haiku-4-5"));
        assert_eq!(name("claude-sonnet-5-latest"), Some("claude-sonnet-5"));
        assert_eq!(name("claude-sonnet-5-5"), Some("claude-sonnet-5-5"));
        for unknown in ["claude-sonnet-5-6", "claude-haiku-5-5-turbo", "qwen3", "", "claude-"] {
            assert_eq!(name(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn costs_follow_class_and_band() {
        let today = date(2026, 11, 20);
        let cost =
            |model: &str, usage: Usage| family(model).unwrap().price(usage.prompt_tokens(), today).micro_usd(&usage);
        let million = 1_000_000;
        let cases = [
            ("claude-fable-5-2", usage(million, million, million, million, million), 74_200_000),
            ("claude-opus-5-5", usage(million, million, million, million, million), 37_200_000),
            ("claude-sonnet-5-5", usage(million, million, million, million, million), 18_600_000),
            ("claude-sonnet-5", usage(million, million, million, million, million), 18_700_000),
            ("claude-haiku-4-5", usage(million, million, million, million, million), 9_350_000),
            ("claude-haiku-5-5", usage(10_000, 1_000, 0, 0, 0), 1_500),
            ("claude-haiku-5-5", usage(0, 0, 1, 0, 0), 1),
            ("claude-haiku-5-5", usage(0, 0, 0, 8, 0), 1),
            ("claude-haiku-5-5", usage(0, 0, 0, 9, 0), 2),
            ("claude-haiku-5-5", usage(0, 0, 0, 0, 0), 0),
            ("claude-haiku-5-5", usage(100_000, 0, 0, 0, 0), 10_000),
            ("claude-haiku-5-5", usage(1, 0, 100_000, 0, 0), 5_001),
            ("claude-haiku-5-5", usage(100_001, 1_000, 0, 0, 0), 52_501),
        ];
        for (model, usage, expected) in cases {
            assert_eq!(cost(model, usage), expected, "{model} {usage:?}");
        }
        assert_eq!(cost("claude-fable-5-2", usage(u64::MAX, u64::MAX / 2, 0, 0, 0)), i64::MAX);
    }

    #[test]
    fn prices_change_on_their_day() {
        let text = |from: &str, input: f64| {
            format!(
                "[[prices]]\neffective_from = \"{from}\"\ninput = {input:?}\noutput = 1.0\ncache_read = 0.0\ncache_write_5m = 0.0\ncache_write_1h = 0.0\n"
            )
        };
        let whole = format!(
            "name = \"m\"\nstructured = true\ncache = true\n{}{}",
            text("2026-12-01", 3.0),
            text("2026-11-01", 2.0)
        );
        let family: Family = toml::from_str(&whole).unwrap();
        let input = |day| family.price(1, day).input;
        assert_eq!(input(date(2026, 1, 1)), 2_000);
        assert_eq!(input(date(2026, 11, 30)), 2_000);
        assert_eq!(input(date(2026, 12, 1)), 3_000);
        assert!(toml::from_str::<Family>(&whole.replace("3.0", "3.00001")).is_err());
        assert!(toml::from_str::<Family>(&whole.replace("3.0", "-3.0")).is_err());
    }

    #[test]
    fn the_most_that_a_call_costs_counts_its_dearest_class() {
        let price = family("claude-opus-5-5").unwrap().price(1_000, date(2026, 11, 20));
        assert_eq!(price.at_most_micro_usd(1_000, 100), 1_000 * 5 + 100 * 20);
    }
}
