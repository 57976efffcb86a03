//! To-do items: a title, a priority, an optional due time, done or not; projects to group them.

mod projects;
mod quick;

use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};
use mana_registry::prelude::*;

use self::projects::Project;
use self::quick::QuickTask;

/// A thing to do.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Task {
    /// What is to be done.
    title: Line<500>,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Text<0, 10_000>>,
    /// How urgent it is.
    #[serde(default)]
    priority: Priority,
    /// When it is due, RFC 3339 with offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_date: Option<Timestamp>,
    /// How long it will take, in minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate_minutes: Option<Whole<1, 10_000>>,
    /// The steps it consists of.
    #[serde(default)]
    subtasks: Vec<Subtask>,
    /// Words to find it by.
    #[serde(default)]
    tags: Tags<20>,
    /// How it comes again when it is completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    recurrence: Option<Recurrence>,
    /// The project it belongs to, by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    project_id: Option<RecordId>,
    /// Whether it is done.
    #[serde(default)]
    is_completed: bool,
    /// When it was done; set by completing it.
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<Timestamp>,
}

impl Record for Task {
    const KIND: &'static str = "todo.task";

    fn at(&self) -> Option<Timestamp> {
        self.due_date
    }

    fn words(&self) -> String {
        let description = self.description.as_deref().unwrap_or_default();
        format!("{} {description} {}", self.title, self.tags.joined())
    }
}

/// How urgent a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Priority {
    Low,
    #[default]
    Medium,
    High,
    Urgent,
}

impl Priority {
    const fn word(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Urgent => "urgent",
        }
    }
}

/// One step of a task.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Subtask {
    /// What is to be done.
    title: Line<500>,
    /// Whether it is done.
    #[serde(default)]
    is_completed: bool,
}

/// How a task comes again: every `interval` units after its due time.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Recurrence {
    /// The unit.
    every: Every,
    /// How many units lie between.
    #[serde(default = "once")]
    interval: Whole<1, 365>,
}

fn once() -> Whole<1, 365> {
    Whole::new(1).expect("one lies between 1 and 365")
}

/// A unit of recurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Every {
    Day,
    Week,
    Month,
    Year,
}

impl Recurrence {
    fn span(&self) -> Span {
        let n = self.interval.get();
        match self.every {
            Every::Day => n.days(),
            Every::Week => n.weeks(),
            Every::Month => n.months(),
            Every::Year => n.years(),
        }
    }

    /// The next due time after `due`, on the same wall clock time in this zone.
    fn next(&self, due: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let next = due.to_jiff().to_zoned(zone.clone()).checked_add(self.span()).ok()?;
        Some(Timestamp::from_jiff(next.timestamp()))
    }
}

/// The module.
pub(crate) fn module() -> Module {
    Module::new("todo", "Keep a list of things to do.")
        .labels("Tasks", "Aufgaben")
        .tool(write(
            "todo_create",
            "Create a task with a title and, if you like, a due date, priority, tags, subtasks.",
            create,
        ))
        .tool(write(
            "todo_quick_add",
            "Create a task from one line such as `Call mum tomorrow 18:00 !high #family` (German or English).",
            quick_add,
        ))
        .tool(read(
            "todo_list",
            "List open tasks, the soonest due first. Narrow by project, priority, tag or due time.",
            list,
        ))
        .tool(read(
            "todo_search",
            "Search tasks for words in title, description and tags, the latest change first.",
            search,
        ))
        .tool(read("todo_today", "Tasks due today and those overdue, in the user's time zone.", today))
        .tool(read("todo_overdue", "Open tasks whose due time has passed, the oldest first.", overdue))
        .tool(read("todo_get", "Read one task.", get))
        .tool(write(
            "todo_update",
            "Change fields of a task. Fields left out stay; name fields in `clear` to empty them.",
            update,
        ))
        .tool(
            write("todo_complete", "Mark a task as completed. Doing it twice changes nothing.", complete).idempotent(),
        )
        .tool(
            write("todo_reopen", "Mark a completed task as open again. Doing it twice changes nothing.", reopen)
                .idempotent(),
        )
        .tool(write("todo_archive", "Put a task out of sight; it can be restored.", archive).idempotent())
        .tool(write("todo_restore", "Bring an archived task back.", restore).idempotent())
        .tool(read("todo_stats", "Numbers of open, overdue and completed tasks, by priority.", stats))
        .tool(write("todo_project_create", "Create a project to group tasks.", projects::create))
        .tool(read("todo_project_list", "List projects with their numbers of open tasks.", projects::list))
        .tool(write("todo_project_update", "Change a project's name, colour or description.", projects::update))
        .tool(
            write("todo_project_archive", "Put a project out of sight; its tasks stay.", projects::archive).idempotent(),
        )
}

/// What a new task is made of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewTask {
    /// What is to be done.
    title: Line<500>,
    /// More about it.
    description: Option<Text<0, 10_000>>,
    /// How urgent it is; `medium` if left out.
    priority: Option<Priority>,
    /// When it is due, RFC 3339 with offset.
    due_date: Option<Timestamp>,
    /// How long it will take, in minutes.
    estimate_minutes: Option<Whole<1, 10_000>>,
    /// The steps it consists of.
    #[serde(default)]
    #[schemars(length(max = 50))]
    subtasks: Vec<Subtask>,
    /// Words to find it by.
    #[serde(default)]
    tags: Tags<20>,
    /// How it comes again when it is completed; needs a due date.
    recurrence: Option<Recurrence>,
    /// The project it belongs to, by id.
    project_id: Option<RecordId>,
}

async fn create(cx: Cx, new: NewTask) -> Result<Stored<Task>> {
    if new.recurrence.is_some() && new.due_date.is_none() {
        return Err(ToolError::field("dueDate", "a task that comes again needs a due date"));
    }
    if let Some(project) = new.project_id {
        cx.records::<Project>().check("projectId", project).await?;
    }
    let task = Task {
        title: new.title,
        description: new.description,
        priority: new.priority.unwrap_or_default(),
        due_date: new.due_date,
        estimate_minutes: new.estimate_minutes,
        subtasks: new.subtasks,
        tags: new.tags,
        recurrence: new.recurrence,
        project_id: new.project_id,
        is_completed: false,
        completed_at: None,
    };
    cx.records().add(task).await
}

/// Which tasks to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Which {
    /// Also list completed tasks.
    #[serde(default)]
    include_completed: bool,
    /// Only tasks of this project, by id.
    project_id: Option<RecordId>,
    /// Only tasks of this priority.
    priority: Option<Priority>,
    /// Only tasks with this tag.
    tag: Option<Tag>,
    /// Only tasks due before this time, RFC 3339.
    due_before: Option<Timestamp>,
    /// List the archived tasks instead.
    #[serde(default)]
    archived: bool,
    #[serde(flatten)]
    paging: Paging<50, 500>,
}

async fn list(cx: Cx, which: Which) -> Result<Page<Stored<Task>>> {
    let mut filter = Filter::new(Order::Soonest).archived(which.archived);
    if !which.include_completed {
        filter = filter.flag("isCompleted", false);
    }
    if let Some(project) = which.project_id {
        filter = filter.is("projectId", project.to_string());
    }
    if let Some(priority) = which.priority {
        filter = filter.is("priority", priority.word());
    }
    if let Some(tag) = &which.tag {
        filter = filter.holds("tags", tag.as_str());
    }
    if let Some(time) = which.due_before {
        filter = filter.until(time);
    }
    cx.records().list(which.paging.of(filter)?).await
}

/// What to search for.
#[derive(Debug, Deserialize, JsonSchema)]
struct Search {
    /// Words that occur together in the task, whatever their case.
    query: Line<500>,
    #[serde(flatten)]
    paging: Paging,
}

async fn search(cx: Cx, search: Search) -> Result<Page<Stored<Task>>> {
    cx.records().list(search.paging.of(Filter::new(Order::Recent).words(&search.query))?).await
}

/// Tasks for today.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Today {
    /// The day, where the user is.
    date: Date,
    /// Due before today and still open.
    overdue: Vec<Stored<Task>>,
    /// Due today and still open.
    due: Vec<Stored<Task>>,
}

fn start_of(date: Date, zone: &TimeZone) -> Timestamp {
    date.0.to_zoned(zone.clone()).map_or(date.start_utc(), |zoned| Timestamp::from_jiff(zoned.timestamp()))
}

fn open() -> Filter<Task> {
    Filter::new(Order::Soonest).flag("isCompleted", false)
}

async fn today(cx: Cx, _: Nothing) -> Result<Today> {
    let (zone, date) = (cx.zone(), cx.today());
    let (start, end) = (start_of(date, &zone), start_of(date.plus_days(1), &zone));
    let overdue = cx.records().list(open().until(start).page(100, None)).await?.items;
    let due = cx.records().list(open().from(start).until(end).page(100, None)).await?.items;
    Ok(Today { date, overdue, due })
}

async fn overdue(cx: Cx, paging: Paging<50, 500>) -> Result<Page<Stored<Task>>> {
    cx.records().list(paging.of(open().until(cx.now()))?).await
}

/// One task.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct One {
    /// The task's id.
    task_id: RecordId,
}

async fn get(cx: Cx, one: One) -> Result<Stored<Task>> {
    cx.records().get(one.task_id).await
}

/// New values for fields of a task.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Change {
    /// The task's id.
    task_id: RecordId,
    /// Only if the task is at this revision.
    expected_rev: Option<i64>,
    /// What is to be done.
    title: Option<Line<500>>,
    /// More about it.
    description: Option<Text<0, 10_000>>,
    /// How urgent it is.
    priority: Option<Priority>,
    /// When it is due, RFC 3339 with offset.
    due_date: Option<Timestamp>,
    /// How long it will take, in minutes.
    estimate_minutes: Option<Whole<1, 10_000>>,
    /// All steps, in their order; replaces those there are.
    #[schemars(length(max = 50))]
    subtasks: Option<Vec<Subtask>>,
    /// All tags; replaces those there are.
    tags: Option<Tags<20>>,
    /// How it comes again when it is completed.
    recurrence: Option<Recurrence>,
    /// The project it belongs to, by id.
    project_id: Option<RecordId>,
    /// Fields to empty.
    #[serde(default)]
    clear: Vec<Clearable>,
}

/// A field that can be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Clearable {
    Description,
    DueDate,
    EstimateMinutes,
    Recurrence,
    ProjectId,
}

async fn update(cx: Cx, change: Change) -> Result<Stored<Task>> {
    if let Some(project) = change.project_id {
        cx.records::<Project>().check("projectId", project).await?;
    }
    let records = cx.records::<Task>();
    records
        .update(change.task_id, change.expected_rev, |task| {
            for field in &change.clear {
                match field {
                    Clearable::Description => task.description = None,
                    Clearable::DueDate => task.due_date = None,
                    Clearable::EstimateMinutes => task.estimate_minutes = None,
                    Clearable::Recurrence => task.recurrence = None,
                    Clearable::ProjectId => task.project_id = None,
                }
            }
            task.title = change.title.clone().unwrap_or_else(|| task.title.clone());
            task.description = change.description.clone().or_else(|| task.description.take());
            task.priority = change.priority.unwrap_or(task.priority);
            task.due_date = change.due_date.or(task.due_date);
            task.estimate_minutes = change.estimate_minutes.or(task.estimate_minutes);
            task.subtasks = change.subtasks.clone().unwrap_or_else(|| std::mem::take(&mut task.subtasks));
            task.tags = change.tags.clone().unwrap_or_else(|| std::mem::take(&mut task.tags));
            task.recurrence = change.recurrence.clone().or_else(|| task.recurrence.take());
            task.project_id = change.project_id.or(task.project_id);
            if task.recurrence.is_some() && task.due_date.is_none() {
                return Err(ToolError::field("dueDate", "a task that comes again needs a due date"));
            }
            Ok(())
        })
        .await
}

/// A completed task, and the one that follows it if it comes again.
#[derive(Debug, Serialize, JsonSchema)]
struct Completed {
    #[serde(flatten)]
    task: Stored<Task>,
    /// The next task, if this one comes again.
    next: Option<Stored<Task>>,
}

async fn complete(cx: Cx, one: One) -> Result<Completed> {
    let records = cx.records::<Task>();
    let before = records.get(one.task_id).await?;
    if before.data.is_completed {
        return Ok(Completed { task: before, next: None });
    }
    let now = cx.now();
    // Only at the revision that was read: of two completions at once, one makes the next task and the other sees why not.
    let task = records
        .update(one.task_id, Some(before.rev), |task| {
            task.is_completed = true;
            task.completed_at = Some(now);
            Ok(())
        })
        .await?;
    let due = task.data.recurrence.as_ref().zip(task.data.due_date);
    let next = match due.and_then(|(recurrence, due)| recurrence.next(due, &cx.zone())) {
        Some(due) => {
            let mut again = Task { is_completed: false, completed_at: None, due_date: Some(due), ..task.data.clone() };
            again.subtasks.iter_mut().for_each(|step| step.is_completed = false);
            Some(records.add(again).await?)
        }
        None => None,
    };
    Ok(Completed { task, next })
}

async fn reopen(cx: Cx, one: One) -> Result<Stored<Task>> {
    let records = cx.records::<Task>();
    let before = records.get(one.task_id).await?;
    if !before.data.is_completed {
        return Ok(before);
    }
    records
        .update(one.task_id, None, |task| {
            task.is_completed = false;
            task.completed_at = None;
            Ok(())
        })
        .await
}

async fn archive(cx: Cx, one: One) -> Result<Stored<Task>> {
    cx.records().archive(one.task_id).await
}

async fn restore(cx: Cx, one: One) -> Result<Stored<Task>> {
    cx.records().restore(one.task_id).await
}

/// Numbers of tasks.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Stats {
    /// Not done.
    open: i64,
    /// Not done though the due time has passed.
    overdue: i64,
    /// Done.
    completed: i64,
    /// Done in the last seven days.
    completed_last7_days: usize,
    /// Not done, by priority.
    open_low: i64,
    open_medium: i64,
    open_high: i64,
    open_urgent: i64,
}

async fn stats(cx: Cx, _: Nothing) -> Result<Stats> {
    let records = cx.records::<Task>();
    let of = |priority: Priority| open().is("priority", priority.word());
    let done = Filter::new(Order::Recent).flag("isCompleted", true);
    let week_ago = cx.now().plus_millis(-7 * 24 * 3_600_000);
    let recent = records.all(done.clone()).await?;
    let completed_last7_days =
        recent.iter().filter(|task| task.data.completed_at.is_some_and(|time| time >= week_ago)).count();
    Ok(Stats {
        open: records.count(open()).await?,
        overdue: records.count(open().until(cx.now())).await?,
        completed: records.count(done).await?,
        completed_last7_days,
        open_low: records.count(of(Priority::Low)).await?,
        open_medium: records.count(of(Priority::Medium)).await?,
        open_high: records.count(of(Priority::High)).await?,
        open_urgent: records.count(of(Priority::Urgent)).await?,
    })
}

/// A task in one line.
#[derive(Debug, Deserialize, JsonSchema)]
struct QuickLine {
    /// Title with, anywhere: `today`/`heute`, `tomorrow`/`morgen`, a weekday, `24.12.`, `2026-12-24`, `18:00`, `!high`/`!hoch`, `#tag`.
    line: Line<500>,
}

async fn quick_add(cx: Cx, quick: QuickLine) -> Result<Stored<Task>> {
    let read = QuickTask::read(&quick.line, cx.today());
    let title =
        Line::parse(&read.title).map_err(|why| ToolError::field("line", format!("what is left as the title {why}")))?;
    let tags = serde_json::from_value(serde_json::json!(read.tags))
        .map_err(|error| ToolError::field("line", error.to_string()))?;
    let due_date = read.due(&cx.zone(), cx.today());
    let task = Task {
        title,
        description: None,
        priority: read.priority,
        due_date,
        estimate_minutes: None,
        subtasks: Vec::new(),
        tags,
        recurrence: None,
        project_id: None,
        is_completed: false,
        completed_at: None,
    };
    cx.records().add(task).await
}
