package sig

import (
	"crypto/x509"
	"encoding/asn1"
	"strconv"
	"strings"
	"unicode/utf8"
)

// oidFulcio is the arc under which Fulcio's extensions have their numbers (fulcio,
// docs/oid-info.md).
const oidFulcio = "1.3.6.1.4.1.57264.1."

// Extension is one of the extensions by which Fulcio says, in a certificate, what it
// learnt about the signer: the repository and workflow of a build, for example.
type Extension struct {
	OID   string // "1.3.6.1.4.1.57264.1.12"
	Name  string // as in fulcio's docs/oid-info.md: "Source Repository URI"; empty if it is not known here
	Value string // always valid UTF-8
}

// fulcioNames are the names by the last number of the object identifier. 7 is no
// extension, but a kind of name (see Identities).
var fulcioNames = [...]string{
	1: "Issuer", 2: "GitHub Workflow Trigger", 3: "GitHub Workflow SHA", 4: "GitHub Workflow Name",
	5: "GitHub Workflow Repository", 6: "GitHub Workflow Ref", 8: "Issuer (V2)", 9: "Build Signer URI",
	10: "Build Signer Digest", 11: "Runner Environment", 12: "Source Repository URI", 13: "Source Repository Digest",
	14: "Source Repository Ref", 15: "Source Repository Identifier", 16: "Source Repository Owner URI",
	17: "Source Repository Owner Identifier", 18: "Build Config URI", 19: "Build Config Digest", 20: "Build Trigger",
	21: "Run Invocation URI", 22: "Source Repository Visibility At Signing", 23: "Deployment Environment",
}

// lastBareExtension is the last number whose value is the text itself. Those after
// it are a DER UTF8String.
const lastBareExtension = 6

// FulcioExtensions returns Fulcio's extensions of a certificate, in the order in
// which they stand there. One whose value is not text of the form that belongs to
// its number is left out.
func FulcioExtensions(c *x509.Certificate) []Extension {
	var found []Extension
	for _, ext := range c.Extensions {
		oid := ext.Id.String()
		last, ok := strings.CutPrefix(oid, oidFulcio)
		n, err := strconv.ParseUint(last, 10, 31)
		if !ok || err != nil {
			continue
		}
		value, ok := extensionText(n, ext.Value)
		if !ok {
			continue
		}
		e := Extension{OID: oid, Value: value}
		if n < uint64(len(fulcioNames)) {
			e.Name = fulcioNames[n]
		}
		found = append(found, e)
	}
	return found
}

func extensionText(n uint64, value []byte) (string, bool) {
	if n <= lastBareExtension {
		return string(value), utf8.Valid(value)
	}
	var text asn1.RawValue
	rest, err := asn1.Unmarshal(value, &text)
	ok := err == nil && len(rest) == 0 && text.Class == asn1.ClassUniversal && text.Tag == asn1.TagUTF8String && !text.IsCompound
	return string(text.Bytes), ok && utf8.Valid(text.Bytes)
}
