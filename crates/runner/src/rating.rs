//! The ratings of a `rehearsal` visit: computed from what happened, by a fixed formula, and labelled as such.
//!
//! For every module that was used, with its calls in order:
//!
//! ```text
//! score  = 5 - 4 * errors / calls - retries / 2 - slowness
//! rating = score rounded half up, held within 1..5
//! ```
//!
//! `errors` are the calls that failed, for whatever reason; `retries` are the calls right after a failed call of the same
//! tool; `slowness` is taken from the median latency: 0 below one second, 1 below three, 2 below ten, else 3. So an error
//! in every call is a 1, one error in four calls a 4, and a module that works but takes two seconds a call a 4.

use std::collections::BTreeMap;

use mana_types::Lang;

use crate::rehearsal::dice::Dice;
use crate::rehearsal::stock;
use crate::wire::{Action, Feedback};

/// Rates every module that the actions touched, in the order of first use.
pub(crate) fn from_behaviour(actions: &[Action], lang: Lang, dice: &mut Dice) -> Vec<Feedback> {
    let mut order: Vec<&str> = Vec::new();
    let mut by_module: BTreeMap<&str, Vec<&Action>> = BTreeMap::new();
    for action in actions.iter().filter(|action| action.code.as_deref() != Some("not_executed")) {
        if !order.contains(&action.module.as_str()) {
            order.push(&action.module);
        }
        by_module.entry(&action.module).or_default().push(action);
    }
    order
        .into_iter()
        .filter_map(|module| {
            let used = by_module.get(module)?;
            let rating = rating(used);
            let errors = used.iter().filter(|action| action.is_error()).count();
            let mood = match (rating, errors) {
                (..=2, _) => "bad",
                (_, 0) => "smooth",
                _ => "bumpy",
            };
            let notes = stock::rating_note(lang, mood, dice).map(|note| {
                note.replace("{module}", module)
                    .replace("{calls}", &used.len().to_string())
                    .replace("{errors}", &errors.to_string())
            });
            let evidence = used.iter().map(|action| action.index).collect();
            Some(Feedback {
                module: module.to_owned(),
                rating: Some(rating),
                no_opinion: None,
                notes,
                evidence,
                quote: None,
                confidence: None,
                simulated: true,
            })
        })
        .collect()
}

/// The formula. In quarters of a point, so that nothing is rounded before the end.
fn rating(used: &[&Action]) -> u8 {
    let calls = used.len().max(1);
    let errors = used.iter().filter(|action| action.is_error()).count();
    let retries = used.windows(2).filter(|pair| pair[0].is_error() && pair[0].tool_name == pair[1].tool_name).count();
    let mut latencies: Vec<u64> = used.iter().map(|action| action.latency_ms).collect();
    latencies.sort_unstable();
    let slowness = match latencies.get(latencies.len() / 2).copied().unwrap_or(0) {
        ..1_000 => 0,
        1_000..3_000 => 1,
        3_000..10_000 => 2,
        _ => 3,
    };
    let hundredths = 500_usize.saturating_sub(400 * errors / calls + 50 * retries + 100 * slowness);
    u8::try_from(((hundredths + 50) / 100).clamp(1, 5)).unwrap_or(5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ActionResult;

    fn action(index: usize, tool: &str, ok: bool, latency_ms: u64) -> Action {
        let module = tool.split('_').next().unwrap_or_default().to_owned();
        Action {
            index,
            tool_name: tool.to_owned(),
            module,
            input_hash: "0".repeat(16),
            result: if ok { ActionResult::Ok } else { ActionResult::Error },
            code: None,
            error_message: None,
            latency_ms,
            tool_use_id: format!("call_{index}"),
            result_bytes: None,
            result_hash: None,
        }
    }

    #[test]
    fn the_formula_gives_what_its_documentation_says() {
        let table: [(&[(bool, u64)], u8); 7] = [
            (&[(true, 5), (true, 9)], 5),
            (&[(true, 5), (true, 5), (true, 5), (false, 5)], 4),
            (&[(true, 5), (false, 5)], 3),
            (&[(false, 5), (false, 5)], 1),
            (&[(true, 2_000)], 4),
            (&[(true, 5_000)], 3),
            (&[(true, 30_000)], 2),
        ];
        for (calls, expected) in table {
            let names = ["todo_a", "todo_b"];
            let actions: Vec<Action> =
                calls.iter().enumerate().map(|(i, (ok, ms))| action(i, names[i % 2], *ok, *ms)).collect();
            assert_eq!(rating(&actions.iter().collect::<Vec<_>>()), expected, "{calls:?}");
        }
    }

    #[test]
    fn a_retry_costs_half_a_point_more() {
        let twice = [action(0, "todo_a", false, 1), action(1, "todo_a", true, 1), action(2, "todo_b", true, 1)];
        let once = [action(0, "todo_a", false, 1), action(1, "todo_b", true, 1), action(2, "todo_b", true, 1)];
        assert_eq!((rating(&twice.iter().collect::<Vec<_>>()), rating(&once.iter().collect::<Vec<_>>())), (3, 4));
    }

    #[test]
    fn every_used_module_is_rated_once_with_its_own_evidence() {
        let actions = [action(0, "todo_a", true, 1), action(1, "notes_a", false, 1), action(2, "todo_b", true, 1)];
        let feedback = from_behaviour(&actions, Lang::En, &mut Dice::new(&[0; 32], 0));
        let shown: Vec<_> =
            feedback.iter().map(|row| (row.module.as_str(), row.rating, row.evidence.as_slice())).collect();
        assert_eq!(shown, [("todo", Some(5), &[0, 2][..]), ("notes", Some(1), &[1][..])]);
        for row in &feedback {
            let notes = row.notes.as_deref().expect("a note that says so");
            assert!(row.simulated && notes.contains(&row.module) && !notes.contains('{'), "{notes}");
        }
    }
}
