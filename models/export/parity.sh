#!/usr/bin/env bash
# Compares the engines with the Python references on random weights of real dimensions, and writes the figures into
# docs/fidelity.md. PARITY_DIR holds models, checkpoints and goldens (7 GB); what is there already is used.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${PARITY_DIR:-$PWD/.local/parity}
python=$(models/export/environment.sh)
mkdir -p "$folder"
if [ ! -e "$folder/models/manifest.toml" ]; then
    # shellcheck disable=SC2086  # options, separated by spaces
    "$python" -m export random --size real --seed 1 --only marian,openvoice,xtts --out "$folder/models" \
        --checkpoints "$folder/checkpoints" ${PARITY_OPTIONS:-}
fi
"$python" models/export/parity.py goldens "$folder"
TRANSLATOR_PARITY_DIR=$folder REQUIRE_PARITY=1 cargo test --locked --lib -- --nocapture --test-threads 1 \
    of_real_dimensions | tee "$folder/report.txt"
"$python" models/export/parity.py report "$folder/report.txt"
