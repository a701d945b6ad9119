#!/usr/bin/env bash
# Kafka's own clients against three nodes: topics, produce with every codec, groups of both protocols, seek by time, reads, administration, with a leader killed (kill -9) in
# the middle. Nothing is lost, and nothing is there twice or out of order where the client's producer is idempotent.
#
#   testdata/e2e/kafka-clients.sh [CLIENT ...]     franz-go, sarama, kafka-go, librdkafka, kcat (default: all)
#
# ROUNDS is how often each producer sends (default: 40). RUSTMQ=FILE is a binary to take instead of building one. Logs are kept when it fails, or with KEEP=yes; WORK_DIR is where (default: the system's). librdkafka needs gcc.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d ${WORK_DIR:+-p "$WORK_DIR"})
rustmq=$work/rustmq
. testdata/e2e/nodes.sh

prove kafka_clients
clients=${*:-franz-go sarama kafka-go librdkafka kcat}
if [ -n "${RUSTMQ:-}" ]; then cp "$RUSTMQ" "$rustmq"; else go build -o "$rustmq" .; fi
driver=$work/kafka-clients
[ "$clients" = kcat ] || (cd testdata/kafka-clients && go build -o "$driver" .)

export RUSTMQ_GROUPS_OFFSETS_PARTITIONS=6 RUSTMQ_GROUPS_HEARTBEAT_INTERVAL=1s
make_nodes 3
start_all

# disturb TOPIC: kills who leads partition 0 of a topic, and starts it again.
disturb() {
	local leader
	in_sync || fail "not in sync before a node is killed"
	leader=$("$rustmq" ctl partition list --topic "$1" -o json | awk -F'": *' '$1 ~ /"leader$/ {gsub(/,/, "", $2); print $2; exit}')
	[[ "$leader" == [123] ]] || fail "partition 0 of $1 has no leader"
	kill_node "$leader"
	echo "killed node $leader, which led partition 0 of $1"
	sleep 1
	start_node "$leader"
	ready "$leader" || fail "node $leader does not start again"
}

drive() { # CLIENT
	local word rest all=
	while read -r word rest; do
		case $word in
		disturb) disturb "$rest" ;;
		passed) all=yes ;;
		*) echo "$rest" ;;
		esac
	done < <("$driver" --rounds "${ROUNDS:-40}" --servers "$RUSTMQ_SERVER" --client "$1" 2>&1)
	[ "$all" = yes ] || fail "$1 has failed"
}

kcat_records=400
# kcat_do WHAT ...: kcat, as people call it.
kcat_do() { timeout 60 kcat -b "$RUSTMQ_SERVER" -X topic.metadata.refresh.interval.ms=1000 "$@"; }
drive_kcat() {
	local codec number producers=() want=$work/kcat.want
	kcat_do -L >"$work/kcat.list"
	grep -q '3 brokers' "$work/kcat.list" || fail "kcat lists $(head -n 5 "$work/kcat.list")"
	seq -f '%06g' "$kcat_records" >"$want"
	for codec in none gzip snappy lz4 zstd; do
		"$rustmq" topic create "kcat-$codec" --partitions 3 --replicas 3 --config min.insync.replicas=2 >>"$work/topic.log"
		while read -r number; do
			echo "$number:value of $number"
			sleep 0.005
		done <"$want" | kcat_do -P -t "kcat-$codec" -K : -z "$codec" -X enable.idempotence=true 2>>"$work/kcat.log" &
		producers+=($!)
	done
	kcat_do -G kcat-group kcat-none kcat-gzip kcat-snappy kcat-lz4 kcat-zstd -o beginning -u -c $((5 * kcat_records)) -f '%t %k\n' >"$work/kcat.group" 2>"$work/kcat.err" &
	producers+=($!)
	sleep 1
	disturb kcat-none
	for number in "${producers[@]}"; do wait "$number" || fail "a kcat ended with status $? ($(tail -n 2 "$work/kcat.err"))"; done
	for codec in none gzip snappy lz4 zstd; do
		kcat_do -C -t "kcat-$codec" -o beginning -e -q -f '%p %k %s\n' >"$work/kcat.read"
		sort -k 2 "$work/kcat.read" | cut -d ' ' -f 2 | cmp - "$want" || fail "kcat has not read each record of $codec once"
		for number in 0 1 2; do
			grep "^$number " "$work/kcat.read" | sort -c -k 2 || fail "partition $number of kcat-$codec is out of order"
		done
		grep -vE '^[012] ([0-9]+) value of \1$' "$work/kcat.read" && fail "kcat has read something else than was sent"
		grep "kcat-$codec" "$work/kcat.group" | cut -d ' ' -f 2 | sort -u | cmp - "$want" || fail "the group has not read all records of $codec"
	done
	kcat_do -Q -t kcat-none:0:0 | grep -q 'offset 0' || fail "kcat does not find the first record by its time"
	echo "kcat: $((5 * kcat_records)) records in five codecs, each once and in order; its group has read all"
}

for client in $clients; do
	began=$SECONDS
	case $client in
	kcat) drive_kcat ;;
	*) drive "$client" ;;
	esac
	echo "$client: passed in $((SECONDS - began)) s"
done
passed=yes
