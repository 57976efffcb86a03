//! Which kinds of record a module has, and of which kind a record in an answer is.
//!
//! The tools that make records tell: `todo_create` and `todo_project_create` are two kinds, the main one and `project`.
//! Where tools say what they answer, a record is recognised by its fields; where not, by where it was found.

use serde_json::{Map, Value};

use super::names;
use crate::toolbox::Toolbox;

/// Fields that records of every kind have.
const COMMON: [&str; 6] = ["archivedAt", "createdAt", "id", "rev", "score", "updatedAt"];

/// How much of a record must be known to a kind.
const KNOWN: f64 = 0.6;

/// A kind of record.
#[derive(Debug)]
pub(crate) struct Kind {
    /// What it is called; none for the records that the module is mainly about.
    pub(crate) noun: Option<String>,
    /// The tools that make it.
    pub(crate) makers: Vec<String>,
    fields: Vec<String>,
}

/// The kinds of a module, the main one first.
pub(crate) fn of_module(tools: &Toolbox, module: &str) -> Vec<Kind> {
    let mut makers: Vec<_> =
        tools.tools().iter().filter(|tool| tool.module == module && names::creates(&tool.name)).collect();
    makers.sort_by_key(|tool| (names::nouns(&tool.name).len(), names::plainness(&tool.name)));
    let mut kinds: Vec<Kind> = Vec::new();
    for maker in makers {
        let fields: Vec<String> =
            maker.answers.iter().filter(|field| !COMMON.contains(&field.as_str())).cloned().collect();
        if let Some(kind) = kinds.iter_mut().find(|kind| !fields.is_empty() && kind.fields == fields) {
            kind.makers.push(maker.name.clone()); // Another way to make the same.
            continue;
        }
        let noun = names::nouns(&maker.name).into_iter().next();
        let is_taken = kinds.iter().any(|kind| kind.noun == noun);
        let noun = if is_taken { Some(names::last_word(&maker.name)) } else { noun };
        kinds.push(Kind { noun, makers: vec![maker.name.clone()], fields });
    }
    kinds
}

/// What a record is called. `place` is what the place where it was found is called; `is_answer` says that the record is
/// the whole answer, so that the tool's own noun names it: a sender may look like a client.
pub(crate) fn noun_of(
    kinds: &[Kind],
    record: &Map<String, Value>,
    place: Option<&str>,
    tool: &str,
    is_answer: bool,
) -> Option<String> {
    let is_kind = |noun: &str| kinds.iter().any(|kind| kind.noun.as_deref() == Some(noun));
    if is_answer && let Some(noun) = place.filter(|noun| !is_kind(noun)) {
        return Some(noun.to_owned());
    }
    let own: Vec<&String> = record.keys().filter(|name| !COMMON.contains(&name.as_str())).collect();
    let described = kinds.iter().any(|kind| !kind.fields.is_empty());
    if !described || own.is_empty() {
        return place.filter(|place| is_kind(place)).map(str::to_owned);
    }
    #[expect(clippy::cast_precision_loss, reason = "a record has few fields")]
    let share = |kind: &Kind| own.iter().filter(|name| kind.fields.contains(name)).count() as f64 / own.len() as f64;
    let mut best: Option<(&Kind, f64)> = None;
    for kind in kinds {
        let share = share(kind);
        if best.is_none_or(|(_, most)| share > most) {
            best = Some((kind, share));
        }
    }
    match best {
        Some((kind, most)) if most >= KNOWN => kind.noun.clone(),
        _ => Some(place.map_or_else(|| names::last_word(tool), str::to_owned)),
    }
}
