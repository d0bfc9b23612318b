// Package verify answers one question offline: was this artifact signed by whom
// the policy names, and is that signature in a transparency log that is trusted?
//
// It takes bytes and returns a [Result] whose every claim was proved, or an [*Error]
// that says which claim failed and why. It does no I/O, reads no clock and no
// environment, keeps no state (but for a [Cache] that a caller asks for), and needs
// next to nothing beside the standard library.
//
//	trust, err := verify.ParseTrustedRoot(root)        // trusted_root.json, or TrustLogKey
//	v, err := verify.New(trust, verify.Policy{Keys: []verify.PublicKey{{PEM: key}}}, verify.Options{})
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
// refused, whatever was altered. What can be altered without changing what it says:
//
//   - the hint that says which key signed, which nobody vouches for;
//   - signature lines of unknown witnesses on a v2 checkpoint, which C2SP signed-note wants ignored, and the order of lines;
//   - which of the two equivalent forms an ECDSA signature has, and those parts of a timestamp that exist in several
//     forms (see package timestamp);
//   - white space between JSON tokens and in PEM, text after the PEM block and the case of hexadecimal in v1 bodies;
//   - what the older formats may be without: the inclusion proof, the chain, a stored attestation. A bundle's DSSE envelope is encoded
//     anew, so its hash in a v1 body is not compared;
//   - the version in a bundle's media type, where the rest fits another one too. A bundle of version 0.1 needs no inclusion
//     proof, and so it can be left out there: Policy.InclusionProofs demands it.
package verify
