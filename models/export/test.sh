#!/usr/bin/env bash
# Runs the tests of the export, in its environment, against the debug build.
set -euo pipefail
cd "$(dirname "$0")"
python=$(./environment.sh)
"$python" -m pip install --quiet --disable-pip-version-check pytest==9.0.2
TRANSLATOR=${TRANSLATOR:-$PWD/../../target/debug/translator} "$python" -m pytest -q tests "$@"
