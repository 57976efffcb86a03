//! Media: every file once, owned by whom it belongs to, ready in every size.
//!
//! - A file is addressed by the SHA-256 of its bytes; the object store holds each once ([`Location`]: a folder, S3, memory).
//! - A *reference* says which user and app a file belongs to, and what they call it. Whoever holds one sees the file;
//!   whoever drops his leaves everybody else's alone. Bytes go after the last one, by a collector, after a period of grace.
//! - Processing is a leased job in the database: metadata and the variants `thumb`, `medium` and `large`.
//! - Transforms are made on demand, once however many ask, and cached on the local disk.
//!
//! [`router`] serves it over HTTP, [`client`] speaks to that from elsewhere.
//!
//! An object is always written before the row that names it and removed after the row that named it, under a key that
//! never comes back. So a crash leaves at worst litter, which the collector removes, and never a row without bytes;
//! [`Media::fsck`] looks for both.

mod addresses;
mod blob;
mod cache;
pub mod client;
mod collect;
mod delivery;
mod error;
mod fsck;
mod hash;
pub mod image;
mod job;
mod list;
mod media;
mod options;
pub mod picture;
mod reference;
mod routes;
mod serve;
mod sign;
mod store;
mod transform;
mod upload;
mod upload_url;
mod wire;

use std::sync::Arc;

use mana_store::Db;
use mana_types::{MediaId, Random, Timestamp, UserId};
use tokio::sync::Notify;

pub use addresses::Addresses;
pub use collect::Collected;
pub use error::{Error, Result};
pub use fsck::{Fsck, FsckOptions, Progress};
pub use hash::{Hash, InvalidHash};
pub use list::{All, AllQuery, ListQuery, Share, SortBy, Stats};
pub use media::{Blob, Metadata, Record, Status, Upload, Variant, VariantAnswer, Viewer};
pub use options::{Location, Options, S3};
pub use routes::{DoorOptions, router};
pub use sign::SignedUrls;
pub use upload_url::UploadUrl;
pub use wire::{AllBody, MetadataBody, RecordBody, UrlsBody};

use blob::Blobs;
use cache::Cache;
use transform::{Flights, Gate};

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Media(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    db: Db,
    blobs: Arc<Blobs>,
    cache: Cache,
    gate: Gate,
    flights: Flights,
    options: Options,
    random: Arc<dyn Random>,
    /// Something was queued.
    queued: Notify,
}

impl Media {
    /// The service over this database, whose clock it goes by, and the store that the options name.
    pub async fn open(options: Options, db: Db, random: Arc<dyn Random>) -> Result<Self> {
        let blobs = Arc::new(Blobs::open(&options.location, &options.work, Arc::clone(&random)).await?);
        let cache = Cache::open(options.work.join("cache"), options.cache_bytes).await?;
        let gate = Gate::new(options.decodes, options.waiting);
        let flights = Flights::default();
        let queued = Notify::new();
        Ok(Self(Arc::new(Shared { db, blobs, cache, gate, flights, options, random, queued })))
    }

    /// Drops a user's reference to a file: for one app, or for all.
    pub async fn delete(&self, id: MediaId, user: UserId, app: Option<&str>) -> Result<()> {
        let app = app.map(|app| reference::app(Some(app))).transpose()?;
        let now = self.0.db.now().await?;
        let mut tx = self.0.db.begin().await?;
        if store::drop_references(&mut tx, id, user, app, now).await? == 0 {
            return Err(Error::UnknownMedia);
        }
        tx.commit().await?;
        Ok(())
    }

    /// Drops all references of a user; how many. The database does the same when his account goes.
    pub async fn forget_user(&self, user: UserId) -> Result<u64> {
        let mut tx = self.0.db.begin().await?;
        let dropped = store::forget_user(&mut tx, user).await?;
        tx.commit().await?;
        Ok(dropped)
    }

    /// A file; none if there is no such file or the viewer holds no reference to it.
    pub async fn get(&self, id: MediaId, viewer: Viewer) -> Result<Option<Record>> {
        Ok(store::record(&self.0.db, store::Which::Id(id), viewer, None).await?)
    }

    /// The file with these bytes; none if there is no such file or the viewer holds no reference to it.
    pub async fn by_hash(&self, hash: &Hash, viewer: Viewer) -> Result<Option<Record>> {
        Ok(store::record(&self.0.db, store::Which::Hash(*hash), viewer, None).await?)
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(self.0.db.now().await?)
    }
}
