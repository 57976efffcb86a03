//! What the names of tools and fields tell: verbs, nouns, references.

/// Words in tool names that say what is done.
const VERBS: [&str; 45] = [
    "accept",
    "add",
    "agenda",
    "append",
    "archive",
    "complete",
    "conflicts",
    "continue",
    "create",
    "due",
    "edit",
    "find",
    "finish",
    "free",
    "get",
    "highlight",
    "insights",
    "list",
    "log",
    "mark",
    "merge",
    "move",
    "overdue",
    "paid",
    "progress",
    "quick",
    "rate",
    "react",
    "read",
    "recent",
    "remove",
    "rename",
    "reopen",
    "restore",
    "save",
    "search",
    "send",
    "set",
    "show",
    "start",
    "stats",
    "stop",
    "today",
    "unarchive",
    "update",
];

/// Words that make a new record, the plainest first.
const CREATES: [&str; 8] = ["create", "add", "save", "new", "record", "register", "log", "quick"];

/// Words that show many records.
const SHOWS: [&str; 9] = ["agenda", "due", "feed", "list", "overdue", "recent", "search", "today", "upcoming"];

fn words(tool: &str) -> impl Iterator<Item = &str> {
    tool.split(['_', '.']).skip(1)
}

/// The nouns in a tool's name, in the singular: `calendar_create_event` is about an `event`, `todo_create` about none.
pub(crate) fn nouns(tool: &str) -> Vec<String> {
    words(tool).filter(|word| !VERBS.contains(word) && *word != "by" && *word != "on").map(singular).collect()
}

/// Whether a tool makes records.
pub(crate) fn creates(tool: &str) -> bool {
    words(tool).any(|word| CREATES.contains(&word))
}

/// How plainly a tool makes a record: 0 is plainest.
pub(crate) fn plainness(tool: &str) -> usize {
    words(tool).filter_map(|word| CREATES.iter().position(|create| *create == word)).max().unwrap_or(usize::MAX)
}

/// The last word of a tool's name.
pub(crate) fn last_word(tool: &str) -> String {
    words(tool).last().map(singular).unwrap_or_default()
}

/// Whether a tool shows many records.
pub(crate) fn shows_many(tool: &str) -> bool {
    words(tool).any(|word| SHOWS.contains(&word))
}

/// Whether a tool changes a record's fields.
pub(crate) fn updates(tool: &str) -> bool {
    words(tool).any(|word| matches!(word, "update" | "edit" | "set" | "change"))
}

/// Whether a tool puts records away.
pub(crate) fn puts_away(tool: &str) -> bool {
    words(tool).any(|word| matches!(word, "archive" | "delete" | "remove" | "void" | "cancel" | "trash"))
}

/// Whether a tool brings back what was put away.
pub(crate) fn brings_back(tool: &str) -> bool {
    words(tool).any(|word| matches!(word, "unarchive" | "restore" | "undelete"))
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
    let word = word.to_lowercase();
    if let Some(stem) = word.strip_suffix("ies") {
        return format!("{stem}y");
    }
    match word.strip_suffix('s') {
        Some(stem) if stem.len() > 2 && !stem.ends_with('s') => stem.to_owned(),
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_tool_is_about() {
        assert_eq!(nouns("todo_create"), Vec::<String>::new());
        assert_eq!(nouns("calendar_create_event"), ["event"]);
        assert_eq!(nouns("library_list_entries"), ["entry"]);
        assert_eq!(of_reference("taskId").as_deref(), Some("task"));
        assert_eq!(of_reference("id"), None);
        assert!(is_reference("id") && is_reference("cardIds") && !is_reference("idea") && !is_reference("spaceId"));
        assert!(rank("todo_list") < rank("todo_create") && rank("todo_create") < rank("todo_archive"));
    }
}
