//! Signing in, refreshing, signing out.

use mana_identity::{REFRESH_GRACE_MS, REFRESH_LIFETIME_MS};
use mana_testkit::each_db;
use mana_token::TOKEN_LIFETIME_MS;
use serde_json::{Value, json};

use crate::{App, PASSWORD, part_of_token};

const ANNA: &str = "anna@example.org";
const GONE: (u16, &str) = (401, "INVALID_REFRESH_TOKEN");

#[tokio::test]
async fn a_sign_in_tells_who_it_is() {
    each_db(|test| async move {
        let app = App::new(test).await;
        app.register(ANNA).await;
        let signed_in = app.login("Anna@Example.org", PASSWORD).await;
        assert_eq!(signed_in.status, 200, "{}", signed_in.body);
        assert_eq!(signed_in.headers["cache-control"], "no-store");
        let id = signed_in.body["user"]["id"].clone();
        let token = signed_in.text("token");
        assert_eq!(
            signed_in.body,
            json!({
                "user": { "id": id, "email": ANNA, "name": "anna", "role": "user", "kind": "human", "tier": "free" },
                "token": token,
                "accessToken": token,
                "refreshToken": signed_in.text("refreshToken"),
                "expiresIn": 900,
            })
        );
        assert_eq!(signed_in.text("refreshToken").len(), 43);

        let session = app.get("/api/v1/auth/session", &token).await;
        assert_eq!(session.status, 200, "{}", session.body);
        let spaces = app.get("/api/v1/spaces", &token).await;
        assert_eq!(
            session.body,
            json!({
                "userId": id, "email": ANNA, "name": "anna", "role": "user", "kind": "human", "tier": "free",
                "proof": {
                    "type": "accessToken",
                    "session": part_of_token(&token, 1)["sid"],
                    "expiresAt": "2026-11-18T09:15:00.000Z",
                },
                "personalSpace": spaces.body[0],
            })
        );

        let valid = app.post("/api/v1/auth/validate", json!({ "token": signed_in.text("token") })).await;
        assert_eq!((valid.status, &valid.body["valid"]), (200, &json!(true)));
        assert_eq!(valid.body["payload"], part_of_token(&signed_in.text("token"), 1));
    })
    .await;
}

#[tokio::test]
async fn an_access_token_ends_after_a_quarter_of_an_hour() {
    each_db(|test| async move {
        let app = App::new(test).await;
        let token = app.register(ANNA).await.text("token");
        app.test.clock.advance_millis(TOKEN_LIFETIME_MS - 1);
        assert_eq!(app.get("/api/v1/auth/session", &token).await.status, 200);
        app.test.clock.advance_millis(1);
        assert_eq!(app.get("/api/v1/auth/session", &token).await.outcome(), (401, "TOKEN_EXPIRED"));
        let valid = app.post("/api/v1/auth/validate", json!({ "token": token })).await;
        assert_eq!((valid.status, valid.body), (200, json!({ "valid": false })));
    })
    .await;
}

#[tokio::test]
async fn what_is_no_token_of_ours_is_not_valid() {
    each_db(|test| async move {
        let app = App::new(test).await;
        let token = app.register(ANNA).await.text("token");
        let forged = format!("{}A", &token[..token.len() - 1]);
        for token in ["", "x", forged.as_str()] {
            let valid = app.post("/api/v1/auth/validate", json!({ "token": token })).await;
            assert_eq!((valid.status, valid.body), (200, json!({ "valid": false })), "{token}");
        }
    })
    .await;
}

#[tokio::test]
async fn refreshing_rotates_and_keeps_the_sign_in() {
    each_db(|test| async move {
        let app = App::new(test).await;
        let first = app.register(ANNA).await;
        let mut refresh_token = first.text("refreshToken");
        for _ in 0..3 {
            app.test.clock.advance_millis(TOKEN_LIFETIME_MS);
            let next = app.refresh(&refresh_token).await;
            assert_eq!(next.status, 200, "{}", next.body);
            assert_ne!(next.text("refreshToken"), refresh_token);
            let sid = |answer: &Value| part_of_token(answer["token"].as_str().expect("a token"), 1)["sid"].clone();
            assert_eq!(sid(&next.body), sid(&first.body));
            assert_eq!(app.get("/api/v1/auth/session", &next.text("token")).await.status, 200);
            refresh_token = next.text("refreshToken");
        }
        assert_eq!(app.rows("session").await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_retry_within_the_grace_gets_another_pair_and_both_work() {
    each_db(|test| async move {
        let app = App::new(test).await;
        let old = app.register(ANNA).await.text("refreshToken");
        let first = app.refresh(&old).await.text("refreshToken");
        app.test.clock.advance_millis(REFRESH_GRACE_MS);
        let retry = app.refresh(&old).await;
        assert_eq!(retry.status, 200, "{}", retry.body);
        let second = retry.text("refreshToken");
        assert_ne!(first, second);
        assert_eq!(app.refresh(&first).await.status, 200);
        assert_eq!(app.refresh(&second).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_reuse_after_the_grace_revokes_the_whole_family() {
    each_db(|test| async move {
        let app = App::new(test).await;
        let old = app.register(ANNA).await.text("refreshToken");
        let elsewhere = app.login(ANNA, PASSWORD).await.text("refreshToken");
        let current = app.refresh(&old).await;
        // A retry does not prolong the grace.
        app.test.clock.advance_millis(REFRESH_GRACE_MS);
        let branch = app.refresh(&old).await.text("refreshToken");
        app.test.clock.advance_millis(1);
        assert_eq!(app.refresh(&old).await.outcome(), GONE);
        for token in [&old, &current.text("refreshToken"), &branch] {
            assert_eq!(app.refresh(token).await.outcome(), GONE);
        }
        assert_eq!(app.get("/api/v1/auth/session", &current.text("token")).await.outcome(), (401, "TOKEN_INVALID"));
        assert_eq!(app.refresh(&elsewhere).await.status, 200, "another sign-in of the user is not touched");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refreshing_twice_at_once_is_a_retry() {
    each_db(|test| async move {
        let app = App::new(test).await;
        let old = app.register(ANNA).await.text("refreshToken");
        let refreshing = (0..6).map(|_| {
            let (app, old) = (app.clone(), old.clone());
            tokio::spawn(async move { app.refresh(&old).await.text("refreshToken") })
        });
        let mut tokens: Vec<String> =
            futures::future::join_all(refreshing).await.into_iter().map(|token| token.expect("refreshed")).collect();
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!(tokens.len(), 6);
    })
    .await;
}

#[tokio::test]
async fn a_refresh_token_lives_thirty_days_and_is_then_swept() {
    each_db(|test| async move {
        let app = App::new(test).await;
        let unused = app.register(ANNA).await.text("refreshToken");
        let used = app.login(ANNA, PASSWORD).await.text("refreshToken");
        app.test.clock.advance_millis(REFRESH_LIFETIME_MS - 1);
        let next = app.refresh(&used).await.text("refreshToken");
        app.test.clock.advance_millis(1);
        assert_eq!(app.refresh(&unused).await.outcome(), GONE);
        assert_eq!(app.identity.sweep().await.expect("sweeps"), 3, "two tokens and one session");
        assert_eq!((app.rows("session").await, app.rows("refresh_token").await), (1, 1));
        assert_eq!(app.refresh(&next).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn signing_out_ends_the_sign_in_at_once_and_twice_is_fine() {
    each_db(|test| async move {
        let app = App::new(test).await;
        let first = app.register(ANNA).await;
        let signed_in = app.refresh(&first.text("refreshToken")).await;
        let (token, refresh_token) = (signed_in.text("token"), signed_in.text("refreshToken"));
        for _ in 0..2 {
            let out = app.post("/api/v1/auth/logout", json!({ "refreshToken": refresh_token })).await;
            assert_eq!((out.status, out.body), (204, Value::Null));
        }
        assert_eq!(app.refresh(&refresh_token).await.outcome(), GONE);
        assert_eq!(app.refresh(&first.text("refreshToken")).await.outcome(), GONE);
        assert_eq!(app.get("/api/v1/auth/session", &token).await.outcome(), (401, "TOKEN_INVALID"));
        let valid = app.post("/api/v1/auth/validate", json!({ "token": token })).await;
        assert_eq!(valid.body, json!({ "valid": false }));
        assert_eq!(app.post("/api/v1/auth/logout", json!({ "refreshToken": "unknown" })).await.status, 204);
        app.identity.sweep().await.expect("sweeps");
        assert_eq!((app.rows("session").await, app.rows("refresh_token").await), (0, 0));
        assert_eq!(app.login(ANNA, PASSWORD).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn unknown_refresh_tokens_are_refused() {
    each_db(|test| async move {
        let app = App::new(test).await;
        for token in ["", "x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "a\u{0}b"] {
            assert_eq!(app.refresh(token).await.outcome(), GONE, "{token:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_minted_token_is_a_sign_in_without_a_refresh() {
    each_db(|test| async move {
        let app = App::new(test).await;
        app.register(ANNA).await;
        let user = app.identity.user_by_email("ANNA@example.org").await.expect("asks").expect("is there");
        let token = app.identity.mint(user.id).await.expect("minted");
        let session = app.get("/api/v1/auth/session", &token).await;
        assert_eq!((session.status, &session.body["email"]), (200, &json!(ANNA)));
        assert_eq!(app.identity.sweep().await.expect("sweeps"), 0, "its access token still lives");
        app.test.clock.advance_millis(TOKEN_LIFETIME_MS);
        assert_eq!(app.identity.sweep().await.expect("sweeps"), 1);
        assert_eq!(app.rows("session").await, 1, "that of the sign-up stays");
        let nobody = mana_types::UserId::from_uuid(uuid::Uuid::from_u128(1));
        assert!(matches!(app.identity.mint(nobody).await, Err(mana_identity::Error::UnknownAccount)));
    })
    .await;
}
