//! The engine that says what was said before: a recorded visit, made again without a model.
//!
//! Strict: every request must be the recorded one, up to fresh ids and times; else the visit ends with the first
//! difference, and nobody is asked instead. Loose: the recorded replies in their order, whatever is asked. Either way the
//! ids in a reply become those that this visit has seen where the recorded one saw its own, so that a call which used a
//! record then uses the same record now.
//!
//! A replay takes no tokens. What the recording took stands in the recording.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use mana_types::Date;

use self::ids::Ids;
use crate::cassette::normal::{Frame, Shown, ShownMessage};
use crate::cassette::{CassetteError, Header, Said, frame_of, read, safe_name};
use crate::conversation::{Message, Reply, Role, Usage, spoken};
use crate::engine::{EngineError, EngineErrorKind, Step};

mod ids;
#[cfg(test)]
mod tests;

/// How long the description of a difference is at most, in bytes.
const DIFFERENCE: usize = 2_000;

/// How many characters of a line are shown, and how many of them before the place where it differs.
const SHOWN: usize = 300;
const BEFORE: usize = 60;

/// How many lines are shown before the one that differs.
const CONTEXT: usize = 2;

/// How many lines of a difference are shown on either side, and how far from the first they are looked for.
const LINES: usize = 3;
const NEAR: usize = 8;

/// How exactly a request must be the recorded one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Strict,
    Loose,
}

/// Which of a persona's recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// The last one.
    Latest,
    /// The n-th by day and number, from 1.
    Nth(usize),
    /// The first one of this day.
    On(Date),
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let number = text.parse().ok().filter(|number| *number > 0).map(Self::Nth);
        number.or_else(|| text.parse().ok().map(Self::On)).ok_or_else(|| {
            format!("`{text}` names no recording, expected `latest`, a number from 1 or a day such as `2026-11-20`")
        })
    }
}

/// A recorded visit that is made again.
#[derive(Debug)]
pub(crate) struct Replay {
    path: PathBuf,
    header: Header,
    mode: Mode,
    steps: Vec<Recorded>,
    /// The steps that were taken; matters only where several stand at one place.
    taken: Mutex<HashSet<usize>>,
}

#[derive(Debug)]
struct Recorded {
    hash: String,
    frame: Frame,
    messages: Vec<Arc<Message>>,
    reply: Said,
}

impl Recorded {
    fn shown(&self) -> Shown {
        Shown::new(self.frame.clone(), self.messages.iter().map(Arc::as_ref))
    }

    fn messages(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().map(Arc::as_ref)
    }
}

impl Replay {
    /// Opens a persona's recording; none where there is no such recording.
    pub(crate) fn open(dir: &Path, email: &str, which: Which, mode: Mode) -> Result<Option<Self>, CassetteError> {
        let mut known = recordings(dir, email)?;
        let at = match which {
            Which::Latest => known.len().checked_sub(1),
            Which::Nth(number) => number.checked_sub(1).filter(|at| *at < known.len()),
            Which::On(date) => known.iter().position(|(recorded, ..)| *recorded == date),
        };
        let Some((_, _, path)) = at.map(|at| known.swap_remove(at)) else { return Ok(None) };
        let recording = read(&path)?;
        let mut steps: Vec<Recorded> = Vec::new();
        let mut messages: Vec<Arc<Message>> = Vec::new();
        for line in recording.lines {
            let frame = line.request.frame();
            messages.truncate(line.request.from);
            messages.extend(line.request.messages.into_iter().map(|told| Arc::new(told.into())));
            // A step that is there twice was taken again after a crash: the first reply was never acted on.
            steps.retain(|step| step.hash != line.request_hash);
            steps.push(Recorded { hash: line.request_hash, frame, messages: messages.clone(), reply: line.reply });
        }
        Ok(Some(Self { path, header: recording.header, mode, steps, taken: Mutex::default() }))
    }

    /// What was recorded.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The first message of the recorded visit.
    pub(crate) fn opening(&self) -> Option<String> {
        let first = self.steps.iter().find_map(|step| step.messages.first())?;
        (first.role == Role::User).then(|| spoken(&first.content))
    }

    /// The recorded reply to this request. It follows from the conversation where to go on, also in a resumed visit.
    pub(crate) fn step(&self, step: &Step<'_>) -> Result<Reply, EngineError> {
        let live = &step.conversation.messages;
        let place = place(live.iter());
        let here: Vec<usize> = (0..self.steps.len()).filter(|i| self.place_of(*i) == place).collect();
        let shown = Shown::new(frame_of(step), live.iter());
        let hash = shown.hash();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let same = here.iter().copied().find(|i| self.steps[*i].hash == hash);
        let next = here.iter().copied().find(|i| !taken.contains(i)).or(here.last().copied());
        let at = match (same, next) {
            (Some(same), _) => same,
            (None, Some(next)) if self.mode == Mode::Loose => next,
            (None, Some(next)) => return Err(self.error(&difference(&self.steps[next].shown(), &shown, next + 1))),
            (None, None) => return Err(self.error(&self.nothing_at(place))),
        };
        taken.insert(at);
        let recorded = &self.steps[at];
        let ids = Ids::between(recorded.messages(), live.iter());
        let content = recorded.reply.content.iter().map(|block| ids.translated(block)).collect();
        let broken_inputs = recorded.reply.broken_inputs.clone();
        Ok(Reply { broken_inputs, ..Reply::free(content, recorded.reply.stop_reason) })
    }

    fn place_of(&self, step: usize) -> usize {
        place(self.steps[step].messages())
    }

    fn nothing_at(&self, place: usize) -> String {
        let count = self.steps.len();
        let more = (0..count).any(|i| self.place_of(i) > place);
        if more {
            "no step of it follows on what this visit has said so far".into()
        } else {
            format!("it has {count} steps, and the visit wants one more")
        }
    }

    fn error(&self, what: &str) -> EngineError {
        let file = self.path.file_name().unwrap_or_default().to_string_lossy();
        let reason = format!("the recording `{file}` does not fit: {what}");
        EngineError { kind: EngineErrorKind::Replay, reason, usage: Usage::default() }
    }
}

/// How much has been said by the engine: where in a recording a conversation stands. Blocks, not messages, because a
/// reply that was paused goes on in its message.
fn place<'m>(messages: impl Iterator<Item = &'m Message>) -> usize {
    messages.filter(|message| message.role == Role::Assistant).map(|message| message.content.len()).sum()
}

/// A persona's recordings, by day and number.
fn recordings(dir: &Path, email: &str) -> Result<Vec<(Date, u32, PathBuf)>, CassetteError> {
    let folder_error = |source| CassetteError::Folder { path: dir.to_owned(), source };
    let start = format!("{}-", safe_name(email));
    let mut known = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(folder_error)? {
        let path = entry.map_err(folder_error)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(&start).and_then(|rest| rest.strip_suffix(".jsonl")) else { continue };
        let Some((date, number)) = rest.rsplit_once('-') else { continue };
        let (Ok(date), Ok(number)) = (date.parse::<Date>(), number.parse::<u32>()) else { continue };
        if read(&path)?.header.persona == email {
            known.push((date, number, path));
        }
    }
    known.sort();
    Ok(known)
}

/// Where a request first differs from the recorded one, in words.
fn difference(recorded: &Shown, live: &Shown, step: usize) -> String {
    let mut text = format!("step {step}: ");
    let _ = match first_difference(recorded, live) {
        Some(what) => text.write_str(&what),
        None => text.write_str("the recorded hash is of something else, record it anew"),
    }; // writing to a String cannot fail
    text.truncate(text.floor_char_boundary(DIFFERENCE));
    text
}

fn first_difference(recorded: &Shown, live: &Shown) -> Option<String> {
    let (was, is) = (&recorded.frame, &live.frame);
    for (what, was, is) in [("tools", &was.tools, &is.tools), ("rules", &was.rules, &is.rules)] {
        if was != is {
            return Some(format!("the {what} are other ones, hash `{was}` then and `{is}` now"));
        }
    }
    if was.persona != is.persona {
        return Some(format!("the persona is another one, hash `{}` then and `{}` now", was.persona, is.persona));
    }
    for (i, (then, now)) in recorded.messages.iter().zip(&live.messages).enumerate() {
        if then != now {
            return Some(in_message(i + 1, then, now));
        }
    }
    let (then, now) = (recorded.messages.len(), live.messages.len());
    if then != now {
        return Some(format!("there were {then} messages then and are {now} now"));
    }
    if was.max_tokens != is.max_tokens {
        return Some(format!("the reply could have {} tokens then and {} now", was.max_tokens, is.max_tokens));
    }
    let named = |format: &Option<String>| format.as_ref().map_or("none".to_owned(), |hash| format!("`{hash}`"));
    (was.format != is.format)
        .then(|| format!("the answer's form is another one, {} then and {} now", named(&was.format), named(&is.format)))
}

fn in_message(number: usize, then: &ShownMessage, now: &ShownMessage) -> String {
    if then.role != now.role {
        return format!("message {number} was said by {:?} then and by {:?} now", then.role, now.role);
    }
    let speaker = match then.role {
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    let same = then.lines.iter().zip(&now.lines).take_while(|(then, now)| then == now).count();
    let mut text = format!("message {number} ({speaker}) differs in line {}", same + 1);
    // Which call's answer it is says more than a number.
    let call =
        then.lines[..same].iter().rev().find(|line| line.starts_with("tool_result ") || line.starts_with("tool_use "));
    let context = &then.lines[same.saturating_sub(CONTEXT)..same];
    if let Some(call) = call.filter(|call| !context.contains(call)) {
        let _ = write!(text, ", in {call}"); // writing to a String cannot fail
    }
    text.push(':');
    for line in context {
        let _ = write!(text, "\n  {}", window(line, 0));
    }
    for (mark, mine, other) in [('-', then, now), ('+', now, then)] {
        let differs = |i: &usize| mine.lines.get(*i) != other.lines.get(*i);
        let apart = (same..same + NEAR).filter(differs).take(LINES);
        for i in apart {
            let line = match (mine.lines.get(i), other.lines.get(i)) {
                (Some(mine), Some(other)) => window(mine, alike(mine, other)),
                (Some(mine), None) => window(mine, 0),
                (None, _) if i == same => "(nothing more)".to_owned(),
                (None, _) => break,
            };
            let _ = write!(text, "\n{mark} {line}");
        }
    }
    text
}

/// How many characters two lines have in common at their start.
fn alike(one: &str, other: &str) -> usize {
    one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count()
}

/// The part of a line around a character.
fn window(line: &str, around: usize) -> String {
    let from = around.saturating_sub(BEFORE);
    let from = if from < SHOWN / 2 { 0 } else { from };
    let shown: String = line.chars().skip(from).take(SHOWN).collect();
    let head = if from > 0 { "…" } else { "" };
    let tail = if line.chars().nth(from + SHOWN).is_some() { "…" } else { "" };
    format!("{head}{shown}{tail}")
}
