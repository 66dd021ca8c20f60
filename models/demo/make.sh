#!/usr/bin/env bash
# Trains the demo's translation model again and exports it: make.sh fra-eng.zip [options of train.py]
set -euo pipefail
if [ ! -f "${1:-}" ]; then
    echo "error: name the archive of sentence pairs: make.sh fra-eng.zip; models/demo/README.md says where it is from" >&2
    exit 2
fi
archive=$(realpath "$1")
shift
cd "$(dirname "$0")"
python=$(../export/environment.sh)
checkpoint=../../.local/tiny-en-fr
"$python" train.py "$archive" --out "$checkpoint" "$@"
"$python" -m export marian "$checkpoint" --out . --precisions int8r --licence CC-BY-2.0 --force
