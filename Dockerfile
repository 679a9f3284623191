# syntax=docker/dockerfile:1
# Targets of mini-scan: `consumer` (the default, with production features only) and `local` (with the embedded servers, the
# scanner and the demo). Likewise, event-pipeline has `events` and `events-local`, and widget-registry has `widgets` and
# `widgets-local`.
#
# The base images are pinned by the most exact tags that their publishers provide. A tag can still move to a rebuild of
# the same Rust, or to newer packages of Debian 12. For reproducible builds, append the digest to the tag, e.g.
# rust:1.95.0-slim-bookworm@sha256:…. This command prints it:
#   docker buildx imagetools inspect rust:1.95.0-slim-bookworm --format '{{.Manifest.Digest}}'

FROM rust:1.95.0-slim-bookworm AS source
WORKDIR /build
# Defines the command `cargo build-programs`.
ENV CARGO_ALIAS_BUILD_PROGRAMS="build --locked --package mini-scan --package event-pipeline --package widget-registry"
# Empty programs with the same dependencies are built first. Their layers are rebuilt only if the dependencies change.
COPY Cargo.toml Cargo.lock ./
COPY crates/delivery-table/Cargo.toml crates/delivery-table/
COPY crates/demo/Cargo.toml crates/demo/
COPY crates/dynamodb-local/Cargo.toml crates/dynamodb-local/
COPY crates/dynamodb-streams/Cargo.toml crates/dynamodb-streams/
COPY crates/dynamodb/Cargo.toml crates/dynamodb/
COPY crates/events/Cargo.toml crates/events/
COPY crates/http-api/Cargo.toml crates/http-api/
COPY crates/ops/Cargo.toml crates/ops/
COPY crates/pubsub-local/Cargo.toml crates/pubsub-local/
COPY crates/sqs-local/Cargo.toml crates/sqs-local/
COPY crates/webhook-sink/Cargo.toml crates/webhook-sink/
COPY crates/webhooks/Cargo.toml crates/webhooks/
COPY crates/widgets/Cargo.toml crates/widgets/
RUN mkdir src crates/delivery-table/src crates/demo/src crates/dynamodb-local/src crates/dynamodb-streams/src crates/dynamodb/src crates/events/src crates/http-api/src crates/ops/src crates/pubsub-local/src crates/sqs-local/src crates/webhook-sink/src crates/webhooks/src crates/widgets/src && \
    echo 'fn main() {}' > src/main.rs && \
    cp src/main.rs crates/events/src/main.rs && \
    cp src/main.rs crates/widgets/src/main.rs && \
    cp src/main.rs crates/pubsub-local/build.rs && \
    touch src/lib.rs crates/delivery-table/src/lib.rs crates/demo/src/lib.rs crates/dynamodb-local/src/lib.rs crates/dynamodb-streams/src/lib.rs crates/dynamodb/src/lib.rs crates/events/src/lib.rs crates/http-api/src/lib.rs crates/ops/src/lib.rs crates/pubsub-local/src/lib.rs crates/sqs-local/src/lib.rs crates/webhook-sink/src/lib.rs crates/webhooks/src/lib.rs crates/widgets/src/lib.rs

# Two stages compile the dependencies, once with the features of production and once with the embedded servers. Both select all
# programs, which gives the dependencies one set of features. The same selection with --bin then compiles only the crates of
# one program.
FROM source AS production
# The profile `dist` uses fat LTO: `make dist` takes about 11 minutes on two cores. PROFILE=release is faster to build.
ARG PROFILE=dist
RUN cargo build-programs --profile "${PROFILE}" --no-default-features --bins
COPY crates crates
COPY src src
# Cargo compares modification times, and these files may be older than the empty programs.
RUN find src crates -name '*.rs' -exec touch {} +

FROM source AS with-servers
RUN cargo build-programs --release --bins
COPY crates crates
COPY src src
RUN find src crates -name '*.rs' -exec touch {} +

FROM production AS build-consumer
ARG PROFILE=dist
ARG REVISION=unknown
RUN MINI_SCAN_REVISION="${REVISION}" cargo build-programs --profile "${PROFILE}" --no-default-features --bin mini-scan && \
    mv "target/${PROFILE}/mini-scan" mini-scan

FROM with-servers AS build-local
ARG REVISION=unknown
RUN MINI_SCAN_REVISION="${REVISION}" cargo build-programs --release --bin mini-scan

FROM production AS build-events
ARG PROFILE=dist
ARG REVISION=unknown
RUN EVENT_PIPELINE_REVISION="${REVISION}" cargo build-programs --profile "${PROFILE}" --no-default-features --bin event-pipeline && \
    mv "target/${PROFILE}/event-pipeline" event-pipeline

FROM with-servers AS build-events-local
ARG REVISION=unknown
RUN EVENT_PIPELINE_REVISION="${REVISION}" cargo build-programs --release --bin event-pipeline

FROM production AS build-widgets
ARG PROFILE=dist
ARG REVISION=unknown
RUN WIDGET_REGISTRY_REVISION="${REVISION}" cargo build-programs --profile "${PROFILE}" --no-default-features --bin widget-registry && \
    mv "target/${PROFILE}/widget-registry" widget-registry

FROM with-servers AS build-widgets-local
ARG REVISION=unknown
RUN WIDGET_REGISTRY_REVISION="${REVISION}" cargo build-programs --release --bin widget-registry

# The base image contains the C library and the certificates that the program needs, and no shell. USER is numeric, so that
# orchestrators can verify that it is not root (65532 is `nonroot`). The program writes nothing to the root file system,
# which can therefore be read-only.
FROM gcr.io/distroless/cc-debian12:nonroot AS base
# checkov:skip=CKV_DOCKER_2:Orchestrators probe /livez and /readyz. A HEALTHCHECK would need a second program in the image.
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
USER 65532:65532

FROM base AS base-events
LABEL org.opencontainers.image.title="event-pipeline" \
      org.opencontainers.image.description="Client events from SQS, validated, stored in DynamoDB, delivered to each client's webhook"
ENTRYPOINT ["/usr/local/bin/event-pipeline"]

FROM base-events AS events-local
# The embedded DynamoDB prepares its tables in a temporary file. This directory is writable even if the root file system
# is not.
ENV TMPDIR=/dev/shm
COPY --from=build-events-local /build/target/release/event-pipeline /usr/local/bin/event-pipeline
CMD ["demo"]

FROM base-events AS events
COPY --from=build-events /build/event-pipeline /usr/local/bin/event-pipeline
CMD ["processor"]

FROM base AS base-widgets
LABEL org.opencontainers.image.title="widget-registry" \
      org.opencontainers.image.description="A registry of widgets and of the symmetric connections between their ports, on DynamoDB"
ENTRYPOINT ["/usr/local/bin/widget-registry"]

FROM base-widgets AS widgets-local
# The embedded DynamoDB prepares its tables in a temporary file.
ENV TMPDIR=/dev/shm
COPY --from=build-widgets-local /build/target/release/widget-registry /usr/local/bin/widget-registry
CMD ["demo"]

FROM base-widgets AS widgets
COPY --from=build-widgets /build/widget-registry /usr/local/bin/widget-registry
CMD ["serve"]

FROM base AS base-mini-scan
LABEL org.opencontainers.image.title="mini-scan" \
      org.opencontainers.image.description="Newest-wins ingestion of scan results: Google Cloud Pub/Sub in, Amazon DynamoDB out"
ENTRYPOINT ["/usr/local/bin/mini-scan"]

FROM base-mini-scan AS local
# The embedded DynamoDB prepares its tables in a temporary file.
ENV TMPDIR=/dev/shm
COPY --from=build-local /build/target/release/mini-scan /usr/local/bin/mini-scan
CMD ["demo"]

FROM base-mini-scan AS consumer
COPY --from=build-consumer /build/mini-scan /usr/local/bin/mini-scan
CMD ["consumer"]
