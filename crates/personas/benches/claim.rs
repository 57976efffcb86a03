//! What a claim costs among ten thousand and among a million personas, and how fast actions are written.
//!
//! `cargo bench -p mana-personas --bench claim [-- --quick] [-- --json]`. SQLite always; PostgreSQL where there is a
//! server (`TEST_DATABASE_URL`) or its programs are installed. A private server started for this runs without `fsync`,
//! and the table says so; for durable figures name a server.
#![expect(clippy::print_stdout, reason = "a benchmark speaks to a terminal")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use mana_identity::{HashCost, Identity, IdentityOptions};
use mana_personas::Personas;
use mana_personas::claim::ClaimRequest;
use mana_store::{Db, DbOptions, EngineKind};
use mana_types::{Clock, Random, SystemClock, SystemRandom, UserId};
use serde_json::{Value, json};
use uuid::Uuid;

const CLAIMS: usize = 300;
const WARM_UP: usize = 30;
/// Between two claims, as a runner leaves it between two looks; a claim does not pay for the one before.
const PAUSE: Duration = Duration::from_millis(3);
const IDLE: usize = 1_000;
const BATCHES: usize = 100;
const BATCH: usize = 500;
const TAKEN: usize = 10;

/// What was measured on one engine with one population.
struct Measured {
    engine: String,
    personas: i64,
    claim: Spread,
    idle: Spread,
    actions_per_second: f64,
    retried_per_second: f64,
}

/// Milliseconds.
struct Spread {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1_000.0;
        Self { p50: at(50), p99: at(99), max: at(100) }
    }

    fn json(&self) -> Value {
        json!({ "p50Ms": round(self.p50), "p99Ms": round(self.p99), "maxMs": round(self.max) })
    }
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[tokio::main]
async fn main() {
    #[expect(clippy::disallowed_methods, reason = "a benchmark of its own, it has no settings to go through")]
    let arguments: Vec<String> = std::env::args().collect();
    let asked = |name: &str| arguments.iter().any(|argument| argument == name);
    let sizes = if asked("--quick") { [10_000, 100_000] } else { [10_000, 1_000_000] };
    let mut all = Vec::new();
    for personas in sizes {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let address = format!("sqlite:{}", folder.path().join("mana.db").display());
        all.push(measure(&address, personas).await);
    }
    for personas in sizes {
        if let Some(test) = mana_testkit::postgres().await {
            test.db.close().await.expect("closes");
            all.push(measure(&test.address, personas).await);
        }
    }
    if !asked("--json") {
        table(&all);
    }
    let rows: Vec<Value> = all
        .iter()
        .map(|row| {
            json!({
                "engine": row.engine, "personas": row.personas, "claimOf10": row.claim.json(), "idleClaim": row.idle.json(),
                "actionRowsPerSecond": row.actions_per_second.round(), "retriedRowsPerSecond": row.retried_per_second.round(),
            })
        })
        .collect();
    println!("{}", json!({ "benchmark": "personas/claim", "version": 1, "results": rows }));
}

fn table(all: &[Measured]) {
    println!(
        "{:<38} {:>9} {:>11} {:>11} {:>11} {:>11} {:>12} {:>12}",
        "engine", "personas", "claim p50", "claim p99", "idle p50", "idle p99", "actions/s", "retried/s"
    );
    for row in all {
        println!(
            "{:<38} {:>9} {:>8.3} ms {:>8.3} ms {:>8.3} ms {:>8.3} ms {:>12.0} {:>12.0}",
            row.engine,
            row.personas,
            row.claim.p50,
            row.claim.p99,
            row.idle.p50,
            row.idle.p99,
            row.actions_per_second,
            row.retried_per_second
        );
    }
    for pair in all.chunks(2) {
        if let [small, large] = pair {
            let growth = large.claim.p50 / small.claim.p50;
            println!(
                "{}: a claim among {} costs {growth:.2} times one among {}",
                small.engine, large.personas, small.personas
            );
        }
    }
}

async fn measure(address: &str, personas: i64) -> Measured {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let db = Db::open(&DbOptions::new(address), Arc::clone(&clock)).await.expect("the database opens");
    let cost = IdentityOptions {
        hash_cost: HashCost { memory_kib: 8, passes: 1 },
        ..IdentityOptions::new("http://mana.test")
    };
    let identity =
        Identity::open(db.clone(), Arc::clone(&clock), Arc::clone(&random), cost).await.expect("identity opens");
    let now = db.now().await.expect("tells the time").as_millis();
    fill(&db, personas, now).await;
    let engine = describe(&db).await;
    let service = Personas::new(db.clone(), identity, clock, random);

    let request = ClaimRequest {
        owner: "bench".into(),
        limit: i64::try_from(TAKEN).expect("small"),
        lease_ms: 600_000,
        engine: "rehearsal".into(),
    };
    let mut times = Vec::with_capacity(CLAIMS);
    for round in 0..WARM_UP + CLAIMS {
        tokio::time::sleep(PAUSE).await;
        let started = Instant::now();
        let (claims, _) = service.claim(&request).await.expect("claims");
        let took = started.elapsed();
        assert_eq!(claims.len(), TAKEN, "enough are due");
        if round >= WARM_UP {
            times.push(took);
        }
    }
    let claim = Spread::of(times);

    let mut tx = db.begin().await.expect("begins");
    let tomorrow = now + 24 * 60 * 60 * 1_000;
    tx.query("UPDATE run_state SET ready_at = ready_at + $1 WHERE ready_at < $1")
        .bind(tomorrow)
        .execute()
        .await
        .expect("updates");
    tx.commit().await.expect("commits");
    tidy(&db).await;
    let mut times = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        let started = Instant::now();
        let (claims, _) = service.claim(&request).await.expect("claims");
        times.push(started.elapsed());
        assert!(claims.is_empty(), "nothing is due");
    }
    let idle = Spread::of(times);

    let batches: Vec<(UserId, Value)> = (0..BATCHES).map(|number| batch(number, personas)).collect();
    let first = write(&service, &batches, BATCH).await;
    let again = write(&service, &batches, 0).await;
    let rows = f64::from(u32::try_from(BATCHES * BATCH).expect("small"));
    Measured {
        engine,
        personas,
        claim,
        idle,
        actions_per_second: rows / first.as_secs_f64(),
        retried_per_second: rows / again.as_secs_f64(),
    }
}

/// A name for the table, with what matters for its figures.
async fn describe(db: &Db) -> String {
    let version = db.version().await.expect("tells its version");
    match db.engine() {
        EngineKind::Sqlite => version,
        EngineKind::Postgres => {
            let (fsync,) = db.query("SELECT current_setting('fsync')").one::<(String,)>().await.expect("tells");
            let number: String = version.chars().take_while(|char| *char != '(').collect();
            format!("{} (fsync {fsync})", number.trim())
        }
    }
}

/// Writes the batches one after the other, each durable before the next.
async fn write(service: &Personas, batches: &[(UserId, Value)], expected: usize) -> Duration {
    let started = Instant::now();
    for (persona, body) in batches {
        let written = service.record_actions(*persona, body).await.expect("writes");
        assert_eq!((written.written, written.received), (expected as u64, BATCH));
    }
    started.elapsed()
}

fn id(number: i64) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(number.unsigned_abs()))
}

fn batch(number: usize, personas: i64) -> (UserId, Value) {
    let place = i64::try_from(number).expect("small");
    let tick = id(1 << 40 | place).to_string();
    let rows: Vec<Value> = (0..BATCH)
        .map(|index| {
            let failed = index % 10 == 0;
            json!({
                "tickId": tick, "index": index, "toolName": "todo_create", "module": "todo", "toolUseId": format!("toolu_{index:020}"),
                "inputHash": "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef", "latencyMs": 12,
                "result": if failed { "error" } else { "ok" },
                "code": failed.then_some("input-invalid"), "errorMessage": failed.then_some("`title` is missing"),
            })
        })
        .collect();
    (UserId::from_uuid(id(place % personas)), json!({ "actions": rows }))
}

/// Puts a population straight into the tables, which only a benchmark may. Half of it is due, in no order.
async fn fill(db: &Db, personas: i64, now: i64) {
    let (numbers, uuid) = match db.engine() {
        EngineKind::Sqlite => (
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $1)",
            "unhex('01900000000070008000' || printf('%012x', i))",
        ),
        EngineKind::Postgres => (
            "WITH n AS (SELECT i FROM generate_series(0::bigint, $1 - 1) AS g(i))",
            "('01900000000070008000' || lpad(to_hex(i), 12, '0'))::uuid",
        ),
    };
    let json = if db.engine() == EngineKind::Postgres { "::jsonb" } else { "" };
    let mut tx = db.begin().await.expect("begins");
    for (text, binds_now) in [
        (
            format!(
                "INSERT INTO account (id, email, email_key, name, password_hash, role, kind, tier, email_verified, locale,
                    timezone, created, updated)
                 {numbers} SELECT {uuid}, 'p' || i || '@mana.test', 'p' || i || '@mana.test', 'p', '', 'user', 'persona',
                    'founder', true, 'de', 'UTC', i, i FROM n"
            ),
            false,
        ),
        (
            format!(
                "INSERT INTO persona (user_id, archetype, system_prompt, prompt_hash, module_mix, cadence, behaviour, created,
                    updated)
                 {numbers} SELECT {uuid}, 'solo-dev', 'Ich bin eine von vielen und schreibe viel.', '',
                    '{{\"todo\":1}}'{json}, 'daily', '{{}}'{json}, i, i FROM n"
            ),
            false,
        ),
        (
            format!(
                "INSERT INTO run_state (bucket, persona, lane, prio, ready_at, epoch, owner, tick, claimed_at, lease_until,
                    attempts, failures, state, last_active_at, slot_at)
                 {numbers} SELECT 0, {uuid}, 0, 1 + i % 2, $2 - $1 / 2 + (i * 7919) % $1, 1, 'the owner of an earlier visit',
                    '0199a3f2-7c1e-7b60-9a51-1f0c7d2e4b11', $2, $2, 0, 0, 'idle', $2, $2 FROM n"
            ),
            true,
        ),
        // Everybody was here before: the rows have the room that a claim needs, as those of a living population do.
        ("UPDATE run_state SET owner = NULL, tick = NULL, lease_until = NULL WHERE bucket + $1 > 0".to_owned(), false),
    ] {
        let query = tx.query(text).bind(personas);
        let query = if binds_now { query.bind(now) } else { query };
        query.execute().await.expect("fills");
    }
    tx.commit().await.expect("commits");
    tidy(db).await;
}

/// What PostgreSQL does by itself some time after a great change.
async fn tidy(db: &Db) {
    if db.engine() == EngineKind::Postgres {
        for table in ["account", "persona", "run_state"] {
            db.query(format!("VACUUM ANALYZE {table}")).execute().await.expect("analyses");
        }
    }
}
