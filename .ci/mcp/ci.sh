#!/bin/sh
# Starts a Mana of its own on a free port and runs all MCP checks against it.
#
#     .ci/mcp/ci.sh [MANA]
#
# MANA is the binary, by default the release build, which is made if it is not there.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
mana=${1:-${CARGO_TARGET_DIR:-$root/target}/release/mana}
[ -x "$mana" ] || (cd "$root" && cargo build --quiet --release)

data=$(mktemp -d)
server=""
finish() {
    [ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
    rm -rf "$data"
}
trap finish EXIT

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
base=http://127.0.0.1:$port
# From inside its folder, so that no settings file of this machine takes part.
cd "$data"
"$mana" --data "$data/mana" --listen "127.0.0.1:$port" up --no-initial-tick --no-seed >"$data/up.log" 2>&1 &
server=$!
for _ in $(seq 300); do
    if python3 -c "import urllib.request; urllib.request.urlopen('$base/health', timeout=1)" 2>/dev/null; then ready=1; break; fi
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
[ -n "${ready:-}" ] || { echo "mana does not answer at $base:"; cat "$data/up.log"; exit 2; }

# An ordinary account with a token of its own: sign-up over HTTP, as anybody does.
token=$(python3 - "$base" <<'EOF'
import json, sys, urllib.request

body = json.dumps({"email": "mcp-checks@mana.test", "password": "a long enough password"}).encode()
request = urllib.request.Request(sys.argv[1] + "/api/v1/auth/register", body, {"Content-Type": "application/json"})
print(json.load(urllib.request.urlopen(request))["accessToken"])
EOF
)

"$root/.ci/mcp/run.sh" "$base" "$token"
