//! Reading a JSON object field by field, so that all its faults are named and not only the first.

use mana_web::FieldError;
use serde_json::{Map, Value};

/// A reader of one object; faults are collected under its path.
#[derive(Debug)]
pub(crate) struct Fields<'a, 'f> {
    path: String,
    map: &'a Map<String, Value>,
    faults: &'f mut Vec<FieldError>,
}

impl<'a, 'f> Fields<'a, 'f> {
    /// Reads an object; what is none is one fault. The path is empty or ends the name of the object itself.
    pub(crate) fn of(value: &'a Value, path: &str, faults: &'f mut Vec<FieldError>) -> Option<Self> {
        let Value::Object(map) = value else {
            faults.push(FieldError::new(path, format!("expected an object, found {}", kind_of(value))));
            return None;
        };
        Some(Self { path: if path.is_empty() { String::new() } else { format!("{path}.") }, map, faults })
    }

    /// Notes a fault of a field, or of the object itself where the name is empty.
    pub(crate) fn wrong(&mut self, name: &str, message: impl Into<String>) {
        let field =
            if name.is_empty() { self.path.trim_end_matches('.').to_owned() } else { format!("{}{name}", self.path) };
        self.faults.push(FieldError::new(field, message));
    }

    /// The value of a field; `null` counts as absent.
    pub(crate) fn value(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// An object within this one.
    pub(crate) fn object(&mut self, name: &str) -> Option<Fields<'a, '_>> {
        let value = self.value(name)?;
        let path = format!("{}{name}", self.path);
        Fields::of(value, &path, self.faults)
    }

    /// The names of the fields.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.map.keys().map(String::as_str)
    }

    /// Refuses fields that are not in the list.
    pub(crate) fn only(&mut self, known: &[&str]) {
        for name in self.names().filter(|name| !known.contains(name)) {
            let hint = mana_types::nearest(name, known.iter().copied());
            let meant = hint.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
            self.wrong(name, format!("unknown key{meant}"));
        }
    }

    /// A text that may be absent, of at most this many characters. NUL, which no database text holds, is replaced.
    pub(crate) fn text(&mut self, name: &str, most: usize) -> Option<String> {
        let text = self.any_text(name)?;
        if text.chars().count() > most {
            self.wrong(name, format!("at most {most} characters"));
            return None;
        }
        Some(text)
    }

    /// A text that may be absent and is cut where it is longer: for what others have said, not for names.
    pub(crate) fn cut_text(&mut self, name: &str, most: usize) -> Option<String> {
        self.any_text(name).map(|text| cut(&text, most))
    }

    /// A text that must be there and not be blank.
    pub(crate) fn needed_text(&mut self, name: &str, most: usize) -> Option<String> {
        if self.value(name).is_none() {
            self.wrong(name, "is missing");
            return None;
        }
        let text = self.text(name, most)?;
        if text.trim().is_empty() {
            self.wrong(name, "must not be blank");
            return None;
        }
        Some(text)
    }

    fn any_text(&mut self, name: &str) -> Option<String> {
        match self.value(name)? {
            Value::String(text) => Some(without_nul(text)),
            other => {
                self.wrong(name, format!("expected a text, found {}", kind_of(other)));
                None
            }
        }
    }

    /// A yes or no that may be absent.
    pub(crate) fn flag(&mut self, name: &str) -> Option<bool> {
        match self.value(name)? {
            Value::Bool(flag) => Some(*flag),
            other => {
                self.wrong(name, format!("expected true or false, found {}", kind_of(other)));
                None
            }
        }
    }

    /// A number that may be absent, within these bounds.
    pub(crate) fn number(&mut self, name: &str, least: f64, most: f64) -> Option<f64> {
        let found = self.value(name)?;
        match found.as_f64() {
            Some(number) if (least..=most).contains(&number) => Some(number),
            Some(number) => {
                self.wrong(name, format!("{number} is not between {least} and {most}"));
                None
            }
            None => {
                self.wrong(name, format!("expected a number, found {}", kind_of(found)));
                None
            }
        }
    }

    /// A whole number that may be absent, within these bounds.
    pub(crate) fn whole(&mut self, name: &str, least: i64, most: i64) -> Option<i64> {
        let found = self.value(name)?;
        match whole_number(found) {
            Some(number) if (least..=most).contains(&number) => Some(number),
            _ if found.is_number() => {
                self.wrong(name, format!("{found} is not a whole number from {least} to {most}"));
                None
            }
            _ => {
                let kind = kind_of(found);
                self.wrong(name, format!("expected a whole number from {least} to {most}, found {kind}"));
                None
            }
        }
    }

    /// A whole number that must be there, within these bounds.
    pub(crate) fn needed_whole(&mut self, name: &str, least: i64, most: i64) -> Option<i64> {
        if self.value(name).is_none() {
            self.wrong(name, "is missing");
            return None;
        }
        self.whole(name, least, most)
    }

    /// A text that may be absent and reads as a value.
    pub(crate) fn parsed<T: std::str::FromStr>(&mut self, name: &str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        let text = self.any_text(name)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(name, error.to_string());
                None
            }
        }
    }
}

/// A number without a fraction; `4.0` is one, `2.5` is not.
pub(crate) fn whole_number(value: &Value) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole and far inside of what an i64 holds")]
    value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9.0e15).map(|number| number as i64)
}

/// What a value is, in words.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The text without NUL characters, which PostgreSQL cannot store.
pub(crate) fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The text, ending in `…` where it was cut to this many characters.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// A JSON value without NUL characters in any of its texts.
pub(crate) fn value_without_nul(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains('\0') => Value::String(without_nul(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(value_without_nul).collect()),
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(key, value)| (without_nul(&key), value_without_nul(value))).collect())
        }
        other => other,
    }
}
