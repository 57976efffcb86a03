//! A reply as the bytes of a stream, in whatever shape the turn asks for.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures::stream;
use serde_json::{Value, json};

use super::Turn;
use super::turn::{Block, Fault, Usage, Wire};

/// What the stream does next.
#[derive(Debug)]
enum Step {
    Send(Bytes),
    Wait(Duration),
    /// Breaks the connection.
    Cut,
    /// Never goes on.
    Hang,
    Ping(Duration),
}

/// The response to a request.
pub(crate) async fn response(turn: &Turn, model: &str, id: &str, usage: Usage) -> Response {
    tokio::time::sleep(turn.wire.delay).await;
    if let Some(refused) = &turn.refused {
        let response = Response::builder().status(refused.status).body(Body::from(refused.body.clone()));
        let mut response = response.expect("the script names a status that exists");
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(refused.content_type));
        for (name, value) in &refused.headers {
            let name: header::HeaderName = name.parse().expect("the script names a valid header");
            // From bytes, because a garbled header is one of the things to try.
            headers
                .insert(name, HeaderValue::from_bytes(value.as_bytes()).expect("the script's header has no line end"));
        }
        return response;
    }
    if turn.wire.as_json {
        let usage = turn.raw_usage.as_ref().map_or_else(|| usage.wire(), |(_, end)| end.clone());
        let body = json!({
            "id": id, "type": "message", "role": "assistant", "model": model, "content": turn.content(),
            "stop_reason": turn.stop_reason(), "stop_sequence": null, "usage": usage,
        });
        return of_type("application/json", Body::from(body.to_string()));
    }
    let events = events(turn, model, id, usage);
    let steps = steps(&turn.wire, events);
    let body = stream::unfold(steps.into_iter(), |mut steps| async move {
        loop {
            match steps.next()? {
                Step::Send(bytes) => {
                    // So that two chunks do not melt into one.
                    tokio::task::yield_now().await;
                    return Some((Ok::<_, io::Error>(bytes), steps));
                }
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Cut => {
                    // What was sent before must be on its way.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    return Some((Err(io::Error::new(io::ErrorKind::ConnectionReset, "cut by the script")), steps));
                }
                Step::Hang => std::future::pending::<()>().await,
                Step::Ping(every) => {
                    tokio::time::sleep(every).await;
                    let ping = Bytes::from_static(b"event: ping\ndata: {\"type\": \"ping\"}\n\n");
                    return Some((Ok(ping), vec![Step::Ping(every)].into_iter()));
                }
            }
        }
    });
    of_type("text/event-stream; charset=utf-8", Body::from_stream(body))
}

fn of_type(content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert("request-id", HeaderValue::from_static("req_scripted"));
    response
}

/// The events of a message, each as name and data.
fn events(turn: &Turn, model: &str, id: &str, usage: Usage) -> Vec<(String, Value)> {
    let (start, end) = turn.raw_usage.clone().unwrap_or_else(|| {
        let start = Usage { output: 1, ..usage };
        (start.wire(), usage.wire())
    });
    let mut message = json!({
        "id": id, "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null,
    });
    if !start.is_null() {
        message["usage"] = start;
    }
    let mut events = vec![event(json!({ "type": "message_start", "message": message }))];
    if turn.wire.pings {
        events.push(event(json!({ "type": "ping" })));
    }
    if turn.wire.unknown {
        events.push(event(json!({ "type": "message_weather", "weather": "fair" })));
    }
    for (index, block) in turn.blocks.iter().enumerate() {
        let (begun, deltas) = taken_apart(block, turn.wire.delta);
        events.push(event(json!({ "type": "content_block_start", "index": index, "content_block": begun })));
        if turn.wire.unknown {
            let delta = json!({ "type": "colour_delta", "colour": "blue" });
            events.push(event(json!({ "type": "content_block_delta", "index": index, "delta": delta })));
        }
        for delta in deltas {
            events.push(event(json!({ "type": "content_block_delta", "index": index, "delta": delta })));
            if turn.wire.pings {
                events.push(event(json!({ "type": "ping" })));
            }
        }
        events.push(event(json!({ "type": "content_block_stop", "index": index })));
    }
    let mut delta =
        json!({ "type": "message_delta", "delta": { "stop_reason": turn.stop_reason(), "stop_sequence": null } });
    if !end.is_null() {
        delta["usage"] = end;
    }
    events.push(event(delta));
    events.push(event(json!({ "type": "message_stop" })));
    events
}

fn event(data: Value) -> (String, Value) {
    (data["type"].as_str().unwrap_or_default().to_owned(), data)
}

/// A block as it begins, and the deltas that complete it.
fn taken_apart(block: &Block, delta: usize) -> (Value, Vec<Value>) {
    let mut begun = block.whole.clone();
    // Only a string that is there is emptied: unknown blocks stay as they are.
    let pieces = |text: &str, kind: &str, member: &str| -> Vec<Value> {
        let characters: Vec<char> = text.chars().collect();
        let piece = |piece: &[char]| json!({ "type": kind, member: piece.iter().collect::<String>() });
        characters.chunks(delta).map(piece).collect()
    };
    let deltas = match block.whole["type"].as_str() {
        Some("text") => {
            begun["text"] = "".into();
            pieces(block.whole["text"].as_str().unwrap_or_default(), "text_delta", "text")
        }
        Some("thinking") => {
            begun["thinking"] = "".into();
            begun["signature"] = "".into();
            let mut deltas = pieces(block.whole["thinking"].as_str().unwrap_or_default(), "thinking_delta", "thinking");
            deltas.push(json!({ "type": "signature_delta", "signature": block.whole["signature"] }));
            deltas
        }
        Some("tool_use") => {
            begun["input"] = json!({});
            let raw = block.raw_input.clone();
            let text = raw.unwrap_or_else(|| match block.whole["input"].as_object() {
                Some(input) if input.is_empty() => String::new(),
                _ => block.whole["input"].to_string(),
            });
            let mut deltas = vec![json!({ "type": "input_json_delta", "partial_json": "" })];
            deltas.extend(pieces(&text, "input_json_delta", "partial_json"));
            deltas
        }
        _ => Vec::new(),
    };
    (begun, deltas)
}

/// Lays events on the wire, and puts the fault in.
fn steps(wire: &Wire, mut events: Vec<(String, Value)>) -> Vec<Step> {
    let mut tail = Vec::new();
    let mut cut = None;
    match &wire.fault {
        None => {}
        Some(Fault::CutAfter(bytes)) => cut = Some(*bytes),
        Some(Fault::NoStop) => {
            events.pop();
        }
        Some(Fault::Error { after, body }) => {
            events.truncate(*after);
            events.push(event(body.clone()));
        }
        Some(Fault::Idle { after }) => {
            events.truncate(*after);
            tail.push(Step::Hang);
        }
        Some(Fault::Pings { after, every }) => {
            events.truncate(*after);
            tail.push(Step::Ping(*every));
        }
    }
    let end = if wire.crlf { "\r\n" } else { "\n" };
    let mut prelude = Vec::new();
    if wire.bom {
        prelude.extend_from_slice("\u{feff}".as_bytes());
    }
    if wire.big_line > 0 {
        prelude.extend_from_slice(format!(": {}{end}{end}", "x".repeat(wire.big_line)).as_bytes());
    }
    let mut lines = vec![prelude];
    lines.extend(events.iter().map(|(name, data)| written(wire, name, data, end).into_bytes()));
    let mut steps = Vec::new();
    let mut send = |bytes: &[u8]| {
        if !bytes.is_empty() {
            steps.push(Step::Send(Bytes::copy_from_slice(bytes)));
            if !wire.pause.is_zero() {
                steps.push(Step::Wait(wire.pause));
            }
        }
    };
    match (wire.chunk, cut) {
        (None, None) => lines.iter().for_each(|line| send(line)),
        (chunk, cut) => {
            let mut all = lines.concat();
            all.truncate(cut.unwrap_or(usize::MAX));
            all.chunks(chunk.unwrap_or(4096)).for_each(send);
        }
    }
    if cut.is_some() {
        steps.push(Step::Cut);
    }
    steps.extend(tail);
    steps
}

fn written(wire: &Wire, name: &str, data: &Value, end: &str) -> String {
    const WRITES: &str = "a string takes whatever is written into it";
    let mut text = String::new();
    if wire.comments {
        write!(text, ": a comment{end}retry: 3000{end}id{end}").expect(WRITES);
    }
    write!(text, "event: {name}{end}").expect(WRITES);
    if wire.multi_line {
        // Pretty-printed JSON has no line end inside of a string, so it may be broken at every one.
        let pretty = serde_json::to_string_pretty(data).expect("a value can be written");
        for line in pretty.lines() {
            write!(text, "data: {line}{end}").expect(WRITES);
        }
    } else {
        // Without the blank after the colon now and then, which is as good.
        let gap = if wire.comments { "" } else { " " };
        write!(text, "data:{gap}{data}{end}").expect(WRITES);
    }
    text + end
}
