package control

import (
	"context"
	"math"
	"net"
	"strconv"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

// Leadership is what a controller knows of who leads the controllers.
type Leadership struct {
	// Leading says that this node does, and has applied all that earlier leaders committed.
	Leading bool
	Term    uint64
	// Leader is mq.NoNode when nobody is known to lead.
	Leader mq.NodeID
	// Address of the leader's RPC listener, "" when it is not known.
	Address string
}

// Group is the group of controllers, as this one takes part in it.
type Group interface {
	// Propose has a command decided, and returns when this node's store has what it did.
	Propose(ctx context.Context, command []byte) (result []byte, err error)
	// ReadIndex returns when this node's store has all that was committed when it was called.
	ReadIndex(ctx context.Context) (uint64, error)
	// Leadership is the present one, and a channel that is closed when it changes.
	Leadership() (Leadership, <-chan struct{})
}

// Raft is the group that a raft node belongs to. Members are found in the image, and those that the image does not have yet among the
// founders, whose raft ids are their node ids.
func Raft(n *raft.Node, image func() *metadata.Image, founders map[mq.NodeID]string) Group {
	return raftGroup{n, image, founders}
}

type raftGroup struct {
	*raft.Node
	image    func() *metadata.Image
	founders map[mq.NodeID]string
}

// Leadership implements Group.
func (g raftGroup) Leadership() (Leadership, <-chan struct{}) {
	s := g.Status()
	l := Leadership{Leading: s.Leading, Term: s.Term, Leader: mq.NoNode}
	if c := g.image().Controller(s.Leader); c != nil {
		l.Leader, l.Address = c.Node, addressAt(c.Endpoint)
	} else if address, ok := g.founders[mq.NodeID(s.Leader)]; ok && s.Leader <= math.MaxInt32 {
		l.Leader, l.Address = mq.NodeID(s.Leader), address
	}
	return l, s.Changed()
}

// Store is the metadata on a controller: a *metadata.Store.
type Store interface {
	Image() *metadata.Image
	Watch() *metadata.Watch
	Ranges(id mq.PartitionID, from mq.Offset, limit int) ([]metadata.Range, error)
	Checkpoint(id mq.PartitionID) (c metadata.Checkpoint, ok bool, err error)
}

var _ Store = (*metadata.Store)(nil)

// rpcListener names the listener that nodes reach each other at.
const rpcListener = "rpc"

func rpcAddress(b *metadata.Broker) string {
	e, ok := b.Endpoint(rpcListener)
	if !ok {
		return ""
	}
	return addressAt(e)
}

func addressAt(e metadata.Endpoint) string {
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
}

// controllersOf are the RPC addresses of the controllers that an image has.
func controllersOf(img *metadata.Image) (addresses []string) {
	for _, c := range img.Controllers() {
		addresses = append(addresses, addressAt(c.Endpoint))
	}
	return addresses
}
