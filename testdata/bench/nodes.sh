#!/usr/bin/env bash
# The figures of docs/benchmarks.md, "Several nodes": three nodes with both roles on this machine, replication 3, min ISR 2. Nothing else should run meanwhile.
#
#   testdata/bench/nodes.sh failover follower|leader [KILLS]     kill -9 of a node that leads the controllers or not (default: 50): ms in which a partition acknowledged nothing
#   testdata/bench/nodes.sh rolling [ROUNDS]                     SIGTERM of one node after the other (default: 3)
#   testdata/bench/nodes.sh election [KILLS] [PARTITIONS]        kill -9 of one of three that lead 1,000 partitions: ms until all have leaders
#   testdata/bench/nodes.sh idle [SECONDS]                       what the controllers' log grows by when nothing happens (default: 60)
#   testdata/bench/nodes.sh produce [ROUNDS]                     rustmq bench produce and latency of three against one, in turn
#
# RUSTMQ is a binary to take instead of building one, BENCH_DIR a directory on the disk to measure (default /var/tmp), WITH a command to run each measurement under.
# KEEP=yes keeps logs and reports.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d "${BENCH_DIR:-/var/tmp}/rustmq-nodes.XXXXXX")
rustmq=$work/rustmq
. testdata/e2e/nodes.sh
verify=
cleanup() {
	[ -z "$verify" ] || kill -9 "$verify" 2>/dev/null || true
	end_all
	[ "${KEEP:-}" = yes ] && echo "logs are in $work" || rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP
fail() {
	echo "nodes: $*" >&2
	tail -n 3 "$work"/*.log >&2 || true
	exit 1
}
if [ -n "${RUSTMQ:-}" ]; then cp "$RUSTMQ" "$rustmq"; else go build -o "$rustmq" .; fi

cluster() { # N
	make_nodes "$1"
	for n in $nodes; do start_node "$n"; done
	for n in $nodes; do ready "$n" || fail "node $n does not start"; done
	in_sync || fail "the cluster is not complete"
}
now_ms() { date +%s%3N; }
# percentiles: of the numbers that are read.
percentiles() {
	sort -n | awk '{v[NR] = $1} END {if (NR) printf "%d figures: p50 %d, p90 %d, p99 %d, max %d\n", NR, v[int((NR + 1) / 2)], v[int(NR * 0.9 + 0.5)], v[int(NR * 0.99 + 0.5)], v[NR]}'
}
start_verify() {
	"$rustmq" topic create proof --partitions 6 --replicas 3 --config min.insync.replicas=2 >"$work/topic.log"
	"$rustmq" verify --topic proof --duration 24h --rate "${RATE:-1200}" --readers 1 --report "$work/report.json" >"$work/verify.out" 2>"$work/verify.log" &
	verify=$!
	sleep 2
}
end_verify() {
	local status=0
	kill -INT "$verify"
	wait "$verify" || status=$?
	verify=
	cat "$work/verify.out"
	[ "$status" = 0 ] || fail "verify ended with status $status"
	# gaps as "BEGIN_MS LENGTH_MS"
	awk -F'"' '/"begin"/ {begin = $4} /"gap_ms"/ {gsub(/[^0-9]/, "", $3); print begin, $3}' "$work/report.json" | while read -r begin length; do
		echo "$(date -d "$begin" +%s%3N) $length"
	done >"$work/gaps"
}
# gap_at MS: the longest gap that a moment lies in, or that begins within half a second of it.
gap_at() { awk -v at="$1" '$1 >= at - 200 && $1 <= at + 500 && $2 > m {m = $2} END {print m + 0}' "$work/gaps"; }

failover() { # follower|leader KILLS
	cluster 3
	start_verify
	local victim at began=$SECONDS
	for _ in $(seq "${2:-50}"); do
		[ $((SECONDS - began)) -lt "${SECONDS_AT_MOST:-100000}" ] || break
		victim=$(controller)
		[[ "$victim" == [123] ]] || { sleep 0.2; continue; }
		[ "$1" = leader ] || victim=$((victim % 3 + 1))
		at=$(now_ms)
		kill_node "$victim"
		echo "$at $victim" >>"$work/kills"
		sleep 1
		start_node "$victim"
		ready "$victim" || fail "node $victim does not start"
		in_sync || fail "not in sync"
		sleep "${PAUSE:-0.5}"
	done
	end_verify
	while read -r at victim; do
		echo "$(gap_at "$at")"
	done <"$work/kills" | tee -a "${FIGURES:-$work/figures}" | tr '\n' ' '
	echo
	echo "failover, $1: ms without an acknowledgement: $(percentiles <"${FIGURES:-$work/figures}")"
}

rolling() { # ROUNDS
	cluster 3
	start_verify
	local n at
	for _ in $(seq "${1:-3}"); do
		for n in $nodes; do
			at=$(now_ms)
			end_node "$n" || fail "node $n ended with status $?"
			start_node "$n"
			ready "$n" || fail "node $n does not start"
			in_sync || fail "not in sync"
			echo "$at $(now_ms) $n" >>"$work/kills"
			sleep 0.5
		done
	done
	end_verify
	while read -r at end n; do
		awk -v at="$at" -v end="$end" '$1 + $2 >= at && $1 <= end + 500 && $2 > m {m = $2} END {print m + 0}' "$work/gaps"
	done <"$work/kills" | tee "$work/figures" | tr '\n' ' '
	echo
	echo "rolling: longest ms without an acknowledgement per restart: $(percentiles <"$work/figures")"
}

election() { # KILLS PARTITIONS
	cluster 3
	"$rustmq" topic create wide --partitions "${2:-1000}" --replicas 3 --config min.insync.replicas=2 >"$work/topic.log"
	in_sync || fail "not in sync"
	local victim at leads
	for _ in $(seq "${1:-5}"); do
		victim=$(controller)
		victim=$((victim % 3 + 1))
		[ -z "${LEADER:-}" ] || victim=$(controller)
		leads=$(led_by "$victim")
		at=$(now_ms)
		kill_node "$victim"
		while [ "$(led_by "$victim")" -gt 0 ]; do :; done
		echo "election: $leads leaders of ${2:-1000} gone: $(($(now_ms) - at)) ms until all had others, as a command that takes $(took led_by "$victim") ms says"
		start_node "$victim"
		ready "$victim" || fail "node $victim does not start"
		in_sync || fail "not in sync"
		for _ in $(seq 60); do # leaderships go back to those that are preferred
			[ "$(led_by "$victim")" -lt 300 ] || break
			sleep 0.5
		done
	done
}
led_by() {
	local list
	list=$("$rustmq" ctl partition list --topic wide -o json --timeout 5s) || { echo 1; return; }
	grep -c "\"leader\": \($1\|-1\)," <<<"$list" || true
}
took() {
	local at
	at=$(now_ms)
	"$@" >/dev/null
	echo $(($(now_ms) - at))
}

idle() { # SECONDS
	cluster 3
	"$rustmq" topic create wide --partitions 100 --replicas 3 >"$work/topic.log"
	in_sync || fail "not in sync"
	sleep 15
	local before after
	before=$(committed)
	sleep "${1:-60}"
	after=$(committed)
	echo "idle: the controllers' log went from index $before to $after in ${1:-60} s; logs: $(du -cb "$work"/data?/raft | tail -n 1 | cut -f 1) bytes"
}
committed() { "$rustmq" ctl raft status -o json | field commit_index; }

produce() { # ROUNDS
	local round count
	for round in $(seq "${1:-3}"); do
		for count in 1 3; do
			cluster $count
			for kind in "produce --producers 16 --window 256" "latency --producers 16" "latency --producers 1"; do
				cpu=$(ticks)
				# shellcheck disable=SC2086
				${WITH:-} "$rustmq" bench $kind --admin "127.0.0.1:$(admin_port 1)" --rounds 1 --duration "${DURATION:-5s}" -o json >"$work/bench.json" 2>>"$work/bench.log" ||
					fail "bench $kind of $count nodes"
				echo "round $round, $count nodes, $kind: servers' CPU $((($(ticks) - cpu) * 10)) ms"
				cat "$work/bench.json" | tr -d '\n ' | cut -c1-700
				echo
			done
			end_all
			rm -rf "$work"/data? "$work"/pki? "$work/ca" "$work/objects"
		done
	done
}
# ticks: processor time that all nodes have used, in hundredths of a second.
ticks() { for n in "${!pid[@]}"; do sed 's/.*) //' "/proc/${pid[$n]}/stat"; done | awk '{n += $12 + $13} END {print n}'; }

case ${1:-} in
failover | rolling | election | idle | produce) "$@" ;;
*)
	sed -n '2,/^set /p' "$0" | grep '^#' >&2
	exit 2
	;;
esac
