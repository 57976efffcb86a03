//! A module is one file and one word: both, or neither.

use super::source::Source;

/// The file that holds the word for every module.
pub(super) const LIST: &str = "crates/modules/src/lib.rs";

/// The module that a file is, if it is one.
pub(super) fn name_of(path: &str) -> Option<&str> {
    let name = path.strip_prefix("crates/modules/src/")?.strip_suffix(".rs")?;
    (name != "lib" && !name.contains('/')).then_some(name)
}

/// The words in `modules![…]`, if the list is there.
pub(super) fn listed(source: &Source) -> Option<Vec<String>> {
    let (_, after) = source.code.split_once("modules![")?;
    let (list, _) = after.split_once(']')?;
    Some(list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect())
}

/// Files without a word, words without a file, words said twice.
pub(super) fn check(files: &[String], listed: Option<&[String]>) -> Vec<String> {
    let Some(listed) = listed else {
        return vec![format!("{LIST}: there is no `modules![…]`, so no module is registered")];
    };
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| !listed.contains(file)) {
        findings
            .push(format!("crates/modules/src/{file}.rs: not registered: add `{file}` to `modules![…]` in `{LIST}`"));
    }
    for (index, word) in listed.iter().enumerate() {
        if !files.contains(word) {
            findings.push(format!("{LIST}: `{word}` has no file: write `crates/modules/src/{word}.rs`"));
        }
        if listed[..index].contains(word) {
            findings.push(format!("{LIST}: `{word}` is registered twice"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(files: &[&str], lib: &str) -> Vec<String> {
        let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
        check(&files, listed(&Source::parse(lib)).as_deref())
    }

    const LIB: &str =
        "//! `modules![doc]`\nmacro_rules! modules { () => {} }\nmodules![\n    notes, // why\n    todo,\n];";

    #[test]
    fn file_and_word_together_are_right() {
        assert_eq!(findings(&["todo", "notes"], LIB), [""; 0]);
    }

    #[test]
    fn a_file_without_a_word_and_a_word_without_a_file_are_found() {
        assert_eq!(
            findings(&["todo", "mood"], LIB),
            [
                "crates/modules/src/mood.rs: not registered: add `mood` to `modules![…]` in `crates/modules/src/lib.rs`",
                "crates/modules/src/lib.rs: `notes` has no file: write `crates/modules/src/notes.rs`"
            ]
        );
        assert_eq!(findings(&["todo"], "modules![todo, todo]").len(), 1);
        assert_eq!(findings(&[], "//! nothing yet").len(), 1);
    }

    #[test]
    fn only_files_beside_the_list_are_modules() {
        assert_eq!(name_of("crates/modules/src/todo.rs"), Some("todo"));
        assert_eq!(name_of("crates/modules/src/lib.rs"), None);
        assert_eq!(name_of("crates/modules/src/library/isbn.rs"), None);
        assert_eq!(name_of("crates/web/src/todo.rs"), None);
    }
}
