package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
	"github.com/rustmq/rustmq/tier/clouds"
	"github.com/rustmq/rustmq/wal"
)

func (a *app) walCommand() *cli.Command {
	return &cli.Command{
		Name:  "wal",
		Usage: "look into a write-ahead log, without changing it",
		Subcommands: []*cli.Command{
			{
				Name: "dump", ArgsUsage: "PATH", Usage: "write a line for each frame of a log's directory or of one segment file",
				Description: "Lines of what is damaged begin with \"!\".\n\nExample: rustmq wal dump rustmq-data/wal",
				Flags:       []cli.Flag{outputFlag()},
				Action:      a.walDump,
			},
			{
				Name: "check", ArgsUsage: "PATH", Usage: "verify a log's directory; exit status 1 and the places if there is damage",
				Description: "Example: rustmq wal check rustmq-data/wal",
				Flags:       []cli.Flag{outputFlag()},
				Action:      func(c *cli.Context) error { return a.checkLog(c, "wal") },
			},
		},
	}
}

func (a *app) raftCommand() *cli.Command {
	return &cli.Command{
		Name:  "raft",
		Usage: "look into the controller's log, without changing it",
		Subcommands: []*cli.Command{
			{
				Name: "dump", ArgsUsage: "PATH", Usage: "show term, vote and commit, and each entry with its commands",
				Description: "PATH is the log's directory, or the node's; the node may be running. What it had done before the log's first\n" +
					"entry is in the metadata's database.\n\nExample: rustmq raft dump rustmq-data/raft",
				Flags:  []cli.Flag{outputFlag()},
				Action: a.raftDump,
			},
			{
				Name: "check", ArgsUsage: "PATH", Usage: "verify the log; exit status 1 and the places if there is damage",
				Description: "Example: rustmq raft check rustmq-data/raft",
				Flags:       []cli.Flag{outputFlag()},
				Action:      func(c *cli.Context) error { return a.checkLog(c, "raft") },
			},
		},
	}
}

func (a *app) objectCommand() *cli.Command {
	store := &cli.StringFlag{Name: "object-store", Usage: "`URL` of the bucket, when the argument is a key in one and no file"}
	return &cli.Command{
		Name:  "object",
		Usage: "look into an object of the object store, and try a store out",
		Subcommands: []*cli.Command{
			{
				Name: "dump", ArgsUsage: "KEY|PATH", Usage: "write what the object says about itself",
				Description: "Example: rustmq object dump rustmq-data/objects/KEY",
				Flags:       []cli.Flag{store, &cli.BoolFlag{Name: "batches", Usage: "and each record batch"}, outputFlag()},
				Action:      a.objectDump,
			},
			{
				Name: "check", ArgsUsage: "KEY|PATH", Usage: "verify every byte; exit status 1 and the places if there is damage",
				Description: "Example: rustmq object check rustmq-data/objects/KEY",
				Flags:       []cli.Flag{store, outputFlag()},
				Action:      a.objectCheck,
			},
			a.objectProbeCommand(),
		},
	}
}

// logPath is the one argument. A data directory is taken for the log in it.
func logPath(c *cli.Context, inside string) (string, error) {
	if err := arguments(c, 1, 1); err != nil {
		return "", err
	}
	path := c.Args().First()
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", inside, c.Command.Name, err)
	}
	if !info.IsDir() {
		return path, nil
	}
	if sub, err := os.Stat(filepath.Join(path, inside)); err == nil && sub.IsDir() {
		return filepath.Join(path, inside), nil
	}
	segments, err := filepath.Glob(filepath.Join(path, "*.wal"))
	if err == nil && len(segments) == 0 {
		return "", fmt.Errorf("%s %s: %s has no segment files (*.wal): name the log's directory, such as rustmq-data/%s", inside, c.Command.Name, path, inside)
	}
	return path, nil
}

// frameLine is what a log's files hold at one place.
type frameLine struct {
	Path        string `json:"path"`
	Position    int64  `json:"position"`
	Kind        string `json:"kind"`
	SizeBytes   int64  `json:"size_bytes"`
	Copied      bool   `json:"copied,omitempty"`
	Stream      string `json:"stream,omitempty"`
	Number      uint32 `json:"number,omitempty"`
	FirstOffset uint64 `json:"first_offset"`
	EndOffset   uint64 `json:"end_offset"`
	Promised    uint32 `json:"promised"`
	Damaged     bool   `json:"damaged,omitempty"`
	Note        string `json:"note,omitempty"`
}

func (a *app) walDump(c *cli.Context) error {
	if err := checkOutput(c); err != nil {
		return err
	}
	path, err := logPath(c, "wal")
	if err != nil {
		return err
	}
	return a.list(c, func(item func(any, string) error) error {
		return wal.Frames(wal.OS(), path, func(f wal.Frame) error {
			line := frameLine{
				Path: f.Path, Position: f.Position, Kind: f.Kind, SizeBytes: f.Bytes, Copied: f.Copied,
				Number: f.Number, FirstOffset: f.First, EndOffset: f.End, Promised: f.Promised, Damaged: f.Damaged, Note: f.Note,
			}
			if f.Entry {
				line.Stream = fmt.Sprintf("%x", f.Stream[:])
			}
			return item(line, f.String())
		})
	})
}

// buffered gives f a buffered stdout.
func (a *app) buffered(f func(w io.Writer) error) error {
	out := bufio.NewWriterSize(a.stdout, writeBuffer)
	return errors.Join(f(out), out.Flush())
}

type damageLine struct {
	Path        string `json:"path"`
	Position    int64  `json:"position"`
	SizeBytes   int64  `json:"size_bytes,omitempty"`
	Section     string `json:"section,omitempty"`
	Stream      string `json:"stream,omitempty"`
	FirstOffset uint64 `json:"first_offset,omitempty"`
	EndOffset   uint64 `json:"end_offset,omitempty"`
	Reason      string `json:"reason"`
}

type logReport struct {
	Path      string       `json:"path"`
	Segments  int          `json:"segments"`
	Entries   int64        `json:"entries"`
	SizeBytes int64        `json:"size_bytes"`
	TornBytes int64        `json:"torn_bytes"`
	ElapsedMS int64        `json:"elapsed_ms"`
	Suspect   []string     `json:"suspect_streams"`
	Damage    []damageLine `json:"damage"`
}

func (a *app) checkLog(c *cli.Context, inside string) error {
	if err := checkOutput(c); err != nil {
		return err
	}
	path, err := logPath(c, inside)
	if err != nil {
		return err
	}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return usagef("check: %s is one file: a log is checked as a whole, name its directory", path)
	}
	found, err := wal.Check(wal.OS(), path)
	if err != nil {
		return err
	}
	r := logReport{
		Path: path, Segments: found.Segments, Entries: found.Entries, SizeBytes: found.Bytes, TornBytes: found.TornBytes,
		ElapsedMS: found.Elapsed.Milliseconds(), Suspect: []string{}, Damage: damageLines(found.Damage),
	}
	for _, s := range found.Suspect {
		r.Suspect = append(r.Suspect, fmt.Sprintf("%x", s[:]))
	}
	if err := a.show(c, r, r.table); err != nil {
		return err
	}
	if len(r.Damage) > 0 {
		return mq.Errorf(mq.Corrupt, "check %s: damaged in %d places, the first in %s at %d: %s",
			path, len(r.Damage), r.Damage[0].Path, r.Damage[0].Position, r.Damage[0].Reason)
	}
	return nil
}

func damageLines(damage []wal.Damage) []damageLine {
	lines := []damageLine{}
	for _, d := range damage {
		line := damageLine{Path: d.Path, Position: d.Position, SizeBytes: d.Bytes, FirstOffset: d.First, EndOffset: d.End, Reason: d.Reason}
		if d.Known {
			line.Stream = fmt.Sprintf("%x", d.Stream[:])
		}
		lines = append(lines, line)
	}
	return lines
}

func (r logReport) table(w io.Writer) {
	fmt.Fprintf(w, "%s: %d segments, %s entries, %s read in %s", r.Path, r.Segments, grouped(r.Entries), humanBytes(r.SizeBytes), time.Duration(r.ElapsedMS)*time.Millisecond)
	if r.TornBytes > 0 {
		fmt.Fprintf(w, ", %s of a torn tail (never promised)", humanBytes(r.TornBytes))
	}
	fmt.Fprintln(w)
	if len(r.Suspect) > 0 {
		fmt.Fprintf(w, "suspect: %s\n", strings.Join(r.Suspect, " "))
	}
	damageTable(w, r.Damage)
}

func damageTable(w io.Writer, damage []damageLine) {
	if len(damage) == 0 {
		fmt.Fprintln(w, "no damage")
		return
	}
	row(w, "DAMAGE IN", "POSITION", "WHAT")
	for _, d := range damage {
		what := d.Reason
		if d.Section != "" {
			what = d.Section + ": " + what
		}
		if d.Stream != "" {
			what += fmt.Sprintf(" (stream %s, offsets %d to %d)", d.Stream, d.FirstOffset, d.EndOffset)
		}
		row(w, d.Path, d.Position, what)
	}
}

// withObject opens the object that the argument names: a file, or a key in the bucket of --object-store.
func withObject(c *cli.Context, f func(o tier.Object) error) (err error) {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	name := c.Args().First()
	url := c.String("object-store")
	if url == "" {
		o, err := tier.OpenObjectFile(name)
		if err != nil {
			return err
		}
		return errors.Join(f(o), o.Close())
	}
	ctx := context.WithoutCancel(c.Context)
	store, err := tier.OpenStore(ctx, url, tier.Limits{}, clouds.Schemes()...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	o, err := tier.OpenObject(ctx, store, name)
	if err != nil {
		return err
	}
	return errors.Join(f(o), o.Close())
}

type objectReport struct {
	Object    string       `json:"object"`
	ID        uint64       `json:"id"`
	SizeBytes int64        `json:"size_bytes"`
	Ranges    int          `json:"ranges"`
	Batches   int64        `json:"batches"`
	Records   int64        `json:"records"`
	Damage    []damageLine `json:"damage"`
}

func (a *app) objectCheck(c *cli.Context) error {
	if err := checkOutput(c); err != nil {
		return err
	}
	return withObject(c, func(o tier.Object) error {
		found, err := tier.Check(o)
		if err != nil {
			return err
		}
		r := objectReport{
			Object: found.Object, ID: found.ID, SizeBytes: found.Size, Ranges: found.Ranges, Batches: found.Batches, Records: found.Records, Damage: []damageLine{},
		}
		for _, d := range found.Damage {
			r.Damage = append(r.Damage, damageLine{Path: found.Object, Position: d.Position, Section: d.Section, Reason: d.Reason})
		}
		err = a.show(c, r, func(w io.Writer) {
			fmt.Fprintf(w, "%s: object %d, %s, %d ranges, %s batches, %s records\n", r.Object, r.ID, humanBytes(r.SizeBytes), r.Ranges, grouped(r.Batches), grouped(r.Records))
			damageTable(w, r.Damage)
		})
		if err == nil && len(r.Damage) > 0 {
			err = mq.Errorf(mq.Corrupt, "check %s: damaged in %d places, the first at %d: %s", r.Object, len(r.Damage), r.Damage[0].Position, r.Damage[0].Reason)
		}
		return err
	})
}
