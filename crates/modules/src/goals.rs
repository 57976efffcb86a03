//! Goals: so much of something in a period. Progress is counted in the records of other modules, or logged by hand.

mod period;

use mana_registry::prelude::*;

use self::period::Span;

/// A goal.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Goal {
    /// What is to be reached.
    title: Line<200>,
    /// More about it, such as why.
    description: Option<Text<0, 5000>>,
    /// What is counted.
    metric: Metric,
    /// Only logs of this habit, for the metric `habit_logs`.
    habit_id: Option<RecordId>,
    /// How much is wanted, and in which time.
    target: Target,
    /// Whether it is pursued.
    #[serde(default)]
    status: Status,
    /// The first day that counts.
    start_date: Date,
    /// The last day that counts, if it ends.
    end_date: Option<Date>,
}

impl Record for Goal {
    const KIND: &'static str = "goals.goal";

    fn at(&self) -> Option<Timestamp> {
        self.end_date.map(Date::start_utc)
    }

    fn words(&self) -> String {
        format!("{} {}", self.title, self.description.as_deref().unwrap_or_default())
    }
}

/// How much is wanted, and in which time.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Target {
    /// How much.
    value: Whole<0, 1_000_000_000>,
    /// What one of it is called, such as `km`; for the metric `custom`.
    unit: Option<Line<40>>,
    /// In which time: each day, week (from Monday), month or year, or in `total` from the first day to the last.
    period: Period,
    /// Whether at least or at most so much is wanted; `at_least` if left out.
    #[serde(default)]
    comparison: Comparison,
}

/// The time in which a target is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Period {
    Day,
    Week,
    Month,
    Year,
    Total,
}

/// On which side of the target success lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Comparison {
    #[default]
    AtLeast,
    AtMost,
}

/// Whether a goal is pursued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Status {
    #[default]
    Active,
    Paused,
    Completed,
    Abandoned,
}

impl Status {
    const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Abandoned => "abandoned",
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Metric {
    TasksCompleted,
    JournalEntries,
    HabitLogs,
    LibraryCompleted,
    NotesWritten,
    MoodLogs,
    DreamsRecorded,
    Custom,
}

/// Records of other modules, of which only the number matters here: their fields stay the business of their modules.
macro_rules! counted {
    ($($name:ident = $kind:literal),+ $(,)?) => {$(
        #[derive(Debug, Clone, Serialize, Deserialize)]
        struct $name {}

        impl Record for $name {
            const KIND: &'static str = $kind;
        }
    )+};
}

counted! {
    Task = "todo.task",
    JournalEntry = "journal.entry",
    Habit = "habits.habit",
    HabitLog = "habits.log",
    LibraryEntry = "library.entry",
    Note = "notes.note",
    MoodLog = "mood.log",
    Dream = "dreams.dream",
}

/// Something logged by hand.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Entry {
    /// The goal's id.
    goal_id: RecordId,
    /// How much, in the goal's unit.
    amount: Whole<1, 1_000_000_000>,
    /// The day it counts for.
    date: Date,
    /// A remark.
    note: Option<Line<500>>,
}

impl Record for Entry {
    const KIND: &'static str = "goals.entry";

    fn at(&self) -> Option<Timestamp> {
        Some(self.date.start_utc())
    }
}

/// The module.
pub(crate) fn module() -> Module {
    Module::new("goals", "Set goals and see the progress.")
        .labels("Goals", "Ziele")
        .tool(write("goals_create", "Create a goal: a metric counted in your tasks, journal, habits, library, notes, mood or dreams, or a custom one that you log.", create))
        .tool(read("goals_list", "List active goals (or those of another status) with their progress in the current period, the soonest end first.", list))
        .tool(read("goals_progress", "Progress of one goal: the current period, the six before it, and the latest entries logged by hand.", progress))
        .tool(write("goals_update", "Change a goal's title, description, target, dates or status (active, paused, completed, abandoned).", update))
        .tool(write("goals_entry_add", "Log progress towards a goal with the metric `custom`.", entry_add))
        .tool(write("goals_entry_archive", "Take back an entry of progress that was logged by hand.", entry_archive).idempotent())
        .tool(write("goals_archive", "Put a goal out of sight; it can be restored.", archive).idempotent())
        .tool(write("goals_restore", "Bring an archived goal back.", restore).idempotent())
}

/// What a new goal is made of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewGoal {
    /// What is to be reached.
    title: Line<200>,
    /// More about it, such as why.
    description: Option<Text<0, 5000>>,
    /// What is counted; `custom` is what you log with `goals_entry_add`.
    metric: Metric,
    /// Only logs of this habit, for the metric `habit_logs`.
    habit_id: Option<RecordId>,
    /// How much is wanted, and in which time.
    target: Target,
    /// The first day that counts; today if left out.
    start_date: Option<Date>,
    /// The last day that counts, if it ends.
    end_date: Option<Date>,
}

async fn create(cx: Cx, new: NewGoal) -> Result<Stored<Goal>> {
    let goal = Goal {
        title: new.title,
        description: new.description,
        metric: new.metric,
        habit_id: new.habit_id,
        target: new.target,
        status: Status::Active,
        start_date: new.start_date.unwrap_or_else(|| cx.today()),
        end_date: new.end_date,
    };
    goal.check()?;
    if let Some(habit) = goal.habit_id {
        cx.records::<Habit>().check("habitId", habit).await?;
    }
    cx.records().add(goal).await
}

impl Goal {
    fn check(&self) -> Result<()> {
        let mut faults = Vec::new();
        if self.end_date.is_some_and(|end| end < self.start_date) {
            faults.push(FieldError::new(
                "endDate",
                format!("expected the first day `{}` or a later one", self.start_date),
            ));
        }
        if self.habit_id.is_some() && self.metric != Metric::HabitLogs {
            faults.push(FieldError::new("habitId", "belongs to the metric `habit_logs` only"));
        }
        if self.target.comparison == Comparison::AtLeast && self.target.value.get() == 0 {
            faults.push(FieldError::new("target.value", "expected 1 or more, zero is always reached"));
        }
        if faults.is_empty() { Ok(()) } else { Err(ToolError::Invalid(faults)) }
    }

    /// The days of a goal's period around a day, as far as the goal lasts.
    fn span(&self, day: Date) -> Span {
        Span::around(self.target.period, day).within(self.start_date, self.end_date)
    }
}

/// How many there are, put away ones included: what is done stays done.
async fn ever<T: Record + Clone>(cx: &Cx, filter: Filter<T>) -> Result<i64> {
    let records = cx.records::<T>();
    Ok(records.count(filter.clone()).await? + records.count(filter.archived(true)).await?)
}

/// Records that have a day, and it as their sort key.
fn on_days<T: Record>(span: Span) -> Filter<T> {
    Filter::new(Order::Soonest).from(span.first.start_utc()).until(span.last.plus_days(1).start_utc())
}

/// How much of a goal was reached on these days.
async fn reached(cx: &Cx, goal: &Stored<Goal>, span: Span) -> Result<i64> {
    if span.is_empty() {
        return Ok(0);
    }
    let (from, until) = span.times(&cx.zone());
    match goal.data.metric {
        Metric::TasksCompleted => {
            let done = Filter::<Task>::new(Order::Recent).flag("isCompleted", true);
            ever(cx, done.since("completedAt", from).before("completedAt", until)).await
        }
        Metric::JournalEntries => cx.records().count(on_days::<JournalEntry>(span)).await,
        Metric::HabitLogs => {
            let mut logs = on_days::<HabitLog>(span);
            if let Some(habit) = goal.data.habit_id {
                logs = logs.is("habitId", habit.to_string());
            }
            cx.records().count(logs).await
        }
        Metric::LibraryCompleted => {
            let done = Filter::<LibraryEntry>::new(Order::Recent).is("status", "completed");
            ever(cx, done.since("completedAt", from).before("completedAt", until)).await
        }
        Metric::NotesWritten => cx.records().count(Filter::<Note>::new(Order::Recent).created(from, until)).await,
        Metric::MoodLogs => cx.records().count(on_days::<MoodLog>(span)).await,
        Metric::DreamsRecorded => cx.records().count(on_days::<Dream>(span)).await,
        Metric::Custom => {
            let entries = cx.records().all(on_days::<Entry>(span).is("goalId", goal.id.to_string())).await?;
            Ok(entries.iter().map(|entry| entry.data.amount.get()).sum())
        }
    }
}

/// How far a goal is in one period.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Progress {
    /// The first day of the period.
    from: Date,
    /// The last day of the period; absent if it has no end.
    to: Option<Date>,
    /// How much there is.
    value: i64,
    /// How much there is of what is wanted, in percent, rounded down.
    percent: i64,
    /// Whether the target is met, as it stands.
    is_met: bool,
}

async fn measure(cx: &Cx, goal: &Stored<Goal>, day: Date) -> Result<Progress> {
    let span = goal.data.span(day);
    let value = reached(cx, goal, span).await?;
    let target = goal.data.target.value.get();
    let is_met = match goal.data.target.comparison {
        Comparison::AtLeast => value >= target,
        Comparison::AtMost => value <= target,
    };
    // Of nothing, nothing is all of it, and anything is twice too much.
    let percent = if target > 0 {
        value.saturating_mul(100) / target
    } else if value == 0 {
        100
    } else {
        200
    };
    Ok(Progress { from: span.first, to: span.end(), value, percent, is_met })
}

/// A goal and how far it is.
#[derive(Debug, Serialize, JsonSchema)]
struct WithProgress {
    #[serde(flatten)]
    goal: Stored<Goal>,
    /// The current period.
    progress: Progress,
}

/// Which goals to list.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// Only goals of this status; `active` if left out.
    status: Option<Status>,
    /// List the archived goals of any status instead.
    #[serde(default)]
    archived: bool,
    #[serde(flatten)]
    paging: Paging,
}

async fn list(cx: Cx, which: Which) -> Result<Page<WithProgress>> {
    let mut filter = Filter::new(Order::Soonest).archived(which.archived);
    if let Some(status) = which.status.or((!which.archived).then_some(Status::Active)) {
        filter = filter.is("status", status.word());
    }
    let page = cx.records::<Goal>().list(which.paging.of(filter)?).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for goal in page.items {
        let progress = measure(&cx, &goal, cx.today()).await?;
        items.push(WithProgress { goal, progress });
    }
    Ok(Page { items, next_cursor: page.next_cursor })
}

/// One goal.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct One {
    /// The goal's id.
    goal_id: RecordId,
}

/// A goal, how far it is, and how it went before.
#[derive(Debug, Serialize, JsonSchema)]
struct History {
    #[serde(flatten)]
    goal: Stored<Goal>,
    /// The current period.
    progress: Progress,
    /// The periods before, the latest first; none for a goal over a total.
    before: Vec<Progress>,
    /// The latest entries logged by hand.
    entries: Vec<Stored<Entry>>,
}

/// How many periods before the current one are shown.
const BEFORE: usize = 6;

async fn progress(cx: Cx, one: One) -> Result<History> {
    let goal = cx.records::<Goal>().get(one.goal_id).await?;
    let progress = measure(&cx, &goal, cx.today()).await?;
    let mut before = Vec::new();
    let mut day = Span::around(goal.data.target.period, cx.today()).first.plus_days(-1);
    while goal.data.target.period != Period::Total && before.len() < BEFORE && day >= goal.data.start_date {
        before.push(measure(&cx, &goal, day).await?);
        day = Span::around(goal.data.target.period, day).first.plus_days(-1);
    }
    let entries = Filter::new(Order::Latest).is("goalId", goal.id.to_string()).page(20, None);
    let entries = cx.records().list(entries).await?.items;
    Ok(History { goal, progress, before, entries })
}

/// New values for fields of a goal.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Change {
    /// The goal's id.
    goal_id: RecordId,
    /// Only if the goal is at this revision.
    expected_rev: Option<i64>,
    /// What is to be reached.
    title: Option<Line<200>>,
    /// More about it.
    description: Option<Text<0, 5000>>,
    /// How much is wanted, and in which time; replaces the target as a whole.
    target: Option<Target>,
    /// Whether it is pursued.
    status: Option<Status>,
    /// The first day that counts.
    start_date: Option<Date>,
    /// The last day that counts.
    end_date: Option<Date>,
    /// Fields to empty.
    #[serde(default)]
    clear: Vec<Clearable>,
}

/// A field that can be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Clearable {
    Description,
    EndDate,
}

async fn update(cx: Cx, change: Change) -> Result<Stored<Goal>> {
    cx.records::<Goal>()
        .update(change.goal_id, change.expected_rev, |goal| {
            for field in &change.clear {
                match field {
                    Clearable::Description => goal.description = None,
                    Clearable::EndDate => goal.end_date = None,
                }
            }
            goal.title = change.title.clone().unwrap_or_else(|| goal.title.clone());
            goal.description = change.description.clone().or_else(|| goal.description.take());
            goal.target = change.target.clone().unwrap_or_else(|| goal.target.clone());
            goal.status = change.status.unwrap_or(goal.status);
            goal.start_date = change.start_date.unwrap_or(goal.start_date);
            goal.end_date = change.end_date.or(goal.end_date);
            goal.check()
        })
        .await
}

/// Progress to log.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewEntry {
    /// The goal's id.
    goal_id: RecordId,
    /// How much, in the goal's unit; 1 if left out.
    amount: Option<Whole<1, 1_000_000_000>>,
    /// The day it counts for; today if left out.
    date: Option<Date>,
    /// A remark.
    note: Option<Line<500>>,
}

/// A logged entry and where the goal stands with it.
#[derive(Debug, Serialize, JsonSchema)]
struct Logged {
    #[serde(flatten)]
    entry: Stored<Entry>,
    /// The period that the entry counts for.
    progress: Progress,
}

async fn entry_add(cx: Cx, new: NewEntry) -> Result<Logged> {
    let goal = cx.records::<Goal>().check("goalId", new.goal_id).await?;
    if goal.data.metric != Metric::Custom {
        let message = "the progress of this goal is counted in the records of another module";
        return Err(ToolError::rule("metric-is-counted", message)
            .hint("do what is counted, or make a goal with the metric `custom`"));
    }
    let date = new.date.unwrap_or_else(|| cx.today());
    let in_time = date >= goal.data.start_date && goal.data.end_date.is_none_or(|end| date <= end);
    if !in_time {
        return Err(ToolError::field("date", "expected a day between the first and the last day of the goal"));
    }
    let amount = match new.amount {
        Some(amount) => amount,
        None => Whole::new(1).map_err(|why| ToolError::field("amount", why))?,
    };
    let entry = cx.records().add(Entry { goal_id: goal.id, amount, date, note: new.note }).await?;
    let progress = measure(&cx, &goal, date).await?;
    Ok(Logged { entry, progress })
}

/// One entry of progress.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct OneEntry {
    /// The entry's id, as `goals_entry_add` and `goals_progress` answer it.
    entry_id: RecordId,
}

async fn entry_archive(cx: Cx, one: OneEntry) -> Result<Stored<Entry>> {
    cx.records().archive(one.entry_id).await
}

async fn archive(cx: Cx, one: One) -> Result<Stored<Goal>> {
    cx.records().archive(one.goal_id).await
}

async fn restore(cx: Cx, one: One) -> Result<Stored<Goal>> {
    cx.records().restore(one.goal_id).await
}
