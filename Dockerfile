# Two steps: build with the Rust toolchain, run on a plain Debian. tests/dockerfile checks the steps as a script.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src ./src
COPY mappings ./mappings
COPY scenarios ./scenarios
COPY config ./config
COPY benches ./benches
RUN cargo build --release --locked --bin heatgate

FROM debian:bookworm-slim
RUN useradd --system --home-dir /var/lib/heatgate --create-home heatgate
COPY --from=build /build/target/release/heatgate /usr/local/bin/heatgate
COPY config/gateway.toml /etc/heatgate/config/gateway.toml
COPY mappings /etc/heatgate/mappings
USER heatgate
VOLUME /var/lib/heatgate
# Modbus TCP (engines let any user take low ports in a container), BACnet/IP; the status page stays on loopback.
EXPOSE 502/tcp 47808/udp
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/heatgate"]
CMD ["run", "-c", "/etc/heatgate/config/gateway.toml"]
