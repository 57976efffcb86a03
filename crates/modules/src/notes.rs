//! Notes: a title and Markdown text, with tags and a colour; pinned or not.

use mana_registry::excerpt;
use mana_registry::prelude::*;

/// The most characters of a note's text.
const LONGEST: usize = 200_000;

/// A note.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Note {
    /// What the note is about.
    title: Line<500>,
    /// The text, in Markdown.
    content: Text<0, LONGEST>,
    /// Its colour, `#rrggbb`.
    color: Option<Color>,
    /// Whether it is kept in view.
    #[serde(default)]
    is_pinned: bool,
    /// Words to find it by.
    #[serde(default)]
    tags: Tags<20>,
}

impl Record for Note {
    const KIND: &'static str = "notes.note";

    fn words(&self) -> String {
        format!("{} {} {}", self.title, self.content, self.tags.marked())
    }
}

/// A note of a list, with an excerpt of its text.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NoteBrief {
    /// What the note is about.
    title: Line<500>,
    /// A piece of the text.
    excerpt: String,
    /// Its colour, `#rrggbb`.
    color: Option<Color>,
    /// Whether it is kept in view.
    is_pinned: bool,
    /// Words to find it by.
    tags: Tags<20>,
}

impl Note {
    fn brief(self, about: Option<&str>) -> NoteBrief {
        let excerpt = excerpt(&self.content, about);
        NoteBrief { title: self.title, excerpt, color: self.color, is_pinned: self.is_pinned, tags: self.tags }
    }
}

/// The module.
pub(crate) fn module() -> Module {
    Module::new("notes", "Keep notes in Markdown.")
        .labels("Notes", "Notizen")
        .tool(write("notes_create", "Create a note with a title and Markdown text.", create))
        .tool(read(
            "notes_list",
            "List notes with excerpts, the most recently changed first. Narrow by tag or pin.",
            list,
        ))
        .tool(read("notes_search", "Search notes for words in title, text and tags, the latest change first.", search))
        .tool(read("notes_get", "Read one note with its whole text.", get))
        .tool(write("notes_update", "Change title, text, colour or tags of a note. Fields left out stay.", update))
        .tool(write("notes_append", "Append text at the end of a note; what is there stays.", append))
        .tool(write("notes_pin", "Pin a note, or unpin it. Doing it twice changes nothing.", pin).idempotent())
        .tool(write("notes_archive", "Put a note out of sight; it can be restored.", archive).idempotent())
        .tool(write("notes_restore", "Bring an archived note back.", restore).idempotent())
}

/// What a new note is made of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewNote {
    /// What the note is about.
    title: Line<500>,
    /// The text, in Markdown.
    content: Option<Text<0, LONGEST>>,
    /// Its colour, `#rrggbb`.
    color: Option<Color>,
    /// Whether to keep it in view.
    #[serde(default)]
    is_pinned: bool,
    /// Words to find it by.
    #[serde(default)]
    tags: Tags<20>,
}

async fn create(cx: Cx, new: NewNote) -> Result<Stored<Note>> {
    let content = match new.content {
        Some(content) => content,
        None => text("content", "")?,
    };
    let note = Note { title: new.title, content, color: new.color, is_pinned: new.is_pinned, tags: new.tags };
    cx.records().add(note).await
}

fn text(field: &str, text: &str) -> Result<Text<0, LONGEST>> {
    Text::parse(text).map_err(|why| ToolError::field(field, why))
}

/// Which notes to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Which {
    /// Only notes with this tag, whatever its case.
    tag: Option<Tag>,
    /// Only notes that are pinned, or only those that are not.
    is_pinned: Option<bool>,
    /// List the archived notes instead.
    #[serde(default)]
    archived: bool,
    #[serde(flatten)]
    paging: Paging,
}

async fn list(cx: Cx, which: Which) -> Result<Page<Stored<NoteBrief>>> {
    let mut filter = Filter::<Note>::new(Order::Recent).archived(which.archived);
    if let Some(tag) = &which.tag {
        filter = filter.words(&tag.whole());
    }
    if let Some(pinned) = which.is_pinned {
        filter = filter.flag("isPinned", pinned);
    }
    let page = cx.records().list(which.paging.of(filter)?).await?;
    Ok(page.map(|note| note.map(|note| note.brief(None))))
}

/// What to search for.
#[derive(Debug, Deserialize, JsonSchema)]
struct Search {
    /// Text that occurs in the note, whatever its case.
    query: Line<500>,
    /// Only notes with this tag, whatever its case.
    tag: Option<Tag>,
    #[serde(flatten)]
    paging: Paging,
}

async fn search(cx: Cx, search: Search) -> Result<Page<Stored<NoteBrief>>> {
    let mut filter = Filter::<Note>::new(Order::Recent).words(&search.query);
    if let Some(tag) = &search.tag {
        filter = filter.words(&tag.whole());
    }
    let page = cx.records().list(search.paging.of(filter)?).await?;
    Ok(page.map(|note| note.map(|note| note.brief(Some(&search.query)))))
}

/// One note.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct One {
    /// The note's id.
    note_id: RecordId,
}

async fn get(cx: Cx, one: One) -> Result<Stored<Note>> {
    cx.records().get(one.note_id).await
}

/// New values for fields of a note.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Change {
    /// The note's id.
    note_id: RecordId,
    /// Only if the note is at this revision.
    expected_rev: Option<i64>,
    /// What the note is about.
    title: Option<Line<500>>,
    /// The whole text, in Markdown; replaces the one there is.
    content: Option<Text<0, LONGEST>>,
    /// Its colour, `#rrggbb`.
    color: Option<Color>,
    /// All tags; replaces those there are.
    tags: Option<Tags<20>>,
    /// Fields to empty.
    #[serde(default)]
    clear: Vec<Clearable>,
}

/// A field that can be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Clearable {
    Content,
    Color,
    Tags,
}

async fn update(cx: Cx, change: Change) -> Result<Stored<Note>> {
    let records = cx.records::<Note>();
    records
        .update(change.note_id, change.expected_rev, |note| {
            for field in &change.clear {
                match field {
                    Clearable::Content => note.content = text("content", "")?,
                    Clearable::Color => note.color = None,
                    Clearable::Tags => note.tags = Tags::default(),
                }
            }
            put(&mut note.title, change.title.as_ref());
            put(&mut note.content, change.content.as_ref());
            put(&mut note.tags, change.tags.as_ref());
            note.color = change.color.clone().or_else(|| note.color.take());
            Ok(())
        })
        .await
}

/// Text for the end of a note.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Append {
    /// The note's id.
    note_id: RecordId,
    /// The text to append, in Markdown.
    text: Text<1, LONGEST>,
}

async fn append(cx: Cx, append: Append) -> Result<Stored<Note>> {
    let records = cx.records::<Note>();
    records
        .update(append.note_id, None, |note| {
            let whole = appended(&note.content, &append.text);
            note.content = text("text", &whole).map_err(|_| {
                ToolError::field(
                    "text",
                    format!("the note would be longer than {LONGEST} characters, create another one"),
                )
            })?;
            Ok(())
        })
        .await
}

/// The text with more at its end: a paragraph of its own, or the next entry where a list goes on.
fn appended(text: &str, more: &str) -> String {
    let is_entry = |line: &str| {
        let line = line.trim_start();
        let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
        line.starts_with(['-', '*', '+']) && line[1..].starts_with(' ')
            || number.len() < line.len() && (number.starts_with(". ") || number.starts_with(") "))
    };
    let goes_on = text.lines().last().is_some_and(is_entry) && more.lines().next().is_some_and(is_entry);
    match text {
        "" => more.to_owned(),
        text if goes_on => format!("{text}\n{more}"),
        text => format!("{text}\n\n{more}"),
    }
}

/// Whether a note is kept in view.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Pin {
    /// The note's id.
    note_id: RecordId,
    /// `false` to unpin it.
    #[serde(default = "yes")]
    is_pinned: bool,
}

const fn yes() -> bool {
    true
}

async fn pin(cx: Cx, pin: Pin) -> Result<Stored<Note>> {
    let records = cx.records::<Note>();
    let before = records.get(pin.note_id).await?;
    if before.data.is_pinned == pin.is_pinned {
        return Ok(before);
    }
    records
        .update(pin.note_id, None, |note| {
            note.is_pinned = pin.is_pinned;
            Ok(())
        })
        .await
}

async fn archive(cx: Cx, one: One) -> Result<Stored<Note>> {
    cx.records().archive(one.note_id).await
}

async fn restore(cx: Cx, one: One) -> Result<Stored<Note>> {
    cx.records().restore(one.note_id).await
}

#[cfg(test)]
mod tests {
    use super::appended;

    #[test]
    fn what_is_appended_is_a_paragraph_or_the_next_entry() {
        let cases = [
            ("", "Erstens", "Erstens"),
            ("Erstens", "Zweitens", "Erstens\n\nZweitens"),
            ("- Brot", "- Milch", "- Brot\n- Milch"),
            ("1. Brot", "2. Milch", "1. Brot\n2. Milch"),
            ("- Brot", "Das war alles.", "- Brot\n\nDas war alles."),
            ("-", "-", "-\n\n-"),
            ("2026", "2027. Ein Jahr", "2026\n\n2027. Ein Jahr"),
        ];
        for (text, more, whole) in cases {
            assert_eq!(appended(text, more), whole);
        }
    }
}
