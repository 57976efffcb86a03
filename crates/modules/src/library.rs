//! The library: books, films, series and comics, from the wish to the review.

use mana_registry::prelude::*;

/// A work.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Entry {
    /// What kind of work it is.
    kind: Kind,
    /// What it is called.
    title: Line<500>,
    /// Who made it: authors, directors, artists.
    #[serde(default)]
    creators: Vec<Line<200>>,
    /// The year it came out; before our era negative.
    year: Option<Whole<-3000, 2200>>,
    /// How far one has come with it.
    #[serde(default)]
    status: Status,
    /// How good it is, from 1 to 5.
    rating: Option<Whole<1, 5>>,
    /// What one thinks of it.
    review: Option<Text<0, 20_000>>,
    /// When it was begun; set when the status first becomes `active`.
    started_at: Option<Timestamp>,
    /// When it was last completed; set when the status becomes `completed`.
    completed_at: Option<Timestamp>,
}

impl Record for Entry {
    const KIND: &'static str = "library.entry";

    fn words(&self) -> String {
        let creators: Vec<&str> = self.creators.iter().map(Line::as_str).collect();
        format!("{}\n{}\n{}", self.title, creators.join("\n"), self.review.as_deref().unwrap_or_default())
    }
}

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Book,
    Film,
    Series,
    Comic,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Book, Self::Film, Self::Series, Self::Comic];

    const fn word(self) -> &'static str {
        match self {
            Self::Book => "book",
            Self::Film => "film",
            Self::Series => "series",
            Self::Comic => "comic",
        }
    }
}

/// How far one has come with a work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Status {
    #[default]
    Planned,
    Active,
    Completed,
    Paused,
    Dropped,
}

impl Status {
    const fn word(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Paused => "paused",
            Self::Dropped => "dropped",
        }
    }
}

impl Entry {
    /// Takes on a status, and notes the time where that means something.
    fn become_status(&mut self, status: Status, now: Timestamp) {
        if self.status == status {
            return;
        }
        self.status = status;
        match status {
            Status::Active => {
                self.started_at.get_or_insert(now);
            }
            Status::Completed => self.completed_at = Some(now),
            Status::Planned | Status::Paused | Status::Dropped => {}
        }
    }
}

/// The module.
pub(crate) fn module() -> Module {
    Module::new("library", "Keep track of books, films, series and comics.")
        .labels("Library", "Bibliothek")
        .tool(write("library_create", "Add a book, film, series or comic to the library.", create))
        .tool(read("library_list", "List books, films, series and comics, the most recently changed first. Narrow by kind or status.", list))
        .tool(read("library_search", "Search the library for words in title, creators and review, the latest change first.", search))
        .tool(read("library_get", "Read one entry of the library.", get))
        .tool(write("library_update", "Change fields of a library entry. Fields left out stay; name fields in `clear` to empty them.", update))
        .tool(write("library_rate", "Rate a work from 1 to 5 and, if you like, review it. Doing it twice changes nothing.", rate).idempotent())
        .tool(write("library_set_status", "Set how far one has come: planned, active, completed, paused or dropped. Doing it twice changes nothing.", set_status).idempotent())
        .tool(read("library_stats", "Numbers of works by kind and status, and the average rating.", stats))
        .tool(write("library_archive", "Put an entry of the library out of sight; it can be restored.", archive).idempotent())
        .tool(write("library_restore", "Bring an archived entry of the library back.", restore).idempotent())
}

/// What a new entry is made of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewEntry {
    /// What kind of work it is.
    kind: Kind,
    /// What it is called.
    title: Line<500>,
    /// Who made it: authors, directors, artists.
    #[serde(default)]
    #[schemars(length(max = 20))]
    creators: Vec<Line<200>>,
    /// The year it came out; before our era negative.
    year: Option<Whole<-3000, 2200>>,
    /// How far one has come with it; `planned` if left out.
    #[serde(default)]
    status: Status,
    /// How good it is, from 1 to 5.
    rating: Option<Whole<1, 5>>,
    /// What one thinks of it.
    review: Option<Text<0, 20_000>>,
}

async fn create(cx: Cx, new: NewEntry) -> Result<Stored<Entry>> {
    let mut entry = Entry {
        kind: new.kind,
        title: new.title,
        creators: new.creators,
        year: new.year,
        status: Status::Planned,
        rating: new.rating,
        review: new.review,
        started_at: None,
        completed_at: None,
    };
    entry.become_status(new.status, cx.now());
    cx.records().add(entry).await
}

/// Which entries to list.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// Only works of this kind.
    kind: Option<Kind>,
    /// Only works of this status.
    status: Option<Status>,
    /// List the archived entries instead.
    #[serde(default)]
    archived: bool,
    #[serde(flatten)]
    paging: Paging,
}

fn of(kind: Option<Kind>, status: Option<Status>) -> Filter<Entry> {
    let mut filter = Filter::new(Order::Recent);
    if let Some(kind) = kind {
        filter = filter.is("kind", kind.word());
    }
    if let Some(status) = status {
        filter = filter.is("status", status.word());
    }
    filter
}

async fn list(cx: Cx, which: Which) -> Result<Page<Stored<Entry>>> {
    cx.records().list(which.paging.of(of(which.kind, which.status).archived(which.archived))?).await
}

/// What to search for.
#[derive(Debug, Deserialize, JsonSchema)]
struct Search {
    /// Text that occurs in title, creators or review, whatever its case.
    query: Line<500>,
    /// Only works of this kind.
    kind: Option<Kind>,
    #[serde(flatten)]
    paging: Paging,
}

async fn search(cx: Cx, search: Search) -> Result<Page<Stored<Entry>>> {
    cx.records().list(search.paging.of(of(search.kind, None).words(&search.query))?).await
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
    /// What kind of work it is.
    kind: Option<Kind>,
    /// What it is called.
    title: Option<Line<500>>,
    /// Everybody who made it; replaces those there are.
    #[schemars(length(max = 20))]
    creators: Option<Vec<Line<200>>>,
    /// The year it came out; before our era negative.
    year: Option<Whole<-3000, 2200>>,
    /// What one thinks of it.
    review: Option<Text<0, 20_000>>,
    /// When it was begun, RFC 3339 with offset.
    started_at: Option<Timestamp>,
    /// When it was last completed, RFC 3339 with offset.
    completed_at: Option<Timestamp>,
    /// Fields to empty.
    #[serde(default)]
    clear: Vec<Clearable>,
}

/// A field that can be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Clearable {
    Creators,
    Year,
    Rating,
    Review,
    StartedAt,
    CompletedAt,
}

async fn update(cx: Cx, change: Change) -> Result<Stored<Entry>> {
    let records = cx.records::<Entry>();
    records
        .update(change.entry_id, change.expected_rev, |entry| {
            for field in &change.clear {
                match field {
                    Clearable::Creators => entry.creators = Vec::new(),
                    Clearable::Year => entry.year = None,
                    Clearable::Rating => entry.rating = None,
                    Clearable::Review => entry.review = None,
                    Clearable::StartedAt => entry.started_at = None,
                    Clearable::CompletedAt => entry.completed_at = None,
                }
            }
            put(&mut entry.kind, change.kind.as_ref());
            put(&mut entry.title, change.title.as_ref());
            put(&mut entry.creators, change.creators.as_ref());
            entry.year = change.year.or(entry.year);
            entry.review = change.review.clone().or_else(|| entry.review.take());
            entry.started_at = change.started_at.or(entry.started_at);
            entry.completed_at = change.completed_at.or(entry.completed_at);
            Ok(())
        })
        .await
}

/// A rating.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Rate {
    /// The entry's id.
    entry_id: RecordId,
    /// How good it is, from 1 to 5.
    rating: Whole<1, 5>,
    /// What one thinks of it; replaces the review there is.
    review: Option<Text<0, 20_000>>,
}

async fn rate(cx: Cx, rate: Rate) -> Result<Stored<Entry>> {
    let records = cx.records::<Entry>();
    let before = records.get(rate.entry_id).await?;
    let is_said = rate.review.is_none() || rate.review == before.data.review;
    if before.data.rating == Some(rate.rating) && is_said {
        return Ok(before);
    }
    records
        .update(rate.entry_id, None, |entry| {
            entry.rating = Some(rate.rating);
            entry.review = rate.review.clone().or_else(|| entry.review.take());
            Ok(())
        })
        .await
}

/// How far one has come.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct SetStatus {
    /// The entry's id.
    entry_id: RecordId,
    /// How far one has come with it.
    status: Status,
}

async fn set_status(cx: Cx, set: SetStatus) -> Result<Stored<Entry>> {
    let records = cx.records::<Entry>();
    let before = records.get(set.entry_id).await?;
    if before.data.status == set.status {
        return Ok(before);
    }
    let now = cx.now();
    records
        .update(set.entry_id, None, |entry| {
            entry.become_status(set.status, now);
            Ok(())
        })
        .await
}

/// The library in numbers.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Stats {
    /// By kind.
    by_kind: Vec<KindStats>,
    /// How many were completed this year.
    completed_this_year: usize,
    /// How many have a rating.
    rated: usize,
    /// The average rating to two decimals; absent if nothing is rated.
    average_rating: Option<f64>,
}

/// The works of a kind in numbers.
#[derive(Debug, Serialize, JsonSchema)]
struct KindStats {
    /// The kind.
    kind: Kind,
    /// Wished for.
    planned: usize,
    /// Begun.
    active: usize,
    /// Completed.
    completed: usize,
    /// Laid aside for a while.
    paused: usize,
    /// Laid aside for good.
    dropped: usize,
}

async fn stats(cx: Cx, _: Nothing) -> Result<Stats> {
    let entries = cx.records::<Entry>().all(Filter::new(Order::Recent)).await?;
    let (zone, year) = (cx.zone(), cx.today().0.year());
    let count = |kind: Kind, status: Status| {
        entries.iter().filter(|entry| entry.data.kind == kind && entry.data.status == status).count()
    };
    let by_kind = Kind::ALL.map(|kind| KindStats {
        kind,
        planned: count(kind, Status::Planned),
        active: count(kind, Status::Active),
        completed: count(kind, Status::Completed),
        paused: count(kind, Status::Paused),
        dropped: count(kind, Status::Dropped),
    });
    let is_of_this_year = |entry: &Entry| {
        entry.status == Status::Completed && entry.completed_at.is_some_and(|time| time.date_in(&zone).0.year() == year)
    };
    let ratings: Vec<i64> = entries.iter().filter_map(|entry| entry.data.rating).map(Whole::get).collect();
    Ok(Stats {
        by_kind: by_kind.into(),
        completed_this_year: entries.iter().filter(|entry| is_of_this_year(&entry.data)).count(),
        rated: ratings.len(),
        average_rating: average(&ratings),
    })
}

/// The average to two decimals.
fn average(ratings: &[i64]) -> Option<f64> {
    let n = u32::try_from(ratings.len()).ok().filter(|n| *n > 0)?;
    let hundredfold = i32::try_from(ratings.iter().sum::<i64>() * 100).ok()?;
    Some((f64::from(hundredfold) / f64::from(n)).round() / 100.0)
}

async fn archive(cx: Cx, one: One) -> Result<Stored<Entry>> {
    cx.records().archive(one.entry_id).await
}

async fn restore(cx: Cx, one: One) -> Result<Stored<Entry>> {
    cx.records().restore(one.entry_id).await
}
