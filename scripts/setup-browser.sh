#!/usr/bin/env bash
# Installs what the tests of the console need: Chromium with a font, and Playwright for Python, which drives it,
# in .local.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

command -v chromium >/dev/null && [ -d /usr/share/fonts/opentype/inter ] || install_packages chromium fonts-inter

if [ ! -d .local/browser/playwright ]; then
    say "fetching Playwright"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .local/browser --upgrade playwright==1.65.2
fi
