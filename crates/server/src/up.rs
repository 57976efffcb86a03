//! `mana up` and `mana serve`: a server, from its first start to its clean end.

use std::io::IsTerminal;
use std::net::SocketAddr;

use mana_personas::catalog::Catalog;
use mana_web::CancellationToken;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::app::{App, World, bind};
use crate::cli::{Role, Serve, Up};
use crate::failure::{Failure, Result};
use crate::local::{Local, first_admin};
use crate::settings::{DEFAULT_FILE, Origin, Settings, own_url};
use crate::{pass, print, seed};

/// The e-mail of the administrator that the first start makes.
const FIRST_ADMIN: &str = "admin@mana.local";

/// Two tokens: one asks to stop, the other to stop at once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    pub(crate) gently: CancellationToken,
    pub(crate) at_once: CancellationToken,
}

impl Stop {
    /// Cancelled by the first and the second SIGINT or SIGTERM.
    pub(crate) fn on_signals() -> Result<Self> {
        let stop = Self::default();
        let asked = stop.clone();
        let mut signals = Signals::listen()?;
        tokio::spawn(async move {
            signals.next().await;
            print::say("stopping: running visits may reach a safe point first (again to stop at once)");
            asked.gently.cancel();
            signals.next().await;
            asked.at_once.cancel();
        });
        Ok(stop)
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen =
            |kind| signal(kind).map_err(|error| Failure::Failed(format!("signals cannot be listened for: {error}")));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Starts everything on one address.
pub(crate) async fn up(settings: &Settings, options: Up) -> Result {
    // A damaged catalog is told before anything is made.
    let catalog = seed::read_catalog(settings.catalog.as_deref())?;
    let (listener, bound) = bind(settings.listen).await?;
    let app = App::open(settings, &Role::ALL, bound, false).await?;
    let stop = Stop::on_signals()?;
    let first_password = ensure_admin(&app).await?;
    let runner = app.runner.clone();
    let local = Local::as_admin(&app).await?;
    let data = settings.data.clone();
    let token = token_command(settings, bound);
    let database = match &app.db {
        Some(db) => db.version().await?,
        None => String::new(),
    };
    let serving = Serving::start(app, listener, &stop);

    print::say(&format!("mana {} on {}", env!("CARGO_PKG_VERSION"), own_url(bound)));
    print::say(&format!("data      {} ({database})", data.display()));
    if let Some(password) = first_password {
        print::say(&format!("admin     {FIRST_ADMIN}\npassword  {password}   (shown only now)"));
    }
    if !options.no_seed {
        seed_if_empty(&local, &catalog, settings).await?;
    }
    if let Some(runner) = &runner {
        if options.no_initial_tick || stop.gently.is_cancelled() {
            print::say("no first pass: the personas that are due visit in the next interval");
        } else if let Some(reason) = runner.health().reason {
            print::say(&format!("no pass: {reason}"));
        } else {
            print::say("first pass over the personas that are due:");
            let result = tokio::select! {
                result = pass::run(runner) => Some(result?),
                () = stop.gently.cancelled() => None,
            };
            if let Some(result) = result {
                print::say("");
                print::out(&pass::table(&result))?;
                print::say(&pass::summary(&result));
            }
        }
    }
    if !stop.gently.is_cancelled() {
        addresses(&settings.public_url(bound), &token);
    }
    if let Some(runner) = runner {
        runner.run(stop.gently.clone(), stop.at_once.clone()).await;
    }
    stop.gently.cancelled().await;
    serving.end(&stop).await
}

/// Serves chosen roles.
pub(crate) async fn serve(settings: &Settings, options: &Serve) -> Result {
    let (listener, bound) = bind(settings.listen).await?;
    let app = App::open(settings, &options.roles, bound, true).await?;
    let stop = Stop::on_signals()?;
    let runner = app.runner.clone();
    let roles: Vec<String> = options.roles.iter().map(ToString::to_string).collect();
    print::say(&format!("mana {} on {}: {}", env!("CARGO_PKG_VERSION"), own_url(bound), roles.join(", ")));
    let serving = Serving::start(app, listener, &stop);
    if let Some(runner) = runner {
        runner.run(stop.gently.clone(), stop.at_once.clone()).await;
    }
    stop.gently.cancelled().await;
    serving.end(&stop).await
}

/// The server of this process. It goes on while running visits come to their safe point, because they need it: a runner
/// is a client, also of its own process.
struct Serving {
    task: JoinHandle<Result>,
    close: CancellationToken,
}

impl Serving {
    fn start(app: App, listener: TcpListener, stop: &Stop) -> Self {
        let close = CancellationToken::new();
        let (asked, stop) = (close.clone(), stop.gently.clone());
        let task = tokio::spawn(async move {
            let served = app.serve(listener, asked).await;
            stop.cancel(); // a server that has ended by itself takes the rest along
            served
        });
        Self { task, close }
    }

    /// Closes the server once nothing runs any more.
    async fn end(self, stop: &Stop) -> Result {
        self.close.cancel();
        tokio::select! {
            served = self.task => served.map_err(|error| Failure::Other(error.into()))?,
            () = stop.at_once.cancelled() => Err(Failure::Interrupted),
        }
    }
}

/// Makes the first administrator if there is none, and answers his password.
async fn ensure_admin(app: &App) -> Result<Option<String>> {
    let Some(identity) = &app.identity else { return Ok(None) };
    if first_admin(identity).await?.is_some() {
        return Ok(None);
    }
    let password = new_password(&app.world);
    identity.add_admin(FIRST_ADMIN, Some("Admin"), &password).await.map_err(|error| Failure::Other(error.into()))?;
    Ok(Some(password))
}

/// A password of 24 letters and digits that are hard to mistake for each other: about 119 bits.
pub(crate) fn new_password(world: &World) -> String {
    const LETTERS: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";
    let mut password = String::new();
    while password.len() < 24 {
        let mut byte = [0; 1];
        world.random.fill(&mut byte);
        // 248 is the largest multiple of 31: beyond it some letters would be more likely.
        if byte[0] < 248 {
            password.push(char::from(LETTERS[usize::from(byte[0] % 31)]));
        }
    }
    password
}

async fn seed_if_empty(local: &Local, catalog: &Catalog, settings: &Settings) -> Result {
    let there = local.get("/api/v1/admin/personas?limit=1").await?;
    if there["personas"].as_array().is_some_and(|personas| !personas.is_empty()) {
        return Ok(());
    }
    seed::report(&seed::seed(local, catalog, settings).await)
}

/// The command that prints a token for this very server: with the flags that it was started with, because another data
/// folder has other accounts, and another address is another issuer.
fn token_command(settings: &Settings, bound: SocketAddr) -> String {
    #[expect(clippy::disallowed_methods, reason = "how this program was called, to show how to call it again")]
    let called = std::env::args().next().filter(|name| name.contains(std::path::MAIN_SEPARATOR));
    let mut words = vec![called.map_or_else(|| "mana".to_owned(), |name| quoted(&name)), "token".to_owned()];
    for (name, value) in &settings.values {
        let Origin::Flag(flag) = &value.origin else { continue };
        let given = match *name {
            "listen" => bound.to_string(),
            // A password on the screen would be read by whoever looks over the shoulder.
            "database" if value.text.contains('@') => "ADDRESS".to_owned(),
            "data" | "database" => quoted(&value.text),
            _ => continue,
        };
        words.extend([flag.clone(), given]);
    }
    let file = settings.values.values().find_map(|value| match &value.origin {
        Origin::File(path) if path.as_path() != std::path::Path::new(DEFAULT_FILE) => Some(path),
        _ => None,
    });
    words.extend(file.into_iter().flat_map(|path| ["--config".to_owned(), quoted(&path.display().to_string())]));
    words.join(" ")
}

/// A word as a shell takes it: in quotes where it needs them.
fn quoted(word: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "/._-:=+,".contains(char);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

fn addresses(url: &str, token: &str) {
    let lines = [
        format!("overview  {url}/"),
        format!("MCP       {url}/mcp"),
        format!("REST      {url}/openapi.json"),
        format!(
            "connect   claude mcp add --transport http mana {url}/mcp --header \"Authorization: Bearer $({token})\""
        ),
    ];
    print::say(&lines.join("\n"));
    if std::io::stderr().is_terminal() {
        print::say("Ctrl-C stops");
    }
}

/// One pass over the personas that are due, on an address of its own, and then the end.
pub(crate) async fn tick(settings: &Settings, as_json: bool) -> Result {
    let (listener, bound) = bind(([127, 0, 0, 1], 0).into()).await?;
    let app = App::open(settings, &Role::ALL, bound, false).await?;
    let stop = Stop::on_signals()?;
    let runner = app.runner.clone();
    let serving = Serving::start(app, listener, &stop);
    let obstacle = match &runner {
        Some(runner) => runner.health().reason,
        None => Some("this process has no runner".into()),
    };
    let result = match (&runner, obstacle) {
        (Some(runner), None) => tokio::select! {
            result = pass::run(runner) => result,
            () = stop.gently.cancelled() => Err(Failure::Interrupted),
        },
        (_, reason) => Err(Failure::Failed(reason.unwrap_or_default())),
    };
    if result.is_err()
        && let Some(runner) = &runner
    {
        // An interrupted pass gives its visits back.
        stop.gently.cancel();
        runner.run(stop.gently.clone(), stop.at_once.clone()).await;
    }
    stop.gently.cancel();
    serving.end(&stop).await?;
    let result = result?;
    if as_json {
        print::json(&serde_json::to_value(&result).unwrap_or(Value::Null))?;
    } else if result.due == 0 && result.error.is_none() {
        print::say(
            "nobody is due; `mana personas list` shows when each one is, `mana personas run WHO` makes one due now",
        );
    } else {
        print::out(&pass::table(&result))?;
    }
    match (&result.error, result.failed.len()) {
        (None, 0) => Ok(()),
        (None, failed) => Err(Failure::Failed(format!("{failed} of {} visits failed", result.due))),
        (Some(reason), 0) => Err(Failure::Failed(format!("the pass ended early: {reason}"))),
        (Some(reason), failed) => Err(Failure::Failed(format!(
            "{failed} of {} visits failed, and the pass ended early: {reason}",
            result.due
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::settings::Flags;

    fn command(given: &[(&'static str, &'static str, &str)]) -> String {
        let given = given.iter().map(|(name, flag, text)| (*name, *flag, (*text).to_owned())).collect();
        let flags = Flags { given, config: None };
        let settings = Settings::resolve(&flags, &BTreeMap::new(), None, vec![]).expect("is valid");
        let command = token_command(&settings, ([127, 0, 0, 1], 4711).into());
        command.split_once(" token").expect("names the command").1.to_owned()
    }

    #[test]
    fn the_token_is_asked_for_with_the_flags_of_the_server() {
        assert_eq!(command(&[]), "");
        let flags = [("data", "--data", "my data"), ("listen", "--listen", "127.0.0.1:0"), ("log", "--log", "info")];
        assert_eq!(command(&flags), " --data 'my data' --listen 127.0.0.1:4711");
        assert_eq!(command(&[("database", "--database", "postgres://u:hunter2@h/d")]), " --database ADDRESS");
        assert_eq!(command(&[("database", "--database", "sqlite:it's.db")]), r" --database 'sqlite:it'\''s.db'");
    }
}
