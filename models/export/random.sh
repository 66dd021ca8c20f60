#!/usr/bin/env bash
# Exports checkpoints with random weights of the real sizes where that has not been done (7 GB), and prints the folder
# with `models` and `checkpoints`. RANDOM_MODELS names another folder, RANDOM_OPTIONS holds more options for the export.
set -euo pipefail
here=$(dirname "$0")
folder=${RANDOM_MODELS:-$here/../../.local/random-models}
mkdir -p "$folder"
folder=$(realpath --no-symlinks "$folder")
if [ ! -e "$folder/complete" ]; then
    echo "==> exporting random checkpoints of the real sizes into $folder (7 GB)" >&2
    python=$("$here/environment.sh")
    # shellcheck disable=SC2086  # options, separated by spaces
    "$python" -m export random --size real --seed 1 --int8-vocoder --force --out "$folder/models" \
        --checkpoints "$folder/checkpoints" ${RANDOM_OPTIONS:-} >&2
    touch "$folder/complete"
fi
echo "$folder"
