//! What a request looks like.

use super::*;
use crate::conversation::{ToolUse, tool_result_block, tool_use_block};
use crate::toolbox::Tool;

fn tool(name: &str) -> Tool {
    let schema = json!({ "type": "object", "properties": { "page": { "type": "integer" } } });
    let Value::Object(schema) = schema else { panic!("an object") };
    Tool { name: name.into(), description: format!("Does {name}."), schema: Arc::new(schema), ..Tool::default() }
}

fn toolbox(names: &[&str]) -> Arc<Toolbox> {
    Arc::new(Toolbox::new(names.iter().map(|name| tool(name)).collect(), "hash".into()))
}

fn conversation(tools: &Arc<Toolbox>) -> Conversation {
    let mut conversation = Conversation::new(Arc::clone(tools));
    conversation.rules = "The rules.".into();
    conversation.persona = "You are Jonas. \"Hi\"".into();
    conversation.say(Role::User, vec![text_block("Guten Morgen")]);
    conversation
}

fn called(conversation: &mut Conversation, id: &str) {
    let call = ToolUse { id: id.into(), name: "todo_list".into(), input: json!({ "page": 1 }) };
    conversation.say(Role::Assistant, vec![text_block("mal sehen"), tool_use_block(&call)]);
    conversation.say(Role::User, vec![tool_result_block(id, vec![text_block("nichts")], false)]);
}

async fn sent(
    options: impl FnOnce(ModelOptions) -> ModelOptions,
    steps: &[(&Conversation, Option<&Value>)],
) -> Vec<(String, Value)> {
    let provider = Provider::start(steps.iter().map(|_| says("ja")).collect()).await;
    let model = model_with(&options(self::options(&provider)));
    for (conversation, format) in steps {
        model.step(&Step { format: *format, ..step_of(conversation, Duration::from_secs(20)) }).await.unwrap();
    }
    provider.asked().into_iter().map(|asked| (asked.text, asked.body)).collect()
}

fn marks(value: &Value) -> usize {
    match value {
        Value::Object(fields) => {
            usize::from(fields.contains_key("cache_control")) + fields.values().map(marks).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(marks).sum(),
        _ => 0,
    }
}

#[tokio::test]
async fn a_request_has_its_parts_in_the_order_of_the_cache() {
    let tools = toolbox(&["todo_list", "calendar_list"]);
    let mut conversation = conversation(&tools);
    called(&mut conversation, "t1");
    let schema = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    let [(text, body)] = &sent(|options| options, &[(&conversation, Some(&schema))]).await[..] else { panic!("one") };
    let mark = json!({ "type": "ephemeral" });
    let input_schema = json!({ "type": "object", "properties": { "page": { "type": "integer" } } });
    assert_eq!(
        *body,
        json!({
            "model": "claude-haiku-5-5",
            "max_tokens": 1_000,
            "stream": true,
            "tools": [
                { "name": "calendar_list", "description": "Does calendar_list.", "input_schema": input_schema },
                { "name": "todo_list", "description": "Does todo_list.", "input_schema": input_schema, "cache_control": mark },
            ],
            "system": [
                { "type": "text", "text": "The rules.", "cache_control": mark },
                { "type": "text", "text": "You are Jonas. \"Hi\"", "cache_control": mark },
            ],
            "messages": [
                { "role": "user", "content": [{ "type": "text", "text": "Guten Morgen" }] },
                { "role": "assistant", "content": [
                    { "type": "text", "text": "mal sehen" },
                    { "type": "tool_use", "id": "t1", "name": "todo_list", "input": { "page": 1 } },
                ] },
                { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t1",
                    "content": [{ "type": "text", "text": "nichts" }], "cache_control": mark }] },
            ],
            "output_config": { "format": { "type": "json_schema", "schema": schema } },
        })
    );
    let places: Vec<usize> = ["\"tools\":", "\"system\":", "\"messages\":", "\"output_config\":"]
        .iter()
        .map(|part| text.find(part).unwrap())
        .collect();
    assert!(places.is_sorted());
}

#[tokio::test]
async fn history_only_grows() {
    let tools = toolbox(&["todo_list"]);
    let mut states = vec![conversation(&tools)];
    for turn in 0..4 {
        let mut next = states[turn].clone();
        called(&mut next, &format!("t{turn}"));
        states.push(next);
    }
    let steps: Vec<_> = states.iter().map(|state| (state, None)).collect();
    let bodies = sent(|options| options, &steps).await;
    let plain = |text: &str| text.replace(r#","cache_control":{"type":"ephemeral"}"#, "");
    for pair in bodies.windows(2) {
        let (before, after) = (plain(&pair[0].0), plain(&pair[1].0));
        let common = before.strip_suffix("]}").unwrap();
        assert!(after.starts_with(common), "{before}\n{after}");
        assert_eq!(marks(&pair[1].1), 4);
    }
}

#[tokio::test]
async fn what_is_empty_or_not_understood_stays_out() {
    let none = Arc::new(Toolbox::default());
    let mut bare = Conversation::new(none);
    bare.persona = "Du bist Aylin.".into();
    bare.say(Role::User, vec![text_block("eins")]);
    bare.say(Role::Assistant, vec![]);
    bare.say(Role::User, vec![text_block("zwei")]);
    let schema = json!({ "type": "object" });
    let local = |options| ModelOptions { model: "qwen3".into(), allow_unpriced: true, ..options };
    let [(_, body)] = &sent(local, &[(&bare, Some(&schema))]).await[..] else { panic!("one") };
    assert_eq!(
        *body,
        json!({
            "model": "qwen3", "max_tokens": 1_000, "stream": true,
            "system": [{ "type": "text", "text": "Du bist Aylin." }],
            "messages": [{ "role": "user", "content": [
                { "type": "text", "text": "eins" }, { "type": "text", "text": "zwei" },
            ] }],
        })
    );
    let told = |options: ModelOptions| ModelOptions { structured: Some(true), ..local(options) };
    assert!(sent(told, &[(&bare, Some(&schema))]).await[0].1.get("output_config").is_some());
    let [(_, body)] = &sent(|options| options, &[(&bare, None)]).await[..] else { panic!("one") };
    assert_eq!(body["messages"][0]["content"][1]["cache_control"], json!({ "type": "ephemeral" }));
    assert_eq!(marks(body), 2);
}

#[tokio::test]
async fn what_no_server_takes_is_not_sent() {
    let (provider, model) = scripted(vec![]).await;
    let tools = toolbox(&["todo_list"]);
    let empty = Conversation::new(Arc::clone(&tools));
    let mut open = conversation(&tools);
    let call = ToolUse { id: "t1".into(), name: "todo_list".into(), input: json!({}) };
    open.say(Role::Assistant, vec![tool_use_block(&call)]);
    let mut backwards = Conversation::new(tools);
    backwards.say(Role::Assistant, vec![text_block("ich zuerst")]);
    for conversation in [empty, open, backwards] {
        let error = ask_within(&model, &conversation, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(error.kind, EngineErrorKind::Rejected, "{error}");
    }
    assert_eq!(provider.asked().len(), 0);
}

#[tokio::test]
async fn an_estimate_is_never_less_than_what_is_sent() {
    let (_provider, model) = scripted(vec![]).await;
    let names: Vec<String> = (0..50).map(|i| format!("tool_{i:02}")).collect();
    let tools = toolbox(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let conversation = conversation(&tools);
    let step = step_of(&conversation, Duration::from_secs(1));
    let first = model.estimate(&step, None, 0);
    let [(text, _)] = &sent(|options| options, &[(&conversation, None)]).await[..] else { panic!("one") };
    let bytes = text.len() as u64;
    assert!(first.tokens >= 1_000 + bytes * 9 / 30 && first.tokens <= 1_000 + bytes / 2, "{first:?} for {bytes}");
    let later = model.estimate(&step, Some(50_000), 3_000);
    assert_eq!(later.tokens, 52_000);
    // 51,000 × 0.125 + 1,000 × 0.5
    assert_eq!(later.micro_usd, 6_875);
    let band = model.estimate(&step, Some(100_000), 3_000);
    assert_eq!(band.micro_usd, 101_000 * 625 / 1_000 + 2_500);
    let free = model_with(&ModelOptions { model: "m".into(), allow_unpriced: true, ..ModelOptions::default() });
    assert_eq!(free.estimate(&step, Some(10), 0).micro_usd, 0);
    assert_eq!((free.name(), free.closed_for()), ("m", None));
}

#[tokio::test]
async fn tools_are_written_once_for_each_list() {
    let texts = super::super::ToolTexts::default();
    let (one, same) = (toolbox(&["a"]), toolbox(&["a"]));
    let first = texts.of(&one, true);
    assert!(Arc::ptr_eq(&first, &texts.of(&one, true)));
    assert!(Arc::ptr_eq(&first, &texts.of(&same, true)), "the same list from another connection");
    drop(same);
    assert_ne!(texts.of(&toolbox(&["b"]), true), first);
    assert_eq!(&*texts.of(&Arc::new(Toolbox::default()), true), "");
}
