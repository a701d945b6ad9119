package node

import (
	"context"
	"log/slog"
	"time"

	"github.com/rustmq/rustmq/control"
	"github.com/rustmq/rustmq/metadata"
)

// A controller that was removed hears of it from nobody: the others do not speak to it any more. It finds out by asking.

const (
	// lonelyAfter is for how long a controller knows of none that leads, before it asks whether it is one still, and how long it waits to ask again. An election takes less.
	lonelyAfter = 3 * time.Second
	// askRemovedTimeout is how long it asks each time.
	askRemovedTimeout = 5 * time.Second
)

// wasRemoved asks the others whether this controller was removed.
func (n *Node) wasRemoved(ctx context.Context) bool {
	status, own := n.raft.Status(), n.store.Image()
	if own.Controller(n.raftID()) == nil && (len(status.Voters) == 0 || roleIn(status, n.raftID()) != "") {
		return false // it is not one yet, or is and was never recorded
	}
	seeds := n.seeds(n.group.view)
	for _, c := range own.Controllers() {
		if c.Node != n.id.Node {
			seeds = append(seeds, hostPortOf(c.Endpoint))
		}
	}
	if len(seeds) == 0 {
		return false
	}
	client, err := control.NewClient(control.ClientConfig{
		Node: n.id.Node, Seeds: seeds, Connect: n.connect, Now: n.seams.Now, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return false
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, askRemovedTimeout)
	defer cancel()
	if client.AwaitIndex(ctx, max(1, own.Index)) != nil {
		return false
	}
	now := client.Image()
	return now.ClusterID == n.id.Cluster && now.Controller(n.raftID()) == nil
}

// leaveGroup ends the controller of this node, which goes on as a broker if it is one.
func (n *Node) leaveGroup() {
	n.putOut.Store(true)
	n.logger.Error("the controller of this node was removed from the group, and has ended: to have one here again, stop the node and start it with an empty data directory; "+
		"to do without, start it with --roles broker and an empty data directory", "node", n.id.Node, "raft_id", n.raftID())
	if client := n.client.Load(); client != nil {
		n.detach(client)
	}
	if err := n.raft.Close(); err != nil {
		n.logger.Warn("the removed controller did not end well", "error", err)
	}
}

// detach has a client go on without this node's controller.
func (n *Node) detach(client *control.Client) { n.detached.Do(client.Detach) }

// ownImage is that of this node's controller, nil for a node without one that is a member.
func (n *Node) ownImage() *metadata.Image {
	if n.store == nil || n.putOut.Load() {
		return nil
	}
	return n.store.Image()
}
