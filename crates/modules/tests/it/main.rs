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
mod media;
mod mood;
mod news;
mod notes;
mod photos;
mod picture;
mod registry;
mod spaces;
mod storage;
mod support;
mod todo;
