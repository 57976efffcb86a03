//! Files as they are spoken over HTTP: what the routes write and the client reads.

use mana_types::{MediaId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::image::Exif;
use crate::media::{Metadata, Record, Status, Variant};

/// A file as its holder sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordBody {
    /// The file.
    pub id: MediaId,
    /// Where it stands.
    pub status: Status,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What its holder calls it.
    pub original_name: String,
    /// For which app he holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// What it is.
    pub mime_type: String,
    /// How many bytes.
    pub size: u64,
    /// Their SHA-256 as 64 hexadecimal digits.
    pub hash: String,
    /// Where its bytes are.
    pub urls: UrlsBody,
    /// What an image shows of itself; empty for what is no image or was not looked at yet.
    #[serde(default)]
    pub metadata: MetadataBody,
    /// What the camera noted; the place only for the holder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exif: Option<Exif>,
    /// When it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Timestamp>,
    /// Since when its holder has it.
    pub created_at: Timestamp,
}

/// Where the bytes of a file are. A smaller image is named once it exists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UrlsBody {
    /// As it was uploaded.
    pub original: String,
    /// 200 x 200, cut to fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbnail: Option<String>,
    /// At most 800 a side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium: Option<String>,
    /// At most 1920 a side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub large: Option<String>,
}

/// What an image shows of itself, upright; all of it or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetadataBody {
    /// Pixels across.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// The format, such as `jpeg`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Whether it can be seen through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_alpha: Option<bool>,
}

impl From<Metadata> for MetadataBody {
    fn from(metadata: Metadata) -> Self {
        Self {
            width: Some(metadata.width),
            height: Some(metadata.height),
            format: Some(metadata.format),
            has_alpha: Some(metadata.has_alpha),
        }
    }
}

/// A part of a sorted list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllBody {
    /// The files.
    pub items: Vec<RecordBody>,
    /// How many there are in all.
    pub total: u64,
    /// Whether there are more after these.
    pub has_more: bool,
}

impl RecordBody {
    /// A record for whoever asked. Where a picture was taken is nobody's business but its holder's.
    pub(crate) fn new(record: Record, for_holder: bool, url: impl Fn(&str) -> String) -> Self {
        let variant = |variant: Variant| {
            let exists = record.variants.contains(&variant);
            exists.then(|| url(&file_path(record.id, Some(variant))))
        };
        let urls = UrlsBody {
            original: url(&file_path(record.id, None)),
            thumbnail: variant(Variant::Thumb),
            medium: variant(Variant::Medium),
            large: variant(Variant::Large),
        };
        let exif = match record.exif {
            Some(exif) if !for_holder => Some(Exif { latitude: None, longitude: None, altitude: None, ..exif }),
            exif => exif,
        };
        Self {
            id: record.id,
            status: record.status,
            reason: record.reason,
            original_name: record.original_name,
            app: record.app,
            mime_type: record.mime_type,
            size: record.size,
            hash: record.hash.to_string(),
            urls,
            metadata: record.metadata.map(MetadataBody::from).unwrap_or_default(),
            exif: exif.filter(|exif| *exif != Exif::default()),
            taken_at: record.taken_at,
            created_at: record.created_at,
        }
    }
}

/// The path of a file or of a variant.
pub(crate) fn file_path(id: MediaId, variant: Option<Variant>) -> String {
    match variant {
        None => format!("/api/v1/media/{id}/file"),
        Some(variant) => format!("/api/v1/media/{id}/file/{variant}"),
    }
}
