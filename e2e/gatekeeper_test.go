//go:build kubernetes

package e2e

import (
	"encoding/json"
	"errors"
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
	a.server.command = append(a.server.command, "--client-ca", a.path("ca.crt"))
	a.server.start()
	crt, key := a.ca.server(a.shell, "gatekeeper")
	g := &gatekeeper{a, args(tool(t, "gatekeeper-v3.23.1", "gatekeeper"), "-cert", crt, "-key", key)}
	nobody := &gatekeeper{a, args(tool(t, "gatekeeper-v3.23.1", "gatekeeper"))}
	a.file("provider.yaml", deployed(t, "gatekeeper/provider.yaml", "https://tallystick-admit.tallystick.svc:443", a.url, "CABUNDLE", a.base64("ca.crt")))
	for _, name := range args("template.yaml", "constraint.yaml", "pin.yaml") {
		a.file(name, deployed(t, "gatekeeper/"+name))
	}
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
		g.reviews(verify, workloads(good.image.ref)[kind], nil)
		g.reviews(verify, workloads(unsigned.image.ref)[kind], unsigned.refused)
	}
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
}

// gatekeeper is a command of Gatekeeper.
type gatekeeper struct {
	*admission
	command []string
}

// reviews has Gatekeeper look at an object with these manifests. If there is no reason to refuse it, it has to come out with
// these images, if any.
func (g *gatekeeper) reviews(manifests []string, object []byte, refused []string, images ...string) {
	g.t.Helper()
	g.file("object.yaml", object)
	out, messages, err := g.try(slices.Concat(g.command, args("provider.yaml"), manifests, args("object.yaml")))
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
