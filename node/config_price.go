package node

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Price is an amount of money, in the currency of the price table.
type Price float64

// maxPrice is more than anything costs: sums of such prices are finite.
const maxPrice Price = 1e9

// ParsePrice reads a price, such as 0.023.
func ParsePrice(text string) (Price, error) {
	f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) || strings.ContainsAny(text, "xXpP_") {
		return 0, fmt.Errorf("%q is not a price: write a number like 0.023", text)
	}
	return Price(f), nil
}

// String is exact and reads back.
func (p Price) String() string { return strconv.FormatFloat(float64(p), 'f', -1, 64) }
