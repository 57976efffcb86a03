//! The statements of identity, and nothing else.

use mana_store::{Db, Error, Result, Source, Tx};
use mana_token::SigningKey;
use mana_types::{Cursor, KeyId, SessionId, Timestamp, UserId};
use uuid::Uuid;

use crate::account::{Account, AccountKind};
use crate::lockout::{Failures, Rule};
use crate::password::PasswordHash;
use crate::session::{Held, TokenHash};

#[derive(sqlx::FromRow)]
struct AccountRow {
    id: UserId,
    email: String,
    name: String,
    role: String,
    kind: String,
    tier: String,
    email_verified: bool,
    locale: String,
    timezone: String,
    created: Timestamp,
}

impl AccountRow {
    fn read(self) -> Result<Account> {
        let damaged = |why: String| Error::Damaged { what: "account", why };
        Ok(Account {
            id: self.id,
            email: self.email,
            name: self.name,
            role: self.role.parse().map_err(damaged)?,
            kind: self.kind.parse().map_err(damaged)?,
            tier: self.tier,
            email_verified: self.email_verified,
            locale: self.locale,
            timezone: self.timezone,
            created: self.created,
        })
    }
}

fn read(row: Option<AccountRow>) -> Result<Option<Account>> {
    row.map(AccountRow::read).transpose()
}

const ACCOUNT: &str =
    "a.id, a.email, a.name, a.role, a.kind, a.tier, a.email_verified, a.locale, a.timezone, a.created";

pub(crate) async fn account(source: &mut Source<'_>, user: UserId) -> Result<Option<Account>> {
    read(source.query(format!("SELECT {ACCOUNT} FROM account a WHERE a.id = $1")).bind(user).optional().await?)
}

pub(crate) async fn account_by_email(source: &mut Source<'_>, email_key: &str) -> Result<Option<Account>> {
    let sql = format!("SELECT {ACCOUNT} FROM account a WHERE a.email_key = $1");
    read(source.query(sql).bind(email_key.to_owned()).optional().await?)
}

#[derive(sqlx::FromRow)]
struct CredentialsRow {
    #[sqlx(flatten)]
    account: AccountRow,
    password_hash: String,
}

pub(crate) async fn credentials(db: &Db, email_key: &str) -> Result<Option<(Account, PasswordHash)>> {
    let sql = format!("SELECT {ACCOUNT}, a.password_hash FROM account a WHERE a.email_key = $1");
    let row: Option<CredentialsRow> = db.query(sql).bind(email_key.to_owned()).optional().await?;
    row.map(|row| Ok((row.account.read()?, PasswordHash::stored(row.password_hash)))).transpose()
}

pub(crate) async fn accounts(
    source: &mut Source<'_>,
    kind: AccountKind,
    limit: i64,
    after: Option<Cursor>,
) -> Result<Vec<Account>> {
    let after = after.unwrap_or(Cursor { key: i64::MAX, id: Uuid::max() });
    let sql = format!(
        "SELECT {ACCOUNT} FROM account a WHERE a.kind = $1 AND (a.created, a.id) < ($2, $3)
         ORDER BY a.created DESC, a.id DESC LIMIT $4"
    );
    let rows: Vec<AccountRow> =
        source.query(sql).bind(kind.as_str()).bind(after.key).bind(after.id).bind(limit).all().await?;
    rows.into_iter().map(AccountRow::read).collect()
}

pub(crate) async fn first_with_role(source: &mut Source<'_>, role: &str) -> Result<Option<Account>> {
    let sql = format!("SELECT {ACCOUNT} FROM account a WHERE a.role = $1 ORDER BY a.created, a.id LIMIT 1");
    let row: Option<AccountRow> = source.query(sql).bind(role.to_owned()).optional().await?;
    row.map(AccountRow::read).transpose()
}

pub(crate) async fn count_accounts(source: &mut Source<'_>, kind: AccountKind) -> Result<i64> {
    let (count,) = source.query("SELECT COUNT(*) FROM account WHERE kind = $1").bind(kind.as_str()).one().await?;
    Ok(count)
}

/// False if the e-mail is taken.
pub(crate) async fn add_account(
    tx: &mut Tx,
    account: &Account,
    email_key: &str,
    password: &PasswordHash,
) -> Result<bool> {
    let added = tx
        .query(
            "INSERT INTO account (id, email, email_key, name, password_hash, role, kind, tier, email_verified, locale,
                                  timezone, created, updated)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12) ON CONFLICT (email_key) DO NOTHING",
        )
        .bind(account.id)
        .bind(account.email.clone())
        .bind(email_key.to_owned())
        .bind(account.name.clone())
        .bind(password.as_str().to_owned())
        .bind(account.role.as_str())
        .bind(account.kind.as_str())
        .bind(account.tier.clone())
        .bind(account.email_verified)
        .bind(account.locale.clone())
        .bind(account.timezone.clone())
        .bind(account.created)
        .execute()
        .await?;
    Ok(added == 1)
}

pub(crate) async fn set_password(tx: &mut Tx, user: UserId, hash: &PasswordHash, at: Timestamp) -> Result<bool> {
    let query = tx.query("UPDATE account SET password_hash = $2, updated = $3 WHERE id = $1");
    Ok(query.bind(user).bind(hash.as_str().to_owned()).bind(at).execute().await? == 1)
}

pub(crate) async fn set_name(tx: &mut Tx, user: UserId, name: &str, at: Timestamp) -> Result<bool> {
    let query = tx.query("UPDATE account SET name = $2, updated = $3 WHERE id = $1");
    Ok(query.bind(user).bind(name.to_owned()).bind(at).execute().await? == 1)
}

pub(crate) async fn set_place(tx: &mut Tx, user: UserId, locale: &str, timezone: &str, at: Timestamp) -> Result<bool> {
    let query = tx.query("UPDATE account SET locale = $2, timezone = $3, updated = $4 WHERE id = $1");
    Ok(query.bind(user).bind(locale.to_owned()).bind(timezone.to_owned()).bind(at).execute().await? == 1)
}

pub(crate) async fn set_role(tx: &mut Tx, user: UserId, role: mana_token::Role, at: Timestamp) -> Result<bool> {
    let query = tx.query("UPDATE account SET role = $2, updated = $3 WHERE id = $1");
    Ok(query.bind(user).bind(role.as_str()).bind(at).execute().await? == 1)
}

/// Changes kind and tier of an ordinary account that was made at this time; false if it is another.
pub(crate) async fn promote(tx: &mut Tx, user: UserId, kind: AccountKind, tier: &str, made: Timestamp) -> Result<bool> {
    let query = tx.query(
        "UPDATE account SET kind = $2, tier = $3, email_verified = TRUE
         WHERE id = $1 AND created = $4 AND kind = 'human' AND role = 'user'",
    );
    Ok(query.bind(user).bind(kind.as_str()).bind(tier.to_owned()).bind(made).execute().await? == 1)
}

pub(crate) async fn delete_account(tx: &mut Tx, user: UserId) -> Result<bool> {
    Ok(tx.query("DELETE FROM account WHERE id = $1").bind(user).execute().await? == 1)
}

pub(crate) async fn add_session(tx: &mut Tx, session: SessionId, user: UserId, at: Timestamp) -> Result<()> {
    tx.query("INSERT INTO session (id, user_id, created, used) VALUES ($1, $2, $3, $3)")
        .bind(session)
        .bind(user)
        .bind(at)
        .execute()
        .await
        .map(drop)
}

/// The account of a session that is not revoked.
pub(crate) async fn session_account(db: &Db, session: SessionId, user: UserId) -> Result<Option<Account>> {
    let sql = format!(
        "SELECT {ACCOUNT} FROM session s JOIN account a ON a.id = s.user_id
         WHERE s.id = $1 AND s.user_id = $2 AND s.revoked IS NULL"
    );
    read(db.query(sql).bind(session).bind(user).optional().await?)
}

/// Notes that tokens were given out; false if the session is revoked or gone.
pub(crate) async fn touch_session(tx: &mut Tx, session: SessionId, at: Timestamp) -> Result<bool> {
    let query = tx.query("UPDATE session SET used = $2 WHERE id = $1 AND revoked IS NULL");
    Ok(query.bind(session).bind(at).execute().await? == 1)
}

pub(crate) async fn revoke_session(tx: &mut Tx, session: SessionId, at: Timestamp) -> Result<()> {
    let query = tx.query("UPDATE session SET revoked = $2 WHERE id = $1 AND revoked IS NULL");
    query.bind(session).bind(at).execute().await.map(drop)
}

pub(crate) async fn revoke_session_of_token(tx: &mut Tx, token: TokenHash, at: Timestamp) -> Result<()> {
    let query = tx.query(
        "UPDATE session SET revoked = $2
         WHERE id = (SELECT session FROM refresh_token WHERE hash = $1) AND revoked IS NULL",
    );
    query.bind(token.bytes()).bind(at).execute().await.map(drop)
}

pub(crate) async fn revoke_sessions_of(tx: &mut Tx, user: UserId, at: Timestamp) -> Result<u64> {
    let query = tx.query("UPDATE session SET revoked = $2 WHERE user_id = $1 AND revoked IS NULL");
    query.bind(user).bind(at).execute().await
}

pub(crate) async fn add_token(tx: &mut Tx, token: TokenHash, session: SessionId, expires: Timestamp) -> Result<()> {
    tx.query("INSERT INTO refresh_token (hash, session, expires) VALUES ($1, $2, $3)")
        .bind(token.bytes())
        .bind(session)
        .bind(expires)
        .execute()
        .await
        .map(drop)
}

/// Marks a token as used; false if it was used before, or is unknown. Of two at once only one is told true.
pub(crate) async fn rotate_token(tx: &mut Tx, token: TokenHash, at: Timestamp) -> Result<bool> {
    let query = tx.query("UPDATE refresh_token SET rotated = $2 WHERE hash = $1 AND rotated IS NULL");
    Ok(query.bind(token.bytes()).bind(at).execute().await? == 1)
}

#[derive(sqlx::FromRow)]
struct HeldRow {
    #[sqlx(flatten)]
    account: AccountRow,
    session: SessionId,
    revoked: Option<Timestamp>,
    expires: Timestamp,
    rotated: Option<Timestamp>,
}

pub(crate) async fn refresh_token(source: &mut Source<'_>, token: TokenHash) -> Result<Option<Held>> {
    let sql = format!(
        "SELECT {ACCOUNT}, s.id AS session, s.revoked, t.expires, t.rotated
         FROM refresh_token t JOIN session s ON s.id = t.session JOIN account a ON a.id = s.user_id
         WHERE t.hash = $1"
    );
    let row: Option<HeldRow> = source.query(sql).bind(token.bytes()).optional().await?;
    row.map(|row| {
        Ok(Held {
            session: row.session,
            revoked: row.revoked.is_some(),
            expires: row.expires,
            rotated: row.rotated,
            account: row.account.read()?,
        })
    })
    .transpose()
}

pub(crate) async fn delete_expired_tokens(tx: &mut Tx, now: Timestamp) -> Result<u64> {
    tx.query("DELETE FROM refresh_token WHERE expires <= $1").bind(now).execute().await
}

/// Deletes what is revoked, and what has no refresh token and gave out its last access token before this time.
pub(crate) async fn delete_ended_sessions(tx: &mut Tx, last_used: Timestamp) -> Result<u64> {
    tx.query(
        "DELETE FROM session WHERE revoked IS NOT NULL
         OR used <= $1 AND NOT EXISTS (SELECT 1 FROM refresh_token t WHERE t.session = session.id)",
    )
    .bind(last_used)
    .execute()
    .await
}

pub(crate) async fn failures(source: &mut Source<'_>, email_key: &str) -> Result<Option<Failures>> {
    let query = source.query("SELECT at_1, at_5 FROM sign_in_failure WHERE email_key = $1");
    query.bind(email_key.to_owned()).optional().await
}

/// Adds a failure and forgets the fifth before it; false if the e-mail is closed. One statement, so that failures at
/// once are counted one after the other.
pub(crate) async fn add_failure(tx: &mut Tx, email_key: &str, rule: Rule, now: Timestamp) -> Result<bool> {
    let query = tx.query(
        "INSERT INTO sign_in_failure AS f (email_key, at_1) VALUES ($1, $2)
         ON CONFLICT (email_key) DO UPDATE
         SET at_1 = excluded.at_1, at_2 = f.at_1, at_3 = f.at_2, at_4 = f.at_3, at_5 = f.at_4
         WHERE NOT (f.at_5 IS NOT NULL AND f.at_1 - f.at_5 <= $3 AND $2 < f.at_1 + $4)",
    );
    let query = query.bind(email_key.to_owned()).bind(now).bind(rule.window_ms).bind(rule.closed_ms);
    Ok(query.execute().await? == 1)
}

/// Forgets the failures of an e-mail, unless it is closed.
pub(crate) async fn clear_failures(tx: &mut Tx, email_key: &str, rule: Rule, now: Timestamp) -> Result<()> {
    let query = tx.query(
        "DELETE FROM sign_in_failure
         WHERE email_key = $1 AND NOT (at_5 IS NOT NULL AND at_1 - at_5 <= $3 AND $2 < at_1 + $4)",
    );
    let query = query.bind(email_key.to_owned()).bind(now).bind(rule.window_ms).bind(rule.closed_ms);
    query.execute().await.map(drop)
}

pub(crate) async fn sweep_failures(tx: &mut Tx, last: Timestamp) -> Result<u64> {
    tx.query("DELETE FROM sign_in_failure WHERE at_1 <= $1").bind(last).execute().await
}

#[derive(sqlx::FromRow)]
struct KeyRow {
    id: KeyId,
    seed: Vec<u8>,
}

impl KeyRow {
    fn read(self) -> Result<SigningKey> {
        let seed: [u8; 32] = self.seed.try_into().map_err(|seed: Vec<u8>| Error::Damaged {
            what: "signing_key",
            why: format!("its seed has {} bytes instead of 32", seed.len()),
        })?;
        Ok(SigningKey::from_seed(self.id, &seed))
    }
}

pub(crate) async fn has_signing_key_since(db: &Db, time: Timestamp) -> Result<bool> {
    let found: Option<(i64,)> =
        db.query("SELECT created FROM signing_key WHERE created > $1 LIMIT 1").bind(time).optional().await?;
    Ok(found.is_some())
}

/// Adds a key unless there is one made after `unless_since`.
pub(crate) async fn add_signing_key(
    tx: &mut Tx,
    id: KeyId,
    seed: &[u8; 32],
    at: Timestamp,
    unless_since: Timestamp,
) -> Result<bool> {
    let query = tx.query(
        "INSERT INTO signing_key (id, seed, created)
         SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT 1 FROM signing_key WHERE created > $4)",
    );
    Ok(query.bind(id).bind(seed.to_vec()).bind(at).bind(unless_since).execute().await? == 1)
}

pub(crate) async fn newest_signing_key(db: &Db) -> Result<SigningKey> {
    let query = db.query("SELECT id, seed FROM signing_key ORDER BY created DESC, id DESC LIMIT 1");
    query.one::<KeyRow>().await?.read()
}

/// The keys that had no newer one before `replaced_before`, newest first.
pub(crate) async fn signing_keys(source: &mut Source<'_>, replaced_before: Timestamp) -> Result<Vec<SigningKey>> {
    let query = source.query(
        "SELECT id, seed FROM signing_key k
         WHERE NOT EXISTS (SELECT 1 FROM signing_key n WHERE n.created > k.created AND n.created <= $1)
         ORDER BY created DESC, id DESC",
    );
    query.bind(replaced_before).all::<KeyRow>().await?.into_iter().map(KeyRow::read).collect()
}

pub(crate) async fn delete_retired_keys(tx: &mut Tx, replaced_before: Timestamp) -> Result<u64> {
    let query = tx.query(
        "DELETE FROM signing_key AS k
         WHERE EXISTS (SELECT 1 FROM signing_key n WHERE n.created > k.created AND n.created <= $1)",
    );
    query.bind(replaced_before).execute().await
}
