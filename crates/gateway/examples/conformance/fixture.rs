//! What the official conformance suite expects a server under test to offer.
#![expect(deprecated, reason = "the suite checks log messages and sampling, which the newest revision deprecates")]

use std::{collections::HashMap, sync::Arc, time::Duration};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestParams, CompleteResult, CompletionInfo,
        ContentBlock, GetPromptRequestParams, GetPromptResponse, GetPromptResult, Implementation, InitializeResult,
        ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, LoggingLevel,
        LoggingMessageNotificationParam, PaginatedRequestParams, ProgressNotificationParam, Prompt, PromptMessage,
        ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Resource,
        ResourceContents, ResourceTemplate, Role, ServerCapabilities, ServerConfig, SetLevelRequestMethod,
        SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, Tool, UnsubscribeRequestParams,
    },
    service::{RequestContext, SubscriptionContext},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast;

use crate::rounds::Rounds;

const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";
const WAV: &str = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQIAAAAAAA==";
const NAP: Duration = Duration::from_millis(50);

/// The lists, as the suite describes them.
#[derive(Debug, Deserialize)]
struct Catalog {
    capabilities: ServerCapabilities,
    tools: Vec<Value>,
    prompts: Vec<Prompt>,
    resources: Vec<Resource>,
    templates: Vec<ResourceTemplate>,
    inputs: Map<String, Value>,
    forms: Map<String, Value>,
}

/// Which list has changed.
#[derive(Debug, Clone, Copy)]
enum Change {
    Tools,
    Prompts,
}

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    tools: Vec<Tool>,
    by_name: HashMap<String, Tool>,
    rounds: Rounds,
    changes: broadcast::Sender<Change>,
}

/// The suite's fixtures as one handler; a clone is a reference.
#[derive(Debug, Clone)]
pub(crate) struct Fixture(Arc<Inner>);

impl Fixture {
    /// Reads the catalog that stands beside this file.
    pub(crate) fn new(key: &[u8]) -> Result<Self, Box<dyn std::error::Error>> {
        let catalog: Catalog = serde_json::from_str(include_str!("catalog.json"))?;
        let tools = catalog.tools.iter().map(tool).collect::<serde_json::Result<Vec<Tool>>>()?;
        let by_name = tools.iter().map(|tool| (tool.name.to_string(), tool.clone())).collect();
        let rounds = Rounds::new(key, catalog.inputs.clone())?;
        let (changes, _) = broadcast::channel(16);
        Ok(Self(Arc::new(Inner { catalog, tools, by_name, rounds, changes })))
    }

    async fn call(
        &self,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if let Some(response) = self.0.rounds.call(&request, context)? {
            return Ok(response);
        }
        let name = request.name.as_ref();
        let arguments = request.arguments.unwrap_or_default();
        let blocks = match name {
            "test_simple_text" => vec![text("This is a simple text response for testing.")],
            "test_image_content" => vec![ContentBlock::image(PNG, "image/png")],
            "test_audio_content" => vec![ContentBlock::audio(WAV, "audio/wav")],
            "test_embedded_resource" => vec![ContentBlock::resource(
                ResourceContents::text("This is an embedded resource content.", "test://embedded-resource")
                    .with_mime_type("text/plain"),
            )],
            "test_multiple_content_types" => vec![
                text("Multiple content types test:"),
                ContentBlock::image(PNG, "image/png"),
                ContentBlock::resource(
                    ResourceContents::text(r#"{"test":"data","value":123}"#, "test://mixed-content-resource")
                        .with_mime_type("application/json"),
                ),
            ],
            "test_tool_with_logging" => {
                for (index, line) in
                    ["Tool execution started", "Tool processing data", "Tool execution completed"].iter().enumerate()
                {
                    if index > 0 {
                        tokio::time::sleep(NAP).await;
                    }
                    log(context, line).await?;
                }
                vec![text("Logged three times.")]
            }
            "test_logging_tool" => {
                // 2026-07-28 sends log messages only to a request that names a level.
                if !modern(context) || context.meta.log_level().is_some() {
                    log(context, "Tool executed").await?;
                }
                vec![text("Done.")]
            }
            "test_error_handling" => {
                return Ok(
                    CallToolResult::error(vec![text("This tool intentionally returns an error for testing")]).into()
                );
            }
            "test_tool_with_progress" => {
                for step in [0.0, 50.0, 100.0] {
                    if step > 0.0 {
                        tokio::time::sleep(NAP).await;
                    }
                    if let Some(token) = context.meta.get_progress_token() {
                        let progress = ProgressNotificationParam::new(token, step).with_total(100.0);
                        context.peer.notify_progress(progress).await.map_err(broken)?;
                    }
                }
                vec![text("Done.")]
            }
            "test_reconnection" => {
                tokio::time::sleep(NAP * 4).await;
                vec![text("Answered after a while.")]
            }
            "test_trigger_tool_change" => self.announce(Change::Tools),
            "test_trigger_prompt_change" => self.announce(Change::Prompts),
            "test_sampling" => self.sample(&arguments, context).await?,
            "test_elicitation" | "test_elicitation_sep1034_defaults" | "test_elicitation_sep1330_enums" => {
                self.elicit(name, &arguments, context).await?
            }
            "test_header_param" => vec![text(&format!("region: {}", string(&arguments, "region")?))],
            "json_schema_2020_12_tool" => vec![text(&Value::Object(arguments).to_string())],
            unknown => return Err(ErrorData::invalid_params(format!("unknown tool `{unknown}`"), None)),
        };
        Ok(CallToolResult::success(blocks).into())
    }

    fn announce(&self, change: Change) -> Vec<ContentBlock> {
        // Nobody listening is no error: then nobody is told.
        let told = self.0.changes.send(change).unwrap_or(0);
        vec![text(&format!("Told {told} listeners."))]
    }

    async fn sample(
        &self,
        arguments: &Map<String, Value>,
        context: &RequestContext<RoleServer>,
    ) -> Result<Vec<ContentBlock>, ErrorData> {
        let prompt = string(arguments, "prompt")?;
        let params = parsed(json!({
            "messages": [{ "role": "user", "content": { "type": "text", "text": prompt } }],
            "maxTokens": 100,
        }))?;
        let answer = context.peer.create_message(params).await.map_err(broken)?;
        let answer = serde_json::to_value(&answer.message.content).map_err(broken)?;
        let line = answer["text"].as_str().map_or_else(|| answer.to_string(), str::to_owned);
        Ok(vec![text(&format!("LLM response: {line}"))])
    }

    async fn elicit(
        &self,
        name: &str,
        arguments: &Map<String, Value>,
        context: &RequestContext<RoleServer>,
    ) -> Result<Vec<ContentBlock>, ErrorData> {
        let message = match name {
            "test_elicitation" => string(arguments, "message")?,
            _ => "Please fill in the form",
        };
        let params =
            parsed(json!({ "mode": "form", "message": message, "requestedSchema": self.0.catalog.forms[name] }))?;
        let answer = context.peer.create_elicitation(params).await.map_err(broken)?;
        let action = serde_json::to_value(&answer.action).map_err(broken)?;
        let form = answer.content.unwrap_or_default();
        let lead = if name == "test_elicitation" { "User response" } else { "Elicitation completed" };
        Ok(vec![text(&format!("{lead}: action={}, content={form}", action.as_str().unwrap_or_default()))])
    }
}

impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        InitializeResult::new(self.0.catalog.capabilities.clone())
            .with_server_info(Implementation::new("mana-conformance", env!("CARGO_PKG_VERSION")))
            .with_instructions("The conformance suite's fixtures.")
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.0.by_name.get(name).cloned()
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.0.tools.clone()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.call(request, &context).await
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(self.0.catalog.prompts.clone()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        if let Some(response) = self.0.rounds.prompt(&request, &context)? {
            return Ok(response);
        }
        let arguments = request.arguments.unwrap_or_default();
        let messages = match request.name.as_str() {
            "test_simple_prompt" => vec![PromptMessage::new_text(Role::User, "This is a simple prompt for testing.")],
            "test_prompt_with_arguments" => {
                let (one, two) = (string(&arguments, "arg1")?, string(&arguments, "arg2")?);
                vec![PromptMessage::new_text(Role::User, format!("Prompt with arguments: arg1='{one}', arg2='{two}'"))]
            }
            "test_prompt_with_embedded_resource" => {
                let resource = ResourceContents::text(
                    "Embedded resource content for testing.",
                    string(&arguments, "resourceUri")?,
                );
                vec![
                    PromptMessage::new(Role::User, ContentBlock::resource(resource.with_mime_type("text/plain"))),
                    PromptMessage::new_text(Role::User, "Please process the embedded resource above."),
                ]
            }
            "test_prompt_with_image" => vec![
                PromptMessage::new(Role::User, ContentBlock::image(PNG, "image/png")),
                PromptMessage::new_text(Role::User, "Please analyze the image above."),
            ],
            unknown => return Err(ErrorData::invalid_params(format!("unknown prompt `{unknown}`"), None)),
        };
        Ok(GetPromptResult::new(messages).into())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(self.0.catalog.resources.clone()))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(self.0.catalog.templates.clone()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri.as_str();
        let contents = match uri {
            "test://static-text" => ResourceContents::text("This is the content of the static text resource.", uri)
                .with_mime_type("text/plain"),
            "test://static-binary" => ResourceContents::blob(PNG, uri).with_mime_type("image/png"),
            "test://watched-resource" => ResourceContents::text("Watched.", uri).with_mime_type("text/plain"),
            _ => match uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data")) {
                Some(id) => {
                    let body = json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
                    ResourceContents::text(body.to_string(), uri).with_mime_type("application/json")
                }
                None => {
                    return Err(ErrorData::resource_not_found("resource not found", Some(json!({ "uri": uri }))));
                }
            },
        };
        Ok(ReadResourceResult::new(vec![contents]).into())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let words = ["paris", "park", "party"].into_iter().filter(|word| word.starts_with(&request.argument.value));
        let values = CompletionInfo::with_all_values(words.map(str::to_owned).collect()).map_err(broken)?;
        Ok(CompleteResult::new(values))
    }

    async fn set_level(&self, _: SetLevelRequestParams, context: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        // 2026-07-28 has no such method; every request names its own level there.
        if modern(&context) {
            return Err(ErrorData::method_not_found::<SetLevelRequestMethod>());
        }
        Ok(())
    }

    async fn subscribe(&self, _: SubscribeRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(&self, _: UnsubscribeRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.0.changes.subscribe();
        loop {
            let change = tokio::select! {
                () = subscription.cancelled() => return Ok(()),
                change = changes.recv() => change,
            };
            let accepted = subscription.accepted();
            let sent = match change {
                Ok(Change::Tools) if accepted.tools_list_changed == Some(true) => {
                    subscription.sink().notify_tool_list_changed().await
                }
                Ok(Change::Prompts) if accepted.prompts_list_changed == Some(true) => {
                    subscription.sink().notify_prompt_list_changed().await
                }
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            };
            sent.map_err(broken)?;
        }
    }
}

/// A tool of the catalog; one without a schema takes no arguments.
fn tool(entry: &Value) -> serde_json::Result<Tool> {
    let mut entry = entry.clone();
    if let Some(fields) = entry.as_object_mut() {
        fields
            .entry("inputSchema")
            .or_insert_with(|| json!({ "type": "object", "properties": {}, "additionalProperties": false }));
    }
    serde_json::from_value(entry)
}

async fn log(context: &RequestContext<RoleServer>, line: &str) -> Result<(), ErrorData> {
    let message = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(line));
    context.peer.notify_logging_message(message).await.map_err(broken)
}

fn modern(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28)
}

fn text(line: &str) -> ContentBlock {
    ContentBlock::text(line)
}

fn string<'a>(arguments: &'a Map<String, Value>, name: &str) -> Result<&'a str, ErrorData> {
    let value = arguments.get(name).and_then(Value::as_str);
    value.ok_or_else(|| ErrorData::invalid_params(format!("argument `{name}` must be a string"), None))
}

fn parsed<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value).map_err(broken)
}

fn broken(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}
