//! `/health`, `/diag/login`, `/diag/tick`, and the loop.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use mana_runner::{CancellationToken, EngineChoice, Error, LoopState, Runner, RunnerOptions};
use mana_types::Secret;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::{SPACE, World, persona, runner_with};

async fn ask_from(caller: &str, runner: &Runner, method: &str, path: &str) -> (StatusCode, Value) {
    let mut request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
    let caller: SocketAddr = caller.parse().expect("an address");
    request.extensions_mut().insert(ConnectInfo(caller));
    let response = mana_runner::router(runner.clone()).oneshot(request).await.expect("an answer");
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&body).expect("JSON"))
}

async fn ask(runner: &Runner, method: &str, path: &str) -> (StatusCode, Value) {
    ask_from("127.0.0.1:4711", runner, method, path).await
}

#[tokio::test]
async fn health_says_how_the_runner_is() {
    let world = World::start().await;
    let (status, body) = ask(&world.runner(), "GET", "/health").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        body,
        json!({
            "status": "ok", "service": "persona-runner", "paused": false, "tickIntervalMs": 50, "concurrency": 2,
            "engine": "rehearsal", "loop": "running",
        })
    );
    let paused = runner_with(RunnerOptions { paused: true, ..world.options() });
    assert_eq!(ask(&paused, "GET", "/health").await.1["loop"], "paused");
    let model = runner_with(RunnerOptions { engine: EngineChoice::Anthropic, ..world.options() });
    let (_, body) = ask(&model, "GET", "/health").await;
    assert_eq!((&body["loop"], &body["engine"]), (&json!("disabled"), &json!("anthropic")));
    assert!(body["reason"].as_str().is_some_and(|reason| reason.contains("ANTHROPIC_API_KEY")));
}

#[tokio::test]
async fn a_sign_in_can_be_tried() {
    let world = World::start().await;
    let runner = world.runner();
    let (status, body) = ask(&runner, "GET", "/diag/login?email=persona.anna@mana.test").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        body,
        json!({
            "ok": true, "email": "persona.anna@mana.test", "userId": "0199a3f2-7c1e-7b60-9a51-1f0c7d2e4b12", "spaceId": SPACE,
        })
    );
    for path in ["/diag/login", "/diag/login?email="] {
        let (status, body) = ask(&runner, "GET", path).await;
        assert_eq!((status, &body["error"]), (StatusCode::BAD_REQUEST, &json!("email query required")));
    }
    let (status, body) = ask(&runner, "GET", "/diag/login?email=nobody@elsewhere.test").await;
    assert_eq!((status, &body["ok"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!(false)));
    assert!(body["error"].as_str().is_some_and(|error| error.contains("INVALID_CREDENTIALS")));
    let password = mana_runner::derive_password(&world.options().seed_secret, "nobody@elsewhere.test");
    assert!(!body.to_string().contains(password.expose()));
}

#[tokio::test]
async fn a_page_from_elsewhere_and_a_proxy_are_not_this_machine() {
    let world = World::start().await;
    let runner = world.runner();
    let ask_with = async |name: &'static str, value: &'static str| {
        let mut request = Request::post("/diag/tick").header(name, value).body(Body::empty()).expect("a request");
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 4711))));
        mana_runner::router(runner.clone()).oneshot(request).await.expect("an answer").status()
    };
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://localhost.evil.example"),
        ("host", "evil.example:3001"),
        ("host", "127.0.0.1.evil.example"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=192.0.2.7"),
    ] {
        assert_eq!(ask_with(name, value).await, StatusCode::FORBIDDEN, "{name}: {value}");
    }
    for (name, value) in [
        ("origin", "http://localhost:3001"),
        ("origin", "http://[::1]:3001"),
        ("host", "127.0.0.1:3001"),
        ("host", "[::1]:3001"),
        ("host", "localhost"),
        ("host", "my-machine:3001"),
    ] {
        assert_eq!(ask_with(name, value).await, StatusCode::OK, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_pass_can_be_asked_for_and_the_next_finds_nothing() {
    let world = World::start().await;
    world.make_due([persona("anna", "tick-1")]);
    let runner = world.runner();
    let (status, body) = ask(&runner, "POST", "/diag/tick").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["ok"], true);
    let result = &body["result"];
    assert_eq!((&result["due"], &result["ranSuccessfully"], &result["failed"]), (&json!(1), &json!(1), &json!([])));
    assert!(result["durationMs"].is_u64());
    let (_, body) = ask(&runner, "POST", "/diag/tick").await;
    assert_eq!((&body["result"]["due"], &body["result"]["ranSuccessfully"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn two_passes_never_run_at_once() {
    let world = World::start().await;
    world.log().slow_tools.extend(
        ["todo_create", "todo_list", "notes_create", "notes_list"]
            .map(|tool| (tool.to_owned(), Duration::from_millis(200))),
    );
    world.make_due([persona("anna", "tick-1")]);
    let runner = world.runner();
    let first = tokio::spawn({
        let runner = runner.clone();
        async move { runner.pass().await }
    });
    world.until(|log| !log.calls.is_empty()).await;
    assert!(matches!(runner.pass().await, Err(Error::PassRunning)));
    let (status, body) = ask(&runner, "POST", "/diag/tick").await;
    assert_eq!((status, &body["code"]), (StatusCode::CONFLICT, &json!("PASS_RUNNING")));
    assert_eq!(first.await.expect("no panic").expect("a pass").ran_successfully, 1);
    assert!(runner.pass().await.is_ok());
}

#[tokio::test]
async fn who_asked_for_a_pass_may_go_away() {
    let world = World::start().await;
    world.log().slow_tools.extend(
        ["todo_create", "todo_list", "notes_create", "notes_list"]
            .map(|tool| (tool.to_owned(), Duration::from_millis(50))),
    );
    world.make_due([persona("anna", "tick-1")]);
    let runner = world.runner();
    let asked = tokio::spawn(async move { runner.pass().await });
    world.until(|log| !log.calls.is_empty()).await;
    asked.abort();
    world.until(|log| log.finishes.len() == 1).await;
    assert_eq!(world.log().finishes[0].1["outcome"], "completed");
}

#[tokio::test]
async fn a_paused_runner_does_nothing() {
    let world = World::start().await;
    world.make_due([persona("anna", "tick-1")]);
    let runner = runner_with(RunnerOptions { paused: true, ..world.options() });
    let (status, body) = ask(&runner, "POST", "/diag/tick").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&body["result"]["due"], &body["result"]["durationMs"]), (&json!(0), &json!(0)));
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { runner.run(stop, CancellationToken::new()).await }
    });
    tokio::time::sleep(Duration::from_millis(150)).await;
    stop.cancel();
    running.await.expect("no panic");
    let log = world.log();
    assert_eq!((log.due.len(), log.claim_limits.len()), (1, 0));
}

#[tokio::test]
async fn without_a_service_key_nothing_runs_and_the_answer_names_it() {
    let world = World::start().await;
    world.make_due([persona("anna", "tick-1")]);
    let runner = runner_with(RunnerOptions { service_key: Secret::default(), ..world.options() });
    assert_eq!(runner.health().r#loop, LoopState::Disabled);
    let (status, body) = ask(&runner, "POST", "/diag/tick").await;
    assert_eq!((status, &body["ok"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!(false)));
    assert!(body["error"].as_str().is_some_and(|error| error.contains("MANA_SERVICE_KEY")));
    assert_eq!(ask(&runner, "GET", "/diag/login?email=persona.anna@mana.test").await.0, StatusCode::OK);
    assert!(world.log().claim_limits.is_empty());
}

#[tokio::test]
async fn a_wrong_service_key_is_said_and_nothing_is_stuck() {
    let world = World::start().await;
    let runner = runner_with(RunnerOptions { service_key: Secret::new("another"), ..world.options() });
    let (status, body) = ask(&runner, "POST", "/diag/tick").await;
    assert_eq!((status, &body["ok"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!(false)));
    assert!(body["error"].as_str().is_some_and(|error| error.contains("401") && !error.contains("another")), "{body}");
    assert!(!matches!(runner.pass().await, Err(Error::PassRunning)));
}

#[tokio::test]
async fn diagnostics_are_for_this_machine_and_never_for_production() {
    let world = World::start().await;
    let runner = world.runner();
    for caller in ["192.0.2.7:9", "[2001:db8::1]:9"] {
        let (status, _) = ask_from(caller, &runner, "POST", "/diag/tick").await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{caller}");
    }
    for caller in ["[::1]:9", "[::ffff:127.0.0.1]:9"] {
        assert_eq!(ask_from(caller, &runner, "POST", "/diag/tick").await.0, StatusCode::OK, "{caller}");
    }
    let request = Request::post("/diag/tick").body(Body::empty()).expect("a request");
    let unknown = mana_runner::router(runner).oneshot(request).await.expect("an answer");
    assert_eq!(unknown.status(), StatusCode::FORBIDDEN, "a caller that cannot be told is not let in");

    let production = runner_with(RunnerOptions { production: true, ..world.options() });
    for (method, path) in [("POST", "/diag/tick"), ("GET", "/diag/login?email=persona.anna@mana.test")] {
        let (status, body) = ask(&production, method, path).await;
        assert_eq!((status, &body["error"]), (StatusCode::NOT_FOUND, &json!("diagnostics disabled in production")));
    }
    assert_eq!(ask(&production, "GET", "/health").await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_loop_makes_its_first_pass_at_once_unless_told_otherwise() {
    for (at_once, expected) in [(true, 1), (false, 0)] {
        let world = World::start().await;
        world.make_due([persona("anna", "tick-1")]);
        let options = RunnerOptions { tick_interval_ms: 60_000, first_pass_at_once: at_once, ..world.options() };
        let runner = runner_with(options);
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let stop = stop.clone();
            async move { runner.run(stop, CancellationToken::new()).await }
        });
        if at_once {
            world.until(|log| log.finishes.len() == 1).await;
        } else {
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        stop.cancel();
        running.await.expect("no panic");
        assert_eq!(world.log().finishes.len(), expected);
    }
}
