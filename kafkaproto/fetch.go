// Fetch (1), versions 4 to 18.
//
// Batches come as they are stored, from the one that holds the offset: its first records may lie before that. The first partition that has something gets at least one batch, however large. The response waits for min_bytes until max_wait, or until there is more than its limits leave room for; an error of any partition ends the wait. Consumers
// see nothing above the high watermark, which is the last stable offset, too. An offset outside the log is OFFSET_OUT_OF_RANGE, one between watermark and log end waits.
//
// From version 7 on there are sessions (KIP-227), one for each connection: it ends with that, and a client that goes on with it elsewhere gets FETCH_SESSION_ID_NOT_FOUND. Clients
// get none when there are too many partitions in sessions already, and then say all in each request. From version 12 on a client that names the epoch of the last record that it has is told where its log
// parts from this one, and errors name the leader there is by now (KIP-951, with addresses from version 16 on). Version 13 names topics by id.
//
// From version 11 on a client that says its rack (client.rack, KIP-392) reads what only the object store has from a replica in that rack: it is sent there, and back to the leader for what
// comes next, as the preferred read replica. One that comes back with nothing, because that replica cannot read it or not be reached, reads here for a while. What leaders have in their logs is read from them.
//
// Not supported: replicas of a Kafka cluster (CLUSTER_AUTHORIZATION_FAILED); aborted transactions, for there are none.

package kafkaproto

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

// How long a fetch waits for room for what it reads from a disk or the object store: as long as the client waits for records, within these bounds. So long a drain may be held up by it.
const (
	leastRoomWait = 100 * time.Millisecond
	mostRoomWait  = 5 * time.Second
)

// readShare is which part of that room, a quarter, one connection may have.
const readShare = 4

func fetchAPI() api {
	return api{key: kmsg.Fetch, min: 4, from: 4, max: 18, start: startFetch}
}

func startFetch(c *call) (answer, error) {
	q, err := decode[*kmsg.FetchRequest](c)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (body, error) { return c.fetch(ctx, q) }, nil
}

// fetch answers when there is enough, or it is time.
func (c *call) fetch(ctx context.Context, q *kmsg.FetchRequest) (body, error) {
	r := &fetchResponse{version: q.Version}
	if q.ReplicaID >= 0 || q.ReplicaState.ID >= 0 {
		r.code = int16(mq.ClusterAuthorizationFailed)
		return r, nil
	}
	plan := c.conn.planFetch(q)
	r.code, r.session = plan.code, plan.session
	if r.code != 0 {
		return r, nil
	}
	wait := time.Duration(q.MaxWaitMillis) * time.Millisecond
	f := &fetching{call: c, bell: make(bell, 1), rack: q.Rack, max: c.conn.srv.limits.FetchBytes, patience: time.Now().Add(min(max(wait, leastRoomWait), mostRoomWait))}
	if q.MaxBytes > 0 {
		f.max = min(f.max, int(q.MaxBytes))
	}
	rate, use := c.conn.srv.quotaOf(c.session, ConsumeQuota)
	if rate > 0 {
		if c.throttled.told = c.conn.srv.quotas.left(use, rate, time.Now()); c.throttled.told > 0 {
			return c.owes(r, plan), nil
		}
		f.max = int(min(int64(f.max), rate)) // of a second
	}
	defer f.close()
	f.open(ctx, plan.partitions)
	if err := f.until(ctx, int(q.MinBytes), wait); err != nil {
		return nil, err
	}
	r.reads, r.held = f.call.conn.srv.reads, f.held
	f.held = 0
	leaders := leaders{broker: c.broker()}
	for i := range f.parts {
		p := &f.parts[i]
		if plan.incremental && !p.news() {
			continue
		}
		p.told()
		if id, epoch, ok := leaders.hint(p.code, p.name, p.index); ok {
			p.leader, p.leaderEpoch = id, epoch
		}
		r.partitions = append(r.partitions, p)
		r.size += p.size
	}
	c.conn.srv.fetched.Add(uint64(r.size))
	if rate > 0 && r.size > 0 {
		c.throttled.told = c.conn.srv.quotas.take(use, rate, r.size, time.Now())
	}
	r.throttled = c.throttled.told
	r.nodes = leaders.nodes()
	c.conn.rotate(f.parts)
	return r, nil
}

// owes answers a client that has to wait: with nothing (KIP-219), and a session that this was to begin is not begun.
func (c *call) owes(r *fetchResponse, plan fetchPlan) body {
	if !plan.incremental {
		c.conn.dropFetches()
		r.session = 0
	}
	r.throttled = c.throttled.told
	return r
}

// fetching is a fetch that is being answered.
type fetching struct {
	call  *call
	bell  bell
	rack  string // where the client stands, "" for unknown
	max   int
	parts []fetched
	size  int   // bytes of all batches
	ends  bool  // something of it is not worth waiting with
	held  int64 // bytes of the server's room for reads

	patience time.Time // when it waits for that room no more
}

// fetched is what one partition has.
type fetched struct {
	*fetchPartition
	name        string
	reader      Reader // nil with an error
	code        int16
	data        Fetched
	size        int
	skipped     bool // there was no room for what it may have
	diverges    bool
	epoch       mq.Epoch // with diverges: the epoch, and where it ended
	end         mq.Offset
	preferred   mq.NodeID // where the client should read it, else -1
	leader      mq.NodeID // with leaderEpoch: who leads, for an error; else -1
	leaderEpoch mq.Epoch
}

// open opens all partitions.
func (f *fetching) open(ctx context.Context, partitions []*fetchPartition) {
	f.parts = make([]fetched, len(partitions))
	broker := f.call.broker()
	for i, part := range partitions {
		p := &f.parts[i]
		p.fetchPartition, p.name, p.preferred, p.leader, p.leaderEpoch = part, part.topic, mq.NoNode, mq.NoNode, mq.NoEpoch
		if !part.id.IsZero() {
			name, ok := broker.TopicName(part.id)
			if !ok {
				f.fail(p, mq.Errorf(mq.UnknownTopicID, "there is no topic with id %s", part.id))
				continue
			}
			p.name = name
		}
		reader, err := broker.OpenFetch(ctx, f.call.session, p.name, part.index, part.epoch, f.rack)
		if err != nil {
			f.fail(p, err)
			continue
		}
		p.reader = reader
		if part.lastEpoch >= 0 {
			// Where this node cannot tell, the offset alone counts.
			p.epoch, p.end, err = reader.EpochEnd(part.lastEpoch)
			if p.diverges = err == nil && p.epoch != mq.NoEpoch && (p.epoch < part.lastEpoch || p.end < part.offset); p.diverges {
				p.data.LogStart, p.data.HighWatermark = reader.Offsets()
				f.ends = true
			}
		}
		if here := f.call.conn.staysHere(part); !here && !p.diverges && f.refer(p) {
			if f.call.conn.sendAway(part) {
				f.ends = true
			} else {
				p.preferred = mq.NoNode
			}
		}
	}
}

// refer has the client read a partition from another node, if it should (KIP-392). Versions that cannot be told so have no rack.
func (f *fetching) refer(p *fetched) bool {
	if p.preferred = p.reader.Elsewhere(p.offset); p.preferred < 0 {
		return false
	}
	p.data, p.size = Fetched{}, 0
	p.data.LogStart, p.data.HighWatermark = p.reader.Offsets()
	return true
}

// unread says whether a partition is not read: with an error, or what has to be told of it is told already.
func (p *fetched) unread() bool { return p.reader == nil || p.diverges || p.preferred >= 0 }

func (f *fetching) fail(p *fetched, err error) {
	p.code, f.ends = fetchCodeOf(err), true
	p.data, p.size = Fetched{LogStart: -1, HighWatermark: -1}, 0
}

// until reads until there is enough, something is wrong, or the wait is over. There is enough, too, when more is there that the limits leave no room for.
func (f *fetching) until(ctx context.Context, least int, wait time.Duration) error {
	least = min(least, f.max)
	timer := time.NewTimer(max(0, wait))
	defer timer.Stop()
	for over := wait <= 0; ; {
		if err := f.read(ctx); err != nil {
			return err
		}
		if f.size >= least || f.ends || over || len(f.parts) == 0 {
			return nil
		}
		if f.await() {
			return nil
		}
		select { // with a bell that has rung as well: a partition that always has it ring does not keep the others from having their turn
		case <-f.bell:
		case <-timer.C:
			over = true
		case <-f.call.conn.srv.open.Done():
			over = true
		case <-ctx.Done():
			if f.call.conn.ctx.Err() != nil {
				return ctx.Err()
			}
			return nil // what there is
		}
	}
}

// read reads all partitions anew.
func (f *fetching) read(ctx context.Context) error {
	f.size = 0
	f.release()
	for i := range f.parts {
		p := &f.parts[i]
		if p.unread() {
			continue
		}
		p.data, p.size, p.skipped = Fetched{Next: p.offset}, 0, true
		p.data.LogStart, p.data.HighWatermark = p.reader.Offsets()
		limit := min(int(p.maxBytes), f.max-f.size)
		if f.size > 0 && limit <= 0 {
			continue
		}
		if limit = f.room(ctx, p, max(limit, 1)); limit == 0 {
			if err := f.call.conn.ctx.Err(); err != nil {
				return err
			}
			continue
		}
		data, err := p.reader.Read(ctx, p.offset, limit)
		if err != nil {
			if f.call.conn.ctx.Err() != nil {
				return err
			}
			if !f.refer(p) { // what it is told there is not worth anything before the wait is over: it comes back as soon as it can
				f.fail(p, err)
			}
			continue
		}
		p.skipped = false
		size := 0
		for _, b := range data.Batches {
			size += len(b)
		}
		if f.size > 0 && size > limit { // one batch that is too large to come behind others
			p.skipped = true
			continue
		}
		p.data, p.size = data, size
		f.size += size
	}
	return nil
}

// room takes from the server's room for reads what a read may take that is not answered from memory, and gives what it may read: of limit what the connection's share leaves, 0 for
// nothing. Only who has nothing to answer with yet waits for it, and not longer than the fetch has patience.
func (f *fetching) room(ctx context.Context, p *fetched, limit int) int {
	if p.reader.InMemory(p.offset) {
		return limit
	}
	srv := f.call.conn.srv
	n := min(int64(limit), int64(max(1, srv.limits.ReadBytes/readShare))-f.held)
	if n <= 0 {
		return 0
	}
	if !srv.reads.TryAcquire(n) {
		if f.size > 0 || f.held > 0 {
			return 0
		}
		ctx, cancel := context.WithDeadline(ctx, f.patience)
		defer cancel()
		if srv.reads.Acquire(ctx, n) != nil {
			return 0
		}
	}
	f.held += n
	return int(n)
}

func (f *fetching) release() {
	f.call.conn.srv.reads.Release(f.held)
	f.held = 0
}

// await has the bell rung when some partition has more, at once if that has come since it was read. It is true when one has more than it gave: to read it again would give the
// same.
func (f *fetching) await() (more bool) {
	for i := range f.parts {
		p := &f.parts[i]
		if p.unread() || p.reader.Await(p.data.Next, f.bell) {
			continue
		}
		if p.size > 0 || p.skipped {
			return true
		}
		f.bell.Wake()
	}
	return false
}

func (f *fetching) close() {
	for i := range f.parts {
		if p := &f.parts[i]; p.reader != nil {
			p.reader.Close()
		}
	}
	f.release()
}

// bell is rung by partitions that have more. It rings once however often that is.
type bell chan struct{}

// Wake implements Waiter.
func (b bell) Wake() {
	select {
	case b <- struct{}{}:
	default:
	}
}
