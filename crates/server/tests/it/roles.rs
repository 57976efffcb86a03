//! The same code as several processes.

use std::time::Duration;

use crate::support::{Home, Server};

#[tokio::test]
async fn three_processes_make_one_installation() {
    let home = Home::sqlite();
    home.run(&["user", "add", "boss@b.example", "--admin"]).await;
    assert_eq!(home.run(&["personas", "seed"]).await.code, 0);
    let key = ("MANA_SERVICE_KEY", "between-us");
    let with = |roles: &str, more: &[(&str, String)]| {
        let mut command = home.mana(&["serve", "--roles", roles, "--listen", "127.0.0.1:0"]);
        command.env(key.0, key.1).envs(more.iter().map(|(name, value)| (*name, value)));
        command
    };
    let mut identity = Server::start(with("identity", &[])).await;
    let auth = ("MANA_AUTH_URL", identity.url.clone());
    let mut gateway = Server::start(with("gateway", std::slice::from_ref(&auth))).await;
    let mcp = ("MANA_MCP_URL", format!("{}/mcp", gateway.url));
    let mut runner = Server::start(with("runner", &[auth, mcp, ("TICK_INTERVAL_MS", "1000".into())])).await;
    assert_eq!(runner.get("/health").await.1["loop"], "running");
    assert_eq!(gateway.get("/diag/login?email=x").await.0, 404, "the gateway has no runner");
    let mut people = 0;
    for _ in 0..100 {
        let actions = home.json(&["actions", "--limit", "500"]).await;
        let mut seen: Vec<String> =
            actions["items"].as_array().into_iter().flatten().map(|row| row["email"].to_string()).collect();
        seen.sort_unstable();
        seen.dedup();
        people = seen.len();
        if people >= 6 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(people >= 6, "only {people} personas have acted");
    for server in [&mut runner, &mut gateway, &mut identity] {
        assert_eq!(server.terminate().await, 0);
    }
}

#[tokio::test]
async fn a_runner_without_a_key_says_so_and_stays_up() {
    let home = Home::sqlite();
    let mut command = home.mana(&["serve", "--roles", "runner", "--listen", "127.0.0.1:0"]);
    command.env("MANA_ENGINE", "anthropic");
    let mut runner = Server::start(command).await;
    let (status, health) = runner.get("/health").await;
    assert_eq!((status, &health["loop"]), (200, &"disabled".into()), "{health}");
    let (status, tick) = runner.post("/diag/tick").await;
    assert_eq!(status, 500, "{tick}");
    assert!(tick["error"].as_str().is_some_and(|error| error.contains("ANTHROPIC_API_KEY")), "{tick}");
    assert_eq!(runner.terminate().await, 0);
}
