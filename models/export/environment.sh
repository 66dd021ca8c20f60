#!/usr/bin/env bash
# Makes the Python environment of export and fixtures where it is not there yet (about 6 GB), and prints its python.
set -euo pipefail
cd "$(dirname "$0")"
environment=../../.local/export-venv
if [ ! -e "$environment/complete" ]; then
    echo "==> installing PyTorch and the reference implementations (about 6 GB)" >&2
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt >&2
    "$environment/bin/pip" install --quiet --disable-pip-version-check --no-deps --editable . >&2
    touch "$environment/complete"
fi
realpath --no-symlinks "$environment/bin/python"
