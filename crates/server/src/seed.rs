//! Seeding: the people of the catalog become accounts, through the admin interface like everything else.

use std::path::Path;

use crate::failure::{Failure, Result};
use crate::local::Local;
use crate::print;
use crate::settings::Settings;
use mana_personas::catalog::{self, Catalog};

/// What became of each person of the catalog.
#[derive(Debug, Default)]
pub(crate) struct Seeded {
    pub(crate) done: Vec<String>,
    pub(crate) failed: Vec<(String, String)>,
}

/// Reads a catalog; every fault is named.
pub(crate) fn read_catalog(path: Option<&Path>) -> Result<Catalog> {
    let (name, text) = match path {
        None => ("built-in catalog".to_owned(), catalog::DEFAULT.to_owned()),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Failure::NotFound(format!("the catalog `{}` cannot be read: {error}", path.display()))
            })?;
            (path.display().to_string(), text)
        }
    };
    catalog::load(&text, mana_modules::NAMES).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(|fault| format!("  - {fault}")).collect();
        Failure::Failed(format!("{name}: {} faults, nothing was seeded\n{}", lines.len(), lines.join("\n")))
    })
}

/// Creates or updates everybody in the catalog. Goes on after a failure.
pub(crate) async fn seed(local: &Local, catalog: &Catalog, settings: &Settings) -> Seeded {
    let mut seeded = Seeded::default();
    for person in &catalog.personas {
        let password = mana_runner::derive_password(&settings.seed_secret, &person.email);
        match local.post("/api/v1/admin/personas", &person.to_request(&password)).await {
            Ok(_) => seeded.done.push(person.email.clone()),
            Err(failure) => seeded.failed.push((person.email.clone(), failure.to_string())),
        }
    }
    seeded
}

/// Says what was seeded; a failure among them is a failure of the command.
pub(crate) fn report(seeded: &Seeded) -> Result {
    print::say(&format!("{} personas seeded", seeded.done.len()));
    if seeded.failed.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = seeded.failed.iter().map(|(email, why)| format!("  - {email}: {why}")).collect();
    Err(Failure::Failed(format!("{} personas could not be seeded:\n{}", lines.len(), lines.join("\n"))))
}
