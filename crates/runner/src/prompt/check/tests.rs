use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::prompt::rating::tests::todays_use;

const DIARY: &str = "Ich wollte nur „schnell“ die Liste ansehen. Das ging gut, die Notiz aber nicht — schade.";
const RESULT: &str = r#"{"title":"Milch \"bio\"","note":"the note was changed in between"}"#;

fn row(module: &str) -> Value {
    let evidence = match module {
        "todo" => [0],
        "notes" => [1],
        _ => [4],
    };
    json!({ "module": module, "rating": 4, "noOpinion": null, "notes": "ging gut", "evidence": evidence,
        "quote": "Das ging gut", "confidence": 0.75 })
}

fn with(module: &str, changes: &Value) -> Value {
    let mut row = row(module);
    for (name, value) in changes.as_object().expect("changes").clone() {
        row[name] = value;
    }
    row
}

fn checked(answer: &str) -> Checked {
    check(answer, &todays_use(), DIARY, &[RESULT, "ok"])
}

fn good(checked: &Checked) -> Vec<&str> {
    checked.good.iter().map(|row| row.module.as_str()).collect()
}

#[test]
fn ratings_are_found_whatever_stands_around_them() {
    let whole = json!({ "ratings": [row("todo"), row("notes"), row("mood")] }).to_string();
    let list = json!([row("todo"), row("notes"), row("mood")]).to_string();
    let lines = format!("{}\n{}\n{}", row("todo"), row("notes"), row("mood"));
    for answer in [
        whole.clone(),
        list,
        lines,
        format!("Gern [1], hier {{meine}} Meinung:\n```json\n{whole}\n```\nBis morgen!"),
        json!({ "ratings": [row("todo"), row("notes"), row("mood")], "mood": "fine" }).to_string(),
    ] {
        let checked = checked(&answer);
        assert_eq!(good(&checked), ["todo", "notes", "mood"], "{answer}");
        assert!(
            checked.faults.is_empty() && checked.forgotten.is_empty() && checked.wanted().is_empty(),
            "{checked:?}"
        );
    }
}

#[test]
fn an_answer_without_ratings_says_why() {
    for (answer, flaw) in [
        ("", Flaw::NoAnswer),
        (" \n", Flaw::NoAnswer),
        ("Dazu möchte ich nichts sagen.", Flaw::NoJson),
        ("{}", Flaw::NoJson),
        (r#"{"ratings": []}"#, Flaw::NoJson),
        (r#"{"ratings": "4"}"#, Flaw::NoJson),
        ("[4, 4, 5]", Flaw::NoJson),
        (r#"{"ratings": [{"module": "to"#, Flaw::NoJson),
    ] {
        let checked = checked(answer);
        assert_eq!(checked.faults.iter().map(|fault| &fault.flaw).collect::<Vec<_>>(), [&flaw], "{answer}");
        assert_eq!(checked.forgotten, ["todo", "notes", "mood"], "{answer}");
        assert!(checked.good.is_empty() && !checked.is_clean());
        assert!(
            checked.reason().ends_with("; todo: is still missing; notes: is still missing; mood: is still missing")
        );
    }
}

#[test]
fn what_was_not_asked_for_is_passed_over() {
    let checked = checked(&json!([row("todo"), row("chess"), row("notes"), row("mood"), 7]).to_string());
    assert!(checked.is_clean() && checked.faults.len() == 2 && checked.reason().is_empty(), "{checked:?}");
}

#[test]
fn an_answer_that_was_cut_off_counts_as_far_as_it_goes() {
    let whole = json!({ "ratings": [row("todo"), row("notes"), row("mood")] }).to_string();
    let cut = &whole[..whole.find("mood").expect("in it") + 2];
    let checked = checked(cut);
    assert_eq!((good(&checked), checked.forgotten.as_slice()), (vec!["todo", "notes"], &["mood".to_owned()][..]));
}

#[test]
fn every_fault_of_a_row_is_named_and_costs_no_other_row() {
    let table = [
        (json!({ "rating": 6 }), "`rating` is “6”, expected a whole number from 1 to 5"),
        (json!({ "rating": 0 }), "`rating` is “0”, expected a whole number from 1 to 5"),
        (json!({ "rating": -1 }), "`rating` is “-1”, expected a whole number from 1 to 5"),
        (json!({ "rating": 3.5 }), "`rating` is “3.5”, expected a whole number from 1 to 5"),
        (json!({ "rating": 1e300 }), "`rating` is “1e+300”, expected a whole number from 1 to 5"),
        (json!({ "rating": "4" }), "`rating` is “'4'”, expected one of the numbers"),
        (json!({ "rating": true }), "`rating` is “true”, expected one of the numbers"),
        (json!({ "rating": null }), "neither `rating` nor `noOpinion` is set"),
        (json!({ "rating": null, "noOpinion": "  " }), "neither `rating` nor `noOpinion` is set"),
        (json!({ "noOpinion": "zu wenig gesehen" }), "`rating` and `noOpinion` are both set"),
        (json!({ "rating": null, "noOpinion": true }), "`noOpinion` is “true”, expected a reason as text"),
        (json!({ "notes": ["gut"] }), "`notes` is “['gut']”, expected text"),
        (json!({ "evidence": [] }), "`evidence` is missing"),
        (json!({ "evidence": null }), "`evidence` is missing"),
        (json!({ "evidence": 0 }), "`evidence` contains “0”, expected numbers of steps"),
        (json!({ "evidence": ["0"] }), "`evidence` contains “'0'”, expected numbers of steps"),
        (json!({ "evidence": [0, 17] }), "`evidence` contains “17”, there was no step of this number today"),
        (json!({ "evidence": [0, 1] }), "`evidence` contains “1”, this step belongs to another area"),
        (json!({ "evidence": [0.5] }), "`evidence` contains “0.5”, expected numbers of steps"),
        (json!({ "quote": null }), "`quote` is missing"),
        (json!({ "quote": " „“ " }), "`quote` is missing"),
        (json!({ "quote": 4 }), "`quote` is “4”, expected text"),
        (json!({ "quote": "ging" }), "`quote` is too short"),
        (json!({ "quote": "das ging sehr gut" }), "`quote` occurs neither in your lines"),
        (json!({ "confidence": 1.01 }), "`confidence` is “1.01”, expected a number from 0 to 1"),
        (json!({ "confidence": "high" }), "`confidence` is “'high'”, expected a number from 0 to 1"),
    ];
    for (changes, expected) in table {
        let answer = json!({ "ratings": [with("todo", &changes), row("notes"), row("mood")] }).to_string();
        let checked = checked(&answer);
        assert_eq!(good(&checked), ["notes", "mood"], "{changes}");
        assert_eq!(checked.faults.len(), 1, "{:?}", checked.faults);
        assert_eq!(checked.faults[0].module.as_deref(), Some("todo"));
        assert!(checked.faults[0].what.starts_with(expected), "{changes}: {}", checked.faults[0].what);
        assert!(checked.forgotten.is_empty());
        assert_eq!(checked.wanted(), ["todo"]);
    }
    let answer =
        json!({ "ratings": [with("todo", &json!({ "rating": 9, "evidence": [9], "quote": "" }))] }).to_string();
    assert_eq!(checked(&answer).faults.len(), 3);
}

#[test]
fn what_may_differ_does() {
    let table = [
        json!({ "rating": 4.0 }),
        json!({ "evidence": [0.0, 2, 0] }),
        json!({ "confidence": 0 }),
        json!({ "confidence": null, "notes": null }),
        json!({ "mood": "fine", "stars": 5 }),
        json!({ "quote": "„DAS  ging\ngut“" }),
        json!({ "quote": "nur \"schnell\" die Liste" }),
        json!({ "quote": "die Notiz aber nicht - schade…" }),
        json!({ "quote": "Milch \"bio\"" }),
        json!({ "quote": "THE NOTE was changed" }),
        json!({ "quote": "OK" }),
        json!({ "module": " todo " }),
        json!({ "rating": null, "noOpinion": "zu wenig gesehen", "quote": "", "evidence": [] }),
    ];
    for changes in table {
        let answer = json!({ "ratings": [with("todo", &changes), row("notes"), row("mood")] }).to_string();
        let checked = checked(&answer);
        assert_eq!(good(&checked), ["todo", "notes", "mood"], "{changes}: {:?}", checked.faults);
    }
    let nul = with("todo", &json!({ "notes": "a\0b\nc", "quote": "Das\0ging\tgut" }));
    let row = &checked(&json!([nul]).to_string()).good[0];
    assert_eq!((row.notes.as_deref(), row.quote.as_deref()), (Some("ab\nc"), Some("Das ging gut")));
    let long = with("todo", &json!({ "notes": "ü".repeat(5_000) }));
    let checked = checked(&json!([long]).to_string());
    assert_eq!(checked.good[0].notes.as_ref().map(|notes| notes.chars().count()), Some(2_000));
}

#[test]
fn a_module_rated_twice_counts_neither_time_and_one_that_was_not_used_never() {
    let answer = json!({ "ratings": [row("todo"), with("todo", &json!({ "rating": 2 })), with("chess", &json!({})), 7,
        { "rating": 3 }, row("notes")] });
    let checked = checked(&answer.to_string());
    assert_eq!(good(&checked), ["notes"]);
    let faults: Vec<_> = checked.faults.iter().map(|fault| (fault.module.as_deref(), &fault.flaw)).collect();
    assert_eq!(
        faults,
        [
            (Some("todo"), &Flaw::Doubled),
            (Some("chess"), &Flaw::NotUsed),
            (None, &Flaw::NoRow),
            (None, &Flaw::NoModule)
        ]
    );
    assert_eq!(
        (checked.forgotten.as_slice(), checked.wanted()),
        (&["mood".to_owned()][..], vec!["todo".into(), "mood".into()])
    );
}

#[test]
fn an_answer_about_what_was_missing_only_may_repeat_the_rest() {
    let missing = &todays_use()[1..];
    let again = json!([row("todo"), row("notes"), row("mood")]).to_string();
    let second = check(&again, missing, DIARY, &[]);
    assert!(second.is_clean(), "{second:?}");
    assert_eq!(good(&second), ["notes", "mood"]);
}

/// Whether a row obeys every rule, written down a second time.
fn holds(row: &Rated) -> bool {
    let used = todays_use();
    let Some(module) = used.iter().find(|known| known.module == row.module) else { return false };
    let is_grounded = row.rating.is_none() || (!row.evidence.is_empty() && row.quote.is_some());
    row.rating.is_some() != row.no_opinion.is_some()
        && row.rating.is_none_or(|rating| (1..=5).contains(&rating))
        && row.evidence.iter().all(|index| module.actions.iter().any(|action| action.0 == *index))
        && is_grounded
        && row.notes.as_ref().is_none_or(|notes| notes.chars().count() <= 2_000)
        && row.confidence.is_none_or(|share| (0.0..=1.0).contains(&share))
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2..8_i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z \"„“]{0,12}".prop_map(Value::from),
        Just(json!("Das ging gut")),
        prop::collection::vec(-1..6_i64, 0..4).prop_map(Value::from),
        Just(json!({ "a": [1] })),
    ]
}

fn any_row() -> impl Strategy<Value = Value> {
    let modules = prop_oneof![Just("todo"), Just("notes"), Just("mood"), Just("chess"), Just("")];
    let field = prop_oneof![
        Just("rating"),
        Just("noOpinion"),
        Just("notes"),
        Just("evidence"),
        Just("quote"),
        Just("confidence"),
        Just("module")
    ];
    (modules, prop::collection::vec((field, any_value()), 0..4)).prop_map(|(module, changes)| {
        let mut row = row(module);
        for (field, value) in changes {
            row[field] = value;
        }
        row
    })
}

proptest! {
    #[test]
    fn whatever_is_answered_only_sound_rows_are_good(
        rows in prop::collection::vec(any_row(), 0..5), before in ".{0,20}", after in ".{0,20}", cut in 0..120_usize
    ) {
        let text = format!("{before}{}{after}", json!({ "ratings": rows }));
        let length = text.chars().count();
        let kept: String = text.chars().enumerate().take_while(|(at, _)| at * 100 < cut * length).map(|(_, c)| c).collect();
        let checked = checked(&kept);
        prop_assert!(checked.good.iter().all(holds), "{checked:?}");
        // Everybody is either good, or asked for again.
        for module in ["todo", "notes", "mood"] {
            let times = checked.good.iter().filter(|row| row.module == module).count();
            prop_assert!(times == usize::from(!checked.wanted().iter().any(|wanted| wanted == module)), "{checked:?}");
        }
    }

    #[test]
    fn no_text_makes_it_panic(answer in "[\\[\\]{}:,\"a-zß\\\\0-9. „“]{0,200}", free in any::<String>()) {
        for text in [&answer, &free] {
            let checked = checked(text);
            prop_assert!(checked.good.iter().all(holds));
            let _ = checked.wanted();
        }
    }
}
