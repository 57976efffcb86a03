//! The checker of ratings. No model is involved: what it lets through rests on what happened.
//!
//! A row is good if its module was used, its evidence are calls of this module, its quote occurs in the diary or in a
//! result, and it has either a whole number from 1 to 5 or a reason for having none. One bad row never costs a good one.

use std::collections::BTreeMap;

use mana_types::Lang;
use serde_json::{Map, Value};

use super::rating::UsedModule;
use super::text::{fill, one_line, quoted, texts};

/// How long notes may be, in characters.
const MOST_NOTES: usize = 2_000;

/// How much of a reason, or of a quote, is kept, in characters.
const MOST_WORDS: usize = 500;

/// How short a quote may be, in characters; shorter only where it is the whole of what it is taken from.
const SHORTEST_QUOTE: usize = 8;

/// How many rows of an answer are read, and from how many places JSON is tried to be read.
const MOST_ROWS: usize = 200;

/// How many calls one rating rests on at most.
const MOST_EVIDENCE: usize = 100;

/// How much of an answer is read, in bytes.
const MOST_BYTES: usize = 256 * 1024;

/// A rating that holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rated {
    pub(crate) module: String,
    /// From 1 to 5; none where there is a reason for none.
    pub(crate) rating: Option<u8>,
    pub(crate) no_opinion: Option<String>,
    pub(crate) notes: Option<String>,
    /// The numbers of the calls it rests on, each once.
    pub(crate) evidence: Vec<usize>,
    pub(crate) quote: Option<String>,
    /// From 0 to 1.
    pub(crate) confidence: Option<f64>,
}

/// What is wrong with an answer, or with its row for one module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) module: Option<String>,
    /// For those who operate the system, in English.
    pub(crate) what: String,
    pub(crate) flaw: Flaw,
}

/// The kinds of faults. The texts in them are the answer's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flaw {
    NoAnswer,
    NoJson,
    NoRow,
    NoModule,
    NotUsed,
    Doubled,
    RatingIsNoNumber(String),
    RatingOutOfRange(String),
    NoRating,
    Both,
    NoOpinionIsNoText(String),
    NotesAreNoText(String),
    NoEvidence,
    EvidenceIsNoNumber(String),
    EvidenceUnknown(String),
    EvidenceElsewhere(String),
    NoQuote,
    QuoteIsNoText(String),
    QuoteTooShort,
    QuoteNotFound(String),
    ConfidenceWrong(String),
}

impl Flaw {
    /// The fault in a sentence, with what is expected instead.
    pub(crate) fn said(&self, lang: Lang) -> String {
        let words = &texts(lang).words.fault;
        let (template, given) = match self {
            Self::NoAnswer => (&words.no_answer, ""),
            Self::NoJson => (&words.no_json, ""),
            Self::NoRow => (&words.no_row, ""),
            Self::NoModule => (&words.no_module, ""),
            Self::NotUsed => (&words.not_used, ""),
            Self::Doubled => (&words.doubled, ""),
            Self::RatingIsNoNumber(given) => (&words.rating_is_no_number, given.as_str()),
            Self::RatingOutOfRange(given) => (&words.rating_out_of_range, given.as_str()),
            Self::NoRating => (&words.no_rating, ""),
            Self::Both => (&words.both, ""),
            Self::NoOpinionIsNoText(given) => (&words.no_opinion_is_no_text, given.as_str()),
            Self::NotesAreNoText(given) => (&words.notes_are_no_text, given.as_str()),
            Self::NoEvidence => (&words.no_evidence, ""),
            Self::EvidenceIsNoNumber(given) => (&words.evidence_is_no_number, given.as_str()),
            Self::EvidenceUnknown(given) => (&words.evidence_unknown, given.as_str()),
            Self::EvidenceElsewhere(given) => (&words.evidence_elsewhere, given.as_str()),
            Self::NoQuote => (&words.no_quote, ""),
            Self::QuoteIsNoText(given) => (&words.quote_is_no_text, given.as_str()),
            Self::QuoteTooShort => (&words.quote_too_short, ""),
            Self::QuoteNotFound(given) => (&words.quote_not_found, given.as_str()),
            Self::ConfidenceWrong(given) => (&words.confidence_wrong, given.as_str()),
        };
        fill(template, &[("given", &quoted(lang, given, 80))])
    }
}

/// An answer, taken apart.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Checked {
    /// What holds, in the order of the answer.
    pub(crate) good: Vec<Rated>,
    pub(crate) faults: Vec<Fault>,
    /// The modules that were used and that the answer does not mention.
    pub(crate) forgotten: Vec<String>,
}

impl Checked {
    /// The modules that must be asked for again, each once: those with a fault, and those that were forgotten.
    pub(crate) fn wanted(&self) -> Vec<String> {
        let mut wanted: Vec<String> = Vec::new();
        let faulty = self.faults.iter().filter(|fault| fault.flaw != Flaw::NotUsed);
        for module in faulty.filter_map(|fault| fault.module.as_ref()).chain(&self.forgotten) {
            if !wanted.contains(module) {
                wanted.push(module.clone());
            }
        }
        wanted
    }

    /// Whether every module that was used has its rating, or its reason for none. A row about something else is passed over.
    pub(crate) fn is_clean(&self) -> bool {
        self.wanted().is_empty()
    }

    /// Why some modules have neither, for those who operate the system. Empty if they all have.
    pub(crate) fn reason(&self) -> String {
        let wanted = self.wanted();
        let matters = |fault: &&Fault| fault.module.as_ref().is_none_or(|module| wanted.contains(module));
        let faults = self.faults.iter().filter(matters).map(|fault| match &fault.module {
            Some(module) => format!("{module}: {}", fault.what),
            None => fault.what.clone(),
        });
        let forgotten =
            self.forgotten.iter().map(|module| format!("{module}: {}", texts(Lang::En).words.fault.forgotten));
        if wanted.is_empty() { String::new() } else { faults.chain(forgotten).collect::<Vec<_>>().join("; ") }
    }
}

/// Takes an answer apart. There may be other text around the JSON, or a code fence; an answer that was cut off counts as
/// far as it goes. `results` are the texts of all tool results.
pub(crate) fn check(answer: &str, used: &[UsedModule], diary: &str, results: &[&str]) -> Checked {
    let mut checked = Checked::default();
    let rows = rows(answer);
    if rows.is_empty() {
        let flaw = if answer.trim().is_empty() { Flaw::NoAnswer } else { Flaw::NoJson };
        checked.fault(None, flaw);
    }
    let sources: Vec<String> = std::iter::once(&diary).chain(results).map(|text| folded(text)).collect();
    let mut by_module: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &rows {
        *by_module.entry(module_of(row).unwrap_or_default()).or_default() += 1;
    }
    let mut doubled: Vec<&str> = Vec::new();
    for row in &rows {
        let Value::Object(fields) = row else {
            checked.fault(None, Flaw::NoRow);
            continue;
        };
        let Some(module) = module_of(row) else {
            checked.fault(None, Flaw::NoModule);
            continue;
        };
        let Some(known) = used.iter().find(|known| known.module == module) else {
            checked.fault(Some(&one_line(module, 80)), Flaw::NotUsed);
            continue;
        };
        if by_module.get(module).is_some_and(|count| *count > 1) {
            if !doubled.contains(&module) {
                doubled.push(module);
                checked.fault(Some(module), Flaw::Doubled);
            }
            continue;
        }
        let mut flaws = Vec::new();
        match read(fields, known, used, &sources, &mut flaws) {
            Some(rated) if flaws.is_empty() => checked.good.push(rated),
            _ => flaws.into_iter().for_each(|flaw| checked.fault(Some(module), flaw)),
        }
    }
    let mentioned = |module: &str| by_module.contains_key(module);
    checked.forgotten =
        used.iter().filter(|known| !mentioned(&known.module)).map(|known| known.module.clone()).collect();
    checked
}

impl Checked {
    fn fault(&mut self, module: Option<&str>, flaw: Flaw) {
        self.faults.push(Fault { module: module.map(str::to_owned), what: flaw.said(Lang::En), flaw });
    }
}

fn module_of(row: &Value) -> Option<&str> {
    row.get("module").and_then(Value::as_str).map(str::trim).filter(|module| !module.is_empty())
}

/// Reads one row; every fault of it is named.
fn read(
    fields: &Map<String, Value>,
    module: &UsedModule,
    used: &[UsedModule],
    sources: &[String],
    flaws: &mut Vec<Flaw>,
) -> Option<Rated> {
    let given = |name: &str| fields.get(name).filter(|value| !value.is_null());
    let faults_before = flaws.len();
    let no_opinion = match given("noOpinion") {
        None => None,
        Some(Value::String(reason)) => Some(one_line(reason, MOST_WORDS)).filter(|reason| !reason.is_empty()),
        Some(other) => {
            flaws.push(Flaw::NoOpinionIsNoText(other.to_string()));
            None
        }
    };
    let rating = given("rating").and_then(|value| whole_rating(value, flaws));
    if flaws.len() == faults_before {
        match (rating, &no_opinion) {
            (None, None) => flaws.push(Flaw::NoRating),
            (Some(_), Some(_)) => flaws.push(Flaw::Both),
            _ => {}
        }
    }
    let notes = match given("notes") {
        None => None,
        Some(Value::String(notes)) => {
            // A NUL is no text for every database.
            let said = notes.trim().chars().filter(|c| !c.is_control() || *c == '\n');
            let notes: String = said.take(MOST_NOTES).collect();
            Some(notes).filter(|notes| !notes.is_empty())
        }
        Some(other) => {
            flaws.push(Flaw::NotesAreNoText(other.to_string()));
            None
        }
    };
    let needs_grounds = no_opinion.is_none();
    let evidence = evidence(given("evidence"), module, used, needs_grounds, flaws);
    let quote = quote(given("quote"), sources, needs_grounds, flaws);
    let confidence = given("confidence").and_then(|value| {
        let share = value.as_f64().filter(|share| (0.0..=1.0).contains(share));
        if share.is_none() {
            flaws.push(Flaw::ConfidenceWrong(value.to_string()));
        }
        share
    });
    (rating.is_some() || no_opinion.is_some()).then(|| Rated {
        module: module.module.clone(),
        rating,
        no_opinion,
        notes,
        evidence,
        quote,
        confidence,
    })
}

fn whole_rating(value: &Value, flaws: &mut Vec<Flaw>) -> Option<u8> {
    let Some(number) = value.as_f64() else {
        flaws.push(Flaw::RatingIsNoNumber(value.to_string()));
        return None;
    };
    let whole = (1..=5_u8).find(|whole| (f64::from(*whole) - number).abs() == 0.0);
    if whole.is_none() {
        flaws.push(Flaw::RatingOutOfRange(value.to_string()));
    }
    whole
}

fn evidence(
    value: Option<&Value>,
    module: &UsedModule,
    used: &[UsedModule],
    is_needed: bool,
    flaws: &mut Vec<Flaw>,
) -> Vec<usize> {
    let faults_before = flaws.len();
    let numbers = match value {
        None => &[],
        Some(Value::Array(numbers)) => numbers.as_slice(),
        Some(other) => {
            flaws.push(Flaw::EvidenceIsNoNumber(other.to_string()));
            &[]
        }
    };
    let mut evidence: Vec<usize> = Vec::new();
    for value in numbers.iter().take(MOST_ROWS) {
        let Some(index) = index(value) else {
            flaws.push(Flaw::EvidenceIsNoNumber(value.to_string()));
            continue;
        };
        let belongs = |module: &UsedModule| module.actions.iter().any(|action| action.0 == index);
        if belongs(module) {
            // Who names half the visit is understood by its beginning.
            if evidence.len() < MOST_EVIDENCE && !evidence.contains(&index) {
                evidence.push(index);
            }
        } else if used.iter().any(belongs) {
            flaws.push(Flaw::EvidenceElsewhere(value.to_string()));
        } else {
            flaws.push(Flaw::EvidenceUnknown(value.to_string()));
        }
    }
    if is_needed && evidence.is_empty() && flaws.len() == faults_before {
        flaws.push(Flaw::NoEvidence);
    }
    evidence
}

/// A whole number that can be the number of a call; `3.0` is 3.
fn index(value: &Value) -> Option<usize> {
    let whole = value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..1e6).contains(number))?;
    format!("{whole:.0}").parse().ok()
}

fn quote(value: Option<&Value>, sources: &[String], is_needed: bool, flaws: &mut Vec<Flaw>) -> Option<String> {
    let text = match value {
        None => "",
        Some(Value::String(text)) => text.trim(),
        Some(other) => {
            flaws.push(Flaw::QuoteIsNoText(other.to_string()));
            return None;
        }
    };
    let wanted = folded(text);
    let wanted = wanted.trim_matches(['"', '\'', ' ']).trim_end_matches("...").trim_end();
    if wanted.is_empty() {
        if is_needed {
            flaws.push(Flaw::NoQuote);
        }
        return None;
    }
    let is_whole = sources.iter().any(|source| source.trim_matches(['"', '\'', ' ']) == wanted);
    if wanted.chars().count() < SHORTEST_QUOTE && !is_whole {
        flaws.push(Flaw::QuoteTooShort);
    } else if !is_whole && !sources.iter().any(|source| source.contains(wanted)) {
        flaws.push(Flaw::QuoteNotFound(text.to_owned()));
    }
    Some(one_line(text, MOST_WORDS))
}

/// A text as it is compared: in lower case, blanks as one, one kind of quotation mark and dash, without the signs that
/// JSON puts before some characters.
fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut blank = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let c = match (c, chars.peek()) {
            ('\\', Some('n' | 't' | 'r')) => {
                chars.next();
                ' '
            }
            ('\\', Some('"' | '\\' | '/')) => continue,
            _ => c,
        };
        if c.is_whitespace() || c.is_control() {
            blank = true;
            continue;
        }
        if std::mem::take(&mut blank) && !folded.is_empty() {
            folded.push(' ');
        }
        match c {
            '„' | '“' | '”' | '‟' | '«' | '»' => folded.push('"'),
            '‚' | '‘' | '’' | '‛' | '‹' | '›' | '`' | '´' => folded.push('\''),
            '‐' | '‑' | '–' | '—' => folded.push('-'),
            '…' => folded.push_str("..."),
            '\u{ad}' | '\u{200b}' | '\u{feff}' => {}
            _ => folded.extend(c.to_lowercase()),
        }
    }
    folded
}

/// The rows of an answer: from every piece of JSON in it that looks like ratings.
fn rows(answer: &str) -> Vec<Value> {
    let answer = &answer[..answer.floor_char_boundary(MOST_BYTES)];
    let mut rows: Vec<Value> = Vec::new();
    let mut at = 0;
    for _ in 0..MOST_ROWS {
        let Some(open) = answer[at..].find(['{', '[']) else { break };
        at += open;
        let mut stream = serde_json::Deserializer::from_str(&answer[at..]).into_iter::<Value>();
        match stream.next() {
            Some(Ok(value)) => {
                at += stream.byte_offset().max(1);
                rows.extend(rows_of(value));
            }
            // No JSON from here, or cut off: what is complete in it begins further on.
            _ => at += 1,
        }
    }
    rows.truncate(MOST_ROWS);
    rows
}

fn rows_of(value: Value) -> Vec<Value> {
    match value {
        Value::Object(mut fields) => match fields.remove("ratings") {
            Some(Value::Array(rows)) => rows,
            Some(Value::Object(row)) => vec![Value::Object(row)],
            _ if fields.contains_key("module") => vec![Value::Object(fields)],
            _ => Vec::new(),
        },
        // `[1]` in a sentence is a list, but none of ratings.
        Value::Array(rows) if rows.iter().any(Value::is_object) => rows,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
