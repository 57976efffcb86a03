//! A tool: a named, typed operation of a module.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::cx::Cx;
use crate::error::ToolError;
use crate::media::MediaStore;
use crate::{Result, input, schema};

/// What a tool does to data, for policies and for clients that ask before they act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Hint {
    /// Changes nothing.
    Read,
    /// Adds or changes, in a way that can be undone.
    Write,
    /// Destroys; cannot be undone.
    Destructive,
}

/// Who may call a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Scope {
    /// Every member, in his space.
    #[serde(rename = "user-space")]
    UserSpace,
    /// Nobody over MCP.
    #[serde(rename = "admin")]
    Admin,
}

/// The input of a tool that needs none.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub struct Nothing {}

type Answer = Pin<Box<dyn Future<Output = Result<Value>> + Send>>;
type Handler = Arc<dyn Fn(Cx, Value) -> Answer + Send + Sync>;

/// A tool: its name, what it does, what it takes and answers, and the function behind it.
#[derive(Clone)]
pub struct Tool {
    name: &'static str,
    description: &'static str,
    hint: Hint,
    scope: Scope,
    idempotent: bool,
    input_schema: Arc<Map<String, Value>>,
    output_schema: Arc<Map<String, Value>>,
    /// Made by the first call: most tools are never called in the life of a process.
    validator: Arc<OnceLock<jsonschema::Validator>>,
    media: Option<Arc<dyn MediaStore>>,
    patience: Duration,
    handler: Handler,
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tool").field("name", &self.name).field("hint", &self.hint).finish_non_exhaustive()
    }
}

/// A tool that changes nothing. Its [`Cx`] refuses to write.
pub fn read<I, O, F, A>(name: &'static str, description: &'static str, function: F) -> Tool
where
    I: DeserializeOwned + JsonSchema + Send + 'static,
    O: Serialize + JsonSchema,
    F: Fn(Cx, I) -> A + Send + Sync + 'static,
    A: Future<Output = Result<O>> + Send + 'static,
{
    Tool::new(name, description, Hint::Read, function)
}

/// A tool that adds or changes.
pub fn write<I, O, F, A>(name: &'static str, description: &'static str, function: F) -> Tool
where
    I: DeserializeOwned + JsonSchema + Send + 'static,
    O: Serialize + JsonSchema,
    F: Fn(Cx, I) -> A + Send + Sync + 'static,
    A: Future<Output = Result<O>> + Send + 'static,
{
    Tool::new(name, description, Hint::Write, function)
}

/// A tool that destroys. Callers must opt in.
pub fn destructive<I, O, F, A>(name: &'static str, description: &'static str, function: F) -> Tool
where
    I: DeserializeOwned + JsonSchema + Send + 'static,
    O: Serialize + JsonSchema,
    F: Fn(Cx, I) -> A + Send + Sync + 'static,
    A: Future<Output = Result<O>> + Send + 'static,
{
    Tool::new(name, description, Hint::Destructive, function)
}

impl Tool {
    fn new<I, O, F, A>(name: &'static str, description: &'static str, hint: Hint, function: F) -> Self
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + JsonSchema,
        F: Fn(Cx, I) -> A + Send + Sync + 'static,
        A: Future<Output = Result<O>> + Send + 'static,
    {
        let input_schema = schema::input::<I>(hint);
        let handler: Handler = Arc::new(move |cx, arguments| match input::read::<I>(arguments) {
            Ok(input) => {
                let answer = function(cx, input);
                Box::pin(async move { output(&answer.await?) })
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        });
        Self {
            name,
            description,
            hint,
            scope: Scope::UserSpace,
            idempotent: hint == Hint::Read,
            input_schema: Arc::new(input_schema),
            output_schema: Arc::new(schema::output::<O>()),
            validator: Arc::default(),
            media: None,
            patience: Duration::ZERO,
            handler,
        }
    }

    /// Says that doing it twice changes nothing more than doing it once.
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Gives it at least so long, whatever deadline a door sets: for what waits for somebody slow.
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Hides it from MCP: only for administrators, by other doors.
    pub fn admin(mut self) -> Self {
        self.scope = Scope::Admin;
        self
    }

    /// The wire name: `module_verb`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The name as people know it: `module.verb`, accepted in calls.
    pub fn dotted(&self) -> String {
        self.name.replacen('_', ".", 1)
    }

    /// The module's name.
    pub fn module(&self) -> &'static str {
        self.name.split_once('_').map_or(self.name, |(module, _)| module)
    }

    /// What it does, for agents and people.
    pub fn description(&self) -> &'static str {
        self.description
    }

    /// What it does to data.
    pub fn hint(&self) -> Hint {
        self.hint
    }

    /// Who may call it.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Whether doing it twice changes nothing more than doing it once.
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// The JSON Schema (2020-12) of its arguments, an object without unknown properties.
    pub fn input_schema(&self) -> &Arc<Map<String, Value>> {
        &self.input_schema
    }

    /// The JSON Schema (2020-12) of its result, an object.
    pub fn output_schema(&self) -> &Arc<Map<String, Value>> {
        &self.output_schema
    }

    /// Checks arguments against the schema and answers every wrong field.
    pub(crate) fn check(&self, arguments: &Value) -> Result<()> {
        let faults = input::faults(self.validator(), &self.input_schema, arguments);
        if faults.is_empty() { Ok(()) } else { Err(ToolError::Invalid(faults)) }
    }

    fn validator(&self) -> &jsonschema::Validator {
        self.validator.get_or_init(|| {
            jsonschema::draft202012::options()
                .should_validate_formats(true)
                .build(&Value::Object((*self.input_schema).clone()))
                .expect("a derived schema is a valid schema; a test over all modules calls every tool")
        })
    }

    /// Gives it files to work with.
    pub(crate) fn with_media(mut self, media: &Arc<dyn MediaStore>) -> Self {
        self.media = Some(Arc::clone(media));
        self
    }

    pub(crate) fn media(&self) -> Option<Arc<dyn MediaStore>> {
        self.media.clone()
    }

    pub(crate) fn run(&self, cx: Cx, arguments: Value) -> Answer {
        (self.handler)(cx, arguments)
    }
}

/// A result as JSON, without members that say nothing.
fn output<O: Serialize>(output: &O) -> Result<Value> {
    let mut value = serde_json::to_value(output).map_err(ToolError::Output)?;
    input::drop_nulls(&mut value);
    Ok(value)
}
