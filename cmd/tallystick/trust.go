package main

import (
	"context"
	"fmt"

	"github.com/tallystick/tallystick/trust"
)

// trustCmd writes trust material: whom clients of a log should believe, in the forms that
// they read.
type trustCmd struct {
	Root             trustRootCmd             `cmd:"" help:"Write the Sigstore trusted root (trusted_root.json): the log's keys, and the authorities beside it."`
	SigningConfig    trustSigningConfigCmd    `cmd:"" name:"signing-config" help:"Write the Sigstore signing config: where clients sign."`
	PolicyController trustPolicyControllerCmd `cmd:"" name:"policy-controller" help:"Write the TrustRoot resource for sigstore's policy-controller."`
	Kyverno          trustKyvernoCmd          `cmd:"" help:"Write the part of a Kyverno attestor that names the log."`
	TUF              tufCmd                   `cmd:"" name:"tuf" help:"Make a TUF repository that delivers trusted root and signing config, and keep it fresh."`
}

// sourceHelp says where a command takes its material from.
const sourceHelp = `

Where the log's keys come from: the log's own storage (--data-dir, --storage), as on the machine of a server, which may go on running; or a copy of the public key (--log-key); or, for want of a better way, a running server (--from-server). Nothing is asked over the network but that server.`

// outFlag says where a document goes.
type outFlag struct {
	Out string `name:"out" short:"o" placeholder:"FILE" help:"Write to this file, instead of to standard output."`
}

// write writes a document: to the file, or to standard output.
func (f *outFlag) write(p *program, document []byte) error {
	if f.Out == "" || f.Out == "-" || f.Out == "/dev/stdout" {
		_, err := p.Stdout.Write(document)
		return err
	}
	if err := writeDocument(f.Out, document); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return nil
}

// trustRootCmd writes a trusted root.
type trustRootCmd struct {
	trustSource
	outFlag
}

// Help says what it is for.
func (c *trustRootCmd) Help() string {
	return `Give it to those who verify: cosign --trusted-root, sigstore-go, sigstore-python and -js, tallystick verify. A server hands out the same at /trusted-root.json.` + sourceHelp
}

// Run writes the trusted root.
func (c *trustRootCmd) Run(ctx context.Context, p *program) error {
	m, err := c.material(ctx, p)
	if err != nil {
		return err
	}
	document, err := trust.Root(m)
	if err != nil {
		return fmt.Errorf("making the trusted root: %v", err) // a failure, not a refusal: nothing was judged
	}
	return c.write(p, document)
}

// trustSigningConfigCmd writes a signing config.
type trustSigningConfigCmd struct {
	logURL
	serviceSettings
	outFlag
}

// Help says what it is for.
func (c *trustSigningConfigCmd) Help() string {
	return `Give it to those who sign: cosign --signing-config. A server hands out the same at /signing-config.json. It holds URLs only.`
}

// Run writes the signing config.
func (c *trustSigningConfigCmd) Run(p *program) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	document, err := c.signingConfig(url)
	if err != nil {
		return usageError{err}
	}
	return c.write(p, document)
}

// trustPolicyControllerCmd writes a TrustRoot.
type trustPolicyControllerCmd struct {
	trustSource
	Name string `name:"name" default:"tallystick" help:"Name of the resource, for trustRootRef of a ClusterImagePolicy."`
	outFlag
}

// Help says what it is for.
func (c *trustPolicyControllerCmd) Help() string {
	return `Apply it (kubectl apply -f), and name it in a ClusterImagePolicy: authorities[].ctlog.trustRootRef and keyless.trustRootRef. Give no authority rfc3161timestamp: policy-controller (0.13) then does not look at the log, whatever ctlog says.` + sourceHelp
}

// Run writes the TrustRoot.
func (c *trustPolicyControllerCmd) Run(ctx context.Context, p *program) error {
	m, err := c.material(ctx, p)
	if err != nil {
		return err
	}
	document, err := trust.PolicyController(m, c.Name)
	if err != nil {
		return fmt.Errorf("making the TrustRoot: %v", err)
	}
	if trust.WithoutAuthority(m) {
		fmt.Fprintln(p.Stderr, "notice: policy-controller's webhook refuses a TrustRoot that has neither a certificate nor a timestamp authority (its tester takes it); add one with --fulcio-chain or --tsa-chain")
	}
	return c.write(p, document)
}

// trustKyvernoCmd writes a part of a Kyverno policy.
type trustKyvernoCmd struct {
	trustSource
	outFlag
}

// Help says what it is for.
func (c *trustKyvernoCmd) Help() string {
	return `Put it into an attestor of a ClusterPolicy (verifyImages[].attestors[].entries[].keys or .keyless, of type Cosign), beside publicKeys or issuer and subject. "roots", which is there with --fulcio-chain, is for keyless attestors only. Policies of type SigstoreBundle and ImageValidatingPolicies take the log's key from a TUF repository: see tallystick trust tuf.` + sourceHelp
}

// Run writes the part.
func (c *trustKyvernoCmd) Run(ctx context.Context, p *program) error {
	m, err := c.material(ctx, p)
	if err != nil {
		return err
	}
	url, err := c.publicURL()
	if err != nil {
		return err
	}
	document, err := trust.Kyverno(m, url)
	if err != nil {
		return fmt.Errorf("making the part of a policy: %v", err)
	}
	return c.write(p, document)
}
