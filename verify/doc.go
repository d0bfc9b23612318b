// Package verify answers one question offline: was this artifact signed by whom
// the policy names, and is that signature in a transparency log that is trusted?
//
// It takes bytes and returns a [Result] whose every claim was proved, or an [*Error]
// that says which claim failed and why. It does no I/O, reads no clock and no
// environment, keeps no state (but for a [Cache] that a caller asks for), and needs
// next to nothing beside the standard library.
//
//	trust, err := verify.ParseTrustedRoot(root)        // trusted_root.json, or TrustLogKey
//	v, err := verify.New(trust, verify.Policy{Keys: []verify.PublicKey{{PEM: key}}})
//	evidence, err := verify.ParseBundle(bundle)        // or ParseCosign, ParseCosignBlob, …
//	result, err := v.Verify(evidence, verify.SHA256(digest))
//
// What a log entry proves, and by which rules, is decided by the entry's own kind
// and version: a Rekor v1 entry needs a signed entry timestamp (SET), and its
// checkpoint, where there is one, has the v1 form; a v2 entry needs an inclusion
// proof under a checkpoint of the C2SP form. A v1 checkpoint over a v2 entry, or
// the reverse, is refused.
//
// Everything that is read is untrusted, bounded, and read strictly: JSON members
// by their exact names and once each, base64 in one alphabet with padding. All
// evidence that a bundle carries has to hold, needed or not: an altered bundle is
// refused, whatever was altered. The exceptions: the hint that says which key signed, signature
// lines of unknown witnesses on a v2 checkpoint (C2SP signed-note asks that they be
// ignored), and the choice of one of the two equivalent forms that an ECDSA signature has.
package verify
