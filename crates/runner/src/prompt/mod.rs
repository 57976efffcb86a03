//! What is said to a persona, and what its answers are worth.
//!
//! Everything here is pure: texts go in, texts come out, and chance comes from a seed. The texts themselves stand in
//! `prompts/`, what happens in a persona's life and what it may have in mind in `data/`.
//!
//! The parts of a conversation, in the order in which a provider caches them: [`rules`] (the same for all personas of a
//! language), [`persona`] (the same on each of its visits), then messages: [`opening`] with everything that belongs to the
//! day, [`diary_question`], [`rating_request`], and once at most [`repair_request`].

mod check;
mod goal;
mod life;
mod memory;
mod opening;
mod rating;
mod story;
mod text;

pub(crate) use check::{Checked, Rated, check};
pub(crate) use goal::goal;
pub(crate) use life::life_events;
pub(crate) use memory::Memory;
pub(crate) use opening::{Opening, opening};
pub(crate) use rating::{UsedModule, rating_request, repair_request};
pub(crate) use story::{check_story, story_is_due, story_marks, story_request};
pub(crate) use text::VERSION;

use std::sync::Arc;

use mana_types::Lang;

use crate::rehearsal::lang_of;
use crate::wire::{Behaviour, Persona};
use text::{Manner, fill, one_line, texts};

/// What holds for every persona of a language alike, to the letter.
pub(crate) fn rules(lang: Lang) -> Arc<str> {
    texts(lang).rules.trim().into()
}

/// Who a persona is: its own words, its name, and the numbers of its behaviour put into words. The same on every visit,
/// to the letter.
pub(crate) fn persona(persona: &Persona) -> Arc<str> {
    let texts = texts(lang_of(persona));
    let (length, typos, patience) = manner(&texts.words.manner, persona.behaviour.unwrap_or_default());
    let values = [
        ("name", one_line(&persona.shown_name(), 200)),
        ("prompt", persona.system_prompt.trim().to_owned()),
        ("length", length),
        ("typos", typos),
        ("patience", patience),
    ];
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
    fill(texts.persona.trim(), &values).into()
}

/// How somebody writes, mistypes and bears with errors.
fn manner(words: &Manner, behaviour: Behaviour) -> (String, String, String) {
    let length = match behaviour.verbosity {
        ..0.2 => &words.length_terse,
        ..0.45 => &words.length_short,
        ..0.7 => &words.length_plain,
        _ => &words.length_long,
    };
    let typos = match behaviour.typo_rate {
        ..0.006 => &words.typos_none,
        ..0.04 => &words.typos_some,
        _ => &words.typos_many,
    };
    let patience = match behaviour.tolerated_errors {
        0 => words.patience_none.clone(),
        1 => words.patience_one.clone(),
        errors => fill(&words.patience_some, &[("errors", &errors.to_string())]),
    };
    let minutes = fill(&words.minutes, &[("minutes", &format!("{:.0}", behaviour.tolerated_minutes.max(1.0)))]);
    (length.clone(), typos.clone(), format!("{patience} {minutes}"))
}

/// What is asked when the day is over: what was wanted, what happened, what annoyed, and whether one would come back.
pub(crate) fn diary_question(lang: Lang) -> String {
    texts(lang).diary.trim().to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// Somebody to talk to.
    pub(crate) fn somebody(email: &str, archetype: &str, locale: &str) -> Persona {
        serde_json::from_value(json!({
            "email": email,
            "name": "Anna Berger",
            "archetype": archetype,
            "systemPrompt": "Ich bin Anna, 28. {name} bleibt {name}.",
            "moduleMix": { "todo": 0.5, "journal": 0.3, "notes": 0.2 },
            "locale": locale,
            "timezone": "Europe/Berlin",
            "behaviour": {
                "toleratedErrors": 2, "toleratedMinutes": 6.0, "typoRate": 0.06, "skipRate": 0.1, "verbosity": 0.3
            },
        }))
        .expect("a persona")
    }

    #[test]
    fn a_persona_is_told_who_it_is_in_its_own_words() {
        let anna = persona(&somebody("persona.anna@mana.test", "adhd-student", "de"));
        insta::assert_snapshot!(anna, @r#"
        # Wer du bist

        Du heißt Anna Berger. In deinen eigenen Worten:

        Ich bin Anna, 28. {name} bleibt {name}.

        # Wie du dich hier verhältst

        Du schreibst knapp: kurze Sätze, nichts Überflüssiges. Du tippst hastig; Vertipper und Buchstabendreher bleiben stehen, auch in dem, was du einträgst.

        Bis zu 2 Fehler an einem Tag nimmst du hin; danach hörst du auf und sagst es. Mehr als etwa 6 Minuten hast du an einem Tag nicht übrig.
        "#);
    }

    #[test]
    fn system_texts_do_not_change_from_visit_to_visit_and_name_no_date() {
        let anna = somebody("persona.anna@mana.test", "adhd-student", "en");
        assert_eq!(persona(&anna), persona(&anna));
        for lang in [Lang::De, Lang::En] {
            assert!(!rules(lang).contains('{') && !rules(lang).contains("202"), "{}", rules(lang));
        }
        assert_ne!(rules(Lang::De), rules(Lang::En));
        assert!(persona(&anna).contains("Ich bin Anna, 28. {name} bleibt {name}."));
    }
}
