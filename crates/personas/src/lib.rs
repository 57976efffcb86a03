//! Personas: who they are, when they act, what they did and what they thought of it.
//!
//! - [`descriptor`]: archetype, prompt, module mix, rhythm; [`catalog`]: a file of them, checked as a whole.
//! - [`due`]: when somebody acts next, as pure rules.
//! - [`claim`]: leases with a fencing epoch; [`tick`]: the journal and the end of a visit behind that fence.
//! - [`action`] and [`feedback`]: the rows that a visit leaves; [`history`] and [`visits`] read them.
//! - [`spend`]: money is reserved and settled with the journal; [`cost`] adds it up.
//! - [`memory`]: what a persona knows of its earlier visits; [`target`]: the product it visits, where that is another.
//! - [`population`]: making, showing, stopping and removing personas.
//!
//! [`router`] serves it: for administrators with a bearer, for programs of this installation with a service key.

pub mod action;
pub mod catalog;
pub mod claim;
pub mod cost;
pub mod descriptor;
pub mod due;
mod error;
pub mod feedback;
mod fields;
pub mod history;
pub mod memory;
pub mod population;
mod routes;
mod run;
pub mod spend;
mod store;
pub mod target;
pub mod tick;
pub mod visits;

use std::sync::Arc;

use mana_identity::Identity;
use mana_store::Db;
use mana_types::{Clock, Random};

pub use error::{Error, Result};
pub use routes::router;
pub use run::State;

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Personas {
    db: Db,
    identity: Identity,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Personas {
    /// The service over this database; new personas sign up with this identity service.
    pub fn new(db: Db, identity: Identity, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self { db, identity, clock, random }
    }
}
