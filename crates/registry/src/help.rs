//! Small things that many modules do alike.

/// Replaces a field where a new value was given: absent means unchanged.
pub fn put<T: Clone>(field: &mut T, new: Option<&T>) {
    if let Some(new) = new {
        field.clone_from(new);
    }
}

/// How many words a text has. What has neither a letter nor a digit, such as a dash or a `#`, is no word.
pub fn count_words(text: &str) -> usize {
    text.split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)).count()
}

/// The most characters of an excerpt, without the marks of what was left out.
const EXCERPT: usize = 280;

/// A short piece of a long text on one line: its beginning, or the place where `about` stands in it.
///
/// `…` marks where something was left out.
pub fn excerpt(text: &str, about: Option<&str>) -> String {
    let plain: Vec<char> = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().collect();
    let hit = about.and_then(|about| position(&plain, about)).unwrap_or(0);
    let mut start = if hit < EXCERPT / 2 { 0 } else { hit - EXCERPT / 4 };
    start = start.min(plain.len().saturating_sub(EXCERPT));
    let mut end = plain.len().min(start + EXCERPT);
    // Whole words, unless one is longer than half of the excerpt.
    if start > 0
        && let Some(space) = plain[start..start + EXCERPT / 4].iter().position(|c| *c == ' ')
    {
        start += space + 1;
    }
    if end < plain.len()
        && let Some(space) = plain[end - EXCERPT / 4..end].iter().rposition(|c| *c == ' ')
    {
        end = end - EXCERPT / 4 + space;
    }
    let piece: String = plain[start..end].iter().collect();
    let before = if start > 0 { "… " } else { "" };
    let after = if end < plain.len() { " …" } else { "" };
    format!("{before}{piece}{after}")
}

/// Where a text stands among these characters, whatever its case.
fn position(text: &[char], part: &str) -> Option<usize> {
    let lower = |c: char| c.to_lowercase().next().unwrap_or(c);
    let part: Vec<char> = part.split_whitespace().collect::<Vec<_>>().join(" ").chars().map(lower).collect();
    if part.is_empty() {
        return None;
    }
    text.windows(part.len()).position(|window| window.iter().map(|c| lower(*c)).eq(part.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_value_changes_nothing() {
        let mut field = 1;
        put(&mut field, None);
        assert_eq!(field, 1);
        put(&mut field, Some(&2));
        assert_eq!(field, 2);
    }

    #[test]
    fn dashes_are_no_words() {
        assert_eq!(count_words("# Plan - für  morgen:\n- 3 Äpfel"), 5);
        assert_eq!(count_words(" — "), 0);
    }

    #[test]
    fn an_excerpt_is_short_and_shows_what_was_sought() {
        assert_eq!(excerpt("kurz\nund gut", Some("fehlt")), "kurz und gut");
        let long = format!("{}Nadel {}", "Heu ".repeat(500), "Stroh ".repeat(500));
        let start = excerpt(&long, None);
        assert!(start.starts_with("Heu Heu") && start.ends_with("Heu …"), "{start}");
        for about in ["nadel", "NADEL  Stroh"] {
            let found = excerpt(&long, Some(about));
            assert!(found.contains("Nadel") && found.starts_with("… Heu") && found.ends_with("Stroh …"), "{found}");
        }
        let end = excerpt(&format!("{}Schluss", "ä ".repeat(900)), Some("schluss"));
        assert!(end.ends_with("ä Schluss") && end.chars().count() <= EXCERPT + 4, "{end}");
        assert_eq!(excerpt(&"x".repeat(1000), None).chars().count(), EXCERPT + 2);
    }
}
