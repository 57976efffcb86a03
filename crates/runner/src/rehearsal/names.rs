//! What the names of tools and fields tell: verbs, nouns, references.

use serde_json::{Map, Value};

/// Words that say what is done. Some of them are also things (`log`, `highlight`): those are verbs only where no other
/// word is one.
const VERBS: [&str; 42] = [
    "accept",
    "agenda",
    "append",
    "archive",
    "complete",
    "conflicts",
    "continue",
    "delete",
    "due",
    "edit",
    "export",
    "find",
    "free",
    "get",
    "import",
    "insights",
    "list",
    "mark",
    "merge",
    "move",
    "overdue",
    "paid",
    "progress",
    "rate",
    "react",
    "read",
    "recent",
    "remove",
    "rename",
    "reopen",
    "restore",
    "search",
    "send",
    "set",
    "show",
    "stats",
    "today",
    "unarchive",
    "undelete",
    "unlog",
    "update",
    "void",
];

/// Words that make a new record, the plainest first.
const CREATES: [&str; 9] = ["create", "add", "save", "new", "register", "record", "log", "highlight", "quick"];

/// Words that are things as well.
const THINGS: [&str; 3] = ["highlight", "log", "record"];

/// Words that show many records.
const SHOWS: [&str; 9] = ["agenda", "due", "feed", "list", "overdue", "recent", "search", "today", "upcoming"];

/// What a record must say for a tool to take it: `invoices_mark_paid` wants one that was sent.
const WANTED: [(&str, &str, &[&str]); 6] = [
    ("invoices_archive", "status", &["draft"]),
    ("invoices_update", "status", &["draft"]),
    ("send", "status", &["draft"]),
    ("mark_paid", "status", &["sent", "overdue"]),
    ("void", "status", &["sent", "overdue"]),
    ("entry_add", "metric", &["custom"]),
];

fn words(tool: &str) -> impl Iterator<Item = &str> {
    tool.split(['_', '.']).skip(1)
}

/// The word of a tool's name that says what it does: the last verb that is no thing, else the last verb, else the last
/// word. `log_list` lists, `project_create` creates, `habits_log` logs.
pub(crate) fn verb(tool: &str) -> &str {
    let is_verb = |word: &&str| VERBS.contains(word) || CREATES.contains(word);
    let plain = words(tool).filter(is_verb).filter(|word| !THINGS.contains(word) && *word != "quick").last();
    plain.or_else(|| words(tool).filter(is_verb).last()).or_else(|| words(tool).last()).unwrap_or_default()
}

/// The nouns in a tool's name, in the singular: `calendar_create_event` is about an `event`, `todo_create` about none.
pub(crate) fn nouns(tool: &str) -> Vec<String> {
    let verb = verb(tool);
    let is_noun =
        |word: &&str| *word != verb && *word != "quick" && !VERBS.contains(word) && !matches!(*word, "by" | "on");
    words(tool).filter(is_noun).map(singular).collect()
}

/// Whether a tool makes records.
pub(crate) fn creates(tool: &str) -> bool {
    CREATES.contains(&verb(tool))
}

/// How plainly a tool makes a record: 0 is plainest.
pub(crate) fn plainness(tool: &str) -> usize {
    let quick = usize::from(words(tool).any(|word| word == "quick"));
    CREATES.iter().position(|create| *create == verb(tool)).unwrap_or(CREATES.len()) + quick
}

/// The last word of a tool's name.
pub(crate) fn last_word(tool: &str) -> String {
    words(tool).last().map(singular).unwrap_or_default()
}

/// Whether a tool shows many records.
pub(crate) fn shows_many(tool: &str) -> bool {
    SHOWS.contains(&verb(tool))
}

/// Whether a tool changes a record's fields.
pub(crate) fn updates(tool: &str) -> bool {
    matches!(verb(tool), "update" | "edit" | "set" | "change")
}

/// Whether a tool puts records away.
pub(crate) fn puts_away(tool: &str) -> bool {
    matches!(verb(tool), "archive" | "delete" | "remove" | "cancel" | "trash")
}

/// Whether a tool brings back what was put away.
pub(crate) fn brings_back(tool: &str) -> bool {
    matches!(verb(tool), "unarchive" | "restore" | "undelete")
}

/// Whether a tool takes a record that says this; a record that says nothing of the kind is taken.
pub(crate) fn takes(tool: &str, record: &Map<String, Value>) -> bool {
    let Some((_, field, allowed)) = WANTED.iter().find(|(name, ..)| tool.ends_with(name)) else {
        // A quotation needs a text to be taken from.
        return verb(tool) != "highlight" || record.get("content").is_some_and(Value::is_string);
    };
    record.get(*field).and_then(Value::as_str).is_none_or(|says| allowed.contains(&says))
}

/// Whether a tool makes a record what another one wants: sent before paid, put away before brought back.
pub(crate) fn comes_before(earlier: &str, later: &str) -> bool {
    if brings_back(later) {
        return puts_away(earlier) && nouns(earlier) == nouns(later);
    }
    verb(earlier) == "send" && ["mark_paid", "void"].iter().any(|name| later.ends_with(name))
}

/// In which order a person does things within one module: look, write down, go into detail, put away.
pub(crate) fn rank(tool: &str) -> u8 {
    if brings_back(tool) {
        return 5;
    }
    if puts_away(tool) {
        return 4;
    }
    match () {
        () if creates(tool) => 1,
        () if shows_many(tool) => 0,
        () if updates(tool) => 2,
        () => 3,
    }
}

/// Whether a field names a record: `id`, `taskId`, `taskIds`.
pub(crate) fn is_reference(field: &str) -> bool {
    field == "id" || of_reference(field).is_some()
}

/// What a field such as `taskId` refers to: `task`. Fields of other programs' ids are no references.
pub(crate) fn of_reference(field: &str) -> Option<String> {
    let noun = field.strip_suffix("Ids").or_else(|| field.strip_suffix("Id"))?;
    let foreign = matches!(
        noun,
        "" | "external" | "tick" | "request" | "user" | "space" | "media" | "photoMedia" | "activeSpace"
    );
    (!foreign).then(|| noun.to_lowercase())
}

/// `entries` as `entry`, `tasks` as `task`.
pub(crate) fn singular(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("ies") {
        return format!("{stem}y");
    }
    let stem = word.strip_suffix('s').filter(|stem| stem.len() > 2 && !stem.ends_with('s'));
    stem.unwrap_or(word).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_tool_is_about() {
        for plain in
            ["todo_create", "todo_quick_add", "habits_log", "articles_highlight", "todo_today", "invoices_mark_paid"]
        {
            assert_eq!(nouns(plain), Vec::<String>::new(), "{plain}");
        }
        assert_eq!(nouns("habits_log_list"), ["log"]);
        assert_eq!((verb("articles_highlight_archive"), verb("articles_highlight")), ("archive", "highlight"));
        assert!(creates("todo_quick_add") && !creates("habits_log_list") && shows_many("habits_log_list"));
        assert!(plainness("todo_create") < plainness("todo_quick_add"));
        assert_eq!(nouns("calendar_create_event"), ["event"]);
        assert_eq!(nouns("library_list_entries"), ["entry"]);
        assert_eq!(of_reference("taskId").as_deref(), Some("task"));
        assert_eq!(of_reference("id"), None);
        assert!(is_reference("id") && is_reference("cardIds") && !is_reference("idea") && !is_reference("spaceId"));
        assert!(rank("todo_list") < rank("todo_create") && rank("todo_create") < rank("todo_archive"));
    }
}
