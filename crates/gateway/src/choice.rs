//! Which tools a connection wants to see: chosen in the address or in headers, by whoever sets the connection up.

use std::collections::HashSet;

use http::HeaderMap;
use mana_registry::{FieldError, Hint, Registry, Scope, Tool};
use mana_types::nearest;

use crate::error::Error;

/// How many tools the profile `core` has at most.
pub(crate) const CORE_TOOLS: usize = 25;

/// The names that a choice has in the address, and as a header.
const MODULES: (&str, &str) = ("modules", "x-mana-modules");
const READONLY: (&str, &str) = ("readonly", "x-mana-readonly");
const PROFILE: (&str, &str) = ("profile", "x-mana-profile");
const DESTRUCTIVE: (&str, &str) = ("destructive", "x-mana-destructive");

/// The headers that choose, for CORS.
pub(crate) const HEADERS: [&str; 4] = [MODULES.1, READONLY.1, PROFILE.1, DESTRUCTIVE.1];

/// The tools that a connection sees and may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    modules: Option<Vec<String>>,
    read_only: bool,
    core: bool,
    destructive: bool,
}

impl Choice {
    /// Reads the choice; the address counts before a header. Names every fault.
    pub(crate) fn read(query: Option<&str>, headers: &HeaderMap, registry: &Registry) -> Result<Self, Error> {
        let query = query.unwrap_or_default();
        let given = |(name, header): (&str, &str)| {
            parameter(query, name).or_else(|| headers.get(header)?.to_str().ok().map(str::to_owned))
        };
        let mut faults = Vec::new();
        let choice = Self {
            modules: given(MODULES).map(|text| modules(&text, registry, &mut faults)),
            read_only: given(READONLY).is_some_and(|text| flag(READONLY.0, &text, &mut faults)),
            core: given(PROFILE).is_some_and(|text| profile(&text, &mut faults)),
            destructive: given(DESTRUCTIVE).is_some_and(|text| flag(DESTRUCTIVE.0, &text, &mut faults)),
        };
        if faults.is_empty() { Ok(choice) } else { Err(Error::Choice(faults)) }
    }

    /// Whether destructive tools may be called.
    pub(crate) fn destructive(&self) -> bool {
        self.destructive
    }

    /// Whether the connection has narrowed its tools so that this one is not among them. What the policy denies is
    /// another matter: it has its own answer.
    pub(crate) fn leaves_out(&self, tool: &Tool, core: &HashSet<&'static str>) -> bool {
        self.modules.as_ref().is_some_and(|modules| !modules.iter().any(|module| module == tool.module()))
            || (self.read_only && tool.hint() != Hint::Read)
            || (self.core && !core.contains(tool.name()))
    }

    /// Whether this connection may call the tool: what a list shows.
    pub(crate) fn shows(&self, tool: &Tool, core: &HashSet<&'static str>) -> bool {
        tool.scope() == Scope::UserSpace
            && (tool.hint() != Hint::Destructive || self.destructive)
            && !self.leaves_out(tool, core)
    }
}

/// The profile `core`: the first tool of every module, then the second of every module, and so on until it is full. A
/// module names the tools of daily use first.
pub(crate) fn core(registry: &Registry) -> HashSet<&'static str> {
    let daily = |tool: &&Tool| tool.scope() == Scope::UserSpace && tool.hint() != Hint::Destructive;
    let deepest = registry.modules().iter().map(|module| module.tools().len()).max().unwrap_or_default();
    (0..deepest)
        .flat_map(|rank| registry.modules().iter().filter_map(move |module| module.tools().get(rank)))
        .filter(daily)
        .take(CORE_TOOLS)
        .map(Tool::name)
        .collect()
}

/// A query parameter, with its percent signs resolved. The last one counts.
fn parameter(query: &str, name: &str) -> Option<String> {
    query.split('&').rev().find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, "1"));
        (key == name).then(|| value.replace("%2C", ",").replace("%2c", ","))
    })
}

fn modules(text: &str, registry: &Registry, faults: &mut Vec<FieldError>) -> Vec<String> {
    let known = || registry.modules().iter().map(mana_registry::Module::name);
    let mut chosen = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if known().any(|module| module == name) {
            chosen.push(name.to_owned());
        } else {
            let shown: String = name.chars().take(60).collect();
            faults.push(FieldError::new(
                MODULES.0,
                match nearest(name, known()) {
                    Some(near) => format!("there is no module `{shown}`, did you mean `{near}`?"),
                    None => {
                        format!("there is no module `{shown}`, there are: {}", known().collect::<Vec<_>>().join(", "))
                    }
                },
            ));
        }
    }
    // A variable that was never set would otherwise leave a connection without any tool and without a word.
    if chosen.is_empty() && faults.iter().all(|fault| fault.field != MODULES.0) {
        faults
            .push(FieldError::new(MODULES.0, format!("expected some of: {}", known().collect::<Vec<_>>().join(", "))));
    }
    chosen
}

fn flag(name: &str, text: &str, faults: &mut Vec<FieldError>) -> bool {
    match text {
        "1" | "true" => true,
        "0" | "false" | "" => false,
        _ => {
            faults.push(FieldError::new(name, "expected `1` or `0`"));
            false
        }
    }
}

fn profile(text: &str, faults: &mut Vec<FieldError>) -> bool {
    match text {
        "core" => true,
        "full" | "" => false,
        _ => {
            faults.push(FieldError::new(PROFILE.0, "expected `core` or `full`"));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Choice, Error> {
        let registry = Registry::new(vec![
            mana_registry::Module::new("todo", "Tasks."),
            mana_registry::Module::new("notes", "Notes."),
        ]);
        Choice::read(Some(query), &HeaderMap::new(), &registry.expect("fits together"))
    }

    #[test]
    fn a_choice_is_read_from_the_address() {
        let choice = read("modules=todo%2Cnotes&readonly&x=y").expect("understood");
        assert_eq!(choice.modules, Some(vec!["todo".to_owned(), "notes".to_owned()]));
        assert!(choice.read_only && !choice.core && !choice.destructive());
        assert_eq!(read("").expect("understood"), Choice::default());
    }

    #[test]
    fn every_fault_of_a_choice_is_named() {
        let Err(Error::Choice(faults)) = read("modules=todos,notes&readonly=maybe&profile=tiny&destructive=2") else {
            panic!("refused");
        };
        let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["modules", "readonly", "profile", "destructive"]);
        assert!(faults[0].message.contains("`todo`"), "{faults:?}");
        for empty in ["modules=", "modules=,"] {
            let Err(Error::Choice(faults)) = read(empty) else { panic!("`{empty}` chooses nothing") };
            assert_eq!(faults[0].message, "expected some of: notes, todo");
        }
    }
}
