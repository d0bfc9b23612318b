package ui

import (
	"fmt"
	"strings"

	"rsc.io/qr"
)

// code is a QR code as an SVG path of unit squares.
type code struct {
	Size int // with the quiet zone
	Path string
}

// quiet is the light border that readers of QR codes need, in squares (ISO/IEC
// 18004, section 9.1).
const quiet = 4

// newCode returns nil if the text is too long.
func newCode(text string) *code {
	c, err := qr.Encode(text, qr.L)
	if err != nil {
		return nil
	}
	var path strings.Builder
	for y := range c.Size {
		for x := 0; x < c.Size; x++ {
			run := 0
			for x+run < c.Size && c.Black(x+run, y) {
				run++
			}
			if run > 0 {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", x+quiet, y+quiet, run, run)
				x += run
			}
		}
	}
	return &code{c.Size + 2*quiet, path.String()}
}
