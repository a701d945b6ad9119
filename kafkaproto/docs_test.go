package kafkaproto

import (
	"bytes"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/kafka.md anew")

// kafkaPage is what docs/kafka.md begins with.
const kafkaPage = `# Kafka clients

<!-- Written by kafkaproto/docs_test.go from the heads of the files there: run task docs. -->

RustMQ speaks Kafka's protocol on the port of TCP that ` + "`server.listen`" + ` names, 9092 unless it says otherwise, beside its own protocol: a TLS client that offers the ALPN ` + "`rustmq/1`" + ` gets that, every other client this one. Both read and
write the same logs: a record batch is stored and handed out as the bytes that its producer sent.

With ` + "`kafka.enabled`" + ` set to no there are none.

* **TLS** 1.2 and 1.3, with the node's certificate; a client certificate of the cluster's authority names the principal, as for the native protocol. Without TLS clients are served on loopback only, unless
  ` + "`kafka.plaintext`" + ` says ` + "`anywhere`" + `.
* **Addresses**: clients are told ` + "`kafka.advertise`" + `, exactly as it stands there.
* **Limits** are settings of ` + "`[kafka]`" + ` in [configuration](configuration.md). A connection that breaks one of them or the protocol is closed, and the node's log says why.
* **Errors** that Kafka has not are told as the nearest of Kafka's: trouble of the disk, the log or the object store as KAFKA_STORAGE_ERROR, a node that is closing as NOT_LEADER_OR_FOLLOWER, both of which have clients try again; a
  view of another cluster's bucket, which cannot be written to, as POLICY_VIOLATION.

Tested with every change: franz-go, sarama, kafka-go, librdkafka (confluent-kafka-go) and kcat do what people do with them on three nodes while leaders are killed (` + "`testdata/e2e/kafka-clients.sh`" + `). franz-go's own integration
tests of its package kgo pass (` + "`testdata/e2e/franz-suite.sh`" + `) but for those that need what is not offered: TestTxnEtl, transactions; TestShareGroup* and TestConsumeRegexShareSkipsInternal, share groups; TestSCRAMAuth*, SASL.

What ApiVersions tells is what is there:

| API | Key | Versions |
|---|---|---|
`

// head is the comment that an API's file begins with:
//
//	// Name (key), versions 0 to 9.
//	//
//	// What it does, in paragraphs.
//	//
//	// Not supported: what is not. Every head has this paragraph, the last one.
type apiHead struct {
	file  string
	title string
	text  string
}

// heads reads the heads of all files that have one.
func heads(t *testing.T) map[string]apiHead {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]apiHead)
	for _, name := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		if len(parsed.Comments) == 0 || parsed.Comments[0].Pos() > parsed.Package || parsed.Doc != nil {
			continue
		}
		title, text, _ := strings.Cut(parsed.Comments[0].Text(), "\n\n")
		found[title] = apiHead{name, title, strings.TrimSpace(text)}
	}
	return found
}

// writeDocs writes the page.
func writeDocs(t *testing.T) []byte {
	t.Helper()
	heads, rows := heads(t), table(DefaultLimits())
	var page bytes.Buffer
	page.WriteString(kafkaPage)
	for _, a := range rows {
		versions := fmt.Sprintf("%d to %d", a.min, a.max)
		if a.min == a.max {
			versions = fmt.Sprint(a.min)
		}
		fmt.Fprintf(&page, "| [%s](#%s) | %d | %s |\n", a.key.Name(), strings.ToLower(a.key.Name()), a.key.Int16(), versions)
	}
	for _, a := range rows {
		title := fmt.Sprintf("%s (%d), versions %d to %d.", a.key.Name(), a.key.Int16(), a.min, a.max)
		if a.min == a.max {
			title = fmt.Sprintf("%s (%d), version %d.", a.key.Name(), a.key.Int16(), a.min)
		}
		head, ok := heads[title]
		if !ok {
			t.Errorf("no file begins with the head %q", title)
			continue
		}
		delete(heads, title)
		paragraphs := strings.Split(head.text, "\n\n")
		last := paragraphs[len(paragraphs)-1]
		rest, ok := strings.CutPrefix(last, "Not supported: ")
		if !ok {
			t.Errorf("%s: the last paragraph of the head does not begin with \"Not supported: \"", head.file)
		}
		paragraphs[len(paragraphs)-1] = "**Not supported:** " + rest
		fmt.Fprintf(&page, "\n## %s\n\n%s\n", a.key.Name(), strings.Join(paragraphs, "\n\n"))
	}
	writeTopicConfigs(&page)
	for title, head := range heads {
		t.Errorf("%s begins with the head %q, which is no row of the table", head.file, title)
	}
	return page.Bytes()
}

// writeTopicConfigs writes the table of the configs of topics.
func writeTopicConfigs(page *bytes.Buffer) {
	page.WriteString(`
## Topic configs

What CreateTopics, AlterConfigs and IncrementalAlterConfigs take and DescribeConfigs tells. No config is taken and then ignored: one that is *set* has the meaning that it has in Kafka; one that is *always* something can be
given that value, and others only where it says so; one that is *not there* is INVALID_CONFIG with any value, and so is one that is not in this table. Defaults for all topics are settings of the cluster, under the same names.

| Config | | |
|---|---|---|
`)
	for _, c := range topicConfigs() {
		what := "set"
		switch {
		case c.absent:
			what = "not there"
		case !c.setting():
			what = "always `" + c.fixed + "`"
		}
		fmt.Fprintf(page, "| `%s` | %s | %s |\n", c.name, what, c.doc)
	}
}

func TestDocsAreUpToDate(t *testing.T) {
	const name = "../docs/kafka.md"
	want := writeDocs(t)
	if *update {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%s is not what the code says (%v): run task docs", name, err)
	}
}
