# syntax=docker/dockerfile:1
# CPU:   docker build -t meeshy-translator .
# CUDA:  docker build -t meeshy-translator:cuda --build-arg TARGET=cuda .
#
# Export: docker build -t translator-export --target models .
#
# No weights inside: mount a folder of models at /models (see README, "Models and licences").
ARG TARGET=cpu

# Original checkpoints to the graphs that the daemon runs (models/export/README.md).
FROM python:3.11-slim-bookworm AS models
WORKDIR /src
COPY models/export/requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY models/export .
RUN pip install --no-cache-dir --no-deps . \
    && useradd --system --uid 10001 --create-home exporter \
    && install -d -o exporter /models
USER 10001
WORKDIR /home/exporter
VOLUME ["/models"]
ENTRYPOINT ["translator-export"]

# The tools of a build; `scripts/setup.sh` is the same script that `make` runs.
FROM rust:1.95-bookworm AS build-cpu
WORKDIR /src
COPY scripts scripts
RUN scripts/setup.sh
COPY . .
RUN cargo build --locked --release

# CUDA needs nvcc for whisper.cpp, and ONNX Runtime's GPU library.
FROM nvidia/cuda:13.0.1-cudnn-devel-ubuntu24.04 AS build-cuda
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl g++ python3-pip \
    && rm -rf /var/lib/apt/lists/*
RUN curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --default-toolchain 1.95.0
ENV PATH=/root/.cargo/bin:$PATH
WORKDIR /src
COPY scripts scripts
RUN scripts/setup.sh --cuda
COPY . .
RUN cargo build --locked --release --features cuda

FROM debian:bookworm-slim AS base-cpu
FROM nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04 AS base-cuda

# hadolint ignore=DL3006
FROM build-${TARGET} AS build
# hadolint ignore=DL3006
FROM base-${TARGET} AS runtime
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates espeak-ng libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /var/lib/translator translator \
    && install -d -o translator -g translator /models /data /outputs /uploads
COPY --from=build /src/target/release/translator /usr/local/bin/translator
COPY --from=build /src/.local/onnxruntime/ /usr/local/lib/onnxruntime/
ENV ORT_DYLIB_PATH=/usr/local/lib/onnxruntime/libonnxruntime.so \
    MODELS_PATH=/models \
    TRANSLATOR_DATA_DIR=/data \
    TTS_OUTPUT_DIR=/outputs/audio \
    VOICE_MODEL_CACHE_DIR=/data/voices \
    AUDIO_UPLOAD_DIR=/uploads
USER 10001
WORKDIR /
VOLUME ["/models", "/data", "/outputs"]
EXPOSE 5555 5558 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["translator", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["translator"]
CMD ["serve"]
