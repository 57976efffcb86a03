#!/usr/bin/env bash
# The release binary from an empty folder, as a newcomer starts it: on the embedded default and on PostgreSQL. What it
# leaves behind is read with foreign tools. Times and memory are printed, not judged: the machine is not ours alone.
#
#     .ci/e2e.sh [MANA]
set -euo pipefail
cd "$(dirname "$0")/.."
mana=${1:-$PWD/target/release/mana}
work=$(mktemp -d)
chmod 755 "$work"
server=""
postgres=""
cleanup() {
    [ -z "$server" ] || kill -9 "$server" 2>/dev/null || true
    [ -z "$postgres" ] || as_postgres "kill -INT $postgres" 2>/dev/null || true
    sleep 0.2
    rm -rf "$work"
}
trap cleanup EXIT

fail() {
    echo "FAIL $*" >&2
    exit 1
}
pass() { echo "PASS $*"; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
as_postgres() { if [ "$(id -u)" -eq 0 ]; then runuser -u postgres -- sh -c "$1"; else sh -c "$1"; fi; }

# start DIR [ARGUMENT…]: starts mana in DIR and waits until its first pass is over. Sets `server` and `base`.
start() {
    local dir=$1 port
    shift
    port=$(free_port)
    base=http://127.0.0.1:$port
    mkdir -p "$dir"
    (cd "$dir" && exec "$mana" --listen "127.0.0.1:$port" "$@" >up.out 2>up.err) &
    server=$!
    for _ in $(seq 600); do
        if grep -q '^connect' "$dir/up.err" 2>/dev/null; then return; fi
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    cat "$dir/up.err" >&2
    fail "mana did not come up"
}

# stop: SIGTERM must end it cleanly.
stop() {
    kill -TERM "$server"
    wait "$server" || fail "SIGTERM ended with $?"
    server=""
}

# visit WHERE QUERY…: what a newcomer tries, and what the rows say. QUERY runs SQL and prints the answer.
visit() {
    local where=$1 due people
    shift
    due=$(sed -n 's/^\([0-9]*\) due, .*/\1/p' "$work/$where/up.err")
    grep -qE "^$due due, .* 0 failed" "$work/$where/up.err" || { cat "$work/$where/up.err"; fail "$where: not all visits completed"; }
    [ "$due" -ge 6 ] || fail "$where: only $due were due"
    # Somebody impatient may give up after an error of his own making: that is a visit, too.
    [ "$(grep -cE ' (completed|gave_up) ' "$work/$where/up.out")" -eq "$due" ] || fail "$where: the table does not show $due visits"
    curl -fsS "$base/health" | jq -e '.status == "ok" and .loop == "running" and .engine == "rehearsal"' >/dev/null || fail "$where: /health"
    curl -fsS "$base/diag/login?email=persona.anna@mana.test" | jq -e '.ok and .userId and .spaceId' >/dev/null || fail "$where: /diag/login"
    curl -fsS -X POST "$base/diag/tick" | jq -e '.ok and .result.due == 0' >/dev/null || fail "$where: a second pass found somebody due"
    for table in persona_action persona_feedback; do
        people=$("$@" "SELECT COUNT(DISTINCT persona) FROM $table")
        [ "$people" -eq "$due" ] || fail "$where: $table has rows of $people personas, not of $due"
    done
    [ "$("$@" "SELECT COUNT(*) FROM persona_feedback WHERE NOT simulated")" -eq 0 ] || fail "$where: a simulated rating is not labelled"
    pass "$where: $due visits, $("$@" 'SELECT COUNT(*) FROM persona_action') actions ($("$@" "SELECT COUNT(*) FROM persona_action WHERE result <> 'ok'") failed), $("$@" 'SELECT COUNT(*) FROM persona_feedback') ratings"
}

start "$work/sqlite"
visit sqlite sqlite3 "$work/sqlite/data/mana.db"
sleep 5
echo "INFO resident after the first pass: $(awk '/VmRSS/ {print int($2 / 1024)}' "/proc/$server/status") MiB (goal 80)"
page=$(curl -fsS -H 'Accept-Language: de' "$base/")
case $page in *'<html lang="de">'*Bevölkerung*) pass "the page for people speaks German" ;; *) fail "GET /" ;; esac
token=$(cd "$work/sqlite" && "$mana" token --listen "${base#http://}")
curl -fsS "$base/api/v1/tools/todo_create" -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \
    -d '{"title": "Buy milk", "tags": ["errands"]}' | jq -e '.title == "Buy milk"' >/dev/null || fail "the README's REST call"
pass "the README's REST call"
stop

began=$(date +%s%N)
(cd "$work/sqlite" && exec "$mana" up --no-initial-tick --listen "${base#http://}" >/dev/null 2>up2.err) &
server=$!
until curl -fsS "$base/health" >/dev/null 2>&1; do kill -0 "$server" || fail "no second start"; done
echo "INFO start to first answer on an existing database: $((($(date +%s%N) - began) / 1000000)) ms (goal 500)"
stop

size=$(stat -c %s "$mana")
[ "$size" -le $((56 * 1024 * 1024)) ] || fail "the binary has $size bytes, more than 56 MiB"
pass "the binary has $((size / 1024 / 1024)) MiB"

PATH=$PATH:$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -rV | tr '\n' ':')
mkdir "$work/pg"
[ "$(id -u)" -ne 0 ] || chown postgres "$work/pg"
port=$(free_port)
as_postgres "cd / && export PATH='$PATH' && initdb -D '$work/pg/data' -U mana -A trust --no-sync >/dev/null && exec pg_ctl -D '$work/pg/data' -o '-k $work/pg -p $port -c listen_addresses=127.0.0.1' -l '$work/pg/log' -w start >/dev/null"
postgres=$(head -1 "$work/pg/data/postmaster.pid")
url=postgres://mana@127.0.0.1:$port/postgres
DATABASE_URL=$url start "$work/postgres"
visit postgres psql -XAtq "$url" -c
stop

# Shows that it runs and what it measures; the figures of record are in the README, from an idle machine.
(cd "$work" && "$mana" bench --seconds 1 --personas 40 2>/dev/null)
pass "mana bench"
