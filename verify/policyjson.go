package verify

import (
	"fmt"
	"time"

	"github.com/tallystick/tallystick/sig/strictjson"
)

// ParsePolicy reads a policy in JSON, and refuses what New would refuse whatever the
// trust, and members that it does not know. Errors are of class ErrPolicy. All members but one of keys
// and identities may be left out:
//
//	{
//	  "keys": [{
//	    "pem": "-----BEGIN PUBLIC KEY-----\n…",
//	    "validFor": {"start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}
//	  }],
//	  "identities": [{
//	    "issuer": "https://token.actions.githubusercontent.com",
//	    "subjectRegexp": "^https://github\\.com/example/app/\\.github/workflows/release\\.yml@refs/tags/v[0-9.]+$",
//	    "extensions": {"1.3.6.1.4.1.57264.1.12": "https://github.com/example/app"}
//	  }],
//	  "predicateType": "https://slsa.dev/provenance/v1",
//	  "logEntries": 1,
//	  "signedTimestamps": "none",
//	  "scts": 1,
//	  "inclusionProofs": true,
//	  "witnesses": "witness w1 …\nquorum w1\n",
//	  "time": "2026-11-01T00:00:00Z",
//	  "ignoreTimestamps": false
//	}
//
// An identity has issuer or issuerRegexp, and subject or subjectRegexp. A threshold is a number
// from 1 up, or "none". What is there may be neither null nor empty.
func ParsePolicy(data []byte) (Policy, error) {
	if len(data) > MaxPolicy {
		return Policy{}, refuse(ErrPolicy, "policy", "%d bytes, more than %d", len(data), MaxPolicy)
	}
	var p Policy
	if err := whole(data, p.read); err != nil {
		return Policy{}, refuse(ErrPolicy, "policy", "%w", err)
	}
	if _, err := p.rules(); err != nil {
		return Policy{}, err
	}
	return p, nil
}

func (p *Policy) read(r *strictjson.Reader) error {
	return filledObject(r, "a policy", func(name string) (err error) {
		switch name {
		case "keys":
			err = filledArray(r, name, MaxSigners, func() error { return p.readKey(r) })
		case "identities":
			err = filledArray(r, name, MaxSigners, func() error { return p.readIdentity(r) })
		case "predicateType":
			p.PredicateType, err = filledText(r, name)
		case "logEntries":
			p.LogEntries, err = readThreshold(r, name)
		case "signedTimestamps":
			p.SignedTimestamps, err = readThreshold(r, name)
		case "scts":
			p.SCTs, err = readThreshold(r, name)
		case "inclusionProofs":
			p.InclusionProofs, err = readBool(r, name)
		case "witnesses":
			p.Witnesses, err = filledText(r, name)
		case "time":
			p.Time, err = readMoment(r, name)
		case "ignoreTimestamps":
			p.IgnoreTimestamps, err = readBool(r, name)
		default:
			err = unknownMember("a policy", []byte(name))
		}
		return err
	})
}

func (p *Policy) readKey(r *strictjson.Reader) error {
	var k PublicKey
	err := filledObject(r, "a key", func(name string) (err error) {
		switch name {
		case "pem":
			var text string
			text, err = filledText(r, name)
			k.PEM = []byte(text)
		case "validFor":
			err = filledObject(r, name, func(end string) (err error) {
				switch end {
				case "start":
					k.Valid.Start, err = readMoment(r, end)
				case "end":
					k.Valid.End, err = readMoment(r, end)
				default:
					err = unknownMember(name, []byte(end))
				}
				return err
			})
		default:
			err = unknownMember("a key", []byte(name))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("keys[%d]: %w", len(p.Keys), err)
	}
	p.Keys = append(p.Keys, k)
	return nil
}

func (p *Policy) readIdentity(r *strictjson.Reader) error {
	var i Identity
	err := filledObject(r, "an identity", func(name string) (err error) {
		switch name {
		case "issuer":
			i.Issuer, err = filledText(r, name)
		case "issuerRegexp":
			i.IssuerRegexp, err = filledText(r, name)
		case "subject":
			i.Subject, err = filledText(r, name)
		case "subjectRegexp":
			i.SubjectRegexp, err = filledText(r, name)
		case "extensions":
			i.Extensions = make(map[string]string)
			err = filledObject(r, name, func(oid string) (err error) {
				i.Extensions[oid], err = filledText(r, oid)
				return err
			})
		default:
			err = unknownMember("an identity", []byte(name))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("identities[%d]: %w", len(p.Identities), err)
	}
	p.Identities = append(p.Identities, i)
	return nil
}

// filledObject reads an object that is not empty.
func filledObject(r *strictjson.Reader, what string, member func(name string) error) error {
	if r.Peek() != '{' {
		return fmt.Errorf("%s is not an object", what)
	}
	empty := true
	err := r.Object(func(name []byte) error {
		empty = false
		return member(string(name))
	})
	if err == nil && empty {
		err = fmt.Errorf("%s is empty", what)
	}
	return err
}

// filledArray reads an array that is not empty.
func filledArray(r *strictjson.Reader, what string, max int, element func() error) error {
	if r.Peek() != '[' {
		return fmt.Errorf("%s is not an array", what)
	}
	empty := true
	err := array(r, what, max, func() error {
		empty = false
		return element()
	})
	if err == nil && empty {
		err = fmt.Errorf("%s is empty", what)
	}
	return err
}

// filledText reads text that is not empty.
func filledText(r *strictjson.Reader, what string) (string, error) {
	text, err := readText(r, what)
	if err == nil && len(text) == 0 {
		err = fmt.Errorf("%s is empty", what)
	}
	return string(text), err
}

// readThreshold reads a number from 1 up, or "none". 0 is refused: in JSON it would look like none,
// and in a Policy it stands for the default.
func readThreshold(r *strictjson.Reader, what string) (int, error) {
	if r.Peek() == '"' {
		if text, err := r.Text(); err != nil || string(text) != "none" {
			return 0, fmt.Errorf(`%s is neither a number nor "none"`, what)
		}
		return None, nil
	}
	n, err := readNumber(r, what)
	if err == nil && (n == 0 || n > MaxAuthorities) {
		err = fmt.Errorf(`%s is %d: neither from 1 to %d nor "none"`, what, n, MaxAuthorities)
	}
	return int(n), err
}

func readMoment(r *strictjson.Reader, what string) (time.Time, error) {
	if r.Peek() != '"' {
		return time.Time{}, fmt.Errorf("%s is not a string", what)
	}
	return readTime(r, what)
}

func readBool(r *strictjson.Reader, what string) (bool, error) {
	switch raw, err := r.Raw(); {
	case err != nil:
		return false, err
	case string(raw) == "true":
		return true, nil
	case string(raw) == "false":
		return false, nil
	}
	return false, fmt.Errorf("%s is neither true nor false", what)
}
