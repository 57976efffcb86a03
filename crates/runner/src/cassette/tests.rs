use serde_json::{Value, json};

use super::fixture::{EMAIL, Server, Visited, rehearsal, step, tick_id};
use super::*;
use crate::conversation::text_block;

fn header(tick: u32) -> Header {
    Header {
        format: FORMAT,
        persona: EMAIL.into(),
        tick: tick_id(tick),
        date: "2026-11-20".parse().expect("a date"),
        engine: "rehearsal".into(),
        model: None,
        templates: Some("0123456789abcdef".into()),
        recorded_at: "2026-11-20T08:30:00Z".parse().expect("a time"),
    }
}

fn rows(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("a file");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_recording_has_a_header_and_what_is_new_in_each_step() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("not/yet/there");
    let recorder = Recorder::create(&folder, &header(1)).expect("a recorder");
    assert_eq!(recorder.path, folder.join("persona.kai@mana.test-2026-11-20-1.jsonl"));
    let who = rehearsal(1);
    let mut server = Server::new(1, "2026-11-20");
    let visited = Visited::begin().run(&mut server, |conversation| {
        let reply = who.step(conversation);
        recorder.step(&step(conversation), &reply).expect("written");
        reply
    });
    let rows = rows(&recorder.path);
    assert_eq!(rows[0]["persona"], EMAIL);
    assert_eq!((&rows[0]["format"], &rows[0]["tick"]), (&json!(1), &json!("tick-1")));
    let replies = visited.conversation.messages.iter().filter(|message| message.role == Role::Assistant).count();
    assert_eq!(rows.len(), 1 + replies);
    assert!(replies > 1);
    let mut told = Vec::new();
    for row in &rows[1..] {
        assert_eq!(row["request"]["from"], told.len());
        told.extend(row["request"]["messages"].as_array().expect("messages").clone());
        assert_eq!(row["request"]["maxTokens"], 4_096);
        for hash in
            [&row["requestHash"], &row["request"]["rules"], &row["request"]["persona"], &row["request"]["tools"]]
        {
            assert_eq!(hash.as_str().map(str::len), Some(16), "{row}");
        }
        assert!(row["reply"]["stopReason"].is_string() && row["reply"]["usage"].is_object());
    }
    let all: Vec<Told> = visited.conversation.messages.iter().map(Told::from).collect();
    assert_eq!(json!(told), json!(all[..all.len() - 1]));
}

#[cfg(unix)]
#[test]
fn only_its_owner_reads_a_recording() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a folder");
    let recorder = Recorder::create(&dir.path().join("in"), &header(1)).expect("a recorder");
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&recorder.path), mode(&dir.path().join("in"))), (0o600, 0o700));
}

#[test]
fn each_visit_has_its_file_and_keeps_it_after_a_crash() {
    let dir = tempfile::tempdir().expect("a folder");
    let visited = Visited::begin();
    let who = rehearsal(1);
    let reply = who.step(&visited.conversation);
    let first = Recorder::create(dir.path(), &header(1)).expect("a recorder");
    first.step(&step(&visited.conversation), &reply).expect("written");
    let path = first.path.clone();
    drop(first);
    // The process died in the middle of the next line.
    std::io::Write::write_all(
        &mut OpenOptions::new().append(true).open(&path).expect("a file"),
        b"{\"requestHash\":\"ab",
    )
    .expect("written");

    let other = Recorder::create(dir.path(), &header(2)).expect("a recorder");
    assert!(other.path.ends_with("persona.kai@mana.test-2026-11-20-2.jsonl"));

    let again = Recorder::create(dir.path(), &header(1)).expect("a recorder");
    assert_eq!(again.path, path);
    let mut server = Server::new(1, "2026-11-20");
    let mut visited = visited;
    visited.take(reply, &mut server);
    again.step(&step(&visited.conversation), &who.step(&visited.conversation)).expect("written");
    let rows = rows(&path);
    assert_eq!(rows.len(), 3, "the half line is gone, the header is not written twice");
    assert_eq!(rows[2]["request"]["from"], 1, "what was told is not told again");
}

#[test]
fn names_of_files_are_safe() {
    for (email, expected) in [
        ("Anna.B@Mana.test", "anna.b@mana.test"),
        ("../../etc/passwd", "_.._.._etc_passwd"),
        ("-rf@x", "_-rf@x"),
        ("ä b\0c\\d:e@x", "__b_c_d_e@x"),
    ] {
        assert_eq!(safe_name(email), expected);
    }
    assert_eq!(safe_name(&"x".repeat(400)).len(), NAME);
}

#[test]
fn a_folder_that_cannot_be_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("file");
    std::fs::write(&file, "no folder").expect("written");
    let error = Recorder::create(&file.join("in"), &header(1)).expect_err("a file is no folder");
    assert!(error.to_string().contains(&*file.to_string_lossy()), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn a_broken_line_and_another_format_are_said() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.jsonl");
    let header = serde_json::to_string(&header(1)).expect("JSON");
    for (text, expected) in [
        (format!("{header}\n{{}}\n"), "line 2 of"),
        ("no\n".to_owned(), "line 1 of"),
        (header.replace("\"format\":1", "\"format\":9") + "\n", "has format 9"),
        (header, "is empty"),
    ] {
        std::fs::write(&path, text).expect("written");
        let error = read(&path).expect_err("it cannot be read").to_string();
        assert!(error.contains(expected) && error.contains("x.jsonl"), "{error}");
    }
}

#[test]
fn a_longer_last_message_is_told_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let recorder = Recorder::create(dir.path(), &header(1)).expect("a recorder");
    let mut visited = Visited::begin();
    let reply = rehearsal(1).step(&visited.conversation);
    recorder.step(&step(&visited.conversation), &reply).expect("written");
    visited.conversation.messages[0].content.push(text_block("Und noch etwas."));
    recorder.step(&step(&visited.conversation), &reply).expect("written");
    let rows = rows(&recorder.path);
    assert_eq!(rows[2]["request"]["from"], 0);
    assert_eq!(rows[2]["request"]["messages"][0]["content"].as_array().map(Vec::len), Some(2));
}

#[test]
fn no_secret_goes_into_a_recording() {
    let dir = tempfile::tempdir().expect("a folder");
    let recorder = Recorder::create(dir.path(), &header(1)).expect("a recorder");
    let canary = "sk-canary-0123456789abcdef";
    let mut conversation = Visited::begin().conversation;
    conversation.say(Role::User, vec![text_block(&format!("x-api-key: {canary}"))]);
    let block = json!({ "type": "tool_use", "id": "call_01", "name": "notes_create", "input": { "title": canary } });
    let mut reply = Reply::free(vec![block], StopReason::ToolUse);
    reply.broken_inputs = vec![("call_02".into(), format!("{{\"Authorization: Bearer {canary}"))];
    recorder.step(&step(&conversation), &reply).expect("written");
    let text = std::fs::read_to_string(&recorder.path).expect("a file");
    assert!(!text.contains("canary"), "{text}");
    // What is hidden is hidden on both sides of a comparison.
    let line = read(&recorder.path).expect("it can be read").lines.remove(0);
    let told: Vec<Message> = line.request.messages.iter().cloned().map(Message::from).collect();
    assert_eq!(Shown::new(line.request.frame(), told.iter()).hash(), line.request_hash);
}

#[test]
fn a_folder_that_cannot_be_used_is_said_before_any_visit() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(make_usable(&dir.path().join("a/b")), Ok(()));
    assert_eq!(check_readable(&dir.path().join("a/b")), Ok(()));
    assert!(make_usable(&file.join("below")).unwrap_err().contains("cannot be made: "));
    assert!(check_readable(&dir.path().join("none")).unwrap_err().contains("cannot be read: "));
}
