# Sourced: the tools of NATS, of one version for all figures.

# nats_tools DIR has nats-server and nats in $tools, which is PEERS_BIN, or DIR without one; what is not there is installed with Go.
nats_tools() {
	tools=${PEERS_BIN:-$1}
	[ -x "$tools/nats-server" ] || GOBIN=$tools go install github.com/nats-io/nats-server/v2@v2.15
	[ -x "$tools/nats" ] || GOBIN=$tools go install github.com/nats-io/natscli/nats@v0.5
}
