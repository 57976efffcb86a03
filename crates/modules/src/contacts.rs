//! Contacts: the address book, with duplicates, vCards and birthdays.

mod duplicates;
mod vcard;

use jiff::civil;
use mana_registry::prelude::*;

use self::duplicates::Reason;

/// The year of a birthday whose year nobody knows; a leap year, and the one that other address books use.
const NO_YEAR: i16 = 1604;

/// Somebody one knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Contact {
    /// Given name; the whole name where it cannot be split.
    first_name: Option<Line<120>>,
    /// Family name.
    last_name: Option<Line<120>>,
    /// E-mail address.
    email: Option<Email>,
    /// Telephone number.
    phone: Option<Line<60>>,
    /// Company or organisation.
    company: Option<Line<200>>,
    /// What the person does there.
    job_title: Option<Line<200>>,
    /// Postal address, over any number of lines.
    address: Option<Text<0, 500>>,
    /// Birthday; the year 1604 says that the year is not known.
    birthday: Option<Date>,
    /// Anything else.
    notes: Option<Text<0, 10_000>>,
    /// Web addresses.
    #[serde(default)]
    #[schemars(length(max = 20))]
    links: Vec<WebUrl>,
    /// Words to find the contact by.
    #[serde(default)]
    tags: Tags<20>,
    /// Whether it is a favourite.
    #[serde(default)]
    is_favorite: bool,
    /// The id that another address book gave it; set by an import, so that a second import adds nothing.
    uid: Option<Line<255>>,
}

impl Record for Contact {
    const KIND: &'static str = "contacts.contact";

    fn words(&self) -> String {
        let email = self.email.as_deref().unwrap_or_default();
        let phone = self.phone.as_deref().unwrap_or_default();
        let company = self.company.as_deref().unwrap_or_default();
        let job = self.job_title.as_deref().unwrap_or_default();
        let notes = self.notes.as_deref().unwrap_or_default();
        let address = self.address.as_deref().unwrap_or_default();
        format!("{} {email} {phone} {company} {job} {} {address} {notes}", self.full_name(), self.tags.joined())
    }
}

impl Contact {
    /// First and last name, as far as there are any.
    fn full_name(&self) -> String {
        let names = [self.first_name.as_deref(), self.last_name.as_deref()];
        names.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// What to call the contact in a list.
    fn display_name(&self) -> String {
        let name = self.full_name();
        let other = [self.company.as_deref(), self.email.as_deref(), self.phone.as_deref()];
        if name.is_empty() { other.into_iter().flatten().next().unwrap_or_default().to_owned() } else { name }
    }

    /// A contact without a name, a company, an address or a number is nobody.
    fn check(&self) -> Result<()> {
        if self.display_name().is_empty() {
            return Err(ToolError::field(
                "firstName",
                "expected at least one of `firstName`, `lastName`, `company`, `email`, `phone`",
            ));
        }
        Ok(())
    }
}

/// The module.
pub(crate) fn module() -> Module {
    Module::new("contacts", "Keep an address book.")
        .labels("Contacts", "Kontakte")
        .tool(write("contacts_create", "Create a contact: a name, and what you know of the person.", create))
        .tool(read("contacts_list", "List contacts, the latest change first. Narrow by tag, company or favourites.", list))
        .tool(read("contacts_search", "Search contacts by words in names, e-mail, phone, company, tags, address and notes, the latest change first.", search))
        .tool(read("contacts_get", "Read one contact.", get))
        .tool(write("contacts_update", "Change fields of a contact. Fields left out stay; name fields in `clear` to empty them.", update))
        .tool(write("contacts_archive", "Put a contact out of sight; it can be restored.", archive).idempotent())
        .tool(write("contacts_restore", "Bring an archived contact back.", restore).idempotent())
        .tool(read("contacts_birthdays", "Upcoming birthdays, the next first, with the age each person reaches.", birthdays))
        .tool(read("contacts_duplicates", "Find contacts that are probably the same person: same e-mail, phone or name.", duplicates))
        .tool(write("contacts_merge", "Merge duplicates into one contact: it takes over what it lacks, differing values go into its notes, the others are archived.", merge))
        .tool(read("contacts_export", "Export contacts as vCard 4.0 text, page by page, the latest change first.", export))
        .tool(write("contacts_import", "Import contacts from vCard text (3.0 or 4.0). Cards whose UID is already here are left alone.", import))
}

/// What a new contact is made of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewContact {
    /// Given name. At least one of name, company, e-mail and phone is needed.
    first_name: Option<Line<120>>,
    /// Family name.
    last_name: Option<Line<120>>,
    /// E-mail address.
    email: Option<Email>,
    /// Telephone number.
    phone: Option<Line<60>>,
    /// Company or organisation.
    company: Option<Line<200>>,
    /// What the person does there.
    job_title: Option<Line<200>>,
    /// Postal address, over any number of lines.
    address: Option<Text<0, 500>>,
    /// Birthday; take the year 1604 if it is not known.
    birthday: Option<Date>,
    /// Anything else.
    notes: Option<Text<0, 10_000>>,
    /// Web addresses.
    #[serde(default)]
    #[schemars(length(max = 20))]
    links: Vec<WebUrl>,
    /// Words to find the contact by.
    #[serde(default)]
    tags: Tags<20>,
    /// Whether it is a favourite.
    #[serde(default)]
    is_favorite: bool,
}

async fn create(cx: Cx, new: NewContact) -> Result<Stored<Contact>> {
    let contact = Contact {
        first_name: new.first_name,
        last_name: new.last_name,
        email: new.email,
        phone: new.phone,
        company: new.company,
        job_title: new.job_title,
        address: new.address,
        birthday: new.birthday,
        notes: new.notes,
        links: new.links,
        tags: new.tags,
        is_favorite: new.is_favorite,
        uid: None,
    };
    contact.check()?;
    cx.records().add(contact).await
}

/// Which contacts to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Which {
    /// Only contacts with this tag.
    tag: Option<Tag>,
    /// Only contacts of exactly this company.
    company: Option<Line<200>>,
    /// Only favourites.
    #[serde(default)]
    favorites_only: bool,
    /// List the archived contacts instead.
    #[serde(default)]
    archived: bool,
    #[serde(flatten)]
    paging: Paging,
}

async fn list(cx: Cx, which: Which) -> Result<Page<Stored<Contact>>> {
    let mut filter = Filter::new(Order::Recent).archived(which.archived);
    if let Some(tag) = &which.tag {
        filter = filter.holds("tags", tag.as_str());
    }
    if let Some(company) = &which.company {
        filter = filter.is("company", company.as_str());
    }
    if which.favorites_only {
        filter = filter.flag("isFavorite", true);
    }
    cx.records().list(which.paging.of(filter)?).await
}

/// What to search for.
#[derive(Debug, Deserialize, JsonSchema)]
struct Search {
    /// Words that occur together in the contact, whatever their case.
    query: Line<200>,
    #[serde(flatten)]
    paging: Paging,
}

async fn search(cx: Cx, search: Search) -> Result<Page<Stored<Contact>>> {
    cx.records().list(search.paging.of(Filter::new(Order::Recent).words(&search.query))?).await
}

/// One contact.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct One {
    /// The contact's id.
    contact_id: RecordId,
}

async fn get(cx: Cx, one: One) -> Result<Stored<Contact>> {
    cx.records().get(one.contact_id).await
}

async fn archive(cx: Cx, one: One) -> Result<Stored<Contact>> {
    cx.records().archive(one.contact_id).await
}

async fn restore(cx: Cx, one: One) -> Result<Stored<Contact>> {
    cx.records().restore(one.contact_id).await
}

/// New values for fields of a contact.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Change {
    /// The contact's id.
    contact_id: RecordId,
    /// Only if the contact is at this revision.
    expected_rev: Option<i64>,
    /// Given name.
    first_name: Option<Line<120>>,
    /// Family name.
    last_name: Option<Line<120>>,
    /// E-mail address.
    email: Option<Email>,
    /// Telephone number.
    phone: Option<Line<60>>,
    /// Company or organisation.
    company: Option<Line<200>>,
    /// What the person does there.
    job_title: Option<Line<200>>,
    /// Postal address.
    address: Option<Text<0, 500>>,
    /// Birthday; take the year 1604 if it is not known.
    birthday: Option<Date>,
    /// Anything else; replaces the notes there are.
    notes: Option<Text<0, 10_000>>,
    /// All web addresses; replaces those there are.
    #[schemars(length(max = 20))]
    links: Option<Vec<WebUrl>>,
    /// All tags; replaces those there are.
    tags: Option<Tags<20>>,
    /// Whether it is a favourite.
    is_favorite: Option<bool>,
    /// Fields to empty.
    #[serde(default)]
    clear: Vec<Clearable>,
}

/// A field that can be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Clearable {
    FirstName,
    LastName,
    Email,
    Phone,
    Company,
    JobTitle,
    Address,
    Birthday,
    Notes,
}

async fn update(cx: Cx, change: Change) -> Result<Stored<Contact>> {
    cx.records::<Contact>()
        .update(change.contact_id, change.expected_rev, |contact| {
            for field in &change.clear {
                match field {
                    Clearable::FirstName => contact.first_name = None,
                    Clearable::LastName => contact.last_name = None,
                    Clearable::Email => contact.email = None,
                    Clearable::Phone => contact.phone = None,
                    Clearable::Company => contact.company = None,
                    Clearable::JobTitle => contact.job_title = None,
                    Clearable::Address => contact.address = None,
                    Clearable::Birthday => contact.birthday = None,
                    Clearable::Notes => contact.notes = None,
                }
            }
            contact.first_name = change.first_name.clone().or_else(|| contact.first_name.take());
            contact.last_name = change.last_name.clone().or_else(|| contact.last_name.take());
            contact.email = change.email.clone().or_else(|| contact.email.take());
            contact.phone = change.phone.clone().or_else(|| contact.phone.take());
            contact.company = change.company.clone().or_else(|| contact.company.take());
            contact.job_title = change.job_title.clone().or_else(|| contact.job_title.take());
            contact.address = change.address.clone().or_else(|| contact.address.take());
            contact.birthday = change.birthday.or(contact.birthday);
            contact.notes = change.notes.clone().or_else(|| contact.notes.take());
            contact.links = change.links.clone().unwrap_or_else(|| std::mem::take(&mut contact.links));
            contact.tags = change.tags.clone().unwrap_or_else(|| std::mem::take(&mut contact.tags));
            contact.is_favorite = change.is_favorite.unwrap_or(contact.is_favorite);
            contact.check()
        })
        .await
}

/// How far to look ahead.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Ahead {
    /// How many days from today on, 1 to 366; 30 if left out.
    days: Option<Whole<1, 366>>,
}

/// A birthday that comes.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Birthday {
    /// Whose it is.
    contact_id: RecordId,
    /// His or her name.
    name: String,
    /// The day of the feast.
    date: Date,
    /// How many days from today.
    in_days: i32,
    /// The age that is reached, if the year of birth is known.
    age: Option<i16>,
}

/// Birthdays that come.
#[derive(Debug, Serialize, JsonSchema)]
struct Birthdays {
    /// The next first.
    birthdays: Vec<Birthday>,
}

/// The first such day of a year from `today` on; who was born on 29 February celebrates on the 28th in other years.
fn next_birthday(born: civil::Date, today: civil::Date) -> Option<civil::Date> {
    let in_year =
        |year| civil::Date::new(year, born.month(), born.day()).or_else(|_| civil::Date::new(year, 2, 28)).ok();
    in_year(today.year()).filter(|date| *date >= today).or_else(|| in_year(today.year() + 1))
}

async fn birthdays(cx: Cx, ahead: Ahead) -> Result<Birthdays> {
    let today = cx.today().0;
    let days = ahead.days.map_or(30, Whole::get);
    let mut birthdays: Vec<Birthday> = cx
        .records::<Contact>()
        .all(Filter::new(Order::Recent).is_not("birthday", ""))
        .await?
        .into_iter()
        .filter_map(|contact| {
            let born = contact.data.birthday?.0;
            let date = next_birthday(born, today)?;
            let in_days = today.until(date).ok()?.get_days();
            let age = (born.year() != NO_YEAR && born <= date).then(|| date.year() - born.year());
            let name = contact.data.display_name();
            Some(Birthday { contact_id: contact.id, name, date: Date(date), in_days, age })
        })
        .filter(|birthday| i64::from(birthday.in_days) < days)
        .collect();
    birthdays.sort_by(|a, b| (a.in_days, &a.name).cmp(&(b.in_days, &b.name)));
    Ok(Birthdays { birthdays })
}

/// One of several contacts that are probably the same.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    /// The contact's id.
    contact_id: RecordId,
    /// The name.
    name: String,
    /// The e-mail address.
    email: Option<Email>,
    /// The telephone number.
    phone: Option<Line<60>>,
    /// When it was last changed.
    updated_at: Timestamp,
}

/// Contacts that are probably the same.
#[derive(Debug, Serialize, JsonSchema)]
struct Group {
    /// What they share.
    same: Vec<Reason>,
    /// The contacts, the latest change first.
    contacts: Vec<Candidate>,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
struct Groups {
    /// At most 50 groups.
    groups: Vec<Group>,
    /// How many groups there are in all.
    total: usize,
}

async fn duplicates(cx: Cx, _: Nothing) -> Result<Groups> {
    let contacts = cx.records::<Contact>().all(Filter::new(Order::Recent)).await?;
    let found = duplicates::find(&contacts);
    let total = found.len();
    let groups = found
        .into_iter()
        .take(50)
        .map(|(same, places)| Group {
            same,
            contacts: places.into_iter().map(|place| candidate(&contacts[place])).collect(),
        })
        .collect();
    Ok(Groups { groups, total })
}

fn candidate(contact: &Stored<Contact>) -> Candidate {
    Candidate {
        contact_id: contact.id,
        name: contact.data.display_name(),
        email: contact.data.email.clone(),
        phone: contact.data.phone.clone(),
        updated_at: contact.updated_at,
    }
}

/// What to merge.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Merge {
    /// The contact that stays.
    contact_id: RecordId,
    /// The contacts that go into it and are archived.
    #[schemars(length(min = 1, max = 20))]
    duplicate_ids: Vec<RecordId>,
}

async fn merge(cx: Cx, merge: Merge) -> Result<Stored<Contact>> {
    let records = cx.records::<Contact>();
    let mut faults = Vec::new();
    let mut others = Vec::new();
    match records.check("contactId", merge.contact_id).await {
        Ok(_) => {}
        Err(ToolError::Invalid(wrong)) => faults.extend(wrong),
        Err(other) => return Err(other),
    }
    for (place, id) in merge.duplicate_ids.iter().enumerate() {
        let field = format!("duplicateIds[{place}]");
        if *id == merge.contact_id || merge.duplicate_ids[..place].contains(id) {
            faults.push(FieldError::new(field, "expected each contact once"));
            continue;
        }
        match records.check(&field, *id).await {
            Ok(found) => others.push(found.data),
            Err(ToolError::Invalid(wrong)) => faults.extend(wrong),
            Err(other) => return Err(other),
        }
    }
    if !faults.is_empty() {
        return Err(ToolError::Invalid(faults));
    }
    let merged = records
        .update(merge.contact_id, None, |contact| {
            others.iter().try_for_each(|other| duplicates::absorb(contact, other, cx.lang()))
        })
        .await?;
    for id in merge.duplicate_ids {
        records.archive(id).await?;
    }
    Ok(merged)
}

/// Which contacts to export.
#[derive(Debug, Deserialize, JsonSchema)]
struct Export {
    /// Only contacts with this tag.
    tag: Option<Tag>,
    #[serde(flatten)]
    paging: Paging<100, 200>,
}

/// Contacts as vCard.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Exported {
    /// The cards, one after the other.
    vcard: String,
    /// How many there are.
    count: usize,
    /// Where the next page begins; absent on the last page.
    next_cursor: Option<String>,
}

async fn export(cx: Cx, export: Export) -> Result<Exported> {
    let mut filter = Filter::new(Order::Recent);
    if let Some(tag) = &export.tag {
        filter = filter.holds("tags", tag.as_str());
    }
    let page = cx.records::<Contact>().list(export.paging.of(filter)?).await?;
    let mut vcard = String::new();
    for contact in &page.items {
        vcard::write(&mut vcard, contact);
    }
    Ok(Exported { vcard, count: page.items.len(), next_cursor: page.next_cursor })
}

/// What to import.
#[derive(Debug, Deserialize, JsonSchema)]
struct Import {
    /// The text of a vCard file with at most 500 cards.
    vcard: Text<1, 500_000>,
}

/// What became of a card.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Notice {
    /// Its place in the file, from 1.
    card: usize,
    /// What could not be taken over, and why.
    message: String,
}

/// What an import did.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Imported {
    /// How many contacts were added.
    added: usize,
    /// How many were already here.
    already_here: usize,
    /// The ids of those that were added, in the order of the file.
    contact_ids: Vec<RecordId>,
    /// What could not be taken over.
    notices: Vec<Notice>,
}

async fn import(cx: Cx, import: Import) -> Result<Imported> {
    let cards = vcard::read(&import.vcard);
    if cards.is_empty() || cards.len() > 500 {
        return Err(ToolError::field(
            "vcard",
            format!("expected 1 to 500 cards (`BEGIN:VCARD`), found {}", cards.len()),
        ));
    }
    let records = cx.records::<Contact>();
    let mut imported = Imported { added: 0, already_here: 0, contact_ids: Vec::new(), notices: Vec::new() };
    for (place, card) in cards.into_iter().enumerate() {
        let card_number = place + 1;
        imported.notices.extend(card.notices.into_iter().map(|message| Notice { card: card_number, message }));
        if let Err(why) = card.contact.check() {
            imported.notices.push(Notice { card: card_number, message: format!("left out: {why}") });
            continue;
        }
        if let Some(uid) = &card.contact.uid {
            let same = Filter::new(Order::Recent).is("uid", uid.as_str());
            let own = match uid.strip_prefix("urn:uuid:").and_then(|id| id.parse().ok()) {
                Some(id) => records.find(id).await?.is_some(),
                None => false,
            };
            // Also one that was put away here: whoever archived it does not want it back by an import.
            if own || records.count(same.clone()).await? + records.count(same.archived(true)).await? > 0 {
                imported.already_here += 1;
                continue;
            }
        }
        imported.contact_ids.push(records.add(card.contact).await?.id);
        imported.added += 1;
    }
    Ok(imported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_birthday_lies_ahead() {
        for (born, today, next) in [
            ("1990-12-24", "2026-11-20", "2026-12-24"),
            ("1990-11-20", "2026-11-20", "2026-11-20"),
            ("1990-01-02", "2026-11-20", "2027-01-02"),
            ("2004-02-29", "2026-11-20", "2027-02-28"),
            ("2004-02-29", "2028-01-01", "2028-02-29"),
        ] {
            let day = |text: &str| text.parse::<civil::Date>().expect("a date");
            assert_eq!(next_birthday(day(born), day(today)), Some(day(next)), "{born} from {today}");
        }
    }
}
