//! The tools that a server offers, sorted by name and hashed, so that a list can be told from another and shared.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use crate::hash::short_hash;

/// How many different lists are remembered.
const REMEMBERED: usize = 16;

/// One tool.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    pub(crate) name: String,
    /// The product area it belongs to.
    pub(crate) module: String,
    pub(crate) schema: Arc<Map<String, Value>>,
    /// The fields of what it answers, as far as it says.
    pub(crate) answers: Vec<String>,
    pub(crate) read_only: bool,
    /// What the tool says of itself; silence means that it may destroy, as the protocol has it.
    pub(crate) destructive: bool,
}

/// All tools of a server.
#[derive(Debug, Default)]
pub(crate) struct Toolbox {
    tools: Vec<Tool>,
    hash: String,
}

impl Toolbox {
    pub(crate) fn new(mut tools: Vec<Tool>, hash: String) -> Self {
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        tools.dedup_by(|a, b| a.name == b.name);
        Self { tools, hash }
    }

    pub(crate) fn tools(&self) -> &[Tool] {
        &self.tools
    }

    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Tool> {
        self.tools.binary_search_by(|tool| tool.name.as_str().cmp(name)).ok().map(|i| &self.tools[i])
    }

    /// The module of a tool, also of one that is not in the list.
    pub(crate) fn module_of(&self, name: &str) -> String {
        self.get(name).map_or_else(|| module_by_name(name), |tool| tool.module.clone())
    }
}

/// `todo_create` and `todo.create` belong to `todo`.
fn module_by_name(name: &str) -> String {
    name.split(['_', '.']).next().unwrap_or_default().chars().take(48).collect()
}

/// Tool lists by their hash. Personas of one server see the same list, and need only one copy of it.
#[derive(Debug, Default)]
pub(crate) struct Toolboxes(Mutex<HashMap<String, Arc<Toolbox>>>);

impl Toolboxes {
    /// The toolbox of a list as it came over the wire.
    pub(crate) fn of_list(&self, mut list: Vec<rmcp::model::Tool>) -> Arc<Toolbox> {
        list.sort_by(|a, b| a.name.cmp(&b.name));
        let bytes = serde_json::to_vec(&list).unwrap_or_default();
        let hash = short_hash(&bytes);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(toolbox) = known.get(&hash) {
            return Arc::clone(toolbox);
        }
        if known.len() >= REMEMBERED {
            known.clear();
        }
        let toolbox = Arc::new(Toolbox::new(list.into_iter().map(of_wire).collect(), hash.clone()));
        known.insert(hash, Arc::clone(&toolbox));
        toolbox
    }
}

fn of_wire(tool: rmcp::model::Tool) -> Tool {
    let told = |meta: &rmcp::model::MetaObject| meta.0.get("mana/module").and_then(Value::as_str).map(str::to_owned);
    let module = tool.meta.as_ref().and_then(told).unwrap_or_else(|| module_by_name(&tool.name));
    let answered = tool.output_schema.as_ref().and_then(|schema| schema.get("properties")?.as_object());
    let answers = answered.map(|properties| properties.keys().cloned().collect()).unwrap_or_default();
    let hints = tool.annotations.unwrap_or_default();
    let read_only = hints.read_only_hint.unwrap_or(false);
    Tool {
        name: tool.name.into_owned(),
        module,
        schema: tool.input_schema,
        answers,
        read_only,
        destructive: !read_only && hints.destructive_hint.unwrap_or(true),
    }
}
