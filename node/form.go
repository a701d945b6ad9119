package node

import (
	"cmp"
	"context"
	"slices"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// enterCluster connects this node with whoever decides in its cluster, and makes this run of it known. Every partition that it led gets a new
// leader epoch by that, before anything is appended.
func (n *Node) enterCluster(ctx context.Context) error {
	if n.mounted() {
		return nil
	}
	if n.rpc == nil {
		return n.formAlone(ctx)
	}
	if err := n.openClient(ctx); err != nil {
		return err
	}
	return n.markFormed()
}

// formAlone makes the cluster of a node that is alone at the very first start, and at any other makes sure that the metadata is that of the cluster
// which the data directory names. Forming is idempotent: a start that was cut short is finished by the next.
func (n *Node) formAlone(ctx context.Context) error {
	alone := &controller{raft: n.raft, store: n.store, partitions: n.partitions}
	n.cluster, n.partitions.cluster = alone, alone
	if _, err := n.raft.AwaitLeader(ctx); err != nil {
		return mq.Wrapf(err, "wait for a leading controller")
	}
	_, err := n.cluster.decide(ctx, &metadatapb.Command{Kind: &metadatapb.Command_FormCluster{
		FormCluster: &metadatapb.FormCluster{ClusterId: n.id.Cluster[:], FeatureLevel: metadata.FeatureLevel},
	}})
	if err != nil && mq.CodeOf(err) == mq.InconsistentClusterID {
		return mq.Errorf(mq.WrongDataDir, "%s in %s is another cluster's than %s says: the directory was put together from two copies: %w",
			metadataFile, n.cfg.Node.DataDir, identityFile, err)
	}
	if err != nil {
		return mq.Wrapf(err, "form the cluster")
	}
	if err := n.markFormed(); err != nil {
		return err
	}
	command, err := n.registerCommand()
	if err != nil {
		return err
	}
	_, err = n.cluster.decide(ctx, &metadatapb.Command{Kind: &metadatapb.Command_RegisterBroker{RegisterBroker: command}})
	return mq.Wrapf(err, "register %s", n.id)
}

// markFormed notes that the directory has all that its roles leave there.
func (n *Node) markFormed() error {
	roles := n.id.Roles
	for _, role := range n.cfg.Node.Roles {
		if !n.id.ran(role) && !slices.Contains(roles, role) {
			roles = append(roles, role)
		}
	}
	if n.id.Formed && len(roles) == len(n.id.Roles) {
		return nil
	}
	n.id.Formed, n.id.Roles = true, roles
	return n.id.write(n.seams.FS, n.cfg.Node.DataDir)
}

// registerCommand is what this run of the node registers as a broker.
func (n *Node) registerCommand() (*metadatapb.RegisterBroker, error) {
	incarnation, err := n.incarnation()
	if err != nil {
		return nil, err
	}
	endpoints, err := n.endpoints()
	if err != nil {
		return nil, err
	}
	command := &metadatapb.RegisterBroker{
		ClusterId: n.id.Cluster[:], NodeId: int32(n.id.Node), Incarnation: incarnation, DirId: n.id.Dir[:],
		Endpoints: endpoints, Rack: n.cfg.Node.Rack, MaxFeatureLevel: metadata.FeatureLevel,
	}
	for _, id := range n.partitions.recovery.Suspects() {
		command.Suspects = append(command.Suspects, metadata.PartitionRecord(id))
	}
	if doubt, whole := n.partitions.recovery.Doubt(); doubt && n.rpc != nil { // who is alone has nobody who could hold more
		command.Doubt = true
		for _, id := range whole {
			command.Whole = append(command.Whole, metadata.PartitionRecord(id))
		}
	}
	return command, nil
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
		e, err := endpoint(broker.ListenerQUIC, "server.advertise", a)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	if n.servesKafka() {
		e, err := endpoint(broker.ListenerKafka, "kafka.advertise", cmp.Or(n.cfg.Kafka.Advertise, advertised[0]))
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	if n.rpc == nil {
		return out, nil
	}
	e, err := endpoint(listenerRPC, "rpc.advertise", n.rpcAddress)
	if err != nil {
		return nil, err
	}
	return append(out, e), nil
}
