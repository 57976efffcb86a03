//! Processing: what an image says of itself, and its variants.
//!
//! A job is a row with a time at which it may be claimed. A claim moves that time to the end of a lease and raises the
//! epoch; whoever dies leaves a lease that runs out, and whoever comes late finds that his epoch is not the newest.

use std::time::Duration;

use mana_web::CancellationToken;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use crate::hash::Hash;
use crate::image::{self, Encoded, Exif, ImageError, Info, Limits, Recipe, Taken, Variants};
use crate::media::{Metadata, Variant};
use crate::store::{self, Job, Made, NewVariant};
use crate::{Media, Result};

/// How long a claim holds: many times what the limits permit a decode.
const LEASE_MS: i64 = 5 * 60_000;
/// A job that was begun this often and never ended is given up.
const MOST_ATTEMPTS: i64 = 6;
/// How long a job rests after the store or the database failed; doubled with every attempt.
const RETRY_MS: i64 = 5_000;
/// How often somebody without work looks whether another process queued any.
const POLL: Duration = Duration::from_secs(2);

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Ready,
    Failed,
    Retry,
    /// The lease went to somebody else, or the file is gone.
    Stale,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Retry => "retry",
            Self::Stale => "stale",
        }
    }
}

/// What the processor found and made of an image.
struct Processed {
    info: Option<Info>,
    exif: Option<Exif>,
    variants: Result<Variants, ImageError>,
}

fn process(bytes: &[u8], limits: &Limits, recipe: Recipe) -> Processed {
    let exif = image::exif(bytes);
    match image::inspect(bytes, limits) {
        Ok(info) => Processed { info: Some(info), exif, variants: image::variants(bytes, limits, &recipe) },
        Err(error) => Processed { info: None, exif, variants: Err(error) },
    }
}

impl Media {
    /// Works on jobs until told to stop; then ends what was begun and returns.
    pub async fn run_jobs(&self, stop: CancellationToken) {
        let mut running = JoinSet::new();
        while !stop.is_cancelled() {
            while running.try_join_next().is_some() {}
            let permit = tokio::select! {
                () = stop.cancelled() => break,
                permit = self.0.gate.turn() => permit,
            };
            match self.claim().await {
                Ok(Some(job)) => {
                    let media = self.clone();
                    running.spawn(async move { media.work(job, permit).await });
                    continue;
                }
                Ok(None) => drop(permit),
                Err(error) => {
                    drop(permit);
                    tracing::warn!(error = %mana_web::causes(&error), "media.job.not_claimed");
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.0.queued.notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// Works, one after the other, on all jobs that are due now; how many there were.
    pub async fn run_pending_jobs_once(&self) -> Result<u64> {
        let mut done = 0;
        while let Some(job) = self.claim().await? {
            let permit = self.0.gate.turn().await;
            self.work(job, permit).await;
            done += 1;
        }
        Ok(done)
    }

    async fn claim(&self) -> Result<Option<Job>> {
        let now = self.now().await?;
        Ok(store::claim(&self.0.db, now, now.plus_millis(LEASE_MS)).await?)
    }

    #[tracing::instrument(name = "media.job", skip_all, fields(media = %job.id, attempt = job.attempts))]
    async fn work(&self, job: Job, permit: OwnedSemaphorePermit) {
        let outcome = match self.try_work(&job, permit).await {
            Ok(outcome) => outcome,
            Err(error) => {
                let why = mana_web::causes(&error);
                tracing::warn!(error = %why, "media.job.interrupted");
                self.give_back(&job, &why).await
            }
        };
        metrics::counter!("mana_media_jobs_total", "outcome" => outcome.as_str()).increment(1);
    }

    /// An error here is the store's, the database's or the process's: the file itself is not to blame.
    async fn try_work(&self, job: &Job, permit: OwnedSemaphorePermit) -> Result<Outcome> {
        if job.attempts > MOST_ATTEMPTS {
            return self.fail(job, "processing it was begun six times and never ended").await;
        }
        let Some(bytes) = self.0.blobs.get(&job.key.original()).await? else {
            tracing::error!("media.bytes_lost");
            return self.fail(job, "its bytes are lost, uploading them again brings them back").await;
        };
        let (limits, recipe) = (self.0.options.limits.clone(), self.0.options.recipe);
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            process(&bytes, &limits, recipe)
        });
        let processed = match work.await {
            Ok(processed) => processed,
            Err(error) if error.is_panic() => {
                tracing::error!("media.job.panicked");
                return self.fail(job, "it brought a decoder down").await;
            }
            Err(error) => return Err(error.into()),
        };
        let mut made = known(processed.info, processed.exif);
        let failure = match processed.variants {
            Ok(variants) => {
                made.variants = self.store_variants(job, variants).await?;
                None
            }
            Err(error) => Some(error.to_string()),
        };
        let now = self.now().await?;
        let mut tx = self.0.db.begin().await?;
        if !store::finish(&mut tx, job, &made, failure.as_deref(), now).await? {
            return Ok(Outcome::Stale);
        }
        tx.commit().await?;
        Ok(if failure.is_none() { Outcome::Ready } else { Outcome::Failed })
    }

    /// Bytes first, rows later.
    async fn store_variants(&self, job: &Job, variants: Variants) -> Result<Vec<NewVariant>> {
        let Variants { thumb, medium, large } = variants;
        let sizes = [(Variant::Thumb, Some(thumb)), (Variant::Medium, medium), (Variant::Large, large)];
        let mut stored = Vec::new();
        for (variant, encoded) in sizes {
            let Some(Encoded { bytes, width, height, mime }) = encoded else { continue };
            let hash = Hash::of(&bytes);
            let path = job.key.variant(variant.as_str(), &hash);
            let size = bytes.len() as u64;
            self.0.blobs.put(&path, bytes.into()).await?;
            stored.push(NewVariant { variant, path, hash, size, mime, width, height });
        }
        Ok(stored)
    }

    async fn fail(&self, job: &Job, reason: &str) -> Result<Outcome> {
        let now = self.now().await?;
        let mut tx = self.0.db.begin().await?;
        let written = store::fail(&mut tx, job, reason, now).await?;
        tx.commit().await?;
        Ok(if written { Outcome::Failed } else { Outcome::Stale })
    }

    /// If even that fails, the end of the lease does the same.
    async fn give_back(&self, job: &Job, why: &str) -> Outcome {
        let rest = RETRY_MS << job.attempts.clamp(1, MOST_ATTEMPTS);
        let given = async {
            let now = self.now().await?;
            let mut tx = self.0.db.begin().await?;
            store::retry(&mut tx, job, now.plus_millis(rest), why).await?;
            tx.commit().await?;
            Ok::<_, crate::Error>(())
        };
        if let Err(error) = given.await {
            tracing::warn!(error = %mana_web::causes(&error), "media.job.not_given_back");
        }
        Outcome::Retry
    }
}

/// What goes into columns of its own, so that lists can ask for it.
fn known(info: Option<Info>, exif: Option<Exif>) -> Made {
    let metadata = info.map(|info| Metadata {
        width: info.width,
        height: info.height,
        format: info.format.name().to_owned(),
        has_alpha: info.has_alpha,
    });
    let Some(exif) = exif else { return Made { metadata, ..Made::default() } };
    let taken = exif.taken.as_ref();
    Made {
        metadata,
        camera: camera(exif.make.as_deref(), exif.model.as_deref()),
        lens: exif.lens.clone(),
        taken: taken.map(Taken::timestamp),
        offset: taken.and_then(|taken| taken.offset_minutes).map(i64::from),
        place: exif.latitude.zip(exif.longitude),
        exif: Some(exif),
        variants: Vec::new(),
    }
}

/// Maker and model as one name. Many makers put their name into the model, too.
fn camera(make: Option<&str>, model: Option<&str>) -> Option<String> {
    match (make, model) {
        (Some(make), Some(model)) if !model.to_lowercase().starts_with(&make.to_lowercase()) => {
            Some(format!("{make} {model}"))
        }
        (_, Some(model)) => Some(model.to_owned()),
        (make, None) => make.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_has_one_name() {
        for (make, model, name) in [
            (Some("Apple"), Some("iPhone 15"), Some("Apple iPhone 15")),
            (Some("Canon"), Some("Canon EOS R5"), Some("Canon EOS R5")),
            (Some("NIKON"), Some("Nikon Z6"), Some("Nikon Z6")),
            (None, Some("X100"), Some("X100")),
            (Some("Leica"), None, Some("Leica")),
            (None, None, None),
        ] {
            assert_eq!(camera(make, model).as_deref(), name);
        }
    }
}
