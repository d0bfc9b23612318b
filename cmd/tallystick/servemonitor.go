package main

import (
	"context"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/tallystick/tallystick/client"
	"github.com/tallystick/tallystick/monitor"
	"github.com/tallystick/tallystick/server"
	"github.com/tallystick/tallystick/server/ui"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

// ownName is what the server's own log is called in rules, alerts and metrics.
const ownName = "self"

// A server's own monitor reads by one goroutine, and rests as long as it works, so that it takes half a processor at most.
const (
	ownLeaves = 256  // at once
	ownRound  = 4096 // entries
)

// readOwnRules reads the rules of a server's own monitor. There are no other logs in them.
func (p *program) readOwnRules(path string) (*rulesFile, error) {
	rules, err := p.readRules(path, ownName)
	if err == nil && len(rules.Logs) > 0 {
		err = usageError{fmt.Errorf("the rules %s name logs: a server watches its own log only, which is called %q; others are for tallystick monitor", path, ownName)}
	}
	return rules, err
}

// openMonitor opens the monitor, if there is to be one.
func (s *service) openMonitor() error {
	if s.rules == nil {
		return nil
	}
	tree := s.log.Tree()
	trust, err := verify.TrustLogKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: tree.PublicKey}))
	if err != nil {
		return fmt.Errorf("the monitor: %v", err)
	}
	dir := s.settings.DataDir
	if s.scratch != "" {
		dir = s.scratch
	}
	s.watch = &watch{logger: s.logger, interval: s.settings.MonitorInterval, gentle: true, rules: s.rules}
	s.later("closing the monitor", s.watch.close)
	log := monitor.Log{Name: ownName, URL: s.url, Trust: trust}
	o := monitor.Options{Dir: filepath.Join(dir, "monitor"), Source: ownLog{s.log}, NoSETs: true, Parallel: 1, MaxLeaves: ownLeaves, RoundEntries: ownRound}
	if err := s.watch.open(log, o, logSink{s.logger}); err != nil {
		return fmt.Errorf("the monitor: %w", err)
	}
	s.registry.MustRegister(s.watch.metrics())
	return nil
}

// Status implements server.MonitorStatus. Everybody may see it: it has no names of files.
func (w *watch) Status() ui.Monitor {
	var out ui.Monitor
	for _, l := range w.logs {
		s := l.Monitor.Status()
		for i := range s.Trees {
			out.Size += s.Trees[i].Read
		}
		out.Checked = s.LastRound
		out.Matches += s.Raised[monitor.KindMatch]
		out.Alarms += int64(len(s.Active))
		switch {
		case len(s.Active) > 0:
			out.Problem = s.Active[0].Text
		case l.failure.Load() != nil:
			out.Problem = "what it finds cannot be kept; the server's log says why"
		case s.Trouble != "":
			out.Problem = "the last round did not get to its end; the server's log says why"
		}
	}
	return out
}

// ownLog is the server's log as its monitor reads it: as stored, without a request. It does not ask for signed entry
// timestamps, which the server would have to sign.
type ownLog struct{ log server.Log }

var _ monitor.Source = ownLog{}

// Trees implements monitor.Source.
func (o ownLog) Trees(ctx context.Context) ([]client.RawTree, error) {
	v, err := o.log.View(ctx)
	if err != nil {
		return nil, err
	}
	return []client.RawTree{{ID: strconv.FormatInt(o.log.Tree().ID, 10), Head: v.Head, Signed: v.Checkpoint}}, nil
}

// ConsistencyPath implements monitor.Source.
func (o ownLog) ConsistencyPath(ctx context.Context, tree, first, second int64) ([]tlog.Hash, error) {
	if first == 0 || first == second {
		return nil, nil
	}
	v, err := o.log.View(ctx)
	if err != nil {
		return nil, err
	}
	if tree != o.log.Tree().ID || first > second || second > v.Size {
		return nil, fmt.Errorf("tree %d is not there at the sizes %d and %d: %w", tree, first, second, client.ErrNotFound)
	}
	return v.Consistency(ctx, first, second)
}

// Leaves implements monitor.Source.
func (o ownLog) Leaves(ctx context.Context, from, to int64) ([]client.RawLeaf, error) {
	base := o.log.Tree().BaseIndex
	if from < base || to <= from {
		return nil, fmt.Errorf("there are no leaves %d to %d: %w", from, to-1, client.ErrNotFound)
	}
	stored, err := o.log.Leaves(ctx, from-base, int(to-from))
	if err != nil {
		return nil, err
	}
	id := tlog.LogID(o.log.Tree().PublicKey).String()
	all := make([]client.RawLeaf, 0, to-from)
	for i := range stored {
		all = append(all, client.RawLeaf{LogID: id, LogIndex: base + stored[i].Index, IntegratedTime: stored[i].Time, Body: stored[i].Body})
	}
	if int64(len(all)) < to-from {
		return all, fmt.Errorf("entry %d: %w", from+int64(len(all)), client.ErrNotFound)
	}
	return all, nil
}

// Entry implements monitor.Source.
func (o ownLog) Entry(ctx context.Context, index int64) (*verify.Entry, error) {
	leaves, err := o.Leaves(ctx, index, index+1)
	if err != nil {
		return nil, err
	}
	v, err := o.log.View(ctx)
	if err != nil {
		return nil, err
	}
	at := index - o.log.Tree().BaseIndex
	if at >= v.Size {
		return nil, fmt.Errorf("entry %d: %w", index, client.ErrNotFound)
	}
	path, err := v.Inclusion(ctx, at)
	if err != nil {
		return nil, err
	}
	id := tlog.LogID(o.log.Tree().PublicKey)
	return &verify.Entry{LogID: id[:], LogIndex: index, IntegratedTime: leaves[0].IntegratedTime, Body: leaves[0].Body,
		Proof: &verify.InclusionProof{Index: at, Head: v.Head, Path: path, Checkpoint: v.Checkpoint}}, nil
}
