package mq

// Compression is the codec of a batch's records, in Kafka's numbers (bits 0-2
// of the attributes).
type Compression uint8

// The codecs.
const (
	CompressionNone   Compression = 0
	CompressionGzip   Compression = 1
	CompressionSnappy Compression = 2 // written raw; raw and xerial framing are read
	CompressionLZ4    Compression = 3 // the LZ4 frame format
	CompressionZstd   Compression = 4
)

var compressionNames = [...]string{"none", "gzip", "snappy", "lz4", "zstd"}

// String is "none", "gzip", "snappy", "lz4" or "zstd".
func (c Compression) String() string { return enumName(compressionNames[:], "Compression", uint8(c)) }

// Valid says whether c is one of the five.
func (c Compression) Valid() bool { return int(c) < len(compressionNames) }

// ParseCompression reads what [Compression.String] wrote.
func ParseCompression(s string) (Compression, error) {
	i, ok := enumValue(compressionNames[:], s)
	if !ok {
		return 0, Errorf(UnsupportedCompression, "compression %.40q: want none, gzip, snappy, lz4 or zstd", s)
	}
	return Compression(i), nil
}
