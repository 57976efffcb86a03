//! Every tool, called by everybody who may not: nothing gets through, on either door.

use http::StatusCode;
use mana_testkit::each_db;
use mana_token::{Claims, SigningKey};
use serde_json::json;

use crate::world::{World, claims, mcp_request, registry, rest_request};

#[tokio::test]
async fn nobody_gets_in_who_may_not() {
    each_db(|db| async {
        let world = World::new(db).await;
        let team = world.shared().await;
        let stranger = crate::world::person(&world.test, &world.key, "stranger").await;
        let good = claims(&world.test, world.anna.id);
        let sign = |claims: &Claims| world.key.sign(claims).unwrap();
        let forged = SigningKey::from_seed(world.key.id(), &[1; 32]);
        let expired = Claims { exp: good.iat - 1, ..good.clone() };
        let tokens = [
            ("no token", String::new()),
            ("no token at all", "x".into()),
            ("expired", sign(&expired)),
            ("wrong audience", sign(&Claims { aud: "other".into(), ..good.clone() })),
            ("wrong issuer", sign(&Claims { iss: "http://evil.test".into(), ..good.clone() })),
            ("foreign key", forged.sign(&good).unwrap()),
        ];
        let bens_space = world.ben.space.to_string();
        let team = team.to_string();
        let unknown = "00000000-0000-7000-8000-000000000000";
        let spaces = [
            ("another user's space", &world.anna.token, bens_space.as_str()),
            ("no member", &stranger.token, team.as_str()),
            ("no such space", &world.anna.token, unknown),
            ("no id", &world.anna.token, "../secret"),
        ];
        let registry = registry();
        for tool in registry.tools().map(mana_registry::Tool::name) {
            let params = json!({ "name": tool, "arguments": { "title": "x", "text": "x" } });
            let arguments = params["arguments"].to_string();
            for (case, token) in &tokens {
                let mcp = world.send(mcp_request("/mcp", token, &[], "tools/call", params.clone())).await;
                assert_eq!(mcp.status, StatusCode::UNAUTHORIZED, "{tool}, {case}: {:?}", mcp.body);
                let challenge = mcp.headers["www-authenticate"].to_str().unwrap();
                assert!(challenge.starts_with("Bearer ") && challenge.contains("resource_metadata=\""), "{challenge}");
                let rest = world.send(rest_request(token, tool, &[], arguments.clone())).await;
                assert_eq!(rest.status, StatusCode::UNAUTHORIZED, "{tool}, {case}: {:?}", rest.body);
                assert!(rest.headers.contains_key("www-authenticate"));
            }
            for (case, token, space) in spaces {
                let header = [("x-mana-space", space)];
                let mcp = world.send(mcp_request("/mcp", token, &header, "tools/call", params.clone())).await;
                assert_eq!(
                    (mcp.status, &mcp.body["code"]),
                    (StatusCode::NOT_FOUND, &json!("NOT_FOUND")),
                    "{tool}, {case}"
                );
                if !space.contains('.') {
                    let path = format!("/mcp/s/{space}");
                    let mcp = world.send(mcp_request(&path, token, &[], "tools/call", params.clone())).await;
                    assert_eq!(mcp.status, StatusCode::NOT_FOUND, "{tool}, {case}");
                }
                let rest = world.send(rest_request(token, tool, &header, arguments.clone())).await;
                assert_eq!(rest.status, StatusCode::NOT_FOUND, "{tool}, {case}");
            }
        }
        for (_, token, space) in spaces {
            let header = [("x-mana-space", space)];
            let listed = world.send(mcp_request("/mcp", token, &header, "tools/list", json!({}))).await;
            assert_eq!(listed.status, StatusCode::NOT_FOUND, "not even the list");
        }
        world.gateway.flush().await.unwrap();
        for table in ["record", "record_change"] {
            let (rows,): (i64,) = world.test.db.query(format!("SELECT COUNT(*) FROM {table}")).one().await.unwrap();
            assert_eq!(rows, 0, "nothing was written to `{table}`");
        }
        // Who is known is written down: three spaces in the header and two doors, and the three again in the path.
        let trail = world.trail(&world.anna.token).await;
        assert!(!trail.is_empty());
        assert!(trail.iter().all(|row| row["outcome"] == "denied" && row["reason"] == "not-a-member"), "{trail:?}");
        assert!(trail.iter().all(|row| row["spaceId"].is_null()));
    })
    .await;
}
