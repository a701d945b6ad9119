package cli

import (
	"context"
	"io"
	"maps"
	"slices"

	"github.com/urfave/cli/v2"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/node"
)

func (a *app) ctlQuotaCommand() *cli.Command {
	return &cli.Command{
		Name: "quota", Usage: "how much Kafka clients may produce and consume",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "list all quotas", Action: a.quotaList,
				Description: "Example: rustmq ctl quota list -o json",
				Flags:       append([]cli.Flag{outputFlag()}, connectFlags("key", "key-file")...),
			},
			{
				Name: "set", ArgsUsage: "LIMIT=BYTES ...", Usage: "change limits of a quota, all or none", Action: a.quotaSet,
				Description: "Limits are producer_byte_rate and consumer_byte_rate, in bytes per second, for all clients of the quota together, through each node. It is kept to\n" +
					"for clients of Kafka's protocol. The most special quota that has the limit holds, in Kafka's order: a user with a client id, the user with any, the\n" +
					"user; any user, likewise; the client id, and any.\n\n" +
					"Example: rustmq ctl quota set --client-id loader producer_byte_rate=10MiB",
				Flags: append([]cli.Flag{
					&cli.StringFlag{Name: "user", Usage: "`NAME` that the client's certificate gives; anonymous for one without"},
					&cli.BoolFlag{Name: "any-user", Usage: "each user of whom there is no other quota"},
					&cli.StringFlag{Name: "client-id", Usage: "`ID` that the client gives itself, and anybody can"},
					&cli.BoolFlag{Name: "any-client-id", Usage: "each client id of which there is no other quota"},
					&cli.StringSliceFlag{Name: "unset", Usage: "`LIMIT` to take away; may be repeated"},
				}, connectFlags("key", "key-file")...),
			},
		},
	}
}

// quotaRow is a quota. A name that is nil is no part of it, an empty one is of any.
type quotaRow struct {
	User     *string          `json:"user"`
	ClientID *string          `json:"client_id"`
	Limits   map[string]int64 `json:"limits"`
}

func (a *app) quotaList(c *cli.Context) error {
	if err := checkOutput(c); err != nil {
		return err
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		lines, req := []quotaRow{}, &adminpb.ListQuotasRequest{}
		for {
			resp, err := a.operate(ctx, cl, &adminpb.Request{Kind: &adminpb.Request_ListQuotas{ListQuotas: req}}, true)
			if err != nil {
				return err
			}
			for _, q := range resp.GetListQuotas().GetQuotas() {
				lines = append(lines, quotaRow{User: nameOf(q.GetUser()), ClientID: nameOf(q.GetClientId()), Limits: q.GetLimits()})
			}
			if req.Page = resp.GetListQuotas().GetNextPage(); req.Page == "" {
				break
			}
		}
		return a.show(c, lines, func(w io.Writer) {
			row(w, "USER", "CLIENT ID", "LIMIT", "BYTES/S")
			for _, l := range lines {
				for _, limit := range slices.Sorted(maps.Keys(l.Limits)) {
					row(w, anyOrDash(l.User), anyOrDash(l.ClientID), limit, l.Limits[limit])
				}
			}
		})
	})
}

func nameOf(n *adminpb.QuotaName) *string {
	if n == nil {
		return nil
	}
	return &n.Name
}

func anyOrDash(name *string) string {
	switch {
	case name == nil:
		return "-"
	case *name == "":
		return "(any)"
	}
	return *name
}

func (a *app) quotaSet(c *cli.Context) error {
	set, err := assignments(c, "LIMIT=BYTES, each limit once")
	if err != nil {
		return err
	}
	req := &adminpb.AlterQuotaRequest{Set: make(map[string]int64, len(set)), Unset: c.StringSlice("unset")}
	for key, value := range set {
		size, err := node.ParseSize(value)
		if err != nil {
			return usagef("set: %s: %v", key, err)
		}
		req.Set[key] = int64(size)
	}
	if len(req.Set) == 0 && len(req.Unset) == 0 {
		return usagef("set: nothing to change: give LIMIT=BYTES or --unset")
	}
	if req.User, err = quotaNameOf(c, "user"); err != nil {
		return err
	}
	if req.ClientId, err = quotaNameOf(c, "client-id"); err != nil {
		return err
	}
	if req.GetUser() == nil && req.GetClientId() == nil {
		return usagef("set: of whom: give --user, --client-id, or both; or --any-user, --any-client-id")
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		_, err := a.operate(ctx, cl, &adminpb.Request{Kind: &adminpb.Request_AlterQuota{AlterQuota: req}}, true)
		return err
	})
}

// quotaNameOf is what a flag and the one for any name say: nil for neither.
func quotaNameOf(c *cli.Context, flag string) (*adminpb.QuotaName, error) {
	name, whoever := c.String(flag), c.Bool("any-"+flag)
	switch {
	case c.IsSet(flag) && whoever:
		return nil, usagef("set: --%s and --any-%s: give one of them", flag, flag)
	case c.IsSet(flag) && name == "":
		return nil, usagef("set: --%s: it is empty; --any-%s is for all that have no other quota", flag, flag)
	case c.IsSet(flag), whoever:
		return &adminpb.QuotaName{Name: name}, nil
	}
	return nil, nil
}
