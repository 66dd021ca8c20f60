#!/usr/bin/env bash
# Compares the engines with the Python references on random weights of real dimensions, and writes the figures into
# docs/fidelity.md. What random.sh has made is used, and so are the references' answers in its `goldens`.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(models/export/environment.sh)
folder=$(models/export/random.sh)
"$python" models/export/parity.py goldens "$folder"
TRANSLATOR_PARITY_DIR=$folder REQUIRE_PARITY=1 cargo test --locked --lib -- --nocapture --test-threads 1 \
    of_real_dimensions | tee "$folder/report.txt"
"$python" models/export/parity.py report "$folder/report.txt"
