package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/raft"
	"github.com/rustmq/rustmq/wal"
)

// raftDumpReport is what the controller's log holds.
type raftDumpReport struct {
	Path          string          `json:"path"`
	Term          uint64          `json:"term"`
	Vote          uint64          `json:"vote"`
	Commit        uint64          `json:"commit"`
	SnapshotIndex uint64          `json:"snapshot_index"`
	SnapshotTerm  uint64          `json:"snapshot_term"`
	Installing    uint64          `json:"installing_snapshot,omitempty"`
	Segments      int             `json:"segments"`
	SizeBytes     int64           `json:"size_bytes"`
	TornBytes     int64           `json:"torn_bytes"`
	Damage        []damageLine    `json:"damage"`
	Entries       []raftEntryLine `json:"entries"`
}

type raftEntryLine struct {
	Index      uint64            `json:"index"`
	Term       uint64            `json:"term"`
	Kind       string            `json:"kind"`
	SizeBytes  int               `json:"size_bytes"`
	Committed  bool              `json:"committed"`
	Commands   []json.RawMessage `json:"commands,omitempty"`
	Membership json.RawMessage   `json:"membership,omitempty"`
	Error      string            `json:"error,omitempty"`
}

func (a *app) raftDump(c *cli.Context) error {
	if err := checkOutput(c); err != nil {
		return err
	}
	path, err := logPath(c, "raft")
	if err != nil {
		return err
	}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return usagef("dump: %s is one file: the controller's log is read as a whole, name its directory, or see its frames with `rustmq wal dump`", path)
	}
	d, err := raft.ReadDump(wal.OS(), path)
	if err != nil {
		return err
	}
	r := raftDumpReport{
		Path: path, Term: d.Term, Vote: d.Vote, Commit: d.Commit, SnapshotIndex: d.SnapshotIndex, SnapshotTerm: d.SnapshotTerm, Installing: d.Installing,
		Segments: d.Found.Segments, SizeBytes: d.Found.Bytes, TornBytes: d.Found.TornBytes,
		Damage: damageLines(d.Found.Damage), Entries: []raftEntryLine{},
	}
	for _, e := range d.Entries {
		r.Entries = append(r.Entries, raftEntry(e, d.Commit))
	}
	return a.show(c, r, r.table)
}

func raftEntry(e raft.DumpedEntry, commit uint64) raftEntryLine {
	line := raftEntryLine{Index: e.Index, Term: e.Term, Kind: e.Kind, SizeBytes: e.Bytes, Committed: e.Index <= commit}
	for _, p := range e.Proposals {
		line.Commands = append(line.Commands, asJSON(metadata.DescribeCommand(p)))
	}
	if e.Membership != "" {
		line.Membership = asJSON(e.Membership)
	}
	if e.Err != nil {
		line.Error = e.Err.Error()
	}
	return line
}

// asJSON is a text that is JSON already, or a string that says something else.
func asJSON(text string) json.RawMessage {
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		return json.RawMessage(`""`)
	}
	return quoted
}

func (r raftDumpReport) table(w io.Writer) {
	fmt.Fprintf(w, "%s: term %d, vote %d, commit %d; the state machine holds what was done up to %d (term %d)\n",
		r.Path, r.Term, r.Vote, r.Commit, r.SnapshotIndex, r.SnapshotTerm)
	fmt.Fprintf(w, "%d entries in %d segments, %s", len(r.Entries), r.Segments, humanBytes(r.SizeBytes))
	if r.TornBytes > 0 {
		fmt.Fprintf(w, ", %s at the end not written yet, or torn", humanBytes(r.TornBytes))
	}
	fmt.Fprintln(w)
	if r.Installing != 0 {
		fmt.Fprintf(w, "a snapshot of %d was about to take the state machine's place\n", r.Installing)
	}
	row(w, "INDEX", "TERM", "KIND", "BYTES", "COMMITTED", "CONTENT")
	for _, e := range r.Entries {
		for _, content := range e.contents() {
			row(w, e.Index, e.Term, e.Kind, e.SizeBytes, e.Committed, content)
		}
	}
	damageTable(w, r.Damage)
}

// contents are what an entry holds, a line each, one at least.
func (e raftEntryLine) contents() []string {
	var list []string
	for _, command := range e.Commands {
		list = append(list, string(command))
	}
	if e.Membership != nil {
		list = append(list, string(e.Membership))
	}
	if e.Error != "" {
		list = append(list, "! "+e.Error)
	}
	if len(list) == 0 {
		list = append(list, "-")
	}
	return list
}
