//! A world with one user in his personal space, and a way to call tools in it.

use std::sync::Arc;
use std::time::Duration;

use mana_registry::{Call, Caller, Registry, ToolError};
use mana_store::space::{self, SpaceKind, SpaceRole};
use mana_testkit::{START, TestDb, each_db};
use mana_token::{Principal, Proof, Role};
use mana_types::{Clock, Random, SessionId, SpaceId, UserId};
use serde_json::Value;

use crate::media::{self, MemoryMedia};

/// One user in his personal space.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) test: TestDb,
    pub(crate) registry: Registry,
    pub(crate) caller: Caller,
    pub(crate) media: Arc<MemoryMedia>,
}

/// Tells a story on each database.
pub(crate) async fn each_world<F: Future<Output = ()>>(story: impl Fn(World) -> F) {
    each_db(|test| async { story(World::new(test).await).await }).await;
}

impl World {
    pub(crate) async fn new(test: TestDb) -> Self {
        let media = Arc::new(MemoryMedia::new(test.clone()));
        let registry = mana_modules::registry().expect("the modules fit together").with_media(&media::shared(&media));
        let caller = newcomer(&test).await;
        Self { test, registry, caller, media }
    }

    /// The same world as somebody else sees it.
    pub(crate) async fn somebody_else(&self) -> Self {
        Self { caller: newcomer(&self.test).await, ..self.clone() }
    }

    /// Calls a tool.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Result<Value, ToolError> {
        self.call_keyed(tool, arguments, None).await
    }

    /// Calls a tool under an idempotency key.
    pub(crate) async fn call_keyed(&self, tool: &str, arguments: Value, key: Option<&str>) -> Result<Value, ToolError> {
        let tool = self.registry.tool(tool).unwrap_or_else(|| panic!("there is no tool `{tool}`"));
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        let call = Call {
            arguments,
            key: key.map(str::to_owned),
            dry_run: false,
            deadline: Duration::from_secs(10),
            caller: self.caller.clone(),
        };
        self.test.clock.advance_millis(1);
        let clock: Arc<dyn Clock> = self.test.clock.clone();
        let random: Arc<dyn Random> = self.test.random.clone();
        let result = tool.call(&self.test.db, &clock, &random, call).await?;
        let schema = Value::Object((**tool.output_schema()).clone());
        let validator = jsonschema::validator_for(&schema).expect("the output schema is a schema");
        let faults: Vec<String> =
            validator.iter_errors(&result).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
        assert!(
            faults.is_empty(),
            "`{}` answers what its schema does not promise: {faults:?}\n{result:#}",
            tool.name()
        );
        Ok(result)
    }

    /// Calls a tool that must succeed.
    pub(crate) async fn ok(&self, tool: &str, arguments: Value) -> Value {
        match self.call(tool, arguments.clone()).await {
            Ok(result) => result,
            Err(error) => panic!("`{tool}` {arguments} failed: {error} ({:?})", error.failure()),
        }
    }

    /// Calls a tool that must refuse its input, and answers the names of the wrong fields, sorted.
    pub(crate) async fn wrong_fields(&self, tool: &str, arguments: Value) -> Vec<String> {
        match self.call(tool, arguments).await {
            Err(ToolError::Invalid(faults)) => {
                let mut names: Vec<String> = faults.into_iter().map(|fault| fault.field).collect();
                names.sort();
                names
            }
            other => panic!("`{tool}` should refuse its input, but: {other:?}"),
        }
    }
}

async fn newcomer(test: &TestDb) -> Caller {
    let user = UserId::new(&*test.clock, &*test.random);
    let id = SpaceId::new(&*test.clock, &*test.random);
    let mut tx = test.db.begin().await.expect("begins");
    tx.query(
        "INSERT INTO account (id, email, email_key, name, password_hash, role, kind, tier, email_verified, locale, timezone, created, updated)
         VALUES ($1, $2, $2, 'Anna', 'x', 'user', 'human', 'free', true, 'de', 'Europe/Berlin', 0, 0)",
    )
    .bind(user)
    .bind(format!("{user}@mana.test"))
    .execute()
    .await
    .expect("adds the account");
    space::create(&mut tx, id, SpaceKind::Personal, "Anna", &id.to_string(), START).await.expect("adds the space");
    space::join(&mut tx, id, user, SpaceRole::Owner, START).await.expect("joins");
    tx.commit().await.expect("commits");
    let principal = Principal {
        user_id: user,
        email: format!("{user}@mana.test"),
        role: Role::User,
        tier: "free".into(),
        proof: Proof::AccessToken {
            session: SessionId::new(&*test.clock, &*test.random),
            expires_at: START.plus_millis(900_000),
        },
    };
    let membership = space::personal(&test.db, user).await.expect("reads").expect("is there");
    Caller { principal: Arc::new(principal), membership, client: Some("story".into()), tick: None }
}
