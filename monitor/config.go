package monitor

import (
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tallystick/tallystick/verify"
)

// Config is what a rules file says.
type Config struct {
	// Logs are those to watch, in the file's order. May be empty: see ParseOptions.Own.
	Logs []Log
	// Rules are what to look for in them.
	Rules *Rules
}

// Log is a log to watch.
type Log struct {
	// Name is what the log is called in alerts, files and metrics: 1 to 63 of a-z, 0-9 and "-", not at the ends.
	Name string
	// URL is where its API is.
	URL string
	// Trust is in the keys of this one log (see client.Narrow).
	Trust *verify.Trust
	// FromNow: entries that are there at the start are not searched. The tree is watched all the same.
	FromNow bool
	// MaxSilence is how long the log may stay as it is. 0: for ever.
	MaxSilence time.Duration
	// MaxLag is how long entries may wait to be read. Default DefaultMaxLag.
	MaxLag time.Duration
	// MaxUnreachable is how long the log may be away. Default DefaultMaxUnreachable.
	MaxUnreachable time.Duration
	// Receipts are promises of the log that others were given: it has to hold these entries.
	Receipts []Receipt
}

// Defaults of Log.
const (
	DefaultMaxLag         = time.Hour
	DefaultMaxUnreachable = 15 * time.Minute
)

// ParseOptions are what rules are read with.
type ParseOptions struct {
	// Read returns the content of a file that the rules name, of at most limit bytes.
	Read func(path string, limit int64) ([]byte, error)
	// Own is the name of a log that the caller watches besides those in the file ("" for none), so that
	// rules can name it. Without it, the file has to have logs.
	Own string
	// Fields are further fields at the top of the file, and who reads them. A field that is not in the file is not read.
	Fields map[string]func(*yaml.Node) error
}
