package node

import (
	"context"
	"net"
	"strconv"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// formCluster makes the cluster at the very first start, and at any other makes
// sure that the metadata is that of the cluster which the data directory names.
// Forming is idempotent: a start that was cut short is finished by the next.
func (n *Node) formCluster(ctx context.Context) error {
	if _, err := n.raft.AwaitLeader(ctx); err != nil {
		return mq.Wrapf(err, "wait for a leading controller")
	}
	_, err := n.controller.decide(ctx, &metadatapb.Command{Kind: &metadatapb.Command_FormCluster{
		FormCluster: &metadatapb.FormCluster{ClusterId: n.id.Cluster[:], FeatureLevel: metadata.FeatureLevel},
	}})
	if err != nil && mq.CodeOf(err) == mq.InconsistentClusterID {
		return mq.Errorf(mq.WrongDataDir, "%s in %s is another cluster's than %s says: the directory was put together from two copies: %w",
			metadataFile, n.cfg.Node.DataDir, identityFile, err)
	}
	if err != nil {
		return mq.Wrapf(err, "form the cluster")
	}
	if n.id.Formed {
		return nil
	}
	n.id.Formed = true
	return n.id.write(n.seams.FS, n.cfg.Node.DataDir)
}

// register makes this run of the node known. Every partition that it led gets a
// new leader epoch by that, before anything is appended.
func (n *Node) register(ctx context.Context) error {
	incarnation, err := n.incarnation()
	if err != nil {
		return err
	}
	endpoints, err := n.endpoints()
	if err != nil {
		return err
	}
	suspects := n.partitions.recovery.Suspects()
	command := &metadatapb.RegisterBroker{
		ClusterId: n.id.Cluster[:], NodeId: int32(n.id.Node), Incarnation: incarnation, DirId: n.id.Dir[:],
		Endpoints: endpoints, MaxFeatureLevel: metadata.FeatureLevel,
	}
	for _, id := range suspects {
		command.Suspects = append(command.Suspects, metadata.PartitionRecord(id))
	}
	_, err = n.controller.decide(ctx, &metadatapb.Command{Kind: &metadatapb.Command_RegisterBroker{RegisterBroker: command}})
	return mq.Wrapf(err, "register %s", n.id)
}

// endpoints are the addresses that clients are told.
func (n *Node) endpoints() ([]*metadatapb.Endpoint, error) {
	if n.seams.Headless {
		return nil, nil
	}
	advertised := n.cfg.Server.Advertise
	if len(advertised) == 0 {
		advertised = []string{n.socket.LocalAddr().String()}
	}
	out := make([]*metadatapb.Endpoint, 0, len(advertised))
	for _, a := range advertised {
		host, text, err := net.SplitHostPort(a)
		if err != nil {
			return nil, mq.Errorf(mq.InvalidConfig, "server.advertise %q is not a host:port: %w", a, err)
		}
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return nil, mq.Errorf(mq.InvalidConfig, "server.advertise %q: %q is not a port", a, text)
		}
		out = append(out, &metadatapb.Endpoint{Listener: broker.ListenerQUIC, Host: host, Port: uint32(port)})
	}
	return out, nil
}
