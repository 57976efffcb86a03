//! All settings there are.

/// One setting.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its name in the file, and what messages call it.
    pub(crate) name: &'static str,
    /// Its environment variable.
    pub(crate) env: &'static str,
    /// What holds if nobody says anything; empty means not set.
    pub(crate) default: &'static str,
    /// Whether its value is never shown. A secret can also come from a file named by `…_FILE`.
    pub(crate) secret: bool,
    /// What it is.
    pub(crate) about: &'static str,
}

const fn key(name: &'static str, env: &'static str, default: &'static str, about: &'static str) -> Key {
    Key { name, env, default, secret: false, about }
}

const fn secret(name: &'static str, env: &'static str, default: &'static str, about: &'static str) -> Key {
    Key { name, env, default, secret: true, about }
}

/// The development seed secret: fine on one's own machine, refused in production.
const DEVELOPMENT_SEED: &str = mana_runner::DEVELOPMENT_SEED_SECRET;

/// All settings there are.
pub(crate) const KEYS: &[Key] = &[
    key("data", "MANA_DATA", "data", "Folder for everything that is kept: the database, generated keys."),
    key(
        "database",
        "DATABASE_URL",
        "",
        "Database: `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/NAME`. Default: `mana.db` in the data folder.",
    ),
    key("database_connections", "MANA_DATABASE_CONNECTIONS", "8", "Connections to the database, 2 to 200."),
    key("listen", "MANA_LISTEN", "127.0.0.1:3001", "Address and port to listen on."),
    key(
        "public_url",
        "MANA_PUBLIC_URL",
        "",
        "Address under which clients reach this server. Default: `http://` and the listen address.",
    ),
    key(
        "auth_url",
        "MANA_AUTH_URL",
        "",
        "Address of the identity role, where it runs elsewhere. Default: this server.",
    ),
    key(
        "mcp_url",
        "MANA_MCP_URL",
        "",
        "Address of the MCP endpoint, where the gateway runs elsewhere. Default: `/mcp` on this server.",
    ),
    key("media_url", "MANA_MEDIA_URL", "", "Address of the media role, where it runs elsewhere. Default: this server."),
    key(
        "env",
        "MANA_ENV",
        "development",
        "`development` or `production`. Production refuses development secrets and closes the diagnostics.",
    ),
    key(
        "log",
        "MANA_LOG",
        "warn",
        "What is logged: `error`, `warn`, `info`, `debug`, or a filter such as `info,sqlx=warn`.",
    ),
    key("log_format", "MANA_LOG_FORMAT", "text", "`text` or `json`."),
    key("registration", "MANA_REGISTRATION", "open", "Whether anybody may sign up: `open` or `closed`."),
    key("policy_mode", "POLICY_MODE", "enforce", "What the tool policy does: `enforce`, `log-only` or `off`."),
    key(
        "allowed_hosts",
        "MANA_ALLOWED_HOSTS",
        "",
        "Further host names under which requests may come, separated by commas.",
    ),
    key(
        "allowed_origins",
        "MANA_ALLOWED_ORIGINS",
        "",
        "Origins of web pages that may call, separated by commas, such as `https://app.example`.",
    ),
    secret(
        "service_key",
        "MANA_SERVICE_KEY",
        "",
        "Key between the programs of this installation. Several, separated by commas, while one replaces the other. `mana up` makes one in the data folder.",
    ),
    secret("seed_secret", "PERSONA_SEED_SECRET", DEVELOPMENT_SEED, "From what the passwords of personas are derived."),
    key(
        "tick_interval_ms",
        "TICK_INTERVAL_MS",
        "60000",
        "Milliseconds from one pass over the due personas to the next, 1000 or more.",
    ),
    key("persona_concurrency", "PERSONA_CONCURRENCY", "2", "How many personas visit at a time, 1 to 1000."),
    key(
        "persona_lease_ms",
        "PERSONA_LEASE_MS",
        "120000",
        "Milliseconds for which a visit belongs to a runner without a sign of life, 2000 or more. A crashed runner's visits are resumed after this time.",
    ),
    key("runner_paused", "RUNNER_PAUSED", "false", "Whether the runner does nothing: `true` or `false`."),
    key(
        "engine",
        "MANA_ENGINE",
        "auto",
        "What decides a persona's next step: `anthropic` (a model behind the Messages API), `rehearsal` (no model), `replay` (recorded visits), `chaos` (rehearsal with bad input), or `auto`: `anthropic` where there is a key, else `rehearsal`.",
    ),
    key("model", "MANA_MODEL", "claude-haiku-5-5", "Name of the model, where the engine is `anthropic`."),
    key(
        "model_concurrency",
        "MANA_MODEL_CONCURRENCY",
        "8",
        "How many requests the model provider gets at a time at most, 1 to 256. Fewer while it is overloaded.",
    ),
    key(
        "allow_unpriced",
        "MANA_ALLOW_UNPRICED",
        "false",
        "Whether a model without a known price may run, such as one on this machine: `true` or `false`. Its cost counts as nothing.",
    ),
    secret(
        "anthropic_api_key",
        "ANTHROPIC_API_KEY",
        "",
        "Key of the model provider. A server on this machine that wants none takes any text.",
    ),
    key(
        "anthropic_base_url",
        "ANTHROPIC_BASE_URL",
        "https://api.anthropic.com",
        "Address of the model provider, or of any server that speaks the Messages API (Ollama, llama.cpp, LM Studio, vLLM).",
    ),
    key(
        "anthropic_version",
        "MANA_ANTHROPIC_VERSION",
        "2026-10-21",
        "Version of the Messages API: `2026-10-21` or `2023-06-01`.",
    ),
    key("anthropic_auth", "MANA_ANTHROPIC_AUTH", "x-api-key", "How the key is sent: `x-api-key` or `bearer`."),
    key("budget_call_usd", "MANA_BUDGET_CALL_USD", "1", "US dollars that one model call may cost; empty: no limit."),
    key("budget_visit_usd", "MANA_BUDGET_VISIT_USD", "2", "US dollars that one visit may cost; empty: no limit."),
    key(
        "budget_persona_day_usd",
        "MANA_BUDGET_PERSONA_DAY_USD",
        "4",
        "US dollars that one persona may cost in a day (UTC); empty: no limit.",
    ),
    key(
        "budget_day_usd",
        "MANA_BUDGET_DAY_USD",
        "20",
        "US dollars that all personas may cost in a day (UTC); empty: no limit.",
    ),
    key(
        "budget_month_usd",
        "MANA_BUDGET_MONTH_USD",
        "200",
        "US dollars that all personas may cost in a month (UTC); empty: no limit.",
    ),
    key("budget_visit_tokens", "MANA_BUDGET_VISIT_TOKENS", "", "Tokens that one visit may take; empty: no limit."),
    key(
        "visit_model_calls",
        "MANA_VISIT_MODEL_CALLS",
        "15",
        "Replies of the model in one visit before the ratings, 1 to 100.",
    ),
    key("visit_tool_calls", "MANA_VISIT_TOOL_CALLS", "40", "Tool calls of one visit, 1 to 500."),
    key("visit_seconds", "MANA_VISIT_SECONDS", "900", "Seconds that one visit may take, 10 to 86400."),
    key("record", "MANA_RECORD", "", "Folder in which every visit of a model is recorded, for the engine `replay`."),
    key("replay", "MANA_REPLAY", "", "Folder with recorded visits, for the engine `replay`."),
    key(
        "replay_mode",
        "MANA_REPLAY_MODE",
        "strict",
        "`strict`: a recorded reply is given only to the request it was given to; `loose`: in order, whatever is asked.",
    ),
    key(
        "allow_private_targets",
        "MANA_ALLOW_PRIVATE_TARGETS",
        "false",
        "Whether personas may visit products at private addresses, other than this installation: `true` or `false`.",
    ),
    key(
        "media_store",
        "MANA_MEDIA_STORE",
        "",
        "Where files are kept: a folder, or `s3://BUCKET/PREFIX`. Default: `media` in the data folder.",
    ),
    key("s3_endpoint", "MANA_S3_ENDPOINT", "", "Address of the S3-compatible server. Default: Amazon's own."),
    key("s3_region", "MANA_S3_REGION", "", "Region of the bucket. Default: `us-east-1`."),
    key("s3_key_id", "MANA_S3_KEY_ID", "", "Who asks for the bucket."),
    secret("s3_secret", "MANA_S3_SECRET", "", "What proves who asks for the bucket."),
    key("media_max_mb", "MANA_MEDIA_MAX_MB", "100", "Megabytes of one file, 1 to 5000."),
    key(
        "media_megapixels",
        "MANA_MEDIA_MEGAPIXELS",
        "50",
        "Megapixels of an image that is processed, 1 to 500. A larger one is kept without variants.",
    ),
    key(
        "media_grace_seconds",
        "MANA_MEDIA_GRACE_SECONDS",
        "3600",
        "Seconds for which the bytes of a deleted file stay, 60 or more.",
    ),
    key(
        "media_cache_mb",
        "MANA_MEDIA_CACHE_MB",
        "1024",
        "Megabytes of transformed images that are kept on the local disk.",
    ),
    key(
        "media_urls",
        "MANA_MEDIA_URLS",
        "open",
        "`open`: who knows the address of a file may fetch it; `signed`: only with an address that was given out and has not expired.",
    ),
    key(
        "media_url_seconds",
        "MANA_MEDIA_URL_SECONDS",
        "3600",
        "Seconds for which a signed address works, 60 to 604800.",
    ),
    key(
        "media_cache",
        "MANA_MEDIA_CACHE",
        "public",
        "Who may keep a delivered file: `public` (proxies too) or `private` (the browser that asked).",
    ),
    key(
        "image_url",
        "MANA_IMAGE_URL",
        "",
        "Address of a server that makes pictures by the OpenAI images interface, such as `https://api.openai.com`. Without it nobody makes any.",
    ),
    secret("image_api_key", "MANA_IMAGE_API_KEY", "", "Key of that server."),
    key(
        "image_models",
        "MANA_IMAGE_MODELS",
        "",
        "Models that are offered, the usual one first, separated by commas. Default: all that are known.",
    ),
    key(
        "image_credits",
        "MANA_IMAGE_CREDITS",
        "100",
        "Credits that each user has for pictures; what a picture takes stands in `crates/media/src/picture/models.json`.",
    ),
    key("catalog", "MANA_CATALOG", "", "File with the personas to seed. Default: the ten people that come with Mana."),
];
