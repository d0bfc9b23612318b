// Command gatekeeper holds Kubernetes objects against Gatekeeper's mutators and constraints, as its gator
// does, and asks external data providers, as its controller does and gator does not. What does the work is
// Gatekeeper's own: reader, mutation, Rego driver, HTTPS client.
//
//	gatekeeper [-cert FILE -key FILE] FILE...
//
// Providers see the certificate. The controller always has one, and mutates nothing without.
//
// It prints, as JSON, the objects as they are after mutation, and the messages of violations. Exit code 0: there
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

	"github.com/open-policy-agent/frameworks/constraint/pkg/apis/externaldata/unversioned"
	constraintclient "github.com/open-policy-agent/frameworks/constraint/pkg/client"
	"github.com/open-policy-agent/frameworks/constraint/pkg/client/drivers/rego"
	"github.com/open-policy-agent/frameworks/constraint/pkg/externaldata"
	mutations "github.com/open-policy-agent/gatekeeper/v3/apis/mutations/unversioned"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/gator/reader"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/gator/test"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/mutation"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/mutation/mutators"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/mutation/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
)

func main() {
	cert, key := flag.String("cert", "", "client certificate (PEM)"), flag.String("key", "", "its key (PEM)")
	flag.Parse()
	found, err := review(*cert, *key, flag.Args())
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

// review reviews the objects in files.
func review(cert, key string, files []string) (found findings, err error) {
	all, err := reader.ReadSources(files, nil, "")
	if err != nil {
		return found, err
	}
	providers := externaldata.NewCache()
	driver := []rego.Arg{rego.AddExternalDataProviderCache(providers)}
	var client *certwatcher.CertWatcher
	if cert != "" {
		if client, err = certwatcher.New(cert, key); err != nil {
			return found, err
		}
		driver = append(driver, rego.EnableExternalDataClientAuth(), rego.AddExternalDataClientCertWatcher(client))
	}
	mutation := mutation.NewSystem(mutation.SystemOpts{ProviderCache: providers, ClientCertWatcher: client})
	var objects []*unstructured.Unstructured
	for _, o := range all {
		switch o.GetKind() {
		case "Provider":
			err = addProvider(providers, o)
		case "Assign":
			err = addAssign(mutation, o)
		default:
			objects = append(objects, o)
		}
		if err != nil {
			return found, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	for _, o := range objects {
		if reader.IsTemplate(o) || reader.IsConstraint(o) {
			continue
		}
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: o.GetNamespace()}}
		if _, err := mutation.Mutate(context.Background(), &types.Mutable{Object: o, Namespace: namespace, Source: types.SourceTypeOriginal}); err != nil {
			return found, err
		}
		found.Objects = append(found.Objects, o.Object)
	}
	answers, err := test.Test(objects, func() ([]constraintclient.Opt, []rego.Arg, error) {
		return nil, driver, nil
	})
	if err != nil {
		return found, err
	}
	for _, r := range answers.Results() {
		found.Violations = append(found.Violations, r.Msg)
	}
	return found, nil
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
