use serde_json::{Map, json};
use tokio::time::timeout;

use super::*;
use crate::result;
use crate::toolbox::Toolboxes;

#[path = "../../tests/it/foreign_server.rs"]
mod foreign_server;

use foreign_server::Foreign;

const LIMIT: Duration = Duration::from_secs(10);
const SECRET: &str = "canary-secret-of-the-shop";

/// A runner whose own endpoint is at the same host, where nobody listens.
fn targets() -> Targets {
    let find = |name: &str| match name {
        "SHOP_TOKEN" | "SHOP_SECRET" | "SHOP_KEY" => Some(Secret::new(SECRET)),
        _ => None,
    };
    let guard = Guard::new(Rules { own_host: None, allow_private: true });
    let http = guard.client(false).expect("a client");
    Targets::new(http, "http://127.0.0.1:9/mcp", Secrets::new(find), false)
}

fn bearer(foreign: &Foreign) -> Value {
    json!({ "url": format!("{}/mcp", foreign.url), "auth": "bearer", "token": "env:SHOP_TOKEN" })
}

fn credentials(foreign: &Foreign) -> Value {
    json!({
        "url": format!("{}/mcp", foreign.url), "auth": "client-credentials", "clientId": "mana runner",
        "clientSecret": "env:SHOP_SECRET", "tokenUrl": format!("{}/token", foreign.url),
    })
}

async fn connect(target: &Target) -> Result<Connection, McpError> {
    let token = Secret::new("canary-token-of-mana");
    let space = "0199a3f2-7c1e-7b60-9a51-1f0c7d2e4b11".parse().expect("a space");
    target.connect(OwnToken { token: &token, space }).await
}

async fn call(connection: &Connection, tool: &str, limit: Duration) -> Result<rmcp::model::CallToolResult, McpError> {
    let tick = "tick-1".parse().expect("a tick id");
    connection.call(tool, Map::from_iter([("a".to_owned(), json!(1))]), &tick, "call-1", limit).await
}

fn tool(name: &str) -> Value {
    json!({ "name": name, "description": format!("What {name} does."), "inputSchema": { "type": "object" } })
}

fn odd_tools() -> Vec<Value> {
    let long = "very_long_name_".repeat(6);
    let odd = ["Weird.Tool/Name", "weird tool", "weird.tool", &long, &format!("{long}2")];
    odd.iter().map(|name| tool(name)).chain((0..195).map(|i| tool(&format!("orders_{i}")))).collect()
}

#[tokio::test]
async fn a_foreign_server_with_odd_names_is_used_like_any_other() {
    let foreign = Foreign::start(odd_tools()).await;
    foreign.take_tokens(&[SECRET]);
    let mut described = bearer(&foreign);
    described["headers"] = json!({ "x-tenant": "blue", "x-api-key": "env:SHOP_KEY" });
    described["modules"] = json!({ "Weird*": "oddities" });
    let target = targets().of(Some(&described)).expect("a target");
    assert!(!target.is_own);
    let connection = connect(&target).await.expect("connected");
    assert!(!connection.is_keyed());

    let tools = Toolboxes::default().of_list_with(connection.tools().await.expect("a list"), target.modules());
    assert_eq!((tools.tools().len(), foreign.log().pages_asked), (200, 4));
    for original in ["Weird.Tool/Name", "weird tool", "weird.tool", &"very_long_name_".repeat(6)] {
        let tool = tools.tools().iter().find(|tool| tool.original == original).expect("listed");
        assert!(tool.name.len() <= 64 && tool.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{tool:?}");
        let found = tools.get(&tool.name).expect("found by its wire name");
        call(&connection, &found.original, LIMIT).await.expect("an answer");
        let seen = foreign.log().calls.last().cloned().expect("a call");
        assert_eq!((seen.tool.as_str(), &seen.arguments), (original, &json!({ "a": 1 })));
        assert_eq!(seen.headers["x-tenant"], "blue");
        assert_eq!(seen.headers["x-api-key"], SECRET);
        assert_eq!(seen.headers["authorization"], format!("Bearer {SECRET}"));
        assert!(seen.headers.get("x-mana-space").is_none(), "the space is nobody else's business");
    }
    assert_eq!(tools.tools().iter().filter(|tool| tool.module == "oddities").count(), 1);
    assert_eq!(tools.module_of("orders_7"), "orders");
    assert_eq!(foreign.log().handshakes, 1);
}

/// How many calls arrived, and how many handshakes.
fn counts(foreign: &Foreign) -> (usize, usize) {
    let log = foreign.log();
    (log.calls.len(), log.handshakes)
}

#[tokio::test]
async fn a_forgotten_session_is_a_broken_connection_and_no_call_is_repeated_unasked() {
    let foreign = Foreign::start(vec![tool("pay")]).await;
    let described = json!({ "url": format!("{}/mcp", foreign.url), "auth": "none" });
    let target = targets().of(Some(&described)).expect("a target");
    let connection = connect(&target).await.expect("connected");
    foreign.log().forgets_after = Some(1);
    call(&connection, "pay", LIMIT).await.expect("an answer");
    let error = call(&connection, "pay", LIMIT).await.expect_err("no session");
    assert!(error.is_broken_connection() && matches!(error, McpError::Unavailable(_)), "{error:?}");
    assert_eq!(counts(&foreign), (1, 1));
    let connection = connect(&target).await.expect("connected again");
    call(&connection, "pay", LIMIT).await.expect("an answer");
    assert_eq!(counts(&foreign), (2, 2));
}

#[tokio::test]
async fn one_token_is_fetched_for_all_and_a_fresh_one_when_it_is_not_taken_any_more() {
    let foreign = Foreign::start(vec![tool("pay")]).await;
    let targets = targets();
    let (one, two) = (targets.of(Some(&credentials(&foreign))), targets.of(Some(&credentials(&foreign))));
    let (one, two) = (one.expect("a target"), two.expect("a target"));
    let (first, second) = tokio::join!(connect(&one), connect(&two));
    let (first, second) = (first.expect("connected"), second.expect("connected"));
    let asked = foreign.log().asked.clone();
    assert_eq!(asked.len(), 1, "one token for both");
    // base64 of `mana%20runner:` and the secret, made with another implementation.
    assert_eq!(asked[0].0, "Basic bWFuYSUyMHJ1bm5lcjpjYW5hcnktc2VjcmV0LW9mLXRoZS1zaG9w");
    let resource = foreign.url.replace(':', "%3A").replace('/', "%2F") + "%2Fmcp";
    assert_eq!(asked[0].1, format!("grant_type=client_credentials&resource={resource}"));

    // Revoked in the middle: both see it, one fresh token is fetched.
    foreign.take_tokens(&[]);
    for connection in [&first, &second] {
        assert_eq!(call(connection, "pay", LIMIT).await.expect_err("not taken"), McpError::Unauthorized);
    }
    assert_eq!(one.renew(&first).await, Renewal::Fresh);
    let first = connect(&one).await.expect("with a fresh token");
    assert_eq!(two.renew(&second).await, Renewal::Fresh);
    let second = connect(&two).await.expect("with the same fresh token");
    assert_eq!(foreign.log().asked.len(), 2);
    call(&first, "pay", LIMIT).await.expect("an answer");
    call(&second, "pay", LIMIT).await.expect("an answer");

    // Revoked between two visits: the next one does not fail for that.
    foreign.take_tokens(&[]);
    connect(&one).await.expect("with a third token");
    assert_eq!(foreign.log().asked.len(), 3);
}

#[tokio::test]
async fn a_refused_grant_says_so_without_a_secret() {
    let foreign = Foreign::start(vec![tool("pay")]).await;
    foreign.log().grants_refused = true;
    let target = targets().of(Some(&credentials(&foreign))).expect("a target");
    let error = connect(&target).await.expect_err("refused");
    assert_eq!(
        error.to_string(),
        "there is no token for the MCP server: the token endpoint refused with 401 Unauthorized: invalid_client, no such client"
    );
    assert_eq!(error.code(), "no_token");
}

#[tokio::test]
async fn a_token_that_is_not_taken_is_told_from_a_server_that_is_away() {
    let foreign = Foreign::start(vec![tool("pay")]).await;
    foreign.take_tokens(&["another"]);
    let targets = targets();
    let target = targets.of(Some(&bearer(&foreign))).expect("a target");
    assert_eq!(connect(&target).await.expect_err("not taken"), McpError::Unauthorized);
    let nobody = json!({ "url": "http://127.0.0.1:9/mcp?key=canary", "auth": "none" });
    let error = connect(&targets.of(Some(&nobody)).expect("a target")).await.expect_err("nobody there");
    assert!(matches!(&error, McpError::Unavailable(reason) if !reason.contains("canary")), "{error:?}");
    assert_eq!(target.renew(&connect_any().await).await, Renewal::Nothing);
}

async fn connect_any() -> Connection {
    let foreign = Foreign::start(Vec::new()).await;
    let described = json!({ "url": format!("{}/mcp", foreign.url), "auth": "none" });
    connect(&targets().of(Some(&described)).expect("a target")).await.expect("connected")
}

#[tokio::test]
async fn a_tool_that_hangs_is_cancelled_at_its_server() {
    for is_modern in [false, true] {
        let foreign = Foreign::start(vec![tool("hang")]).await;
        foreign.log().is_modern = is_modern;
        let target = targets().of(Some(&bearer(&foreign))).expect("a target");
        let connection = connect(&target).await.expect("connected");
        let limit = Duration::from_millis(150);
        let error = timeout(LIMIT, call(&connection, "hang", limit)).await.expect("in time").expect_err("it hangs");
        assert_eq!((error.code(), error.is_broken_connection()), ("timeout", false));
        // The newest protocol has no word for it: a closed connection says it.
        foreign.until(|log| log.given_up == 1 && log.cancelled.len() == usize::from(!is_modern)).await;
        let asked = foreign.log().calls[0].id.clone();
        assert!(foreign.log().cancelled.iter().all(|id| *id == asked));
        call(&connection, "next", LIMIT).await.expect("the connection is as good as before");
    }
}

#[tokio::test]
async fn what_is_not_text_reaches_the_persona_as_a_picture_or_a_line() {
    let foreign = Foreign::start(vec![tool("show")]).await;
    let png = "iVBORw0KGgo=";
    foreign.log().answers.insert(
        "show".into(),
        json!({ "content": [
        { "type": "image", "mimeType": "image/png", "data": png },
        { "type": "audio", "mimeType": "audio/mpeg", "data": "AAAA" },
        { "type": "resource_link", "uri": "https://shop.example/a", "name": "a" },
        { "type": "hologram", "data": "AAAA" },
    ] }),
    );
    let target = targets().of(Some(&bearer(&foreign))).expect("a target");
    let connection = connect(&target).await.expect("connected");
    let reading = result::read(&call(&connection, "show", LIMIT).await.expect("an answer"));
    assert_eq!(
        reading.content[0]["text"],
        "(audio of type audio/mpeg, 4 bytes)\n(a link to https://shop.example/a, a)\n(something of type hologram)"
    );
    assert_eq!(reading.content[1]["source"], json!({ "type": "base64", "media_type": "image/png", "data": png }));
    assert_eq!(reading.content.len(), 2);
}

#[tokio::test]
async fn a_server_that_says_back_our_secret_is_not_quoted() {
    let foreign = Foreign::start(vec![tool("echo")]).await;
    let target = targets().of(Some(&bearer(&foreign))).expect("a target");
    let connection = connect(&target).await.expect("connected");
    let answer = call(&connection, "echo", LIMIT).await.expect("an answer");
    let text = serde_json::to_string(&answer).expect("JSON");
    assert!(text.contains("you sent ***") && !text.contains(SECRET), "{text}");
    for shown in [format!("{target:?}"), format!("{connection:?}"), format!("{:?}", targets())] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
}

#[tokio::test]
async fn what_a_server_does_wrong_has_a_bound_and_a_name() {
    let foreign = Foreign::start(vec![tool("flood"), tool("busy")]).await;
    let target = targets().of(Some(&bearer(&foreign))).expect("a target");
    let connection = connect(&target).await.expect("connected");
    let flood = call(&connection, "flood", LIMIT).await.expect_err("too large");
    assert!(
        matches!(&flood, McpError::Protocol { message, .. } if message.contains("larger than 32 MiB")),
        "{flood:?}"
    );
    let busy = call(&connection, "busy", LIMIT).await.expect_err("too often");
    assert_eq!(busy.to_string(), "the MCP server is asked too often, try again in 7 seconds");
    assert_eq!(busy.code(), "rate_limited");

    foreign.log().goes_round = true;
    let round = connection.tools().await.expect_err("no end");
    assert_eq!(round.to_string(), "the MCP server does not answer: the list of tools goes round in circles");
    let offer = |count: usize, page: usize| {
        let mut log = foreign.log();
        (log.goes_round, log.page) = (false, page);
        log.tools = (0..count).map(|i| tool(&format!("tool_{i}"))).collect();
    };
    offer(60, 1);
    assert!(connection.tools().await.expect_err("no end").to_string().contains("does not end within 50 pages"));
    offer(2_001, 3_000);
    assert!(connection.tools().await.expect_err("too many").to_string().contains("more than 2000 tools"));
    foreign.log().tools = vec![json!({ "name": "no_schema" }), json!({ "inputSchema": {} }), tool("good")];
    let good = connection.tools().await.expect("the others can be used");
    assert_eq!(good.iter().map(|tool| tool.name.as_ref()).collect::<Vec<_>>(), ["good"]);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let foreign = Foreign::start(vec![tool("pay")]).await;
    let mut described = bearer(&foreign);
    described["url"] = format!("{}/moved", foreign.url).into();
    let error = connect(&targets().of(Some(&described)).expect("a target")).await.expect_err("moved");
    assert_eq!(error.to_string(), "the MCP server does not answer: HTTP 307 Temporary Redirect");
    assert_eq!(foreign.log().handshakes, 0);
}

#[tokio::test]
async fn a_name_of_a_private_address_is_refused_when_it_connects() {
    let foreign = Foreign::start(Vec::new()).await;
    let port = foreign.url.rsplit(':').next().expect("a port");
    let described = json!({ "url": format!("https://localhost:{port}/mcp"), "auth": "none" });
    let target = targets().of(Some(&described)).expect("nothing is wrong with the address as such");
    let error = connect(&target).await.expect_err("private");
    assert!(error.to_string().contains("`localhost` has no public address"), "{error}");
}

#[test]
fn what_is_wrong_with_a_target_is_said_in_a_sentence() {
    let targets = targets();
    let cases = [
        (
            json!({ "url": "https://shop.example/mcp" }),
            "the target wants the persona's token of this installation, but `shop.example` is not its MCP endpoint: set `auth` to what that server takes",
        ),
        (
            json!({ "url": "http://127.0.0.1:10/mcp", "auth": "mana" }),
            "the target wants the persona's token of this installation, but `127.0.0.1` is not its MCP endpoint: set `auth` to what that server takes",
        ),
        (json!({ "url": "shop" }), "the target's `url` is no address"),
        (json!({ "url": "http://shop.example/mcp" }), "the target's `url` is not encrypted, expected `https`"),
        (
            json!({ "url": "https://192.168.1.1/mcp" }),
            "the target's `url` names `192.168.1.1`, which is not a public address: the runner does not go there",
        ),
        (
            json!({ "url": "https://shop.example/mcp", "auth": "bearer" }),
            "the target has no `token`, and its `auth` needs one",
        ),
        (
            json!({ "url": "https://shop.example/mcp", "auth": "bearer", "token": "env:GONE" }),
            "the target's `token` names `GONE`, which is not set for the runner: set it in its environment",
        ),
        (
            json!({ "url": "https://shop.example/mcp", "auth": "bearer", "token": "canary-in-the-open" }),
            "the target's `token` must name a setting of the runner, such as `env:SHOP_TOKEN`, and hold no secret itself",
        ),
        (
            json!({ "url": "https://shop.example/mcp", "auth": "client-credentials", "clientId": "x", "clientSecret": "env:SHOP_SECRET", "tokenUrl": "http://169.254.169.254/token" }),
            "the target's `tokenUrl` names `169.254.169.254`, which is not a public address: the runner does not go there",
        ),
        (
            json!({ "url": "https://shop.example/mcp", "auth": "none", "headers": { "Authorization": "Basic x" } }),
            "the target's header `Authorization` belongs to the connection: see `auth` for tokens",
        ),
        (
            json!({ "url": "https://shop.example/mcp", "auth": "magic" }),
            "the persona's target cannot be read: unknown variant `magic`, expected one of `mana`, `bearer`, `client-credentials`, `none`",
        ),
    ];
    for (described, sentence) in cases {
        let error = targets.of(Some(&described)).expect_err(sentence);
        assert_eq!(error.to_string(), sentence);
        assert_eq!(error.code(), "target_refused");
    }
}

#[test]
fn mana_itself_is_the_target_of_whoever_names_none() {
    let targets = targets();
    for described in [None, Some(Value::Null)] {
        let target = targets.of(described.as_ref()).expect("Mana");
        assert!(target.is_own && target.url == "http://127.0.0.1:9/mcp");
    }
    let space = json!({ "url": "http://127.0.0.1:9/mcp/s/0199a3f2-7c1e-7b60-9a51-1f0c7d2e4b11", "auth": "mana" });
    assert!(targets.of(Some(&space)).expect("another door of the same house").is_own);
}
