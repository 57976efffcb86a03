//! From what a tool answered to what the persona reads, and to what the audit keeps.

use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Value, json};

use crate::conversation::text_block;

/// How much text of one answer is read, in bytes.
const READ: usize = 16 * 1024;

/// Pictures that a model can look at.
const PICTURES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// A tool's answer, ready to be read.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) content: Vec<Value>,
    pub(crate) is_error: bool,
    /// Of an error: its stable code.
    pub(crate) code: Option<String>,
    /// Of an error: what it says.
    pub(crate) message: Option<String>,
}

/// Reads an answer: structured content as JSON, pictures as pictures, everything else as a line of text.
pub(crate) fn read(result: &CallToolResult) -> Reading {
    let is_error = result.is_error.unwrap_or(false);
    let mut content = Vec::new();
    let mut texts = Vec::new();
    for block in &result.content {
        match block {
            ContentBlock::Text(text) => texts.push(text.text.clone()),
            ContentBlock::Image(image) if PICTURES.contains(&image.mime_type.as_str()) => content.push(json!({
                "type": "image",
                "source": { "type": "base64", "media_type": image.mime_type, "data": image.data },
            })),
            ContentBlock::Image(image) => texts.push(format!("(a picture of type {})", image.mime_type)),
            ContentBlock::Audio(audio) => texts.push(format!("(audio of type {})", audio.mime_type)),
            ContentBlock::ResourceLink(link) => texts.push(format!("(a link to {})", link.uri)),
            _ => texts.push("(an embedded resource)".into()),
        }
    }
    let joined = texts.join("\n");
    let text = match &result.structured_content {
        Some(value) => cut_json(value),
        None => cut_text(&joined),
    };
    if !text.is_empty() {
        content.insert(0, text_block(&text));
    }
    // Mana describes an error in `_meta`: some clients hold structured content against the output schema even then.
    let in_meta = result.meta.as_ref().and_then(|meta| meta.get("mana/error"));
    let described = in_meta.or(result.structured_content.as_ref());
    let member = |name: &str| described?.get(name)?.as_str().map(str::to_owned);
    let code = is_error.then(|| member("code").unwrap_or_else(|| "tool_error".into()));
    let message = is_error.then(|| member("message").unwrap_or(joined)).filter(|message| !message.is_empty());
    Reading { content, is_error, code, message: message.map(|message| message.chars().take(500).collect()) }
}

/// JSON within the limit: the longest list loses its last items until it fits. What cannot be shortened so is cut as text.
fn cut_json(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= READ {
        return text;
    }
    let mut value = value.clone();
    while let Some(list) = longest_list(&mut value) {
        let dropped = list.len().div_ceil(2);
        list.truncate(list.len() - dropped);
        let shorter = value.to_string();
        if shorter.len() <= READ {
            return shorter;
        }
    }
    cut_text(&text)
}

fn longest_list(value: &mut Value) -> Option<&mut Vec<Value>> {
    fn weight(value: &Value) -> usize {
        match value {
            Value::Array(items) => items.len().max(items.iter().map(weight).max().unwrap_or(0)),
            Value::Object(members) => members.values().map(weight).max().unwrap_or(0),
            _ => 0,
        }
    }
    let most = weight(value);
    if most == 0 {
        return None;
    }
    match value {
        Value::Array(items) => {
            if items.len() == most {
                return Some(items);
            }
            items.iter_mut().find(|item| weight(item) == most).and_then(longest_list)
        }
        Value::Object(members) => members.values_mut().find(|member| weight(member) == most).and_then(longest_list),
        _ => None,
    }
}

/// Text within the limit: its head and its tail, with a mark between them that says how much is missing.
fn cut_text(text: &str) -> String {
    if text.len() <= READ {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(READ * 3 / 4);
    let tail = text.ceil_char_boundary(text.len() - READ / 5);
    format!("{}\n[… {} bytes left out …]\n{}", &text[..head], tail - head, &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_json_loses_items_and_stays_json() {
        let items: Vec<Value> =
            (0..2000).map(|i| json!({ "id": i, "title": "ein Titel, der etwas länger ist" })).collect();
        let text = cut_json(&json!({ "items": items, "nextCursor": "abc" }));
        assert!(text.len() <= READ);
        let value: Value = serde_json::from_str(&text).expect("still JSON");
        assert_eq!(value["nextCursor"], "abc");
        assert!(value["items"].as_array().is_some_and(|items| items.len() > 50 && items[0]["id"] == 0));
    }

    #[test]
    fn long_text_is_cut_on_a_character() {
        for shift in 0..4 {
            let text = format!("{}{}", "x".repeat(shift), "🦊".repeat(10_000));
            let cut = cut_text(&text);
            assert!(cut.len() <= READ && cut.contains("bytes left out") && cut.ends_with('🦊'));
        }
    }

    #[test]
    fn an_error_keeps_its_code_and_sentence() {
        let wire = json!({
            "content": [{ "type": "text", "text": "there is no such task" }],
            "structuredContent": { "code": "NOT_FOUND", "message": "there is no such task" },
            "isError": true,
        });
        let reading = read(&serde_json::from_value(wire).expect("a result"));
        assert!(reading.is_error);
        assert_eq!(reading.code.as_deref(), Some("NOT_FOUND"));
        assert_eq!(reading.message.as_deref(), Some("there is no such task"));
    }

    #[test]
    fn an_error_of_mana_is_read_from_its_metadata() {
        let wire = json!({
            "content": [{ "type": "text", "text": "conflict: it was changed meanwhile." }, { "type": "text", "text": "{}" }],
            "_meta": { "mana/error": { "code": "conflict", "message": "it was changed meanwhile" } },
            "isError": true,
        });
        let reading = read(&serde_json::from_value(wire).expect("a result"));
        assert_eq!(reading.code.as_deref(), Some("conflict"));
        assert_eq!(reading.message.as_deref(), Some("it was changed meanwhile"));
    }

    #[test]
    fn an_answer_without_words_is_still_readable() {
        let reading = read(&serde_json::from_value(json!({ "content": [] })).expect("a result"));
        assert!(reading.content.is_empty() && !reading.is_error);
    }
}
