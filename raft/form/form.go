package form

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/rustmq/rustmq/mq"
)

// MaxControllers bounds the list of controllers. More voters than this only make a group slower.
const MaxControllers = 9

// Controller is one of those that the configuration names.
type Controller struct {
	Node    mq.NodeID
	Address string // host:port of its RPC listener
}

// Member is a controller with its data directory.
type Member struct {
	Controller
	Dir mq.DirID
}

// View is what controllers agree on: who founds the group, and which cluster it is. Members ascend by node.
type View struct {
	Cluster mq.ClusterID
	Members []Member
}

// Phase is how far a controller is.
type Phase uint8

// Phases, in order. The numbers are on disks and on the wire.
const (
	Unformed Phase = 0 // has agreed to nothing
	Prepared Phase = 1 // has agreed to a view, durably, and would still agree to another
	Formed   Phase = 2 // its group exists; for good
)

// State is what a controller has to have durably. View is that of Prepared and Formed.
type State struct {
	Phase Phase
	View  View
}

// Answer is what a controller says about itself when it is asked.
type Answer struct {
	Cluster     mq.ClusterID // its certificate's
	Node        mq.NodeID
	Dir         mq.DirID
	Controllers []Controller // that its configuration names
	State       State
}

// Group tells the groups of two views apart. Raft messages carry it, so that members of different groups do not speak with each other.
type Group [16]byte

// Group of the view.
func (v View) Group() Group {
	b := append([]byte("rustmq group 1"), v.Cluster[:]...)
	for _, m := range v.Members {
		b = binary.BigEndian.AppendUint32(b, uint32(m.Node))
		b = append(b, m.Dir[:]...)
		b = binary.BigEndian.AppendUint16(b, uint16(len(m.Address)))
		b = append(b, m.Address...)
	}
	sum := sha256.Sum256(b)
	return Group(sum[:16])
}

// Equal says whether two views are the same.
func (v View) Equal(o View) bool { return v.Cluster == o.Cluster && slices.Equal(v.Members, o.Members) }

// Has says whether a directory is in the view.
func (v View) Has(node mq.NodeID, dir mq.DirID) bool {
	return slices.ContainsFunc(v.Members, func(m Member) bool { return m.Node == node && m.Dir == dir })
}

// RaftID is the raft id of a founding controller: its node id. One that rejoins gets another, see package metadata. Node ids of controllers are
// above 0, which [Check] sees to.
func RaftID(node mq.NodeID) uint64 { return uint64(node) }

// Peers are the raft ids of the view, ascending: [raft.Config.Peers].
func (v View) Peers() []uint64 {
	ids := make([]uint64, len(v.Members))
	for i, m := range v.Members {
		ids[i] = RaftID(m.Node)
	}
	return ids
}

// String is for people.
func (v View) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cluster %s:", v.Cluster)
	for _, m := range v.Members {
		fmt.Fprintf(&b, " %d@%s (%s)", m.Node, m.Address, m.Dir)
	}
	return b.String()
}

// String is for people.
func (s State) String() string {
	switch s.Phase {
	case Prepared:
		return "prepared " + s.View.String()
	case Formed:
		return "formed " + s.View.String()
	}
	return "unformed"
}

// Sort puts controllers into the order in which they are compared.
func Sort(controllers []Controller) {
	slices.SortFunc(controllers, func(a, b Controller) int { return int(a.Node) - int(b.Node) })
}

// Check refuses an answer that no controller would give: [InvalidRequest]. It is applied to what came from outside, and to a configuration.
func (a Answer) Check() error {
	if a.Cluster.IsZero() || a.Dir.IsZero() {
		return mq.Errorf(mq.InvalidRequest, "form: node %d has no cluster id or no directory id", a.Node)
	}
	if err := checkControllers(a.Controllers); err != nil {
		return err
	}
	if !slices.ContainsFunc(a.Controllers, func(c Controller) bool { return c.Node == a.Node }) {
		return mq.Errorf(mq.InvalidRequest, "form: node %d is not among the controllers that it names", a.Node)
	}
	return a.State.Check()
}

// Check refuses a state that cannot be: [InvalidRequest].
func (s State) Check() error {
	switch {
	case s.Phase > Formed:
		return mq.Errorf(mq.InvalidRequest, "form: phase %d, this program knows up to %d", s.Phase, Formed)
	case s.Phase == Unformed && (len(s.View.Members) > 0 || !s.View.Cluster.IsZero()):
		return mq.Errorf(mq.InvalidRequest, "form: a view that nobody prepared")
	case s.Phase == Unformed:
		return nil
	case s.View.Cluster.IsZero():
		return mq.Errorf(mq.InvalidRequest, "form: a view without a cluster id")
	}
	controllers := make([]Controller, len(s.View.Members))
	for i, m := range s.View.Members {
		controllers[i] = m.Controller
		if m.Dir.IsZero() {
			return mq.Errorf(mq.InvalidRequest, "form: controller %d has no directory id in the view", m.Node)
		}
	}
	return checkControllers(controllers)
}

func checkControllers(controllers []Controller) error {
	if len(controllers) == 0 || len(controllers) > MaxControllers {
		return mq.Errorf(mq.InvalidRequest, "form: %d controllers: from 1 to %d are possible", len(controllers), MaxControllers)
	}
	before := mq.NodeID(0)
	for _, c := range controllers {
		if c.Node <= before {
			return mq.Errorf(mq.InvalidRequest, "form: controller %d: node ids are above 0, ascend and come once", c.Node)
		}
		if c.Address == "" || len(c.Address) > 300 {
			return mq.Errorf(mq.InvalidRequest, "form: controller %d has an address of %d bytes", c.Node, len(c.Address))
		}
		before = c.Node
	}
	return nil
}
