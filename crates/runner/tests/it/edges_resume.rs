//! Edge cases of time, signals and crashes: rows 31 to 34 of the table.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use mana_runner::{EngineChoice, Outcome};
use mana_testkit::model::{Script, Turn};
use serde_json::{Value, json};

use crate::model_world::{Day, create, day, done, somebody};

/// The same visit, claimed again after whoever had it died.
fn again(day: &Day, epoch: i64) -> Value {
    let mut claim = somebody("anna", "tick-1");
    claim["resumed"] = json!(true);
    claim["epoch"] = json!(epoch);
    claim["journal"] = json!(day.world.log().journal.get("tick-1").cloned().unwrap_or_default());
    claim
}

fn kinds(day: &Day) -> Vec<String> {
    let log = day.world.log();
    log.journal["tick-1"].iter().filter_map(|line| line["entry"]["kind"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn row_31_a_signal_gives_the_visit_back_within_about_two_seconds() {
    // At once, because each of them waits for its last moment.
    tokio::join!(a_signal_during_a_stream(), a_signal_during_a_call(), a_signal_at_the_door());
}

async fn a_signal_during_a_stream() {
    let slow = Turn::say(&"langsam ".repeat(200)).delta(1).pause(Duration::from_millis(100));
    let day = Day::of(day([create("a"), done()]).but(move |ask| (ask.number == 1).then(|| slow.clone()))).await;
    day.world.make_due([somebody("anna", "tick-1")]);
    let running = day.run();
    while day.model.served() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let began = Instant::now();
    running.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), running.task).await.expect("it stops").expect("no panic");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    {
        let log = day.world.log();
        assert_eq!((log.releases.len(), log.finishes.len()), (1, 0));
        assert_eq!(log.ledger.open(), 1, "the call that was broken off stays booked");
    }
    assert_eq!(kinds(&day), ["start", "assistant", "tool_results"]);

    let lived = day.live_as(again(&day, 4)).await;
    assert_eq!((lived.outcome(), lived.codes()), (Outcome::Completed, vec![("a", "ok")]));
    assert_eq!(day.world.log().calls.len(), 1);
}

async fn a_signal_during_a_call() {
    let day = Day::of(day([create("a"), done()])).await;
    day.world.log().slow_tools.insert("todo_create".into(), Duration::from_secs(20));
    day.world.make_due([somebody("anna", "tick-1")]);
    let running = day.run();
    day.world.until(|log| !log.calls.is_empty()).await;
    let began = Instant::now();
    running.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), running.task).await.expect("it stops").expect("no panic");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(kinds(&day), ["start", "assistant"], "the reply is there, and its call is known to be open");
    {
        let mut log = day.world.log();
        assert_eq!((log.releases.len(), log.finishes.len(), log.ledger.open()), (1, 0, 0));
        log.slow_tools.clear();
    }
    let lived = day.live_as(again(&day, 4)).await;
    assert_eq!((lived.outcome(), lived.codes()), (Outcome::Completed, vec![("a", "ok")]));
    let log = day.world.log();
    assert!(log.calls.iter().all(|call| call.key == "tick-1:a"));
    assert_eq!(log.records.len(), 1, "both have one key, and it happened once");
}

async fn a_signal_at_the_door() {
    let mut day = Day::of(day([done()])).await;
    // A server that takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    day.options.mcp_url = format!("http://{}/mcp", silent.local_addr().expect("an address"));
    day.world.make_due([somebody("anna", "tick-1")]);
    let running = day.run();
    let (_connection, _) = silent.accept().await.expect("a visitor");
    let began = Instant::now();
    running.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), running.task).await.expect("it stops").expect("no panic");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!((day.world.log().releases.len(), day.model.served()), (1, 0));
}

#[tokio::test]
async fn row_31_what_ends_within_the_last_moment_is_journaled() {
    let day = Day::of(day([create("a"), done()])).await;
    day.world.log().slow_tools.insert("todo_create".into(), Duration::from_millis(300));
    day.world.make_due([somebody("anna", "tick-1")]);
    let running = day.run();
    day.world.until(|log| !log.calls.is_empty()).await;
    running.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), running.task).await.expect("it stops").expect("no panic");
    assert_eq!(kinds(&day), ["start", "assistant", "tool_results"]);
    assert_eq!(day.world.log().releases.len(), 1);
    assert_eq!(day.requests().len(), 1, "no further reply is asked for");
}

/// A visit with calls that chain, run together, fail and are cut.
fn eventful() -> Script {
    day([
        create("a"),
        Turn::new().tool_use("b", "todo_list", json!({})).tool_use("c", "notes_list", json!({})),
        Turn::new().tool_use("d", "todo_creat", json!({})).raw_input("e", "todo_create", "{"),
        Turn::new().tool_use("f", "notes_create", json!({ "title": "Liste", "content": "Brot" })).tool_use(
            "g",
            "todo_create",
            json!({ "title": "Brot" }),
        ),
        done(),
    ])
    .but(|ask| {
        let cut = Turn::new().tool_use("x", "todo_list", json!({})).stop("max_tokens");
        // Told from the room that it has, so that it is the same after a crash.
        (ask.turns() == 1 && ask.max_tokens() < 8_000 && ask.wanted_schema().is_none()).then_some(cut)
    })
}

/// What a visit leaves, without what may differ from time to time.
fn left(finish: &Value) -> Value {
    let mut left = json!({});
    for name in ["outcome", "summary", "diary", "feedback", "goal", "hashes", "model", "engine"] {
        left[name] = finish[name].clone();
    }
    left["actions"] = finish["actions"].clone();
    for row in left["actions"].as_array_mut().expect("rows") {
        row["latencyMs"] = json!(0);
    }
    left
}

/// Nothing happened twice, and nothing is missing.
fn is_whole(day: &Day, finish: &Value, expected: &Value, at: &str) {
    let log = day.world.log();
    assert_eq!(left(finish), *expected, "{at}");
    assert_eq!(log.records.len(), 3, "{at}: no effect twice");
    let keys: HashSet<&str> = log.calls.iter().map(|call| call.key.as_str()).collect();
    let expected = ["a", "b", "c", "f", "g"].map(|id| format!("tick-1:{id}"));
    assert_eq!(keys, expected.iter().map(String::as_str).collect(), "{at}");
    let seqs: Vec<i64> = log.journal["tick-1"].iter().filter_map(|line| line["seq"].as_i64()).collect();
    assert!(seqs.iter().copied().eq((0..).take(seqs.len())), "{at}: {seqs:?}");
    // Whatever the model did is paid for, or put aside.
    assert!(log.ledger.reserved.len() >= day.model.served(), "{at}");
    assert!(log.ledger.open() <= 1, "{at}: {} calls are open after one crash", log.ledger.open());
    for class in ["inputTokens", "outputTokens", "cacheReadTokens", "cacheWrite5mTokens"] {
        let settled: u64 = log.ledger.settled.values().filter_map(|settle| settle[class].as_u64()).sum();
        assert_eq!(finish["usage"][class], settled, "{at}: what was told is what was settled");
    }
}

#[tokio::test]
async fn row_32_a_visit_whose_process_dies_at_any_journal_point_goes_on_from_there() {
    let whole = Day::of(eventful()).await;
    let expected = left(&whole.live().await.finish);
    let points = whole.world.log().journaled;
    let calls = whole.model.served();
    let finish = whole.world.log().finishes[0].1.clone();
    is_whole(&whole, &finish, &expected, "whole");
    assert!(points > 14, "{points}");
    for point in 1..=points {
        for is_taken in [false, true] {
            let at =
                format!("killed at journal request {point}, which was {}taken in", if is_taken { "" } else { "not " });
            let day = Day::of(eventful()).await;
            day.world.log().silent_at = Some((point, is_taken));
            day.world.make_due([somebody("anna", "tick-1")]);
            let running = day.run();
            day.world.until(|log| log.journaled == point).await;
            running.kill().await;
            assert!(day.world.log().finishes.is_empty() && day.world.log().releases.is_empty(), "{at}");

            let lived = day.live_as(again(&day, 4)).await;

            is_whole(&day, &lived.finish, &expected, &at);
            let lost = day.model.served() - calls;
            assert!(lost <= 1, "{at}: {lost} replies were asked for again");
        }
    }
}

#[tokio::test]
async fn row_32_a_visit_whose_process_dies_at_every_journal_point_still_ends_once() {
    let whole = Day::of(eventful()).await;
    let expected = left(&whole.live().await.finish);
    let day = Day::of(eventful()).await;
    let mut deaths = 0;
    for epoch in 3.. {
        assert!(epoch < 60, "it does not end");
        {
            let mut log = day.world.log();
            // Two requests further than the last one came.
            log.silent_at = Some((log.journaled + 2, true));
        }
        let claim = again(&day, epoch);
        day.world.make_due([claim]);
        let running = day.run();
        let aim = day.world.log().silent_at.expect("it is set").0;
        day.world.until(|log| log.journaled == aim || !log.finishes.is_empty()).await;
        running.kill().await;
        if !day.world.log().finishes.is_empty() {
            break;
        }
        deaths += 1;
    }
    assert!(deaths > 5, "{deaths}");
    let log = day.world.log();
    assert_eq!(log.finishes.len(), 1);
    assert_eq!(left(&log.finishes[0].1), expected);
    assert_eq!(log.records.len(), 3);
}

#[tokio::test]
async fn row_32_a_crash_in_a_call_makes_it_happen_once() {
    let day = Day::of(day([create("a").tool_use("b", "todo_list", json!({})), done()])).await;
    day.world.log().slow_tools.insert("todo_list".into(), Duration::from_secs(20));
    day.world.make_due([somebody("anna", "tick-1")]);
    let running = day.run();
    day.world.until(|log| log.calls.len() == 2).await;
    running.kill().await;
    day.world.log().slow_tools.clear();
    let lived = day.live_as(again(&day, 4)).await;
    assert_eq!((lived.outcome(), lived.codes()), (Outcome::Completed, vec![("a", "ok"), ("b", "ok")]));
    let log = day.world.log();
    let keys: Vec<&str> = log.calls.iter().map(|call| call.key.as_str()).collect();
    assert_eq!(keys, ["tick-1:a", "tick-1:b", "tick-1:a", "tick-1:b"], "both again, each with its key");
    assert_eq!((log.records.len(), log.ledger.open()), (1, 0));
}

#[tokio::test]
async fn row_32_a_crash_in_a_stream_loses_nothing() {
    let slow = Turn::say(&"langsam ".repeat(200)).delta(1).pause(Duration::from_millis(50));
    let day = Day::of(day([create("a"), done()]).but(move |ask| (ask.number == 1).then(|| slow.clone()))).await;
    day.world.make_due([somebody("anna", "tick-1")]);
    let running = day.run();
    while day.model.served() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.kill().await;
    assert!(day.world.log().releases.is_empty());
    let lived = day.live_as(again(&day, 4)).await;
    assert_eq!((lived.outcome(), lived.codes()), (Outcome::Completed, vec![("a", "ok")]));
    assert_eq!(lived.ratings(), [("todo", Some(4))]);
    let log = day.world.log();
    assert_eq!((log.calls.len(), log.ledger.open()), (1, 1));
}

#[tokio::test]
async fn row_33_a_clock_that_jumps_makes_no_second_visit_and_no_second_day() {
    // Just before midnight in Berlin, on the night in which summer time ends, and an hour after the jump.
    let cases = [
        ("2026-11-20T23:59:58+01:00", 4_000, "2026-11-20"),
        ("2026-11-20T09:30:00+01:00", -90_000_000, "2026-11-20"),
        ("2026-11-20T09:30:00+01:00", 200_000_000, "2026-11-20"),
        ("2026-10-25T02:59:59+02:00", 3_600_000, "2026-10-25"),
        ("2026-03-29T01:59:59+01:00", 2_000, "2026-03-29"),
    ];
    for (start, jump, date) in cases {
        let day = Day::of(day([create("a"), done()])).await;
        day.clock.set(start.parse().expect("a time"));
        // Killed after the first call, resumed on the other side.
        day.world.log().silent_at = Some((3, true));
        day.world.make_due([somebody("anna", "tick-1")]);
        let running = day.run();
        day.world.until(|log| log.journaled == 3).await;
        day.clock.advance_millis(jump);
        running.kill().await;
        let lived = day.live_as(again(&day, 4)).await;
        assert_eq!((lived.outcome(), lived.codes()), (Outcome::Completed, vec![("a", "ok")]), "{start}");
        let log = day.world.log();
        assert_eq!(log.finishes.len(), 1);
        assert_eq!(log.journal["tick-1"][0]["entry"]["date"], date, "the day of a visit is the day it began");
        let begun: Vec<String> = day.requests().iter().map(|request| request.body["messages"][0].to_string()).collect();
        let opening = |text: &String| {
            text.replace(",\"cache_control\":{\"type\":\"ephemeral\"}", "")
                .replace("\"cache_control\":{\"type\":\"ephemeral\"},", "")
        };
        assert!(begun.iter().all(|text| opening(text) == opening(&begun[0])), "{start}");
    }
}

#[tokio::test]
async fn row_33_a_slot_that_is_claimed_twice_in_a_pass_is_one_visit() {
    let day = Day::of(day([done()])).await;
    day.world.make_due([somebody("anna", "tick-1"), somebody("anna", "tick-2")]);
    let result = day.runner().pass().await.expect("a pass");
    assert_eq!(result.due, 1);
    let log = day.world.log();
    assert_eq!((log.finishes.len(), log.releases.as_slice()), (1, &["tick-2".to_owned()][..]));
}

#[tokio::test]
async fn row_34_tokens_and_spaces_of_two_personas_are_never_mixed() {
    let script = Script::visits().but(|ask| {
        (ask.turns() == 0)
            .then(|| create("same_id").tool_use("other_id", "notes_list", json!({})).delay(Duration::from_millis(10)))
    });
    let mut day = Day::of(script).await;
    day.options.concurrency = 2;
    let space = |name: &str| format!("0199a3f2-7c1e-7b60-9a51-{:012}", name.len() * 1_000);
    for name in ["anna", "benedikt"] {
        day.world.log().spaces.insert(format!("persona.{name}@mana.test"), space(name));
    }
    day.world.make_due([somebody("anna", "tick-anna"), somebody("benedikt", "tick-benedikt")]);

    let result = day.runner().pass().await.expect("a pass");

    assert_eq!(result.ran_successfully, 2, "{result:?}");
    let log = day.world.log();
    assert_eq!(log.most_running, 2);
    for (method, token, sent) in &log.requests {
        let email = token.strip_prefix("access-1-").expect("a token of ours");
        assert_eq!(Some(sent), log.spaces.get(email), "{method}");
    }
    for name in ["anna", "benedikt"] {
        let of = log.calls.iter().filter(|call| call.tick == format!("tick-{name}"));
        let mut count = 0;
        for call in of {
            assert_eq!(call.token, format!("access-1-persona.{name}@mana.test"));
            assert!(call.space == space(name) && call.key.starts_with(&format!("tick-{name}:")));
            count += 1;
        }
        assert!(count >= 3, "{name}: {count}");
        let finish = &log.finishes.iter().find(|(tick, _)| *tick == format!("tick-{name}")).expect("a finish").1;
        assert_eq!(finish["actions"].as_array().map(Vec::len), Some(count));
        assert!(log.ledger.spent(&format!("tick-{name}"), None) > 0);
    }
    // Two conversations that agree in tools and rules and in nothing else.
    let conversations = day.model.conversations();
    assert_eq!(conversations.len(), 2);
    let of = |number: usize| conversations[number][0].body.clone();
    assert_eq!((&of(0)["tools"], &of(0)["system"][0]), (&of(1)["tools"], &of(1)["system"][0]));
    assert_ne!(of(0)["system"][1], of(1)["system"][1]);
}

#[tokio::test]
async fn a_line_that_the_journal_refuses_costs_neither_the_end_of_the_visit_nor_its_rows() {
    let day = Day::of(day([create("a"), done()])).await;
    day.world.log().refused_kind = Some("tool_results");
    let lived = day.live().await;
    assert_eq!((lived.outcome(), lived.codes()), (Outcome::Failed, vec![("a", "ok")]));
    assert!(lived.report.error.as_deref().unwrap_or_default().contains("413"), "{:?}", lived.report.error);
}

#[tokio::test]
async fn what_a_model_did_stays_its_own_when_another_engine_takes_over() {
    let mut day = Day::of(day([create("a"), done()])).await;
    day.world.log().silent_at = Some((2, true));
    day.world.make_due([somebody("anna", "tick-1")]);
    let running = day.run();
    day.world.until(|log| log.journaled >= 2).await;
    running.kill().await;
    {
        let mut log = day.world.log();
        log.silent_at = None;
        log.running = 0;
    }
    for engine in [EngineChoice::Rehearsal, EngineChoice::Replay] {
        day.options.engine = engine;
        day.options.replay = Some(std::env::temp_dir());
        day.world.log().finishes.clear();
        let lived = day.live_as(again(&day, 4)).await;
        assert_eq!(lived.codes(), [("a", "not_executed")], "{engine:?}");
        let told = ["engine", "model", "simulated"].map(|name| lived.finish[name].clone());
        assert_eq!(told, [json!("anthropic"), json!("claude-haiku-5-5"), json!(false)], "{engine:?}");
    }
}
