//! The doors over the registry: MCP and REST.
//!
//! Both doors lead through the same steps: a bearer token names the principal, the store says whether he is a member of
//! the space (on every request), the policy decides, the registry runs the tool within its deadline and keeps its
//! answer under its idempotency key, and one row goes into the audit trail, also for a call that was denied.
//!
//! - MCP at `/mcp` and `/mcp/s/{space}`: 2026-07-28 and 2025-11-25 on one endpoint, without sessions.
//! - REST at `GET /api/v1/tools`, `POST /api/v1/tools/{name}`, described in `/openapi.json`.
//! - `GET /api/v1/audit`: the caller's own trail.
//! - `/.well-known/oauth-protected-resource` (RFC 9728): where a token comes from.

mod audit;
mod call;
mod choice;
mod error;
mod mcp;
mod openapi;
mod origin;
mod policy;
mod rest;
mod routes;
mod store;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::FromRef;
use mana_registry::Registry;
use mana_store::Db;
use mana_token::Verifier;
use mana_types::{Clock, Random};

pub use call::describe_metrics;
pub use error::Error;
pub use mcp::Sessions;
pub use openapi::openapi;
pub use policy::{CALLS_PER_WINDOW, Decision, Denial, Policy, PolicyMode, Question, WINDOW_MS};
pub use routes::{mount, router};

/// What an installation decides about its doors.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// The address under which clients reach this server, without a slash at its end: `https://mana.example`.
    pub public_url: String,
    /// The issuer of access tokens: the authorization server that clients are sent to.
    pub issuer: String,
    /// What the policy does with its decisions.
    pub policy: PolicyMode,
    /// How long a call may take.
    pub deadline: Duration,
    /// Further host names, with or without a port, under which requests may come; loopback and the public address may
    /// always.
    pub hosts: Vec<String>,
    /// Further origins of pages that may call, as `https://app.example` or `https://app.example:*`; loopback and the
    /// public address may always.
    pub origins: Vec<String>,
    /// The largest request body, in bytes.
    pub body_limit: usize,
}

impl GatewayOptions {
    /// The usual, for this public address: policy enforced, 30 seconds, 2 MiB.
    pub fn new(public_url: impl Into<String>) -> Self {
        let public_url = public_url.into().trim_end_matches('/').to_owned();
        Self {
            issuer: public_url.clone(),
            public_url,
            policy: PolicyMode::default(),
            deadline: Duration::from_secs(30),
            hosts: Vec::new(),
            origins: Vec::new(),
            body_limit: 2 * 1024 * 1024,
        }
    }
}

#[derive(Debug)]
struct Inner {
    db: Db,
    registry: Registry,
    verifier: Arc<Verifier>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    options: GatewayOptions,
    policy: Policy,
    core: HashSet<&'static str>,
    trail: audit::Trail,
    writer: Mutex<Option<audit::Writer>>,
    /// The description as JSON: it is large as a tree and asked for seldom.
    openapi: Bytes,
}

/// The doors of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gateway(Arc<Inner>);

impl Gateway {
    /// Opens the doors over this registry; starts the task that writes the audit trail.
    pub fn new(
        db: Db,
        registry: Registry,
        verifier: Arc<Verifier>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        options: GatewayOptions,
    ) -> Self {
        let (trail, writer) = audit::Trail::start(db.clone(), Arc::clone(&clock), Arc::clone(&random));
        let openapi = Bytes::from(openapi::openapi(&registry, &options.public_url).to_string());
        Self(Arc::new(Inner {
            db,
            core: choice::core(&registry),
            registry,
            verifier,
            clock,
            random,
            policy: Policy::new(options.policy),
            options,
            trail,
            writer: Mutex::new(Some(writer)),
            openapi,
        }))
    }

    /// The tools behind the doors.
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// Waits until every call that has ended is in the audit trail.
    pub async fn flush(&self) -> Result<(), Error> {
        self.0.trail.flush().await
    }

    /// Closes the audit trail: calls that have begun are written down, new ones are refused. For the end of the process.
    pub async fn close(&self) {
        self.0.trail.stop();
        let writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "gateway.audit.writer_failed");
        }
    }

    fn db(&self) -> &Db {
        &self.0.db
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    fn random(&self) -> &Arc<dyn Random> {
        &self.0.random
    }

    fn options(&self) -> &GatewayOptions {
        &self.0.options
    }

    fn policy(&self) -> &Policy {
        &self.0.policy
    }

    fn core(&self) -> &HashSet<&'static str> {
        &self.0.core
    }

    fn trail(&self) -> &audit::Trail {
        &self.0.trail
    }

    fn verifier(&self) -> &Arc<Verifier> {
        &self.0.verifier
    }

    fn openapi_document(&self) -> &Bytes {
        &self.0.openapi
    }
}

impl FromRef<Gateway> for Arc<Verifier> {
    fn from_ref(gateway: &Gateway) -> Self {
        Arc::clone(gateway.verifier())
    }
}
