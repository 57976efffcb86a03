//! Taking a file in.

use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use futures::Stream;
use mana_types::MediaId;

use crate::blob::{Key, Spooled};
use crate::media::{Record, Upload, Viewer, is_among, mime_of};
use crate::store::{self, Added, NewMedia, Which};
use crate::{Error, Media, Result, image, reference};

/// How often an upload starts over because the same bytes were being removed or uploaded by somebody else.
const TRIES: u32 = 16;
/// How much of a local file is read at once.
const PART: usize = 512 << 10;

impl Media {
    /// Takes a file in: its bytes as they arrive, hashed and counted on the way.
    ///
    /// The same bytes again, by whomever and however many at once, are one file with one reference for each user and
    /// app; the name of a reference is the one that was sent last.
    #[tracing::instrument(name = "media.upload", skip_all, fields(user = %upload.user))]
    pub async fn upload<S, E>(&self, upload: Upload, body: S) -> Result<Record>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        reference::app(upload.app.as_deref())?; // before the body is read
        let spooled = self.receive(body).await?;
        self.keep(upload, spooled).await
    }

    /// Reads a body to its end, whosever it turns out to be.
    pub(crate) async fn receive<S, E>(&self, body: S) -> Result<Spooled>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.0.blobs.spool(body, self.0.options.max_bytes).await
    }

    /// Takes in what was received.
    pub(crate) async fn keep(&self, upload: Upload, spooled: Spooled) -> Result<Record> {
        let app = reference::app(upload.app.as_deref())?;
        let name = reference::clean_name(&upload.name);
        if spooled.size == 0 {
            return Err(Error::Empty);
        }
        let mime = mime_of(&spooled.head, upload.declared.as_deref());
        if !self.0.options.allowed.is_empty() && !is_among(&mime, &self.0.options.allowed) {
            return Err(Error::NotAllowed(mime));
        }
        let mut new = NewMedia {
            id: MediaId::unguessable(&*self.0.random),
            key: Key { hash: spooled.hash, generation: 0 },
            size: spooled.size,
            is_image: image::sniff(&spooled.head).is_image(),
            mime,
            skip_processing: upload.skip_processing,
            user: upload.user,
            app,
            name,
        };
        for _ in 0..TRIES {
            let standing = store::standing(&self.0.db, &new.key.hash).await?;
            new.key.generation = standing.generation;
            let path = new.key.original();
            // Bytes first. Where they should be but are not, this upload brings them back.
            if !standing.in_use || !self.0.blobs.holds(&path, new.size).await? {
                self.0.blobs.adopt(&spooled, &path).await?;
            }
            let now = self.now().await?;
            let mut tx = self.0.db.begin().await?;
            match store::add(&mut tx, &new, now).await {
                Ok(Added::Is(id)) => {
                    tx.commit().await?;
                    self.0.queued.notify_one();
                    metrics::counter!("mana_media_uploads_total").increment(1);
                    let found =
                        store::record(&self.0.db, Which::Id(id), Viewer::User(new.user), Some(&new.app)).await?;
                    // Deleted again within this moment: the upload happened all the same, but there is nothing to show.
                    return found.ok_or(Error::UnknownMedia);
                }
                // Whatever was written under that key without a row is litter, which the collector takes.
                Ok(Added::Crossed) => drop(tx),
                Err(mana_store::Error::Dangling(_)) => return Err(Error::UnknownUser),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contended)
    }

    /// Takes a file in that is in memory already.
    pub async fn put(&self, upload: Upload, bytes: Bytes) -> Result<Record> {
        self.upload(upload, futures::stream::iter([Ok::<_, Infallible>(bytes)])).await
    }

    /// Takes a file in that lies on the local disk.
    pub async fn put_file(&self, upload: Upload, path: &Path) -> Result<Record> {
        let path = path.to_owned();
        let file = tokio::task::spawn_blocking(move || File::open(path)).await??;
        // Each part is read on a thread of its own, while the one before is hashed and written.
        let parts = futures::stream::try_unfold(file, |mut file| async move {
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = Vec::with_capacity(PART);
                Read::by_ref(&mut file).take(PART as u64).read_to_end(&mut bytes)?;
                Ok::<_, std::io::Error>((bytes, file))
            });
            let (bytes, file) = read.await??;
            Ok::<_, Error>(if bytes.is_empty() { None } else { Some((Bytes::from(bytes), file)) })
        });
        self.upload(upload, parts).await
    }
}
