//! The audit trail: one row per tool call, also of those that were denied.
//!
//! A call takes its place in the queue before it is made, and fills it in when it is done. So there is no call without a
//! row, also when the client hangs up in the middle, and a database that cannot keep up slows the callers down instead
//! of being outrun. One task writes what has gathered, in one statement.

use std::sync::Arc;
use std::time::Duration;

use mana_store::Db;
use mana_types::{ActionId, Clock, Random, RequestId, SpaceId, Timestamp, UserId};
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::store;

/// How many rows may wait to be written.
const WAITING: usize = 8_192;

/// How many rows go into one statement at most.
const BATCH: usize = 1_000;

/// How long rows gather before they are written.
const GATHERING: Duration = Duration::from_millis(25);

/// How long a call waits for a place in the queue.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause between two tries to write, while the database is away.
const PAUSE: Duration = Duration::from_millis(200);

/// How often the last batches are tried again when the process stops: ten seconds in all.
const LAST_TRIES: usize = 50;

/// Through which door a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// The MCP endpoint.
    Mcp,
    /// The REST interface.
    Rest,
}

impl Door {
    /// The door's name in the trail.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Mcp => "mcp",
            Self::Rest => "rest",
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The tool answered.
    Success,
    /// The tool, or something behind it, failed.
    HandlerError,
    /// The arguments were not what the tool takes, or there is no such tool.
    InputInvalid,
    /// The policy or the membership said no.
    Denied,
    /// The client went away before the answer.
    Cancelled,
}

impl Outcome {
    /// The outcome's name in the trail.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::HandlerError => "handler-error",
            Self::InputInvalid => "input-invalid",
            Self::Denied => "denied",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One row of the trail.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The row's id, ordered by time.
    pub(crate) id: ActionId,
    /// When the call came.
    pub(crate) at: Timestamp,
    /// Who called.
    pub(crate) user: UserId,
    /// In which space; none where it never became clear.
    pub(crate) space: Option<SpaceId>,
    /// Through which door.
    pub(crate) door: Door,
    /// The program that called, as it names itself.
    pub(crate) client: Option<String>,
    /// What the client sent to recognise the call by.
    pub(crate) correlation: Option<String>,
    /// The tool, as it was called.
    pub(crate) tool: String,
    /// SHA-256 of the arguments as canonical JSON, the first 16 hexadecimal digits.
    pub(crate) input_hash: String,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// The stable code of what went wrong, or of what was noticed.
    pub(crate) reason: Option<String>,
    /// How long it took.
    pub(crate) millis: i64,
    /// The HTTP request it came with.
    pub(crate) request: RequestId,
}

/// What travels to the writer.
#[derive(Debug)]
enum Message {
    Row(Entry),
    /// Everything before this is to be written; then the sender is told.
    Flush(oneshot::Sender<()>),
}

/// Takes rows and has them written.
#[derive(Debug, Clone)]
pub(crate) struct Trail {
    queue: mpsc::Sender<Message>,
    stop: CancellationToken,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// The task that writes; it ends after [`Trail::stop`], when every call that had begun is written.
pub(crate) type Writer = JoinHandle<()>;

impl Trail {
    /// Starts the writer.
    pub(crate) fn start(db: Db, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> (Self, Writer) {
        let (queue, messages) = mpsc::channel(WAITING);
        let stop = CancellationToken::new();
        let writer = tokio::spawn(write_all(db, messages, stop.clone()));
        (Self { queue, stop, clock, random }, writer)
    }

    /// Takes no more calls; those that have begun still get their rows.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until every row that is in the queue is written.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        let (told, written) = oneshot::channel();
        self.queue.send(Message::Flush(told)).await.map_err(|_| Error::AuditUnavailable)?;
        written.await.map_err(|_| Error::AuditUnavailable)
    }

    /// Takes a place in the queue for a call that is about to be made.
    pub(crate) async fn open(&self, call: Opening<'_>) -> Result<Pending, Error> {
        let place = match self.queue.clone().try_reserve_owned() {
            Ok(place) => place,
            Err(_) => match timeout(PATIENCE, self.queue.clone().reserve_owned()).await {
                Ok(Ok(place)) => place,
                Ok(Err(_)) | Err(_) => return Err(Error::AuditUnavailable),
            },
        };
        let at = self.clock.now();
        let entry = Entry {
            id: ActionId::new(&*self.clock, &*self.random),
            at,
            user: call.user,
            space: call.space,
            door: call.door,
            client: call.client.map(|name| shortened(name, 120)),
            correlation: call.correlation.map(|text| shortened(text, 200)),
            tool: shortened(call.tool, 80),
            input_hash: call.input_hash,
            outcome: Outcome::Cancelled,
            reason: None,
            millis: 0,
            request: call.request,
        };
        Ok(Pending { place: Some(place), entry: Some(entry), clock: Arc::clone(&self.clock) })
    }
}

/// What is known of a call before it is made.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) user: UserId,
    pub(crate) space: Option<SpaceId>,
    pub(crate) door: Door,
    pub(crate) client: Option<&'a str>,
    pub(crate) correlation: Option<&'a str>,
    pub(crate) tool: &'a str,
    pub(crate) input_hash: String,
    pub(crate) request: RequestId,
}

/// A call's place in the trail. Dropped without [`Pending::close`], the call was cancelled, and the row says so.
#[derive(Debug)]
pub(crate) struct Pending {
    place: Option<OwnedPermit<Message>>,
    entry: Option<Entry>,
    clock: Arc<dyn Clock>,
}

impl Pending {
    /// Writes down how the call ended. Returns how many milliseconds it took.
    pub(crate) fn close(mut self, outcome: Outcome, reason: Option<String>) -> i64 {
        self.send(outcome, reason)
    }

    fn send(&mut self, outcome: Outcome, reason: Option<String>) -> i64 {
        let (Some(place), Some(entry)) = (self.place.take(), self.entry.take()) else { return 0 };
        let millis = self.clock.now().since(entry.at).max(0);
        place.send(Message::Row(Entry { outcome, reason, millis, ..entry }));
        millis
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.send(Outcome::Cancelled, None);
    }
}

/// What a client sent, cut, and without the NUL that PostgreSQL stores in no text: one such row would be refused, and
/// the rows of everybody else in its batch with it.
fn shortened(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes.min(text.len()))].replace('\0', "\u{fffd}")
}

async fn write_all(db: Db, mut messages: mpsc::Receiver<Message>, stop: CancellationToken) {
    let mut received = Vec::with_capacity(BATCH);
    loop {
        let count = tokio::select! {
            count = messages.recv_many(&mut received, BATCH) => count,
            () = stop.cancelled(), if !messages.is_closed() => {
                messages.close();
                continue;
            }
        };
        if count == 0 {
            return;
        }
        gather(&mut messages, &mut received, &stop).await;
        let mut rows = Vec::with_capacity(received.len());
        let mut waiting = Vec::new();
        for message in received.drain(..) {
            match message {
                Message::Row(entry) => rows.push(entry),
                Message::Flush(told) => waiting.push(told),
            }
        }
        if !rows.is_empty() {
            write(&db, &rows, &stop).await;
        }
        for told in waiting {
            let _ = told.send(()); // who no longer waits has given up on the answer
        }
    }
}

/// Lets more rows join those that are there, until somebody waits for them, the batch is full or the time is over.
///
/// On SQLite every commit costs an `fsync` and makes all readers forget the pages that they know, so a few large
/// batches leave much more of the machine to the calls than many small ones.
async fn gather(messages: &mut mpsc::Receiver<Message>, received: &mut Vec<Message>, stop: &CancellationToken) {
    let until = Instant::now() + GATHERING;
    let mut seen = 0;
    while received.len() < BATCH && !received[seen..].iter().any(|message| matches!(message, Message::Flush(_))) {
        seen = received.len();
        let room = BATCH - seen;
        let more = tokio::select! {
            more = messages.recv_many(received, room) => more,
            () = sleep_until(until) => return,
            () = stop.cancelled() => return,
        };
        if more == 0 {
            return;
        }
    }
}

/// Writes a batch, and again while the database is away.
async fn write(db: &Db, rows: &[Entry], stop: &CancellationToken) {
    let mut failures = 0_usize;
    while let Err(error) = store::write(db, rows).await {
        failures += 1;
        if failures == 1 {
            tracing::error!(error = %error, rows = rows.len(), "gateway.audit.write_failed");
        }
        // Rows that the database will never take must not hold up those behind them; nor may a process that is
        // stopping wait for ever.
        if !error.is_transient() || (stop.is_cancelled() && failures >= LAST_TRIES) {
            tracing::error!(error = %error, rows = rows.len(), "gateway.audit.rows_lost");
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
