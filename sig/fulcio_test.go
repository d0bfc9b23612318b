package sig

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"testing"
)

func fulcioOID(n int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, n}
}

func extension(t testing.TB, n int, text string) pkix.Extension {
	t.Helper()
	if n <= 6 {
		return pkix.Extension{Id: fulcioOID(n), Value: []byte(text)}
	}
	der, err := asn1.MarshalWithParams(text, "utf8")
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: fulcioOID(n), Value: der}
}

func TestFulcioExtensions(t *testing.T) {
	c := &x509.Certificate{}
	var want []Extension
	for n, name := range map[int]string{1: "Issuer", 5: "GitHub Workflow Repository", 6: "GitHub Workflow Ref", 8: "Issuer (V2)",
		12: "Source Repository URI", 22: "Source Repository Visibility At Signing", 23: "Deployment Environment", 24: "", 99: ""} {
		c.Extensions = append(c.Extensions, extension(t, n, "value é "+name))
		want = append(want, Extension{fulcioOID(n).String(), name, "value é " + name})
	}
	bad := []pkix.Extension{
		{Id: fulcioOID(1), Value: []byte("\xff")},                          // not UTF-8
		{Id: fulcioOID(8), Value: []byte("https://bare")},                  // not DER
		{Id: fulcioOID(8), Value: []byte{asn1.TagUTF8String, 1, 0xff}},     // not UTF-8
		{Id: fulcioOID(8), Value: []byte{asn1.TagUTF8String, 1, 'a', 0}},   // more than one value
		{Id: fulcioOID(9), Value: []byte{asn1.TagPrintableString, 1, 'a'}}, // another type
		{Id: fulcioOID(9), Value: nil},                                     // empty
		{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: []byte("a")},      // another's
		{Id: append(fulcioOID(1), 1), Value: []byte("deeper")},             // below
		{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264}, Value: []byte("above")},
	}
	c.Extensions = slices.Insert(c.Extensions, 1, bad...)
	if got := FulcioExtensions(c); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func FuzzFulcioExtensions(f *testing.F) {
	f.Add(1, []byte("https://issuer"))
	f.Add(8, extension(f, 8, "https://issuer").Value)
	f.Add(12, []byte{12, 0x80})
	f.Fuzz(func(t *testing.T, n int, value []byte) {
		if n < 0 {
			return
		}
		e := FulcioExtensions(&x509.Certificate{Extensions: []pkix.Extension{{Id: fulcioOID(n), Value: value}}})
		if len(e) == 1 && n > 6 && n < 1<<31 {
			if again := extension(t, n, e[0].Value); len(value) < 128 && !slices.Equal(again.Value, value) {
				t.Errorf("%x was read as %q", value, e[0].Value)
			}
		}
	})
}
