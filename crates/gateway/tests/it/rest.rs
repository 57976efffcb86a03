//! The REST door, and what else is served beside the endpoint.

use axum::body::Body;
use http::{Request, StatusCode};
use mana_testkit::each_db;
use serde_json::json;

use crate::world::{URL, World, registry, rest_request};

#[tokio::test]
async fn a_tool_is_called_over_plain_http() {
    each_db(|db| async {
        let world = World::new(db).await;
        let token = &world.anna.token;
        let created = world.rest(token, "todo_create", json!({ "title": "Milk" })).await;
        assert_eq!((created.status, &created.body["title"]), (StatusCode::OK, &json!("Milk")));
        let listed = world.send(rest_request(token, "todo.list", &[], Body::empty())).await;
        assert_eq!(listed.body["items"][0]["id"], created.body["id"], "no body is no arguments");
        let keyed = async |title: &str| {
            let body = json!({ "title": title }).to_string();
            world.send(rest_request(token, "todo_create", &[("idempotency-key", "k")], body)).await
        };
        let (first, again) = (keyed("Once").await, keyed("Once").await);
        assert_eq!(first.body, again.body);
        let other = keyed("Other").await;
        assert_eq!(
            (other.status, &other.body["code"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("IDEMPOTENCY_KEY_REUSED"))
        );
    })
    .await;
}

#[tokio::test]
async fn errors_have_their_status_and_say_what_to_do() {
    each_db(|db| async {
        let world = World::new(db).await;
        let token = &world.anna.token;
        let faults = world.rest(token, "todo_create", json!({ "titles": "x", "times": 300 })).await;
        assert_eq!((faults.status, &faults.body["code"]), (StatusCode::BAD_REQUEST, &json!("VALIDATION")));
        let fields: Vec<&str> =
            faults.body["details"].as_array().unwrap().iter().map(|fault| fault["field"].as_str().unwrap()).collect();
        assert_eq!(fields.len(), 3, "all of them: {:?}", faults.body);
        assert!(faults.body["details"].to_string().contains("did you mean `title`"), "{:?}", faults.body);
        let unknown = world.rest(token, "todo_creat", json!({})).await;
        assert_eq!((unknown.status, &unknown.body["didYouMean"]), (StatusCode::NOT_FOUND, &json!("todo_create")));
        let rule = world.rest(token, "misc_refuse", json!({})).await;
        assert_eq!((rule.status, &rule.body["reason"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("already-sent")));
        assert_eq!(rule.body["hint"], "write a new one");
        assert_eq!(world.rest(token, "todo_wipe", json!({})).await.status, StatusCode::FORBIDDEN);
        for _ in 0..30 {
            world.rest(token, "misc_echo", json!({ "text": "hi" })).await;
        }
        let limited = world.rest(token, "misc_echo", json!({ "text": "hi" })).await;
        assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(limited.headers["retry-after"], "60");
        let broken = world.rest(token, "misc_broken", json!({ "text": "a secret" })).await;
        assert_eq!((broken.status, &broken.body["code"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("INTERNAL")));
        assert!(!broken.body.to_string().contains("secret"), "the inside stays inside: {:?}", broken.body);
    })
    .await;
}

#[tokio::test]
async fn the_list_of_tools_is_open_to_programs() {
    each_db(|db| async {
        let world = World::new(db).await;
        let list = async |query: &str| {
            let request = Request::get(format!("/api/v1/tools{query}"))
                .header("authorization", format!("Bearer {}", world.anna.token));
            world.send(request.body(Body::empty()).unwrap()).await.body
        };
        let all = list("").await;
        assert_eq!(all["modules"][1]["labels"], json!({ "de": "Aufgaben", "en": "To-do" }));
        let names: Vec<&str> =
            all["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert!(
            names.contains(&"todo_create") && !names.contains(&"misc_admin") && !names.contains(&"todo_wipe"),
            "{names:?}"
        );
        let one = list("?modules=todo&readonly=1").await;
        assert_eq!(one["tools"].as_array().map(Vec::len), Some(1));
        assert_eq!(one["tools"][0]["policyHint"], "read");
    })
    .await;
}

#[tokio::test]
async fn resources_say_where_their_tokens_come_from() {
    each_db(|db| async {
        let world = World::new(db).await;
        let get = async |path: &str| world.send(Request::get(path).body(Body::empty()).unwrap()).await;
        let root = get("/.well-known/oauth-protected-resource").await;
        assert_eq!(root.body["resource"], format!("{URL}/mcp"));
        assert_eq!(root.body["authorization_servers"], json!([URL]));
        assert_eq!(get("/.well-known/oauth-protected-resource/mcp").await.body, root.body);
        let space = format!("/mcp/s/{}", world.anna.space);
        let of_space = get(&format!("/.well-known/oauth-protected-resource{space}")).await;
        assert_eq!(of_space.body["resource"], format!("{URL}{space}"));
        assert_eq!(get("/.well-known/oauth-protected-resource/other").await.status, StatusCode::NOT_FOUND);
        let refused = world.mcp("", "tools/list", json!({})).await;
        assert_eq!(
            refused.headers["www-authenticate"],
            format!("Bearer resource_metadata=\"{URL}/.well-known/oauth-protected-resource/mcp\", scope=\"mana\"")
                .as_str()
        );
    })
    .await;
}

#[tokio::test]
async fn the_description_names_every_tool_and_every_schema_is_one() {
    each_db(|db| async {
        let world = World::new(db).await;
        let document = world.send(Request::get("/openapi.json").body(Body::empty()).unwrap()).await.body;
        assert_eq!(document, mana_gateway::openapi(&registry(), URL), "the same registry, the same text");
        assert_eq!(document["openapi"], "3.1.0");
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.contains_key("/api/v1/tools/todo_create") && !paths.contains_key("/api/v1/tools/misc_admin"));
        let mut operations = Vec::new();
        for item in paths.values() {
            for operation in item.as_object().unwrap().values() {
                operations.push(operation["operationId"].as_str().unwrap().to_owned());
                for reference in references(operation) {
                    let place = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(place).is_some(), "{reference} leads nowhere");
                }
                let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
                if !schema.is_null() {
                    jsonschema::draft202012::new(schema).expect("a valid schema");
                }
            }
        }
        let count = operations.len();
        operations.sort_unstable();
        operations.dedup();
        assert_eq!(operations.len(), count, "operation ids are unique");
    })
    .await;
}

fn references(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, inner)| match (name.as_str(), inner.as_str()) {
                ("$ref", Some(reference)) => vec![reference.to_owned()],
                _ => references(inner),
            })
            .collect(),
        serde_json::Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_kept_is_refused_and_nothing_is_written() {
    each_db(|db| async {
        let world = World::new(db).await;
        let token = &world.anna.token;
        let in_body = world.rest(token, "todo_create", json!({ "title": "x", "idempotencyKey": "a\0b" })).await;
        assert_eq!((in_body.status, &in_body.body["code"]), (StatusCode::BAD_REQUEST, &json!("VALIDATION")));
        for name in ["idempotency-key", "x-mana-tick"] {
            let headers = [(name, "schlüssel")];
            let answer =
                world.send(rest_request(token, "todo_create", &headers, json!({ "title": "x" }).to_string())).await;
            assert_eq!((answer.status, &answer.body["details"][0]["field"]), (StatusCode::BAD_REQUEST, &json!(name)));
        }
        assert_eq!(world.rest(token, "todo_list", json!({})).await.body["items"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_tool_that_the_connection_left_out_is_not_suggested() {
    each_db(|db| async {
        let world = World::new(db).await;
        let headers = [("x-mana-readonly", "1")];
        let answer = world.send(rest_request(&world.anna.token, "todo_create", &headers, Body::empty())).await;
        assert_eq!((answer.status, &answer.body["code"]), (StatusCode::NOT_FOUND, &json!("UNKNOWN_TOOL")));
        assert!(answer.body["didYouMean"].is_null(), "{:?}", answer.body);
    })
    .await;
}
