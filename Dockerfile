# syntax=docker/dockerfile:1
#
# For the CPU:
#
#     docker build --tag attnscope .
#
# For NVIDIA GPUs of compute capability 8.0 and newer (compiling candle's kernels takes long):
#
#     docker build --tag attnscope:cuda \
#         --build-arg FEATURES=cuda \
#         --build-arg BASE=nvidia/cuda:13.0.1-devel-ubuntu24.04 \
#         --build-arg RUNTIME=nvidia/cuda:13.0.1-runtime-ubuntu24.04 .
#
# To run it, with the Hub's cache in a volume and the results in the current directory:
#
#     docker run --rm --user "$(id -u):$(id -g)" \
#         --volume attnscope-cache:/var/cache/huggingface --volume "$PWD:/work" \
#         attnscope scan --model MODEL --out scan
#
# (--gpus all for the second image; --env HF_TOKEN for gated repositories.)

# What compiles and what runs have to agree in their C library: change both or neither.
ARG BASE=debian:bookworm-slim
ARG RUNTIME=debian:bookworm-slim

FROM rust:1.95-slim-bookworm AS toolchain

FROM ${BASE} AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates gcc g++ libc6-dev \
    && rm -rf /var/lib/apt/lists/*
# The CUDA images have no Rust; the toolchain runs wherever it is put.
COPY --from=toolchain /usr/local/rustup /usr/local/rustup
COPY --from=toolchain /usr/local/cargo /usr/local/cargo
ENV RUSTUP_HOME=/usr/local/rustup \
    CARGO_HOME=/usr/local/cargo \
    PATH=/usr/local/cargo/bin:$PATH
ARG FEATURES=""
# candle's build would ask the GPU for this, and there is none while an image is built.
ARG CUDA_COMPUTE_CAP=80
WORKDIR /src
COPY . .
# Downloads and compiled dependencies survive in BuildKit's caches from one build to the next; the binary
# is copied out because a cache is not part of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target,sharing=locked \
    export CARGO_TARGET_DIR="/target/${FEATURES:-cpu}" \
    && cargo build --release --locked --bin attnscope --features "${FEATURES}" \
    && install -D "${CARGO_TARGET_DIR}/release/attnscope" /out/attnscope

FROM ${RUNTIME}
LABEL org.opencontainers.image.title="attnscope" \
    org.opencontainers.image.description="Measures how sparse the attention of pretrained language models is, head by head" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0"
# TLS to the Hub is checked against the system's certificates. Any user may write to the cache, so that
# --user works with every id.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home attnscope \
    && install --directory --mode=1777 /var/cache/huggingface \
    && install --directory --owner=attnscope --group=attnscope /work
COPY --from=build /out/attnscope /usr/local/bin/attnscope
ENV HF_HOME=/var/cache/huggingface
VOLUME /var/cache/huggingface
# By number, so that an orchestrator can see that it is not root.
USER 10001
WORKDIR /work
ENTRYPOINT ["attnscope"]
CMD ["--help"]
