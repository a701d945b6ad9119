package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/client"
)

const (
	groupMembers = 100
	groupTopic   = "members"
	groupName    = "scale"
	// hastySession is the session timeout of the group in which a member dies, in milliseconds.
	hastySession = 6000
	commitTime   = 5 * time.Second
)

// partMember is a member of a group that counts what it is assigned, on a client with sockets of its own.
type partMember struct {
	client *client.Client
	k      *client.Consumer
	has    atomic.Int64
	sawAt  atomic.Int64 // when it last got a record, Unix ns

	mu      sync.Mutex
	gone    bool
	sockets []net.PacketConn
}

// vanish is what a machine does that loses its power: its sockets say nothing more.
func (m *partMember) vanish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = true
	for _, s := range m.sockets {
		_ = s.Close()
	}
}

func (s *server) member(ctx context.Context, name string) (*partMember, error) {
	m := &partMember{}
	var err error
	m.client, err = client.New(client.Servers(s.addr), client.CAFile(s.caFile()), client.Connections(1), client.Transport(client.QUIC),
		client.Listen(func(addr string) (net.PacketConn, net.Addr, error) {
			to, err := net.ResolveUDPAddr("udp4", addr)
			if err != nil {
				return nil, nil, err
			}
			socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				return nil, nil, err
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.gone {
				return nil, nil, errors.Join(net.ErrClosed, socket.Close())
			}
			m.sockets = append(m.sockets, socket)
			return socket, to, nil
		}))
	if err != nil {
		return nil, err
	}
	count := func(n int64) client.RebalanceFunc {
		return func(_ context.Context, _ *client.Consumer, list []client.TopicPartition) {
			m.has.Add(n * int64(len(list)))
		}
	}
	m.k, err = m.client.NewConsumer(client.Group(name), client.Topics(groupTopic), client.AutoCommit(0),
		client.OnAssigned(count(1)), client.OnRevoked(count(-1)), client.OnLost(count(-1)))
	if err != nil {
		return nil, errors.Join(err, m.client.Close())
	}
	go func() { // ends with the consumer
		for {
			_, err := m.k.Poll(ctx)
			if err == nil {
				m.sawAt.Store(time.Now().UnixNano())
			} else if failed := (*client.PartitionError)(nil); !errors.As(err, &failed) {
				return
			}
		}
	}()
	return m, nil
}

func (m *partMember) close() {
	_ = m.k.Close()
	_ = m.client.Close()
}

// manyMembers has a group of many members that do nothing, then commit, and of which one dies.
func manyMembers(ctx context.Context, s *server) ([]figure, error) {
	cl, err := client.New(client.Servers(s.addr), client.CAFile(s.caFile()), client.PartitionBy(client.ManualPartitioner()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	if _, err := cl.CreateTopic(ctx, client.NewTopic{Name: groupTopic, Partitions: groupMembers, Replicas: 1}); err != nil {
		return nil, err
	}
	if err := cl.AlterGroupConfigs(ctx, groupName, map[string]string{"consumer.session.timeout.ms": fmt.Sprint(hastySession)}, nil); err != nil {
		return nil, err
	}
	members := make([]*partMember, groupMembers)
	defer func() {
		var closing sync.WaitGroup
		for _, m := range members {
			if m != nil {
				closing.Go(m.close)
			}
		}
		closing.Wait()
	}()
	began := time.Now()
	err = each(ctx, groupMembers, dials, func(ctx context.Context, i int) (err error) {
		members[i], err = s.member(context.WithoutCancel(ctx), groupName)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := evenly(members, 1); err != nil {
		return nil, err
	}
	figures := []figure{{name: fmt.Sprintf("%d members of a group, each with a partition: to get there", groupMembers), value: time.Since(began).Seconds(), unit: "s"}}
	time.Sleep(*settle)
	rest, err := s.rest(fmt.Sprintf("%d members that do nothing", groupMembers), 0)
	if figures = append(figures, rest...); err != nil {
		return figures, err
	}
	for _, n := range []int{1, groupMembers} {
		rate, err := commitRate(ctx, members[:n])
		if err != nil {
			return figures, err
		}
		figures = append(figures, figure{name: fmt.Sprintf("commits that are waited for, of %d members", n), value: rate, unit: "/s"})
	}
	took, err := crash(ctx, cl, members)
	return append(figures, figure{name: fmt.Sprintf("from a member's end to its partition being consumed, session %d ms", hastySession), value: took.Seconds(), unit: "s"}), err
}

// evenly waits until all members but those that are nil have so many partitions.
func evenly(members []*partMember, n int64) error {
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		done := 0
		for _, m := range members {
			if m.has.Load() == n {
				done++
			}
		}
		if done == len(members) {
			return nil
		}
		if time.Since(began) > time.Minute {
			return fmt.Errorf("%d of %d members have %d partitions after a minute", done, len(members), n)
		}
	}
}

// commitRate has members commit, each one after the other.
func commitRate(ctx context.Context, members []*partMember) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	var done atomic.Int64
	began := time.Now()
	err := each(context.WithoutCancel(ctx), len(members), len(members), func(_ context.Context, i int) error {
		tp := members[i].k.Assigned()[0]
		for ctx.Err() == nil {
			// The offset stays: what is committed is written down all the same.
			if err := members[i].k.CommitSync(ctx, client.CommitOffset{Topic: tp.Topic, Partition: tp.Partition, Offset: 0}); err == nil {
				done.Add(1)
			} else if ctx.Err() == nil {
				return err
			}
		}
		return nil
	})
	return float64(done.Load()) / time.Since(began).Seconds(), err
}

// crash has a member vanish, and says how long it takes until another one consumes a record of its partition.
func crash(ctx context.Context, cl *client.Client, members []*partMember) (time.Duration, error) {
	victim := members[0]
	tp := victim.k.Assigned()[0]
	began := time.Now()
	victim.vanish()
	err := cl.ProduceSync(ctx, &client.Record{Topic: tp.Topic, Partition: tp.Partition, Value: []byte("v")}).FirstErr()
	if err != nil {
		return 0, err
	}
	for ; ; time.Sleep(10 * time.Millisecond) {
		for _, m := range members[1:] {
			if at := m.sawAt.Load(); at > began.UnixNano() {
				return time.Unix(0, at).Sub(began), nil
			}
		}
		if time.Since(began) > time.Minute {
			return 0, errors.New("the partition of a member that has vanished is not consumed after a minute")
		}
	}
}
