package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/tier"
	"github.com/rustmq/rustmq/tier/clouds"
)

// probeTimeout bounds a probe, with all that the stores' own clients try again.
const probeTimeout = 2 * time.Minute

func (a *app) objectProbeCommand() *cli.Command {
	return &cli.Command{
		Name: "probe", ArgsUsage: "URL", Usage: "try out what a node does with its object store; exit status 1 and what is missing if it cannot",
		Description: "Writes a small object below PREFIX probe/, sees that it is not overwritten, reads a range of it, lists and deletes it. Credentials come\n" +
			"from where a node takes them: see the object stores in docs/operations.md.\n\nExample: rustmq object probe 's3://BUCKET?region=eu-central-1'",
		Flags:  []cli.Flag{outputFlag()},
		Action: a.objectProbe,
	}
}

type probeReport struct {
	Store string      `json:"store"`
	Key   string      `json:"key"`
	Steps []probeStep `json:"steps"`
}

type probeStep struct {
	Step    string `json:"step"`
	OK      bool   `json:"ok"`
	Skipped bool   `json:"skipped,omitempty"`
	Denied  bool   `json:"denied,omitempty"`
	Needs   string `json:"needs,omitempty"`
	TookUS  int64  `json:"took_us"`
	Error   string `json:"error,omitempty"`
}

func (a *app) objectProbe(c *cli.Context) (err error) {
	if err := checkOutput(c); err != nil {
		return err
	}
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, probeTimeout)
	defer cancel()
	store, err := tier.OpenStore(ctx, c.Args().First(), tier.Limits{}, clouds.Schemes()...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	found := store.Probe(ctx, "")
	r := probeReport{Store: found.Store, Key: found.Key}
	for _, s := range found.Steps {
		line := probeStep{Step: s.Name, OK: s.Err == nil && !s.Skipped, Skipped: s.Skipped, Denied: s.Denied, Needs: s.Needs, TookUS: s.Took.Microseconds()}
		if s.Err != nil {
			line.Error = s.Err.Error()
		}
		r.Steps = append(r.Steps, line)
	}
	if err := a.show(c, r, r.table); err != nil {
		return err
	}
	return found.Err()
}

func (r probeReport) table(w io.Writer) {
	row(w, "STEP", "", "TOOK", "NEEDS")
	for _, s := range r.Steps {
		state := "ok"
		switch {
		case s.Skipped:
			state = "not tried"
		case s.Denied:
			state = "denied"
		case !s.OK:
			state = "failed"
		}
		row(w, s.Step, state, (time.Duration(s.TookUS) * time.Microsecond).Round(100*time.Microsecond), s.Needs)
	}
	for _, s := range r.Steps {
		if s.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", s.Step, s.Error)
		}
	}
}
