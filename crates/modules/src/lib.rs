//! The modules of Mana: one file each, and one word each in the list below.
//!
//! A module sees the registry and nothing else: no database, no HTTP, no protocol. How to add one is told in
//! `docs/adding-a-module.md`.

use mana_registry::{Module, Registry, RegistryFaults};

macro_rules! modules {
    ($($name:ident),+ $(,)?) => {
        $(mod $name;)+

        /// The names of all modules.
        pub const NAMES: &[&str] = &[$(stringify!($name)),+];

        /// All modules, each made by its own file.
        pub fn all() -> Vec<Module> {
            vec![$($name::module()),+]
        }
    };
}

/// What several modules need, and no module by itself.
mod shared {
    pub(crate) mod files;
    pub(crate) mod lines;
}

modules![
    articles, calendar, contacts, dreams, goals, habits, invoices, journal, library, me, mood, news, notes, photos,
    picture, spaces, storage, todo
];

/// The registry of all modules.
pub fn registry() -> Result<Registry, RegistryFaults> {
    Registry::new(all())
}
