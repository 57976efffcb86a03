//! Commands that read and change the population.

use serde_json::json;

use crate::support::Home;

#[tokio::test]
async fn the_population_is_seeded_shown_paused_and_removed() {
    let home = Home::sqlite();
    home.run(&["user", "add", "boss@b.example", "--admin", "--name", "Chef"]).await;
    let dry = home.json(&["personas", "seed", "--dry-run"]).await;
    assert_eq!(dry["wouldSeed"].as_array().map(Vec::len), Some(10));
    assert_eq!(home.json(&["personas", "list"]).await["personas"], json!([]));
    let first = home.json(&["personas", "seed"]).await;
    let second = home.json(&["personas", "seed"]).await;
    assert_eq!((first["seeded"].as_array().map(Vec::len), &first), (Some(10), &second));
    let list = home.json(&["personas", "list"]).await;
    assert_eq!(list["personas"].as_array().map(Vec::len), Some(10));

    assert_eq!(home.run(&["personas", "pause", "anna", "persona.ben@mana.test", "--reason", "Urlaub"]).await.code, 0);
    let anna = home.json(&["personas", "show", "anna"]).await;
    assert_eq!((&anna["persona"]["state"], &anna["persona"]["pauseReason"]), (&json!("paused"), &json!("Urlaub")));
    let pass = home.json(&["tick"]).await;
    let people: Vec<&str> =
        pass["visits"].as_array().expect("visits").iter().filter_map(|visit| visit["persona"].as_str()).collect();
    assert!(!people.contains(&"persona.anna@mana.test") && people.contains(&"persona.kai@mana.test"), "{people:?}");
    assert_eq!(home.run(&["personas", "resume", "anna", "ben"]).await.code, 0);
    assert_eq!(home.run(&["personas", "run", "kai"]).await.code, 0);
    let pass = home.json(&["tick"]).await;
    assert_eq!(pass["due"], 3, "{pass}");
    assert_eq!(home.json(&["tick"]).await["due"], 0);

    let unanswered = home.run(&["personas", "remove", "anna"]).await;
    assert_eq!(unanswered.code, 2, "{unanswered:?}");
    assert!(unanswered.err.contains("persona.anna@mana.test"), "{}", unanswered.err);
    assert_eq!(home.run(&["personas", "remove", "anna", "--yes"]).await.code, 0);
    assert_eq!(home.json(&["personas", "list"]).await["personas"].as_array().map(Vec::len), Some(9));
    assert_eq!(home.run(&["personas", "remove"]).await.code, 0, "nobody is outside of the catalog");
    let doctor = home.json(&["doctor", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(doctor["ok"], true, "{doctor}");
}

#[tokio::test]
async fn settings_openapi_and_completions_are_printed() {
    let home = Home::sqlite();
    let config = home.json(&["config", "show", "--log", "debug"]).await;
    assert_eq!((&config["log"]["value"], &config["log"]["source"]), (&json!("debug"), &json!("flag --log")));
    assert_eq!(config["seed_secret"]["value"], "***");
    assert_eq!(home.run(&["config", "check"]).await.code, 0);
    let example = home.run(&["config", "example"]).await;
    std::fs::write(home.path().join("mana.toml"), &example.out).expect("writes");
    assert_eq!(home.run(&["config", "check"]).await.code, 0);
    assert!(home.run(&["completions", "bash"]).await.out.contains("mana"));
    let help = home.run(&["--help"]).await;
    for command in ["up", "serve", "tick", "personas", "doctor"] {
        assert!(help.out.contains(command), "{}", help.out);
    }
}

/// The committed document is what this source makes; `cargo run -- openapi > openapi/mana.json` renews it.
#[tokio::test]
async fn the_committed_openapi_document_is_current() {
    let home = Home::sqlite();
    let printed = home.run(&["openapi"]).await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../openapi/mana.json");
    let committed = std::fs::read_to_string(path).expect("openapi/mana.json is committed");
    assert!(printed.out == committed, "openapi/mana.json is out of date: cargo run -- openapi > openapi/mana.json");
}
