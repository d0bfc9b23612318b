package forge

import "crypto/x509"

// Bundle returns the evidence as a Sigstore bundle (sigstore_bundle.proto).
func (m *Made) Bundle() Object {
	h, _, proto := m.hash()
	mediaType := "application/vnd.dev.sigstore.bundle+json;version=" + m.Version
	if m.Version == "0.3" {
		mediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	}
	material := Object{}
	switch {
	case m.Certificate == nil:
		material["publicKey"] = Object{"hint": "author"}
	case m.Version == "0.3":
		material["certificate"] = Object{"rawBytes": Base64(m.Certificate.Raw)}
	default:
		material["x509CertificateChain"] = CertificateChain(append([]*x509.Certificate{m.Certificate}, m.Chain...)...)
	}
	var entries Array
	for _, e := range m.Entries {
		entries = append(entries, e.TLE(m.Has))
	}
	if entries != nil {
		material["tlogEntries"] = entries
	}
	if stamps := m.timestamps(); stamps != nil {
		material["timestampVerificationData"] = Object{"rfc3161Timestamps": stamps}
	}
	bundle := Object{"mediaType": mediaType, "verificationMaterial": material}
	if m.Content == Attest {
		bundle["dsseEnvelope"] = m.Envelope
	} else {
		signed := m.Artifact
		if m.Content == Simple {
			signed = m.Payload
		}
		bundle["messageSignature"] = Object{
			"messageDigest": Object{"algorithm": proto, "digest": Base64(digestOf(h, signed))},
			"signature":     Base64(m.Signature),
		}
	}
	return bundle
}

func (m *Made) timestamps() Array {
	var all Array
	for _, s := range m.Stamps {
		all = append(all, Object{"signedTimestamp": Base64(s)})
	}
	return all
}

// Annotations returns the evidence as cosign attaches it to an image in its older
// format: the layer as "payload", text or an Object, and the annotations by their names.
func (m *Made) Annotations() Object {
	o := Object{"dev.sigstore.cosign/bundle": m.Entries[0].RekorBundle()}
	if m.Content == Attest {
		o["payload"] = m.Envelope
	} else {
		o["payload"] = string(m.Payload)
		o["dev.cosignproject.cosign/signature"] = Base64(m.Signature)
	}
	if m.Certificate != nil {
		o["dev.sigstore.cosign/certificate"] = string(CertificatePEM(m.Certificate))
	}
	if m.Chain != nil {
		o["dev.sigstore.cosign/chain"] = string(CertificatePEM(m.Chain...))
	}
	if m.Stamps != nil {
		o["dev.sigstore.cosign/rfc3161timestamp"] = Object{"SignedRFC3161Timestamp": Base64(m.Stamps[0])}
	}
	return o
}

// Blob returns the evidence as `cosign sign-blob --bundle` writes it in its older format.
func (m *Made) Blob() Object {
	return Object{
		"base64Signature": Base64(m.Signature),
		"cert":            Base64(m.verifier()),
		"rekorBundle":     m.Entries[0].RekorBundle(),
	}
}
