//! Every tool, through both doors, for everybody who must not get through.

use std::sync::Arc;

use mana_store::{Db, DbOptions};
use mana_token::{AUDIENCE, Claims, Role, SigningKey};
use mana_types::{Clock, KeyId, SessionId, SystemClock, SystemRandom, UserId};
use serde_json::{Value, json};

use crate::support::{Home, Server};

/// The installation's own signing key, to sign what nobody should be able to.
async fn signing_key(home: &Home) -> SigningKey {
    let address = format!("sqlite:{}", home.data().join("mana.db").display());
    let db = Db::open(&DbOptions::new(address), Arc::new(SystemClock::default())).await.expect("opens");
    let (id, seed): (KeyId, Vec<u8>) =
        db.query("SELECT id, seed FROM signing_key ORDER BY created DESC LIMIT 1").one().await.expect("reads");
    SigningKey::from_seed(id, &seed.try_into().expect("32 bytes"))
}

struct Somebody {
    user: UserId,
    space: String,
    token: String,
}

async fn sign_up(server: &Server, email: &str) -> Somebody {
    let client = reqwest::Client::new();
    let body = json!({ "email": email, "password": "correct horse battery staple" });
    let answer = client.post(format!("{}/api/v1/auth/register", server.url)).json(&body).send().await.expect("answers");
    assert_eq!(answer.status(), 201);
    let answer: Value = answer.json().await.expect("is JSON");
    let token = answer["accessToken"].as_str().expect("a token").to_owned();
    let list = client.get(format!("{}/api/v1/spaces", server.url)).bearer_auth(&token).send().await.expect("answers");
    let list: Value = list.json().await.expect("is JSON");
    let space = list[0]["id"].as_str().expect("a space").to_owned();
    Somebody { user: serde_json::from_value(answer["user"]["id"].clone()).expect("an id"), space, token }
}

fn mcp_body(tool: &str) -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": tool, "arguments": {}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "matrix", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {},
        } },
    })
}

#[tokio::test]
async fn nobody_gets_through_who_must_not() {
    let home = Home::sqlite();
    let mut command = home.mana(&["serve", "--roles", "identity,gateway", "--listen", "127.0.0.1:0"]);
    command.env("POLICY_MODE", "off"); // the calls are many; authority is no matter of policy
    let mut server = Server::start(command).await;
    let (anna, ben) = (sign_up(&server, "anna@b.example").await, sign_up(&server, "ben@b.example").await);
    let key = signing_key(&home).await;
    let now = SystemClock::default().now().as_secs();
    let good = Claims {
        iss: server.url.clone(),
        aud: AUDIENCE.into(),
        sub: anna.user,
        email: "anna@b.example".into(),
        role: Role::User,
        sid: SessionId::new(&SystemClock::default(), &SystemRandom),
        tier: "free".into(),
        iat: now,
        exp: now + 600,
    };
    let sign = |claims: &Claims| Some(key.sign(claims).expect("signs"));
    let expired = sign(&Claims { iat: now - 1000, exp: now - 1, ..good.clone() });
    let elsewhere = sign(&Claims { aud: "somewhere-else".into(), ..good.clone() });
    let stranger = sign(&Claims { sub: UserId::new(&SystemClock::default(), &SystemRandom), ..good.clone() });
    let forged = Some(SigningKey::from_seed(key.id(), &[9; 32]).sign(&good).expect("signs"));
    let nowhere = "01900000-0000-7000-8000-000000000000";
    let (annas, bens) = (Some(anna.token.clone()), ben.space.as_str());
    // Who, in which space, and whether the fault lies in the token.
    let cases: [(&str, Option<String>, &str, bool); 7] = [
        ("no token", None, &anna.space, true),
        ("expired", expired, &anna.space, true),
        ("wrong audience", elsewhere, &anna.space, true),
        ("forged", forged, &anna.space, true),
        ("another user's space", annas.clone(), bens, false),
        ("a space that does not exist", annas.clone(), nowhere, false),
        ("a user who does not exist", stranger, &anna.space, false),
    ];
    let client = reqwest::Client::new();
    let tools = mana_modules::registry().expect("the modules fit together");
    let mut tried = 0;
    for tool in tools.tools() {
        for (who, token, space, by_token) in &cases {
            let expected: &[u16] = if *by_token { &[401] } else { &[403, 404] };
            let rest = client
                .post(format!("{}/api/v1/tools/{}", server.url, tool.name()))
                .header("X-Mana-Space", *space)
                .json(&json!({}));
            let mcp = client
                .post(format!("{}/mcp/s/{space}", server.url))
                .header("Accept", "application/json, text/event-stream")
                .header("MCP-Protocol-Version", "2026-07-28")
                .header("Mcp-Method", "tools/call")
                .header("Mcp-Name", tool.name())
                .json(&mcp_body(tool.name()));
            for (door, request) in [("REST", rest), ("MCP", mcp)] {
                let request = match token {
                    Some(token) => request.bearer_auth(token),
                    None => request,
                };
                let answer = request.send().await.expect("answers");
                let status = answer.status().as_u16();
                assert!(expected.contains(&status), "{door} {}, {who}: {status}", tool.name());
                if *by_token {
                    assert!(answer.headers().contains_key("www-authenticate"), "{door} {}, {who}", tool.name());
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 1000, "only {tried} doors were tried");
    // The same with nothing wrong goes through, or the matrix would prove nothing.
    let answer = client
        .post(format!("{}/api/v1/tools/todo_list", server.url))
        .header("X-Mana-Space", &anna.space)
        .bearer_auth(sign(&good).expect("is signed"))
        .json(&json!({}))
        .send()
        .await
        .expect("answers");
    assert_eq!(answer.status(), 200);
    assert_eq!(server.terminate().await, 0);
}
