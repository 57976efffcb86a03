//! Wiring: from settings and roles to services, one router, and the work in the background.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::Router;
use axum::routing::get;
use mana_gateway::{Gateway, GatewayOptions};
use mana_identity::{Identity, IdentityOptions};
use mana_media::picture::Pictures;
use mana_media::{DoorOptions, Media, SignedUrls};
use mana_personas::Personas;
use mana_registry::{MediaStore, Registry};
use mana_runner::{Runner, RunnerOptions, Timing};
use mana_store::{Db, DbOptions};
use mana_token::{FetchKeys, Jwks, KeysUnavailable, Verifier};
use mana_types::{Clock, Random, Secret, SystemClock, SystemRandom};
use mana_web::{
    CancellationToken, Json, Metrics, Problem, RequestScope, ServiceKeys, StatusCode, causes, request_layer,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::cli::Role;
use crate::failure::{Failure, Result};
use crate::settings::{Settings, own_url};

/// How long open requests may take to finish once the process is asked to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Answers to idempotency keys are kept this long, in milliseconds: a week.
const KEEP_ANSWERS_MS: i64 = 7 * 24 * 3_600_000;

/// Time and chance of this process.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { clock: Arc::new(SystemClock::default()), random: Arc::new(SystemRandom) }
    }
}

/// The services of one process.
pub(crate) struct App {
    pub(crate) world: World,
    pub(crate) db: Option<Db>,
    pub(crate) identity: Option<Identity>,
    pub(crate) personas: Option<Personas>,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) runner: Option<Runner>,
    pub(crate) media: Option<Media>,
    /// Files and pictures as modules see them.
    store: Option<Arc<dyn MediaStore>>,
    pub(crate) router: Router,
    metrics: Option<Metrics>,
}

/// Makes a folder that only its owner can enter: the database in it holds everybody's records and the signing keys.
pub(crate) fn make_folder(folder: &Path) -> Result {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| {
        Failure::Failed(format!(
            "the folder `{}` cannot be made: {error}; choose another with `--data`",
            folder.display()
        ))
    })
}

/// Opens the database; makes the folder of a file.
pub(crate) async fn open_database(settings: &Settings, world: &World) -> Result<Db> {
    if let Some(path) = settings.database.strip_prefix("sqlite:") {
        let folder = Path::new(path.trim_start_matches("//")).parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            make_folder(folder)?;
        }
    }
    let options = DbOptions { connections: settings.database_connections, ..DbOptions::new(&settings.database) };
    Ok(Db::open(&options, Arc::clone(&world.clock)).await?)
}

/// Binds the address of this process.
pub(crate) async fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(listen).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Failure::Conflict(format!(
            "the address {listen} is taken: stop what runs there, or choose another with `--listen 127.0.0.1:{}`",
            listen.port().wrapping_add(1).max(1024)
        )),
        _ => Failure::Failed(format!("the address {listen} cannot be listened on: {error}")),
    })?;
    let bound = listener.local_addr().map_err(|error| Failure::Failed(error.to_string()))?;
    Ok((listener, bound))
}

/// The key between the programs of this installation: as configured, or made once and kept in the data folder.
pub(crate) fn service_keys(settings: &Settings, world: &World) -> Result<Vec<Secret>> {
    if !settings.service_keys.is_empty() || settings.production {
        return Ok(settings.service_keys.clone());
    }
    make_folder(&settings.data)?;
    let path = settings.data.join("service.key");
    let unusable =
        |error: &std::io::Error| Failure::Failed(format!("the file `{}` cannot be used: {error}", path.display()));
    match std::fs::read_to_string(&path) {
        Ok(key) if !key.trim().is_empty() => return Ok(vec![Secret::new(key.trim())]),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(unusable(&error)),
    }
    let mut bytes = [0; 32];
    world.random.fill(&mut bytes);
    let key = bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    });
    write_private(&path, &key).map_err(|error| unusable(&error))?;
    Ok(vec![Secret::new(key)])
}

/// Writes a file that only its owner can read.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)?.write_all(text.as_bytes())
}

impl App {
    /// Opens the services of these roles over all modules. `bound` is where this process will be reached.
    pub(crate) async fn open(
        settings: &Settings,
        roles: &[Role],
        bound: SocketAddr,
        first_pass_at_once: bool,
    ) -> Result<Self> {
        let registry = mana_modules::registry().context("the modules do not fit together")?;
        Self::open_with(settings, roles, bound, first_pass_at_once, registry).await
    }

    /// The same over a registry of the caller's.
    pub(crate) async fn open_with(
        settings: &Settings,
        roles: &[Role],
        bound: SocketAddr,
        first_pass_at_once: bool,
        registry: Registry,
    ) -> Result<Self> {
        let world = World::new();
        let here = own_url(bound);
        let public_url = settings.public_url(bound);
        let keys = service_keys(settings, &world)?;
        let needs_database = roles.iter().any(|role| *role != Role::Runner);
        let db = if needs_database { Some(open_database(settings, &world).await?) } else { None };
        let mut app = Self {
            world,
            db,
            identity: None,
            personas: None,
            gateway: None,
            runner: None,
            media: None,
            store: None,
            router: Router::new(),
            metrics: None,
        };
        let issuer = settings.auth_url.clone().unwrap_or_else(|| public_url.clone());
        if roles.contains(&Role::Identity) {
            app.open_identity(settings, &issuer, &keys).await?;
        }
        if roles.contains(&Role::Media) {
            app.open_media(settings, &issuer, &public_url, &keys).await?;
        }
        let registry = app.with_files(settings, &keys, registry)?;
        if roles.contains(&Role::Gateway) {
            app.open_gateway(settings, &issuer, &public_url, registry.clone())?;
        }
        if roles.contains(&Role::Runner) {
            app.open_runner(settings, &here, keys, first_pass_at_once)?;
        }
        if roles.contains(&Role::Console) {
            app.open_console(&public_url, roles, registry);
        }
        app.finish(roles);
        Ok(app)
    }

    fn db(&self) -> Result<Db> {
        self.db.clone().ok_or_else(|| Failure::Other(anyhow!("this role needs the database")))
    }

    async fn open_identity(&mut self, settings: &Settings, issuer: &str, keys: &[Secret]) -> Result {
        let db = self.db()?;
        let options = IdentityOptions { registration_open: settings.registration_open, ..IdentityOptions::new(issuer) };
        let World { clock, random } = self.world.clone();
        let identity = Identity::open(db.clone(), Arc::clone(&clock), Arc::clone(&random), options)
            .await
            .context("the identity service cannot be opened")?;
        let verifier = Arc::new(Verifier::new(issuer, Arc::clone(&clock), identity.fetch_keys()));
        let personas = Personas::new(db, identity.clone(), clock, random);
        self.router = std::mem::take(&mut self.router)
            .merge(mana_identity::router(identity.clone(), Arc::clone(&verifier)))
            .merge(mana_personas::router(personas.clone(), verifier, ServiceKeys::new(keys.iter().cloned())));
        self.identity = Some(identity);
        self.personas = Some(personas);
        Ok(())
    }

    /// Opens the service of files, and makes its doors where it is a role of this process.
    async fn open_media(&mut self, settings: &Settings, issuer: &str, public_url: &str, keys: &[Secret]) -> Result {
        for folder in [Some(&settings.media.work), settings.media_folder()].into_iter().flatten() {
            make_folder(folder)?;
        }
        let World { clock, random } = self.world.clone();
        let media = Media::open(settings.media.clone(), self.db()?, Arc::clone(&random))
            .await
            .context("the media service cannot be opened")?;
        let pictures = Pictures::new(media.clone(), self.db()?, random, settings.pictures.clone())
            .map_err(|reason| Failure::Settings(crate::settings::Invalid(vec![reason])))?;
        let fetch = match &self.identity {
            Some(identity) => identity.fetch_keys(),
            None => fetch_over_http(issuer)?,
        };
        let verifier = Arc::new(Verifier::new(issuer, clock, fetch));
        let doors = doors(settings, public_url, keys);
        self.store = Some(crate::media::here(media.clone(), pictures.clone(), &doors, Arc::clone(&self.world.clock)));
        let service_keys = ServiceKeys::new(keys.iter().cloned());
        self.router = std::mem::take(&mut self.router)
            .merge(mana_media::picture::router(pictures.clone(), Arc::clone(&verifier), service_keys.clone(), &doors))
            .merge(mana_media::router(media.clone(), verifier, service_keys, doors));
        self.media = Some(media);
        Ok(())
    }

    /// The registry with the service of files behind it: of this process, or of the one that has the role.
    fn with_files(&self, settings: &Settings, keys: &[Secret], registry: Registry) -> Result<Registry> {
        let store = match (&self.store, &settings.media_url) {
            (Some(store), _) => Arc::clone(store),
            (None, Some(url)) => {
                let doors = doors(settings, url, keys);
                let key = keys.first().cloned().unwrap_or_default();
                crate::media::elsewhere(url, key, &doors, Arc::clone(&self.world.clock))
                    .context("the client of the media role cannot be made")?
            }
            // Tools that need files say so.
            (None, None) => return Ok(registry),
        };
        Ok(registry.with_media(&store))
    }

    fn open_gateway(&mut self, settings: &Settings, issuer: &str, public_url: &str, registry: Registry) -> Result {
        let World { clock, random } = self.world.clone();
        let fetch = match &self.identity {
            Some(identity) => identity.fetch_keys(),
            None => fetch_over_http(issuer)?,
        };
        let verifier = Arc::new(Verifier::new(issuer, Arc::clone(&clock), fetch));
        let options = GatewayOptions {
            issuer: issuer.to_owned(),
            policy: settings.policy,
            hosts: settings.allowed_hosts.clone(),
            origins: settings.allowed_origins.clone(),
            ..GatewayOptions::new(public_url)
        };
        let gateway = Gateway::new(self.db()?, registry, verifier, clock, random, options);
        self.router = std::mem::take(&mut self.router).merge(mana_gateway::router(gateway.clone()));
        self.gateway = Some(gateway);
        Ok(())
    }

    fn open_runner(&mut self, settings: &Settings, here: &str, keys: Vec<Secret>, first_pass_at_once: bool) -> Result {
        let options = runner_options(settings, here, keys, first_pass_at_once);
        if settings.production {
            let offenders = mana_runner::production_offenders(&options);
            if !offenders.is_empty() {
                return Err(Failure::Settings(crate::settings::Invalid(offenders)));
            }
        }
        let World { clock, random } = self.world.clone();
        let runner = Runner::new(options, clock, &random).context("the runner cannot be opened")?;
        self.router = std::mem::take(&mut self.router).merge(mana_runner::diagnostics(runner.clone()));
        self.runner = Some(runner);
        Ok(())
    }

    fn open_console(&mut self, public_url: &str, roles: &[Role], registry: Registry) {
        let site = mana_console::Site {
            public_url: public_url.to_owned(),
            roles: roles.iter().map(ToString::to_string).collect(),
            version: env!("CARGO_PKG_VERSION"),
            engine: self.runner.as_ref().map(|runner| runner.health().engine.to_owned()),
        };
        self.router =
            std::mem::take(&mut self.router).merge(mana_console::router(site, self.personas.clone(), registry));
    }

    /// What every process answers, and the layer around everything.
    fn finish(&mut self, roles: &[Role]) {
        self.metrics = installed_metrics();
        let (db, runner) = (self.db.clone(), self.runner.clone());
        let roles: Vec<String> = roles.iter().map(ToString::to_string).collect();
        let health = move || {
            let (db, runner, roles) = (db.clone(), runner.clone(), roles.clone());
            async move { health(db, runner, roles).await }
        };
        let metrics = self.metrics.clone();
        let metrics = move || {
            let metrics = metrics.clone();
            async move {
                metrics
                    .map(|metrics| metrics.render())
                    .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND", "this process collects no metrics"))
            }
        };
        let World { clock, random } = self.world.clone();
        self.router = std::mem::take(&mut self.router)
            .route("/health", get(health))
            .route("/metrics", get(metrics))
            .fallback(|| async { Problem::not_found("page") })
            .method_not_allowed_fallback(|| async {
                let detail = "this address does not take this method, see `Allow`";
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail)
            })
            .layer(axum::middleware::from_fn_with_state(RequestScope { clock, random }, request_layer));
    }

    /// Starts what goes on in the background; each task ends when `stop` is cancelled.
    pub(crate) fn background(&self, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        if let Some(metrics) = self.metrics.clone() {
            every(tasks, stop, Duration::from_secs(5), move || {
                let metrics = metrics.clone();
                async move { metrics.upkeep() }
            });
        }
        if let Some(identity) = self.identity.clone() {
            every(tasks, stop, Duration::from_hours(1), move || {
                let identity = identity.clone();
                async move {
                    if let Err(error) = identity.rotate_if_due().await {
                        tracing::warn!(error = %causes(&error), "server.key_rotation_failed");
                    }
                    if let Err(error) = identity.sweep().await {
                        tracing::warn!(error = %causes(&error), "server.sweep_failed");
                    }
                }
            });
        }
        if let Some(media) = self.media.clone() {
            let (worker, stopping) = (media.clone(), stop.clone());
            tasks.spawn(async move { worker.run_jobs(stopping).await });
            let stopping = stop.clone();
            tasks.spawn(async move { media.run_collector(stopping).await });
        }
        if let (Some(db), Some(_)) = (self.db.clone(), &self.gateway) {
            every(tasks, stop, Duration::from_hours(1), move || {
                let db = db.clone();
                async move {
                    let forgotten = match db.now().await {
                        Ok(now) => mana_store::idempotency::forget_before(&db, now.plus_millis(-KEEP_ANSWERS_MS)).await,
                        Err(error) => Err(error),
                    };
                    if let Err(error) = forgotten {
                        tracing::warn!(error = %causes(&error), "server.forget_failed");
                    }
                }
            });
        }
    }

    /// Serves until `stop`, then closes everything in order.
    pub(crate) async fn serve(self, listener: TcpListener, stop: CancellationToken) -> Result {
        let mut tasks = JoinSet::new();
        self.background(&mut tasks, &stop);
        mana_web::serve(listener, self.router.clone(), stop, GRACE).await.context("serving failed")?;
        tasks.join_all().await;
        self.close().await
    }

    /// Writes down what is under way and closes the database.
    pub(crate) async fn close(self) -> Result {
        if let Some(gateway) = &self.gateway {
            gateway.close().await;
        }
        if let Some(db) = &self.db {
            db.close().await?;
        }
        Ok(())
    }
}

/// How files are handed out.
fn doors(settings: &Settings, public_url: &str, keys: &[Secret]) -> DoorOptions {
    DoorOptions {
        public_url: Some(public_url.to_owned()),
        private: settings.media_private,
        signed_urls: settings.media_signed.map(|lifetime| SignedUrls {
            // Every process of an installation has it.
            secret: keys.first().cloned().unwrap_or_default(),
            lifetime,
        }),
        origins: settings.allowed_origins.clone(),
        ..DoorOptions::default()
    }
}

/// The recorder of this process; installed once, whatever is opened in it.
fn installed_metrics() -> Option<Metrics> {
    static METRICS: std::sync::OnceLock<Option<Metrics>> = std::sync::OnceLock::new();
    METRICS
        .get_or_init(|| match Metrics::install() {
            Ok(metrics) => {
                mana_web::describe_metrics();
                mana_gateway::describe_metrics();
                mana_runner::describe_metrics();
                Some(metrics)
            }
            Err(error) => {
                tracing::warn!(error = %causes(&error), "server.metrics_unavailable");
                None
            }
        })
        .clone()
}

fn every<F>(tasks: &mut JoinSet<()>, stop: &CancellationToken, period: Duration, work: impl Fn() -> F + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    let stop = stop.clone();
    tasks.spawn(async move {
        while stop.run_until_cancelled(tokio::time::sleep(period)).await.is_some() {
            work().await;
        }
    });
}

async fn health(db: Option<Db>, runner: Option<Runner>, roles: Vec<String>) -> (StatusCode, Json<Value>) {
    let database = match &db {
        Some(db) => Some(db.ping().await.is_ok()),
        None => None,
    };
    let mut body = json!({ "status": "ok", "service": "mana", "version": env!("CARGO_PKG_VERSION"), "roles": roles });
    if let Value::Object(body) = &mut body {
        if let Some(Ok(Value::Object(runner))) = runner.map(|runner| serde_json::to_value(runner.health())) {
            body.extend(runner.into_iter().filter(|(name, _)| !matches!(name.as_str(), "status" | "service")));
        }
        if let Some(ok) = database {
            body.insert("database".into(), json!(if ok { "ok" } else { "unavailable" }));
        }
        if database == Some(false) {
            body.insert("status".into(), json!("degraded"));
        }
    }
    let status = if database == Some(false) { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(body))
}

/// What the runner is told: others' addresses where they are set, else this process.
pub(crate) fn runner_options(
    settings: &Settings,
    here: &str,
    keys: Vec<Secret>,
    first_pass_at_once: bool,
) -> RunnerOptions {
    let identity_url = settings.auth_url.clone().unwrap_or_else(|| here.to_owned());
    RunnerOptions {
        personas_url: identity_url.clone(),
        identity_url,
        mcp_url: settings.mcp_url.clone().unwrap_or_else(|| format!("{here}/mcp")),
        service_key: keys.into_iter().next().unwrap_or_default(),
        seed_secret: settings.seed_secret.clone(),
        model: settings.model.clone(),
        budget: settings.budget,
        record: settings.record.clone(),
        replay: settings.replay.clone(),
        replay_strict: settings.replay_strict,
        engine: settings.engine,
        tick_interval_ms: settings.tick_interval_ms,
        concurrency: settings.concurrency,
        paused: settings.paused,
        production: settings.production,
        first_pass_at_once,
        timing: timing(settings),
        secrets: mana_runner::Secrets::new(crate::settings::target_secret),
        allow_private_targets: settings.allow_private_targets,
    }
}

/// Four beats fit into a lease, and a visit that hears nothing stops by itself before its lease can run out.
fn timing(settings: &Settings) -> Timing {
    let lease_ms = settings.lease_ms;
    Timing {
        visit_cap: Duration::from_secs(settings.visit_seconds),
        lease: Duration::from_millis(lease_ms),
        beat: Duration::from_millis(lease_ms / 4),
        self_abort: Duration::from_millis(lease_ms / 4 * 3),
        ..Timing::default()
    }
}

/// The key set of an identity service elsewhere.
fn fetch_over_http(issuer: &str) -> Result<FetchKeys> {
    let mut client =
        reqwest::Client::builder().timeout(Duration::from_secs(5)).redirect(reqwest::redirect::Policy::none());
    if !issuer.starts_with("https:") {
        // A service of this installation: a proxy of the environment has no business in between.
        client = client.no_proxy();
    }
    let client = client.build().context("the HTTP client cannot be made")?;
    let address = format!("{issuer}/api/v1/auth/jwks");
    Ok(Arc::new(move || {
        let (client, address) = (client.clone(), address.clone());
        Box::pin(async move {
            let unavailable = |error: reqwest::Error| KeysUnavailable(error.without_url().to_string());
            let answer = client.get(address).send().await.map_err(unavailable)?;
            answer.error_for_status().map_err(unavailable)?.json::<Jwks>().await.map_err(unavailable)
        })
    }))
}
