package node

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes, written like 64MiB: B, KiB, MiB, GiB and TiB are
// powers of 1,024; KB, MB, GB and TB are powers of 1,000; a bare number is
// bytes. It is never negative.
type Size int64

// The binary units.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

// sizeUnits is sorted so that the first exact divisor prints shortest.
var sizeUnits = [...]struct {
	suffix string
	bytes  Size
}{
	{"TiB", TiB},
	{"GiB", GiB},
	{"MiB", MiB},
	{"KiB", KiB},
	{"TB", 1e12},
	{"GB", 1e9},
	{"MB", 1e6},
	{"KB", 1e3},
	{"B", 1},
}

// ParseSize reads a size; letters may be of either case, a fraction is taken
// ("1.5GiB"), and the result is rounded down to whole bytes.
func ParseSize(text string) (Size, error) {
	number, unit := strings.TrimSpace(text), Size(1)
	for _, u := range sizeUnits {
		cut := len(number) - len(u.suffix)
		if cut > 0 && strings.EqualFold(number[cut:], u.suffix) {
			number, unit = strings.TrimSpace(number[:cut]), u.bytes
			break
		}
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		if n < 0 || n > math.MaxInt64/int64(unit) {
			return 0, fmt.Errorf("size %q is out of range: at most 8388607TiB, not negative", text)
		}
		return Size(n) * unit, nil
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) || strings.ContainsAny(number, "xXpPeE_") {
		return 0, fmt.Errorf("%q is not a size: write it like 64MiB", text)
	}
	f *= float64(unit)
	if f < 0 || f >= math.MaxInt64 {
		return 0, fmt.Errorf("size %q is out of range: at most 8388607TiB, not negative", text)
	}
	return Size(f), nil
}

// String is exact and reads back: the largest binary unit that divides s, or
// bytes.
func (s Size) String() string {
	for _, u := range sizeUnits[:4] {
		if s >= u.bytes && s%u.bytes == 0 {
			return strconv.FormatInt(int64(s/u.bytes), 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// Bytes is s as a plain number.
func (s Size) Bytes() int64 { return int64(s) }
