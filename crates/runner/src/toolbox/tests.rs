use serde_json::json;

use super::*;

fn listed(value: Value) -> rmcp::model::Tool {
    serde_json::from_value(value).expect("a tool")
}

fn names(toolbox: &Toolbox) -> Vec<(&str, &str)> {
    toolbox.tools().iter().map(|tool| (tool.name.as_str(), tool.original.as_str())).collect()
}

#[test]
fn two_hundred_tools_in_any_order_give_one_list() {
    let tools = (0..200).map(|i| match i % 4 {
        0 => json!({ "name": format!("area{}_do{i}", i % 7), "inputSchema": {} }),
        1 => json!({ "name": format!("area.do/{i}"), "inputSchema": { "$ref": "#/$defs/I", "$defs": { "I": { "properties": { "a": {} } } } } }),
        2 => json!({ "name": format!("{}{i}", "long".repeat(20)), "inputSchema": { "oneOf": [{ "required": ["a"] }, {}] } }),
        _ => json!({ "name": format!("plain_{i}"), "inputSchema": { "type": "object" }, "annotations": { "readOnlyHint": true } }),
    });
    let tools: Vec<_> = tools.map(listed).collect();
    let backwards: Vec<_> = tools.iter().rev().cloned().collect();
    let (one, two) = (Toolboxes::default().of_list(tools), Toolboxes::default().of_list(backwards));
    assert_eq!(one.hash(), two.hash());
    assert_eq!(names(&one), names(&two));
    assert_eq!(one.tools().len(), 200);
    for tool in one.tools() {
        assert!(tool.name.len() <= 64 && tool.schema["type"] == "object", "{tool:?}");
        assert_eq!(one.get(&tool.name).map(|found| &found.original), Some(&tool.original));
    }
}

#[test]
fn a_tool_keeps_what_its_server_says_of_it() {
    let toolbox = Toolboxes::default().of_list(vec![listed(json!({
        "name": "todo.create",
        "description": "Create a task.",
        "inputSchema": { "type": "object" },
        "outputSchema": { "type": "object", "properties": { "id": {}, "title": {} } },
        "annotations": { "destructiveHint": false, "idempotentHint": true },
        "_meta": { "mana/module": "todo" },
    }))]);
    let tool = toolbox.get("todo_create").expect("known by its wire name");
    assert_eq!((tool.original.as_str(), tool.description.as_str()), ("todo.create", "Create a task."));
    assert_eq!((tool.module.as_str(), tool.answers.join(" ")), ("todo", "id title".to_owned()));
    assert!(tool.idempotent && !tool.destructive && !tool.read_only);
}

#[test]
fn a_tool_that_says_nothing_may_destroy_and_is_not_repeated() {
    let toolbox =
        Toolboxes::default().of_list(vec![listed(json!({ "name": "x", "title": "X it", "inputSchema": {} }))]);
    let tool = toolbox.get("x").expect("a tool");
    assert!(tool.destructive && !tool.idempotent && !tool.read_only);
    assert_eq!(tool.description, "X it");
}

#[test]
fn a_module_comes_from_the_server_or_the_mapping_or_the_name() {
    let map = [("create_*", "issues"), ("create_pull_*", "Pulls"), ("zap", "power")];
    let map = ModuleMap::of(map.map(|(from, to)| (from.to_owned(), to.to_owned())).into());
    let told = json!({ "name": "create_told", "inputSchema": {}, "_meta": { "mana/module": "told" } });
    let plain =
        ["create_issue", "create_pull_request", "zap", "server__tool", "Weird.Tool/Name", "__parse", "größe_list"];
    let list = plain.iter().map(|name| json!({ "name": name, "inputSchema": {} })).chain([told]);
    let toolbox = Toolboxes::default().of_list_with(list.map(listed).collect(), &map);
    let module = |original: &str| {
        let found = toolbox.tools().iter().find(|tool| tool.original == original);
        found.map(|tool| tool.module.clone()).unwrap_or_default()
    };
    let all = [
        "create_told",
        "create_issue",
        "create_pull_request",
        "zap",
        "server__tool",
        "Weird.Tool/Name",
        "__parse",
        "größe_list",
    ];
    assert_eq!(all.map(module), ["told", "issues", "pulls", "power", "server", "weird", "parse", "größe"]);
    assert_eq!(toolbox.module_of("gone_fishing"), "gone");
    assert_eq!(toolbox.module_of("../../x"), "x");
    assert_eq!(toolbox.module_of("…"), "tools");
}

#[test]
fn a_mapping_makes_another_list() {
    let boxes = Toolboxes::default();
    let list = || vec![listed(json!({ "name": "zap", "inputSchema": {} }))];
    let mapped = ModuleMap::of([("zap".to_owned(), "power".to_owned())].into());
    let (plain, with_map) = (boxes.of_list(list()), boxes.of_list_with(list(), &mapped));
    assert_ne!(plain.hash(), with_map.hash());
    assert!(Arc::ptr_eq(&plain, &boxes.of_list(list())));
}
