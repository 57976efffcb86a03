#!/usr/bin/env bash
# Files and pictures with other people's programs: ten thousand operations under SIGKILL on both stores; a folder written
# by Pillow and counted there, imported by the release binary; the same into the S3 of moto, read back with boto3.
#
#     .ci/media/run.sh [MANA]
#
# MANA is the binary, by default the release build. Needs cargo, jq, python3, and the network for the pinned packages.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
mana=${1:-$target/release/mana}
venv=${MEDIA_CLIENTS_DIR:-$root/target/media-clients}
work=$(mktemp -d)
pids=()
cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap cleanup EXIT

fail() {
    echo "FAIL $*" >&2
    exit 1
}
pass() { echo "PASS $*"; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# 1. The crash proof, with the very binary of the step `test`: another choice of packages would be another build.
cd "$root"
it=$(cargo test --no-run --message-format=json 2>/dev/null |
    jq -r 'select(.profile.test and .target.name == "it" and (.manifest_path | endswith("crates/media/Cargo.toml"))).executable')
[ -x "$it" ] || fail "there is no test binary of crates/media"
(cd crates/media && "$it" --exact crash::ten_thousand_operations_outlive_their_processes --ignored --nocapture --test-threads=1) >"$work/crash.out" 2>&1 ||
    { cat "$work/crash.out" >&2; fail "ten thousand operations under SIGKILL"; }
grep -E 'seed|operations|kills' "$work/crash.out" | sed 's/^/INFO /'
pass "ten thousand operations under SIGKILL, on each store"

# 2. Other people's programs.
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt" >"$work/pip.log" 2>&1 ||
    { cat "$work/pip.log" >&2; fail "the Python packages could not be installed"; }
python=$venv/bin/python
cd "$work"
"$python" "$here/pictures.py" make "$work/Meine Fotos" 240 >made.json

# 3. The default store, with a terminal in front of it.
"$mana" user add boss@b.example --admin >/dev/null 2>&1
"$python" "$here/pictures.py" terminal "$mana" media import "Meine Fotos" >terminal.out || { cat terminal.out >&2; fail "mana media import"; }
grep -q 'read \[=*' terminal.out && grep -q 'made ready \[=*' terminal.out || { cat terminal.out >&2; fail "there is no progress bar"; }
grep -qE "(^|[^0-9])$(jq .pictures made.json) new files" terminal.out || { tail -n 3 terminal.out >&2; fail "not $(jq .pictures made.json) new files"; }
pass "$(jq .pictures made.json) pictures by Pillow imported, with a progress bar"
"$mana" --json media fsck --deep >fsck.json || fail "fsck: $(cat fsck.json)"
"$mana" --json media stats >stats.json
jq -e --slurpfile made made.json '.totalCount == $made[0].pictures and (.byYear | map_values(.count)) == $made[0].years' stats.json >/dev/null ||
    fail "stats: $(jq -c . stats.json) instead of $(jq -c . made.json)"
pass "fsck is clean, and the years are those of Pillow"

# 4. The S3 of moto.
port=$(free_port)
"$venv/bin/moto_server" -H 127.0.0.1 -p "$port" >moto.log 2>&1 &
pids+=($!)
export MANA_MEDIA_STORE=s3://pictures/mana MANA_S3_ENDPOINT=http://127.0.0.1:$port MANA_S3_KEY_ID=mana MANA_S3_SECRET=secret
"$python" "$here/pictures.py" bucket "$MANA_S3_ENDPOINT" pictures || { cat moto.log >&2; fail "moto does not come up"; }
mkdir s3
cd s3
"$mana" user add boss@b.example --admin >/dev/null 2>&1
"$mana" --json media import "$work/Meine Fotos" >import.json || { tail -n 5 "$work/moto.log" >&2; fail "import into S3: $(cat import.json)"; }
[ "$(jq .new import.json)" = "$(jq .pictures "$work/made.json")" ] || fail "import into S3: $(cat import.json)"
"$mana" --json media fsck --deep >fsck.json || fail "fsck of S3: $(cat fsck.json)"
"$python" "$here/pictures.py" compare "$MANA_S3_ENDPOINT" pictures mana "$work/Meine Fotos" "$(jq .objects fsck.json)" ||
    fail "boto3 finds something else than mana"
[ ! -e data/media/store ] || fail "a folder was made beside the bucket"
pass "the same into S3, read back with boto3: every byte is there once"
