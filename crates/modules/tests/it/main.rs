//! Stories told to the modules through the registry, on each database.

mod articles;
mod calendar;
mod contacts;
mod dreams;
mod goals;
mod habits;
mod invoices;
mod journal;
mod library;
mod mood;
mod news;
mod notes;
mod registry;
mod spaces;
mod support;
mod todo;
