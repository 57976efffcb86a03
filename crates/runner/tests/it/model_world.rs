//! A persona with a model behind it, in the small world: what the model says is written in the test.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use mana_runner::{CancellationToken, EngineChoice, ModelOptions, Outcome, Runner, RunnerOptions, VisitReport};
use mana_testkit::model::{Ask, FakeModel, Script, SeenRequest, Turn};
use mana_types::{ManualClock, Random, Secret, Timestamp};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::world::{World, persona};

/// The key that is shown to the model. It must never be seen anywhere else.
pub(crate) const KEY: &str = "sk-ant-canary-of-the-model";

/// What is written about the day in [`day`].
pub(crate) const DIARY: &str = "Mit todo ging es heute ohne jede Mühe.\nMit notes auch, mehr war nicht.";

/// The question that a diary answers, in the language of the world's personas.
const DIARY_QUESTION: &str = include_str!("../../prompts/de/diary.md");

/// Chance that always falls the same way: pauses of chance have no length.
#[derive(Debug)]
pub(crate) struct Zero;

impl Random for Zero {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

/// Whether the diary is asked for.
pub(crate) fn wants_diary(ask: &Ask) -> bool {
    ask.last_text().contains(DIARY_QUESTION.trim())
}

/// What is said in the main turn, and then a diary and ratings that hold.
pub(crate) fn day(turns: impl Into<Vec<Turn>>) -> Script {
    let turns = turns.into();
    Script::visits().but(move |ask| {
        if ask.wanted_schema().is_some() {
            return None;
        }
        let said = if wants_diary(ask) { None } else { turns.get(ask.turns()).cloned() };
        Some(said.unwrap_or_else(|| Turn::say(DIARY)))
    })
}

/// The last word of a day.
pub(crate) fn done() -> Turn {
    Turn::say("Das war's für heute.")
}

/// A call that the world answers with a new task.
pub(crate) fn create(id: &str) -> Turn {
    Turn::new().tool_use(id, "todo_create", json!({ "title": "Milch kaufen" }))
}

/// A rating that holds, as far as `change` leaves it so.
pub(crate) fn rated(module: &str, evidence: &[usize], change: impl FnOnce(&mut Value)) -> Value {
    let mut row = json!({
        "module": module, "rating": 4, "noOpinion": null, "notes": "Gut.", "evidence": evidence,
        "quote": "ging es heute ohne jede Mühe", "confidence": 0.75,
    });
    change(&mut row);
    row
}

/// A world, a model, and a runner between them.
pub(crate) struct Day {
    pub(crate) world: Arc<World>,
    pub(crate) model: FakeModel,
    pub(crate) options: RunnerOptions,
    pub(crate) clock: Arc<ManualClock>,
}

impl Day {
    pub(crate) async fn of(script: Script) -> Self {
        let world = World::start().await;
        let model = FakeModel::start(script).await;
        let options = RunnerOptions {
            engine: EngineChoice::Anthropic,
            model: ModelOptions { base_url: model.url().into(), key: Secret::new(KEY), ..ModelOptions::default() },
            ..world.options()
        };
        let now: Timestamp = "2026-11-20T09:30:00+01:00".parse().expect("a time");
        Self { world, model, options, clock: Arc::new(ManualClock::at(now)) }
    }

    pub(crate) fn runner(&self) -> Runner {
        let chance: Arc<dyn Random> = Arc::new(Zero);
        Runner::new(self.options.clone(), self.clock.clone(), &chance).expect("a runner")
    }

    /// A visit of one persona, to its end.
    pub(crate) async fn live(&self) -> Lived {
        self.live_as(somebody("anna", "tick-1")).await
    }

    pub(crate) async fn live_as(&self, claim: Value) -> Lived {
        self.world.make_due([claim]);
        let result = self.runner().pass().await.expect("a pass");
        assert_eq!(result.due, 1, "{result:?}");
        let report = result.visits[0].clone();
        let log = self.world.log();
        assert_eq!(log.finishes.len(), 1, "{report:?}");
        let lived = Lived { report, finish: log.finishes[0].1.clone() };
        lived.has_one_row_for_each_call(&log.journal["tick-1"]);
        lived
    }

    /// The runner's loop, to be stopped by the test.
    pub(crate) fn run(&self) -> Running {
        let (stop, at_once) = (CancellationToken::new(), CancellationToken::new());
        let runner = self.runner();
        let task = tokio::spawn({
            let (stop, at_once) = (stop.clone(), at_once.clone());
            async move { runner.run(stop, at_once).await }
        });
        Running { stop, at_once, task }
    }

    /// The requests of the only conversation.
    pub(crate) fn requests(&self) -> Vec<SeenRequest> {
        self.model.requests()
    }

    /// The last message of the request of this number.
    pub(crate) fn asked(&self, number: usize) -> Value {
        self.model.requests()[number].body["messages"]
            .as_array()
            .and_then(|all| all.last())
            .cloned()
            .expect("a message")
    }
}

/// A running loop.
pub(crate) struct Running {
    pub(crate) stop: CancellationToken,
    pub(crate) at_once: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

impl Running {
    /// Ends it as a crash would: nothing more is written.
    pub(crate) async fn kill(self) {
        self.stop.cancel();
        self.at_once.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.task).await.expect("it ends").expect("no panic");
    }
}

/// A claim of a persona that puts up with a lot.
pub(crate) fn somebody(name: &str, tick: &str) -> Value {
    let mut claim = persona(name, tick);
    claim["persona"]["behaviour"]["toleratedErrors"] = json!(100);
    claim
}

/// What came of a visit.
#[derive(Debug)]
pub(crate) struct Lived {
    pub(crate) report: VisitReport,
    pub(crate) finish: Value,
}

impl Lived {
    pub(crate) fn outcome(&self) -> Outcome {
        assert_eq!(self.finish["outcome"], self.report.outcome.as_str());
        self.report.outcome
    }

    pub(crate) fn rows(&self) -> &[Value] {
        self.finish["actions"].as_array().expect("rows")
    }

    /// Each row's call and code; `ok` where there is none.
    pub(crate) fn codes(&self) -> Vec<(&str, &str)> {
        let rows = self.rows().iter();
        rows.map(|row| (row["toolUseId"].as_str().expect("an id"), row["code"].as_str().unwrap_or("ok"))).collect()
    }

    /// Each rating, its module and number: in reverse order of their names, because they are asked for in one of chance.
    pub(crate) fn ratings(&self) -> Vec<(&str, Option<u64>)> {
        let rows = self.finish["feedback"].as_array().expect("feedback");
        let rating = |row: &'_ Value| row["rating"].as_u64();
        let mut ratings: Vec<_> =
            rows.iter().map(|row| (row["module"].as_str().expect("a module"), rating(row))).collect();
        ratings.sort_unstable_by(|a, b| b.cmp(a));
        ratings
    }

    /// Why ratings could not be read.
    pub(crate) fn unreadable(&self) -> &str {
        let rows = self.finish["feedback"].as_array().expect("feedback");
        let row = rows.iter().find(|row| row["module"] == "__parse").expect("a row that says why");
        assert!(row.get("rating").is_none(), "{row}");
        row["notes"].as_str().expect("a reason")
    }

    pub(crate) fn summary(&self) -> &str {
        self.finish["summary"].as_str().expect("a summary")
    }

    /// Every call that was ever asked for has exactly one row, and the rows are numbered from nought.
    fn has_one_row_for_each_call(&self, journal: &[Value]) {
        let said =
            journal.iter().filter(|line| ["assistant", "discarded"].iter().any(|kind| line["entry"]["kind"] == *kind));
        let blocks = said.flat_map(|line| line["entry"]["content"].as_array().expect("blocks"));
        let asked: HashSet<&str> =
            blocks.filter(|block| block["type"] == "tool_use").filter_map(|block| block["id"].as_str()).collect();
        let mut rows: Vec<&str> = self.rows().iter().filter_map(|row| row["toolUseId"].as_str()).collect();
        let numbers: Vec<u64> = self.rows().iter().filter_map(|row| row["index"].as_u64()).collect();
        assert!(numbers.iter().copied().eq(0..rows.len() as u64), "{numbers:?}");
        rows.sort_unstable();
        let mut asked: Vec<&str> = asked.into_iter().collect();
        asked.sort_unstable();
        assert_eq!(rows, asked, "one row for each call");
    }
}

/// The `tool_result` blocks of a message: id, first text, and whether it is an error.
pub(crate) fn results(message: &Value) -> Vec<(String, String, bool)> {
    let blocks = message["content"].as_array().expect("blocks");
    let results = blocks.iter().take_while(|block| block["type"] == "tool_result");
    results
        .map(|block| {
            let parts = block["content"].as_array().expect("parts");
            let text = parts.iter().find_map(|part| part["text"].as_str()).unwrap_or_default();
            (block["tool_use_id"].as_str().expect("an id").to_owned(), text.to_owned(), block["is_error"] == true)
        })
        .collect()
}
