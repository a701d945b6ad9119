#!/usr/bin/env bash
# Three controllers and three brokers, as real processes, with an S3 server: what was produced with acks=object is there when every node was killed and the brokers' disks are gone, and again when
# all disks are gone and a new cluster is restored from the bucket, which new brokers join and in which one command gives all partitions their replicas again.
#
#   testdata/e2e/lost-disks.sh [MIB]     MIB: how much is produced (default: 256)
#
# It needs versitygw (go install github.com/versity/versitygw/cmd/versitygw@v1.8.0), or STORE=URL of a bucket with nothing in it. Each record is a line that its number determines, so that what is
# read is compared as it comes. WORK_DIR is where everything goes (default: the system's directory for what is temporary): three times MIB and a little more.
set -euo pipefail
cd "$(dirname "$0")/../.."

mib=${1:-256}
records=$((mib * 1024))
work=$(mktemp -d ${WORK_DIR:+-p "$WORK_DIR"})
rustmq=$work/rustmq
gateway=
. testdata/e2e/nodes.sh
prove lost-disks
end_gateway() { [ -z "$gateway" ] || kill "$gateway" 2>/dev/null || true; }
trap 'end_gateway; leave' EXIT

if [ -n "${RUSTMQ:-}" ]; then cp "$RUSTMQ" "$rustmq"; else go build -o "$rustmq" .; fi
make_nodes 6
nodes="4 5 6"
RUSTMQ_SERVER=$(for n in $nodes; do echo "127.0.0.1:$(client_port "$n")"; done | paste -sd,)
controllers=("${controllers[@]:0:6}") # of nodes 1, 2 and 3

if [ -z "${STORE:-}" ]; then
	mkdir -p "$work/s3/bucket"
	printf '[default]\naws_access_key_id = tester\naws_secret_access_key = hush-hush\n' >"$work/credentials"
	address=127.0.0.1:$(free_ports 1)
	versitygw --port "$address" --access tester --secret hush-hush --quiet posix "$work/s3" >"$work/gateway.log" 2>&1 &
	gateway=$!
	for _ in $(seq 200); do
		! (: </dev/tcp/"${address%:*}"/"${address#*:}") 2>/dev/null || break
		kill -0 "$gateway" || fail "versitygw does not start: $(cat "$work/gateway.log")"
		sleep 0.05
	done
	STORE="s3://bucket?path_style=true&endpoint=http%3A%2F%2F${address/:/%3A}&credentials=${work//\//%2F}%2Fcredentials"
fi
store=$STORE

# make_lines: the records, a KiB each: a number, and text that it determines.
make_lines() {
	LC_ALL=C awk -v n="$records" "$pads"'BEGIN { for (i = 1; i <= n; i++) print i, pad[i % 1000] }'
}
# check_lines WHAT: reads partition, offset and line of each record. All are there once, each as it was, in order.
check_lines() {
	LC_ALL=C awk -v n="$records" "$pads"'
		{ at = index($0, " "); p = substr($0, 1, at - 1); rest = substr($0, at + 1); at = index(rest, " "); o = substr(rest, 1, at - 1); line = substr(rest, at + 1); i = line + 0 }
		o != next_offset[p] + 0 { print "partition " p ": offset " o ", expected " next_offset[p] + 0; bad = 1; exit }
		i <= last[p] + 0 { print "partition " p ": record " i " behind " last[p]; bad = 1; exit }
		line != i " " pad[i % 1000] { print "partition " p ", offset " o ": not what was sent as record " i; bad = 1; exit }
		{ next_offset[p] = o + 1; last[p] = i; count++; sum += i }
		END { if (!bad && (count != n || sum != n * (n + 1) / 2)) { print count " records, " n " were sent"; bad = 1 }; exit bad }' ||
		fail "$1"
	echo "lost-disks: $1: all $records records are there, each once and in order ($((SECONDS - began)) s)"
}
pads='BEGIN { srand(1); for (k = 0; k < 1000; k++) { for (j = 0; j < 1010; j++) pad[k] = pad[k] sprintf("%c", 33 + int(94 * rand())) } } '

start_brokers() {
	local n
	for n in $nodes; do start_node "$n" RUSTMQ_NODE_ROLES=broker; done
	for n in $nodes; do ready "$n" || fail "broker $n does not start"; done
}
start_controllers() {
	local n
	for n in 1 2 3; do start_node "$n" RUSTMQ_NODE_ROLES=controller RUSTMQ_OBJECT_STORE_CHECKPOINT_INTERVAL=1s; done
}
kill_all() {
	local n
	kill -9 "${pid[@]}"
	for n in "${!pid[@]}"; do gone "$n" || true; done
}
consume() { "$rustmq" consume lines -f '%p %o %s\n' "$@"; }

start_controllers
start_brokers
for n in 1 2 3; do ready "$n" || fail "controller $n does not start"; done
in_sync || fail "the cluster is not complete"
"$rustmq" topic create lines --partitions 6 --replicas 3 --config min.insync.replicas=2 >"$work/topic.log"
began=$SECONDS
make_lines | "$rustmq" produce lines --acks object 2>"$work/produce.log" || fail "the producer gave up: $(tail -n 2 "$work/produce.log")"
echo "lost-disks: produced $records records, $mib MiB, to the object store in $((SECONDS - began)) s"

kill_all
for n in $nodes; do rm -rf "$work/data$n"; done
began=$SECONDS
start_controllers
start_brokers
for p in 0 1 2 3 4 5; do
	"$rustmq" ctl partition elect lines $p --unclean >>"$work/elect.log" 2>&1 || fail "partition $p gets no leader: $(tail -n 1 "$work/elect.log")"
done
in_sync || fail "brokers with empty disks do not come into sync"
consume | check_lines "the brokers' disks are gone"
for _ in $(seq 100); do # until there is a copy of the metadata
	! "$rustmq" ctl tier verify --object-store "$store" >"$work/verify.out" 2>&1 || break
	sleep 0.2
done
"$rustmq" ctl tier verify --object-store "$store" >"$work/verify.out" 2>&1 || fail "ctl tier verify: $(tail -n 3 "$work/verify.out")"

kill_all
for n in 1 2 3 4 5 6; do rm -rf "$work/data$n"; done
began=$SECONDS
rm -rf "$work/ca" "$work"/pki? # the new cluster has an authority of its own
"$rustmq" ctl ca init --dir "$work/ca" >"$work/ca.log"
for n in 1 2 3; do "$rustmq" ctl ca node --dir "$work/ca" --node-id "$n" --host 127.0.0.1 --out "$work/pki$n" >>"$work/ca.log"; done
printf '[node]\nid = 1\ncontrollers = ["1@127.0.0.1:%s"]\n[pki]\ndir = "%s"\n' "$(rpc_port 1)" "$work/pki1" >"$work/restore.toml"
"$rustmq" ctl cluster restore --config "$work/restore.toml" --object-store "$store" --data-dir "$work/data1" >"$work/restore.out" 2>&1 || fail "restore: $(cat "$work/restore.out")"
cat "$work/restore.out"
controllers=(--controllers "1@127.0.0.1:$(rpc_port 1)")
start_node 1
ready 1 || fail "the restored node does not start"
RUSTMQ_SERVER=127.0.0.1:$(client_port 1)
consume | check_lines "all disks are gone, and a new cluster is restored"

began=$SECONDS
nodes="1 2 3"
for n in 2 3; do start_node "$n" RUSTMQ_NODE_ROLES=broker; done
for n in 2 3; do ready "$n" || fail "the new broker $n does not start"; done
"$rustmq" ctl partition replicate --wait 5m >"$work/replicate.out" 2>&1 || fail "partitions do not get their replicas again: $(cat "$work/replicate.out")"
in_sync || fail "the restored cluster is not complete"
[ "$("$rustmq" ctl partition list --topic lines | awk 'NR > 1 && split($0, ids, ",") < 5' | wc -l)" = 0 ] || fail "there are partitions with fewer than three replicas in sync"
consume | check_lines "each partition of the restored cluster has three replicas again"
echo "one more" | "$rustmq" produce lines --acks all 2>"$work/produce.log" || fail "the restored cluster takes no record: $(tail -n 2 "$work/produce.log")"
for n in 3 2 1; do end_node "$n" || fail "SIGTERM did not end node $n of the restored cluster with status 0"; done
passed=yes
echo "lost-disks: OK: $mib MiB, over the loss of the brokers' disks and over that of all disks"
