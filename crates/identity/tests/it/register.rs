//! Signing up, and what a new account has.

use mana_testkit::each_db;
use serde_json::json;

use crate::{App, PASSWORD, options, part_of_token};

#[tokio::test]
async fn signing_up_makes_an_account_a_personal_space_and_a_sign_in() {
    each_db(|test| async move {
        let app = App::new(test).await;
        let answer = app
            .post(
                "/api/v1/auth/register",
                json!({ "email": "Anna@Example.org", "password": PASSWORD, "name": "Anna Muster" }),
            )
            .await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        assert_eq!(answer.headers["cache-control"], "no-store");
        let token = answer.text("accessToken");
        let id = answer.body["user"]["id"].clone();
        assert_eq!(
            answer.body,
            json!({
                "user": {
                    "id": id, "email": "Anna@Example.org", "name": "Anna Muster", "role": "user", "kind": "human",
                    "tier": "free",
                },
                "token": token,
                "accessToken": token,
                "refreshToken": answer.text("refreshToken"),
                "expiresIn": 900,
            })
        );

        let claims = part_of_token(&token, 1);
        assert_eq!(
            claims,
            json!({
                "iss": "http://mana.test", "aud": "mana", "sub": id, "email": "Anna@Example.org", "role": "user",
                "sid": claims["sid"], "tier": "free", "iat": 1_794_992_400, "exp": 1_794_993_300,
            })
        );
        let header = part_of_token(&token, 0);
        assert_eq!((&header["alg"], header["kid"].is_string()), (&json!("EdDSA"), true));

        for path in ["/api/v1/spaces", "/api/auth/organization/list"] {
            let spaces = app.get(path, &token).await;
            assert_eq!(spaces.status, 200, "{}", spaces.body);
            let (id, slug) = (&spaces.body[0]["id"], &spaces.body[0]["slug"]);
            assert!(slug.as_str().is_some_and(|slug| slug.starts_with("anna-muster-")), "{slug}");
            assert_eq!(
                spaces.body,
                json!([
                    { "id": id, "name": "Anna Muster", "slug": slug, "metadata": { "type": "personal" }, "role": "owner" },
                ])
            );
        }
        assert_eq!((app.rows("account").await, app.rows("space").await, app.rows("membership").await), (1, 1, 1));
    })
    .await;
}

#[tokio::test]
async fn the_name_is_by_default_what_stands_before_the_at() {
    each_db(|test| async move {
        let app = App::new(test).await;
        assert_eq!(app.register("tom.smith@example.org").await.body["user"]["name"], "tom.smith");
    })
    .await;
}

#[tokio::test]
async fn an_e_mail_is_taken_whatever_its_case() {
    each_db(|test| async move {
        let app = App::new(test).await;
        assert_eq!(app.register("anna@example.org").await.status, 201);
        let again = app.register(" ANNA@Example.ORG ").await;
        assert_eq!(again.outcome(), (409, "EMAIL_ALREADY_REGISTERED"));
        assert_eq!(again.body["error"], again.body["detail"]);
        assert_eq!((app.rows("account").await, app.rows("space").await, app.rows("session").await), (1, 1, 1));
        assert_eq!(app.login("anna@example.org", PASSWORD).await.status, 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_with_one_e_mail_one_gets_it() {
    each_db(|test| async move {
        let app = App::new(test).await;
        let registering = (0..12).map(|_| {
            let app = app.clone();
            tokio::spawn(async move { app.register("anna@example.org").await.status })
        });
        let mut statuses: Vec<u16> =
            futures::future::join_all(registering).await.into_iter().map(|status| status.expect("no panic")).collect();
        statuses.sort_unstable();
        assert_eq!(statuses[0], 201);
        assert!(statuses[1..].iter().all(|status| *status == 409), "{statuses:?}");
        assert_eq!((app.rows("account").await, app.rows("space").await, app.rows("session").await), (1, 1, 1));
    })
    .await;
}

#[tokio::test]
async fn registration_can_be_closed() {
    each_db(|test| async move {
        let db = test.db.clone();
        let app = App::with(test, db, mana_identity::IdentityOptions { registration_open: false, ..options() }).await;
        assert_eq!(app.register("anna@example.org").await.outcome(), (403, "REGISTRATION_CLOSED"));
        assert_eq!(app.rows("account").await, 0);

        let admin = app.identity.add_admin("root@example.org", Some("Root"), PASSWORD).await.expect("added");
        assert!(admin.role == mana_token::Role::Admin);
        let signed_in = app.login("root@example.org", PASSWORD).await;
        assert_eq!(signed_in.body["user"]["role"], "admin");
        assert_eq!(part_of_token(&signed_in.text("token"), 1)["role"], "admin");
        assert_eq!(app.rows("space").await, 1);
    })
    .await;
}
