// Command tallystick runs a transparency log and looks after it.
//
// Exit codes: 0, done; 1, failed; 2, wrong flags or settings, nothing was tried;
// 3, check found damage, the monitor something to tell, or something that was to
// be proved does not hold.
//
// This is the only place that reads flags, the environment and the configuration
// file. Everything below gets typed values.
package main

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	go endOnSignal(stop, cancel)
	p := program{Env: environment(os.Environ()), Stdout: os.Stdout, Stderr: os.Stderr, Hangup: hangup}
	os.Exit(p.Run(ctx, os.Args[1:]))
}

// endOnSignal asks for a graceful stop at the first signal and stops at the second:
// what was acknowledged is on stable storage at any moment.
func endOnSignal(signals <-chan os.Signal, stop context.CancelFunc) {
	<-signals
	stop()
	<-signals
	os.Exit(exitFailure)
}

func environment(list []string) map[string]string {
	env := make(map[string]string, len(list))
	for _, kv := range list {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	return env
}
