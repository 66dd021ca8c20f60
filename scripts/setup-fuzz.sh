#!/usr/bin/env bash
# Installs what fuzzing needs beyond a build: cargo-fuzz, in .local.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

cargo_fuzz_version=0.13.1
if ! .local/bin/cargo-fuzz --version 2>/dev/null | grep -qF "$cargo_fuzz_version"; then
    say "building cargo-fuzz $cargo_fuzz_version (a minute)"
    cargo install cargo-fuzz --locked --version "$cargo_fuzz_version" --root .local --quiet
fi
