//! What a rehearsing persona sets out to do, and which call comes next.
//!
//! The plan is drawn once from the module mix. Which call is next follows from the plan and from what has happened: a tool
//! that needs a record waits until one is known, and sends a list or a new entry ahead where none is.

use serde_json::{Map, Value};

use super::arguments::Writer;
use super::dice::Dice;
use super::memory::{Memory, Seen};
use super::{Rehearsal, kinds, names};
use crate::conversation::ToolUse;
use crate::toolbox::{Tool, Toolbox};

/// How many calls a visit sets out to make, at least.
const FEWEST: i64 = 3;

/// How many calls a visit has at most, with those that others needed.
const MOST: usize = 9;

/// How long a chain of needs may be.
const CHAIN: usize = 3;

/// How often two calls go out in one reply, where the second does not need the first.
const TOGETHER: f64 = 0.4;

/// How much likelier a tool that writes something down is drawn than another one of its module.
const WRITING: f64 = 1.5;

/// The tools of a visit, in the order in which a person would use them.
pub(crate) fn draw<'t>(who: &Rehearsal, tools: &'t Toolbox, dice: &mut Dice) -> Vec<&'t Tool> {
    let callable = |module: &str| -> Vec<&'t Tool> {
        tools.tools().iter().filter(|tool| tool.module == module && !tool.destructive).collect()
    };
    let areas: Vec<(Vec<&Tool>, f64)> = who
        .mix
        .iter()
        .map(|(module, weight)| (callable(module), *weight))
        .filter(|(tools, weight)| !tools.is_empty() && *weight > 0.0)
        .collect();
    let weights: Vec<f64> = areas.iter().map(|(_, weight)| *weight).collect();
    let mut left: Vec<Vec<&Tool>> = areas.iter().map(|(tools, _)| tools.clone()).collect();
    let most = match who.behaviour.verbosity {
        ..0.25 => 6,
        ..0.6 => 7,
        _ => 8,
    };
    let mut order: Vec<usize> = Vec::new();
    let mut drawn: Vec<(usize, &Tool)> = Vec::new();
    for _ in 0..dice.between(FEWEST, most) {
        let Some(area) = dice.weighted(&weights) else { break };
        if left[area].is_empty() {
            left[area].clone_from(&areas[area].0);
        }
        let likely: Vec<f64> =
            left[area].iter().map(|tool| if names::creates(&tool.name) { WRITING } else { 1.0 }).collect();
        let Some(place) = dice.weighted(&likely) else { break };
        if !order.contains(&area) {
            order.push(area);
        }
        drawn.push((area, left[area].remove(place)));
    }
    drawn.sort_by_key(|(area, tool)| (order.iter().position(|known| known == area), names::rank(&tool.name)));
    drawn.into_iter().map(|(_, tool)| tool).collect()
}

/// The calls of the next reply; none when everything is done that can be done.
pub(crate) fn next(who: &Rehearsal, tools: &Toolbox, memory: &Memory) -> Vec<ToolUse> {
    let plan = draw(who, tools, &mut who.dice(1));
    let room = MOST.saturating_sub(memory.played.len());
    let mut calls: Vec<ToolUse> = Vec::new();
    let mut passed: Vec<&str> = Vec::new();
    let mut also = who.dice(2_000 + count(memory));
    for tool in plan {
        passed.push(&tool.name);
        let wanted = passed.iter().filter(|name| **name == tool.name).count();
        if memory.calls_of(&tool.name) + calls.iter().filter(|call| call.name == tool.name).count() >= wanted {
            continue;
        }
        let is_first = calls.is_empty();
        if calls.len() >= room.min(2) || (!is_first && !also.chance(TOGETHER)) {
            break;
        }
        let number = memory.played.len() + calls.len();
        let ready = |tool: &Tool| write(who, tool, tools, memory, number).map(|input| call(tool, number, input));
        match ready(tool) {
            Some(call) => calls.push(call),
            // A call that still needs something can only be the first of a reply: what it needs comes before it.
            None if is_first => {
                if let Some(call) = ahead(who, tool, tools, memory, CHAIN).and_then(ready) {
                    return vec![call];
                }
            }
            None => break,
        }
    }
    calls
}

fn count(memory: &Memory) -> u64 {
    u64::try_from(memory.played.len()).unwrap_or(u64::MAX)
}

fn call(tool: &Tool, number: usize, input: Map<String, Value>) -> ToolUse {
    ToolUse { id: format!("call_{:02}", number + 1), name: tool.name.clone(), input: Value::Object(input) }
}

fn write(who: &Rehearsal, tool: &Tool, tools: &Toolbox, memory: &Memory, number: usize) -> Option<Map<String, Value>> {
    let stream = 1_000 + u64::try_from(number).unwrap_or(0);
    Writer::new(who, tool, tools, memory, who.dice(stream)).arguments()
}

/// A tool that shows or makes what `tool` needs, and that can be called now.
fn ahead<'t>(who: &Rehearsal, tool: &Tool, tools: &'t Toolbox, memory: &Memory, chain: usize) -> Option<&'t Tool> {
    let earlier = tools.tools().iter().find(|known| {
        known.module == tool.module
            && names::comes_before(&known.name, &tool.name)
            && memory.calls_of(&known.name) == 0
            && required_references(known).iter().all(|need| find(known, need, tools, memory, &[]).is_some())
    });
    if earlier.is_some() {
        return earlier;
    }
    let needs = required_references(tool);
    let need = needs.iter().find(|need| find(tool, need, tools, memory, &[]).is_none()).or(needs.first())?;
    let mut sources: Vec<&Tool> = tools
        .tools()
        .iter()
        .filter(|source| source.name != tool.name && !source.destructive)
        .filter(|source| names::creates(&source.name) || (source.read_only && names::shows_many(&source.name)))
        .filter(|source| provides(source, need, tool, tools))
        .filter(|source| memory.calls_of(&source.name) < if source.read_only { 1 } else { 2 })
        .collect();
    // Looking first or writing first: a matter of the day.
    let looks_first = who.dice(3_000 + count(memory)).chance(0.5);
    sources.sort_by_key(|source| source.read_only != looks_first);
    for source in sources {
        if required_references(source).iter().all(|need| find(source, need, tools, memory, &[]).is_some()) {
            return Some(source);
        }
        if chain > 1
            && let Some(further) = ahead(who, source, tools, memory, chain - 1)
        {
            return Some(further);
        }
    }
    None
}

/// The fields of a tool that must name a record.
fn required_references(tool: &Tool) -> Vec<String> {
    let required = tool.schema.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    required.iter().filter_map(Value::as_str).filter(|name| names::is_reference(name)).map(str::to_owned).collect()
}

/// Module and noun that a field of a tool refers to. No noun: what the module is mainly about.
fn target(tool: &Tool, field: &str, tools: &Toolbox) -> (String, Option<String>) {
    let property = tool.schema.get("properties").and_then(|properties| properties.get(field));
    if let Some((module, noun)) = property
        .and_then(|property| property.get("x-mana-kind"))
        .and_then(Value::as_str)
        .and_then(|kind| kind.split_once('.'))
    {
        return (module.to_owned(), Some(noun.to_lowercase()));
    }
    let Some(noun) = names::of_reference(field).or_else(|| names::nouns(&tool.name).into_iter().next()) else {
        return (tool.module.clone(), None);
    };
    if kinds::of_module(tools, &tool.module).iter().any(|kind| kind.noun.as_deref() == Some(&noun)) {
        return (tool.module.clone(), Some(noun));
    }
    // What several tools of a module must be told is what the module is about, whatever another module is called.
    let asked = tools.tools().iter().filter(|known| known.module == tool.module);
    if asked.filter(|known| required_references(known).iter().any(|name| name == field)).count() > 1 {
        return (tool.module.clone(), None);
    }
    // `contactId` in another module than `contacts`.
    let other =
        tools.tools().iter().find(|known| known.module != tool.module && names::singular(&known.module) == noun);
    match other {
        Some(known) => (known.module.clone(), None),
        None => (tool.module.clone(), None),
    }
}

fn provides(source: &Tool, field: &str, tool: &Tool, tools: &Toolbox) -> bool {
    let (module, noun) = target(tool, field, tools);
    if source.module != module {
        return false;
    }
    if source.read_only {
        return names::nouns(&source.name).first() == noun.as_ref();
    }
    // `habits_log` makes something, but no habit.
    kinds::of_module(tools, &module).iter().any(|kind| kind.noun == noun && kind.makers.contains(&source.name))
}

/// The records that a field of a tool may name, the latest last.
pub(crate) fn candidates<'m>(tool: &Tool, field: &str, tools: &Toolbox, memory: &'m Memory) -> Vec<&'m Seen> {
    let (module, noun) = target(tool, field, tools);
    let fits = |seen: &&Seen| {
        seen.module == module
            && seen.archived == names::brings_back(&tool.name)
            && names::takes(&tool.name, &seen.fields)
            && !memory.was_refused(&tool.name, &seen.id)
            && match (&noun, &seen.noun) {
                (Some(noun), Some(of)) => noun == of,
                (None, None) => true,
                _ => false,
            }
    };
    memory.seen.iter().filter(fits).collect()
}

/// The record that a field will name: usually the one touched last, never one that the call names already.
pub(crate) fn find<'m>(
    tool: &Tool,
    field: &str,
    tools: &Toolbox,
    memory: &'m Memory,
    used: &[String],
) -> Option<&'m Seen> {
    candidates(tool, field, tools, memory).into_iter().rev().find(|seen| !used.contains(&seen.id))
}
