//! `mana visits`: which visits there were, and what was said and done in one, for somebody who was not there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::{persona_id, query};
use crate::cli::{ShowVisit, Visits, VisitsList};
use crate::failure::Result;
use crate::local::Local;
use crate::print::{self, short, text, time};
use crate::settings::Settings;

/// How many characters of arguments and answers are shown without `--full`.
const SHOWN: usize = 240;

pub(super) async fn run(settings: &Settings, command: Visits, as_json: bool) -> Result {
    let (app, local) = Local::open(settings).await?;
    let done = match command {
        Visits::List(which) => list(&local, &which, as_json).await,
        Visits::Show(which) => show(&local, &which, as_json).await,
    };
    app.close().await?;
    done
}

async fn list(local: &Local, which: &VisitsList, as_json: bool) -> Result {
    let persona = persona_id(local, which.persona.as_deref()).await?;
    let query = query(&[
        ("persona", persona.as_deref()),
        ("outcome", which.outcome.as_deref()),
        ("engine", which.engine.as_deref()),
        ("limit", Some(&which.limit.to_string())),
    ]);
    let page = local.get(&format!("/api/v1/admin/personas/visits{query}")).await?;
    if as_json {
        return print::json(&page);
    }
    let visits = page["visits"].as_array().map_or(&[][..], Vec::as_slice);
    if visits.is_empty() {
        let narrowed = which.persona.is_some() || which.outcome.is_some() || which.engine.is_some();
        print::say(if narrowed {
            "no visit fits"
        } else {
            "no visits yet: `mana tick` lets the personas visit that are due"
        });
        return Ok(());
    }
    let rows = visits.iter().map(|visit| {
        vec![
            time(visit, "startedAt"),
            name_of(&visit["persona"]),
            text(visit, "outcome"),
            by(visit),
            text(visit, "actions"),
            text(visit, "errors"),
            text(visit, "ratings"),
            cost(&visit["costMicroUsd"]),
            short(&text(visit, "goal"), 40),
            text(visit, "tickId"),
        ]
    });
    let head = ["when", "persona", "outcome", "by", "calls", "errors", "ratings", "cost", "goal", "visit"];
    print::out(&print::table(&head, rows.collect()))
}

async fn show(local: &Local, which: &ShowVisit, as_json: bool) -> Result {
    let latest = match &which.visit {
        Some(tick) => Some(tick.clone()),
        None => {
            local.get("/api/v1/admin/personas/visits?limit=1").await?["visits"][0]["tickId"].as_str().map(str::to_owned)
        }
    };
    let Some(tick) = latest else {
        print::say("no visits yet: `mana tick` lets the personas visit that are due");
        return Ok(());
    };
    let visit = local.get(&format!("/api/v1/admin/personas/visits/{}", print::segment(&tick))).await?;
    if as_json { print::json(&visit) } else { print::out(&story(&visit, which.full)) }
}

fn name_of(persona: &Value) -> String {
    let name = text(persona, "name");
    if name.is_empty() { text(persona, "email") } else { name }
}

/// What decided: the model, or the engine without one.
fn by(visit: &Value) -> String {
    let (engine, model) = (text(visit, "engine"), text(visit, "model"));
    if model.is_empty() { engine } else { model }
}

/// Money for people; nothing where nothing was spent.
pub(super) fn cost(micro_usd: &Value) -> String {
    match micro_usd.as_i64() {
        None | Some(0) => String::new(),
        Some(micro_usd) => {
            let rounded = micro_usd.unsigned_abs().div_ceil(100);
            let shown = format!("${}.{:04}", rounded / 10_000, rounded % 10_000);
            shown.strip_suffix("00").map(str::to_owned).unwrap_or(shown)
        }
    }
}

/// A whole visit as it happened.
pub(crate) fn story(visit: &Value, full: bool) -> String {
    let name = name_of(&visit["persona"]);
    let mut page = Page { text: String::new(), full };
    page.line(&format!("{name} <{}>", text(&visit["persona"], "email")));
    let calls = format!("{} calls, {} errors", visit["actions"].as_array().map_or(0, Vec::len), errors(visit));
    let mut facts = vec![time(visit, "startedAt"), outcome(visit), format!("by {}", by(visit)), calls];
    facts.push(cost(&visit["costMicroUsd"]));
    facts.retain(|fact| !fact.is_empty());
    page.line(&facts.join(" · "));
    if visit["simulated"] == true {
        page.line("simulated: no model was asked");
    }

    let rows: BTreeMap<String, &Value> =
        visit["actions"].as_array().into_iter().flatten().map(|row| (text(row, "toolUseId"), row)).collect();
    let mut asked: Vec<Value> = Vec::new();
    // The ratings stand at the end as they were understood; their JSON is for those who want everything.
    let mut rating = false;
    for line in visit["journal"].as_array().into_iter().flatten() {
        let entry = &line["entry"];
        match text(entry, "kind").as_str() {
            "start" => page.said("the day begins", &text(entry, "message")),
            "ask" => {
                rating = matches!(text(entry, "phase").as_str(), "rating" | "repair") && !full;
                match text(entry, "phase").as_str() {
                    "rating" if rating => page.aside("we ask for a rating of everything that was used", ""),
                    "repair" if rating => page.aside("we ask again for what could not be read", ""),
                    _ => page.said("we ask", &text(entry, "message")),
                }
            }
            "assistant" => {
                for block in entry["content"].as_array().into_iter().flatten() {
                    match text(block, "type").as_str() {
                        "text" if !rating => page.said(&name, &text(block, "text")),
                        "thinking" => page.aside("thinks", &text(block, "thinking")),
                        "tool_use" => asked.push(block.clone()),
                        _ => {}
                    }
                }
            }
            "discarded" => page.aside("a reply was cut in the middle and thrown away", ""),
            "tool_results" => {
                for result in entry["content"].as_array().into_iter().flatten() {
                    let id = text(result, "tool_use_id");
                    let call = asked.iter().position(|call| text(call, "id") == id).map(|at| asked.remove(at));
                    page.call(call.as_ref(), rows.get(&id).copied(), Some(result));
                }
            }
            "story" => page.said("the story so far, told anew", &text(entry, "text")),
            _ => {}
        }
    }
    for call in &asked {
        page.call(Some(call), rows.get(&text(call, "id")).copied(), None);
    }
    ratings(&mut page, visit);
    if visit["journal"].as_array().is_none_or(Vec::is_empty) {
        page.said("how it ended", &text(visit, "summary"));
    }
    page.text
}

fn outcome(visit: &Value) -> String {
    let outcome = text(visit, "outcome");
    if outcome.is_empty() { "still going on".into() } else { outcome }
}

fn errors(visit: &Value) -> usize {
    visit["actions"].as_array().into_iter().flatten().filter(|row| row["result"] == "error").count()
}

fn ratings(page: &mut Page, visit: &Value) {
    let rated = visit["feedback"].as_array().map_or(&[][..], Vec::as_slice);
    if rated.is_empty() {
        return;
    }
    let tools: BTreeMap<String, String> = visit["actions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| (text(row, "index"), text(row, "toolName")))
        .collect();
    page.heading("ratings");
    for row in rated {
        let module = text(row, "module");
        if module == "__parse" {
            page.line(&format!("  not readable: {}", text(row, "notes")));
            continue;
        }
        let opinion = match row["rating"].as_i64() {
            Some(rating) => format!("{rating} of 5"),
            None => "no opinion".into(),
        };
        page.line(&format!("  {module}: {opinion}"));
        page.part("    ", &text(row, "notes"));
        let quote = text(row, "quote");
        if !quote.is_empty() {
            page.part("    in the words of the visit: ", &quote);
        }
        let evidence: Vec<String> = row["evidence"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|index| {
                let tool = tools.get(&index.to_string()).cloned().unwrap_or_default();
                format!("#{index} {tool}")
            })
            .collect();
        if !evidence.is_empty() {
            page.line(&format!("    rests on {}", evidence.join(", ")));
        }
    }
}

struct Page {
    text: String,
    full: bool,
}

impl Page {
    fn line(&mut self, line: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{}", print::harmless(line));
    }

    fn heading(&mut self, heading: &str) {
        self.line("");
        self.line(heading);
    }

    /// Words with their line breaks, indented; nothing where there are none.
    fn part(&mut self, indent: &str, words: &str) {
        let blank = " ".repeat(indent.chars().count());
        for (at, line) in words.trim().lines().enumerate() {
            let start = if at == 0 { indent } else { &blank };
            self.line(format!("{start}{line}").trim_end());
        }
    }

    fn said(&mut self, who: &str, words: &str) {
        if !words.trim().is_empty() {
            self.heading(&format!("{who}:"));
            self.part("  ", words);
        }
    }

    fn aside(&mut self, what: &str, words: &str) {
        let words = if self.full { words.trim().to_owned() } else { short(words, SHOWN) };
        let colon = if words.is_empty() { "" } else { ": " };
        self.heading(&format!("({what}{colon}{words})"));
    }

    /// One call: what was asked, and what came of it.
    fn call(&mut self, call: Option<&Value>, row: Option<&Value>, result: Option<&Value>) {
        let null = Value::Null;
        let row = row.unwrap_or(&null);
        let tool = call.map_or_else(|| text(row, "toolName"), |call| text(call, "name"));
        let input = call.map_or_else(String::new, |call| call["input"].to_string());
        let number = row["index"].as_i64().map_or_else(String::new, |index| format!("#{index} "));
        self.heading(&format!("  {number}{tool} {}", self.cut(&input)));
        let outcome = match (row["result"].as_str(), row["code"].as_str()) {
            (Some("ok"), _) => format!("ok, {} ms", text(row, "latencyMs")),
            (Some(_), code) => format!("{}, {} ms", code.unwrap_or("error"), text(row, "latencyMs")),
            (None, _) if result.is_some() => "answered".into(),
            (None, _) => "never answered".into(),
        };
        let answer: Vec<String> = result
            .and_then(|result| result["content"].as_array())
            .into_iter()
            .flatten()
            .map(|part| if part["type"] == "text" { text(part, "text") } else { format!("({})", text(part, "type")) })
            .collect();
        let answer = answer.join("\n");
        let colon = if answer.is_empty() { "" } else { ": " };
        self.part("    ", &format!("{outcome}{colon}{}", self.cut(&answer)));
    }

    fn cut(&self, words: &str) -> String {
        if self.full { words.to_owned() } else { short(words, SHOWN) }
    }
}
