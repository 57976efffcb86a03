//! A stored file: what is known of it, who may see it, and its bytes on their way out.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use mana_types::{MediaId, Timestamp, UserId};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::blob::Blobs;
use crate::hash::Hash;
use crate::image::Exif;
use crate::{Error, Result};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Viewer {
    /// A user: sees what he holds a reference to.
    User(UserId),
    /// A program of this installation: sees everything.
    Service,
}

impl Viewer {
    /// The user whose references count; none for everybody's.
    pub(crate) fn user(self) -> Option<UserId> {
        match self {
            Self::User(user) => Some(user),
            Self::Service => None,
        }
    }
}

/// A file as somebody brings it.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Whose it is.
    pub user: UserId,
    /// For which app, 1 to 64 letters, digits, `.`, `_`, `:` or `-`.
    pub app: Option<String>,
    /// What he calls it; path parts and control characters are taken out.
    pub name: String,
    /// Which type he says it is. Counts only where the bytes do not show it.
    pub declared: Option<String>,
    /// Keep the bytes only, make nothing of them until somebody asks.
    pub skip_processing: bool,
}

/// Where a file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its smaller images are being made, or wait for it.
    Processing,
    /// All that can be made of it is there.
    Ready,
    /// Nothing could be made of it; the original is there.
    Failed,
}

impl Status {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Processing => "processing",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an image shows of itself, upright.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// The format, such as `jpeg`.
    pub format: String,
    /// Whether it can be seen through.
    pub has_alpha: bool,
}

/// A smaller image made of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// 200 x 200, cut to fit.
    Thumb,
    /// At most 800 a side.
    Medium,
    /// At most 1920 a side.
    Large,
}

impl Variant {
    /// All of them, the smallest first.
    pub const ALL: [Self; 3] = [Self::Thumb, Self::Medium, Self::Large];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Thumb => "thumb",
            Self::Medium => "medium",
            Self::Large => "large",
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Variant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|variant| variant.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no variant, expected `thumb`, `medium` or `large`"))
    }
}

/// A file as its holder sees it: name, app and date are those of his reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The file.
    pub id: MediaId,
    /// Where it stands.
    pub status: Status,
    /// Why it failed.
    pub reason: Option<String>,
    /// What its holder calls it.
    pub original_name: String,
    /// For which app he holds it.
    pub app: Option<String>,
    /// What it is.
    pub mime_type: String,
    /// How many bytes.
    pub size: u64,
    /// Their SHA-256.
    pub hash: Hash,
    /// Of images that were processed.
    pub metadata: Option<Metadata>,
    /// What the camera noted.
    pub exif: Option<Exif>,
    /// When it was taken, as UTC where the camera noted no offset.
    pub taken_at: Option<Timestamp>,
    /// The smaller images that exist.
    pub variants: Vec<Variant>,
    /// Since when its holder has it.
    pub created_at: Timestamp,
}

#[derive(Debug, Clone)]
pub(crate) enum Source {
    Object(Arc<Blobs>, Path),
    Memory(Bytes),
}

/// Bytes to deliver, with what a delivery says about them.
#[derive(Debug, Clone)]
pub struct Blob {
    /// Which file it belongs to.
    pub id: MediaId,
    /// How many bytes.
    pub size: u64,
    /// Changes exactly when the bytes do: a strong validator, without quotes.
    pub etag: String,
    /// What it is.
    pub mime: String,
    /// When these bytes came to be.
    pub modified: Timestamp,
    /// What the viewer calls it; for anybody else the id and an extension.
    pub name: String,
    /// Whether it may be shown within a page; everything else is only ever saved.
    pub inline: bool,
    pub(crate) source: Source,
}

impl Blob {
    /// The bytes as they arrive, all or a part that lies within them.
    pub async fn stream(&self, range: Option<Range<u64>>) -> Result<BoxStream<'static, Result<Bytes>>> {
        match &self.source {
            Source::Object(blobs, path) => blobs.stream(path, range).await?.ok_or(Error::Lost(self.id)),
            Source::Memory(bytes) => {
                let part = range.map_or(0..bytes.len(), |range| {
                    let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                    within(range.start)..within(range.end).max(within(range.start))
                });
                Ok(futures::stream::once(std::future::ready(Ok(bytes.slice(part)))).boxed())
            }
        }
    }

    /// All bytes.
    pub async fn bytes(&self) -> Result<Bytes> {
        match &self.source {
            Source::Object(blobs, path) => blobs.get(path).await?.ok_or(Error::Lost(self.id)),
            Source::Memory(bytes) => Ok(bytes.clone()),
        }
    }

    /// The hash of the bytes as they are now, for whoever doubts them.
    pub async fn rehash(&self) -> Result<Hash> {
        use sha2::Digest;
        let mut stream = self.stream(None).await?;
        let mut hasher = sha2::Sha256::new();
        while let Some(bytes) = stream.try_next().await? {
            hasher.update(&bytes);
        }
        Ok(Hash::from_hasher(hasher))
    }
}

/// What there is under the name of a variant.
#[derive(Debug, Clone)]
pub enum VariantAnswer {
    /// It is there.
    Ready(Blob),
    /// It is being made; ask again in a moment.
    NotReady,
    /// It will never be: the image is not larger than that, or the file is no image.
    Absent,
    /// It could not be made, for this reason.
    Failed(String),
}

/// The type of a file. What the bytes show counts; what was declared counts only where they can show nothing.
pub(crate) fn mime_of(head: &[u8], declared: Option<&str>) -> String {
    const UNKNOWN: &str = "application/octet-stream";
    let seen = crate::image::sniff(head);
    if seen != crate::image::Kind::Other {
        return seen.mime().to_owned();
    }
    let declared = declared.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let token = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    // Had it been one of these, the bytes would have shown it.
    let would_show = declared.starts_with("image/")
        || ["text/html", "application/xhtml+xml", "text/javascript", "application/javascript"].contains(&&*declared);
    match declared.split_once('/') {
        Some((kind, sub)) if declared.len() <= 100 && token(kind) && token(sub) && !would_show => declared,
        _ => UNKNOWN.to_owned(),
    }
}

/// Whether a type is among those of a list of types and `kind/*`.
pub(crate) fn is_among(mime: &str, patterns: &[String]) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => mime.starts_with(prefix),
        None => mime == pattern,
    })
}

/// What a file of this type is called where nobody says how.
pub(crate) fn neutral_name(id: MediaId, mime: &str) -> String {
    let extension = match mime {
        "image/jpeg" => "jpg",
        "image/svg+xml" => "svg",
        "image/tiff" => "tif",
        "text/plain" => "txt",
        "application/pdf" => "pdf",
        "application/zip" => "zip",
        "video/mp4" => "mp4",
        "audio/mpeg" => "mp3",
        other => match other.split_once('/') {
            Some(("image", sub)) if sub.bytes().all(|byte| byte.is_ascii_alphanumeric()) => sub,
            _ => "bin",
        },
    };
    format!("{id}.{extension}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_bytes_show_counts_and_a_claim_only_where_they_show_nothing() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        for (bytes, declared, mime) in [
            (&png[..], Some("text/plain"), "image/png"),
            (b"<!doctype html><script>", Some("image/png"), "text/html"),
            (b"hello", Some("image/png"), "application/octet-stream"),
            (b"hello", Some("TEXT/Plain; charset=utf-8"), "text/plain"),
            (b"%PDF-1.7", Some("application/pdf"), "application/pdf"),
            (b"hello", Some("text/html"), "application/octet-stream"),
            (b"hello", Some("a/b\r\nX: y"), "application/octet-stream"),
            (b"hello", Some("nonsense"), "application/octet-stream"),
            (b"hello", None, "application/octet-stream"),
        ] {
            assert_eq!(mime_of(bytes, declared), mime, "{declared:?}");
        }
    }

    #[test]
    fn lists_of_types() {
        let list = ["image/*".to_owned(), "application/pdf".to_owned()];
        assert!(is_among("image/webp", &list) && is_among("application/pdf", &list));
        assert!(!is_among("application/pdfx", &list) && !is_among("video/mp4", &list));
    }
}
