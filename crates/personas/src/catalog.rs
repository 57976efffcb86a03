//! The catalog: a data file with the people who live here and the spaces that they share.
//!
//! It is checked as a whole, and every fault is reported with its place, before anything is written.

use std::collections::HashSet;
use std::fmt;

use mana_store::space::SpaceKind;
use mana_types::{Secret, nearest};
use mana_web::FieldError;
use serde_json::{Value, json};

use crate::descriptor::Descriptor;
use crate::fields::Fields;

/// The ten people of the standard population.
pub const DEFAULT: &str = include_str!("../catalog.toml");

/// Where personas of a catalog live: a name that no mail ever reaches.
pub const TEST_DOMAIN: &str = "mana.test";

/// A fault of a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which entry: `persona[3] (persona.lena@mana.test)`; empty for the file as a whole.
    pub place: String,
    /// Which field of it: `moduleMix.toodo`; may be empty.
    pub field: String,
    /// What is wrong, and what was probably meant.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.place, &self.field] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.message)
    }
}

/// One person of a catalog.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    /// Sign-in name and identity.
    pub email: String,
    /// Display name.
    pub name: String,
    /// What it is.
    pub descriptor: Descriptor,
}

impl Person {
    /// The body of `POST /api/v1/admin/personas` that makes this person or brings it up to date.
    pub fn to_request(&self, password: &Secret) -> Value {
        let mut body = self.descriptor.to_json();
        body["email"] = json!(self.email);
        body["name"] = json!(self.name);
        body["password"] = json!(password.expose());
        body
    }
}

/// A space that several people of a catalog share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedSpace {
    /// Its name.
    pub name: String,
    /// Its kind; never personal.
    pub kind: SpaceKind,
    /// The e-mail of its owner.
    pub owner: String,
    /// The e-mails of the others, who join by invitation.
    pub members: Vec<String>,
}

/// A catalog without faults.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalog {
    /// The people, in the order of the file.
    pub personas: Vec<Person>,
    /// The shared spaces.
    pub spaces: Vec<SharedSpace>,
}

/// Reads a catalog. `modules` are the names that a module mix may use.
pub fn load(text: &str, modules: &[&str]) -> Result<Catalog, Vec<Fault>> {
    let value: Value = toml::from_str(text).map_err(|error| vec![not_toml(text, &error)])?;
    let mut faults = Faults::default();
    faults.read("", &value, |fields| {
        fields.only(&["version", "persona", "space"]);
        if fields.whole("version", 1, 1).is_none() && fields.value("version").is_none() {
            fields.wrong("version", "is missing, expected 1");
        }
        Some(())
    });
    let people = entries(&value, "persona", &mut faults);
    let personas = read_personas(people, modules, &mut faults);
    // Also those with faults of their own, so that one fault is not reported as two.
    let known: HashSet<&str> = people.iter().filter_map(|person| person.get("email")?.as_str()).collect();
    let spaces = read_spaces(entries(&value, "space", &mut faults), &known, &mut faults);
    if people.is_empty() {
        faults.add("", "persona", "there is nobody in this catalog");
    }
    if faults.0.is_empty() {
        Ok(Catalog {
            personas: personas.into_iter().flatten().collect(),
            spaces: spaces.into_iter().flatten().collect(),
        })
    } else {
        Err(faults.0)
    }
}

#[derive(Debug, Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, place: &str, field: &str, message: impl Into<String>) {
        self.0.push(Fault { place: place.to_owned(), field: field.to_owned(), message: message.into() });
    }

    /// Reads one entry; its faults get its place.
    fn read<T>(
        &mut self,
        place: &str,
        value: &Value,
        read: impl FnOnce(&mut Fields<'_, '_>) -> Option<T>,
    ) -> Option<T> {
        let mut found: Vec<FieldError> = Vec::new();
        let entry = Fields::of(value, "", &mut found).and_then(|mut fields| read(&mut fields));
        for fault in found {
            self.add(place, &fault.field, fault.message);
        }
        entry
    }
}

fn not_toml(text: &str, error: &toml::de::Error) -> Fault {
    let place = error.span().map(|span| {
        let before = &text[..text.floor_char_boundary(span.start)];
        format!("line {}", before.matches('\n').count() + 1)
    });
    Fault { place: place.unwrap_or_default(), field: String::new(), message: error.message().to_owned() }
}

fn entries<'a>(value: &'a Value, name: &str, faults: &mut Faults) -> &'a [Value] {
    match value.get(name) {
        None => &[],
        Some(Value::Array(entries)) => entries,
        Some(_) => {
            faults.add("", name, format!("expected a list of tables, `[[{name}]]`"));
            &[]
        }
    }
}

/// How an entry is called in messages: its number, and its name where it has one.
fn place_of(list: &str, index: usize, entry: &Value, name: &str) -> String {
    match entry.get(name).and_then(Value::as_str) {
        Some(text) => format!("{list}[{index}] ({text})"),
        None => format!("{list}[{index}]"),
    }
}

fn read_personas(entries: &[Value], modules: &[&str], faults: &mut Faults) -> Vec<Option<Person>> {
    let mut seen = HashSet::new();
    let mut personas = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let place = place_of("persona", index, entry, "email");
        let person = faults.read(&place, entry, |fields| {
            fields.only(&[
                "email",
                "name",
                "archetype",
                "tickCadence",
                "locale",
                "timezone",
                "window",
                "systemPrompt",
                "moduleMix",
                "behaviour",
                "target",
                "tools",
            ]);
            let email = fields.needed_text("email", 254);
            if let Some(address) = &email {
                check_address(fields, address);
                if !seen.insert(address.to_lowercase()) {
                    fields.wrong("email", "is in this catalog twice");
                }
            }
            let name = fields.needed_text("name", 200);
            let descriptor = Descriptor::read(fields);
            // Only this installation's modules are known by name.
            if fields.value("target").is_none() {
                check_modules(fields, modules);
            }
            Some(Person { email: email?, name: name?, descriptor: descriptor? })
        });
        personas.push(person);
    }
    personas
}

fn check_address(fields: &mut Fields<'_, '_>, address: &str) {
    let under_test_domain = address
        .rsplit_once('@')
        .is_some_and(|(_, domain)| domain == TEST_DOMAIN || domain.ends_with(&format!(".{TEST_DOMAIN}")));
    if let Err(error) = mana_identity::Email::parse(address) {
        fields.wrong("email", error.to_string());
    } else if !under_test_domain {
        fields.wrong("email", format!("must be under `{TEST_DOMAIN}`, so that no real mailbox is ever meant"));
    }
}

fn check_modules(fields: &mut Fields<'_, '_>, modules: &[&str]) {
    let Some(Value::Object(mix)) = fields.value("moduleMix") else { return };
    for module in mix.keys().filter(|module| !modules.contains(&module.as_str())) {
        let meant = nearest(module, modules.iter().copied()).map(|near| format!(", did you mean `{near}`?"));
        fields.wrong(&format!("moduleMix.{module}"), format!("unknown module{}", meant.unwrap_or_default()));
    }
}

fn read_spaces(entries: &[Value], people: &HashSet<&str>, faults: &mut Faults) -> Vec<Option<SharedSpace>> {
    let mut seen = HashSet::new();
    let mut spaces = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let place = place_of("space", index, entry, "name");
        let space = faults.read(&place, entry, |fields| {
            fields.only(&["name", "type", "owner", "members"]);
            let name = fields.needed_text("name", 200);
            let owner = fields.needed_text("owner", 254);
            if let Some(owner) = &owner {
                check_person(fields, "owner", owner, people);
            }
            if let (Some(name), Some(owner)) = (&name, &owner)
                && !seen.insert((name.clone(), owner.clone()))
            {
                fields.wrong("name", "this owner has two spaces of this name");
            }
            let kind = read_kind(fields);
            let members = read_members(fields, owner.as_deref(), people);
            Some(SharedSpace { name: name?, kind: kind?, owner: owner?, members })
        });
        spaces.push(space);
    }
    spaces
}

fn read_kind(fields: &mut Fields<'_, '_>) -> Option<SpaceKind> {
    let word = fields.needed_text("type", 20)?;
    match serde_json::from_value(json!(word)) {
        Ok(kind) if kind != SpaceKind::Personal => Some(kind),
        _ => {
            fields.wrong("type", "expected `family`, `team`, `brand`, `club` or `practice`");
            None
        }
    }
}

fn read_members(fields: &mut Fields<'_, '_>, owner: Option<&str>, people: &HashSet<&str>) -> Vec<String> {
    let Some(value) = fields.value("members") else { return Vec::new() };
    let Value::Array(entries) = value else {
        fields.wrong("members", "expected a list of e-mails");
        return Vec::new();
    };
    let mut members: Vec<String> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let name = format!("members[{index}]");
        match entry.as_str() {
            None => fields.wrong(&name, "expected an e-mail"),
            Some(email) if Some(email) == owner || members.iter().any(|member| member == email) => {
                fields.wrong(&name, "belongs to this space already");
            }
            Some(email) => {
                check_person(fields, &name, email, people);
                members.push(email.to_owned());
            }
        }
    }
    members
}

fn check_person(fields: &mut Fields<'_, '_>, name: &str, email: &str, people: &HashSet<&str>) {
    if !people.contains(email) {
        let meant = nearest(email, people.iter().copied()).map(|near| format!(", did you mean `{near}`?"));
        fields.wrong(name, format!("`{email}` is not in this catalog{}", meant.unwrap_or_default()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULES: [&str; 14] = [
        "spaces", "todo", "notes", "journal", "calendar", "contacts", "habits", "mood", "goals", "dreams", "library",
        "articles", "invoices", "news",
    ];

    #[test]
    fn the_standard_catalog_is_good() {
        let catalog = load(DEFAULT, &MODULES).expect("no faults");
        assert_eq!(catalog.personas.len(), 10);
        assert_eq!(catalog.spaces.len(), 5);
        let daily = catalog.personas.iter().filter(|person| person.descriptor.cadence == crate::due::Cadence::Daily);
        assert_eq!(daily.count(), 6);
        let request = catalog.personas[0].to_request(&Secret::new("0123456789"));
        assert!(crate::descriptor::NewPersona::read(&request).is_ok(), "the admin interface takes it");
    }

    #[test]
    fn a_damaged_catalog_reports_every_fault_with_its_place() {
        let damaged = DEFAULT
            .replacen("email = \"persona.ben@mana.test\"", "email = \"persona.anna@mana.test\"", 1)
            .replacen("email = \"persona.marcus@mana.test\"", "email = \"marcus@example.com\"", 1)
            .replacen("contacts = 0.2\ncalendar = 0.2\nnotes = 0.3", "contacts = -0.2\ntoodo = 0.2\nnotes = 0.3", 1)
            .replacen("tickCadence = \"daily\"\nlocale = \"de\"\ntimezone = \"Europe/Berlin\"\nsystemPrompt = \"\"\"\nIch bin Sofia",
                "tickCadence = \"sometimes\"\nlocale = \"de\"\ntimezone = \"Europe/Berlinn\"\nmood = 3\nsystemPrompt = \"\"\"\nIch bin Sofia", 1)
            .replacen("type = \"team\"", "type = \"personal\"", 1)
            .replacen("members = [\"persona.tom@mana.test\"]", "members = [\"persona.tim@mana.test\"]", 1);
        let faults = load(&damaged, &MODULES).expect_err("it is damaged");
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        for expected in [
            "persona[1] (persona.anna@mana.test): email: is in this catalog twice",
            "persona[2] (marcus@example.com): email: must be under `mana.test`, so that no real mailbox is ever meant",
            "persona[3] (persona.lena@mana.test): moduleMix.contacts: -0.2 is not a weight, expected 0 to 1000000",
            "persona[3] (persona.lena@mana.test): moduleMix.toodo: unknown module, did you mean `todo`?",
            "persona[4] (persona.sofia@mana.test): mood: unknown key",
            "persona[4] (persona.sofia@mana.test): tickCadence: `sometimes` is not a cadence, expected `hourly`, `daily` or `weekdays`",
            "persona[4] (persona.sofia@mana.test): timezone: not a time zone, expected an IANA name such as `Europe/Berlin`",
            "space[2] (Lotwerk Geschäftsleitung): type: expected `family`, `team`, `brand`, `club` or `practice`",
            "space[1] (Familie Sofia & Tom): members[0]: `persona.tim@mana.test` is not in this catalog, did you mean `persona.tom@mana.test`?",
        ] {
            assert!(lines.iter().any(|line| line == expected), "missing: {expected}\nin: {lines:#?}");
        }
    }

    #[test]
    fn another_product_has_modules_of_its_own_and_no_secret_stands_in_the_file() {
        let catalog = |token: &str| {
            format!(
                "version = 1
                [[persona]]
                email = \"persona.eva@mana.test\"
                name = \"Eva\"
                archetype = \"shopper\"
                systemPrompt = \"Ich bin Eva und kaufe gern ein.\"
                tools = [\"orders_*\", \"search\"]
                [persona.moduleMix]
                orders = 1
                [persona.target]
                url = \"https://shop.example/mcp\"
                auth = \"bearer\"
                token = \"{token}\"
                modules = {{ search = \"catalog\" }}"
            )
        };
        let eva = load(&catalog("env:TARGET_SHOP_TOKEN"), &MODULES).expect("no faults").personas.remove(0);
        assert_eq!(
            eva.descriptor.target.as_ref().and_then(|target| target.token.as_deref()),
            Some("env:TARGET_SHOP_TOKEN")
        );
        let request = eva.to_request(&Secret::new("0123456789"));
        let read = crate::descriptor::NewPersona::read(&request).expect("the admin interface takes it");
        assert_eq!(read.descriptor, eva.descriptor);
        let faults = load(&catalog("sk-hunter2"), &MODULES).expect_err("a secret in the file");
        assert_eq!((faults.len(), faults[0].field.as_str()), (1, "target.token"));
        assert!(!faults[0].message.contains("hunter2"));
    }

    #[test]
    fn what_is_no_catalog_says_where() {
        let faults = load("version = 1\n\n[[persona]\n", &MODULES).expect_err("not TOML");
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].place, "line 3");
        let faults = load("versoin = 1\npersona = 3", &MODULES).expect_err("not a catalog");
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "versoin: unknown key, did you mean `version`?",
                "version: is missing, expected 1",
                "persona: expected a list of tables, `[[persona]]`",
                "persona: there is nobody in this catalog",
            ]
        );
    }
}
