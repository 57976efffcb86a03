//! How much of a prompt a provider's cache could have served.
//!
//! A provider keeps the prompt up to each cache mark, in the order tools, system, messages, byte by byte, and finds it
//! again from a mark of the next request that stands at the same block or at most nineteen blocks later. What follows the
//! last mark found so is read anew, and paid in full.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::SeenRequest;

/// How many blocks a mark looks back, itself included.
const LOOKBACK: usize = 20;

/// What two requests in a row have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared {
    /// Bytes of the later prompt up to the last mark of the earlier one that it would be found by.
    pub kept: usize,
    /// Bytes of the later prompt: tools, system and messages, without cache marks.
    pub prompt: usize,
}

impl Shared {
    /// The part that was kept, from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a prompt has less than 2^52 bytes")]
    pub fn share(&self) -> f64 {
        if self.prompt == 0 { 0.0 } else { self.kept as f64 / self.prompt as f64 }
    }
}

/// What each request of one conversation shares with the one before it; one entry less than there are requests.
///
/// A request that is no JSON of the right form shares nothing.
pub fn prefix_share(requests: &[SeenRequest]) -> Vec<Shared> {
    let prompts: Vec<Vec<Segment>> = requests.iter().map(|request| segments(&request.bytes)).collect();
    prompts.windows(2).map(|pair| shared(&pair[0], &pair[1])).collect()
}

fn shared(earlier: &[Segment], later: &[Segment]) -> Shared {
    let common = earlier.iter().zip(later).take_while(|(a, b)| a.bytes == b.bytes).count();
    let found = |place: &usize| {
        let reach = later.len().min(place + LOOKBACK);
        earlier[*place].marked && later[*place..reach].iter().any(|segment| segment.marked)
    };
    let kept = (0..common).rev().find(found).map_or(0, |place| place + 1);
    let bytes = |segments: &[Segment]| segments.iter().map(|segment| segment.bytes.len()).sum();
    Shared { kept: bytes(&later[..kept]), prompt: bytes(later) }
}

/// A part of the prompt that can carry a mark.
#[derive(Debug)]
struct Segment {
    /// As sent, without the mark, which is no part of the prompt.
    bytes: String,
    marked: bool,
}

/// The prompt in the order in which a provider reads it.
fn segments(body: &[u8]) -> Vec<Segment> {
    let Ok(body) = serde_json::from_slice::<Members>(body) else { return Vec::new() };
    let mut all = Vec::new();
    blocks(body.get("tools"), "", &mut all);
    blocks(body.get("system"), "", &mut all);
    let messages = body.get("messages").and_then(|list| serde_json::from_str::<Vec<Members>>(list.get()).ok());
    for message in messages.unwrap_or_default() {
        blocks(message.get("content"), message.get("role").map_or("", RawValue::get), &mut all);
    }
    all
}

/// One segment for each block of a list, or for the text that stands in its place; `before` goes into the first.
fn blocks(content: Option<&RawValue>, before: &str, all: &mut Vec<Segment>) {
    let Some(content) = content else { return };
    let list = serde_json::from_str::<Vec<&RawValue>>(content.get()).unwrap_or_else(|_| vec![content]);
    for (index, block) in list.into_iter().enumerate() {
        let mut segment = Segment { bytes: String::new(), marked: false };
        if index == 0 {
            segment.bytes += before;
        }
        without_mark(block, &mut segment);
        all.push(segment);
    }
}

/// Appends a value as it was sent, except for cache marks of the value itself and of the parts of its `content`.
fn without_mark(value: &RawValue, segment: &mut Segment) {
    let Ok(members) = serde_json::from_str::<Members>(value.get()) else {
        segment.bytes += value.get();
        return;
    };
    for (name, value) in members.0 {
        if name == "cache_control" {
            segment.marked = true;
            continue;
        }
        segment.bytes += &name;
        match serde_json::from_str::<Vec<&RawValue>>(value.get()) {
            Ok(parts) if name == "content" => parts.into_iter().for_each(|part| without_mark(part, segment)),
            _ => segment.bytes += value.get(),
        }
    }
}

/// The members of an object, in order, unread.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}
