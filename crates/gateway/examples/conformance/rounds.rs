//! Calls that need something of the client first: several rounds of one request (2026-07-28).

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock,
        GetPromptRequestParams, GetPromptResponse, GetPromptResult, InputRequests, InputRequiredResult, InputResponses,
        PromptMessage, RequestStateCodec, Role,
    },
    service::RequestContext,
};
use serde_json::{Map, Value, json};

/// The questions that can be asked, and the seal on what is carried from round to round.
pub(crate) struct Rounds {
    codec: RequestStateCodec,
    inputs: Map<String, Value>,
}

impl std::fmt::Debug for Rounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rounds").field("inputs", &self.inputs.len()).finish_non_exhaustive()
    }
}

impl Rounds {
    /// `key` seals the state; at least 32 bytes.
    pub(crate) fn new(key: &[u8], inputs: Map<String, Value>) -> Result<Self, Box<dyn std::error::Error>> {
        Ok(Self { codec: RequestStateCodec::try_new(key)?, inputs })
    }

    /// One round of a tool call; `None` if the tool is none of those that need input.
    pub(crate) fn call(
        &self,
        request: &CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<Option<CallToolResponse>, ErrorData> {
        let answers = Answers(request.input_responses.as_ref());
        let state = self.opened(request.request_state.as_deref())?;
        let done = match request.name.as_ref() {
            "test_missing_capability" => {
                require(context, |declared| declared.sampling.is_some(), &json!({ "sampling": {} }))?;
                "The client can sample.".to_owned()
            }
            "test_streaming_elicitation" => match answers.field("user_name", "name") {
                Some(name) => format!("Hello, {name}!"),
                None => return self.ask_declared(&["user_name"], context).map(Some),
            },
            "test_input_required_result_elicitation" => match answers.field("user_name", "name") {
                Some(name) => format!("Hello, {name}!"),
                None => return self.ask(&["user_name"], None).map(Some),
            },
            "test_input_required_result_sampling" => match answers.sampled("capital_question") {
                Some(answer) => answer,
                None => return self.ask(&["capital_question"], None).map(Some),
            },
            "test_input_required_result_list_roots" => match answers.roots("client_roots") {
                Some(roots) => format!("Roots: {roots}"),
                None => return self.ask(&["client_roots"], None).map(Some),
            },
            "test_input_required_result_request_state" | "test_input_required_result_tampered_state" => {
                match (answers.field("confirm", "ok"), state.as_deref()) {
                    (Some(_), Some("confirming")) => "state-ok".to_owned(),
                    _ => return self.ask(&["confirm"], Some("confirming")).map(Some),
                }
            }
            "test_input_required_result_multiple_inputs" => {
                let all = (
                    answers.field("user_name", "name"),
                    answers.sampled("greeting"),
                    answers.roots("client_roots"),
                    state.as_deref(),
                );
                match all {
                    (Some(name), Some(greeting), Some(roots), Some("three")) => format!("{greeting} {name}: {roots}"),
                    _ => return self.ask(&["user_name", "greeting", "client_roots"], Some("three")).map(Some),
                }
            }
            "test_input_required_result_multi_round" => {
                let name = answers.field("step1", "name");
                let colour = answers.field("step2", "color");
                match (state.as_deref().and_then(|state| state.split_once(':')), name, colour) {
                    (Some(("second", name)), _, Some(colour)) => format!("{name} likes {colour}."),
                    (Some(("first", _)), Some(name), _) => {
                        return self.ask(&["step2"], Some(&format!("second:{name}"))).map(Some);
                    }
                    _ => return self.ask(&["step1"], Some("first:")).map(Some),
                }
            }
            "test_input_required_result_capabilities" => {
                if answers.0.is_none() {
                    return self.ask_declared(&["user_name", "capital_question", "client_roots"], context).map(Some);
                }
                "Answered.".to_owned()
            }
            _ => return Ok(None),
        };
        Ok(Some(CallToolResult::success(vec![ContentBlock::text(done)]).into()))
    }

    /// One round of `prompts/get`.
    pub(crate) fn prompt(
        &self,
        request: &GetPromptRequestParams,
        _context: &RequestContext<RoleServer>,
    ) -> Result<Option<GetPromptResponse>, ErrorData> {
        if request.name != "test_input_required_result_prompt" {
            return Ok(None);
        }
        let answers = Answers(request.input_responses.as_ref());
        let Some(context) = answers.field("user_context", "context") else {
            let needed = self.needed(&["user_context"], None)?;
            return Ok(Some(GetPromptResponse::InputRequired(needed)));
        };
        let message = PromptMessage::new_text(Role::User, format!("Use this context: {context}"));
        Ok(Some(GetPromptResult::new(vec![message]).into()))
    }

    fn ask(&self, names: &[&str], state: Option<&str>) -> Result<CallToolResponse, ErrorData> {
        self.needed(names, state).map(CallToolResponse::InputRequired)
    }

    /// Asks only what the client has said that it can answer.
    fn ask_declared(
        &self,
        names: &[&str],
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let declared = context.client_capabilities().unwrap_or_default();
        let able: Vec<&str> =
            names.iter().copied().filter(|name| able(&declared, &self.inputs[*name]["method"])).collect();
        if able.is_empty() {
            require(context, |_| false, &json!({ "elicitation": {} }))?;
        }
        self.ask(&able, None)
    }

    fn needed(&self, names: &[&str], state: Option<&str>) -> Result<InputRequiredResult, ErrorData> {
        let asked: Map<String, Value> =
            names.iter().map(|name| ((*name).to_owned(), self.inputs[*name].clone())).collect();
        let requests: InputRequests = serde_json::from_value(Value::Object(asked))
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        Ok(InputRequiredResult::new(Some(requests), state.map(|state| self.codec.seal(state.as_bytes()))))
    }

    fn opened(&self, sealed: Option<&str>) -> Result<Option<String>, ErrorData> {
        let Some(sealed) = sealed else { return Ok(None) };
        let refused = |_| ErrorData::invalid_params("`requestState` is not what this server sent", None);
        let bytes = self.codec.open(sealed).map_err(refused)?;
        Ok(String::from_utf8(bytes).ok())
    }
}

/// What the client has answered so far.
struct Answers<'a>(Option<&'a InputResponses>);

impl Answers<'_> {
    /// A field of an accepted form.
    fn field(&self, key: &str, field: &str) -> Option<String> {
        let answer = self.0?.get(key)?;
        if answer["action"] != "accept" {
            return None;
        }
        match &answer["content"][field] {
            Value::Null => None,
            Value::String(line) => Some(line.clone()),
            other => Some(other.to_string()),
        }
    }

    fn sampled(&self, key: &str) -> Option<String> {
        self.0?.get(key)?["content"]["text"].as_str().map(str::to_owned)
    }

    fn roots(&self, key: &str) -> Option<String> {
        let roots = self.0?.get(key)?["roots"].as_array()?;
        Some(roots.iter().filter_map(|root| root["uri"].as_str()).collect::<Vec<_>>().join(", "))
    }
}

fn able(declared: &ClientCapabilities, method: &Value) -> bool {
    match method.as_str() {
        Some("elicitation/create") => declared.elicitation.is_some(),
        Some("sampling/createMessage") => declared.sampling.is_some(),
        Some("roots/list") => declared.roots.is_some(),
        _ => false,
    }
}

fn require(
    context: &RequestContext<RoleServer>,
    has: impl Fn(&ClientCapabilities) -> bool,
    needed: &Value,
) -> Result<(), ErrorData> {
    if context.client_capabilities().is_some_and(|declared| has(&declared)) {
        return Ok(());
    }
    let needed =
        serde_json::from_value(needed.clone()).map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    Err(ErrorData::missing_required_client_capability(needed))
}
