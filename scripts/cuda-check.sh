#!/usr/bin/env bash
# Proves on a machine with an NVIDIA GPU that the engines run there and give what they give on the processor, and
# prints how fast. Needs CUDA 13 with nvcc, cuDNN 9, and Rust. MODELS_PATH takes other models for the figures than the
# tiny ones; theirs have to hold graphs of 16-bit floats (models/export, --precisions fp32,int8r,fp16).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

[ -e /dev/nvidiactl ] || [ -e /dev/dxg ] || fail "no NVIDIA driver is loaded here"
command -v nvcc >/dev/null || fail "nvcc is missing: install CUDA 13, and add its bin folder to PATH"
scripts/setup.sh --cuda
export ORT_DYLIB_PATH=$PWD/.local/onnxruntime/libonnxruntime.so MODELS_PATH=${MODELS_PATH:-models/fixtures}

say "decoders and their caches on the GPU, against the processor and the reference"
REQUIRE_CUDA=1 cargo test --locked --lib -- --nocapture cuda row_caches

say "the daemon's pipeline, on the GPU and on the processor"
cargo build --locked --release --features cuda
for device in cuda cpu; do
    export TRANSLATOR_DEVICE=$device WHISPER_DEVICE=$device
    # It also looks at ports and folders, which do not matter here.
    checks=$(target/release/translator doctor | grep --extended-regexp '^(ok  |warn|FAIL)  (device|whisper device|marian|xtts) ' || true)
    printf "%s\n" "$checks"
    for part in device 'whisper device' marian xtts; do
        [ "$device" = cpu ] || grep --quiet "^ok    $part " <<<"$checks" || fail "$part does not run on the GPU: see above"
    done
    target/release/translator bench
done
