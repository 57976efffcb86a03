//! What is asked about the modules that were used, and how it is asked again.

use std::fmt::Write as _;

use mana_types::Lang;
use serde_json::{Value, json};

use super::check::Checked;
use super::text::{fill, plain_name, texts};
use crate::rehearsal::dice::Dice;
use crate::wire::Action;

/// How many faults are named when an answer is asked for again.
const MOST_FAULTS: usize = 30;

/// A module that was used on a visit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UsedModule {
    pub(crate) module: String,
    /// Its calls: number, tool, whether it went well, and the code if not.
    pub(crate) actions: Vec<(usize, String, bool, Option<String>)>,
}

impl UsedModule {
    /// The modules that some calls used, in the order of first use. A call that was never made is no use.
    pub(crate) fn of(actions: &[Action]) -> Vec<Self> {
        let mut used: Vec<Self> = Vec::new();
        let made = |action: &&Action| action.was_made() && !action.module.is_empty();
        for action in actions.iter().filter(made) {
            let row = (action.index, action.tool_name.clone(), !action.is_error(), action.code.clone());
            match used.iter_mut().find(|known| known.module == action.module) {
                Some(known) => known.actions.push(row),
                None => used.push(Self { module: action.module.clone(), actions: vec![row] }),
            }
        }
        used
    }
}

/// A question for ratings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RatingRequest {
    /// What is said.
    pub(crate) message: String,
    /// The JSON schema that the answer must follow, as far as a provider enforces one.
    pub(crate) schema: Value,
    /// The modules in the order in which they are asked for.
    pub(crate) order: Vec<String>,
}

/// Asks for a rating of every module that was used, in an order of chance. What was rated on earlier visits is not shown.
pub(crate) fn rating_request(lang: Lang, used: &[UsedModule], dice: &mut Dice) -> RatingRequest {
    let texts = texts(lang);
    let mut shuffled: Vec<&UsedModule> = used.iter().collect();
    for last in (1..shuffled.len()).rev() {
        shuffled.swap(last, dice.below(last + 1));
    }
    let mut actions = String::new();
    for module in &shuffled {
        let gap = if actions.is_empty() { "" } else { "\n\n" };
        write!(actions, "{gap}`{}`:", plain_name(&module.module)).expect("writing to a String cannot fail");
        for action in &module.actions {
            write!(actions, "\n{}", action_line(lang, action)).expect("writing to a String cannot fail");
        }
    }
    if actions.is_empty() {
        actions.clone_from(&texts.words.action.none);
    }
    let order: Vec<String> = shuffled.iter().map(|module| module.module.clone()).collect();
    let message = fill(texts.rating.trim(), &[("actions", &actions), ("modules", &listed(&order))]);
    RatingRequest { message, schema: schema(&shuffled), order }
}

fn action_line(lang: Lang, (index, tool, ok, code): &(usize, String, bool, Option<String>)) -> String {
    let words = &texts(lang).words.action;
    let (index, tool) = (index.to_string(), plain_name(tool));
    let code = code.as_deref().map(plain_name).filter(|code| !code.is_empty());
    match (ok, code) {
        (true, _) => fill(&words.ok, &[("index", &index), ("tool", &tool)]),
        (false, None) => fill(&words.error, &[("index", &index), ("tool", &tool)]),
        (false, Some(code)) => fill(&words.error_code, &[("index", &index), ("tool", &tool), ("code", &code)]),
    }
}

/// Names for a sentence.
fn listed(modules: &[String]) -> String {
    modules.iter().map(|module| format!("`{}`", plain_name(module))).collect::<Vec<_>>().join(", ")
}

/// Only keywords that structured output enforces: a range is a list of values. Everything is checked again here.
fn schema(used: &[&UsedModule]) -> Value {
    let modules: Vec<&str> = used.iter().map(|module| module.module.as_str()).collect();
    let mut numbers: Vec<usize> = used.iter().flat_map(|module| module.actions.iter().map(|action| action.0)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    // An empty list of values would be no schema.
    let one_of = |kind: &str, values: Value| match values.as_array() {
        Some(values) if values.is_empty() => json!({ "type": kind }),
        _ => json!({ "type": kind, "enum": values }),
    };
    json!({
        "type": "object",
        "properties": {
            "ratings": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "module": one_of("string", json!(modules)),
                        "rating": { "anyOf": [{ "type": "integer", "enum": [1, 2, 3, 4, 5] }, { "type": "null" }] },
                        "noOpinion": { "anyOf": [{ "type": "string" }, { "type": "null" }] },
                        "notes": { "type": "string" },
                        "evidence": { "type": "array", "items": one_of("integer", json!(numbers)) },
                        "quote": { "type": "string" },
                        "confidence": { "type": "number", "enum": [0, 0.25, 0.5, 0.75, 1] },
                    },
                    "required": ["module", "rating", "noOpinion", "notes", "evidence", "quote", "confidence"],
                    "additionalProperties": false,
                },
            },
        },
        "required": ["ratings"],
        "additionalProperties": false,
    })
}

/// Asks again for the modules whose rating is faulty or missing, naming every fault. The schema is that of the first
/// request.
pub(crate) fn repair_request(lang: Lang, checked: &Checked) -> String {
    let texts = texts(lang);
    let words = &texts.words.fault;
    let line = |module: Option<&str>, what: &str| match module {
        Some(module) => fill(&words.line, &[("module", &plain_name(module)), ("what", what)]),
        None => fill(&words.line_without_module, &[("what", what)]),
    };
    let faults = checked.faults.iter().map(|fault| line(fault.module.as_deref(), &fault.flaw.said(lang)));
    let forgotten = checked.forgotten.iter().map(|module| line(Some(module), &words.forgotten));
    let faults: Vec<String> = faults.chain(forgotten).take(MOST_FAULTS).collect();
    fill(texts.repair.trim(), &[("faults", &faults.join("\n")), ("modules", &listed(&checked.wanted()))])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::prompt::check;
    use crate::wire::ActionResult;

    pub(crate) fn todays_use() -> Vec<UsedModule> {
        let ok = |index: usize, tool: &str| (index, tool.to_owned(), true, None);
        vec![
            UsedModule { module: "todo".into(), actions: vec![ok(0, "todo_list"), ok(2, "todo_create")] },
            UsedModule {
                module: "notes".into(),
                actions: vec![(1, "notes_update".into(), false, Some("conflict".into())), ok(3, "notes_get")],
            },
            UsedModule { module: "mood".into(), actions: vec![(4, "mood_log".into(), false, None)] },
        ]
    }

    fn dice(stream: u64) -> Dice {
        Dice::new(&[3; 32], stream)
    }

    #[test]
    fn the_question_lists_what_was_done() {
        let request = rating_request(Lang::De, &todays_use(), &mut dice(1));
        insta::assert_snapshot!(request.message, @r#"
        Eines noch: Sag zu jedem Bereich, den du heute benutzt hast, was du von ihm hältst. Urteile allein nach dem, was heute geschehen ist, nicht danach, was möglich wäre oder nett klänge.

        Die Stufen:

        - 1: Ich habe aufgegeben oder es woanders erledigt.
        - 2: Ich kam ans Ziel, aber nur mit Ärger oder auf Umwegen. Nächstes Mal würde ich etwas anderes nehmen.
        - 3: Es ging, mit kleinen Mühen. Ob ich es wieder nehme, ist mir gleich.
        - 4: Es hat ohne Umwege getan, was ich wollte. Ich würde es wieder nehmen.
        - 5: Es hat mir wirklich Zeit gespart. Es würde mir fehlen.

        Hast du von einem Bereich zu wenig gesehen, um etwas zu sagen, dann gib keine Stufe, sondern nenne den Grund. Das ist besser als eine geratene Zahl.

        Das hast du heute getan, mit Nummer, Werkzeug und Ergebnis:

        `mood`:
        - 4: `mood_log`, ging schief

        `todo`:
        - 0: `todo_list`, hat geklappt
        - 2: `todo_create`, hat geklappt

        `notes`:
        - 1: `notes_update`, ging schief (`conflict`)
        - 3: `notes_get`, hat geklappt

        Antworte nur mit JSON in dieser Form, ohne Text davor oder danach:

        {"ratings": [{"module": …, "rating": …, "noOpinion": …, "notes": …, "evidence": […], "quote": …, "confidence": …}]}

        - `module`: jeder dieser Bereiche genau einmal: `mood`, `todo`, `notes`
        - `rating`: eine der Zahlen 1, 2, 3, 4, 5; ohne Meinung `null`
        - `noOpinion`: der Grund, wenn du keine Meinung hast; sonst `null`
        - `notes`: ein bis drei Sätze in deinen Worten: was gab den Ausschlag?
        - `evidence`: die Nummern, auf denen dein Urteil beruht, nur solche dieses Bereichs, mindestens eine
        - `quote`: eine Stelle von wenigstens acht Zeichen, wörtlich aus dem, was du eben über den Tag geschrieben hast, oder aus einem Ergebnis von heute
        - `confidence`: wie sicher du dir bist: 0, 0.25, 0.5, 0.75 oder 1
        "#);
    }

    #[test]
    fn every_order_occurs_and_the_same_dice_give_the_same_order() {
        let orders: std::collections::BTreeSet<Vec<String>> =
            (0..60).map(|stream| rating_request(Lang::En, &todays_use(), &mut dice(stream)).order).collect();
        assert_eq!(orders.len(), 6);
        let again = || rating_request(Lang::En, &todays_use(), &mut dice(9));
        assert_eq!(again(), again());
    }

    #[test]
    fn the_schema_takes_a_good_answer_and_uses_only_what_is_enforced() {
        let request = rating_request(Lang::En, &todays_use(), &mut dice(1));
        let schema = jsonschema::validator_for(&request.schema).expect("a schema");
        let row = |module: &str, rating: Value, evidence: Value| {
            json!({ "module": module, "rating": rating, "noOpinion": null, "notes": "", "evidence": evidence,
                "quote": "it took two tries", "confidence": 0.75 })
        };
        assert!(
            schema.is_valid(
                &json!({ "ratings": [row("todo", json!(4), json!([0])), row("mood", json!(null), json!([]))] })
            )
        );
        for bad in [
            row("calendar", json!(4), json!([0])),
            row("todo", json!(6), json!([0])),
            row("todo", json!("4"), json!([0])),
            row("todo", json!(4), json!([7])),
        ] {
            assert!(!schema.is_valid(&json!({ "ratings": [bad] })), "{bad}");
        }
        let text = request.schema.to_string();
        for keyword in ["minimum", "maximum", "maxLength", "minLength", "pattern", "minItems", "maxItems", "$ref"] {
            assert!(!text.contains(keyword), "{keyword}");
        }
        let nothing = rating_request(Lang::En, &[], &mut dice(1));
        assert!(jsonschema::validator_for(&nothing.schema).is_ok() && !nothing.schema.to_string().contains("[]"));
    }

    #[test]
    fn calls_that_were_never_made_are_no_use() {
        let action = |index: usize, module: &str, code: Option<&str>| Action {
            index,
            tool_name: format!("{module}_list"),
            module: module.to_owned(),
            input_hash: String::new(),
            result: if code.is_some() { ActionResult::Error } else { ActionResult::Ok },
            code: code.map(str::to_owned),
            error_message: None,
            latency_ms: 1,
            tool_use_id: format!("call_{index}"),
            result_bytes: None,
            result_hash: None,
        };
        let actions = [
            action(0, "todo", None),
            action(1, "notes", Some("not_executed")),
            action(2, "todo", Some("conflict")),
            action(3, "", Some("unknown_tool")),
        ];
        let used = UsedModule::of(&actions);
        assert_eq!(used.len(), 1);
        assert_eq!(used[0].actions.iter().map(|row| (row.0, row.2)).collect::<Vec<_>>(), [(0, true), (2, false)]);
    }

    #[test]
    fn a_repair_names_every_fault_and_asks_for_nothing_else() {
        let answer = r#"{"ratings":[
            {"module":"todo","rating":9,"evidence":[1,"x"],"quote":"kurz"},
            {"module":"mood","rating":2,"evidence":[4],"quote":"es ging nicht"},
            {"module":"chess","rating":3,"evidence":[0],"quote":"es ging nicht"}]}"#;
        let checked = check(answer, &todays_use(), "Gewollt hatte ich viel, aber es ging nicht.", &[]);
        insta::assert_snapshot!(repair_request(Lang::De, &checked), @r#"
        Damit stimmt noch etwas nicht:

        - `todo`: `rating` ist „9“, gebraucht wird eine ganze Zahl von 1 bis 5
        - `todo`: in `evidence` steht „1“, dieser Handgriff gehört zu einem anderen Bereich
        - `todo`: in `evidence` steht „'x'“, gebraucht werden Nummern von Handgriffen
        - `todo`: `quote` ist zu kurz, gebraucht werden wenigstens acht Zeichen
        - `chess`: diesen Bereich hast du heute nicht benutzt
        - `notes`: fehlt noch

        Bitte noch einmal, in derselben Form und nur für: `todo`, `notes`. Der Rest ist angekommen. Nur JSON, ohne Text davor oder danach. Wenn du zu einem Bereich nichts sagen kannst, dann `"rating": null` und den Grund in `noOpinion`.
        "#);
        let english = repair_request(Lang::En, &checked);
        assert!(english.contains("only for: `todo`, `notes`.") && !english.contains('{'), "{english}");
    }
}
