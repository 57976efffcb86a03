//! SIGKILL at random points of visits of a model: before its first word, between what is written down and what is done,
//! in a stream, in a tool, in the diary, in the ratings, at the end.
//!
//! A process is killed, another takes up what it left, and is killed as well. Once nothing more happens, the database is
//! held against what must be true whatever died when.

#![expect(
    clippy::similar_names,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "counts of a test are small, and what was found says how much was tried"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mana_store::{Db, DbOptions};
use mana_testkit::model::{FakeModel, Script};
use mana_types::{Random, SeededRandom, SystemClock, SystemRandom, UserId};
use serde_json::Value;

use crate::support::{Home, Server};

/// How many claims of one visit may die. The fifth puts the persona into quarantine, which is right and not the point here.
const MOST_CLAIMS: i64 = 4;

/// How long everything may take to come to an end.
const END: Duration = Duration::from_mins(2);

/// What is killed, again and again.
struct Chaos {
    home: Home,
    model: FakeModel,
    chance: SeededRandom,
    seed: u64,
    /// Where in a visit a kill found it, and how often.
    found: BTreeMap<String, usize>,
}

/// A row of the books.
#[derive(Debug)]
struct Booked {
    tick: String,
    persona: UserId,
    epoch: i64,
    call: i64,
    day: String,
    reserved_tokens: i64,
    reserved_micro: i64,
    settled: bool,
    tokens: i64,
    cost_micro: i64,
    estimated: bool,
}

/// A visit that is over.
#[derive(Debug)]
struct Visit {
    id: String,
    persona: UserId,
    epoch: i64,
    attempt: i64,
    finished: Option<i64>,
    outcome: Option<String>,
    actions_written: i64,
    feedback_written: i64,
}

/// One call in the audit trail.
#[derive(Debug, Clone)]
struct Call {
    tick: String,
    idx: i64,
    tool: String,
    module: String,
    tool_use_id: Option<String>,
    result: String,
}

impl Chaos {
    async fn begin(home: Home, seed: u64) -> Self {
        for arguments in [&["user", "add", "admin@example.test", "--admin"][..], &["personas", "seed"]] {
            let ended = home.run(arguments).await;
            assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.err);
        }
        let script = Script::visits().paced(Duration::from_millis(8), Duration::from_millis(1));
        let model = FakeModel::start(script).await;
        Self { home, model, chance: SeededRandom::new(seed), seed, found: BTreeMap::new() }
    }

    /// A number below `end`.
    fn below(&self, end: u64) -> u64 {
        self.chance.next_u64() % end
    }

    async fn server(&self) -> Server {
        let mut command = self.home.mana(&["serve", "--listen", "127.0.0.1:0"]);
        command.envs([
            ("ANTHROPIC_API_KEY", "sk-ant-of-nobody"),
            ("ANTHROPIC_BASE_URL", self.model.url()),
            ("MANA_ENGINE", "anthropic"),
            ("MANA_MODEL_CONCURRENCY", "8"),
            ("PERSONA_CONCURRENCY", "8"),
            ("PERSONA_LEASE_MS", "2000"),
            ("TICK_INTERVAL_MS", "1000"),
            // One persona visits more often here in a minute than it may in a day.
            ("POLICY_MODE", "log-only"),
            ("MANA_BUDGET_PERSONA_DAY_USD", "1000"),
            ("MANA_BUDGET_DAY_USD", "10000"),
            ("MANA_BUDGET_MONTH_USD", "10000"),
        ]);
        Server::start(command).await
    }

    /// The database, as it is while nobody runs.
    async fn db(&self) -> Db {
        let address = self.home.database.clone();
        let address = address.unwrap_or_else(|| format!("sqlite:{}", self.home.data().join("mana.db").display()));
        Db::open(&DbOptions::new(address), Arc::new(SystemClock::default())).await.expect("opens")
    }

    /// Makes everybody due who has no visit under way, and with `late` lets the leases of the dead run out at once.
    async fn next_day(&mut self, late: bool) {
        let db = self.db().await;
        for (kind, count) in phases(&db).await {
            *self.found.entry(kind).or_default() += count;
        }
        let mut tx = db.begin().await.expect("begins");
        tx.query("UPDATE run_state SET ready_at = 0 WHERE state = 'idle'").execute().await.expect("writes");
        if late {
            let sql = "UPDATE run_state SET ready_at = 0, lease_until = 0 WHERE state = 'running'";
            tx.query(sql).execute().await.expect("writes");
        }
        tx.commit().await.expect("commits");
        db.close().await.expect("closes");
    }

    /// Starts a process and kills it at some time.
    async fn kill_one(&mut self) {
        let late = self.below(4) > 0;
        self.next_day(late).await;
        let mut server = self.server().await;
        let served = self.model.served();
        if self.below(3) == 0 {
            tokio::time::sleep(Duration::from_millis(self.below(1_000))).await;
        } else {
            // By the model's count, so that a slow machine is killed in the middle of things as well.
            let (until, more) = (Instant::now() + Duration::from_secs(4), self.below(70) as usize);
            while self.model.served() < served + more && Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            tokio::time::sleep(Duration::from_millis(self.below(25))).await;
        }
        server.kill().await;
    }

    /// How many claims have died in a row, where it is most.
    async fn most_claims(&self) -> i64 {
        let db = self.db().await;
        let (most,): (i64,) = db.query("SELECT COALESCE(MAX(attempts), 0) FROM run_state").one().await.expect("reads");
        db.close().await.expect("closes");
        most
    }

    /// Lets a process run until every visit is over, and ends it in good order.
    async fn finish(&mut self) {
        self.next_day(true).await;
        let mut server = self.server().await;
        let until = Instant::now() + END;
        loop {
            tokio::time::sleep(Duration::from_millis(250)).await;
            let db = self.db().await;
            let sql = "SELECT COUNT(*) FROM run_state WHERE tick IS NOT NULL OR (state = 'idle' AND ready_at = 0)";
            let (open,): (i64,) = db.query(sql).one().await.expect("reads");
            db.close().await.expect("closes");
            if open == 0 {
                break;
            }
            assert!(Instant::now() < until, "seed {}: {open} visits have no end", self.seed);
        }
        assert_eq!(server.terminate().await, 0);
    }

    async fn run(&mut self, kills: usize) {
        for _ in 0..kills {
            if self.most_claims().await >= MOST_CLAIMS {
                self.finish().await;
            }
            self.kill_one().await;
        }
        self.finish().await;
        println!("seed {}: {kills} kills found visits {:?}", self.seed, self.found);
        self.model.assert_clean();
        let db = self.db().await;
        let visits = visits(&db).await;
        assert!(visits.iter().any(|(visit, _)| visit.attempt > 1), "no visit was ever taken up again");
        ended_once(&db, &visits).await;
        written_once(&db, &visits).await;
        done_once(&db, &visits).await;
        rated_once(&db, &visits).await;
        paid_once(&db, &visits, self.model.served()).await;
        db.close().await.expect("closes");
    }
}

async fn all<T: mana_store::Row>(db: &Db, sql: &'static str) -> Vec<T> {
    db.query(sql).all().await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// Every visit with its calls, those of a persona in the order in which they began.
async fn visits(db: &Db) -> Vec<(Visit, Vec<Call>)> {
    type Row = (String, UserId, i64, i64, Option<i64>, Option<String>, i64, i64);
    type CallRow = (String, i64, String, String, Option<String>, String);
    let sql = "SELECT tick, idx, tool, module, tool_use_id, result FROM persona_action ORDER BY tick, idx";
    let mut calls: BTreeMap<String, Vec<Call>> = BTreeMap::new();
    for (tick, idx, tool, module, tool_use_id, result) in all::<CallRow>(db, sql).await {
        calls.entry(tick.clone()).or_default().push(Call { tick, idx, tool, module, tool_use_id, result });
    }
    let sql = "SELECT id, persona, epoch, attempt, finished, outcome, actions_written, feedback_written
               FROM persona_tick ORDER BY persona, epoch";
    let visit = |(id, persona, epoch, attempt, finished, outcome, actions_written, feedback_written): Row| {
        let calls = calls.remove(&id).unwrap_or_default();
        (Visit { id, persona, epoch, attempt, finished, outcome, actions_written, feedback_written }, calls)
    };
    let visits = all::<Row>(db, sql).await.into_iter().map(visit).collect();
    assert!(calls.is_empty(), "rows of visits that never were: {calls:?}");
    visits
}

/// Every call in the books, in order.
async fn booked(db: &Db) -> Vec<Booked> {
    type Row = (String, UserId, i64, i64, String, i64, i64, Option<i64>, i64, i64, bool);
    let sql = "SELECT tick, persona, epoch, call, day, reserved_tokens, reserved_micro, settled_at, input_tokens
                   + output_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens, cost_micro, estimated
               FROM model_call ORDER BY tick, epoch, call";
    let row = |row: Row| {
        let (
            tick,
            persona,
            epoch,
            call,
            day,
            reserved_tokens,
            reserved_micro,
            settled_at,
            tokens,
            cost_micro,
            estimated,
        ) = row;
        let settled = settled_at.is_some();
        Booked {
            tick,
            persona,
            epoch,
            call,
            day,
            reserved_tokens,
            reserved_micro,
            settled,
            tokens,
            cost_micro,
            estimated,
        }
    };
    all::<Row>(db, sql).await.into_iter().map(row).collect()
}

/// Where the visits are that are under way, by the last line of their journals.
async fn phases(db: &Db) -> BTreeMap<String, usize> {
    let sql = "SELECT r.tick, j.entry FROM run_state r LEFT JOIN tick_journal j ON j.tick = r.tick
               AND j.seq = (SELECT MAX(l.seq) FROM tick_journal l WHERE l.tick = r.tick) WHERE r.tick IS NOT NULL";
    let mut phases = BTreeMap::new();
    for (_, entry) in all::<(String, Option<String>)>(db, sql).await {
        let entry: Value = serde_json::from_str(&entry.unwrap_or_default()).unwrap_or_default();
        let kind = match (entry["kind"].as_str().unwrap_or("claimed"), entry["phase"].as_str()) {
            ("ask", Some(phase)) => format!("ask {phase}"),
            (kind, _) => kind.to_owned(),
        };
        *phases.entry(kind).or_default() += 1;
    }
    phases
}

/// Every visit has one end, and the epochs only grow.
async fn ended_once(db: &Db, visits: &[(Visit, Vec<Call>)]) {
    let mut epochs: BTreeMap<UserId, (i64, i64)> = BTreeMap::new();
    for (visit, calls) in visits {
        assert!(visit.finished.is_some(), "{visit:?} has no end");
        let outcome = visit.outcome.as_deref().unwrap_or_default();
        assert!(["completed", "gave_up", "skipped"].contains(&outcome), "{visit:?}");
        assert_eq!(visit.actions_written, calls.len() as i64, "{visit:?}: its end was written twice, or in parts");
        let (last, claims) = epochs.entry(visit.persona).or_default();
        assert!(visit.epoch > *last, "{visit:?}: an epoch came again");
        *last = visit.epoch;
        *claims += visit.attempt;
    }
    let states: Vec<(UserId, String, i64, i64)> =
        all(db, "SELECT persona, state, epoch, attempts FROM run_state").await;
    for (persona, state, epoch, attempts) in states {
        assert_eq!((state.as_str(), attempts), ("idle", 0));
        assert_eq!(epochs.get(&persona), Some(&(epoch, epoch)), "{persona}: a claim without a visit");
    }
}

/// No line of a journal and no row of the audit trail is lost or doubled, and both say the same.
async fn written_once(db: &Db, visits: &[(Visit, Vec<Call>)]) {
    let lines: Vec<(String, i64, String)> =
        all(db, "SELECT tick, seq, entry FROM tick_journal ORDER BY tick, seq").await;
    for (visit, calls) in visits {
        let journal: Vec<(i64, Value)> = lines
            .iter()
            .filter(|(tick, ..)| *tick == visit.id)
            .map(|(_, seq, entry)| (*seq, serde_json::from_str(entry).expect("is JSON")))
            .collect();
        let places: Vec<i64> = journal.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(places, (0..).take(places.len()).collect::<Vec<i64>>(), "{visit:?}: the journal has gaps");
        let blocks = |kind: &'static str, member: &'static str, name: &'static str| -> Vec<String> {
            let entries = journal.iter().filter(move |(_, entry)| entry["kind"] == kind);
            let blocks = entries.flat_map(|(_, entry)| entry["content"].as_array().cloned().unwrap_or_default());
            blocks
                .filter(|block| block["type"] == member)
                .filter_map(|block| block[name].as_str().map(str::to_owned))
                .collect()
        };
        let asked = blocks("assistant", "tool_use", "id");
        let answered = blocks("tool_results", "tool_result", "tool_use_id");
        let rows: Vec<String> = calls.iter().filter_map(|call| call.tool_use_id.clone()).collect();
        assert_eq!(asked, answered, "{visit:?}");
        assert_eq!(asked, rows, "{visit:?}: what was called and what was noted differ");
        let distinct: BTreeSet<&String> = rows.iter().collect();
        assert_eq!(distinct.len(), rows.len(), "{visit:?}: a call has two rows");
        let places: Vec<i64> = calls.iter().map(|call| call.idx).collect();
        assert_eq!(places, (0..).take(places.len()).collect::<Vec<i64>>(), "{visit:?}: rows are missing");
    }
}

/// What the tools did, they did once.
async fn done_once(db: &Db, visits: &[(Visit, Vec<Call>)]) {
    let keys: Vec<(String, String)> = all(db, "SELECT key, tool FROM idempotency").await;
    let known: BTreeMap<&str, &str> = keys.iter().map(|(key, tool)| (key.as_str(), tool.as_str())).collect();
    assert_eq!(known.len(), keys.len(), "a key has two answers");
    let fine = |call: &&Call| call.result == "ok";
    let key = |call: &Call| format!("{}:{}", call.tick, call.tool_use_id.as_deref().unwrap_or_default());
    let calls: Vec<&Call> = visits.iter().flat_map(|(_, calls)| calls).filter(fine).collect();
    let called: BTreeMap<String, &str> = calls.iter().map(|call| (key(call), call.tool.as_str())).collect();
    for (key, tool) in &known {
        assert_eq!(called.get(*key), Some(tool), "`{key}` had an effect that no row tells of");
    }
    let sql = "SELECT tick, op, COUNT(*) FROM record_change WHERE tick IS NOT NULL GROUP BY tick, op";
    let changes: Vec<(Option<String>, String, i64)> = all(db, sql).await;
    let changed = |tick: &str, op: &str| -> i64 {
        changes.iter().filter(|(of, what, _)| of.as_deref() == Some(tick) && what == op).map(|(.., count)| count).sum()
    };
    let mut made = 0;
    for (visit, calls) in visits {
        let written: Vec<&Call> = calls.iter().filter(|call| known.contains_key(key(call).as_str())).collect();
        let verb = |call: &&&Call, verbs: &[&str]| verbs.contains(&call.tool.rsplit('_').next().unwrap_or_default());
        let creates = written.iter().filter(|call| verb(call, &["add", "create", "log", "new", "save"])).count() as i64;
        // The first event of all makes the calendar that it stands in.
        let calendar = i64::from(written.iter().any(|call| call.tool == "calendar_event_create"));
        let created = changed(&visit.id, "create");
        assert!((creates..=creates + calendar).contains(&created), "{created} records: {visit:?} {written:?}");
        let others = written.len() as i64 - creates;
        assert!(changed(&visit.id, "update") + changed(&visit.id, "archive") <= others, "{visit:?} {written:?}");
        made += creates;
    }
    assert!(made > 0, "nobody made anything");
    let strays = changes.iter().filter(|(tick, ..)| visits.iter().all(|(visit, _)| Some(&visit.id) != tick.as_ref()));
    assert_eq!(strays.count(), 0, "records of visits that never were");
}

/// Everything that was used has one rating.
async fn rated_once(db: &Db, visits: &[(Visit, Vec<Call>)]) {
    let ratings: Vec<(String, String, Option<i64>)> =
        all(db, "SELECT tick, module, rating FROM persona_feedback").await;
    for (visit, calls) in visits {
        let rated: Vec<&(String, String, Option<i64>)> =
            ratings.iter().filter(|(tick, ..)| *tick == visit.id).collect();
        let used: BTreeSet<&str> = calls.iter().map(|call| call.module.as_str()).collect();
        let modules: BTreeSet<&str> = rated.iter().map(|(_, module, _)| module.as_str()).collect();
        assert_eq!((&modules, modules.len()), (&used, rated.len()), "{visit:?}");
        assert_eq!(visit.feedback_written, rated.len() as i64, "{visit:?}");
        assert!(rated.iter().all(|(.., rating)| rating.is_some()), "{visit:?} {rated:?}");
    }
    assert!(ratings.iter().all(|(tick, ..)| visits.iter().any(|(visit, _)| visit.id == *tick)));
}

/// The books hold every call that the model served, at its price or at what was put aside; the totals are their sums.
async fn paid_once(db: &Db, visits: &[(Visit, Vec<Call>)], served: usize) {
    let booked = booked(db).await;
    let settled = booked.iter().filter(|row| row.settled).count();
    assert!(settled <= served && served <= booked.len(), "{settled} settled, {served} served, {} booked", booked.len());
    let last: BTreeMap<&str, i64> = visits.iter().map(|(visit, _)| (visit.id.as_str(), visit.epoch)).collect();
    let mut numbers: BTreeMap<(&str, i64), Vec<&Booked>> = BTreeMap::new();
    let mut sums: BTreeMap<(String, String), (i64, i64)> = BTreeMap::new();
    for row in &booked {
        numbers.entry((&row.tick, row.epoch)).or_default().push(row);
        let tokens = if row.settled { row.tokens } else { row.reserved_tokens };
        let month = row.day[..7].to_owned();
        for key in [
            ("all".to_owned(), row.day.clone()),
            ("all".to_owned(), month),
            (format!("persona:{}", row.persona), row.day.clone()),
            (format!("tick:{}", row.tick), String::new()),
        ] {
            let sum = sums.entry(key).or_default();
            *sum = (sum.0 + row.cost_micro, sum.1 + tokens);
        }
        if !row.settled {
            assert_eq!((row.cost_micro, row.estimated), (row.reserved_micro, true), "{row:?}");
            assert!(row.epoch < last[row.tick.as_str()], "{row:?}: the claim that ended its visit left a call open");
        }
    }
    let told: Vec<(String, Option<String>)> = all(db, "SELECT id, CAST(token_usage AS TEXT) FROM persona_tick").await;
    for (tick, usage) in told {
        let usage: Value = serde_json::from_str(&usage.unwrap_or_default()).unwrap_or_default();
        let classes = usage.as_object().into_iter().flatten().filter_map(|(_, tokens)| tokens.as_i64());
        let of_calls = booked.iter().filter(|row| row.tick == tick && row.settled).map(|row| row.tokens);
        assert_eq!(classes.sum::<i64>(), of_calls.sum::<i64>(), "{tick}: {usage}");
    }
    for rows in numbers.values() {
        let calls: Vec<i64> = rows.iter().map(|row| row.call).collect();
        assert_eq!(calls, (1..).take(calls.len()).collect::<Vec<i64>>(), "{rows:?}");
        let open = rows.iter().position(|row| !row.settled);
        assert!(open.is_none_or(|place| place + 1 == rows.len()), "{rows:?}: only a claim's last call can be open");
    }
    let totals: Vec<(String, String, i64, i64)> =
        all(db, "SELECT scope, period, cost_micro, tokens FROM model_spend").await;
    let totals: BTreeMap<(String, String), (i64, i64)> =
        totals.into_iter().map(|(scope, period, cost, tokens)| ((scope, period), (cost, tokens))).collect();
    assert_eq!(totals, sums, "the totals are not the sums of the calls");
}

async fn killed(home: Home, seed: u64, kills: usize) -> BTreeMap<String, usize> {
    println!("seed {seed}");
    let mut chaos = Chaos::begin(home, seed).await;
    chaos.run(kills).await;
    chaos.found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visits_of_a_model_outlive_their_processes() {
    killed(Home::sqlite(), 1, 12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visits_of_a_model_outlive_their_processes_on_postgresql() {
    match Home::postgres().await {
        Some(home) => drop(killed(home, 2, 6).await),
        None => eprintln!("not run: there is no PostgreSQL on this machine"),
    }
}

/// `cargo test --test it -- --ignored a_hundred_processes_die`, with a new seed every time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: a step of its own in `.ci/run`"]
async fn a_hundred_processes_die() {
    let seed = SystemRandom.next_u64() >> 1;
    let mut found = killed(Home::sqlite(), seed, 60).await;
    if let Some(home) = Home::postgres().await {
        for (kind, count) in killed(home, seed + 1, 40).await {
            *found.entry(kind).or_default() += count;
        }
    }
    let points = ["claimed", "start", "assistant", "tool_results", "ask diary", "ask rating"];
    let missed: Vec<&str> = points.into_iter().filter(|point| !found.contains_key(*point)).collect();
    assert!(missed.is_empty(), "nobody died in {missed:?}: {found:?}");
}
