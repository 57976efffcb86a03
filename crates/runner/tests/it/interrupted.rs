//! Visits that are cut short, and visits that go on.

use std::time::Duration;

use mana_runner::{CancellationToken, Outcome, RunnerOptions};
use serde_json::{Value, json};

use crate::world::{World, persona, runner_with};

/// Cuts the journal of a whole visit at every place, and lets another runner go on from there.
#[tokio::test]
async fn a_visit_goes_on_from_its_journal_and_repeats_nothing() {
    let whole = World::start().await;
    whole.make_due([persona("anna", "tick-1")]);
    whole.runner().pass().await.expect("a pass");
    let (journal, calls, finish) = {
        let log = whole.log();
        (log.journal["tick-1"].clone(), log.calls.clone(), log.finishes[0].1.clone())
    };
    let plain = |actions: &Value| -> Vec<Value> {
        let rows = actions.as_array().expect("rows").iter().cloned();
        rows.map(|mut row| {
            row["latencyMs"] = json!(0);
            row
        })
        .collect()
    };
    for cut in 1..=journal.len() {
        let kept = &journal[..cut];
        let answered: Vec<&str> = kept
            .iter()
            .filter(|line| line["entry"]["kind"] == "tool_results")
            .flat_map(|line| line["entry"]["actions"].as_array().expect("rows"))
            .filter_map(|row| row["toolUseId"].as_str())
            .collect();
        let asked: usize = kept
            .iter()
            .filter(|line| line["entry"]["kind"] == "assistant")
            .flat_map(|line| line["entry"]["content"].as_array().expect("blocks"))
            .filter(|block| block["type"] == "tool_use")
            .count();

        // The same world as it was then: what had been answered has happened, under its key.
        let world = World::start().await;
        world.make_due([persona("anna", "tick-1")]);
        world.log().slow_tools.insert("nothing".into(), Duration::ZERO);
        world.runner().pass().await.expect("a pass");
        world.log().calls.clear();
        world.log().finishes.clear();
        world.log().journal.clear();
        let mut again = persona("anna", "tick-1");
        again["resumed"] = json!(true);
        again["epoch"] = json!(4);
        again["journal"] = json!(kept);
        world.make_due([again]);
        let result = world.runner().pass().await.expect("a pass");

        assert_eq!(result.visits[0].outcome, Outcome::Completed, "cut at {cut}: {result:?}");
        assert!(result.visits[0].resumed);
        let log = world.log();
        for call in &log.calls {
            let id = call.key.trim_start_matches("tick-1:");
            assert!(!answered.contains(&id), "cut at {cut}: {id} was answered and called again");
        }
        let mut first: Vec<_> = calls[answered.len()..].to_vec();
        let mut second = log.calls.clone();
        first.sort_by(|a, b| a.key.cmp(&b.key));
        second.sort_by(|a, b| a.key.cmp(&b.key));
        assert_eq!(
            second, first,
            "cut at {cut}, {asked} were asked for: the rest is made with the same keys and arguments"
        );
        assert_eq!(plain(&log.finishes[0].1["actions"]), plain(&finish["actions"]), "cut at {cut}");
        assert_eq!(log.finishes[0].1["summary"], finish["summary"]);
        assert_eq!(log.finishes[0].1["epoch"], 4);
        // New lines of the journal follow the old ones.
        let written: Vec<&Value> = log.journal.get("tick-1").into_iter().flatten().map(|line| &line["seq"]).collect();
        let rest: Vec<&Value> = journal[cut..].iter().map(|line| &line["seq"]).collect();
        assert_eq!(written, rest, "cut at {cut}");
    }
}

fn quick(world: &World) -> RunnerOptions {
    let mut options = world.options();
    options.timing.beat = Duration::from_millis(30);
    options
}

fn hang(world: &World, time: Duration) {
    let tools = ["todo_create", "todo_list", "notes_create", "notes_list"];
    world.log().slow_tools.extend(tools.map(|tool| (tool.to_owned(), time)));
}

#[tokio::test]
async fn a_lost_lease_ends_the_visit_and_nothing_more_is_written() {
    let world = World::start().await;
    hang(&world, Duration::from_secs(20));
    world.make_due([persona("anna", "tick-1")]);
    let runner = runner_with(quick(&world));
    let pass = tokio::spawn(async move { runner.pass().await });
    world.until(|log| !log.calls.is_empty() && log.beats > 1).await;
    world.log().lost.insert("tick-1".into());
    let result = pass.await.expect("no panic").expect("a pass");
    assert_eq!(result.visits[0].outcome, Outcome::Interrupted);
    assert_eq!(result.failed[0].error, "the lease was lost");
    let log = world.log();
    assert!(log.finishes.is_empty() && log.releases.is_empty());
}

#[tokio::test]
async fn a_visit_of_which_nobody_hears_stops_by_itself() {
    let world = World::start().await;
    hang(&world, Duration::from_secs(20));
    world.log().beats_fail = true;
    world.make_due([persona("anna", "tick-1")]);
    let mut options = quick(&world);
    options.timing.self_abort = Duration::from_millis(150);
    let result = runner_with(options).pass().await.expect("a pass");
    assert_eq!(result.failed[0].error, "the lease was lost");
    assert!(result.duration_ms < 5_000 && world.log().finishes.is_empty());
}

#[tokio::test]
async fn a_stale_epoch_ends_the_visit_and_is_no_finish() {
    let world = World::start().await;
    world.log().stale.insert("tick-1".into());
    world.make_due([persona("anna", "tick-1"), persona("ben", "tick-2")]);
    let result = world.runner().pass().await.expect("a pass");
    assert_eq!((result.due, result.ran_successfully), (2, 1));
    assert_eq!(result.failed[0].error, "the lease was lost");
    assert!(world.log().finishes.iter().all(|(tick, _)| tick == "tick-2"));
}

#[tokio::test]
async fn a_runner_that_stops_goes_to_the_next_journal_point_and_gives_the_visit_back() {
    let world = World::start().await;
    hang(&world, Duration::from_millis(150));
    world.make_due([persona("anna", "tick-1"), persona("ben", "tick-2"), persona("kai", "tick-3")]);
    let runner = runner_with(quick(&world));
    let (stop, at_once) = (CancellationToken::new(), CancellationToken::new());
    let running = tokio::spawn({
        let (stop, at_once) = (stop.clone(), at_once.clone());
        async move { runner.run(stop, at_once).await }
    });
    world
        .until(|log| {
            log.calls.iter().any(|call| call.tick == "tick-1") && log.calls.iter().any(|call| call.tick == "tick-2")
        })
        .await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), running).await.expect("it stops").expect("no panic");
    let log = world.log();
    let mut released = log.releases.clone();
    released.sort();
    assert_eq!(released, ["tick-1", "tick-2"]);
    assert!(log.finishes.is_empty());
    assert_eq!(log.due.len(), 1, "nothing more was claimed");
    // What was called has been answered in the journal.
    for tick in ["tick-1", "tick-2"] {
        assert_eq!(log.journal[tick].last().map(|line| &line["entry"]["kind"]), Some(&json!("tool_results")), "{tick}");
    }
}

#[tokio::test]
async fn a_visit_that_reaches_no_journal_point_is_given_back_after_the_time_of_grace() {
    let world = World::start().await;
    hang(&world, Duration::from_secs(20));
    world.make_due([persona("anna", "tick-1")]);
    let mut options = quick(&world);
    options.timing.grace = Duration::from_millis(100);
    let runner = runner_with(options);
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { runner.run(stop, CancellationToken::new()).await }
    });
    world.until(|log| !log.calls.is_empty()).await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), running).await.expect("it stops").expect("no panic");
    assert_eq!(world.log().releases, ["tick-1"]);
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let world = World::start().await;
    hang(&world, Duration::from_secs(20));
    world.make_due([persona("anna", "tick-1")]);
    let runner = runner_with(quick(&world));
    let (stop, at_once) = (CancellationToken::new(), CancellationToken::new());
    let running = tokio::spawn({
        let (stop, at_once) = (stop.clone(), at_once.clone());
        async move { runner.run(stop, at_once).await }
    });
    world.until(|log| !log.calls.is_empty()).await;
    stop.cancel();
    at_once.cancel();
    tokio::time::timeout(Duration::from_secs(2), running).await.expect("it stops").expect("no panic");
    let log = world.log();
    assert!(log.releases.is_empty() && log.finishes.is_empty());
}

#[tokio::test]
async fn a_persona_that_is_due_again_in_the_same_pass_is_given_back() {
    let world = World::start().await;
    world.make_due([
        persona("anna", "tick-1"),
        persona("ben", "tick-2"),
        persona("anna", "tick-3"),
        persona("kai", "tick-4"),
    ]);
    let result = world.runner().pass().await.expect("a pass");
    assert_eq!(result.ran_successfully, result.due);
    assert_eq!(world.log().releases, ["tick-3"]);
}
