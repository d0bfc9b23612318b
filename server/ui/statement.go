package ui

import (
	"encoding/hex"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/search"
	"github.com/tallystick/tallystick/sig/strictjson"
)

const (
	// maxSubjects is how many subjects of a statement are shown.
	maxSubjects = 50
	// maxShown is the most bytes of a statement that are shown.
	maxShown = 96 << 10
)

// statement is an attestation, read as an in-toto statement
// (in-toto/attestation, spec/v1/statement.md) as far as it is one.
type statement struct {
	IsStatement   bool
	Type          string
	PredicateType string
	Predicate     string // laid out
	PredicateCut  bool
	Words         string // what the predicate is: "SPDX document"
	// Ambiguous says that readers differ on what it says: members that it needs are given
	// twice, or in letters of another case, which some readers take for the same.
	Ambiguous    bool
	Subjects     []subject
	MoreSubjects int
	// Raw is the text of an attestation that is no statement.
	Raw    string
	RawCut bool
	Size   string
}

type subject struct {
	Name    string
	Digests []link // "sha256:…"
}

// readStatement reads what strangers wrote. Of repeated members the page shows the
// last one, as most readers take it; the download has all.
func readStatement(raw []byte) *statement {
	s := &statement{Size: count(int64(len(raw)), "byte", "bytes")}
	if !s.read(raw) {
		text, whole := pretty(raw, maxShown)
		return &statement{Size: s.Size, Ambiguous: s.Ambiguous, Raw: visible(text, true), RawCut: !whole}
	}
	s.IsStatement = true
	s.Words = predicateWords(s.PredicateType)
	return s
}

func (s *statement) read(raw []byte) bool {
	r := strictjson.New(raw)
	r.Lenient = true
	seen := members{s: s, known: []string{"_type", "predicateType", "subject", "predicate"}}
	err := r.Object(func(name []byte) error {
		seen.add(name)
		switch string(name) {
		case "_type":
			return readLine(&r, &s.Type)
		case "predicateType":
			return readLine(&r, &s.PredicateType)
		case "subject":
			s.Subjects, s.MoreSubjects = nil, 0
			return s.readSubjects(&r)
		case "predicate":
			value, err := r.Raw()
			text, whole := pretty(value, maxShown)
			s.Predicate, s.PredicateCut = visible(text, true), !whole
			return err
		}
		return nil
	})
	return err == nil && strings.HasPrefix(s.Type, "https://in-toto.io/Statement/")
}

// readLine reads a string; values of other types are skipped.
func readLine(r *strictjson.Reader, to *string) error {
	if r.Peek() != '"' {
		return r.Skip()
	}
	text, err := r.Text()
	*to = line(string(text), maxWhole)
	return err
}

// members notes which members of an object a statement needs were there.
type members struct {
	s     *statement
	known []string
	had   [4]bool
}

func (m *members) add(name []byte) {
	for i, known := range m.known {
		if strings.EqualFold(string(name), known) {
			m.s.Ambiguous = m.s.Ambiguous || m.had[i] || string(name) != known
			m.had[i] = true
		}
	}
}

func (s *statement) readSubjects(r *strictjson.Reader) error {
	if r.Peek() != '[' {
		return r.Skip()
	}
	return r.Array(func() error {
		if len(s.Subjects) == maxSubjects {
			s.MoreSubjects++
			return r.Skip()
		}
		if r.Peek() != '{' {
			return r.Skip()
		}
		var one subject
		seen := members{s: s, known: []string{"name", "digest"}}
		err := r.Object(func(name []byte) error {
			seen.add(name)
			switch {
			case string(name) == "name":
				return readLine(r, &one.Name)
			case string(name) == "digest" && r.Peek() == '{':
				return r.Object(func(algorithm []byte) error {
					a := line(string(algorithm), 40)
					var value string
					err := readLine(r, &value)
					if slices.ContainsFunc(one.Digests, func(d link) bool { return strings.EqualFold(d.Text[:strings.IndexByte(d.Text, ':')], a) }) {
						s.Ambiguous = true
					}
					if len(one.Digests) < 8 {
						one.Digests = append(one.Digests, digestLink(a, value))
					}
					return err
				})
			}
			return nil
		})
		s.Subjects = append(s.Subjects, one)
		return err
	})
}

// digestLink returns "<algorithm>:<value>", which leads to a search if it is a digest
// that a search could find.
func digestLink(algorithm, value string) link {
	d := link{Text: algorithm + ":" + value}
	if _, err := hex.DecodeString(value); err == nil && value != "" && slices.ContainsFunc(search.Recognise(d.Text), func(m search.Meaning) bool { return m.Field == search.FieldDigest }) {
		d.Href = searchLink("digest", d.Text)
	}
	return d
}

// predicateWords names the predicate types that people know.
func predicateWords(t string) string {
	for _, known := range []struct{ prefix, words string }{
		{"https://spdx.dev/Document", "SPDX document"},
		{"https://cyclonedx.org/", "CycloneDX document"},
		{"https://slsa.dev/provenance/", "SLSA provenance"},
		{"https://slsa.dev/verification_summary/", "SLSA verification summary"},
		{"https://in-toto.io/attestation/vulns", "vulnerability scan"},
		{"https://cosign.sigstore.dev/attestation/vuln/", "vulnerability scan"},
		{"https://openvex.dev/ns", "OpenVEX document"},
		{"https://in-toto.io/attestation/link/", "in-toto link"},
		{"https://in-toto.io/Link/", "in-toto link"},
		{"https://in-toto.io/attestation/test-result/", "test result"},
		{"https://in-toto.io/attestation/release/", "release"},
		{"https://sigstore.dev/cosign/sign/", "cosign image signature"},
		{"https://docs.pypi.org/attestations/publish/", "PyPI publish attestation"},
		{"https://github.com/npm/attestation/", "npm publish attestation"},
	} {
		if strings.HasPrefix(t, known.prefix) {
			return known.words
		}
	}
	return ""
}
