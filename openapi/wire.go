package openapi

// The members of every answer stand in the order in which Rekor writes them,
// which is alphabetical.

// LogEntry is an object with one member: the entry ID (80 lower-case hexadecimal
// digits: tree ID and leaf hash) and the entry.
type LogEntry map[string]LogEntryAnon

// LogEntryAnon is an entry of the log, with its proofs.
type LogEntryAnon struct {
	Attestation *Attestation `json:"attestation,omitempty"`
	// Body is the leaf.
	Body []byte `json:"body"`
	// IntegratedTime is in Unix seconds.
	IntegratedTime int64 `json:"integratedTime"`
	// LogID is the SHA-256 of the log key, in hexadecimal.
	LogID string `json:"logID"`
	// LogIndex counts through all shards.
	LogIndex     int64        `json:"logIndex"`
	Verification Verification `json:"verification"`
}

// Attestation is the payload that the entry's body holds a hash of.
type Attestation struct {
	Data []byte `json:"data"`
}

// Verification is what proves that the log took the entry. Both are there, except
// when the log has stopped signing: then the signature is missing, and the proof
// too for an entry that no signed checkpoint covers.
type Verification struct {
	InclusionProof       *InclusionProof `json:"inclusionProof,omitempty"`
	SignedEntryTimestamp []byte          `json:"signedEntryTimestamp,omitempty"`
}

// InclusionProof proves that the tree behind the checkpoint has the entry.
type InclusionProof struct {
	Checkpoint string   `json:"checkpoint"`
	Hashes     []string `json:"hashes"`
	// LogIndex counts within the tree, unlike LogEntryAnon.LogIndex.
	LogIndex int64  `json:"logIndex"`
	RootHash string `json:"rootHash"`
	TreeSize int64  `json:"treeSize"`
}

// LogInfo says what the log is at this moment.
type LogInfo struct {
	// InactiveShards are the older trees, oldest first; null if there are none.
	InactiveShards []ShardInfo `json:"inactiveShards"`
	ShardInfo
}

// ShardInfo says what one tree is at this moment.
type ShardInfo struct {
	RootHash string `json:"rootHash"`
	// SignedTreeHead is the checkpoint.
	SignedTreeHead string `json:"signedTreeHead"`
	// TreeID is a decimal number as text, because JavaScript would round it.
	TreeID   string `json:"treeID"`
	TreeSize int64  `json:"treeSize"`
}

// ConsistencyProof proves that a tree extends an older state of itself.
type ConsistencyProof struct {
	Hashes []string `json:"hashes"`
	// RootHash is that of the current tree, whatever sizes were asked for.
	RootHash string `json:"rootHash"`
}

// Error is the body of every answer that is not a success, save 404 for an entry.
type Error struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}
