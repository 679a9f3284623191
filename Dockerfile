# syntax=docker/dockerfile:1
# Targets: `consumer` (the default: production features) and `local` (with the embedded servers, scanner and demo).
# The tags are as exact as the publishers make them; where builds must be reproducible, add the digests.

FROM rust:1.95.0-slim-bookworm AS source
WORKDIR /build
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo
# An empty program with the same dependencies: its layers are rebuilt only when the dependencies change.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src && echo 'fn main() {}' > src/main.rs && cp src/main.rs build.rs && touch src/lib.rs

FROM source AS build-consumer
RUN cargo build --release --locked --no-default-features
COPY build.rs ./
COPY src src
# The new files may be older than the empty program's; cargo goes by their times.
RUN touch build.rs src/main.rs src/lib.rs && cargo build --release --locked --no-default-features

FROM source AS build-local
RUN cargo build --release --locked
COPY build.rs ./
COPY src src
RUN touch build.rs src/main.rs src/lib.rs && cargo build --release --locked

# Runs as the user `nonroot`; has the C library and the certificates that the program needs, and no shell.
FROM gcr.io/distroless/cc-debian12:nonroot AS local
COPY --from=build-local /build/target/release/mini-scan /usr/local/bin/mini-scan
ENTRYPOINT ["/usr/local/bin/mini-scan"]
CMD ["demo"]

FROM gcr.io/distroless/cc-debian12:nonroot AS consumer
COPY --from=build-consumer /build/target/release/mini-scan /usr/local/bin/mini-scan
ENTRYPOINT ["/usr/local/bin/mini-scan"]
CMD ["consumer"]
