//! From what a tool answered to what the persona reads, and to what the audit keeps.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::{Value, json};

use crate::conversation::text_block;
use crate::hash::short_hash;

/// How much text of one answer is read, in bytes.
const READ: usize = 16 * 1024;

/// How large a picture may be, in bytes of base64: a larger one is refused by those who would look at it.
const PICTURE: usize = 5 * 1024 * 1024;

/// How many pictures of one answer are looked at.
const PICTURES: usize = 8;

/// How much the pictures of one message may have together, and those of a whole conversation, in bytes of base64: more
/// is taken neither by the journal nor by a provider.
const MESSAGE: usize = 5 * 1024 * 1024;
const CONVERSATION: usize = 20 * 1024 * 1024;

/// How often lists are shortened before the rest is cut as text.
const SHORTENED: usize = 64;

/// How many characters of an error's sentence an audit row keeps.
const SENTENCE: usize = 500;

/// How many characters of an error's code.
const CODE: usize = 64;

/// A tool's answer, ready to be read.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Text first, and JSON before any other text; then pictures.
    pub(crate) content: Vec<Value>,
    pub(crate) is_error: bool,
    /// Of an error: its stable code.
    pub(crate) code: Option<String>,
    /// Of an error: what it says.
    pub(crate) message: Option<String>,
    /// How large the answer was before it was cut, as JSON.
    pub(crate) bytes: usize,
    /// The first 16 hexadecimal digits of the SHA-256 of that JSON.
    pub(crate) hash: String,
}

/// Reads an answer: structured content as JSON, pictures as pictures, everything else as a line of text.
pub(crate) fn read(result: &CallToolResult) -> Reading {
    let is_error = result.is_error.unwrap_or(false);
    let is_structured = result.structured_content.is_some();
    let (mut texts, mut lines, mut pictures) = (Vec::new(), Vec::new(), Vec::new());
    for block in &result.content {
        match block {
            ContentBlock::Text(text) => {
                texts.push(text.text.as_str());
                // Beside structured content it says the same once more.
                lines.extend((!is_structured && !text.text.is_empty()).then(|| text.text.clone()));
            }
            ContentBlock::Image(image) => match picture(&image.data) {
                Some(kind) if pictures.len() < PICTURES => pictures.push(json!({
                    "type": "image",
                    "source": { "type": "base64", "media_type": kind, "data": image.data },
                })),
                _ => lines.push(format!("(a picture of type {}, {} bytes)", word(&image.mime_type), image.data.len())),
            },
            ContentBlock::Audio(audio) => {
                lines.push(format!("(audio of type {}, {} bytes)", word(&audio.mime_type), audio.data.len()));
            }
            ContentBlock::ResourceLink(link) => {
                lines.push(format!("(a link to {}, {})", word(&link.uri), word(&link.name)));
            }
            ContentBlock::Resource(embedded) => lines.push(resource(&embedded.resource)),
            _ => lines.push("(something that this client cannot show)".into()),
        }
    }
    let joined = texts.join("\n");
    let mut content = Vec::new();
    if let Some(value) = &result.structured_content {
        // On its own: whoever reads it as JSON must find nothing else.
        let (text, left_out) = cut_json(value);
        content.push(text);
        lines.extend(left_out);
    }
    content.push(cut_text(&lines.join("\n")));
    let texts = content.iter().filter(|text| !text.is_empty()).map(|text| text_block(text));
    let content = texts.chain(pictures).collect();
    // Mana describes an error in `_meta`: some clients hold structured content against the output schema even then.
    let in_meta = result.meta.as_ref().and_then(|meta| meta.get("mana/error"));
    let described = in_meta.or(result.structured_content.as_ref());
    let member = |name: &str| described?.get(name)?.as_str().map(str::to_owned);
    let code = is_error.then(|| member("code").filter(|code| !code.is_empty()).unwrap_or_else(|| "tool_error".into()));
    let message = is_error.then(|| member("message").unwrap_or(joined)).filter(|message| !message.is_empty());
    let original = serde_json::to_vec(&(&result.content, &result.structured_content)).unwrap_or_default();
    Reading {
        content,
        is_error,
        code: code.map(|code| code.chars().take(CODE).collect()),
        message: message.map(|message| message.chars().take(SENTENCE).collect()),
        bytes: original.len(),
        hash: short_hash(&original),
    }
}

/// Pictures for which there is no room become a line of text. `said`: the blocks of the conversation so far; `content`:
/// the answers that are about to join it.
pub(crate) fn fit_pictures<'a>(said: impl Iterator<Item = &'a Value>, content: &mut [Value]) {
    let size = |part: &Value| part.pointer("/source/data").and_then(Value::as_str).map_or(0, str::len);
    let parts = |block: &'a Value| block.get("content").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let seen: usize = said.flat_map(parts).map(size).sum();
    let mut room = MESSAGE.min(CONVERSATION.saturating_sub(seen));
    let answers = content.iter_mut().filter_map(|block| block.get_mut("content")?.as_array_mut());
    for part in answers.flatten().filter(|part| part["type"] == "image") {
        let bytes = size(part);
        match room.checked_sub(bytes) {
            Some(left) => room = left,
            None => *part = text_block(&format!("(a picture of {bytes} bytes: there were too many to look at)")),
        }
    }
}

/// The type of a picture that a model can look at, by its first bytes: what a server declares is not always what it
/// sends, and one wrong picture would have the whole conversation refused.
fn picture(data: &str) -> Option<&'static str> {
    if data.len() > PICTURE || !data.len().is_multiple_of(4) {
        return None;
    }
    let bytes = BASE64_STANDARD.decode(data).ok()?;
    match &*bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

/// An embedded resource: a line that says what it is, and its text if it is one.
fn resource(resource: &ResourceContents) -> String {
    match resource {
        ResourceContents::TextResourceContents { uri, mime_type, text, .. } => {
            let kind = mime_type.as_deref().unwrap_or("text/plain");
            format!("(a resource {} of type {})\n{text}", word(uri), word(kind))
        }
        ResourceContents::BlobResourceContents { uri, mime_type, blob, .. } => {
            let kind = mime_type.as_deref().unwrap_or("application/octet-stream");
            format!("(a resource {} of type {}, {} bytes)", word(uri), word(kind), blob.len())
        }
        _ => "(an embedded resource)".into(),
    }
}

/// A foreign name as one short piece of a line.
fn word(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c.is_whitespace() { ' ' } else { c }).take(200).collect()
}

/// JSON within the limit: the longest list loses its last items until it fits, and a sentence says how many. What cannot
/// be shortened so is cut as text.
fn cut_json(value: &Value) -> (String, Option<String>) {
    let text = value.to_string();
    if text.len() <= READ {
        return (text, None);
    }
    let mut value = value.clone();
    let mut dropped = 0;
    for _ in 0..SHORTENED {
        let Some(list) = longest_list(&mut value) else { break };
        let fewer = list.len() / 2;
        dropped += list.len() - fewer;
        list.truncate(fewer);
        let shorter = value.to_string();
        if shorter.len() <= READ {
            let left_out = format!("({dropped} items of lists are left out here: the answer had {} bytes)", text.len());
            return (shorter, Some(left_out));
        }
    }
    (cut_text(&text), None)
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
        let (text, left_out) = cut_json(&json!({ "items": items, "nextCursor": "abc" }));
        assert!(text.len() <= READ && left_out.is_some_and(|said| said.contains("items of lists are left out")));
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
        let reading =
            read(&serde_json::from_value(json!({ "content": [{ "type": "text", "text": "" }] })).expect("a result"));
        assert!(reading.content.is_empty());
    }

    fn texts(reading: &Reading) -> Vec<&str> {
        reading.content.iter().filter_map(|block| block["text"].as_str()).collect()
    }

    #[test]
    fn pictures_that_can_be_looked_at_pass_and_everything_else_becomes_a_line() {
        let base64 = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        let (png, webp) = (base64(b"\x89PNG\r\n\x1a\n"), base64(b"RIFF\0\0\0\0WEBP"));
        let large = "A".repeat(PICTURE + 4);
        let reading = read(&serde_json::from_value(json!({ "content": [
            { "type": "image", "mimeType": "image/png", "data": png },
            { "type": "image", "mimeType": "image/png", "data": webp },
            { "type": "image", "mimeType": "image/svg+xml", "data": base64(b"<svg/>") },
            { "type": "image", "mimeType": "image/png", "data": "%%%" },
            { "type": "image", "mimeType": "image/png", "data": large },
            { "type": "audio", "mimeType": "audio/wav", "data": "AAAA" },
            { "type": "resource_link", "uri": "file:///a.txt", "name": "a.txt" },
            { "type": "resource", "resource": { "uri": "file:///b.txt", "mimeType": "text/plain", "text": "what it says" } },
            { "type": "resource", "resource": { "uri": "file:///c.bin", "blob": "AAAA" } },
        ] })).expect("a result"));
        let kinds: Vec<&str> =
            reading.content.iter().filter_map(|block| block["source"]["media_type"].as_str()).collect();
        assert_eq!(kinds, ["image/png", "image/webp"]);
        let lines: Vec<&str> = texts(&reading).iter().flat_map(|text| text.lines()).collect();
        assert_eq!(
            lines,
            [
                "(a picture of type image/svg+xml, 8 bytes)",
                "(a picture of type image/png, 3 bytes)",
                "(a picture of type image/png, 5242884 bytes)",
                "(audio of type audio/wav, 4 bytes)",
                "(a link to file:///a.txt, a.txt)",
                "(a resource file:///b.txt of type text/plain)",
                "what it says",
                "(a resource file:///c.bin of type application/octet-stream, 4 bytes)",
            ]
        );
        assert_eq!(reading.content[0]["type"], "text", "text comes first");
    }

    #[test]
    fn structured_content_stands_alone_and_the_rest_follows() {
        let reading = read(&serde_json::from_value(json!({
            "content": [{ "type": "text", "text": "{\"id\":1}" }, { "type": "resource_link", "uri": "a:b", "name": "b" }],
            "structuredContent": { "id": 1 },
        })).expect("a result"));
        assert_eq!(texts(&reading), ["{\"id\":1}", "(a link to a:b, b)"]);
    }

    #[test]
    fn pictures_are_looked_at_as_far_as_there_is_room() {
        let picture = |bytes: usize| json!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "A".repeat(bytes) } });
        let answer = |bytes: &[usize]| json!({ "type": "tool_result", "tool_use_id": "a", "content": bytes.iter().map(|bytes| picture(*bytes)).collect::<Vec<_>>() });
        let kept = |said: &[Value], content: &[&[usize]]| {
            let mut content: Vec<Value> = content.iter().map(|bytes| answer(bytes)).collect();
            fit_pictures(said.iter(), &mut content);
            let parts = content.iter().flat_map(|block| block["content"].as_array().expect("parts"));
            parts.map(|part| part["type"].as_str().expect("a type").to_owned()).collect::<Vec<_>>()
        };
        let mega = 1024 * 1024;
        assert_eq!(kept(&[], &[&[2 * mega, 2 * mega], &[2 * mega, mega]]), ["image", "image", "text", "image"]);
        let said = vec![answer(&[5 * mega]); 4];
        assert_eq!(kept(&said[..3], &[&[2 * mega]]), ["image"]);
        assert_eq!(kept(&said, &[&[4]]), ["text"]);
    }

    #[test]
    fn the_audit_keeps_the_size_and_hash_of_the_original() {
        let wire = |text: &str| {
            serde_json::from_value(json!({ "content": [{ "type": "text", "text": text }] })).expect("a result")
        };
        let (long, longer) =
            ("x".repeat(400 * 1024), format!("{}y{}", "x".repeat(200 * 1024), "x".repeat(200 * 1024 - 1)));
        let (one, two) = (read(&wire(&long)), read(&wire(&longer)));
        assert_eq!(texts(&one), texts(&two), "cut alike");
        assert!(texts(&one)[0].len() <= READ && one.bytes > 400 * 1024);
        assert_eq!(one.bytes, two.bytes);
        assert_ne!(one.hash, two.hash);
        assert_eq!(one.hash.len(), 16);
    }

    #[test]
    fn a_great_many_small_lists_are_cut_in_a_moment() {
        let value: Value =
            (0..20_000).map(|i| (format!("key{i}"), json!([1, 2, 3]))).collect::<serde_json::Map<_, _>>().into();
        let (text, left_out) = cut_json(&value);
        assert!(text.len() <= READ && text.contains("bytes left out") && left_out.is_none());
    }
}
