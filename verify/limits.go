package verify

// Limits of evidence. What is over them is refused before any cryptography.
const (
	MaxBundle         = 16 << 20 // bytes of a bundle, an envelope or any other input
	MaxEntries        = 32       // log entries of a bundle
	MaxTimestamps     = 32       // RFC 3161 timestamps of a bundle
	MaxTimestamp      = 64 << 10 // bytes of a timestamp
	MaxCertificate    = 64 << 10 // bytes of a certificate
	MaxSignature      = 8 << 10  // bytes of a signature
	MaxProof          = 64       // hashes of an inclusion or consistency proof
	MaxSubjects       = 1024     // subjects of a statement
	MaxSubjectDigests = 32       // digests of a subject
	MaxEntryBody      = 4 << 20  // bytes of an entry's body
)
