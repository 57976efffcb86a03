//! What must never be said, what is not asked without a key, and how much of a prompt stays the same.

use std::fs;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use mana_runner::{CancellationToken, EngineChoice, LoopState, Outcome, Runner, derive_password};
use mana_testkit::model::{Script, Turn, cache};
use mana_types::Secret;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::logged::Logged;
use crate::model_world::{Day, KEY, create, day, done, somebody};
use crate::world::{Log, SERVICE_KEY};

/// Everything that must stay where it is.
fn secrets(day: &Day) -> Vec<String> {
    let seed = &day.options.seed_secret;
    let password = derive_password(seed, "persona.anna@mana.test").expose().to_owned();
    let ours = [KEY, SERVICE_KEY, seed.expose(), "access-1-persona.anna@mana.test", "refresh-persona.anna@mana.test"];
    let planted = ["canary-in-a-header", "sk-canary-in-a-body", "sk-canary-of-the-provider", "canary-of-a-bearer"];
    ours.into_iter().chain(planted).map(str::to_owned).chain([password]).collect()
}

fn holds_none(text: &str, secrets: &[String], place: &str) {
    for secret in secrets {
        let line = text.lines().find(|line| line.contains(secret.as_str()));
        assert_eq!(line, None, "`{secret}` stands in {place}");
    }
}

fn written(log: &Log) -> Vec<(String, String)> {
    let lines = log.journal.values().flatten().map(|line| ("a journal line".to_owned(), line.to_string()));
    lines.chain(log.finishes.iter().map(|(_, finish)| ("a finish".to_owned(), finish.to_string()))).collect()
}

#[tokio::test]
async fn no_secret_is_written_down_anywhere() {
    let logged = Logged::default();
    let _listening = logged.listen();
    let folder = tempfile::tempdir().expect("a folder");
    let says_secrets = json!({
        "type": "error",
        "error": { "type": "overloaded_error", "message": format!("busy, {KEY} sk-canary-of-the-provider, Authorization: Bearer canary-of-a-bearer") },
    });
    let reads = Turn::new().tool_use("b", "todo_list", json!({})).tool_use("c", "notes_list", json!({}));
    let script = day([create("a"), reads, Turn::new().tool_use("e", "files_echo", json!({})), done()])
        .first(vec![Turn::status_json(529, &says_secrets)])
        .but({
            let says_secrets = says_secrets.clone();
            move |ask| ask.wanted_schema().map(|_| Turn::status_json(400, &says_secrets))
        });
    let mut day = Day::of(script).await;
    day.options.record = Some(folder.path().to_owned());
    {
        // A server that says back what it was sent, and one that fails with secrets in its answer.
        let mut log = day.world.log();
        let tool = |name: &str, read_only: bool| {
            json!({ "name": name, "description": "A tool.",
            "inputSchema": { "type": "object" }, "annotations": { "readOnlyHint": read_only } })
        };
        let offered = vec![
            tool("todo_create", false),
            tool("todo_list", true),
            tool("notes_list", true),
            tool("files_echo", true),
        ];
        log.offered = Some((offered, 10));
        let echo = json!({ "content": [{ "type": "text", "text": "you sent access-1-persona.anna@mana.test" }] });
        log.results.insert("files_echo".into(), echo);
        log.broken_calls.insert(2, (StatusCode::INTERNAL_SERVER_ERROR, false));
    }

    let lived = day.live().await;

    assert_eq!(lived.outcome(), Outcome::Completed, "{lived:?}");
    assert_eq!(lived.unreadable().matches("***").count(), 3, "{}", lived.unreadable());
    let secrets = secrets(&day);
    for (place, text) in written(&day.world.log()) {
        holds_none(&text, &secrets, &place);
    }
    holds_none(&logged.text(), &secrets, "the log");
    assert!(logged.text().contains("tick-1"), "something was logged at all");
    let mut recorded = 0;
    for file in fs::read_dir(folder.path()).expect("a folder").flatten() {
        let text = fs::read_to_string(file.path()).expect("text");
        recorded += text.len();
        holds_none(&text, &secrets, "a recording");
    }
    assert!(recorded > 1_000, "the visit was recorded");
    holds_none(&format!("{:?} {lived:?}", day.runner()), &secrets, "what a panic could print");
    // The model is shown its key in one header, and nothing of ours in its prompt.
    for request in day.requests() {
        assert_eq!(request.headers["x-api-key"], KEY);
        holds_none(&String::from_utf8_lossy(&request.bytes), &secrets, "a prompt");
    }
}

#[tokio::test]
async fn a_refusal_of_every_service_says_no_secret_either() {
    let logged = Logged::default();
    let _listening = logged.listen();
    let says_secrets = "sk-canary-of-the-provider Bearer canary-of-a-bearer";
    let day = Day::of(Script::new(move |_| Turn::status_body(401, "text/plain", says_secrets))).await;
    day.world.make_due([somebody("anna", "tick-1")]);
    let runner = day.runner();
    let result = runner.pass().await.expect("a pass");
    assert_eq!(result.visits[0].outcome, Outcome::ProviderDown);
    let secrets = secrets(&day);
    let health = serde_json::to_string(&runner.health()).expect("JSON");
    assert!(health.contains("left alone until"), "{health}");
    for text in [health, logged.text(), format!("{result:?}"), day.world.log().finishes[0].1.to_string()] {
        holds_none(&text, &secrets, "what is said about a refusal");
    }
}

async fn ask(runner: &Runner, method: &str, path: &str) -> (StatusCode, Value) {
    let mut request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
    request.extensions_mut().insert(ConnectInfo(std::net::SocketAddr::from(([127, 0, 0, 1], 4711))));
    let response = mana_runner::router(runner.clone()).oneshot(request).await.expect("an answer");
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&body).expect("JSON"))
}

#[tokio::test]
async fn without_a_key_the_loop_is_off_the_sentence_says_why_and_the_rest_works() {
    let logged = Logged::default();
    let _listening = logged.listen();
    let mut day = Day::of(Script::visits()).await;
    day.options.model.key = Secret::default();
    day.world.make_due([somebody("anna", "tick-1")]);
    let runner = day.runner();
    let sentence = "`ANTHROPIC_API_KEY` is not set, and the engine `anthropic` needs it: set it, or `MANA_ENGINE=rehearsal` for simulated visits";

    assert_eq!(runner.health().r#loop, LoopState::Disabled);
    let (status, health) = ask(&runner, "GET", "/health").await;
    assert_eq!((status, &health["loop"], &health["reason"]), (StatusCode::OK, &json!("disabled"), &json!(sentence)));
    let (status, body) = ask(&runner, "POST", "/diag/tick").await;
    assert_eq!((status, &body["ok"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!(false)));
    assert!(body["error"].as_str().is_some_and(|said| said.contains(sentence)), "{body}");
    let (status, body) = ask(&runner, "GET", "/diag/login?email=persona.anna@mana.test").await;
    assert_eq!((status, &body["ok"]), (StatusCode::OK, &json!(true)));

    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (runner, stop) = (runner.clone(), stop.clone());
        async move { runner.run(stop, CancellationToken::new()).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(120)).await;
    stop.cancel();
    running.await.expect("no panic");
    assert_eq!(logged.text().matches(sentence).count(), 1, "one warning names it:\n{}", logged.text());
    let log = day.world.log();
    assert_eq!((day.model.served(), log.claim_limits.len(), log.due.len()), (0, 0, 1));

    // Where any engine will do, there is one that needs no key.
    drop(log);
    day.options.engine = EngineChoice::Auto;
    assert_eq!(day.runner().health().engine, "rehearsal");
}

#[tokio::test]
async fn most_of_every_prompt_lies_before_the_last_mark_that_did_not_change() {
    let tools: Vec<Value> = (0..145)
        .map(|i| {
            json!({
                "name": format!("area{:02}_{}", i / 6, ["list", "create", "update", "get", "search", "remove"][i % 6]),
                "description": "What it does, in a sentence or two, as such descriptions go.",
                "inputSchema": { "type": "object", "properties": {
                    "title": { "type": "string", "maxLength": 200, "description": "What it is called." },
                    "limit": { "type": "integer", "minimum": 1, "maximum": 100 },
                } },
                "annotations": { "readOnlyHint": i % 6 == 0 || i % 6 == 3 || i % 6 == 4 },
            })
        })
        .collect();
    let used: Vec<String> =
        tools.iter().step_by(12).filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect();
    let turns = used.iter().enumerate().map(|(i, name)| Turn::new().tool_use(&format!("call_{i}"), name, json!({})));
    let day = Day::of(day(turns.chain([done()]).collect::<Vec<_>>())).await;
    {
        let mut log = day.world.log();
        let answer =
            json!({ "content": [{ "type": "text", "text": "ein Ergebnis, das etwas länger ist. ".repeat(40) }] });
        log.results.extend(used.iter().map(|name| (name.clone(), answer.clone())));
        log.offered = Some((tools, 100));
    }
    let lived = day.live().await;
    assert_eq!((lived.outcome(), lived.rows().len()), (Outcome::Completed, used.len()));
    let conversations = day.model.conversations();
    assert_eq!(conversations.len(), 1);
    let shares = cache::prefix_share(&conversations[0]);
    assert_eq!(shares.len(), used.len() + 2, "further replies, the diary, the ratings");
    for (turn, share) in shares.iter().enumerate() {
        assert!(share.share() >= 0.7, "turn {}: {:.2} of {} bytes", turn + 2, share.share(), share.prompt);
    }
}
