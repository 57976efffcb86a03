//! Spaces and membership: who may see which data.

use mana_types::{Lang, SpaceId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use crate::{Db, Error, Result, Source, Tx};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$word_doc])* $word),+ }

        impl $name {
            /// The word as it is stored and spoken.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$word => $text),+ }
            }

            fn stored(text: &str) -> Result<Self> {
                match text {
                    $($text => Ok(Self::$word),)+
                    other => Err(Error::Damaged { what: stringify!($name), why: format!("unknown word `{other}`") }),
                }
            }
        }
    };
}

words! {
    /// What kind of boundary a space is.
    SpaceKind {
        /// One person's own; made at sign-up, never shared, never deleted alone.
        Personal = "personal",
        /// A household.
        Family = "family",
        /// A team at work.
        Team = "team",
        /// A brand or business.
        Brand = "brand",
        /// A club.
        Club = "club",
        /// A practice.
        Practice = "practice",
    }
}

words! {
    /// What a member may do in a space.
    SpaceRole {
        /// Everything, also delete the space.
        Owner = "owner",
        /// Everything but deleting the space and removing owners.
        Admin = "admin",
        /// Use it.
        Member = "member",
    }
}

/// A space as one of its members sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The space.
    pub space: SpaceId,
    /// Its kind.
    pub kind: SpaceKind,
    /// Its name.
    pub name: String,
    /// Its name in addresses, unique in this installation.
    pub slug: String,
    /// What this member may do.
    pub role: SpaceRole,
    /// The member's time zone (IANA).
    pub timezone: String,
    /// The member's language.
    pub lang: Lang,
}

#[derive(sqlx::FromRow)]
struct MembershipRow {
    space: SpaceId,
    kind: String,
    name: String,
    slug: String,
    role: String,
    timezone: String,
    locale: String,
}

impl MembershipRow {
    fn read(self) -> Result<Membership> {
        Ok(Membership {
            space: self.space,
            kind: SpaceKind::stored(&self.kind)?,
            name: self.name,
            slug: self.slug,
            role: SpaceRole::stored(&self.role)?,
            timezone: self.timezone,
            lang: Lang::of_locale(&self.locale),
        })
    }
}

/// The user's membership of a space; none if there is no such space or he is no member, which must look the same.
pub async fn membership(db: &Db, user: UserId, space: SpaceId) -> Result<Option<Membership>> {
    db.query(
        "SELECT s.id AS space, s.kind, s.name, s.slug, m.role, a.timezone, a.locale
         FROM membership m JOIN space s ON s.id = m.space JOIN account a ON a.id = m.user_id
         WHERE m.user_id = $1 AND m.space = $2",
    )
    .bind(user)
    .bind(space)
    .optional::<MembershipRow>()
    .await?
    .map(MembershipRow::read)
    .transpose()
}

/// The user's personal space; none for an account that does not exist any more.
pub async fn personal(db: &Db, user: UserId) -> Result<Option<Membership>> {
    db.query(
        "SELECT s.id AS space, s.kind, s.name, s.slug, m.role, a.timezone, a.locale
         FROM membership m JOIN space s ON s.id = m.space JOIN account a ON a.id = m.user_id
         WHERE m.user_id = $1 AND s.kind = 'personal' AND m.role = 'owner'",
    )
    .bind(user)
    .optional::<MembershipRow>()
    .await?
    .map(MembershipRow::read)
    .transpose()
}

/// Every space the user belongs to, the personal one first, then by name.
pub async fn memberships(source: &mut Source<'_>, user: UserId) -> Result<Vec<Membership>> {
    source
        .query(
            "SELECT s.id AS space, s.kind, s.name, s.slug, m.role, a.timezone, a.locale
             FROM membership m JOIN space s ON s.id = m.space JOIN account a ON a.id = m.user_id
             WHERE m.user_id = $1
             ORDER BY CASE WHEN s.kind = 'personal' THEN 0 ELSE 1 END, s.name, s.id",
        )
        .bind(user)
        .all::<MembershipRow>()
        .await?
        .into_iter()
        .map(MembershipRow::read)
        .collect()
}

/// A member of a space.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Member {
    /// The user.
    pub user_id: UserId,
    /// His name.
    pub name: String,
    /// What he may do here: `owner`, `admin` or `member`.
    pub role: String,
    /// Since when he belongs to it.
    pub since: Timestamp,
}

/// The members of a space, by name.
pub async fn members(source: &mut Source<'_>, space: SpaceId) -> Result<Vec<Member>> {
    source
        .query(
            "SELECT m.user_id, a.name, m.role, m.since FROM membership m JOIN account a ON a.id = m.user_id
             WHERE m.space = $1 ORDER BY a.name, m.user_id",
        )
        .bind(space)
        .all()
        .await
}

/// Adds a space. [`Error::Duplicate`] if the slug is taken.
pub async fn create(tx: &mut Tx, id: SpaceId, kind: SpaceKind, name: &str, slug: &str, at: Timestamp) -> Result<()> {
    tx.query("INSERT INTO space (id, kind, name, slug, created) VALUES ($1, $2, $3, $4, $5)")
        .bind(id)
        .bind(kind.as_str())
        .bind(name.to_owned())
        .bind(slug.to_owned())
        .bind(at)
        .execute()
        .await
        .map(drop)
}

/// Makes a user a member. [`Error::Duplicate`] if he is one, [`Error::Dangling`] if either does not exist.
pub async fn join(tx: &mut Tx, space: SpaceId, user: UserId, role: SpaceRole, at: Timestamp) -> Result<()> {
    tx.query("INSERT INTO membership (user_id, space, role, since) VALUES ($1, $2, $3, $4)")
        .bind(user)
        .bind(space)
        .bind(role.as_str())
        .bind(at)
        .execute()
        .await
        .map(drop)
}

/// Deletes the spaces that only this user owns, with everything in them. Returns how many.
pub async fn delete_sole_owned(tx: &mut Tx, user: UserId) -> Result<u64> {
    tx.query(
        "DELETE FROM space WHERE id IN (
             SELECT m.space FROM membership m WHERE m.user_id = $1 AND m.role = 'owner'
             AND NOT EXISTS (SELECT 1 FROM membership o WHERE o.space = m.space AND o.role = 'owner' AND o.user_id <> $1))",
    )
    .bind(user)
    .execute()
    .await
}
