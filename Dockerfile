# Two stages: build with the Rust toolchain, run from a small Debian as an ordinary user.
# docker build -t semper . && docker run --read-only -v semper-state:/var/lib/semper \
#   -v ./nginx.conf:/etc/semper/nginx.conf:ro -p 80:8080 -p 443:8443 semper
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev make cmake \
 && rm -rf /var/lib/apt/lists/*
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY benches benches
RUN cargo build --release --locked --bin semper

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o 65532 -g 65532 -m 0700 /var/lib/semper
COPY --from=build /src/target/release/semper /usr/local/bin/semper
USER 65532:65532
VOLUME ["/var/lib/semper"]
EXPOSE 8080 8443
STOPSIGNAL SIGQUIT
ENTRYPOINT ["/usr/local/bin/semper"]
CMD ["-g", "daemon off;", "-c", "/etc/semper/nginx.conf"]
