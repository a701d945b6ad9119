package node

import (
	"time"

	"github.com/rustmq/rustmq/mq"
)

const (
	// housekeepingEvery is how often the node looks after what nobody waits for:
	// the log's fill and producers that went idle.
	housekeepingEvery = time.Second
	// expireEvery is how often idle producers are looked for.
	expireEvery = time.Minute
	// certificateEvery is how often it is looked whether the node's certificate nears its end, which it does two months before.
	certificateEvery = time.Hour
	// pressureFill is the share of the log's bound, in percent, above which
	// everything that is pending is moved to the object store ahead of its time.
	pressureFill = 60
)

// watch waits for the failure of a disk and does the housekeeping, until stop is closed.
func (n *Node) watch(stop <-chan struct{}) {
	ticker := time.NewTicker(housekeepingEvery)
	defer ticker.Stop()
	expired := time.Now()
	certified := expired
	var dataLog, raftLog, controller <-chan struct{} // nil where that role does not run
	if n.dataLog != nil {
		dataLog = n.dataLog.Failed()
	}
	if n.raft != nil {
		raftLog, controller = n.raftLog.Failed(), n.raft.Failed()
	}
	for {
		select {
		case <-stop:
			return
		case <-dataLog:
			n.fail(mq.Wrapf(n.dataLog.Err(), "the data log failed: nothing is acknowledged any more"))
			return
		case <-raftLog:
			n.fail(mq.Wrapf(n.raftLog.Err(), "the controller's log failed"))
			return
		case <-controller:
			n.fail(mq.Wrapf(n.raft.Err(), "the controller failed"))
			return
		case now := <-ticker.C:
			if n.partitions != nil {
				n.relievePressure()
				n.partitions.lapse()
				if now.Sub(expired) >= expireEvery {
					expired = now
					n.partitions.expireProducers()
				}
			}
			if n.certs != nil && now.Sub(certified) >= certificateEvery {
				certified = now
				n.renewCertificate(now)
			}
		}
	}
}

// renewCertificate replaces a certificate that nears its end. Without the authority's key only somebody else can.
func (n *Node) renewCertificate(now time.Time) {
	renewed, err := n.certs.Refresh(now)
	switch {
	case err != nil:
		n.logger.Error("the node's certificate cannot be renewed", "ends", n.certs.NotAfter(), "error", err)
	case renewed:
		n.logger.Info("the node has a new certificate", "ends", n.certs.NotAfter())
	}
}

// fail ends the node: it takes its partitions offline and tells whoever runs it.
func (n *Node) fail(err error) {
	n.logger.Error("the node cannot go on", "error", err)
	if n.partitions != nil {
		for _, p := range n.partitions.Table().All() {
			p.Offline(err)
		}
	}
	n.done <- err
}

// relievePressure asks for an upload when the log runs out of room.
func (n *Node) relievePressure() {
	if n.cfg.WAL.MaxSize == 0 {
		return
	}
	if stats := n.dataLog.Stats(); !stats.Full && stats.FileBytes < int64(n.cfg.WAL.MaxSize)*pressureFill/100 {
		return
	}
	select {
	case n.pressure <- struct{}{}:
	default: // one is asked for already
	}
}
