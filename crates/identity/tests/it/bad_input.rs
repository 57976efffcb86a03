//! Every body that is wrong, and its answer.

use mana_testkit::each_db;
use serde_json::{Value, json};

use crate::{App, PASSWORD};

fn fields(body: &Value) -> Vec<&str> {
    body["details"].as_array().into_iter().flatten().filter_map(|wrong| wrong["field"].as_str()).collect()
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once() {
    each_db(|test| async move {
        let app = App::new(test).await;
        let long_name = "x".repeat(101);
        let cases = [
            ("register", json!({}), "VALIDATION", vec!["email", "password"]),
            (
                "register",
                json!({ "email": 5, "password": null, "name": [] }),
                "VALIDATION",
                vec!["email", "password", "name"],
            ),
            (
                "register",
                json!({ "email": "nobody", "password": "short", "name": long_name }),
                "VALIDATION",
                vec!["email", "password", "name"],
            ),
            ("register", json!({ "email": "nobody", "password": PASSWORD }), "VALIDATION", vec!["email"]),
            ("register", json!({ "email": "a\u{0}@b.de", "password": PASSWORD }), "VALIDATION", vec!["email"]),
            (
                "register",
                json!({ "email": "a@b.de", "password": PASSWORD, "name": "a\u{0}b" }),
                "VALIDATION",
                vec!["name"],
            ),
            ("register", json!({ "email": "a@b.de" }), "VALIDATION", vec!["password"]),
            ("register", json!({ "email": "a@b.de", "password": "1234567" }), "WEAK_PASSWORD", vec!["password"]),
            ("register", json!({ "email": "a@b.de", "password": "x".repeat(129) }), "WEAK_PASSWORD", vec!["password"]),
            ("login", json!({}), "VALIDATION", vec!["email", "password"]),
            ("login", json!({ "email": true, "password": 8 }), "VALIDATION", vec!["email", "password"]),
            ("refresh", json!({}), "VALIDATION", vec!["refreshToken"]),
            ("logout", json!({ "refreshToken": {} }), "VALIDATION", vec!["refreshToken"]),
            ("validate", json!({ "token": 1 }), "VALIDATION", vec!["token"]),
        ];
        for (route, body, code, wrong) in cases {
            let answer = app.post(&format!("/api/v1/auth/{route}"), body.clone()).await;
            assert_eq!(answer.outcome(), (400, code), "{route} {body}: {}", answer.body);
            assert_eq!(fields(&answer.body), wrong, "{route} {body}: {}", answer.body);
            assert_eq!(answer.headers["content-type"], "application/problem+json");
        }
        assert_eq!(app.rows("account").await, 0);
    })
    .await;
}

#[tokio::test]
async fn what_is_no_json_object_is_refused_everywhere() {
    each_db(|test| async move {
        let app = App::new(test).await;
        let deep = "[".repeat(10_000).into_bytes();
        let bodies: [&[u8]; 7] =
            [b"", b"{", b"[]", b"\"text\"", b"{\"email\":\"\xff\xfe\",\"token\":\"\xff\"}", b"{} {}", &deep];
        for route in ["register", "login", "refresh", "logout", "validate"] {
            for body in bodies {
                let answer = app.post_bytes(&format!("/api/v1/auth/{route}"), body.to_vec()).await;
                assert_eq!(answer.outcome(), (400, "VALIDATION"), "{route} {body:?}: {}", answer.body);
            }
            let large = app.post_bytes(&format!("/api/v1/auth/{route}"), vec![b' '; 10 << 20]).await;
            assert_eq!(large.outcome(), (413, "PAYLOAD_TOO_LARGE"), "{route}");
        }
    })
    .await;
}

#[tokio::test]
async fn routes_of_the_caller_need_a_bearer() {
    each_db(|test| async move {
        let app = App::new(test).await;
        for path in ["/api/v1/auth/session", "/api/auth/organization/list", "/api/v1/spaces"] {
            let none = app.get_openly(path).await;
            assert_eq!(none.outcome(), (401, "UNAUTHORIZED"), "{path}");
            assert_eq!(none.headers["www-authenticate"], "Bearer", "{path}");
            assert_eq!(app.get(path, "nonsense").await.outcome(), (401, "TOKEN_INVALID"), "{path}");
        }
    })
    .await;
}
