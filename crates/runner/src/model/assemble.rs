//! A message out of the events of its stream.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::{Failure, Words};
use super::sse::SseEvent;
use crate::conversation::{Reply, StopReason, Usage};

/// No count of a provider is larger; a larger one is no count. All attempts at one reply together stay below what the
/// books take.
const TOKENS: u64 = 20_000_000;

/// How many bytes make a token at least, for estimates.
pub(super) const BYTES_A_TOKEN: u64 = 3;

/// What has been heard of a message so far.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    blocks: BTreeMap<u64, Block>,
    broken_inputs: Vec<(String, String)>,
    model: Option<String>,
    stop_reason: Option<StopReason>,
    counts: Counts,
    /// How many bytes of text the provider has written.
    written: u64,
    started: bool,
    complete: bool,
}

/// One block, with the pieces of its input that make JSON only together.
#[derive(Debug)]
struct Block {
    value: Value,
    input: Option<String>,
    ended: bool,
}

/// What the provider counted. Each figure stands for the whole message, so the last one that is there holds.
#[derive(Debug, Default)]
struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_5m: Option<u64>,
    cache_write_1h: Option<u64>,
}

impl Assembly {
    /// Takes an event. What this version does not know changes nothing.
    pub(super) fn take(&mut self, event: &SseEvent, words: &Words) -> Result<(), Failure> {
        let Ok(data) = serde_json::from_str::<Value>(&event.data) else {
            let matters = event.name.is_empty() || is_known(&event.name);
            // Some gateways end every stream with this word.
            return if matters && event.data.trim() != "[DONE]" {
                Err(words.of_nonsense("an event is no JSON"))
            } else {
                Ok(())
            };
        };
        let kind = data.get("type").and_then(Value::as_str).unwrap_or(&event.name);
        match kind {
            "message_start" => self.start(data.get("message").unwrap_or(&Value::Null)),
            "content_block_start" => self.start_block(&data, words)?,
            "content_block_delta" => self.extend_block(&data, words)?,
            "content_block_stop" => {
                let index = index_of(&data);
                if let Some(block) = self.blocks.get_mut(&index) {
                    end_block(block, &mut self.broken_inputs);
                }
            }
            "message_delta" => {
                if let Some(reason) = data.pointer("/delta/stop_reason") {
                    self.stop_reason = stop_reason(reason).or(self.stop_reason);
                }
                self.counts.take(data.get("usage").unwrap_or(&Value::Null));
            }
            "message_stop" => self.complete = true,
            "error" => return Err(words.of_event(&data)),
            _ => {}
        }
        Ok(())
    }

    /// Takes a whole message, as a server sends it that does not stream.
    pub(super) fn take_whole(&mut self, message: &Value, words: &Words) -> Result<(), Failure> {
        if message.get("type").and_then(Value::as_str) == Some("error") {
            return Err(words.of_event(message));
        }
        let Some(content) = message.get("content").and_then(Value::as_array) else {
            return Err(words.of_nonsense("the JSON is no message: it has no `content`"));
        };
        self.start(message);
        for (index, value) in (0..).zip(content) {
            self.written += size_of(value);
            let mut block = Block { value: value.clone(), input: None, ended: false };
            end_block(&mut block, &mut self.broken_inputs);
            self.blocks.insert(index, block);
        }
        self.complete = true;
        Ok(())
    }

    pub(super) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether anything of a reply has come.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The reply, once all of it has come. `prompt_bytes` stand in where the provider counted nothing.
    pub(super) fn into_reply(mut self, prompt_bytes: usize) -> Reply {
        for block in self.blocks.values_mut() {
            end_block(block, &mut self.broken_inputs);
        }
        let usage = self.usage(prompt_bytes);
        Reply {
            content: self.blocks.into_values().map(|block| block.value).collect(),
            stop_reason: self.stop_reason.unwrap_or(StopReason::Other),
            usage,
            model: self.model,
            prompt_tokens: usage.prompt_tokens(),
            broken_inputs: self.broken_inputs,
        }
    }

    /// What an attempt took that led to no reply: nothing, if no message had begun.
    pub(super) fn spent(&self, prompt_bytes: usize) -> Usage {
        if !self.started {
            return Usage::default();
        }
        // The start of a message counts no more than its first token; what was written after it is paid, too.
        let output_tokens = self.counts.output.unwrap_or(0).max(self.written / BYTES_A_TOKEN);
        Usage { output_tokens, estimated: true, ..self.usage(prompt_bytes) }
    }

    fn usage(&self, prompt_bytes: usize) -> Usage {
        let counts = &self.counts;
        let split = counts.cache_write_5m.unwrap_or(0) + counts.cache_write_1h.unwrap_or(0);
        // A total without a split, or beyond it, is of the shorter kind: no other was asked for.
        let unsplit = counts.cache_write.unwrap_or(0).saturating_sub(split);
        let cache_write_5m_tokens = counts.cache_write_5m.unwrap_or(0) + unsplit;
        let from_cache = counts.cache_read.unwrap_or(0) + split + unsplit;
        let prompt = u64::try_from(prompt_bytes).unwrap_or(TOKENS) / BYTES_A_TOKEN;
        let usage = Usage {
            input_tokens: counts.input.unwrap_or_else(|| prompt.saturating_sub(from_cache)),
            output_tokens: counts.output.unwrap_or_else(|| self.written.div_ceil(BYTES_A_TOKEN)),
            cache_read_tokens: counts.cache_read.unwrap_or(0),
            cache_write_5m_tokens,
            cache_write_1h_tokens: counts.cache_write_1h.unwrap_or(0),
            estimated: counts.input.is_none() || counts.output.is_none(),
            largest_prompt: 0,
        };
        Usage { largest_prompt: usage.prompt_tokens(), ..usage }
    }

    fn start(&mut self, message: &Value) {
        self.started = true;
        let model = message.get("model").and_then(Value::as_str);
        self.model = model.map(|name| name.chars().take(120).collect());
        self.stop_reason = message.get("stop_reason").and_then(stop_reason);
        self.counts.take(message.get("usage").unwrap_or(&Value::Null));
    }

    fn start_block(&mut self, data: &Value, words: &Words) -> Result<(), Failure> {
        let Some(value @ Value::Object(_)) = data.get("content_block") else {
            return Err(words.of_nonsense("a block begins without its content"));
        };
        self.written += size_of(value);
        self.blocks.insert(index_of(data), Block { value: value.clone(), input: None, ended: false });
        Ok(())
    }

    fn extend_block(&mut self, data: &Value, words: &Words) -> Result<(), Failure> {
        let Some(block) = self.blocks.get_mut(&index_of(data)) else {
            return Err(words.of_nonsense("a block goes on that never began"));
        };
        let delta = data.get("delta").unwrap_or(&Value::Null);
        let text = |field: &str| delta.get(field).and_then(Value::as_str).unwrap_or_default();
        match delta.get("type").and_then(Value::as_str).unwrap_or_default() {
            "text_delta" => self.written += append(&mut block.value, "text", text("text")),
            "thinking_delta" => self.written += append(&mut block.value, "thinking", text("thinking")),
            "signature_delta" => {
                block.value["signature"] = text("signature").into();
            }
            "citations_delta" => {
                if let Some(citation) = delta.get("citation") {
                    match &mut block.value["citations"] {
                        Value::Array(citations) => citations.push(citation.clone()),
                        other => *other = Value::Array(vec![citation.clone()]),
                    }
                }
            }
            "input_json_delta" => {
                let piece = text("partial_json");
                self.written += piece.len() as u64;
                block.input.get_or_insert_default().push_str(piece);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Counts {
    fn take(&mut self, usage: &Value) {
        let split = usage.get("cache_creation").unwrap_or(&Value::Null);
        for (count, told) in [
            (&mut self.input, usage.get("input_tokens")),
            (&mut self.output, usage.get("output_tokens")),
            (&mut self.cache_read, usage.get("cache_read_input_tokens")),
            (&mut self.cache_write, usage.get("cache_creation_input_tokens")),
            (&mut self.cache_write_5m, split.get("ephemeral_5m_input_tokens")),
            (&mut self.cache_write_1h, split.get("ephemeral_1h_input_tokens")),
        ] {
            if let Some(tokens) = told.and_then(Value::as_u64) {
                *count = Some(tokens.min(TOKENS));
            }
        }
    }
}

/// The end of a block: its input is parsed now, once. One that is no object is noted and becomes an empty one, because
/// nothing else can be sent back.
fn end_block(block: &mut Block, broken_inputs: &mut Vec<(String, String)>) {
    if std::mem::replace(&mut block.ended, true) {
        return;
    }
    let is_call = block.value.get("type").and_then(Value::as_str) == Some("tool_use");
    let joined = block.input.take();
    let raw = match (joined, block.value.get("input")) {
        (Some(raw), _) if !raw.trim().is_empty() => raw,
        _ if !is_call => return,
        // Some servers give the input whole, at the start of the block.
        (_, Some(Value::Object(_))) => return,
        (_, Some(Value::Null) | None) => String::new(),
        (_, Some(Value::String(text))) => text.clone(),
        (_, Some(other)) => other.to_string(),
    };
    let parsed = if raw.trim().is_empty() { Some(Map::new()) } else { serde_json::from_str(&raw).ok() };
    if parsed.is_none() && is_call {
        let id = block.value.get("id").and_then(Value::as_str).unwrap_or_default();
        broken_inputs.push((id.to_owned(), raw));
    }
    block.value["input"] = Value::Object(parsed.unwrap_or_default());
}

/// The reason as the provider names it; none where it names none.
fn stop_reason(reason: &Value) -> Option<StopReason> {
    if reason.is_null() { None } else { Some(StopReason::deserialize(reason).unwrap_or(StopReason::Other)) }
}

/// Which block an event is about. A server that leaves the index out has one block.
fn index_of(data: &Value) -> u64 {
    data.get("index").and_then(Value::as_u64).unwrap_or(0)
}

fn append(block: &mut Value, field: &str, text: &str) -> u64 {
    match &mut block[field] {
        Value::String(so_far) => so_far.push_str(text),
        other => *other = text.into(),
    }
    text.len() as u64
}

/// How much of a block was written, roughly: its texts.
fn size_of(block: &Value) -> u64 {
    let written = ["text", "thinking", "input"].into_iter().filter_map(|field| block.get(field));
    let size = |value: &Value| value.as_str().map_or_else(|| value.to_string().len(), str::len);
    written.map(|value| size(value) as u64).sum()
}

fn is_known(name: &str) -> bool {
    matches!(
        name,
        "message_start"
            | "content_block_start"
            | "content_block_delta"
            | "content_block_stop"
            | "message_delta"
            | "message_stop"
            | "error"
    )
}

#[cfg(test)]
mod tests {
    use mana_types::Secret;
    use serde_json::json;

    use super::*;

    fn words() -> Words {
        Words::new(Secret::default())
    }

    fn assembled(events: &[Value]) -> Result<Option<Reply>, Failure> {
        let mut assembly = Assembly::default();
        for event in events {
            assembly.take(&SseEvent { name: String::new(), data: event.to_string() }, &words())?;
        }
        Ok(assembly.is_complete().then(|| assembly.into_reply(3_000)))
    }

    fn start(usage: &Value) -> Value {
        json!({ "type": "message_start", "message": { "id": "msg_1", "type": "message", "role": "assistant",
            "model": "claude-haiku-5-5-20261021", "content": [], "stop_reason": null, "usage": usage } })
    }

    fn block(index: u64, block: &Value) -> Value {
        json!({ "type": "content_block_start", "index": index, "content_block": block })
    }

    fn delta(index: u64, delta: &Value) -> Value {
        json!({ "type": "content_block_delta", "index": index, "delta": delta })
    }

    fn stop(index: u64) -> Value {
        json!({ "type": "content_block_stop", "index": index })
    }

    fn ended(reason: &Value, usage: &Value) -> [Value; 2] {
        [
            json!({ "type": "message_delta", "delta": { "stop_reason": reason }, "usage": usage }),
            json!({ "type": "message_stop" }),
        ]
    }

    #[test]
    fn blocks_are_kept_as_they_came() {
        let mut events = vec![
            json!({ "type": "ping" }),
            start(&json!({ "input_tokens": 10, "output_tokens": 1 })),
            block(0, &json!({ "type": "thinking", "thinking": "", "signature": "", "x": 1 })),
            delta(0, &json!({ "type": "thinking_delta", "thinking": "hm" })),
            delta(0, &json!({ "type": "thinking_delta", "thinking": "m" })),
            delta(0, &json!({ "type": "signature_delta", "signature": "c2ln" })),
            stop(0),
            block(1, &json!({ "type": "thinking", "thinking": "", "signature": "" })),
            delta(1, &json!({ "type": "signature_delta", "signature": "empty" })),
            stop(1),
            block(2, &json!({ "type": "redacted_thinking", "data": "xyz" })),
            stop(2),
            block(3, &json!({ "type": "text", "text": "", "citations": null })),
            delta(3, &json!({ "type": "text_delta", "text": "Grü" })),
            delta(3, &json!({ "type": "text_delta", "text": "ße" })),
            delta(3, &json!({ "type": "citations_delta", "citation": { "url": "a" } })),
            delta(3, &json!({ "type": "a_delta_of_tomorrow", "text": "no" })),
            stop(3),
            block(4, &json!({ "type": "a_block_of_tomorrow", "payload": { "a": [1.5, null] } })),
            delta(4, &json!({ "type": "another", "x": 1 })),
            stop(4),
            json!({ "type": "an_event_of_tomorrow", "index": 99 }),
            block(
                5,
                &json!({ "type": "tool_use", "id": "t1", "name": "todo_list", "input": {}, "caller": { "type": "direct" } }),
            ),
            delta(5, &json!({ "type": "input_json_delta", "partial_json": "{\"pa" })),
            delta(5, &json!({ "type": "input_json_delta", "partial_json": "ge\":1}" })),
            stop(5),
        ];
        events.extend(ended(&json!("tool_use"), &json!({ "output_tokens": 40 })));
        let reply = assembled(&events).unwrap().unwrap();
        assert_eq!(
            Value::Array(reply.content),
            json!([
                { "type": "thinking", "thinking": "hmm", "signature": "c2ln", "x": 1 },
                { "type": "thinking", "thinking": "", "signature": "empty" },
                { "type": "redacted_thinking", "data": "xyz" },
                { "type": "text", "text": "Grüße", "citations": [{ "url": "a" }] },
                { "type": "a_block_of_tomorrow", "payload": { "a": [1.5, null] } },
                { "type": "tool_use", "id": "t1", "name": "todo_list", "input": { "page": 1 }, "caller": { "type": "direct" } },
            ])
        );
        assert_eq!(reply.stop_reason, StopReason::ToolUse);
        assert_eq!(reply.model.as_deref(), Some("claude-haiku-5-5-20261021"));
        assert_eq!((reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.estimated), (10, 40, false));
        assert_eq!(reply.prompt_tokens, 10);
    }

    #[test]
    fn inputs_that_are_no_object_become_one_and_are_told() {
        let cases = [
            (json!({}), vec![], json!({}), None),
            (json!({}), vec![""], json!({}), None),
            (json!({}), vec!["", " ", "\n"], json!({}), None),
            (json!(null), vec![], json!({}), None),
            (json!(""), vec![], json!({}), None),
            (json!({ "whole": 1 }), vec![], json!({ "whole": 1 }), None),
            (json!({}), vec!["{\"a\":", "{\"b\":[1]}}"], json!({ "a": { "b": [1] } }), None),
            (json!({}), vec!["{\"a\": tru"], json!({}), Some("{\"a\": tru")),
            (json!({}), vec!["[1]"], json!({}), Some("[1]")),
            (json!({}), vec!["null"], json!({}), Some("null")),
            (json!({}), vec!["{}", "{}"], json!({}), Some("{}{}")),
            (json!("{\"a\":1}"), vec![], json!({ "a": 1 }), None),
            (json!([1]), vec![], json!({}), Some("[1]")),
        ];
        for (first, pieces, input, broken) in cases {
            let mut events = vec![
                start(&json!({})),
                block(0, &json!({ "type": "tool_use", "id": "t1", "name": "n", "input": first })),
            ];
            events.extend(
                pieces.iter().map(|piece| delta(0, &json!({ "type": "input_json_delta", "partial_json": piece }))),
            );
            events.push(stop(0));
            events.push(stop(0));
            events.extend(ended(&json!("tool_use"), &json!({})));
            let reply = assembled(&events).unwrap().unwrap();
            assert_eq!(reply.content[0]["input"], input, "{first} {pieces:?}");
            let expected: Vec<_> = broken.iter().map(|raw| ("t1".to_owned(), (*raw).to_owned())).collect();
            assert_eq!(reply.broken_inputs, expected, "{first} {pieces:?}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        let mut events = vec![
            start(&json!({})),
            block(0, &json!({ "type": "tool_use", "id": "t1", "name": "n", "input": {} })),
            delta(0, &json!({ "type": "input_json_delta", "partial_json": deep })),
        ];
        events.extend(ended(&json!("max_tokens"), &json!({})));
        let reply = assembled(&events).unwrap().unwrap();
        assert_eq!((reply.stop_reason, reply.broken_inputs), (StopReason::MaxTokens, vec![("t1".to_owned(), deep)]));
    }

    #[test]
    fn every_end_has_a_name() {
        let cases = [
            (json!("end_turn"), StopReason::EndTurn),
            (json!("stop_sequence"), StopReason::StopSequence),
            (json!("max_tokens"), StopReason::MaxTokens),
            (json!("model_context_window_exceeded"), StopReason::ModelContextWindowExceeded),
            (json!("refusal"), StopReason::Refusal),
            (json!("pause_turn"), StopReason::PauseTurn),
            (json!("a_reason_of_tomorrow"), StopReason::Other),
            (json!(null), StopReason::Other),
            (json!(7), StopReason::Other),
        ];
        for (told, expected) in cases {
            let mut events = vec![start(&json!({}))];
            events.extend(ended(&told, &json!({})));
            let reply = assembled(&events).unwrap().unwrap();
            assert_eq!((reply.stop_reason, reply.content.len()), (expected, 0), "{told}");
        }
    }

    #[test]
    fn a_message_ends_only_with_its_end() {
        let whole = [
            start(&json!({})),
            block(0, &json!({ "type": "text", "text": "a" })),
            stop(0),
            ended(&json!("end_turn"), &json!({}))[0].clone(),
        ];
        for cut in 0..=whole.len() {
            assert!(assembled(&whole[..cut]).unwrap().is_none(), "{cut}");
        }
        assert!(assembled(&[delta(3, &json!({ "type": "text_delta", "text": "a" }))]).is_err());
        assert!(assembled(&[block(0, &json!(null))]).is_err());
        assert!(assembled(&[json!({ "type": "error", "error": { "type": "overloaded_error" } })]).is_err());
        let bad = |name: &str, data: &str| {
            Assembly::default().take(&SseEvent { name: name.into(), data: data.into() }, &words()).is_err()
        };
        assert!(bad("message_delta", "{") && bad("", "oops"));
        assert!(!bad("tomorrow", "{") && !bad("", "[DONE]") && !bad("", "7"));
    }

    #[test]
    fn usage_is_the_last_word_or_an_estimate() {
        let usage = |first: Value, last: Value| {
            let mut events = vec![start(&first), block(0, &json!({ "type": "text", "text": "123456" })), stop(0)];
            events.extend(ended(&json!("end_turn"), &last));
            assembled(&events).unwrap().unwrap().usage
        };
        let of = |input, output, read, short, long, estimated| Usage {
            input_tokens: input,
            output_tokens: output,
            cache_read_tokens: read,
            cache_write_5m_tokens: short,
            cache_write_1h_tokens: long,
            estimated,
            largest_prompt: input + read + short + long,
        };
        let full = json!({ "input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 30, "cache_creation": { "ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20 } });
        let nulls = json!({ "input_tokens": null, "output_tokens": 9, "cache_read_input_tokens": null, "cache_creation": null });
        assert_eq!(usage(full.clone(), nulls), of(5, 9, 100, 10, 20, false));
        assert_eq!(usage(full.clone(), json!({ "output_tokens": 9, "input_tokens": 7 })), of(7, 9, 100, 10, 20, false));
        assert_eq!(usage(full, json!(null)), of(5, 1, 100, 10, 20, false));
        let absurd = json!({ "input_tokens": 2_000_000_000_u64, "output_tokens": u64::MAX });
        assert_eq!(usage(absurd, json!(null)), of(TOKENS, TOKENS, 0, 0, 0, false));
        let unsplit = json!({ "input_tokens": 5, "output_tokens": 1, "cache_creation_input_tokens": 30 });
        assert_eq!(usage(unsplit, json!({})), of(5, 1, 0, 30, 0, false));
        assert_eq!(usage(json!(null), json!(null)), of(1_000, 2, 0, 0, 0, true));
        assert_eq!(usage(json!({ "input_tokens": 4 }), json!({ "output_tokens": null })), of(4, 2, 0, 0, 0, true));
        assert_eq!(
            usage(json!({ "cache_read_input_tokens": 900 }), json!({ "output_tokens": 3 })),
            of(100, 3, 900, 0, 0, true)
        );
        let absurd = usage(json!({ "input_tokens": u64::MAX, "output_tokens": -3 }), json!({ "output_tokens": 1.5 }));
        assert_eq!(absurd, of(TOKENS, 2, 0, 0, 0, true));
    }

    #[test]
    fn what_broke_off_is_counted_too() {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.spent(3_000), Usage::default());
        for event in [
            start(&json!({ "input_tokens": 10, "output_tokens": 1 })),
            block(0, &json!({ "type": "text", "text": "" })),
            delta(0, &json!({ "type": "text_delta", "text": "x".repeat(300) })),
        ] {
            assembly.take(&SseEvent { name: String::new(), data: event.to_string() }, &words()).unwrap();
        }
        let spent = assembly.spent(3_000);
        assert_eq!((spent.input_tokens, spent.output_tokens, spent.estimated), (10, 100, true));
    }

    #[test]
    fn a_whole_message_is_taken_too() {
        let mut assembly = Assembly::default();
        let message = json!({ "type": "message", "model": "m", "stop_reason": "tool_use",
            "content": [{ "type": "text", "text": "a" }, { "type": "tool_use", "id": "t", "name": "n", "input": null }],
            "usage": { "input_tokens": 1, "output_tokens": 2 } });
        assembly.take_whole(&message, &words()).unwrap();
        let reply = assembly.into_reply(1);
        assert_eq!((reply.stop_reason, reply.content.len()), (StopReason::ToolUse, 2));
        assert_eq!(reply.content[1]["input"], json!({}));
        assert!(Assembly::default().take_whole(&json!({ "type": "error", "error": {} }), &words()).is_err());
        assert!(Assembly::default().take_whole(&json!([]), &words()).is_err());
    }
}
