//! The journal: what a day was like, with a mood and tags.

use mana_registry::prelude::*;
use mana_registry::{count_words, excerpt};

/// What a day was like.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Entry {
    /// The day it is about.
    date: Date,
    /// A heading.
    title: Option<Line<500>>,
    /// What there is to tell.
    content: Text<1, 200_000>,
    /// How the day felt.
    mood: Option<Mood>,
    /// Words to find it by.
    #[serde(default)]
    tags: Tags<20>,
    /// How many words the content has; counted on writing.
    word_count: usize,
}

impl Record for Entry {
    const KIND: &'static str = "journal.entry";

    fn at(&self) -> Option<Timestamp> {
        Some(self.date.start_utc())
    }

    fn words(&self) -> String {
        format!("{} {} {}", self.title.as_deref().unwrap_or_default(), self.content, self.tags.marked())
    }
}

/// How a day felt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Mood {
    Grateful,
    Happy,
    Content,
    Neutral,
    Thoughtful,
    Sad,
    Stressed,
    Angry,
}

impl Mood {
    const fn word(self) -> &'static str {
        match self {
            Self::Grateful => "grateful",
            Self::Happy => "happy",
            Self::Content => "content",
            Self::Neutral => "neutral",
            Self::Thoughtful => "thoughtful",
            Self::Sad => "sad",
            Self::Stressed => "stressed",
            Self::Angry => "angry",
        }
    }
}

/// An entry of a list, with an excerpt of its content.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct EntryBrief {
    /// The day it is about.
    date: Date,
    /// A heading.
    title: Option<Line<500>>,
    /// A piece of the content.
    excerpt: String,
    /// How the day felt.
    mood: Option<Mood>,
    /// Words to find it by.
    tags: Tags<20>,
    /// How many words the content has.
    word_count: usize,
}

impl Entry {
    fn brief(self, about: Option<&str>) -> EntryBrief {
        let Self { date, title, content, mood, tags, word_count } = self;
        EntryBrief { date, title, excerpt: excerpt(&content, about), mood, tags, word_count }
    }
}

/// The module.
pub(crate) fn module() -> Module {
    Module::new("journal", "Keep a journal.")
        .labels("Journal", "Tagebuch")
        .tool(write("journal_add", "Add a journal entry for today or another day.", add))
        .tool(read(
            "journal_list",
            "List journal entries with excerpts, the latest day first. Narrow by days, mood or tag.",
            list,
        ))
        .tool(read(
            "journal_search",
            "Search journal entries for words in title, content and tags, the latest day first.",
            search,
        ))
        .tool(read(
            "journal_on_this_day",
            "Journal entries of the same day in earlier years, the latest first.",
            on_this_day,
        ))
        .tool(read("journal_get", "Read one journal entry with its whole content.", get))
        .tool(write(
            "journal_update",
            "Change fields of a journal entry. Fields left out stay; name fields in `clear` to empty them.",
            update,
        ))
        .tool(write("journal_archive", "Put a journal entry out of sight; it can be restored.", archive).idempotent())
        .tool(write("journal_restore", "Bring an archived journal entry back.", restore).idempotent())
}

/// What a new entry is made of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewEntry {
    /// The day it is about; today, where the user is, if left out.
    date: Option<Date>,
    /// A heading.
    title: Option<Line<500>>,
    /// What there is to tell.
    content: Text<1, 200_000>,
    /// How the day felt.
    mood: Option<Mood>,
    /// Words to find it by.
    #[serde(default)]
    tags: Tags<20>,
}

async fn add(cx: Cx, new: NewEntry) -> Result<Stored<Entry>> {
    let word_count = count_words(&new.content);
    let entry = Entry {
        date: new.date.unwrap_or_else(|| cx.today()),
        title: new.title,
        content: new.content,
        mood: new.mood,
        tags: new.tags,
        word_count,
    };
    cx.records().add(entry).await
}

/// Which entries to list.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// Only entries of this day and later.
    from: Option<Date>,
    /// Only entries of this day and earlier.
    until: Option<Date>,
    /// Only entries of this mood.
    mood: Option<Mood>,
    /// Only entries with this tag, whatever its case.
    tag: Option<Tag>,
    /// List the archived entries instead.
    #[serde(default)]
    archived: bool,
    #[serde(flatten)]
    paging: Paging,
}

async fn list(cx: Cx, which: Which) -> Result<Page<Stored<EntryBrief>>> {
    let mut filter = Filter::<Entry>::new(Order::Latest).archived(which.archived);
    if let Some(from) = which.from {
        filter = filter.from(from.start_utc());
    }
    if let Some(until) = which.until {
        filter = filter.until(until.plus_days(1).start_utc());
    }
    if let Some(mood) = which.mood {
        filter = filter.is("mood", mood.word());
    }
    if let Some(tag) = &which.tag {
        filter = filter.words(&tag.whole());
    }
    let page = cx.records().list(which.paging.of(filter)?).await?;
    Ok(page.map(|entry| entry.map(|entry| entry.brief(None))))
}

/// What to search for.
#[derive(Debug, Deserialize, JsonSchema)]
struct Search {
    /// Text that occurs in the entry, whatever its case.
    query: Line<500>,
    /// Only entries of this mood.
    mood: Option<Mood>,
    #[serde(flatten)]
    paging: Paging,
}

async fn search(cx: Cx, search: Search) -> Result<Page<Stored<EntryBrief>>> {
    let mut filter = Filter::<Entry>::new(Order::Latest).words(&search.query);
    if let Some(mood) = search.mood {
        filter = filter.is("mood", mood.word());
    }
    let page = cx.records().list(search.paging.of(filter)?).await?;
    Ok(page.map(|entry| entry.map(|entry| entry.brief(Some(&search.query)))))
}

/// A day to look back from.
#[derive(Debug, Deserialize, JsonSchema)]
struct Day {
    /// The day; today, where the user is, if left out.
    date: Option<Date>,
}

/// What was written on a day in earlier years.
#[derive(Debug, Serialize, JsonSchema)]
struct OnThisDay {
    /// The day that was looked back from.
    date: Date,
    /// The entries, those of the latest year first; at most 100.
    entries: Vec<Stored<EntryBrief>>,
}

async fn on_this_day(cx: Cx, day: Day) -> Result<OnThisDay> {
    let date = day.date.unwrap_or_else(|| cx.today());
    let records = cx.records::<Entry>();
    let latest = || Filter::<Entry>::new(Order::Latest);
    let mut entries = Vec::new();
    let mut year = date.0.year() - 1;
    // From entry to entry rather than from year to year: the years in which nothing was written cost nothing.
    while entries.len() < 100 {
        let Some(last) = last_before_the_end_of(date, year) else { break };
        let Some(found) = records.first(latest().until(last.plus_days(1).start_utc())).await? else { break };
        let found = found.data.date;
        if found == last && is_same_day(found, date) {
            let filter = latest().from(found.start_utc()).until(found.plus_days(1).start_utc());
            let rest = u32::try_from(100 - entries.len()).unwrap_or(100);
            let page = records.list(filter.page(rest, None)).await?;
            entries.extend(page.items.into_iter().map(|entry| entry.map(|entry| entry.brief(None))));
            year -= 1;
        } else if (found.0.month(), found.0.day()) < (date.0.month(), date.0.day()) {
            year = found.0.year() - 1;
        } else {
            year = found.0.year();
        }
    }
    Ok(OnThisDay { date, entries })
}

fn is_same_day(one: Date, other: Date) -> bool {
    (one.0.month(), one.0.day()) == (other.0.month(), other.0.day())
}

/// The same day in this year; where it has none, as for 29 February, the last day before it.
fn last_before_the_end_of(date: Date, year: i16) -> Option<Date> {
    let first = jiff::civil::Date::new(year, date.0.month(), 1).ok()?;
    let day = date.0.day().min(first.days_in_month());
    jiff::civil::Date::new(year, date.0.month(), day).ok().map(Date)
}

/// One entry.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct One {
    /// The entry's id.
    entry_id: RecordId,
}

async fn get(cx: Cx, one: One) -> Result<Stored<Entry>> {
    cx.records().get(one.entry_id).await
}

/// New values for fields of an entry.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Change {
    /// The entry's id.
    entry_id: RecordId,
    /// Only if the entry is at this revision.
    expected_rev: Option<i64>,
    /// The day it is about.
    date: Option<Date>,
    /// A heading.
    title: Option<Line<500>>,
    /// What there is to tell; replaces the content there is.
    content: Option<Text<1, 200_000>>,
    /// How the day felt.
    mood: Option<Mood>,
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
    Title,
    Mood,
    Tags,
}

async fn update(cx: Cx, change: Change) -> Result<Stored<Entry>> {
    let records = cx.records::<Entry>();
    records
        .update(change.entry_id, change.expected_rev, |entry| {
            for field in &change.clear {
                match field {
                    Clearable::Title => entry.title = None,
                    Clearable::Mood => entry.mood = None,
                    Clearable::Tags => entry.tags = Tags::default(),
                }
            }
            put(&mut entry.date, change.date.as_ref());
            put(&mut entry.content, change.content.as_ref());
            put(&mut entry.tags, change.tags.as_ref());
            entry.title = change.title.clone().or_else(|| entry.title.take());
            entry.mood = change.mood.or(entry.mood);
            entry.word_count = count_words(&entry.content);
            Ok(())
        })
        .await
}

async fn archive(cx: Cx, one: One) -> Result<Stored<Entry>> {
    cx.records().archive(one.entry_id).await
}

async fn restore(cx: Cx, one: One) -> Result<Stored<Entry>> {
    cx.records().restore(one.entry_id).await
}
