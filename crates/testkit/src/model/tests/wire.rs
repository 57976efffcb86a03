//! What goes over the wire, read by a client that knows nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::model::{FakeModel, Script, Turn, Usage};

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    /// The chunks of the body, as they were sent.
    pub(super) chunks: Vec<Vec<u8>>,
    /// The body came to its end.
    pub(super) whole: bool,
}

impl Answer {
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    /// Data of the events, in order. `data:` lines of one event are joined by line ends.
    pub(super) fn events(&self) -> Vec<Value> {
        let text = self.text().replace("\r\n", "\n");
        let text = text.trim_start_matches('\u{feff}');
        let data = |event: &str| {
            let lines: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data:")).collect();
            (!lines.is_empty()).then(|| serde_json::from_str(&lines.join("\n")).unwrap())
        };
        text.split("\n\n").filter_map(data).collect()
    }

    /// The message of the events, put together.
    pub(super) fn message(&self) -> (Vec<Value>, String) {
        let mut content: Vec<Value> = Vec::new();
        let mut inputs: Vec<String> = Vec::new();
        let mut stop = String::new();
        for event in self.events() {
            let index = usize::try_from(event["index"].as_u64().unwrap_or(0)).unwrap();
            let delta = &event["delta"];
            match event["type"].as_str().unwrap() {
                "content_block_start" => {
                    content.push(event["content_block"].clone());
                    inputs.push(String::new());
                }
                "content_block_delta" => {
                    for name in ["text", "thinking", "signature"] {
                        if let Some(text) = delta[name].as_str() {
                            content[index][name] = (content[index][name].as_str().unwrap().to_owned() + text).into();
                        }
                    }
                    inputs[index] += delta["partial_json"].as_str().unwrap_or_default();
                }
                "content_block_stop" if !inputs[index].is_empty() => {
                    content[index]["input"] = serde_json::from_str(&inputs[index]).unwrap_or(json!({}));
                }
                "message_delta" => stop = delta["stop_reason"].as_str().unwrap_or("null").to_owned(),
                _ => {}
            }
        }
        (content, stop)
    }
}

/// Posts a body and reads until the connection ends, or `patience` is over.
pub(super) async fn post(model: &FakeModel, body: &Value, patience: Duration) -> Answer {
    let address = model.url().strip_prefix("http://").unwrap().to_owned();
    let body = body.to_string();
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nx-api-key: sk-test\r\n\
         anthropic-version: 2026-10-21\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let read = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(patience)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 65536];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..read]);
        }
        bytes
    };
    parse(&tokio::task::spawn_blocking(read).await.unwrap())
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut rest = &bytes[end + 4..];
    let mut answer = Answer { status, head, chunks: Vec::new(), whole: false };
    if !answer.head.contains("transfer-encoding: chunked") {
        answer.chunks.push(rest.to_vec());
        answer.whole = true;
        return answer;
    }
    while let Some(line) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            answer.whole = true;
            break;
        }
        if rest.len() < line + 2 + size {
            break;
        }
        answer.chunks.push(rest[line + 2..line + 2 + size].to_vec());
        rest = &rest[line + 4 + size..];
    }
    answer
}

pub(super) fn ask(text: &str) -> Value {
    json!({
        "model": "claude-haiku-5-5", "max_tokens": 1000, "stream": true,
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": text }] }],
    })
}

async fn answered(turn: Turn) -> Answer {
    let model = FakeModel::start(Script::turns([turn])).await;
    post(&model, &ask("Hello"), Duration::from_millis(300)).await
}

fn rich() -> Turn {
    Turn::new()
        .thinking("Grübeln 🙂", "c2ln")
        .redacted_thinking("eHg=")
        .text("Äpfel, \"Birnen\"\nund 🍐")
        .tool_use("toolu_1", "todo_list", json!({}))
        .tool_use("toolu_2", "todo_create", json!({ "title": "Brötchen \"holen\"", "tags": ["a", "b"] }))
        .block(json!({ "type": "server_weather", "weather": { "rain": 0.5 } }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_as_written_in_every_shape() {
    let wanted = rich().content();
    let shapes: Vec<(&str, Turn)> = vec![
        ("plain", rich()),
        ("one character a delta", rich().delta(1)),
        ("CR LF", rich().crlf()),
        ("BOM", rich().bom()),
        ("comments", rich().comments()),
        ("several lines", rich().multi_line()),
        ("several lines with CR LF, comments and BOM", rich().multi_line().crlf().comments().bom()),
        ("unknown events", rich().unknown_events()),
        ("pings", rich().pings()),
        ("three bytes a chunk", rich().chunk(3)),
        ("a line of 2 MB", rich().big_line(2 << 20)),
    ];
    for (name, turn) in shapes {
        let answer = answered(turn).await;
        assert_eq!(answer.status, 200, "{name}");
        assert!(answer.head.contains("content-type: text/event-stream"), "{name}");
        assert!(answer.whole, "{name}");
        let (content, stop) = answer.message();
        assert_eq!(content, wanted, "{name}");
        assert_eq!(stop, "tool_use", "{name}");
        assert_eq!(answer.events().last().unwrap()["type"], "message_stop", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shapes_are_what_they_say() {
    let answer = answered(rich().chunk(3)).await;
    assert!(answer.chunks.iter().all(|chunk| chunk.len() <= 3));
    assert!(answer.chunks.iter().any(|chunk| std::str::from_utf8(chunk).is_err()), "no character is split");
    assert!(answered(rich().bom()).await.text().starts_with('\u{feff}'));
    assert!(!answered(rich().crlf()).await.text().replace("\r\n", "").contains('\n'));
    assert!(answered(rich().multi_line()).await.text().contains("data: {\ndata:   \""));
    assert!(answered(rich().comments()).await.text().starts_with(": a comment\n"));
    assert!(answered(rich().unknown_events()).await.text().contains("colour_delta"));
    assert!(answered(rich().big_line(2 << 20)).await.text().lines().next().unwrap().len() > 2 << 20);
    let json = answered(rich().as_json()).await;
    assert!(json.head.contains("content-type: application/json"));
    assert_eq!(serde_json::from_slice::<Value>(&json.bytes()).unwrap()["content"], json!(rich().content()));
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_what_they_say() {
    let cut = answered(rich().cut_after(300)).await;
    assert_eq!((cut.bytes().len(), cut.whole), (300, false));

    let unfinished = answered(rich().without_stop()).await;
    assert!(unfinished.whole);
    assert_eq!(unfinished.events().last().unwrap()["type"], "message_delta");

    let error = answered(rich().error_event(4, "overloaded_error", "busy")).await;
    assert_eq!(error.events().len(), 5);
    assert_eq!(error.events()[4]["error"]["type"], "overloaded_error");

    let idle = answered(rich().idle_after(2)).await;
    assert_eq!((idle.events().len(), idle.whole), (2, false));

    let pings = answered(rich().pings_after(1, Duration::from_millis(50)).stop("end_turn"));
    let pings = tokio::time::timeout(Duration::from_secs(1), pings).await;
    assert!(pings.is_err(), "pings keep a reader for ever");

    let refused = answered(
        Turn::status_body(529, "text/html", "<h1>busy</h1>")
            .header("retry-after", "1")
            .header("x-should-retry", "false"),
    )
    .await;
    assert_eq!((refused.status, refused.text().as_str()), (529, "<h1>busy</h1>"));
    assert!(refused.head.contains("retry-after: 1") && refused.head.contains("x-should-retry: false"));

    let spent: Value = serde_json::from_slice(&answered(Turn::spend_limit()).await.bytes()).unwrap();
    assert_eq!(spent["error"]["details"]["error_code"], "spend_limit_reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_and_usage_come_as_told() {
    for (raw, input) in [("", json!({})), ("{\"a\": ", json!({})), ("{\"a\": [1]}", json!({ "a": [1] }))] {
        let (content, _) = answered(Turn::new().raw_input("toolu_1", "x", raw).delta(2)).await.message();
        assert_eq!(content[0]["input"], input, "{raw}");
    }
    let usage = Usage { input: 10, write_5m: 3, write_1h: 4, read: 5, output: 6 };
    let events = answered(Turn::say("x").usage(usage)).await.events();
    assert_eq!(events[0]["message"]["usage"]["output_tokens"], 1);
    let end = &events[events.len() - 2]["usage"];
    assert_eq!(end["output_tokens"], 6);
    assert_eq!(end["cache_creation_input_tokens"], 7);
    assert_eq!(end["cache_creation"]["ephemeral_1h_input_tokens"], 4);
    let events = answered(Turn::say("x").raw_usage(Value::Null, json!({ "output_tokens": null }))).await.events();
    assert!(events[0]["message"].get("usage").is_none());
    assert_eq!(events[events.len() - 2]["usage"], json!({ "output_tokens": null }));
    let (_, stop) = answered(Turn::say("x").stop_null()).await.message();
    assert_eq!(stop, "null");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_known_by_its_conversation() {
    let script = Script::visits().but(|ask| (ask.attempt < 2).then(|| Turn::status(529)));
    let model = FakeModel::start(script.first([Turn::status(500)])).await;
    let mut statuses = Vec::new();
    for text in ["one", "one", "one", "two", "one"] {
        statuses.push(post(&model, &ask(text), Duration::from_secs(5)).await.status);
    }
    assert_eq!(statuses, [500, 529, 200, 529, 200]);
    assert_eq!(model.served(), 5);
    assert_eq!(model.conversations().len(), 2);
    assert!(model.most_at_once() >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchecked_model_answers_the_same_and_keeps_nothing() {
    let script = Script::new(|ask| {
        let turns = ask.turns_at_a_glance();
        assert_eq!(turns, ask.turns());
        if ask.attempt == 0 { Turn::status(503) } else { Turn::say(&format!("turn {turns}")) }
    });
    let model = FakeModel::start_unchecked(script).await;
    let mut body = ask("{\"role\":\"assistant\"}");
    body["temperature"] = 1.into();
    body["messages"].as_array_mut().unwrap().push(json!({ "role": "assistant", "content": "Hm." }));
    assert_eq!(post(&model, &body, Duration::from_secs(5)).await.status, 503);
    let answer = post(&model, &body, Duration::from_secs(5)).await;
    assert_eq!(answer.message().0, [json!({ "type": "text", "text": "turn 1" })]);
    assert_eq!(answer.events()[0]["message"]["model"], "claude-haiku-5-5");
    assert_eq!((model.served(), model.requests().len()), (2, 0));
    assert!(model.violations().is_empty());
}
