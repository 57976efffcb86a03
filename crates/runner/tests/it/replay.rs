//! A visit of a model is recorded, and made again without it.

use std::path::Path;

use mana_runner::{EngineChoice, ModelOptions, RunnerOptions};
use mana_testkit::model::{FakeModel, Script};
use mana_types::Secret;
use serde_json::Value;

use crate::world::{Call, World, persona, runner_with};

const CANARY: &str = "sk-canary-0123456789abcdef";

/// What was called, without what is fresh in every visit.
fn plain(calls: &[Call]) -> Vec<(String, Vec<String>)> {
    let fields = |call: &Call| call.arguments.as_object().expect("an object").keys().cloned().collect();
    calls.iter().map(|call| (call.tool.clone(), fields(call))).collect()
}

fn refused(finish: &Value) -> usize {
    finish["actions"].as_array().expect("rows").iter().filter(|row| row["result"] != "ok").count()
}

/// Makes one visit of a model and records it.
async fn record(dir: &Path) -> (Vec<Call>, Value) {
    let world = World::start().await;
    world.make_due([persona("anna", "tick-1")]);
    let model = FakeModel::start(Script::visits()).await;
    let options =
        ModelOptions { base_url: model.url().to_owned(), key: Secret::new(CANARY), ..ModelOptions::default() };
    let runner = runner_with(RunnerOptions {
        engine: EngineChoice::Anthropic,
        model: options,
        record: Some(dir.to_owned()),
        ..world.options()
    });
    let result = runner.pass().await.expect("a pass");
    assert_eq!((result.ran_successfully, result.failed.len()), (1, 0), "{result:?}");
    model.assert_clean();
    let log = world.log();
    (log.calls.clone(), log.finishes[0].1.clone())
}

/// Makes it again, on a world where every record has another id.
async fn replay(dir: &Path, strict: bool, prepare: impl FnOnce(&World)) -> (Vec<Call>, Value) {
    let world = World::start().await;
    world.make_due([persona("anna", "tick-2")]);
    world.log().records = vec![("elsewhere".to_owned(), Value::Null); 40];
    prepare(&world);
    let runner = runner_with(RunnerOptions {
        engine: EngineChoice::Replay,
        replay: Some(dir.to_owned()),
        replay_strict: strict,
        ..world.options()
    });
    runner.pass().await.expect("a pass");
    let log = world.log();
    (log.calls.clone(), log.finishes[0].1.clone())
}

#[tokio::test]
async fn a_recorded_visit_is_made_again_to_the_rating() {
    let dir = tempfile::tempdir().expect("a folder");
    let (recorded, first) = record(dir.path()).await;
    assert!(recorded.len() > 2, "{recorded:?}");
    let files: Vec<_> =
        std::fs::read_dir(dir.path()).expect("a folder").map(|file| file.expect("a file").path()).collect();
    assert_eq!(files.len(), 1);
    assert!(!std::fs::read_to_string(&files[0]).expect("text").contains(CANARY));

    let (calls, again) = replay(dir.path(), true, |_| {}).await;
    assert_eq!(again["outcome"], first["outcome"], "{again}");
    assert_eq!((&again["engine"], &again["simulated"]), (&"replay".into(), &true.into()));
    assert_eq!(plain(&calls), plain(&recorded));
    assert_eq!(refused(&again), refused(&first));
    let rated = |finish: &Value| -> Vec<(Value, Value)> {
        let rows = finish["feedback"].as_array().expect("ratings");
        rows.iter().map(|row| (row["module"].clone(), row["rating"].clone())).collect()
    };
    assert!(!rated(&first).is_empty());
    assert_eq!(rated(&again), rated(&first));
}

#[tokio::test]
async fn another_server_is_noticed_when_strict_and_borne_when_loose() {
    let dir = tempfile::tempdir().expect("a folder");
    let (recorded, _) = record(dir.path()).await;
    let broken = recorded[0].tool.clone();
    let fails = |world: &World| {
        world.log().failing_tools.insert(broken.clone());
    };
    let (calls, finish) = replay(dir.path(), true, fails).await;
    assert_eq!(finish["outcome"], "failed");
    let reason = finish["summary"].as_str().expect("a reason");
    assert!(
        reason.contains("does not fit: step 2: message 3 (user) differs in line 1") && reason.contains("is broken"),
        "{reason}"
    );
    assert!(calls.len() < recorded.len());

    let (calls, _) = replay(dir.path(), false, fails).await;
    assert_eq!(plain(&calls), plain(&recorded));
}

#[tokio::test]
async fn who_was_never_recorded_stays_away_and_the_reason_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let (calls, finish) = replay(dir.path(), true, |_| {}).await;
    assert_eq!((finish["outcome"].as_str(), calls.len()), (Some("skipped"), 0));
    assert!(
        finish["summary"]
            .as_str()
            .is_some_and(|reason| reason.contains("no recorded visit of `persona.anna@mana.test`"))
    );
}
