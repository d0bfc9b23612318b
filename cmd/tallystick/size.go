package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// size is a number of bytes, written as "4MiB", "64KiB", "1GiB" or plain "4096".
type size int64

type unit struct {
	name  string
	bytes int64
}

// units returns the units, largest first, so that String finds the shortest form.
func units() []unit { return []unit{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} }

// UnmarshalText reads a size. Only powers of two have names: what "4MB" means is
// not the same to everybody.
func (s *size) UnmarshalText(text []byte) error {
	digits, factor := string(text), int64(1)
	for _, u := range units() {
		if d, ok := strings.CutSuffix(digits, u.name); ok {
			digits, factor = strings.TrimSpace(d), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return fmt.Errorf("%q is not a size such as 4MiB, 64KiB or 4096", text)
	}
	*s = size(n * factor)
	return nil
}

func (s size) String() string {
	for _, u := range units() {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
