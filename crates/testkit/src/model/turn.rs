//! What the model answers to one request: a message, or one of the many ways not to.

use std::time::Duration;

use serde_json::{Value, json};

/// The tokens of a reply, by what they cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Read anew.
    pub input: u64,
    /// Put into the cache for five minutes.
    pub write_5m: u64,
    /// Put into the cache for an hour.
    pub write_1h: u64,
    /// Read from the cache.
    pub read: u64,
    /// Written.
    pub output: u64,
}

impl Usage {
    /// As the Messages API writes it.
    pub(crate) fn wire(self) -> Value {
        json!({
            "input_tokens": self.input,
            "cache_creation_input_tokens": self.write_5m + self.write_1h,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.write_5m,
                "ephemeral_1h_input_tokens": self.write_1h,
            },
            "cache_read_input_tokens": self.read,
            "output_tokens": self.output,
        })
    }
}

/// Where a stream stops being one.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The connection breaks after so many bytes.
    CutAfter(usize),
    /// The stream ends properly, but `message_stop` is not in it.
    NoStop,
    /// An `error` event after so many events, then the end.
    Error { after: usize, body: Value },
    /// Nothing more comes after so many events, and the connection stays.
    Idle { after: usize },
    /// After so many events only pings, as long as anybody listens.
    Pings { after: usize, every: Duration },
}

/// How a message is laid on the wire.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a shape of its own, and any may meet any other")]
pub(crate) struct Wire {
    /// Characters in a delta.
    pub(crate) delta: usize,
    /// Bytes in a chunk of the body; none: one chunk per event.
    pub(crate) chunk: Option<usize>,
    pub(crate) crlf: bool,
    pub(crate) bom: bool,
    pub(crate) comments: bool,
    pub(crate) multi_line: bool,
    pub(crate) unknown: bool,
    /// A comment line of so many bytes before anything else.
    pub(crate) big_line: usize,
    pub(crate) pings: bool,
    /// The whole message as one JSON body.
    pub(crate) as_json: bool,
    /// Before the first byte.
    pub(crate) delay: Duration,
    /// Between two chunks.
    pub(crate) pause: Duration,
    pub(crate) fault: Option<Fault>,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            delta: 17,
            chunk: None,
            crlf: false,
            bom: false,
            comments: false,
            multi_line: false,
            unknown: false,
            big_line: 0,
            pings: false,
            as_json: false,
            delay: Duration::ZERO,
            pause: Duration::ZERO,
            fault: None,
        }
    }
}

/// One block of a reply.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// As the client should have it once all deltas are joined.
    pub(crate) whole: Value,
    /// The input of a call as text, where it is not that of `whole`.
    pub(crate) raw_input: Option<String>,
}

/// An answer that is no message.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

/// What the model answers to one request.
///
/// Starts with [`Turn::new`] and grows by blocks; or is an error from [`Turn::status`].
#[derive(Debug, Clone, Default)]
pub struct Turn {
    pub(crate) blocks: Vec<Block>,
    pub(crate) stop_reason: Option<Value>,
    pub(crate) usage: Option<Usage>,
    pub(crate) raw_usage: Option<(Value, Value)>,
    pub(crate) wire: Wire,
    pub(crate) refused: Option<Refused>,
}

impl Turn {
    /// A message without any block.
    pub fn new() -> Self {
        Self::default()
    }

    /// A message of one text.
    pub fn say(text: &str) -> Self {
        Self::new().text(text)
    }

    /// Adds a text block.
    pub fn text(self, text: &str) -> Self {
        self.block(json!({ "type": "text", "text": text }))
    }

    /// Adds a call. The reply then stops with `tool_use`, unless told otherwise.
    #[expect(clippy::needless_pass_by_value, reason = "scripts write `json!` in place")]
    pub fn tool_use(self, id: &str, name: &str, input: Value) -> Self {
        self.block(json!({ "type": "tool_use", "id": id, "name": name, "input": input }))
    }

    /// Adds a call whose input deltas join to exactly this text, which may be no JSON; the client is expected to resend
    /// the input as `{}` then, and also where the text is empty.
    pub fn raw_input(mut self, id: &str, name: &str, text: &str) -> Self {
        let input = serde_json::from_str::<Value>(text).ok().filter(Value::is_object).unwrap_or_else(|| json!({}));
        let whole = json!({ "type": "tool_use", "id": id, "name": name, "input": input });
        self.blocks.push(Block { whole, raw_input: Some(text.to_owned()) });
        self
    }

    /// Adds a thought with its signature. The text may be empty.
    pub fn thinking(self, text: &str, signature: &str) -> Self {
        self.block(json!({ "type": "thinking", "thinking": text, "signature": signature }))
    }

    /// Adds a thought that nobody may read.
    pub fn redacted_thinking(self, data: &str) -> Self {
        self.block(json!({ "type": "redacted_thinking", "data": data }))
    }

    /// Adds any block, also of a type that nobody knows; it arrives whole in its `content_block_start` then.
    pub fn block(mut self, whole: Value) -> Self {
        self.blocks.push(Block { whole, raw_input: None });
        self
    }

    /// Ends with this reason instead of `tool_use` or `end_turn`.
    pub fn stop(mut self, reason: &str) -> Self {
        self.stop_reason = Some(reason.into());
        self
    }

    /// Ends with `stop_reason: null`.
    pub fn stop_null(mut self) -> Self {
        self.stop_reason = Some(Value::Null);
        self
    }

    /// Takes these tokens, instead of a quarter of the bytes.
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Says exactly this as `usage` in `message_start` and in `message_delta`. A member that is to be absent: leave it out;
    /// no `usage` at all: `null` here is sent as absent.
    pub fn raw_usage(mut self, start: Value, end: Value) -> Self {
        self.raw_usage = Some((start, end));
        self
    }

    /// Splits texts and inputs into deltas of so many characters.
    pub fn delta(mut self, characters: usize) -> Self {
        self.wire.delta = characters.max(1);
        self
    }

    /// Splits the body into chunks of so many bytes, in the middle of lines and of characters.
    pub fn chunk(mut self, bytes: usize) -> Self {
        self.wire.chunk = Some(bytes.max(1));
        self
    }

    /// Ends lines with CR LF.
    pub fn crlf(mut self) -> Self {
        self.wire.crlf = true;
        self
    }

    /// Begins with a byte order mark.
    pub fn bom(mut self) -> Self {
        self.wire.bom = true;
        self
    }

    /// Puts comment lines, and fields that nobody asked for, between the lines of events.
    pub fn comments(mut self) -> Self {
        self.wire.comments = true;
        self
    }

    /// Spreads the data of an event over several `data:` lines.
    pub fn multi_line(mut self) -> Self {
        self.wire.multi_line = true;
        self
    }

    /// Puts events, and deltas, of unknown types between the known ones.
    pub fn unknown_events(mut self) -> Self {
        self.wire.unknown = true;
        self
    }

    /// Begins with a comment line of so many bytes.
    pub fn big_line(mut self, bytes: usize) -> Self {
        self.wire.big_line = bytes;
        self
    }

    /// Puts pings between the events.
    pub fn pings(mut self) -> Self {
        self.wire.pings = true;
        self
    }

    /// Answers the message as one JSON body, although a stream was asked for.
    pub fn as_json(mut self) -> Self {
        self.wire.as_json = true;
        self
    }

    /// Waits before the first byte.
    pub fn delay(mut self, time: Duration) -> Self {
        self.wire.delay = time;
        self
    }

    /// Waits after every chunk.
    pub fn pause(mut self, time: Duration) -> Self {
        self.wire.pause = time;
        self
    }

    /// Breaks the connection after so many bytes of the body.
    pub fn cut_after(self, bytes: usize) -> Self {
        self.fault(Fault::CutAfter(bytes))
    }

    /// Ends without `message_stop`.
    pub fn without_stop(self) -> Self {
        self.fault(Fault::NoStop)
    }

    /// Sends an `error` event after so many events.
    pub fn error_event(self, after: usize, kind: &str, message: &str) -> Self {
        self.fault(Fault::Error { after, body: error_body(kind, message) })
    }

    /// Falls silent after so many events, without an end.
    pub fn idle_after(self, events: usize) -> Self {
        self.fault(Fault::Idle { after: events })
    }

    /// Sends nothing but pings after so many events, without an end.
    pub fn pings_after(self, events: usize, every: Duration) -> Self {
        self.fault(Fault::Pings { after: events, every })
    }

    fn fault(mut self, fault: Fault) -> Self {
        self.wire.fault = Some(fault);
        self
    }

    /// An error with a JSON body as the provider writes it; the kind follows from the status.
    pub fn status(status: u16) -> Self {
        let kind = match status {
            400 => "invalid_request_error",
            401 => "authentication_error",
            402 => "billing_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            504 => "timeout_error",
            529 => "overloaded_error",
            _ => "api_error",
        };
        Self::status_json(status, &error_body(kind, "said by the script"))
    }

    /// An error with this JSON body.
    pub fn status_json(status: u16, body: &Value) -> Self {
        Self::status_body(status, "application/json", &body.to_string())
    }

    /// A 429 that says that the money is spent.
    pub fn spend_limit() -> Self {
        let mut body = error_body("rate_limit_error", "the spend limit of this workspace is reached");
        body["error"]["details"] = json!({ "error_code": "spend_limit_reached" });
        Self::status_json(429, &body)
    }

    /// An error with any body.
    pub fn status_body(status: u16, content_type: &'static str, body: &str) -> Self {
        let refused = Refused { status, headers: Vec::new(), content_type, body: body.to_owned() };
        Self { refused: Some(refused), ..Self::default() }
    }

    /// Adds a header to an error: `retry-after`, `retry-after-ms`, `x-should-retry`, …
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let refused = self.refused.as_mut().expect("only an error carries headers: begin with `Turn::status`");
        refused.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The blocks as the client should have them.
    pub(crate) fn content(&self) -> Vec<Value> {
        self.blocks.iter().map(|block| block.whole.clone()).collect()
    }

    pub(crate) fn stop_reason(&self) -> Value {
        self.stop_reason.clone().unwrap_or_else(|| {
            let calls = self.blocks.iter().any(|block| block.whole["type"] == "tool_use");
            if calls { "tool_use" } else { "end_turn" }.into()
        })
    }

    pub(crate) fn is_pause(&self) -> bool {
        self.stop_reason().as_str() == Some("pause_turn")
    }
}

/// An error as the provider writes it, in a body and in a stream alike.
pub(crate) fn error_body(kind: &str, message: &str) -> Value {
    json!({ "type": "error", "error": { "type": kind, "message": message }, "request_id": "req_scripted" })
}
