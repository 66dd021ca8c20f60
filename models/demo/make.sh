#!/usr/bin/env bash
# Trains the demo's translation model again and exports it: make.sh fra-eng.zip [options of train.py]
set -euo pipefail
cd "$(dirname "$0")"
python=$(../export/environment.sh)
checkpoint=../../.local/tiny-en-fr
"$python" train.py --out "$checkpoint" "$@"
"$python" -m export marian "$checkpoint" --out . --precisions int8r --licence CC-BY-2.0 --force
