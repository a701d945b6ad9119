#!/usr/bin/env bash
# The figures of docs/benchmarks.md that `rustmq bench` measures, each beside its bound. Nothing else should run meanwhile.
#
#   testdata/bench/figures.sh [produce|latency|consume_tail|consume_log|consume_store|consume_s3|idle ...]     default: all but consume_s3
#
# consume_s3 is consume_store with a server of S3, and its bare reads for a second bound. It needs versitygw (go install github.com/versity/versitygw/cmd/versitygw@v1.8.0), or
# STORE=URL of a bucket with nothing in it. BENCH_DIR is a directory on the disk to measure (default /var/tmp). WITH is a command to run each measurement under.
# RUSTMQ_OBJECT_STORE_URL=URL has produce and latency use another bucket than a directory on the disk that the log is on, which then gets each byte twice.
# COLD=yes drops the system's page cache before the object store is read (Linux, as root).
set -euo pipefail
cd "$(dirname "$0")/../.."

what=${*:-produce latency consume_tail consume_log consume_store idle}
work=$(mktemp -d "${BENCH_DIR:-/var/tmp}/rustmq-bench.XXXXXX")
server=
gateway=
cleanup() {
	[ -z "$gateway" ] || kill "$gateway" 2>/dev/null || true
	[ -z "$server" ] || kill "$server" 2>/dev/null || true
	[ -z "$server" ] || wait "$server" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT

go build -o "$work/rustmq" .
export HOME=$work XDG_CONFIG_HOME=$work/config RUSTMQ_SERVER=127.0.0.1:29195
admin=127.0.0.1:29745

# start NAME=VALUE...: a server on an empty directory, with settings.
start() {
	rm -rf "$work/data"
	: >"$work/ready" # of the server before
	env "$@" "$work/rustmq" serve --data-dir "$work/data" --listen "$RUSTMQ_SERVER" --admin-listen "$admin" >"$work/ready" 2>>"$work/server.log" &
	server=$!
	for _ in $(seq 200); do
		grep -q '^ready' "$work/ready" && return
		sleep 0.05
	done
	tail -n 20 "$work/server.log" >&2
	echo "figures: the server does not start" >&2
	exit 1
}
stop() {
	kill "$server"
	wait "$server" || true
	server=
}
bench() { ${WITH:-} "$work/rustmq" bench "$@" --limits --dir "$work" --admin "$admin"; }

for figure in $what; do
	echo "== $figure"
	case $figure in
	produce)
		start
		bench produce
		stop
		;;
	latency)
		for producers in 1 16 256; do
			start
			bench latency --producers $producers
			stop
		done
		;;
	consume_tail)
		start
		bench consume --from tail
		stop
		;;
	consume_log) # the log keeps what neither the tail nor the object store has
		start RUSTMQ_MEMORY_TAIL_SIZE=1MiB RUSTMQ_OBJECT_STORE_FLUSH_SIZE=4GiB RUSTMQ_OBJECT_STORE_FLUSH_AGE=1h
		bench consume --from log
		stop
		;;
	consume_store)
		start
		if [ "${COLD:-}" = yes ]; then
			(while sleep 0.2; do echo 3 >/proc/sys/vm/drop_caches; done) &
			dropper=$!
		fi
		bench consume --from store || { [ -z "${dropper:-}" ] || kill "$dropper"; exit 1; }
		[ -z "${dropper:-}" ] || kill "$dropper"
		stop
		;;
	consume_s3)
		if [ -z "${STORE:-}" ]; then
			mkdir -p "$work/s3/bucket"
			printf '[default]\naws_access_key_id = tester\naws_secret_access_key = hush-hush\n' >"$work/credentials"
			versitygw --port 127.0.0.1:29295 --access tester --secret hush-hush --quiet posix "$work/s3" >"$work/gateway.log" 2>&1 &
			gateway=$!
			for _ in $(seq 200); do
				! (: </dev/tcp/127.0.0.1/29295) 2>/dev/null || break
				kill -0 "$gateway" || { cat "$work/gateway.log" >&2; exit 1; }
				sleep 0.05
			done
			STORE="s3://bucket?path_style=true&endpoint=http%3A%2F%2F127.0.0.1%3A29295&credentials=${work//\//%2F}%2Fcredentials"
		fi
		start RUSTMQ_OBJECT_STORE_URL="$STORE"
		bench consume --from store --object-store "$STORE"
		stop
		;;
	idle)
		start
		sleep 10
		awk '/^(VmRSS|RssAnon)/ {print}' "/proc/$server/status"
		stop
		;;
	*)
		echo "figures: there is no figure $figure" >&2
		exit 2
		;;
	esac
done
