//! What happens in a persona's life, apart from the product.
//!
//! A year is drawn from the persona's e-mail and the year's number, so that the same person has the same year whenever
//! one looks; each event draws from a sequence of its own, so that a new event in the data changes none of the others.

use std::sync::LazyLock;

use mana_types::{Date, Lang};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::text::{fill, texts};
use crate::rehearsal::dice::Dice;
use crate::wire::Persona;

/// The data, part of the version of all texts.
pub(super) const DATA: &str = include_str!("../../data/life.toml");

static EVENTS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let data: Data = toml::from_str(DATA).expect("the file is part of the program, and a test reads it");
    data.event
});

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    event: Vec<Kind>,
}

/// A kind of event, as the data has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    id: String,
    archetypes: Vec<String>,
    from: MonthDay,
    until: MonthDay,
    days: (u16, u16),
    chance: f64,
    #[serde(default = "once")]
    times: u64,
    #[serde(default)]
    anniversary: bool,
    #[serde(default)]
    on_weekdays: bool,
    lane: String,
    de: String,
    en: String,
}

const fn once() -> u64 {
    1
}

/// A day of any year.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct MonthDay {
    month: i8,
    day: i8,
}

impl TryFrom<String> for MonthDay {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = text.split_once('-').and_then(|(month, day)| Some((month.parse().ok()?, day.parse().ok()?)));
        // A year without a leap day: so that it is a day of every year.
        let found = parts.map(|(month, day)| Self { month, day }).filter(|found| found.in_year(2025).is_some());
        found.ok_or_else(|| format!("`{text}` is no day of every year, expected \"MM-DD\""))
    }
}

impl MonthDay {
    fn in_year(self, year: i16) -> Option<Date> {
        jiff::civil::Date::new(year, self.month, self.day).ok().map(Date)
    }
}

/// Something that is going on on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LifeEvent {
    pub(crate) id: &'static str,
    /// On which of its days it is.
    pub(crate) day: i32,
    /// How many days it lasts.
    pub(crate) days: i32,
    de: &'static str,
    en: &'static str,
}

impl LifeEvent {
    /// As it is said to the person.
    pub(crate) fn said(&self, lang: Lang) -> String {
        let text = match lang {
            Lang::De => self.de,
            Lang::En => self.en,
        };
        if self.days == 1 {
            return text.to_owned();
        }
        let words = &texts(lang).words.opening;
        fill(&words.event_day, &[("text", text), ("day", &self.day.to_string()), ("days", &self.days.to_string())])
    }
}

/// An event with its place in the calendar.
#[derive(Debug, Clone, Copy)]
struct Placed {
    kind: &'static Kind,
    begins: Date,
    days: i32,
}

impl Placed {
    fn last(&self) -> Date {
        self.begins.plus_days(i64::from(self.days) - 1)
    }

    /// Whether both need the same lane on the same day.
    fn collides(&self, other: &Self) -> bool {
        self.kind.lane == other.kind.lane && self.begins <= other.last() && other.begins <= self.last()
    }
}

/// What is going on in a persona's life today, in the order of the data.
pub(crate) fn life_events(persona: &Persona, today: Date) -> Vec<LifeEvent> {
    // What began at the end of last year may still last.
    let years = [today.0.year().saturating_sub(1), today.0.year()];
    let mut found: Vec<Placed> = Vec::new();
    for placed in years.into_iter().flat_map(|year| year_of(persona, year)) {
        if placed.begins <= today && today <= placed.last() && !found.iter().any(|other| other.collides(&placed)) {
            found.push(placed);
        }
    }
    found
        .into_iter()
        .map(|placed| LifeEvent {
            id: &placed.kind.id,
            day: 1 + placed.begins.0.until(today.0).map_or(0, |span| span.get_days()),
            days: placed.days,
            de: &placed.kind.de,
            en: &placed.kind.en,
        })
        .collect()
}

/// Everything that begins in a year of a persona's life.
fn year_of(persona: &Persona, year: i16) -> Vec<Placed> {
    let mut placed: Vec<Placed> = Vec::new();
    for kind in EVENTS.iter() {
        if !kind.archetypes.is_empty() && !kind.archetypes.contains(&persona.archetype) {
            continue;
        }
        let of_year = if kind.anniversary { String::new() } else { year.to_string() };
        let seed: [u8; 32] = Sha256::digest(format!("life\n{}\n{of_year}\n{}", persona.email, kind.id)).into();
        for draw in 0..kind.times {
            let mut dice = Dice::new(&seed, draw);
            if !dice.chance(kind.chance) {
                continue;
            }
            let Some(event) = place(kind, year, &mut dice) else { continue };
            if !placed.iter().any(|other| other.collides(&event)) {
                placed.push(event);
            }
        }
    }
    placed
}

fn place(kind: &'static Kind, year: i16, dice: &mut Dice) -> Option<Placed> {
    let first = kind.from.in_year(year)?;
    let last = kind.until.in_year(year).filter(|last| first <= *last).or_else(|| kind.until.in_year(year + 1))?;
    let room = first.0.until(last.0).map_or(0, |span| span.get_days());
    let drawn = first.plus_days(dice.between(0, i64::from(room)));
    let into_weekend = i64::from(drawn.0.weekday().to_monday_zero_offset()) - 4;
    let begins = if kind.on_weekdays && into_weekend > 0 { drawn.plus_days(3 - into_weekend) } else { drawn };
    let days = dice.between(i64::from(kind.days.0), i64::from(kind.days.1));
    Some(Placed { kind, begins, days: i32::try_from(days).unwrap_or(1).max(1) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::tests::somebody;

    const ARCHETYPES: [&str; 7] =
        ["adhd-student", "ceo-busy", "creative-parent", "solo-dev", "researcher", "freelancer", "overwhelmed-newbie"];

    fn whole_year(persona: &Persona, year: i16) -> Vec<Vec<LifeEvent>> {
        let first = Date(jiff::civil::date(year, 1, 1));
        (0..365).map(|day| life_events(persona, first.plus_days(day))).collect()
    }

    #[test]
    fn the_data_is_sound() {
        let mut seen = std::collections::HashSet::new();
        for kind in EVENTS.iter() {
            assert!(seen.insert(&kind.id), "{} is there twice", kind.id);
            assert!((0.0..=1.0).contains(&kind.chance) && kind.chance > 0.0, "{}", kind.id);
            assert!((1..=21).contains(&kind.days.0) && kind.days.0 <= kind.days.1 && kind.days.1 <= 21, "{}", kind.id);
            assert!(["main", "side", "body", "day"].contains(&kind.lane.as_str()), "{}", kind.id);
            assert!(kind.archetypes.iter().all(|name| ARCHETYPES.contains(&name.as_str())), "{}", kind.id);
            for text in [&kind.de, &kind.en] {
                assert!(text.ends_with('.') && !text.contains(['{', '\n']) && text.len() < 200, "{}: {text}", kind.id);
            }
        }
        for archetype in ARCHETYPES {
            let own = EVENTS.iter().filter(|kind| kind.archetypes.iter().any(|name| name == archetype)).count();
            assert!(own >= 4, "{archetype}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_year_and_another_seed_another() {
        let anna = somebody("persona.anna@mana.test", "adhd-student", "de");
        let ben = somebody("persona.ben@mana.test", "adhd-student", "de");
        assert_eq!(whole_year(&anna, 2026), whole_year(&anna, 2026));
        assert_ne!(whole_year(&anna, 2026), whole_year(&anna, 2027));
        assert_ne!(whole_year(&anna, 2026), whole_year(&ben, 2026));
    }

    #[test]
    fn a_birthday_is_the_same_day_every_year() {
        let persona = somebody("persona.paul@mana.test", "freelancer", "de");
        let birthday = |year| {
            let year = whole_year(&persona, year);
            year.iter().position(|day| day.iter().any(|event| event.id == "birthday"))
        };
        assert!(birthday(2026).is_some() && birthday(2026) == birthday(2027));
    }

    #[test]
    fn a_year_has_quiet_and_busy_days_that_fit_the_person() {
        for archetype in ARCHETYPES {
            let persona = somebody(&format!("persona.{archetype}@mana.test"), archetype, "en");
            let year = whole_year(&persona, 2026);
            let busy = year.iter().filter(|day| !day.is_empty()).count();
            assert!((20..=160).contains(&busy), "{archetype}: {busy} days");
            for event in year.iter().flatten() {
                let kind = EVENTS.iter().find(|kind| kind.id == event.id).expect("from the data");
                assert!(kind.archetypes.is_empty() || kind.archetypes.iter().any(|name| name == archetype));
                assert!(1 <= event.day && event.day <= event.days, "{event:?}");
            }
            assert!(year.iter().all(|day| day.len() <= 4));
        }
    }

    #[test]
    fn what_begins_on_weekdays_does() {
        let mut begun = 0;
        for archetype in ARCHETYPES {
            let persona = somebody(&format!("persona.{archetype}@mana.test"), archetype, "en");
            for placed in (2020..2030).flat_map(|year| year_of(&persona, year)).filter(|placed| placed.kind.on_weekdays)
            {
                assert!(placed.begins.0.weekday().to_monday_zero_offset() < 5, "{} {}", placed.kind.id, placed.begins);
                begun += 1;
            }
        }
        assert!(begun > 100);
    }

    #[test]
    fn an_event_goes_on_over_the_turn_of_the_year() {
        let over = (0..50).any(|n| {
            let persona = somebody(&format!("persona.p{n}@mana.test"), "researcher", "de");
            let new_year: Date = "2027-01-01".parse().expect("a date");
            life_events(&persona, new_year).iter().any(|event| event.id == "turn-of-the-year" && event.day > 2)
        });
        assert!(over);
    }
}
