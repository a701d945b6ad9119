package cli

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/mq"
)

// leaves calls f with each command that has an action of its own.
func leaves(path []string, commands []*cli.Command, f func(path []string, c *cli.Command)) {
	for _, c := range commands {
		below := append(slices.Clone(path), c.Name)
		if len(c.Subcommands) > 0 {
			leaves(below, c.Subcommands, f)
			continue
		}
		f(below, c)
	}
}

func testApp(environ ...string) (*app, *bytes.Buffer, *bytes.Buffer) {
	var stdout, stderr bytes.Buffer
	return &app{environ: environ, stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr}, &stdout, &stderr
}

func TestFlagsMayFollowArgumentsOfEveryCommand(t *testing.T) {
	a, _, _ := testApp()
	var paths [][]string
	leaves(nil, a.commands().Commands, func(path []string, _ *cli.Command) { paths = append(paths, path) })
	if len(paths) < 15 {
		t.Fatalf("only %d commands: %v", len(paths), paths)
	}
	for _, path := range paths {
		root := a.commands()
		var flags []cli.Flag
		leaves(nil, root.Commands, func(p []string, c *cli.Command) {
			if slices.Equal(p, path) {
				flags = c.Flags
			}
		})
		for _, f := range flags {
			for _, name := range f.Names() {
				args := append(append([]string{"rustmq"}, path...), "first", dashes(name))
				if _, isBool := f.(*cli.BoolFlag); !isBool {
					args = append(args, "7")
				}
				args = append(args, "last")
				var set bool
				var got []string
				root := a.commands()
				leaves(nil, root.Commands, func(_ []string, c *cli.Command) {
					c.Action = func(ctx *cli.Context) error {
						set, got = ctx.IsSet(name), ctx.Args().Slice()
						return nil
					}
				})
				value := args
				if _, isDuration := f.(*cli.DurationFlag); isDuration {
					value = slices.Clone(args)
					value[slices.Index(value, "7")] = "7s"
				}
				if err := root.RunContext(context.Background(), reorder(root.Commands, value)); err != nil {
					t.Errorf("%v: %v", value, err)
					continue
				}
				if !set || !slices.Equal(got, []string{"first", "last"}) {
					t.Errorf("%v: flag set: %v, arguments %q", value, set, got)
				}
			}
		}
	}
}

func dashes(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

func TestReorderKeepsWhatIsNoFlag(t *testing.T) {
	a, _, _ := testApp()
	for line, want := range map[string]string{
		"rustmq":                                       "rustmq",
		"rustmq --help":                                "rustmq --help",
		"rustmq produce orders -k a f1 -":              "rustmq produce -k a -- orders f1 -",
		"rustmq produce orders -- -k a":                "rustmq produce -- orders -k a",
		"rustmq produce orders --key=a":                "rustmq produce --key=a -- orders",
		"rustmq consume t -n5 --from -1h --follow":     "rustmq consume -n 5 --from -1h --follow -- t",
		"rustmq produce t -Ha=1,b=2 -H c=3":            "rustmq produce -H a=1,b=2 -H c=3 -- t",
		"rustmq topic create t --partitions 3":         "rustmq topic create --partitions 3 -- t",
		"rustmq topic describe t --help":               "rustmq topic describe --help",
		"rustmq consume t --bogus x":                   "rustmq consume --bogus -- t x",
		"rustmq topic nonsense x":                      "rustmq topic -- nonsense x",
		"rustmq consume t -f %s\\n --partition 1 -p 2": "rustmq consume -f %s\\n --partition 1 -p 2 -- t",
	} {
		if got := strings.Join(reorder(a.commands().Commands, strings.Fields(line)), " "); got != want {
			t.Errorf("%s\n got %s\nwant %s", line, got, want)
		}
	}
}

func TestHeadersAreNotSplitAtCommas(t *testing.T) {
	a, _, _ := testApp()
	root := a.commands()
	var got []string
	leaves(nil, root.Commands, func(_ []string, c *cli.Command) {
		c.Action = func(ctx *cli.Context) error {
			got = ctx.StringSlice("header")
			return nil
		}
	})
	if err := root.Run(reorder(root.Commands, []string{"rustmq", "produce", "t", "-H", "a=1,b=2"})); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, []string{"a=1,b=2"}) {
		t.Errorf("headers %q", got)
	}
}

func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	a, stdout, _ := testApp()
	leaves(nil, a.commands().Commands, func(path []string, _ *cli.Command) {
		stdout.Reset()
		line := append(append([]string{"rustmq"}, path...), "--help")
		if status := a.run(context.Background(), line); status != exitDone {
			t.Errorf("%v: status %d", line, status)
		}
		name := strings.Join(path, " ")
		if out := stdout.String(); !strings.Contains(out, "Usage: rustmq "+name) || strings.Count(out, "rustmq "+name) < 3 {
			t.Errorf("%v has no usage or no example:\n%s", line, out)
		}
		for line := range strings.Lines(stdout.String()) {
			if len(line) > 160 {
				t.Errorf("%s --help has a line of %d bytes: %s", name, len(line), line)
			}
		}
	})
}

func TestHelpIsShownWhereverItIsAskedFor(t *testing.T) {
	for _, args := range [][]string{
		{"produce", "orders", "--help"},
		{"produce", "--help", "orders"},
		{"topic", "describe", "orders", "-h"},
		{"bench", "latency", "--help"},
		{"bench", "produce", "--help"},
	} {
		a, stdout, stderr := testApp()
		status := a.run(t.Context(), append([]string{"rustmq"}, args...))
		want := "rustmq " + args[0]
		if args[0] == "topic" {
			want += " describe"
		}
		if status != exitDone || !strings.Contains(stdout.String(), want+" ") || stderr.Len() > 0 {
			t.Errorf("%v: status %d, %q, %q", args, status, stdout.String(), stderr.String())
		}
	}
}

func TestTimeoutsSayWhatTheServerSaid(t *testing.T) {
	conn := connection{profile: profile{Server: []string{"127.0.0.1:9092"}}}
	refused := mq.Errorf(mq.StorageFull, "no room in the log")
	if got := conn.explain(mq.Errorf(mq.RequestTimedOut, "create topic: %w", mq.Wrapf(refused, "last trouble"))).Error(); strings.Contains(got, "no answer") {
		t.Errorf("a server that refused is said not to answer: %s", got)
	}
	if got := conn.explain(mq.Errorf(mq.RequestTimedOut, "create topic: %w", context.DeadlineExceeded)).Error(); !strings.Contains(got, "no answer") {
		t.Errorf("a server that did not answer: %s", got)
	}
}

func TestUsageErrorsExit2WithOneLineOnStderr(t *testing.T) {
	for _, line := range []string{
		"rustmq nonsense",
		"rustmq topic",
		"rustmq topic nonsense",
		"rustmq topic create",
		"rustmq topic fork a",
		"rustmq topic fork a ..",
		"rustmq topic fork a b --at soon",
		"rustmq topic create a b",
		"rustmq topic create ..",
		"rustmq topic create t --partitions many",
		"rustmq topic create t --partitions 0",
		"rustmq topic create t --config retention.ms",
		"rustmq topic alter t",
		"rustmq topic list -o xml",
		"rustmq topic list --timeout -1s",
		"rustmq produce",
		"rustmq produce t --bogus",
		"rustmq produce t --acks most",
		"rustmq produce t --compression brotli",
		"rustmq produce t --partition -1",
		"rustmq produce t --rate 0",
		"rustmq produce t -H nonsense",
		"rustmq produce t --key a --key-separator :",
		"rustmq produce t --cert c.pem",
		"rustmq produce t --server nowhere",
		"rustmq consume t -f %z",
		"rustmq consume t -f %",
		"rustmq consume t --from yesterday",
		"rustmq consume t --isolation none",
		"rustmq consume t -n 0",
		"rustmq consume t --partition -1",
		"rustmq bench produce --records 5",
		"rustmq bench consume --records -1",
		"rustmq bench latency --duration -1s",
		"rustmq serve here",
		"rustmq serve --node-id 0",
		"rustmq serve --config /nonexistent.toml",
		"rustmq ctl",
		"rustmq ctl ca",
		"rustmq ctl ca init",
		"rustmq ctl ca init here",
		"rustmq ctl ca init --dir d -o xml",
		"rustmq ctl ca node --dir d --out e",
		"rustmq ctl ca node --node-id 1 --out e",
		"rustmq ctl ca node --dir d --node-id 0 --out e",
		"rustmq ctl ca node --dir d --node-id one --out e",
		"rustmq ctl ca node --dir d --node-id 1 --out e --host h:9092",
		"rustmq ctl ca join-token",
		"rustmq ctl ca join-token --node-id 0",
		"rustmq ctl cluster upgrade --feature-level 0",
		"rustmq ctl cluster upgrade now",
		"rustmq ctl partition replicate --replicas 0",
		"rustmq ctl partition replicate orders --replicas 1000",
		"rustmq ctl partition replicate --dry-run --wait 1s",
		"rustmq ctl partition elect",
		"rustmq ctl partition elect orders --all",
		"rustmq ctl partition elect --all --unclean",
		"rustmq ctl partition elect orders --unclean",
		"rustmq ctl partition elect orders 0 1 --unclean",
		"rustmq ctl partition elect orders 0 --unclean --dry-run",
		"rustmq ctl partition elect orders 0 --leader 1",
		"rustmq ctl partition elect orders 0 --unclean --leader -1",
		"rustmq ctl partition elect orders x",
		"rustmq ctl ca join-token --node-id 2 --ttl 1ms",
		"rustmq ctl ca join-token --node-id 2 --rpc nowhere",
		"rustmq ctl ca join-token --node-id 2 --address :1",
		"rustmq config validate",
		"rustmq config print -o xml",
		"rustmq version -o xml",
		"rustmq completion tcsh",
		"rustmq wal dump",
		"rustmq wal dump . -o xml",
		"rustmq raft dump",
		"rustmq raft dump . -o xml",
		"rustmq object check",
		"rustmq object dump x -o xml",
	} {
		a, stdout, stderr := testApp()
		if status := a.run(context.Background(), strings.Fields(line)); status != exitUsage {
			t.Errorf("%s: status %d, want %d", line, status, exitUsage)
		}
		if stdout.Len() > 0 {
			t.Errorf("%s: stdout %q", line, stdout)
		}
		if out := stderr.String(); !strings.HasPrefix(out, "rustmq: ") || strings.Count(out, "\n") != 1 {
			t.Errorf("%s: stderr is not one line: %q", line, out)
		}
	}
}

func TestFailuresExit1WithOneLineOnStderr(t *testing.T) {
	for _, line := range []string{
		"rustmq wal dump /nonexistent",
		"rustmq wal check /nonexistent",
		"rustmq raft dump /nonexistent",
		"rustmq object dump /nonexistent",
		"rustmq object dump /nonexistent -o json",
		"rustmq config validate /nonexistent.toml",
		"rustmq topic list --profile nobody",
		"rustmq topic list --ca /nonexistent",
	} {
		a, stdout, stderr := testApp()
		want := exitFailed
		if strings.Contains(line, "--ca") {
			want = exitUsage
		}
		if status := a.run(context.Background(), strings.Fields(line)); status != want {
			t.Errorf("%s: status %d, want %d", line, status, want)
		}
		if out := stderr.String(); stdout.Len() > 0 || !strings.HasPrefix(out, "rustmq: ") || strings.Count(out, "\n") != 1 {
			t.Errorf("%s: stdout %q, stderr %q", line, stdout, out)
		}
	}
}
