//! Images made on demand: once however many ask, never more at a time than there are processors.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use mana_types::MediaId;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use crate::cache::{Made, Slot};
use crate::image::{ImageError, Transform};
use crate::media::{Blob, Source, neutral_name};
use crate::serve::is_shown;
use crate::store::{self, File};
use crate::{Error, Hash, Media, Result};

/// Lets as many decode as there are processors, and a bounded number wait.
#[derive(Debug)]
pub(crate) struct Gate {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    most: usize,
}

impl Gate {
    pub(crate) fn new(decodes: usize, most: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(decodes.max(1))), waiting: AtomicUsize::new(0), most }
    }

    /// A turn, after those who came before; [`Error::Busy`] if too many wait already. Held until the decode is over, also
    /// where nobody waits for its result any more.
    pub(crate) async fn enter(&self) -> Result<OwnedSemaphorePermit> {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.most {
            metrics::counter!("mana_media_refused_total").increment(1);
            return Err(Error::Busy);
        }
        Ok(self.turn().await)
    }

    /// A turn, however long it takes: for work that is queued elsewhere.
    pub(crate) async fn turn(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed")
    }
}

/// What is being made right now. The first to ask makes it; the others wait for the same result.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<Slot, Weak<Flight>>>);

/// An image that cannot be made is a result, too: it is found out once for all who ask.
type Flight = OnceCell<Result<Made, ImageError>>;

impl Flights {
    fn board(&self, slot: &Slot) -> Arc<Flight> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(slot).and_then(Weak::upgrade) {
            return flight;
        }
        flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::new(Flight::new());
        flights.insert(slot.clone(), Arc::downgrade(&flight));
        flight
    }
}

impl Media {
    /// An image made of a file by these parameters; from the cache if it was made before.
    pub async fn transform(&self, id: MediaId, transform: &Transform) -> Result<Blob> {
        let file = store::file(&self.0.db, id, None).await?.ok_or(Error::UnknownMedia)?;
        if !is_shown(&file.mime) {
            return Err(Error::NotAnImage);
        }
        let slot = Slot::new(file.key.hash, &transform.canonical());
        if let Some(made) = self.0.cache.get(&slot, transform.mime()).await? {
            metrics::counter!("mana_media_transforms_total", "result" => "hit").increment(1);
            return Ok(blob(&file, made));
        }
        let flight = self.0.flights.board(&slot);
        let made = flight.get_or_try_init(|| self.make(&file, &slot, transform)).await?;
        Ok(blob(&file, made.clone()?))
    }

    /// Only what may go better next time is an error; the rest is a result.
    async fn make(&self, file: &File, slot: &Slot, transform: &Transform) -> Result<Result<Made, ImageError>> {
        // Somebody may have finished between the look into the cache and now.
        if let Some(made) = self.0.cache.get(slot, transform.mime()).await? {
            return Ok(Ok(made));
        }
        // Before the bytes are read, so that no more originals are in memory than can be worked on.
        let permit = self.0.gate.enter().await?;
        let bytes = self.0.blobs.get(&file.key.original()).await?.ok_or(Error::Lost(file.id))?;
        let (limits, wanted) = (self.0.options.limits.clone(), transform.clone());
        let decode = move || {
            let _permit = permit;
            crate::image::transform(&bytes, &limits, &wanted)
        };
        metrics::counter!("mana_media_transforms_total", "result" => "made").increment(1);
        let made = match tokio::task::spawn_blocking(decode).await? {
            Ok(encoded) => Made { mime: encoded.mime.to_owned(), bytes: encoded.bytes.into() },
            Err(error) => return Ok(Err(error)),
        };
        if let Err(error) = self.0.cache.put(slot, &made).await {
            tracing::warn!(error = %mana_web::causes(&error), "media.cache.not_kept"); // it is made anew next time
        }
        Ok(Ok(made))
    }
}

fn blob(file: &File, made: Made) -> Blob {
    Blob {
        id: file.id,
        size: made.bytes.len() as u64,
        etag: Hash::of(&made.bytes).to_string(),
        modified: file.created,
        name: neutral_name(file.id, &made.mime),
        inline: true,
        mime: made.mime,
        source: Source::Memory(made.bytes),
    }
}
