//! Starting `mana`, and talking to it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A folder of its own for an installation, and where its database is.
pub(crate) struct Home {
    folder: tempfile::TempDir,
    pub(crate) database: Option<String>,
}

impl Home {
    /// On SQLite, the default.
    pub(crate) fn sqlite() -> Self {
        // As the binary does; a second installation is refused and would be the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { folder: tempfile::tempdir().expect("a temporary folder can be made"), database: None }
    }

    /// On PostgreSQL; none where there is none.
    pub(crate) async fn postgres() -> Option<Self> {
        let database = Some(mana_testkit::empty_postgres().await?);
        Some(Self { database, ..Self::sqlite() })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// `mana` with these arguments, in this home and without any setting from outside.
    pub(crate) fn mana(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mana"));
        command.args(arguments).current_dir(self.folder.path()).env_clear().stdin(Stdio::null()).kill_on_drop(true);
        if let Some(database) = &self.database {
            command.env("DATABASE_URL", database);
        }
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.mana(arguments)).await
    }

    /// Runs a command that must succeed and answers its JSON.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        let ended = self.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.err);
        serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{}", ended.out))
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) async fn of(mut command: Command) -> Self {
        let ended = tokio::time::timeout(Duration::from_mins(1), command.output());
        let output = ended.await.expect("ends within a minute").expect("can be started");
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).expect("is UTF-8"),
            err: String::from_utf8(output.stderr).expect("is UTF-8"),
        }
    }
}

/// A server that runs.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    lines: tokio::sync::mpsc::UnboundedReceiver<String>,
    /// What it has said so far.
    pub(crate) said: Vec<String>,
}

impl Server {
    /// Starts a command that serves, and waits until it says where.
    pub(crate) async fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("can be started");
        let mut reader = BufReader::new(child.stderr.take().expect("is piped")).lines();
        let (told, lines) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = reader.next_line().await {
                let _ = told.send(line); // the test may have heard enough
            }
        });
        let mut server = Self { child, url: String::new(), lines, said: Vec::new() };
        let line = server.wait_for(" on http://").await;
        let address = line.split(" on ").nth(1).unwrap_or_default();
        server.url = address.split([' ', ':']).take(1).collect::<String>();
        let (scheme, rest) = address.split_once("://").expect("an address");
        let host: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | ':')).collect();
        server.url = format!("{scheme}://{}", host.trim_end_matches(':'));
        server
    }

    /// Waits for a line that contains this text.
    pub(crate) async fn wait_for(&mut self, text: &str) -> String {
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            let heard = tokio::time::timeout_at(until.into(), self.lines.recv()).await;
            let Ok(line) = heard else { panic!("did not say `{text}` within a minute:\n{}", self.said.join("\n")) };
            let Some(line) = line else { panic!("ended without saying `{text}`:\n{}", self.said.join("\n")) };
            self.said.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// `GET` of a path: status and JSON.
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        answer(reqwest::Client::new().get(format!("{}{path}", self.url))).await
    }

    /// `POST` to a path: status and JSON.
    pub(crate) async fn post(&self, path: &str) -> (u16, Value) {
        answer(reqwest::Client::new().post(format!("{}{path}", self.url))).await
    }

    /// Sends SIGTERM and answers how it ended.
    pub(crate) async fn terminate(&mut self) -> i32 {
        let id = self.child.id().expect("runs").to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().await.expect("`kill` runs");
        assert!(sent.success());
        let ended = tokio::time::timeout(Duration::from_secs(30), self.child.wait());
        ended.await.expect("ends within its grace").expect("can be waited for").code().unwrap_or(-1)
    }

    /// Everything that it said until its end.
    pub(crate) async fn rest(&mut self) -> String {
        while let Some(line) = self.lines.recv().await {
            self.said.push(line);
        }
        self.said.join("\n")
    }

    /// Ends it as a power failure would.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("can be killed");
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.expect("answers");
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(Value::Null))
}
