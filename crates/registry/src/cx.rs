//! What a tool sees of the world: one space, its caller, the time, and the records it may read and write.

use std::fmt::Display;
use std::marker::PhantomData;
use std::sync::Arc;

use jiff::tz::TimeZone;
use mana_store::records::{self, Author, Filter, Op, Record, Stamp, Stored};
use mana_store::space::{Member, Membership};
use mana_store::{Db, Source, Tx};
use mana_token::Principal;
use mana_types::{ChangeId, Clock, Date, Lang, Page, Random, RecordId, TickId, Timestamp};
use tokio::sync::Mutex;

use crate::Result;
use crate::error::ToolError;
use crate::media::{Media, MediaStore};
use crate::tool::Hint;

/// Who calls, and in which space: looked up for this very call.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is.
    pub principal: Arc<Principal>,
    /// His membership of the space that the call is about.
    pub membership: Membership,
    /// The program that calls, as it names itself.
    pub client: Option<String>,
    /// The visit, where a persona acts.
    pub tick: Option<TickId>,
}

/// What else a call knows beside its caller.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) hint: Hint,
    /// Where files are kept, if anywhere.
    pub(crate) media: Option<Arc<dyn MediaStore>>,
    /// The key under which a retry finds the call.
    pub(crate) key: Option<String>,
    pub(crate) dry_run: bool,
}

/// The context of one call. Cheap to clone; it cannot express a query for another space.
#[derive(Debug, Clone)]
pub struct Cx(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Db,
    caller: Caller,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    setting: Setting,
    /// Opened by the first write; committed by the registry when the tool has succeeded.
    tx: Mutex<Option<Tx>>,
}

impl Cx {
    pub(crate) fn new(
        db: Db,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        caller: Caller,
        setting: Setting,
    ) -> Self {
        Self(Arc::new(Inner { db, caller, clock, random, setting, tx: Mutex::new(None) }))
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The caller's time zone; UTC if the stored one is unknown.
    pub fn zone(&self) -> TimeZone {
        TimeZone::get(&self.0.caller.membership.timezone).unwrap_or(TimeZone::UTC)
    }

    /// Today, where the caller is.
    pub fn today(&self) -> Date {
        self.now().date_in(&self.zone())
    }

    /// The caller's language.
    pub fn lang(&self) -> Lang {
        self.0.caller.membership.lang
    }

    /// Who calls.
    pub fn principal(&self) -> &Principal {
        &self.0.caller.principal
    }

    /// The space and what the caller may do in it.
    pub fn membership(&self) -> &Membership {
        &self.0.caller.membership
    }

    /// A random number, for a draw that a test can repeat.
    pub fn random(&self) -> u64 {
        self.0.random.next_u64()
    }

    /// The records of one kind, in this space.
    pub fn records<T: Record>(&self) -> Records<'_, T> {
        Records { cx: self, kind: PhantomData }
    }

    /// Every space that the caller belongs to, the personal one first.
    pub async fn memberships(&self) -> Result<Vec<Membership>> {
        let user = self.0.caller.principal.user_id;
        Ok(mana_store::space::memberships(&mut Source::Db(&self.0.db), user).await?)
    }

    /// The members of this space, by name.
    pub async fn members(&self) -> Result<Vec<Member>> {
        let space = self.0.caller.membership.space;
        Ok(mana_store::space::members(&mut Source::Db(&self.0.db), space).await?)
    }

    /// The next of this space's running numbers under this name, from 1 and without gaps: if the call fails, the
    /// number is not used up.
    pub async fn next_number(&self, name: &str) -> Result<i64> {
        let mut tx = self.0.tx.lock().await;
        let space = self.0.caller.membership.space;
        Ok(records::next_number(self.writable(&mut tx).await?, space, name).await?)
    }

    async fn writable<'t>(&self, tx: &'t mut Option<Tx>) -> Result<&'t mut Tx> {
        if self.0.setting.hint == Hint::Read {
            return Err(ToolError::ReadOnly);
        }
        if tx.is_none() {
            *tx = Some(self.0.db.begin().await?);
        }
        tx.as_mut().ok_or(ToolError::ReadOnly)
    }

    /// The user's files and pictures; an error where this installation keeps none. To be asked before the first record
    /// is written.
    pub fn media(&self) -> Result<Media> {
        if let Some(store) = &self.0.setting.media {
            return Ok(Media::new(self, Arc::clone(store)));
        }
        let refused = ToolError::rule("media-unavailable", "this installation keeps no files");
        Err(refused.hint("ask its operator to run the role `media`"))
    }

    pub(crate) fn hint(&self) -> Hint {
        self.0.setting.hint
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.0.setting.key.as_deref()
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        self.0.setting.dry_run
    }

    pub(crate) async fn has_written(&self) -> bool {
        self.0.tx.lock().await.is_some()
    }

    /// The transaction that the tool has written in, if it has written.
    pub(crate) async fn take_tx(&self) -> Option<Tx> {
        self.0.tx.lock().await.take()
    }

    fn author(&self) -> Author {
        let Caller { principal, client, tick, .. } = &self.0.caller;
        Author { user: principal.user_id, client: client.clone(), tick: tick.clone() }
    }

    fn stamp(&self) -> Stamp {
        Stamp { seq: ChangeId::new(&*self.0.clock, &*self.0.random), at: self.now() }
    }
}

/// The records of one kind in the space of the call. Reads see the call's own writes.
#[derive(Debug)]
pub struct Records<'a, T> {
    cx: &'a Cx,
    kind: PhantomData<fn() -> T>,
}

impl<T: Record> Records<'_, T> {
    /// What one record is called: the noun of `module.noun`.
    fn noun() -> &'static str {
        T::KIND.rsplit_once('.').map_or(T::KIND, |(_, noun)| noun)
    }

    fn space(&self) -> mana_types::SpaceId {
        self.cx.0.caller.membership.space
    }

    /// Adds a record.
    pub async fn add(&self, data: T) -> Result<Stored<T>> {
        let id = RecordId::new(&*self.cx.0.clock, &*self.cx.0.random);
        let mut tx = self.cx.0.tx.lock().await;
        let tx = self.cx.writable(&mut tx).await?;
        Ok(records::add(tx, self.space(), &self.cx.author(), id, self.cx.stamp(), data).await?)
    }

    /// A record, archived or not; none if there is no such record here.
    pub async fn find(&self, id: RecordId) -> Result<Option<Stored<T>>> {
        let mut tx = self.cx.0.tx.lock().await;
        Ok(records::get(&mut source(&mut tx, &self.cx.0.db), self.space(), id).await?)
    }

    /// A record, archived or not; an error that names what is missing.
    pub async fn get(&self, id: RecordId) -> Result<Stored<T>> {
        self.find(id).await?.ok_or_else(|| Self::missing(&id))
    }

    /// Checks that a field names a record that exists and is not archived: for relations, before they are written.
    pub async fn check(&self, field: &str, id: RecordId) -> Result<Stored<T>> {
        match self.find(id).await? {
            Some(found) if found.archived_at.is_none() => Ok(found),
            _ => Err(ToolError::field(field, format!("there is no {} `{id}` here", Self::noun()))),
        }
    }

    /// Changes a record. With `expected`, only if it is at that revision.
    pub async fn update(
        &self,
        id: RecordId,
        expected: Option<i64>,
        change: impl FnMut(&mut T) -> Result<()> + Send,
    ) -> Result<Stored<T>> {
        self.change(id, expected, Op::Update, change).await
    }

    /// Puts a record out of sight. Doing it twice changes nothing.
    pub async fn archive(&self, id: RecordId) -> Result<Stored<T>> {
        self.change(id, None, Op::Archive, |_| Ok(())).await
    }

    /// Brings an archived record back. Doing it twice changes nothing.
    pub async fn restore(&self, id: RecordId) -> Result<Stored<T>> {
        self.change(id, None, Op::Restore, |_| Ok(())).await
    }

    async fn change(
        &self,
        id: RecordId,
        expected: Option<i64>,
        op: Op,
        change: impl FnMut(&mut T) -> Result<()> + Send,
    ) -> Result<Stored<T>> {
        let mut tx = self.cx.0.tx.lock().await;
        let tx = self.cx.writable(&mut tx).await?;
        let (space, author, stamp) = (self.space(), self.cx.author(), self.cx.stamp());
        records::change(tx, space, &author, id, expected, stamp, op, change)
            .await
            .map_err(|error| ToolError::from_change(error, Self::noun(), &id))
    }

    /// One page of the wanted records.
    pub async fn list(&self, filter: Filter<T>) -> Result<Page<Stored<T>>> {
        let mut tx = self.cx.0.tx.lock().await;
        Ok(records::list(&mut source(&mut tx, &self.cx.0.db), self.space(), &filter).await?)
    }

    /// All of the wanted records, up to the 10,000 that one statement reads: to compute over them.
    pub async fn all(&self, filter: Filter<T>) -> Result<Vec<Stored<T>>> {
        Ok(self.list(filter).await?.items)
    }

    /// The first of the wanted records.
    pub async fn first(&self, filter: Filter<T>) -> Result<Option<Stored<T>>> {
        Ok(self.list(filter.page(1, None)).await?.items.pop())
    }

    /// How many there are, whatever the filter's page.
    pub async fn count(&self, filter: Filter<T>) -> Result<i64> {
        let mut tx = self.cx.0.tx.lock().await;
        Ok(records::count(&mut source(&mut tx, &self.cx.0.db), self.space(), &filter).await?)
    }

    fn missing(id: &dyn Display) -> ToolError {
        ToolError::NotFound { what: Self::noun(), id: id.to_string() }
    }
}

fn source<'a>(tx: &'a mut Option<Tx>, db: &'a Db) -> Source<'a> {
    match tx {
        Some(tx) => Source::Tx(tx),
        None => Source::Db(db),
    }
}
