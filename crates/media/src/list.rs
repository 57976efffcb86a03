//! What somebody has: lists, figures, and whether certain files are his.

use std::collections::BTreeMap;
use std::str::FromStr;

use mana_types::{Cursor, MediaId, Page, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use crate::media::{Record, Viewer};
use crate::{Media, Result, store};

/// The most files of one page.
const MOST: i64 = 500;

/// Which files, the newest first.
#[derive(Debug, Clone)]
pub struct ListQuery {
    /// Whose; a service sees everybody's.
    pub viewer: Viewer,
    /// Only those held for this app.
    pub app: Option<String>,
    /// At most this many, held within 1 and 500.
    pub limit: i64,
    /// After this place.
    pub after: Option<Cursor>,
}

/// By what a list is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SortBy {
    /// When the viewer got it.
    #[default]
    CreatedAt,
    /// When it was taken; where that is not known, when the viewer got it.
    DateTaken,
    /// How large it is.
    Size,
}

impl FromStr for SortBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "createdAt" => Ok(Self::CreatedAt),
            "dateTaken" => Ok(Self::DateTaken),
            "size" => Ok(Self::Size),
            other => Err(format!("`{other}` is no order, expected `createdAt`, `dateTaken` or `size`")),
        }
    }
}

/// Which files, sorted and filtered.
#[derive(Debug, Clone)]
pub struct AllQuery {
    /// Whose; a service sees everybody's.
    pub viewer: Viewer,
    /// Only those held for one of these apps; empty for all.
    pub apps: Vec<String>,
    /// Only this type, such as `image/png` or `image/*`.
    pub mime_type: Option<String>,
    /// Taken (where that is not known: got) at this time or later.
    pub date_from: Option<Timestamp>,
    /// Taken (where that is not known: got) at this time or earlier.
    pub date_to: Option<Timestamp>,
    /// Only those with a place, or without.
    pub has_location: Option<bool>,
    /// At most this many, held within 1 and 500.
    pub limit: i64,
    /// Leave out this many.
    pub offset: i64,
    /// By what they are sorted.
    pub sort_by: SortBy,
    /// The smallest first, not the largest.
    pub ascending: bool,
}

impl AllQuery {
    /// Everything of this viewer, the newest fifty.
    pub fn of(viewer: Viewer) -> Self {
        Self {
            viewer,
            apps: Vec::new(),
            mime_type: None,
            date_from: None,
            date_to: None,
            has_location: None,
            limit: 50,
            offset: 0,
            sort_by: SortBy::default(),
            ascending: false,
        }
    }
}

/// A part of a sorted list.
#[derive(Debug, Clone)]
pub struct All {
    /// The files.
    pub items: Vec<Record>,
    /// How many there are in all.
    pub total: u64,
    /// Whether there are more after these.
    pub has_more: bool,
}

/// A number of files and of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// Files.
    pub count: u64,
    /// Bytes.
    pub size: u64,
}

/// How much somebody has; each file once, whatever the number of his references.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Files.
    pub total_count: u64,
    /// Bytes.
    pub total_size: u64,
    /// By app, each file once in every app that holds it; without an app under an empty name.
    pub by_app: BTreeMap<String, Share>,
    /// By the year in which it was taken, else got.
    pub by_year: BTreeMap<i64, Share>,
}

impl Media {
    /// A page of somebody's files, the newest first, each once.
    pub async fn list(&self, query: &ListQuery) -> Result<Page<Record>> {
        let limit = query.limit.clamp(1, MOST);
        let mut items = store::page(&self.0.db, query, limit + 1).await?;
        let has_more = i64::try_from(items.len()).is_ok_and(|count| count > limit);
        items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let last = items.last().filter(|_| has_more);
        let next_cursor =
            last.map(|record| Cursor { key: record.created_at.as_millis(), id: record.id.uuid() }.to_string());
        Ok(Page { items, next_cursor })
    }

    /// A part of somebody's files, filtered and sorted, and how many there are in all.
    pub async fn list_all(&self, query: &AllQuery) -> Result<All> {
        let (limit, offset) = (query.limit.clamp(1, MOST), query.offset.max(0));
        let items = store::all(&self.0.db, query, limit, offset).await?;
        let total = store::count_all(&self.0.db, query).await?;
        let seen = u64::try_from(offset).unwrap_or(0) + items.len() as u64;
        Ok(All { has_more: !items.is_empty() && seen < total, items, total })
    }

    /// How much somebody has.
    pub async fn stats(&self, viewer: Viewer) -> Result<Stats> {
        Ok(store::stats(&self.0.db, viewer).await?)
    }

    /// Which of these files the user does *not* hold for one of these apps (for any app, where none is named), in the
    /// order given. Nothing is asked where no file is named; otherwise one query on exactly those ids.
    pub async fn verify_ownership(&self, user: UserId, ids: &[MediaId], apps: &[&str]) -> Result<Vec<MediaId>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        Ok(store::missing(&self.0.db, user, ids, apps).await?)
    }
}
