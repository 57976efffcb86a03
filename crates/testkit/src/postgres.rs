//! A PostgreSQL server for the tests of this process.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use sqlx::{ConnectOptions, Executor};
use tokio::sync::OnceCell;

/// A server where databases can be created.
#[derive(Debug)]
pub(crate) struct Server {
    /// `{}` stands for the name of a database.
    pattern: String,
    /// Ends the server when its input closes, which it does with this process, however that ends.
    _keeper: Option<Child>,
}

static SERVER: OnceCell<Option<Server>> = OnceCell::const_new();

pub(crate) async fn server() -> Option<&'static Server> {
    SERVER.get_or_init(|| async { find() }).await.as_ref()
}

impl Server {
    pub(crate) async fn create(&self, name: &str) -> String {
        let options: sqlx::postgres::PgConnectOptions =
            self.pattern.replace("{}", "postgres").parse().expect("the address of the test server is valid");
        let mut connection = options.connect().await.expect("the test server answers");
        // A name made by us from two numbers: nothing in it to quote.
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        connection.execute(create).await.expect("the test server creates a database");
        self.pattern.replace("{}", name)
    }
}

#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where a server is")]
fn find() -> Option<Server> {
    if let Ok(address) = std::env::var("TEST_DATABASE_URL") {
        // Options first: a socket's folder among them has slashes of its own.
        let (address, options) = address
            .split_once('?')
            .map_or((address.as_str(), String::new()), |(address, options)| (address, format!("?{options}")));
        let (server, _) = address.rsplit_once('/').expect("TEST_DATABASE_URL ends in /NAME");
        return Some(Server { pattern: format!("{server}/{{}}{options}"), _keeper: None });
    }
    let started = start();
    if started.is_none() {
        // Not through `eprintln`, which the test harness would keep to itself.
        let _ = writeln!(
            std::io::stderr(),
            "note: no PostgreSQL found (no TEST_DATABASE_URL, no `initdb` installed): these tests run on SQLite only"
        );
    }
    started
}

/// Starts a server in a folder of its own, says the folder, waits until its input closes, and cleans up.
const KEEPER: &str = r#"
PATH="$PATH:$(ls -d /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin 2>/dev/null | sort -rV | tr '\n' ':')"
command -v initdb >/dev/null && command -v postgres >/dev/null || exit 3
dir=$(mktemp -d) || exit 4
trap 'kill -INT "$server" 2>/dev/null; wait "$server" 2>/dev/null; rm -rf "$dir"' EXIT
trap '' INT
initdb --pgdata "$dir/data" --username mana --auth trust --no-sync --encoding UTF8 --locale C.UTF-8 >"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 5; }
postgres -D "$dir/data" -k "$dir" -c listen_addresses= -c fsync=off -c full_page_writes=off \
    -c max_connections=300 -c shared_buffers=64MB -c log_min_messages=fatal >>"$dir/log" 2>&1 </dev/null &
server=$!
for _ in $(seq 300); do
    if pg_isready -q -h "$dir" -U mana; then echo "$dir"; break; fi
    kill -0 "$server" 2>/dev/null || { cat "$dir/log" >&2; exit 6; }
    sleep 0.05
done
read -r _
"#;

fn start() -> Option<Server> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    let mut command = if root {
        // The server refuses to run as root; Debian's package brings this user.
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", "sh", "-c", KEEPER]);
        command
    } else {
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER]);
        command
    };
    command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut keeper = command.spawn().ok()?;
    let mut folder = String::new();
    BufReader::new(keeper.stdout.take()?).read_line(&mut folder).ok()?;
    let folder = folder.trim();
    if folder.is_empty() {
        return None;
    }
    Some(Server { pattern: format!("postgres://mana@localhost/{{}}?host={folder}"), _keeper: Some(keeper) })
}
