//! Constrained values: each checks itself on input and states its bounds in the schema.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use mana_types::Cursor;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::ToolError;
use crate::{Filter, Record};

/// Whether a character has no place in a text: control characters, but for tab and line ends in long texts.
fn is_control(c: char, multiline: bool) -> bool {
    c.is_control() && !(multiline && matches!(c, '\n' | '\r' | '\t'))
}

fn checked(text: &str, min: usize, max: usize, multiline: bool) -> Result<String, String> {
    let text = text.trim();
    if let Some(c) = text.chars().find(|c| is_control(*c, multiline)) {
        return Err(format!("the character U+{:04X} has no place here", u32::from(c)));
    }
    match text.chars().count() {
        0 if min > 0 => Err("must not be empty".into()),
        n if n < min => Err(format!("expected at least {min} characters")),
        n if n > max => Err(format!("expected at most {max} characters")),
        _ => Ok(text.to_owned()),
    }
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident<$($param:ident),*>, |$text:ident| $check:expr, $schema:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name<$(const $param: usize),*>(String);

        impl<$(const $param: usize),*> $name<$($param),*> {
            /// Checks a text; the error says what is wrong with it.
            pub fn parse($text: &str) -> Result<Self, String> {
                $check.map(Self)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<$(const $param: usize),*> Deref for $name<$($param),*> {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl<$(const $param: usize),*> fmt::Display for $name<$($param),*> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<$(const $param: usize),*> fmt::Debug for $name<$($param),*> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl<'de, $(const $param: usize),*> Deserialize<'de> for $name<$($param),*> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }

        impl<$(const $param: usize),*> JsonSchema for $name<$($param),*> {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

text_type! {
    /// One line of 1 to `MAX` characters, without white space around it.
    Line<MAX>, |text| checked(text, 1, MAX, false), json_schema!({ "type": "string", "minLength": 1, "maxLength": MAX })
}

text_type! {
    /// Text of `MIN` to `MAX` characters over any number of lines, without white space around it.
    Text<MIN, MAX>, |text| checked(text, MIN, MAX, true),
    json_schema!({ "type": "string", "minLength": MIN, "maxLength": MAX })
}

text_type! {
    /// A word to find things by again: one line of 1 to 60 characters.
    Tag<>, |text| checked(text, 1, 60, false), json_schema!({ "type": "string", "minLength": 1, "maxLength": 60 })
}

text_type! {
    /// A colour: `#` and six hexadecimal digits, in lower case.
    Color<>, |text| color(text),
    json_schema!({ "type": "string", "pattern": "^#[0-9a-fA-F]{6}$" })
}

text_type! {
    /// An e-mail address of at most 254 characters.
    Email<>, |text| email(text), json_schema!({ "type": "string", "format": "email", "maxLength": 254 })
}

text_type! {
    /// An `http` or `https` address of at most 2,000 characters.
    WebUrl<>, |text| web_url(text), json_schema!({ "type": "string", "format": "uri", "maxLength": 2000 })
}

text_type! {
    /// A currency of ISO 4217, such as `EUR`.
    Currency<>, |text| currency(text), json_schema!({ "type": "string", "pattern": "^[A-Z]{3}$" })
}

text_type! {
    /// A time zone of the IANA database, such as `Europe/Berlin`.
    TimeZoneName<>, |text| time_zone(text), json_schema!({ "type": "string", "minLength": 1, "maxLength": 60 })
}

fn color(text: &str) -> Result<String, String> {
    let digits = text.trim().strip_prefix('#').unwrap_or_default();
    let fits = digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if fits {
        Ok(format!("#{}", digits.to_ascii_lowercase()))
    } else {
        Err("expected a colour such as `#6366f1`".into())
    }
}

fn email(text: &str) -> Result<String, String> {
    let text = checked(text, 3, 254, false)?;
    let fits = text.rsplit_once('@').is_some_and(|(user, host)| {
        !user.is_empty()
            && !user.contains(char::is_whitespace)
            && host.split('.').count() >= 2
            && host.split('.').all(|part| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '-'))
    });
    if fits { Ok(text) } else { Err("expected an e-mail address such as `anna@example.org`".into()) }
}

fn web_url(text: &str) -> Result<String, String> {
    let text = checked(text, 1, 2000, false)?;
    let fits = text.split_once("://").is_some_and(|(scheme, rest)| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        matches!(scheme, "http" | "https") && !host.is_empty() && !text.contains(char::is_whitespace)
    });
    if fits { Ok(text) } else { Err("expected an address such as `https://example.org/page`".into()) }
}

/// The active currencies of ISO 4217 (list one, 2024), without funds and metals.
const CURRENCIES: &str = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP \
    BYN BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF \
    GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD \
    LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR \
    PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SYP SZL THB TJS TMT TND TOP TRY TTD \
    TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWL";

fn currency(text: &str) -> Result<String, String> {
    let code = text.trim();
    let known = code.len() == 3 && CURRENCIES.split_whitespace().any(|known| known == code);
    if known { Ok(code.to_owned()) } else { Err("expected a currency of ISO 4217 such as `EUR`".into()) }
}

fn time_zone(text: &str) -> Result<String, String> {
    let name = text.trim();
    match jiff::tz::TimeZone::get(name) {
        Ok(_) => Ok(name.to_owned()),
        Err(_) => Err("expected a time zone such as `Europe/Berlin`".into()),
    }
}

/// Up to `MAX` tags, each once (whatever its case), in the order given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Tags<const MAX: usize>(Vec<Tag>);

impl<const MAX: usize> Tags<MAX> {
    /// The tags.
    pub fn as_slice(&self) -> &[Tag] {
        &self.0
    }

    /// All tags in one line, for searching.
    pub fn joined(&self) -> String {
        self.0.iter().map(Tag::as_str).collect::<Vec<_>>().join(" ")
    }

    /// All tags for the words of a record, each between marks, so that a search finds a tag whole; see [`Tag::whole`].
    pub fn marked(&self) -> String {
        let mut text = String::from(MARK);
        for tag in &self.0 {
            text.push_str(tag);
            text.push(MARK);
        }
        text
    }
}

/// Stands around each tag among the words of a record. No input can contain it, so nothing else looks like a tag.
const MARK: char = '\u{1f}';

impl Tag {
    /// What to search for to find exactly this tag, whatever its case, among words made with [`Tags::marked`].
    pub fn whole(&self) -> String {
        format!("{MARK}{self}{MARK}")
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Tags<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut tags: Vec<Tag> = Vec::new();
        for tag in Vec::<Tag>::deserialize(deserializer)? {
            if !tags.iter().any(|known| known.to_lowercase() == tag.to_lowercase()) {
                tags.push(tag);
            }
        }
        if tags.len() > MAX {
            return Err(D::Error::custom(format!("expected at most {MAX} tags")));
        }
        Ok(Self(tags))
    }
}

impl<const MAX: usize> JsonSchema for Tags<MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Tags".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": generator.subschema_for::<Tag>(), "maxItems": MAX })
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Whole<const MIN: i64, const MAX: i64>(i64);

impl<const MIN: i64, const MAX: i64> Whole<MIN, MAX> {
    /// Checks a number; the error says what is wrong with it.
    pub fn new(number: i64) -> Result<Self, String> {
        if (MIN..=MAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(format!("expected a whole number from {MIN} to {MAX}"))
        }
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(i64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl<const MIN: i64, const MAX: i64> JsonSchema for Whole<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Whole".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// How many entries a list answers: 1 to `MAX`, `DEFAULT` if nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit<const DEFAULT: u32, const MAX: u32>(u32);

impl<const DEFAULT: u32, const MAX: u32> Limit<DEFAULT, MAX> {
    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl<const DEFAULT: u32, const MAX: u32> Default for Limit<DEFAULT, MAX> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<'de, const DEFAULT: u32, const MAX: u32> Deserialize<'de> for Limit<DEFAULT, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        if (1..=MAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(D::Error::custom(format!("expected a whole number from 1 to {MAX}")))
        }
    }
}

impl<const DEFAULT: u32, const MAX: u32> JsonSchema for Limit<DEFAULT, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": MAX, "default": DEFAULT })
    }
}

/// Where a list begins and how long it is. Flatten it into the input of a list tool.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub struct Paging<const DEFAULT: u32 = 20, const MAX: u32 = 100> {
    /// How many to answer.
    #[serde(default)]
    limit: Limit<DEFAULT, MAX>,
    /// The `nextCursor` of the page before, to go on from there.
    #[serde(default)]
    cursor: Option<String>,
}

impl<const DEFAULT: u32, const MAX: u32> Paging<DEFAULT, MAX> {
    /// How many are wanted.
    pub fn limit(&self) -> u32 {
        self.limit.get()
    }

    /// The place to go on from.
    pub fn cursor(&self) -> Result<Option<Cursor>, ToolError> {
        match self.cursor.as_deref() {
            None | Some("") => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|error: mana_types::InvalidCursor| ToolError::field("cursor", error.to_string())),
        }
    }

    /// Narrows a filter to this page.
    pub fn of<T: Record>(&self, filter: Filter<T>) -> Result<Filter<T>, ToolError> {
        Ok(filter.page(self.limit(), self.cursor()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_trimmed_and_bounded() {
        assert_eq!(Line::<5>::parse("  Brot ").map(|line| line.to_string()), Ok("Brot".into()));
        for bad in ["", "   ", "zu lang", "a\nb", "a\u{0}b"] {
            assert!(Line::<5>::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Text::<0, 9>::parse("").is_ok());
        assert!(Text::<1, 9>::parse("a\nb").is_ok());
        assert!(Text::<1, 9>::parse("a\u{7}b").is_err());
        assert!(Line::<5>::parse("ÄÖÜßé").is_ok(), "characters are counted, not bytes");
    }

    #[test]
    fn special_texts_know_their_form() {
        assert_eq!(Color::parse("#6366F1").map(|color| color.to_string()), Ok("#6366f1".into()));
        for bad in ["red", "#12345", "#12345g", "6366f1"] {
            assert!(Color::parse(bad).is_err(), "{bad}");
        }
        assert!(Email::parse("anna@mana.test").is_ok());
        for bad in ["anna", "anna@", "@mana.test", "anna@mana", "an na@mana.test", "a@b..c"] {
            assert!(Email::parse(bad).is_err(), "{bad}");
        }
        assert!(WebUrl::parse("https://example.org/a?b#c").is_ok());
        for bad in ["ftp://x.y", "javascript:alert(1)", "https://", "https://a b"] {
            assert!(WebUrl::parse(bad).is_err(), "{bad}");
        }
        assert!(Currency::parse("EUR").is_ok() && Currency::parse("eur").is_err() && Currency::parse("ZZZ").is_err());
        assert!(TimeZoneName::parse("Europe/Berlin").is_ok() && TimeZoneName::parse("Mars/Base").is_err());
    }

    #[test]
    fn tags_stand_once() {
        let tags: Tags<3> = serde_json::from_str(r#"["Haus", "haus", " Garten "]"#).expect("fits");
        assert_eq!(tags.joined(), "Haus Garten");
        assert!(tags.marked().contains(&tags.as_slice()[1].whole()));
        assert!(!tags.marked().contains(&Tag::parse("Gart").expect("fits").whole()));
        assert!(serde_json::from_str::<Tags<1>>(r#"["a", "b"]"#).is_err());
    }
}
