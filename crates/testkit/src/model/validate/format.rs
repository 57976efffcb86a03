//! The form of a structured answer: the part of JSON Schema that providers hold a model to.

use serde_json::Value;

use super::Findings;

/// Words that are refused, or worse, ignored.
const UNSUPPORTED: [&str; 21] = [
    "contains",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "if",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "then",
    "uniqueItems",
];

pub(super) fn check(body: &Value, found: &mut Findings) {
    let Some(config) = body.get("output_config") else { return };
    found.members(config, &["effort", "format"], "output_config");
    let Some(format) = config.get("format") else { return };
    let at = "output_config.format";
    found.must(format["type"] == "json_schema", "format", at, "the type is not `json_schema`");
    found.members(format, &["type", "schema"], at);
    match format.get("schema") {
        Some(schema) if schema.is_object() => check_schema(schema, &format!("{at}.schema"), found),
        _ => found.add("format", at, "there is no schema"),
    }
}

fn check_schema(schema: &Value, at: &str, found: &mut Findings) {
    let Some(object) = schema.as_object() else {
        return found.add("schema", at, "a schema that is no object");
    };
    for (word, value) in object {
        let inner = format!("{at}.{word}");
        match word.as_str() {
            "properties" | "$defs" | "definitions" => {
                for (name, schema) in value.as_object().into_iter().flatten() {
                    check_schema(schema, &format!("{inner}.{name}"), found);
                }
            }
            "items" => check_schema(value, &inner, found),
            "anyOf" | "allOf" | "prefixItems" => {
                for (index, schema) in value.as_array().into_iter().flatten().enumerate() {
                    check_schema(schema, &format!("{inner}[{index}]"), found);
                }
            }
            "minItems" => {
                found.must(
                    value.as_u64().is_some_and(|least| least <= 1),
                    "schema",
                    &inner,
                    "only 0 and 1 are held to",
                );
            }
            "$ref" => {
                let within = value.as_str().is_some_and(|place| place.starts_with('#'));
                found.must(within, "schema", &inner, "points outside of the schema");
            }
            word => found.must(!UNSUPPORTED.contains(&word), "schema", &inner, "is not supported"),
        }
    }
    let is_object = match schema.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        _ => schema.get("properties").is_some(),
    };
    if is_object {
        let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
        found.must(closed, "schema", at, "an object without `additionalProperties: false`");
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let there = schema["properties"].get(name).is_some();
            found.must(there, "schema", at, &format!("`{name}` is required, but no property"));
        }
    }
}
