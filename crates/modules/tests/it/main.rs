//! Stories told to the modules through the registry, on each database.

mod registry;
mod support;
mod todo;
