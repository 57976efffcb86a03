//! Addresses at which one file may be left: for agents, whose own channel is too narrow for it.
//!
//! The address itself is the permission: 256 random bits, of which the database keeps only the hash. It is bound to a
//! user and an app, works once, and not for long.

use std::fmt::Write as _;
use std::time::Duration;

use mana_types::{Timestamp, UserId};

use crate::blob::Spooled;
use crate::media::{Record, Upload};
use crate::store::{self, NewUploadUrl, UploadTarget};
use crate::{Error, Hash, Media, Result, reference};

/// How long an address works.
const LIFETIME: Duration = Duration::from_mins(15);

/// An address at which one file may be left, with `PUT` or `POST` and without a bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadUrl {
    /// The path; whoever hands it out puts the address of this installation before it.
    pub path: String,
    /// Until when.
    pub expires_at: Timestamp,
    /// How large the file may be.
    pub max_bytes: u64,
}

/// An address that somebody came to.
#[derive(Debug)]
pub(crate) struct Ticket {
    token: Hash,
    target: UploadTarget,
}

impl Ticket {
    /// Whose file is left here.
    pub(crate) fn user(&self) -> UserId {
        self.target.user_id
    }
}

impl Media {
    /// A new address at which one file may be left for this user and app, under this name or the one its sender gives.
    pub async fn upload_url(&self, user: UserId, app: Option<&str>, name: Option<&str>) -> Result<UploadUrl> {
        let mut bytes = [0; 32];
        self.0.random.fill(&mut bytes);
        let token = bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
            text
        });
        let app = reference::app(app)?;
        let name = name.map(reference::clean_name);
        let now = self.now().await?;
        let expires = now.plus_millis(i64::try_from(LIFETIME.as_millis()).unwrap_or(i64::MAX));
        let new = NewUploadUrl { token: Hash::of(token.as_bytes()), user, app, name, expires };
        let mut tx = self.0.db.begin().await?;
        match store::add_upload_url(&mut tx, &new, now).await {
            Err(mana_store::Error::Dangling(_)) => return Err(Error::UnknownUser),
            other => other?,
        }
        tx.commit().await?;
        let path = format!("/api/v1/media/upload-urls/{token}");
        Ok(UploadUrl { path, expires_at: expires, max_bytes: self.0.options.max_bytes })
    }

    /// Looks at an address before the body is read.
    pub(crate) async fn upload_ticket(&self, token: &str) -> Result<Ticket> {
        let token = Hash::of(token.as_bytes());
        let target = store::upload_target(&self.0.db, &token).await?.ok_or(Error::UnknownUploadUrl)?;
        if target.used.is_some() || target.expires <= self.now().await? {
            return Err(Error::SpentUploadUrl);
        }
        Ok(Ticket { token, target })
    }

    /// Takes in what was left. An upload that fails leaves the address as it was; of two at once one succeeds.
    pub(crate) async fn keep_left(
        &self,
        ticket: Ticket,
        spooled: Spooled,
        sent_name: Option<String>,
        declared: Option<String>,
    ) -> Result<Record> {
        let Ticket { token, target } = ticket;
        let now = self.now().await?;
        let mut tx = self.0.db.begin().await?;
        if !store::spend_upload_url(&mut tx, &token, now).await? {
            return Err(Error::SpentUploadUrl);
        }
        tx.commit().await?;
        let upload = Upload {
            user: target.user_id,
            app: Some(target.app).filter(|app| !app.is_empty()),
            name: target.name.or(sent_name).unwrap_or_default(),
            declared,
            skip_processing: false,
        };
        let kept = self.keep(upload, spooled).await;
        if kept.is_err() {
            let mut tx = self.0.db.begin().await?;
            store::release_upload_url(&mut tx, &token).await?;
            tx.commit().await?;
        }
        kept
    }
}
