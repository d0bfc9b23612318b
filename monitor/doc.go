// Package monitor watches transparency logs that speak the Rekor v1 API: that they do not rewrite their
// past, and what is signed in them.
//
// A [Monitor] watches one log. Each [Monitor.Round] reads the log's checkpoints; each has to be signed by the pinned key
// and to extend the one that was verified before. Then every new entry is read: its signed
// entry timestamp has to be the log's, and its leaf hash goes into a tree whose root
// hash has to be the one that the log signed. So what was searched is what was signed. What the
// rules ask for, and whatever does not hold, becomes an [Alert] in a journal:
//
//	config, err := monitor.ParseRules(data, monitor.ParseOptions{Read: readFile})
//	m, err := monitor.Open(config.Logs[0], monitor.Options{Dir: dir, Rules: config.Rules})
//	defer m.Close()
//	for {
//		report, err := m.Round(ctx)     // err: of this machine, or ctx; what the log does is in the journal
//		…                               // deliver m.Alerts(cursor) …, m.SetCursor
//		if !report.More { wait }
//	}
//
// # What is kept
//
// A directory holds, for each log, a state file, a journal, evidence and cursors. The state says what was verified, how far
// entries were read, and how long the journal is; it is replaced as a whole, after
// the alerts are durable. What is in the journal beyond that length was written by a round that did not
// get to its end: it is cut off at the next start, and the round repeated. So each alert is in
// the journal once, whenever the process is killed. Alert IDs do not depend on when
// something is found, so that receivers can drop what is delivered to them twice.
//
// # What it does not see
//
// A log that shows this monitor one history and others another one, for ever, is not caught by any one monitor. Give it what others got
// from the log ([Log.Receipts]), and compare its checkpoints with theirs. The names in a
// certificate are what somebody wrote there: no authority vouched for them as far as this package
// looks. An alert about one may be a false one; no alert is missing because of it.
package monitor
