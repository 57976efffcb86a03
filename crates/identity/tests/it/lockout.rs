//! Wrong passwords: what they answer, and when they close an e-mail.

use std::time::{Duration, Instant};

use mana_identity::{HashCost, IdentityOptions};
use mana_testkit::each_db;
use serde_json::json;

use crate::{App, ISSUER, PASSWORD};

const MINUTE: i64 = 60_000;
const ANNA: &str = "anna@example.org";
const WRONG: (u16, &str) = (401, "INVALID_CREDENTIALS");
const LOCKED: (u16, &str) = (429, "ACCOUNT_LOCKED");

#[tokio::test]
async fn an_unknown_account_answers_as_a_wrong_password_does() {
    each_db(|test| async move {
        let app = App::new(test).await;
        app.register(ANNA).await;
        let wrong = app.login(ANNA, "wrong horse").await;
        assert_eq!(wrong.outcome(), WRONG);
        for email in ["nobody@example.org", "no address at all", "", "a\u{0}@b.de"] {
            let unknown = app.login(email, "wrong horse").await;
            assert_eq!((unknown.status, &unknown.body), (wrong.status, &wrong.body), "{email}");
            assert_eq!(unknown.headers, wrong.headers, "{email}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_unknown_account_takes_as_long_as_a_wrong_password() {
    let test = mana_testkit::sqlite().await;
    let db = test.db.clone();
    let options =
        IdentityOptions { hash_cost: HashCost { memory_kib: 19 * 1024, passes: 4 }, ..IdentityOptions::new(ISSUER) };
    let app = App::with(test, db, options).await;
    app.register(ANNA).await;
    let (mut known, mut unknown) = (Duration::MAX, Duration::MAX);
    for _ in 0..4 {
        for (email, fastest) in [(ANNA, &mut known), ("nobody@example.org", &mut unknown)] {
            let started = Instant::now();
            assert_eq!(app.login(email, "wrong horse").await.outcome(), WRONG);
            *fastest = started.elapsed().min(*fastest);
        }
    }
    // Without the comparison an unknown account would be some twenty times faster.
    assert!(unknown > known / 4 && known > unknown / 4, "known {known:?}, unknown {unknown:?}");
}

#[tokio::test]
async fn five_wrong_passwords_close_an_e_mail_for_half_an_hour_after_the_last() {
    each_db(|test| async move {
        let app = App::new(test).await;
        app.register(ANNA).await;
        for email in [ANNA, "nobody@example.org"] {
            for attempt in 0..5 {
                let spelling = if attempt % 2 == 0 { email.to_uppercase() } else { email.to_owned() };
                assert_eq!(app.login(&spelling, "wrong horse").await.outcome(), WRONG, "{attempt}");
                app.test.clock.advance_millis(MINUTE);
            }
            // The last failure lies one minute back.
            let locked = app.login(email, PASSWORD).await;
            assert_eq!(locked.outcome(), LOCKED);
            assert_eq!(
                (&locked.headers["retry-after"], &locked.body["retryAfter"]),
                (&"1740".parse().unwrap(), &json!(1740))
            );
            // Attempts while it is closed neither count nor prolong.
            app.test.clock.advance_millis(28 * MINUTE);
            assert_eq!(app.login(email, "wrong horse").await.headers["retry-after"], "60");
            app.test.clock.advance_millis(MINUTE - 1);
            assert_eq!(app.login(email, PASSWORD).await.headers["retry-after"], "1");
            app.test.clock.advance_millis(1);
            // One failure after that is the first of a new count.
            assert_eq!(app.login(email, "wrong horse").await.outcome(), WRONG);
            assert_eq!(app.login(email, "wrong horse").await.outcome(), WRONG);
        }
        assert_eq!(app.login(ANNA, PASSWORD).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn failures_further_apart_than_a_quarter_of_an_hour_close_nothing() {
    each_db(|test| async move {
        let app = App::new(test).await;
        app.register(ANNA).await;
        for _ in 0..12 {
            assert_eq!(app.login(ANNA, "wrong horse").await.outcome(), WRONG);
            app.test.clock.advance_millis(4 * MINUTE);
        }
        assert_eq!(app.login(ANNA, PASSWORD).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_right_password_clears_the_count() {
    each_db(|test| async move {
        let app = App::new(test).await;
        app.register(ANNA).await;
        for _ in 0..3 {
            for _ in 0..4 {
                assert_eq!(app.login(ANNA, "wrong horse").await.outcome(), WRONG);
            }
            assert_eq!(app.login(ANNA, PASSWORD).await.status, 200);
        }
        assert_eq!(app.rows("sign_in_failure").await, 0);
    })
    .await;
}

#[tokio::test]
async fn an_outage_is_no_failure_and_a_restart_forgets_none() {
    each_db(|test| async move {
        let app = App::new(test.clone()).await;
        app.register(ANNA).await;
        for _ in 0..4 {
            assert_eq!(app.login(ANNA, "wrong horse").await.outcome(), WRONG);
        }
        app.test.db.close().await.expect("closes");
        for _ in 0..3 {
            assert_eq!(app.login(ANNA, PASSWORD).await.outcome(), (503, "SERVICE_UNAVAILABLE"));
        }
        let app = App::with(test.clone(), test.again().await, crate::options()).await;
        assert_eq!(app.login(ANNA, "wrong horse").await.outcome(), WRONG);
        assert_eq!(app.login(ANNA, PASSWORD).await.outcome(), LOCKED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_guesses_gets_five_answers() {
    each_db(|test| async move {
        let app = App::new(test).await;
        app.register(ANNA).await;
        let guessing = (0..24).map(|guess| {
            let app = app.clone();
            tokio::spawn(async move { app.login(ANNA, &format!("wrong horse {guess}")).await.status })
        });
        let answers = futures::future::join_all(guessing).await;
        let told = answers.iter().filter(|status| matches!(status, Ok(401))).count();
        let refused = answers.iter().filter(|status| matches!(status, Ok(429))).count();
        assert_eq!((told, refused), (5, 19));
        assert_eq!(app.login(ANNA, PASSWORD).await.outcome(), LOCKED);
    })
    .await;
}

#[tokio::test]
async fn old_failures_are_swept() {
    each_db(|test| async move {
        let app = App::new(test).await;
        app.login("nobody@example.org", "wrong horse").await;
        app.test.clock.advance_millis(29 * MINUTE);
        assert_eq!(app.identity.sweep().await.expect("sweeps"), 0);
        app.test.clock.advance_millis(MINUTE);
        assert_eq!(app.identity.sweep().await.expect("sweeps"), 1);
        assert_eq!(app.rows("sign_in_failure").await, 0);
    })
    .await;
}
