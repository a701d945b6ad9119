#!/usr/bin/env bash
# franz-go's own integration tests against one node: those of its package kgo, of the version that this repository uses.
#
#   testdata/e2e/franz-suite.sh [PATTERN]     which of them to run (default: all)
#
# Left out are TestTxnEtl, which needs transactions; tests of share groups skip themselves, as neither is offered (docs/kafka.md). RUSTMQ=FILE is a binary to take instead of building
# one. Logs are kept when a test fails, or with KEEP=yes; WORK_DIR is where (default: the system's).
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d ${WORK_DIR:+-p "$WORK_DIR"})
rustmq=$work/rustmq
. testdata/e2e/nodes.sh
prove franz_suite
if [ -n "${RUSTMQ:-}" ]; then cp "$RUSTMQ" "$rustmq"; else go build -o "$rustmq" .; fi

version=$(go list -m -f '{{.Version}}' github.com/twmb/franz-go)
mkdir "$work/suite"
(
	cd "$work/suite"
	go mod init suite
	go get -t "github.com/twmb/franz-go/pkg/kgo@$version"
	go test -c -o "$work/kgo.test" github.com/twmb/franz-go/pkg/kgo
	go list -f '{{.Dir}}' github.com/twmb/franz-go/pkg/kgo >"$work/dir"
) >"$work/build.log" 2>&1 || fail "the tests are not built: $(tail -n 3 "$work/build.log")"

export RUSTMQ_GROUPS_INITIAL_REBALANCE_DELAY=0s RUSTMQ_GROUPS_HEARTBEAT_INTERVAL=1s
make_nodes 1
start_all
cd "$(cat "$work/dir")" # some tests read files
KGO_SEEDS=$RUSTMQ_SERVER KGO_TEST_RF=1 KGO_TEST_RECORDS=${RECORDS:-20000} KGO_TEST_MAX_TOPIC_PARTS=7 KGO_LOG_LEVEL=none \
	"$work/kgo.test" -test.v -test.timeout 280s -test.run "${1:-.}" -test.skip '^TestTxnEtl$' >"$work/suite.log" 2>&1 || true
echo "franz-go $version: $(grep -c '^ *--- PASS' "$work/suite.log") passed, skipped: $(grep '^--- SKIP' "$work/suite.log" | awk '{print $3}' | sort | tr '\n' ' ')"
failed=$(grep -E '^ *--- FAIL|^panic' "$work/suite.log" || true)
[ -z "$failed" ] && grep -q '^PASS' "$work/suite.log" || fail "$failed"
passed=yes
