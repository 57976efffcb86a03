//! What stands in a field: words, numbers and dates that fit its name, its schema and the person.

use jiff::Span;
use jiff::civil::DateTime;
use mana_types::Lang;
use serde_json::{Number, Value};

use super::arguments::Writer;
use super::{names, stock};

/// Fields that hold what somebody wrote, with his opener, his closer and his typos.
const PROSE: [&str; 8] = ["body", "content", "description", "entry", "notes", "review", "text", "title"];

/// Fields that hold a long text of one's own.
const LONG: [&str; 4] = ["body", "content", "entry", "text"];

/// Fields whose day has come already: a log, a birthday, an invoice.
const PAST: [&str; 9] =
    ["acquiredAt", "at", "completedAt", "date", "day", "issued", "loggedAt", "paidAt", "publishedAt"];

/// Writes the value of one field.
pub(super) struct Words<'w, 'a> {
    pub(super) writer: &'w mut Writer<'a>,
    pub(super) name: &'w str,
}

impl Words<'_, '_> {
    fn lang(&self) -> Lang {
        self.writer.who.lang
    }

    fn module(&self) -> &str {
        &self.writer.tool.module
    }

    /// The paired phrase of this field, which goes with the paired phrases of the others.
    fn paired(&self) -> Option<&'static str> {
        let role = stock::paired(self.module())
            .iter()
            .find(|role| **role == self.name || names::singular(role) == self.name)?;
        let phrases = stock::of_module(self.lang(), self.module(), role);
        phrases.get(self.writer.pair % phrases.len().max(1)).map(String::as_str)
    }

    /// One of the allowed values: the one that goes with the rest, where it is allowed.
    pub(super) fn option(&mut self, options: &[Value]) -> Option<Value> {
        let fitting = self.paired().and_then(|paired| options.iter().find(|option| option.as_str() == Some(paired)));
        // What somebody calls by words of his own is none of the ready-made values.
        let own = self.paired().and_then(|_| options.iter().find(|option| option.as_str() == Some("custom")));
        let fitting = fitting.or_else(|| own.filter(|_| self.writer.dice.chance(0.5)));
        fitting.or_else(|| self.writer.dice.pick(options)).cloned()
    }

    pub(super) fn yes_or_no(&mut self, schema: &Value) -> bool {
        let name = self.name;
        let seldom = name.starts_with("include") || name.starts_with("only");
        match name {
            // An event that lasts all day has no hours, and ours have.
            "allDay" | "isDefault" | "isAllDay" => schema.get("default").and_then(Value::as_bool).unwrap_or(false),
            // What is put away or done is looked at seldom.
            "archived" | "isCompleted" | "isArchived" => self.writer.dice.chance(0.1),
            _ => self.writer.dice.chance(if seldom { 0.2 } else { 0.4 }),
        }
    }

    pub(super) fn whole(&mut self, schema: &Value) -> i64 {
        let bound = |keyword: &str| schema.get(keyword).and_then(as_whole);
        let low = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|bound| bound + 1));
        let high = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|bound| bound - 1));
        if let Some(paired) = self.paired().and_then(|paired| paired.parse().ok()) {
            return held(paired, low, high);
        }
        let this_year = i64::from(self.writer.who.today.0.year());
        let lower = self.name.to_lowercase();
        let (from, to) = match lower.as_str() {
            "limit" => (5, 20),
            "year" => (this_year - 1, this_year),
            "month" => (1, 12),
            "quantity" | "qty" | "count" | "targetperday" => (1, 3),
            "days" => (3, 14),
            "vatrate" if high.is_some_and(|high| high > 100) => return [1900, 700][self.writer.dice.below(2)],
            "vatrate" => return held([19, 7][self.writer.dice.below(2)], low, high),
            "fromhour" => (7, 10),
            "untilhour" | "tohour" => (16, 20),
            name if name.contains("price") || name.contains("cents") => {
                return held(self.writer.dice.between(9, 180) * 500, low, high);
            }
            "reminder" => return held([10, 30, 60, 1440][self.writer.dice.below(4)], low, high),
            name if name.contains("minutes") || name == "estimate" || name == "duration" => {
                return held(self.writer.dice.between(1, 12) * 10, low, high);
            }
            // Bounds keep nonsense out; what people enter lies near the lower one, unless both are in sight.
            _ => match (low, high) {
                (low, Some(high)) if high - low.unwrap_or(0) <= 100 => (low.unwrap_or(high.min(1)), high),
                (low, _) => (low.unwrap_or(1).max(1), low.unwrap_or(1).max(1) + 9),
            },
        };
        let drawn = self.writer.dice.between(from, to);
        held(drawn, low, high)
    }

    pub(super) fn number(&mut self, schema: &Value) -> Option<Value> {
        let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_f64);
        let low = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|bound| bound + 0.5));
        let high = bound("maximum");
        let value = match self.name {
            "vatRate" if high.is_some_and(|high| high <= 1.0) => 0.19,
            "vatRate" => 19.0,
            "quantity" | "qty" => [1.0, 2.0, 0.5, 4.0][self.writer.dice.below(4)],
            _ => {
                let low = low.unwrap_or(1.0).max(0.5);
                let high = high.filter(|high| *high <= 10.0).unwrap_or(low + 4.0);
                // Halves are exact in binary and look like something that a person measured.
                ((low + self.writer.dice.share() * (high - low)) * 2.0).round() / 2.0
            }
        };
        let value = value.max(low.unwrap_or(f64::MIN)).min(high.unwrap_or(f64::MAX));
        Number::from_f64(value).map(Value::Number)
    }

    /// A text; none where nobody could know what the schema wants.
    pub(super) fn text(&mut self, schema: &Value) -> Option<String> {
        let format = schema.get("format").and_then(Value::as_str);
        let text = match format {
            Some("date") => self.date(),
            Some("date-time") => self.date_time()?,
            Some("time") => self.time(),
            Some("email") => self.email(),
            Some("uri" | "url") => self.url(),
            Some("duration") => "PT30M".into(),
            // An id that nobody has shown us is an id of nothing.
            Some("uuid") => return None,
            _ => match schema.get("pattern").and_then(Value::as_str) {
                Some(pattern) => self.by_pattern(pattern)?,
                None => self.by_name(),
            },
        };
        self.fitted(&text, schema)
    }

    fn by_pattern(&mut self, pattern: &str) -> Option<String> {
        let plain = pattern.trim_start_matches('^').trim_end_matches('$');
        match plain {
            "#[0-9a-fA-F]{6}" | "#[0-9a-f]{6}" | "#[A-Fa-f0-9]{6}" => self.draw(&["color"]),
            "[A-Z]{3}" => Some("EUR".into()),
            "[A-Z]{2}" => Some(if self.lang() == Lang::De { "DE" } else { "GB" }.into()),
            "[0-9]{4}-[0-9]{2}" | r"\d{4}-\d{2}" => Some(self.writer.anchor.strftime("%Y-%m").to_string()),
            clock if clock.contains(":[0-5]") => Some(self.writer.anchor.strftime("%H:%M").to_string()),
            slug if slug.starts_with("[a-z0-9") => Some(slug_of(&self.by_name())),
            rule if rule.contains("FREQ") => Some("FREQ=WEEKLY;COUNT=8".into()),
            _ => None,
        }
    }

    /// The words that fit a field's name.
    fn by_name(&mut self) -> String {
        let name = self.name;
        let of_parent =
            self.writer.parent.as_deref().map(|parent| stock::of_module(self.lang(), self.module(), parent));
        let drawn = match name {
            "title" | "name" if of_parent.is_some_and(|phrases| !phrases.is_empty()) => {
                self.writer.dice.pick(of_parent.unwrap_or_default()).cloned()
            }
            "firstName" => self.own("person_first"),
            "lastName" => self.own("person_last"),
            "withWhom" | "person" | "people" | "recipient" => self.draw(&["person_first"]),
            "unit" => self.draw(&["metric"]),
            "author" | "creator" | "creators" => self.paired().map(str::to_owned).or_else(|| self.full_name()),
            "phone" | "telephone" | "mobile" => Some(format!("+49 30 555 {:04}", self.writer.dice.below(10_000))),
            "address" | "street" => self.address(),
            "location" | "place" => self.paired().map(str::to_owned).or_else(|| self.draw(&["location", "place"])),
            "timezone" | "timeZone" => Some(self.writer.who.zone.iana_name().unwrap_or("UTC").to_owned()),
            "locale" | "language" | "lang" => Some(if self.lang() == Lang::De { "de" } else { "en" }.to_owned()),
            "country" => Some(if self.lang() == Lang::De { "DE" } else { "GB" }.to_owned()),
            "recurrence" | "rrule" => Some("FREQ=WEEKLY;COUNT=8".into()),
            "query" | "search" | "q" | "term" | "keyword" => self.search_word(),
            "text" | "quote" if self.writer.tool.name.contains("highlight") => self.sentence_of_record(),
            "text" | "line" if self.writer.tool.name.contains("quick") => self.draw(&["line", "title"]),
            "name" => self.name_of_noun(),
            "note" | "comment" | "message" | "reason" => self.draw(&["notes", "text"]),
            "text" | "content" if self.writer.tool.name.contains("append") => self.draw(&["append", "text"]),
            "entry" | "body" | "content" | "text" => self.paired_or("content").or_else(|| self.draw(&["text"])),
            // From another list than what is liked, so that nothing is both.
            name if name.starts_with("blocked") => self.writer.dice.pick(stock::general(self.lang(), "topic")).cloned(),
            "ics" => self.calendar_file(),
            "vcard" => self.business_card(),
            _ => self.paired().map(str::to_owned).or_else(|| {
                // `secondaryEmotions` are emotions.
                let last = name.rfind(char::is_uppercase).map_or(name, |place| &name[place..]);
                self.draw(&[name, &names::singular(name), &names::singular(&last.to_lowercase())])
            }),
        };
        let text = drawn.or_else(|| self.draw(&["title"])).unwrap_or_else(|| name.to_owned());
        let is_own = !self.writer.tool.name.contains("append");
        if PROSE.contains(&name) && is_own { self.flavoured(text) } else { text }
    }

    fn paired_or(&mut self, role: &str) -> Option<String> {
        let phrases = stock::of_module(self.lang(), self.module(), role);
        if stock::paired(self.module()).contains(&role) {
            return phrases.get(self.writer.pair % phrases.len().max(1)).cloned();
        }
        self.writer.dice.pick(phrases).cloned()
    }

    /// A phrase of the first of these roles that there is: of the module, else of any.
    fn draw(&mut self, roles: &[&str]) -> Option<String> {
        let (lang, module) = (self.lang(), self.writer.tool.module.as_str());
        let own = roles.iter().map(|role| stock::of_module(lang, module, role)).find(|phrases| !phrases.is_empty());
        let any = || roles.iter().map(|role| stock::general(lang, role)).find(|phrases| !phrases.is_empty());
        own.or_else(any).and_then(|phrases| self.writer.dice.pick(phrases)).cloned()
    }

    /// The entry of a list that belongs to this call: the same whenever it is asked for.
    fn own(&self, role: &str) -> Option<String> {
        let phrases = stock::general(self.lang(), role);
        let place = if role == "person_last" { self.writer.pair / phrases.len().max(1) } else { self.writer.pair };
        phrases.get(place % phrases.len().max(1)).cloned()
    }

    /// `name` of a project, of a client: what the tool is about, else a title.
    fn name_of_noun(&mut self) -> Option<String> {
        let nouns = names::nouns(&self.writer.tool.name);
        if nouns.iter().any(|noun| noun == "sender") {
            return self.full_name();
        }
        let (lang, module) = (self.lang(), self.writer.tool.module.as_str());
        let phrases = nouns.iter().map(|noun| stock::of_module(lang, module, noun)).find(|phrases| !phrases.is_empty());
        let role = if module == "calendar" { "activity" } else { "title" };
        phrases.and_then(|phrases| self.writer.dice.pick(phrases)).cloned().or_else(|| self.draw(&[role]))
    }

    fn full_name(&mut self) -> Option<String> {
        Some(format!("{} {}", self.draw(&["person_first"])?, self.draw(&["person_last"])?))
    }

    /// A calendar file (RFC 5545) with one event.
    fn calendar_file(&mut self) -> Option<String> {
        let title = self.draw(&["title"])?;
        let start = self.writer.anchor.strftime("%Y%m%dT%H%M%S");
        let end = self.writer.anchor.checked_add(Span::new().minutes(60)).ok()?;
        let (end, number) = (end.strftime("%Y%m%dT%H%M%S"), self.writer.dice.below(1 << 30));
        Some(format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Mana//rehearsal//EN\r\nBEGIN:VEVENT\r\nUID:{number}@example.org\r\n\
             DTSTAMP:{start}Z\r\nDTSTART:{start}Z\r\nDTEND:{end}Z\r\nSUMMARY:{}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
            title.replace(',', "\\,")
        ))
    }

    /// A card (RFC 6350) with name and company.
    fn business_card(&mut self) -> Option<String> {
        let (first, last, company) =
            (self.draw(&["person_first"])?, self.draw(&["person_last"])?, self.draw(&["company"])?);
        Some(format!(
            "BEGIN:VCARD\r\nVERSION:4.0\r\nFN:{first} {last}\r\nN:{last};{first};;;\r\nORG:{company}\r\nEND:VCARD\r\n"
        ))
    }

    fn address(&mut self) -> Option<String> {
        let whole = stock::of_module(self.lang(), self.module(), "address");
        match self.writer.dice.pick(whole) {
            Some(address) => Some(address.clone()),
            None => Some(format!("{}, {}", self.draw(&["street"])?, self.draw(&["city"])?)),
        }
    }

    fn search_word(&mut self) -> Option<String> {
        if self.writer.dice.chance(0.6)
            && let Some(word) = self.writer.remembered_word()
        {
            return Some(word);
        }
        self.draw(&["search"])
    }

    /// A sentence that occurs in the record that the call names.
    fn sentence_of_record(&mut self) -> Option<String> {
        let content = self.writer.quotable()?;
        let sentences: Vec<&str> = content
            .split_inclusive(['.', '!', '?', '\n'])
            .map(str::trim)
            .filter(|sentence| (10..=400).contains(&sentence.chars().count()))
            .collect();
        self.writer.dice.pick(&sentences).map(|sentence| (*sentence).to_owned())
    }

    /// The person's own way: how he begins and ends, what he calls things, and where his fingers slip.
    fn flavoured(&mut self, text: String) -> String {
        let name = self.name;
        let (lang, archetype) = (self.lang(), self.writer.who.archetype.as_str());
        let is_quote = self.writer.tool.name.contains("highlight");
        if is_quote || self.writer.tool.module == "library" && name == "title" {
            return text; // The words of others stay as they are.
        }
        let mut text = text;
        let is_whole = self.writer.parent.is_none() && stock::paired(self.module()).is_empty();
        if name == "title" && is_whole && self.writer.dice.chance(0.35) {
            text = self.writer.dice.pick(stock::of_archetype(lang, archetype, "title")).cloned().unwrap_or(text);
        }
        if LONG.contains(&name) && !self.writer.tool.name.contains("quick") && self.module() != "articles" {
            let is_markdown = text.contains('\n');
            let gap = if is_markdown { "\n\n" } else { " " };
            if self.writer.dice.chance(0.5)
                && let Some(opener) = self.writer.dice.pick(stock::of_archetype(lang, archetype, "opener"))
            {
                text = format!("{opener}{gap}{}", text.trim());
            }
            if self.writer.dice.chance(0.5)
                && let Some(closer) = self.writer.dice.pick(stock::of_archetype(lang, archetype, "closer"))
            {
                text = format!("{}{gap}{closer}", text.trim());
            }
        }
        self.with_typos(&text)
    }

    /// Two letters of a word change places, in as many words as the person mistypes.
    fn with_typos(&mut self, text: &str) -> String {
        let rate = self.writer.who.behaviour.typo_rate;
        if rate <= 0.0 {
            return text.to_owned();
        }
        let mut typed = String::with_capacity(text.len());
        for piece in text.split_inclusive(char::is_whitespace) {
            let word = piece.trim_end();
            let letters: Vec<char> = word.chars().collect();
            let plain =
                letters.len() > 3 && letters.iter().take(letters.len() - 1).all(|letter| letter.is_alphabetic());
            if !plain || !self.writer.dice.chance(rate) {
                typed.push_str(piece);
                continue;
            }
            let place = 1 + self.writer.dice.below(letters.len() - 3);
            let mut letters = letters;
            letters.swap(place, place + 1);
            typed.extend(letters);
            typed.push_str(&piece[word.len()..]);
        }
        typed
    }

    fn date(&mut self) -> String {
        let today = self.writer.who.today;
        let date = match self.name {
            "birthday" | "born" => {
                let year = i16::try_from(self.writer.dice.between(1948, 2004)).unwrap_or(1980);
                let day = i8::try_from(self.writer.dice.between(1, 28)).unwrap_or(1);
                let month = i8::try_from(self.writer.dice.between(1, 12)).unwrap_or(1);
                return jiff::civil::date(year, month, day).to_string();
            }
            "startDate" | "paidOn" | "issuedOn" => today,
            "startedAt" => today.plus_days(-self.writer.dice.between(4, 9)),
            name if PAST.contains(&name) => {
                let back = if self.writer.dice.chance(0.7) { 0 } else { self.writer.dice.between(1, 3) };
                today.plus_days(-back)
            }
            "from" | "since" | "after" => today.plus_days(-self.writer.dice.between(0, 7)),
            "to" | "until" | "before" | "end" | "endDate" | "due" | "dueDate" => {
                today.plus_days(self.writer.dice.between(8, 16))
            }
            _ => today.plus_days(self.writer.dice.between(0, 7)),
        };
        date.to_string()
    }

    fn date_time(&mut self) -> Option<String> {
        let anchor = self.writer.anchor;
        let today = self.writer.who.today.0.at(8, 0, 0, 0);
        let time = match self.name {
            "end" | "endAt" | "endsAt" | "endTime" => anchor.checked_add(Span::new().minutes(60)).ok()?,
            "from" | "since" | "after" => today.checked_sub(Span::new().days(1)).ok()?,
            "to" | "until" | "before" => today.checked_add(Span::new().days(8)).ok()?,
            "startedAt" => today.checked_sub(Span::new().days(5)).ok()?,
            name if PAST.contains(&name) => today,
            _ => anchor,
        };
        self.in_zone(time)
    }

    fn in_zone(&self, time: DateTime) -> Option<String> {
        let zoned = time.to_zoned(self.writer.who.zone.clone()).ok()?;
        Some(zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
    }

    fn time(&self) -> String {
        let shift = if self.name.starts_with("end") { 60 } else { 0 };
        let time = self.writer.anchor.checked_add(Span::new().minutes(shift)).unwrap_or(self.writer.anchor);
        time.strftime("%H:%M:%S").to_string()
    }

    fn email(&mut self) -> String {
        let (first, last) = (self.own("person_first"), self.own("person_last"));
        let part = |name: Option<String>| slug_of(&name.unwrap_or_else(|| "post".into()));
        format!("{}.{}@example.org", part(first), part(last))
    }

    fn url(&mut self) -> String {
        let title = self.paired_or("title").unwrap_or_else(|| "page".into());
        format!("https://example.org/{}-{}", slug_of(&title), self.writer.dice.below(10_000))
    }

    /// Within the lengths that the schema allows; none where that would leave nothing.
    fn fitted(&mut self, text: &str, schema: &Value) -> Option<String> {
        let length =
            |keyword: &str| schema.get(keyword).and_then(Value::as_u64).and_then(|length| usize::try_from(length).ok());
        let mut text = text.trim().to_owned();
        if length("minLength").is_some_and(|fewest| text.chars().count() < fewest) && schema.get("format").is_none() {
            for _ in 0..8 {
                let more = self.draw(&["text"])?;
                text = format!("{text} {more}");
                if length("minLength").is_none_or(|fewest| text.chars().count() >= fewest) {
                    break;
                }
            }
        }
        if let Some(most) = length("maxLength")
            && text.chars().count() > most
        {
            let cut: String = text.chars().take(most).collect();
            cut.trim_end().clone_into(&mut text);
        }
        let is_line = length("maxLength").is_some_and(|most| most <= 500);
        Some(if is_line { text.split_whitespace().collect::<Vec<_>>().join(" ") } else { text })
    }
}

/// `Über Wartezimmer` as `ueber-wartezimmer`.
fn slug_of(text: &str) -> String {
    let mut slug = String::new();
    for c in text.to_lowercase().chars() {
        match c {
            'ä' => slug.push_str("ae"),
            'ö' => slug.push_str("oe"),
            'ü' => slug.push_str("ue"),
            'ß' => slug.push_str("ss"),
            c if c.is_ascii_alphanumeric() => slug.push(c),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    let slug: String = slug.trim_end_matches('-').chars().take(40).collect();
    if slug.is_empty() { "x".into() } else { slug.trim_end_matches('-').to_owned() }
}

fn as_whole(value: &Value) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a bound beyond 2^63 is held at its end, which is what is wanted"
    )]
    value.as_i64().or_else(|| value.as_f64().map(|number| number.ceil() as i64))
}

fn held(value: i64, low: Option<i64>, high: Option<i64>) -> i64 {
    value.max(low.unwrap_or(i64::MIN)).min(high.unwrap_or(i64::MAX))
}
