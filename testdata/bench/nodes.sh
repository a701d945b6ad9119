#!/usr/bin/env bash
# The figures of docs/benchmarks.md, "Several nodes": three nodes with both roles on this machine, replication 3, min ISR 2. Nothing else should run meanwhile.
#
#   testdata/bench/nodes.sh failover follower|leader [KILLS]     kill -9 of a node that leads the controllers or not (default: 50): ms in which a partition acknowledged nothing
#   testdata/bench/nodes.sh rolling [ROUNDS]                     SIGTERM of one node after the other (default: 3)
#   testdata/bench/nodes.sh election [KILLS] [PARTITIONS]        kill -9 of one of three that lead 1,000 partitions: ms until all have leaders
#   testdata/bench/nodes.sh idle [SECONDS]                       what the controllers' log grows by when nothing happens (default: 60)
#   testdata/bench/nodes.sh load [MINUTES]                       as many records of 100 bytes as three nodes take: elections and fences meanwhile (default: 60)
#   testdata/bench/nodes.sh produce [ROUNDS]                     rustmq bench produce and latency of three against one, in turn
#   testdata/bench/nodes.sh nats [ROUNDS]                        three nodes, and three servers of NATS JetStream with R3 file storage, by default and with
#                                                                sync_interval: always, each after WARM records (default: 600000), then in turn: 500 records of
#                                                                1 KiB in flight, and 16 publishers that wait (default: 3)
#
# RUSTMQ is a binary to take instead of building one, BENCH_DIR a directory on the disk to measure (default /var/tmp), WITH a command to run each measurement under.
# KEEP=yes keeps logs and reports. nats needs nats-server and nats in PEERS_BIN, or installs them with Go into a directory of its own; OTHER is a second rustmq to
# measure beside the first.
set -euo pipefail
cd "$(dirname "$0")/../.."
. testdata/bench/nats.sh

work=$(mktemp -d "${BENCH_DIR:-/var/tmp}/rustmq-nodes.XXXXXX")
rustmq=$work/rustmq
. testdata/e2e/nodes.sh
verify=
servers=()
cleanup() {
	stop_nats
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
		until victim=$(choose "$1"); do # leaderships go back to those that are preferred
			[ $((SECONDS - began)) -lt "${SECONDS_AT_MOST:-100000}" ] || break 2
			sleep 0.2
		done
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

# choose follower|leader: a node that leads partitions of the topic, and the controllers or not.
choose() {
	local controller n leads most=0 victim=
	controller=$(controller)
	[[ "$controller" == [123] ]] || return 1
	for n in $nodes; do
		[ "$([ "$n" = "$controller" ] && echo leader || echo follower)" = "$1" ] || continue
		leads=$(led_by "$n" proof)
		[ "$leads" -le "$most" ] || { most=$leads victim=$n; }
	done
	echo "$victim"
	[ "$most" -gt 0 ]
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
		leads=$(led_by "$victim" wide)
		at=$(now_ms)
		kill_node "$victim"
		while [ "$(led_by "$victim" wide)" -gt 0 ]; do :; done
		echo "election: $leads leaders of ${2:-1000} gone: $(($(now_ms) - at)) ms until all had others, as a command that takes $(took led_by "$victim" wide) ms says"
		start_node "$victim"
		ready "$victim" || fail "node $victim does not start"
		in_sync || fail "not in sync"
		for _ in $(seq 60); do # leaderships go back to those that are preferred
			[ "$(led_by "$victim" wide)" -lt 300 ] || break
			sleep 0.5
		done
	done
}
led_by() { # NODE TOPIC
	local list
	list=$("$rustmq" ctl partition list --topic "$2" -o json --timeout 5s) || { echo 1; return; }
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

load() { # MINUTES
	cluster 3
	"$rustmq" topic create load --partitions 6 --replicas 3 --config min.insync.replicas=2 >"$work/topic.log"
	in_sync || fail "not in sync"
	sleep 5
	local before after minute records=0 changed=0
	before=$(leaders)
	for minute in $(seq "${1:-60}"); do
		"$rustmq" bench latency --producers 64 --size 100 --topic load --admin "127.0.0.1:$(admin_port 1)" --rounds 1 --duration "${DURATION:-59s}" -o json >"$work/bench.json" 2>>"$work/bench.log" ||
			fail "bench in minute $minute"
		records=$((records + $(number records)))
		after=$(leaders)
		[ "$before" = "$after" ] || { echo "minute $minute: $before became $after"; before=$after changed=$((changed + 1)); }
	done
	echo "load: $records records in ${1:-60} minutes; minutes with elections: $changed; lines of fences in the logs: $(cat "$work"/node?.log | grep -c "fenced" || true); at the end: $after"
}
# leaders are the controllers' term and leader, and the leader and its epoch of each partition of the topic.
leaders() {
	echo "term $("$rustmq" ctl raft status -o json | field term), leader $(controller), partitions $("$rustmq" ctl partition list --topic load -o json |
		awk -F'": *' '{sub(/^ *"/, "", $1)} $1 == "leader" || $1 == "leader_epoch" {gsub(/,/, "", $2); printf "%s ", $2}')"
}

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
# ticks [PID ...]: processor time that these, or all nodes, have used, in hundredths of a second.
ticks() {
	[ $# -gt 0 ] || set -- "${pid[@]}"
	for n in "$@"; do sed 's/.*) //' "/proc/$n/stat"; done | awk '{n += $12 + $13} END {print n}'
}

nats() { # ROUNDS
	local tools round name peer peers=(rustmq ${OTHER:+other} nats nats-always)
	nats_tools "$work/bin"
	"$tools/nats-server" --version
	echo "nats $("$tools/nats" --version)"
	nats_rustmq rustmq "$rustmq"
	[ -z "${OTHER:-}" ] || nats_rustmq other "$OTHER"
	nats_cluster nats ""
	nats_cluster nats-always "sync_interval: always"
	for peer in "${peers[@]}"; do nats_warm "$peer"; done
	for round in $(seq "${1:-3}"); do
		for load in pipelined waiting; do
			for peer in "${peers[@]}"; do nats_load "$peer" "$load"; done
		done
	done
	for name in "${!figures[@]}"; do echo "$name ${figures[$name]}"; done | sort | awk '{
		name = $1 " " $2; n = (NF - 2) / 4; out = ""
		for (k = 0; k < 4; k++) {
			for (i = 0; i < n; i++) v[i + 1] = $(3 + 4 * i + k) + 0
			for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] < v[j - 1]; j--) {t = v[j]; v[j] = v[j - 1]; v[j - 1] = t}
			out = out " " (v[int((n + 1) / 2)] + v[int(n / 2) + 1]) / 2
		}
		split(out, m, " ")
		printf "median: %-22s %8d records/s, p50 %7d us, p99 %7d us, servers%c CPU %6.1f us per record\n", name, m[1], m[2], m[3], 39, m[4]
	}'
}
declare -A figures # by peer and load: for each round records per second, p50 and p99 in us, processor time of the servers per record in us
note() { # NAME LOAD RATE P50 P99 RECORDS TICKS
	local cpu
	[ -n "$3" ] && [ -n "$4" ] && [ -n "$5" ] || fail "no figure of $1, $2"
	cpu=$(awk -v t="$7" -v n="$6" 'BEGIN {printf "%.1f", t * 10000 / n}')
	echo "round $round: $1, $2: $3 records/s, p50 $4 us, p99 $5 us, servers' CPU $cpu us per record"
	figures["$1 $2"]+=" $3 $4 $5 $cpu"
}
declare -A dir binary urls admin ca # of each peer
nats_rustmq() { # NAME BINARY: starts it
	local top=$work rustmq=$2
	work=$top/cluster-$1
	mkdir "$work"
	pid=()
	cluster 3
	servers+=("${pid[@]}")
	dir[$1]=$work binary[$1]=$2 urls[$1]=$RUSTMQ_SERVER admin[$1]=127.0.0.1:$(admin_port 1) ca[$1]=$RUSTMQ_CA pids[$1]=${pid[*]}
	pid=()
	work=$top
}
# number NAME: the first number of that name in the report, without what follows the point.
number() { tr -d '\n ' <"$work/bench.json" | grep -o "\"$1\":[0-9]*" | head -n 1 | cut -d : -f 2; }
nats_cluster() { # NAME CONFIG: starts it
	local n routes= own=()
	dir[$1]=$work/cluster-$1
	mkdir "${dir[$1]}"
	mapfile -t ports < <(free_ports 9)
	for n in 1 2 3; do
		routes+="${routes:+, }\"nats://127.0.0.1:$(rpc_port $n)\""
		urls[$1]+=${urls[$1]:+,}nats://127.0.0.1:$(client_port $n)
	done
	for n in 1 2 3; do
		printf 'server_name: n%d\nlisten: "127.0.0.1:%d"\nhttp: "127.0.0.1:%d"\njetstream { store_dir: "%s", %s }\ncluster { name: c, listen: "127.0.0.1:%d", routes: [%s] }\n' \
			$n "$(client_port $n)" "$(admin_port $n)" "${dir[$1]}/data$n" "$2" "$(rpc_port $n)" "$routes" >"${dir[$1]}/$n.conf"
		"$tools/nats-server" -c "${dir[$1]}/$n.conf" >"$work/$1-$n.log" 2>&1 &
		own+=($!)
	done
	servers+=("${own[@]}")
	pids[$1]=${own[*]}
	for _ in $(seq 200); do
		! curl -s "http://127.0.0.1:$(admin_port 1)/jsz" | grep -q '"leader"' || break
		sleep 0.1
	done
	sleep 1
}
declare -A pids
# nats_warm NAME: so many records before any count, for memory that a process touches for the first time costs as much again as what is done with it.
nats_warm() {
	local with=${WITH:-}
	WITH=
	case $1 in
	nats*) nats_bench "$1" pub async bench --create --storage file --replicas 3 --maxbytes 8GB --batch 500 --clients 1 --msgs "${WARM:-600000}" ;;
	*) nats_bench_rustmq "$1" produce --producers 1 --window 500 --records "${WARM:-600000}" ;;
	esac
	WITH=$with
}
nats_load() { # NAME LOAD
	local before records
	# shellcheck disable=SC2086
	before=$(ticks ${pids[$1]})
	case $1-$2 in
	nats*-pipelined)
		records=100000
		[ "$1" = nats ] || records=60000
		nats_bench "$1" pub async bench --batch 500 --clients 1 --msgs $records
		set -- "$@" $(nats_number 's/.*stats: \([0-9,]*\) msgs.*/\1/p') $(nats_number 's/.*P50: \([0-9,]*\).*/\1/p') $(nats_number 's/.*P99: \([0-9,]*\).*/\1/p') # of a batch of 500
		;;
	nats*-waiting)
		records=8000
		nats_bench "$1" pub sync bench --clients 16 --msgs $records
		set -- "$@" $(nats_number 's/.*stats: \([0-9,]*\) msgs.*/\1/p') $(nats_number 's/.* P50 \([0-9,]*\).*/\1/p') $(nats_number 's/.* P99 \([0-9,]*\).*/\1/p')
		;;
	*)
		local kind="produce --producers 1 --window 500"
		[ "$2" = pipelined ] || kind="latency --producers 16"
		# shellcheck disable=SC2086
		nats_bench_rustmq "$1" $kind --duration "${DURATION:-2s}"
		records=$(number records)
		set -- "$@" $(for f in value p50_us p99_us; do number $f; done)
		;;
	esac
	# shellcheck disable=SC2086
	note "$1" "$2" "$3" "$4" "$5" "$records" $(($(ticks ${pids[$1]}) - before))
}
nats_bench_rustmq() { # NAME ARGS...
	local name=$1
	shift
	RUSTMQ_CA=${ca[$name]} RUSTMQ_SERVER=${urls[$name]} ${WITH:-} "${binary[$name]}" bench "$@" --admin "${admin[$name]}" --rounds 1 -o json >"$work/bench.json" 2>>"$work/bench.log" || fail "bench $*"
}
nats_bench() { # NAME ARGS...
	local name=$1
	shift
	HOME=$work ${WITH:-} "$tools/nats" --server "${urls[$name]}" bench js "$@" --size 1024 --no-progress >"$work/nats.out" 2>&1 || { cat "$work/nats.out" >&2; fail "nats bench"; }
}
nats_number() { sed -n "$1" "$work/nats.out" | tail -n 1 | tr -d ,; }
stop_nats() {
	local p
	for p in "${servers[@]}"; do
		kill -9 "$p" 2>/dev/null || true
		wait "$p" 2>/dev/null || true
	done
	servers=()
}

case ${1:-} in
failover | rolling | election | idle | load | produce | nats) "$@" ;;
*)
	sed -n '2,/^set /p' "$0" | grep '^#' >&2
	exit 2
	;;
esac
