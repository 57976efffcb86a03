//! From the names that a server gives its tools to names that every model provider takes.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// How long a name may be on the wire to a model.
const LONGEST: usize = 64;

/// `_` and eight hexadecimal digits.
const SUFFIX: usize = 9;

/// The wire names of some tools, in their order: unique, `^[a-zA-Z0-9_-]{1,64}$`. A name that fits already stays as it
/// is; of the others each unfit character becomes `_`. Where that is too long, or another tool's name, the beginning of
/// the SHA-256 of the full name follows. The same list gives the same names, in whatever order it came.
pub(super) fn wire_names(originals: &[&str]) -> Vec<String> {
    let cleaned: Vec<String> = originals.iter().map(|name| clean(name)).collect();
    let mut wanted = HashMap::new();
    for name in &cleaned {
        *wanted.entry(name.as_str()).or_insert(0_usize) += 1;
    }
    let fits = |i: usize| cleaned[i] == originals[i] && cleaned[i].len() <= LONGEST;
    let mut taken: HashSet<String> = (0..originals.len()).filter(|i| fits(*i)).map(|i| cleaned[i].clone()).collect();
    let mut names = vec![String::new(); originals.len()];
    let mut in_order: Vec<usize> = (0..originals.len()).collect();
    in_order.sort_by_key(|i| originals[*i]);
    for i in in_order {
        let name = &cleaned[i];
        let is_free = || name.len() <= LONGEST && wanted[name.as_str()] == 1;
        names[i] = if fits(i) || (is_free() && taken.insert(name.clone())) {
            name.clone()
        } else {
            suffixed(name, originals[i], &mut taken)
        };
    }
    names
}

fn clean(name: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    let clean: String = name.chars().map(fit).collect();
    if clean.is_empty() { "tool".to_owned() } else { clean }
}

fn suffixed(clean: &str, original: &str, taken: &mut HashSet<String>) -> String {
    let head = &clean[..clean.len().min(LONGEST - SUFFIX)];
    let mut hash = Sha256::digest(original.as_bytes());
    loop {
        let mut name = format!("{head}_");
        for byte in &hash[..4] {
            write!(name, "{byte:02x}").expect("writing to a String cannot fail");
        }
        if taken.insert(name.clone()) {
            return name;
        }
        // Somebody gave a tool the very name that this one would get.
        hash = Sha256::digest(hash);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_fit_stay_and_others_are_cleaned() {
        let names = ["Weird.Tool/Name", "todo_create", "a-b", "", "größe"];
        assert_eq!(wire_names(&names), ["Weird_Tool_Name", "todo_create", "a-b", "tool", "gr__e"]);
    }

    #[test]
    fn a_clash_gives_a_suffix_to_whoever_was_cleaned() {
        // The suffixes were computed with another implementation: Python's `hashlib`.
        let names = wire_names(&["get.item", "get_item", "get/item"]);
        assert_eq!(names, ["get_item_82acaeb6", "get_item", "get_item_5eede0d9"]);
        assert_eq!(wire_names(&["get/item", "get.item", "get_item"]), [&*names[2], &*names[0], &*names[1]]);
    }

    #[test]
    fn an_overlong_name_keeps_its_head_and_stays_one_of_its_own() {
        let (one, two) = (format!("{}1", "x".repeat(79)), format!("{}2", "x".repeat(79)));
        let names = wire_names(&[&one, &two]);
        assert!(names.iter().all(|name| name.len() == 64 && name.starts_with(&"x".repeat(55))), "{names:?}");
        assert_ne!(names[0], names[1]);
    }

    #[test]
    fn a_name_that_looks_like_a_suffixed_one_is_not_taken_from_its_owner() {
        let names = wire_names(&["get.item", "get_item", "get_item_82acaeb6"]);
        assert_eq!((&*names[1], &*names[2]), ("get_item", "get_item_82acaeb6"));
        assert!(names[0].starts_with("get_item_") && names[0] != names[2], "{names:?}");
    }

    proptest! {
        #[test]
        fn every_list_gets_unique_names_of_the_alphabet(list in prop::collection::hash_set("[a-c._/é]{0,4}|[a._]{60,70}", 0..40)) {
            let originals: Vec<&str> = list.iter().map(String::as_str).collect();
            let names = wire_names(&originals);
            let unique: HashSet<&String> = names.iter().collect();
            prop_assert_eq!(unique.len(), originals.len());
            for (name, original) in names.iter().zip(&originals) {
                let fits = |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
                prop_assert!(fits(name), "{}", name);
                prop_assert!(!fits(original) || name == original);
            }
        }
    }
}
