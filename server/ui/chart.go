package ui

import (
	"fmt"
	"strconv"
	"time"
)

// Units of the growth chart.
const (
	Hours  = "hours"
	Days   = "days"
	Months = "months"
)

// Span is what one growth chart covers: so many whole units up to and with the
// present one.
type Span struct {
	Unit string
	N    int
}

// Spans are the charts that there are.
func Spans() []Span { return []Span{{Hours, 48}, {Days, 90}, {Months, 24}} }

// Boundaries returns the beginnings of the units of a span, the oldest first, and the
// end of the last one: one more than there are units. All are in UTC.
func (s Span) Boundaries(now time.Time) []time.Time {
	now = now.UTC()
	first, step := now.Truncate(time.Hour), func(t time.Time, n int) time.Time { return t.Add(time.Duration(n) * time.Hour) }
	switch s.Unit {
	case Days:
		first, step = now.Truncate(24*time.Hour), func(t time.Time, n int) time.Time { return t.AddDate(0, 0, n) }
	case Months:
		first, step = time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC), func(t time.Time, n int) time.Time { return t.AddDate(0, n, 0) }
	}
	var all []time.Time
	for i := 1 - s.N; i <= 1; i++ {
		all = append(all, step(first, i))
	}
	return all
}

// label names a unit by its beginning.
func (s Span) label(t time.Time) string {
	switch s.Unit {
	case Hours:
		return t.Format("2 Jan 15:04")
	case Days:
		return t.Format("2 Jan 2006")
	}
	return t.Format("January 2006")
}

func (s Span) tick(t time.Time) string {
	switch s.Unit {
	case Hours:
		return t.Format("2 Jan 15:04")
	case Days:
		return t.Format("2 Jan")
	}
	return t.Format("Jan 2006")
}

// Growth is how many entries came in each unit of a span.
type Growth struct {
	Span
	Boundaries []time.Time
	Counts     []int64 // one less than boundaries
}

// chart is a growth chart: bars over a width of 100 %, and of a fixed height, so that it
// fits every screen and its text keeps its size.
type chart struct {
	Unit  string // "hour"
	Units string
	N     int
	Total string
	Max   string
	Half  string // empty if the maximum is odd
	Bars  []bar
	Ticks []tick
	Rows  []row // as a table: units that have entries
	Words string
}

type bar struct {
	X, Width  string // percent
	Y, Height string // pixels
	Title     string
}

type tick struct{ X, Anchor, Text string }

type row struct{ Label, ISO, N string }

// Heights of a chart, in pixels, as the template has them.
const (
	chartTop    = 12
	chartHeight = 150
)

func newChart(g Growth) chart {
	var most, total int64
	for _, n := range g.Counts {
		most, total = max(most, n), total+n
	}
	unit := g.Unit[:len(g.Unit)-1]
	c := chart{Unit: unit, Units: g.Unit, N: g.N, Total: number(total), Max: number(most)}
	if most%2 == 0 {
		c.Half = number(most / 2)
	}
	top := 0
	for i, n := range g.Counts {
		label := g.label(g.Boundaries[i])
		if n > g.Counts[top] {
			top = i
		}
		if n == 0 {
			continue
		}
		words := label + ": " + count(n, "entry", "entries")
		height := max(2, float64(chartHeight)*float64(n)/float64(most))
		c.Bars = append(c.Bars, bar{
			X: percent(float64(i)+0.1, g.N), Width: percent(0.8, g.N),
			Y: pixels(chartTop + chartHeight - height), Height: pixels(height), Title: words,
		})
		c.Rows = append(c.Rows, row{label, g.Boundaries[i].Format(time.RFC3339), number(n)})
	}
	const ticks = 4
	for i := range ticks {
		at := i * (g.N - 1) / (ticks - 1)
		anchor, x := "middle", percent(float64(at)+0.5, g.N)
		switch i {
		case 0:
			anchor, x = "start", "0"
		case ticks - 1:
			anchor, x = "end", "100%"
		}
		c.Ticks = append(c.Ticks, tick{x, anchor, g.tick(g.Boundaries[at])})
	}
	c.Words = fmt.Sprintf("%s in the last %d %s", count(total, "entry", "entries"), g.N, g.Unit)
	if total > 0 {
		c.Words += fmt.Sprintf("; most in one %s: %s (%s)", unit, c.Max, g.label(g.Boundaries[top]))
	}
	return c
}

func percent(n float64, of int) string {
	return strconv.FormatFloat(100*n/float64(of), 'f', 3, 64) + "%"
}

func pixels(n float64) string { return strconv.FormatFloat(n, 'f', 1, 64) }
