//! Edge cases of money and of ratings: rows 27, 29 and 30 of the table.

use mana_runner::Outcome;
use mana_testkit::model::{Script, Turn, Usage};
use serde_json::{Value, json};

use crate::model_world::{DIARY, Day, create, day, done, rated, wants_diary};

#[tokio::test]
async fn row_27_a_budget_that_is_reached_stops_before_the_next_call_and_the_rating_is_still_paid() {
    let dear = Usage { input: 2_000, output: 4_000, ..Usage::default() };
    let turns: Vec<Turn> = (0..12).map(|i| create(&format!("a{i}")).usage(dear)).collect();
    let mut day = Day::of(day(turns)).await;
    day.options.budget.tick_micro_usd = Some(16_000);

    let lived = day.live().await;

    assert_eq!(lived.outcome(), Outcome::Budget);
    let main = lived.rows().len();
    assert!((2..8).contains(&main), "{main}");
    assert!(lived.codes().iter().all(|(_, code)| *code == "ok"), "every reply that was paid for is acted on");
    assert_eq!(day.requests().len(), main + 2, "nothing was sent that was not granted, and the closing was");
    assert_eq!(lived.ratings(), [("todo", Some(4))]);
    let log = day.world.log();
    assert_eq!((log.ledger.refused.len(), log.ledger.open()), (1, 0));
    assert!(log.ledger.refused[0]["holdBackMicroUsd"].as_i64() > Some(2_000), "{:?}", log.ledger.refused);
    assert!(log.ledger.refused[0]["holdBackTokens"].as_i64() > Some(4_608), "{:?}", log.ledger.refused);
    let reason = lived.report.error.as_deref().unwrap_or_default();
    assert_eq!(reason, "the budget of a visit ($0.0160) has no room for another call");
    assert!(log.ledger.spent("tick-1", None) <= 16_000);
    assert_eq!(log.ledger.settled.len(), main + 2);
}

#[tokio::test]
async fn row_27_a_call_that_could_cost_too_much_is_not_even_reserved() {
    let mut day = Day::of(day([done()])).await;
    day.options.budget.call_micro_usd = Some(100);
    let lived = day.live().await;
    assert_eq!((lived.outcome(), day.requests().len()), (Outcome::Budget, 0));
    assert_eq!((lived.rows().len(), lived.ratings().len()), (0, 0));
    assert_eq!(day.world.log().ledger.reserved.len(), 0);
}

/// A day in which `todo` (0) and `notes` (1) are used, and these answers to the question for ratings.
async fn rating(answers: impl IntoIterator<Item = Turn>) -> (Day, crate::model_world::Lived) {
    let answers: Vec<Turn> = answers.into_iter().collect();
    let both = create("a").tool_use("b", "notes_list", json!({}));
    let script = day([both, done()]).but(move |ask| {
        // Two replies of the day and the diary came before.
        let asked = ask.wanted_schema().map(|_| ask.turns() - 3)?;
        Some(answers.get(asked).cloned().unwrap_or_else(|| panic!("asked too often: {asked}")))
    });
    let day = Day::of(script).await;
    let lived = day.live().await;
    assert_eq!(lived.outcome(), Outcome::Completed);
    assert_eq!(lived.codes(), [("a", "ok"), ("b", "ok")]);
    assert_eq!(lived.finish["diary"], DIARY);
    (day, lived)
}

fn ratings(rows: &[Value]) -> Turn {
    Turn::say(&json!({ "ratings": rows }).to_string())
}

fn todo() -> Value {
    rated("todo", &[0], |_| {})
}

fn notes(change: impl FnOnce(&mut Value)) -> Value {
    rated("notes", &[1], change)
}

#[tokio::test]
async fn row_29_an_answer_that_holds_in_spite_of_its_form_needs_no_repair() {
    let whole = json!({ "ratings": [todo(), notes(|_| {})] }).to_string();
    let good = [
        ratings(&[todo(), notes(|_| {})]),
        Turn::say(&format!("Gern! Hier ist, was ich denke:\n```json\n{whole}\n```\nBis morgen!")),
        ratings(&[todo(), notes(|row| row["unknown"] = json!([1, 2])), rated("chess", &[0], |_| {})]),
        ratings(&[
            todo(),
            notes(|row| {
                row["rating"] = Value::Null;
                row["noOpinion"] = json!("zu wenig gesehen");
            }),
        ]),
    ];
    for (number, answer) in good.into_iter().enumerate() {
        let (day, lived) = rating([answer]).await;
        let notes = if number == 3 { None } else { Some(4) };
        assert_eq!(lived.ratings(), [("todo", Some(4)), ("notes", notes)], "answer {number}");
        assert_eq!(day.requests().len(), 4, "answer {number}");
    }
}

#[tokio::test]
async fn row_29_what_does_not_hold_is_asked_for_once_more() {
    let whole = json!({ "ratings": [todo(), notes(|_| {})] }).to_string();
    let bad = [
        ("out of range", ratings(&[todo(), notes(|row| row["rating"] = json!(9))]), true),
        ("as a word", ratings(&[todo(), notes(|row| row["rating"] = json!("four"))]), true),
        ("missing", ratings(&[todo()]), true),
        ("twice", ratings(&[todo(), notes(|_| {}), notes(|row| row["rating"] = json!(1))]), true),
        ("without evidence", ratings(&[todo(), notes(|row| row["evidence"] = json!([]))]), true),
        ("with the evidence of another", ratings(&[todo(), notes(|row| row["evidence"] = json!([0]))]), true),
        ("with an invented quote", ratings(&[todo(), notes(|row| row["quote"] = json!("it was wonderful"))]), true),
        ("broken off", Turn::say(&whole[..whole.len() - 30]), true),
        ("no JSON", Turn::say("Alles war gut."), false),
    ];
    for (name, answer, is_todo_good) in bad {
        let again = if is_todo_good { ratings(&[notes(|_| {})]) } else { ratings(&[todo(), notes(|_| {})]) };
        let (day, lived) = rating([answer.clone(), again]).await;
        assert_eq!(lived.ratings(), [("todo", Some(4)), ("notes", Some(4))], "{name}");
        assert_eq!(day.requests().len(), 5, "{name}");

        // Still wrong: what was good stays, and the rest says why.
        let still = if is_todo_good { ratings(&[]) } else { answer.clone() };
        let (day, lived) = rating([answer, still]).await;
        let good = if is_todo_good { vec![("todo", Some(4)), ("__parse", None)] } else { vec![("__parse", None)] };
        assert_eq!(lived.ratings(), good, "{name}");
        assert!(!lived.unreadable().is_empty(), "{name}");
        assert_eq!(day.requests().len(), 5, "{name}: one repair, no more");
    }
}

#[tokio::test]
async fn row_29_an_answer_that_is_cut_twice_counts_as_far_as_it_goes() {
    let whole = json!({ "ratings": [todo(), notes(|_| {})] }).to_string();
    let cut = Turn::say(&whole[..whole.len() - 30]).stop("max_tokens");
    let again = ratings(&[notes(|_| {})]);
    let both = create("a").tool_use("b", "notes_list", json!({}));
    let script = day([both, done()]).but(move |ask| {
        ask.wanted_schema()?;
        Some(if ask.last_text().contains("Damit stimmt") { again.clone() } else { cut.clone() })
    });
    let day = Day::of(script).await;
    let lived = day.live().await;
    assert_eq!(lived.ratings(), [("todo", Some(4)), ("notes", Some(4))]);
    let room: Vec<u64> =
        day.requests()[3..].iter().map(|request| request.body["max_tokens"].as_u64().expect("a limit")).collect();
    assert_eq!(room, [room[0], 2 * room[0], room[0]], "once more with twice the room, then the repair");
}

#[tokio::test]
async fn row_30_a_rating_that_is_refused_or_empty_is_no_number() {
    for (answer, reason) in [
        (Turn::say("Nein.").stop("refusal"), "refused"),
        (Turn::new().stop("end_turn"), "empty"),
        (Turn::status(400), "400"),
    ] {
        let (day, lived) = rating([answer]).await;
        assert_eq!(lived.ratings(), [("__parse", None)], "{reason}");
        assert!(lived.unreadable().contains(reason), "{}", lived.unreadable());
        assert_eq!(day.requests().len(), 4);
    }
}

#[tokio::test]
async fn a_model_that_calls_tools_when_asked_for_its_diary_is_told_that_the_day_is_over() {
    let script = day([create("a"), done()]).but(|ask| {
        let first = wants_diary(ask) && ask.turns() == 2;
        first.then(|| Turn::new().tool_use("late", "todo_list", json!({})))
    });
    let day = Day::of(script.but(|ask| {
        let told = ask.wanted_schema().is_none() && ask.turns() == 3;
        told.then(|| Turn::say(DIARY))
    }))
    .await;
    let lived = day.live().await;
    assert_eq!(lived.outcome(), Outcome::Completed);
    assert_eq!(lived.codes(), [("a", "ok"), ("late", "not_executed")]);
    assert_eq!((lived.ratings(), &lived.finish["diary"]), (vec![("todo", Some(2))], &json!(DIARY)));
    assert_eq!(day.world.log().calls.len(), 1);
}

#[tokio::test]
async fn a_model_without_structured_output_is_asked_in_words_and_read_all_the_same() {
    let script = Script::new(|ask| match ask.turns() {
        0 => create("a"),
        1 => done(),
        2 => Turn::say(DIARY),
        _ => Turn::say(&format!("Also: {}", json!({ "ratings": [todo()] }))),
    });
    let mut day = Day::of(script).await;
    day.options.model.structured = Some(false);
    let lived = day.live().await;
    assert_eq!(lived.ratings(), [("todo", Some(4))]);
    assert!(day.requests().iter().all(|request| request.body.get("output_config").is_none()));
}

#[tokio::test]
async fn a_story_that_is_due_is_asked_for_apart_and_one_that_cannot_be_told_costs_the_visit_nothing() {
    let visits: Vec<Value> = (0..5)
        .map(|i| {
            json!({ "tickId": format!("tick-0{i}"), "startedAt": format!("2026-11-1{i}T08:00:00Z"), "outcome": "completed",
                "summary": "Alles drin.", "actions": 2, "errors": 0, "modules": [{ "module": "todo", "actions": 2 }] })
        })
        .collect();
    let memory = json!({ "lastVisits": visits, "daysSinceLast": 1.0, "openGoals": [], "annoyances": [],
        "story": { "text": "Anna hat ihre Liste begonnen.", "throughTick": "tick-00", "visitsSince": 40 } });
    for answer in [Turn::status(400), Turn::say("Nein.").stop("refusal"), Turn::say("Sie gewann im Lotto.")] {
        let script = day([create("a"), done()]).but({
            let answer = answer.clone();
            move |ask| ask.tools().is_empty().then(|| answer.clone())
        });
        let day = Day::of(script).await;
        day.world.log().memory = memory.clone();
        let lived = day.live().await;
        assert_eq!((lived.outcome(), lived.ratings()), (Outcome::Completed, vec![("todo", Some(4))]));
        assert_eq!(lived.finish.get("story"), None, "nothing unproven is told");
        let requests = day.requests();
        assert_eq!(requests.len(), 5, "the story has a conversation of its own");
        assert!(requests[0].body["messages"].to_string().contains("Anna hat ihre Liste begonnen."));
        assert_eq!(day.world.log().ledger.settled.len(), 5);
    }
}
