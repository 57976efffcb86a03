//! Input schemas in the one form that every model provider takes: an object at the top, with all its references within.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

/// A schema larger than this, in bytes, is not shown: it would drown everything else that a model has to read.
const LARGEST: usize = 64 * 1024;

/// How deep references and alternatives at the top are followed.
const DEPTH: usize = 8;

/// How many parts are merged into one object.
const PARTS: usize = 256;

/// How many characters a note on alternatives has.
const NOTE: usize = 600;

/// What makes the top of a schema something else than a plain object.
const COMBINED: [&str; 4] = ["$ref", "allOf", "anyOf", "oneOf"];

/// What names a schema or its dialect, and means nothing inside a list of tools.
const NAMING: [&str; 2] = ["$schema", "$id"];

/// The schema as an object schema, and what could not be said in it, in words for the tool's description. A schema that
/// is fine already is shared, not copied. No schema makes this fail: what it cannot read becomes an open object.
pub(super) fn normal(raw: &Arc<Map<String, Value>>) -> (Arc<Map<String, Value>>, Option<String>) {
    let size = serde_json::to_vec(&**raw).map_or(usize::MAX, |bytes| bytes.len());
    if size > LARGEST {
        return (open(), Some("(Its input is described in too many words to show here.)".into()));
    }
    if is_fine(raw) {
        return (Arc::clone(raw), None);
    }
    let mut merge = Merge { root: raw, left: PARTS, note: None };
    let mut object = merge.object(raw, DEPTH);
    for name in &object.required {
        // Wanted but not described: it can be given all the same.
        object.properties.entry(name.as_str()).or_insert_with(|| json!({}));
    }
    let note = merge.note;
    let mut schema: Map<String, Value> = raw
        .iter()
        .filter(|(key, _)| !COMBINED.contains(&key.as_str()) && !NAMING.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    schema.insert("type".into(), "object".into());
    schema.insert("properties".into(), Value::Object(object.properties));
    if object.required.is_empty() {
        schema.remove("required");
    } else {
        schema.insert("required".into(), object.required.into_iter().collect());
    }
    if COMBINED.iter().any(|key| raw.contains_key(*key)) && schema.get("additionalProperties") == Some(&json!(false)) {
        // It was about the fields beside the alternatives, and would now be about theirs, too.
        schema.remove("additionalProperties");
    }
    let root = schema.clone();
    schema.values_mut().for_each(|value| close_references(value, &root));
    if serde_json::to_vec(&schema).map_or(usize::MAX, |bytes| bytes.len()) > 2 * LARGEST {
        return (open(), note);
    }
    (Arc::new(schema), note)
}

fn open() -> Arc<Map<String, Value>> {
    Arc::new(Map::from_iter([("type".into(), "object".into()), ("properties".into(), json!({}))]))
}

fn is_fine(raw: &Map<String, Value>) -> bool {
    let plain = raw.get("type").and_then(Value::as_str) == Some("object");
    let combined = COMBINED.iter().chain(&NAMING).any(|key| raw.contains_key(*key));
    let properties = match raw.get("properties") {
        None => true,
        Some(Value::Object(properties)) => properties.values().all(Value::is_object),
        Some(_) => false,
    };
    let required = match raw.get("required") {
        None => true,
        Some(Value::Array(names)) => names.iter().all(Value::is_string),
        Some(_) => false,
    };
    plain && !combined && properties && required && !raw.values().any(|value| has_open_reference(value, raw))
}

/// What `#/a/b` leads to.
fn find<'a>(root: &'a Map<String, Value>, pointer: &str) -> Option<&'a Value> {
    let mut steps = pointer.strip_prefix("#/")?.split('/').map(|step| step.replace("~1", "/").replace("~0", "~"));
    let mut at = root.get(&steps.next()?)?;
    for step in steps {
        at = match at {
            Value::Object(members) => members.get(&step)?,
            Value::Array(items) => items.get(step.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(at)
}

fn leads_nowhere(members: &Map<String, Value>, root: &Map<String, Value>) -> bool {
    let pointer = members.get("$ref").and_then(Value::as_str);
    pointer.is_some_and(|pointer| pointer != "#" && find(root, pointer).is_none())
}

fn has_open_reference(value: &Value, root: &Map<String, Value>) -> bool {
    match value {
        Value::Object(members) => {
            leads_nowhere(members, root) || members.values().any(|member| has_open_reference(member, root))
        }
        Value::Array(items) => items.iter().any(|item| has_open_reference(item, root)),
        _ => false,
    }
}

/// References that lead nowhere in this schema become schemas that take anything: nobody fetches anything for them.
fn close_references(value: &mut Value, root: &Map<String, Value>) {
    match value {
        Value::Object(members) => {
            if leads_nowhere(members, root) {
                members.remove("$ref");
            }
            members.values_mut().for_each(|member| close_references(member, root));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| close_references(item, root)),
        _ => {}
    }
}

#[derive(Debug, Default)]
struct Object {
    properties: Map<String, Value>,
    required: BTreeSet<String>,
}

/// Merges what stands at the top of a schema into one object.
struct Merge<'a> {
    root: &'a Map<String, Value>,
    /// How many more parts are looked at.
    left: usize,
    note: Option<String>,
}

impl Merge<'_> {
    fn object(&mut self, schema: &Map<String, Value>, depth: usize) -> Object {
        let mut object = Object::default();
        if depth == 0 || self.left == 0 {
            return object;
        }
        self.left -= 1;
        if let Some(Value::Object(properties)) = schema.get("properties") {
            for (name, property) in properties {
                // `true` and `false` are schemas, too; as objects they are understood everywhere.
                let property = if property.is_object() { property.clone() } else { json!({}) };
                object.properties.insert(name.clone(), property);
            }
        }
        object.required = strings(schema.get("required"));
        let pointer = schema.get("$ref").and_then(Value::as_str);
        let target = pointer.and_then(|pointer| find(self.root, pointer)?.as_object().cloned());
        let all: Vec<_> = target.into_iter().chain(objects(schema.get("allOf"))).collect();
        for part in all {
            let part = self.object(&part, depth - 1);
            object.required.extend(part.required);
            add(&mut object.properties, part.properties, "allOf");
        }
        for key in ["anyOf", "oneOf"] {
            let forms: Vec<Object> =
                objects(schema.get(key)).into_iter().map(|form| self.object(&form, depth - 1)).collect();
            self.describe(key, &forms);
            let common = forms.iter().map(|form| form.required.clone()).reduce(|a, b| &a & &b);
            object.required.extend(common.unwrap_or_default());
            let mut together = Map::new();
            for form in forms {
                add(&mut together, form.properties, "anyOf");
            }
            add(&mut object.properties, together, "allOf");
        }
        object
    }

    /// Says of alternatives what an object cannot: which fields go together.
    fn describe(&mut self, key: &str, forms: &[Object]) {
        if forms.len() < 2 || self.note.is_some() {
            return;
        }
        let form = |form: &Object| {
            let needed = form.required.iter().map(String::as_str);
            let free =
                form.properties.keys().filter(|name| !form.required.contains(*name)).map(|name| format!("{name}?"));
            let fields: Vec<String> = needed.map(str::to_owned).chain(free).collect();
            format!("{{{}}}", fields.join(", "))
        };
        let forms: Vec<String> = forms.iter().map(form).collect();
        let how = if key == "oneOf" { "exactly one" } else { "at least one" };
        let note = format!("The input has {how} of these forms: {}", forms.join(" | "));
        self.note = Some(note.chars().take(NOTE).collect());
    }
}

/// Adds properties to others. Where both have one of the same name, it must satisfy both, or either.
fn add(properties: &mut Map<String, Value>, more: Map<String, Value>, how: &str) {
    for (name, property) in more {
        match properties.get_mut(&name) {
            None => {
                properties.insert(name, property);
            }
            Some(known) if *known == property => {}
            Some(known) => {
                let joined =
                    known.as_object_mut().filter(|known| known.len() == 1).and_then(|known| known.get_mut(how));
                match joined.and_then(Value::as_array_mut) {
                    Some(list) if list.contains(&property) => {}
                    Some(list) => list.push(property),
                    None => *known = json!({ how: [known.take(), property] }),
                }
            }
        }
    }
}

fn objects(value: Option<&Value>) -> Vec<Map<String, Value>> {
    let items = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(|item| item.as_object().cloned()).collect()
}

fn strings(value: Option<&Value>) -> BTreeSet<String> {
    let items = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(schema: Value) -> (Value, Option<String>) {
        let Value::Object(schema) = schema else { panic!("a schema is an object") };
        let (schema, note) = normal(&Arc::new(schema));
        (Value::Object((*schema).clone()), note)
    }

    #[test]
    fn a_plain_object_is_shared_and_not_copied() {
        let Value::Object(schema) = json!({ "type": "object", "properties": { "a": { "$ref": "#/$defs/A" } }, "$defs": { "A": { "type": "string" } } })
        else {
            panic!("a schema is an object")
        };
        let schema = Arc::new(schema);
        assert!(Arc::ptr_eq(&normal(&schema).0, &schema));
    }

    #[test]
    fn what_has_no_type_or_another_one_becomes_an_object() {
        assert_eq!(of(json!({})).0, json!({ "type": "object", "properties": {} }));
        let nullable = json!({ "type": ["object", "null"], "properties": { "a": true }, "required": ["a", 7, "gone"], "$schema": "http://json-schema.org/draft-07/schema#" });
        assert_eq!(
            of(nullable).0,
            json!({ "type": "object", "properties": { "a": {}, "gone": {} }, "required": ["a", "gone"] })
        );
        assert_eq!(of(json!({ "type": "string", "properties": 3 })).0, json!({ "type": "object", "properties": {} }));
    }

    #[test]
    fn a_reference_at_the_top_is_followed_and_its_definitions_stay() {
        let (schema, note) = of(json!({
            "$ref": "#/$defs/Input",
            "$defs": {
                "Input": { "type": "object", "properties": { "at": { "$ref": "#/$defs/Day" } }, "required": ["at"] },
                "Day": { "type": "string", "format": "date" },
            },
        }));
        assert_eq!(schema["properties"], json!({ "at": { "$ref": "#/$defs/Day" } }));
        assert_eq!((&schema["required"], &schema["$defs"]["Day"]["format"]), (&json!(["at"]), &json!("date")));
        assert!(note.is_none() && schema.get("$ref").is_none());
    }

    #[test]
    fn alternatives_at_the_top_become_one_object_and_a_sentence() {
        let (schema, note) = of(json!({
            "type": "object",
            "properties": { "dryRun": { "type": "boolean" } },
            "additionalProperties": false,
            "oneOf": [
                { "properties": { "kind": { "const": "id" }, "id": { "type": "string" } }, "required": ["kind", "id"] },
                { "properties": { "kind": { "const": "name" }, "name": { "type": "string" } }, "required": ["kind", "name"] },
                { "properties": { "kind": { "const": "all" } }, "required": ["kind"] },
            ],
        }));
        assert_eq!(schema["required"], json!(["kind"]));
        assert_eq!(
            schema["properties"]["kind"],
            json!({ "anyOf": [{ "const": "id" }, { "const": "name" }, { "const": "all" }] })
        );
        let names: Vec<&String> = schema["properties"].as_object().expect("an object").keys().collect();
        assert_eq!(names, ["dryRun", "id", "kind", "name"]);
        assert_eq!(
            note.as_deref(),
            Some("The input has exactly one of these forms: {id, kind} | {kind, name} | {kind}")
        );
        assert!(schema.get("oneOf").is_none() && schema.get("additionalProperties").is_none());
    }

    #[test]
    fn all_of_takes_what_every_part_wants() {
        let (schema, _) = of(json!({
            "allOf": [
                { "properties": { "a": { "type": "integer" } }, "required": ["a"] },
                { "properties": { "a": { "minimum": 3 }, "b": {} }, "required": ["b"] },
            ],
        }));
        assert_eq!(schema["properties"]["a"], json!({ "allOf": [{ "type": "integer" }, { "minimum": 3 }] }));
        assert_eq!(schema["required"], json!(["a", "b"]));
    }

    #[test]
    fn references_that_lead_away_or_nowhere_are_opened() {
        let (schema, _) = of(json!({
            "type": "object",
            "properties": { "a": { "$ref": "https://example.com/schema.json", "description": "A thing" }, "b": { "$ref": "#/$defs/Gone" } },
        }));
        assert_eq!(schema["properties"], json!({ "a": { "description": "A thing" }, "b": {} }));
    }

    #[test]
    fn endless_and_endlessly_many_parts_come_to_an_end() {
        let (schema, _) = of(
            json!({ "$ref": "#/$defs/A", "$defs": { "A": { "anyOf": [{ "$ref": "#/$defs/A" }, { "$ref": "#/$defs/A" }] } } }),
        );
        assert_eq!(schema["type"], "object");
        let (schema, note) = of(json!({ "type": "object", "description": "x".repeat(LARGEST) }));
        assert!(schema.to_string().len() < 100 && note.is_some());
    }

    fn anything() -> impl Strategy<Value = Value> {
        let key = prop::sample::select(vec![
            "type",
            "properties",
            "required",
            "$ref",
            "allOf",
            "anyOf",
            "oneOf",
            "$defs",
            "a",
            "items",
        ]);
        let leaf = prop_oneof![
            Just(json!("object")),
            Just(json!("#/$defs/a")),
            Just(json!("#")),
            Just(json!("#/anyOf/0")),
            Just(json!(true)),
            Just(json!(null)),
            Just(json!(7)),
            Just(json!(["a"])),
        ];
        leaf.prop_recursive(5, 40, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_comes_an_object_schema_goes(value in anything()) {
            let schema = value.as_object().cloned().unwrap_or_default();
            let (schema, _) = of(Value::Object(schema));
            prop_assert_eq!(&schema["type"], "object");
            prop_assert!(COMBINED.iter().all(|key| schema.get(key).is_none()));
            prop_assert!(schema.get("properties").is_none_or(|it| it.as_object().is_some_and(|it| it.values().all(Value::is_object))));
        }
    }
}
