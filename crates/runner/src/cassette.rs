//! Recordings of visits: what an engine was asked and what it said, so that the same can be said again without it.
//!
//! One file per visit, `{email}-{date}-{number}.jsonl`: a header, then a line for each step. Of the conversation a step
//! holds what was not told before. Lines are only added, each in one piece, so that a crash costs no more than the line
//! that was being written; a visit that goes on after a crash goes on in its file.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mana_types::{Date, TickId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::normal::{Frame, Shown};
use crate::conversation::{Message, Reply, Role, StopReason, Usage};
use crate::engine::Step;
use crate::hash::short_hash;
use crate::model::redact::redact;

#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod normal;
#[cfg(test)]
mod tests;

/// The form of the files that this version writes and reads.
pub(crate) const FORMAT: u32 = 1;

/// How many recordings of one persona and day are looked at for a free number.
const NUMBERS: u32 = 10_000;

/// How much of an e-mail address goes into a file's name.
const NAME: usize = 100;

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CassetteError {
    /// The folder cannot be made or listed.
    #[error("the folder of recordings `{}` cannot be used", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A file cannot be read or written.
    #[error("the recording `{}` cannot be read or written", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A line is not what it should be.
    #[error("line {line} of the recording `{}` cannot be read", path.display())]
    Line {
        path: PathBuf,
        line: usize,
        #[source]
        source: serde_json::Error,
    },
    /// Another form than ours.
    #[error("the recording `{}` has format {found}, this version reads {FORMAT}, record it anew", path.display())]
    Format { path: PathBuf, found: u32 },
    /// Not even a header.
    #[error("the recording `{}` is empty, record it anew", path.display())]
    Empty { path: PathBuf },
    /// No number is free.
    #[error("there are {NUMBERS} recordings of this day in `{}`, move some away", path.display())]
    Full { path: PathBuf },
}

/// The first line of a recording: what was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Header {
    pub(crate) format: u32,
    /// The persona's e-mail address.
    pub(crate) persona: String,
    pub(crate) tick: TickId,
    /// The day of the visit, where the persona lives.
    pub(crate) date: Date,
    pub(crate) engine: String,
    #[serde(default)]
    pub(crate) model: Option<String>,
    /// The version of the texts that a model is told.
    #[serde(default)]
    pub(crate) templates: Option<String>,
    pub(crate) recorded_at: Timestamp,
}

/// What was asked: the parts that all visits share by their hashes, the rest in full.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Asked {
    rules: String,
    persona: String,
    tools: String,
    /// The place of the first of `messages`; those before it were told in earlier steps.
    pub(crate) from: usize,
    pub(crate) messages: Vec<Told>,
    max_tokens: u32,
    #[serde(default)]
    format: Option<String>,
}

impl Asked {
    pub(crate) fn frame(&self) -> Frame {
        Frame {
            tools: self.tools.clone(),
            rules: self.rules.clone(),
            persona: self.persona.clone(),
            max_tokens: self.max_tokens,
            format: self.format.clone(),
        }
    }
}

/// A message as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) role: Speaker,
    pub(crate) content: Vec<Value>,
}

/// Who spoke, in the words of the Messages API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Speaker {
    User,
    Assistant,
}

impl From<&Message> for Told {
    fn from(message: &Message) -> Self {
        let role = match message.role {
            Role::User => Speaker::User,
            Role::Assistant => Speaker::Assistant,
        };
        Self { role, content: message.content.iter().map(cleaned).collect() }
    }
}

impl From<Told> for Message {
    fn from(told: Told) -> Self {
        let role = match told.role {
            Speaker::User => Role::User,
            Speaker::Assistant => Role::Assistant,
        };
        Self { role, content: told.content }
    }
}

/// What was said.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Said {
    pub(crate) content: Vec<Value>,
    pub(crate) stop_reason: StopReason,
    #[serde(default)]
    pub(crate) usage: Usage,
    #[serde(default)]
    pub(crate) model: Option<String>,
    #[serde(default)]
    pub(crate) prompt_tokens: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) broken_inputs: Vec<(String, String)>,
}

impl From<&Reply> for Said {
    fn from(reply: &Reply) -> Self {
        Self {
            content: reply.content.iter().map(cleaned).collect(),
            stop_reason: reply.stop_reason,
            usage: reply.usage,
            model: reply.model.clone(),
            prompt_tokens: reply.prompt_tokens,
            broken_inputs: reply.broken_inputs.iter().map(|(id, raw)| (id.clone(), clean(raw))).collect(),
        }
    }
}

/// A line of a recording after the first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    pub(crate) request_hash: String,
    pub(crate) request: Asked,
    pub(crate) reply: Said,
}

/// What stands around the messages of a step.
pub(crate) fn frame_of(step: &Step<'_>) -> Frame {
    let conversation = step.conversation;
    Frame {
        tools: conversation.tools.hash().to_owned(),
        rules: short_hash(conversation.rules.as_bytes()),
        persona: short_hash(conversation.persona.as_bytes()),
        max_tokens: step.max_tokens,
        format: step.format.map(|format| short_hash(format.to_string().as_bytes())),
    }
}

/// Writes one visit down while it happens.
#[derive(Debug)]
pub(crate) struct Recorder {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    /// A hash of each message that the file tells of.
    told: Vec<String>,
}

impl Recorder {
    /// Begins a recording in this folder, which is made where it is missing; or goes on with the one that this very visit
    /// has already.
    pub(crate) fn create(dir: &Path, header: &Header) -> Result<Self, CassetteError> {
        make_folder(dir).map_err(|source| CassetteError::Folder { path: dir.to_owned(), source })?;
        for number in 1..=NUMBERS {
            let path = dir.join(format!("{}-{}-{number}.jsonl", safe_name(&header.persona), header.date));
            match create_file(&path) {
                Ok(file) => {
                    let recorder = Self { path, state: Mutex::new(State { file, told: Vec::new() }) };
                    recorder.put(header)?;
                    return Ok(recorder);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    if let Some(recorder) = Self::go_on(&path, header)? {
                        return Ok(recorder);
                    }
                }
                Err(source) => return Err(CassetteError::File { path, source }),
            }
        }
        Err(CassetteError::Full { path: dir.to_owned() })
    }

    /// The recording at this path, if it is of the same visit; what a crash left of its last line is cut off.
    fn go_on(path: &Path, header: &Header) -> Result<Option<Self>, CassetteError> {
        // Somebody else's recording that cannot be read is no reason not to record.
        let Ok(read) = read(path) else { return Ok(None) };
        if (&read.header.tick, &read.header.persona) != (&header.tick, &header.persona) {
            return Ok(None);
        }
        let file_error = |source| CassetteError::File { path: path.to_owned(), source };
        let file = OpenOptions::new().append(true).open(path).map_err(file_error)?;
        file.set_len(read.whole).map_err(file_error)?;
        let mut told = Vec::new();
        for line in read.lines {
            told.truncate(line.request.from);
            told.extend(line.request.messages.iter().map(mark));
        }
        Ok(Some(Self { path: path.to_owned(), state: Mutex::new(State { file, told }) }))
    }

    /// Writes down a step and what came of it.
    pub(crate) fn step(&self, step: &Step<'_>, reply: &Reply) -> Result<(), CassetteError> {
        let frame = frame_of(step);
        let shown = Shown::new(frame, step.conversation.messages.iter());
        let messages: Vec<Told> = step.conversation.messages.iter().map(Told::from).collect();
        let marks: Vec<String> = messages.iter().map(mark).collect();
        let from = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let from = marks.iter().zip(&state.told).take_while(|(now, told)| now == told).count();
            state.told = marks;
            from
        };
        let request_hash = shown.hash();
        let Frame { tools, rules, persona, max_tokens, format } = shown.frame;
        let messages = messages.into_iter().skip(from).collect();
        let request = Asked { rules, persona, tools, from, messages, max_tokens, format };
        self.put(&Line { request_hash, request, reply: reply.into() })
    }

    fn put<T: Serialize>(&self, line: &T) -> Result<(), CassetteError> {
        let mut bytes = serde_json::to_vec(line).expect("a line is made of JSON");
        bytes.push(b'\n');
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let written = state.file.write_all(&bytes).and_then(|()| state.file.flush());
        written.map_err(|source| CassetteError::File { path: self.path.clone(), source })
    }
}

fn mark(message: &Told) -> String {
    short_hash(&serde_json::to_vec(message).expect("a message is made of JSON"))
}

/// A recording as it was read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) header: Header,
    pub(crate) lines: Vec<Line>,
    /// How many bytes are whole lines.
    whole: u64,
}

/// Reads a recording. A last line without an end was being written when the process died, and is left out.
pub(crate) fn read(path: &Path) -> Result<Read, CassetteError> {
    let text = std::fs::read(path).map_err(|source| CassetteError::File { path: path.to_owned(), source })?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let bad = |line: usize, source| CassetteError::Line { path: path.to_owned(), line, source };
    let mut rows = text[..whole].split(|byte| *byte == b'\n').enumerate().filter(|(_, row)| !row.is_empty());
    let (_, first) = rows.next().ok_or_else(|| CassetteError::Empty { path: path.to_owned() })?;
    let found: Value = serde_json::from_slice(first).map_err(|source| bad(1, source))?;
    let format = found.get("format").and_then(Value::as_u64).and_then(|format| u32::try_from(format).ok());
    if let Some(found) = format.filter(|format| *format != FORMAT) {
        return Err(CassetteError::Format { path: path.to_owned(), found });
    }
    let header = serde_json::from_value(found).map_err(|source| bad(1, source))?;
    let lines = rows.map(|(i, row)| serde_json::from_slice(row).map_err(|source| bad(i + 1, source)));
    let lines = lines.collect::<Result<Vec<Line>, CassetteError>>()?;
    Ok(Read { header, lines, whole: u64::try_from(whole).unwrap_or(u64::MAX) })
}

/// The start of the names of all recordings of a persona. Two personas may share it; the header tells.
pub(crate) fn safe_name(email: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+') { c } else { '_' };
    let name: String = email.to_lowercase().chars().map(safe).take(NAME).collect();
    // A file that begins with a dot is not shown, and one that begins with a dash is taken for an option.
    if name.starts_with(['.', '-']) { format!("_{name}") } else { name }
}

/// Makes the folder for recordings, before anybody's visit depends on it.
pub(crate) fn make_usable(dir: &Path) -> Result<(), String> {
    make_folder(dir).map_err(|error| format!("the folder for recordings `{}` cannot be made: {error}", dir.display()))
}

/// Looks whether there is a folder with recordings.
pub(crate) fn check_readable(dir: &Path) -> Result<(), String> {
    let found = std::fs::read_dir(dir).map(drop);
    found.map_err(|error| format!("the folder with recordings `{}` cannot be read: {error}", dir.display()))
}

fn make_folder(dir: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn create_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A text as it may be kept: nothing that looks like a secret goes into a file, whoever said it.
pub(crate) fn clean(text: &str) -> String {
    redact(text)
}

/// The same value with every text in it as it may be kept.
fn cleaned(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(clean(text)),
        Value::Array(items) => items.iter().map(cleaned).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, member)| (name.clone(), cleaned(member))).collect::<Map<_, _>>())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}
