#!/usr/bin/env bash
# Fuzzes: fuzz/run.sh SECONDS [TARGET...], every target when none is named. Ends with an error when one finds a
# crash; the input lies in target/fuzz-artifacts. Corpora grow in target/fuzz-corpus, from seeds that are made here.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?"usage: fuzz/run.sh SECONDS [TARGET...]"}
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=(request ledger embedding structure decode)

PATH=$PWD/.local/bin:$PATH
# libFuzzer's coverage without a sanitizer needs no nightly compiler. The modules under test have no unsafe code,
# which fuzz/src/lib.rs forbids; SQLite and libopus below them are C and not instrumented.
cargo_fuzz=(cargo fuzz)
options=(--fuzz-dir fuzz --sanitizer none --target-dir target/fuzz)

mkdir -p target/fuzz-corpus
rustc --edition 2024 -O -o target/fuzz-seeds fuzz/seeds.rs
target/fuzz-seeds . target/fuzz-corpus

"${cargo_fuzz[@]}" build "${options[@]}"
for target in "${targets[@]}"; do
    artifacts=target/fuzz-artifacts/$target/
    mkdir -p "$artifacts"
    corpora=("target/fuzz-corpus/$target")
    [ ! -d "fuzz/regressions/$target" ] || corpora+=("fuzz/regressions/$target")
    printf '==> %s, %s s\n' "$target" "$seconds" >&2
    # Limits as the daemon's own: a recording has 5 s, and nothing here needs a gigabyte.
    "${cargo_fuzz[@]}" run "${options[@]}" "$target" "${corpora[@]}" -- \
        -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=1024 \
        -artifact_prefix="$artifacts" -print_final_stats=1 -verbosity=0
done
