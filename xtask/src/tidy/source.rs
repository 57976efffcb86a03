//! Rust text taken apart just far enough for the rules: code, string literals, test modules.

/// A source file whose comments, literals and test modules have been told apart from its code.
pub(super) struct Source {
    /// The text with comments, strings and test modules blanked out; line breaks are kept.
    pub(super) code: String,
    /// String literals outside of test modules: line (from 1) and content between the quotes.
    pub(super) strings: Vec<(usize, String)>,
    /// How many lines belong to `#[cfg(test)] mod …`.
    pub(super) test_lines: usize,
}

impl Source {
    /// Takes `text` apart. Text that is no Rust gives a best guess, never a panic.
    pub(super) fn parse(text: &str) -> Self {
        let (mut code, literals) = blank_literals(text);
        let test_modules = find_test_modules(&code);
        let mut test_lines = 0;
        for (start, end) in &test_modules {
            test_lines += code[*start..*end].matches('\n').count() + 1;
            let blank = blanked(&code.as_bytes()[*start..*end]);
            code.replace_range(*start..*end, &blank);
        }
        let strings = literals
            .into_iter()
            .filter(|(start, _)| !test_modules.iter().any(|(from, to)| (from..to).contains(&start)))
            .map(|(start, content)| (line_of(text, start), content))
            .collect();
        Self { code, strings, test_lines }
    }

    /// Lines (from 1) on which `word` stands in code, not as a part of a longer name.
    pub(super) fn lines_with(&self, word: &str) -> Vec<usize> {
        let mut lines: Vec<usize> = self
            .code
            .match_indices(word)
            .filter(|(start, _)| {
                let before = self.code[..*start].chars().next_back();
                let after = self.code[start + word.len()..].chars().next();
                !before.is_some_and(in_name) && !after.is_some_and(in_name)
            })
            .map(|(start, _)| line_of(&self.code, start))
            .collect();
        lines.dedup();
        lines
    }
}

fn in_name(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Blanks as many bytes as `bytes` has, with its line breaks.
fn blanked(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| if *byte == b'\n' { '\n' } else { ' ' }).collect()
}

/// The text with comments and literals blanked, and the strings with the place where they start.
fn blank_literals(text: &str) -> (String, Vec<(usize, String)>) {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut strings = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let (length, content) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), None)
        } else if rest.starts_with("/*") {
            (comment_length(rest), None)
        } else if let Some(hashes) = raw_string(text, at) {
            let (length, content) = raw_string_length(rest, hashes);
            (length, Some(content))
        } else if rest.starts_with('"') {
            let length = quoted_length(rest);
            let content = rest[1..length].strip_suffix('"').unwrap_or(&rest[1..length]);
            (length, Some(content.to_owned()))
        } else if let Some(length) = char_length(rest) {
            (length, None)
        } else {
            let char = rest.chars().next().expect("`at` is within the text and on a boundary");
            code.push(char);
            at += char.len_utf8();
            continue;
        };
        code.push_str(&blanked(&bytes[at..at + length]));
        if let Some(content) = content {
            strings.push((at, content));
        }
        at += length;
    }
    (code, strings)
}

/// Length of the block comment at the start of `rest`; they nest.
fn comment_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut depth = 0usize;
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// How many `#` open the raw string that starts at `at`, if one does.
fn raw_string(text: &str, at: usize) -> Option<usize> {
    let rest = text[at..].strip_prefix('r')?;
    // `br"…"` and `cr"…"` are raw strings too; `var"` cannot occur.
    let before = text[..at].trim_end_matches(['b', 'c']);
    if before.chars().next_back().is_some_and(in_name) {
        return None;
    }
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}

fn raw_string_length(rest: &str, hashes: usize) -> (usize, String) {
    let start = 1 + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    match rest[start..].find(&close) {
        Some(length) => (start + length + close.len(), rest[start..start + length].to_owned()),
        None => (rest.len(), rest[start..].to_owned()),
    }
}

fn quoted_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Length of the character literal at the start of `rest`; a lifetime is none.
fn char_length(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    if let Some(escaped) = inner.strip_prefix('\\') {
        let first = escaped.chars().next()?.len_utf8();
        return escaped[first..].find('\'').map(|close| 2 + first + close + 1);
    }
    let first = inner.chars().next()?.len_utf8();
    inner[first..].starts_with('\'').then_some(1 + first + 1)
}

/// Byte ranges of `#[cfg(test)] mod name { … }` in blanked code.
fn find_test_modules(code: &str) -> Vec<(usize, usize)> {
    const MARK: &str = "#[cfg(test)]";
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(start) = code[from..].find(MARK).map(|offset| from + offset) {
        from = start + MARK.len();
        let mut item = code[from..].trim_start();
        while item.starts_with("#[") {
            item = item[matching(item, '[', ']')..].trim_start();
        }
        if !item.starts_with("mod ") {
            continue;
        }
        let declared_only = item.find(';').unwrap_or(usize::MAX) < item.find('{').unwrap_or(usize::MAX);
        if !declared_only {
            from = code.len() - item.len() + matching(item, '{', '}');
            found.push((start, from));
        }
    }
    found
}

/// Where the first bracket of `text` is closed: the offset behind its counterpart, or the end.
fn matching(text: &str, open: char, close: char) -> usize {
    let mut depth = 0usize;
    for (offset, char) in text.char_indices() {
        if char == open {
            depth += 1;
        } else if char == close {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return offset + close.len_utf8();
            }
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(text: &str) -> Vec<(usize, String)> {
        Source::parse(text).strings
    }

    #[test]
    fn strings_of_every_kind_are_taken_out() {
        let text = "let a = \"one \\\" two\";\nlet b = r#\"raw \" text\"#;\nlet c = br\"bytes\";\nlet r#type = b\"x\";";
        let found = strings(text);
        assert_eq!(
            found,
            [
                (1, "one \\\" two".to_owned()),
                (2, "raw \" text".to_owned()),
                (3, "bytes".to_owned()),
                (4, "x".to_owned())
            ]
        );
        assert!(Source::parse(text).code.contains("let r#type"));
    }

    #[test]
    fn comments_and_characters_are_not_strings() {
        let text =
            "// say \"no\"\n/* a /* nested \"no\" */ still */ let q = '\"'; let e = '\\''; fn f<'a>(x: &'a str) {}";
        assert!(strings(text).is_empty());
        let source = Source::parse(text);
        assert!(source.code.contains("fn f<'a>(x: &'a str) {}"));
        assert!(source.lines_with("nested").is_empty());
    }

    #[test]
    fn words_are_whole() {
        let source =
            Source::parse("use a::StatusCode;\nfn is_StatusCodeLike() {}\n// StatusCode\nlet s = StatusCode::OK;");
        assert_eq!(source.lines_with("StatusCode"), [1, 4]);
    }

    #[test]
    fn test_modules_are_set_aside() {
        let text = "fn f() {}\n#[cfg(test)]\n#[expect(lint, reason = \"]\")]\nmod tests {\n    const A: &str = \"}\";\n}\nfn g() { \"kept\" }\n";
        let source = Source::parse(text);
        assert_eq!(source.test_lines, 5);
        assert_eq!(source.strings, [(7, "kept".to_owned())]);
        assert!(source.code.contains("fn g()"));
        assert!(!source.code.contains("const A"));
    }

    #[test]
    fn a_test_module_in_another_file_ends_at_its_name() {
        let source = Source::parse("#[cfg(test)]\nmod tests;\nfn g() {}\n");
        assert_eq!(source.test_lines, 0);
        assert!(source.code.contains("fn g()"));
    }

    #[test]
    fn broken_text_is_survived() {
        for text in ["\"", "r#\"", "/* open", "'", "'\\", "#[cfg(test)] mod x {", "\"\\", "\"ä", "\"\\ä", "ä'ö'"] {
            Source::parse(text);
        }
    }
}
