//! Edge cases of the conversation itself: rows 1 to 9, 19 and 26 of the table.

use mana_runner::Outcome;
use mana_testkit::model::{Script, Turn};
use serde_json::{Value, json};

use crate::model_world::{Day, KEY, create, day, done, results};

#[tokio::test]
async fn row_01_two_calls_in_one_reply_both_run_and_are_answered_in_one_message_in_order() {
    let both = create("a").tool_use("b", "todo_list", json!({})).tool_use("c", "notes_list", json!({}));
    let day = Day::of(day([both, done()])).await;

    let lived = day.live().await;

    assert_eq!(lived.outcome(), Outcome::Completed);
    assert_eq!(lived.codes(), [("a", "ok"), ("b", "ok"), ("c", "ok")]);
    let answered = day.asked(1);
    assert_eq!(answered["role"], "user");
    let ids: Vec<(String, bool)> = results(&answered).into_iter().map(|(id, _, failed)| (id, failed)).collect();
    assert_eq!(ids, [("a".into(), false), ("b".into(), false), ("c".into(), false)]);
    assert_eq!(lived.ratings(), [("todo", Some(4)), ("notes", Some(4))]);
    assert_eq!(day.requests().len(), 4, "two replies, a diary, ratings");
    assert_eq!(lived.summary(), "Das war's für heute.");

    // The spending of every call was put aside and settled, and the finish says the same.
    let log = day.world.log();
    assert_eq!((log.ledger.settled.len(), log.ledger.open(), log.ledger.refused.len()), (4, 0, 0));
    for class in ["inputTokens", "outputTokens", "cacheReadTokens", "cacheWrite5mTokens"] {
        let settled: u64 = log.ledger.settled.values().filter_map(|settle| settle[class].as_u64()).sum();
        assert_eq!(lived.finish["usage"][class], settled, "{class}");
    }
    for (number, settle) in &log.ledger.settled {
        let reserve = &log.ledger.reserved[number];
        let cost = |of: &Value| of["costMicroUsd"].as_i64().expect("an amount");
        assert!(cost(settle) > 0 && cost(settle) <= cost(reserve), "{reserve} {settle}");
    }
}

#[tokio::test]
async fn row_02_a_tool_that_is_not_there_is_an_error_with_a_near_name_and_the_loop_goes_on() {
    let wrong = Turn::new().tool_use("a", "todo_creat", json!({ "title": "x" })).tool_use("b", "chess_play", json!({}));
    let day = Day::of(day([wrong, create("c"), done()])).await;

    let lived = day.live().await;

    assert_eq!(lived.outcome(), Outcome::Completed);
    assert_eq!(lived.codes(), [("a", "unknown_tool"), ("b", "unknown_tool"), ("c", "ok")]);
    let answered = results(&day.asked(1));
    assert!(answered.iter().all(|(_, _, failed)| *failed));
    assert!(answered[0].1.contains("there is no tool `todo_creat`, did you mean `todo_create`?"), "{answered:?}");
    assert_eq!(day.world.log().calls.len(), 1, "only the tool that is there is called");
    // Of something that is not there, nobody has an opinion.
    assert!(lived.ratings().iter().all(|(module, _)| *module == "todo"), "{:?}", lived.ratings());
}

#[tokio::test]
async fn row_03_an_input_against_the_schema_comes_back_with_place_and_reason() {
    let wrong = Turn::new().tool_use("a", "todo_create", json!({})).tool_use(
        "b",
        "todo_create",
        json!({ "title": "x", "priority": "urgent" }),
    );
    let day = Day::of(day([wrong, create("c"), done()])).await;

    let lived = day.live().await;

    assert_eq!(lived.outcome(), Outcome::Completed);
    assert_eq!(lived.codes(), [("a", "VALIDATION"), ("b", "VALIDATION"), ("c", "ok")]);
    let answered = results(&day.asked(1));
    assert!(answered[0].2 && answered[0].1.contains("title") && answered[0].1.contains("is missing"), "{answered:?}");
    assert!(answered[1].2 && answered[1].1.contains("priority is none of the options"), "{answered:?}");
    assert_eq!(lived.rows()[1]["errorMessage"], "priority is none of the options");
}

#[tokio::test]
async fn row_04_empty_input_is_an_object_and_broken_input_is_told_without_its_text() {
    let broken = "{\"title\": \"Mi-half-a-word sk-canary-123456";
    let odd = Turn::new().raw_input("a", "todo_list", "").raw_input("b", "todo_create", broken).raw_input(
        "c",
        "todo_create",
        "[1]",
    );
    let day = Day::of(day([odd, done()])).await;

    let lived = day.live().await;

    assert_eq!(lived.outcome(), Outcome::Completed);
    assert_eq!(lived.codes(), [("a", "ok"), ("b", "invalid_json"), ("c", "invalid_json")]);
    let calls = day.world.log().calls.clone();
    assert_eq!(
        calls.iter().map(|call| (&*call.tool, &call.arguments)).collect::<Vec<_>>(),
        [("todo_list", &json!({}))]
    );
    let answered = results(&day.asked(1));
    assert!(!answered[0].2 && answered[1].2 && answered[2].2);
    assert!(answered[1].1.contains("no valid JSON"), "{answered:?}");
    for request in &day.requests()[1..] {
        let said = &request.body["messages"][1]["content"];
        assert!(said.as_array().expect("blocks").iter().all(|block| block["input"] == json!({})), "{said}");
        assert!(!request.body.to_string().contains("half-a-word"), "the raw text is for the audit only");
    }
    let row = lived.rows()[1]["errorMessage"].as_str().expect("a message");
    assert!(row.contains("Mi-half-a-word") && !row.contains("canary"), "{row}");
}

/// A reply that is cut in the middle of a call, another one each time.
fn cut(attempt: usize) -> Turn {
    Turn::new().text("Also").tool_use(&format!("cut_{attempt}"), "todo_create", json!({})).stop("max_tokens")
}

#[tokio::test]
async fn row_05_a_call_in_a_cut_reply_is_not_made_and_there_is_one_more_try_with_twice_the_room() {
    let day = Day::of(
        day([create("a"), create("b"), done()]).but(|ask| (ask.turns() == 1 && ask.attempt == 0).then(|| cut(0))),
    )
    .await;

    let lived = day.live().await;

    assert_eq!(lived.outcome(), Outcome::Completed);
    assert_eq!(lived.codes(), [("a", "ok"), ("cut_0", "not_executed"), ("b", "ok")]);
    let requests = day.requests();
    let room: Vec<u64> = requests.iter().map(|request| request.body["max_tokens"].as_u64().expect("a limit")).collect();
    assert_eq!((room[1], room[2], room[3]), (room[0], 2 * room[0], room[0]));
    assert_eq!(requests[1].body["messages"], requests[2].body["messages"], "the same is asked again");
    assert_eq!(day.world.log().calls.len(), 2);
    assert_eq!(requests.len(), 6);
}

#[tokio::test]
async fn row_05_cut_twice_is_truncated_and_still_rated() {
    let script = day([create("a")]).but(|ask| {
        let in_day = ask.wanted_schema().is_none() && !crate::model_world::wants_diary(ask);
        (in_day && ask.turns() == 1).then(|| cut(ask.attempt))
    });
    let day = Day::of(script).await;

    let lived = day.live().await;

    assert_eq!(lived.outcome(), Outcome::Truncated);
    assert_eq!(lived.codes(), [("a", "ok"), ("cut_0", "not_executed"), ("cut_1", "not_executed")]);
    assert_eq!(day.world.log().calls.len(), 1);
    assert_eq!(lived.ratings(), [("todo", Some(4))]);
    assert_eq!(day.requests().len(), 5, "one, two that were cut, a diary, ratings");
}

#[tokio::test]
async fn row_05_a_second_try_may_use_the_same_id_again() {
    let script = day([create("a"), done()])
        .but(|ask| (ask.turns() == 0 && ask.attempt == 0).then(|| create("a").stop("max_tokens")));
    let day = Day::of(script).await;

    let lived = day.live().await;

    assert_eq!(lived.outcome(), Outcome::Completed);
    assert_eq!(lived.codes(), [("a", "ok")]);
    assert_eq!(day.world.log().calls.len(), 1);
}

#[tokio::test]
async fn row_06_every_end_has_its_outcome() {
    let cases = [
        (done().stop("refusal"), Outcome::Refused),
        (done().stop("model_context_window_exceeded"), Outcome::Truncated),
        (done().stop("a_reason_of_tomorrow"), Outcome::Completed),
        (done().stop("stop_sequence"), Outcome::Completed),
        (done().stop_null(), Outcome::Completed),
    ];
    for (end, expected) in cases {
        let day = Day::of(day([create("a"), end.clone()])).await;
        let lived = day.live().await;
        assert_eq!(lived.outcome(), expected, "{end:?}");
        assert_eq!(lived.codes(), [("a", "ok")]);
        let is_rated = expected != Outcome::Refused;
        assert_eq!(lived.ratings(), if is_rated { vec![("todo", Some(4))] } else { vec![] }, "{end:?}");
        assert_eq!(day.requests().len(), if is_rated { 4 } else { 2 }, "{end:?}");
    }
}

#[tokio::test]
async fn row_06_a_call_that_the_end_did_not_ask_for_is_not_made() {
    let cases = [
        ("refusal", Outcome::Refused),
        ("model_context_window_exceeded", Outcome::Truncated),
        ("end_turn", Outcome::Completed),
        ("a_reason_of_tomorrow", Outcome::Completed),
        ("pause_turn", Outcome::Truncated),
    ];
    for (reason, expected) in cases {
        let day = Day::of(day([create("a"), create("b").stop(reason)])).await;
        let lived = day.live().await;
        assert_eq!(lived.outcome(), expected, "{reason}");
        assert_eq!(lived.codes(), [("a", "ok"), ("b", "not_executed")], "{reason}");
        assert_eq!(day.world.log().calls.len(), 1, "{reason}");
    }
}

#[tokio::test]
async fn row_06_a_pause_is_sent_on_unchanged_but_not_for_ever() {
    let pause = || Turn::say("Moment.").stop("pause_turn");
    let paused = Day::of(day([done()]).first(vec![pause(), pause()])).await;
    let lived = paused.live().await;
    assert_eq!(lived.outcome(), Outcome::Completed);
    let requests = paused.requests();
    assert_eq!(requests.len(), 3);
    let last = |number: usize| requests[number].body["messages"].as_array().and_then(|all| all.last()).cloned();
    let said = last(2).expect("a message");
    assert_eq!((&said["role"], said["content"].as_array().map(Vec::len)), (&json!("assistant"), Some(2)));

    let endless = Day::of(Script::new(move |_| pause())).await;
    let lived = endless.live().await;
    assert_eq!(lived.outcome(), Outcome::Truncated);
    assert_eq!(endless.requests().len(), 6, "sent on five times at most");
}

#[tokio::test]
async fn row_07_unknown_events_are_ignored_and_unknown_blocks_kept() {
    let unknown = json!({ "type": "weather_report", "payload": [1.5, null, { "wind": "west" }] });
    let odd = Turn::new().text("Hm.").block(unknown.clone()).tool_use("a", "todo_list", json!({}));
    let day = Day::of(day([odd.unknown_events().pings(), done()])).await;

    let lived = day.live().await;

    assert_eq!((lived.outcome(), lived.codes()), (Outcome::Completed, vec![("a", "ok")]));
    for request in &day.requests()[1..] {
        assert_eq!(request.body["messages"][1]["content"][1], unknown, "resent in its place");
    }
}

#[tokio::test]
async fn row_08_thoughts_are_resent_unchanged_in_their_place() {
    let thought = Turn::new()
        .thinking("Erst schauen, dann schreiben.", "c2lnbmF0dXJlLTE=")
        .thinking("", "c2lnbmF0dXJlLTI=")
        .redacted_thinking("EmwKAhgBEgy3va3pzix/LafPsn4a")
        .text("Also gut.")
        .tool_use("a", "todo_list", json!({}));
    let day = Day::of(day([thought.delta(5), done()])).await;

    let lived = day.live().await;

    assert_eq!(lived.outcome(), Outcome::Completed);
    for request in &day.requests()[1..] {
        assert_eq!(
            request.body["messages"][1]["content"],
            json!([
                { "type": "thinking", "thinking": "Erst schauen, dann schreiben.", "signature": "c2lnbmF0dXJlLTE=" },
                { "type": "thinking", "thinking": "", "signature": "c2lnbmF0dXJlLTI=" },
                { "type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/LafPsn4a" },
                { "type": "text", "text": "Also gut." },
                { "type": "tool_use", "id": "a", "name": "todo_list", "input": {} },
            ])
        );
    }
}

#[tokio::test]
async fn row_09_an_empty_end_after_results_is_an_end_and_nothing_empty_is_kept() {
    for empty in [Turn::new().stop("end_turn"), Turn::say("").stop("end_turn"), Turn::say(" \n").stop("end_turn")] {
        let day = Day::of(day([create("a")]).but(move |ask| (ask.number == 1).then(|| empty.clone()))).await;
        let lived = day.live().await;
        assert_eq!((lived.outcome(), lived.codes()), (Outcome::Completed, vec![("a", "ok")]));
        let asked = day.asked(2);
        let kinds: Vec<&Value> =
            asked["content"].as_array().expect("blocks").iter().map(|block| &block["type"]).collect();
        assert_eq!(kinds, ["tool_result", "text"], "the question follows the result in one message");
        assert_eq!(lived.ratings(), [("todo", Some(4))]);
    }
}

#[tokio::test]
async fn row_19_the_same_id_twice_is_executed_once_and_ends_the_visit() {
    let doubled = create("a").tool_use("a", "notes_list", json!({}));
    let cases = [
        (vec![doubled.clone()], 1, 1),
        (vec![create("a"), create("a")], 1, 2),
        (vec![doubled.clone().stop("end_turn")], 0, 1),
    ];
    for (turns, calls, requests) in cases {
        let day = Day::of(day(turns.clone())).await;
        let lived = day.live().await;
        assert_eq!(lived.outcome(), Outcome::Failed, "{turns:?}");
        assert!(lived.summary().starts_with("protocol_error: "), "{}", lived.summary());
        assert_eq!(day.world.log().calls.len(), calls, "{turns:?}");
        assert_eq!(lived.codes(), [("a", if calls == 1 { "ok" } else { "not_executed" })]);
        assert_eq!((lived.ratings().len(), day.requests().len()), (0, requests));
    }
}

#[tokio::test]
async fn row_26_at_the_most_replies_open_calls_are_left_and_the_rating_is_still_asked() {
    let mut day = Day::of(day((0..9).map(|i| create(&format!("a{i}"))).collect::<Vec<_>>())).await;
    day.options.budget.model_calls = 3;

    let lived = day.live().await;

    assert_eq!(lived.outcome(), Outcome::Truncated);
    assert_eq!(lived.codes(), [("a0", "ok"), ("a1", "ok"), ("a2", "not_executed")]);
    assert_eq!(lived.ratings(), [("todo", Some(2))]);
    assert_eq!(day.requests().len(), 5);
    let left = results(&day.asked(3));
    assert!(left[0].2 && left[0].1.contains("not_executed"), "{left:?}");
    assert_eq!(day.world.log().calls.len(), 2);
}

#[tokio::test]
async fn calls_beyond_the_budget_and_beyond_the_list_of_a_persona_have_rows_of_their_own() {
    let mut day = Day::of(day([
        Turn::new().tool_use("a", "notes_list", json!({})).tool_use("b", "todo_list", json!({})),
        create("c").tool_use("d", "todo_list", json!({})),
        done(),
    ]))
    .await;
    day.options.budget.tool_calls = 3;
    let mut claim = crate::model_world::somebody("anna", "tick-1");
    claim["persona"]["tools"] = json!(["todo_*"]);

    let lived = day.live_as(claim).await;

    assert_eq!(lived.outcome(), Outcome::Completed);
    assert_eq!(lived.codes(), [("a", "denied"), ("b", "ok"), ("c", "ok"), ("d", "over_budget")]);
    assert_eq!(day.world.log().calls.len(), 2);
    assert_eq!(lived.ratings().iter().map(|(module, _)| *module).collect::<Vec<_>>(), ["todo"]);
    assert!(day.requests().iter().all(|request| !request.body.to_string().contains(KEY)));
}
