//! What holds for every module and every tool.

use mana_registry::{Hint, Lang, Tool};
use serde_json::{Value, json};

use crate::support::each_world;

fn each_schema(value: &Value, path: &str, check: &mut dyn FnMut(&Value, &str)) {
    match value {
        Value::Object(map) => {
            check(value, path);
            for (name, inner) in map {
                each_schema(inner, &format!("{path}/{name}"), check);
            }
        }
        Value::Array(list) => {
            for (at, inner) in list.iter().enumerate() {
                each_schema(inner, &format!("{path}/{at}"), check);
            }
        }
        _ => {}
    }
}

fn input(tool: &Tool) -> Value {
    Value::Object((**tool.input_schema()).clone())
}

#[test]
fn every_schema_suits_every_client() {
    let registry = mana_modules::registry().expect("the modules fit together");
    for tool in registry.tools() {
        for (which, schema) in [("input", input(tool)), ("output", Value::Object((**tool.output_schema()).clone()))] {
            assert_eq!(schema["type"], "object", "{} {which}", tool.name());
            each_schema(&schema, "", &mut |schema, path| {
                let place = format!("{} {which} {path}", tool.name());
                assert!(!schema["type"].is_array(), "{place}: a list of types");
                assert!(schema.get("$ref").is_none(), "{place}: a reference");
                let is_schema = schema["type"] == "object" && !path.ends_with("/properties");
                if which == "input" && is_schema {
                    assert!(!schema["additionalProperties"].is_null(), "{place}: takes unknown fields");
                }
                if schema["type"] == "array" {
                    assert!(schema.get("items").is_some(), "{place}: a list of anything");
                }
            });
        }
    }
}

#[test]
fn every_argument_is_described_and_every_text_and_list_is_bounded() {
    let registry = mana_modules::registry().expect("the modules fit together");
    let mut faults = Vec::new();
    for tool in registry.tools() {
        let schema = input(tool);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let place = format!("{}.{name}", tool.name());
            if property["description"].as_str().is_none_or(str::is_empty) {
                faults.push(format!("{place} has no description"));
            }
            let bounded = property.get("maxLength").is_some()
                || property.get("enum").is_some()
                || property.get("format").is_some()
                || property.get("pattern").is_some()
                || name == "cursor";
            if property["type"] == "string" && !bounded {
                faults.push(format!("{place} takes text without end"));
            }
            if property["type"] == "array" && property.get("maxItems").is_none() && name != "clear" {
                faults.push(format!("{place} takes a list without end"));
            }
        }
        if tool.name().ends_with("_list") || tool.name().ends_with("_search") {
            for name in ["limit", "cursor"] {
                if schema["properties"].get(name).is_none() && tool.name() != "spaces_list" {
                    faults.push(format!("{} has no `{name}`", tool.name()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_module_has_a_name_in_both_languages_and_a_purpose() {
    for module in mana_modules::all() {
        assert!(module.about().ends_with('.'), "{}", module.name());
        for lang in [Lang::De, Lang::En] {
            assert_ne!(module.label(lang), module.name(), "{} has no label", module.name());
        }
        assert!(module.tools().iter().any(|tool| tool.hint() == Hint::Read), "{} cannot be read", module.name());
    }
}

/// What the whole list costs an agent that reads it, as the gateway shows it: short words for arguments that many tools
/// share, results by the names of their members, a title and hints. A token is taken as four bytes of JSON.
#[test]
fn the_whole_list_fits_an_agents_head() {
    let registry = mana_modules::registry().expect("the modules fit together");
    let shared = [
        ("cursor", "string", "`nextCursor` of the page before."),
        ("idempotencyKey", "string", "Done once."),
        ("dryRun", "boolean", "Change nothing."),
    ];
    let shown = |tool: &Tool| {
        let mut input = input(tool);
        for (name, kind, words) in shared {
            if input["properties"].get(name).is_some() {
                input["properties"][name] = json!({ "type": kind, "description": words });
            }
        }
        let keeping = ["createdAt", "updatedAt", "archivedAt"];
        let members = tool.output_schema().get("properties").and_then(Value::as_object).into_iter().flatten();
        let told = members.filter(|(name, _)| !keeping.contains(&name.as_str()));
        let typed = |(name, member): (&String, &Value)| Some((name.clone(), json!({ "type": member.get("type")? })));
        let output: serde_json::Map<String, Value> = told.filter_map(typed).collect();
        let output = if tool.hint() == Hint::Read || tool.is_idempotent() {
            json!({ "type": "object" })
        } else {
            json!({ "type": "object", "properties": output })
        };
        let shown = json!({
            "name": tool.name(),
            "title": tool.name(),
            "description": tool.description(),
            "inputSchema": input,
            "outputSchema": output,
            "annotations": {
                "readOnlyHint": false, "destructiveHint": false, "idempotentHint": false, "openWorldHint": false
            },
            "_meta": { "mana/name": tool.dotted() },
        });
        shown.to_string().replace(r#","minLength":1}"#, "}").replace(r#""minLength":1,"#, "").len()
    };
    let bytes: usize = registry.tools().map(shown).sum();
    assert!(bytes / 4 <= 45_000, "the list of tools costs about {} tokens", bytes / 4);
}

#[tokio::test]
async fn reading_an_empty_space_works_and_changes_nothing() {
    each_world(|world| async move {
        for tool in world.registry.tools().filter(|tool| tool.hint() == Hint::Read) {
            let needs: Vec<&Value> =
                tool.input_schema().get("required").and_then(Value::as_array).into_iter().flatten().collect();
            if needs.is_empty() {
                world.ok(tool.name(), json!({})).await;
            }
        }
        let changes = world.test.db.query("SELECT COUNT(*) FROM record_change").one::<(i64,)>().await.expect("counts");
        assert_eq!(changes.0, 0);
    })
    .await;
}

#[tokio::test]
async fn unknown_fields_are_refused_with_the_nearest_known_name() {
    each_world(|world| async move {
        for tool in world.registry.tools() {
            let fields = world.wrong_fields(tool.name(), json!({ "noSuchFieldAtAll": 1 })).await;
            assert!(fields.contains(&"noSuchFieldAtAll".to_owned()), "{}: {fields:?}", tool.name());
        }
    })
    .await;
}
