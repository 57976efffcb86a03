//! Whole visits, and visits that cannot be made.

use std::time::Duration;

use mana_runner::{Event, Outcome, RunnerOptions};
use serde_json::{Value, json};

use crate::world::{Log, Mcp, SPACE, World, persona, runner_with};

fn the_finish(log: &Log) -> &Value {
    assert_eq!(log.finishes.len(), 1, "{:?}", log.finishes);
    &log.finishes[0].1
}

#[tokio::test]
async fn a_visit_leaves_calls_rows_and_ratings() {
    let world = World::start().await;
    world.make_due([persona("anna", "tick-1")]);
    let runner = world.runner();
    let mut events = runner.events();

    let result = runner.pass().await.expect("a pass");

    assert_eq!((result.due, result.ran_successfully, result.failed.len()), (1, 1, 0), "{result:?}");
    let log = world.log();
    let finish = the_finish(&log);
    assert_eq!(finish["outcome"], "completed");
    assert_eq!((&finish["engine"], &finish["simulated"]), (&json!("rehearsal"), &json!(true)));
    assert!(finish["summary"].as_str().is_some_and(|said| said.len() > 10), "{finish}");
    assert_eq!(finish["hashes"]["prompt"].as_str().map(str::len), Some(16));
    assert_eq!(finish["hashes"]["tools"].as_str().map(str::len), Some(16));

    // One row for each call, with the right hash, in the order of the calls.
    let actions = finish["actions"].as_array().expect("rows");
    assert!((3..=9).contains(&actions.len()), "{actions:?}");
    assert_eq!(actions.len(), log.calls.len());
    for (i, row) in actions.iter().enumerate() {
        assert_eq!(row["index"], i);
        assert_eq!(row["result"], "ok", "{row}");
        let id = row["toolUseId"].as_str().expect("an id");
        let call = log.calls.iter().find(|call| call.key == format!("tick-1:{id}")).expect("a call with this key");
        assert_eq!(row["toolName"], *call.tool);
        assert_eq!(row["inputHash"], mana_types::input_hash(&call.arguments));
        assert_eq!((call.tick.as_str(), call.space.as_str()), ("tick-1", SPACE));
        assert!(row["latencyMs"].is_u64() && call.token.ends_with("persona.anna@mana.test"));
        assert_ne!(call.tool, "todo_purge", "destructive tools are never called");
        for never in ["idempotencyKey", "dryRun", "cursor", "expectedRev"] {
            assert!(call.arguments.get(never).is_none());
        }
    }

    // Every used module is rated once, by rows of its own.
    let feedback = finish["feedback"].as_array().expect("ratings");
    let mut used: Vec<&str> = actions.iter().filter_map(|row| row["module"].as_str()).collect();
    used.dedup();
    assert_eq!(feedback.iter().filter_map(|row| row["module"].as_str()).collect::<Vec<_>>(), used);
    for row in feedback {
        assert_eq!((&row["rating"], &row["simulated"]), (&json!(5), &json!(true)));
        assert!(row["notes"].as_str().is_some_and(|notes| !notes.contains('{')));
        for index in row["evidence"].as_array().expect("evidence") {
            let index = usize::try_from(index.as_u64().expect("an index")).expect("small");
            assert_eq!(actions[index]["module"], row["module"]);
        }
    }

    // The journal has everything, each reply before its answers.
    let kinds: Vec<&str> = log.journal["tick-1"].iter().filter_map(|line| line["entry"]["kind"].as_str()).collect();
    assert_eq!(kinds.first(), Some(&"start"));
    assert_eq!(kinds.last(), Some(&"assistant"));
    assert!(
        kinds[1..]
            .chunks(2)
            .all(|pair| pair[0] == "assistant" && pair.get(1).is_none_or(|next| *next == "tool_results"))
    );
    drop(log);

    let mut shown = Vec::new();
    while let Ok(event) = events.try_recv() {
        shown.push(event);
    }
    assert!(
        matches!(shown.first(), Some(Event::PassStarted)) && matches!(shown.last(), Some(Event::PassFinished { .. }))
    );
    assert_eq!(
        shown.iter().filter(|event| matches!(event, Event::ToolCall { ok: true, .. })).count(),
        result.visits[0].calls
    );
}

#[tokio::test]
async fn a_pool_of_places_is_kept_full_and_everybody_comes() {
    let world = World::start().await;
    world.make_due((0..7).map(|i| persona(&format!("p{i}"), &format!("tick-{i}"))));
    let result = runner_with(RunnerOptions { concurrency: 3, ..world.options() }).pass().await.expect("a pass");
    assert_eq!((result.due, result.ran_successfully), (7, 7));
    let log = world.log();
    assert_eq!(log.most_running, 3);
    assert_eq!(log.claim_limits[0], 3);
    assert!(log.claim_limits[1..].iter().all(|limit| *limit <= 3), "{:?}", log.claim_limits);
    // Tokens and spaces are never mixed.
    for call in &log.calls {
        let number = call.tick.trim_start_matches("tick-");
        assert_eq!(call.token, format!("access-1-persona.p{number}@mana.test"));
    }
}

#[tokio::test]
async fn one_failing_persona_does_not_touch_another() {
    let world = World::start().await;
    let mut stranger = persona("eve", "tick-1");
    stranger["persona"]["email"] = json!("eve@elsewhere.test");
    world.make_due([stranger, persona("ben", "tick-2")]);
    let result = world.runner().pass().await.expect("a pass");
    assert_eq!((result.due, result.ran_successfully), (2, 1));
    assert_eq!(result.failed.len(), 1);
    assert_eq!(result.failed[0].persona, "eve@elsewhere.test");
    assert!(
        result.failed[0].error.contains("signing in failed") && result.failed[0].error.contains("INVALID_CREDENTIALS")
    );
    assert_eq!(world.log().finishes.len(), 2);
}

async fn ends_unrated(world: &World, options: RunnerOptions, outcome: &str) -> Value {
    world.make_due([persona("anna", "tick-1")]);
    let result = runner_with(options).pass().await.expect("a pass");
    assert_eq!((result.due, result.ran_successfully, result.failed.len()), (1, 0, 1), "{result:?}");
    let log = world.log();
    let finish = the_finish(&log).clone();
    assert_eq!(finish["outcome"], outcome, "{finish}");
    assert_eq!((&finish["actions"], &finish["feedback"]), (&json!([]), &json!([])));
    assert!(finish["summary"].as_str().is_some_and(|reason| !reason.is_empty()));
    assert!(log.calls.is_empty() && log.releases.is_empty());
    finish
}

#[tokio::test]
async fn an_mcp_server_that_is_down_ends_the_visit_unrated() {
    let world = World::start().await;
    let options = RunnerOptions { mcp_url: "http://127.0.0.1:1/mcp".into(), ..world.options() };
    ends_unrated(&world, options, "mcp_unavailable").await;
}

#[tokio::test]
async fn an_address_without_mcp_ends_the_visit_unrated() {
    let world = World::start().await;
    world.log().mcp = Mcp::Missing;
    ends_unrated(&world, world.options(), "mcp_unavailable").await;
}

#[tokio::test]
async fn a_token_that_is_not_taken_ends_the_visit_unrated() {
    let world = World::start().await;
    world.log().mcp = Mcp::TakesNoToken;
    ends_unrated(&world, world.options(), "mcp_unauthorized").await;
}

#[tokio::test]
async fn a_server_without_tools_ends_the_visit_unrated() {
    let world = World::start().await;
    world.log().mcp = Mcp::HasNoTools;
    let finish = ends_unrated(&world, world.options(), "mcp_unavailable").await;
    assert!(finish["summary"].as_str().is_some_and(|reason| reason.contains("no tools")));
}

#[tokio::test]
async fn a_sign_in_that_fails_ends_the_visit_with_the_reason() {
    let world = World::start().await;
    world.log().login_fails = true;
    let finish = ends_unrated(&world, world.options(), "failed").await;
    assert!(finish["summary"].as_str().is_some_and(|reason| reason.contains("INVALID_CREDENTIALS")));
}

#[tokio::test]
async fn errors_and_latencies_stand_at_the_call_that_had_them() {
    let world = World::start().await;
    for tool in ["todo_list", "notes_list"] {
        world.log().failing_tools.insert(tool.into());
    }
    world.log().slow_tools.insert("todo_create".into(), Duration::from_millis(60));
    world.make_due((0..12).map(|i| persona(&format!("p{i}"), &format!("tick-{i}"))));
    let options = RunnerOptions { concurrency: 12, ..world.options() };
    let result = runner_with(options).pass().await.expect("a pass");
    assert_eq!(result.ran_successfully, 12, "{result:?}");
    let log = world.log();
    let (mut failed, mut slow) = (0, 0);
    for (tick, finish) in &log.finishes {
        let actions = finish["actions"].as_array().expect("rows");
        for row in actions {
            let id = row["toolUseId"].as_str().expect("an id");
            let call = log.calls.iter().find(|call| call.key == format!("{tick}:{id}")).expect("a call with this key");
            assert_eq!(row["toolName"], *call.tool);
            let is_broken = call.tool.ends_with("_list");
            assert_eq!(row["result"], if is_broken { "error" } else { "ok" }, "{row}");
            if is_broken {
                failed += 1;
                assert_eq!(row["code"], "BROKEN");
                assert_eq!(row["errorMessage"], format!("{} is broken", call.tool));
            }
            let took = row["latencyMs"].as_u64().expect("a latency");
            if call.tool == "todo_create" {
                slow += 1;
                assert!(took >= 60, "{row}");
            }
        }
        for rated in finish["feedback"].as_array().expect("ratings") {
            let of = |row: &&Value| row["module"] == rated["module"];
            let errors = actions.iter().filter(of).filter(|row| row["result"] == "error").count();
            assert_eq!(rated["rating"] == 5, errors == 0, "{rated}");
        }
    }
    assert!(failed > 3 && slow > 3, "{failed} {slow}");
}

#[tokio::test]
async fn a_persona_gives_up_after_more_errors_than_it_tolerates() {
    let world = World::start().await;
    for tool in ["todo_create", "todo_list", "notes_create", "notes_list"] {
        world.log().failing_tools.insert(tool.into());
    }
    let mut anna = persona("anna", "tick-1");
    anna["persona"]["behaviour"]["toleratedErrors"] = json!(1);
    world.make_due([anna]);
    let result = world.runner().pass().await.expect("a pass");
    assert_eq!(result.visits[0].outcome, Outcome::GaveUp);
    let log = world.log();
    let finish = the_finish(&log);
    assert!((2..=3).contains(&finish["actions"].as_array().expect("rows").len()), "{finish}");
    assert!(finish["feedback"].as_array().expect("ratings").iter().all(|row| row["rating"] == 1));
}

#[tokio::test]
async fn a_token_that_dies_in_the_middle_is_refreshed_once() {
    let world = World::start().await;
    world.log().token_dies_after = Some(1);
    world.make_due([persona("anna", "tick-1")]);
    let result = world.runner().pass().await.expect("a pass");
    assert_eq!(result.visits[0].outcome, Outcome::Completed, "{result:?}");
    let log = world.log();
    assert_eq!(log.refreshes, 1);
    assert!(
        log.calls[0].token.starts_with("access-1-")
            && log.calls.last().is_some_and(|call| call.token.starts_with("access-2-"))
    );
    let actions = the_finish(&log)["actions"].as_array().expect("rows");
    assert!(actions.iter().all(|row| row["result"] == "ok"), "{actions:?}");
}

#[tokio::test]
async fn a_token_that_cannot_be_refreshed_ends_the_visit_with_a_row_for_every_call() {
    let world = World::start().await;
    world.log().token_dies_after = Some(2);
    world.log().refresh_fails = true;
    world.make_due([persona("anna", "tick-1")]);
    let result = world.runner().pass().await.expect("a pass");
    assert_eq!(result.visits[0].outcome, Outcome::McpUnauthorized);
    let log = world.log();
    let finish = the_finish(&log);
    assert_eq!(finish["feedback"], json!([]));
    let asked: usize = log.journal["tick-1"]
        .iter()
        .filter(|line| line["entry"]["kind"] == "assistant")
        .map(|line| line["entry"]["content"].as_array().expect("blocks").len())
        .sum();
    let actions = finish["actions"].as_array().expect("rows");
    assert_eq!(actions.len(), asked);
    assert!(actions.iter().any(|row| row["code"] == "unauthorized"));
}

#[tokio::test]
async fn a_tool_that_hangs_is_given_up_and_the_visit_goes_on() {
    let world = World::start().await;
    world.log().slow_tools.insert("todo_create".into(), Duration::from_secs(20));
    let mut options = world.options();
    options.timing.tool_call = Duration::from_millis(80);
    world.make_due((0..4).map(|i| persona(&format!("p{i}"), &format!("tick-{i}"))));
    let result = runner_with(RunnerOptions { concurrency: 4, ..options }).pass().await.expect("a pass");
    assert_eq!(result.due, 4);
    assert!(
        result.visits.iter().all(|visit| matches!(visit.outcome, Outcome::Completed | Outcome::GaveUp)),
        "{result:?}"
    );
    let log = world.log();
    let rows = log.finishes.iter().flat_map(|(_, finish)| finish["actions"].as_array().expect("rows"));
    let hung: Vec<&Value> = rows.filter(|row| row["toolName"] == "todo_create").collect();
    assert!(
        !hung.is_empty() && hung.iter().all(|row| row["code"] == "timeout" && row["latencyMs"].as_u64() >= Some(80))
    );
}

#[tokio::test]
async fn a_visit_has_an_end_even_if_nothing_else_ends_it() {
    let world = World::start().await;
    for tool in ["todo_create", "todo_list", "notes_create", "notes_list"] {
        world.log().slow_tools.insert(tool.into(), Duration::from_secs(20));
    }
    let mut options = world.options();
    options.timing.visit_cap = Duration::from_millis(200);
    world.make_due([persona("anna", "tick-1")]);
    let result = runner_with(options).pass().await.expect("a pass");
    assert_eq!(result.visits[0].outcome, Outcome::Timeout);
    let log = world.log();
    let finish = the_finish(&log);
    assert_eq!(finish["feedback"], json!([]));
    assert!(
        finish["actions"]
            .as_array()
            .is_some_and(|rows| rows.iter().all(|row| row["code"] == "not_executed") && !rows.is_empty())
    );
}

#[tokio::test]
async fn a_persona_skips_a_day_now_and_then_but_never_its_first() {
    let world = World::start().await;
    world.make_due((0..40).map(|i| {
        let mut persona = persona(&format!("p{i}"), &format!("tick-{i}"));
        persona["persona"]["behaviour"]["skipRate"] = json!(0.5);
        if i % 2 == 1 {
            persona["persona"]["lastActiveAt"] = json!("2026-11-19T08:00:00Z");
        }
        persona
    }));
    let options = RunnerOptions { concurrency: 8, ..world.options() };
    let result = runner_with(options).pass().await.expect("a pass");
    assert_eq!(result.ran_successfully, 40);
    let skipped: Vec<&str> = result
        .visits
        .iter()
        .filter(|visit| visit.outcome == Outcome::Skipped)
        .map(|visit| visit.tick.as_str())
        .collect();
    assert!((3..=17).contains(&skipped.len()), "{skipped:?}");
    assert!(skipped.iter().all(|tick| tick.ends_with(['1', '3', '5', '7', '9'])), "{skipped:?}");
}

#[tokio::test]
async fn over_thirty_visits_a_persona_touches_most_tools_and_most_calls_succeed() {
    let world = World::start().await;
    world.make_due((0..30).map(|i| persona(&format!("p{i}"), &format!("tick-{i}"))));
    let options = RunnerOptions { concurrency: 8, ..world.options() };
    let result = runner_with(options).pass().await.expect("a pass");
    assert_eq!(result.ran_successfully, 30);
    let calls: usize = result.visits.iter().map(|visit| visit.calls).sum();
    let errors: usize = result.visits.iter().map(|visit| visit.errors).sum();
    assert!(calls >= 90 && errors * 10 <= calls, "{errors} of {calls} calls failed");
    let log = world.log();
    let mut touched: Vec<&str> = log.calls.iter().map(|call| call.tool.as_str()).collect();
    touched.sort_unstable();
    touched.dedup();
    // Seven of the eight tools may be called: one destroys.
    assert!(touched.len() >= 6 && !touched.contains(&"todo_purge"), "{touched:?}");
}

#[tokio::test]
async fn a_server_of_the_protocol_before_is_visited_as_well() {
    let world = World::start().await;
    world.log().mcp = Mcp::Legacy;
    world.make_due([persona("anna", "tick-1")]);
    let result = world.runner().pass().await.expect("a pass");
    assert_eq!(result.visits[0].outcome, Outcome::Completed, "{result:?}");
    let log = world.log();
    assert!(
        log.calls.len() >= 3
            && log.calls.iter().all(|call| call.key.starts_with("tick-1:call_") && call.space == SPACE)
    );
}
