//! Values that fit a schema: the arguments of calls, and structured answers.

use serde_json::{Map, Value, json};

/// How deep a schema is followed.
const DEPTH: usize = 12;

/// What people write.
const PHRASES: [&str; 8] = [
    "Brot und Äpfel für Samstag",
    "call the landlord about the heating",
    "Fotos vom Ausflug sortieren 📷",
    "read chapter four before Thursday",
    "Zahnarzttermin verschieben",
    "a note about \"later\" and what it means",
    "Rechnung für März prüfen",
    "plan the weekend with Ben",
];

/// Writes values by a schema, the same for the same schema and seed.
pub(crate) struct Writer<'a, F> {
    /// Where `$ref` points into.
    root: &'a Value,
    /// Chooses words, so that two calls do not read alike.
    seed: u64,
    /// Knows better for some members: the name of the member, its schema, and what it lies in.
    knows: F,
}

impl<'a, F: Fn(&str, &Value) -> Option<Value>> Writer<'a, F> {
    pub(crate) fn new(root: &'a Value, seed: u64, knows: F) -> Self {
        Self { root, seed, knows }
    }

    /// Something that fits.
    pub(crate) fn write(&self) -> Value {
        self.value("", self.root, 0)
    }

    fn resolved<'b>(&'b self, schema: &'b Value) -> &'b Value {
        let mut schema = schema;
        for _ in 0..DEPTH {
            let Some(place) = schema.get("$ref").and_then(Value::as_str).and_then(|place| place.strip_prefix('#'))
            else {
                break;
            };
            schema = self.root.pointer(place).unwrap_or(&Value::Null);
        }
        schema
    }

    /// Something that fits a part of the schema, for the member of this name.
    pub(crate) fn value(&self, name: &str, schema: &Value, depth: usize) -> Value {
        let schema = self.resolved(schema);
        if let Some(known) = (self.knows)(name, schema) {
            return known;
        }
        if let Some(only) = schema.get("const") {
            return only.clone();
        }
        if let Some(options) = schema["enum"].as_array() {
            // The middle, because the ends are often special.
            return options.get(options.len() / 2).cloned().unwrap_or_default();
        }
        for word in ["anyOf", "oneOf"] {
            if let Some(options) = schema[word].as_array() {
                let real = options.iter().map(|option| self.resolved(option)).find(|option| option["type"] != "null");
                return real.map_or(Value::Null, |option| self.value(name, option, depth + 1));
            }
        }
        if let Some(part) = schema["allOf"].as_array().and_then(|parts| parts.first()) {
            return self.value(name, part, depth + 1);
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").and_then(Value::as_str),
            kind => kind.as_str(),
        };
        match kind {
            Some("object") => self.object(schema, depth),
            Some("array") => self.array(name, schema, depth),
            Some("integer") => Self::integer(schema).into(),
            Some("number") => Self::number(schema),
            Some("boolean") => false.into(),
            Some("null") => Value::Null,
            None if schema.get("properties").is_some() => self.object(schema, depth),
            Some(_) | None => self.text(name, schema).into(),
        }
    }

    /// The members that must be there.
    fn object(&self, schema: &Value, depth: usize) -> Value {
        let mut object = Map::new();
        if depth > DEPTH {
            return Value::Object(object);
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            object.insert(name.to_owned(), self.value(name, &schema["properties"][name], depth + 1));
        }
        Value::Object(object)
    }

    fn array(&self, name: &str, schema: &Value, depth: usize) -> Value {
        let count = usize::try_from(schema["minItems"].as_u64().unwrap_or(1).max(1)).unwrap_or(1);
        (0..count).map(|_| self.value(name, &schema["items"], depth + 1)).collect()
    }

    fn integer(schema: &Value) -> i64 {
        let least = schema["minimum"].as_i64().or_else(|| schema["exclusiveMinimum"].as_i64().map(|least| least + 1));
        let most = schema["maximum"].as_i64().or_else(|| schema["exclusiveMaximum"].as_i64().map(|most| most - 1));
        match (least, most) {
            (Some(least), Some(most)) => least + (most - least).min(6) / 2,
            (Some(least), None) => least.max(1),
            (None, Some(most)) => most.min(1),
            (None, None) => 1,
        }
    }

    fn number(schema: &Value) -> Value {
        let least = schema["minimum"].as_f64().or_else(|| schema["exclusiveMinimum"].as_f64());
        let most = schema["maximum"].as_f64().or_else(|| schema["exclusiveMaximum"].as_f64());
        match (least, most) {
            (Some(least), Some(most)) if least + 1.0 > most => json!(f64::midpoint(least, most)),
            (Some(least), _) => json!(least + 1.0),
            (None, Some(most)) => json!(most - 1.0),
            (None, None) => json!(1),
        }
    }

    fn text(&self, name: &str, schema: &Value) -> String {
        let day = 1 + self.seed % 27;
        let hour = 8 + self.seed % 11;
        match schema["format"].as_str() {
            Some("date") => return format!("2026-12-{day:02}"),
            Some("date-time") => return format!("2026-12-{day:02}T{hour:02}:30:00Z"),
            Some("time") => return format!("{hour:02}:30:00"),
            Some("email") => return format!("friend{}@example.org", self.seed % 100),
            Some("uri" | "url") => return format!("https://example.org/{}", self.seed % 1000),
            // Of nobody: to be told that it does not exist is a fair answer.
            Some("uuid") => return "018f0000-0000-7000-8000-000000000000".into(),
            _ => {}
        }
        if let Some(text) = schema["pattern"].as_str().and_then(by_pattern) {
            return text.to_owned();
        }
        let word = name.to_ascii_lowercase();
        let text = match word.as_str() {
            "timezone" => "Europe/Berlin",
            "currency" => "EUR",
            "locale" | "language" => "de",
            _ => PHRASES[usize::try_from(self.seed % 8).unwrap_or(0)],
        };
        let most = schema["maxLength"].as_u64().and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        let mut text: String = text.chars().take(most).collect();
        while (text.chars().count() as u64) < schema["minLength"].as_u64().unwrap_or(0) {
            text.push('a');
        }
        text
    }
}

/// Something for the patterns that schemas of tools use.
fn by_pattern(pattern: &str) -> Option<&'static str> {
    const SAMPLES: [(&str, &str); 6] = [
        ("[A-Z]{3}", "EUR"),
        ("FREQ", "FREQ=WEEKLY;BYDAY=MO"),
        ("#", "#3366aa"),
        ("[0-5]", "09:30"),
        (r"\d{4}-", "2026-12-05"),
        ("-", "2026-12-05"),
    ];
    SAMPLES.iter().find(|(part, _)| pattern.contains(part)).map(|(_, sample)| *sample)
}
