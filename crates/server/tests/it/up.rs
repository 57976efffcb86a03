//! The first start, the second, and the end.

use crate::support::{Home, Server};

async fn first_and_second_start(home: &Home) {
    let mut server = Server::start(home.mana(&["up", "--listen", "127.0.0.1:0"])).await;
    let summary = server.wait_for(" due, ").await;
    // On Saturday and Sunday only the six daily ones are due.
    let due = if summary.starts_with("10 due") { 10 } else { 6 };
    assert!(
        summary.starts_with(&format!("{due} due, ")) && summary.contains(", 0 failed, "),
        "{summary}\n{}",
        server.said.join("\n")
    );
    assert!(server.said.iter().any(|line| line.starts_with("password")), "{:?}", server.said);
    server.wait_for("connect").await;

    let (status, health) = server.get("/health").await;
    assert_eq!((status, &health["status"], &health["loop"]), (200, &"ok".into(), &"running".into()), "{health}");
    for member in ["service", "paused", "tickIntervalMs", "concurrency", "engine"] {
        assert!(!health[member].is_null(), "{member} is missing in {health}");
    }
    let (status, login) = server.get("/diag/login?email=persona.anna@mana.test").await;
    assert_eq!(
        (status, &login["ok"], &login["email"]),
        (200, &true.into(), &"persona.anna@mana.test".into()),
        "{login}"
    );
    assert!(login["userId"].is_string() && login["spaceId"].is_string());
    assert_eq!(server.get("/diag/login").await.1["error"], "email query required");
    let (status, wrong) = server.get("/diag/login?email=nobody@mana.test").await;
    assert_eq!((status, &wrong["ok"]), (500, &false.into()), "{wrong}");
    let (status, tick) = server.post("/diag/tick").await;
    assert_eq!((status, &tick["ok"], &tick["result"]["due"]), (200, &true.into(), &0.into()), "{tick}");
    let page = reqwest::get(format!("{}/", server.url)).await.expect("answers").text().await.expect("is text");
    assert!(page.contains("<h1>Mana</h1>") && page.contains("Population"), "{page}");
    assert_eq!(server.get("/nothing/here").await.0, 404);
    let (status, method) = server.get("/diag/tick").await;
    assert_eq!((status, &method["code"]), (405, &"METHOD_NOT_ALLOWED".into()), "{method}");
    #[cfg(unix)]
    {
        let folder = std::fs::metadata(home.data()).expect("is there");
        let mode = std::os::unix::fs::PermissionsExt::mode(&folder.permissions());
        assert_eq!(mode & 0o077, 0, "the data folder is open to others: {mode:o}");
    }
    let metrics =
        reqwest::get(format!("{}/metrics", server.url)).await.expect("answers").text().await.expect("is text");
    for name in [
        "persona_ticks_total",
        "persona_tool_calls_total",
        "mana_mcp_tool_invocations_total",
        "mana_mcp_policy_decisions_total",
    ] {
        assert!(metrics.contains(name), "{name} is missing");
    }

    // Every persona that was due has left actions and ratings, labelled as what they are.
    let actions = home.json(&["actions", "--limit", "500"]).await;
    let ratings = home.json(&["ratings", "--limit", "500"]).await;
    for rows in [&actions, &ratings] {
        let rows = rows["items"].as_array().expect("a page");
        let mut people: Vec<&str> = rows.iter().filter_map(|row| row["email"].as_str()).collect();
        people.sort_unstable();
        people.dedup();
        assert_eq!(people.len(), due, "{people:?}");
        assert!(rows.iter().all(|row| row["simulated"] == true));
    }
    assert_eq!(server.terminate().await, 0);

    let mut again = Server::start(home.mana(&["--listen", "127.0.0.1:0"])).await;
    let summary = again.wait_for(" due, ").await;
    assert!(summary.starts_with("0 due, 0 completed, 0 failed"), "{summary}");
    assert!(!again.said.iter().any(|line| line.starts_with("password")), "{:?}", again.said);
    assert_eq!(again.terminate().await, 0);
}

#[tokio::test]
async fn everything_works_on_the_embedded_default() {
    let home = Home::sqlite();
    first_and_second_start(&home).await;
    assert!(home.data().join("mana.db").exists());
}

#[tokio::test]
async fn everything_works_on_postgresql() {
    if let Some(home) = Home::postgres().await {
        first_and_second_start(&home).await;
        assert!(!home.data().join("mana.db").exists());
    }
}

#[tokio::test]
async fn the_first_pass_can_be_left_out_and_diagnostics_are_closed_in_production() {
    let home = Home::sqlite();
    let mut server = Server::start(home.mana(&["up", "--no-initial-tick", "--listen", "127.0.0.1:0"])).await;
    server.wait_for("no first pass").await;
    assert_eq!(home.json(&["actions"]).await["items"], serde_json::json!([]));
    assert_eq!(server.terminate().await, 0);
    let mut command = home.mana(&["up", "--no-initial-tick", "--listen", "127.0.0.1:0"]);
    command.envs([
        ("MANA_ENV", "production"),
        ("MANA_SERVICE_KEY", "k1,k2"),
        ("PERSONA_SEED_SECRET", "ours"),
        ("MANA_ENGINE", "rehearsal"),
    ]);
    let mut server = Server::start(command).await;
    server.wait_for("connect").await;
    for (status, body) in [server.get("/diag/login?email=x").await, server.post("/diag/tick").await] {
        assert_eq!((status, &body["error"]), (404, &"diagnostics disabled in production".into()));
    }
    assert_eq!(server.terminate().await, 0);
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_pass_gives_the_visits_back() {
    let home = Home::sqlite();
    let mut server = Server::start(home.mana(&["up", "--listen", "127.0.0.1:0"])).await;
    server.wait_for("first pass").await;
    tokio::time::sleep(std::time::Duration::from_millis(120)).await;
    assert_eq!(server.terminate().await, 0);
    let said = server.rest().await;
    assert!(!said.contains("does not answer") && !said.contains("ERROR"), "{said}");
    // Who was interrupted goes on with the same visit at once, and does not wait for a lease to run out.
    let pass = home.json(&["tick"]).await;
    assert_eq!(pass["failed"], serde_json::json!([]), "{pass}");
    for persona in home.json(&["personas", "list"]).await["personas"].as_array().expect("a list") {
        assert_eq!(persona["state"], "idle", "{persona}");
        let detail = home.json(&["personas", "show", persona["email"].as_str().expect("an e-mail")]).await;
        assert!(detail["ticks"].as_array().is_some_and(|ticks| ticks.len() <= 1), "{}", persona["email"]);
    }
}
