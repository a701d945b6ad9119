#!/usr/bin/env bash
# Three real processes, each controller and broker, while they are killed, stopped and restarted: replication 3, min ISR 2, acks=all. `rustmq verify`
# works all the time, and must find at the end that nothing was lost, moved, doubled, reordered or invented, and that each record was acknowledged.
#
#   testdata/e2e/three-nodes.sh [ROUNDS]     default: 20
#
# Each round does one of these, and then waits until all replicas are in sync again:
#
#   kill      kill -9 of one node, which is started again a little later
#   all       kill -9 of all three at once
#   stop      SIGSTOP for longer than a broker's lease and its session (1.5 and 2 s), then SIGCONT
#   rolling   SIGTERM of one after the other, each started again and in sync before the next
#
# The first rounds are one of each, later ones are drawn. SEED=N repeats the draw. RUSTMQ=FILE is a binary to take instead of building one. Logs are kept when it fails, or with KEEP=yes; WORK_DIR is where (default: the system's).
set -euo pipefail
cd "$(dirname "$0")/../.."

rounds=${1:-20}
seed=${SEED:-$RANDOM}
RANDOM=$seed
work=$(mktemp -d ${WORK_DIR:+-p "$WORK_DIR"})
rustmq=$work/rustmq
. testdata/e2e/nodes.sh

prove three-nodes "SEED=$seed"

if [ -n "${RUSTMQ:-}" ]; then cp "$RUSTMQ" "$rustmq"; else go build -o "$rustmq" .; fi
make_nodes 3
start_all

begin_proof

some_node() { echo $((1 + RANDOM % 3)); }
a_while() { sleep "0.$((1 + RANDOM % 9))"; }
round() { # KIND
	local n
	n=$(some_node)
	case $1 in
	kill)
		echo "   node $n"
		kill_node "$n"
		a_while
		start_node "$n"
		ready "$n" || return 1
		;;
	all)
		kill -9 "${pid[@]}"
		for n in $nodes; do gone "$n" || true; done
		for n in $nodes; do start_node "$n"; done
		for n in $nodes; do ready "$n" || return 1; done
		;;
	stop)
		echo "   node $n"
		kill -STOP "${pid[$n]}"
		sleep 3
		kill -CONT "${pid[$n]}"
		sleep 0.5 # that it is behind is known to the others by now; it must find out itself
		;;
	rolling)
		for n in $nodes; do
			end_node "$n" || { echo "node $n ended with status $?" >&2; return 1; }
			start_node "$n"
			ready "$n" || return 1
			in_sync || return 1
		done
		;;
	esac
	in_sync
}

kinds=(kill stop all rolling)
began=$SECONDS
for i in $(seq "$rounds"); do
	kind=${kinds[$(((i - 1) % 4))]}
	[ "$i" -le 4 ] || kind=${kinds[$((RANDOM % 4))]}
	echo "-- round $i: $kind, $((SECONDS - began)) s"
	verifies
	round "$kind" || fail "round $i ($kind)"
done

end_proof "$rounds rounds in $((SECONDS - began)) s"
