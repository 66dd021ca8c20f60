#!/usr/bin/env bash
# Asks a daemon all that its own description says, with values that fit and values that do not: nothing may be
# answered but what the description says. Arguments are those of `schemathesis run`. Without schemathesis it does
# nothing, unless REQUIRE_SCHEMATHESIS=1.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
. scripts/lib.sh

runner=$root/.local/schemathesis
if [ ! -x "$runner/bin/schemathesis" ]; then
    [ -z "${REQUIRE_SCHEMATHESIS:-}" ] || fail "schemathesis is missing: scripts/setup-tests.sh installs it"
    say "skipped: schemathesis is missing (scripts/setup-tests.sh installs it)"
    exit 0
fi

scratch=$(mktemp -d)
: >"$scratch/log"
daemon=
stop() {
    [ -z "$daemon" ] || { kill "$daemon" 2>/dev/null && wait "$daemon"; } || true
    rm -rf "$scratch"
}
trap stop EXIT

token=0123456789abcdef-of-schemathesis
(
    cd "$scratch"
    exec env -i PATH="$PATH" HOME="$scratch" ORT_DYLIB_PATH="${ORT_DYLIB_PATH:-$root/.local/onnxruntime/libonnxruntime.so}" \
        MODELS_PATH="$root/models/fixtures" TRANSLATOR_BASE_VOICE=off VOICE_MIN_DURATION_MS=3000 TRANSLATOR_ADMIN_TOKEN="$token" \
        TRANSLATOR_HTTP_TOKEN="$token" TRANSLATOR_ZMQ_BIND_ADDRESS=127.0.0.1 TRANSLATOR_HTTP_BIND_ADDRESS=127.0.0.1 \
        TRANSLATOR_ZMQ_PULL_PORT=0 TRANSLATOR_ZMQ_PUB_PORT=0 HTTP_PORT=0 \
        "$root/target/debug/translator" serve
) 2>"$scratch/log" &
daemon=$!

address=
until [ -n "$address" ]; do
    kill -0 "$daemon" 2>/dev/null || { cat "$scratch/log" >&2; fail "the daemon did not start"; }
    address=$(sed -nE 's/.*translator is listening.* http="?([0-9.]+:[0-9]+).*/\1/p' "$scratch/log")
    sleep 0.2
done
until python3 -c "import urllib.request as r; r.urlopen('http://$address/ready')" 2>/dev/null; do
    kill -0 "$daemon" 2>/dev/null || { cat "$scratch/log" >&2; fail "the daemon has ended"; }
    sleep 0.2
done

# What it leaves beside the report it leaves in the folder that goes. The stream of all jobs never ends, so it would wait
# for it for ever; the tests of jobs read it.
cd "$scratch"
checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance
checks+=,response_schema_conformance,unsupported_method,allow_header_conformance,negative_data_rejection
# Voices are measured slowly by a binary that is not optimised: an answer has a minute.
RECORDING=$root/models/fixtures/audio/voice_message.ogg SCHEMATHESIS_HOOKS=hooks \
    PYTHONPATH="$runner:$root/tests/http" PYTHONDONTWRITEBYTECODE=1 python3 "$runner/bin/schemathesis" run "http://$address/openapi.json" \
    --header "Authorization: Bearer $token" --exclude-path /jobs/events --checks "$checks" --phases examples,coverage,fuzzing \
    --suppress-health-check all --request-timeout 60 --continue-on-failure "$@"
if grep -E ' ERROR |panic' log; then
    fail "the daemon's log has errors"
fi
