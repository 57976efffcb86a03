//! The collector: removes bytes that nobody refers to any more, and what crashes left lying about.
//!
//! A row goes first, and with it, in the same transaction, the key is given up for ever. Only then the bytes go. An
//! upload of the same bytes that comes in between finds the key given up and takes the next; so a removal can hit
//! nothing that anybody needs, however late it happens.

use std::future::ready;
use std::time::Duration;

use futures::TryStreamExt;
use mana_types::Timestamp;
use mana_web::CancellationToken;
use object_store::path::Path;
use serde::Serialize;

use crate::blob::{Key, ORIGINALS, VARIANTS};
use crate::{Media, Result, store};

/// How many rows, keys or objects one step deals with.
const BATCH: usize = 200;
/// How long a key that was given up is remembered after its bytes are gone: longer than any removal can be under way.
const GRAVE_MS: i64 = 24 * 60 * 60 * 1_000;
/// How often the collector runs by itself.
const EVERY: Duration = Duration::from_mins(10);
/// In which of those runs it also walks through the whole store.
const WALK_EVERY: u64 = 144;

/// What a run of the collector removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Collected {
    /// Files that nobody referred to.
    pub media: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that no row named.
    pub orphans: u64,
    /// Temporary files of uploads that never ended.
    pub temporary: u64,
    /// Transforms of files that are gone.
    pub cached: u64,
}

impl Media {
    /// Collects every ten minutes, and once a day also what no row names, until told to stop.
    pub async fn run_collector(&self, stop: CancellationToken) {
        let mut run = 0_u64;
        while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            let collected = async {
                let now = self.now().await?;
                if run.is_multiple_of(WALK_EVERY) { self.collect(now).await } else { self.collect_condemned(now).await }
            };
            match collected.await {
                Ok(collected) if collected == Collected::default() => {}
                Ok(Collected { media, bytes, orphans, temporary, cached }) => {
                    tracing::info!(media, bytes, orphans, temporary, cached, "media.collected");
                }
                Err(error) => tracing::warn!(error = %mana_web::causes(&error), "media.collect.failed"), // next time
            }
            run += 1;
        }
    }

    /// Removes, as of this time, all that nobody needs and whose period of grace is over.
    #[tracing::instrument(name = "media.collect", skip_all)]
    pub async fn collect(&self, now: Timestamp) -> Result<Collected> {
        let mut collected = self.collect_condemned(now).await?;
        let before = self.litter_before(now);
        collected.temporary = self.0.blobs.sweep_temporary(before).await?;
        collected.orphans = self.sweep_originals(before, now).await? + self.sweep_variants(before).await?;
        Ok(collected)
    }

    /// From when on what lies about may still be somebody's.
    pub(crate) fn litter_before(&self, now: Timestamp) -> Timestamp {
        now.plus_millis(-i64::try_from(self.0.options.grace.as_millis()).unwrap_or(i64::MAX))
    }

    async fn collect_condemned(&self, now: Timestamp) -> Result<Collected> {
        let mut collected = Collected::default();
        let mut tx = self.0.db.begin().await?;
        store::condemn_unreferenced(&mut tx, now).await?;
        tx.commit().await?;
        loop {
            let mut tx = self.0.db.begin().await?;
            let removed = store::remove_condemned(&mut tx, self.litter_before(now), BATCH, now).await?;
            tx.commit().await?;
            if removed.is_empty() {
                break;
            }
            collected.media += removed.len() as u64;
            collected.bytes += removed.iter().map(|(_, size)| size).sum::<u64>();
        }
        self.remove_dead(now).await?;
        collected.cached = self.sweep_cache().await?;
        Ok(collected)
    }

    /// Removes the bytes of all keys that were given up, also by a run that did not get this far.
    async fn remove_dead(&self, now: Timestamp) -> Result<()> {
        loop {
            let dead = store::dead_keys(&self.0.db, BATCH).await?;
            if dead.is_empty() {
                break;
            }
            for key in &dead {
                self.remove_bytes(*key).await?;
            }
            let mut tx = self.0.db.begin().await?;
            for key in dead {
                store::mark_gone(&mut tx, key, now).await?;
            }
            tx.commit().await?;
        }
        let mut tx = self.0.db.begin().await?;
        store::forget_graves(&mut tx, now.plus_millis(-GRAVE_MS)).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn remove_bytes(&self, key: Key) -> Result<()> {
        self.0.blobs.delete(&key.original()).await?;
        let variants: Vec<_> = self.0.blobs.list(&key.variants()).try_collect().await?;
        for variant in variants {
            self.0.blobs.delete(&variant.path).await?;
        }
        Ok(())
    }

    /// Originals that no row names: uploads that crashed, or crossed a removal, between bytes and row.
    async fn sweep_originals(&self, before: Timestamp, now: Timestamp) -> Result<u64> {
        let mut swept = 0;
        let objects = self.0.blobs.list(&Path::from(ORIGINALS));
        // What is not named like ours is not ours, and left alone.
        let old =
            objects.try_filter_map(|object| ready(Ok(Key::read(&object.path).filter(|_| object.modified <= before))));
        let mut batches = std::pin::pin!(old.try_chunks(BATCH));
        while let Some(batch) = batches.try_next().await.map_err(|error| error.1)? {
            for key in store::unused_keys(&self.0.db, &batch).await? {
                let mut tx = self.0.db.begin().await?;
                let buried = store::bury(&mut tx, key, now).await?;
                tx.commit().await?;
                swept += u64::from(buried);
            }
        }
        self.remove_dead(now).await?;
        Ok(swept)
    }

    /// Variants that no row names. If one is made anew in this very moment, it is lost and made once more.
    async fn sweep_variants(&self, before: Timestamp) -> Result<u64> {
        let mut swept = 0;
        let objects = self.0.blobs.list(&Path::from(VARIANTS));
        let old = objects
            .try_filter_map(|object| ready(Ok(Some(object.path.to_string()).filter(|_| object.modified <= before))));
        let mut batches = std::pin::pin!(old.try_chunks(BATCH));
        while let Some(batch) = batches.try_next().await.map_err(|error| error.1)? {
            let known = store::known_variants(&self.0.db, &batch).await?;
            for path in batch.iter().filter(|path| !known.contains(*path)) {
                self.0.blobs.delete(&Path::from(path.as_str())).await?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// What this process has made of files that are gone by now.
    async fn sweep_cache(&self) -> Result<u64> {
        let mut swept = 0;
        let originals = self.0.cache.originals();
        for batch in originals.chunks(BATCH) {
            let used = store::hashes_in_use(&self.0.db, batch).await?;
            for gone in batch.iter().filter(|hash| !used.contains(*hash)) {
                swept += self.0.cache.forget(gone).await?;
            }
        }
        Ok(swept)
    }
}
