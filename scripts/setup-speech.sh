#!/usr/bin/env bash
# Installs espeak-ng, the program behind the base voices. Nothing is built with it: the demo and the daemon do
# without, and say so, where it cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

command -v espeak-ng >/dev/null || (install_packages espeak-ng) || say "going on without espeak-ng"
