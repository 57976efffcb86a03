//! From arguments to a type, with every fault named in words that an agent can act on.

use jsonschema::error::{TypeKind, ValidationError, ValidationErrorKind};
use mana_types::{FieldError, nearest};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::Result;
use crate::error::ToolError;

/// The most faults that one answer names.
const MOST_FAULTS: usize = 50;

/// Every fault of the arguments.
pub(crate) fn faults(
    validator: &jsonschema::Validator,
    schema: &Map<String, Value>,
    arguments: &Value,
) -> Vec<FieldError> {
    if validator.is_valid(arguments) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    if let (None, Value::Object(given)) = (schema.get("properties"), arguments) {
        faults.extend(
            given.keys().map(|name| {
                FieldError::new(name.chars().take(60).collect::<String>(), "unknown field, this takes none")
            }),
        );
        return faults;
    }
    for error in validator.iter_errors(arguments) {
        if faults.len() >= MOST_FAULTS {
            break;
        }
        describe(&error, schema, &mut faults);
    }
    faults
}

/// Reads arguments that the schema has let pass; what only the type knows is found here.
pub(crate) fn read<I: DeserializeOwned>(arguments: Value) -> Result<I> {
    serde_path_to_error::deserialize(arguments).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { String::new() } else { path };
        ToolError::field(field, in_words(&error.into_inner().to_string()))
    })
}

/// serde's sentence about a value of the wrong type, without the types of Rust: what is left to find after the schema are
/// numbers that are too large. Every other sentence is one of ours.
fn in_words(text: &str) -> String {
    let wrong = text.strip_prefix("invalid type: ").or_else(|| text.strip_prefix("invalid value: "));
    match wrong.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((_, expected)) if expected.starts_with(['i', 'u']) && expected[1..].parse::<u8>().is_ok() => {
            "expected a whole number, not one that is too large or too small".to_owned()
        }
        Some(_) => "expected a value of another kind".to_owned(),
        None => text.to_owned(),
    }
}

/// Takes out members that are `null`: they say as much as absent ones.
pub(crate) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, inner| !inner.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// `/subtasks/0/title` as `subtasks[0].title`.
fn dotted(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            path.push('[');
            path.push_str(&part);
            path.push(']');
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&part);
        }
    }
    path
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The names of the properties at a place, to say which one was probably meant.
fn known_at<'a>(schema: &'a Map<String, Value>, pointer: &str) -> Vec<&'a str> {
    let mut here = schema;
    for part in pointer.split('/').skip(1) {
        let next = here
            .get("properties")
            .and_then(|properties| properties.get(part))
            .or_else(|| here.get("items"))
            .and_then(Value::as_object);
        match next {
            Some(next) => here = next,
            None => return Vec::new(),
        }
    }
    here.get("properties")
        .and_then(Value::as_object)
        .map(|properties| properties.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

fn describe(error: &ValidationError<'_>, schema: &Map<String, Value>, faults: &mut Vec<FieldError>) {
    let pointer = error.instance_path().as_str();
    let path = dotted(pointer);
    let message = match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let known = known_at(schema, pointer);
            for name in unexpected {
                let shown: String = name.chars().take(60).collect();
                let meant = match nearest(name, known.iter().copied()) {
                    Some(near) => format!("unknown field, did you mean `{near}`?"),
                    None if known.is_empty() => "unknown field".into(),
                    None => format!("unknown field, known are: {}", known.join(", ")),
                };
                faults.push(FieldError::new(below(&path, &shown), meant));
            }
            return;
        }
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            faults.push(FieldError::new(below(&path, name), "is required"));
            return;
        }
        ValidationErrorKind::Type { kind } => format!("expected {}", kind_in_words(kind)),
        ValidationErrorKind::Enum { options } => {
            let options: Vec<String> = options
                .as_array()
                .into_iter()
                .flatten()
                .map(|option| match option {
                    Value::String(word) => format!("`{word}`"),
                    other => other.to_string(),
                })
                .collect();
            format!("expected one of {}", options.join(", "))
        }
        ValidationErrorKind::MinLength { limit: 1 } => "must not be empty".into(),
        ValidationErrorKind::MinLength { limit } => format!("expected at least {limit} characters"),
        ValidationErrorKind::MaxLength { limit } => format!("expected at most {limit} characters"),
        ValidationErrorKind::MinItems { limit } => format!("expected at least {limit} entries"),
        ValidationErrorKind::MaxItems { limit } => format!("expected at most {limit} entries"),
        ValidationErrorKind::Minimum { limit } => format!("expected {limit} or more"),
        ValidationErrorKind::Maximum { limit } => format!("expected {limit} or less"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("expected more than {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("expected less than {limit}"),
        ValidationErrorKind::Pattern { pattern } => format!("expected text that matches `{pattern}`"),
        ValidationErrorKind::UniqueItems => "the same entry stands here twice".into(),
        ValidationErrorKind::Format { format } => match format.as_str() {
            "date-time" => "expected a time with offset, such as `2026-11-20T09:30:00+01:00`".into(),
            "date" => "expected a date, such as `2026-11-20`".into(),
            "uuid" => "expected an id (a UUID) as a list or create call answers it".into(),
            "email" => "expected an e-mail address".into(),
            "uri" => "expected an address such as `https://example.org/page`".into(),
            other => format!("expected the format `{other}`"),
        },
        ValidationErrorKind::OneOfNotValid { .. } | ValidationErrorKind::AnyOf { .. } => {
            "fits none of the forms that are possible here".into()
        }
        _ => "does not fit the schema".into(),
    };
    faults.push(FieldError::new(path, message));
}

fn kind_in_words(kind: &TypeKind) -> String {
    let word = |kind: &str| match kind {
        "string" => "text".to_owned(),
        "integer" => "a whole number".to_owned(),
        "number" => "a number".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        "array" => "a list".to_owned(),
        "object" => "an object".to_owned(),
        other => other.to_owned(),
    };
    match kind {
        TypeKind::Single(kind) => word(&kind.to_string()),
        TypeKind::Multiple(kinds) => kinds.iter().map(|kind| word(&kind.to_string())).collect::<Vec<_>>().join(" or "),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Change {
        rev: Option<i64>,
        small: Option<u8>,
        at: Option<mana_types::Timestamp>,
    }

    #[test]
    fn what_only_the_type_refuses_is_told_without_words_of_rust() {
        let too_large = "expected a whole number, not one that is too large or too small";
        for (arguments, field, message) in [
            (json!({ "rev": 1e30 }), "rev", too_large),
            (json!({ "small": 300 }), "small", too_large),
            (json!({ "small": -1 }), "small", too_large),
        ] {
            let Err(ToolError::Invalid(faults)) = read::<Change>(arguments) else { panic!("it is refused") };
            assert_eq!((faults[0].field.as_str(), faults[0].message.as_str()), (field, message));
        }
        let Err(ToolError::Invalid(faults)) = read::<Change>(json!({ "at": "soon" })) else { panic!("it is refused") };
        assert!(faults[0].message.contains("`soon` is not a time"), "{faults:?}");
    }
}
