#!/usr/bin/env bash
# The figures of docs/benchmarks.md, "Kafka's protocol": franz-go drives one node, and franz-go's own broker in memory (kfake), which writes nothing to a disk, in turn, beside the
# machine's TCP. Nothing else should run meanwhile.
#
#   testdata/bench/kafka.sh [ROUNDS]     default: 3
#
# RUSTMQ is a binary to take instead of building one, BENCH_DIR a directory on the disk to measure (default /var/tmp), DURATION the time of each measurement (default 6s). STORE is
# the URL of a bucket; by default it is a directory on the same disk as the log, which then gets each byte twice.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d "${BENCH_DIR:-/var/tmp}/rustmq-kafka.XXXXXX")
rustmq=$work/rustmq
. testdata/e2e/nodes.sh
cleanup() {
	end_all
	exec 9>&- || true
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP
if [ -n "${RUSTMQ:-}" ]; then cp "$RUSTMQ" "$rustmq"; else go build -o "$rustmq" .; fi
go build -o "$work/kfake" ./testdata/kfake

export RUSTMQ_MEMORY_TAIL_SIZE=512MiB
store=${STORE:-}
make_nodes 1
start_node 1
ready 1
mkfifo "$work/hold"
"$work/kfake" <"$work/hold" >"$work/kfake.at" &
exec 9>"$work/hold" # it ends with this
for _ in $(seq 100); do
	[ -s "$work/kfake.at" ] || sleep 0.1
done
ours=127.0.0.1:$(client_port 1) theirs=$(cat "$work/kfake.at")

measure() { # KIND SERVER ADMIN: prints records a second, its ratio to TCP, CPU us per record here and there
	"$rustmq" bench "$1" --against kafka --server "$2" --admin "$3" --limits --dir "$work" --duration "${DURATION:-6s}" --rounds 3 ${4:-} -o json >"$work/bench.json"
	awk -F'": *' '{sub(/^ *"/, "", $1); sub(/,$/, "", $2)} $1 == "name" {name = $2} name ~ /kafka/ {v[$1] = $2} END {print v["value"], v["ratio"], v["cpu_us_per_record"], v["server_cpu_us_per_record"]}' "$work/bench.json"
}
for round in $(seq "${1:-3}"); do
	for kind in produce consume; do
		read -r rate ratio here there < <(measure $kind "$ours" "127.0.0.1:$(admin_port 1)")
		read -r fake _ fake_here _ < <(measure $kind "$theirs" none)
		awk -v round="$round" -v kind=$kind -v rate="$rate" -v ratio="$ratio" -v here="$here" -v there="$there" -v fake="$fake" -v fake_here="$fake_here" 'BEGIN {
			printf "round %d, %s: %d records/s, %.2f of TCP, %.2f of kfake (%d); CPU us per record: client %.2f (%.2f with kfake), server %.2f\n",
				round, kind, rate, ratio, rate / fake, fake, here, fake_here, there}'
	done
done
