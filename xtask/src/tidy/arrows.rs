//! The order of the crates: which may name which, ours and foreign.

use serde::Deserialize;

use super::{ARROWS, FOR_TESTS, NEVER, ONLY, STRICT};

/// What we read of `cargo metadata --format-version 1 --no-deps`.
#[derive(Deserialize)]
pub(super) struct Metadata {
    pub(super) packages: Vec<Package>,
    pub(super) workspace_root: String,
}

/// One crate of the workspace.
#[derive(Deserialize)]
pub(super) struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

/// One line of a crate's dependency tables.
#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build`, or nothing for a plain dependency.
    kind: Option<String>,
    /// Present where the dependency lies in this tree.
    path: Option<String>,
}

/// Every edge that the tables do not allow.
pub(super) fn check(metadata: &Metadata) -> Vec<String> {
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let name = short(&package.name);
        if !ARROWS.iter().any(|(known, _)| *known == name) {
            findings.push(format!("`{name}` is in no arrow: add it to `xtask/src/tidy.rs` and ARCHITECTURE.md"));
            continue;
        }
        for dependency in &package.dependencies {
            let other = short(&dependency.name);
            let verdict = if dependency.path.is_some() { ours(name, other, dependency) } else { foreign(name, other) };
            findings.extend(verdict);
        }
    }
    findings
}

fn ours(name: &str, other: &str, dependency: &Dependency) -> Option<String> {
    let in_tests = dependency.kind.as_deref() == Some("dev");
    if in_tests && other == FOR_TESTS {
        return None;
    }
    // A test may reach below a strict arrow, to set its stage: what is shipped may not.
    let strict = STRICT.contains(&name) && !in_tests;
    let allowed = if strict { arrows_of(name).contains(&other) } else { reaches(name, other) };
    (!allowed).then(|| {
        let arrows = arrows_of(name);
        let may = if arrows.is_empty() { "nothing of ours".to_owned() } else { arrows.join(", ") };
        format!("`{name}` -> `{other}` is no arrow of the house: `{name}` may name {may}")
    })
}

fn foreign(name: &str, other: &str) -> Option<String> {
    let only = ONLY.iter().find(|(foreign, few)| *foreign == other && !few.contains(&name));
    if let Some((_, few)) = only {
        return Some(format!("`{name}` names `{other}`: only {} may", few.join(" and ")));
    }
    NEVER
        .iter()
        .any(|(ours, never)| *ours == name && never.contains(&other))
        .then(|| format!("`{name}` names `{other}`: it may never"))
}

/// Whether `to` lies anywhere below `from`.
fn reaches(from: &str, to: &str) -> bool {
    arrows_of(from).iter().any(|next| *next == to || reaches(next, to))
}

fn arrows_of(name: &str) -> &'static [&'static str] {
    ARROWS.iter().find(|(known, _)| *known == name).map_or(&[], |(_, below)| below)
}

/// The name of a crate as the house says it.
fn short(name: &str) -> &str {
    name.strip_prefix("mana-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Findings for one crate with dependencies given as `(name, kind)`; ours start with `mana-`.
    fn findings(name: &str, dependencies: &[(&str, Option<&str>)]) -> Vec<String> {
        let dependencies: Vec<_> = dependencies
            .iter()
            .map(|(name, kind)| {
                serde_json::json!({"name": name, "kind": kind, "path": name.starts_with("mana-").then_some("here")})
            })
            .collect();
        let metadata = serde_json::json!({
            "packages": [{"name": name, "dependencies": dependencies}],
            "workspace_root": "somewhere",
        });
        check(&serde_json::from_value(metadata).expect("the shape of cargo's answer"))
    }

    #[test]
    fn arrows_and_what_lies_below_are_allowed() {
        assert!(findings("mana-identity", &[("mana-store", None), ("mana-types", None), ("serde", None)]).is_empty());
        assert!(findings("mana-gateway", &[("mana-store", None), ("rmcp", None)]).is_empty());
        assert!(findings("mana-runner", &[("mana-token", None), ("rmcp", None)]).is_empty());
    }

    #[test]
    fn an_arrow_upwards_or_sideways_is_found() {
        assert_eq!(
            findings("mana-identity", &[("mana-gateway", None)]),
            ["`identity` -> `gateway` is no arrow of the house: `identity` may name store, web"]
        );
        assert_eq!(findings("mana-runner", &[("mana-store", None)]).len(), 1);
        assert_eq!(
            findings("mana-types", &[("mana-token", Some("dev"))]),
            ["`types` -> `token` is no arrow of the house: `types` may name nothing of ours"]
        );
    }

    #[test]
    fn the_kit_is_for_tests_only() {
        assert!(findings("mana-identity", &[("mana-testkit", Some("dev"))]).is_empty());
        assert_eq!(findings("mana-identity", &[("mana-testkit", None)]).len(), 1);
    }

    #[test]
    fn a_module_sees_the_registry_and_nothing_below_it() {
        assert!(findings("mana-modules", &[("mana-registry", None)]).is_empty());
        assert_eq!(findings("mana-modules", &[("mana-store", None)]).len(), 1);
        assert!(findings("mana-modules", &[("mana-store", Some("dev"))]).is_empty());
        assert_eq!(findings("mana-modules", &[("mana-web", Some("dev"))]).len(), 1);
        assert_eq!(findings("mana-modules", &[("sqlx", None)]), ["`modules` names `sqlx`: it may never"]);
    }

    #[test]
    fn the_protocol_crate_has_two_users() {
        assert_eq!(findings("mana-server", &[("rmcp", None)]), ["`server` names `rmcp`: only gateway and runner may"]);
        assert_eq!(findings("mana-modules", &[("rmcp", Some("dev"))]).len(), 1);
    }

    #[test]
    fn a_crate_without_a_line_is_found() {
        assert_eq!(
            findings("mana-attic", &[]),
            ["`attic` is in no arrow: add it to `xtask/src/tidy.rs` and ARCHITECTURE.md"]
        );
    }
}
