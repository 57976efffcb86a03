//! Handing out bytes.

use std::sync::Arc;

use bytes::Bytes;
use mana_types::{MediaId, UserId};

use crate::media::{Blob, Source, Variant, VariantAnswer, Viewer, neutral_name};
use crate::store::{self, File, Stored};
use crate::{Error, Media, Result};

/// How long a file that failed rests before somebody's wish to see a variant has it tried again.
const FAILED_REST_MS: i64 = 60_000;

/// Whether files of this type may be shown within a page, and be made smaller. Types of images come from the bytes alone.
pub(crate) fn is_shown(mime: &str) -> bool {
    mime.starts_with("image/") && mime != "image/svg+xml"
}

impl Media {
    /// The original. Whoever knows the id may fetch it; a viewer only decides under which name.
    pub async fn open_file(&self, id: MediaId, viewer: Option<Viewer>) -> Result<Blob> {
        let file = store::file(&self.0.db, id, viewer.and_then(Viewer::user)).await?.ok_or(Error::UnknownMedia)?;
        Ok(self.original(&file))
    }

    fn original(&self, file: &File) -> Blob {
        Blob {
            id: file.id,
            size: file.size,
            etag: file.key.hash.to_string(),
            mime: file.mime.clone(),
            modified: file.created,
            name: file.name.clone().unwrap_or_else(|| neutral_name(file.id, &file.mime)),
            inline: is_shown(&file.mime),
            source: Source::Object(Arc::clone(&self.0.blobs), file.key.original()),
        }
    }

    /// A smaller image. Where it was not made yet, or could not be made a while ago, asking has it made.
    pub async fn open_variant(&self, id: MediaId, variant: Variant) -> Result<VariantAnswer> {
        let file = store::file(&self.0.db, id, None).await?.ok_or(Error::UnknownMedia)?;
        if let Some(stored) = store::variant(&self.0.db, id, variant).await? {
            let size = u64::try_from(stored.size).unwrap_or(0);
            // Worth a look where looking is cheap: what got lost is made anew.
            if !self.0.blobs.is_local() || self.0.blobs.holds(&stored.path(), size).await? {
                return Ok(VariantAnswer::Ready(self.variant(&file, variant, &stored, size)));
            }
            tracing::warn!(media = %id, variant = %variant, "media.variant.lost");
            self.ask_again(id, true).await?;
            return Ok(VariantAnswer::NotReady);
        }
        match &*file.state {
            "queued" => Ok(VariantAnswer::NotReady),
            "ready" => Ok(VariantAnswer::Absent),
            state => {
                let asked = self.ask_again(id, false).await?;
                if asked || state == "skipped" {
                    return Ok(VariantAnswer::NotReady); // if not by this call, then by another just now
                }
                Ok(VariantAnswer::Failed(file.reason.unwrap_or_else(|| "it could not be processed".to_owned())))
            }
        }
    }

    fn variant(&self, file: &File, variant: Variant, stored: &Stored, size: u64) -> Blob {
        Blob {
            id: file.id,
            size,
            etag: stored.hash.clone(),
            mime: stored.mime.clone(),
            modified: stored.made,
            name: format!("{}-{variant}.webp", file.id),
            inline: true,
            source: Source::Object(Arc::clone(&self.0.blobs), stored.path()),
        }
    }

    async fn ask_again(&self, id: MediaId, anew: bool) -> Result<bool> {
        let now = self.now().await?;
        let mut tx = self.0.db.begin().await?;
        let asked = store::ask_again(&mut tx, id, now.plus_millis(-FAILED_REST_MS), anew, now).await?;
        tx.commit().await?;
        if asked {
            self.0.queued.notify_one();
        }
        Ok(asked)
    }

    /// All bytes of a file that is this user's.
    pub async fn bytes(&self, id: MediaId, user: UserId) -> Result<Bytes> {
        self.owned(id, user).await?.bytes().await
    }

    /// An image of this user's as image generators take it: PNG, RGB, at most 1024 a side, nothing of its metadata.
    pub async fn reference(&self, id: MediaId, user: UserId) -> Result<Vec<u8>> {
        let blob = self.owned(id, user).await?;
        if !is_shown(&blob.mime) {
            return Err(Error::NotAnImage);
        }
        let permit = self.0.gate.enter().await?;
        let bytes = blob.bytes().await?;
        let limits = self.0.options.limits.clone();
        let decode = move || {
            let _permit = permit;
            crate::image::reference(&bytes, &limits)
        };
        Ok(tokio::task::spawn_blocking(decode).await??)
    }

    async fn owned(&self, id: MediaId, user: UserId) -> Result<Blob> {
        let file = store::file(&self.0.db, id, Some(user)).await?;
        // The name is that of the user's own reference.
        let file = file.filter(|file| file.name.is_some()).ok_or(Error::UnknownMedia)?;
        Ok(self.original(&file))
    }
}
