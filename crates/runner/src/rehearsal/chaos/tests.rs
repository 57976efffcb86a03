use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::cassette::fixture::{Server, Visited, persona, row, tick_id};

const ELSEWHERE: &str = "0199a3f2-7c1e-7b60-9a51-ffffffffffff";

fn chaos(tick: u32) -> Chaos {
    Chaos::new(&persona(), "2026-11-20".parse().expect("a date"), &tick_id(tick), vec![ELSEWHERE.into()])
}

fn play(tick: u32) -> Visited {
    let chaos = chaos(tick);
    Visited::begin().run(&mut Server::new(1, "2026-11-20"), |conversation| chaos.step(conversation))
}

fn bytes(visited: &Visited) -> String {
    visited.conversation.messages.iter().map(|message| Value::Array(message.content.clone()).to_string()).collect()
}

#[test]
fn the_same_seed_misbehaves_the_same() {
    for tick in 0..3 {
        assert_eq!(bytes(&play(tick)), bytes(&play(tick)));
    }
    assert_ne!(bytes(&play(1)), bytes(&play(2)));
}

#[test]
fn every_kind_occurs_among_calls_that_mean_well_and_no_id_twice() {
    let mut counts: BTreeMap<Family, (usize, usize)> = BTreeMap::new();
    for tick in 0..30 {
        let visited = play(tick);
        for (family, (calls, refused)) in counted(&visited.rows) {
            let count = counts.entry(family).or_default();
            *count = (count.0 + calls, count.1 + refused);
        }
        let well: Vec<&Action> =
            visited.rows.iter().filter(|row| Family::of_call(&row.tool_use_id).is_none()).collect();
        let refused = well.iter().filter(|row| row.is_error()).count();
        assert!(well.len() >= 3 && refused == 0, "tick {tick}: {refused} of {}", well.len());
        let ids: BTreeSet<&str> = visited.calls.iter().map(|call| call.id.as_str()).collect();
        assert_eq!(ids.len(), visited.calls.len());
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
        assert!(ids.iter().all(|id| id.len() <= 64 && id.chars().all(is_allowed)));
        let replies = visited.conversation.messages.iter().filter(|message| message.role == Role::Assistant).count();
        assert!(replies <= REPLIES + 1, "{replies}");
    }
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), Family::ALL, "{counts:?}");
    let of = |family: Family| counts[&family];
    for family in [Family::Missing, Family::WrongType, Family::Huge, Family::Unknown, Family::Extra, Family::Foreign] {
        let (calls, refused) = of(family);
        assert!(calls >= 30 && refused * 10 >= calls * 9, "{family:?}: {refused} of {calls} refused");
    }
    let (calls, refused) = of(Family::Double);
    assert_eq!((calls % 2, refused), (0, 0));
}

#[test]
fn each_kind_is_what_it_says() {
    let mut seen = BTreeSet::new();
    for tick in 0..30 {
        let visited = play(tick);
        for call in &visited.calls {
            let Some(family) = Family::of_call(&call.id) else { continue };
            let text = call.input.to_string();
            let fits = match family {
                Family::Huge => {
                    let list = call.input["tags"].as_array().is_some_and(|tags| tags.len() == 10_000);
                    list || (text.len() > 1_000_000 && text.len() < 1_100_000)
                }
                Family::Deep => text.contains(&"[".repeat(100)) || text.contains(&"{\"in\":".repeat(100)),
                Family::Foreign => call
                    .input
                    .as_object()
                    .is_some_and(|input| input.keys().any(|name| super::super::names::is_reference(name))),
                Family::Unknown => visited.conversation.tools.get(&call.name).is_none(),
                Family::Extra => super::mischief::EXTRA.iter().any(|name| call.input.get(name).is_some()),
                Family::Empty => call.input.as_object().is_some_and(|input| {
                    input.values().any(|value| value.as_str().is_some_and(|text| text.trim().is_empty()))
                }),
                Family::Double => visited
                    .calls
                    .iter()
                    .any(|other| other.id != call.id && (&other.name, &other.input) == (&call.name, &call.input)),
                Family::Missing | Family::WrongType | Family::Unicode | Family::Injection | Family::Edge => true,
            };
            assert!(fits, "{family:?}: {} {}", call.name, &text[..text.floor_char_boundary(300)]);
            if text.contains(ELSEWHERE) {
                seen.insert("another space");
            }
            if text.contains("\\u0000") {
                seen.insert("NUL");
            }
        }
        // A reply goes into the journal as JSON and comes back from it.
        for message in &visited.conversation.messages {
            let line = json!({ "entries": [{ "entry": { "content": message.content } }] }).to_string();
            assert!(line.len() < 4_000_000);
            serde_json::from_str::<Value>(&line).expect("readers of JSON that stop at 128 levels can read it");
        }
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[test]
fn a_visit_that_was_interrupted_goes_on_as_it_would_have() {
    let whole = play(5);
    let mut server = Server::new(1, "2026-11-20");
    let mut visited = Visited::begin();
    while visited.take(chaos(5).step(&visited.conversation), &mut server) {}
    assert_eq!(bytes(&visited), bytes(&whole));
}

#[test]
fn whoever_is_refused_everything_or_finds_nothing_stops_too() {
    let nothing = Conversation::new(std::sync::Arc::default());
    assert_eq!(chaos(1).step(&nothing).stop_reason, StopReason::EndTurn);
    let chaos = chaos(1);
    let mut conversation = Visited::begin().conversation;
    for _ in 0..=REPLIES {
        let reply = chaos.step(&conversation);
        let asked = tool_uses(&reply.content);
        conversation.say(Role::Assistant, reply.content);
        let no = |call: &ToolUse| crate::conversation::tool_result_block(&call.id, vec![text_block("no")], true);
        conversation.say(Role::User, asked.iter().map(no).collect());
    }
    assert!(conversation.open_calls().is_empty());
    assert_eq!(conversation.messages.last().map(|message| message.role), Some(Role::Assistant));
}

#[test]
fn of_a_healthy_server_nothing_is_told_but_what_was_tried() {
    for tick in 0..10 {
        let visited = play(tick);
        assert_eq!(chaos(tick).faults(&visited.conversation, &visited.rows), Vec::<String>::new());
        let tried = Chaos::tried(&visited.rows);
        assert!(tried.len() >= 6, "{tried:?}");
        for line in &tried {
            let (word, rest) = line.split_once(": ").expect("a word and its counts");
            assert!(Family::ALL.iter().any(|family| family.as_str() == word) && rest.ends_with(" refused"), "{line}");
        }
    }
}

#[test]
fn faults_are_told() {
    let mut visited = play(1);
    visited.rows[0].tool_use_id.push('x');
    let faults = chaos(1).faults(&visited.conversation, &visited.rows);
    assert_eq!(faults.last().map(|line| line.ends_with("it was answered and has no row")), Some(true), "{faults:?}");
}

#[test]
fn the_oracle_finds_what_no_server_may_say() {
    let call = ToolUse { id: "chaos_01_type".into(), name: "todo_create".into(), input: json!({}) };
    let failed = |code: &str, message: &str| Action {
        result: crate::wire::ActionResult::Error,
        code: Some(code.into()),
        error_message: Some(message.into()),
        ..row(&call)
    };
    let helpful = "`title`: expected a text";
    for fine in
        [helpful, "there is no task `0199a3f2-7c1e-7b60-9a51-ffffffffffff` here", "a title has at most 200 characters"]
    {
        let found = oracle(&[failed("invalid-input", fine)], &[("chaos_01_type", fine, true)], &[ELSEWHERE]);
        assert_eq!(found, Vec::<String>::new());
    }
    for (code, message, expected) in [
        ("internal", helpful, "the server is at fault, code `internal`"),
        ("SERVICE_UNAVAILABLE", helpful, "the server is at fault"),
        ("protocol_error", helpful, "the server is at fault"),
        ("503", helpful, "the server is at fault"),
        ("x", "thread 'main' panicked at crates/x.rs:5:1", "shows the inside (`panicked`)"),
        ("x", "`title`: SqliteFailure, UNIQUE constraint failed", "shows the inside (`sqlite`)"),
        ("x", "`title`: invalid type: integer, expected u32", "shows the inside (`u32`)"),
        ("x", "`title`: cannot read /var/lib/mana", "shows the inside (`/var/`)"),
        ("x", "`title`: alloc::string::String", "shows the inside (`::`)"),
        ("x", "bad request", "names no field and no way out"),
        ("x", "", "names no field and no way out"),
    ] {
        let found = oracle(&[failed(code, message)], &[("chaos_01_type", message, true)], &[]);
        assert_eq!(found.len(), 1, "{code} {message}: {found:?}");
        assert!(found[0].starts_with("`chaos_01_type` (`todo_create`): ") && found[0].contains(expected), "{found:?}");
    }
    // What only the answer says counts as well.
    let found = oracle(&[failed("x", helpful)], &[("chaos_01_type", "`title`: sqlx says no", true)], &[]);
    assert!(found.len() == 1 && found[0].contains("sqlx"), "{found:?}");
    let leaked = json!({ "items": [{ "id": ELSEWHERE.to_uppercase() }] }).to_string();
    let found = oracle(&[row(&call)], &[("chaos_01_type", &leaked, false)], &[ELSEWHERE]);
    assert!(found.len() == 1 && found[0].contains("belongs to another space"), "{found:?}");
    let rows = [row(&call), row(&call)];
    assert!(oracle(&rows, &[], &[])[0].contains("more than one row"));
    assert!(oracle(&[], &[("x", "", false)], &[])[0].contains("has no row"));
    assert!(oracle(&[row(&call)], &[("chaos_01_type", helpful, true)], &[])[0].contains("differ"));
}
