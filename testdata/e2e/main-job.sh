#!/usr/bin/env bash
# The main job on real input: every line of the Go toolchain's source tree goes
# through a topic of 6 partitions while the server is killed with kill -9, in the
# middle of producing and again before reading. Then every line must be there
# exactly once, and in order per partition.
#
#   testdata/e2e/main-job.sh [LINES]     LINES: the first so many lines (default: all, over 2 million)
#
# Each line is sent behind its number, so that two equal lines are two records.
set -euo pipefail
cd "$(dirname "$0")/../.."

lines=${1:-all}
work=$(mktemp -d)
server=
producer=
cleanup() {
	[ -z "$producer" ] || kill "$producer" 2>/dev/null || true
	[ -z "$server" ] || kill -9 "$server" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT
fail() {
	echo "main-job: FAILED: $*" >&2
	echo "--- the server's last words" >&2
	tail -n 20 "$work/server.log" >&2 || true
	exit 1
}

go build -o "$work/rustmq" .
export HOME=$work XDG_CONFIG_HOME=$work/config RUSTMQ_SERVER=127.0.0.1:29092
rustmq=$work/rustmq

start_server() {
	: >"$work/ready"
	"$rustmq" serve --data-dir "$work/data" --listen 127.0.0.1:29092 --admin-listen 127.0.0.1:29642 \
		>"$work/ready" 2>>"$work/server.log" &
	server=$!
	for _ in $(seq 600); do
		grep -q '^ready' "$work/ready" && return
		kill -0 "$server" 2>/dev/null || fail "the server does not start"
		sleep 0.05
	done
	fail "the server is not ready after 30 s"
}
kill_server() {
	kill -9 "$server"
	wait "$server" 2>/dev/null || true
	server=
}
# How many records the topic holds now; 0 when nobody answers.
records() {
	"$rustmq" topic describe lines -o json --timeout 2s 2>/dev/null |
		grep -o '"high_watermark": *[0-9]*' | awk -F': *' '{n += $2} END {print n + 0}' || echo 0
}

find "$(go env GOROOT)/src" -type f -print0 | sort -z | xargs -0 awk 1 2>/dev/null >"$work/source" || true
if [ "$lines" != all ]; then
	head -n "$lines" "$work/source" >"$work/cut" || true
	mv "$work/cut" "$work/source"
fi
LC_ALL=C cat -n "$work/source" >"$work/input"
total=$(wc -l <"$work/input")
echo "main-job: $total lines, $(wc -c <"$work/input") bytes"

start_server
# The longest line of the sources has 1.3 MB: more than a batch may have by default.
"$rustmq" topic create lines --partitions 6 --config max.message.bytes=4194304
began=$SECONDS
# A small size takes four seconds, so that the kill comes in the middle of it.
pace=()
[ "$lines" = all ] || pace=(--rate $((total / 4)))
"$rustmq" produce lines "${pace[@]}" "$work/input" 2>"$work/produce.log" &
producer=$!
while [ "$(records)" -lt $((total / 3)) ]; do
	kill -0 "$producer" 2>/dev/null || break
	sleep 0.02
done
at=$(records)
kill_server
[ "$at" -lt "$total" ] || fail "the server was killed too late to prove anything: all $total records were there"
echo "main-job: killed the server at $at records or a little more"
start_server
wait "$producer" || { cat "$work/produce.log" >&2; fail "the producer gave up"; }
producer=
echo "main-job: produced in $((SECONDS - began)) s: $(tail -n 1 "$work/produce.log")"
kill_server
start_server

began=$SECONDS
"$rustmq" consume lines -f '%p %o %s\n' >"$work/output"
echo "main-job: consumed in $((SECONDS - began)) s"
LC_ALL=C awk '
	{
		p = $1; o = $2; n = $3
		if (o != next_offset[p] + 0) { print "partition " p ": offset " o " follows " next_offset[p] - 1; bad = 1; exit }
		if (n <= last[p] + 0) { print "partition " p ": line " n " after line " last[p]; bad = 1; exit }
		next_offset[p] = o + 1; last[p] = n
	}
	END { exit bad }' "$work/output" || fail "order"
LC_ALL=C sed 's/^[0-9]* [0-9]* //' "$work/output" | LC_ALL=C sort -S 512M -s -n -k1,1 >"$work/sorted"
cmp "$work/input" "$work/sorted" || fail "the lines are not the lines that were sent"
kill -TERM "$server"
wait "$server" || fail "SIGTERM did not end the server with status 0"
server=
echo "main-job: OK: $total lines, each exactly once, in order per partition, over two kill -9"
