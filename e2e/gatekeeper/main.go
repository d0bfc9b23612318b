// Command gatekeeper holds requests for Kubernetes objects against Gatekeeper's mutators and constraints, and asks
// external data providers, as its controller does. What does the work is Gatekeeper's own: reader, mutation, Rego
// driver, HTTPS client.
//
//	gatekeeper [-cert FILE -key FILE] [-old FILE] FILE...
//
// Providers see the certificate. The controller always has one, and mutates nothing without. With -old, the request is
// to change the object in that file into the one in the others; without, to create those in the others.
//
// It prints, as JSON, the objects as they are after mutation, and the messages of violations that deny. Exit code 0: there
// are none. 1: there are some. 2: it could not be found out, which for the controller is a refusal too.
//
// It is a module of its own, so that what Gatekeeper requires does not meet what the tests require.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/open-policy-agent/frameworks/constraint/pkg/apis"
	"github.com/open-policy-agent/frameworks/constraint/pkg/apis/externaldata/unversioned"
	templates "github.com/open-policy-agent/frameworks/constraint/pkg/apis/templates/v1"
	constraintclient "github.com/open-policy-agent/frameworks/constraint/pkg/client"
	"github.com/open-policy-agent/frameworks/constraint/pkg/client/drivers/rego"
	"github.com/open-policy-agent/frameworks/constraint/pkg/client/reviews"
	"github.com/open-policy-agent/frameworks/constraint/pkg/externaldata"
	mutations "github.com/open-policy-agent/gatekeeper/v3/apis/mutations/unversioned"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/gator/reader"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/mutation"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/mutation/match"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/mutation/mutators"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/mutation/types"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/target"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/util"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
)

func main() {
	cert, key := flag.String("cert", "", "client certificate (PEM)"), flag.String("key", "", "its key (PEM)")
	old := flag.String("old", "", "the object as it is before the request")
	flag.Parse()
	found, err := review(*cert, *key, *old, flag.Args())
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(found)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if len(found.Violations) > 0 {
		os.Exit(1)
	}
}

// findings are what Gatekeeper makes of objects.
type findings struct {
	Objects    []map[string]any `json:"objects"`
	Violations []string         `json:"violations"`
}

// review reviews the objects in files; old is the file with what one of them was before, if it is not new.
func review(cert, key, old string, files []string) (found findings, err error) {
	all, err := reader.ReadSources(files, nil, "")
	if err != nil {
		return found, err
	}
	var before []*unstructured.Unstructured
	if old != "" {
		if before, err = reader.ReadSources([]string{old}, nil, ""); err != nil || len(before) != 1 {
			return found, fmt.Errorf("%s has %d objects: %v", old, len(before), err)
		}
	}
	e, err := newEngine(cert, key)
	if err != nil {
		return found, err
	}
	var objects []*unstructured.Unstructured
	// A constraint needs its template.
	for _, kinds := range []func(*unstructured.Unstructured) bool{reader.IsTemplate, reader.IsConstraint, func(*unstructured.Unstructured) bool { return true }} {
		for i, o := range all {
			if o == nil || !kinds(o) {
				continue
			}
			all[i] = nil
			known, err := e.add(o)
			if err != nil {
				return found, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
			}
			if !known {
				objects = append(objects, o)
			}
		}
	}
	for _, o := range objects {
		request := &admissionv1.AdmissionRequest{Operation: admissionv1.Create, Name: o.GetName(), Namespace: o.GetNamespace()}
		if before != nil {
			request.Operation = admissionv1.Update
			if request.OldObject.Raw, err = before[0].MarshalJSON(); err != nil {
				return found, err
			}
		}
		violations, err := e.review(request, o)
		if err != nil {
			return found, err
		}
		found.Objects, found.Violations = append(found.Objects, o.Object), append(found.Violations, violations...)
	}
	return found, nil
}

// engine is what Gatekeeper's controller has: templates and constraints, mutators, and providers for both.
type engine struct {
	constraints *constraintclient.Client
	mutation    *mutation.System
	providers   *externaldata.ProviderCache
	scheme      *runtime.Scheme
}

func newEngine(cert, key string) (*engine, error) {
	e := &engine{providers: externaldata.NewCache(), scheme: runtime.NewScheme()}
	if err := apis.AddToScheme(e.scheme); err != nil {
		return nil, err
	}
	asked := []rego.Arg{rego.AddExternalDataProviderCache(e.providers)}
	var certificate *certwatcher.CertWatcher
	if cert != "" {
		var err error
		if certificate, err = certwatcher.New(cert, key); err != nil {
			return nil, err
		}
		asked = append(asked, rego.EnableExternalDataClientAuth(), rego.AddExternalDataClientCertWatcher(certificate))
	}
	e.mutation = mutation.NewSystem(mutation.SystemOpts{ProviderCache: e.providers, ClientCertWatcher: certificate})
	driver, err := rego.New(asked...)
	if err != nil {
		return nil, err
	}
	e.constraints, err = constraintclient.NewClient(constraintclient.Targets(&target.K8sValidationTarget{}), constraintclient.Driver(driver),
		constraintclient.EnforcementPoints(util.WebhookEnforcementPoint))
	return e, err
}

// add takes a manifest for Gatekeeper. Other objects it does not know.
func (e *engine) add(o *unstructured.Unstructured) (known bool, err error) {
	switch {
	case reader.IsTemplate(o):
		if err := strictly(o, &templates.ConstraintTemplate{}); err != nil {
			return true, err
		}
		template, err := reader.ToTemplate(e.scheme, o)
		if err != nil {
			return true, err
		}
		_, err = e.constraints.AddTemplate(context.Background(), template)
		return true, err
	case reader.IsConstraint(o):
		if err := strictly(o, &constraint{}); err != nil {
			return true, err
		}
		_, err := e.constraints.AddConstraint(context.Background(), o)
		return true, err
	case o.GetKind() == "Provider":
		return true, addProvider(e.providers, o)
	case o.GetKind() == "Assign":
		return true, addAssign(e.mutation, o)
	}
	return false, nil
}

// constraint is what a constraint may have whose template has no parameters.
type constraint struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		EnforcementAction string      `json:"enforcementAction"`
		Match             match.Match `json:"match"`
	} `json:"spec"`
}

// review has a request for an object mutated, and then judged.
func (e *engine) review(request *admissionv1.AdmissionRequest, o *unstructured.Unstructured) (violations []string, err error) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: o.GetNamespace()}}
	if _, err := e.mutation.Mutate(context.Background(), &types.Mutable{Object: o, Namespace: namespace, Source: types.SourceTypeOriginal, Operation: request.Operation}); err != nil {
		return nil, err
	}
	if request.Object.Raw, err = o.MarshalJSON(); err != nil {
		return nil, err
	}
	kind := o.GroupVersionKind()
	request.Kind = metav1.GroupVersionKind{Group: kind.Group, Version: kind.Version, Kind: kind.Kind}
	answers, err := e.constraints.Review(context.Background(), target.AugmentedReview{AdmissionRequest: request, Namespace: namespace, Source: types.SourceTypeOriginal, IsAdmission: true},
		reviews.EnforcementPoint(util.WebhookEnforcementPoint))
	if err != nil {
		return nil, err
	}
	for _, r := range answers.Results() {
		if r.EnforcementAction == string(util.Deny) {
			violations = append(violations, r.Msg)
		}
	}
	return violations, nil
}

func addProvider(providers *externaldata.ProviderCache, o *unstructured.Unstructured) error {
	var p unversioned.Provider
	if err := strictly(o, &p); err != nil {
		return err
	}
	return providers.Upsert(&p)
}

func addAssign(system *mutation.System, o *unstructured.Unstructured) error {
	var a mutations.Assign
	if err := strictly(o, &a); err != nil {
		return err
	}
	m, err := mutators.MutatorForAssign(&a)
	if err != nil {
		return err
	}
	return system.Upsert(m)
}

// strictly converts an object, which may have no fields that its type has not.
func strictly(o *unstructured.Unstructured, to any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, to, true)
}
