//! What a persona has in mind on a day: drawn from the modules it likes, or left over from an earlier visit, or nothing.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use mana_types::{Date, Lang, TickId};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::memory::Memory;
use super::text::{fill, one_line, plain_name};
use crate::rehearsal::dice::Dice;
use crate::rehearsal::lang_of;
use crate::wire::Persona;

/// The data, part of the version of all texts.
pub(super) const DATA: &str = include_str!("../../data/goals.toml");

/// How often a day has no goal.
const NOTHING: f64 = 0.4;

/// How often something left over comes before something new, where there is something left over.
const LEFT_OVER: f64 = 0.35;

/// The list of the modules that have none of their own.
const ANY: &str = "any";

static GOALS: LazyLock<BTreeMap<String, Goals>> =
    LazyLock::new(|| toml::from_str(DATA).expect("the file is part of the program, and a test reads it"));

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Goals {
    de: Vec<String>,
    en: Vec<String>,
}

impl Goals {
    fn of(&self, lang: Lang) -> &[String] {
        match lang {
            Lang::De => &self.de,
            Lang::En => &self.en,
        }
    }
}

/// What the persona has in mind today, if anything. The same visit always has the same goal.
pub(crate) fn goal(persona: &Persona, today: Date, tick: &TickId, memory: Option<&Memory>) -> Option<String> {
    let seed: [u8; 32] = Sha256::digest(format!("goal\n{}\n{today}\n{tick}", persona.email)).into();
    let mut dice = Dice::new(&seed, 0);
    if dice.chance(NOTHING) {
        return None;
    }
    let left_over = memory.map_or_else(Vec::new, Memory::goals);
    if dice.chance(LEFT_OVER)
        && let Some(goal) = dice.pick(&left_over)
    {
        return Some(one_line(goal, 300)).filter(|goal| !goal.is_empty());
    }
    let (modules, weights): (Vec<&String>, Vec<f64>) =
        persona.module_mix.iter().filter(|(_, weight)| **weight > 0.0).unzip();
    let module = modules.get(dice.weighted(&weights)?)?;
    let goals = GOALS.get(module.as_str()).filter(|_| *module != ANY).or_else(|| GOALS.get(ANY))?;
    let goal = dice.pick(goals.of(lang_of(persona)))?;
    Some(fill(goal, &[("module", &plain_name(module))]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::memory::tests::remembered;
    use crate::prompt::tests::somebody;

    #[test]
    fn the_data_has_as_many_goals_in_both_languages() {
        for (module, goals) in GOALS.iter() {
            assert!(goals.de.len() >= 3 && goals.de.len() == goals.en.len(), "{module}");
            for goal in goals.de.iter().chain(&goals.en) {
                assert!(!goal.ends_with('.') && goal.contains("{module}") == (module == ANY), "{module}: {goal}");
            }
        }
        // The modules of the ten personas.
        for module in
            "todo journal notes mood calendar habits contacts articles dreams library goals news invoices".split(' ')
        {
            assert!(GOALS.contains_key(module), "{module}");
        }
    }

    #[test]
    fn about_two_days_in_five_have_no_goal_and_a_visit_keeps_its_own() {
        let anna = somebody("persona.anna@mana.test", "adhd-student", "de");
        let today = "2026-11-20".parse().expect("a date");
        let memory = remembered();
        let drawn: Vec<Option<String>> = (0..400)
            .map(|n| {
                let tick = format!("tick-{n}").parse().expect("a tick id");
                let goal = goal(&anna, today, &tick, Some(&memory));
                assert_eq!(goal, super::goal(&anna, today, &tick, Some(&memory)));
                goal
            })
            .collect();
        let without = drawn.iter().filter(|goal| goal.is_none()).count();
        assert!((130..=190).contains(&without), "{without}");
        let left_over = drawn.iter().flatten().filter(|goal| memory.goals().contains(&goal.as_str())).count();
        assert!((50..=120).contains(&left_over), "{left_over}");
        assert!(drawn.iter().flatten().all(|goal| !goal.contains('{')));
    }

    #[test]
    fn a_module_that_nobody_thought_of_has_goals_too() {
        let mut anna = somebody("persona.anna@mana.test", "adhd-student", "en");
        anna.module_mix = BTreeMap::from([("warehouse".to_owned(), 1.0)]);
        let today = "2026-11-20".parse().expect("a date");
        let goals = (0..20).filter_map(|n| goal(&anna, today, &format!("t{n}").parse().expect("a tick id"), None));
        assert!(goals.inspect(|goal| assert!(goal.contains("warehouse"), "{goal}")).count() > 5);
    }
}
