//! What the interface for personas and the command line do with accounts, inside a transaction of theirs.

use mana_identity::account::{self, AccountKind};
use mana_identity::{Account, Email, Error, Name, Password};
use mana_store::{Source, Tx};
use mana_testkit::each_db;
use mana_types::Timestamp;

use crate::{App, PASSWORD};

const ANNA: &str = "persona.anna@mana.test";

impl App {
    async fn now(&self) -> Timestamp {
        self.test.db.now().await.expect("tells the time")
    }

    async fn sign_up(&self, tx: &mut Tx, email: &str, at: Timestamp) -> Result<Account, Error> {
        let (email, name) = (Email::parse(email).expect("valid"), Name::parse("Anna").expect("valid"));
        let hashed = self.identity.hash_password(&Password::parse(PASSWORD).expect("valid")).await?;
        account::sign_up(tx, &*self.test.clock, &*self.test.random, (&email, &name), &hashed, at).await
    }
}

#[tokio::test]
async fn a_new_account_becomes_a_persona_in_the_transaction_of_its_sign_up() {
    each_db(|test| async move {
        let app = App::new(test).await;
        let now = app.now().await;
        let mut tx = app.test.db.begin().await.expect("begins");
        let user = app.sign_up(&mut tx, ANNA, now).await.expect("signed up").id;
        let persona = account::promote_to_persona(&mut tx, user, now).await.expect("promoted");
        account::set_place(&mut tx, user, "de-DE", "Europe/Berlin", now).await.expect("placed");
        tx.commit().await.expect("commits");
        assert_eq!(
            (persona.kind, persona.tier.as_str(), persona.email_verified),
            (AccountKind::Persona, "founder", true)
        );

        app.test.clock.advance_millis(1);
        let mut tx = app.test.db.begin().await.expect("begins");
        let again = account::promote_to_persona(&mut tx, user, app.now().await).await.expect("a persona stays one");
        assert_eq!((again.locale.as_str(), again.timezone.as_str()), ("de-DE", "Europe/Berlin"));
        tx.commit().await.expect("commits");

        let signed_in = app.login(ANNA, PASSWORD).await;
        assert_eq!(
            (&signed_in.body["user"]["kind"], &signed_in.body["user"]["tier"]),
            (&"persona".into(), &"founder".into())
        );
        let spaces = app.get("/api/v1/spaces", &signed_in.text("token")).await;
        assert_eq!(spaces.body.as_array().map(Vec::len), Some(1));
    })
    .await;
}

#[tokio::test]
async fn a_person_never_becomes_a_persona() {
    each_db(|test| async move {
        let app = App::new(test).await;
        app.register(ANNA).await;
        let person = app.identity.user_by_email(ANNA).await.expect("asks").expect("is there");
        app.test.clock.advance_millis(1);
        let now = app.now().await;
        let mut tx = app.test.db.begin().await.expect("begins");
        // Nor does a failed sign-up spoil the transaction in which it was tried.
        assert!(matches!(app.sign_up(&mut tx, &ANNA.to_uppercase(), now).await, Err(Error::EmailTaken)));
        assert!(matches!(account::promote_to_persona(&mut tx, person.id, now).await, Err(Error::BelongsToPerson)));
        tx.commit().await.expect("commits");
        assert_eq!(app.identity.user_by_email(ANNA).await.expect("asks"), Some(person));

        let admin = app.identity.add_admin("root@mana.test", None, PASSWORD).await.expect("added");
        let mut tx = app.test.db.begin().await.expect("begins");
        let refused = account::promote_to_persona(&mut tx, admin.id, app.now().await).await;
        assert!(matches!(refused, Err(Error::BelongsToPerson)), "an administrator of this very moment is none either");
    })
    .await;
}

#[tokio::test]
async fn a_new_password_replaces_the_old_one_and_sessions_end_when_told_to() {
    each_db(|test| async move {
        let app = App::new(test).await;
        let refresh_token = app.register(ANNA).await.text("refreshToken");
        let user = app.identity.user_by_email(ANNA).await.expect("asks").expect("is there").id;
        let hashed =
            app.identity.hash_password(&Password::parse("another horse").expect("valid")).await.expect("hashes");
        let now = app.now().await;
        let mut tx = app.test.db.begin().await.expect("begins");
        account::set_password(&mut tx, user, &hashed, now).await.expect("set");
        account::set_name(&mut tx, user, &Name::parse("Anna B.").expect("valid"), now).await.expect("set");
        tx.commit().await.expect("commits");
        assert_eq!(app.login(ANNA, PASSWORD).await.status, 401);
        assert_eq!(app.login(ANNA, "another horse").await.body["user"]["name"], "Anna B.");
        let refreshed = app.refresh(&refresh_token).await;
        assert_eq!(refreshed.status, 200);

        let mut tx = app.test.db.begin().await.expect("begins");
        assert_eq!(account::end_sessions(&mut tx, user, now).await.expect("ended"), 2);
        tx.commit().await.expect("commits");
        assert_eq!(app.refresh(&refreshed.text("refreshToken")).await.status, 401);

        let nobody = mana_types::UserId::from_uuid(uuid::Uuid::from_u128(1));
        let mut tx = app.test.db.begin().await.expect("begins");
        assert!(matches!(account::set_password(&mut tx, nobody, &hashed, now).await, Err(Error::UnknownAccount)));
    })
    .await;
}

#[tokio::test]
async fn erasing_leaves_nothing_of_the_account_and_all_of_the_others() {
    each_db(|test| async move {
        let app = App::new(test).await;
        let kept = app.register("tom@example.org").await;
        let erased = app.register(ANNA).await;
        let user = app.identity.user_by_email(ANNA).await.expect("asks").expect("is there").id;
        let mut tx = app.test.db.begin().await.expect("begins");
        assert!(account::erase(&mut tx, user).await.expect("erased"));
        assert!(!account::erase(&mut tx, user).await.expect("erased"), "there is nothing left");
        tx.commit().await.expect("commits");

        for table in ["account", "space", "membership", "session", "refresh_token"] {
            assert_eq!(app.rows(table).await, 1, "{table}");
        }
        assert_eq!(app.refresh(&erased.text("refreshToken")).await.status, 401);
        assert_eq!(app.get("/api/v1/auth/session", &erased.text("token")).await.status, 401);
        assert_eq!(app.login(ANNA, PASSWORD).await.outcome(), (401, "INVALID_CREDENTIALS"));
        assert_eq!(app.get("/api/v1/auth/session", &kept.text("token")).await.status, 200);
        assert_eq!(app.register(ANNA).await.status, 201, "the e-mail is free again");
    })
    .await;
}

#[tokio::test]
async fn accounts_are_listed_and_counted_by_kind_newest_first() {
    each_db(|test| async move {
        let app = App::new(test).await;
        for number in 0..5 {
            app.register(&format!("user{number}@example.org")).await;
            app.test.clock.advance_millis(i64::from(number % 2 == 0)); // some share their millisecond
        }
        let now = app.now().await;
        let mut tx = app.test.db.begin().await.expect("begins");
        let user = app.sign_up(&mut tx, ANNA, now).await.expect("signed up").id;
        account::promote_to_persona(&mut tx, user, now).await.expect("promoted");
        tx.commit().await.expect("commits");

        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let page =
                account::list(&mut Source::Db(&app.test.db), AccountKind::Human, 2, cursor).await.expect("lists");
            assert!(page.items.len() <= 2);
            seen.extend(page.items.into_iter().map(|account| (account.created, account.id)));
            let Some(next) = page.next_cursor else { break };
            cursor = Some(next.parse().expect("our own cursor"));
        }
        assert_eq!(seen.len(), 5);
        assert!(seen.is_sorted_by(|newer, older| newer > older), "{seen:?}");
        let mut source = Source::Db(&app.test.db);
        assert_eq!(account::count(&mut source, AccountKind::Human).await.expect("counts"), 5);
        assert_eq!(account::count(&mut source, AccountKind::Persona).await.expect("counts"), 1);
        assert_eq!(account::count(&mut source, AccountKind::System).await.expect("counts"), 0);
    })
    .await;
}
