package partition

import (
	"encoding/binary"
	"math"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// A partition's sticky entry in the log (wal.EntryState). It is written when something changes that must survive a restart and is not
// to be seen from the batches, and now and then for the watermark. It is true as of its place in the log:
//
//	version u8 = 1
//	epoch       uvarint: 1 + the newest leader epoch that this replica has taken part in, 0 for none
//	log start   uvarint
//	tiered end  uvarint
//	watermark   uvarint: the log is never truncated below it
//
// It lies inside a log frame, which has the checksum. Another version is "unsupported", what does not fit "corrupt". The epoch history is
// not here: the batches have it, and the tier checkpoint for what lies before them.
const stateVersion = 1

// rememberStride is how many bytes of log pass until the state entry is written again for the watermark's sake: recovery must keep what
// may still be truncated.
const rememberStride = 16 << 20

// replicaState is the content of a state entry.
type replicaState struct {
	epoch     mq.Epoch
	logStart  mq.Offset
	tieredEnd mq.Offset
	high      mq.Offset
}

func (s replicaState) encode() []byte {
	out := make([]byte, 0, 32)
	out = append(out, stateVersion)
	out = binary.AppendUvarint(out, uint64(s.epoch+1))
	out = binary.AppendUvarint(out, uint64(s.logStart))
	out = binary.AppendUvarint(out, uint64(s.tieredEnd))
	return binary.AppendUvarint(out, uint64(s.high))
}

func decodeState(data []byte) (replicaState, error) {
	if len(data) == 0 {
		return replicaState{}, mq.Errorf(mq.Corrupt, "partition state entry without content")
	}
	if data[0] != stateVersion {
		return replicaState{}, mq.Errorf(mq.UnsupportedVersion, "partition state entry of version %d, only %d is known", data[0], stateVersion)
	}
	d := varints{data: data[1:]}
	s := replicaState{epoch: mq.Epoch(int64(d.upTo(math.MaxInt32)) - 1)}
	s.logStart = mq.Offset(d.upTo(math.MaxInt64))
	s.tieredEnd = mq.Offset(d.upTo(math.MaxInt64))
	s.high = mq.Offset(d.upTo(math.MaxInt64))
	if d.failed || len(d.data) != 0 {
		return replicaState{}, mq.Errorf(mq.Corrupt, "partition state entry: nonsense at byte %d of %d", len(data)-len(d.data), len(data))
	}
	return s, nil
}

// remember writes the state entry. The caller holds mu.
func (p *Partition) remember(done wal.Done) {
	s := replicaState{epoch: p.epoch, logStart: p.marks.logStart(), tieredEnd: p.marks.object(), high: p.marks.high()}
	p.remembered = p.index.total
	p.cfg.Log.Append(wal.Entry{Stream: p.stream, Type: wal.EntryState, Payload: s.encode()}, done)
}

// epochDone is the wal.Done of a state entry that brings a new epoch.
type epochDone struct {
	owner *Partition
	epoch mq.Epoch
}

// Appended makes the epoch one that may be acknowledged in.
func (d *epochDone) Appended(err error) {
	p := d.owner
	p.mu.Lock()
	defer p.unlock()
	if err != nil {
		p.logFailed(err)
		return
	}
	p.durableEpoch = max(p.durableEpoch, d.epoch)
	p.advance()
	if State(p.state.Load()) == StateFollower {
		p.tell(NewsDurable)
	}
}
