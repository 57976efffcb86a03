//! Moods: how somebody felt, from 1 to 10, with emotions, activity and company; and what goes together with what.

use mana_registry::prelude::*;

/// How somebody felt.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Log {
    /// The day.
    date: Date,
    /// How good it was, from 1 (very bad) to 10 (very good).
    level: Whole<1, 10>,
    /// The main emotion, in a word.
    emotion: Option<Line<60>>,
    /// Other emotions.
    #[serde(default)]
    secondary_emotions: Tags<5>,
    /// What he or she was doing.
    activity: Option<Line<120>>,
    /// In whose company.
    with_whom: Option<Line<200>>,
    /// More about it.
    notes: Option<Text<0, 5000>>,
    /// Words to find it by.
    #[serde(default)]
    tags: Tags<20>,
}

impl Record for Log {
    const KIND: &'static str = "mood.log";

    fn at(&self) -> Option<Timestamp> {
        Some(self.date.start_utc())
    }

    fn words(&self) -> String {
        let [emotion, activity, with_whom] =
            [self.emotion.as_deref(), self.activity.as_deref(), self.with_whom.as_deref()];
        let said = [emotion, activity, with_whom, self.notes.as_deref()].map(Option::unwrap_or_default).join("\n");
        format!("{said}\n{}{}", self.secondary_emotions.marked(), self.tags.marked())
    }
}

/// The module.
pub(crate) fn module() -> Module {
    Module::new("mood", "Log moods and see what they go with.")
        .labels("Mood", "Stimmung")
        .tool(write("mood_log", "Log a mood from 1 to 10 with emotion, activity, company and notes.", log))
        .tool(read("mood_today", "Moods of today (or another day) and their average.", today))
        .tool(read("mood_recent", "List moods, the latest day first. Narrow by days, tag or words.", recent))
        .tool(read(
            "mood_insights",
            "Average moods by weekday, activity and emotion, each with its number of logs.",
            insights,
        ))
        .tool(read("mood_get", "Read one logged mood.", get))
        .tool(write(
            "mood_update",
            "Change fields of a logged mood. Fields left out stay; name fields in `clear` to empty them.",
            update,
        ))
        .tool(
            write(
                "mood_archive",
                "Put a logged mood out of sight; it can be restored and does not count meanwhile.",
                archive,
            )
            .idempotent(),
        )
        .tool(write("mood_restore", "Bring an archived mood back.", restore).idempotent())
}

/// What a new log is made of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewLog {
    /// The day; today, where the user is, if left out.
    date: Option<Date>,
    /// How good it is, from 1 (very bad) to 10 (very good).
    level: Whole<1, 10>,
    /// The main emotion, in a word.
    emotion: Option<Line<60>>,
    /// Other emotions.
    #[serde(default)]
    secondary_emotions: Tags<5>,
    /// What the user is doing.
    activity: Option<Line<120>>,
    /// In whose company.
    with_whom: Option<Line<200>>,
    /// More about it.
    notes: Option<Text<0, 5000>>,
    /// Words to find it by.
    #[serde(default)]
    tags: Tags<20>,
}

async fn log(cx: Cx, new: NewLog) -> Result<Stored<Log>> {
    let log = Log {
        date: new.date.unwrap_or_else(|| cx.today()),
        level: new.level,
        emotion: new.emotion,
        secondary_emotions: new.secondary_emotions,
        activity: new.activity,
        with_whom: new.with_whom,
        notes: new.notes,
        tags: new.tags,
    };
    cx.records().add(log).await
}

/// A day to look at.
#[derive(Debug, Deserialize, JsonSchema)]
struct Day {
    /// The day; today, where the user is, if left out.
    date: Option<Date>,
}

/// The moods of a day.
#[derive(Debug, Serialize, JsonSchema)]
struct Today {
    /// The day.
    date: Date,
    /// Their average to two decimals; absent if there are none.
    average: Option<f64>,
    /// The moods, the latest first; at most 100.
    logs: Vec<Stored<Log>>,
}

async fn today(cx: Cx, day: Day) -> Result<Today> {
    let date = day.date.unwrap_or_else(|| cx.today());
    let filter = Filter::new(Order::Latest).from(date.start_utc()).until(date.plus_days(1).start_utc());
    let logs: Vec<Stored<Log>> = cx.records().list(filter.page(100, None)).await?.items;
    let mut levels = Levels::default();
    for log in &logs {
        levels.add(log.data.level);
    }
    Ok(Today { date, average: levels.average(), logs })
}

/// Which moods to list.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// Only moods of this day and later.
    from: Option<Date>,
    /// Only moods of this day and earlier.
    until: Option<Date>,
    /// Only moods with this tag, whatever its case.
    tag: Option<Tag>,
    /// Only moods in which this text occurs, whatever its case.
    query: Option<Line<500>>,
    /// List the archived moods instead.
    #[serde(default)]
    archived: bool,
    #[serde(flatten)]
    paging: Paging,
}

async fn recent(cx: Cx, which: Which) -> Result<Page<Stored<Log>>> {
    let mut filter = within(which.from, which.until).archived(which.archived);
    if let Some(tag) = &which.tag {
        filter = filter.words(&tag.whole());
    }
    if let Some(query) = &which.query {
        filter = filter.words(query);
    }
    cx.records().list(which.paging.of(filter)?).await
}

fn within(from: Option<Date>, until: Option<Date>) -> Filter<Log> {
    let mut filter = Filter::new(Order::Latest);
    if let Some(from) = from {
        filter = filter.from(from.start_utc());
    }
    if let Some(until) = until {
        filter = filter.until(until.plus_days(1).start_utc());
    }
    filter
}

/// Which days to look at.
#[derive(Debug, Deserialize, JsonSchema)]
struct Period {
    /// The first day; 90 days before the last one if left out.
    from: Option<Date>,
    /// The last day; today, where the user is, if left out.
    until: Option<Date>,
}

/// What moods go together with.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Insights {
    /// The first day.
    from: Date,
    /// The last day.
    until: Date,
    /// How many logs were looked at: all of these days, or the latest 10,000.
    n: u32,
    /// Their average to two decimals; absent if there are none.
    average: Option<f64>,
    /// The lowest level.
    lowest: Option<i64>,
    /// The highest level.
    highest: Option<i64>,
    /// By weekday, from Monday on; weekdays without logs are left out.
    by_weekday: Vec<Group>,
    /// By activity, the most frequent first; at most 20.
    by_activity: Vec<Group>,
    /// By emotion, main and other ones, the most frequent first; at most 20.
    by_emotion: Vec<Group>,
}

/// The moods that have something in common.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Group {
    /// What they have in common.
    name: String,
    /// How many they are.
    n: u32,
    /// Their average to two decimals.
    average: f64,
}

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

async fn insights(cx: Cx, period: Period) -> Result<Insights> {
    let until = period.until.unwrap_or_else(|| cx.today());
    let from = period.from.unwrap_or_else(|| until.plus_days(-90));
    if from > until {
        return Err(ToolError::field("from", format!("lies after the last day, `{until}`")));
    }
    let logs = cx.records().all(within(Some(from), Some(until))).await?;
    let (mut all, mut weekdays) = (Levels::default(), [Levels::default(); 7]);
    let (mut activities, mut emotions) = (Groups::default(), Groups::default());
    for Log { date, level, emotion, secondary_emotions, activity, .. } in logs.iter().map(|log| &log.data) {
        all.add(*level);
        if let Ok(day) = usize::try_from(date.0.weekday().to_monday_zero_offset()) {
            weekdays[day].add(*level);
        }
        if let Some(activity) = activity {
            activities.add(activity, *level);
        }
        if let Some(emotion) = emotion {
            emotions.add(emotion, *level);
        }
        let main = emotion.as_deref().unwrap_or_default().to_lowercase();
        for other in secondary_emotions.as_slice().iter().filter(|other| other.to_lowercase() != main) {
            emotions.add(other, *level);
        }
    }
    let levels = || logs.iter().map(|log| log.data.level.get());
    Ok(Insights {
        from,
        until,
        n: all.n,
        average: all.average(),
        lowest: levels().min(),
        highest: levels().max(),
        by_weekday: WEEKDAYS.iter().zip(weekdays).filter_map(|(name, levels)| levels.group(name)).collect(),
        by_activity: activities.most_frequent(),
        by_emotion: emotions.most_frequent(),
    })
}

/// Levels added up.
#[derive(Debug, Clone, Copy, Default)]
struct Levels {
    n: u32,
    sum: i64,
}

impl Levels {
    fn add(&mut self, level: Whole<1, 10>) {
        self.n += 1;
        self.sum += level.get();
    }

    fn average(self) -> Option<f64> {
        let hundredfold = i32::try_from(self.sum * 100).ok()?;
        (self.n > 0).then(|| (f64::from(hundredfold) / f64::from(self.n)).round() / 100.0)
    }

    fn group(self, name: &str) -> Option<Group> {
        self.average().map(|average| Group { name: name.to_owned(), n: self.n, average })
    }
}

/// Levels by what they have in common, whatever its case; each shown as it was first met.
#[derive(Debug, Default)]
struct Groups(std::collections::BTreeMap<String, (String, Levels)>);

impl Groups {
    fn add(&mut self, name: &str, level: Whole<1, 10>) {
        let (_, levels) = self.0.entry(name.to_lowercase()).or_insert_with(|| (name.to_owned(), Levels::default()));
        levels.add(level);
    }

    fn most_frequent(self) -> Vec<Group> {
        let mut groups: Vec<Group> = self.0.into_values().filter_map(|(name, levels)| levels.group(&name)).collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.n));
        groups.truncate(20);
        groups
    }
}

/// One logged mood.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct One {
    /// The id of the logged mood.
    log_id: RecordId,
}

async fn get(cx: Cx, one: One) -> Result<Stored<Log>> {
    cx.records().get(one.log_id).await
}

/// New values for fields of a logged mood.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Change {
    /// The id of the logged mood.
    log_id: RecordId,
    /// Only if the log is at this revision.
    expected_rev: Option<i64>,
    /// The day.
    date: Option<Date>,
    /// How good it was, from 1 (very bad) to 10 (very good).
    level: Option<Whole<1, 10>>,
    /// The main emotion, in a word.
    emotion: Option<Line<60>>,
    /// All other emotions; replaces those there are.
    secondary_emotions: Option<Tags<5>>,
    /// What the user was doing.
    activity: Option<Line<120>>,
    /// In whose company.
    with_whom: Option<Line<200>>,
    /// More about it.
    notes: Option<Text<0, 5000>>,
    /// All tags; replaces those there are.
    tags: Option<Tags<20>>,
    /// Fields to empty.
    #[serde(default)]
    clear: Vec<Clearable>,
}

/// A field that can be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Clearable {
    Emotion,
    SecondaryEmotions,
    Activity,
    WithWhom,
    Notes,
    Tags,
}

async fn update(cx: Cx, change: Change) -> Result<Stored<Log>> {
    let records = cx.records::<Log>();
    records
        .update(change.log_id, change.expected_rev, |log| {
            for field in &change.clear {
                match field {
                    Clearable::Emotion => log.emotion = None,
                    Clearable::SecondaryEmotions => log.secondary_emotions = Tags::default(),
                    Clearable::Activity => log.activity = None,
                    Clearable::WithWhom => log.with_whom = None,
                    Clearable::Notes => log.notes = None,
                    Clearable::Tags => log.tags = Tags::default(),
                }
            }
            put(&mut log.date, change.date.as_ref());
            put(&mut log.level, change.level.as_ref());
            put(&mut log.secondary_emotions, change.secondary_emotions.as_ref());
            put(&mut log.tags, change.tags.as_ref());
            log.emotion = change.emotion.clone().or_else(|| log.emotion.take());
            log.activity = change.activity.clone().or_else(|| log.activity.take());
            log.with_whom = change.with_whom.clone().or_else(|| log.with_whom.take());
            log.notes = change.notes.clone().or_else(|| log.notes.take());
            Ok(())
        })
        .await
}

async fn archive(cx: Cx, one: One) -> Result<Stored<Log>> {
    cx.records().archive(one.log_id).await
}

async fn restore(cx: Cx, one: One) -> Result<Stored<Log>> {
    cx.records().restore(one.log_id).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_rounded_and_absent_without_logs() {
        let mut levels = Levels::default();
        assert_eq!(levels.average(), None);
        for level in [7, 8, 8] {
            levels.add(Whole::new(level).expect("from 1 to 10"));
        }
        assert_eq!(levels.average(), Some(7.67));
    }

    #[test]
    fn groups_know_no_case_and_the_most_frequent_comes_first() {
        let mut groups = Groups::default();
        for (name, level) in [("müde", 3), ("Ruhig", 8), ("ruhig", 6)] {
            groups.add(name, Whole::new(level).expect("from 1 to 10"));
        }
        let group = |name: &str, n, average| Group { name: name.into(), n, average };
        assert_eq!(groups.most_frequent(), [group("Ruhig", 2, 7.0), group("müde", 1, 3.0)]);
    }
}
