#!/usr/bin/env bash
# Installs what a build needs and is not there yet: a C++ compiler, cmake, libclang, and ONNX Runtime's library
# in .local/onnxruntime. Safe to run again: what is there is left alone. With --cuda, ONNX Runtime's GPU library.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

missing=()
command -v g++ >/dev/null || missing+=(g++)
command -v make >/dev/null || missing+=(make)
command -v cmake >/dev/null || missing+=(cmake)
command -v unzip >/dev/null || missing+=(unzip)
# Not any libclang*: graphics drivers bring libclang-cpp, which bindgen cannot use.
libclang() { compgen -G "$1/libclang.so*" || compgen -G "$1/libclang-[0-9]*.so*"; }
{ libclang '/usr/lib/llvm-*/lib' || libclang '/usr/lib/*' || libclang '/usr/lib64'; } >/dev/null || missing+=(libclang-dev)
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
[ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"

package=onnxruntime
library=.local/onnxruntime/libonnxruntime.so
wanted=$library
if [ "${1:-}" = --cuda ]; then
    package=onnxruntime-gpu
    # The library for the processor only may be there already.
    wanted=.local/onnxruntime/libonnxruntime_providers_cuda.so
fi

command -v cargo >/dev/null || fail "Rust is missing: install it with rustup, then run this again"

if [ ! -e "$wanted" ]; then
    case "$(uname -m)" in
        x86_64) platform=manylinux_2_28_x86_64 ;;
        aarch64) platform=manylinux_2_28_aarch64 ;;
        *) fail "no ONNX Runtime wheel for $(uname -m): put its library at $library" ;;
    esac
    say "fetching ONNX Runtime ($package)"
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    python3 -m pip download --quiet --no-deps --only-binary=:all: --require-hashes \
        --python-version 3.12 --implementation cp --abi cp312 --platform "$platform" \
        --dest "$scratch" --requirement "scripts/$package.txt"
    unzip -qo "$scratch"/*.whl 'onnxruntime/capi/libonnxruntime*.so*' 'onnxruntime/LICENSE' 'onnxruntime/ThirdPartyNotices.txt' -d "$scratch"
    mkdir -p .local/onnxruntime
    cp "$scratch"/onnxruntime/LICENSE "$scratch"/onnxruntime/ThirdPartyNotices.txt .local/onnxruntime/
    for provider in "$scratch"/onnxruntime/capi/libonnxruntime_providers_*.so; do
        [ ! -e "$provider" ] || cp "$provider" .local/onnxruntime/
    done
    cp "$scratch"/onnxruntime/capi/libonnxruntime.so.* "$library.partial"
    mv "$library.partial" "$library"
fi
