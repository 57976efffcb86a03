//! Small things about text: the two languages, and what somebody probably meant.

use serde::{Deserialize, Serialize};

/// A language of everything that a person or persona reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    /// German.
    De,
    /// English.
    #[default]
    En,
}

impl Lang {
    /// The language of a locale such as `de`, `de-CH` or `en_GB`; anything that is not German reads English.
    pub fn of_locale(locale: &str) -> Self {
        let language = locale.split(['-', '_']).next().unwrap_or_default();
        if language.eq_ignore_ascii_case("de") { Self::De } else { Self::En }
    }
}

/// The candidate that was probably meant by `word`: the nearest by edit distance, if it is near at all.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Two letters that changed places count as two faults: from five letters on that is still near.
    let limit = ((word.chars().count() + 1) / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in characters, ignoring case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().flat_map(char::to_lowercase).take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substitution = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_found_and_the_far_is_not() {
        let tools = ["todo_create", "todo_complete", "notes_create"];
        assert_eq!(nearest("todo_crate", tools), Some("todo_create"));
        assert_eq!(nearest("TODO_COMPLETED", tools), Some("todo_complete"));
        assert_eq!(nearest("weather", tools), None);
        assert_eq!(nearest("titel", ["tags", "title"]), Some("title"));
        assert_eq!(nearest("data", ["tags", "title"]), None);
    }

    #[test]
    fn locales_become_languages() {
        assert_eq!(Lang::of_locale("de-AT"), Lang::De);
        assert_eq!(Lang::of_locale("DE"), Lang::De);
        assert_eq!(Lang::of_locale("fr"), Lang::En);
    }
}
