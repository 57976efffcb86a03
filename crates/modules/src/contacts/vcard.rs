//! Contacts as vCards: RFC 6350 (4.0) out; 4.0 and what 3.0 writes the same way in.

use jiff::civil;
use mana_registry::prelude::*;

use super::{Contact, NO_YEAR};
use crate::shared::lines::{self, ContentLine};

/// Writes one card.
pub(super) fn write(out: &mut String, contact: &Stored<Contact>) {
    let data = &contact.data;
    lines::write(out, "BEGIN", "VCARD");
    lines::write(out, "VERSION", "4.0");
    let uid = data.uid.as_ref().map_or_else(|| format!("urn:uuid:{}", contact.id), ToString::to_string);
    lines::write(out, "UID", &lines::escape(&uid));
    lines::write_text(out, "FN", Some(&data.display_name()));
    let name = |part: &Option<Line<120>>| part.as_deref().map(lines::escape).unwrap_or_default();
    lines::write(out, "N", &format!("{};{};;;", name(&data.last_name), name(&data.first_name)));
    lines::write_text(out, "EMAIL", data.email.as_deref());
    lines::write_text(out, "TEL", data.phone.as_deref());
    lines::write_text(out, "ORG", data.company.as_deref());
    lines::write_text(out, "TITLE", data.job_title.as_deref());
    if let Some(address) = data.address.as_deref().filter(|address| !address.is_empty()) {
        // One text is no structure: it goes where the street stands.
        lines::write(out, "ADR", &format!(";;{};;;;", lines::escape(address)));
    }
    if let Some(Date(day)) = data.birthday {
        let day = if day.year() == NO_YEAR {
            format!("--{:02}{:02}", day.month(), day.day())
        } else {
            format!("{:04}{:02}{:02}", day.year(), day.month(), day.day())
        };
        lines::write(out, "BDAY", &day);
    }
    for link in &data.links {
        lines::write(out, "URL", link);
    }
    let tags: Vec<String> = data.tags.as_slice().iter().map(|tag| lines::escape(tag)).collect();
    if !tags.is_empty() {
        lines::write(out, "CATEGORIES", &tags.join(","));
    }
    lines::write_text(out, "NOTE", data.notes.as_deref());
    let revised = contact.updated_at.to_jiff().strftime("%Y%m%dT%H%M%SZ").to_string();
    lines::write(out, "REV", &revised);
    lines::write(out, "END", "VCARD");
}

/// A card that was read, and what of it could not be taken over.
#[derive(Debug, Default)]
pub(super) struct Card {
    pub(super) contact: Contact,
    pub(super) notices: Vec<String>,
}

/// All cards of a file.
pub(super) fn read(text: &str) -> Vec<Card> {
    let lines = lines::read(text);
    lines::components(&lines, "VCARD").iter().map(|lines| Card::read(lines)).collect()
}

impl Card {
    fn read(lines: &[ContentLine]) -> Self {
        let mut card = Self::default();
        let mut extra: Vec<String> = Vec::new();
        let mut notes: Vec<String> = Vec::new();
        let mut tags: Vec<String> = Vec::new();
        let mut full_name = String::new();
        for line in lines {
            let text = line.text();
            if text.trim().is_empty() {
                continue;
            }
            match line.name.as_str() {
                "FN" => full_name = text,
                "N" => {
                    let parts = line.parts(';');
                    let part = |at: usize| parts.get(at).map_or("", |part| part.trim());
                    card.set("N", part(0), |contact| &mut contact.last_name, Line::parse);
                    let given = format!("{} {}", part(1), part(2));
                    card.set("N", &given, |contact| &mut contact.first_name, Line::parse);
                }
                "EMAIL" if card.contact.email.is_none() => {
                    card.set("EMAIL", &text, |contact| &mut contact.email, Email::parse);
                }
                "TEL" if card.contact.phone.is_none() => {
                    card.set("TEL", text.trim_start_matches("tel:"), |contact| &mut contact.phone, Line::parse);
                }
                "ORG" => card.set("ORG", &filled(line, ", "), |contact| &mut contact.company, Line::parse),
                "TITLE" | "ROLE" if card.contact.job_title.is_none() => {
                    card.set("TITLE", &text, |contact| &mut contact.job_title, Line::parse);
                }
                "ADR" if card.contact.address.is_none() => {
                    card.set("ADR", &filled(line, "\n"), |contact| &mut contact.address, Text::parse);
                }
                // Of these there is one here: more of them are kept among the notes.
                "EMAIL" | "TEL" | "TITLE" | "ROLE" => extra.push(text),
                "ADR" => extra.push(filled(line, "\n")),
                "BDAY" => match birthday(&text) {
                    Some(day) => card.contact.birthday = Some(day),
                    None => card.notices.push(format!("BDAY: `{}` is no date", short(&text))),
                },
                "URL" if card.contact.links.len() < 20 => match WebUrl::parse(&text) {
                    Ok(link) => card.contact.links.push(link),
                    Err(why) => card.notices.push(format!("URL: {why}")),
                },
                "CATEGORIES" => tags.extend(line.parts(',')),
                "NOTE" => notes.push(text),
                "UID" => card.set("UID", &text, |contact| &mut contact.uid, Line::parse),
                _ => {}
            }
        }
        // Every card must have a full name: where there is none, some other thing stands there.
        let Contact { company, email, phone, .. } = &card.contact;
        let others = [company.as_deref(), email.as_deref(), phone.as_deref()];
        if card.contact.full_name().is_empty() && !others.contains(&Some(full_name.as_str())) {
            card.set("FN", &full_name, |contact| &mut contact.first_name, Line::parse);
        }
        notes.extend(extra);
        card.set("NOTE", &notes.join("\n"), |contact| &mut contact.notes, Text::parse);
        card.contact.tags = lines::tags(tags, &mut card.notices);
        card
    }

    /// Takes a value over, if there is one, or says why not.
    fn set<T>(
        &mut self,
        property: &str,
        text: &str,
        field: impl FnOnce(&mut Contact) -> &mut Option<T>,
        parse: impl FnOnce(&str) -> std::result::Result<T, String>,
    ) {
        if text.trim().is_empty() {
            return;
        }
        match parse(text) {
            Ok(value) => *field(&mut self.contact) = Some(value),
            Err(why) => self.notices.push(format!("{property}: {why}")),
        }
    }
}

/// The parts of a structured value that say something.
fn filled(line: &ContentLine, between: &str) -> String {
    line.parts(';').into_iter().filter(|part| !part.trim().is_empty()).collect::<Vec<_>>().join(between)
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// `19900203`, `1990-02-03`, with a time after it or not, and `--0203` where the year is not known.
fn birthday(text: &str) -> Option<Date> {
    let day = text.trim().split('T').next()?;
    let (year, rest) = match day.strip_prefix("--") {
        Some(rest) => (NO_YEAR, rest.to_owned()),
        None => (day.get(..4)?.parse().ok()?, day.get(4..)?.to_owned()),
    };
    let rest = rest.replace('-', "");
    let (month, date) = (rest.get(..2)?.parse().ok()?, rest.get(2..4)?.parse().ok()?);
    civil::Date::new(year, month, date).ok().filter(|_| rest.len() == 4).map(Date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn birthdays_are_read_in_every_usual_form() {
        for (text, day) in [
            ("19900203", Some("1990-02-03")),
            ("1990-02-03", Some("1990-02-03")),
            ("1990-02-03T00:00:00Z", Some("1990-02-03")),
            ("--0203", Some("1604-02-03")),
            ("--02-29", Some("1604-02-29")),
            ("1990", None),
            ("19901340", None),
            ("ä", None),
        ] {
            assert_eq!(birthday(text).map(|day| day.to_string()).as_deref(), day, "{text}");
        }
    }

    #[test]
    fn a_card_of_another_address_book_is_understood() {
        let cards = read(
            "BEGIN:VCARD\r\nVERSION:3.0\r\nN:Demir;Deniz;A.;;\r\nFN:Deniz A. Demir\r\nORG:Vogt & Demir;Kanzlei\r\n\
             item1.EMAIL;type=INTERNET;type=WORK:deniz@demir.test\r\nEMAIL:zweite@demir.test\r\nTEL;TYPE=cell:+49 170 1234567\r\n\
             ADR;TYPE=home:;;Am Platz 1;Köln;;50667;\r\nBDAY:19850512\r\nCATEGORIES:Recht,Freunde\r\nNOTE:Zeile 1\\nZeile 2\r\n\
             URL:kein link\r\nUID:abc-1\r\nEND:VCARD\r\n",
        );
        let Card { contact, notices } = &cards[0];
        assert_eq!((contact.first_name.as_deref(), contact.last_name.as_deref()), (Some("Deniz A."), Some("Demir")));
        assert_eq!(contact.company.as_deref(), Some("Vogt & Demir, Kanzlei"));
        assert_eq!(contact.address.as_deref(), Some("Am Platz 1\nKöln\n50667"));
        assert_eq!(contact.notes.as_deref(), Some("Zeile 1\nZeile 2\nzweite@demir.test"));
        assert_eq!((contact.tags.joined().as_str(), notices.len()), ("Recht Freunde", 1));
    }
}
