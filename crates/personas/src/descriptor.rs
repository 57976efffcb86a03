//! What a persona is: archetype, prompt, module mix, rhythm and behaviour, read into types that cannot be wrong.

use std::collections::BTreeMap;

use mana_identity::{Email, InvalidInput, Name, Password};
use mana_types::UserId;
use mana_web::FieldError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::due::{Cadence, Schedule, Window, zone};
use crate::fields::{Fields, kind_of};
use crate::target::{Target, read_tools};

/// The shortest system prompt that can describe anybody, in characters.
pub const SHORTEST_PROMPT: usize = 20;
/// The longest one.
pub const LONGEST_PROMPT: usize = 20_000;
/// The most modules in a mix.
const MOST_MODULES: usize = 64;
/// The largest weight: far more than anybody means, and their sum stays a number.
const MOST_WEIGHT: f64 = 1_000_000.0;

/// How a persona behaves, in numbers. What is absent is left to the engine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Behaviour {
    /// Errors in one visit before it gives up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerated_errors: Option<i64>,
    /// Patience in one visit, in minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerated_minutes: Option<f64>,
    /// Share of words with a typo, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub typo_rate: Option<f64>,
    /// Share of visits that it skips, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_rate: Option<f64>,
    /// 0 terse to 1 long-winded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbosity: Option<f64>,
}

impl Behaviour {
    const NAMES: [&'static str; 5] = ["toleratedErrors", "toleratedMinutes", "typoRate", "skipRate", "verbosity"];

    fn read(mut fields: Fields<'_, '_>) -> Self {
        fields.only(&Self::NAMES);
        Self {
            tolerated_errors: fields.whole("toleratedErrors", 0, 1_000),
            tolerated_minutes: fields.number("toleratedMinutes", 0.0, 1_440.0),
            typo_rate: fields.number("typoRate", 0.0, 1.0),
            skip_rate: fields.number("skipRate", 0.0, 1.0),
            verbosity: fields.number("verbosity", 0.0, 1.0),
        }
    }
}

/// A persona's description.
#[derive(Debug, Clone, PartialEq)]
pub struct Descriptor {
    /// Behavioural profile by which reports group visits.
    pub archetype: String,
    /// The persona in his or her own words.
    pub system_prompt: String,
    /// Relative weights of modules, each 0 or more and at least one above.
    pub module_mix: BTreeMap<String, f64>,
    /// How often it visits.
    pub cadence: Cadence,
    /// IANA time zone; UTC where there is none.
    pub timezone: Option<String>,
    /// BCP 47 locale; the account's where there is none.
    pub locale: Option<String>,
    /// The part of the day in which it visits.
    pub window: Option<Window>,
    /// How it behaves.
    pub behaviour: Behaviour,
    /// The product that it visits; none means this installation.
    pub target: Option<Target>,
    /// The tools that it may call, by name or by `prefix*`; none means all.
    pub tools: Option<Vec<String>>,
}

impl Descriptor {
    /// Reads a description; every fault is noted, and with any there is none.
    pub(crate) fn read(fields: &mut Fields<'_, '_>) -> Option<Self> {
        let archetype = fields.needed_text("archetype", 64);
        if archetype.as_deref().is_some_and(|word| !is_word(word)) {
            fields.wrong("archetype", "expected lower-case letters, digits and `-`, such as `ceo-busy`");
        }
        let system_prompt = fields.needed_text("systemPrompt", LONGEST_PROMPT);
        if system_prompt.as_deref().is_some_and(|prompt| prompt.trim().chars().count() < SHORTEST_PROMPT) {
            fields.wrong("systemPrompt", format!("at least {SHORTEST_PROMPT} characters"));
        }
        let module_mix = read_mix(fields);
        let cadence = match fields.value("tickCadence") {
            None => Some(Cadence::Daily),
            Some(_) => fields.parsed("tickCadence"),
        };
        let timezone = fields.text("timezone", 64);
        if timezone.as_deref().is_some_and(|name| zone(name).is_none()) {
            fields.wrong("timezone", "not a time zone, expected an IANA name such as `Europe/Berlin`");
        }
        let locale = fields.text("locale", 35);
        if locale.as_deref().is_some_and(|tag| !is_locale(tag)) {
            fields.wrong("locale", "not a locale, expected one such as `de` or `en-GB`");
        }
        let window = read_window(fields);
        let behaviour = fields.object("behaviour").map(Behaviour::read).unwrap_or_default();
        let target = fields.object("target").and_then(Target::read);
        let tools = read_tools(fields);
        Some(Self {
            archetype: archetype?,
            system_prompt: system_prompt?,
            module_mix: module_mix?,
            cadence: cadence?,
            timezone,
            locale,
            window,
            behaviour,
            target,
            tools,
        })
    }

    /// The SHA-256 of the prompt in hexadecimal: its version.
    pub fn prompt_hash(&self) -> String {
        hex(&Sha256::digest(self.system_prompt.as_bytes()))
    }

    /// When this persona acts.
    pub fn schedule(&self, persona: UserId) -> Schedule {
        Schedule::new(persona, self.cadence, self.timezone.as_deref(), self.window)
    }

    /// The description as it is spoken.
    pub fn to_json(&self) -> Value {
        json!({
            "archetype": self.archetype,
            "systemPrompt": self.system_prompt,
            "moduleMix": self.module_mix,
            "tickCadence": self.cadence,
            "timezone": self.timezone,
            "locale": self.locale,
            "window": self.window.map(|window| json!({ "start": window.start(), "end": window.end() })),
            "behaviour": self.behaviour,
            "target": self.target,
            "tools": self.tools,
        })
    }
}

impl Serialize for Descriptor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

fn read_mix(fields: &mut Fields<'_, '_>) -> Option<BTreeMap<String, f64>> {
    let Some(value) = fields.value("moduleMix") else {
        fields.wrong("moduleMix", "is missing");
        return None;
    };
    let Value::Object(weights) = value else {
        fields.wrong("moduleMix", format!("expected module names with weights, found {}", kind_of(value)));
        return None;
    };
    if weights.is_empty() || weights.len() > MOST_MODULES {
        fields.wrong("moduleMix", format!("expected 1 to {MOST_MODULES} modules, found {}", weights.len()));
        return None;
    }
    let mut mix = BTreeMap::new();
    for (module, weight) in weights {
        let name = format!("moduleMix.{module}");
        if !is_word(module) {
            fields.wrong(&name, "not the name of a module");
        }
        match weight.as_f64() {
            Some(weight) if (0.0..=MOST_WEIGHT).contains(&weight) => {
                mix.insert(module.clone(), weight);
            }
            Some(_) => fields.wrong(&name, format!("{weight} is not a weight, expected 0 to {MOST_WEIGHT}")),
            None => fields.wrong(&name, format!("expected a number, found {}", kind_of(weight))),
        }
    }
    if mix.len() < weights.len() {
        return None;
    }
    if mix.values().all(|weight| *weight == 0.0) {
        fields.wrong("moduleMix", "at least one weight must be above 0");
    }
    Some(mix)
}

fn read_window(fields: &mut Fields<'_, '_>) -> Option<Window> {
    let (start, end) = {
        let mut window = fields.object("window")?;
        window.only(&["start", "end"]);
        (window.needed_text("start", 5)?, window.needed_text("end", 5)?)
    };
    let window = Window::new(&start, &end);
    if window.is_none() {
        fields.wrong("window", "expected two different times of day, `{ start: \"HH:MM\", end: \"HH:MM\" }`");
    }
    window
}

/// Lower-case letters, digits, `-` and `_`, a letter first.
pub(crate) fn is_word(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || matches!(char, '-' | '_'))
}

/// The shape of BCP 47 as far as anybody uses it: a language, then parts of two to eight letters or digits.
fn is_locale(tag: &str) -> bool {
    let mut parts = tag.split(['-', '_']);
    let language = parts.next().unwrap_or_default();
    (2..=3).contains(&language.len())
        && language.chars().all(|char| char.is_ascii_alphabetic())
        && parts.all(|part| (2..=8).contains(&part.len()) && part.chars().all(|char| char.is_ascii_alphanumeric()))
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a String takes everything
        text
    })
}

/// A persona to be made or brought up to date, as the admin interface takes it.
#[derive(Debug, Clone)]
pub struct NewPersona {
    /// The e-mail: who it is.
    pub email: Email,
    /// The display name; where there is none, a new account gets what stands before the `@`.
    pub name: Option<Name>,
    /// The password that it signs in with.
    pub password: Password,
    /// What it is.
    pub descriptor: Descriptor,
}

impl NewPersona {
    /// Reads a request; with any fault, all of them come back.
    pub fn read(body: &Value) -> Result<Self, Vec<FieldError>> {
        let mut faults = Vec::new();
        let read = Fields::of(body, "", &mut faults).and_then(|mut fields| {
            let email = read_with(&mut fields, "email", Email::parse);
            if fields.value("email").is_none() {
                fields.wrong("email", "is missing");
            }
            let name = read_with(&mut fields, "name", Name::parse);
            let password = read_with(&mut fields, "password", Password::parse);
            if fields.value("password").is_none() {
                fields.wrong("password", "is missing");
            }
            let descriptor = Descriptor::read(&mut fields);
            Some(Self { email: email?, name, password: password?, descriptor: descriptor? })
        });
        match read {
            Some(persona) if faults.is_empty() => Ok(persona),
            _ => Err(faults),
        }
    }
}

/// A field that identity knows how to read.
pub(crate) fn read_with<T>(
    fields: &mut Fields<'_, '_>,
    name: &str,
    parse: fn(&str) -> Result<T, InvalidInput>,
) -> Option<T> {
    let text = fields.text(name, 1_000)?;
    match parse(&text) {
        Ok(value) => Some(value),
        Err(error) => {
            fields.wrong(name, error.to_string());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_named() {
        let body = json!({
            "email": "nobody", "name": "a\nb", "password": "short", "archetype": "Very Busy", "systemPrompt": "too short",
            "moduleMix": { "todo": -1, "notes": "much" }, "tickCadence": "monthly", "timezone": "Mars/Olympus",
            "locale": "german!", "window": { "start": "25:00", "end": "09:00" }, "behaviour": { "typoRate": 2, "mood": 1 },
            "target": { "url": "shop" }, "tools": ["*x"],
        });
        let faults = NewPersona::read(&body).expect_err("all of it is wrong");
        let named: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        for field in [
            "email",
            "name",
            "password",
            "archetype",
            "systemPrompt",
            "moduleMix.todo",
            "moduleMix.notes",
            "tickCadence",
            "timezone",
            "locale",
            "window",
            "behaviour.typoRate",
            "behaviour.mood",
            "target.url",
            "tools[0]",
        ] {
            assert!(named.contains(&field), "{field} is missing from {named:?}");
        }
        let missing = NewPersona::read(&json!({})).expect_err("nothing there");
        let named: Vec<&str> = missing.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(named, ["email", "password", "archetype", "systemPrompt", "moduleMix"]);
        assert_eq!(NewPersona::read(&json!([])).expect_err("no object")[0].message, "expected an object, found a list");
    }

    #[test]
    fn a_good_description_reads_and_speaks_the_same() {
        let body = json!({
            "email": "persona.anna@mana.test", "password": "long enough", "archetype": "adhd-student",
            "systemPrompt": "Ich bin Anna und studiere in Leipzig.", "moduleMix": { "todo": 0.3, "journal": 0.7 },
            "timezone": "Europe/Berlin", "locale": "de", "window": { "start": "22:00", "end": "02:00" },
            "behaviour": { "toleratedErrors": 2, "typoRate": 0.06 }, "tools": ["todo_*"],
            "target": { "url": "https://shop.example/mcp", "auth": "bearer", "token": "env:TARGET_SHOP_TOKEN" },
        });
        let persona = NewPersona::read(&body).expect("good");
        let spoken = persona.descriptor.to_json();
        assert_eq!(spoken["tickCadence"], "daily");
        let all =
            ["archetype", "systemPrompt", "moduleMix", "timezone", "locale", "window", "behaviour", "target", "tools"];
        for field in all {
            assert_eq!(spoken[field], body[field], "{field}");
        }
        assert_eq!(persona.descriptor.prompt_hash().len(), 64);
    }
}
