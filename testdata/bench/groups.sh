#!/usr/bin/env bash
# Consumer groups on one machine: what 100 members cost a node that have nothing to do, how many commits a second are acknowledged, and how long a partition of a member that vanished stands
# still; beside it what JetStream does for as many consumers that wait for each acknowledgement to be acknowledged.
#
#   testdata/bench/groups.sh
#
#   rustmq        go run ./testdata/scale members: a commit that is acknowledged is fsynced
#   nats          JetStream, file storage, one replica, default settings: a double ack is answered before fsync
#   nats-always   the same with sync_interval: always, which fsyncs first
#
# It installs nats-server and nats with Go into a directory of its own, or takes those in PEERS_BIN. BENCH_DIR is a directory on the disk to measure (default /var/tmp). Nothing else
# should run meanwhile.
set -euo pipefail
cd "$(dirname "$0")/../.."
. testdata/bench/nats.sh

work=$(mktemp -d "${BENCH_DIR:-/var/tmp}/rustmq-groups.XXXXXX")
peer=
cleanup() {
	[ -z "$peer" ] || kill "$peer" 2>/dev/null || true
	[ -z "$peer" ] || wait "$peer" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT

nats_tools "$work/bin" # kept when it is given
go build -o "$work/rustmq" .
go build -o "$work/scale" ./testdata/scale
export HOME=$work XDG_CONFIG_HOME=$work/config TMPDIR=$work
"$work/rustmq" version
"$tools/nats-server" --version

"$work/scale" -bin "$work/rustmq" members

nats() { # NAME CLIENTS MESSAGES CONFIG
	local _
	printf 'listen: "127.0.0.1:29293"\njetstream { store_dir: "%s", %s }\n' "$work/data" "$4" >"$work/nats.conf"
	"$tools/nats-server" -c "$work/nats.conf" >"$work/log" 2>&1 &
	peer=$!
	for _ in $(seq 200); do
		! grep -q 'Server is ready' "$work/log" || break
		sleep 0.05
	done
	"$tools/nats" --server nats://127.0.0.1:29293 bench js pub async bench --create --storage file --batch 500 --msgs "$3" --size 128 --no-progress >"$work/pub" 2>&1
	"$tools/nats" --server nats://127.0.0.1:29293 bench js consume --clients "$2" --msgs "$3" --acks explicit --doubleack --no-progress >"$work/consume" 2>&1 || { cat "$work/consume" >&2; exit 1; }
	printf '%-52s %10s /s\n' "$1: double acks of $2 consumers" "$({ grep -i aggregate "$work/consume" || cat "$work/consume"; } | grep -m 1 'msgs/sec' | grep -o '[0-9,]* msgs/sec' | tr -cd 0-9)"
	kill "$peer"
	wait "$peer" 2>/dev/null || true
	peer=
	rm -rf "$work/data"
}
nats nats 1 5000 ''
nats nats 100 30000 ''
nats nats-always 1 3000 'sync_interval: always'
nats nats-always 100 20000 'sync_interval: always'
