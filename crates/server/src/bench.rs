//! `mana bench`: the hot paths in numbers, on this machine, over real HTTP.
//!
//! Server and load share the machine and the process, as they do on a small installation. Each figure stands beside a
//! peer from the same run: a bare answer of the HTTP stack, so that a slow machine is told from a slow program.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use axum::routing::get;
use mana_gateway::PolicyMode;
use mana_registry::prelude::*;
use mana_types::Secret;
use mana_web::CancellationToken;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{App, bind};
use crate::cli::{Bench, Role};
use crate::failure::{Failure, Result};
use crate::local::Local;
use crate::print;
use crate::settings::Settings;

/// What `bench_echo` takes and answers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Echo {
    /// Any short text.
    text: Line<100>,
}

async fn echo(_: Cx, echo: Echo) -> mana_registry::Result<Echo> {
    Ok(echo)
}

/// One measured path.
struct Measured {
    what: &'static str,
    goal: &'static str,
    per_second: f64,
    p50: Duration,
    p99: Duration,
    failed: u64,
}

pub(crate) async fn run(settings: &Settings, options: &Bench, as_json: bool) -> Result {
    let folder = settings.data.join(format!("bench-{}", std::process::id()));
    let settings = Settings {
        data: folder.clone(),
        database: if settings.database.starts_with("sqlite:") {
            format!("sqlite:{}", folder.join("mana.db").display())
        } else {
            settings.database.clone()
        },
        // The policy decides as always and only does not refuse: a load generator calls one tool more often than anybody may.
        policy: PolicyMode::LogOnly,
        seed_secret: Secret::new("bench"),
        concurrency: 32,
        paused: false,
        ..settings.clone()
    };
    let measured = measure(&settings, options).await;
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        print::say(&format!("the folder {} could not be removed: {error}", folder.display()));
    }
    let (paths, pass) = measured?;
    report(&paths, &pass, as_json)
}

async fn measure(settings: &Settings, options: &Bench) -> Result<(Vec<Measured>, Value)> {
    let (listener, bound) = bind(([127, 0, 0, 1], 0).into()).await?;
    let mut modules = mana_modules::all();
    modules.push(Module::new("bench", "Measure.").labels("Bench", "Messung").tool(read(
        "bench_echo",
        "Answer what was sent.",
        echo,
    )));
    let registry = Registry::new(modules).map_err(|error| Failure::Failed(error.to_string()))?;
    let mut app = App::open_with(settings, &Role::ALL, bound, false, registry).await?;
    app.router = app.router.route("/bench/bare", get(|| async { "{}" }));
    let identity = app.identity.clone().context("there is an identity role")?;
    identity
        .add_admin("bench@mana.local", None, "a long password for a short life")
        .await
        .map_err(anyhow::Error::from)?;
    let local = Local::as_admin(&app).await?;
    let admin = identity.first_admin().await.map_err(anyhow::Error::from)?.context("there is an administrator")?;
    let token = identity.mint(admin.id).await.map_err(anyhow::Error::from)?;
    let runner = app.runner.clone().context("there is a runner role")?;
    let stop = CancellationToken::new();
    let serving = tokio::spawn(app.serve(listener, stop.clone()));

    for n in 0..50 {
        let body = mcp_call(&token, "todo_create", &json!({ "title": format!("Aufgabe {n}") }));
        one(bound, &body).await?;
    }
    let paths = [
        ("bare answer (peer)", "", plain("/bench/bare")),
        (
            "tools/call of a trivial tool",
            "8000/s, p99 8 ms",
            mcp_call(&token, "bench_echo", &json!({ "text": "hallo" })),
        ),
        ("todo_list of 50", "4000/s", mcp_call(&token, "todo_list", &json!({}))),
        ("todo_create, durable", "1000/s", mcp_call(&token, "todo_create", &json!({ "title": "Aufgabe" }))),
    ];
    let mut measured = Vec::new();
    for (what, goal, request) in paths {
        print::say(&format!("measuring {what} …"));
        measured.push(load(bound, what, goal, request, options).await?);
    }
    let pass = pass(&local, &runner, settings, options.personas).await?;
    stop.cancel();
    serving.await.map_err(anyhow::Error::from)??;
    Ok((measured, pass))
}

/// Seeds personas that are all due and runs them in one pass.
async fn pass(local: &Local, runner: &mana_runner::Runner, settings: &Settings, count: u32) -> Result<Value> {
    print::say(&format!("seeding {count} personas …"));
    let catalog = crate::seed::read_catalog(None)?;
    let mut population = catalog.clone();
    population.personas = (0..count as usize)
        .map(|n| {
            let mut person = catalog.personas[n % catalog.personas.len()].clone();
            person.email = format!("persona.bench{n}@mana.test");
            person.descriptor.cadence = mana_personas::due::Cadence::Daily;
            person
        })
        .collect();
    let seeded = crate::seed::seed(local, &population, settings).await;
    crate::seed::report(&seeded)?;
    print::say("measuring a pass over all of them …");
    let cpu = cpu_time();
    let started = Instant::now();
    let result = runner.pass().await.map_err(|error| Failure::Failed(error.to_string()))?;
    let took = started.elapsed();
    let cpu = cpu_time().zip(cpu).map(|(after, before)| after.saturating_sub(before));
    let visits = serde_json::to_value(&result).map_err(anyhow::Error::from)?;
    let calls: u64 =
        visits["visits"].as_array().into_iter().flatten().filter_map(|visit| visit["calls"].as_u64()).sum();
    let per_visit = cpu.map(|cpu| cpu.as_secs_f64() * 1000.0 / f64::from(count));
    Ok(json!({
        "personas": count,
        "completed": result.ran_successfully,
        "seconds": took.as_secs_f64(),
        "calls": calls,
        "cpuMsPerVisit": per_visit,
        "residentMiB": resident_mib(),
        "goal": "200 personas within 15 s; 60 ms of CPU a visit",
    }))
}

fn plain(path: &str) -> Arc<[u8]> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes().into()
}

/// A `tools/call` of the protocol version 2026-07-28.
fn mcp_call(token: &str, tool: &str, arguments: &Value) -> Arc<[u8]> {
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {
            "name": tool, "arguments": arguments,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": { "name": "mana-bench", "version": env!("CARGO_PKG_VERSION") },
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    })
    .to_string();
    format!(
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n\
         Mcp-Name: {tool}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
    .into()
}

/// A connection that sends the same request again and again. It reads just enough of HTTP to know where an answer
/// ends, so that the load costs the machine little.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(to: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 * 1024) })
    }

    /// Whether the answer was a success.
    async fn ask(&mut self, request: &[u8]) -> anyhow::Result<bool> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let (head, length) = loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection");
            }
            if let Some(end) = find(&self.buffer[..self.buffer.len().min(2048)], b"\r\n\r\n") {
                let head = std::str::from_utf8(&self.buffer[..end])?.to_ascii_lowercase();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length:"))
                    .context("the answer has no length")?
                    .trim()
                    .parse::<usize>()?;
                break (end + 4, length);
            }
        };
        while self.buffer.len() < head + length {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection");
            }
        }
        // A protocol error or a failed tool says so right at the end of its few bytes; a page of tasks need not be read.
        let body = &self.buffer[head..];
        let end = &body[body.len().saturating_sub(200)..];
        let failed = find(end, b"\"isError\":true").is_some() || find(end, b"\"error\":").is_some();
        Ok(self.buffer.starts_with(b"HTTP/1.1 200") && !failed)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

async fn one(to: SocketAddr, request: &[u8]) -> Result {
    let mut connection = Connection::open(to).await?;
    if connection.ask(request).await? {
        Ok(())
    } else {
        Err(Failure::Failed(format!("a request failed: {}", String::from_utf8_lossy(&connection.buffer))))
    }
}

async fn load(
    to: SocketAddr,
    what: &'static str,
    goal: &'static str,
    request: Arc<[u8]>,
    options: &Bench,
) -> Result<Measured> {
    one(to, &request).await?;
    let over = Arc::new(AtomicBool::new(false));
    let failed = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let tasks: Vec<_> = (0..options.connections)
        .map(|_| {
            let (request, over, failed) = (Arc::clone(&request), Arc::clone(&over), Arc::clone(&failed));
            tokio::spawn(async move {
                let mut connection = Connection::open(to).await?;
                let mut took = Vec::with_capacity(100_000);
                while !over.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    if !connection.ask(&request).await? {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    took.push(asked.elapsed());
                }
                anyhow::Ok(took)
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    over.store(true, Ordering::Relaxed);
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.map_err(anyhow::Error::from)??);
    }
    let seconds = started.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |share: usize| took.get(took.len().saturating_sub(1) * share / 100).copied().unwrap_or_default();
    let count = u32::try_from(took.len()).unwrap_or(u32::MAX);
    Ok(Measured {
        what,
        goal,
        per_second: f64::from(count) / seconds,
        p50: at(50),
        p99: at(99),
        failed: failed.load(Ordering::Relaxed),
    })
}

/// CPU time of this process so far; none where the system does not say.
fn cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string(Path::new("/proc/self/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10)) // Linux counts in hundredths of a second on every architecture
}

/// Memory of this process in MiB; none where the system does not say.
fn resident_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

fn report(paths: &[Measured], pass: &Value, as_json: bool) -> Result {
    let peer = paths.first().map_or(f64::NAN, |peer| peer.per_second);
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    if as_json {
        let all: Vec<Value> = paths
            .iter()
            .map(|path| {
                json!({ "what": path.what, "perSecond": path.per_second, "p50Ms": ms(path.p50), "p99Ms": ms(path.p99),
                        "failed": path.failed, "ofPeer": path.per_second / peer, "goal": path.goal })
            })
            .collect();
        print::json(&json!({ "paths": all, "pass": pass }))?;
    } else {
        let rows = paths.iter().map(|path| {
            vec![
                path.what.to_owned(),
                format!("{:.0}/s", path.per_second),
                format!("{:.2} ms", ms(path.p50)),
                format!("{:.2} ms", ms(path.p99)),
                format!("{:.2}", path.per_second / peer),
                path.failed.to_string(),
                path.goal.to_owned(),
            ]
        });
        let head = ["path", "rate", "p50", "p99", "of peer", "failed", "goal"];
        print::out(&print::table(&head, rows.collect()))?;
        let row = vec![
            print::text(pass, "personas"),
            print::text(pass, "completed"),
            pass["seconds"].as_f64().map(|seconds| format!("{seconds:.1} s")).unwrap_or_default(),
            print::text(pass, "calls"),
            pass["cpuMsPerVisit"].as_f64().map(|ms| format!("{ms:.1} ms")).unwrap_or_default(),
            print::text(pass, "residentMiB"),
            print::text(pass, "goal"),
        ];
        let head = ["personas", "completed", "pass", "calls", "CPU a visit", "MiB", "goal"];
        print::out(&format!("\n{}", print::table(&head, vec![row])))?;
    }
    let failed: u64 = paths.iter().map(|path| path.failed).sum();
    if failed == 0 { Ok(()) } else { Err(Failure::Failed(format!("{failed} requests failed"))) }
}
