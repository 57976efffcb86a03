//! Bytes in the object store: on disk, in S3 or in memory.
//!
//! An upload is first written to a temporary file, hashed and counted on the way, and adopted only when it is complete:
//! on disk by a link within the same file system, elsewhere by an upload that becomes visible as a whole. So nobody
//! ever sees half a file under a key, whatever happens when.

mod http;
mod spool;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use mana_types::{Random, Timestamp};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig, WriteMultipart};

use crate::hash::Hash;
use crate::options::{Location, S3};
use crate::{Error, Result};

pub(crate) use spool::Spooled;

/// Where the originals are.
pub(crate) const ORIGINALS: &str = "sha256";
/// Where the smaller images are.
pub(crate) const VARIANTS: &str = "variants";
/// Up to here a file goes to a remote store in one request; a part of a larger one.
const PART: u64 = 8 << 20;
/// How many parts are on their way at once.
const PARTS: usize = 4;

/// A key of the object store: the hash of the bytes, and how often that hash came back after it had been given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) hash: Hash,
    pub(crate) generation: i64,
}

impl Key {
    fn under(self, root: &str) -> String {
        let hash = self.hash.to_string();
        let path = format!("{root}/{}/{}/{hash}", &hash[..2], &hash[2..4]);
        if self.generation == 0 { path } else { format!("{path}.{}", self.generation) }
    }

    /// Where the original is.
    pub(crate) fn original(self) -> Path {
        Path::from(self.under(ORIGINALS))
    }

    /// Where everything made of it is.
    pub(crate) fn variants(self) -> Path {
        Path::from(self.under(VARIANTS))
    }

    /// Where a variant with these bytes is.
    pub(crate) fn variant(self, name: &str, hash: &Hash) -> Path {
        Path::from(format!("{}/{name}-{hash:.16}.webp", self.under(VARIANTS)))
    }

    /// The key of an original; none if nothing of ours is named like this.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let name = path.filename()?;
        let (hash, generation) = name.split_once('.').map_or((name, Some(0)), |(hash, n)| (hash, n.parse().ok()));
        let key = Self { hash: hash.parse().ok()?, generation: generation? };
        (key.original() == *path).then_some(key)
    }
}

/// What a listing says of an object.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) path: Path,
    pub(crate) modified: Timestamp,
}

impl From<object_store::ObjectMeta> for Object {
    fn from(meta: object_store::ObjectMeta) -> Self {
        let modified = Timestamp::from_millis(meta.last_modified.timestamp_millis());
        Self { path: meta.location, modified }
    }
}

/// The object store, and the folder where uploads wait.
#[derive(Debug)]
pub(crate) struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// The store's own folder, where it is one.
    disk: Option<PathBuf>,
    temporary: PathBuf,
    random: Arc<dyn Random>,
}

impl Blobs {
    pub(crate) async fn open(location: &Location, work: &std::path::Path, random: Arc<dyn Random>) -> Result<Self> {
        // The same file system as the files themselves, so that adopting is a link and not a copy.
        let disk = match location {
            Location::Disk(folder) => Some(folder.clone()),
            Location::S3(_) | Location::Memory | Location::Other(_) => None,
        };
        let temporary = disk.as_deref().unwrap_or(work).join("tmp");
        let made = temporary.clone();
        tokio::task::spawn_blocking(move || std::fs::create_dir_all(made)).await??;
        let store: Arc<dyn ObjectStore> = match location {
            Location::Disk(folder) => Arc::new(LocalFileSystem::new_with_prefix(folder)?.with_fsync(true)),
            Location::S3(s3) => open_s3(s3)?,
            Location::Memory => Arc::new(InMemory::new()),
            Location::Other(store) => Arc::clone(store),
        };
        Ok(Self { store, disk, temporary, random })
    }

    /// Whether looking for an object costs next to nothing.
    pub(crate) fn is_local(&self) -> bool {
        self.disk.is_some()
    }

    /// Whether these bytes are there, as far as their number tells.
    pub(crate) async fn holds(&self, path: &Path, size: u64) -> Result<bool> {
        Ok(self.size(path).await? == Some(size))
    }

    /// How many bytes are there; none if there is no such object.
    pub(crate) async fn size(&self, path: &Path) -> Result<Option<u64>> {
        match self.store.head(path).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a complete upload visible under its key. Whoever finds the same bytes there is done.
    pub(crate) async fn adopt(&self, upload: &Spooled, path: &Path) -> Result<()> {
        if let Some(folder) = &self.disk {
            let target = path.parts().fold(folder.clone(), |target, part| target.join(part.as_ref()));
            let (source, size, root) = (upload.path().to_owned(), upload.size, folder.clone());
            return Ok(tokio::task::spawn_blocking(move || spool::link(&source, size, &target, &root)).await??);
        }
        if upload.size <= PART {
            let payload = PutPayload::from_bytes(upload.bytes().await?);
            match self.store.put_opts(path, payload.clone(), PutMode::Create.into()).await {
                // Somebody else's upload of the same bytes; if not even their number is right, they are replaced.
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                    if !self.holds(path, upload.size).await? {
                        self.store.put(path, payload).await?;
                    }
                }
                // A server that does not know the condition: the same bytes over the same bytes change nothing.
                Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                    self.store.put(path, payload).await?;
                }
                other => drop(other?),
            }
            return Ok(());
        }
        if self.holds(path, upload.size).await? {
            return Ok(());
        }
        let chunk = usize::try_from(PART).unwrap_or(usize::MAX);
        let mut parts = WriteMultipart::new_with_chunk_size(self.store.put_multipart(path).await?, chunk);
        let mut offset = 0;
        while offset < upload.size {
            let read = match parts.wait_for_capacity(PARTS).await {
                Ok(()) => upload.part(offset, chunk).await,
                Err(error) => Err(error.into()),
            };
            match read {
                Ok(bytes) => {
                    offset += bytes.len() as u64;
                    parts.put(bytes);
                }
                Err(error) => {
                    if let Err(why) = parts.abort().await {
                        tracing::warn!(error = %why, "media.blob.parts_left_behind"); // for the bucket's life-cycle rule
                    }
                    return Err(error);
                }
            }
        }
        parts.finish().await?;
        Ok(())
    }

    /// Writes an object as a whole, over whatever was there.
    pub(crate) async fn put(&self, path: &Path, bytes: Bytes) -> Result<()> {
        self.store.put(path, PutPayload::from_bytes(bytes)).await?;
        Ok(())
    }

    /// All bytes of an object; none if there is no such object.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<Bytes>> {
        match self.store.get(path).await {
            Ok(result) => Ok(Some(result.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The bytes of an object, or of a part of it, as they arrive; none if there is no such object.
    pub(crate) async fn stream(
        &self,
        path: &Path,
        range: Option<Range<u64>>,
    ) -> Result<Option<BoxStream<'static, Result<Bytes>>>> {
        let options = GetOptions { range: range.map(Into::into), ..GetOptions::default() };
        match self.store.get_opts(path, options).await {
            Ok(result) => Ok(Some(result.into_stream().map_err(Error::from).boxed())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an object; it may be gone already.
    pub(crate) async fn delete(&self, path: &Path) -> Result<()> {
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Everything under a prefix.
    pub(crate) fn list(&self, prefix: &Path) -> BoxStream<'static, Result<Object>> {
        self.store.list(Some(prefix)).map(|found| found.map(Object::from).map_err(Error::from)).boxed()
    }
}

/// How long a server that does not answer is asked again, before whoever waits is told.
const PATIENCE: Duration = Duration::from_secs(10);

fn open_s3(s3: &S3) -> Result<Arc<dyn ObjectStore>> {
    let mut builder = AmazonS3Builder::new()
        .with_http_connector(http::Connector)
        .with_bucket_name(&s3.bucket)
        .with_region(s3.region.as_deref().unwrap_or("us-east-1"))
        .with_retry(RetryConfig { max_retries: 4, retry_timeout: PATIENCE, ..RetryConfig::default() });
    if let Some(endpoint) = &s3.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    if let Some(key_id) = &s3.key_id {
        builder = builder.with_access_key_id(key_id).with_secret_access_key(s3.secret.expose());
    }
    let store = builder
        .build()
        .map_err(|error| Error::Location { address: format!("s3://{}", s3.bucket), why: error.to_string() })?;
    if s3.prefix.is_empty() {
        return Ok(Arc::new(store));
    }
    Ok(Arc::new(PrefixStore::new(store, s3.prefix.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_from_its_path_and_from_no_other() {
        let hash = Hash::of(b"abc");
        for generation in [0, 1, 12] {
            let key = Key { hash, generation };
            assert_eq!(Key::read(&key.original()), Some(key));
            assert_eq!(Key::read(&key.variant("thumb", &hash)), None);
        }
        assert_eq!(Key { hash, generation: 2 }.original().as_ref(), format!("sha256/ba/78/{hash}.2"));
        for bad in ["sha256/00/00/abc", &format!("sha256/00/00/{hash}"), &format!("sha256/ba/78/{hash}.x"), "readme"] {
            assert_eq!(Key::read(&Path::from(bad)), None, "{bad}");
        }
    }
}
