//! A persona in a function: a short day over whatever tools there are, a diary, and ratings that keep to what happened.
//!
//! Nothing is remembered: the turn, the ids and the numbers are read off the request each time.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Value, json};

use super::ask::{blocks, result_text, text_of};
use super::writer::Writer;
use super::{Ask, Turn};

/// Verbs of tools that only look.
const READS: [&str; 10] =
    ["agenda", "get", "insights", "list", "overdue", "read", "recent", "search", "stats", "today"];

/// Verbs of tools that make something new.
const MAKES: [&str; 5] = ["add", "create", "log", "new", "save"];

/// Verbs of tools that go on with something there is.
const GOES_ON: [&str; 3] = ["complete", "get", "update"];

/// What a change may change, and a record may say.
const CHANGES: [&str; 6] = ["title", "name", "firstName", "content", "notes", "description"];

pub(super) fn answer(ask: &Ask) -> Turn {
    let said = ask.messages().iter().rev().find(|message| message["role"] == "assistant");
    let calls = |message: &Value| blocks(&message["content"]).iter().any(|block| block["type"] == "tool_use");
    if let Some(schema) = ask.wanted_schema() {
        return Turn::say(&rating(ask, schema).to_string()).delta(40);
    }
    match said {
        Some(message) if !calls(message) => Turn::say(&diary(ask)).delta(40),
        Some(_) | None => day(ask).delta(40),
    }
}

/// A tool as a persona sees it.
#[derive(Debug, Clone, Copy)]
struct Tool<'a> {
    name: &'a str,
    schema: &'a Value,
}

impl<'a> Tool<'a> {
    fn verb(self) -> &'a str {
        self.name.rsplit(['_', '-']).next().unwrap_or_default()
    }

    /// What the verb is done to.
    fn noun(self) -> &'a str {
        self.name.strip_suffix(self.verb()).unwrap_or_default()
    }

    fn required(self) -> impl Iterator<Item = &'a str> {
        self.schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
    }

    /// The members that name a record.
    fn references(self) -> Vec<&'a str> {
        let names_one =
            |name: &&str| self.schema["properties"][*name]["format"] == "uuid" || *name == "id" || name.ends_with("Id");
        self.required().filter(names_one).collect()
    }

    fn is_open_read(self) -> bool {
        READS.contains(&self.verb()) && self.required().next().is_none()
    }

    fn is_make(self) -> bool {
        MAKES.contains(&self.verb()) && self.references().is_empty()
    }

    fn is_going_on(self) -> bool {
        GOES_ON.contains(&self.verb()) && self.references().len() == 1
    }
}

/// What a visit does, from the list of tools and who is asking on which day.
struct Plan<'a> {
    seed: u64,
    list: Option<Tool<'a>>,
    make: Option<Tool<'a>>,
    go_on: Option<Tool<'a>>,
    /// Another read, to go beside the list.
    beside: Option<Tool<'a>>,
}

impl<'a> Plan<'a> {
    fn of(ask: &'a Ask) -> Self {
        let first = ask.messages().first().map(|message| text_of(&message["content"])).unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        (ask.system(), &first).hash(&mut hasher);
        let seed = hasher.finish();
        let tool = |tool: &'a Value| Some(Tool { name: tool["name"].as_str()?, schema: &tool["input_schema"] });
        let tools: Vec<Tool<'a>> = ask.tools().iter().filter_map(tool).collect();
        let pick = |tools: &[Tool<'a>]| {
            let place = usize::try_from(seed >> 8).unwrap_or(0) % tools.len().max(1);
            tools.get(place).copied()
        };
        let among = |holds: &dyn Fn(Tool<'a>) -> bool| -> Vec<Tool<'a>> {
            tools.iter().copied().filter(|tool| holds(*tool)).collect()
        };
        let liked = |tool: Tool<'a>| first.contains(module_of(tool.name));
        // A module that can be made something in, and gone on with, comes first; then one that can be made something in.
        let goes_on = |make: Tool<'a>| among(&|tool| tool.is_going_on() && tool.noun() == make.noun());
        let mut makes = among(&|tool| tool.is_make() && liked(tool) && !goes_on(tool).is_empty());
        if makes.is_empty() {
            makes = among(&|tool| tool.is_make() && !goes_on(tool).is_empty());
        }
        if makes.is_empty() {
            makes = among(&|tool| tool.is_make());
        }
        let make = pick(&makes);
        let module = make.map(|make| module_of(make.name));
        let same_module = |tool: Tool<'a>| module.is_none_or(|module| module_of(tool.name) == module);
        let lists = among(&|tool| tool.is_open_read() && same_module(tool) && tool.verb() == "list");
        let reads = among(&|tool| tool.is_open_read());
        let list = lists.first().or_else(|| reads.iter().find(|read| same_module(**read))).or(reads.first()).copied();
        let mut others: Vec<Tool<'a>> = reads;
        others.retain(|read| list.is_some_and(|list| list.name != read.name));
        if others.iter().any(|read| liked(*read)) {
            others.retain(|read| liked(*read));
        }
        Self { seed, list, make, go_on: make.and_then(|make| pick(&goes_on(make))), beside: pick(&others) }
    }

    fn arguments(&self, tool: Tool<'_>, turn: usize, id: Option<&str>) -> Value {
        let reference = tool.references().first().map(|name| (*name).to_owned());
        let knows = |name: &str, _: &Value| id.filter(|_| reference.as_deref() == Some(name)).map(Value::from);
        let mut arguments = Writer::new(tool.schema, self.seed.wrapping_add(turn as u64), knows).write();
        let properties = &tool.schema["properties"];
        // A change that changes nothing is no change, and a record without a word is none.
        if (tool.verb() == "update" || MAKES.contains(&tool.verb()) && tool.required().next().is_none())
            && let Some(name) = CHANGES.iter().find(|name| properties.get(**name).is_some())
            && arguments.get(*name).is_none()
        {
            let anew = Writer::new(tool.schema, self.seed.wrapping_add(7), |_: &str, _: &Value| None);
            arguments[*name] = anew.value(name, &properties[*name], 0);
        }
        arguments
    }
}

/// The next turn of the day.
fn day(ask: &Ask) -> Turn {
    let plan = Plan::of(ask);
    let turn = ask.turns();
    let call = |said: Turn, number: usize, tool: Tool<'_>, id: Option<&str>| {
        let call = format!("toolu_{:016x}_{turn}_{number}", plan.seed);
        said.tool_use(&call, tool.name, plan.arguments(tool, turn, id))
    };
    match turn {
        0 => {
            if let Some(list) = plan.list {
                let said = Turn::new().thinking("What is there already? Let me look first.", "c2lnbmF0dXJlLTE=");
                return call(said.text("Erst einmal schauen, was da ist."), 0, list, None);
            }
        }
        1 => {
            if let Some(make) = plan.make {
                return call(Turn::new().text("I write it down, before I forget."), 0, make, None);
            }
        }
        2 => {
            if let Some(go_on) = plan.go_on
                && let Some(id) = newest_id(ask)
            {
                return call(Turn::new(), 0, go_on, Some(&id));
            }
        }
        _ => {}
    }
    let looked = ask
        .messages()
        .iter()
        .any(|message| blocks(&message["content"]).iter().filter(|block| block["type"] == "tool_use").count() == 2);
    if !looked
        && turn < 4
        && let (Some(list), Some(beside)) = (plan.list, plan.beside)
    {
        return call(call(Turn::new().text("Both at once."), 0, list, None), 1, beside, None);
    }
    Turn::say("Das war's für heute. I did \"enough\", and close the lid.")
}

/// The id in the newest answer that has one and is no error.
fn newest_id(ask: &Ask) -> Option<String> {
    let results = ask.messages().iter().rev().flat_map(|message| blocks(&message["content"]));
    results
        .filter(|block| block["type"] == "tool_result" && block["is_error"] != true)
        .find_map(|block| id_in(&serde_json::from_str(&result_text(&block)).ok()?))
}

/// The outermost `id`.
fn id_in(value: &Value) -> Option<String> {
    if let Some(id) = value.get("id").and_then(Value::as_str) {
        return Some(id.to_owned());
    }
    match value {
        Value::Object(object) => object.values().find_map(id_in),
        Value::Array(list) => list.iter().find_map(id_in),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// `todo_create` belongs to `todo`.
fn module_of(tool: &str) -> &str {
    tool.split(['_', '-']).next().unwrap_or_default()
}

/// A call of the conversation.
struct Call {
    tool: String,
    failed: bool,
}

impl Call {
    fn module(&self) -> &str {
        module_of(&self.tool)
    }
}

fn calls(ask: &Ask) -> Vec<Call> {
    let all: Vec<Value> = ask.messages().iter().flat_map(|message| blocks(&message["content"])).collect();
    let failed = |id: &Value| all.iter().any(|block| block["tool_use_id"] == *id && block["is_error"] == true);
    let uses = all.iter().filter(|block| block["type"] == "tool_use");
    let call =
        |call: &Value| Call { tool: call["name"].as_str().unwrap_or_default().to_owned(), failed: failed(&call["id"]) };
    uses.map(call).collect()
}

/// A line for the day and a line for every module, each good to be quoted.
fn diary(ask: &Ask) -> String {
    let calls = calls(ask);
    let modules: BTreeSet<&str> = calls.iter().map(Call::module).collect();
    let mut lines = vec!["Ich wollte nur kurz Ordnung schaffen, \"nicht mehr\".".to_owned()];
    for module in modules {
        lines.push(if calls.iter().any(|call| call.module() == module && call.failed) {
            format!("With {module} I got an error and thought: \"warum denn das?\"")
        } else {
            format!("With {module} it went \"ohne Mühe\", as it should.")
        });
    }
    lines.push("Tomorrow I would come back – vermutlich.".into());
    lines.join("\n")
}

/// An answer that fits the schema and rests on the conversation.
fn rating(ask: &Ask, schema: &Value) -> Value {
    let written: Vec<String> = ask
        .messages()
        .iter()
        .filter(|message| message["role"] == "assistant")
        .map(|message| text_of(&message["content"]))
        .filter(|text| !text.trim().is_empty() && !text.trim_start().starts_with(['{', '[']))
        .collect();
    let diary = written.last().cloned().unwrap_or_default();
    let rater = Rater { ask, root: schema, diary: &diary, calls: calls(ask) };
    rater.whole()
}

struct Rater<'a> {
    ask: &'a Ask,
    root: &'a Value,
    diary: &'a str,
    calls: Vec<Call>,
}

impl Rater<'_> {
    fn whole(&self) -> Value {
        let mut answer = json!({});
        for (name, schema) in self.root["properties"].as_object().into_iter().flatten() {
            let schema = self.resolved(schema);
            answer[name] = if let Some(item) = schema.get("items") {
                let item = self.with_rating(item);
                self.modules(item).iter().map(|module| self.item(item, module)).collect()
            } else if let Some(properties) = schema["properties"].as_object() {
                properties
                    .iter()
                    .map(|(module, item)| (module.clone(), self.item(self.with_rating(item), module)))
                    .collect()
            } else {
                Writer::new(self.root, 0, |_: &str, _: &Value| None).value(name, schema, 0)
            };
        }
        answer
    }

    fn resolved<'b>(&'b self, schema: &'b Value) -> &'b Value {
        let place = schema.get("$ref").and_then(Value::as_str).and_then(|place| place.strip_prefix('#'));
        place.and_then(|place| self.root.pointer(place)).unwrap_or(schema)
    }

    /// Of several forms of an entry, the one that rates.
    fn with_rating<'b>(&'b self, item: &'b Value) -> &'b Value {
        let item = self.resolved(item);
        let forms = item.get("anyOf").or_else(|| item.get("oneOf")).and_then(Value::as_array);
        let rates = |form: &&Value| form["properties"].get("rating").is_some();
        forms.and_then(|forms| forms.iter().map(|form| self.resolved(form)).find(rates)).unwrap_or(item)
    }

    /// The modules that may be rated: as the schema says, else those that were used.
    fn modules(&self, item: &Value) -> Vec<String> {
        let told = self.resolved(&item["properties"]["module"])["enum"].as_array();
        let told: Option<Vec<String>> =
            told.map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        told.unwrap_or_else(|| {
            let used: BTreeSet<&str> = self.calls.iter().map(Call::module).collect();
            used.into_iter().map(str::to_owned).collect()
        })
    }

    fn item(&self, item: &Value, module: &str) -> Value {
        let failed = self.calls.iter().any(|call| call.module() == module && call.failed);
        let score = if failed { 2 } else { 4 };
        let knows = |name: &str, schema: &Value| -> Option<Value> {
            match name {
                "module" => Some(module.into()),
                "rating" | "score" => {
                    let texts = schema["enum"][0].is_string();
                    Some(if texts { score.to_string().into() } else { score.into() })
                }
                "evidence" => Some(self.evidence(module).into()),
                "quote" => Some(self.quote(module).into()),
                "notes" => Some(
                    format!("\"{module}\" did {} for me.", if failed { "little" } else { "what it should" }).into(),
                ),
                "confidence" if schema["type"] == "number" && schema.get("enum").is_none() => Some(0.8.into()),
                "confidence" if schema["type"] == "integer" && schema.get("enum").is_none() => Some(3.into()),
                "noOpinion" => Some(nothing_of(schema)),
                _ => None,
            }
        };
        let writer = Writer::new(self.root, 0, knows);
        let mut answer = writer.value("", item, 0);
        for name in ["rating", "notes", "evidence", "quote", "confidence"] {
            if let Some(schema) = item["properties"].get(name)
                && answer.get(name).is_none()
            {
                answer[name] = writer.value(name, schema, 0);
            }
        }
        answer
    }

    /// A line of the diary, about this module if there is one.
    fn quote(&self, module: &str) -> String {
        let about = |line: &&str| line.contains(module);
        let line = self.diary.lines().find(about).or_else(|| self.diary.lines().next()).unwrap_or_default();
        line.chars().take(160).collect::<String>().trim().to_owned()
    }

    /// The numbers that the newest list of actions gives to those of a module.
    fn evidence(&self, module: &str) -> Vec<u64> {
        let texts = self.ask.messages().iter().rev().filter(|message| message["role"] == "user");
        let mut lists = texts.map(|message| {
            let text = text_of(&message["content"]);
            text.lines().filter_map(|line| self.action_number(line, module)).collect::<Vec<u64>>()
        });
        let mut numbers = lists.find(|numbers| !numbers.is_empty()).unwrap_or_default();
        numbers.dedup();
        numbers.truncate(3);
        numbers
    }

    /// The number at the beginning of a line about a call of this module: `3. todo_create …`, ``- 3: `todo_create` …``.
    fn action_number(&self, line: &str, module: &str) -> Option<u64> {
        let line = line.trim_start_matches(|letter: char| !letter.is_alphanumeric());
        let end = line.find(|letter: char| !letter.is_ascii_digit())?;
        let number = line[..end].parse().ok()?;
        let mut words = line[end..].split(|letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == '-'));
        let called = |word: &str| self.calls.iter().any(|call| call.tool == word && call.module() == module);
        words.any(called).then_some(number)
    }
}

/// How a schema says that there is nothing to say.
fn nothing_of(schema: &Value) -> Value {
    match schema["type"].as_str() {
        Some("string") => "".into(),
        Some("boolean") => false.into(),
        _ => Value::Null,
    }
}
