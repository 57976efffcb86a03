//! The stock of phrases: data, read once.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use mana_types::Lang;
use serde::Deserialize;

use super::dice::Dice;

type Roles = BTreeMap<String, Vec<String>>;

#[derive(Debug, Deserialize)]
struct Stock {
    #[serde(rename = "version")]
    _version: u32,
    de: Phrases,
    en: Phrases,
}

#[derive(Debug, Deserialize)]
struct Phrases {
    general: Roles,
    module: BTreeMap<String, Roles>,
    archetype: BTreeMap<String, Roles>,
    rating: Roles,
    closing: Roles,
}

static STOCK: LazyLock<Stock> = LazyLock::new(|| {
    toml::from_str(include_str!("../../phrases.toml")).expect("the file is part of the program, and a test reads it")
});

fn phrases(lang: Lang) -> &'static Phrases {
    match lang {
        Lang::De => &STOCK.de,
        Lang::En => &STOCK.en,
    }
}

fn role<'a>(roles: &'a Roles, role: &str) -> &'a [String] {
    roles.get(role).map_or(&[], Vec::as_slice)
}

/// Phrases of this role for one module, without the fallback.
pub(crate) fn of_module(lang: Lang, module: &str, name: &str) -> &'static [String] {
    phrases(lang).module.get(module).map_or(&[], |roles| role(roles, name))
}

/// Phrases of this role for any module.
pub(crate) fn general(lang: Lang, name: &str) -> &'static [String] {
    role(&phrases(lang).general, name)
}

/// Phrases of this kind of person: `opener`, `closer`, `title`.
pub(crate) fn of_archetype(lang: Lang, archetype: &str, name: &str) -> &'static [String] {
    phrases(lang).archetype.get(archetype).map_or(&[], |roles| role(roles, name))
}

/// A note for a rating that was computed: `smooth`, `bumpy` or `bad`.
pub(crate) fn rating_note(lang: Lang, mood: &str, dice: &mut Dice) -> Option<&'static str> {
    dice.pick(role(&phrases(lang).rating, mood)).map(String::as_str)
}

/// The last sentence of a visit.
pub(crate) fn closing(lang: Lang, mood: &str, dice: &mut Dice) -> &'static str {
    dice.pick(role(&phrases(lang).closing, mood)).map_or("", String::as_str)
}

/// Which roles of a module belong together: entry N of one list goes with entry N of the others.
pub(crate) const fn paired(module: &str) -> &'static [&'static str] {
    match module.as_bytes() {
        b"notes" | b"journal" => &["title", "content"],
        b"calendar" => &["title", "description", "location"],
        b"goals" => &["title", "metric"],
        b"dreams" => &["title", "content", "symbols"],
        b"library" => &["title", "creators", "kind", "year"],
        b"articles" => &["title", "content", "author"],
        b"news" => &["title", "topic", "excerpt"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stock_is_complete_in_both_languages_and_its_pairs_match() {
        for lang in [Lang::De, Lang::En] {
            for name in ["title", "text", "tag", "search", "person_first", "person_last", "city", "company"] {
                assert!(!general(lang, name).is_empty(), "{lang:?} {name}");
            }
            for module in phrases(lang).module.keys() {
                let lengths: Vec<usize> =
                    paired(module).iter().map(|name| of_module(lang, module, name).len()).collect();
                assert!(
                    lengths.windows(2).all(|pair| pair[0] == pair[1] && pair[0] > 0),
                    "{lang:?} {module} {lengths:?}"
                );
            }
            let mut dice = Dice::new(&[0; 32], 0);
            for mood in ["good", "bad"] {
                assert!(!closing(lang, mood, &mut dice).is_empty());
            }
            for mood in ["smooth", "bumpy", "bad"] {
                assert!(rating_note(lang, mood, &mut dice).is_some());
            }
        }
        assert_eq!(
            phrases(Lang::De).archetype.keys().collect::<Vec<_>>(),
            phrases(Lang::En).archetype.keys().collect::<Vec<_>>()
        );
    }
}
