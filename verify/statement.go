package verify

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/tallystick/tallystick/sig/strictjson"
)

const intotoPayload = "application/vnd.in-toto+json"

// statementTypes are the values of _type of the in-toto statements that are understood.
var statementTypes = map[string]bool{
	"https://in-toto.io/Statement/v0.1": true,
	"https://in-toto.io/Statement/v1":   true,
}

// readStatement reads an in-toto statement (in-toto attestation, spec/v1/statement.md)
// and looks for the artifact among its subjects. subject is the name of the first one that is the
// artifact, and found false if none is. The statement of a bundle is read strictly: in one of the older formats, members
// and digests of kinds that are not known are ignored.
func readStatement(payload []byte, a *digests, strict bool) (s *Statement, found bool, err error) {
	s = &Statement{}
	understood := false
	err = whole(payload, func(r *strictjson.Reader) error {
		_, err := object(r, "statement", func(name []byte) error {
			switch string(name) {
			case "_type":
				text, err := readText(r, "_type")
				if understood = statementTypes[string(text)]; !understood && err == nil {
					err = fmt.Errorf("its _type is %q, not that of an in-toto statement", clip(string(text)))
				}
				return err
			case "predicateType":
				text, err := readText(r, "predicateType")
				if s.PredicateType = CosignSignType; string(text) != CosignSignType {
					s.PredicateType = string(text)
				}
				return err
			case "predicate":
				raw, err := r.Raw()
				s.Predicate = bytes.Clone(raw)
				return err
			case "subject":
				return array(r, "subject", MaxSubjects, func() error {
					called, is, err := readStatementSubject(r, a, strict)
					if is && !found {
						found, s.Subject = true, called
					}
					return err
				})
			}
			return otherMember("a statement", name, strict, "_type", "predicateType", "predicate", "subject")
		})
		return err
	})
	switch {
	case err != nil:
		return nil, false, err
	case !understood:
		return nil, false, errors.New("its _type is missing")
	case s.PredicateType == "":
		return nil, false, errors.New("its predicateType is missing")
	}
	return s, found, nil
}

// otherMember answers for a member that is not read. in-toto asks that it be ignored; but in bundles other
// verifiers refuse it, and nowhere may it be one that is read, but for case.
func otherMember(of string, name []byte, strict bool, read ...string) error {
	for _, r := range read {
		strict = strict || strings.EqualFold(r, string(name))
	}
	if strict {
		return unknownMember(of, name)
	}
	return nil
}

// readStatementSubject reads a subject and reports whether it is the artifact: whether one of its digests
// is, and none of the algorithms that can be compared contradicts it.
func readStatementSubject(r *strictjson.Reader, a *digests, strict bool) (called string, is bool, err error) {
	contradicted := false
	err = element(r, "subject", func(name []byte) error {
		switch string(name) {
		case "name":
			text, err := readText(r, "name")
			called = string(text)
			return err
		case "digest":
			n := 0
			_, err := object(r, "digest", func(name []byte) error {
				if n++; n > MaxSubjectDigests {
					return fmt.Errorf("a subject has more than %d digests", MaxSubjectDigests)
				}
				want, known := a.sum(string(name))
				digits, err := readText(r, "digest")
				if err != nil {
					return err
				}
				got := r.Space(hex.DecodedLen(len(digits)))
				if _, err := hex.Decode(got, digits); err != nil && (known || strict) {
					return fmt.Errorf("the %s of a subject is not hexadecimal", clip(string(name)))
				}
				if !known {
					return nil
				}
				if bytes.Equal(got, want) {
					is = true
				} else {
					contradicted = true
				}
				return nil
			})
			return err
		case "uri", "content", "downloadLocation", "mediaType", "annotations":
			return nil
		}
		return otherMember("a subject", name, strict, "name", "digest")
	})
	return called, is && !contradicted, err
}
