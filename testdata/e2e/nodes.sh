# A cluster of real processes on loopback, to be sourced: three nodes with both roles each, on free ports, with certificates of one authority.
# The script that sources it sets $rustmq (the binary) and $work (a directory of its own), and calls end_all when it exits. One that proves something while
# `rustmq verify` works calls prove first instead, which sees to its end, then begin_proof and end_proof.

declare -A pid # of each node that runs, by its number

# free_ports N: prints N ports below those that the system gives to connections, which nobody has, for TCP nor for UDP.
free_ports() {
	local port count=0 used
	used=$(awk 'FNR > 1 {sub(/.*:/, "", $2); print $2}' /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6 2>/dev/null | sort -u)
	port=$((10000 + RANDOM % 15000))
	while [ "$count" -lt "$1" ]; do
		port=$((port + 1))
		grep -qx "$(printf %04X "$port")" <<<"$used" && continue
		echo "$port"
		count=$((count + 1))
	done
}

# make_nodes N: makes the authority, certificates and addresses of N nodes. One that is made alone has no other to talk to.
make_nodes() {
	local n
	nodes=$(seq "$1")
	mapfile -t ports < <(free_ports $((3 * $1)))
	export HOME=$work XDG_CONFIG_HOME=$work/config RUSTMQ_CA=$work/ca/ca.crt RUSTMQ_SERVER=
	"$rustmq" ctl ca init --dir "$work/ca" >"$work/ca.log"
	controllers=()
	for n in $nodes; do
		"$rustmq" ctl ca node --dir "$work/ca" --node-id "$n" --host 127.0.0.1 --out "$work/pki$n" >>"$work/ca.log"
		controllers+=(--controllers "$n@127.0.0.1:$(rpc_port "$n")")
		RUSTMQ_SERVER=$RUSTMQ_SERVER${RUSTMQ_SERVER:+,}127.0.0.1:$(client_port "$n")
	done
	[ "$1" -gt 1 ] || controllers=()
}
client_port() { echo "${ports[$((3 * $1 - 3))]}"; }
rpc_port() { echo "${ports[$((3 * $1 - 2))]}"; }
admin_port() { echo "${ports[$((3 * $1 - 1))]}"; }

# start_node N [NAME=VALUE ...]: starts it, and does not wait.
start_node() {
	local n=$1
	shift
	: >"$work/ready$n"
	env "$@" "$rustmq" serve --node-id "$n" --data-dir "$work/data$n" --object-store "${store:-file://$work/objects}" --pki "$work/pki$n" "${controllers[@]}" \
		--listen "127.0.0.1:$(client_port "$n")" --rpc-listen "127.0.0.1:$(rpc_port "$n")" --admin-listen "127.0.0.1:$(admin_port "$n")" \
		>"$work/ready$n" 2>>"$work/node$n.log" &
	pid[$n]=$!
}

# ready N: waits until it serves.
ready() {
	local _
	for _ in $(seq 1200); do
		! grep -q '^ready' "$work/ready$1" || return 0
		kill -0 "${pid[$1]}" 2>/dev/null || { echo "node $1 has ended" >&2; return 1; }
		sleep 0.05
	done
	echo "node $1 is not ready after 60 s" >&2
	return 1
}

# kill_node N: kill -9, and waits for its end.
kill_node() {
	kill -9 "${pid[$1]}"
	gone "$1" || true
}

# end_node N: SIGTERM, and waits for its end, which must be one with status 0.
end_node() {
	kill -TERM "${pid[$1]}"
	gone "$1"
}
gone() {
	local p=${pid[$1]}
	unset "pid[$1]"
	wait "$p" 2>/dev/null
}

# end_all ends whatever nodes there are; one that is stopped, too.
end_all() {
	local n
	for n in "${!pid[@]}"; do
		kill -CONT "${pid[$n]}" 2>/dev/null || true
		kill -9 "${pid[$n]}" 2>/dev/null || true
		wait "${pid[$n]}" 2>/dev/null || true
	done
	pid=()
}

# field NAME: the first value of that name in the JSON that is read, without quotes.
field() { awk -F'": *' -v name="\"$1" '{sub(/^ */, "", $1)} $1 == name {gsub(/[",]/, "", $2); print $2; exit}'; }

# controller is the node that leads the controllers, -1 while nobody knows.
controller() { "$rustmq" ctl cluster status -o json --timeout 2s 2>/dev/null | field controller || true; }

# in_sync [SECONDS]: waits until all brokers are there and each partition has all its replicas in sync.
in_sync() {
	local limit=$((SECONDS + ${1:-60})) status
	while [ "$SECONDS" -lt "$limit" ]; do
		status=$("$rustmq" ctl cluster status -o json --timeout 5s 2>&1) || { sleep 0.1; continue; }
		if [ "$(field fenced_brokers <<<"$status")" = 0 ] && [ "$(field brokers <<<"$status")" = "$(wc -w <<<"$nodes")" ] &&
			[ "$("$rustmq" ctl partition list --under-replicated -o json --timeout 5s 2>/dev/null | tr -d '[:space:]')" = '[]' ]; then
			return 0
		fi
		sleep 0.1
	done
	echo "not in sync after ${1:-60} s: $status" >&2
	"$rustmq" ctl partition list --under-replicated --timeout 5s >&2 || true
	return 1
}

# prove NAME [HOW]: at the end of the script of this name all that it started ends, and what it wrote goes when it has passed; with KEEP=yes it stays. HOW is what repeats it.
prove() {
	proof=$1 how=${2:-} verify= passed=
	trap leave EXIT
	trap 'exit 1' INT TERM HUP
}
leave() {
	[ -z "$verify" ] || kill -9 "$verify" 2>/dev/null || true
	end_all
	if [ -n "$passed" ] && [ "${KEEP:-}" != yes ]; then
		rm -rf "$work"
	else
		echo "$proof: logs and data are in $work"
	fi
}

# fail WHY: ends the script that proves something.
fail() {
	echo "$proof: FAILED: $*${how:+ ($how)}" >&2
	tail -n 3 "$work"/node*.log "$work/verify.log" >&2 || true
	exit 1
}

# start_all: starts all nodes and waits until they serve and are in sync.
start_all() {
	local n
	for n in $nodes; do start_node "$n"; done
	for n in $nodes; do ready "$n" || fail "node $n does not start"; done
	in_sync || fail "the cluster is not complete"
}

# begin_proof: has `rustmq verify` work on a topic of three replicas until end_proof.
begin_proof() {
	"$rustmq" topic create proof --partitions 6 --replicas 3 --config min.insync.replicas=2 >"$work/topic.log" || fail "the topic is not created"
	"$rustmq" verify --topic proof --acks all --duration 24h --heal 60s --rate 1000 --report "$work/report.json" >"$work/verify.out" 2>"$work/verify.log" &
	verify=$!
}
verifies() { kill -0 "$verify" 2>/dev/null || fail "verify has ended"; }

# end_proof WHAT: nothing was lost, doubled or moved, and each record was acknowledged; then ends the nodes and says WHAT was proven.
end_proof() {
	local n sent status=0
	kill -INT "$verify" # enough: it checks
	wait "$verify" || status=$?
	verify=
	cat "$work/verify.out"
	[ "$status" = 0 ] || fail "verify ended with status $status: $(tail -n 1 "$work/verify.log")"
	sent=$(field sent_records <"$work/report.json")
	[ "$sent" -gt 0 ] && [ "$sent" = "$(field acknowledged_records <"$work/report.json")" ] || fail "not every record was acknowledged"
	for n in $nodes; do
		end_node "$n" || fail "SIGTERM did not end node $n with status 0"
	done
	passed=yes
	echo "$proof: OK: $*, $sent records, each acknowledged, each once and in order${how:+ ($how)}"
}
