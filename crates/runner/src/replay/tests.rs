use std::path::Path;

use mana_types::Date;
use serde_json::json;

use super::*;
use crate::cassette::fixture::{EMAIL, Server, Visited, rehearsal, step, tick_id};
use crate::cassette::{FORMAT, Recorder};
use crate::conversation::{Conversation, StopReason, ToolUse, text_block};

fn header(tick: u32, date: &str) -> Header {
    Header {
        format: FORMAT,
        persona: EMAIL.into(),
        tick: tick_id(tick),
        date: date.parse().expect("a date"),
        engine: "rehearsal".into(),
        model: None,
        templates: None,
        recorded_at: "2026-11-20T08:30:00Z".parse().expect("a time"),
    }
}

/// Records a rehearsed visit.
fn record(dir: &Path, tick: u32) -> Visited {
    let recorder = Recorder::create(dir, &header(tick, "2026-11-20")).expect("a recorder");
    let who = rehearsal(tick);
    Visited::begin().run(&mut Server::new(1, "2026-11-20"), |conversation| {
        let reply = who.step(conversation);
        recorder.step(&step(conversation), &reply).expect("written");
        reply
    })
}

fn open(dir: &Path, mode: Mode) -> Replay {
    Replay::open(dir, EMAIL, Which::Latest, mode).expect("it can be read").expect("there is one")
}

/// What was called, without what is fresh in every visit.
fn plain(calls: &[ToolUse]) -> Vec<String> {
    calls
        .iter()
        .map(|call| format!("{} {} {:?}", call.id, call.name, call.input.as_object().map(serde_json::Map::len)))
        .collect()
}

fn refused(visited: &Visited) -> usize {
    visited.rows.iter().filter(|row| row.is_error()).count()
}

#[test]
fn a_strict_replay_on_a_like_server_makes_the_same_calls_with_its_own_ids() {
    let mut chained = 0;
    for tick in 1..30 {
        let dir = tempfile::tempdir().expect("a folder");
        let recorded = record(dir.path(), tick);
        let replay = open(dir.path(), Mode::Strict);
        // Three days later, and every record has another id.
        let mut server = Server::new(0xabc0, "2026-11-23");
        let visited = Visited::begin()
            .run(&mut server, |conversation| replay.step(&step(conversation)).expect("the same request"));
        assert_eq!(plain(&visited.calls), plain(&recorded.calls), "tick {tick}");
        assert_eq!(refused(&visited), 0, "every id names a record: {:?}", visited.rows);
        let named = |visited: &Visited, id: &str| {
            visited.calls.iter().filter(|call| call.input.to_string().contains(id)).count()
        };
        assert_eq!(named(&visited, "9a51-00000000000"), 0, "no recorded id is sent");
        chained += named(&visited, "9a51-00000000abc");
        assert_eq!(spoken_last(&visited.conversation), spoken_last(&recorded.conversation));
    }
    assert!(chained > 10, "the visits name records: {chained}");
}

fn spoken_last(conversation: &Conversation) -> String {
    conversation.messages.last().map(|message| spoken(&message.content)).unwrap_or_default()
}

#[test]
fn a_replay_takes_nothing_and_ends_with_the_recording() {
    let dir = tempfile::tempdir().expect("a folder");
    let recorded = record(dir.path(), 1);
    let replay = open(dir.path(), Mode::Strict);
    let mut server = Server::new(7, "2026-11-20");
    let mut visited = Visited::begin();
    let first = replay.step(&step(&visited.conversation)).expect("a reply");
    assert_eq!((first.usage, first.model.as_deref(), first.prompt_tokens), (Usage::default(), None, 0));
    visited = visited.run(&mut server, |conversation| replay.step(&step(conversation)).expect("a reply"));
    assert_eq!(visited.calls.len(), recorded.calls.len());

    let mut conversation = visited.conversation;
    conversation.say(Role::User, vec![text_block("Und was hat dich geärgert?")]);
    for mode in [Mode::Strict, Mode::Loose] {
        let error = open(dir.path(), mode).step(&step(&conversation)).expect_err("nothing is left");
        assert_eq!((error.kind, error.usage), (EngineErrorKind::Replay, Usage::default()));
        assert!(error.reason.contains("the visit wants one more"), "{}", error.reason);
    }
}

#[test]
fn a_resumed_visit_goes_on_where_it_was() {
    let dir = tempfile::tempdir().expect("a folder");
    let recorded = record(dir.path(), 1);
    for mode in [Mode::Strict, Mode::Loose] {
        let mut server = Server::new(7, "2026-11-20");
        let mut visited = Visited::begin();
        loop {
            // A process for each step.
            let reply = open(dir.path(), mode).step(&step(&visited.conversation)).expect("a reply");
            if !visited.take(reply, &mut server) {
                break;
            }
        }
        assert_eq!(plain(&visited.calls), plain(&recorded.calls));
    }
}

/// The first step of a replay that fails, on a server that answers otherwise.
fn first_error(dir: &Path, extra: &'static str) -> EngineError {
    let replay = open(dir, Mode::Strict);
    let mut server = Server::new(9, "2026-11-20");
    server.extra = Some(("status", json!(extra)));
    let mut visited = Visited::begin();
    loop {
        match replay.step(&step(&visited.conversation)) {
            Ok(said) => assert!(visited.take(said, &mut server), "it differs before the end"),
            Err(error) => return error,
        }
    }
}

#[test]
fn a_strict_replay_says_what_differs_and_where() {
    let dir = tempfile::tempdir().expect("a folder");
    record(dir.path(), 1);
    let error = first_error(dir.path(), "halb fertig");
    assert_eq!(error.kind, EngineErrorKind::Replay);
    for part in [
        "the recording `persona.kai@mana.test-2026-11-20-1.jsonl` does not fit: step ",
        "message 3 (user) differs in line ",
        "tool_result call_",
        "\n+ ",
        "\"status\": \"halb fertig\"",
        "\n- ",
    ] {
        assert!(error.reason.contains(part), "{part}: {}", error.reason);
    }
    assert!(error.reason.lines().count() < 10, "{}", error.reason);

    let long: &'static str = Box::leak("sehr lang ".repeat(5_000).into_boxed_str());
    let error = first_error(dir.path(), long);
    assert!(error.reason.len() < 2_200, "{} bytes", error.reason.len());
}

#[test]
fn everything_around_the_messages_counts() {
    let dir = tempfile::tempdir().expect("a folder");
    record(dir.path(), 1);
    let replay = open(dir.path(), Mode::Strict);
    let said = |change: &dyn Fn(&mut Conversation), max_tokens, format| {
        let mut conversation = Visited::begin().conversation;
        change(&mut conversation);
        let step = Step { max_tokens, format, ..step(&conversation) };
        replay.step(&step).map_or_else(|error| error.reason, |_| "it fits".into())
    };
    let schema = json!({ "type": "object" });
    assert_eq!(said(&|_| {}, 4_096, None), "it fits");
    for (reason, expected) in [
        (said(&|conversation| conversation.rules = "Andere.".into(), 4_096, None), "the rules are other ones, hash `"),
        (said(&|conversation| conversation.persona = "Ich bin Mia.".into(), 4_096, None), "the persona is another one"),
        (said(&|conversation| conversation.tools = Arc::default(), 4_096, None), "the tools are other ones"),
        (said(&|_| {}, 8_192, None), "the reply could have 4096 tokens then and 8192 now"),
        (said(&|_| {}, 4_096, Some(&schema)), "the answer's form is another one, none then and `"),
        (
            said(&|conversation| conversation.messages[0].content[0] = text_block("Heute ist Montag."), 4_096, None),
            "message 1 (user) differs in line 1:\n- Heute ist Freitag, der 2026-11-20.\n+ Heute ist Montag.",
        ),
    ] {
        assert!(reason.contains(&format!("step 1: {expected}")), "{reason}");
    }
}

#[test]
fn a_loose_replay_goes_on_whatever_is_asked() {
    let dir = tempfile::tempdir().expect("a folder");
    let recorded = record(dir.path(), 3);
    let replay = open(dir.path(), Mode::Loose);
    let mut server = Server::new(0xabc0, "2026-11-23");
    server.extra = Some(("status", json!("neu")));
    let mut visited = Visited::begin();
    visited.conversation.rules = "Ganz andere Regeln.".into();
    visited.conversation.messages[0].content = vec![text_block("Heute ist Montag.")];
    let visited = visited.run(&mut server, |conversation| replay.step(&step(conversation)).expect("a reply"));
    assert_eq!(plain(&visited.calls), plain(&recorded.calls));
    assert_eq!(refused(&visited), 0, "ids go by their places: {:?}", visited.rows);
}

#[test]
fn a_reply_that_was_cut_and_tried_again_is_two_steps_at_one_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let recorder = Recorder::create(dir.path(), &header(1, "2026-11-20")).expect("a recorder");
    let conversation = Visited::begin().conversation;
    let longer = Step { max_tokens: 8_192, ..step(&conversation) };
    let cut = Reply::free(vec![text_block("halb")], StopReason::MaxTokens);
    let whole = Reply::free(vec![text_block("ganz")], StopReason::EndTurn);
    recorder.step(&step(&conversation), &cut).expect("written");
    // The process dies before the reply is in the journal, and the model is asked again.
    let lost = Reply::free(vec![text_block("halb, noch einmal")], StopReason::MaxTokens);
    recorder.step(&step(&conversation), &lost).expect("written");
    recorder.step(&longer, &whole).expect("written");
    for mode in [Mode::Strict, Mode::Loose] {
        let replay = open(dir.path(), mode);
        let said = [step(&conversation), longer].map(|step| spoken(&replay.step(&step).expect("a reply").content));
        assert_eq!(said, ["halb, noch einmal", "ganz"], "{mode:?}");
    }
}

#[test]
fn a_recording_is_found_by_number_and_day() {
    let dir = tempfile::tempdir().expect("a folder");
    for (tick, date) in [(3, "2026-11-21"), (1, "2026-11-20"), (2, "2026-11-20")] {
        let recorder = Recorder::create(dir.path(), &header(tick, date)).expect("a recorder");
        let reply = Reply::free(vec![text_block("gut")], StopReason::EndTurn);
        recorder.step(&step(&Visited::begin().conversation), &reply).expect("written");
    }
    // The recording of somebody whose name begins alike, and a file that is none.
    let like = Header { persona: "persona.kai@mana.test-2026-11-20-1".into(), ..header(9, "2026-11-20") };
    Recorder::create(dir.path(), &like).expect("a recorder");
    std::fs::write(dir.path().join("notes.txt"), "x").expect("written");
    let tick = |which| {
        let replay = Replay::open(dir.path(), EMAIL, which, Mode::Strict).expect("it can be read");
        replay.map(|replay| replay.header().tick.to_string())
    };
    let on = |day: &str| Which::On(day.parse::<Date>().expect("a date"));
    for (text, which) in [("latest", Which::Latest), ("2", Which::Nth(2)), ("2026-11-20", on("2026-11-20"))] {
        assert_eq!(text.parse(), Ok(which));
    }
    for text in ["", "0", "-1", "first", "2026-13-01"] {
        assert!(text.parse::<Which>().is_err_and(|error| error.contains("expected `latest`")), "{text}");
    }
    assert_eq!(tick(Which::Latest).as_deref(), Some("tick-3"));
    assert_eq!(tick(Which::Nth(2)).as_deref(), Some("tick-2"));
    assert_eq!(tick(on("2026-11-20")).as_deref(), Some("tick-1"));
    assert_eq!((tick(Which::Nth(0)), tick(Which::Nth(4)), tick(on("2026-11-22"))), (None, None, None));
    let opening = open(dir.path(), Mode::Strict).opening();
    assert_eq!(opening.as_deref(), Some("Heute ist Freitag, der 2026-11-20."));
    let nobody = Replay::open(dir.path(), "persona.mia@mana.test", Which::Latest, Mode::Loose);
    assert!(nobody.expect("it can be read").is_none());
    let missing = Replay::open(&dir.path().join("nowhere"), EMAIL, Which::Latest, Mode::Loose);
    assert!(missing.expect_err("no folder").to_string().contains("nowhere"));
}
