//! Accounts: who exists, and how somebody comes to exist.
//!
//! The functions that take a transaction are for those who do more in it, as the interface for personas does; what
//! they do is what [`Identity::register`] does, so there is one way to become a user.

use mana_store::space::{self, SpaceKind, SpaceRole};
use mana_store::{Source, Tx};
use mana_token::Role;
use mana_types::{Clock, Cursor, Page, Random, SpaceId, Timestamp, UserId};
use mana_web::FieldError;
use serde::{Deserialize, Serialize};

use crate::{Error, Identity, InvalidInput, Password, PasswordHash, store};

/// The tier of an account that signed up.
const FIRST_TIER: &str = "free";
/// The tier of a persona.
const PERSONA_TIER: &str = "founder";
/// The language of an account until it says otherwise.
const FIRST_LOCALE: &str = "en";
/// The time zone of an account until it says otherwise.
const FIRST_TIMEZONE: &str = "UTC";

/// What an account stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccountKind {
    /// A person.
    #[default]
    Human,
    /// A synthetic user.
    Persona,
    /// A part of this installation.
    System,
}

impl AccountKind {
    /// The word as it is stored and spoken.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Persona => "persona",
            Self::System => "system",
        }
    }
}

impl std::str::FromStr for AccountKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "human" => Ok(Self::Human),
            "persona" => Ok(Self::Persona),
            "system" => Ok(Self::System),
            other => Err(format!("`{other}` is not a kind of account, expected `human`, `persona` or `system`")),
        }
    }
}

/// An e-mail address that mail could reach: at most 254 bytes, one `@`, a domain.
///
/// Deliberately plainer than RFC 5322: no quotes, no comments, no address literals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    text: String,
    key: String,
}

impl Email {
    /// Takes an address as it was typed, without the blanks around it.
    pub fn parse(text: &str) -> Result<Self, InvalidInput> {
        const EXPECTED: InvalidInput = InvalidInput("not an e-mail address, expected one such as `anna@example.org`");
        let text = text.trim();
        let (local, domain) = text.rsplit_once('@').ok_or(EXPECTED)?;
        let key = text.to_lowercase();
        if text.len().max(key.len()) > 254 || local.len() > 64 {
            return Err(InvalidInput("too long, expected at most 254 bytes, 64 of them before the `@`"));
        }
        if is_local(local) && is_domain(domain) { Ok(Self { key, text: text.to_owned() }) } else { Err(EXPECTED) }
    }

    /// As the user wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// In lower case: two addresses with the same key are the same account.
    pub fn key(&self) -> &str {
        &self.key
    }

    fn local(&self) -> &str {
        self.text.rsplit_once('@').map_or(self.text.as_str(), |(local, _)| local)
    }
}

fn is_local(local: &str) -> bool {
    let fits = |char: char| char.is_alphanumeric() || "!#$%&'*+/=?^_`{|}~-".contains(char);
    local.split('.').all(|part| !part.is_empty() && part.chars().all(fits))
}

fn is_domain(domain: &str) -> bool {
    let fits = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|char| char.is_alphanumeric() || char == '-')
    };
    domain == "localhost" || domain.contains('.') && domain.split('.').all(fits)
}

/// What a user is called: 1 to 100 characters on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Takes a name as it was typed, without the blanks around it.
    pub fn parse(text: &str) -> Result<Self, InvalidInput> {
        let text = text.trim();
        if !(1..=100).contains(&text.chars().count()) {
            return Err(InvalidInput("expected a name of 1 to 100 characters"));
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidInput("expected a name on one line, without control characters"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Somebody who wants an account.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// The e-mail.
    pub email: Email,
    /// The chosen password.
    pub password: Password,
    /// The name, by default what stands before the `@`.
    pub name: Name,
}

impl NewAccount {
    /// Reads all fields and names every one that is wrong.
    pub fn parse(email: &str, password: &str, name: Option<&str>) -> Result<Self, Error> {
        Self::read(Ok(email), Ok(password), Ok(name))
    }

    /// The same where a field may be missing or no text at all.
    pub(crate) fn read(
        email: Result<&str, InvalidInput>,
        password: Result<&str, InvalidInput>,
        name: Result<Option<&str>, InvalidInput>,
    ) -> Result<Self, Error> {
        let has_password = password.is_ok();
        let email = email.and_then(Email::parse);
        let password = password.and_then(Password::parse);
        let given = |name: Option<&str>| name.filter(|name| !name.trim().is_empty()).map(Name::parse).transpose();
        match (email, password, name.and_then(given)) {
            (Ok(email), Ok(password), Ok(name)) => {
                let name = name.unwrap_or_else(|| Name(email.local().to_owned()));
                Ok(Self { email, password, name })
            }
            (Ok(_), Err(weak), Ok(_)) if has_password => Err(Error::WeakPassword(weak)),
            (email, password, name) => {
                let faults = [("email", email.err()), ("password", password.err()), ("name", name.err())];
                let wrong = faults.into_iter().filter_map(|(field, fault)| Some((field, fault?)));
                Err(Error::Invalid(wrong.map(|(field, fault)| FieldError::new(field, fault.to_string())).collect()))
            }
        }
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: UserId,
    /// Its e-mail, as it was written at sign-up.
    pub email: String,
    /// What the user is called.
    pub name: String,
    /// What the user may do beyond the own spaces.
    pub role: Role,
    /// What it stands for.
    pub kind: AccountKind,
    /// Its tier, such as `free` or `founder`.
    pub tier: String,
    /// Whether the e-mail is known to belong to the user.
    pub email_verified: bool,
    /// Its language (BCP 47).
    pub locale: String,
    /// Its time zone (IANA).
    pub timezone: String,
    /// When it was made.
    pub created: Timestamp,
}

/// The account with this e-mail, whatever its case.
pub async fn find_by_email(source: &mut Source<'_>, email: &str) -> Result<Option<Account>, Error> {
    match Email::parse(email) {
        Ok(email) => Ok(store::account_by_email(source, email.key()).await?),
        Err(_) => Ok(None), // nobody can have it
    }
}

/// The account with this id.
pub async fn find(source: &mut Source<'_>, user: UserId) -> Result<Option<Account>, Error> {
    Ok(store::account(source, user).await?)
}

/// Signs somebody up: the account and exactly one personal space, in this transaction, at this time.
///
/// [`Error::EmailTaken`] leaves the transaction usable.
pub async fn sign_up(
    tx: &mut Tx,
    clock: &dyn Clock,
    random: &dyn Random,
    (email, name): (&Email, &Name),
    hashed: &PasswordHash,
    at: Timestamp,
) -> Result<Account, Error> {
    let account = Account {
        id: UserId::new(clock, random),
        email: email.as_str().to_owned(),
        name: name.as_str().to_owned(),
        role: Role::User,
        kind: AccountKind::Human,
        tier: FIRST_TIER.to_owned(),
        email_verified: false,
        locale: FIRST_LOCALE.to_owned(),
        timezone: FIRST_TIMEZONE.to_owned(),
        created: at,
    };
    if !store::add_account(tx, &account, email.key(), hashed).await? {
        return Err(Error::EmailTaken);
    }
    let space = SpaceId::new(clock, random);
    space::create(tx, space, SpaceKind::Personal, name.as_str(), &slug(name, space), at).await?;
    space::join(tx, space, account.id, SpaceRole::Owner, at).await?;
    Ok(account)
}

/// A name for addresses: the readable part of the name, and 48 random bits of the id that keep it unique.
fn slug(name: &Name, space: SpaceId) -> String {
    let words = name.as_str().to_lowercase();
    let words: Vec<String> = words
        .split(|char: char| !char.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| word.chars().filter(char::is_ascii_alphanumeric).take(20).collect())
        .collect();
    let id = space.uuid().simple().to_string();
    let tail = &id[id.len() - 12..];
    let readable: String = words.join("-").chars().take(40).collect();
    let readable = readable.trim_matches('-');
    if readable.is_empty() { tail.to_owned() } else { format!("{readable}-{tail}") }
}

/// Replaces the password. The sessions stay: end them with [`end_sessions`] where that is meant.
pub async fn set_password(tx: &mut Tx, user: UserId, hashed: &PasswordHash, at: Timestamp) -> Result<(), Error> {
    known(store::set_password(tx, user, hashed, at).await?)
}

/// Replaces the name of the user.
pub async fn set_name(tx: &mut Tx, user: UserId, name: &Name, at: Timestamp) -> Result<(), Error> {
    known(store::set_name(tx, user, name.as_str(), at).await?)
}

/// Replaces the language (BCP 47) and the time zone (IANA), both checked by the caller.
pub async fn set_place(tx: &mut Tx, user: UserId, locale: &str, timezone: &str, at: Timestamp) -> Result<(), Error> {
    known(store::set_place(tx, user, locale, timezone, at).await?)
}

/// Gives the user a role.
pub async fn set_role(tx: &mut Tx, user: UserId, role: Role, at: Timestamp) -> Result<(), Error> {
    known(store::set_role(tx, user, role, at).await?)
}

/// Makes the account that was signed up in this very transaction, at this very time, a persona: its kind, its tier,
/// and an e-mail that needs no proof. A persona stays one.
///
/// [`Error::BelongsToPerson`] for an account of a person that existed before: it is never converted.
pub async fn promote_to_persona(tx: &mut Tx, user: UserId, at: Timestamp) -> Result<Account, Error> {
    let promoted = store::promote(tx, user, AccountKind::Persona, PERSONA_TIER, at).await?;
    let account = store::account(&mut Source::Tx(tx), user).await?.ok_or(Error::UnknownAccount)?;
    if promoted || account.kind == AccountKind::Persona { Ok(account) } else { Err(Error::BelongsToPerson) }
}

/// Ends all sign-ins of a user: their refresh tokens stop to work. Returns how many.
pub async fn end_sessions(tx: &mut Tx, user: UserId, at: Timestamp) -> Result<u64, Error> {
    Ok(store::revoke_sessions_of(tx, user, at).await?)
}

/// Deletes an account, the spaces that only it owns, and everything in them. False if there is no such account.
pub async fn erase(tx: &mut Tx, user: UserId) -> Result<bool, Error> {
    space::delete_sole_owned(tx, user).await?;
    Ok(store::delete_account(tx, user).await?)
}

/// The accounts of one kind, newest first.
pub async fn list(
    source: &mut Source<'_>,
    kind: AccountKind,
    limit: u32,
    cursor: Option<Cursor>,
) -> Result<Page<Account>, Error> {
    let mut items = store::accounts(source, kind, i64::from(limit) + 1, cursor).await?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let last = items.last().filter(|_| more);
    let next_cursor = last.map(|last| Cursor { key: last.created.as_millis(), id: last.id.uuid() }.to_string());
    Ok(Page { items, next_cursor })
}

/// How many accounts of one kind there are.
pub async fn count(source: &mut Source<'_>, kind: AccountKind) -> Result<i64, Error> {
    Ok(store::count_accounts(source, kind).await?)
}

fn known(changed: bool) -> Result<(), Error> {
    if changed { Ok(()) } else { Err(Error::UnknownAccount) }
}

impl Identity {
    /// Signs somebody up, if registration is open: account and personal space in one transaction.
    #[tracing::instrument(name = "identity.account.register", skip_all)]
    pub async fn register(&self, new: NewAccount) -> Result<Account, Error> {
        if !self.0.options.registration_open {
            return Err(Error::RegistrationClosed);
        }
        self.add(&new, Role::User).await
    }

    /// Adds an administrator, whether registration is open or not.
    #[tracing::instrument(name = "identity.account.add_admin", skip_all)]
    pub async fn add_admin(&self, email: &str, name: Option<&str>, password: &str) -> Result<Account, Error> {
        self.add(&NewAccount::parse(email, password, name)?, Role::Admin).await
    }

    /// Adds a user, whether registration is open or not.
    #[tracing::instrument(name = "identity.account.add_user", skip_all)]
    pub async fn add_user(&self, email: &str, name: Option<&str>, password: &str) -> Result<Account, Error> {
        self.add(&NewAccount::parse(email, password, name)?, Role::User).await
    }

    async fn add(&self, new: &NewAccount, role: Role) -> Result<Account, Error> {
        let Some(hashed) = self.hash_for_sign_up(new).await? else { return Err(Error::EmailTaken) };
        let now = self.0.db.now().await?;
        let mut tx = self.0.db.begin().await?;
        let mut account = self.sign_up_in(&mut tx, new, &hashed, now).await?;
        if role != account.role {
            set_role(&mut tx, account.id, role, now).await?;
            account.role = role;
        }
        tx.commit().await?;
        Ok(account)
    }

    /// Hashes the password outside of any transaction; none if the e-mail is taken already, which saves the work.
    pub(crate) async fn hash_for_sign_up(&self, new: &NewAccount) -> Result<Option<PasswordHash>, Error> {
        if store::account_by_email(&mut Source::Db(&self.0.db), new.email.key()).await?.is_some() {
            return Ok(None);
        }
        self.hash_password(&new.password).await.map(Some)
    }

    pub(crate) async fn sign_up_in(
        &self,
        tx: &mut Tx,
        new: &NewAccount,
        hashed: &PasswordHash,
        at: Timestamp,
    ) -> Result<Account, Error> {
        sign_up(tx, &*self.0.clock, &*self.0.random, (&new.email, &new.name), hashed, at).await
    }

    /// The account with this e-mail, whatever its case.
    pub async fn user_by_email(&self, email: &str) -> Result<Option<Account>, Error> {
        find_by_email(&mut Source::Db(&self.0.db), email).await
    }

    /// The oldest administrator; none on a new installation.
    pub async fn first_admin(&self) -> Result<Option<Account>, Error> {
        Ok(store::first_with_role(&mut Source::Db(&self.0.db), Role::Admin.as_str()).await?)
    }

    /// The account with this id.
    pub async fn user(&self, user: UserId) -> Result<Option<Account>, Error> {
        find(&mut Source::Db(&self.0.db), user).await
    }

    /// Hashes a password with argon2id, on as many threads at once as there are cores.
    pub async fn hash_password(&self, password: &Password) -> Result<PasswordHash, Error> {
        self.0.hasher.hash(password).await
    }
}

#[cfg(test)]
mod tests {
    use mana_types::{ManualClock, SeededRandom};

    use super::*;

    #[test]
    fn addresses_that_mail_could_reach_are_taken() {
        for good in ["a@b.de", "Anna.Muster+mana@Mail.Example.ORG", "jürgen@müller.de", "admin@localhost", " a@b.de "]
        {
            assert!(Email::parse(good).is_ok(), "{good}");
        }
        let long = format!("{}@{}.de", "a".repeat(64), "b".repeat(187));
        assert_eq!(long.len(), 255);
        for bad in [
            "",
            "anna",
            "@b.de",
            "a@",
            "a@b",
            "a@.de",
            "a@b..de",
            ".a@b.de",
            "a.@b.de",
            "a b@c.de",
            "a@b@c.de",
            "a@-b.de",
            "a\u{0}@b.de",
            "<a@b.de>",
            "a@b.de, c@d.de",
            "a@b_c.de",
            &long,
            &format!("{}@b.de", "a".repeat(65)),
        ] {
            assert!(Email::parse(bad).is_err(), "{bad}");
        }
        assert!(Email::parse(&long[..254].replace("bb.d", "b.de")).is_ok());
        assert_eq!(Email::parse("Anna@Example.ORG").map(|email| email.key().to_owned()), Ok("anna@example.org".into()));
    }

    #[test]
    fn every_wrong_field_is_named() {
        let wrong = NewAccount::parse("nobody", "short", Some(&"x".repeat(101))).expect_err("all three are wrong");
        let Error::Invalid(fields) = wrong else { panic!("{wrong:?}") };
        assert_eq!(fields.iter().map(|wrong| wrong.field.as_str()).collect::<Vec<_>>(), ["email", "password", "name"]);
        assert!(matches!(NewAccount::parse("a@b.de", "short", None), Err(Error::WeakPassword(_))));
    }

    #[test]
    fn names_have_a_default_and_slugs_are_readable() {
        let new = NewAccount::parse("persona.anna@mana.test", "long enough", Some("  ")).expect("valid");
        assert_eq!(new.name.as_str(), "persona.anna");
        let clock = ManualClock::at(Timestamp::from_millis(1_790_000_000_000));
        let space = SpaceId::new(&clock, &SeededRandom::new(1));
        let id = space.uuid().simple().to_string();
        let tail = &id[20..];
        for (name, expected) in [("Anna Müller", format!("anna-mller-{tail}")), ("李", tail.to_owned())] {
            assert_eq!(slug(&Name::parse(name).expect("valid"), space), expected);
        }
    }
}
