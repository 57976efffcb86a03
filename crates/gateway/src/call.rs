//! The one way a tool is called, whichever door the call came through.
//!
//! Before this stand the principal and the membership of the space, looked up for this very request; after it the
//! registry, which checks the arguments and keeps what was written together with the answer to its key.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use mana_registry::{Caller, Hint, Membership, Scope, Tool, ToolError};
use mana_token::Principal;
use mana_types::{RequestId, TickId, input_hash};
use serde_json::{Map, Value};

use crate::Gateway;
use crate::audit::{Door, Opening, Outcome};
use crate::choice::Choice;
use crate::error::Error;
use crate::policy::{Decision, Denial, PolicyMode, Question};

/// A request whose caller is known and is a member of the space it is about.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    /// Who it is.
    pub(crate) principal: Arc<Principal>,
    /// His membership, as it is now.
    pub(crate) membership: Membership,
    /// Which tools the connection has chosen.
    pub(crate) choice: Choice,
    /// The HTTP request.
    pub(crate) request: RequestId,
    /// What the program calls itself in `User-Agent`.
    pub(crate) agent: Option<String>,
}

/// One call as a door has understood it.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The tool, `module_verb` or `module.verb`.
    pub(crate) name: String,
    /// Its arguments.
    pub(crate) arguments: Map<String, Value>,
    /// The key under which a retry finds it.
    pub(crate) key: Option<String>,
    /// Answer as if done, but change nothing.
    pub(crate) dry_run: bool,
    /// The program that calls, where it has said more than `User-Agent`.
    pub(crate) client: Option<String>,
    /// What the client recognises the call by.
    pub(crate) correlation: Option<String>,
    /// The visit, where a persona acts.
    pub(crate) tick: Option<TickId>,
}

impl Gateway {
    /// Calls a tool: policy, deadline, registry, metrics and one row in the audit trail.
    #[tracing::instrument(name = "gateway.call", skip_all, fields(tool = %asked.name, request.id = %visit.request))]
    pub(crate) async fn call(&self, visit: &Visit, door: Door, asked: Asked) -> Result<Value, Error> {
        let Asked { name, arguments, key, dry_run, client, correlation, tick } = asked;
        let input = Value::Object(arguments);
        let tick_text = tick.as_ref().map(TickId::as_str);
        let client = client.or_else(|| visit.agent.clone());
        let pending = self
            .trail()
            .open(Opening {
                user: visit.principal.user_id,
                space: Some(visit.membership.space),
                door,
                client: client.as_deref(),
                correlation: correlation.as_deref().or(tick_text),
                tool: &name,
                input_hash: input_hash(&input),
                request: visit.request,
            })
            .await?;
        let Some(tool) = self.registry().tool(&name).filter(|tool| !visit.choice.leaves_out(tool, self.core())) else {
            count("unknown", Outcome::InputInvalid);
            pending.close(Outcome::InputInvalid, Some("unknown-tool".into()));
            let near = self.registry().near(&name).and_then(|near| self.registry().tool(near));
            let near = near.filter(|tool| visit.choice.shows(tool, self.core())).map(|tool| tool.name().to_owned());
            return Err(Error::UnknownTool { name, near });
        };
        let decision = self.decide(visit, tool, &input);
        if let Decision::Deny(denial) = decision {
            if denial.always_holds() || self.policy().mode() == PolicyMode::Enforce {
                pending.close(Outcome::Denied, Some(denial.reason().into()));
                return Err(denied(denial, tool).into());
            }
            tracing::info!(tool = tool.name(), reason = denial.reason(), "gateway.policy.would_deny");
        }
        let arguments = if let Value::Object(arguments) = input { arguments } else { Map::new() };
        let caller =
            Caller { principal: Arc::clone(&visit.principal), membership: visit.membership.clone(), client, tick };
        let call = mana_registry::Call { arguments, key, dry_run, deadline: self.options().deadline, caller };
        let (answer, outcome) = self.run(tool, call).await;
        let reason = match (&answer, decision) {
            (Err(Error::Tool(error)), _) => Some(error.code().to_owned()),
            (Err(_), _) => Some("internal".to_owned()),
            (Ok(_), Decision::Flag | Decision::Deny(_)) => Some(decision.reason().to_owned()),
            (Ok(_), Decision::Allow) => None,
        };
        pending.close(outcome, reason);
        answer
    }

    /// Asks the policy and counts what it said.
    fn decide(&self, visit: &Visit, tool: &Tool, input: &Value) -> Decision {
        let policy = self.policy();
        let decision = policy.decide(&Question {
            user: visit.principal.user_id,
            tool: tool.name(),
            admin: tool.scope() == Scope::Admin,
            destructive: tool.hint() == Hint::Destructive,
            destructive_allowed: visit.choice.destructive(),
            input,
            now: self.clock().now(),
        });
        metrics::counter!(
            "mana_mcp_policy_decisions_total",
            "decision" => decision.as_str(), "reason" => decision.reason(), "mode" => policy.mode().as_str(),
        )
        .increment(1);
        decision
    }

    /// Runs the tool, and survives its panic.
    async fn run(&self, tool: &Tool, call: mana_registry::Call) -> (Result<Value, Error>, Outcome) {
        let started = Instant::now();
        let running = tool.call(self.db(), self.clock(), self.random(), call);
        let answer = match AssertUnwindSafe(running).catch_unwind().await {
            Ok(answer) => answer.map_err(Error::Tool),
            Err(_) => Err(Error::Panicked(tool.name())),
        };
        let outcome = match &answer {
            Ok(_) => Outcome::Success,
            Err(Error::Tool(ToolError::Invalid(_) | ToolError::KeyReused)) => Outcome::InputInvalid,
            Err(_) => Outcome::HandlerError,
        };
        count(tool.name(), outcome);
        metrics::histogram!("mana_mcp_tool_duration_seconds", "tool" => tool.name(), "outcome" => outcome.as_str())
            .record(started.elapsed().as_secs_f64());
        (answer, outcome)
    }
}

fn count(tool: &'static str, outcome: Outcome) {
    metrics::counter!("mana_mcp_tool_invocations_total", "tool" => tool, "outcome" => outcome.as_str()).increment(1);
}

fn denied(denial: Denial, tool: &Tool) -> ToolError {
    let (message, hint) = match denial {
        Denial::AdminScope => (format!("`{}` is for administrators and cannot be called here", tool.name()), None),
        Denial::Destructive => (
            format!("`{}` destroys what it touches, and this connection has not opted in to that", tool.name()),
            Some("archive instead, which can be undone; a person can opt in with `?destructive=1` in the address"),
        ),
        Denial::RateLimit { .. } => (
            format!("`{}` was called more than 30 times within 60 seconds", tool.name()),
            Some("wait, or do more with one call"),
        ),
    };
    let retry_after_ms = match denial {
        Denial::RateLimit { retry_after_ms } => u64::try_from(retry_after_ms).ok(),
        Denial::AdminScope | Denial::Destructive => None,
    };
    ToolError::Denied { reason: denial.reason(), message, hint: hint.map(str::to_owned), retry_after_ms }
}

/// Says what this crate counts.
pub fn describe_metrics() {
    metrics::describe_counter!(
        "mana_mcp_policy_decisions_total",
        "Decisions before tool calls, by decision, reason, mode"
    );
    metrics::describe_counter!("mana_mcp_tool_invocations_total", "Tool calls made, by tool and outcome");
    metrics::describe_histogram!("mana_mcp_tool_duration_seconds", "Time in a tool, by tool and outcome");
}
