//! Files and pictures as a module sees them: always those of the user who calls, never of one that is named.
//!
//! The service itself is elsewhere, in this process or behind HTTP; this crate only says what modules need of it. Nothing
//! of it can be undone by the database and all of it may take long, so no transaction is open while it is awaited: a
//! module asks for files before it writes its first record, and is refused otherwise.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use mana_types::{MediaId, Timestamp, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::cx::Cx;
use crate::error::ToolError;
use crate::tool::Hint;

/// What the service answers, some time.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, MediaFault>> + Send + 'a>>;

/// Why the service did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum MediaFault {
    /// The user has no such file.
    #[error("there is no such file")]
    Missing,
    /// A rule says no, and will again.
    #[error("{message}")]
    Refused {
        /// A stable word for programs, such as `too-large`.
        code: &'static str,
        /// What the rule is.
        message: String,
        /// What to do instead.
        hint: Option<String>,
    },
    /// Not now; the same may work later.
    #[error("{0}")]
    Unavailable(String),
    /// A fault of ours.
    #[error("the service of files failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

impl MediaFault {
    fn into_tool_error(self, id: Option<MediaId>) -> ToolError {
        match self {
            Self::Missing => ToolError::NotFound { what: "file", id: id.map(|id| id.to_string()).unwrap_or_default() },
            Self::Refused { code, message, hint } => ToolError::Rule { code, message, hint },
            Self::Unavailable(message) => ToolError::Unavailable(message),
            Self::Failed(error) => ToolError::Media(error),
        }
    }
}

/// The service of files and pictures. Each call says on whose behalf it is made.
pub trait MediaStore: fmt::Debug + Send + Sync {
    /// Keeps a file. The same bytes again are the same file.
    fn put(&self, user: UserId, file: NewFile) -> Pending<'_, MediaFile>;
    /// The bytes of a file that has at most so many.
    fn bytes(&self, user: UserId, id: MediaId, most: u64) -> Pending<'_, Vec<u8>>;
    /// A file, if the user has it.
    fn find(&self, user: UserId, id: MediaId) -> Pending<'_, Option<MediaFile>>;
    /// Files by the time they were taken (else got), the latest first; of one time, the greatest id first.
    fn list(&self, user: UserId, query: MediaQuery) -> Pending<'_, MediaList>;
    /// How much the user has.
    fn stats(&self, user: UserId) -> Pending<'_, MediaStats>;
    /// Which of these files the user does not have for one of these apps (for any, where none is named).
    fn missing(&self, user: UserId, ids: Vec<MediaId>, apps: &'static [&'static str]) -> Pending<'_, Vec<MediaId>>;
    /// Lets go of a file that the user has for this app.
    fn forget(&self, user: UserId, id: MediaId, app: &'static str) -> Pending<'_, ()>;
    /// Where a file is to be fetched.
    fn urls(&self, id: MediaId) -> MediaUrls;
    /// An address to which one file may be sent once, without any other key.
    fn upload_url(&self, user: UserId, app: &'static str, name: String) -> Pending<'_, UploadUrl>;
    /// Has pictures made by a model and keeps them for the app `picture`.
    fn generate(&self, user: UserId, wanted: NewPictures) -> Pending<'_, MadePictures>;
    /// What the user has left to have pictures made, in credits.
    fn credits(&self, user: UserId) -> Pending<'_, i64>;
}

/// A file to keep.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// For which app: the name of a module.
    pub app: &'static str,
    /// What the user calls it.
    pub name: String,
    /// Which type it is said to be; counts only where the bytes do not show it.
    pub declared: Option<String>,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Where a file is to be fetched. Whoever knows such an address may fetch it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MediaUrls {
    /// As it was uploaded.
    pub original: String,
    /// 200 x 200, cut to fit.
    pub thumbnail: String,
    /// At most 800 a side.
    pub medium: String,
    /// At most 1920 a side.
    pub large: String,
}

/// What the camera noted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Shot {
    /// Maker and model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// The lens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lens: Option<String>,
    /// Exposure in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposure_time: Option<f64>,
    /// Aperture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub f_number: Option<f64>,
    /// Sensitivity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iso: Option<u32>,
    /// Focal length in millimetres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub focal_length: Option<f64>,
    /// Degrees north.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    /// Degrees east.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    /// Metres above the sea.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub altitude: Option<f64>,
    /// How far the camera's clock was ahead of UTC, in minutes, if it knew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset_minutes: Option<i16>,
}

/// A file of the user's.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaFile {
    /// The file.
    pub id: MediaId,
    /// What he calls it.
    pub name: String,
    /// For which app he has it.
    pub app: Option<String>,
    /// What it is, by its bytes.
    pub mime_type: String,
    /// How many bytes.
    pub size: u64,
    /// `processing`, `ready` or `failed`.
    pub status: String,
    /// Pixels across and down, once it is processed.
    pub pixels: Option<(u32, u32)>,
    /// When it was taken, if that is known.
    pub taken_at: Option<Timestamp>,
    /// Since when he has it.
    pub created_at: Timestamp,
    /// What the camera noted.
    pub shot: Option<Shot>,
}

impl MediaFile {
    /// When it was taken; where that is not known, when the user got it. What lists are sorted by.
    pub fn time(&self) -> Timestamp {
        self.taken_at.unwrap_or(self.created_at)
    }

    /// Where it was taken, as degrees north and east.
    pub fn place(&self) -> Option<(f64, f64)> {
        let shot = self.shot.as_ref()?;
        Some((shot.latitude?, shot.longitude?))
    }

    /// Whether it is an image that can be shown.
    pub fn is_image(&self) -> bool {
        self.mime_type.starts_with("image/") && self.mime_type != "image/svg+xml"
    }
}

/// Which files.
#[derive(Debug, Clone, Default)]
pub struct MediaQuery {
    /// Only those for one of these apps; empty for all.
    pub apps: Vec<String>,
    /// Only this type, such as `image/*`.
    pub mime_type: Option<String>,
    /// From this time on.
    pub from: Option<Timestamp>,
    /// Up to this time, itself included.
    pub to: Option<Timestamp>,
    /// Only those with a place, or without.
    pub has_location: Option<bool>,
    /// At most so many, 1 to 500.
    pub limit: u32,
    /// Leave out so many.
    pub offset: u64,
}

/// A part of the files.
#[derive(Debug, Clone)]
pub struct MediaList {
    /// The files.
    pub items: Vec<MediaFile>,
    /// How many there are in all.
    pub total: u64,
    /// Whether there are more after these.
    pub has_more: bool,
}

/// How much somebody has; each file once.
#[derive(Debug, Clone, Default)]
pub struct MediaStats {
    /// Files.
    pub count: u64,
    /// Bytes.
    pub size: u64,
    /// Files and bytes by app.
    pub by_app: BTreeMap<String, (u64, u64)>,
    /// Files and bytes by year.
    pub by_year: BTreeMap<i64, (u64, u64)>,
}

/// An address to which one file may be sent, once.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UploadUrl {
    /// The address.
    pub url: String,
    /// Until when it works.
    pub expires_at: Timestamp,
    /// The most bytes that it takes.
    pub max_bytes: u64,
}

/// Pictures to be made.
#[derive(Debug, Clone, Default)]
pub struct NewPictures {
    /// What they should show.
    pub prompt: String,
    /// Pictures of the user's to go by.
    pub references: Vec<MediaId>,
    /// By which model; the usual one if left out.
    pub model: Option<String>,
    /// How well.
    pub quality: Option<String>,
    /// How large, such as `1024x1024`.
    pub size: Option<String>,
    /// How many.
    pub count: u8,
    /// Under which key the same wish is fulfilled only once.
    pub key: Option<String>,
}

/// Pictures that were made.
#[derive(Debug, Clone)]
pub struct MadePictures {
    /// The files.
    pub images: Vec<MediaId>,
    /// By which model.
    pub model: String,
    /// For how many credits.
    pub credits: i64,
}

/// The service on behalf of the caller.
#[derive(Debug, Clone)]
pub struct Media {
    cx: Cx,
    store: Arc<dyn MediaStore>,
    user: UserId,
}

impl Media {
    pub(crate) fn new(cx: &Cx, store: Arc<dyn MediaStore>) -> Self {
        Self { user: cx.principal().user_id, cx: cx.clone(), store }
    }

    /// Holds the module to asking before it writes.
    async fn reading(&self) -> Result<()> {
        if self.cx.has_written().await {
            return Err(ToolError::Media("files were asked for while a transaction was open".into()));
        }
        Ok(())
    }

    async fn writing(&self) -> Result<()> {
        if self.cx.hint() == Hint::Read {
            return Err(ToolError::ReadOnly);
        }
        if self.cx.is_dry_run() {
            let refused = ToolError::rule("no-dry-run", "files and pictures cannot be made on trial");
            return Err(refused.hint("call without `dryRun`"));
        }
        self.reading().await
    }

    /// Keeps a file for the user.
    pub async fn put(&self, file: NewFile) -> Result<MediaFile> {
        self.writing().await?;
        self.store.put(self.user, file).await.map_err(|fault| fault.into_tool_error(None))
    }

    /// The bytes of a file of the user's that has at most so many.
    pub async fn bytes(&self, id: MediaId, most: u64) -> Result<Vec<u8>> {
        self.reading().await?;
        self.store.bytes(self.user, id, most).await.map_err(|fault| fault.into_tool_error(Some(id)))
    }

    /// A file of the user's; none if he has no such file.
    pub async fn find(&self, id: MediaId) -> Result<Option<MediaFile>> {
        self.reading().await?;
        self.store.find(self.user, id).await.map_err(|fault| fault.into_tool_error(Some(id)))
    }

    /// A file of the user's; an error that names the field and the id if he has no such file.
    pub async fn check(&self, field: &str, id: MediaId) -> Result<MediaFile> {
        self.find(id).await?.ok_or_else(|| ToolError::field(field, format!("there is no file `{id}` of yours")))
    }

    /// An image of the user's; an error that names the field if it is none.
    pub async fn check_image(&self, field: &str, id: MediaId) -> Result<MediaFile> {
        let file = self.check(field, id).await?;
        if file.is_image() { Ok(file) } else { Err(ToolError::field(field, format!("`{id}` is no image"))) }
    }

    /// Files of the user's, the latest taken first.
    pub async fn list(&self, query: MediaQuery) -> Result<MediaList> {
        self.reading().await?;
        self.store.list(self.user, query).await.map_err(|fault| fault.into_tool_error(None))
    }

    /// How much the user has.
    pub async fn stats(&self) -> Result<MediaStats> {
        self.reading().await?;
        self.store.stats(self.user).await.map_err(|fault| fault.into_tool_error(None))
    }

    /// Which of these files the user does not have for one of these apps (for any, where none is named).
    pub async fn missing(&self, ids: Vec<MediaId>, apps: &'static [&'static str]) -> Result<Vec<MediaId>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.reading().await?;
        self.store.missing(self.user, ids, apps).await.map_err(|fault| fault.into_tool_error(None))
    }

    /// Refuses files that the user does not have, all of them at once.
    pub async fn owns(&self, field: &str, ids: Vec<MediaId>) -> Result<()> {
        let missing = self.missing(ids, &[]).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let named: Vec<String> = missing.iter().map(|id| format!("`{id}`")).collect();
        Err(ToolError::field(field, format!("there are no such files of yours: {}", named.join(", "))))
    }

    /// Lets go of a file that the user has for this app; nothing happens if he does not have it.
    pub async fn forget(&self, id: MediaId, app: &'static str) -> Result<()> {
        self.writing().await?;
        match self.store.forget(self.user, id, app).await {
            Ok(()) | Err(MediaFault::Missing) => Ok(()),
            Err(fault) => Err(fault.into_tool_error(Some(id))),
        }
    }

    /// Where a file is to be fetched.
    pub fn urls(&self, id: MediaId) -> MediaUrls {
        self.store.urls(id)
    }

    /// An address to which the user may send one file, once, for this app.
    pub async fn upload_url(&self, app: &'static str, name: &str) -> Result<UploadUrl> {
        self.writing().await?;
        let url = self.store.upload_url(self.user, app, name.to_owned()).await;
        url.map_err(|fault| fault.into_tool_error(None))
    }

    /// Has pictures made. The key of the call is the key of the wish: repeated, it costs nothing more.
    pub async fn generate(&self, wanted: NewPictures) -> Result<MadePictures> {
        self.writing().await?;
        let wanted = NewPictures { key: self.cx.key().map(str::to_owned), ..wanted };
        self.store.generate(self.user, wanted).await.map_err(|fault| fault.into_tool_error(None))
    }

    /// What the user has left to have pictures made.
    pub async fn credits(&self) -> Result<i64> {
        self.reading().await?;
        self.store.credits(self.user).await.map_err(|fault| fault.into_tool_error(None))
    }
}
