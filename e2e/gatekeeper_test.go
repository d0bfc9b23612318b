//go:build kubernetes

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os/exec"
	"slices"
	"testing"
)

// Gatekeeper's own code asks `tallystick admit`, as an external data provider, to verify images in a constraint, and to
// pin them in a mutation.
func TestGatekeeper(t *testing.T) {
	a := newAdmission(t)
	// Gatekeeper shows a certificate, and who has none gets no answer.
	a.server.stop()
	a.server.command = append(a.server.command, "--client-ca", a.path("ca.crt"), "--provider-timeout=30s")
	a.server.start()
	crt, key := a.ca.server(a.shell, "gatekeeper")
	g := &gatekeeper{a, args(tool(t, "gatekeeper-v3.23.1", "gatekeeper"), "-cert", crt, "-key", key)}
	nobody := &gatekeeper{a, args(tool(t, "gatekeeper-v3.23.1", "gatekeeper"))}
	provider := func(url, timeout string) {
		a.file("provider.yaml", deployed(t, "gatekeeper/provider.yaml", "https://tallystick-admit.tallystick.svc:443", url, "CABUNDLE", a.base64("ca.crt"), "timeout: 2", "timeout: "+timeout))
	}
	provider(a.url, "30")
	for _, name := range args("template.yaml", "constraint.yaml", "pin.yaml") {
		a.file(name, deployed(t, "gatekeeper/"+name))
	}
	a.file("all.yaml", deployed(t, "gatekeeper/constraint.yaml", "      # - {", "      - {", "[Deployment,", "[Deployment, ReplicaSet,"))
	verify, pin, both := args("template.yaml", "constraint.yaml"), args("pin.yaml"), args("template.yaml", "constraint.yaml", "pin.yaml")

	all := a.candidates()
	good, unsigned := firstOf(all)
	judge := func() {
		t.Helper()
		for _, x := range all {
			g.reviews(verify, pod(x.image.ref), x.refused, x.image.ref)
			g.reviews(both, pod(x.tag), x.refused, x.image.ref)
		}
	}
	judge()
	g.reviews(verify, pod(good.tag), args("it has no digest"))
	g.reviews(pin, pod(good.tag), nil, good.image.ref)
	g.reviews(pin, pod(unsigned.tag), unsigned.refused)
	g.reviews(both, pod(a.away+"/app"), args("its digest could not be found out"))
	g.reviews(both, withInit(good.tag, good.image.ref), nil, good.image.ref, good.image.ref)
	g.reviews(pin, withInit(unsigned.tag, good.image.ref), unsigned.refused)
	g.reviews(verify, withInit(unsigned.image.ref, good.image.ref), unsigned.refused)
	for kind := range workloads("") {
		g.reviews(both, workloads(unsigned.tag)[kind], nil)
		g.reviews(args("template.yaml", "all.yaml"), workloads(good.image.ref)[kind], nil)
		g.reviews(args("template.yaml", "all.yaml"), workloads(unsigned.image.ref)[kind], unsigned.refused)
		g.changes(args("template.yaml", "all.yaml"), workloads(unsigned.tag)[kind], workloads(unsigned.tag)[kind], nil)
		g.changes(args("template.yaml", "all.yaml"), workloads(good.image.ref)[kind], workloads(unsigned.image.ref)[kind], unsigned.refused)
	}
	// Pods that were there before may be changed in all but their images.
	unpinned := args("it has no digest")
	g.changes(both, pod(unsigned.tag), pod(unsigned.tag), nil, unsigned.tag)
	g.changes(both, pod(unsigned.tag), pod(unsigned.image.ref), unsigned.refused)
	g.changes(both, pod(unsigned.tag), pod(good.tag), unpinned)
	g.changes(both, pod(unsigned.tag), pod(good.image.ref), nil, good.image.ref)
	g.changes(both, pod(unsigned.tag), bytes.Replace(pod(unsigned.tag), []byte("name: c,"), []byte("name: d,"), 1), unpinned)
	g.changes(both, pod(unsigned.tag), withInit(unsigned.tag, good.image.ref), unpinned)
	g.changes(both, []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: default}\n"), pod(unsigned.tag), unpinned)
	nobody.reviews(verify, pod(good.image.ref), args("certificate required"))

	// Nobody is asked but the registry.
	a.log.stop()
	a.fulcio.stop()
	a.server.stop()
	a.server.start()
	judge()
	a.server.stop()
	for _, manifests := range [][]string{verify, pin, both} {
		g.reviews(manifests, pod(good.image.ref), args("failed to send external data request"))
	}
	g.changes(both, pod(unsigned.tag), pod(unsigned.tag), nil, unsigned.tag)
	provider(hangs(t), "1")
	for _, manifests := range [][]string{verify, pin, both} {
		g.reviews(manifests, pod(good.image.ref), args("failed to send external data request"))
	}
}

// hangs returns the URL of a server that never answers.
func hangs(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes connections, and nobody else does
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return "https://" + l.Addr().String()
}

// gatekeeper is a command of Gatekeeper.
type gatekeeper struct {
	*admission
	command []string
}

// reviews has Gatekeeper look at a new object with these manifests. If there is no reason to refuse it, it has to come out with
// these images, if any.
func (g *gatekeeper) reviews(manifests []string, object []byte, refused []string, images ...string) {
	g.t.Helper()
	g.looks(nil, manifests, object, refused, images)
}

// changes likewise has it look at an object that was another one before.
func (g *gatekeeper) changes(manifests []string, old, object []byte, refused []string, images ...string) {
	g.t.Helper()
	g.file("old.yaml", old)
	g.looks(args("-old", "old.yaml"), manifests, object, refused, images)
}

func (g *gatekeeper) looks(flags, manifests []string, object []byte, refused, images []string) {
	g.t.Helper()
	g.file("object.yaml", object)
	out, messages, err := g.try(slices.Concat(g.command, flags, args("provider.yaml"), manifests, args("object.yaml")))
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		g.t.Fatal(err)
	}
	if refused != nil {
		if err == nil || !says(out+messages, refused) {
			g.t.Errorf("%v: %v; want it refused for %q\n%s\n%s%s", manifests, err, refused, object, out, messages)
		}
		return
	}
	var found struct {
		Objects []struct {
			Spec struct{ InitContainers, Containers []struct{ Image string } }
		}
	}
	if err != nil || json.Unmarshal([]byte(out), &found) != nil || len(found.Objects) != 1 {
		g.t.Errorf("%v: %v\n%s\n%s%s", manifests, err, object, out, messages)
		return
	}
	var got []string
	for _, c := range slices.Concat(found.Objects[0].Spec.InitContainers, found.Objects[0].Spec.Containers) {
		got = append(got, c.Image)
	}
	if images != nil && !slices.Equal(got, images) {
		g.t.Errorf("%v: the object comes out with the images %q, want %q\n%s", manifests, got, images, object)
	}
}
