#!/usr/bin/env bash
# A rolling upgrade of three real processes, each controller and broker, to a program of the next feature level, while `rustmq verify` works: replication 3,
# min ISR 2, acks=all. One node after the other ends by SIGTERM and starts as the newer program. Until all have, and `ctl cluster upgrade` was called, the
# cluster stays at its level: a command of the next is refused, and both programs work. Afterwards the command is taken, and the older program is
# refused to start. No record fails, and at the end none was lost, moved, doubled, reordered or invented.
#
#   testdata/e2e/rolling-upgrade.sh
#
# The newer program is a build that claims to know one level more than this code does (build tag rustmq_next_level). OLD=FILE and NEW=FILE are binaries
# to take instead, with their levels apart by one or more. Logs are kept when it fails, or with KEEP=yes; WORK_DIR is where (default: the system's).
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d ${WORK_DIR:+-p "$WORK_DIR"})
rustmq=$work/old
. testdata/e2e/nodes.sh

prove rolling-upgrade

if [ -n "${OLD:-}" ]; then cp "$OLD" "$work/old"; else go build -o "$work/old" .; fi
if [ -n "${NEW:-}" ]; then cp "$NEW" "$work/new"; else go build -tags rustmq_next_level -o "$work/new" .; fi
go build -o "$work/propose" ./testdata/propose

make_nodes 3
addresses=()
for n in $nodes; do addresses+=("127.0.0.1:$(rpc_port "$n")"); done
level() { "$work/new" ctl cluster status -o json --timeout 10s | field "$1"; }
propose() { "$work/propose" -pki "$work/pki1" -level "$1" "${addresses[@]}"; }

start_all
before=$(level feature_level)
begin_proof

refused() { # WHY COMMAND ...: it is, and says why in one line
	local why=$1 out
	shift
	if out=$("$@" 2>&1); then fail "not refused: $*: $out"; fi
	grep -q "$why" <<<"$out" || fail "refused, but not for \"$why\": $*: $out"
	[ "$(wc -l <<<"$out")" = 1 ] || fail "more than one line: $out"
}
ends() { # N: it does by itself, and not with status 0
	local _
	for _ in $(seq 600); do
		kill -0 "${pid[$1]}" 2>/dev/null || break
		sleep 0.1
	done
	! kill -0 "${pid[$1]}" 2>/dev/null || fail "node $1 runs on"
	! gone "$1" || fail "node $1 ended with status 0"
}
still() { # the cluster is at the level that it was at, and refuses what is above
	[ "$(level feature_level)" = "$before" ] || fail "the level is $(level feature_level)"
	grep -q "UNSUPPORTED_VERSION.*needs feature level $((before + 1)), the cluster is at $before" <<<"$(propose $((before + 1)))" ||
		fail "a command of the next level: $(propose $((before + 1)))"
	[ "$(propose "$before")" = NONE ] || fail "a command of this level: $(propose "$before")"
}

began=$SECONDS
still
for n in 3 1 2; do
	echo "-- node $n, $((SECONDS - began)) s"
	# A node of before there was the operation answers the other way.
	refused "speaks $before at most\|does not know the operation" "$work/new" ctl cluster upgrade --feature-level $((before + 1))
	end_node "$n" || fail "SIGTERM did not end node $n with status 0"
	rustmq=$work/new start_node "$n"
	ready "$n" || fail "node $n does not start as the newer program"
	in_sync || fail "node $n is not in sync"
	still
	# Both programs work with what the other does.
	for program in old new; do
		"$work/$program" topic create "by-$program-$n" --partitions 2 --replicas 3 >"$work/topic.log" || fail "$program creates no topic"
		echo "$program $n" | "$work/$program" produce "by-$program-$n" 2>"$work/produce.log" || fail "$program does not produce: $(cat "$work/produce.log")"
	done
	for program in old new; do
		[ "$("$work/$program" consume "by-old-$n" && "$work/$program" consume "by-new-$n")" = "old $n
new $n" ] || fail "$program does not consume"
	done
	verifies
done

echo "-- back and forth, $((SECONDS - began)) s"
end_node 2 || fail "SIGTERM did not end node 2 with status 0"
start_node 2 # the older program can be gone back to
ready 2 || fail "node 2 does not start as the older program"
in_sync || fail "node 2 is not in sync"
still
end_node 2 || fail "SIGTERM did not end node 2 with status 0"
rustmq=$work/new start_node 2
ready 2 || fail "node 2 does not start as the newer program"
in_sync || fail "node 2 is not in sync"

echo "-- the level rises, $((SECONDS - began)) s"
still
for _ in $(seq 300); do # controllers tell what they speak a little after they have started
	[ "$(level supported_feature_level)" = "$before" ] || break
	sleep 0.1
done
"$work/new" ctl cluster upgrade >"$work/upgrade.log" || fail "the level does not rise"
after=$(level feature_level)
[ "$after" -gt "$before" ] || fail "the level is $after"
[ "$(propose "$after")" = NONE ] || fail "a command of the level: $(propose "$after")"
refused "cannot go back" "$work/new" ctl cluster upgrade --feature-level "$before"
refused "speaks $after at most" "$work/new" ctl cluster upgrade --feature-level $((after + 1))

echo "-- the older program is refused, $((SECONDS - began)) s"
end_node 3 || fail "SIGTERM did not end node 3 with status 0"
start_node 3
ends 3
tail -n 1 "$work/node3.log" | grep -q "UNSUPPORTED_VERSION.*the cluster is at feature level $after, this program knows $before: start a newer one" ||
	fail "node 3 says: $(tail -n 1 "$work/node3.log")"
rustmq=$work/new start_node 3
ready 3 || fail "node 3 does not start"
in_sync || fail "node 3 is not in sync"
# So is a broker that has no metadata of its own.
"$work/old" ctl ca node --dir "$work/ca" --node-id 4 --host 127.0.0.1 --out "$work/pki4" >>"$work/ca.log"
mapfile -t -O "${#ports[@]}" ports < <(free_ports 3)
controllers+=(--roles broker)
start_node 4
ends 4
tail -n 1 "$work/node4.log" | grep -q "UNSUPPORTED_VERSION.*it speaks feature level $before, the cluster is at $after" ||
	fail "node 4 says: $(tail -n 1 "$work/node4.log")"

end_proof "from level $before to $after in $((SECONDS - began)) s"
