//! The body of an upload, read as it arrives: multipart or plain bytes, never all of it in memory, never waited for
//! without end.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use http::{HeaderMap, header};
use mana_web::FieldError;
use multer::{Field, Multipart};
use tokio::time::{Instant, Sleep};

use super::{App, DoorOptions};
use crate::blob::Spooled;
use crate::{Error, Media, Result};

/// How much more than the file a multipart body may hold.
const AROUND: u64 = 1 << 20;
/// The longest value of a field that is no file.
const TEXT: usize = 4 << 10;
/// The most fields of a body, and the most bytes read to find the head of the next.
const FIELDS: usize = 64;
const HEAD: u64 = 64 << 10;
/// For how long, and how much, the rest of a refused body is read, so that its sender comes to read the answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: u64 = 16 << 20;

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyFault {
    #[error("the upload came too slowly and was given up, send it again")]
    Slow,
    #[error("the body is larger than this route takes")]
    TooLarge { limit: u64 },
    #[error("`{}`: {}", .0.field, .0.message)]
    Field(FieldError),
    #[error("the body is not `multipart/form-data` as RFC 7578 has it: {0}")]
    Malformed(String),
    #[error("the upload broke off before its end, send it again")]
    Broken(#[source] axum::Error),
}

impl BodyFault {
    fn field(name: &str, what: &str) -> Self {
        Self::Field(FieldError::new(name, what))
    }
}

impl From<multer::Error> for BodyFault {
    fn from(error: multer::Error) -> Self {
        match error {
            multer::Error::StreamReadFailed(cause) => match cause.downcast::<Self>() {
                Ok(fault) => *fault,
                Err(cause) => Self::Malformed(cause.to_string()),
            },
            other => Self::Malformed(other.to_string()),
        }
    }
}

fn interrupted(fault: BodyFault) -> Error {
    Error::Interrupted(Box::new(fault))
}

type Shared = Arc<Mutex<BodyDataStream>>;

/// The bytes of a body, with an eye on the clock.
struct Incoming {
    body: Shared,
    idle: Duration,
    pause: Pin<Box<Sleep>>,
    end: Pin<Box<Sleep>>,
    seen: u64,
    limit: u64,
    /// How many bytes may still be read without finding what is looked for.
    patience: Arc<AtomicU64>,
    /// Whoever reads in a loop gets a turn after each piece, so that he keeps no more than one.
    rests: bool,
}

impl Incoming {
    fn new(body: Shared, limit: u64, options: &DoorOptions) -> Self {
        Self {
            body,
            idle: options.idle,
            pause: Box::pin(tokio::time::sleep(options.idle)),
            end: Box::pin(tokio::time::sleep(options.longest)),
            seen: 0,
            limit,
            patience: Arc::new(AtomicU64::new(u64::MAX)),
            rests: false,
        }
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, BodyFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.rests) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let arrived = self.body.lock().unwrap_or_else(PoisonError::into_inner).poll_next_unpin(cx);
        if arrived.is_pending() {
            if self.pause.as_mut().poll(cx).is_ready() || self.end.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Some(Err(BodyFault::Slow)));
            }
            return Poll::Pending;
        }
        let chunk = match ready!(arrived) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(BodyFault::Broken(error)))),
            Some(Ok(chunk)) => chunk,
        };
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(BodyFault::Slow)));
        }
        self.seen += chunk.len() as u64;
        if self.seen > self.limit {
            return Poll::Ready(Some(Err(BodyFault::TooLarge { limit: self.limit })));
        }
        let patience = self.patience.load(Ordering::Relaxed);
        if patience == 0 {
            return Poll::Ready(Some(Err(BodyFault::Malformed("the head of a part is too long".to_owned()))));
        }
        if patience != u64::MAX {
            self.patience.store(patience.saturating_sub(chunk.len() as u64), Ordering::Relaxed);
        }
        let next = Instant::now() + self.idle;
        self.pause.as_mut().reset(next);
        self.rests = true;
        Poll::Ready(Some(Ok(chunk)))
    }
}

/// What somebody sent. Fields may come before the file or after it.
#[derive(Debug, Default)]
pub(super) struct Form {
    pub(super) file: Option<Received>,
    pub(super) app: Option<String>,
    pub(super) user_id: Option<String>,
    pub(super) skip_processing: bool,
}

/// A file that has arrived.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) spooled: Spooled,
    pub(super) name: Option<String>,
    pub(super) declared: Option<String>,
}

/// Reads a body: `multipart/form-data`, or where `plain` is allowed anything else as the file itself.
pub(super) async fn read(app: &App, headers: &HeaderMap, body: Body, plain: bool) -> Result<Form> {
    let limit = app.media.0.options.max_bytes;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let body: Shared = Arc::new(Mutex::new(body.into_data_stream()));
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let read = match multer::parse_boundary(content_type) {
        _ if announced.is_some_and(|bytes: u64| bytes > limit.saturating_add(AROUND)) => Err(Error::TooLarge { limit }),
        Ok(boundary) => {
            let incoming = Incoming::new(Arc::clone(&body), limit.saturating_add(AROUND), &app.doors.options);
            form(&app.media, incoming, boundary).await
        }
        Err(multer::Error::NoBoundary) => Err(interrupted(BodyFault::Malformed("it names no boundary".to_owned()))),
        Err(_) if plain => {
            // One more than is allowed, so that the limit of the file is the one that speaks.
            let incoming = Incoming::new(Arc::clone(&body), u64::MAX, &app.doors.options);
            let declared = Some(content_type.to_owned()).filter(|text| !text.is_empty());
            let received = app.media.receive(incoming).await;
            received.map(|spooled| Form { file: Some(Received { spooled, name: None, declared }), ..Form::default() })
        }
        Err(_) => Err(interrupted(BodyFault::field("file", "is missing, send it as `multipart/form-data`"))),
    };
    if read.is_err() && !headers.contains_key(header::EXPECT) {
        linger(&body).await;
    }
    read
}

/// Many senders write their whole body before they read the answer, and never see it if the line closes meanwhile.
async fn linger(body: &Shared) {
    let mut seen = 0;
    let rest = std::future::poll_fn(|cx| {
        while seen < LINGER_BYTES {
            match ready!(body.lock().unwrap_or_else(PoisonError::into_inner).poll_next_unpin(cx)) {
                Some(Ok(chunk)) => seen += chunk.len() as u64,
                Some(Err(_)) | None => break, // nobody is there any more, or all is read
            }
        }
        Poll::Ready(())
    });
    let _ = tokio::time::timeout(LINGER, rest).await; // then he misses the answer
}

async fn form(media: &Media, incoming: Incoming, boundary: String) -> Result<Form> {
    let patience = Arc::clone(&incoming.patience);
    let mut multipart = Multipart::new(incoming, boundary);
    let mut form = Form::default();
    for _ in 0..FIELDS {
        patience.store(HEAD, Ordering::Relaxed);
        let next = multipart.next_field().await;
        patience.store(u64::MAX, Ordering::Relaxed);
        let Some(field) = next.map_err(|error| interrupted(error.into()))? else { return Ok(form) };
        match field.name().unwrap_or_default() {
            "file" if form.file.is_some() => {
                return Err(interrupted(BodyFault::field("file", "came twice, send one file at a time")));
            }
            "file" => {
                let name = field.file_name().map(str::to_owned);
                let declared = field.content_type().map(ToString::to_string);
                let spooled = media.receive(field.map_err(BodyFault::from)).await?;
                form.file = Some(Received { spooled, name, declared });
            }
            "app" => form.app = text("app", field).await.map_err(interrupted)?,
            "userId" => form.user_id = text("userId", field).await.map_err(interrupted)?,
            "skipProcessing" => {
                let value = text("skipProcessing", field).await.map_err(interrupted)?;
                form.skip_processing = match value.as_deref() {
                    None | Some("false" | "0") => false,
                    Some("true" | "1") => true,
                    Some(_) => {
                        let fault = BodyFault::field("skipProcessing", "expected `true` or `false`");
                        return Err(interrupted(fault));
                    }
                };
            }
            // What newer clients may send.
            _ => field.map_err(BodyFault::from).try_for_each(|_| async { Ok(()) }).await.map_err(interrupted)?,
        }
    }
    Err(interrupted(BodyFault::Malformed("it has too many parts".to_owned())))
}

/// A short text; none where it is empty.
async fn text(name: &str, mut field: Field<'_>) -> Result<Option<String>, BodyFault> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await? {
        if bytes.len() + chunk.len() > TEXT {
            return Err(BodyFault::field(name, "is too long"));
        }
        bytes.extend_from_slice(&chunk);
    }
    let text = String::from_utf8(bytes).map_err(|_| BodyFault::field(name, "is no text in UTF-8"))?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}
