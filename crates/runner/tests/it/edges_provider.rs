//! Edge cases of the provider: rows 10 to 18 and 28 of the table.

use std::time::{Duration, Instant};

use mana_runner::{Outcome, RunnerOptions};
use mana_testkit::model::{Script, Turn, Usage};
use serde_json::{Value, json};

use crate::model_world::{Day, Lived, create, day, done, somebody};

/// A visit of one reply without a call, before which the model gives these answers. How long it took.
async fn after(answers: Vec<Turn>) -> (Day, Lived, Duration) {
    let day = Day::of(day([done()]).first(answers)).await;
    let began = Instant::now();
    let lived = day.live().await;
    let took = began.elapsed();
    (day, lived, took)
}

#[tokio::test]
async fn row_10_the_pause_that_is_asked_for_is_kept_if_there_is_time_for_it() {
    let limited = |pause: &str| vec![Turn::status(429).header("retry-after", pause)];
    let second = Duration::from_secs(1);
    // The runner's clock stands at half past eight, UTC.
    let (seconds, date) = tokio::join!(after(limited("1")), after(limited("Fri, 20 Nov 2026 08:30:01 GMT")));
    // Pauses of chance have no length here.
    let (zero, garbage) = (after(limited("0")).await, after(limited("soon")).await);
    for (is_kept, (day, lived, took)) in [(true, seconds), (true, date), (false, zero), (false, garbage)] {
        assert_eq!((lived.outcome(), day.requests().len()), (Outcome::Completed, 2));
        assert_eq!(took >= second, is_kept, "{took:?}");
    }

    let (beyond, lived, took) = after(limited("3600")).await;
    assert_eq!((lived.outcome(), beyond.requests().len()), (Outcome::ProviderDown, 1));
    assert!(took < second, "given up at once");
    assert_eq!(lived.finish["providerFault"], true);
    assert!(lived.summary().contains("429"), "{}", lived.summary());
}

#[tokio::test]
async fn row_11_a_spending_limit_is_final_and_closes_the_door_with_the_reason() {
    let day = Day::of(Script::new(|_| Turn::spend_limit())).await;
    day.world.make_due([somebody("anna", "tick-1")]);
    let runner = day.runner();
    let result = runner.pass().await.expect("a pass");
    assert_eq!((result.due, result.visits[0].outcome), (1, Outcome::ProviderDown));
    let reason = result.visits[0].error.clone().expect("a reason");
    assert!(reason.contains("spend_limit_reached"), "{reason}");

    // Who is due now is not even claimed.
    day.world.make_due([somebody("ben", "tick-2")]);
    let result = runner.pass().await.expect("a pass");
    assert_eq!(result.due, 0);
    let shown = [result.error.expect("a reason"), runner.health().provider.expect("a reason")];
    assert!(shown.iter().all(|reason| reason.contains("left alone until") && reason.contains("spend_limit_reached")));
    assert_eq!(day.requests().len(), 1);
    let log = day.world.log();
    assert_eq!((log.due.len(), log.finishes.len()), (1, 1));
    assert_eq!(log.finishes[0].1["providerFault"], true);
}

#[tokio::test]
async fn row_12_overload_passes_and_halves_how_many_calls_run_at_once() {
    for (answers, at_once) in [(vec![], 2), (vec![Turn::status(529), Turn::status(529)], 1)] {
        let overloads = answers.len();
        let script = Script::new(|_| done().delay(Duration::from_millis(150))).first(answers);
        let mut day = Day::of(script).await;
        day.options.concurrency = 2;
        let runner = day.runner();
        day.world.make_due([somebody("anna", "tick-1")]);
        let first = runner.pass().await.expect("a pass");
        assert_eq!((first.ran_successfully, day.requests().len()), (1, overloads + 1));
        day.world.make_due([somebody("ben", "tick-2"), somebody("kai", "tick-3")]);
        assert_eq!(runner.pass().await.expect("a pass").ran_successfully, 2);
        assert_eq!(day.model.most_at_once(), at_once);
    }
}

#[tokio::test]
async fn row_13_the_provider_decides_whether_it_is_asked_again() {
    let (day, lived, _) = after(vec![Turn::status(529).header("x-should-retry", "false")]).await;
    assert_eq!((lived.outcome(), day.requests().len()), (Outcome::ProviderDown, 1));
    let (day, lived, _) = after(vec![Turn::status(400).header("x-should-retry", "true")]).await;
    assert_eq!((lived.outcome(), day.requests().len()), (Outcome::Completed, 2));
}

#[tokio::test]
async fn row_14_final_errors_are_told_briefly_and_without_secrets() {
    let page = format!(
        "<html><p>x-api-key: canary-one</p> sk-canary-two-abcdef Bearer canary-three {}</html>",
        "much more ".repeat(2_000)
    );
    let cases = [
        (400, Outcome::Failed),
        (401, Outcome::ProviderDown),
        (402, Outcome::ProviderDown),
        (403, Outcome::ProviderDown),
        (404, Outcome::ProviderDown),
        (413, Outcome::Failed),
    ];
    for (status, expected) in cases {
        let (day, lived, _) = after(vec![Turn::status_body(status, "text/html", &page)]).await;
        assert_eq!((lived.outcome(), day.requests().len()), (expected, 1), "{status}");
        let said = lived.summary();
        assert!(said.contains(&status.to_string()) && said.len() < 2_300, "{said}");
        assert!(!lived.finish.to_string().contains("canary"), "{said}");
        assert_eq!(lived.finish.get("providerFault"), (expected == Outcome::ProviderDown).then_some(&json!(true)));
        let log = day.world.log();
        assert_eq!((log.ledger.settled.len(), log.ledger.open(), log.ledger.spent("tick-1", None)), (1, 0, 0));
    }
}

#[tokio::test]
async fn row_15_what_breaks_off_is_thrown_away_and_asked_again() {
    let half = || create("a").text("und noch etwas, das lange genug ist, um abzubrechen");
    let faults = [
        half().error_event(6, "overloaded_error", "busy"),
        half().error_event(4, "api_error", "oh no"),
        half().cut_after(700),
        half().without_stop(),
    ];
    for fault in faults {
        let day = Day::of(day([create("a"), done()]).first(vec![fault.clone()])).await;
        let lived = day.live().await;
        assert_eq!((lived.outcome(), lived.codes()), (Outcome::Completed, vec![("a", "ok")]), "{fault:?}");
        assert_eq!(day.world.log().calls.len(), 1, "no tool ran from half a message");
        let requests = day.requests();
        assert_eq!(requests.len(), 5, "{fault:?}");
        assert_eq!(requests[0].bytes, requests[1].bytes, "the whole request is repeated");
        // What was lost is paid for as well.
        let log = day.world.log();
        let first = log.ledger.settled.values().next().expect("a settlement");
        assert_eq!(first["estimated"], true, "{first}");
        assert_eq!((log.ledger.settled.len(), log.ledger.open()), (4, 0), "a repeated request is one call");
    }
}

#[tokio::test]
async fn row_16_silence_is_repeated_and_pings_are_waited_out() {
    let mut silent = Day::of(day([create("a"), done()]).first(vec![create("x").idle_after(3)])).await;
    silent.options.model.idle_timeout = Duration::from_millis(80);
    let lived = silent.live().await;
    assert_eq!((lived.outcome(), lived.codes()), (Outcome::Completed, vec![("a", "ok")]));
    assert_eq!(silent.requests().len(), 5);

    let pings = create("x").pings_after(3, Duration::from_millis(20));
    let mut alive = Day::of(day([done()]).first(vec![pings])).await;
    alive.options.model.idle_timeout = Duration::from_millis(80);
    alive.options.timing.visit_cap = Duration::from_millis(800);
    let began = Instant::now();
    let lived = alive.live().await;
    assert_eq!((lived.outcome(), alive.requests().len()), (Outcome::Timeout, 1));
    assert!(began.elapsed() >= Duration::from_millis(800));
    assert_eq!((lived.rows().len(), lived.ratings().len()), (0, 0));
    assert_eq!(alive.world.log().ledger.open(), 1, "what was put aside stays booked");
}

#[tokio::test]
async fn row_17_an_answer_in_one_piece_is_read_or_named() {
    let whole = Day::of(day([create("a").as_json(), done().as_json()])).await;
    let lived = whole.live().await;
    assert_eq!((lived.outcome(), lived.codes()), (Outcome::Completed, vec![("a", "ok")]));
    for (kind, body) in [
        ("application/json", "{\"ok\":true}"),
        ("application/json", "{\"ok\":"),
        ("text/html", "<html>sk-canary-abcdef</html>"),
        ("text/plain", "hello"),
    ] {
        let odd = Day::of(Script::new(move |_| Turn::status_body(200, kind, body))).await;
        let lived = odd.live().await;
        assert_eq!(lived.outcome(), Outcome::ProviderDown, "{body}");
        assert!(!lived.summary().is_empty() && !lived.summary().contains("canary"), "{}", lived.summary());
        assert!(odd.requests().len() <= 5, "the circuit opens: {}", odd.requests().len());
    }
}

#[tokio::test]
async fn row_18_a_stream_reads_the_same_however_it_is_written() {
    let text = "Grüße 🎈 „aus\nzwei Zeilen“";
    let said = || Turn::new().text(text).tool_use("a", "todo_create", json!({ "title": "Äpfel 🍎 & Öl" }));
    let ways: [fn(Turn) -> Turn; 8] = [
        Turn::crlf,
        Turn::bom,
        Turn::comments,
        Turn::multi_line,
        |turn| turn.chunk(1),
        |turn| turn.chunk(3).crlf().bom(),
        |turn| turn.big_line(100_000),
        |turn| turn.chunk(7).crlf().comments().multi_line().unknown_events().pings(),
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let day = Day::of(day([way(said()), way(done())])).await;
        let lived = day.live().await;
        assert_eq!((lived.outcome(), lived.codes()), (Outcome::Completed, vec![("a", "ok")]), "way {number}");
        assert_eq!(day.world.log().calls[0].arguments, json!({ "title": "Äpfel 🍎 & Öl" }), "way {number}");
        assert_eq!(day.requests()[1].body["messages"][1]["content"][0]["text"], text, "way {number}");
    }
    let day = Day::of(day([said().big_line(2 * 1024 * 1024), done()])).await;
    let lived = day.live().await;
    match lived.outcome() {
        Outcome::Completed => assert_eq!(lived.codes(), [("a", "ok")]),
        other => {
            assert_eq!((other, day.requests().len()), (Outcome::ProviderDown, 1));
            assert!(lived.summary().contains("cannot be taken") && lived.summary().len() < 500, "{}", lived.summary());
        }
    }
}

#[tokio::test]
async fn row_28_usage_is_the_last_word_and_an_estimate_is_said_to_be_one() {
    let full = json!({
        "input_tokens": 900, "output_tokens": 1, "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 30, "cache_creation": { "ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 0 },
    });
    let nulls = json!({ "input_tokens": null, "output_tokens": 9, "cache_read_input_tokens": null });
    let cases = [
        ("at both ends", full.clone(), nulls, (900, 9, 100, 30, false)),
        ("only at the start", full, Value::Null, (900, 1, 100, 30, false)),
        ("nothing", Value::Null, Value::Null, (0, 0, 0, 0, true)),
        (
            "null",
            json!({ "input_tokens": null, "output_tokens": null }),
            json!({ "output_tokens": null }),
            (0, 0, 0, 0, true),
        ),
    ];
    for (name, start, end, (input, output, read, write, estimated)) in cases {
        let day = Day::of(day([done().raw_usage(start, end)])).await;
        let lived = day.live().await;
        assert_eq!(lived.outcome(), Outcome::Completed, "{name}");
        let log = day.world.log();
        let settle = log.ledger.settled.values().next().expect("a settlement").clone();
        assert_eq!(settle["estimated"], estimated, "{name}: {settle}");
        assert_eq!(lived.finish["usage"]["estimated"], estimated, "{name}");
        if estimated {
            let tokens = |class: &str| settle[class].as_u64().expect("a count");
            let size = day.requests()[0].bytes.len() as u64;
            assert!(tokens("inputTokens") >= size / 4 && tokens("outputTokens") > 0, "{name}: {settle}");
            assert!(settle["costMicroUsd"].as_i64() > Some(0), "{name}");
        } else {
            let told =
                ["inputTokens", "outputTokens", "cacheReadTokens", "cacheWrite5mTokens"].map(|class| &settle[class]);
            assert_eq!(told, [&json!(input), &json!(output), &json!(read), &json!(write)], "{name}");
        }
    }
}

#[tokio::test]
async fn a_whole_price_is_told_to_the_ledger() {
    let usage = Usage { input: 10_000, write_5m: 2_000, write_1h: 0, read: 40_000, output: 1_000 };
    let day = Day::of(day([done().usage(usage)])).await;
    let lived = day.live().await;
    assert_eq!(lived.outcome(), Outcome::Completed);
    // 10,000 at 0.10, 2,000 at 0.125, 40,000 at 0.01 and 1,000 at 0.50 dollars per million.
    assert_eq!(day.world.log().ledger.spent("tick-1", None), 1_000 + 250 + 400 + 500);
    let RunnerOptions { model, .. } = &day.options;
    assert_eq!(lived.finish["model"], *model.model);
    assert_eq!((&lived.finish["engine"], &lived.finish["simulated"]), (&json!("anthropic"), &json!(false)));
}
