//! The client against a provider on a real socket that answers by script.

mod log;
mod requests;
mod server;

use std::sync::Arc;
use std::time::Duration;

use mana_types::{Clock, ManualClock, Random, Secret, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;

use self::server::{Part, Provider, Script, block, end, events, message, said, says, start};
use super::{ApiVersion, AuthStyle, Model, ModelOptions};
use crate::conversation::{Conversation, Reply, Role, StopReason, Usage, text_block};
use crate::engine::{EngineError, EngineErrorKind, Step};
use crate::toolbox::Toolbox;

/// A key in no shape that anything could recognise.
const KEY: &str = "canary-Zq7";

/// Chance that never makes anybody wait.
#[derive(Debug)]
struct NoChance;

impl Random for NoChance {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::at("2026-11-20T12:00:00Z".parse::<Timestamp>().unwrap()))
}

fn options(provider: &Provider) -> ModelOptions {
    ModelOptions { base_url: provider.url.clone(), key: Secret::new(KEY), ..ModelOptions::default() }
}

fn model_with(options: &ModelOptions) -> Model {
    Model::new(options, clock(), Arc::new(NoChance)).unwrap()
}

async fn scripted(scripts: Vec<Script>) -> (Provider, Model) {
    let provider = Provider::start(scripts).await;
    let model = model_with(&options(&provider));
    (provider, model)
}

fn greeting() -> Conversation {
    let mut conversation = Conversation::new(Arc::new(Toolbox::default()));
    conversation.say(Role::User, vec![text_block("Guten Tag")]);
    conversation
}

fn step_of(conversation: &Conversation, limit: Duration) -> Step<'_> {
    Step { conversation, max_tokens: 1_000, format: None, deadline: Instant::now() + limit }
}

/// Asks for the next reply, and sees to it that no failure tells the key.
async fn ask_within(model: &Model, conversation: &Conversation, limit: Duration) -> Result<Reply, EngineError> {
    let result = model.step(&step_of(conversation, limit)).await;
    if let Err(error) = &result {
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.len() < 6_000, "{}", shown.len());
    }
    assert!(!format!("{model:?}").contains("canary"));
    result
}

async fn ask(model: &Model) -> Result<Reply, EngineError> {
    ask_within(model, &greeting(), Duration::from_secs(20)).await
}

fn stream(text: impl Into<bytes::Bytes>) -> Script {
    Script::stream(vec![Part::Send(text.into())])
}

#[tokio::test]
async fn a_reply_comes_back_with_its_blocks_and_its_price() {
    let (provider, model) = scripted(vec![says("Hallo")]).await;
    let reply = ask(&model).await.unwrap();
    assert_eq!(reply.content, [json!({ "type": "text", "text": "Hallo" })]);
    assert_eq!((reply.stop_reason, reply.prompt_tokens), (StopReason::EndTurn, 120));
    assert_eq!(reply.model.as_deref(), Some("claude-haiku-5-5-20261021"));
    assert_eq!((reply.usage.input_tokens, reply.usage.cache_read_tokens, reply.usage.output_tokens), (100, 20, 50));
    // 100 × 0.1 + 20 × 0.01 + 50 × 0.5, rounded up.
    assert_eq!(model.cost_micro_usd(&reply.usage), 36);
    let [asked] = &provider.asked()[..] else { panic!("one request") };
    assert_eq!(asked.headers["x-api-key"], KEY);
    assert_eq!(asked.headers["anthropic-version"], "2026-10-21");
    assert!(!asked.headers.contains_key("authorization"));
    assert_eq!(asked.body["model"], "claude-haiku-5-5");
}

#[tokio::test]
async fn other_servers_are_spoken_to_in_their_dialect() {
    let provider = Provider::start(vec![says("a"), says("b")]).await;
    let local = ModelOptions {
        auth: AuthStyle::Bearer,
        version: ApiVersion::V20230601,
        model: "qwen3".into(),
        allow_unpriced: true,
        ..options(&provider)
    };
    ask(&model_with(&local)).await.unwrap();
    let reply = ask(&model_with(&ModelOptions { key: Secret::default(), ..local.clone() })).await.unwrap();
    assert_eq!(model_with(&local).cost_micro_usd(&reply.usage), 0);
    let asked = provider.asked();
    assert_eq!(asked[0].headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(asked[0].headers["anthropic-version"], "2023-06-01");
    for name in ["x-api-key", "authorization"] {
        assert!(!asked[1].headers.contains_key(name));
    }
    assert!(!asked[0].headers.contains_key("x-api-key"));
}

#[tokio::test]
async fn bad_options_are_refused_before_anything_is_sent() {
    let refuse = |options: &ModelOptions| Model::new(options, clock(), Arc::new(NoChance)).unwrap_err();
    let unknown = ModelOptions { model: "gpt".into(), ..ModelOptions::default() };
    assert!(refuse(&unknown).contains("`gpt` has no price"));
    let broken = ModelOptions { key: Secret::new("canary\nkey"), ..ModelOptions::default() };
    assert!(refuse(&broken).contains("characters that no header can carry"));
    let far = ModelOptions { base_url: "http://me:canary@example.com".into(), ..ModelOptions::default() };
    assert!(!refuse(&far).contains("canary"));
}

// Rows 4 to 8 and 18: what a stream may hold and how it may be cut.

#[tokio::test]
async fn inputs_of_calls_are_joined_and_odd_ones_told() {
    let call = |id: &str| json!({ "type": "tool_use", "id": id, "name": "todo_list", "input": {} });
    let piece = |text: &str| json!({ "type": "input_json_delta", "partial_json": text });
    let blocks = vec![
        block(0, &call("t1"), &[piece("")]),
        block(1, &call("t2"), &[piece("{\"pa"), piece("ge\": 2}")]),
        block(2, &call("t3"), &[piece("{\"page\": ")]),
    ];
    let (_provider, model) = scripted(vec![stream(message(blocks, "tool_use"))]).await;
    let reply = ask(&model).await.unwrap();
    let inputs: Vec<&Value> = reply.content.iter().map(|block| &block["input"]).collect();
    assert_eq!(inputs, [&json!({}), &json!({ "page": 2 }), &json!({})]);
    assert_eq!(reply.broken_inputs, [("t3".to_owned(), "{\"page\": ".to_owned())]);
    assert_eq!(reply.stop_reason, StopReason::ToolUse);
}

#[tokio::test]
async fn a_reply_is_sent_back_as_it_came() {
    let thought = json!({ "type": "thinking", "thinking": "", "signature": "" });
    let call =
        json!({ "type": "tool_use", "id": "t1", "name": "todo_list", "input": {}, "caller": { "type": "direct" } });
    let blocks = vec![
        block(
            0,
            &thought,
            &[
                json!({ "type": "thinking_delta", "thinking": "hm" }),
                json!({ "type": "signature_delta", "signature": "c2ln" }),
            ],
        ),
        block(1, &thought, &[json!({ "type": "signature_delta", "signature": "leer" })]),
        block(2, &json!({ "type": "redacted_thinking", "data": "b64" }), &[]),
        block(
            3,
            &json!({ "type": "block_of_tomorrow", "a": { "b": [1, 2.5, null] } }),
            &[json!({ "type": "delta_of_tomorrow" })],
        ),
        vec![json!({ "type": "event_of_tomorrow" })],
        block(4, &call, &[]),
    ];
    let (provider, model) = scripted(vec![stream(message(blocks, "tool_use")), says("fertig")]).await;
    let mut conversation = greeting();
    let reply = ask(&model).await.unwrap();
    conversation.say(Role::Assistant, reply.content);
    let result = json!({ "type": "tool_result", "tool_use_id": "t1", "content": [text_block("ok")] });
    conversation.say(Role::User, vec![result]);
    ask_within(&model, &conversation, Duration::from_secs(20)).await.unwrap();
    assert_eq!(
        provider.asked()[1].body["messages"][1],
        json!({ "role": "assistant", "content": [
            { "type": "thinking", "thinking": "hm", "signature": "c2ln" },
            { "type": "thinking", "thinking": "", "signature": "leer" },
            { "type": "redacted_thinking", "data": "b64" },
            { "type": "block_of_tomorrow", "a": { "b": [1, 2.5, null] } },
            { "type": "tool_use", "id": "t1", "name": "todo_list", "input": {}, "caller": { "type": "direct" } },
        ] })
    );
}

#[tokio::test]
async fn ends_are_named_and_a_pause_is_sent_on() {
    let names = ["refusal", "max_tokens", "model_context_window_exceeded", "reason_of_tomorrow", "pause_turn"];
    let scripts = names.iter().map(|name| stream(message(vec![], name))).chain([says("weiter")]).collect();
    let (provider, model) = scripted(scripts).await;
    let expected = [
        StopReason::Refusal,
        StopReason::MaxTokens,
        StopReason::ModelContextWindowExceeded,
        StopReason::Other,
        StopReason::PauseTurn,
    ];
    for expected in expected {
        let reply = ask(&model).await.unwrap();
        assert_eq!((reply.stop_reason, reply.content.len()), (expected, 0));
    }
    let mut paused = greeting();
    paused.say(Role::Assistant, vec![json!({ "type": "server_tool_use", "id": "s1", "name": "x", "input": {} })]);
    ask_within(&model, &paused, Duration::from_secs(20)).await.unwrap();
    let messages = &provider.asked()[5].body["messages"];
    assert_eq!(messages.as_array().unwrap().len(), 2);
    assert_eq!(messages[1]["content"][0]["type"], "server_tool_use");
}

#[tokio::test]
async fn a_stream_reads_the_same_however_it_is_written() {
    let text = "Grüße 🎈";
    let plain = said(text);
    let crlf = format!("\u{feff}: hello\r\n{}", plain.replace('\n', "\r\n"));
    let lines = plain.replace("data: {", "data: {\ndata:");
    let bytewise: Vec<Part> = plain.bytes().map(|byte| Part::Send(vec![byte].into())).collect();
    let scripts = vec![stream(plain.clone()), stream(crlf), stream(lines), Script::stream(bytewise)];
    let count = scripts.len();
    let (_provider, model) = scripted(scripts).await;
    for _ in 0..count {
        assert_eq!(ask(&model).await.unwrap().content, [text_block(text)]);
    }
}

#[tokio::test]
async fn a_line_without_end_is_an_error_with_a_bound() {
    let long = format!("data: {}\n\n", "x".repeat(2 * 1024 * 1024));
    let (provider, model) = scripted(vec![stream(long), says("no")]).await;
    let error = ask(&model).await.unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::ProviderDown);
    assert!(error.reason.contains("a line of the stream is longer"), "{error}");
    assert_eq!(provider.asked().len(), 1, "the same again would be as long");
}

// Rows 10 to 14: errors.

#[tokio::test]
async fn the_pause_that_a_provider_asks_for_is_kept() {
    let date = "Fri, 20 Nov 2026 12:00:01 GMT";
    for (name, value, least) in
        [("retry-after", "1", 1_000), ("retry-after", date, 1_000), ("retry-after-ms", "300", 300)]
    {
        let (_provider, model) =
            scripted(vec![Script::error(429, "rate_limit_error").with(name, value), says("a")]).await;
        let began = Instant::now();
        ask(&model).await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(least), "{name}: {value}");
    }
    for value in ["0", "soon", "-1"] {
        let (_provider, model) =
            scripted(vec![Script::error(429, "rate_limit_error").with("retry-after", value), says("a")]).await;
        let began = Instant::now();
        ask(&model).await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(900), "{value}");
    }
    let (provider, model) =
        scripted(vec![Script::error(429, "rate_limit_error").with("retry-after", "3600"), says("a")]).await;
    let began = Instant::now();
    let error = ask(&model).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(error.kind, EngineErrorKind::ProviderDown);
    assert!(error.reason.contains("over before another try"), "{error}");
    assert!(model.closed_for().unwrap().contains("asks for a pause until 2026-11-20T12:1"));
    assert_eq!(ask(&model).await.unwrap_err().kind, EngineErrorKind::ProviderDown);
    assert_eq!(provider.asked().len(), 1);
}

#[tokio::test]
async fn a_spending_limit_is_final_and_opens_the_circuit() {
    let body = json!({ "type": "error", "error": { "type": "rate_limit_error", "message": "limit reached",
        "details": { "error_code": "enforced_spend_limit_reached" } } });
    let (provider, model) = scripted(vec![Script::of(429, "application/json", body.to_string()), says("no")]).await;
    let error = ask(&model).await.unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::ProviderDown);
    assert!(error.reason.contains("enforced_spend_limit_reached"), "{error}");
    let closed = model.closed_for().unwrap();
    assert!(closed.contains("until 2026-11-20T12:01:00.000Z") && closed.contains("limit reached"), "{closed}");
    assert_eq!(ask(&model).await.unwrap_err().reason, closed);
    assert_eq!(provider.asked().len(), 1);
}

#[tokio::test]
async fn overload_passes() {
    let overloaded = || Script::error(529, "overloaded_error");
    let (provider, model) = scripted(vec![overloaded(), overloaded(), says("da")]).await;
    let reply = ask(&model).await.unwrap();
    assert_eq!(reply.content, [text_block("da")]);
    assert!(!reply.usage.estimated, "an error takes no tokens");
    assert_eq!(model.closed_for(), None);
    let texts: Vec<String> = provider.asked().into_iter().map(|asked| asked.text).collect();
    assert!(texts.len() == 3 && texts.iter().all(|text| *text == texts[0]), "the same request each time");
}

#[tokio::test]
async fn five_faults_open_the_circuit() {
    let scripts = (0..8).map(|_| Script::error(500, "api_error")).collect();
    let (provider, model) = scripted(scripts).await;
    let error = ask(&model).await.unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::ProviderDown);
    assert!(error.reason.contains("left alone until"), "{error}");
    assert_eq!(provider.asked().len(), 5);
}

#[tokio::test]
async fn the_provider_decides_what_is_tried_again() {
    let no = Script::error(529, "overloaded_error").with("x-should-retry", "false");
    let (provider, model) = scripted(vec![no, says("no")]).await;
    assert_eq!(ask(&model).await.unwrap_err().kind, EngineErrorKind::ProviderDown);
    assert_eq!(provider.asked().len(), 1);

    let yes = Script::error(400, "invalid_request_error").with("x-should-retry", "true");
    let (provider, model) = scripted(vec![yes, says("ja")]).await;
    ask(&model).await.unwrap();
    assert_eq!(provider.asked().len(), 2);
}

#[tokio::test]
async fn final_errors_are_typed_and_tell_no_secret() {
    let secrets = format!(
        "<html><body>x-api-key: {KEY} sk-canary-123456 Bearer canary.token\nauthorization: Basic canary\n<p>https://me:canary@host/</p> {}</body></html>",
        "ö".repeat(4_000)
    );
    let closing = [401, 402, 403, 404];
    for status in [400, 401, 402, 403, 404, 413] {
        let page = Script::of(status, "text/html", secrets.clone()).with("request-id", "sk-canary-in-a-header");
        let (provider, model) = scripted(vec![page, says("no")]).await;
        let error = ask(&model).await.unwrap_err();
        let is_ours = closing.contains(&status);
        let expected = if is_ours { EngineErrorKind::ProviderDown } else { EngineErrorKind::Rejected };
        assert_eq!(error.kind, expected, "{status}");
        assert!(error.reason.contains(&status.to_string()) && error.reason.len() < 2_400, "{}", error.reason);
        assert_eq!(model.closed_for().is_some(), is_ours, "{status}");
        assert_eq!(provider.asked().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Provider::start(vec![says("no")]).await;
    let away = Script::of(307, "text/plain", "").with("location", format!("{}/v1/messages", elsewhere.url));
    let (_provider, model) = scripted(vec![away]).await;
    assert!(ask(&model).await.unwrap_err().reason.contains("set the base URL"));
    assert_eq!(elsewhere.asked().len(), 0);
}

#[tokio::test]
async fn nobody_there_is_told_without_the_address() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/geheim", listener.local_addr().unwrap());
    drop(listener);
    let model = model_with(&ModelOptions { base_url: url, key: Secret::new(KEY), ..ModelOptions::default() });
    let error = ask(&model).await.unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::ProviderDown);
    assert!(error.reason.contains("refused") && !error.reason.contains("geheim"), "{error}");
    assert!(model.closed_for().is_some());
}

// Rows 15 to 17 and 28: answers that break off, hang, or are something else.

#[tokio::test]
async fn what_breaks_off_is_thrown_away_asked_again_and_counted() {
    let half = [vec![start()], block(0, &text_block(""), &[json!({ "type": "text_delta", "text": "x".repeat(300) })])]
        .concat();
    let error = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "Overloaded" } });
    let half_text = || Part::Send(events(&half).into());
    let no_stop = [half.clone(), end("end_turn")[..1].to_vec()].concat();
    let scripts = vec![
        Script::stream(vec![half_text(), Part::Send(events(&[error]).into())]),
        Script::stream(vec![half_text(), Part::Wait(Duration::from_millis(50)), Part::Cut]),
        stream(events(&no_stop)),
        says("ganz"),
    ];
    let (provider, model) = scripted(scripts).await;
    let reply = ask(&model).await.unwrap();
    assert_eq!(reply.content, [text_block("ganz")]);
    assert_eq!(provider.asked().len(), 4);
    assert_eq!((reply.usage.input_tokens, reply.usage.cache_read_tokens), (400, 80));
    // A hundred for each half, whatever the provider had counted by then, and what the whole one says.
    assert_eq!((reply.usage.output_tokens, reply.usage.estimated), (350, true));
    assert_eq!(reply.prompt_tokens, 120, "of the attempt that counts");
}

#[tokio::test]
async fn silence_is_a_timeout_and_pings_are_life() {
    let hour = Duration::from_hours(1);
    let idle = Duration::from_millis(200);
    let silent = Script::stream(vec![Part::Send(events(&[start()]).into()), Part::Wait(hour)]);
    let provider = Provider::start(vec![silent, says("da")]).await;
    let model = model_with(&ModelOptions { idle_timeout: idle, ..options(&provider) });
    assert_eq!(ask(&model).await.unwrap().content, [text_block("da")]);

    let ping = events(&[json!({ "type": "ping" })]);
    let mut parts = vec![Part::Send(events(&[start()]).into())];
    parts.extend((0..40).flat_map(|_| [Part::Wait(Duration::from_millis(50)), Part::Send(ping.clone().into())]));
    let provider = Provider::start(vec![Script::stream(parts)]).await;
    let model = model_with(&ModelOptions { idle_timeout: idle, ..options(&provider) });
    let began = Instant::now();
    let error = ask_within(&model, &greeting(), Duration::from_millis(700)).await.unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::OutOfTime, "{error}");
    assert!(began.elapsed() >= Duration::from_millis(690), "longer than silence would be borne");
    assert_eq!((error.usage.input_tokens, error.usage.estimated), (100, true));
    assert_eq!(provider.asked().len(), 1);
}

#[tokio::test]
async fn no_call_begins_after_the_end_of_a_visit() {
    let (provider, model) = scripted(vec![says("no")]).await;
    let error = ask_within(&model, &greeting(), Duration::ZERO).await.unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::OutOfTime);
    assert_eq!(provider.asked().len(), 0);
}

#[tokio::test]
async fn an_answer_that_is_no_stream_is_read_or_named() {
    let message = json!({ "type": "message", "model": "m", "stop_reason": "end_turn",
        "content": [{ "type": "text", "text": "ganz" }], "usage": { "input_tokens": 7, "output_tokens": 3 } });
    let whole = Script::of(200, "application/json; charset=utf-8", message.to_string());
    let (_provider, model) = scripted(vec![whole]).await;
    let reply = ask(&model).await.unwrap();
    assert_eq!((reply.content, reply.prompt_tokens), (vec![text_block("ganz")], 7));

    let odd = vec![
        Script::of(200, "application/json", "{\"type\":\"message\","),
        Script::of(200, "application/json", "[]"),
        Script::of(200, "text/html", "<html>please log in</html>"),
        Script::of(200, "text/event-stream", ""),
        says("endlich"),
    ];
    let (provider, model) = scripted(odd.clone()).await;
    assert_eq!(ask(&model).await.unwrap().content, [text_block("endlich")]);
    assert_eq!(provider.asked().len(), 5);

    let error = json!({ "type": "error", "error": { "type": "invalid_request_error", "message": "bad" } });
    let (_provider, model) = scripted(vec![Script::of(200, "application/json", error.to_string())]).await;
    assert_eq!(ask(&model).await.unwrap_err().kind, EngineErrorKind::Rejected);
}

#[tokio::test]
async fn usage_that_is_missing_is_estimated_and_said() {
    let bare = json!({ "type": "message_start", "message": { "model": "m", "content": [] } });
    let text = block(0, &text_block(""), &[json!({ "type": "text_delta", "text": "123456789" })]);
    let last = vec![
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": null }),
        json!({ "type": "message_stop" }),
    ];
    let first_only = [vec![start()], text.clone(), last.clone()].concat();
    let none = [vec![bare], text, last].concat();
    let (provider, model) = scripted(vec![stream(events(&none)), stream(events(&first_only))]).await;
    let usage = ask(&model).await.unwrap().usage;
    let sent = provider.asked()[0].text.len() as u64;
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.estimated), (sent / 3, 3, true));
    let usage = ask(&model).await.unwrap().usage;
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.estimated), (100, 1, false));
}

#[tokio::test]
async fn a_cancelled_call_gives_its_place_back() {
    let hour = Duration::from_hours(1);
    let hang = || Script::stream(vec![Part::Send(events(&[start()]).into()), Part::Wait(hour)]);
    let provider = Provider::start(vec![hang(), says("da")]).await;
    let model = model_with(&ModelOptions { most_at_once: 1, ..options(&provider) });
    assert!(tokio::time::timeout(Duration::from_millis(200), ask(&model)).await.is_err());
    assert_eq!(ask(&model).await.unwrap().content, [text_block("da")]);
}

#[tokio::test]
async fn no_log_tells_the_key_or_the_conversation() {
    let lines = log::Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let echo = format!("key {KEY} was refused, x-api-key: {KEY}, sk-canary-12345678");
    let mut scripts: Vec<Script> =
        (0..4).map(|_| Script::of(500, "text/plain", echo.clone()).with("set-cookie", "sid=canary")).collect();
    scripts.push(says("Vertrauliches"));
    scripts.push(Script::of(401, "text/plain", echo));
    let (_provider, model) = scripted(scripts).await;
    // A test beside this one may have met a line's place for the first time just when this listener came, and put down that
    // nobody listens: that is looked at again.
    tracing::callsite::rebuild_interest_cache();
    ask(&model).await.unwrap();
    tracing::callsite::rebuild_interest_cache();
    ask(&model).await.unwrap_err();
    let text = lines.text();
    assert!(text.contains("trying again") && text.contains("will not serve us"), "{text}");
    for secret in ["canary", "Guten Tag", "Vertrauliches"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[tokio::test]
async fn the_price_of_a_prompt_does_not_rise_with_the_attempts_at_it() {
    let (_, model) = scripted(Vec::new()).await;
    let once = Usage { input_tokens: 60_000, output_tokens: 100, largest_prompt: 60_000, ..Usage::default() };
    let twice = model.cost_micro_usd(&once.plus(once));
    assert_eq!(twice, 2 * model.cost_micro_usd(&once), "120,000 tokens together, but never a prompt above 100,000");
    let large = Usage { input_tokens: 120_000, ..Usage::default() };
    assert!(model.cost_micro_usd(&large) > twice);
}
