//! A task in one line, in German and English.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use mana_registry::{Date, Timestamp};

use super::Priority;

/// What one line says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct QuickTask {
    pub(super) title: String,
    pub(super) tags: Vec<String>,
    pub(super) priority: Priority,
    date: Option<Date>,
    time: Option<Time>,
}

impl QuickTask {
    /// Takes the words that mean something out of the line; what is left is the title.
    pub(super) fn read(line: &str, today: Date) -> Self {
        let mut task = Self::default();
        let mut title: Vec<&str> = Vec::new();
        for word in line.split_whitespace() {
            let plain = word.trim_end_matches([',', ';']).to_lowercase();
            if let Some(tag) = word.strip_prefix('#').filter(|tag| !tag.is_empty()) {
                task.tags.push(tag.to_owned());
            } else if let Some(priority) = plain.strip_prefix('!').and_then(priority_word) {
                task.priority = priority;
            } else if let Some(date) = date_word(&plain, today).filter(|_| task.date.is_none()) {
                task.date = Some(date);
            } else if let Some(time) = time_word(&plain).filter(|_| task.time.is_none()) {
                task.time = Some(time);
            } else {
                title.push(word);
            }
        }
        task.title = title.join(" ");
        task
    }

    /// A day without an hour is due at its end; an hour without a day is today's.
    pub(super) fn due(&self, zone: &TimeZone, today: Date) -> Option<Timestamp> {
        if self.date.is_none() && self.time.is_none() {
            return None;
        }
        let time = self.time.unwrap_or(Time::constant(23, 59, 0, 0));
        let zoned = self.date.unwrap_or(today).0.to_datetime(time).to_zoned(zone.clone()).ok()?;
        Some(Timestamp::from_jiff(zoned.timestamp()))
    }
}

fn priority_word(word: &str) -> Option<Priority> {
    match word {
        "low" | "niedrig" => Some(Priority::Low),
        "medium" | "mittel" => Some(Priority::Medium),
        "high" | "hoch" | "wichtig" => Some(Priority::High),
        "urgent" | "dringend" => Some(Priority::Urgent),
        _ => None,
    }
}

fn date_word(word: &str, today: Date) -> Option<Date> {
    let weekday = match word {
        "today" | "heute" => return Some(today),
        "tomorrow" | "morgen" => return Some(today.plus_days(1)),
        "übermorgen" => return Some(today.plus_days(2)),
        "monday" | "montag" => Weekday::Monday,
        "tuesday" | "dienstag" => Weekday::Tuesday,
        "wednesday" | "mittwoch" => Weekday::Wednesday,
        "thursday" | "donnerstag" => Weekday::Thursday,
        "friday" | "freitag" => Weekday::Friday,
        "saturday" | "samstag" | "sonnabend" => Weekday::Saturday,
        "sunday" | "sonntag" => Weekday::Sunday,
        _ => return word.parse().ok().or_else(|| german_date(word, today)),
    };
    today.0.nth_weekday(1, weekday).ok().map(Date)
}

/// `24.12.` or `24.12.2026`; without a year the next such day.
fn german_date(word: &str, today: Date) -> Option<Date> {
    let mut parts = word.splitn(3, '.');
    let (day, month, year) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
    if !year.is_empty() {
        return jiff::civil::Date::new(year.parse().ok()?, month, day).ok().map(Date);
    }
    let this_year = jiff::civil::Date::new(today.0.year(), month, day).ok().map(Date)?;
    if this_year >= today {
        Some(this_year)
    } else {
        jiff::civil::Date::new(today.0.year() + 1, month, day).ok().map(Date)
    }
}

fn time_word(word: &str) -> Option<Time> {
    let (hour, minute) = word.split_once(':')?;
    Time::new(hour.parse().ok()?, minute.parse().ok().filter(|_| minute.len() == 2)?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_understood_in_both_languages() {
        let today: Date = "2026-11-20".parse().expect("a Friday");
        let task = QuickTask::read("Mama anrufen morgen 18:00 !hoch #familie", today);
        let time = Some(Time::constant(18, 0, 0, 0));
        let expected = QuickTask {
            title: "Mama anrufen".into(),
            tags: vec!["familie".into()],
            priority: Priority::High,
            date: Some(today.plus_days(1)),
            time,
        };
        assert_eq!(task, expected);
        assert_eq!(QuickTask::read("call mum tomorrow 18:00 !high #familie", today).date, expected.date);
        for (line, date) in [
            ("x montag", "2026-11-23"),
            ("x friday", "2026-11-27"),
            ("x 24.12.", "2026-12-24"),
            ("x 1.2.", "2027-02-01"),
            ("x 1.2.2028", "2028-02-01"),
            ("x 2026-12-01", "2026-12-01"),
        ] {
            assert_eq!(QuickTask::read(line, today).date.map(|date| date.to_string()).as_deref(), Some(date), "{line}");
        }
        let plain = QuickTask::read("Version 2.0 bauen, 99:99", today);
        assert_eq!((plain.title.as_str(), plain.date, plain.time), ("Version 2.0 bauen, 99:99", None, None));
    }
}
