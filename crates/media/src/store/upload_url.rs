//! Addresses at which one file may be left.

use mana_store::{Db, FromRow, Result, Tx};
use mana_types::{Timestamp, UserId};

use crate::hash::Hash;

/// How long a row stays after its time, so that a late caller hears that he is late.
const KEPT_MS: i64 = 24 * 60 * 60 * 1000;

/// An address that is handed out.
#[derive(Debug)]
pub(crate) struct NewUploadUrl {
    pub(crate) token: Hash,
    pub(crate) user: UserId,
    pub(crate) app: String,
    pub(crate) name: Option<String>,
    pub(crate) expires: Timestamp,
}

/// Whose file is left there, and under which name.
#[derive(Debug, FromRow)]
pub(crate) struct UploadTarget {
    pub(crate) user_id: UserId,
    pub(crate) app: String,
    pub(crate) name: Option<String>,
    pub(crate) expires: Timestamp,
    pub(crate) used: Option<Timestamp>,
}

/// Adds an address, and forgets the user's old ones.
pub(crate) async fn add_upload_url(tx: &mut Tx, new: &NewUploadUrl, now: Timestamp) -> Result<()> {
    tx.query("DELETE FROM media_upload_url WHERE user_id = $1 AND expires < $2")
        .bind(new.user)
        .bind(now.plus_millis(-KEPT_MS))
        .execute()
        .await?;
    tx.query("INSERT INTO media_upload_url (token, user_id, app, name, expires) VALUES ($1, $2, $3, $4, $5)")
        .bind(new.token.to_string())
        .bind(new.user)
        .bind(new.app.clone())
        .bind(new.name.clone())
        .bind(new.expires)
        .execute()
        .await?;
    Ok(())
}

pub(crate) async fn upload_target(db: &Db, token: &Hash) -> Result<Option<UploadTarget>> {
    db.query("SELECT user_id, app, name, expires, used FROM media_upload_url WHERE token = $1")
        .bind(token.to_string())
        .optional()
        .await
}

/// Whether it had not been used before: of many who come at once, one is first.
pub(crate) async fn spend_upload_url(tx: &mut Tx, token: &Hash, now: Timestamp) -> Result<bool> {
    let spent = tx
        .query("UPDATE media_upload_url SET used = $2 WHERE token = $1 AND used IS NULL")
        .bind(token.to_string())
        .bind(now)
        .execute()
        .await?;
    Ok(spent == 1)
}

/// Nothing came of it: the address may be used after all.
pub(crate) async fn release_upload_url(tx: &mut Tx, token: &Hash) -> Result<()> {
    tx.query("UPDATE media_upload_url SET used = NULL WHERE token = $1").bind(token.to_string()).execute().await?;
    Ok(())
}
