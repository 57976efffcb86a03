//! Schemas as clients of all kinds take them: inlined, closed, without `null` and without lists of types.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::tool::Hint;

/// The schema of a tool's arguments.
pub(crate) fn input<I: JsonSchema>(hint: Hint) -> Map<String, Value> {
    let mut schema = derive::<I>(true);
    close(&mut schema);
    let mut schema = object(schema);
    if hint != Hint::Read {
        let properties = schema.entry("properties").or_insert_with(|| json!({}));
        if let Value::Object(properties) = properties {
            properties.insert(
                "idempotencyKey".into(),
                json!({ "type": "string", "minLength": 1, "maxLength": 200,
                        "description": "Repeat a call with the same key and it is done only once." }),
            );
            properties.insert(
                "dryRun".into(),
                json!({ "type": "boolean", "description": "Answer as if done, but change nothing." }),
            );
        }
    }
    schema
}

/// The schema of a tool's result. Descriptions are left out: they would double the list that every agent reads.
pub(crate) fn output<O: JsonSchema>() -> Map<String, Value> {
    let mut schema = derive::<O>(false);
    visit(&mut schema, &mut |schema| {
        schema.remove("description");
        schema.remove("default");
    });
    object(schema)
}

fn derive<T: JsonSchema>(deserialize: bool) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let settings = if deserialize { settings.for_deserialize() } else { settings.for_serialize() };
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    visit(&mut schema, &mut absent_for_null);
    visit(&mut schema, &mut plain);
    schema
}

/// What may be `null` may be absent.
fn absent_for_null(schema: &mut Map<String, Value>) {
    let nullable: Vec<String> = schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, property)| takes_null(property))
        .map(|(name, _)| name.clone())
        .collect();
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.retain(|name| !nullable.iter().any(|nullable| name == nullable));
        if required.is_empty() {
            schema.remove("required");
        }
    }
}

fn takes_null(schema: &Value) -> bool {
    let null = json!("null");
    schema["type"] == null
        || schema["type"].as_array().is_some_and(|types| types.contains(&null))
        || ["anyOf", "oneOf"].iter().any(|keyword| schema[keyword].as_array().into_iter().flatten().any(takes_null))
}

fn object(schema: Value) -> Map<String, Value> {
    let mut schema = match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    };
    schema.remove("title");
    schema.insert("type".into(), json!("object"));
    schema
}

/// Calls `change` for every schema within, the innermost first.
fn visit(schema: &mut Value, change: &mut dyn FnMut(&mut Map<String, Value>)) {
    let Value::Object(map) = schema else { return };
    for (keyword, inner) in &mut *map {
        match keyword.as_str() {
            "properties" | "patternProperties" | "$defs" => {
                if let Value::Object(named) = inner {
                    for schema in named.values_mut() {
                        visit(schema, change);
                    }
                }
            }
            "oneOf" | "anyOf" | "allOf" | "prefixItems" => {
                if let Value::Array(list) = inner {
                    for schema in list {
                        visit(schema, change);
                    }
                }
            }
            "items" | "additionalProperties" | "not" | "contains" => visit(inner, change),
            _ => {}
        }
    }
    change(map);
}

/// Optional means absent, never `null`; a choice of documented words is an `enum`; number widths are no formats.
fn plain(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(options)) = schema.get_mut("enum") {
        options.retain(|option| !option.is_null());
    }
    for keyword in ["anyOf", "oneOf"] {
        let Some(Value::Array(options)) = schema.get_mut(keyword) else { continue };
        options.retain(|option| option.get("type") != Some(&json!("null")));
        let words: Option<Vec<Value>> = options
            .iter()
            .map(|option| {
                option.get("const").cloned().map(|word| vec![word]).or_else(|| option.get("enum")?.as_array().cloned())
            })
            .collect::<Option<Vec<_>>>()
            .map(|words| words.concat());
        if let Some(words) = words.filter(|words| !words.is_empty() && words.iter().all(Value::is_string)) {
            schema.remove(keyword);
            schema.insert("type".into(), json!("string"));
            schema.insert("enum".into(), Value::Array(words));
        } else if let [Value::Object(only)] = options.as_slice() {
            let only = only.clone();
            schema.remove(keyword);
            for (name, value) in only {
                schema.entry(name).or_insert(value);
            }
        }
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    let number = matches!(schema.get("type").and_then(Value::as_str), Some("integer" | "number"));
    if number {
        schema.remove("format");
    }
}

/// No object takes a property that it does not know.
fn close(schema: &mut Value) {
    visit(schema, &mut |schema| {
        let is_object = schema.get("type") == Some(&json!("object"));
        if is_object && !schema.contains_key("additionalProperties") {
            schema.insert("additionalProperties".into(), json!(false));
        }
    });
}
