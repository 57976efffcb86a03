//! A model that says what the test wrote, held behind a real socket, and a reader who checks how it was asked.
//!
//! [`FakeModel`] speaks `POST /v1/messages` with streaming. What it says comes from a [`Script`]: a function from the
//! request, as an [`Ask`], to a [`Turn`], which may also be any of the faults that providers and networks have.
//! [`Script::visits`] is a persona that lives a plausible day over whatever tools it is shown, and rates it.
//!
//! Every request is held against the documented rules by [`validate`], and what the engine resends of earlier replies
//! against what was really said. A test that leaves a violation behind fails when its model is dropped.
//! [`cache`] measures how much of a prompt a provider's cache could have served.

mod ask;
pub mod cache;
mod replies;
mod script;
mod server;
mod stream;
mod turn;
mod validate;
mod visits;
mod writer;

pub use ask::Ask;
pub use script::Script;
pub use server::{FakeModel, SeenRequest};
pub use turn::{Turn, Usage};
pub use validate::{Violation, validate};

#[cfg(test)]
mod tests;
