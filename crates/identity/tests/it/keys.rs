//! Signing keys: published, rotated, retired.

use mana_testkit::each_db;
use mana_token::TOKEN_LIFETIME_MS;
use serde_json::{Value, json};

use crate::{App, PASSWORD, options, part_of_token};

const HOUR: i64 = 60 * 60 * 1000;
const MINUTE: i64 = 60 * 1000;
const ANNA: &str = "anna@example.org";

impl App {
    async fn key_ids(&self) -> Vec<Value> {
        let keys = self.get_openly("/api/v1/auth/jwks").await;
        keys.body["keys"].as_array().expect("keys").iter().map(|key| key["kid"].clone()).collect()
    }

    async fn signs_with(&self) -> Value {
        part_of_token(&self.login(ANNA, PASSWORD).await.text("token"), 0)["kid"].clone()
    }
}

#[tokio::test]
async fn keys_and_discovery_are_public() {
    each_db(|test| async move {
        let app = App::new(test).await;
        let jwks = app.get_openly("/api/auth/jwks").await;
        assert_eq!(jwks.status, 200);
        let (id, public) = (&jwks.body["keys"][0]["kid"], &jwks.body["keys"][0]["x"]);
        assert_eq!(public.as_str().map(str::len), Some(43));
        assert_eq!(
            jwks.body,
            json!({ "keys": [
                { "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": id, "x": public },
            ] })
        );
        assert_eq!(jwks.body, app.get_openly("/api/v1/auth/jwks").await.body);
        let discovery = app.get_openly("/.well-known/openid-configuration").await;
        assert_eq!(discovery.status, 200);
        assert_eq!(
            discovery.body,
            json!({
                "issuer": "http://mana.test",
                "jwks_uri": "http://mana.test/api/auth/jwks",
                "subject_types_supported": ["public"],
            })
        );
    })
    .await;
}

#[tokio::test]
async fn a_restart_keeps_the_key() {
    each_db(|test| async move {
        let before = App::new(test.clone()).await;
        let token = before.register(ANNA).await.text("token");
        let after = App::with(test.clone(), test.again().await, options()).await;
        assert_eq!(after.get("/api/v1/auth/session", &token).await.status, 200);
        assert_eq!(after.key_ids().await, before.key_ids().await);
        assert_eq!(after.key_ids().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn keys_rotate_after_thirty_days_and_retire_with_their_last_token() {
    each_db(|test| async move {
        let app = App::new(test.clone()).await;
        let other = App::with(test.clone(), test.again().await, options()).await;
        app.register(ANNA).await;
        let first = app.signs_with().await;

        app.test.clock.advance_millis(30 * 24 * HOUR - 1);
        assert!(!app.identity.rotate_if_due().await.expect("asks"));
        let _ = other.signs_with().await; // it has looked at the keys just now
        app.test.clock.advance_millis(1);
        assert!(app.identity.rotate_if_due().await.expect("rotates"));
        assert!(!app.identity.rotate_if_due().await.expect("asks"), "once is enough");
        assert!(!other.identity.rotate_if_due().await.expect("asks"), "for all processes");
        let second = app.signs_with().await;
        assert_ne!(first, second);
        assert_eq!(app.key_ids().await, [second.clone(), first.clone()], "newest first");

        app.test.clock.advance_millis(20 * MINUTE - 1);
        assert_eq!(app.key_ids().await.len(), 2);
        app.identity.sweep().await.expect("sweeps");
        assert_eq!(app.rows("signing_key").await, 2);
        app.test.clock.advance_millis(1);
        assert_eq!(app.key_ids().await, std::slice::from_ref(&second));
        app.identity.sweep().await.expect("sweeps");
        assert_eq!(app.rows("signing_key").await, 1);
        assert_eq!(app.signs_with().await, second);
    })
    .await;
}

#[tokio::test]
async fn a_token_of_a_process_that_has_not_noticed_the_new_key_is_good_to_its_end() {
    each_db(|test| async move {
        let app = App::new(test.clone()).await;
        app.register(ANNA).await;
        app.test.clock.advance_millis(30 * 24 * HOUR - 1);
        let other = App::with(test.clone(), test.again().await, options()).await;
        app.test.clock.advance_millis(1);
        app.identity.rotate_if_due().await.expect("rotates");

        app.test.clock.advance_millis(5 * MINUTE - 2);
        let signed_in = other.login(ANNA, PASSWORD).await;
        let token = signed_in.text("token");
        assert_ne!(part_of_token(&token, 0)["kid"], app.signs_with().await, "still the old key");
        app.test.clock.advance_millis(1);
        assert_eq!(other.signs_with().await, app.signs_with().await, "after five minutes it has looked again");

        app.test.clock.advance_millis(TOKEN_LIFETIME_MS - 1000); // its end is a whole second
        app.identity.sweep().await.expect("sweeps");
        let fresh = App::with(test.clone(), test.again().await, options()).await;
        let valid = fresh.post("/api/v1/auth/validate", json!({ "token": token })).await;
        assert_eq!(valid.body["valid"], true);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_open_at_once_verify_each_others_tokens() {
    each_db(|test| async move {
        let databases = futures::future::join_all((0..3).map(|_| test.again())).await;
        let opening = databases.into_iter().map(|db| tokio::spawn(App::with(test.clone(), db, options())));
        let opened = futures::future::join_all(opening).await;
        let apps: Vec<App> = opened.into_iter().map(|app| app.expect("opens")).collect();
        apps[0].register(ANNA).await;
        for signer in &apps {
            let token = signer.login(ANNA, PASSWORD).await.text("token");
            for verifier in &apps {
                verifier.test.clock.advance_millis(2000); // a verifier asks for an unknown key once a second
                assert_eq!(verifier.get("/api/v1/auth/session", &token).await.status, 200);
            }
        }
    })
    .await;
}
