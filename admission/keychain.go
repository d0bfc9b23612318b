package admission

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/tallystick/tallystick/sig/strictjson"
)

// MaxCredentials is the largest file with credentials, in bytes.
const MaxCredentials = 1 << 20

// Credentials is an authn.Keychain of a file in the form of Docker's config.json, as a Kubernetes secret of type
// kubernetes.io/dockerconfigjson has it. The file is read each time, so that it may be renewed.
//
// An entry is for the registry of exactly its name; scheme and path of a name in Docker's old form
// (https://index.docker.io/v1/) are left aside. Wildcards, entries for a path, and credential helpers are not used.
type Credentials struct {
	// Read returns the content of the file.
	Read func() ([]byte, error)
}

var _ authn.Keychain = Credentials{}

// Resolve returns the credentials of a registry, or none if the file has none for it. A file that cannot be read is an error.
func (c Credentials) Resolve(of authn.Resource) (authn.Authenticator, error) {
	data, err := c.Read()
	if err != nil {
		return nil, fmt.Errorf("the credentials for registries: %w", err)
	}
	found, err := findCredentials(data, of.RegistryStr())
	if err != nil {
		// Not its text: it may quote a password.
		return nil, errors.New("the credentials for registries: the file is not in the form of Docker's config.json")
	}
	if found == nil {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(*found), nil
}

func findCredentials(data []byte, host string) (found *authn.AuthConfig, err error) {
	r := strictjson.New(data)
	err = r.Object(func(member []byte) error {
		if string(member) != "auths" || r.Null() {
			return nil
		}
		return r.Object(func(member []byte) error {
			if credentialHost(string(member)) != host {
				return nil
			}
			if found != nil {
				return errors.New("two entries for one registry")
			}
			found = new(authn.AuthConfig)
			return readCredentials(&r, found)
		})
	})
	if err == nil {
		err = r.End()
	}
	return found, err
}

// credentialHost returns which registry an entry is for, by its name.
func credentialHost(entry string) string {
	if rest, ok := strings.CutPrefix(entry, "https://"); ok {
		entry, _, _ = strings.Cut(rest, "/")
	}
	if entry == "docker.io" {
		return name.DefaultRegistry
	}
	return entry
}

func readCredentials(r *strictjson.Reader, to *authn.AuthConfig) error {
	var both string
	err := r.Object(func(member []byte) (err error) {
		switch string(member) {
		case "username":
			to.Username, err = text(r)
		case "password":
			to.Password, err = text(r)
		case "auth":
			both, err = text(r)
		case "identitytoken":
			to.IdentityToken, err = text(r)
		case "registrytoken":
			to.RegistryToken, err = text(r)
		}
		return err
	})
	if err != nil || both == "" {
		return err
	}
	decoded, err := base64.StdEncoding.DecodeString(both)
	if err != nil {
		return err
	}
	user, password, ok := strings.Cut(string(decoded), ":")
	if !ok {
		return errors.New("auth is not a name and a password")
	}
	to.Username, to.Password = user, password
	return nil
}
