package mq

import "slices"

// EpochStart says that the leader of Epoch wrote its first record at Start.
type EpochStart struct {
	Epoch Epoch
	Start Offset
}

// EpochHistory is who led a partition from which offset on: epochs strictly
// ascending, start offsets ascending (strictly too: an epoch that wrote
// nothing leaves no trace). A follower truncates by it and by nothing else.
//
// The zero value is empty. The methods never change the receiver's elements;
// those that return a history return one that the caller owns.
type EpochHistory []EpochStart

// Latest is the newest epoch and where it began; ok is false when there is none.
func (h EpochHistory) Latest() (latest EpochStart, ok bool) {
	if len(h) == 0 {
		return EpochStart{Epoch: NoEpoch}, false
	}
	return h[len(h)-1], true
}

// Assign notes that the record at start was written by the leader of epoch.
// Call it for each batch, in offset order, or at each election. It is an error
// (code [Internal]) when the epoch is older than the latest one, or when a newer epoch
// starts before the latest one did.
func (h EpochHistory) Assign(epoch Epoch, start Offset) (EpochHistory, error) {
	latest, ok := h.Latest()
	switch {
	case epoch < 0 || start < 0:
		return h, Errorf(Internal, "epoch %d from offset %d: negative", epoch, start)
	case !ok:
		return EpochHistory{{epoch, start}}, nil
	case epoch == latest.Epoch && start >= latest.Start:
		return h, nil
	case epoch <= latest.Epoch || start < latest.Start:
		return h, Errorf(Internal, "epoch %d from offset %d: epoch %d began at %d already",
			epoch, start, latest.Epoch, latest.Start)
	case start == latest.Start:
		// The latest epoch wrote nothing.
		return append(slices.Clone(h[:len(h)-1]), EpochStart{epoch, start}), nil
	}
	return append(slices.Clone(h), EpochStart{epoch, start}), nil
}

// EndOffset answers a follower that asks where epoch ended, given where the
// log ends now: the largest epoch at or below the one asked for, and the
// offset behind its last record. For an epoch before the first known, or newer
// than the latest, or an empty history, the epoch is [NoEpoch] and the offset
// -1: nothing can be said.
func (h EpochHistory) EndOffset(epoch Epoch, logEnd Offset) (Epoch, Offset) {
	i, exact := h.find(epoch)
	switch {
	case exact && i == len(h)-1:
		return epoch, logEnd
	case i == len(h): // newer than the latest, or nothing known
		return NoEpoch, -1
	case exact:
		return epoch, h[i+1].Start
	case i == 0: // older than the first known
		return NoEpoch, -1
	}
	return h[i-1].Epoch, h[i].Start
}

// At is the epoch of the leader that wrote the record at offset, or [NoEpoch]
// when offset lies before the first known start.
func (h EpochHistory) At(offset Offset) Epoch {
	i, found := slices.BinarySearchFunc(h, offset, func(e EpochStart, o Offset) int {
		return compareOffsets(e.Start, o)
	})
	if found {
		return h[i].Epoch
	}
	if i == 0 {
		return NoEpoch
	}
	return h[i-1].Epoch
}

// Agrees says whether two histories have the same epoch for the record at
// offset, or one of them does not reach back so far. As one epoch has one
// leader, logs whose histories do not agree have another record there.
func (h EpochHistory) Agrees(other EpochHistory, offset Offset) bool {
	ours, theirs := h.At(offset), other.At(offset)
	return ours == theirs || ours == NoEpoch || theirs == NoEpoch
}

// TruncateEnd forgets epochs that began at or behind end: the log was cut there.
func (h EpochHistory) TruncateEnd(end Offset) EpochHistory {
	n := len(h)
	for n > 0 && h[n-1].Start >= end {
		n--
	}
	return slices.Clone(h[:n])
}

// TruncateStart forgets epochs that ended at or before start, the new log
// start. The epoch that start lies in is kept and begins there.
func (h EpochHistory) TruncateStart(start Offset) EpochHistory {
	first := 0
	for first+1 < len(h) && h[first+1].Start <= start {
		first++
	}
	kept := slices.Clone(h[first:])
	if len(kept) > 0 && kept[0].Start < start {
		kept[0].Start = start
	}
	return kept
}

// Valid checks the order of the history, for one that came from outside.
func (h EpochHistory) Valid() error {
	for i, e := range h {
		if e.Epoch < 0 || e.Start < 0 {
			return Errorf(InvalidRequest, "epoch history: epoch %d from offset %d: negative", e.Epoch, e.Start)
		}
		if i > 0 && (e.Epoch <= h[i-1].Epoch || e.Start <= h[i-1].Start) {
			return Errorf(InvalidRequest, "epoch history: epoch %d from offset %d follows epoch %d from offset %d",
				e.Epoch, e.Start, h[i-1].Epoch, h[i-1].Start)
		}
	}
	return nil
}

func (h EpochHistory) find(epoch Epoch) (int, bool) {
	return slices.BinarySearchFunc(h, epoch, func(e EpochStart, want Epoch) int {
		return int(e.Epoch) - int(want)
	})
}

func compareOffsets(a, b Offset) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
