//! Credits and wishes in the database.

use mana_store::{Db, EngineKind, FromRow, Json, Result, Tx};
use mana_types::{Timestamp, UserId};
use serde_json::Value;
use uuid::Uuid;

/// How a wish begins.
#[derive(Debug)]
pub(super) enum Opened {
    /// Its credits are reserved.
    Reserved,
    /// It was fulfilled before; this was the answer.
    Answered(Value),
    /// It is being fulfilled.
    Underway,
    /// Its key belongs to another wish.
    KeyReused,
    /// Too few credits; so many are left.
    Short(i64),
}

/// A wish to be.
#[derive(Debug)]
pub(super) struct NewWish {
    pub(super) id: Uuid,
    pub(super) user: UserId,
    pub(super) key: Option<String>,
    pub(super) input: String,
    pub(super) reserved: i64,
    pub(super) expires: Timestamp,
}

#[derive(Debug, FromRow)]
struct Known {
    id: Uuid,
    input: String,
    state: String,
    answer: Option<Json<Value>>,
}

/// Gives a user his first credits, takes back reservations whose time is over, and holds everybody else off his account
/// until the transaction ends.
async fn prepare(tx: &mut Tx, user: UserId, first: i64, now: Timestamp) -> Result<()> {
    tx.query(
        "INSERT INTO picture_account (user_id, balance, updated) VALUES ($1, $2, $3)
         ON CONFLICT (user_id) DO UPDATE SET updated = excluded.updated",
    )
    .bind(user)
    .bind(first)
    .bind(now)
    .execute()
    .await?;
    let over = tx
        .query(
            "UPDATE picture_wish SET state = 'released', spent = 0
             WHERE user_id = $1 AND state = 'reserved' AND expires <= $2 RETURNING reserved",
        )
        .bind(user)
        .bind(now)
        .all::<(i64,)>()
        .await?;
    let back: i64 = over.iter().map(|(credits,)| credits).sum();
    if back > 0 {
        give(tx, user, back).await?;
    }
    Ok(())
}

async fn give(tx: &mut Tx, user: UserId, credits: i64) -> Result<()> {
    let sql = "UPDATE picture_account SET balance = balance + $2 WHERE user_id = $1";
    tx.query(sql).bind(user).bind(credits).execute().await.map(drop)
}

/// Reserves what a wish takes, unless it was fulfilled already.
pub(super) async fn open(db: &Db, wish: &NewWish, first: i64, now: Timestamp) -> Result<Opened> {
    let mut tx = db.begin().await?;
    prepare(&mut tx, wish.user, first, now).await?;
    let known = match &wish.key {
        Some(key) => {
            tx.query("SELECT id, input, state, answer FROM picture_wish WHERE user_id = $1 AND key = $2")
                .bind(wish.user)
                .bind(key.clone())
                .optional::<Known>()
                .await?
        }
        None => None,
    };
    if let Some(known) = &known {
        if known.input != wish.input {
            return Ok(Opened::KeyReused);
        }
        match (&*known.state, &known.answer) {
            ("settled", Some(Json(answer))) => return Ok(Opened::Answered(answer.clone())),
            ("reserved", _) => return Ok(Opened::Underway),
            _ => {}
        }
    }
    let taken = tx
        .query("UPDATE picture_account SET balance = balance - $2 WHERE user_id = $1 AND balance >= $2")
        .bind(wish.user)
        .bind(wish.reserved)
        .execute()
        .await?;
    if taken == 0 {
        let (left,) = balance(&mut tx, wish.user).await?;
        return Ok(Opened::Short(left));
    }
    // A wish that failed before is made anew under its key.
    if let Some(known) = known {
        tx.query("DELETE FROM picture_wish WHERE id = $1").bind(known.id).execute().await?;
    }
    tx.query(
        "INSERT INTO picture_wish (id, user_id, key, input, state, reserved, expires, created)
         VALUES ($1, $2, $3, $4, 'reserved', $5, $6, $7)",
    )
    .bind(wish.id)
    .bind(wish.user)
    .bind(wish.key.clone())
    .bind(wish.input.clone())
    .bind(wish.reserved)
    .bind(wish.expires)
    .bind(now)
    .execute()
    .await?;
    tx.commit().await?;
    Ok(Opened::Reserved)
}

async fn balance(tx: &mut Tx, user: UserId) -> Result<(i64,)> {
    tx.query("SELECT balance FROM picture_account WHERE user_id = $1").bind(user).one().await
}

/// Settles a reservation: what was not spent goes back. A reservation that was given back before stays as it is.
pub(super) async fn settle(db: &Db, wish: &NewWish, spent: i64, answer: Option<Value>) -> Result<()> {
    let state = if answer.is_some() { "settled" } else { "released" };
    let mut tx = db.begin().await?;
    let settled = tx
        .query("UPDATE picture_wish SET state = $2, spent = $3, answer = $4 WHERE id = $1 AND state = 'reserved'")
        .bind(wish.id)
        .bind(state.to_owned())
        .bind(spent)
        .bind(answer.map(Json))
        .execute()
        .await?;
    if settled == 1 {
        give(&mut tx, wish.user, wish.reserved - spent).await?;
    }
    tx.commit().await
}

/// What a user has left; none if he never had anything made.
pub(super) async fn credits(db: &Db, user: UserId, now: Timestamp) -> Result<Option<i64>> {
    // What is reserved beyond its time is as good as given back.
    let sum = match db.engine() {
        EngineKind::Sqlite => "COALESCE(SUM(w.reserved), 0)",
        EngineKind::Postgres => "CAST(COALESCE(SUM(w.reserved), 0) AS BIGINT)",
    };
    let sql = format!(
        "SELECT a.balance + (SELECT {sum} FROM picture_wish w WHERE w.user_id = a.user_id AND w.state = 'reserved' AND w.expires <= $2)
         FROM picture_account a WHERE a.user_id = $1"
    );
    Ok(db.query(sql).bind(user).bind(now).optional::<(i64,)>().await?.map(|(left,)| left))
}
