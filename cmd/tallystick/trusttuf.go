package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/tallystick/tallystick/trust"
	"github.com/tallystick/tallystick/trust/tufrepo"
	"github.com/tallystick/tallystick/verify"
)

// tufCmd makes TUF repositories.
type tufCmd struct {
	Init    tufInitCmd    `cmd:"" help:"Make a TUF repository, and the keys that sign it."`
	Refresh tufRefreshCmd `cmd:"" help:"Sign again what is going to expire, and deliver new files or keys."`
}

// tufFlags are those of both commands.
type tufFlags struct {
	TUFDir        string `name:"tuf-dir" placeholder:"DIR" required:"" group:"material" help:"The repository: serve hands it out at /tuf/ (--tuf-dir), and so can any web server."`
	Keys          string `name:"tuf-keys" placeholder:"DIR" required:"" help:"Folder of the keys (PEM, NAME.key), outside of the repository, for nobody to fetch."`
	TrustedRoot   string `name:"trusted-root" placeholder:"FILE" help:"Trusted root to deliver, as tallystick trust root writes it."`
	SigningConfig string `name:"signing-config" placeholder:"FILE" help:"Signing config to deliver, as tallystick trust signing-config writes it."`
	RootDays      int    `name:"root-days" default:"365" help:"How many days a root is valid."`
	TargetsDays   int    `name:"targets-days" default:"365" help:"How many days the list of files is valid."`
	SnapshotDays  int    `name:"snapshot-days" default:"30" help:"How many days a snapshot is valid."`
	TimestampDays int    `name:"timestamp-days" default:"30" help:"How many days a timestamp is valid: clients stop that long after the last refresh."`
}

// maxDays is the longest that something is valid.
const maxDays = 3650

// repository returns the repository at this moment.
func (f *tufFlags) repository() (tufrepo.Repository, error) {
	r := tufrepo.Repository{Dir: f.TUFDir, Keys: f.Keys, Now: time.Now()}
	for _, x := range []struct {
		flag string
		days int
		to   *time.Duration
	}{
		{"--root-days", f.RootDays, &r.Lifetimes.Root}, {"--targets-days", f.TargetsDays, &r.Lifetimes.Targets},
		{"--snapshot-days", f.SnapshotDays, &r.Lifetimes.Snapshot}, {"--timestamp-days", f.TimestampDays, &r.Lifetimes.Timestamp},
	} {
		if x.days < 1 || x.days > maxDays {
			return r, usageError{fmt.Errorf("%s %d is not between 1 and %d", x.flag, x.days, maxDays)}
		}
		*x.to = time.Duration(x.days) * 24 * time.Hour
	}
	return r, nil
}

// targets reads the files to deliver; nil if none were named.
func (f *tufFlags) targets() ([]trust.Target, error) {
	if f.TrustedRoot == "" && f.SigningConfig == "" {
		return nil, nil
	}
	if f.TrustedRoot == "" || f.SigningConfig == "" {
		return nil, usageError{errors.New("--trusted-root and --signing-config go together: clients want both")}
	}
	root, err := readLimited(f.TrustedRoot, verify.MaxTrustedRoot)
	if err != nil {
		return nil, fmt.Errorf("--trusted-root: %w", err)
	}
	signing, err := readLimited(f.SigningConfig, verify.MaxTrustedRoot)
	if err != nil {
		return nil, fmt.Errorf("--signing-config: %w", err)
	}
	targets, err := trust.Targets(root, signing)
	if err != nil {
		return nil, fmt.Errorf("--trusted-root %s, --signing-config %s: %v", f.TrustedRoot, f.SigningConfig, err)
	}
	return targets, nil
}

// tufInitCmd makes a repository.
type tufInitCmd struct {
	tufFlags
	RootThreshold int `name:"root-threshold" default:"1" help:"How many keys have to sign a root. As many are made."`
}

// Help says what to do with what it makes.
func (c *tufInitCmd) Help() string {
	return `Clients get root.json once, from somebody whom they trust, and everything else from the repository, for as long as it is refreshed: cosign initialize --mirror URL --root root.json. Besides the two files it delivers their keys and certificates one by one, for older clients.

The keys of root and targets sign seldom: move them to where no server reaches them, and bring them back when a refresh asks for them. Those of snapshot and timestamp are for a job that runs tallystick trust tuf refresh once a week, say.`
}

// Run makes the repository.
func (c *tufInitCmd) Run(p *program) error {
	r, err := c.repository()
	if err != nil {
		return err
	}
	targets, err := c.targets()
	if err != nil {
		return err
	}
	if targets == nil {
		return usageError{errors.New("say what the repository is to deliver: --trusted-root FILE --signing-config FILE")}
	}
	state, err := r.Init(targets, c.RootThreshold)
	if err != nil {
		return err
	}
	p.printTUF(c.TUFDir, state)
	fmt.Fprintf(p.Stdout, "\nFor clients, once: %s\nTo be kept offline: the keys root*.key and targets.key in %s\n", filepath.Join(c.TUFDir, "root.json"), c.Keys)
	return nil
}

// tufRefreshCmd refreshes a repository.
type tufRefreshCmd struct {
	tufFlags
	Rotate []string `name:"rotate" placeholder:"ROLE" help:"Make new keys for root, targets, snapshot or timestamp, and stop clients from believing the old ones; can be repeated."`
}

// Help says when to run it.
func (c *tufRefreshCmd) Help() string {
	return `Run it regularly, more often than every --timestamp-days/2. What has used up half of its days is signed again, if its keys are there; what is due and cannot be signed is told. Give the same days as to init. Nothing is written if there is nothing to do.

--trusted-root and --signing-config replace the files that are delivered, and need the key of targets; --rotate needs those of root.`
}

// Run refreshes the repository.
func (c *tufRefreshCmd) Run(p *program) error {
	r, err := c.repository()
	if err != nil {
		return err
	}
	targets, err := c.targets()
	if err != nil {
		return err
	}
	state, err := r.Refresh(tufrepo.Change{Targets: targets, Rotate: c.Rotate})
	if err != nil {
		return err
	}
	p.printTUF(c.TUFDir, state)
	return nil
}

// printTUF says what a repository says now.
func (p *program) printTUF(dir string, state *tufrepo.State) {
	for _, k := range state.Keys {
		fmt.Fprintf(p.Stdout, "made the key %s\n", k)
	}
	if len(state.Written) > 0 {
		fmt.Fprintf(p.Stdout, "wrote in %s: %s\n", dir, strings.Join(state.Written, ", "))
	}
	for _, r := range state.Roles {
		fmt.Fprintf(p.Stdout, "%-9s version %d, valid until %s\n", r.Role, r.Version, r.Expires.Format(time.DateOnly))
	}
	for _, r := range state.Roles {
		if r.Due {
			fmt.Fprintf(p.Stderr, "notice: %s should be signed again before %s; bring its keys, and refresh\n", r.Role, r.Expires.Format(time.DateOnly))
		}
	}
}
