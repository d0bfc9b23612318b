package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"

	"github.com/tallystick/tallystick/monitor/notify"
)

// lineSink prints alerts as lines of JSON, as they are in the journal, but for characters that a terminal would obey.
type lineSink struct {
	mu    sync.Mutex
	w     io.Writer
	found int // alerts that were printed, but for those that end an alarm
}

// Name implements notify.Sink.
func (s *lineSink) Name() string { return "stdout" }

// Most implements notify.Sink.
func (s *lineSink) Most() int { return 1000 }

// Deliver implements notify.Sink.
func (s *lineSink) Deliver(_ context.Context, alerts []notify.Delivery) error {
	var lines bytes.Buffer
	found := 0
	for i := range alerts {
		lines.Write(escapeControls(alerts[i].JSON))
		lines.WriteByte('\n')
		if alerts[i].Alert.Ends == "" {
			found++
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.w.Write(lines.Bytes())
	if err == nil {
		s.found += found
	}
	return err
}

// logSink writes alerts to the program's log.
type logSink struct{ logger *slog.Logger }

// Name implements notify.Sink.
func (s logSink) Name() string { return "log" }

// Most implements notify.Sink.
func (s logSink) Most() int { return 100 }

// Deliver implements notify.Sink.
func (s logSink) Deliver(ctx context.Context, alerts []notify.Delivery) error {
	for i := range alerts {
		a := &alerts[i].Alert
		fields := []any{"alert", a.ID, "kind", string(a.Kind), "about", clean(a.Text)}
		if a.Match != nil {
			fields = append(fields, "rule", a.Match.Rule, "logIndex", a.Match.LogIndex)
		}
		if a.Evidence != "" {
			fields = append(fields, "evidence", a.Evidence)
		}
		level := slog.LevelWarn
		switch {
		case a.Ends != "":
			level = slog.LevelInfo
		case a.Match == nil:
			level = slog.LevelError
		}
		s.logger.Log(ctx, level, "the monitor found something", fields...)
	}
	return nil
}
