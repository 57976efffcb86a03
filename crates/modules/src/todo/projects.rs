//! Projects: groups of tasks.

use mana_registry::prelude::*;

use super::open;

/// A group of tasks.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Project {
    /// What the group is called.
    name: Line<200>,
    /// Its colour, `#rrggbb`.
    color: Option<Color>,
    /// What it is about.
    description: Option<Text<0, 10_000>>,
}

impl Record for Project {
    const KIND: &'static str = "todo.project";

    fn words(&self) -> String {
        self.name.to_string()
    }
}

pub(super) async fn create(cx: Cx, project: Project) -> Result<Stored<Project>> {
    cx.records().add(project).await
}

/// A project and how much is left to do in it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProjectWithCount {
    #[serde(flatten)]
    project: Stored<Project>,
    /// Its tasks that are not done.
    open_tasks: i64,
}

pub(super) async fn list(cx: Cx, paging: Paging) -> Result<Page<ProjectWithCount>> {
    let page = cx.records::<Project>().list(paging.of(Filter::new(Order::Recent))?).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for project in page.items {
        let open_tasks = cx.records().count(open().is("projectId", project.id.to_string())).await?;
        items.push(ProjectWithCount { project, open_tasks });
    }
    Ok(Page { items, next_cursor: page.next_cursor })
}

/// New values for fields of a project.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProjectChange {
    /// The project's id.
    project_id: RecordId,
    /// Only if the project is at this revision.
    expected_rev: Option<i64>,
    /// What the group is called.
    name: Option<Line<200>>,
    /// Its colour, `#rrggbb`.
    color: Option<Color>,
    /// What it is about.
    description: Option<Text<0, 10_000>>,
}

pub(super) async fn update(cx: Cx, change: ProjectChange) -> Result<Stored<Project>> {
    let records = cx.records::<Project>();
    records
        .update(change.project_id, change.expected_rev, |project| {
            project.name = change.name.clone().unwrap_or_else(|| project.name.clone());
            project.color = change.color.clone().or_else(|| project.color.take());
            project.description = change.description.clone().or_else(|| project.description.take());
            Ok(())
        })
        .await
}

/// One project.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OneProject {
    /// The project's id.
    project_id: RecordId,
}

pub(super) async fn archive(cx: Cx, one: OneProject) -> Result<Stored<Project>> {
    cx.records().archive(one.project_id).await
}
