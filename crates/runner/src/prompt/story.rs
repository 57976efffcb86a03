//! The story so far: what a persona has been through, in at most 180 words, each sentence with the visits it rests on.
//!
//! It is kept with the visits' own ids as marks, `… [0198a…][0198b…].`, so that it can be checked and linked wherever it
//! goes. Whoever tells it anew sees short marks instead, `[t1][t2]`, and the persona sees none.

use std::fmt::Write as _;

use mana_types::{Lang, TickId};
use sha2::{Digest, Sha256};

use super::text::{fill, one_line, texts};

/// How many words a story has at most, without the marks.
const MOST_WORDS: usize = 180;

/// How long a story may be that is kept, in characters, with the ids of its visits: the service cuts what is longer.
const MOST_KEPT: usize = 2_000;

/// After how many visits a story is told anew: at the soonest, and how many more it may be.
const EVERY: (u32, u32) = (5, 2);

/// How much of one line of the ledger is told, in characters.
const MOST_LINE: usize = 900;

/// A text, and the marks that stand behind it.
struct Piece<'a> {
    text: &'a str,
    marks: Vec<&'a str>,
}

/// Whether it is time to tell the story anew: after five to seven visits, always the same number for one persona.
pub(crate) fn story_is_due(visits_since: u32, persona_email: &str) -> bool {
    let byte = Sha256::digest(format!("story\n{persona_email}"))[0];
    visits_since >= EVERY.0 + u32::from(byte) % (EVERY.1 + 1)
}

/// The visits that the marks `[t1]`, `[t2]`, … of a [`story_request`] stand for, in order: those that the previous story
/// rests on, then the new ones.
pub(crate) fn story_marks(previous: Option<&str>, ledger_lines: &[(TickId, String)]) -> Vec<TickId> {
    let earlier = previous.map_or_else(Vec::new, pieces);
    let earlier = earlier.iter().flat_map(|piece| &piece.marks).filter_map(|mark| mark.parse().ok());
    let mut known: Vec<TickId> = Vec::new();
    for tick in earlier.chain(ledger_lines.iter().map(|(tick, _)| tick.clone())) {
        if !known.contains(&tick) {
            known.push(tick);
        }
    }
    known
}

/// What is asked to have the story told anew: the rules, and the message with everything that is known.
pub(crate) fn story_request(lang: Lang, previous: Option<&str>, ledger_lines: &[(TickId, String)]) -> (String, String) {
    let texts = texts(lang);
    let known = story_marks(previous, ledger_lines);
    let number = |tick: &str| known.iter().position(|known| known.as_str() == tick).map(|place| place + 1);
    let previous = previous.map(|text| {
        let mut told = String::new();
        for piece in pieces(text) {
            told.push_str(piece.text);
            for mark in piece.marks.iter().filter_map(|mark| number(mark)) {
                write!(told, "[t{mark}]").expect("writing to a String cannot fail");
            }
        }
        one_line(&told, 4_000)
    });
    let lines: Vec<String> = ledger_lines
        .iter()
        .filter_map(|(tick, line)| Some(format!("[t{}] {}", number(tick.as_str())?, one_line(line, MOST_LINE))))
        .collect();
    let words = &texts.words.story;
    let lines = if lines.is_empty() { words.no_lines.clone() } else { lines.join("\n") };
    let previous = previous.filter(|text| !text.is_empty()).unwrap_or_else(|| words.none.clone());
    let message = fill(texts.story.trim(), &[("previous", &previous), ("lines", &lines)]);
    (texts.story_rules.trim().to_owned(), message)
}

/// Reads a story that was told with the marks `[t1]`, `[t2]`, … for the visits `known`, and gives it back with their ids
/// as marks; or says why it cannot be kept. Ids are long: where there is no room for all of a sentence, its last ones stay.
pub(crate) fn check_story(text: &str, known: &[TickId]) -> Result<String, String> {
    let text = one_line(text, 8_000);
    let words = without_marks(&text).split_whitespace().count();
    if words == 0 {
        return Err("the story is empty".into());
    }
    if words > MOST_WORDS {
        return Err(format!("the story has {words} words, at most {MOST_WORDS} are allowed"));
    }
    let told = pieces(&text);
    every_sentence_is_marked(&told)?;
    let mut length = 0;
    for most_marks in [usize::MAX, 2, 1] {
        let kept = with_ids(&told, known, most_marks)?;
        length = kept.chars().count();
        if length <= MOST_KEPT {
            return Ok(kept);
        }
    }
    Err(format!("the story has {length} characters, at most {MOST_KEPT} can be kept"))
}

fn every_sentence_is_marked(told: &[Piece<'_>]) -> Result<(), String> {
    // Whether the marks just read belong to a sentence that is not over.
    let mut goes_on = false;
    for (place, piece) in told.iter().enumerate() {
        // What stands before the marks: what is left of the sentence before, then the sentence that rests on them.
        let (full_stop, sentence) = if place == 0 { ("", piece.text) } else { after_full_stop(piece.text) };
        let said = sentences(sentence);
        let first = usize::from(goes_on && !full_stop.contains(is_full_stop));
        let last = said.len().saturating_sub(usize::from(!piece.marks.is_empty()));
        let unmarked = said.get(first..last).and_then(<[String]>::first);
        if let Some(unmarked) = unmarked.filter(|sentence| sentence.chars().any(char::is_alphanumeric)) {
            return Err(format!("a sentence carries no mark: `{}`", one_line(unmarked, 120)));
        }
        goes_on = !after_quotes(sentence).ends_with(is_full_stop);
    }
    Ok(())
}

/// The story with the ids of the visits as marks, at most so many in one place.
fn with_ids(told: &[Piece<'_>], known: &[TickId], most_marks: usize) -> Result<String, String> {
    let mut kept = String::new();
    for piece in told {
        kept.push_str(piece.text);
        let spared = piece.marks.len().saturating_sub(most_marks);
        for (place, mark) in piece.marks.iter().enumerate() {
            let number: Option<usize> = mark.strip_prefix('t').and_then(|number| number.parse().ok());
            let tick = number.and_then(|number| known.get(number.checked_sub(1)?));
            let Some(tick) = tick else { return Err(format!("the mark `[{}]` is not known", one_line(mark, 40))) };
            if place >= spared {
                write!(kept, "[{tick}]").expect("writing to a String cannot fail");
            }
        }
    }
    Ok(kept.trim().to_owned())
}

/// A story without its marks.
pub(crate) fn without_marks(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for piece in pieces(text) {
        if piece.marks.is_empty() {
            plain.push_str(piece.text);
        } else {
            plain.push_str(piece.text.trim_end());
        }
    }
    plain
}

/// Splits a text at its marks; the last piece may have none.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find('[') {
        let open = at + found;
        match marks(&text[open..]) {
            Some((mut found, length)) => {
                let between = &text[start..open];
                at = open + length;
                start = at;
                match pieces.last_mut() {
                    Some(last) if between.trim().is_empty() => last.marks.append(&mut found),
                    _ => pieces.push(Piece { text: between, marks: found }),
                }
            }
            None => at = open + 1,
        }
    }
    if !text[start..].trim().is_empty() {
        pieces.push(Piece { text: &text[start..], marks: Vec::new() });
    }
    pieces
}

/// The marks within the brackets that a text begins with, and how many bytes they take: `[t1]`, `[t1, t2]`.
fn marks(text: &str) -> Option<(Vec<&str>, usize)> {
    let inner = text.strip_prefix('[')?;
    let inner = &inner[..inner.find(']')?];
    let marks: Vec<&str> = inner.split([',', ';']).map(str::trim).collect();
    let is_mark = |mark: &&str| {
        let known_shape =
            mark.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'));
        known_shape && mark.len() <= 128 && mark.bytes().any(|byte| byte.is_ascii_digit())
    };
    marks.iter().all(is_mark).then_some((marks, inner.len() + 2))
}

/// What is left of the sentence before a text, and the text.
fn after_full_stop(text: &str) -> (&str, &str) {
    let rest = text.trim_start().trim_start_matches(|c: char| is_full_stop(c) || is_closing(c)).trim_start();
    text.split_at(text.len() - rest.len())
}

/// A text without blanks and closing quotation marks at its end.
fn after_quotes(text: &str) -> &str {
    text.trim_end().trim_end_matches(is_closing)
}

const fn is_closing(c: char) -> bool {
    matches!(c, '"' | '“' | '”' | '»' | '\'' | '’' | ')')
}

const fn is_full_stop(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…')
}

/// The sentences of a text. An abbreviation or an ordinal does not end one: better two in one than one in two.
pub(crate) fn sentences(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut open = String::new();
    let words: Vec<&str> = text.split_whitespace().collect();
    for (place, word) in words.iter().enumerate() {
        if !open.is_empty() {
            open.push(' ');
        }
        open.push_str(word);
        let bare = after_quotes(word);
        let next_is_new = words.get(place + 1).is_none_or(|next| {
            let first = next.chars().find(|c| c.is_alphanumeric());
            first.is_some_and(|first| first.is_uppercase() || first.is_numeric())
        });
        if next_is_new && bare.ends_with(is_full_stop) && !is_abbreviated(bare) {
            found.push(std::mem::take(&mut open));
        }
    }
    if !open.is_empty() {
        found.push(open);
    }
    found
}

fn is_abbreviated(word: &str) -> bool {
    let Some(stem) = word.strip_suffix('.') else { return false };
    let stem = stem.trim_start_matches(|c: char| !c.is_alphanumeric());
    let known = ["bzw", "usw", "ca", "evtl", "ggf", "Dr", "Prof", "Nr", "St", "Mr", "Mrs", "Ms", "vs", "etc", "bspw"];
    stem.chars().count() <= 1
        || stem.contains('.')
        || stem.chars().all(|c| c.is_ascii_digit())
        || known.iter().any(|known| stem.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(names: &[&str]) -> Vec<TickId> {
        names.iter().map(|name| name.parse().expect("a tick id")).collect()
    }

    #[test]
    fn a_story_is_kept_with_the_ids_of_its_visits() {
        let known = ticks(&["a-1", "b-2", "c-3"]);
        let table = [
            ("Du hast angefangen [t1][t3].", Ok("Du hast angefangen [a-1][c-3].")),
            ("You began. [t1] You went on [t2, t3].", Ok("You began. [a-1] You went on [b-2][c-3].")),
            (
                "Du warst am 3. November dort, z. B. im Kalender [t2]! Dann nicht mehr [t3].",
                Ok("Du warst am 3. November dort, z. B. im Kalender [b-2]! Dann nicht mehr [c-3]."),
            ),
            ("Du sagtest „Nie wieder.“ und kamst zurück [t1].", Ok("Du sagtest „Nie wieder.“ und kamst zurück [a-1].")),
            ("Your list [the long one] grew [t1].", Ok("Your list [the long one] grew [a-1].")),
            (
                "Im Kalender [t1] war nichts mehr. Danach doch [t2].",
                Ok("Im Kalender [a-1] war nichts mehr. Danach doch [b-2]."),
            ),
            ("Im Kalender [t1] war nichts mehr. Danach doch.", Err("a sentence carries no mark: `Danach doch.`")),
            ("", Err("the story is empty")),
            (" [t1] ", Err("the story is empty")),
            ("Ohne Marke.", Err("a sentence carries no mark: `Ohne Marke.`")),
            ("Mit Marke [t1]. Ohne Marke.", Err("a sentence carries no mark: `Ohne Marke.`")),
            ("Ohne Marke. Mit Marke [t1].", Err("a sentence carries no mark: `Ohne Marke.`")),
            ("Mit [t1]. Ohne eine. Wieder mit [t2].", Err("a sentence carries no mark: `Ohne eine.`")),
            ("Fremd [t4].", Err("the mark `[t4]` is not known")),
            ("Fremd [t0].", Err("the mark `[t0]` is not known")),
            ("Fremd [a-1].", Err("the mark `[a-1]` is not known")),
        ];
        for (text, expected) in table {
            let checked = check_story(text, &known);
            assert_eq!(checked.as_deref().map_err(String::as_str), expected, "{text}");
        }
        let long = format!("{}[t1].", "Wort ".repeat(181));
        assert_eq!(check_story(&long, &known), Err("the story has 181 words, at most 180 are allowed".into()));
    }

    #[test]
    fn a_story_with_its_ids_fits_where_it_is_kept() {
        let known = ticks(&["0199a3f2-7c1e-7b60-9a51-1f0c7d2e4b11", "0199a3f2-7c1e-7b60-9a51-1f0c7d2e4b12"]);
        let story = "Du hast an diesem Tag einiges geschafft [t1][t2][t1]. ".repeat(20);
        let kept = check_story(&story, &known).expect("it fits with one id each");
        assert!(kept.chars().count() <= MOST_KEPT && kept.matches("4b11]").count() == 20 && !kept.contains("4b12]"));
        let long = format!("{} [t1].", "Donaudampfschifffahrtsgesellschaft ".repeat(80));
        assert_eq!(check_story(&long, &known), Err("the story has 2839 characters, at most 2000 can be kept".into()));
    }

    #[test]
    fn a_story_goes_through_being_told_anew() {
        let ledger: Vec<(TickId, String)> =
            vec![("c-3".parse().expect("a tick id"), "Friday: two steps\n[t1] and an order".into())];
        let previous = "You began [a-1][b-2]. You went on [b-2].";
        assert_eq!(story_marks(Some(previous), &ledger), ticks(&["a-1", "b-2", "c-3"]));
        let (rules, message) = story_request(Lang::En, Some(previous), &ledger);
        assert!(rules.contains("180") && !rules.contains('{'), "{rules}");
        insta::assert_snapshot!(message, @r#"
        The story so far:

        You began [t1][t2]. You went on [t2].

        Since then, one visit in each line:

        [t3] Friday: two steps [t1] and an order

        Write the story anew, up to today.
        "#);
        let (_, first) = story_request(Lang::De, None, &[]);
        assert!(first.contains("(noch keine)") && first.contains("(nichts Neues)"), "{first}");
        assert_eq!(without_marks(previous), "You began. You went on.");
    }

    #[test]
    fn a_story_is_due_after_five_to_seven_visits() {
        let due = |email: &str| (0..20).find(|visits| story_is_due(*visits, email));
        let mut seen: Vec<Option<u32>> = (0..60).map(|n| due(&format!("persona.p{n}@mana.test"))).collect();
        assert_eq!(due("persona.anna@mana.test"), due("persona.anna@mana.test"));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [Some(5), Some(6), Some(7)]);
    }
}
