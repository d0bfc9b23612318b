# Tallystick as a container image: one static program, nothing else, not root.
#
#   docker build -t tallystick .
#   docker run -p 3000:3000 -v tallystick:/var/lib/tallystick \
#     -e TALLYSTICK_PUBLIC_URL=http://localhost:3000 tallystick
#
# The host name in TALLYSTICK_PUBLIC_URL becomes the name of the log at the first
# start, for ever. Set everything by TALLYSTICK_… variables, as the health check
# reads them, too (address and port, TLS); it does not see the server's flags.

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ENV CGO_ENABLED=0
# What "tallystick version" says: --build-arg VERSION=$(git describe --always)
ARG VERSION=
RUN go build -trimpath -ldflags="-s -X main.release=$VERSION" -o /out/usr/local/bin/tallystick ./cmd/tallystick \
 && install -d -m 0700 /state/tallystick \
 && install -d -m 1777 /out/tmp \
 && install -D -m 0644 LICENSE /out/licenses/LICENSE \
 && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ca-certificates.crt

FROM scratch
COPY --from=build /out /
COPY --from=build --chown=65532:65532 /state /var/lib
USER 65532:65532
ENV TALLYSTICK_DATA_DIR=/var/lib/tallystick
ENV TALLYSTICK_LISTEN=0.0.0.0:3000
VOLUME /var/lib/tallystick
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s CMD ["/usr/local/bin/tallystick", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/tallystick"]
CMD ["serve"]
