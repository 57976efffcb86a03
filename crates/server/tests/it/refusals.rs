//! What a start refuses, and in which words.

use crate::support::{Ended, Home};

#[tokio::test]
async fn wrong_settings_are_all_named_with_their_source() {
    let home = Home::sqlite();
    std::fs::write(home.path().join("mana.toml"), "listne = \"x\"\npersona_concurrency = 0\n").expect("writes");
    let mut command = home.mana(&["doctor"]);
    command.envs([("TICK_INTERVAL_MS", "soon"), ("MANA_ENGIN", "x"), ("POLICY_MODE", "strict")]);
    let ended = Ended::of(command).await;
    assert_eq!(ended.code, 6, "{ended:?}");
    for part in [
        "file mana.toml: unknown setting `listne`, did you mean `listen`?",
        "`persona_concurrency` (file mana.toml): `0`",
        "`tick_interval_ms` (environment TICK_INTERVAL_MS): `soon`",
        "environment MANA_ENGIN: unknown setting, did you mean MANA_ENGINE?",
        "`policy_mode` (environment POLICY_MODE): `strict`",
    ] {
        assert!(ended.err.contains(part), "{part} is not in:\n{}", ended.err);
    }
}

#[tokio::test]
async fn a_taken_port_a_closed_folder_and_a_foreign_file_are_refused() {
    let home = Home::sqlite();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("has an address").to_string();
    let ended = home.run(&["up", "--listen", &address]).await;
    assert_eq!(ended.code, 7, "{ended:?}");
    assert!(ended.err.contains(&address) && ended.err.contains("--listen"), "{}", ended.err);

    std::fs::write(home.path().join("file"), "x").expect("writes");
    let ended = home.run(&["up", "--listen", "127.0.0.1:0", "--data", "file/below"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("file/below") && ended.err.contains("--data"), "{}", ended.err);

    std::fs::write(home.path().join("junk.db"), "this is no database at all, only a long enough text to look at")
        .expect("writes");
    let ended = home.run(&["personas", "list", "--database", "sqlite:junk.db"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("junk.db"), "{}", ended.err);
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    let home = Home::sqlite();
    assert_eq!(home.run(&["user", "add", "a@b.example", "--admin"]).await.code, 0);
    let db = format!("sqlite:{}", home.data().join("mana.db").display());
    mana_testkit::pretend_newer(&db).await;
    let ended = home.run(&["personas", "list"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("newer release"), "{}", ended.err);
}

#[tokio::test]
async fn production_lists_every_offender() {
    let home = Home::sqlite();
    let mut command = home.mana(&["up", "--listen", "127.0.0.1:0"]);
    command.env("MANA_ENV", "production");
    let ended = Ended::of(command).await;
    assert_eq!(ended.code, 6, "{ended:?}");
    for name in ["MANA_SERVICE_KEY", "ANTHROPIC_API_KEY", "PERSONA_SEED_SECRET"] {
        assert!(ended.err.contains(name), "{name} is not in:\n{}", ended.err);
    }
}

#[tokio::test]
async fn a_damaged_catalog_names_all_its_faults_and_seeds_nobody() {
    let home = Home::sqlite();
    let catalog = r#"
version = 1
[[persona]]
email = "persona.eva@example.org"
name = "Eva"
archetype = "ceo-busy"
tickCadence = "sometimes"
systemPrompt = "too short"
moduleMix = { toodo = 1.0, notes = -1.0 }
"#;
    std::fs::write(home.path().join("cat.toml"), catalog).expect("writes");
    let ended = home.run(&["personas", "seed", "--catalog", "cat.toml", "--dry-run"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    for part in ["mana.test", "tickCadence", "systemPrompt", "toodo", "notes", "did you mean `todo`"] {
        assert!(ended.err.contains(part), "{part} is not in:\n{}", ended.err);
    }
}

#[tokio::test]
async fn wrong_usage_and_unknown_names_have_their_own_codes() {
    let home = Home::sqlite();
    assert_eq!(home.run(&["frobnicate"]).await.code, 2);
    assert_eq!(home.run(&["actions", "--limit", "0"]).await.code, 2);
    let ended = home.run(&["personas", "list"]).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.err.contains("mana user add"), "{}", ended.err);
    assert_eq!(home.run(&["user", "add", "a@b.example", "--admin"]).await.code, 0);
    assert_eq!(home.run(&["user", "add", "A@B.example"]).await.code, 7);
    assert_eq!(home.run(&["user", "add", "nonsense"]).await.code, 2);
    assert_eq!(home.run(&["token", "nobody@b.example"]).await.code, 3);
    assert_eq!(home.run(&["personas", "show", "zed"]).await.code, 3);
}
