#!/usr/bin/env bash
# Installs the Python references, makes models with random weights of the real sizes, builds, and compares.
# Arguments go to run.py. PEER_PYTHON, PEER_MODELS and PEER_CHECKPOINTS name what is there already.
set -euo pipefail
cd "$(dirname "$0")/../.."
home=$PWD/.local/peer
python=${PEER_PYTHON:-$home/venv/bin/python}
models=${PEER_MODELS:-$home/models}
checkpoints=${PEER_CHECKPOINTS:-$home/checkpoints}

if [ ! -x "$python" ]; then
    echo "installing the Python references (6 GB) into $home/venv" >&2
    python3 -m venv "$home/venv"
    "$python" -m pip install --quiet ./models/export -r benches/peer/requirements.txt
fi
if [ ! -f "$models/manifest.toml" ]; then
    echo "making models with random weights (6 GB) in $home" >&2
    mkdir -p "$models" "$checkpoints"
    PYTHONPATH=models/export "$python" -m export random --size real --seed 1 --int8-vocoder \
        --out "$models" --checkpoints "$checkpoints"
fi
cargo build --locked --release
engine=$(cargo bench --locked --bench peer --no-run --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*peer-[^"]*\)".*/\1/p')
exec "$python" benches/peer/run.py --models "$models" --checkpoints "$checkpoints" \
    --engine "$engine" --translator target/release/translator "$@"
