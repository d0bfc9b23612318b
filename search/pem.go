package search

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/tallystick/tallystick/sig"
)

const (
	pemBegin = "-----BEGIN "
	pemEnd   = "-----END "
	pemDash  = "-----"
	// base64PEM is what the base64 of a PEM text begins with.
	base64PEM = "LS0tLS1CRUdJTi"
)

func looksLikePEM(text string) bool {
	return strings.Contains(text, pemBegin) || strings.HasPrefix(text, base64PEM)
}

// readPEM reads keys and certificates as people paste them: line breaks may be
// missing, spaces, or written as "\n"; all of it may be in base64. It returns the key
// that the whole text is, and, if that is a chain of certificates, its first one alone.
func readPEM(text string) ([]*sig.Key, error) {
	if strings.HasPrefix(text, base64PEM) {
		b, err := base64.StdEncoding.DecodeString(withoutSpace(text))
		if err != nil {
			return nil, fmt.Errorf("the base64 cannot be read: %w", err)
		}
		text = string(b)
	}
	blocks, err := pemBlocks(text)
	if err != nil {
		return nil, err
	}
	var canonical bytes.Buffer
	for _, b := range blocks {
		if err := pem.Encode(&canonical, b); err != nil {
			return nil, err
		}
	}
	whole, err := sig.ParsePEM(canonical.Bytes())
	if err != nil {
		return nil, err
	}
	if len(blocks) == 1 {
		return []*sig.Key{whole}, nil
	}
	first, err := sig.ParsePEM(pem.EncodeToMemory(blocks[0]))
	if err != nil {
		return nil, err
	}
	return []*sig.Key{whole, first}, nil
}

// pemBlocks returns the blocks of a text, wherever its lines break.
func pemBlocks(text string) ([]*pem.Block, error) {
	var blocks []*pem.Block
	for {
		_, after, ok := strings.Cut(text, pemBegin)
		if !ok {
			if len(blocks) == 0 {
				return nil, errors.New("there is no PEM in it")
			}
			return blocks, nil
		}
		label, after, ok1 := strings.Cut(after, pemDash)
		body, after, ok2 := strings.Cut(after, pemEnd+label+pemDash)
		if !ok1 || !ok2 {
			return nil, errors.New("the PEM ends too early")
		}
		if strings.Contains(label, "PRIVATE") {
			return nil, errors.New("that is a private key: keep it to yourself, and paste the public key")
		}
		der, err := base64.StdEncoding.DecodeString(withoutSpace(body))
		if err != nil {
			return nil, fmt.Errorf("the PEM cannot be read: %w", err)
		}
		if len(blocks) == sig.MaxChain {
			return nil, fmt.Errorf("there are more than %d certificates in it", sig.MaxChain)
		}
		blocks = append(blocks, &pem.Block{Type: label, Bytes: der})
		text = after
	}
}

// withoutSpace leaves out white space, and line breaks as JSON and shells write them.
func withoutSpace(s string) string {
	return strings.Join(strings.Fields(strings.NewReplacer(`\r`, " ", `\n`, " ").Replace(s)), "")
}
