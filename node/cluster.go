package node

import (
	"context"
	"net"
	"strconv"
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/control"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// cluster is this node's way to what the cluster agrees on: commands go up, the Image comes down. There are two: [controller] of a node that is alone, and
// [member].
type cluster interface {
	broker.Controller
	// Watch tells of changes of Image.
	Watch() *metadata.Watch
	// decide has a command decided and applied to the image, without waiting for what runs here to follow.
	decide(ctx context.Context, command *metadatapb.Command) (*metadatapb.Result, error)
	// Ranges and Checkpoint are of the object index. They are not older than the image.
	Ranges(ctx context.Context, p mq.PartitionID, from mq.Offset, limit int) ([]metadata.Range, error)
	Checkpoint(ctx context.Context, p mq.PartitionID) (c metadata.Checkpoint, ok bool, err error)
}

// member is the way of a node that is one of several: the leading controller decides, wherever it runs.
type member struct {
	client *control.Client
	// settled waits until what runs here is what an image says.
	settled func(ctx context.Context, index uint64) error
	// nodeAt is the controller with an RPC address, mq.NoNode for none that is known.
	nodeAt func(address string) mq.NodeID
}

var _ cluster = (*member)(nil)

// Image implements broker.Controller.
func (m *member) Image() *metadata.Image { return m.client.Image() }

// Watch implements cluster.
func (m *member) Watch() *metadata.Watch { return m.client.Watch() }

// Leader implements broker.Controller.
func (m *member) Leader() mq.NodeID { return m.nodeAt(m.client.Leader()) }

// Stale implements broker.Controller.
func (m *member) Stale() time.Duration { return m.client.Stale() }

// CatchUp implements broker.Controller.
func (m *member) CatchUp(ctx context.Context) error { return m.client.CatchUp(ctx) }

// Propose implements broker.Controller.
func (m *member) Propose(ctx context.Context, command *metadatapb.Command) (*metadatapb.Result, error) {
	result, err := m.decide(ctx, command)
	if err != nil {
		return result, err
	}
	return result, m.settled(ctx, m.client.Image().Index)
}

func (m *member) decide(ctx context.Context, command *metadatapb.Command) (*metadatapb.Result, error) {
	return m.client.Propose(ctx, command)
}

// Ranges implements cluster.
func (m *member) Ranges(ctx context.Context, p mq.PartitionID, from mq.Offset, limit int) ([]metadata.Range, error) {
	return m.client.Ranges(ctx, p, from, limit, false)
}

// Checkpoint implements cluster.
func (m *member) Checkpoint(ctx context.Context, p mq.PartitionID) (metadata.Checkpoint, bool, error) {
	return m.client.Checkpoint(ctx, p, false)
}

// listenerRPC is the name of the endpoint at which other nodes reach a node.
const listenerRPC = "rpc"

func hostPortOf(e metadata.Endpoint) string {
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
}

// endpoint is an address as the metadata keeps it.
func endpoint(listener, setting, addr string) (*metadatapb.Endpoint, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, mq.Errorf(mq.InvalidConfig, "%s %q is not a host:port: %w", setting, addr, err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, mq.Errorf(mq.InvalidConfig, "%s %q: %q is not a port", setting, addr, text)
	}
	return &metadatapb.Endpoint{Listener: listener, Host: host, Port: uint32(port)}, nil
}
