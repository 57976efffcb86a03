//! Arguments from a tool's input schema: required fields always, optional ones by chance, words from the stock.

use jiff::civil::DateTime;
use serde_json::{Map, Value};

use super::dice::Dice;
use super::memory::{Memory, Seen};
use super::words::Words;
use super::{Rehearsal, names, plan};
use crate::toolbox::{Tool, Toolbox};

/// Fields that steer a call and say nothing: a persona has no use for them.
const NEVER: [&str; 5] = ["clear", "cursor", "dryRun", "expectedRev", "idempotencyKey"];

/// Fields that say what a new record is, also where a tool would do without.
const NAMING: [&str; 4] = ["firstName", "lastName", "name", "title"];

/// How deep a schema is followed.
const DEPTH: usize = 6;

/// How many entries a list gets at most.
const ENTRIES: usize = 3;

/// Writes the arguments of one call.
pub(crate) struct Writer<'a> {
    pub(super) who: &'a Rehearsal,
    pub(super) tool: &'a Tool,
    tools: &'a Toolbox,
    memory: &'a Memory,
    pub(super) dice: Dice,
    /// The records that this call names.
    chosen: Vec<&'a Seen>,
    /// Which entry of the paired phrases this call is about.
    pub(super) pair: usize,
    /// The field that the object is in whose fields are being written.
    pub(super) parent: Option<String>,
    /// When what this call is about happens.
    pub(super) anchor: DateTime,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(
        who: &'a Rehearsal,
        tool: &'a Tool,
        tools: &'a Toolbox,
        memory: &'a Memory,
        mut dice: Dice,
    ) -> Self {
        let day = who.today.plus_days(dice.between(0, 6)).0;
        let minute = [0, 15, 30, 45][dice.below(4)];
        let anchor = day.at(i8::try_from(dice.between(8, 19)).unwrap_or(9), minute, 0, 0);
        let pair = dice.below(1 << 16);
        Self { who, tool, tools, memory, dice, chosen: Vec::new(), pair, parent: None, anchor }
    }

    /// The arguments; none where a record must be named and none is known, or where nobody could know what to write.
    pub(crate) fn arguments(mut self) -> Option<Map<String, Value>> {
        let schema = Value::Object((*self.tool.schema).clone());
        let mut arguments = self.object(&schema, 0)?;
        let says_something = arguments.keys().any(|name| !names::is_reference(name));
        if names::updates(&self.tool.name) && !says_something {
            self.add_a_change(&schema, &mut arguments);
        }
        Some(arguments)
    }

    /// A change that changes nothing is no change.
    fn add_a_change(&mut self, schema: &Value, arguments: &mut Map<String, Value>) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        let changeable: Vec<&String> =
            properties.keys().filter(|name| !NEVER.contains(&name.as_str()) && !names::is_reference(name)).collect();
        let start = self.dice.below(changeable.len());
        for name in changeable.iter().cycle().skip(start).take(changeable.len()) {
            if let Some(value) = self.value(name, &properties[*name], 1) {
                arguments.insert((*name).clone(), value);
                return;
            }
        }
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Option<Map<String, Value>> {
        let mut object = Map::new();
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Some(object) };
        let required = |name: &str| {
            let list = schema.get("required").and_then(Value::as_array);
            list.is_some_and(|list| list.iter().any(|entry| entry.as_str() == Some(name)))
        };
        // References first: what a call says may depend on the record that it names.
        let (references, others): (Vec<_>, Vec<_>) = properties.iter().partition(|(name, _)| names::is_reference(name));
        for (name, property) in references.into_iter().chain(others) {
            let must = required(name);
            if !must && (NEVER.contains(&name.as_str()) || !self.volunteers(name)) {
                continue;
            }
            match self.value(name, property, depth + 1) {
                Some(value) => {
                    object.insert(name.clone(), value);
                }
                None if must => return None,
                None => {}
            }
        }
        // What comes again must have come once.
        if object.contains_key("recurrence") && !object.contains_key("dueDate") {
            let due = properties.get("dueDate").and_then(|property| self.value("dueDate", property, depth + 1));
            object.extend(due.map(|due| ("dueDate".to_owned(), due)));
        }
        // An end without a beginning may lie before it.
        for (end, start) in [("end", "start"), ("endDate", "startDate"), ("to", "from")] {
            if object.contains_key(end) && !object.contains_key(start) {
                let begun = properties.get(start).and_then(|property| self.value(start, property, depth + 1));
                object.extend(begun.map(|begun| (start.to_owned(), begun)));
            }
        }
        Some(object)
    }

    /// Whether an optional field is filled in. Filters are left alone more often than fields of a record; what is said
    /// in pairs is said whole.
    fn volunteers(&mut self, name: &str) -> bool {
        let share = if matches!(name, "recurrence" | "exceptDates" | "timezone") {
            0.1 // Most things happen once, and here.
        } else if self.tool.read_only {
            0.25
        } else if names::creates(&self.tool.name) && NAMING.contains(&name) {
            1.0
        } else if super::stock::paired(&self.tool.module).contains(&name) {
            0.8
        } else {
            0.2 + 0.5 * self.who.behaviour.verbosity
        };
        self.dice.chance(share)
    }

    pub(super) fn value(&mut self, name: &str, schema: &Value, depth: usize) -> Option<Value> {
        if depth > DEPTH {
            return None;
        }
        let schema = &self.resolved(schema);
        if let Some(only) = schema.get("const") {
            return Some(only.clone());
        }
        if names::is_reference(name) {
            return self.reference(name, schema);
        }
        let mut words = Words { writer: self, name };
        if let Some(options) = schema.get("enum").and_then(Value::as_array) {
            return words.option(options);
        }
        for keyword in ["oneOf", "anyOf"] {
            if let Some(forms) = schema.get(keyword).and_then(Value::as_array) {
                return self.one_form(name, forms, depth);
            }
        }
        match kind(schema) {
            Some("string") => words.text(schema).map(Value::String),
            Some("integer") => Some(words.whole(schema).into()),
            Some("number") => words.number(schema),
            Some("boolean") => Some(words.yes_or_no(schema).into()),
            Some("array") => self.list(name, schema, depth),
            Some("object") => {
                let outer = self.parent.replace(name.to_owned());
                let object = self.object(schema, depth);
                self.parent = outer;
                object.map(Value::Object)
            }
            _ => schema.get("default").cloned(),
        }
    }

    /// The schema that a local `$ref` names, with what stands beside it; the parts of an `allOf` as one.
    fn resolved(&self, schema: &Value) -> Value {
        let mut merged = schema.clone();
        for _ in 0..DEPTH {
            let Some(members) = merged.as_object_mut() else { return merged };
            let mut parts: Vec<Value> = Vec::new();
            if let Some(Value::String(path)) = members.remove("$ref") {
                let root = path.strip_prefix('#').map(|pointer| pointer.split('/').skip(1));
                let target = root.and_then(|mut steps| {
                    let first = self.tool.schema.get(steps.next()?)?;
                    steps.try_fold(first, |here, step| here.get(step))
                });
                parts.extend(target.cloned());
            }
            if let Some(Value::Array(all)) = members.remove("allOf") {
                parts.extend(all);
            }
            if parts.is_empty() {
                break;
            }
            for part in parts {
                merge(members, part);
            }
        }
        merged
    }

    /// One of several forms: any but `null`, another one where the first cannot be written.
    fn one_form(&mut self, name: &str, forms: &[Value], depth: usize) -> Option<Value> {
        let forms: Vec<&Value> = forms.iter().filter(|form| kind(form) != Some("null")).collect();
        let start = self.dice.below(forms.len());
        forms.iter().cycle().skip(start).take(forms.len()).find_map(|form| self.value(name, form, depth + 1))
    }

    fn list(&mut self, name: &str, schema: &Value, depth: usize) -> Option<Value> {
        let bound =
            |keyword: &str| schema.get(keyword).and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok());
        let fewest = bound("minItems").unwrap_or(0);
        let most = bound("maxItems").unwrap_or(ENTRIES).min(fewest.max(ENTRIES));
        let items = schema.get("items")?;
        let wanted = self.dice.between(i64::try_from(fewest.max(1)).ok()?, i64::try_from(most.max(1)).ok()?);
        let mut list: Vec<Value> = Vec::new();
        // A few more draws than entries, because the same word may come twice.
        for _ in 0..wanted * 3 {
            if i64::try_from(list.len()).is_ok_and(|length| length >= wanted) {
                break;
            }
            let Some(entry) = self.value(&names::singular(name), items, depth + 1) else { break };
            if !list.contains(&entry) {
                list.push(entry);
            }
        }
        (list.len() >= fewest && list.len() <= bound("maxItems").unwrap_or(usize::MAX)).then_some(Value::Array(list))
    }

    fn reference(&mut self, name: &str, schema: &Value) -> Option<Value> {
        let used: Vec<String> = self.chosen.iter().map(|seen| seen.id.clone()).collect();
        let seen = plan::find(self.tool, name, self.tools, self.memory, &used)?;
        self.chosen.push(seen);
        let id = Value::String(seen.id.clone());
        Some(if kind(schema) == Some("array") { Value::Array(vec![id]) } else { id })
    }

    /// A long text of a record that this call names, or of any other record of the module.
    pub(super) fn quotable(&self) -> Option<&'a str> {
        let text = |seen: &&'a Seen| seen.fields.get("content").and_then(Value::as_str);
        self.chosen.iter().find_map(text)
    }

    /// A word from a title that was seen, so that a search finds something.
    pub(super) fn remembered_word(&mut self) -> Option<String> {
        let module = &self.tool.module;
        let titles: Vec<&str> = self
            .memory
            .seen
            .iter()
            .filter(|seen| seen.module == *module)
            .filter_map(|seen| seen.fields.get("title").or_else(|| seen.fields.get("lastName"))?.as_str())
            .collect();
        let title = self.dice.pick(&titles)?;
        let words: Vec<&str> =
            title.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() > 3).collect();
        self.dice.pick(&words).map(|word| (*word).to_owned())
    }
}

/// The one type of a schema; of several the first that is not `null`.
pub(super) fn kind(schema: &Value) -> Option<&str> {
    match schema.get("type") {
        Some(Value::String(only)) => Some(only),
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        _ if schema.get("properties").is_some() => Some("object"),
        _ => None,
    }
}

/// Adds what another schema says; properties and required fields of both hold.
fn merge(members: &mut Map<String, Value>, part: Value) {
    let Value::Object(part) = part else { return };
    for (keyword, value) in part {
        match (members.get_mut(&keyword), value) {
            (Some(Value::Object(known)), Value::Object(more)) => known.extend(more),
            (Some(Value::Array(known)), Value::Array(more)) if keyword == "required" => known.extend(more),
            (Some(_), _) => {}
            (None, value) => {
                members.insert(keyword, value);
            }
        }
    }
}
