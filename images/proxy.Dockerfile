# proxy.Dockerfile: the image outrigger-proxy, for users with a container engine and a registry.
#
#   docker build -f images/proxy.Dockerfile --build-arg VERSION=0.1.0 -t REGISTRY/outrigger-proxy:0.1.0 .
#
# Not tested where no Docker engine is, which is where the project's own checks run: they use
# images/build.py, and this file says the same in Docker's words. Keep the two in step.

FROM rust:1.95-bookworm AS build
WORKDIR /src
# The one that the base image brings; rust-toolchain.toml would have its linters fetched as well.
ENV RUSTUP_TOOLCHAIN=1.95.0
COPY . .

# The image has no C library, so the program brings its own; with an explicit target, or procedural
# macros would be built static too, and those can't be.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --release --locked --target "$(uname -m)-unknown-linux-gnu" --bin outrigger-proxy \
 && cp "target/$(uname -m)-unknown-linux-gnu/release/outrigger-proxy" /outrigger-proxy

# What a program may look for besides itself: who it is, and a place for temporary files.
RUN mkdir -p /root-files/etc /root-files/tmp && chmod 1777 /root-files/tmp \
 && printf 'root:x:0:0:root:/:/sbin/nologin\noutrigger:x:1337:1337::/:/sbin/nologin\n' > /root-files/etc/passwd \
 && printf 'root:x:0:\noutrigger:x:1337:\n' > /root-files/etc/group

FROM scratch
ARG VERSION=unversioned
LABEL org.opencontainers.image.title="outrigger-proxy" \
      org.opencontainers.image.description="Outrigger's sidecar proxy" \
      org.opencontainers.image.version="$VERSION"
ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin
COPY --from=build /root-files/ /
COPY --from=build /outrigger-proxy /outrigger-proxy
USER 1337:1337
ENTRYPOINT ["/outrigger-proxy"]
