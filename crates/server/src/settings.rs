//! Settings: one table of keys, each from a flag, the environment, a file, or its default, in this order.
//!
//! Everything is checked at the start and every fault is named with the place it comes from. An unknown key in the file
//! or an unknown `MANA_` variable is a fault too: a setting with a typing error must not be ignored in silence.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use mana_gateway::PolicyMode;
use mana_media::picture::{PictureOptions, Provider};
use mana_runner::{Budget, EngineChoice, ModelOptions};
use mana_types::{Secret, nearest};

mod keys;

pub(crate) use self::keys::{KEYS, Key};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File(PathBuf),
    Env(String),
    SecretFile(PathBuf),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::SecretFile(path) => write!(f, "secret file {}", path.display()),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A value and where it comes from.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

/// Everything that is wrong with the settings.
#[derive(Debug, thiserror::Error)]
#[error("the settings are not valid:\n  - {}", .0.join("\n  - "))]
pub(crate) struct Invalid(pub(crate) Vec<String>);

/// What a flag says, before it is checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    /// (key, flag, value)
    pub(crate) given: Vec<(&'static str, &'static str, String)>,
    /// `--config`.
    pub(crate) config: Option<PathBuf>,
}

/// The settings as they hold, and as they were given.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own that is on or off")]
pub(crate) struct Settings {
    pub(crate) data: PathBuf,
    pub(crate) database: String,
    pub(crate) database_connections: u32,
    pub(crate) listen: SocketAddr,
    pub(crate) public_url: Option<String>,
    pub(crate) auth_url: Option<String>,
    pub(crate) mcp_url: Option<String>,
    pub(crate) production: bool,
    pub(crate) log: String,
    pub(crate) log_json: bool,
    pub(crate) registration_open: bool,
    pub(crate) policy: PolicyMode,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) service_keys: Vec<Secret>,
    pub(crate) seed_secret: Secret,
    pub(crate) tick_interval_ms: u64,
    pub(crate) concurrency: usize,
    pub(crate) lease_ms: u64,
    pub(crate) paused: bool,
    pub(crate) engine: EngineChoice,
    pub(crate) model: ModelOptions,
    pub(crate) budget: Budget,
    pub(crate) visit_seconds: u64,
    pub(crate) record: Option<PathBuf>,
    pub(crate) replay: Option<PathBuf>,
    pub(crate) replay_strict: bool,
    pub(crate) allow_private_targets: bool,
    pub(crate) media_url: Option<String>,
    pub(crate) media: mana_media::Options,
    /// How long a signed address works; none: addresses are not signed.
    pub(crate) media_signed: Option<Duration>,
    pub(crate) media_private: bool,
    pub(crate) pictures: PictureOptions,
    pub(crate) catalog: Option<PathBuf>,
    /// Every value with its origin, for `mana config show`.
    pub(crate) values: BTreeMap<&'static str, Value>,
}

/// The file that is read where none is named, if it is there.
pub(crate) const DEFAULT_FILE: &str = "mana.toml";

fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

impl Settings {
    /// Reads the settings of this process.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub(crate) fn load(flags: &Flags) -> Result<Self, Invalid> {
        let mut faults = Vec::new();
        let mut env = BTreeMap::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().map(str::to_owned) else { continue };
            match value.into_string() {
                Ok(value) => {
                    env.insert(name, value);
                }
                Err(_raw) if name.starts_with("MANA_") => {
                    faults.push(format!("environment {name}: is not valid UTF-8"));
                }
                Err(_) => {}
            }
        }
        let named = flags.config.clone().or_else(|| env.get("MANA_CONFIG").map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => Some((path, text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => None,
            Err(error) => {
                faults.push(format!("file {}: {error}", path.display()));
                None
            }
        };
        Self::resolve(flags, &env, file, faults)
    }

    /// The same from given sources.
    pub(crate) fn resolve(
        flags: &Flags,
        env: &BTreeMap<String, String>,
        file: Option<(PathBuf, String)>,
        mut faults: Vec<String>,
    ) -> Result<Self, Invalid> {
        let mut values: BTreeMap<&'static str, Value> = KEYS
            .iter()
            .map(|key| (key.name, Value { text: key.default.to_owned(), origin: Origin::Default }))
            .collect();
        if let Some((path, text)) = file {
            from_file(&path, &text, &mut values, &mut faults);
        }
        from_env(env, &mut values, &mut faults);
        for (name, flag, text) in &flags.given {
            values.insert(name, Value { text: text.clone(), origin: Origin::Flag((*flag).to_owned()) });
        }
        let settings = Reader { values: &values, faults: &mut faults }.read();
        if faults.is_empty() { Ok(Self { values, ..settings }) } else { Err(Invalid(faults)) }
    }

    /// The folder in which files are kept, where it is one.
    pub(crate) fn media_folder(&self) -> Option<&PathBuf> {
        match &self.media.location {
            mana_media::Location::Disk(folder) => Some(folder),
            _ => None,
        }
    }

    /// The address of this server as clients see it.
    pub(crate) fn public_url(&self, bound: SocketAddr) -> String {
        self.public_url.clone().unwrap_or_else(|| own_url(bound))
    }
}

/// A secret that the target of a persona names. Only variables that begin with `TARGET_` are given out: whoever may write
/// personas shall not read the keys of this installation.
#[expect(clippy::disallowed_methods, reason = "beside `load` the one place that reads the environment")]
pub(crate) fn target_secret(name: &str) -> Option<Secret> {
    name.starts_with("TARGET_").then(|| std::env::var(name).ok()).flatten().map(Secret::new)
}

/// The address of a listener on this machine.
pub(crate) fn own_url(bound: SocketAddr) -> String {
    let host = match bound.ip() {
        ip if ip.is_unspecified() && ip.is_ipv4() => "127.0.0.1".to_owned(),
        ip if ip.is_unspecified() => "[::1]".to_owned(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        std::net::IpAddr::V4(ip) => ip.to_string(),
    };
    format!("http://{host}:{}", bound.port())
}

fn from_file(path: &Path, text: &str, values: &mut BTreeMap<&'static str, Value>, faults: &mut Vec<String>) {
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            faults.push(format!("file {}: {}", path.display(), error.to_string().trim()));
            return;
        }
    };
    for (name, value) in table {
        let Some(key) = find(&name) else {
            let meant = nearest(&name, KEYS.iter().map(|key| key.name));
            let hint = meant.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
            faults.push(format!("file {}: unknown setting `{name}`{hint}", path.display()));
            continue;
        };
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            toml::Value::Array(list) if list.iter().all(toml::Value::is_str) => {
                list.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
            }
            _ => {
                faults
                    .push(format!("file {}: `{name}` is neither text, number, flag nor list of texts", path.display()));
                continue;
            }
        };
        values.insert(key.name, Value { text, origin: Origin::File(path.to_owned()) });
    }
}

fn from_env(env: &BTreeMap<String, String>, values: &mut BTreeMap<&'static str, Value>, faults: &mut Vec<String>) {
    for key in KEYS {
        if let Some(text) = env.get(key.env) {
            values.insert(key.name, Value { text: text.clone(), origin: Origin::Env(key.env.to_owned()) });
        }
        let twin = format!("{}_FILE", key.env);
        if let Some(path) = env.get(&twin).filter(|_| key.secret) {
            if env.contains_key(key.env) {
                faults.push(format!("environment {twin} and {}: set only one of them", key.env));
                continue;
            }
            match std::fs::read_to_string(path) {
                Ok(text) => {
                    let value = Value { text: text.trim().to_owned(), origin: Origin::SecretFile(path.into()) };
                    values.insert(key.name, value);
                }
                Err(error) => faults.push(format!("environment {twin}: the file {path} cannot be read: {error}")),
            }
        }
    }
    let known = |name: &str| {
        name == "MANA_CONFIG"
            || KEYS.iter().any(|key| key.env == name || (key.secret && name.strip_suffix("_FILE") == Some(key.env)))
    };
    for name in env.keys().filter(|name| name.starts_with("MANA_") && !known(name)) {
        let meant = nearest(name, KEYS.iter().map(|key| key.env));
        let hint = meant.map(|near| format!(", did you mean {near}?")).unwrap_or_default();
        faults.push(format!("environment {name}: unknown setting{hint}"));
    }
}

struct Reader<'a> {
    values: &'a BTreeMap<&'static str, Value>,
    faults: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn text(&self, name: &'static str) -> String {
        self.values.get(name).map(|value| value.text.trim().to_owned()).unwrap_or_default()
    }

    fn fault(&mut self, name: &'static str, expected: &str) {
        let Some(value) = self.values.get(name) else { return };
        let shown = if find(name).is_some_and(|key| key.secret) { "***" } else { value.text.as_str() };
        self.faults.push(format!("`{name}` ({}): `{shown}` is not valid, expected {expected}", value.origin));
    }

    fn parse<T: FromStr>(&mut self, name: &'static str, expected: &str, accept: impl Fn(&T) -> bool) -> Option<T> {
        let parsed = self.text(name).parse().ok().filter(accept);
        if parsed.is_none() {
            self.fault(name, expected);
        }
        parsed
    }

    fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(name);
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
        if found.is_none() {
            let words: Vec<String> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
            self.fault(name, &words.join(" or "));
        }
        found
    }

    fn url(&mut self, name: &'static str) -> Option<String> {
        let text = self.text(name).trim_end_matches('/').to_owned();
        if text.is_empty() {
            return None;
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            Some(text)
        } else {
            self.fault(name, "an address such as `https://mana.example`");
            None
        }
    }

    fn list(&self, name: &'static str) -> Vec<String> {
        self.text(name).split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    fn path(&self, name: &'static str) -> Option<PathBuf> {
        Some(self.text(name)).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    fn model(&mut self) -> ModelOptions {
        let defaults = ModelOptions::default();
        ModelOptions {
            base_url: self.url("anthropic_base_url").unwrap_or_else(|| defaults.base_url.clone()),
            auth: self.parse("anthropic_auth", "`x-api-key` or `bearer`", |_| true).unwrap_or(defaults.auth),
            version: self
                .parse("anthropic_version", "`2026-10-21` or `2023-06-01`", |_| true)
                .unwrap_or(defaults.version),
            key: Secret::new(self.text("anthropic_api_key")),
            model: self.text("model"),
            allow_unpriced: self
                .choice("allow_unpriced", &[("true", true), ("1", true), ("false", false), ("0", false)])
                .unwrap_or(false),
            most_at_once: self
                .parse("model_concurrency", "a whole number from 1 to 256", |n| (1..=256).contains(n))
                .unwrap_or(defaults.most_at_once),
            ..defaults
        }
    }

    fn media_signed(&mut self) -> Option<Duration> {
        let within = |n: &u64| (60..=604_800).contains(n);
        let seconds = self.parse("media_url_seconds", "a whole number of seconds from 60 to 604800", within);
        let signed = self.choice("media_urls", &[("open", false), ("signed", true)]).unwrap_or(false);
        signed.then(|| Duration::from_secs(seconds.unwrap_or(3_600)))
    }

    fn pictures(&mut self) -> PictureOptions {
        let key = Secret::new(self.text("image_api_key"));
        let models = self.list("image_models");
        let provider = self.url("image_url").map(|url| Provider { models, ..Provider::new(url, key) });
        let credits = self.parse("image_credits", "a whole number, 0 or more", |n| *n >= 0).unwrap_or(100);
        PictureOptions { provider, credits }
    }

    fn media(&mut self, data: &Path) -> mana_media::Options {
        use mana_media::Location;
        let own = data.join("media");
        let location = match self.text("media_store") {
            store if store.is_empty() => Ok(Location::Disk(own.join("store"))),
            store => Location::parse(&store),
        };
        let location = match location {
            Ok(Location::S3(mut s3)) => {
                let told = |text: String| Some(text).filter(|text| !text.is_empty());
                s3.endpoint = self.url("s3_endpoint");
                s3.region = told(self.text("s3_region"));
                s3.key_id = told(self.text("s3_key_id"));
                s3.secret = Secret::new(self.text("s3_secret"));
                Location::S3(s3)
            }
            Ok(location) => location,
            Err(_) => {
                self.fault("media_store", "a folder or `s3://BUCKET/PREFIX`");
                Location::Memory
            }
        };
        let megabytes = |n: &u64| (1..=5_000).contains(n);
        let mut options = mana_media::Options::new(location, own.join("work"));
        let max_mb = self.parse("media_max_mb", "a whole number of megabytes from 1 to 5000", megabytes);
        options.max_bytes = max_mb.unwrap_or(100) * 1_000_000;
        let pixels: Option<u64> =
            self.parse("media_megapixels", "a whole number of megapixels from 1 to 500", |n| (1..=500).contains(n));
        options.limits.pixels = pixels.unwrap_or(50) * 1_000_000;
        let grace = self.parse("media_grace_seconds", "a whole number of seconds, 60 or more", |n| *n >= 60);
        options.grace = Duration::from_secs(grace.unwrap_or(3_600));
        let cache =
            self.parse("media_cache_mb", "a whole number of megabytes up to 1000000", |n: &u64| *n <= 1_000_000);
        options.cache_bytes = cache.unwrap_or(1_024) * 1_000_000;
        options
    }

    /// Dollars as millionths; none where the setting is empty.
    fn dollars(&mut self, name: &'static str) -> Option<i64> {
        if self.text(name).is_empty() {
            return None;
        }
        let accepted = |dollars: &f64| dollars.is_finite() && (0.0..=1_000_000.0).contains(dollars);
        let dollars: f64 = self.parse(name, "US dollars such as `2` or `0.25`, or nothing for no limit", accepted)?;
        #[expect(clippy::cast_possible_truncation, reason = "at most 10^12, checked above")]
        Some((dollars * 1_000_000.0).round() as i64)
    }

    fn budget(&mut self) -> Budget {
        let tokens = if self.text("budget_visit_tokens").is_empty() {
            None
        } else {
            self.parse("budget_visit_tokens", "a whole number of tokens, or nothing for no limit", |_| true)
        };
        Budget {
            call_micro_usd: self.dollars("budget_call_usd"),
            tick_micro_usd: self.dollars("budget_visit_usd"),
            persona_day_micro_usd: self.dollars("budget_persona_day_usd"),
            day_micro_usd: self.dollars("budget_day_usd"),
            month_micro_usd: self.dollars("budget_month_usd"),
            tick_tokens: tokens,
            model_calls: self
                .parse("visit_model_calls", "a whole number from 1 to 100", |n| (1..=100).contains(n))
                .unwrap_or(15),
            tool_calls: self
                .parse("visit_tool_calls", "a whole number from 1 to 500", |n| (1..=500).contains(n))
                .unwrap_or(40),
        }
    }

    fn read(mut self) -> Settings {
        let data = self.path("data").unwrap_or_else(|| PathBuf::from("data"));
        let mut database = self.text("database");
        if database.is_empty() {
            database = format!("sqlite:{}", data.join("mana.db").display());
        } else if !["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| database.starts_with(scheme)) {
            self.faults.push(format!(
                "`database` ({}): expected `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/NAME`",
                self.values["database"].origin
            ));
        }
        let production = self.choice("env", &[("development", false), ("production", true)]);
        let flags = [("true", true), ("1", true), ("false", false), ("0", false)];
        let policies = [("enforce", PolicyMode::Enforce), ("log-only", PolicyMode::LogOnly), ("off", PolicyMode::Off)];
        let engines = [
            ("auto", EngineChoice::Auto),
            ("rehearsal", EngineChoice::Rehearsal),
            ("anthropic", EngineChoice::Anthropic),
            ("replay", EngineChoice::Replay),
            ("chaos", EngineChoice::Chaos),
        ];
        let media = self.media(&data);
        Settings {
            data,
            database,
            database_connections: self
                .parse("database_connections", "a whole number from 2 to 200", |n| (2..=200).contains(n))
                .unwrap_or(8),
            listen: self
                .parse("listen", "an address and a port such as `127.0.0.1:3001`", |_| true)
                .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 3001))),
            public_url: self.url("public_url"),
            auth_url: self.url("auth_url"),
            mcp_url: self.url("mcp_url"),
            production: production.unwrap_or(false),
            log: self.text("log"),
            log_json: self.choice("log_format", &[("text", false), ("json", true)]).unwrap_or(false),
            registration_open: self.choice("registration", &[("open", true), ("closed", false)]).unwrap_or(true),
            policy: self.choice("policy_mode", &policies).unwrap_or(PolicyMode::Enforce),
            allowed_hosts: self.list("allowed_hosts"),
            allowed_origins: self.list("allowed_origins"),
            service_keys: self.list("service_key").into_iter().map(Secret::new).collect(),
            seed_secret: Secret::new(self.text("seed_secret")),
            tick_interval_ms: self
                .parse("tick_interval_ms", "a whole number of milliseconds, 1000 or more", |n| *n >= 1000)
                .unwrap_or(60_000),
            concurrency: self
                .parse("persona_concurrency", "a whole number from 1 to 1000", |n| (1..=1000).contains(n))
                .unwrap_or(2),
            lease_ms: self
                .parse("persona_lease_ms", "a whole number of milliseconds, 2000 or more", |n| *n >= 2000)
                .unwrap_or(120_000),
            paused: self.choice("runner_paused", &flags).unwrap_or(false),
            engine: self.choice("engine", &engines).unwrap_or(EngineChoice::Auto),
            model: self.model(),
            budget: self.budget(),
            visit_seconds: self
                .parse("visit_seconds", "a whole number of seconds from 10 to 86400", |n| (10..=86_400).contains(n))
                .unwrap_or(900),
            media_url: self.url("media_url"),
            media,
            media_signed: self.media_signed(),
            media_private: self.choice("media_cache", &[("public", false), ("private", true)]).unwrap_or(false),
            pictures: self.pictures(),
            record: self.path("record"),
            replay: self.path("replay"),
            replay_strict: self.choice("replay_mode", &[("strict", true), ("loose", false)]).unwrap_or(true),
            allow_private_targets: self.choice("allow_private_targets", &flags).unwrap_or(false),
            catalog: self.path("catalog"),
            values: BTreeMap::new(),
        }
    }
}

/// A complete settings file with every key at its default, commented.
pub(crate) fn example() -> String {
    let mut text = String::from(
        "# Settings of Mana. Precedence: flag > environment > this file > default.\n\
         # Every key stands here with its default; take the `#` away to change it.\n",
    );
    for key in KEYS {
        let twin = if key.secret { format!(" (or a file named by {}_FILE)", key.env) } else { String::new() };
        let plain = key.default.parse::<u64>().is_ok() || matches!(key.default, "true" | "false");
        let shown = if key.secret { "" } else { key.default };
        let value = if plain { shown.to_owned() } else { format!("\"{shown}\"") };
        // Writing to a String cannot fail.
        let _ = write!(text, "\n# {}\n# Environment: {}{twin}\n# {} = {value}\n", key.about, key.env, key.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn file(text: &str) -> (PathBuf, String) {
        (PathBuf::from("mana.toml"), text.to_owned())
    }

    #[test]
    fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
        let flags = Flags { given: vec![("listen", "--listen", "127.0.0.1:9".into())], config: None };
        let text = "listen = \"127.0.0.1:7\"\npersona_concurrency = 7\nlog = \"info\"\nrunner_paused = true";
        let settings = Settings::resolve(
            &flags,
            &env(&[("MANA_LISTEN", "127.0.0.1:8"), ("PERSONA_CONCURRENCY", "8")]),
            Some(file(text)),
            vec![],
        )
        .expect("is valid");
        assert_eq!((settings.listen.port(), settings.concurrency, settings.log.as_str()), (9, 8, "info"));
        assert!(settings.paused && !settings.production);
        assert_eq!(settings.values["log"].origin.to_string(), "file mana.toml");
        assert_eq!(settings.values["engine"].origin, Origin::Default);
        assert_eq!(settings.database, "sqlite:data/mana.db");
    }

    #[test]
    fn every_fault_is_named_with_its_source_and_no_secret_is_shown() {
        let faulty = env(&[
            ("TICK_INTERVAL_MS", "soon"),
            ("RUNNER_PAUSED", "perhaps"),
            ("MANA_LISTN", "x"),
            ("DATABASE_URL", "mysql://u:hunter2@h/d"),
            ("MANA_SERVICE_KEY", "hunter2"),
            ("MANA_SERVICE_KEY_FILE", "/nowhere"),
        ]);
        let refused =
            Settings::resolve(&Flags::default(), &faulty, Some(file("enigne = \"auto\"\nlisten = []")), vec![]);
        let message = refused.expect_err("is faulty").to_string();
        for part in [
            "`tick_interval_ms` (environment TICK_INTERVAL_MS): `soon`",
            "`runner_paused` (environment RUNNER_PAUSED): `perhaps`",
            "environment MANA_LISTN: unknown setting, did you mean MANA_LISTEN?",
            "unknown setting `enigne`, did you mean `engine`?",
            "`database` (environment DATABASE_URL)",
            "set only one of them",
        ] {
            assert!(message.contains(part), "{part} is not in:\n{message}");
        }
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    fn the_example_is_complete_and_valid() {
        let uncommented: Vec<String> = example()
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.contains(" = "))
            .map(str::to_owned)
            .collect();
        let settings = Settings::resolve(
            &Flags::default(),
            &BTreeMap::new(),
            Some(file(&uncommented.join("\n").replace("seed_secret = \"\"", ""))),
            vec![],
        );
        assert!(settings.is_ok(), "{:?}", settings.err());
        assert_eq!(uncommented.len(), KEYS.len());
    }
}
