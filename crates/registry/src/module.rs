//! Modules, the registry of all of them, and the one way a tool is called.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mana_store::idempotency::{self, Answered};
use mana_store::{Db, Source};
use mana_types::{Clock, Lang, Random, input_hash, nearest};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cx::{Caller, Cx, Setting};
use crate::error::ToolError;
use crate::media::MediaStore;
use crate::tool::{Hint, Tool};
use crate::{Result, input};

/// A product area: its records and its tools.
#[derive(Debug, Clone)]
pub struct Module {
    name: &'static str,
    about: &'static str,
    english: &'static str,
    german: &'static str,
    tools: Vec<Tool>,
}

impl Module {
    /// A module without tools yet. `about` is one English sentence.
    pub fn new(name: &'static str, about: &'static str) -> Self {
        Self { name, about, english: name, german: name, tools: Vec::new() }
    }

    /// What people call it, in English and German.
    pub fn labels(mut self, english: &'static str, german: &'static str) -> Self {
        self.english = english;
        self.german = german;
        self
    }

    /// Adds a tool.
    pub fn tool(mut self, tool: Tool) -> Self {
        self.tools.push(tool);
        self
    }

    /// The module's name, as in the names of its tools.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it is for.
    pub fn about(&self) -> &'static str {
        self.about
    }

    /// What people call it.
    pub fn label(&self, lang: Lang) -> &'static str {
        match lang {
            Lang::De => self.german,
            Lang::En => self.english,
        }
    }

    /// Its tools.
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }
}

/// What is wrong with a list of modules; every fault is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("the modules do not fit together: {}", .0.join("; "))]
pub struct RegistryFaults(pub Vec<String>);

/// The one list of modules and tools.
#[derive(Debug, Clone)]
pub struct Registry {
    modules: Arc<[Module]>,
    by_name: Arc<HashMap<String, Tool>>,
}

/// A tool name that some clients would refuse makes them drop the whole list, so the rule is kept here.
fn is_tool_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (3..=48).contains(&name.len()) && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(fits)
}

impl Registry {
    /// Puts modules together, in order of their names.
    pub fn new(mut modules: Vec<Module>) -> std::result::Result<Self, RegistryFaults> {
        modules.sort_by_key(|module| module.name);
        let mut faults = Vec::new();
        let mut by_name = HashMap::new();
        for module in &modules {
            for tool in &module.tools {
                let name = tool.name();
                if !is_tool_name(name) || tool.module() != module.name {
                    faults.push(format!("`{name}` of `{}` is not named `module_verb`", module.name));
                }
                let length = tool.description().chars().count();
                if length == 0 || length > 300 {
                    faults.push(format!("the description of `{name}` has {length} characters, expected 1 to 300"));
                }
                if by_name.insert(name.to_owned(), tool.clone()).is_some() {
                    faults.push(format!("`{name}` stands twice"));
                }
                by_name.insert(tool.dotted(), tool.clone());
            }
        }
        if faults.is_empty() {
            Ok(Self { modules: modules.into(), by_name: Arc::new(by_name) })
        } else {
            Err(RegistryFaults(faults))
        }
    }

    /// The same modules, with a service where users' files are.
    pub fn with_media(self, media: &Arc<dyn MediaStore>) -> Self {
        let by_name = self.by_name.iter().map(|(name, tool)| (name.clone(), tool.clone().with_media(media))).collect();
        let with = |module: &Module| {
            let tools = module.tools.iter().cloned().map(|tool| tool.with_media(media)).collect();
            Module { tools, ..module.clone() }
        };
        Self { modules: self.modules.iter().map(with).collect(), by_name: Arc::new(by_name) }
    }

    /// The modules, by name.
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// All tools, module by module.
    pub fn tools(&self) -> impl Iterator<Item = &Tool> {
        self.modules.iter().flat_map(|module| &module.tools)
    }

    /// The tool of this name, `module_verb` or `module.verb`.
    pub fn tool(&self, name: &str) -> Option<&Tool> {
        self.by_name.get(name)
    }

    /// The name of a tool that was probably meant.
    pub fn near(&self, name: &str) -> Option<&str> {
        nearest(&name.replace('.', "_"), self.tools().map(Tool::name))
    }
}

/// One call of a tool, with everything that a door has found out about it.
#[derive(Debug, Clone)]
pub struct Call {
    /// The arguments.
    pub arguments: Map<String, Value>,
    /// Under which key a retry finds this call; an argument `idempotencyKey` counts where a door has none.
    pub key: Option<String>,
    /// Answer as if done, but change nothing; an argument `dryRun` counts as well.
    pub dry_run: bool,
    /// How long it may take.
    pub deadline: Duration,
    /// Who calls.
    pub caller: Caller,
}

/// The longest key.
const LONGEST_KEY: usize = 200;

impl Tool {
    /// Calls the tool: checks the arguments, runs it within its deadline, and commits what it wrote together with the
    /// answer under its key. A failed, late or dry call leaves nothing behind.
    pub async fn call(&self, db: &Db, clock: &Arc<dyn Clock>, random: &Arc<dyn Random>, call: Call) -> Result<Value> {
        let Call { mut arguments, mut key, mut dry_run, deadline, caller } = call;
        arguments.retain(|_, value| !value.is_null());
        let mut arguments = Value::Object(arguments);
        input::drop_nulls(&mut arguments);
        self.check(&arguments)?;
        if self.hint() != Hint::Read
            && let Value::Object(arguments) = &mut arguments
        {
            if let Some(Value::String(given)) = arguments.remove("idempotencyKey") {
                key.get_or_insert(given);
            }
            dry_run |= arguments.remove("dryRun") == Some(Value::Bool(true));
        }
        if self.hint() == Hint::Read || dry_run {
            key = None;
        }
        if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > LONGEST_KEY || key.contains('\0')) {
            let expected = format!("expected 1 to {LONGEST_KEY} characters, none of them U+0000");
            return Err(ToolError::field("idempotencyKey", expected));
        }
        let deadline = deadline.max(self.patience());
        let run = self.run_keyed(db, clock, random, arguments, key, dry_run, caller);
        match tokio::time::timeout(deadline, run).await {
            Ok(answer) => answer,
            Err(_) => Err(ToolError::Deadline(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX))),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the inner half of `call`, split only for its deadline")]
    async fn run_keyed(
        &self,
        db: &Db,
        clock: &Arc<dyn Clock>,
        random: &Arc<dyn Random>,
        arguments: Value,
        key: Option<String>,
        dry_run: bool,
        caller: Caller,
    ) -> Result<Value> {
        let (user, space) = (caller.principal.user_id, caller.membership.space);
        let hash = key.as_ref().map(|_| input_hash(&arguments)).unwrap_or_default();
        if let Some(key) = &key
            && let Some(answered) = idempotency::find(&mut Source::Db(db), user, space, key).await?
        {
            return self.again(answered, &hash);
        }
        let setting = Setting { hint: self.hint(), media: self.media(), key: key.clone(), dry_run };
        let cx = Cx::new(db.clone(), Arc::clone(clock), Arc::clone(random), caller, setting);
        let result = self.run(cx.clone(), arguments).await?;
        if dry_run {
            return Ok(result); // the transaction is dropped, and with it what was written
        }
        let mut written = cx.take_tx().await;
        if let Some(key) = &key {
            let mut tx = match written.take() {
                Some(tx) => tx,
                None => db.begin().await?,
            };
            let answered = Answered { tool: self.name().to_owned(), input: hash.clone(), result: result.clone() };
            if !idempotency::keep(&mut tx, user, space, key, &answered, clock.now()).await? {
                // The same call was quicker on another connection: undo ours and answer as that one did.
                drop(tx);
                let mut tx = db.begin().await?;
                let first = idempotency::find(&mut Source::Tx(&mut tx), user, space, key).await?;
                // Waits until what was read is durable: it may stand in the same group of commits.
                tx.commit().await?;
                return first.map_or(Err(ToolError::KeyReused), |answered| self.again(answered, &hash));
            }
            written = Some(tx);
        }
        if let Some(tx) = written {
            tx.commit().await?;
        }
        Ok(result)
    }

    fn again(&self, answered: Answered, hash: &str) -> Result<Value> {
        if answered.tool == self.name() && answered.input == hash {
            Ok(answered.result)
        } else {
            Err(ToolError::KeyReused)
        }
    }
}
