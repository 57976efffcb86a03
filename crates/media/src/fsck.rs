//! Whether rows and bytes agree.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt};
use mana_types::MediaId;
use object_store::path::Path;
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::blob::{Key, ORIGINALS, Object, VARIANTS};
use crate::hash::Hash;
use crate::media::Variant;
use crate::store::{self, CheckedVariant};
use crate::{Error, Media, Result};

/// How many rows are read at once.
const BATCH: i64 = 500;
/// How many objects are looked at, or read, at once.
const AT_ONCE: usize = 16;

/// How thoroughly.
#[derive(Debug, Clone, Copy, Default)]
pub struct FsckOptions {
    /// Read all bytes and hash them.
    pub deep: bool,
    /// Repair what can be repaired without losing anything: remove old objects that no row names, make damaged variants
    /// anew. An original that is lost comes back only by uploading it again.
    pub repair: bool,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Files, variants and objects looked at.
    pub done: u64,
    /// How many there were when it began; objects are not counted before they are listed.
    pub total: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fsck {
    /// Files.
    pub media: u64,
    /// Their bytes, as their rows say.
    pub bytes: u64,
    /// Variants.
    pub variants: u64,
    /// Objects in the store.
    pub objects: u64,
    /// Files without bytes.
    pub missing: Vec<MediaId>,
    /// Files with too many or too few bytes.
    pub wrong_size: Vec<MediaId>,
    /// Files with other bytes than they should have; only a deep check finds them.
    pub wrong_hash: Vec<MediaId>,
    /// Variants without bytes, or with the wrong ones.
    pub bad_variants: Vec<(MediaId, Variant)>,
    /// Objects that no row names, older than the period of grace.
    pub orphans: Vec<String>,
    /// Younger ones: uploads and jobs under way, or freshly given up.
    pub young: u64,
    /// References to files that do not exist.
    pub dangling: u64,
    /// How many of these faults were repaired, or will be by the next job.
    pub repaired: u64,
}

impl Fsck {
    /// Whether nothing is wrong. What is young is no fault.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty()
            && self.wrong_size.is_empty()
            && self.wrong_hash.is_empty()
            && self.bad_variants.is_empty()
            && self.orphans.is_empty()
            && self.dangling == 0
    }
}

/// What is wrong with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Missing,
    Size,
    Hash,
}

impl Media {
    /// Compares all rows with all objects, in both directions.
    #[tracing::instrument(name = "media.fsck", skip_all, fields(deep = options.deep, repair = options.repair))]
    pub async fn fsck(&self, options: FsckOptions, mut progress: impl FnMut(Progress) + Send) -> Result<Fsck> {
        let mut report = Fsck::default();
        let (media, variants) = store::counts(&self.0.db).await?;
        let mut seen = Progress { done: 0, total: media + variants };
        let mut step = |count: u64| {
            seen.done += count;
            progress(seen);
        };
        self.check_media(options, &mut report, &mut step).await?;
        self.check_variants(options, &mut report, &mut step).await?;
        self.check_objects(&mut report).await?;
        report.dangling = store::dangling(&self.0.db).await?;
        if options.repair {
            self.repair(&mut report).await?;
        }
        Ok(report)
    }

    async fn fault(&self, path: &Path, size: u64, hash: &Hash, deep: bool) -> Result<Option<Fault>> {
        match self.0.blobs.size(path).await? {
            None => return Ok(Some(Fault::Missing)),
            Some(found) if found != size => return Ok(Some(Fault::Size)),
            Some(_) if !deep => return Ok(None),
            Some(_) => {}
        }
        let Some(mut stream) = self.0.blobs.stream(path, None).await? else { return Ok(Some(Fault::Missing)) };
        let mut hasher = Sha256::new();
        while let Some(bytes) = stream.try_next().await? {
            hasher.update(&bytes);
        }
        Ok((Hash::from_hasher(hasher) != *hash).then_some(Fault::Hash))
    }

    async fn check_media(
        &self,
        options: FsckOptions,
        report: &mut Fsck,
        step: &mut (impl FnMut(u64) + Send),
    ) -> Result<()> {
        let mut after = MediaId::from_uuid(Uuid::nil());
        loop {
            let rows = store::media_after(&self.0.db, after, BATCH).await?;
            let Some((last, ..)) = rows.last() else { return Ok(()) };
            after = *last;
            let faults: Vec<_> = futures::stream::iter(rows)
                .map(|(id, key, size)| async move {
                    let fault = self.fault(&key.original(), size, &key.hash, options.deep).await?;
                    Ok::<_, Error>((id, size, fault))
                })
                .buffered(AT_ONCE)
                .try_collect()
                .await?;
            step(faults.len() as u64);
            for (id, size, fault) in faults {
                report.media += 1;
                report.bytes += size;
                match fault {
                    None => {}
                    // Removed between the two looks, not lost.
                    Some(_) if store::file_is_gone(&self.0.db, id).await? => {}
                    Some(Fault::Missing) => report.missing.push(id),
                    Some(Fault::Size) => report.wrong_size.push(id),
                    Some(Fault::Hash) => report.wrong_hash.push(id),
                }
            }
        }
    }

    async fn check_variants(
        &self,
        options: FsckOptions,
        report: &mut Fsck,
        step: &mut (impl FnMut(u64) + Send),
    ) -> Result<()> {
        let mut after = (MediaId::from_uuid(Uuid::nil()), "");
        loop {
            let rows = store::variants_after(&self.0.db, after, BATCH).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = (last.media, last.variant.as_str());
            let faults: Vec<(CheckedVariant, Option<Fault>)> = futures::stream::iter(rows)
                .map(|row| async move {
                    let fault = self.fault(&row.path, row.size, &row.hash, options.deep).await?;
                    Ok::<_, Error>((row, fault))
                })
                .buffered(AT_ONCE)
                .try_collect()
                .await?;
            step(faults.len() as u64);
            for (row, fault) in faults {
                report.variants += 1;
                if fault.is_none() {
                    continue;
                }
                let stored = store::variant(&self.0.db, row.media, row.variant).await?;
                // Else it was replaced between the two looks.
                if stored.is_some_and(|stored| stored.path() == row.path) {
                    report.bad_variants.push((row.media, row.variant));
                }
            }
        }
    }

    async fn check_objects(&self, report: &mut Fsck) -> Result<()> {
        let before = self.litter_before(self.now().await?);
        let batch = usize::try_from(BATCH).unwrap_or(usize::MAX);
        let mut note = |object: &Object| {
            if object.modified <= before {
                report.orphans.push(object.path.to_string());
            } else {
                report.young += 1;
            }
        };
        let mut objects = 0;
        let mut batches = self.0.blobs.list(&Path::from(ORIGINALS)).try_chunks(batch);
        while let Some(found) = batches.try_next().await.map_err(|error| error.1)? {
            objects += found.len() as u64;
            let keys: HashMap<Key, &Object> =
                found.iter().filter_map(|object| Some((Key::read(&object.path)?, object))).collect();
            let wanted: Vec<Key> = keys.keys().copied().collect();
            let unused = store::unused_keys(&self.0.db, &wanted).await?;
            unused.iter().filter_map(|key| keys.get(key)).for_each(|object| note(object));
        }
        let mut batches = self.0.blobs.list(&Path::from(VARIANTS)).try_chunks(batch);
        while let Some(found) = batches.try_next().await.map_err(|error| error.1)? {
            objects += found.len() as u64;
            let paths: Vec<String> = found.iter().map(|object| object.path.to_string()).collect();
            let known = store::known_variants(&self.0.db, &paths).await?;
            found.iter().filter(|object| !known.contains(object.path.as_ref())).for_each(&mut note);
        }
        report.objects = objects;
        report.orphans.sort_unstable();
        Ok(())
    }

    async fn repair(&self, report: &mut Fsck) -> Result<()> {
        let now = self.now().await?;
        let mut again: Vec<MediaId> = report.bad_variants.iter().map(|(media, _)| *media).collect();
        again.dedup();
        for media in again {
            let mut tx = self.0.db.begin().await?;
            let queued = store::requeue(&mut tx, media, now).await?;
            tx.commit().await?;
            if queued {
                report.repaired += report.bad_variants.iter().filter(|(bad, _)| *bad == media).count() as u64;
            }
        }
        if !report.orphans.is_empty() {
            report.repaired += self.collect(now).await?.orphans;
        }
        self.0.queued.notify_one();
        Ok(())
    }
}
