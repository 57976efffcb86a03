//! The tools that a server offers, sorted by name and hashed, so that a list can be told from another and shared.
//!
//! A server of another product may call its tools whatever it likes and describe their input in whatever way JSON Schema
//! allows. What engines see is what every model provider takes: names of a small alphabet, input as an object.

mod names;
mod schema;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use crate::hash::short_hash;

/// How many different lists are remembered.
const REMEMBERED: usize = 16;

/// How many characters of a description are shown: every one of them is paid for in every request.
const DESCRIPTION: usize = 2_000;

/// How many bytes the name of a module has at most.
const MODULE: usize = 48;

/// One tool.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tool {
    /// What engines call it: letters, digits, `_` and `-`, at most 64 of them, unique in its list.
    pub(crate) name: String,
    /// What its server calls it.
    pub(crate) original: String,
    /// What it is for, in the words of its server.
    pub(crate) description: String,
    /// The product area it belongs to.
    pub(crate) module: String,
    /// Its input: always an object.
    pub(crate) schema: Arc<Map<String, Value>>,
    /// The fields of what it answers, as far as it says.
    pub(crate) answers: Vec<String>,
    pub(crate) read_only: bool,
    /// What the tool says of itself; silence means that it may destroy, as the protocol has it.
    pub(crate) destructive: bool,
    /// Whether the same call may be made twice without harm.
    pub(crate) idempotent: bool,
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

/// Whether a name is this one, or begins with what stands before a `*`.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

/// Which tool of a foreign product belongs to which of its areas, where its names do not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ModuleMap(BTreeMap<String, String>);

impl ModuleMap {
    /// From a tool's name, or the beginning of one and `*`, to a module. A name comes before a beginning, a longer
    /// beginning before a shorter one.
    pub(crate) fn of(patterns: BTreeMap<String, String>) -> Self {
        Self(patterns)
    }

    fn module(&self, name: &str) -> Option<&str> {
        let prefixes = || self.0.iter().filter(|(pattern, _)| pattern.ends_with('*') && fits(pattern, name));
        let named = self.0.get(name).or_else(|| prefixes().max_by_key(|(pattern, _)| pattern.len()).map(|(_, to)| to));
        named.map(String::as_str)
    }
}

/// `todo_create`, `todo.create` and `todo__create` belong to `todo`.
fn module_by_name(name: &str) -> String {
    let first = name.split(|c: char| !(c.is_alphanumeric() || c == '-')).find(|word| !word.is_empty());
    module_name(first.unwrap_or_default())
}

/// A module as it stands in rows: lower case, without what could be mistaken for a row of the system's own.
fn module_name(text: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || c == '_' || c == '-' { c } else { '-' };
    let clean: String = text.to_lowercase().chars().map(plain).collect();
    let clean = clean.trim_matches(['_', '-']);
    let clean = &clean[..clean.floor_char_boundary(MODULE)];
    if clean.is_empty() { "tools".to_owned() } else { clean.to_owned() }
}

/// Tool lists by their hash. Personas of one server see the same list, and need only one copy of it.
#[derive(Debug, Default)]
pub(crate) struct Toolboxes(Mutex<HashMap<String, Arc<Toolbox>>>);

impl Toolboxes {
    /// The toolbox of a list in which every tool says where it belongs.
    #[cfg(test)]
    pub(crate) fn of_list(&self, list: Vec<rmcp::model::Tool>) -> Arc<Toolbox> {
        self.of_list_with(list, &ModuleMap::default())
    }

    /// The toolbox of a list as it came over the wire, with a mapping for tools that do not say where they belong.
    pub(crate) fn of_list_with(&self, mut list: Vec<rmcp::model::Tool>, modules: &ModuleMap) -> Arc<Toolbox> {
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list.dedup_by(|later, first| later.name == first.name);
        let mut bytes = serde_json::to_vec(&list).unwrap_or_default();
        if !modules.0.is_empty() {
            bytes.extend(serde_json::to_vec(&modules.0).unwrap_or_default());
        }
        let hash = short_hash(&bytes);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(toolbox) = known.get(&hash) {
            return Arc::clone(toolbox);
        }
        if known.len() >= REMEMBERED {
            known.clear();
        }
        let originals: Vec<&str> = list.iter().map(|tool| tool.name.as_ref()).collect();
        let names = names::wire_names(&originals);
        let tools = list.into_iter().zip(names).map(|(tool, name)| of_wire(tool, name, modules)).collect();
        let toolbox = Arc::new(Toolbox::new(tools, hash.clone()));
        known.insert(hash, Arc::clone(&toolbox));
        toolbox
    }
}

fn of_wire(tool: rmcp::model::Tool, name: String, modules: &ModuleMap) -> Tool {
    let told = tool.meta.as_ref().and_then(|meta| meta.0.get("mana/module")?.as_str());
    let told = told.or_else(|| modules.module(&tool.name));
    let module = told.map_or_else(|| module_by_name(&tool.name), module_name);
    let answered = tool.output_schema.as_ref().and_then(|schema| schema.get("properties")?.as_object());
    let answers = answered.map(|properties| properties.keys().cloned().collect()).unwrap_or_default();
    let hints = tool.annotations.unwrap_or_default();
    let read_only = hints.read_only_hint.unwrap_or(false);
    let (schema, note) = schema::normal(&tool.input_schema);
    let words = tool.description.as_deref().or(tool.title.as_deref()).or(hints.title.as_deref()).unwrap_or_default();
    let mut description: String = words.chars().take(DESCRIPTION).collect();
    if let Some(note) = note {
        let gap = if description.is_empty() { "" } else { "\n" };
        description = format!("{description}{gap}{note}");
    }
    Tool {
        name,
        original: tool.name.into_owned(),
        description,
        module,
        schema,
        answers,
        read_only,
        destructive: !read_only && hints.destructive_hint.unwrap_or(true),
        idempotent: read_only || hints.idempotent_hint.unwrap_or(false),
    }
}

#[cfg(test)]
mod tests;
