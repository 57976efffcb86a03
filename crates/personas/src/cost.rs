//! What models cost: by day, by persona or by model.

use jiff::tz::TimeZone;
use mana_store::FromRow;
use mana_types::Date;
use mana_web::FieldError;
use serde::Serialize;

use crate::spend::day_of;
use crate::{Error, Personas, Result, store};

/// The most days of one report.
const MOST_DAYS: i64 = 366;

/// By what a report adds up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CostBy {
    /// A line for each day with a call.
    #[default]
    Day,
    /// A line for each persona.
    Persona,
    /// A line for each model.
    Model,
}

impl std::str::FromStr for CostBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "day" => Ok(Self::Day),
            "persona" => Ok(Self::Persona),
            "model" => Ok(Self::Model),
            other => Err(format!("`{other}` is nothing to add up by, expected `day`, `persona` or `model`")),
        }
    }
}

/// Calls, added up. Money is in millionths of a US dollar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, FromRow)]
#[serde(rename_all = "camelCase")]
pub struct Sums {
    /// How many.
    pub calls: i64,
    /// Tokens read, and neither from nor into a cache.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// Tokens read from a cache.
    pub cache_read_tokens: i64,
    /// Tokens kept in a cache.
    pub cache_write_tokens: i64,
    /// What they cost, reservations included that were never settled.
    pub cost_micro_usd: i64,
    /// How much of it is not by the provider's own figures.
    pub estimated_micro_usd: i64,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.cache_write_tokens += other.cache_write_tokens;
        self.cost_micro_usd += other.cost_micro_usd;
        self.estimated_micro_usd += other.estimated_micro_usd;
    }
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CostLine {
    /// The day, the model, or the id of the persona.
    pub key: String,
    /// The persona's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The persona's e-mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Its calls.
    #[serde(flatten)]
    pub sums: Sums,
}

/// An amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spent {
    /// In millionths of a US dollar.
    pub cost_micro_usd: i64,
}

/// What models cost from one day to another, in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CostReport {
    /// By what the lines add up.
    pub by: CostBy,
    /// The first day.
    pub from: Date,
    /// The last day.
    pub to: Date,
    /// The lines.
    pub rows: Vec<CostLine>,
    /// All lines together.
    pub totals: Sums,
    /// What personas spent in this time who are gone since: in no line, and in today's and the month's figure all the same.
    pub removed: Spent,
    /// What everybody spent today, as the limit of the day counts it.
    pub today: Spent,
    /// What everybody spent this month, as the limit of the month counts it.
    pub month: Spent,
}

impl Personas {
    /// What models cost; by default in the current month up to today.
    pub async fn cost(&self, from: Option<Date>, to: Option<Date>, by: CostBy) -> Result<CostReport> {
        let now = self.db.now().await?;
        let today = now.date_in(&TimeZone::UTC);
        let to = to.or_else(|| from.filter(|from| *from > today)).unwrap_or(today);
        let from = from.unwrap_or(Date(to.0.first_of_month()));
        if from > to {
            let message = format!("{to} is before {from}, the first day");
            return Err(Error::Invalid(vec![FieldError::new("to", message)]));
        }
        if from.plus_days(MOST_DAYS) <= to {
            let message = format!("at most {MOST_DAYS} days in one report");
            return Err(Error::Invalid(vec![FieldError::new("from", message)]));
        }
        let (first, last) = (from.to_string(), to.to_string());
        let (day, month) = (day_of(now), day_of(now)[..7].to_owned());
        let spent = store::spent(&self.db, [&day, &month]).await?;
        let spent = |period: &str| Spent { cost_micro_usd: spent.get(period).copied().unwrap_or_default() };
        let mut totals = Sums::default();
        let mut rows = Vec::new();
        for row in store::costs(&self.db, by, &first, &last).await? {
            totals.add(&row.sums);
            let (name, email) = row.person.unzip();
            rows.push(CostLine { key: row.key, name, email, sums: row.sums });
        }
        let removed = Spent { cost_micro_usd: store::spent_by_removed(&self.db, &first, &last).await? };
        Ok(CostReport { by, from, to, rows, totals, removed, today: spent(&day), month: spent(&month) })
    }
}
