//! What is wrong with a request is said clearly, and nothing is lost by it.

use axum::body::Body;
use http::{Request, StatusCode};
use mana_testkit::each_db;
use serde_json::{Value, json};

use crate::world::{World, mcp_request, rest_request};

fn raw(token: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post("/mcp")
        .header("host", "mana.test")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/list")
        .header("authorization", format!("Bearer {token}"));
    request.body(body.into()).expect("a request")
}

#[tokio::test]
async fn a_message_that_is_none_gets_the_error_that_json_rpc_has_for_it() {
    each_db(|db| async {
        let world = World::new(db).await;
        let token = &world.anna.token;
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"misc_echo","arguments":{{"text":{deep}}}}}}}"#);
        let cases: [(&str, Body, i64); 6] = [
            ("cut off", Body::from("{\"jsonrpc\":"), -32700),
            ("no UTF-8", Body::from(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\xfe\"}".to_vec()), -32700),
            ("nested deeply", Body::from(deep), -32700),
            ("empty", Body::empty(), -32700),
            ("a batch", Body::from("[]"), -32600),
            ("something else", Body::from("{\"hello\":1}"), -32600),
        ];
        for (case, body, code) in cases {
            let answer = world.send(raw(token, body)).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{case}: {:?}", answer.body);
            assert_eq!(answer.body["error"]["code"], code, "{case}: {:?}", answer.body);
            assert_eq!(answer.body["id"], Value::Null);
        }
    })
    .await;
}

#[tokio::test]
async fn a_large_body_is_refused_on_both_doors() {
    each_db(|db| async {
        let world = World::new(db).await;
        let token = &world.anna.token;
        let text = "x".repeat(10 * 1024 * 1024);
        let params = json!({ "name": "misc_echo", "arguments": { "text": text } });
        let mcp = world.send(mcp_request("/mcp", token, &[], "tools/call", params.clone())).await;
        assert_eq!((mcp.status, &mcp.body["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("PAYLOAD_TOO_LARGE")));
        let rest = world.send(rest_request(token, "misc_echo", &[], params["arguments"].to_string())).await;
        assert_eq!((rest.status, &rest.body["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("PAYLOAD_TOO_LARGE")));
    })
    .await;
}

#[tokio::test]
async fn bad_bodies_over_rest_are_named() {
    each_db(|db| async {
        let world = World::new(db).await;
        let token = &world.anna.token;
        let deep = format!("{{\"text\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        let cases: [(&str, Vec<u8>); 5] = [
            ("cut off", b"{\"text\":".to_vec()),
            ("no UTF-8", b"{\"text\":\"\xff\"}".to_vec()),
            ("nested deeply", deep.into_bytes()),
            ("no object", b"[1]".to_vec()),
            ("two values", b"{} {}".to_vec()),
        ];
        for (case, body) in cases {
            let answer = world.send(rest_request(token, "misc_echo", &[], body)).await;
            assert_eq!(
                (answer.status, &answer.body["code"]),
                (StatusCode::BAD_REQUEST, &json!("VALIDATION")),
                "{case}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn every_fault_of_the_arguments_is_named_to_the_model() {
    each_db(|db| async {
        let world = World::new(db).await;
        let result = world.tool(&world.anna.token, "todo_create", json!({ "titles": "x", "times": "many" })).await;
        assert_eq!(result["isError"], true);
        assert!(result["structuredContent"].is_null(), "no structured content that the schema does not know");
        let sentence = result["content"][0]["text"].as_str().unwrap();
        for part in ["invalid-input", "`title`", "is required", "did you mean `title`?", "`times`", "call again"] {
            assert!(sentence.contains(part), "{part}: {sentence}");
        }
        let failure: Value = serde_json::from_str(result["content"][1]["text"].as_str().unwrap()).unwrap();
        assert_eq!(failure, result["_meta"]["mana/error"]);
        assert_eq!(failure["fieldErrors"].as_array().map(Vec::len), Some(3));
        assert!(failure["requestId"].is_string());
    })
    .await;
}

#[tokio::test]
async fn an_unknown_tool_is_a_protocol_error_that_names_a_near_one() {
    each_db(|db| async {
        let world = World::new(db).await;
        let error = world.tool(&world.anna.token, "todo_creat", json!({})).await;
        assert_eq!((&error["code"], &error["data"]["didYouMean"]), (&json!(-32602), &json!("todo_create")));
        let error = world.tool(&world.anna.token, "xyzzy", json!({})).await;
        assert!(error["message"].as_str().is_some_and(|text| text.contains("list the tools")), "{error}");
    })
    .await;
}

#[tokio::test]
async fn headers_of_the_new_generation_are_checked() {
    each_db(|db| async {
        let world = World::new(db).await;
        let token = &world.anna.token;
        let with = |name: &'static str, value: Option<&'static str>| {
            let params = json!({ "name": "misc_echo", "arguments": { "text": "hi" } });
            let mut request = mcp_request("/mcp", token, &[], "tools/call", params);
            request.headers_mut().remove(name);
            if let Some(value) = value {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
            request
        };
        for (name, value) in [
            ("mcp-method", None),
            ("mcp-method", Some("tools/list")),
            ("mcp-name", None),
            ("mcp-name", Some("todo_list")),
            ("mcp-protocol-version", None),
        ] {
            let answer = world.send(with(name, value)).await;
            assert_eq!(
                (answer.status, &answer.body["error"]["code"]),
                (StatusCode::BAD_REQUEST, &json!(-32020)),
                "{name} {value:?}"
            );
        }
        let plain = world.send(with("accept", Some("text/html"))).await;
        assert_eq!((plain.status, &plain.body["code"]), (StatusCode::NOT_ACCEPTABLE, &json!("NOT_ACCEPTABLE")));
        let text = world.send(with("content-type", Some("text/plain"))).await;
        assert_eq!(
            (text.status, &text.body["code"]),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, &json!("UNSUPPORTED_MEDIA_TYPE"))
        );
        let get = Request::get("/mcp").header("host", "mana.test").header("authorization", format!("Bearer {token}"));
        let get = world.send(get.body(Body::empty()).unwrap()).await;
        assert_eq!(get.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(get.headers["allow"], "POST");
    })
    .await;
}

#[tokio::test]
async fn parameters_of_another_shape_and_unknown_methods_are_told_apart() {
    each_db(|db| async {
        let world = World::new(db).await;
        let token = &world.anna.token;
        let shape = world.mcp(token, "tools/call", json!({ "name": "todo_list", "arguments": [] })).await;
        assert_eq!((shape.status, &shape.body["error"]["code"]), (StatusCode::OK, &json!(-32602)));
        assert_eq!(
            shape.body["error"]["message"],
            "the parameters of `tools/call` have another shape than the protocol says"
        );
        let method = world.mcp(token, "no/such", json!({})).await;
        assert_eq!((method.status, &method.body["error"]["code"]), (StatusCode::NOT_FOUND, &json!(-32601)));
        assert_eq!(method.body["error"]["message"], "there is no method `no/such` here");
    })
    .await;
}
