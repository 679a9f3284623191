# syntax=docker/dockerfile:1
# Targets: `consumer` (the default: production features) and `local` (with the embedded servers, scanner and demo).
#
# The bases are pinned by the most exact tags that their publishers make. A tag can still move: to a rebuild of the same
# Rust, or, with distroless, to newer packages of Debian 12. Where builds must be the same byte for byte, pin by digest:
#   docker buildx imagetools inspect rust:1.95.0-slim-bookworm --format '{{.Manifest.Digest}}'
# and put what it prints behind the tag, as rust:1.95.0-slim-bookworm@sha256:…; likewise for the other base.

FROM rust:1.95.0-slim-bookworm AS source
WORKDIR /build
# An empty program with the same dependencies: its layers are rebuilt only when the dependencies change.
COPY Cargo.toml Cargo.lock ./
COPY crates/pubsub-local/Cargo.toml crates/pubsub-local/
RUN mkdir src crates/pubsub-local/src && echo 'fn main() {}' > src/main.rs && cp src/main.rs crates/pubsub-local/build.rs && \
    touch src/lib.rs crates/pubsub-local/src/lib.rs

FROM source AS build-consumer
# `dist` is linked as a whole and stripped: some 11 minutes on two cores. PROFILE=release is for trying.
ARG PROFILE=dist
RUN cargo build --package mini-scan --profile "${PROFILE}" --locked --no-default-features
COPY crates crates
COPY src src
# The new files may be older than the empty program's; cargo goes by their times.
ARG REVISION=unknown
RUN find src crates -name '*.rs' -exec touch {} + && \
    MINI_SCAN_REVISION="${REVISION}" cargo build --package mini-scan --profile "${PROFILE}" --locked --no-default-features && \
    mv "target/${PROFILE}/mini-scan" mini-scan

FROM source AS build-local
RUN cargo build --package mini-scan --release --locked
COPY crates crates
COPY src src
ARG REVISION=unknown
RUN find src crates -name '*.rs' -exec touch {} + && \
    MINI_SCAN_REVISION="${REVISION}" cargo build --package mini-scan --release --locked

# Has the C library and the certificates that the program needs, and no shell. Its user 65532 is `nonroot`: by its number
# an orchestrator can see that it is not root. The program writes no file, so the root file system can be read-only.
FROM gcr.io/distroless/cc-debian12:nonroot AS base
# checkov:skip=CKV_DOCKER_2:Orchestrators ask /livez and /readyz; a HEALTHCHECK would need a second program in the image.
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="mini-scan" \
      org.opencontainers.image.description="Newest-wins ingestion of scan results: Google Cloud Pub/Sub in, Amazon DynamoDB out" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/mini-scan"]

FROM base AS local
COPY --from=build-local /build/target/release/mini-scan /usr/local/bin/mini-scan
CMD ["demo"]

FROM base AS consumer
COPY --from=build-consumer /build/mini-scan /usr/local/bin/mini-scan
CMD ["consumer"]
