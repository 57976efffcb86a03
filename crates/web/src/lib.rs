//! The manners of every HTTP service: how errors look, how a request is read and logged, health, metrics, shutdown.
//!
//! A service's domain code knows no status codes; its `routes.rs` maps its errors to a [`Problem`] once.

mod auth;
mod json;
mod metrics;
mod problem;
mod request;
mod serve;

pub use auth::{Admin, Bearer, ServiceCaller, ServiceKeys, bearer_token};
pub use http::StatusCode;
pub use json::{Json, PathOf, QueryOf, RawBody};
pub use mana_types::FieldError;
pub use metrics::{Metrics, MetricsError, describe_metrics};
pub use problem::{Problem, causes};
pub use request::{RequestScope, current_request_id, request_layer};
pub use serve::serve;
pub use tokio_util::sync::CancellationToken;
