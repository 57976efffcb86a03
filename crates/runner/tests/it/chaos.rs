//! Visits that misbehave, over real connections.

use std::collections::BTreeMap;

use mana_runner::{EngineChoice, RunnerOptions};
use serde_json::Value;

use crate::world::{World, persona, runner_with};

/// The kind of mischief that a call was, by its id.
fn family(tool_use_id: &str) -> Option<&str> {
    tool_use_id.strip_prefix("chaos_")?.split_once('_').map(|(_, family)| family)
}

#[tokio::test]
async fn a_visit_of_chaos_is_told_to_the_end_and_says_what_it_tried() {
    let world = World::start().await;
    world.make_due((0..4).map(|i| persona(&format!("p{i}"), &format!("tick-{i}"))));
    let runner = runner_with(RunnerOptions { engine: EngineChoice::Chaos, ..world.options() });

    let result = runner.pass().await.expect("a pass");

    assert_eq!((result.due, result.failed.len()), (4, 0), "{result:?}");
    let log = world.log();
    let mut families: BTreeMap<String, usize> = BTreeMap::new();
    for (tick, finish) in &log.finishes {
        assert_eq!((&finish["engine"], &finish["simulated"]), (&"chaos".into(), &Value::Bool(true)));
        let rows = finish["actions"].as_array().expect("rows");
        let (bad, well): (Vec<&Value>, Vec<&Value>) =
            rows.iter().partition(|row| family(row["toolUseId"].as_str().expect("an id")).is_some());
        assert!(bad.len() > 6 && well.len() > 2, "{tick}: {} and {}", bad.len(), well.len());
        for row in well {
            assert_eq!(row["result"], "ok", "{row}");
        }
        for row in bad {
            let family = family(row["toolUseId"].as_str().expect("an id")).expect("it has one");
            *families.entry(family.to_owned()).or_default() += 1;
            if family == "unknown" {
                assert_eq!(row["code"], "unknown_tool", "{row}");
            }
        }
        // Whatever was asked is in the journal, and the journal could be read.
        assert!(log.journal[tick].len() > 10);
    }
    assert_eq!(families.len(), 12, "{families:?}");
    assert!(log.calls.iter().all(|call| call.tool != "todo_purge"), "nothing destructive is called");
    let most = log.calls.iter().map(|call| call.arguments.to_string().len()).max();
    assert!(most > Some(100_000), "something huge was sent: {most:?}");
}
