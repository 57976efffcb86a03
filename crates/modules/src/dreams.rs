//! Dreams: what was dreamt, how clearly, of whom, and with which symbols.

use std::collections::BTreeMap;

use mana_registry::excerpt;
use mana_registry::prelude::*;

/// A dream.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Dream {
    /// The day on which the dreamer woke up from it.
    date: Date,
    /// A heading.
    title: Option<Line<500>>,
    /// What was dreamt.
    content: Text<1, 50_000>,
    /// Whether the dreamer knew that it was a dream.
    #[serde(default)]
    is_lucid: bool,
    /// How clearly it is remembered, from 1 (hardly) to 5 (vividly).
    clarity: Option<Whole<1, 5>>,
    /// Who occurs in it.
    #[serde(default)]
    people: Tags<20>,
    /// What stands out in it, such as a door or water.
    #[serde(default)]
    symbols: Tags<20>,
}

impl Record for Dream {
    const KIND: &'static str = "dreams.dream";

    fn at(&self) -> Option<Timestamp> {
        Some(self.date.start_utc())
    }

    fn words(&self) -> String {
        let title = self.title.as_deref().unwrap_or_default();
        format!("{title} {} {}{}", self.content, self.symbols.marked(), as_person(&self.people.marked()))
    }
}

/// People and symbols are marked in different ways, so that `Mond` the neighbour is not the moon.
fn as_person(marked: &str) -> String {
    marked.replace('\u{1f}', "\u{1e}")
}

/// A dream of a list, with an excerpt of its content.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct DreamBrief {
    /// The day on which the dreamer woke up from it.
    date: Date,
    /// A heading.
    title: Option<Line<500>>,
    /// A piece of the content.
    excerpt: String,
    /// Whether the dreamer knew that it was a dream.
    is_lucid: bool,
    /// How clearly it is remembered, from 1 to 5.
    clarity: Option<Whole<1, 5>>,
    /// Who occurs in it.
    people: Tags<20>,
    /// What stands out in it.
    symbols: Tags<20>,
}

impl Dream {
    fn brief(self, about: Option<&str>) -> DreamBrief {
        let Self { date, title, content, is_lucid, clarity, people, symbols } = self;
        DreamBrief { date, title, excerpt: excerpt(&content, about), is_lucid, clarity, people, symbols }
    }
}

/// The module.
pub(crate) fn module() -> Module {
    Module::new("dreams", "Keep a diary of dreams.")
        .labels("Dreams", "Träume")
        .tool(write("dreams_create", "Write down a dream with people and symbols, for today or another day.", create))
        .tool(read(
            "dreams_list",
            "List dreams with excerpts, the latest day first. Narrow by days or to lucid ones.",
            list,
        ))
        .tool(read("dreams_search", "Search dreams by symbol, person or words, the latest day first.", search))
        .tool(read("dreams_symbols", "Symbols of the dreams with their numbers, the most frequent first.", symbols))
        .tool(read("dreams_get", "Read one dream with its whole content.", get))
        .tool(write(
            "dreams_update",
            "Change fields of a dream. Fields left out stay; name fields in `clear` to empty them.",
            update,
        ))
        .tool(write("dreams_archive", "Put a dream out of sight; it can be restored.", archive).idempotent())
        .tool(write("dreams_restore", "Bring an archived dream back.", restore).idempotent())
}

/// What a new dream is made of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewDream {
    /// The day on which the user woke up from it; today, where the user is, if left out.
    date: Option<Date>,
    /// A heading.
    title: Option<Line<500>>,
    /// What was dreamt.
    content: Text<1, 50_000>,
    /// Whether the user knew that it was a dream.
    #[serde(default)]
    is_lucid: bool,
    /// How clearly it is remembered, from 1 (hardly) to 5 (vividly).
    clarity: Option<Whole<1, 5>>,
    /// Who occurs in it.
    #[serde(default)]
    people: Tags<20>,
    /// What stands out in it, such as a door or water.
    #[serde(default)]
    symbols: Tags<20>,
}

async fn create(cx: Cx, new: NewDream) -> Result<Stored<Dream>> {
    let dream = Dream {
        date: new.date.unwrap_or_else(|| cx.today()),
        title: new.title,
        content: new.content,
        is_lucid: new.is_lucid,
        clarity: new.clarity,
        people: new.people,
        symbols: new.symbols,
    };
    cx.records().add(dream).await
}

/// Which dreams to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Which {
    /// Only dreams of this day and later.
    from: Option<Date>,
    /// Only dreams of this day and earlier.
    until: Option<Date>,
    /// Only lucid dreams, or only the others.
    is_lucid: Option<bool>,
    /// List the archived dreams instead.
    #[serde(default)]
    archived: bool,
    #[serde(flatten)]
    paging: Paging,
}

async fn list(cx: Cx, which: Which) -> Result<Page<Stored<DreamBrief>>> {
    let mut filter = Filter::<Dream>::new(Order::Latest).archived(which.archived);
    if let Some(from) = which.from {
        filter = filter.from(from.start_utc());
    }
    if let Some(until) = which.until {
        filter = filter.until(until.plus_days(1).start_utc());
    }
    if let Some(lucid) = which.is_lucid {
        filter = filter.flag("isLucid", lucid);
    }
    let page = cx.records().list(which.paging.of(filter)?).await?;
    Ok(page.map(|dream| dream.map(|dream| dream.brief(None))))
}

/// What to search for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Search {
    /// A symbol of the dream, whatever its case.
    symbol: Option<Tag>,
    /// A person of the dream, whatever its case.
    person: Option<Tag>,
    /// Text that occurs in title, content, people or symbols, whatever its case.
    query: Option<Line<500>>,
    /// Only lucid dreams, or only the others.
    is_lucid: Option<bool>,
    #[serde(flatten)]
    paging: Paging,
}

async fn search(cx: Cx, search: Search) -> Result<Page<Stored<DreamBrief>>> {
    let mut filter = Filter::<Dream>::new(Order::Latest);
    if let Some(symbol) = &search.symbol {
        filter = filter.words(&symbol.whole());
    }
    if let Some(person) = &search.person {
        filter = filter.words(&as_person(&person.whole()));
    }
    if let Some(query) = &search.query {
        filter = filter.words(query);
    }
    if let Some(lucid) = search.is_lucid {
        filter = filter.flag("isLucid", lucid);
    }
    let about = search.query.as_deref().or(search.symbol.as_deref()).or(search.person.as_deref());
    let page = cx.records().list(search.paging.of(filter)?).await?;
    Ok(page.map(|dream| dream.map(|dream| dream.brief(about))))
}

/// The symbols of the dreams.
#[derive(Debug, Serialize, JsonSchema)]
struct Symbols {
    /// How many dreams were looked at: all, or the latest 10,000.
    dreams: usize,
    /// The symbols, the most frequent first; at most 100.
    symbols: Vec<Symbol>,
}

/// A symbol.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Symbol {
    /// The symbol, as it was written last.
    name: Tag,
    /// In how many dreams it occurs.
    dreams: usize,
    /// The day of the latest of them.
    last_date: Date,
}

async fn symbols(cx: Cx, _: Nothing) -> Result<Symbols> {
    let dreams = cx.records::<Dream>().all(Filter::new(Order::Latest)).await?;
    let mut by_name: BTreeMap<String, Symbol> = BTreeMap::new();
    for dream in dreams.iter().map(|dream| &dream.data) {
        for symbol in dream.symbols.as_slice() {
            let entry = || Symbol { name: symbol.clone(), dreams: 0, last_date: dream.date };
            by_name.entry(symbol.to_lowercase()).or_insert_with(entry).dreams += 1;
        }
    }
    let mut symbols: Vec<Symbol> = by_name.into_values().collect();
    symbols.sort_by_key(|symbol| std::cmp::Reverse(symbol.dreams));
    symbols.truncate(100);
    Ok(Symbols { dreams: dreams.len(), symbols })
}

/// One dream.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct One {
    /// The dream's id.
    dream_id: RecordId,
}

async fn get(cx: Cx, one: One) -> Result<Stored<Dream>> {
    cx.records().get(one.dream_id).await
}

/// New values for fields of a dream.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Change {
    /// The dream's id.
    dream_id: RecordId,
    /// Only if the dream is at this revision.
    expected_rev: Option<i64>,
    /// The day on which the user woke up from it.
    date: Option<Date>,
    /// A heading.
    title: Option<Line<500>>,
    /// What was dreamt; replaces the content there is.
    content: Option<Text<1, 50_000>>,
    /// Whether the user knew that it was a dream.
    is_lucid: Option<bool>,
    /// How clearly it is remembered, from 1 (hardly) to 5 (vividly).
    clarity: Option<Whole<1, 5>>,
    /// Everybody who occurs in it; replaces those there are.
    people: Option<Tags<20>>,
    /// All symbols; replaces those there are.
    symbols: Option<Tags<20>>,
    /// Fields to empty.
    #[serde(default)]
    clear: Vec<Clearable>,
}

/// A field that can be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Clearable {
    Title,
    Clarity,
    People,
    Symbols,
}

async fn update(cx: Cx, change: Change) -> Result<Stored<Dream>> {
    let records = cx.records::<Dream>();
    records
        .update(change.dream_id, change.expected_rev, |dream| {
            for field in &change.clear {
                match field {
                    Clearable::Title => dream.title = None,
                    Clearable::Clarity => dream.clarity = None,
                    Clearable::People => dream.people = Tags::default(),
                    Clearable::Symbols => dream.symbols = Tags::default(),
                }
            }
            put(&mut dream.date, change.date.as_ref());
            put(&mut dream.content, change.content.as_ref());
            put(&mut dream.is_lucid, change.is_lucid.as_ref());
            put(&mut dream.people, change.people.as_ref());
            put(&mut dream.symbols, change.symbols.as_ref());
            dream.title = change.title.clone().or_else(|| dream.title.take());
            dream.clarity = change.clarity.or(dream.clarity);
            Ok(())
        })
        .await
}

async fn archive(cx: Cx, one: One) -> Result<Stored<Dream>> {
    cx.records().archive(one.dream_id).await
}

async fn restore(cx: Cx, one: One) -> Result<Stored<Dream>> {
    cx.records().restore(one.dream_id).await
}
