//! Cache marks: how many, where, and of what kind.

use serde_json::Value;

use super::Findings;

/// A request may have so many.
const MOST: usize = 4;

pub(super) fn check(body: &Value, found: &mut Findings) {
    let mut marks = Marks { found, count: 0, short_before: false };
    for (index, tool) in list(&body["tools"]).iter().enumerate() {
        marks.see(tool, &format!("tools[{index}]"));
    }
    for (index, block) in list(&body["system"]).iter().enumerate() {
        marks.see(block, &format!("system[{index}]"));
    }
    for (index, message) in list(&body["messages"]).iter().enumerate() {
        for (place, block) in list(&message["content"]).iter().enumerate() {
            let at = format!("messages[{index}].content[{place}]");
            // Parts of a result come before its end.
            for (part, inner) in list(&block["content"]).iter().enumerate() {
                marks.see(inner, &format!("{at}.content[{part}]"));
            }
            marks.see(block, &at);
        }
    }
    let count = marks.count;
    found.must(count <= MOST, "mark-count", "body", &format!("{count} cache marks, at most {MOST}"));
}

struct Marks<'a> {
    found: &'a mut Findings,
    count: usize,
    /// A mark of five minutes has been seen.
    short_before: bool,
}

impl Marks<'_> {
    fn see(&mut self, holder: &Value, at: &str) {
        let Some(mark) = holder.get("cache_control") else { return };
        self.count += 1;
        let ttl = mark.get("ttl");
        let good = mark["type"] == "ephemeral" && ttl.is_none_or(|ttl| ttl == "5m" || ttl == "1h");
        self.found.must(good, "mark-kind", at, "a mark is `ephemeral`, for `5m` or `1h`");
        self.found.members(mark, &["type", "ttl"], at);
        if ttl.is_some_and(|ttl| ttl == "1h") {
            self.found.must(!self.short_before, "mark-order", at, "a mark of `1h` after one of `5m`");
        } else {
            self.short_before = true;
        }
        let kind = holder["type"].as_str().unwrap_or_default();
        let thought = matches!(kind, "thinking" | "redacted_thinking");
        self.found.must(!thought, "mark-place", at, "a thought cannot be marked");
        let empty = kind == "text" && holder["text"].as_str().is_some_and(str::is_empty);
        self.found.must(!empty, "mark-place", at, "an empty text cannot be marked");
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
