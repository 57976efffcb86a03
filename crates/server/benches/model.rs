//! What a visit of a model costs beside the model: the real binary, the real tools, and a model in this process that
//! answers at once, whose time is therefore nowhere in the figures.
//!
//! `cargo bench -p mana-server --bench model [-- --quick]`. Linux: figures come from `/proc`. Three questions:
//!
//! - The runner in a process of its own: CPU for each reply, with its tools elsewhere.
//! - Everything in one process, the model at once: visits per second, CPU for each visit, beside the same persona
//!   population played by `rehearsal` in the same run.
//! - A thousand visits under way at once, the model slow: the peak of the memory of that one process.
#![expect(clippy::print_stdout, reason = "a benchmark speaks to a terminal")]
#![expect(clippy::cast_precision_loss, reason = "counts and milliseconds of a benchmark are far below 2^52")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use mana_testkit::model::{Ask, FakeModel, Script, Turn};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The calls of one visit.
const CALLS: usize = 8;

/// The replies of one visit: one for each call, the closing word, the diary, the ratings.
const REPLIES: usize = CALLS + 3;

/// Eight calls on one list, a word, a diary, a rating. It looks at a request only as far as it must, because it shares
/// the machine with what is measured.
fn day(ask: &Ask) -> Turn {
    let turn = ask.turns_at_a_glance();
    let call = |name: &str, input: Value| Turn::new().tool_use(&format!("toolu_{turn}_{}", ask.number), name, input);
    match turn {
        0 | 4 | 7 => call("todo_list", json!({})),
        1..CALLS => call("todo_create", json!({ "title": format!("Aufgabe {}", ask.number) })),
        CALLS => Turn::say("Das war es für heute."),
        turn if turn == CALLS + 1 => Turn::say("Ich wollte Ordnung schaffen, und es ging ohne Mühe."),
        _ => Turn::say(
            r#"{"ratings":[{"module":"todo","rating":4,"noOpinion":null,"notes":"Gut.","evidence":[1,2],"quote":"es ging ohne Mühe","confidence":0.75}]}"#,
        ),
    }
    .delta(200)
}

/// Personas who only want their list.
fn catalog(personas: usize) -> String {
    let mut text = String::from("version = 1\n");
    for n in 0..personas {
        write!(
            text,
            r#"
[[persona]]
email = "persona.bench{n}@mana.test"
name = "Bench {n}"
archetype = "bench"
tickCadence = "daily"
locale = "de"
timezone = "Europe/Berlin"
systemPrompt = "Ich heiße Bench {n} und halte meine Aufgaben in Ordnung, jeden Tag ein paar Minuten, mehr nicht."
[persona.moduleMix]
todo = 1.0
[persona.behaviour]
toleratedErrors = 5
toleratedMinutes = 60
typoRate = 0.0
skipRate = 0.0
verbosity = 0.3
"#
        )
        .expect("a string takes whatever is written into it");
    }
    text
}

/// An installation in a folder of its own.
struct Home {
    folder: tempfile::TempDir,
    model: String,
    engine: &'static str,
    at_once: usize,
}

impl Home {
    fn new(model: &FakeModel, engine: &'static str, at_once: usize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Self { folder, model: model.url().to_owned(), engine, at_once }
    }

    fn mana(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mana"));
        command.args(arguments).current_dir(self.folder.path()).env_clear().stdin(Stdio::null()).kill_on_drop(true);
        command.envs([
            ("ANTHROPIC_API_KEY", "sk-ant-of-nobody"),
            ("ANTHROPIC_BASE_URL", &self.model),
            ("MANA_ENGINE", self.engine),
            ("MANA_MODEL_CONCURRENCY", "64"),
            ("PERSONA_CONCURRENCY", &self.at_once.to_string()),
            ("TICK_INTERVAL_MS", "86400000"),
            ("MANA_BUDGET_DAY_USD", "100000"),
            ("MANA_BUDGET_MONTH_USD", "100000"),
        ]);
        command
    }

    async fn run(&self, arguments: &[&str]) {
        let output = self.mana(arguments).output().await.expect("`mana` can be started");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Everybody due; after the servers have begun, so that their first pass finds nobody.
    async fn seed(&self, personas: usize) {
        let path = self.folder.path().join("catalog.toml");
        std::fs::write(&path, catalog(personas)).expect("a file can be written");
        self.run(&["personas", "seed", "--catalog", &path.to_string_lossy()]).await;
    }

    async fn serve(&self, roles: &str, elsewhere: Option<&Server>) -> Server {
        let mut command = self.mana(&["serve", "--listen", "127.0.0.1:0", "--roles", roles]);
        if let Some(there) = elsewhere {
            command.env("MANA_AUTH_URL", &there.url).env("MANA_MCP_URL", format!("{}/mcp", there.url));
        }
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("`mana` can be started");
        let mut lines = BufReader::new(child.stderr.take().expect("is piped")).lines();
        let line = lines.next_line().await.expect("can be read").expect("says where it is");
        let address = line.split(" on ").nth(1).unwrap_or_else(|| panic!("{line}"));
        let end = address.rfind(": ").unwrap_or(address.len());
        let url = address[..end].to_owned();
        tokio::spawn(async move {
            let mut told = 0;
            while let Ok(Some(line)) = lines.next_line().await {
                told += 1;
                if told <= 5 {
                    println!("  mana: {line}");
                }
            }
        });
        // The first pass, over nobody.
        tokio::time::sleep(Duration::from_millis(300)).await;
        Server { child, url }
    }
}

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn proc(&self, file: &str) -> String {
        let path = Path::new("/proc").join(self.child.id().expect("runs").to_string()).join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// CPU so far, in milliseconds.
    fn cpu(&self) -> f64 {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat.rsplit_once(')').expect("has a name").1.split_whitespace().collect();
        let ticks = |place: usize| fields[place].parse::<u64>().expect("is a number");
        (ticks(11) + ticks(12)) as f64 * 10.0 // Linux counts in hundredths of a second on every architecture
    }

    /// The most memory so far, in MiB.
    fn peak(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("is said");
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("is a number") / 1024
    }

    /// One pass over everybody, and how long it took.
    async fn pass(&self, personas: usize) -> Duration {
        let started = Instant::now();
        let request = reqwest::Client::new().post(format!("{}/diag/tick", self.url));
        let answer: Value = request.send().await.expect("answers").json().await.expect("is JSON");
        let took = started.elapsed();
        assert_eq!(answer["result"]["ranSuccessfully"], json!(personas), "{}", shortened(&answer));
        took
    }
}

fn shortened(answer: &Value) -> String {
    answer.to_string().chars().take(1_000).collect()
}

/// The runner alone.
async fn engine(personas: usize) {
    let model = FakeModel::start_unchecked(Script::new(day)).await;
    let home = Home::new(&model, "anthropic", 16);
    home.run(&["user", "add", "admin@example.test", "--admin"]).await;
    let services = home.serve("identity,gateway", None).await;
    let runner = home.serve("runner", Some(&services)).await;
    home.seed(personas).await;
    let (before, services_before) = (runner.cpu(), services.cpu());
    let took = runner.pass(personas).await;
    let (cpu, elsewhere) = (runner.cpu() - before, services.cpu() - services_before);
    assert_eq!(model.served(), personas * REPLIES);
    let replies = (personas * REPLIES) as f64;
    println!(
        "engine       {personas} visits, {replies} replies in {:.1} s: {:.2} ms CPU of the runner a reply (goal < 5), {:.1} ms a visit; services {:.1} ms a visit; runner peak {} MiB",
        took.as_secs_f64(),
        cpu / replies,
        cpu / personas as f64,
        elsewhere / personas as f64,
        runner.peak(),
    );
}

/// Everything in one process; answers its CPU for each visit.
async fn whole(engine: &'static str, personas: usize) -> f64 {
    let model = FakeModel::start_unchecked(Script::new(day)).await;
    let home = Home::new(&model, engine, 32);
    home.run(&["user", "add", "admin@example.test", "--admin"]).await;
    let server = home.serve("identity,gateway,runner", None).await;
    home.seed(personas).await;
    let before = server.cpu();
    let took = server.pass(personas).await.as_secs_f64();
    let cpu = (server.cpu() - before) / personas as f64;
    println!(
        "{engine:<12} {personas} visits in {took:.1} s: {:.0} visits/s beside the model's own work, {cpu:.1} ms CPU a visit, which is {:.0} visits/s of two cores (goal 100); peak {} MiB",
        personas as f64 / took,
        2_000.0 / cpu,
        server.peak(),
    );
    cpu
}

/// A thousand at once.
async fn many(personas: usize) {
    let slow = Script::new(day).paced(Duration::from_millis(150), Duration::ZERO);
    let model = FakeModel::start_unchecked(slow).await;
    let home = Home::new(&model, "anthropic", personas.min(1_000));
    home.run(&["user", "add", "admin@example.test", "--admin"]).await;
    let server = home.serve("identity,gateway,runner", None).await;
    home.seed(personas).await;
    let rests = server.peak();
    let took = server.pass(personas).await;
    println!(
        "memory       {personas} visits of {CALLS} calls at once in {:.1} s, at most {} of them with the model: peak {} MiB (goal 256), {rests} MiB before",
        took.as_secs_f64(),
        model.most_at_once(),
        server.peak(),
    );
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads its own arguments")]
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let wants = |name: &str| {
        let named = || arguments.iter().filter(|argument| !argument.starts_with("--")).collect::<Vec<_>>();
        named().is_empty() || named().iter().any(|argument| *argument == name)
    };
    let (few, most) = if quick { (40, 200) } else { (200, 1_000) };
    if wants("engine") {
        engine(few).await;
    }
    if wants("whole") {
        let cpu = whole("anthropic", few).await;
        let peer = whole("rehearsal", few).await;
        println!("{:<12} {:.2} times the CPU of `rehearsal`", "ratio", cpu / peer);
    }
    if wants("memory") {
        many(most).await;
    }
}
