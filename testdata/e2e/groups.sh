#!/usr/bin/env bash
# A consumer group of real processes, on three real nodes, while both are killed and stopped: members are `rustmq consume --group`.
#
#   testdata/e2e/groups.sh [ROUNDS]     default: 20
#
# Numbered records are produced all the time. Each round does one of these:
#
#   kill      kill -9 of a member; another one is started
#   stop      SIGSTOP of a member for longer than its session (4 s), then SIGCONT: others have its partitions meanwhile
#   node      kill -9 of a node, which coordinates some groups and leads some partitions; it is started again
#   leave     SIGTERM of a member; another one is started
#   all       kill -9 of all members; as many are started
#
# The first rounds are one of each, later ones are drawn; on the way partitions are added. No committed offset may ever go back, and at the end the group must have committed everything and each
# record have been written by some member. SEED=N repeats the draw. RUSTMQ=FILE is a binary to take instead of building one. Logs are kept when it fails, or with KEEP=yes; WORK_DIR is
# where (default: the system's).
set -euo pipefail
cd "$(dirname "$0")/../.."

rounds=${1:-20}
seed=${SEED:-$RANDOM}
RANDOM=$seed
work=$(mktemp -d ${WORK_DIR:+-p "$WORK_DIR"})
rustmq=$work/rustmq
. testdata/e2e/nodes.sh

prove groups "SEED=$seed"
trap 'end_members; leave' EXIT

if [ -n "${RUSTMQ:-}" ]; then cp "$RUSTMQ" "$rustmq"; else go build -o "$rustmq" .; fi
export RUSTMQ_GROUPS_SESSION_TIMEOUT=4s RUSTMQ_GROUPS_HEARTBEAT_INTERVAL=1s RUSTMQ_GROUPS_OFFSETS_PARTITIONS=3
make_nodes 3
start_all
"$rustmq" topic create orders --partitions 6 --replicas 3 --config min.insync.replicas=2 >"$work/topic.log" || fail "the topic is not created"

# Members, by the number of their life: each writes a file of its own, so that none goes on in the middle of another's last line.
declare -A member
lives=0
join() {
	lives=$((lives + 1))
	"$rustmq" consume orders --group billing --follow -f '%p %o %s\n' >"$work/out$lives" 2>>"$work/members.log" &
	member[$lives]=$!
}
a_member() { shuf -n 1 --random-source=<(yes $RANDOM) -e "${!member[@]}"; }
end_members() {
	local m
	for m in "${!member[@]}"; do
		kill -CONT "${member[$m]}" 2>/dev/null || true
		kill -9 "${member[$m]}" 2>/dev/null || true
	done
	touch "$work/stop"
	[ -z "${producer:-}" ] || kill -9 "$producer" 2>/dev/null || true
}
kill_member() { # SIGNAL MEMBER
	local p=${member[$2]}
	unset "member[$2]"
	kill "-$1" "$p"
	wait "$p" 2>/dev/null || true
}

# places: partition and committed offset of each partition, as the coordinator says; nothing while it does not.
places() {
	"$rustmq" group describe billing -o json --timeout 10s 2>/dev/null | awk -F'": *' '
		{gsub(/[",]/, "", $2); sub(/^ *"/, "", $1)}
		$1 == "partition" {p = $2}
		$1 == "committed_offset" && $2 != "null" {print p, $2}' || true
}
# moves_on: no partition is behind where it was when it was looked at last.
touch "$work/places"
moves_on() {
	places >"$work/places.now"
	awk 'FNR == NR {was[$1] = $2; next} ($1 in was) && $2 + 0 < was[$1] + 0 {print "partition " $1 " went back from " was[$1] " to " $2; bad = 1} END {exit bad}' \
		"$work/places" "$work/places.now" >&2 || fail "a committed offset went back"
	[ ! -s "$work/places.now" ] || mv "$work/places.now" "$work/places"
}
# watch SECONDS: moves_on, for so long.
watch() {
	local limit=$((SECONDS + $1))
	while [ "$SECONDS" -lt "$limit" ]; do
		moves_on
		sleep 0.3
	done
}

# A producer that goes on until it is told to stop: the numbers that it was given are its records.
mkfifo "$work/numbers"
"$rustmq" produce orders --acks all --key-separator : <"$work/numbers" 2>"$work/produce.log" &
producer=$!
(
	i=0
	while [ ! -e "$work/stop" ]; do
		i=$((i + 1))
		seq $((20 * i - 19)) $((20 * i)) | sed 's/.*/&:&/' # a key each: all partitions get some
		echo $((20 * i)) >"$work/sent"
		sleep 0.05
	done
) >"$work/numbers" &

for _ in 1 2 3 4; do join; done
began=$SECONDS
while [ "$(places | wc -l)" -lt 6 ]; do
	[ $((SECONDS - began)) -lt 60 ] || fail "the group does not begin: $(tail -n 2 "$work/members.log")"
	sleep 0.3
done

kinds=(kill stop node leave all)
began=$SECONDS
for i in $(seq "$rounds"); do
	kind=${kinds[$(((i - 1) % 5))]}
	[ "$i" -le 5 ] || kind=${kinds[$((RANDOM % 5))]}
	echo "-- round $i: $kind, $((SECONDS - began)) s"
	case $kind in
	kill)
		kill_member KILL "$(a_member)"
		join
		;;
	stop)
		m=$(a_member)
		kill -STOP "${member[$m]}"
		watch 6
		kill -CONT "${member[$m]}"
		;;
	node)
		n=$((1 + RANDOM % 3))
		kill_node "$n"
		watch 2
		start_node "$n"
		ready "$n" || fail "node $n does not start"
		in_sync || fail "round $i"
		;;
	leave)
		kill_member TERM "$(a_member)"
		join
		;;
	all)
		for m in "${!member[@]}"; do kill_member KILL "$m"; done
		for _ in 1 2 3 4; do join; done
		;;
	esac
	watch 1
	[ "$i" -ne 3 ] || "$rustmq" topic alter orders --partitions 9 >>"$work/topic.log" || fail "partitions are not added"
done

touch "$work/stop"
wait "$producer" || fail "the producer ended with status $?: $(tail -n 1 "$work/produce.log")"
producer=
sent=$(cat "$work/sent")
limit=$((SECONDS + 60))
while :; do
	moves_on
	[ "$(awk '{n += $2} END {print n + 0}' "$work/places")" -lt "$sent" ] || break
	[ "$SECONDS" -lt "$limit" ] || fail "the group has committed $(awk '{n += $2} END {print n + 0}' "$work/places") of $sent records after 60 s"
	sleep 0.3
done
for m in "${!member[@]}"; do kill_member TERM "$m"; done

# Each record was written, whoever did, and always from the same place. One that was killed may have left half a line.
for f in "$work"/out*; do
	if [ -n "$(tail -c 1 "$f")" ]; then sed '$d' "$f"; else cat "$f"; fi
done >"$work/lines"
lines=$(wc -l <"$work/lines")
sort -u "$work/lines" >"$work/places.all"
[ "$(wc -l <"$work/places.all")" = "$sent" ] || fail "$(wc -l <"$work/places.all") places of $sent records were written"
[ "$(cut -d' ' -f3 "$work/places.all" | sort -un | wc -l)" = "$sent" ] || fail "not every record was written"
for n in $nodes; do end_node "$n" || fail "SIGTERM did not end node $n with status 0"; done
passed=yes
echo "groups: OK: $rounds rounds in $((SECONDS - began)) s, $sent records, each consumed, $((lines - sent)) of them again, by $lives members, no committed offset went back (SEED=$seed)"
