package broker

import (
	"context"
	"net"

	"github.com/rustmq/rustmq/broker/coordinator"
	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// OpenGroup implements server.Broker.
func (b *Broker) OpenGroup(_ context.Context, s *server.Session, open *quicproto.OpenGroup, w server.MemberWatcher) (server.Member, error) {
	c, err := b.groups(s, OpRead, open.Group)
	if err != nil {
		return nil, err
	}
	if err := b.mayWant(s, open.Topics); err != nil {
		return nil, err
	}
	first := &group.HeartbeatRequest{
		Group: open.Group, Member: open.Member, Epoch: open.Epoch, Instance: open.Instance, Rack: open.Rack, RebalanceTimeout: open.Rebalance,
		ClientID: s.ClientID, ClientHost: hostOf(s.Remote), Owned: ownedBy(open.Owned),
	}
	subscribe(first, &open.Subscription)
	m, err := c.Attach(first, memberWatcher{b, w})
	if err != nil {
		return nil, err
	}
	return &member{Member: m, broker: b, session: s, watcher: w}, nil
}

// mayWant says whether s may know of topics that it wants to consume.
func (b *Broker) mayWant(s *server.Session, topics []string) error {
	for _, t := range topics {
		if err := b.authorise(s, OpDescribe, Resource{Topic: t}); err != nil {
			return err
		}
	}
	return nil
}

func subscribe(r *group.HeartbeatRequest, s *quicproto.Subscription) {
	r.Topics, r.Pattern, r.Assignor = s.Topics, &s.Pattern, &s.Assignor
	if r.Topics == nil {
		r.Topics = []string{} // nil would be: as before
	}
}

// ownedBy is what a client says that it owns: never nil, which would be that it did not say.
func ownedBy(list []quicproto.GroupPartitions) group.Partitions {
	out := make(group.Partitions, len(list))
	for i := range list {
		out[i] = group.TopicPartitions{Topic: list[i].TopicID, Partitions: list[i].Partitions}
	}
	return out
}

func hostOf(addr net.Addr) string {
	if addr == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	return host
}

// member is a member of a group on its stream.
type member struct {
	*coordinator.Member
	broker  *Broker
	session *server.Session
	watcher server.MemberWatcher
}

var _ server.Member = (*member)(nil)

// Heartbeat implements server.Member.
func (m *member) Heartbeat(h *quicproto.Heartbeat) {
	var said group.HeartbeatRequest
	if h.Subscribes {
		if err := m.broker.mayWant(m.session, h.Subscription.Topics); err != nil {
			m.Detach()
			m.watcher.Ended(err)
			return
		}
		subscribe(&said, &h.Subscription)
	}
	if h.Owns {
		said.Owned = ownedBy(h.Owned)
	}
	m.Say(h.Number, said)
}

// memberWatcher passes on to a front door what concerns a member, in its terms.
type memberWatcher struct {
	broker *Broker
	server.MemberWatcher
}

var _ coordinator.Watcher = memberWatcher{}

// Assigned implements coordinator.Watcher.
func (w memberWatcher) Assigned(number uint32, epoch int32, changed bool, assigned group.Partitions) {
	a := &quicproto.Assignment{Number: number, Epoch: epoch, Changed: changed}
	if changed {
		a.Partitions = w.broker.groupPartitions(assigned)
	}
	w.MemberWatcher.Assigned(a)
}
