#!/usr/bin/env bash
# Makes models with random weights of the real sizes, installs the Python references, builds, and compares.
# Arguments go to run.py.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(models/export/environment.sh)
"$python" -m pip install --quiet --disable-pip-version-check --requirement benches/peer/requirements.txt >&2
folder=$(models/export/random.sh)
cargo build --locked --release
engine=$(cargo bench --locked --bench peer --no-run --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*peer-[^"]*\)".*/\1/p')
exec "$python" benches/peer/run.py --models "$folder/models" --checkpoints "$folder/checkpoints" \
    --engine "$engine" --translator target/release/translator "$@"
