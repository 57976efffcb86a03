//! The OpenAPI 3.1 description, generated from the registry.

use mana_registry::{Hint, Registry, Scope, Tool};
use serde_json::{Map, Value, json};

/// Describes every tool as a path of its own, and the doors beside them. The same registry gives the same text.
pub fn openapi(registry: &Registry, public_url: &str) -> Value {
    let mut paths = doors();
    let tools = registry.tools().filter(|tool| tool.scope() == Scope::UserSpace);
    paths.extend(tools.map(|tool| (format!("/api/v1/tools/{}", tool.name()), json!({ "post": operation(tool) }))));
    let tags: Vec<Value> = registry
        .modules()
        .iter()
        .map(|module| json!({ "name": module.name(), "description": module.about() }))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Mana",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The tools of Mana over HTTP. The same tools, with the same names, schemas and rules, are \
                            served over MCP at `/mcp`.",
        },
        "servers": [{ "url": public_url }],
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "security": [{ "bearer": [] }],
        "tags": tags,
        "paths": paths,
        "components": components(),
    })
}

fn operation(tool: &Tool) -> Value {
    let mut parameters = vec![parameter("Space")];
    if tool.hint() != Hint::Read {
        parameters.push(parameter("IdempotencyKey"));
    }
    if tool.hint() == Hint::Destructive {
        parameters.push(parameter("Destructive"));
    }
    let mut responses = errors(&["Validation", "Unauthorized", "Forbidden", "NotFound", "TooManyRequests"]);
    if tool.hint() != Hint::Read {
        responses.extend(errors(&["Conflict", "Rule"]));
    }
    responses.insert(
        "200".into(),
        json!({
            "description": "The result.",
            "content": { "application/json": { "schema": tool.output_schema() } },
        }),
    );
    json!({
        "operationId": tool.name(),
        "summary": tool.dotted(),
        "description": tool.description(),
        "tags": [tool.module()],
        "x-policy-hint": tool.hint(),
        "x-idempotent": tool.is_idempotent(),
        "parameters": parameters,
        "requestBody": {
            "required": tool.input_schema().contains_key("required"),
            "content": { "application/json": { "schema": tool.input_schema() } },
        },
        "responses": responses,
    })
}

/// The addresses that belong to no tool.
fn doors() -> Map<String, Value> {
    let page = json!({ "name": "cursor", "in": "query", "schema": { "type": "string" }, "description": "`nextCursor` of the page before." });
    let limit = json!({ "name": "limit", "in": "query", "schema": { "type": "integer", "minimum": 1, "maximum": 100, "default": 20 } });
    let choices = ["Modules", "Readonly", "Profile", "DestructiveQuery"].map(parameter);
    let list = json!({ "get": {
        "operationId": "listTools",
        "summary": "The tools that the caller may call, with their modules.",
        "parameters": [parameter("Space"), choices[0], choices[1], choices[2], choices[3]],
        "responses": answers("The modules and tools.", &json!({
            "type": "object",
            "properties": {
                "modules": { "type": "array", "items": { "type": "object" } },
                "tools": { "type": "array", "items": { "type": "object" } },
            },
            "required": ["modules", "tools"],
        }), &["Validation", "Unauthorized", "NotFound"]),
    }});
    let audit = json!({ "get": {
        "operationId": "listOwnCalls",
        "summary": "The caller's own calls, also the denied ones, the newest first.",
        "parameters": [limit, page],
        "responses": answers("A page of calls.", &json!({
            "type": "object",
            "properties": {
                "items": { "type": "array", "items": { "$ref": "#/components/schemas/AuditRow" } },
                "nextCursor": { "type": "string" },
            },
            "required": ["items"],
        }), &["Validation", "Unauthorized"]),
    }});
    let mcp = json!({ "post": {
        "operationId": "mcp",
        "summary": "The MCP endpoint (JSON-RPC 2.0), protocol versions 2026-07-28 and 2025-11-25.",
        "description": "`/mcp/s/{space}` is the same for a space named in the address. The tools of a connection are \
                        chosen by `?modules=todo,notes`, `?readonly=1`, `?profile=core`, `?destructive=1`.",
        "parameters": [parameter("Space"), choices[0], choices[1], choices[2], choices[3]],
        "requestBody": { "required": true, "content": { "application/json": { "schema": { "type": "object" } } } },
        "responses": answers("The answer; an event stream where the request asked for progress.", &json!({ "type": "object" }), &["Unauthorized", "Forbidden", "NotFound"]),
    }});
    let metadata = json!({ "get": {
        "operationId": "protectedResource",
        "summary": "Where a token for `/mcp` comes from (RFC 9728).",
        "security": [],
        "responses": answers("The metadata.", &json!({ "type": "object" }), &[]),
    }});
    [
        ("/api/v1/tools", list),
        ("/api/v1/audit", audit),
        ("/mcp", mcp),
        ("/.well-known/oauth-protected-resource", metadata.clone()),
        ("/.well-known/oauth-protected-resource/mcp", with_id(metadata, "protectedResourceMcp")),
    ]
    .into_iter()
    .map(|(path, item)| (path.to_owned(), item))
    .collect()
}

fn with_id(mut item: Value, id: &str) -> Value {
    item["get"]["operationId"] = json!(id);
    item
}

fn answers(description: &str, schema: &Value, faults: &[&str]) -> Map<String, Value> {
    let mut responses = errors(faults);
    let content = json!({ "application/json": { "schema": schema } });
    responses.insert("200".into(), json!({ "description": description, "content": content }));
    responses
}

/// The errors that an operation may answer, by their names in the components.
const ERRORS: [(&str, &str, &str); 7] = [
    ("Validation", "400", "Fields of the input are wrong; `details` names every one."),
    ("Unauthorized", "401", "The token is missing, has expired or is not valid here."),
    ("Forbidden", "403", "The caller may not do this, or the policy does not allow it."),
    ("NotFound", "404", "There is no such thing, or the caller may not know of it."),
    ("Conflict", "409", "Somebody else changed the record meanwhile."),
    ("Rule", "422", "A rule of the module says no; `reason` names it."),
    ("TooManyRequests", "429", "Too many calls; `retryAfterMs` says when there is room again."),
];

fn errors(names: &[&str]) -> Map<String, Value> {
    let wanted = ERRORS.iter().filter(|(name, _, _)| names.contains(name));
    wanted
        .map(|(name, status, _)| ((*status).to_owned(), json!({ "$ref": format!("#/components/responses/{name}") })))
        .collect()
}

fn parameter(name: &str) -> Value {
    json!({ "$ref": format!("#/components/parameters/{name}") })
}

fn components() -> Value {
    let responses: Map<String, Value> = ERRORS
        .iter()
        .map(|(name, _, description)| {
            let content =
                json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
            ((*name).to_owned(), json!({ "description": description, "content": content }))
        })
        .collect();
    let flag = json!({ "type": "string", "enum": ["0", "1"] });
    json!({
        "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } },
        "responses": responses,
        "parameters": {
            "Space": { "name": "X-Mana-Space", "in": "header", "schema": { "type": "string", "format": "uuid" },
                "description": "The space that the call is about; without it the caller's personal space." },
            "IdempotencyKey": { "name": "Idempotency-Key", "in": "header", "schema": { "type": "string", "minLength": 1, "maxLength": 200 },
                "description": "Repeat a call with the same key and it is done only once." },
            "Destructive": { "name": "X-Mana-Destructive", "in": "header", "schema": flag,
                "description": "`1` opts in to tools that destroy." },
            "Modules": { "name": "modules", "in": "query", "schema": { "type": "string" },
                "description": "Only the tools of these modules, separated by commas." },
            "Readonly": { "name": "readonly", "in": "query", "schema": flag, "description": "`1`: only tools that read." },
            "Profile": { "name": "profile", "in": "query", "schema": { "type": "string", "enum": ["full", "core"] },
                "description": "`core`: at most 25 tools of daily use." },
            "DestructiveQuery": { "name": "destructive", "in": "query", "schema": flag,
                "description": "`1` opts in to tools that destroy." },
        },
        "schemas": {
            "FieldError": {
                "type": "object",
                "properties": { "field": { "type": "string" }, "message": { "type": "string" } },
                "required": ["field", "message"],
            },
            "Problem": {
                "type": "object",
                "description": "An error (RFC 9457).",
                "properties": {
                    "type": { "type": "string" }, "title": { "type": "string" }, "status": { "type": "integer" },
                    "code": { "type": "string", "description": "A stable word for programs." },
                    "detail": { "type": "string" },
                    "error": { "type": "string", "description": "The same as `detail`, for older clients." },
                    "reason": { "type": "string" }, "hint": { "type": "string" },
                    "retryable": { "type": "boolean" }, "retryAfterMs": { "type": "integer" },
                    "details": { "type": "array", "items": { "$ref": "#/components/schemas/FieldError" } },
                    "requestId": { "type": "string" },
                },
                "required": ["title", "status", "code", "detail"],
            },
            "AuditRow": {
                "type": "object",
                "properties": {
                    "id": { "type": "string", "format": "uuid" }, "at": { "type": "string", "format": "date-time" },
                    "spaceId": { "type": "string", "format": "uuid" }, "door": { "type": "string", "enum": ["mcp", "rest"] },
                    "client": { "type": "string" }, "correlationId": { "type": "string" }, "tool": { "type": "string" },
                    "inputHash": { "type": "string" },
                    "outcome": { "type": "string", "enum": ["success", "handler-error", "input-invalid", "denied", "cancelled"] },
                    "reason": { "type": "string" }, "durationMs": { "type": "integer" },
                    "requestId": { "type": "string", "format": "uuid" },
                },
                "required": ["id", "at", "door", "tool", "inputHash", "outcome", "durationMs", "requestId"],
            },
        },
    })
}
