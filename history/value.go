package history

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/rustmq/rustmq/mq"
)

const (
	valueHead = 24
	// MinValueBytes is the size of the smallest value.
	MinValueBytes = valueHead + 4
)

var (
	valueMagic = []byte("RMQv")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// appendValue appends the value of a send: size bytes, MinValueBytes at least.
func appendValue(dst []byte, run, number uint64, partition int32, size int) []byte {
	begin := len(dst)
	dst = append(dst, valueMagic...)
	dst = binary.BigEndian.AppendUint64(dst, run)
	dst = binary.BigEndian.AppendUint64(dst, number)
	dst = binary.BigEndian.AppendUint32(dst, uint32(partition))
	for word := number | 1; len(dst)-begin < size-4; word = word*6364136223846793005 + 1442695040888963407 {
		var fill [8]byte
		binary.BigEndian.PutUint64(fill[:], word)
		dst = append(dst, fill[:min(8, size-4-(len(dst)-begin))]...)
	}
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[begin:], castagnoli))
}

// parseValue says which send of a run a value is of. The error is CorruptMessage for one that is not what was sent, InvalidRecord for one of another
// run.
func parseValue(value []byte, run uint64) (number uint64, partition int32, err error) {
	if len(value) < MinValueBytes || !bytes.Equal(value[:4], valueMagic) {
		return 0, 0, mq.Errorf(mq.InvalidRecord, "a value of %d bytes that this workload did not make", len(value))
	}
	body, sum := value[:len(value)-4], binary.BigEndian.Uint32(value[len(value)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return 0, 0, mq.Errorf(mq.CorruptMessage, "a value of %d bytes whose checksum is wrong", len(value))
	}
	if got := binary.BigEndian.Uint64(value[4:]); got != run {
		return 0, 0, mq.Errorf(mq.InvalidRecord, "a value of run %x, this is run %x", got, run)
	}
	return binary.BigEndian.Uint64(value[12:]), int32(binary.BigEndian.Uint32(value[20:])), nil
}
