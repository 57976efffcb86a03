//! Visits of a model: the real binary, the real tools, and a model that says what the test wrote.

use mana_testkit::model::{FakeModel, Script, Turn};
use serde_json::Value;
use tokio::process::Command;

use crate::support::{Ended, Home};

/// A key that must never be seen again.
const KEY: &str = "sk-ant-canary-7f3e1c";

/// `mana` with this model behind it.
fn with_model(home: &Home, model: &FakeModel, arguments: &[&str]) -> Command {
    let mut command = home.mana(arguments);
    command.env("ANTHROPIC_API_KEY", KEY).env("ANTHROPIC_BASE_URL", model.url()).env("MANA_ENGINE", "anthropic");
    command
}

/// An installation with its ten personas, none of whom has visited.
async fn seeded(home: &Home) {
    let added = home.run(&["user", "add", "admin@example.test", "--admin"]).await;
    assert_eq!(added.code, 0, "{}", added.err);
    let seeded = home.run(&["personas", "seed"]).await;
    assert_eq!(seeded.code, 0, "{}", seeded.err);
}

/// Nothing that was written down holds the key.
fn no_secret_is_kept(home: &Home, ended: &Ended) {
    assert!(!ended.out.contains(KEY) && !ended.err.contains(KEY), "{}\n{}", ended.out, ended.err);
    for file in std::fs::read_dir(home.data()).expect("the data folder").flatten() {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        let found = bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes());
        assert!(!found, "the key stands in {}", file.path().display());
    }
}

async fn a_day(home: Home) {
    seeded(&home).await;
    let model = FakeModel::start(Script::visits()).await;
    let mut command = with_model(&home, &model, &["tick", "--json"]);
    // Nobody answers there, and nobody has to: what happens on this machine goes through no proxy.
    command.env("MANA_LOG", "debug").env("HTTP_PROXY", "http://127.0.0.1:9").env("http_proxy", "http://127.0.0.1:9");
    let ended = Ended::of(command).await;
    assert_eq!(ended.code, 0, "{}\n{}", ended.out, ended.err);
    no_secret_is_kept(&home, &ended);
    let result: Value = serde_json::from_str(&ended.out).expect("a pass");
    let due = result["due"].as_u64().expect("a number");
    assert!(due >= 6, "{result}");
    for visit in result["visits"].as_array().expect("visits") {
        assert_eq!(visit["outcome"], "completed", "{visit}");
    }

    let visits = home.json(&["visits", "list"]).await;
    assert_eq!(visits["visits"].as_array().expect("visits").len() as u64, due);
    for visit in visits["visits"].as_array().expect("visits") {
        let tick = visit["tickId"].as_str().expect("an id");
        assert_eq!(visit["simulated"], false);
        assert_eq!(visit["model"], "claude-haiku-5-5");
        assert!(visit["costMicroUsd"].as_i64().expect("a cost") > 0, "{visit}");
        let whole = home.json(&["visits", "show", tick]).await;
        let actions = whole["actions"].as_array().expect("actions");
        let rows: Vec<i64> = actions.iter().filter_map(|row| row["index"].as_i64()).collect();
        let expected: Vec<i64> = (0..).take(rows.len()).collect();
        assert_eq!(rows, expected, "{whole:#}");
        let feedback = whole["feedback"].as_array().expect("feedback");
        assert!(!feedback.is_empty(), "{whole:#}");
        for row in feedback {
            assert_ne!(row["module"], "__parse", "{row}");
            assert!(row["evidence"].as_array().is_some_and(|evidence| !evidence.is_empty()), "{row}");
        }
    }
    let cost = home.json(&["cost"]).await;
    assert_eq!(cost["totals"]["calls"].as_u64().expect("a count"), model.served() as u64, "{cost:#}");
    let shown = home.run(&["visits", "show"]).await;
    assert!(shown.out.contains("ratings") && shown.out.contains("rests on #"), "{}", shown.out);
    model.assert_clean();
}

#[tokio::test]
async fn a_model_lives_a_day_on_sqlite() {
    a_day(Home::sqlite()).await;
}

#[tokio::test]
async fn a_model_lives_a_day_on_postgres() {
    match Home::postgres().await {
        Some(home) => a_day(home).await,
        None => eprintln!("not run: there is no PostgreSQL on this machine"),
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_asked_and_everything_else_works() {
    let home = Home::sqlite();
    seeded(&home).await;
    let mut command = home.mana(&["tick"]);
    command.env("MANA_ENGINE", "anthropic");
    let ended = Ended::of(command).await;
    assert_ne!(ended.code, 0);
    assert!(ended.err.contains("ANTHROPIC_API_KEY"), "{}", ended.err);
}

#[tokio::test]
async fn a_provider_that_will_not_serve_us_is_nobodys_fault() {
    let home = Home::sqlite();
    seeded(&home).await;
    let model = FakeModel::start(Script::new(|_| Turn::status(401))).await;
    let ended = Ended::of(with_model(&home, &model, &["tick", "--json"])).await;
    assert_ne!(ended.code, 0);
    no_secret_is_kept(&home, &ended);
    let visits = home.json(&["visits", "list"]).await;
    for visit in visits["visits"].as_array().expect("visits") {
        assert_eq!(visit["outcome"], "provider_down", "{visit}");
    }
    assert!(model.served() <= 4, "the circuit opens at once, and {} requests were sent", model.served());
}

/// The tools of each visit in their order, by persona.
async fn done_by(home: &Home) -> std::collections::BTreeMap<String, Vec<String>> {
    let mut done = std::collections::BTreeMap::new();
    let visits = home.json(&["visits", "list"]).await;
    for visit in visits["visits"].as_array().expect("visits") {
        let whole = home.json(&["visits", "show", visit["tickId"].as_str().expect("an id")]).await;
        let tools = whole["actions"].as_array().expect("actions").iter();
        let tools = tools.map(|row| format!("{} {}", row["toolName"], row["result"])).collect();
        done.insert(visit["persona"]["email"].to_string(), tools);
    }
    done
}

#[tokio::test]
async fn a_recorded_day_is_lived_again_without_a_model() {
    let (first, second) = (Home::sqlite(), Home::sqlite());
    let cassettes = first.path().join("cassettes");
    let dir = cassettes.to_str().expect("is UTF-8");
    seeded(&first).await;
    let model = FakeModel::start(Script::visits()).await;
    let ended = Ended::of(with_model(&first, &model, &["tick", "--record", dir, "--json"])).await;
    assert_eq!(ended.code, 0, "{}\n{}", ended.out, ended.err);
    for file in std::fs::read_dir(&cassettes).expect("the recordings").flatten() {
        let text = std::fs::read_to_string(file.path()).expect("reads");
        assert!(!text.contains(KEY), "{}", file.path().display());
    }
    let served = model.served();

    seeded(&second).await;
    let ended = Ended::of(with_model(&second, &model, &["tick", "--replay", dir, "--json"])).await;
    assert_eq!(ended.code, 0, "{}\n{}", ended.out, ended.err);
    assert_eq!(model.served(), served, "a replay asks nobody");
    assert_eq!(done_by(&second).await, done_by(&first).await);
    let visits = second.json(&["visits", "list"]).await;
    for visit in visits["visits"].as_array().expect("visits") {
        assert_eq!((&visit["engine"], &visit["simulated"]), (&"replay".into(), &true.into()), "{visit}");
        assert!(visit["ratings"].as_i64().is_some_and(|ratings| ratings > 0), "{visit}");
    }
}

#[tokio::test]
async fn bad_input_of_every_kind_finds_no_fault_in_the_tools() {
    let home = Home::sqlite();
    seeded(&home).await;
    let ended = home.run(&["tick", "--engine", "chaos", "--json"]).await;
    assert_eq!(ended.code, 0, "{}\n{}", ended.out, ended.err);
    let result: Value = serde_json::from_str(&ended.out).expect("a pass");
    for visit in result["visits"].as_array().expect("visits") {
        assert_eq!(visit["outcome"], "completed", "{visit}");
        assert!(visit["errors"].as_u64().is_some_and(|errors| errors > 0), "{visit}");
    }
}
