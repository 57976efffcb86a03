//! Which contacts are the same person, and how two become one.

use std::collections::HashMap;

use mana_registry::prelude::*;

use super::Contact;

/// What contacts share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reason {
    Email,
    Phone,
    Name,
}

/// A number without its decoration: `+49 (0)30 123` and `030 123` end alike.
fn digits(phone: &str) -> Option<String> {
    let digits: Vec<char> = phone.chars().filter(char::is_ascii_digit).collect();
    // Seven digits tell numbers of one city apart; fewer are extensions or emergency numbers.
    (digits.len() >= 7).then(|| digits[digits.len().saturating_sub(9)..].iter().collect())
}

fn keys(contact: &Contact) -> Vec<(Reason, String)> {
    let mut keys = Vec::new();
    if let Some(email) = &contact.email {
        keys.push((Reason::Email, email.to_lowercase()));
    }
    if let Some(phone) = contact.phone.as_deref().and_then(digits) {
        keys.push((Reason::Phone, phone));
    }
    // A first name alone is shared by many.
    if contact.first_name.is_some() && contact.last_name.is_some() {
        keys.push((Reason::Name, contact.full_name().to_lowercase()));
    }
    keys
}

fn root(parents: &[usize], mut place: usize) -> usize {
    while parents[place] != place {
        place = parents[place];
    }
    place
}

/// Groups of places in the list that belong together, with what they share; in the order of the list.
pub(super) fn find(contacts: &[Stored<Contact>]) -> Vec<(Vec<Reason>, Vec<usize>)> {
    let mut parents: Vec<usize> = (0..contacts.len()).collect();
    let mut first: HashMap<(Reason, String), usize> = HashMap::new();
    let mut shared: Vec<(usize, Reason)> = Vec::new();
    for (place, contact) in contacts.iter().enumerate() {
        for key in keys(&contact.data) {
            let reason = key.0;
            let known = *first.entry(key).or_insert(place);
            if known != place {
                let (low, high) = (root(&parents, known), root(&parents, place));
                parents[low.max(high)] = low.min(high);
                shared.push((place, reason));
            }
        }
    }
    let mut groups: Vec<(Vec<Reason>, Vec<usize>)> = vec![Default::default(); contacts.len()];
    for place in 0..contacts.len() {
        groups[root(&parents, place)].1.push(place);
    }
    for (place, reason) in shared {
        let reasons = &mut groups[root(&parents, place)].0;
        if !reasons.contains(&reason) {
            reasons.push(reason);
            reasons.sort();
        }
    }
    groups.retain(|(_, places)| places.len() > 1);
    groups
}

/// Takes over what the contact lacks; what both have and differs goes into the notes, so that nothing is lost.
pub(super) fn absorb(contact: &mut Contact, other: &Contact, lang: Lang) -> Result<()> {
    let mut notes: Vec<String> = contact.notes.iter().map(ToString::to_string).collect();
    let mut keep = |label: &str, mine: Option<&str>, theirs: Option<&str>| {
        if let (Some(mine), Some(theirs)) = (mine, theirs)
            && mine != theirs
        {
            notes.push(format!("{label}: {theirs}"));
        }
    };
    let label = |english: &'static str, german: &'static str| match lang {
        Lang::De => german,
        Lang::En => english,
    };
    let name = label("Also known as", "Auch bekannt als");
    let named = |contact: &Contact| Some(contact.full_name()).filter(|name| !name.is_empty());
    keep(name, named(contact).as_deref(), named(other).as_deref());
    keep("E-Mail", contact.email.as_deref(), other.email.as_deref());
    keep(label("Phone", "Telefon"), contact.phone.as_deref(), other.phone.as_deref());
    keep(label("Company", "Firma"), contact.company.as_deref(), other.company.as_deref());
    keep(label("Job", "Beruf"), contact.job_title.as_deref(), other.job_title.as_deref());
    keep(label("Address", "Adresse"), contact.address.as_deref(), other.address.as_deref());
    let born = |contact: &Contact| contact.birthday.map(|day| day.to_string());
    keep(label("Birthday", "Geburtstag"), born(contact).as_deref(), born(other).as_deref());
    notes.extend(other.notes.iter().filter(|theirs| contact.notes.as_ref() != Some(theirs)).map(ToString::to_string));
    if !notes.is_empty() {
        let too_long =
            |why| ToolError::field("duplicateIds", format!("the notes of the merged contact do not fit: {why}"));
        contact.notes = Some(Text::parse(&notes.join("\n")).map_err(too_long)?);
    }
    if contact.full_name().is_empty() {
        contact.first_name.clone_from(&other.first_name);
        contact.last_name.clone_from(&other.last_name);
    }
    contact.first_name = contact.first_name.take().or_else(|| other.first_name.clone());
    contact.last_name = contact.last_name.take().or_else(|| other.last_name.clone());
    contact.email = contact.email.take().or_else(|| other.email.clone());
    contact.phone = contact.phone.take().or_else(|| other.phone.clone());
    contact.company = contact.company.take().or_else(|| other.company.clone());
    contact.job_title = contact.job_title.take().or_else(|| other.job_title.clone());
    contact.address = contact.address.take().or_else(|| other.address.clone());
    contact.birthday = contact.birthday.or(other.birthday);
    contact.is_favorite |= other.is_favorite;
    contact.uid = contact.uid.take().or_else(|| other.uid.clone());
    for link in &other.links {
        if !contact.links.contains(link) && contact.links.len() < 20 {
            contact.links.push(link.clone());
        }
    }
    let tags: Vec<&Tag> = contact.tags.as_slice().iter().chain(other.tags.as_slice()).take(20).collect();
    if let Ok(tags) = serde_json::to_value(tags).and_then(serde_json::from_value) {
        contact.tags = tags;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(first: &str, last: &str, email: &str, phone: &str) -> Contact {
        Contact {
            first_name: Line::parse(first).ok(),
            last_name: Line::parse(last).ok(),
            email: Email::parse(email).ok(),
            phone: Line::parse(phone).ok(),
            ..Contact::default()
        }
    }

    #[test]
    fn numbers_are_compared_without_decoration() {
        assert_eq!(digits("+49 (0)30 1234-567"), digits("0049 30 1234567").map(|_| "301234567".into()));
        assert_eq!(digits("110"), None);
    }

    #[test]
    fn nothing_is_lost_in_a_merge() {
        let mut mine = contact("Anna", "Berg", "anna@berg.test", "");
        mine.links = vec![WebUrl::parse("https://berg.test").expect("an address")];
        let mut other = contact("Anna Maria", "Berg", "a.berg@work.test", "030 1234567");
        other.notes = Text::parse("Mag Tee").ok();
        other.links = vec![WebUrl::parse("https://work.test").expect("an address")];
        absorb(&mut mine, &other, Lang::De).expect("fits");
        assert_eq!(mine.phone.as_deref(), Some("030 1234567"));
        assert_eq!(mine.notes.as_deref(), Some("Auch bekannt als: Anna Maria Berg\nE-Mail: a.berg@work.test\nMag Tee"));
        assert_eq!(mine.links.len(), 2);
    }
}
