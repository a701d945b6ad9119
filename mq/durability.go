package mq

import "strconv"

// Durability is what a producer asks for before its records are acknowledged.
type Durability uint8

const (
	// DurabilityNone acknowledges when the records were sent.
	DurabilityNone Durability = 0
	// DurabilityLeader acknowledges when the leader has fsynced them.
	DurabilityLeader Durability = 1
	// DurabilityAll acknowledges when every in-sync replica has fsynced them
	// and there are at least min.insync.replicas of those. The default.
	DurabilityAll Durability = 2
	// DurabilityObject acknowledges when they are committed to the object store.
	DurabilityObject Durability = 3
)

var durabilityNames = [...]string{"none", "leader", "all", "object"}

// String is "none", "leader", "all" or "object".
func (d Durability) String() string { return enumName(durabilityNames[:], "Durability", uint8(d)) }

// Valid says whether d is one of the four.
func (d Durability) Valid() bool { return int(d) < len(durabilityNames) }

// Mark is the mark that records must have passed to satisfy d.
func (d Durability) Mark() Mark { return Mark(d) }

// ParseDurability reads what [Durability.String] wrote.
func ParseDurability(s string) (Durability, error) {
	i, ok := enumValue(durabilityNames[:], s)
	if !ok {
		return 0, Errorf(InvalidRequiredAcks, "durability %.40q: want none, leader, all or object", s)
	}
	return Durability(i), nil
}

// Mark is how durable records have become. Marks are ordered: a greater one
// includes the smaller ones.
type Mark uint8

const (
	// MarkNone promises nothing.
	MarkNone Mark = 0
	// MarkLocal is passed by the leader's fsync.
	MarkLocal Mark = 1
	// MarkReplicated is passed by the fsync of every in-sync replica.
	MarkReplicated Mark = 2
	// MarkObject is passed by the commit to the object store.
	MarkObject Mark = 3
)

var markNames = [...]string{"none", "local", "replicated", "object"}

// String is "none", "local", "replicated" or "object".
func (m Mark) String() string { return enumName(markNames[:], "Mark", uint8(m)) }

// Valid says whether m is one of the four.
func (m Mark) Valid() bool { return int(m) < len(markNames) }

// ParseMark reads what [Mark.String] wrote.
func ParseMark(s string) (Mark, error) {
	i, ok := enumValue(markNames[:], s)
	if !ok {
		return 0, Errorf(InvalidRequest, "mark %.40q: want none, local, replicated or object", s)
	}
	return Mark(i), nil
}

// Isolation is how far a reader may see.
type Isolation uint8

const (
	// IsolationCommitted reads up to the high watermark.
	IsolationCommitted Isolation = 0
	// IsolationObject reads only what is committed to the object store.
	IsolationObject Isolation = 1
)

var isolationNames = [...]string{"committed", "object"}

// String is "committed" or "object".
func (i Isolation) String() string { return enumName(isolationNames[:], "Isolation", uint8(i)) }

// Valid says whether i is one of the two.
func (i Isolation) Valid() bool { return int(i) < len(isolationNames) }

// ParseIsolation reads what [Isolation.String] wrote.
func ParseIsolation(s string) (Isolation, error) {
	i, ok := enumValue(isolationNames[:], s)
	if !ok {
		return 0, Errorf(InvalidRequest, "isolation %.40q: want committed or object", s)
	}
	return Isolation(i), nil
}

// enumName is names[v], or "Kind(v)" for a value outside the set.
func enumName(names []string, kind string, v uint8) string {
	if int(v) < len(names) {
		return names[v]
	}
	return kind + "(" + strconv.Itoa(int(v)) + ")"
}

func enumValue(names []string, s string) (uint8, bool) {
	for i, name := range names {
		if name == s {
			return uint8(i), true
		}
	}
	return 0, false
}
