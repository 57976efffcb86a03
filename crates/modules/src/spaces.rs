//! Spaces: the boundaries of data that the caller belongs to, and who else belongs to the one he is in.

use mana_registry::prelude::*;
use mana_registry::{SpaceKind, SpaceRole};

/// The module.
pub(crate) fn module() -> Module {
    Module::new("spaces", "See which spaces there are and who is in them.")
        .labels("Spaces", "Bereiche")
        .tool(read(
            "spaces_list",
            "List the spaces you belong to, the personal one first, and which one is active.",
            list,
        ))
        .tool(read("spaces_members", "List the members of the active space, by name.", members))
}

/// A space that the caller belongs to.
#[derive(Debug, Serialize, JsonSchema)]
struct Space {
    /// The space's id.
    id: SpaceId,
    /// Its name.
    name: String,
    /// Its name in addresses.
    slug: String,
    /// What kind of space it is.
    r#type: SpaceKind,
    /// What the caller may do in it.
    role: SpaceRole,
}

/// Every space of the caller, and the one this call is about.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Spaces {
    /// The personal one first, then by name.
    spaces: Vec<Space>,
    /// The space that this call is about.
    active_space_id: SpaceId,
}

async fn list(cx: Cx, _: Nothing) -> Result<Spaces> {
    let spaces = cx
        .memberships()
        .await?
        .into_iter()
        .map(|of| Space { id: of.space, name: of.name, slug: of.slug, r#type: of.kind, role: of.role })
        .collect();
    Ok(Spaces { spaces, active_space_id: cx.membership().space })
}

/// A member of the space.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Member {
    /// The user's id.
    user_id: UserId,
    /// His name.
    name: String,
    /// What he may do here: `owner`, `admin` or `member`.
    role: String,
    /// Since when he belongs to it.
    since: Timestamp,
}

/// The members of a space.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Members {
    /// The space.
    space_id: SpaceId,
    /// By name.
    members: Vec<Member>,
}

async fn members(cx: Cx, _: Nothing) -> Result<Members> {
    let members = cx
        .members()
        .await?
        .into_iter()
        .map(|of| Member { user_id: of.user_id, name: of.name, role: of.role, since: of.since })
        .collect();
    Ok(Members { space_id: cx.membership().space, members })
}
