package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/sig/strictjson"
	"github.com/tallystick/tallystick/verify"
)

// verifyEvidence are the files that a signature is in.
type verifyEvidence struct {
	Bundle      string `name:"bundle" placeholder:"FILE" help:"The signature with all that belongs to it: a Sigstore bundle, or what cosign sign-blob --bundle wrote before there were such. With --payload or --attestation: the log's part of it alone (the annotation dev.sigstore.cosign/bundle)."`
	Signature   string `name:"signature" placeholder:"FILE" help:"The signature alone, as it is or in base64."`
	Payload     string `name:"payload" placeholder:"FILE" help:"What was signed for an image, in cosign's older format."`
	Attestation string `name:"attestation" placeholder:"FILE" help:"The attestation alone: a DSSE envelope."`
	Certificate string `name:"certificate" placeholder:"FILE" help:"The signer's certificate, and what may come with it (PEM, also in base64)."`
	Entry       string `name:"entry" placeholder:"FILE" help:"The log's entry, as its API answered, or as a TransparencyLogEntry (JSON)."`
	Timestamp   string `name:"rfc3161-timestamp" placeholder:"FILE" help:"A signed timestamp, as cosign writes it or as it is."`
}

// given reports whether one of the flags is set.
func (f *verifyEvidence) given() bool { return *f != (verifyEvidence{}) }

// files are the contents of what the flags name; nil for what they do not.
type files struct{ bundle, signature, payload, attestation, certificate, entry, timestamp []byte }

// read returns the evidence. An error that is a refusal is for what the files hold.
func (f *verifyEvidence) read() (*verify.Evidence, error) {
	var in files
	for _, file := range []struct {
		flag, path string
		limit      int64
		to         *[]byte
	}{
		{"--bundle", f.Bundle, verify.MaxBundle, &in.bundle},
		{"--signature", f.Signature, 2 * verify.MaxSignature, &in.signature},
		{"--payload", f.Payload, verify.MaxBundle, &in.payload},
		{"--attestation", f.Attestation, verify.MaxBundle, &in.attestation},
		{"--certificate", f.Certificate, 2 * sig.MaxPEM, &in.certificate},
		{"--entry", f.Entry, verify.MaxBundle, &in.entry},
		{"--rfc3161-timestamp", f.Timestamp, 2 * verify.MaxTimestamp, &in.timestamp},
	} {
		if file.path == "" {
			continue
		}
		data, err := readLimited(file.path, file.limit)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file.flag, err)
		}
		if len(data) == 0 {
			return nil, fmt.Errorf("%s: %s is empty", file.flag, file.path)
		}
		*file.to = data
	}
	return in.evidence()
}

// evidence puts together what the files hold.
func (in *files) evidence() (*verify.Evidence, error) {
	in.certificate = unBase64(in.certificate)
	switch {
	case in.bundle != nil && in.payload == nil && in.attestation == nil:
		return in.wholeBundle()
	case in.attestation != nil && in.signature == nil && in.payload == nil:
		if in.entry == nil {
			return in.cosign(in.attestation, "")
		}
	case in.payload != nil && in.signature != nil && in.attestation == nil && in.entry == nil:
		return in.cosign(in.payload, base64.StdEncoding.EncodeToString(unBase64(in.signature)))
	case in.signature != nil && in.payload == nil && in.attestation == nil:
	default:
		return nil, usageError{errors.New("these files do not go together: a signature is in --bundle, in --signature, in --signature and --payload, or in --attestation")}
	}
	if in.bundle != nil {
		return nil, usageError{errors.New("--entry and --bundle both say what the log holds")}
	}
	parts := verify.Signed{Signature: unBase64(in.signature), Envelope: in.attestation, Certificate: in.certificate}
	if in.entry != nil {
		e, err := verify.ParseEntry(in.entry)
		if err != nil {
			return nil, err
		}
		parts.Entries = []*verify.Entry{e}
	}
	if in.timestamp != nil {
		t, err := readTimestamp(in.timestamp)
		if err != nil {
			return nil, err
		}
		parts.Timestamps = [][]byte{t}
	}
	return verify.NewEvidence(parts)
}

// wholeBundle reads a bundle of either form, which is told by its members.
func (in *files) wholeBundle() (*verify.Evidence, error) {
	if in.signature != nil || in.certificate != nil || in.entry != nil {
		return nil, usageError{errors.New("--bundle has the signature, its certificate and the log's entry: these flags do not go with it")}
	}
	switch members := membersOf(in.bundle); {
	case members["base64Signature"]:
		return verify.ParseCosignBlob(in.bundle, in.timestamp)
	case members["SignedEntryTimestamp"]:
		return nil, usageError{errors.New("--bundle has the log's part alone: the signature is missing (--payload and --signature, or --attestation)")}
	case in.timestamp != nil:
		return nil, usageError{errors.New("--rfc3161-timestamp does not go with a Sigstore bundle, which has its own")}
	}
	return verify.ParseBundle(in.bundle)
}

// cosign reads the parts of an image's signature or attestation in cosign's older format.
func (in *files) cosign(payload []byte, signature string) (*verify.Evidence, error) {
	timestamp := in.timestamp
	if timestamp != nil && timestamp[0] != '{' {
		timestamp = fmt.Appendf(nil, `{"SignedRFC3161Timestamp":%q}`, base64.StdEncoding.EncodeToString(timestamp))
	}
	return verify.ParseCosign(verify.CosignSignature{
		Payload: payload, Signature: signature, Certificate: string(in.certificate), Bundle: string(in.bundle), Timestamp: string(timestamp),
	})
}

// unBase64 decodes what is in base64, and returns what is not as it is: neither signatures nor PEM
// look like base64.
func unBase64(data []byte) []byte {
	text := bytes.TrimSpace(data)
	out := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(out, text)
	if err != nil || bytes.ContainsAny(text, "\r\n") || n == 0 {
		return data
	}
	return out[:n]
}

// membersOf returns the names of an object's members; none if data is no object.
func membersOf(data []byte) map[string]bool {
	members := map[string]bool{}
	r := strictjson.New(data)
	if r.Object(func(name []byte) error { members[string(name)] = true; return nil }) != nil {
		return nil
	}
	return members
}

// readTimestamp reads a timestamp as it is (DER), or {"SignedRFC3161Timestamp":base64}, as cosign writes it.
func readTimestamp(data []byte) ([]byte, error) {
	if data[0] != '{' {
		return data, nil
	}
	var text []byte
	r := strictjson.New(data)
	err := r.Object(func(name []byte) (err error) {
		if string(name) != "SignedRFC3161Timestamp" {
			return fmt.Errorf("a timestamp has no member %q", name)
		}
		text, err = r.Text()
		return err
	})
	if err == nil {
		err = r.End()
	}
	var token []byte
	if err == nil {
		token, err = base64.StdEncoding.Strict().DecodeString(string(text))
	}
	if err != nil {
		return nil, &verify.Error{Class: verify.ErrMalformed, Claim: "timestamp", Err: err}
	}
	return token, nil
}
