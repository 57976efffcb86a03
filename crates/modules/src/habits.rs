//! Habits: what somebody wants to do on which weekdays, what was done, and for how long without a gap.

mod amount;
mod streak;

use mana_registry::prelude::*;

use amount::Amount;
use streak::{Run, Weekday, streaks};

/// A habit.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Habit {
    /// What is to become a habit.
    title: Line<120>,
    /// The name of its icon.
    icon: Line<40>,
    /// Its colour, `#rrggbb`.
    color: Color,
    /// How much a day asks for; a habit without it is done by one log.
    target_per_day: Option<Amount>,
    /// The weekdays it is meant for.
    schedule: Vec<Weekday>,
}

impl Record for Habit {
    const KIND: &'static str = "habits.habit";

    fn words(&self) -> String {
        self.title.to_string()
    }
}

/// Something done for a habit.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Log {
    /// The habit, by id.
    habit_id: RecordId,
    /// The day.
    date: Date,
    /// How much was done.
    amount: Amount,
    /// A remark.
    notes: Option<Text<0, 2000>>,
}

impl Record for Log {
    const KIND: &'static str = "habits.log";

    fn at(&self) -> Option<Timestamp> {
        Some(self.date.start_utc())
    }
}

/// The module.
pub(crate) fn module() -> Module {
    Module::new("habits", "Build habits and see streaks.")
        .labels("Habits", "Gewohnheiten")
        .tool(write("habits_create", "Create a habit with its weekdays and, if you like, a target per day.", create))
        .tool(read("habits_list", "List habits, the most recently changed first.", list))
        .tool(read("habits_today", "Habits meant for today (or another day) with what is done of them and their streaks.", today))
        .tool(write("habits_log", "Log a habit as done today or on another day. With a target per day amounts add up; without one a second log of a day changes nothing.", log))
        .tool(write("habits_unlog", "Take back everything logged for a habit on a day.", unlog).idempotent())
        .tool(read("habits_log_list", "List what was logged, the latest day first. Narrow by habit or days.", log_list))
        .tool(read("habits_streak", "Current and longest streak of a habit and how often it was done in the last 30 days.", streak))
        .tool(read("habits_get", "Read one habit.", get))
        .tool(write("habits_update", "Change fields of a habit. Fields left out stay; name fields in `clear` to reset them.", update))
        .tool(write("habits_archive", "Put a habit out of sight; its logs stay and it can be restored.", archive).idempotent())
        .tool(write("habits_restore", "Bring an archived habit back.", restore).idempotent())
}

/// What a new habit is made of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewHabit {
    /// What is to become a habit.
    title: Line<120>,
    /// The name of its icon; `star` if left out.
    #[serde(default = "star")]
    icon: Line<40>,
    /// Its colour, `#rrggbb`; `#6366f1` if left out.
    #[serde(default = "indigo")]
    color: Color,
    /// How much a day asks for, such as 8 for eight glasses; leave it out where one log is enough.
    target_per_day: Option<Amount>,
    /// The weekdays it is meant for; every day if left out.
    #[schemars(length(min = 1, max = 7))]
    schedule: Option<Vec<Weekday>>,
}

fn star() -> Line<40> {
    Line::parse("star").expect("it is a short line")
}

fn indigo() -> Color {
    Color::parse("#6366f1").expect("it is a colour")
}

/// Each weekday once, from Monday on.
fn ordered(mut schedule: Vec<Weekday>) -> Vec<Weekday> {
    schedule.sort_unstable();
    schedule.dedup();
    schedule
}

async fn create(cx: Cx, new: NewHabit) -> Result<Stored<Habit>> {
    let habit = Habit {
        title: new.title,
        icon: new.icon,
        color: new.color,
        target_per_day: new.target_per_day,
        schedule: new.schedule.map_or_else(|| Weekday::ALL.to_vec(), ordered),
    };
    cx.records().add(habit).await
}

/// Which habits to list.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// List the archived habits instead.
    #[serde(default)]
    archived: bool,
    #[serde(flatten)]
    paging: Paging,
}

async fn list(cx: Cx, which: Which) -> Result<Page<Stored<Habit>>> {
    cx.records().list(which.paging.of(Filter::new(Order::Recent).archived(which.archived))?).await
}

/// The days with logs of a habit and how much was done on each, in order.
async fn days(cx: &Cx, habit: RecordId) -> Result<Vec<(Date, Amount)>> {
    let filter = Filter::<Log>::new(Order::Latest).is("habitId", habit.to_string());
    let mut days: Vec<(Date, Amount)> = Vec::new();
    for log in cx.records().all(filter).await?.into_iter().rev() {
        let Log { date, amount, .. } = log.data;
        match days.last_mut() {
            Some((day, sum)) if *day == date => *sum = sum.plus(amount),
            _ => days.push((date, amount)),
        }
    }
    Ok(days)
}

impl Habit {
    fn is_done_with(&self, amount: Amount) -> bool {
        self.target_per_day.is_none_or(|target| amount >= target)
    }

    /// The days on which the habit was done, in order.
    fn done(&self, days: &[(Date, Amount)]) -> Vec<Date> {
        days.iter().filter(|(_, amount)| self.is_done_with(*amount)).map(|(date, _)| *date).collect()
    }
}

/// The logs of one day, of one habit or of all.
fn on(date: Date) -> Filter<Log> {
    Filter::new(Order::Latest).from(date.start_utc()).until(date.plus_days(1).start_utc())
}

/// A day to look at.
#[derive(Debug, Deserialize, JsonSchema)]
struct Day {
    /// The day; today, where the user is, if left out.
    date: Option<Date>,
}

/// A day with its habits.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Today {
    /// The day.
    date: Date,
    /// How many habits are meant for it.
    scheduled: usize,
    /// How many of these are done.
    done: usize,
    /// The habits meant for it, and others with a log on it.
    habits: Vec<HabitToday>,
}

/// A habit on a day.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct HabitToday {
    /// The habit's id.
    habit_id: RecordId,
    /// What is to become a habit.
    title: Line<120>,
    /// The name of its icon.
    icon: Line<40>,
    /// Its colour.
    color: Color,
    /// How much the day asks for.
    target_per_day: Option<Amount>,
    /// How much was done.
    amount: Option<Amount>,
    /// Whether it is done.
    is_done: bool,
    /// Whether it is meant for this weekday.
    is_scheduled: bool,
    /// For how many of its days in a row, up to this one, it was done.
    streak: usize,
}

async fn today(cx: Cx, day: Day) -> Result<Today> {
    let date = day.date.unwrap_or_else(|| cx.today());
    let logs = cx.records().all(on(date)).await?;
    let mut habits = Vec::new();
    let mut all = cx.records().all(Filter::<Habit>::new(Order::Recent)).await?;
    all.sort_by_key(|habit| habit.created_at);
    for Stored { id, data: habit, .. } in all {
        let amounts = logs.iter().filter(|log| log.data.habit_id == id).map(|log| log.data.amount);
        let amount = amounts.reduce(Amount::plus);
        let is_scheduled = habit.schedule.contains(&Weekday::of(date));
        if !is_scheduled && amount.is_none() {
            continue;
        }
        let done = habit.done(&days(&cx, id).await?);
        habits.push(HabitToday {
            habit_id: id,
            is_done: amount.is_some_and(|amount| habit.is_done_with(amount)),
            title: habit.title,
            icon: habit.icon,
            color: habit.color,
            target_per_day: habit.target_per_day,
            amount,
            is_scheduled,
            streak: streaks(&done, &habit.schedule, date).current,
        });
    }
    let scheduled = habits.iter().filter(|habit| habit.is_scheduled).count();
    let done = habits.iter().filter(|habit| habit.is_scheduled && habit.is_done).count();
    Ok(Today { date, scheduled, done, habits })
}

/// Something done for a habit.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewLog {
    /// The habit's id.
    habit_id: RecordId,
    /// The day; today, where the user is, if left out. It cannot lie ahead.
    date: Option<Date>,
    /// How much was done; 1 if left out.
    amount: Option<Amount>,
    /// A remark.
    notes: Option<Text<0, 2000>>,
}

/// What was logged, and how the habit stands.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Logged {
    #[serde(flatten)]
    log: Stored<Log>,
    /// What the habit is called.
    habit_title: Line<120>,
    /// How much was done on this day altogether.
    amount_of_day: Amount,
    /// How much a day asks for.
    target_per_day: Option<Amount>,
    /// Whether the habit is done on this day.
    is_done: bool,
    /// For how many of its days in a row, up to today, it was done.
    streak: usize,
}

async fn log(cx: Cx, new: NewLog) -> Result<Logged> {
    let today = cx.today();
    let date = new.date.unwrap_or(today);
    if date > today {
        return Err(ToolError::field("date", format!("lies ahead, today is `{today}`")));
    }
    let habit = cx.records::<Habit>().check("habitId", new.habit_id).await?.data;
    let records = cx.records::<Log>();
    let before = match habit.target_per_day {
        None => records.first(on(date).is("habitId", new.habit_id.to_string())).await?,
        Some(_) => None,
    };
    let log = match before {
        // Done is done; only a remark can be new.
        Some(before) if new.notes.is_none() || new.notes == before.data.notes => before,
        Some(before) => {
            records
                .update(before.id, None, |log| {
                    log.notes.clone_from(&new.notes);
                    Ok(())
                })
                .await?
        }
        None => {
            let amount = new.amount.unwrap_or(Amount::ONE);
            records.add(Log { habit_id: new.habit_id, date, amount, notes: new.notes }).await?
        }
    };
    let days = days(&cx, new.habit_id).await?;
    let amount_of_day = days.iter().find(|(day, _)| *day == date).map_or(log.data.amount, |(_, amount)| *amount);
    Ok(Logged {
        log,
        amount_of_day,
        target_per_day: habit.target_per_day,
        is_done: habit.is_done_with(amount_of_day),
        streak: streaks(&habit.done(&days), &habit.schedule, today).current,
        habit_title: habit.title,
    })
}

/// A day of a habit.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct DayOfHabit {
    /// The habit's id.
    habit_id: RecordId,
    /// The day; today, where the user is, if left out.
    date: Option<Date>,
}

/// What was taken back.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Unlogged {
    /// The habit's id.
    habit_id: RecordId,
    /// The day.
    date: Date,
    /// How many logs were taken back; 0 if there were none.
    logs: usize,
}

async fn unlog(cx: Cx, day: DayOfHabit) -> Result<Unlogged> {
    let date = day.date.unwrap_or_else(|| cx.today());
    cx.records::<Habit>().get(day.habit_id).await?;
    let records = cx.records::<Log>();
    let logs = records.all(on(date).is("habitId", day.habit_id.to_string())).await?;
    for log in &logs {
        records.archive(log.id).await?;
    }
    Ok(Unlogged { habit_id: day.habit_id, date, logs: logs.len() })
}

/// Which logs to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct WhichLogs {
    /// Only logs of this habit, by id.
    habit_id: Option<RecordId>,
    /// Only logs of this day and later.
    from: Option<Date>,
    /// Only logs of this day and earlier.
    until: Option<Date>,
    #[serde(flatten)]
    paging: Paging,
}

async fn log_list(cx: Cx, which: WhichLogs) -> Result<Page<Stored<Log>>> {
    let mut filter = Filter::new(Order::Latest);
    if let Some(habit) = which.habit_id {
        filter = filter.is("habitId", habit.to_string());
    }
    if let Some(from) = which.from {
        filter = filter.from(from.start_utc());
    }
    if let Some(until) = which.until {
        filter = filter.until(until.plus_days(1).start_utc());
    }
    cx.records().list(which.paging.of(filter)?).await
}

/// One habit.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct One {
    /// The habit's id.
    habit_id: RecordId,
}

/// How a habit goes.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Streak {
    /// The habit's id.
    habit_id: RecordId,
    /// What it is called.
    title: Line<120>,
    /// For how many of its days in a row, up to today, it was done; today does not count as missed yet.
    current: usize,
    /// The most of its days in a row on which it was done.
    longest: usize,
    /// When it was last done.
    last_done: Option<Date>,
    /// On how many of its days within the last 30 days it was done.
    done_last30_days: usize,
    /// How many of its days lie within the last 30 days.
    scheduled_last30_days: usize,
}

async fn streak(cx: Cx, one: One) -> Result<Streak> {
    let today = cx.today();
    let Stored { id, data: habit, .. } = cx.records::<Habit>().get(one.habit_id).await?;
    let done = habit.done(&days(&cx, id).await?);
    let Run { current, longest } = streaks(&done, &habit.schedule, today);
    let lately: Vec<Date> =
        (0..30).map(|ago| today.plus_days(-ago)).filter(|date| habit.schedule.contains(&Weekday::of(*date))).collect();
    Ok(Streak {
        habit_id: id,
        title: habit.title,
        current,
        longest,
        last_done: done.last().copied(),
        done_last30_days: lately.iter().filter(|date| done.binary_search(date).is_ok()).count(),
        scheduled_last30_days: lately.len(),
    })
}

async fn get(cx: Cx, one: One) -> Result<Stored<Habit>> {
    cx.records().get(one.habit_id).await
}

/// New values for fields of a habit.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Change {
    /// The habit's id.
    habit_id: RecordId,
    /// Only if the habit is at this revision.
    expected_rev: Option<i64>,
    /// What is to become a habit.
    title: Option<Line<120>>,
    /// The name of its icon.
    icon: Option<Line<40>>,
    /// Its colour, `#rrggbb`.
    color: Option<Color>,
    /// How much a day asks for.
    target_per_day: Option<Amount>,
    /// The weekdays it is meant for; replaces those there are.
    #[schemars(length(min = 1, max = 7))]
    schedule: Option<Vec<Weekday>>,
    /// Fields to empty or to set back to their default.
    #[serde(default)]
    clear: Vec<Clearable>,
}

/// A field that can be emptied or set back to its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Clearable {
    Icon,
    Color,
    TargetPerDay,
    Schedule,
}

async fn update(cx: Cx, change: Change) -> Result<Stored<Habit>> {
    let records = cx.records::<Habit>();
    records
        .update(change.habit_id, change.expected_rev, |habit| {
            for field in &change.clear {
                match field {
                    Clearable::Icon => habit.icon = star(),
                    Clearable::Color => habit.color = indigo(),
                    Clearable::TargetPerDay => habit.target_per_day = None,
                    Clearable::Schedule => habit.schedule = Weekday::ALL.to_vec(),
                }
            }
            put(&mut habit.title, change.title.as_ref());
            put(&mut habit.icon, change.icon.as_ref());
            put(&mut habit.color, change.color.as_ref());
            habit.target_per_day = change.target_per_day.or(habit.target_per_day);
            put(&mut habit.schedule, change.schedule.clone().map(ordered).as_ref());
            Ok(())
        })
        .await
}

async fn archive(cx: Cx, one: One) -> Result<Stored<Habit>> {
    cx.records().archive(one.habit_id).await
}

async fn restore(cx: Cx, one: One) -> Result<Stored<Habit>> {
    cx.records().restore(one.habit_id).await
}
