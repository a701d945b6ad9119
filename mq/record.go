package mq

// Header is one header of a record. Keys may repeat.
type Header struct {
	Key   string
	Value []byte // nil is null, which differs from empty
}

// Record is one record as applications see it.
type Record struct {
	Key     []byte // nil is null, which differs from empty
	Value   []byte // nil is null, which differs from empty
	Headers []Header

	// Timestamp is in Unix milliseconds.
	Timestamp int64

	// Offset is where the record lies in its partition. A builder ignores it.
	Offset Offset
}
