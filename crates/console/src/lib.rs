//! Pages for people, rendered on the server.
//!
//! For now one: `GET /` says what runs here, how the population is, and where everything is. Pages carry no script and
//! load nothing from elsewhere.

mod home;
mod routes;

pub use routes::{Site, router};
