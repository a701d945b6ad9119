package tier

import (
	"sync/atomic"
	"time"
)

// operation is a kind of request.
type operation int

const (
	opPut operation = iota
	opRead
	opStat
	opList
	opDelete
	operations = iota
)

var operationNames = [operations]string{"put", "read", "stat", "list", "delete"}

// changes are the operations after which a bucket has something else.
var changes = [operations]bool{opPut: true, opDelete: true}

// billing is how a store charges for a request.
type billing int

const (
	billedWrite  billing = iota // what writes, a part of an object included, and what lists
	billedRead                  // what reads, and what asks for an object
	billedDelete                // nothing, as a rule
	billings     = iota
)

// billedAs is what one request to the bucket is charged as. A put is several.
var billedAs = map[operation]billing{opRead: billedRead, opStat: billedRead, opList: billedWrite, opDelete: billedDelete}

type storeCounters struct {
	requests           [classes][operations]atomic.Int64
	billed             [classes][billings]atomic.Int64
	waited             [classes]atomic.Int64 // in nanoseconds
	bytesUp, bytesDown [classes]atomic.Int64
	failures           [troubles]atomic.Int64
	last               atomic.Pointer[Failure]
}

func (c *storeCounters) began(class Class, op operation, waited time.Duration) {
	c.requests[class][op].Add(1)
	c.waited[class].Add(int64(waited))
}

// bill counts requests as Amazon S3 charges for them, also where they go to a directory. What a cloud's client tries again after an answer that is none
// counts once: such answers are not charged.
func (c *storeCounters) bill(class Class, as billing, n int64) { c.billed[class][as].Add(n) }

func (c *storeCounters) uploaded(class Class, n int64)   { c.bytesUp[class].Add(n) }
func (c *storeCounters) downloaded(class Class, n int64) { c.bytesDown[class].Add(n) }

func (c *storeCounters) failed(kind trouble, err error) {
	c.failures[kind].Add(1)
	c.last.Store(&Failure{At: time.Now(), Err: err})
}

// Failure is a request to a store that failed.
type Failure struct {
	At  time.Time
	Err error
}

// StoreStats are a store's counters since its start, and gauges, of all classes.
type StoreStats struct {
	Classes [classes]ClassStats
	// Requests that failed: what we are may not do that; there were too many; and
	// everything else but those that the caller gave up.
	Denied, Throttled, Failed int64
	// Last is the last one of them; nil: none has failed.
	Last *Failure
}

// ClassStats are the counters of one class.
type ClassStats struct {
	Requests             map[string]int64 // by operation: put, read, stat, list, delete
	Billed               Billed
	Uploaded, Downloaded int64         // in bytes
	Waited               time.Duration // for a place among the requests, all together
	Busy, Waiting        int           // requests, now
}

// Billed are requests as Amazon S3 charges for them. One of ours may be several: an object is put and then asked for, and one in parts takes a request for each, and two more.
type Billed struct {
	Writes  int64 // puts, parts, beginnings and ends of objects in parts, and lists
	Reads   int64 // of bytes, and of what an object is
	Deletes int64
}

// Billed are the requests of all classes together.
func (s *StoreStats) Billed() (all Billed) {
	for i := range s.Classes {
		b := s.Classes[i].Billed
		all.Writes, all.Reads, all.Deletes = all.Writes+b.Writes, all.Reads+b.Reads, all.Deletes+b.Deletes
	}
	return all
}

// Downloaded are the bytes that requests of all classes read.
func (s *StoreStats) Downloaded() (bytes int64) {
	for i := range s.Classes {
		bytes += s.Classes[i].Downloaded
	}
	return bytes
}

// Stats reads the counters.
func (s *Store) Stats() StoreStats {
	var stats StoreStats
	busy, waiting := s.gate.state()
	c := &s.counters
	for class := range stats.Classes {
		of := &stats.Classes[class]
		of.Requests = make(map[string]int64, operations)
		for op, name := range operationNames {
			of.Requests[name] = c.requests[class][op].Load()
		}
		billed := &c.billed[class]
		of.Billed = Billed{billed[billedWrite].Load(), billed[billedRead].Load(), billed[billedDelete].Load()}
		of.Uploaded, of.Downloaded = c.bytesUp[class].Load(), c.bytesDown[class].Load()
		of.Waited = time.Duration(c.waited[class].Load())
		of.Busy, of.Waiting = busy[class], waiting[class]
	}
	stats.Last = c.last.Load()
	for kind := range c.failures {
		n := c.failures[kind].Load()
		switch trouble(kind) {
		case troubleDenied:
			stats.Denied += n
		case troubleThrottled:
			stats.Throttled += n
		default:
			stats.Failed += n
		}
	}
	return stats
}
