package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"

	"github.com/tallystick/tallystick/entry"
)

// Exit codes of the program.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitDamage  = 3 // check found damage
	exitRefused = 3 // something was to be proved, and does not hold (see refused)
	exitAlerts  = 3 // monitor --once found something
)

// program is the whole program as a value: what it takes from the process, so that
// a test can run it, or two of it, on its own.
type program struct {
	Env            map[string]string
	Stdout, Stderr io.Writer
	Hangup         <-chan os.Signal // asks serve to read its TLS certificate again; may be nil
	// Settle is for how long a policy of admit has to stay as it is before it is used; 0 stands for a second.
	Settle time.Duration
}

// commands is the command line.
type commands struct {
	Config string `placeholder:"FILE" help:"YAML file with settings, named as the flags are. Flags and environment variables come before it."`

	Serve       serveCmd                  `cmd:"" help:"Run a transparency log."`
	Upload      uploadCmd                 `cmd:"" help:"Log signatures, attestations or entries."`
	Get         getCmd                    `cmd:"" help:"Print an entry of a log."`
	Search      searchCmd                 `cmd:"" help:"Find entries of a log."`
	Proof       proofCmd                  `cmd:"" help:"Prove that a log holds an entry, or extends what it was."`
	Log         logCmd                    `cmd:"" help:"Print the state of a log, and hold it to what was seen before."`
	Verify      verifyCmd                 `cmd:"" help:"Verify a signature or attestation, offline."`
	Monitor     monitorCmd                `cmd:"" help:"Watch logs: that they do not rewrite their past, and what is signed in them."`
	Admit       admitCmd                  `cmd:"" help:"Run an admission server for Kubernetes: only images whose signatures a log holds may run."`
	Check       checkCmd                  `cmd:"" help:"Read a whole log again and compare everything with everything."`
	Migrate     migrateCmd                `cmd:"" help:"Bring the database's schema up to date; serve does it too."`
	Trust       trustCmd                  `cmd:"" help:"Write down whom clients should believe: trusted root, signing config, resources for admission controllers, TUF."`
	Healthcheck healthcheckCmd            `cmd:"" help:"Ask a running server whether it can write; for containers."`
	Version     versionCmd                `cmd:"" help:"Print the version."`
	Completion  kongcompletion.Completion `cmd:"" help:"Print how to switch on tab completion for bash, zsh or fish."`
}

const description = `A transparency log that you run yourself; it speaks to cosign, rekor-cli and every other Rekor v1 client.

A setting is taken from its flag, else from its environment variable (TALLYSTICK_ and the flag's name; an empty one counts as absent), else from the --config file, else it has its default.`

// groups are the headings of the help, in order.
func groups() []kong.Group {
	return []kong.Group{
		{Key: "trust", Title: "Log and whom to believe:"},
		{Key: "identity", Title: "Identity and key of the log:"},
		{Key: "storage", Title: "Storage:"},
		{Key: "network", Title: "Network:"},
		{Key: "material", Title: "Trust material that clients get:"},
		{Key: "policy", Title: "What is accepted:"},
		{Key: "monitor", Title: "Monitor:"},
		{Key: "limits", Title: "Limits:"},
		{Key: "timeouts", Title: "Timeouts:"},
		{Key: "output", Title: "Output:"},
	}
}

// exitRequest unwinds to Run when kong wants the process to end, after --help say.
type exitRequest int

// usageError is a wrong flag or setting that kong could not see.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// errDamage says that check ran and found damage, which it has printed.
var errDamage = errors.New("damage found")

// Run parses args, runs the command and returns the exit code. It returns when the
// command has ended; the end of ctx asks it to end gracefully.
func (p *program) Run(ctx context.Context, args []string) (code int) {
	defer func() {
		if r := recover(); r != nil {
			request, ok := r.(exitRequest)
			if !ok {
				panic(r)
			}
			code = int(request)
		}
	}()
	err := p.run(ctx, args)
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errDamage):
		return exitDamage
	case errors.Is(err, errAlerts):
		return exitAlerts
	}
	// Strangers wrote a part of it, servers say.
	fmt.Fprintf(p.Stderr, "tallystick: %s\n", cleanLines(err.Error()))
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case refused(err):
		return exitRefused
	}
	return exitFailure
}

func (p *program) run(ctx context.Context, args []string) error {
	src := &sources{env: p.Env}
	var cmds commands
	parser, err := p.parser(&cmds, src)
	if err != nil {
		return err
	}
	if p.Env["COMP_LINE"] != "" {
		kongcompletion.Register(parser)
	}
	if err := src.loadFile(parser, args); err != nil {
		return usageError{err}
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return usageError{err}
	}
	for _, name := range src.strangers(parser) {
		fmt.Fprintf(p.Stderr, "tallystick: environment variable %s names no setting and is not used\n", name)
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	return parsed.Run(p, src)
}

func (p *program) parser(cmds *commands, src *sources) (*kong.Kong, error) {
	return kong.New(cmds,
		kong.Name("tallystick"),
		kong.Description(description),
		kong.Writers(p.Stdout, p.Stderr),
		kong.Exit(func(code int) { panic(exitRequest(code)) }),
		kong.ExplicitGroups(groups()),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.ValueFormatter(withVariable),
		kong.Resolvers(src),
		kong.Vars{"kinds": strings.Join(entry.Kinds(), ",")},
	)
}

// withVariable adds the environment variable to a flag's help.
func withVariable(v *kong.Value) string {
	if v.Flag == nil || !settable(v.Flag) {
		return v.Help
	}
	return strings.TrimSuffix(v.Help, ".") + " ($" + variable(v.Flag.Name) + ")."
}
