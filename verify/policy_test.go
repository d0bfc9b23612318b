package verify

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/sig"
)

func ExampleParsePolicy() {
	policy, err := ParsePolicy([]byte(`{
		"identities": [{
			"issuer": "https://token.actions.githubusercontent.com",
			"subjectRegexp": "^https://github\\.com/example/app/\\.github/workflows/release\\.yml@refs/tags/v[0-9.]+$",
			"extensions": {"1.3.6.1.4.1.57264.1.12": "https://github.com/example/app"}
		}],
		"predicateType": "https://slsa.dev/provenance/v1",
		"scts": "none"
	}`))
	fmt.Println(policy.Identities[0].SubjectRegexp, policy.SCTs == None, err)

	_, err = ParsePolicy([]byte(`{"identities": [{"issuer": "https://accounts.example.test", "subject": "", "subjectRegExp": ".*"}]}`))
	fmt.Println(err)
	// Output:
	// ^https://github\.com/example/app/\.github/workflows/release\.yml@refs/tags/v[0-9.]+$ true <nil>
	// policy not met: policy: identities[0]: subject is empty
}

// Each member of the JSON is the field of its name.
func TestParsePolicy(t *testing.T) {
	n := readNotes(t)
	key := string(pemOf(decode(t, n.Ed25519.SPKI)))
	w := "witness w " + n.Witness.VKey + "\nquorum w\n"
	start, end := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2027, 1, 1, 0, 0, 0, 500, time.UTC)
	for _, tt := range []struct {
		text string
		want Policy
	}{
		{
			fmt.Sprintf(`{"keys":[{"pem":%q}]}`, key),
			Policy{Keys: []PublicKey{{PEM: []byte(key)}}},
		},
		{
			fmt.Sprintf(`{"keys":[{"validFor":{"start":"2026-01-01T00:00:00Z","end":"2027-01-01T01:00:00.0000005+01:00"},"pem":%q},{"pem":%q,"validFor":{"end":"2026-01-01T00:00:00Z"}}],
				"logEntries":2,"signedTimestamps":3,"witnesses":%q,"time":"2026-01-01T00:00:00Z","ignoreTimestamps":false,"inclusionProofs":true,"predicateType":"p"}`, key, pemOf(decode(t, n.RSA.SPKI)), w),
			Policy{Keys: []PublicKey{{[]byte(key), Window{start, end}}, {pemOf(decode(t, n.RSA.SPKI)), Window{End: start}}},
				LogEntries: 2, SignedTimestamps: 3, Witnesses: w, Time: start, PredicateType: "p", InclusionProofs: true},
		},
		{
			`{"identities":[{"issuer":"a","subject":"b"},{"issuerRegexp":"c","subjectRegexp":"d","extensions":{"1.3.6.1.4.1.57264.1.9":"e","1.3.6.1.4.1.57264.1.10":"f"}}],
				"logEntries":"none","signedTimestamps":"none","scts":"none","ignoreTimestamps":true,"time":"2026-01-01T00:00:00Z"}`,
			Policy{Identities: []Identity{{Issuer: "a", Subject: "b"}, {IssuerRegexp: "c", SubjectRegexp: "d", Extensions: map[string]string{"1.3.6.1.4.1.57264.1.9": "e", "1.3.6.1.4.1.57264.1.10": "f"}}},
				LogEntries: None, SignedTimestamps: None, SCTs: None, IgnoreTimestamps: true, Time: start},
		},
		{
			`{"identities":[{"issuer":"a","subject":"b"}],"scts":64}`,
			Policy{Identities: []Identity{{Issuer: "a", Subject: "b"}}, SCTs: 64},
		},
	} {
		got, err := ParsePolicy([]byte(tt.text))
		if err != nil || !reflect.DeepEqual(got, tt.want) || got.Digest() != tt.want.Digest() {
			t.Errorf("%s:\n%+v, %v\nwant %+v", tt.text, got, err, tt.want)
		}
	}
	// Every field of a Policy is read from JSON, and counts in the digest.
	if n := reflect.TypeFor[Policy]().NumField(); n != len(policyChanges(t)) {
		t.Errorf("a Policy has %d fields, and %d are tested", n, len(policyChanges(t)))
	}
}

func TestParsePolicyRefuses(t *testing.T) {
	n := readNotes(t)
	key := fmt.Sprintf(`{"pem":%q}`, pemOf(decode(t, n.Ed25519.SPKI)))
	identity := `{"issuer":"a","subject":"b"}`
	with := func(member string) string { return `{"keys":[` + key + `],` + member + `}` }
	whom := func(members string) string { return `{"identities":[{` + members + `}]}` }
	for _, tt := range []struct{ text, reason string }{
		{``, "not an object"},
		{`null`, "not an object"},
		{`[]`, "not an object"},
		{`{`, "unexpected end"},
		{`{}`, "empty"},
		{with(`"logEntries":1`) + `x`, "follows"},
		{with(`"logEntries":1`) + `{}`, "follows"},
		{`{"logEntries":1}`, "either keys or identities"},
		{`{"keys":[],"logEntries":1}`, "keys is empty"},
		{`{"keys":null}`, "keys is not an array"},
		{`{"keys":{}}`, "keys is not an array"},
		{`{"keys":[null]}`, "a key is not an object"},
		{`{"keys":[{}]}`, "a key is empty"},
		{`{"keys":["x"]}`, "a key is not an object"},
		{`{"keys":[{"pem":""}]}`, "pem is empty"},
		{`{"keys":[{"pem":"x"}]}`, "key 0: invalid public key"},
		{`{"keys":[{"pem":null}]}`, "pem is not a string"},
		{`{"keys":[{"PEM":"x"}]}`, `no member "PEM"`},
		{`{"keys":[` + key[:len(key)-1] + `,"valid":{}}]}`, `no member "valid"`},
		{`{"keys":[` + key[:len(key)-1] + `,"validFor":null}]}`, "validFor is not an object"},
		{`{"keys":[` + key[:len(key)-1] + `,"validFor":{}}]}`, "validFor is empty"},
		{`{"keys":[` + key[:len(key)-1] + `,"validFor":{"start":null}}]}`, "start is not a string"},
		{`{"keys":[` + key[:len(key)-1] + `,"validFor":{"end":"0001-01-01T00:00:00Z"}}]}`, "RFC 3339"},
		{`{"keys":[` + key[:len(key)-1] + `,"validFor":{"notAfter":"2026-01-01T00:00:00Z"}}]}`, `no member "notAfter"`},
		{`{"keys":[` + key[:len(key)-1] + `,"validFor":{"start":"2026-01-01T00:00:01Z","end":"2026-01-01T00:00:00Z"}}]}`, "ends before it starts"},
		{`{"keys":[` + key + `,` + key + `]}`, "keys 0 and 1 are the same"},
		{`{"keys":[` + key + `],"identities":[` + identity + `]}`, "either keys or identities"},
		{`{"keys":[` + strings.Repeat("0,", MaxSigners) + `0]}`, "a key is not an object"},
		{`{"keys":[` + key + `],"keys":[` + key + `]}`, "given twice"},
		{`{"Keys":[` + key + `]}`, `no member "Keys"`},
		{with(`"identity":{}`), `no member "identity"`},
		{with(`"identities":[]`), "identities is empty"},
		{with(`"predicateType":""`), "predicateType is empty"},
		{with(`"predicateType":null`), "predicateType is not a string"},
		{with(`"predicateType":["a"]`), "predicateType is not a string"},
		{with(`"logEntries":0`), "logEntries is 0"},
		{with(`"logEntries":-1`), "logEntries is not a number"},
		{with(`"logEntries":65`), "logEntries is 65"},
		{with(`"logEntries":1.0`), "logEntries"},
		{with(`"logEntries":1e0`), "logEntries"},
		{with(`"logEntries":99999999999999999999`), "logEntries"},
		{with(`"logEntries":"1"`), "logEntries is neither"},
		{with(`"logEntries":"None"`), "logEntries is neither"},
		{with(`"logEntries":null`), "logEntries is not a number"},
		{with(`"logEntries":true`), "logEntries is not a number"},
		{with(`"signedTimestamps":0`), "signedTimestamps is 0"},
		{with(`"signedTimestamps":1,"ignoreTimestamps":true`), "ignores them"},
		{with(`"scts":0`), "scts is 0"},
		{with(`"scts":1`), "only certificates have"},
		{with(`"witnesses":""`), "witnesses is empty"},
		{with(`"witnesses":null`), "witnesses is not a string"},
		{with(`"witnesses":"quorum w"`), "witness policy: line 1"},
		{with(`"witnesses":"quorum none","logEntries":"none"`), "no entries"},
		{with(`"time":"yesterday"`), "RFC 3339"},
		{with(`"time":""`), "RFC 3339"},
		{with(`"time":null`), "time is not a string"},
		{with(`"time":"0001-01-01T00:00:00Z"`), "RFC 3339"},
		{with(`"ignoreTimestamps":null`), "ignoreTimestamps is neither"},
		{with(`"ignoreTimestamps":"true"`), "ignoreTimestamps is neither"},
		{with(`"ignoreTimestamps":1`), "ignoreTimestamps is neither"},
		{`{"identities":[null]}`, "an identity is not an object"},
		{whom(``), "an identity is empty"},
		{whom(`"issuer":"a"`), "identity 0: subject: one of"},
		{whom(`"subject":"a"`), "identity 0: issuer: one of"},
		{whom(`"issuer":"a","issuerRegexp":"a","subject":"b"`), "identity 0: issuer: one of"},
		{whom(`"issuer":"a","subject":"b","subjectRegexp":"b"`), "identity 0: subject: one of"},
		{whom(`"issuer":"","issuerRegexp":"a","subject":"b"`), "issuer is empty"},
		{whom(`"issuer":"a","subject":null,"subjectRegexp":"b"`), "subject is not a string"},
		{whom(`"issuer":"a","subjectRegExp":"b"`), `no member "subjectRegExp"`},
		{whom(`"issuer":"a","subject":"b","name":"c"`), `no member "name"`},
		{whom(`"issuerRegexp":"(","subject":"b"`), "identity 0: issuer: error parsing regexp"},
		{whom(`"issuer":"a","subjectRegexp":"a(?!b)"`), "identity 0: subject: error parsing regexp"},
		{whom(`"issuer":"a","subjectRegexp":"` + strings.Repeat("a", MaxRegexp+1) + `"`), "4097 bytes"},
		{whom(`"issuer":"a","subjectRegexp":"(?:.{9}{9}{9}[^0]){13}"`), "error parsing regexp"},
		{whom(`"issuer":"a","subjectRegexp":"(?:abcdefghijklmno){1000}"`), "too large"},
		{whom(`"issuer":"a","subjectRegexp":"` + strings.Repeat(`x{1000}`, 12) + `"`), "too large"},
		{whom(`"issuer":"a","subjectRegexp":"` + strings.Repeat(`\\pL`, 400) + `"`), "too large"},
		{whom(`"issuer":"a","subject":"b","extensions":{}`), "extensions is empty"},
		{whom(`"issuer":"a","subject":"b","extensions":null`), "extensions is not an object"},
		{whom(`"issuer":"a","subject":"b","extensions":{"1.3.6.1.4.1.57264.1.9":""}`), "is empty"},
		{whom(`"issuer":"a","subject":"b","extensions":{"1.3.6.1.4.1.57264.1.9":1}`), "not a string"},
		{whom(`"issuer":"a","subject":"b","extensions":{"1.3.6.1.4.1.57264.1.9":"a","1.3.6.1.4.1.57264.1.9":"b"}`), "given twice"},
		{whom(`"issuer":"a","subject":"b","extensions":{"issuer":"a"}`), "not an object identifier of Fulcio's"},
		{whom(`"issuer":"a","subject":"b","extensions":{"1.3.6.1.4.1.57264.1.09":"a"}`), "not an object identifier of Fulcio's"},
		{whom(`"issuer":"a","subject":"b","extensions":{"1.3.6.1.4.1.57264.1.":"a"}`), "not an object identifier of Fulcio's"},
		{whom(`"issuer":"a","subject":"b","extensions":{"2.5.29.17":"a"}`), "not an object identifier of Fulcio's"},
		{whom(`"issuer":"a","subject":"b","extensions":{"1.3.6.1.4.1.57264.2.9":"a"}`), "not an object identifier of Fulcio's"},
		{`{"identities":[` + identity + `],"logEntries":"none"}`, "nothing would prove when"},
	} {
		p, err := ParsePolicy([]byte(tt.text))
		checkClass(t, tt.text, err, ErrPolicy)
		if !reflect.DeepEqual(p, Policy{}) {
			t.Errorf("%s: a policy was returned", tt.text)
		}
		if err != nil && !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%s: %v, not %q", tt.text, err, tt.reason)
		}
	}
	long := with(`"logEntries":1`) + strings.Repeat(" ", MaxPolicy)
	if _, err := ParsePolicy([]byte(long)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("too long: %v", err)
	}
	many := `{"identities":[` + strings.Repeat(identity+",", MaxSigners) + identity + `]}`
	if _, err := ParsePolicy([]byte(many)); err == nil || !strings.Contains(err.Error(), "more than 256") {
		t.Errorf("too many: %v", err)
	}
}

// A policy asks for nothing that the trust cannot give, and nothing is taken for granted.
func TestCompile(t *testing.T) {
	n := readNotes(t)
	ec, rsaKey := mustKey(t, n.ECDSA.SPKI), mustKey(t, n.RSA.SPKI)
	ca := newAuthority(t, 2)
	material := Material{
		Logs:                   []Log{{Key: ec}, {Key: rsaKey}, {Key: ec, ID: []byte("the first one again")}},
		CTLogs:                 []Log{{Key: ec}, {Key: rsaKey, ID: []byte("a")}, {Key: rsaKey, ID: []byte("b")}},
		CertificateAuthorities: []Authority{{Chain: ca}},
		TimestampAuthorities: []Authority{{URI: "a", Chain: ca}, {URI: "a", Chain: newAuthority(t, 1)},
			{URI: "b", Chain: ca}, {URI: "c", Chain: newAuthority(t, 1)}},
	}
	full, err := NewTrust(material)
	if err != nil {
		t.Fatal(err)
	}
	only := func(change func(m *Material)) *Trust {
		m := material
		change(&m)
		trust, err := NewTrust(m)
		if err != nil {
			t.Fatal(err)
		}
		return trust
	}
	noCA := only(func(m *Material) { m.CertificateAuthorities = nil })
	noCT := only(func(m *Material) { m.CTLogs = nil })
	noLogs := only(func(m *Material) { m.Logs = nil })

	key := PublicKey{PEM: pemOf(decode(t, n.ECDSA.SPKI))}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	timedKey := PublicKey{PEM: key.PEM, Valid: Window{End: now}}
	who := []Identity{{Issuer: "a", SubjectRegexp: "b"}}
	w := "witness w " + n.Witness.VKey + "\nquorum w"
	type numbers struct{ logs, timestamps, scts int }
	for _, tt := range []struct {
		name   string
		p      Policy
		trust  *Trust
		want   numbers
		reason string // "" if it is fine
	}{
		{"key", Policy{Keys: []PublicKey{key}}, full, numbers{1, 0, 0}, ""},
		{"key without CA", Policy{Keys: []PublicKey{key}}, noCA, numbers{1, 0, 0}, ""},
		{"key without logs", Policy{Keys: []PublicKey{key}}, noLogs, numbers{}, "log entries of distinct logs, 1 of them, but 0"},
		{"key, no entries", Policy{Keys: []PublicKey{key}, LogEntries: None}, noLogs, numbers{0, 0, 0}, ""},
		{"two logs", Policy{Keys: []PublicKey{key}, LogEntries: 2}, full, numbers{2, 0, 0}, ""},
		{"three logs", Policy{Keys: []PublicKey{key}, LogEntries: 3}, full, numbers{}, "3 of them, but 2"},
		{"two TSAs", Policy{Keys: []PublicKey{key}, SignedTimestamps: 2}, full, numbers{1, 2, 0}, ""},
		{"three TSAs", Policy{Keys: []PublicKey{key}, SignedTimestamps: 3}, full, numbers{}, "timestamps of distinct authorities, 3 of them, but 2"},
		{"no TSAs", Policy{Keys: []PublicKey{key}, SignedTimestamps: None}, full, numbers{1, 0, 0}, ""},
		{"identity", Policy{Identities: who}, full, numbers{1, 0, 1}, ""},
		{"identity without CT logs", Policy{Identities: who}, noCT, numbers{1, 0, 0}, ""},
		{"identity, SCT without CT logs", Policy{Identities: who, SCTs: 1}, noCT, numbers{}, "SCTs of distinct CT logs, 1 of them, but 0"},
		{"identity, two SCTs", Policy{Identities: who, SCTs: 2}, full, numbers{1, 0, 2}, ""},
		{"identity, three SCTs", Policy{Identities: who, SCTs: 3}, full, numbers{}, "3 of them, but 2"},
		{"identity, no SCTs", Policy{Identities: who, SCTs: None}, full, numbers{1, 0, 0}, ""},
		{"identity without CA", Policy{Identities: who}, noCA, numbers{}, "no certificate authority"},
		{"identity, no entries, timestamp", Policy{Identities: who, LogEntries: None, SignedTimestamps: 1}, full, numbers{0, 1, 1}, ""},
		{"identity, no entries, time", Policy{Identities: who, LogEntries: None, Time: now}, full, numbers{0, 0, 1}, ""},
		{"identity, no time", Policy{Identities: who, LogEntries: None}, full, numbers{}, "nothing would prove when"},
		{"key with a window", Policy{Keys: []PublicKey{timedKey}}, full, numbers{1, 0, 0}, ""},
		{"key with a window, no time", Policy{Keys: []PublicKey{timedKey}, LogEntries: None}, full, numbers{}, "nothing would prove when"},
		{"key with a window, time", Policy{Keys: []PublicKey{timedKey}, LogEntries: None, Time: now}, full, numbers{}, ""},
		{"nobody", Policy{}, full, numbers{}, "either keys or identities"},
		{"both", Policy{Keys: []PublicKey{key}, Identities: who}, full, numbers{}, "either keys or identities"},
		{"many keys", Policy{Keys: make([]PublicKey, MaxSigners+1)}, full, numbers{}, "257"},
		{"many identities", Policy{Identities: make([]Identity, MaxSigners+1)}, full, numbers{}, "257"},
		{"log entries -2", Policy{Keys: []PublicKey{key}, LogEntries: -2}, full, numbers{}, "below"},
		{"timestamps -2", Policy{Keys: []PublicKey{key}, SignedTimestamps: -2}, full, numbers{}, "below"},
		{"SCTs -2", Policy{Keys: []PublicKey{key}, SCTs: -2}, full, numbers{}, "below"},
		{"SCTs for a key", Policy{Keys: []PublicKey{key}, SCTs: 1}, full, numbers{}, "only certificates"},
		{"no SCTs for a key", Policy{Keys: []PublicKey{key}, SCTs: None}, full, numbers{1, 0, 0}, ""},
		{"timestamps ignored", Policy{Keys: []PublicKey{key}, SignedTimestamps: 1, IgnoreTimestamps: true}, full, numbers{}, "ignores them"},
		{"timestamps left aside", Policy{Keys: []PublicKey{key}, IgnoreTimestamps: true}, full, numbers{1, 0, 0}, ""},
		{"witnesses", Policy{Keys: []PublicKey{key}, Witnesses: w}, full, numbers{1, 0, 0}, ""},
		{"witnesses of no entries", Policy{Keys: []PublicKey{key}, Witnesses: w, LogEntries: None}, full, numbers{}, "no entries"},
		{"no witness policy", Policy{Keys: []PublicKey{key}, Witnesses: " "}, full, numbers{}, "no quorum"},
		{"certificate", Policy{Keys: []PublicKey{{PEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca[0].Raw})}}}, full, numbers{}, "certificate, not a public key"},
		{"two keys in one", Policy{Keys: []PublicKey{{PEM: append(bytes.Clone(key.PEM), key.PEM...)}}}, full, numbers{}, "key 0"},
		{"no key", Policy{Keys: []PublicKey{{}}}, full, numbers{}, "key 0"},
		{"the second is no key", Policy{Keys: []PublicKey{key, {}}}, full, numbers{}, "key 1"},
		{"a key twice", Policy{Keys: []PublicKey{key, timedKey}}, full, numbers{}, "keys 0 and 1"},
		{"bad window", Policy{Keys: []PublicKey{{key.PEM, Window{now, now.Add(-1)}}}}, full, numbers{}, "ends before"},
		{"no issuer", Policy{Identities: []Identity{{Subject: "b"}}}, full, numbers{}, "issuer"},
		{"no subject", Policy{Identities: []Identity{who[0], {Issuer: "b"}}}, full, numbers{}, "identity 1: subject"},
		{"many extensions", Policy{Identities: []Identity{{Issuer: "a", Subject: "b", Extensions: manyExtensions()}}}, full, numbers{}, "33 extensions"},
		{"empty extension", Policy{Identities: []Identity{{Issuer: "a", Subject: "b", Extensions: map[string]string{"1.3.6.1.4.1.57264.1.9": ""}}}}, full, numbers{}, "empty value"},
		{"no trust", Policy{Keys: []PublicKey{key}}, nil, numbers{}, "no trust"},
	} {
		r, err := tt.p.compile(tt.trust)
		if tt.reason != "" {
			checkClass(t, tt.name, err, ErrPolicy)
			if r != nil || err != nil && !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("%s: %v, %v, not %q", tt.name, r, err, tt.reason)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := (numbers{r.logEntries, r.timestamps, r.scts}); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
		if len(r.keys) != len(tt.p.Keys) || len(r.identities) != len(tt.p.Identities) || (r.witnesses != nil) != (tt.p.Witnesses != "") ||
			r.digest != tt.p.Digest() || !r.time.Equal(tt.p.Time) || r.ignoreTimestamps != tt.p.IgnoreTimestamps || r.predicateType != tt.p.PredicateType {
			t.Errorf("%s: the rules are %+v", tt.name, r)
		}
		for i, k := range r.keys {
			want, _ := sig.ParsePEM(tt.p.Keys[i].PEM)
			if !k.key.SamePublic(want) || k.valid != tt.p.Keys[i].Valid {
				t.Errorf("%s: key %d is %+v", tt.name, i, k)
			}
		}
	}
}

func TestMatcher(t *testing.T) {
	const oid, other = "1.3.6.1.4.1.57264.1.9", "1.3.6.1.4.1.57264.1.10"
	extensions := map[string]string{oid: "value", other: ""}
	lookup := func(oid string) (string, bool) { v, ok := extensions[oid]; return v, ok }
	long := strings.Repeat("b", maxMatched)
	for _, tt := range []struct {
		i               Identity
		issuer, subject string
		want            bool
	}{
		{Identity{Issuer: "a", Subject: "b"}, "a", "b", true},
		{Identity{Issuer: "a", Subject: "b"}, "a", "B", false},
		{Identity{Issuer: "a", Subject: "b"}, "A", "b", false},
		{Identity{Issuer: "a", Subject: "b"}, "ab", "b", false},
		{Identity{Issuer: "a", Subject: "b"}, "a", "ab", false},
		{Identity{Issuer: "a", Subject: "b"}, "b", "a", false},
		{Identity{Issuer: "a", Subject: "b"}, "", "", false},
		{Identity{Issuer: "a", Subject: "b"}, "a", "", false},
		{Identity{Issuer: "a", Subject: "."}, "a", "b", false},
		{Identity{Issuer: "a", Subject: long + "b"}, "a", long + "b", true},
		{Identity{IssuerRegexp: "a", SubjectRegexp: "b"}, "xax", "xbx", true},
		{Identity{IssuerRegexp: "^a$", SubjectRegexp: "^b$"}, "a", "b", true},
		{Identity{IssuerRegexp: "^a$", SubjectRegexp: "^b$"}, "a", "xbx", false},
		{Identity{IssuerRegexp: "^a$", SubjectRegexp: "^b$"}, "xa", "b", false},
		{Identity{IssuerRegexp: "^a$", SubjectRegexp: "^b$"}, "a", "b\n", false},
		{Identity{IssuerRegexp: "^a$", SubjectRegexp: "^b$"}, "a", "x\nb", false},
		{Identity{IssuerRegexp: ".*", SubjectRegexp: ".*"}, "", "", false},
		{Identity{IssuerRegexp: ".*", SubjectRegexp: ".*"}, "a", "", false},
		{Identity{IssuerRegexp: ".*", SubjectRegexp: ".*"}, "", "b", false},
		{Identity{IssuerRegexp: ".*", SubjectRegexp: ".*"}, "a", long, true},
		{Identity{IssuerRegexp: ".*", SubjectRegexp: ".*"}, "a", long + "b", false},
		{Identity{IssuerRegexp: ".*", SubjectRegexp: ".*"}, long + "b", "b", false},
		{Identity{Issuer: "a", Subject: "b", Extensions: map[string]string{oid: "value"}}, "a", "b", true},
		{Identity{Issuer: "a", Subject: "b", Extensions: map[string]string{oid: "value"}}, "a", "c", false},
		{Identity{Issuer: "a", Subject: "b", Extensions: map[string]string{oid: "other"}}, "a", "b", false},
		{Identity{Issuer: "a", Subject: "b", Extensions: map[string]string{oid: "val"}}, "a", "b", false},
		{Identity{Issuer: "a", Subject: "b", Extensions: map[string]string{oid: "value", other: "x"}}, "a", "b", false},
		{Identity{Issuer: "a", Subject: "b", Extensions: map[string]string{oid + "1": "value"}}, "a", "b", false},
	} {
		m, err := newMatcher(tt.i)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.matches(tt.issuer, tt.subject, lookup); got != tt.want {
			t.Errorf("%+v matches %.20q, %.20q: %v", tt.i, tt.issuer, tt.subject, got)
		}
	}
	if new(matcher).matches("", "", lookup) {
		t.Error("the zero matcher matches")
	}
}

// policyChanges are, for each field of Policy by name, values that all mean something else.
func policyChanges(t testing.TB) map[string][]any {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return map[string][]any{
		"Keys": {[]PublicKey{{PEM: []byte("a")}}, []PublicKey{{PEM: []byte("b")}}, []PublicKey{{PEM: []byte("a")}, {}}, []PublicKey{{}, {PEM: []byte("a")}},
			[]PublicKey{{[]byte("a"), Window{Start: now}}}, []PublicKey{{[]byte("a"), Window{End: now}}}},
		"Identities": {[]Identity{{}}, []Identity{{Issuer: "a"}}, []Identity{{IssuerRegexp: "a"}}, []Identity{{Subject: "a"}}, []Identity{{SubjectRegexp: "a"}},
			[]Identity{{Issuer: "ab"}}, []Identity{{Issuer: "a", IssuerRegexp: "b"}}, []Identity{{}, {}}, []Identity{{Extensions: map[string]string{"a": "b"}}},
			[]Identity{{Extensions: map[string]string{"b": "a"}}}, []Identity{{Extensions: map[string]string{"b": "b"}}}, []Identity{{Extensions: map[string]string{"a": "b", "b": "a"}}}, []Identity{{Extensions: map[string]string{"a": ""}}}},
		"PredicateType":    {"a", "b"},
		"LogEntries":       {None, 1, 2, 256},
		"SignedTimestamps": {None, 1, 2, 256},
		"SCTs":             {None, 1, 2, 256},
		"Witnesses":        {"a", "b"},
		"Time":             {now, now.Add(1), now.Add(time.Second), time.Unix(0, 0)},
		"IgnoreTimestamps": {true},
		"InclusionProofs":  {true},
	}
}

// The digest tells every policy from every other.
func TestPolicyDigest(t *testing.T) {
	seen := map[[32]byte]string{Policy{}.Digest(): "the zero policy"}
	for field, values := range policyChanges(t) {
		for i, v := range values {
			var p Policy
			reflect.ValueOf(&p).Elem().FieldByName(field).Set(reflect.ValueOf(v))
			name := fmt.Sprintf("%s %d", field, i)
			if other, ok := seen[p.Digest()]; ok {
				t.Errorf("%s and %s have one digest", name, other)
			}
			seen[p.Digest()] = name
		}
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := Policy{Time: now, Keys: []PublicKey{}, Identities: []Identity{{Extensions: map[string]string{}}}}
	q := Policy{Time: now.In(time.FixedZone("", 3600)), Identities: []Identity{{}}}
	if p.Digest() != q.Digest() {
		t.Error("empty and nil, or two zones, have two digests")
	}
	for range 20 { // maps have no order
		p.Identities[0].Extensions = map[string]string{"a": "1", "b": "2", "c": "3"}
		q.Identities[0].Extensions = map[string]string{"c": "3", "b": "2", "a": "1"}
		if p.Digest() != q.Digest() {
			t.Fatal("one map has two digests")
		}
	}
}

// Policies of strangers are refused, or are policies that any trust can be asked about.
func FuzzParsePolicy(f *testing.F) {
	n := readNotes(f)
	f.Add(fmt.Appendf(nil, `{"keys":[{"pem":%q,"validFor":{"start":"2026-01-01T00:00:00Z","end":"2027-01-01T00:00:00Z"}}],"logEntries":1,"witnesses":%q}`,
		pemOf(decode(f, n.ECDSA.SPKI)), "witness w "+n.Witness.VKey+"\nquorum w"))
	f.Add([]byte(`{"identities":[{"issuer":"a","subjectRegexp":"^b[0-9]+$","extensions":{"1.3.6.1.4.1.57264.1.9":"c"}}],"scts":"none","signedTimestamps":"none","time":"2026-01-01T00:00:00Z","ignoreTimestamps":true}`))
	trust, err := ParseTrustedRoot(readTestFile(f, "testdata/public-good/trusted_root.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePolicy(data)
		if err != nil {
			checkClass(t, "policy", err, ErrPolicy)
			return
		}
		if !json.Valid(data) {
			t.Error("it is not JSON")
		}
		r, err := p.compile(trust)
		if err != nil {
			checkClass(t, "policy and trust", err, ErrPolicy)
			return
		}
		if r.digest != p.Digest() {
			t.Error("two digests")
		}
		for i := range r.identities {
			r.identities[i].matches("https://accounts.example.test", strings.Repeat("b", 100), func(string) (string, bool) { return "c", true })
			if r.identities[i].matches("", "b", func(string) (string, bool) { return "c", true }) {
				t.Error("nobody's word is enough")
			}
		}
	})
}

func manyExtensions() map[string]string {
	m := map[string]string{}
	for i := range MaxExtensions + 1 {
		m[fmt.Sprintf("1.3.6.1.4.1.57264.1.%d", i)] = "a"
	}
	return m
}

func pemOf(spki []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
}
