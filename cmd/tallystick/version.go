package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// release is the version that a release was built as (-ldflags "-X main.release=…").
var release string

// versionCmd prints the version.
type versionCmd struct{}

func (versionCmd) Run(p *program) error {
	_, err := fmt.Fprintf(p.Stdout, "tallystick %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// version returns the release, else what the Go tool wrote into the program: the
// module's version, or the commit it was built from.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return buildVersion(info)
}

// buildVersion returns the version that the Go tool made up from the tags and the
// commit, else the commit, else "devel": a build outside a checkout, or without
// version control (-buildvcs=false).
func buildVersion(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	stamped := map[string]string{}
	for _, s := range info.Settings {
		stamped[s.Key] = s.Value
	}
	commit := stamped["vcs.revision"]
	switch {
	case commit == "":
		return "devel"
	case stamped["vcs.modified"] == "true":
		return "commit " + commit + ", modified"
	}
	return "commit " + commit
}
