package ui

import "time"

// stamp is a time as pages show it.
type stamp struct {
	ISO   string // for machines
	Words string // "23 November 2026, 05:19:06 UTC"
	Short string // "23 Nov 2026, 05:19 UTC"
	Ago   string // "3 minutes ago"
}

func newStamp(t, now time.Time) stamp {
	t = t.UTC()
	return stamp{t.Format(time.RFC3339), t.Format("2 January 2006, 15:04:05 UTC"), t.Format("2 Jan 2006, 15:04 UTC"), ago(t, now)}
}

// ago says how long t was before now, in the largest unit that fits.
func ago(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case d < -time.Minute:
		return "in the future"
	case d < time.Second:
		return "just now"
	}
	return span(d) + " ago"
}

// span says how long a time is, in the largest unit that fits.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	for _, u := range []struct {
		d         time.Duration
		one, many string
	}{
		{365 * day, "year", "years"}, {30 * day, "month", "months"}, {day, "day", "days"},
		{time.Hour, "hour", "hours"}, {time.Minute, "minute", "minutes"},
	} {
		if d >= u.d {
			return count(int64(d/u.d), u.one, u.many)
		}
	}
	return count(int64(d/time.Second), "second", "seconds")
}
