#!/usr/bin/env bash
# Durable produce of RustMQ and of its peers on one machine: 1 KiB records, 16 publishers, the same disk, one after the other in
# rounds. Prints records per second of each round, the medians, and RustMQ's ratio to each.
#
#   testdata/bench/peers.sh [ROUNDS]     default: 3
#
#   rustmq        bench produce: acks=all, every acknowledged record is fsynced; 16 producers with 256 records in flight
#   nats          JetStream, file storage, one replica, default settings: acknowledges before fsync
#   nats-always   the same with sync_interval: always, which fsyncs first
#   redis         streams with appendfsync always; 16 clients, pipelines of 100
#
# It installs nats-server and nats with Go into a directory of its own, and needs Debian's redis-server (apt-get install
# redis-server; its service need not run). BENCH_DIR is a directory on the disk to measure (default /var/tmp). WITH is a command to run
# each measurement under. Nothing else should run meanwhile.
set -euo pipefail
cd "$(dirname "$0")/../.."
. testdata/bench/nats.sh

rounds=${1:-3}
size=1024
work=$(mktemp -d "${BENCH_DIR:-/var/tmp}/rustmq-peers.XXXXXX")
peer=
cleanup() {
	[ -z "$peer" ] || kill "$peer" 2>/dev/null || true
	[ -z "$peer" ] || wait "$peer" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT

nats_tools "$work/bin" # kept when it is given
go build -o "$work/rustmq" .
export HOME=$work XDG_CONFIG_HOME=$work/config
"$work/rustmq" version
"$tools/nats-server" --version
echo "nats $("$tools/nats" --version)"
redis-server --version

# started LOG WORD: waits until the peer has said WORD.
started() {
	for _ in $(seq 200); do
		grep -q "$2" "$1" && return
		sleep 0.05
	done
	cat "$1" >&2
	echo "peers: a server does not start" >&2
	exit 1
}
stop() {
	kill "$peer"
	wait "$peer" 2>/dev/null || true
	peer=
	rm -rf "$work/data"
	mkdir "$work/data"
	sync
}
measure() { ${WITH:-} "$@" >"$work/output" 2>&1 || { cat "$work/output" >&2; exit 1; }; }

# Each of these sets figure, in records per second.

run_rustmq() {
	"$work/rustmq" serve --data-dir "$work/data" --listen 127.0.0.1:29292 --admin-listen 127.0.0.1:29842 >"$work/log" 2>&1 &
	peer=$!
	started "$work/log" '^ready'
	measure "$work/rustmq" bench produce --server 127.0.0.1:29292 --admin 127.0.0.1:29842 --size $size --producers 16 --window 256 \
		--rounds 1 --duration 6s -o json
	figure=$(awk -F'[:,]' '/"value"/ {print int($2)}' "$work/output")
	stop
}
run_nats() { # MESSAGES CONFIG
	printf 'listen: "127.0.0.1:29293"\njetstream { store_dir: "%s", %s }\n' "$work/data" "$2" >"$work/nats.conf"
	"$tools/nats-server" -c "$work/nats.conf" >"$work/log" 2>&1 &
	peer=$!
	started "$work/log" 'Server is ready'
	measure "$tools/nats" --server nats://127.0.0.1:29293 bench js pub async bench --create --storage file --batch 500 \
		--clients 16 --msgs "$1" --size $size --no-progress
	figure=$(grep -i aggregate "$work/output" | grep -o '[0-9,]* msgs/sec' | tr -cd 0-9)
	stop
}
run_redis() {
	redis-server --bind 127.0.0.1 --port 29294 --dir "$work/data" --appendonly yes --appendfsync always --save "" >"$work/log" 2>&1 &
	peer=$!
	started "$work/log" 'Ready to accept connections'
	measure redis-benchmark -h 127.0.0.1 -p 29294 -c 16 -P 100 -n 400000 --csv XADD bench '*' v "$(head -c $((size * 3 / 4)) /dev/urandom | base64 -w 0)"
	figure=$(awk -F'","' '/XADD/ {print int($2)}' "$work/output")
	stop
}

mkdir -p "$work/data"
declare -A got
for round in $(seq "$rounds"); do
	for name in rustmq nats nats-always redis; do
		case $name in
		rustmq) run_rustmq ;;
		nats) run_nats 400000 "" ;;
		nats-always) run_nats 12000 "sync_interval: always" ;;
		redis) run_redis ;;
		esac
		[ -n "$figure" ] || { cat "$work/output" >&2; echo "peers: no figure of $name" >&2; exit 1; }
		echo "round $round: $name $figure records/s"
		got[$name]+="$figure "
	done
done
median() { tr ' ' '\n' <<<"${got[$1]}" | grep . | sort -n | awk '{v[NR] = $1} END {print int((v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2)}'; }
echo "median: rustmq $(median rustmq) records/s"
for name in nats nats-always redis; do
	echo "median: $name $(median $name) records/s; rustmq is $(awk -v a="$(median rustmq)" -v b="$(median $name)" 'BEGIN {printf "%.2f", a / b}') times that"
done
