//! `mana cost`: what models have cost, against the limits.

use serde_json::{Value, json};

use super::query;
use super::visits::cost;
use crate::cli::Cost;
use crate::failure::Result;
use crate::local::Local;
use crate::print::{self, text};
use crate::settings::Settings;

pub(super) async fn run(settings: &Settings, which: &Cost, as_json: bool) -> Result {
    let (app, local) = Local::open(settings).await?;
    let query = query(&[("by", Some(which.by.as_str())), ("from", which.from.as_deref()), ("to", which.to.as_deref())]);
    let found = local.get(&format!("/api/v1/admin/personas/cost{query}")).await;
    app.close().await?;
    let mut report = found?;
    let budget = settings.budget;
    report["limits"] = json!({
        "callMicroUsd": budget.call_micro_usd,
        "visitMicroUsd": budget.tick_micro_usd,
        "personaDayMicroUsd": budget.persona_day_micro_usd,
        "dayMicroUsd": budget.day_micro_usd,
        "monthMicroUsd": budget.month_micro_usd,
        "visitTokens": budget.tick_tokens,
    });
    if as_json {
        return print::json(&report);
    }
    let rows = report["rows"].as_array().map_or(&[][..], Vec::as_slice);
    if rows.is_empty() {
        print::say("nothing was spent in this time: only visits of a model cost money (`MANA_ENGINE=anthropic`)");
    } else {
        let mut lines: Vec<Vec<String>> = rows.iter().map(line).collect();
        let mut total = line(&report["totals"]);
        total[0] = "total".into();
        lines.push(total);
        let head =
            [which.by.as_str(), "calls", "read", "from cache", "into cache", "written", "cost", "of it estimated"];
        print::out(&print::table(&head, lines))?;
    }
    print::say(&format!(
        "today {} of {}, this month {} of {}; a call at most {}, a visit {}, a persona's day {}",
        money(report["today"]["costMicroUsd"].as_i64().unwrap_or(0)),
        limit(budget.day_micro_usd),
        money(report["month"]["costMicroUsd"].as_i64().unwrap_or(0)),
        limit(budget.month_micro_usd),
        limit(budget.call_micro_usd),
        limit(budget.tick_micro_usd),
        limit(budget.persona_day_micro_usd),
    ));
    Ok(())
}

fn line(row: &Value) -> Vec<String> {
    let name = text(row, "name");
    vec![
        if name.is_empty() { text(row, "key") } else { name },
        text(row, "calls"),
        text(row, "inputTokens"),
        text(row, "cacheReadTokens"),
        text(row, "cacheWriteTokens"),
        text(row, "outputTokens"),
        cost(&row["costMicroUsd"]),
        cost(&row["estimatedMicroUsd"]),
    ]
}

fn money(micro_usd: i64) -> String {
    let shown = cost(&json!(micro_usd));
    if shown.is_empty() { "$0".into() } else { shown }
}

fn limit(micro_usd: Option<i64>) -> String {
    micro_usd.map_or_else(|| "no limit".into(), money)
}
