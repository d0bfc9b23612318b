package verify_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/verify"
)

func read(name string) []byte {
	data, err := os.ReadFile("testdata/cosign/" + name)
	if err != nil {
		log.Fatal(err)
	}
	return data
}

// An image was signed by cosign 3, keyless. The bundle comes from the registry, the trusted
// root from whom one trusts.
func Example_imageSignature() {
	trust, err := verify.ParseTrustedRoot(read("trusted_root.json"))
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := verify.New(trust, verify.Policy{
		Identities: []verify.Identity{{
			Subject:      "dev@example.com",
			IssuerRegexp: `^http://127\.0\.0\.1:[0-9]+/people$`,
		}},
	}, verify.Options{})
	if err != nil {
		log.Fatal(err)
	}

	evidence, err := verify.ParseBundle(read("image-bundle-keyless-cosign3.json"))
	if err != nil {
		log.Fatal(err)
	}
	image := verify.Bytes(read("image.json")) // the manifest; with its digest alone: verify.ParseDigest("sha256:…")
	result, err := verifier.Verify(evidence, image)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("signed by", result.Subject)
	for _, claim := range result.Claims {
		fmt.Println("proved:", claim.Kind)
	}

	_, err = verifier.Verify(evidence, verify.Bytes([]byte("another image")))
	fmt.Println("another image:", errors.Is(err, verify.ErrWrongArtifact))
	// Output:
	// signed by dev@example.com
	// proved: statement
	// proved: signature
	// proved: set
	// proved: checkpoint
	// proved: inclusion
	// proved: body
	// proved: certificate
	// proved: identity
	// another image: true
}

// An attestation is about an image, and of one type. It was signed with a key.
func Example_attestation() {
	trust, err := verify.TrustLogKey(read("log.pub")) // all there is to trust without certificates
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := verify.New(trust, verify.Policy{
		Keys:          []verify.PublicKey{{PEM: read("cosign.pub")}},
		PredicateType: "https://spdx.dev/Document",
	}, verify.Options{})
	if err != nil {
		log.Fatal(err)
	}

	evidence, err := verify.ParseBundle(read("attestation-bundle-key-cosign3.json"))
	if err != nil {
		log.Fatal(err)
	}
	result, err := verifier.Verify(evidence, verify.Bytes(read("image.json")))
	if err != nil {
		log.Fatal(err)
	}
	var predicate map[string]any // what the signer says of the image
	if err := json.Unmarshal(result.Statement.Predicate, &predicate); err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Statement.PredicateType, len(predicate) > 0)
	// Output:
	// https://spdx.dev/Document true
}

// admission answers a Kubernetes cluster that asks whether a pod may run (AdmissionReview,
// admission.k8s.io/v1). It says no to whatever it has not verified.
type admission struct {
	verifier *verify.Verifier
	// bundles returns the signatures that an image has, in the registry or elsewhere.
	bundles func(digest string) [][]byte
}

type review struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Request    *request  `json:"request,omitempty"`
	Response   *response `json:"response,omitempty"`
}

type request struct {
	UID    string `json:"uid"`
	Object struct {
		Spec struct {
			Containers          []container `json:"containers"`
			InitContainers      []container `json:"initContainers"`
			EphemeralContainers []container `json:"ephemeralContainers"`
		} `json:"spec"`
	} `json:"object"`
}

type container struct {
	Image string `json:"image"`
}

type response struct {
	UID     string  `json:"uid"`
	Allowed bool    `json:"allowed"`
	Status  *status `json:"status,omitempty"`
}

type status struct {
	Message string `json:"message"`
}

// ServeHTTP answers one review.
func (a *admission) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in review
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<20)).Decode(&in); err != nil || in.Request == nil {
		http.Error(w, "not an AdmissionReview", http.StatusBadRequest) // which denies
		return
	}
	out := &response{UID: in.Request.UID}
	if err := a.judge(in.Request); err != nil {
		out.Status = &status{err.Error()}
	} else {
		out.Allowed = true
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(review{APIVersion: in.APIVersion, Kind: in.Kind, Response: out})
}

// judge returns nil only if every image of the pod was verified.
func (a *admission) judge(r *request) error {
	spec := r.Object.Spec
	all := slices.Concat(spec.Containers, spec.InitContainers, spec.EphemeralContainers)
	if len(all) == 0 {
		return errors.New("no containers in it")
	}
	for _, c := range all {
		if err := a.signed(c.Image); err != nil {
			return fmt.Errorf("image %s: %w", c.Image, err)
		}
	}
	return nil
}

// signed returns nil only if one of the image's signatures was verified.
func (a *admission) signed(image string) error {
	_, digest, ok := strings.Cut(image, "@")
	if !ok {
		return errors.New("it is named by a tag, not by its digest")
	}
	artifact, err := verify.ParseDigest(digest)
	if err != nil {
		return err
	}
	refused := errors.New("it has no signature")
	for _, bundle := range a.bundles(digest) {
		evidence, err := verify.ParseBundle(bundle)
		if err == nil {
			_, err = a.verifier.Verify(evidence, artifact)
		}
		if err == nil {
			return nil
		}
		refused = err
	}
	return refused
}

// An admission webhook admits pods whose images are signed, and nothing else.
func Example_admissionWebhook() {
	trust, err := verify.TrustLogKey(read("log.pub"))
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := verify.New(trust, verify.Policy{Keys: []verify.PublicKey{{PEM: read("cosign.pub")}}},
		verify.Options{Cache: verify.NewCache(1000)}) // the same images come again and again
	if err != nil {
		log.Fatal(err)
	}
	webhook := &admission{verifier, func(string) [][]byte { return [][]byte{read("image-bundle-key-cosign3.json")} }}

	ask := func(image string) {
		body := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","object":{"spec":{"containers":[{"image":"` + image + `"}]}}}}`
		answer := httptest.NewRecorder()
		webhook.ServeHTTP(answer, httptest.NewRequest("POST", "/", strings.NewReader(body)))
		var out review
		if err := json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(&out); err != nil {
			log.Fatal(err)
		}
		if out.Response.Allowed {
			fmt.Println("allowed")
		} else {
			_, reason, _ := strings.Cut(out.Response.Status.Message, ": ")
			class, _, _ := strings.Cut(reason, ":")
			fmt.Println("denied:", class)
		}
	}
	ask("registry.example.com/app@" + verify.Bytes(read("image.json")).String())
	ask("registry.example.com/app@" + verify.Bytes([]byte("another image")).String())
	ask("registry.example.com/app:latest")
	// Output:
	// allowed
	// denied: wrong artifact
	// denied: it is named by a tag, not by its digest
}

// Two of three witnesses have to have seen the log's tree. The bundle is one of a Rekor v2 log,
// whose checkpoints carry cosignatures.
func Example_witnessQuorum() {
	world := forge.NewWorld() // makes keys, a log and a signature
	spec := world.Spec(forge.Message, world.V2)
	spec.Witnesses = world.Witnesses[:2]
	bundle, root := forge.Encode(spec.Make().Bundle()), forge.Encode(world.TrustedRoot(forge.Array{}))

	trust, err := verify.ParseTrustedRoot(root)
	if err != nil {
		log.Fatal(err)
	}
	policy := verify.Policy{Keys: []verify.PublicKey{{PEM: world.Author.PEM()}}}
	for _, quorum := range []string{"2", "all"} {
		policy.Witnesses = "witness one " + world.Witnesses[0].VKey() + "\n" +
			"witness two " + world.Witnesses[1].VKey() + "\n" +
			"witness three " + world.Witnesses[2].VKey() + "\n" +
			"group witnesses " + quorum + " one two three\n" +
			"quorum witnesses\n"
		verifier, err := verify.New(trust, policy, verify.Options{})
		if err != nil {
			log.Fatal(err)
		}
		evidence, err := verify.ParseBundle(bundle)
		if err != nil {
			log.Fatal(err)
		}
		result, err := verifier.Verify(evidence, verify.Bytes(world.Artifact))
		if err != nil {
			fmt.Println(quorum, "of three:", errors.Is(err, verify.ErrWitness))
			continue
		}
		for _, c := range result.Entries[0].Checkpoint.Cosignatures {
			fmt.Println(quorum, "of three:", c.Witness)
		}
	}
	// Output:
	// 2 of three: w1.example.test/witness
	// 2 of three: w2.example.test/witness
	// all of three: true
}
