package openapi

import _ "embed"

//go:embed search.yaml
var searchAPI string

// Search returns the specification of GET /api/search, this server's own API, an
// OpenAPI 3.0 document in YAML.
func Search() string { return searchAPI }

// SearchPage is the answer to GET /api/search.
type SearchPage struct {
	Entries []SearchEntry `json:"entries"` // newest first
	// Next is the cursor of the next page; absent on the last one.
	Next string `json:"next,omitempty"`
	// ScannedTo is how far the search came: what matches and is there or newer is on
	// this page or one before. Absent on the last page.
	ScannedTo  *SearchPlace     `json:"scannedTo,omitempty"`
	CompleteTo []SearchTreeSize `json:"completeTo"` // newest tree first
	// Understood is what the parameter text was taken for.
	Understood []SearchMeaning `json:"understood,omitempty"`
}

// SearchPlace is a place in the log. Tree IDs are text, because JavaScript would
// round them.
type SearchPlace struct {
	TreeID    string `json:"treeID"`
	TreeIndex int64  `json:"treeIndex"`
	LogIndex  int64  `json:"logIndex"` // counts through all shards
}

// SearchTreeSize is the size up to which a tree was searched.
type SearchTreeSize struct {
	TreeID string `json:"treeID"`
	Size   int64  `json:"size"`
}

// SearchMeaning is one thing that a text was taken for: the value of a parameter.
type SearchMeaning struct {
	Field string `json:"field"`
	Value string `json:"value"`
	Words string `json:"words"`
}

// SearchEntry is an entry that was found: what its body says, without proof.
type SearchEntry struct {
	UUID string `json:"uuid"` // entry ID
	SearchPlace
	IntegratedTime int64  `json:"integratedTime"` // Unix seconds
	Kind           string `json:"kind"`
	APIVersion     string `json:"apiVersion"`
	// Artifact, Payload and Envelope are digests: "sha256:<hex>".
	Artifact    string `json:"artifact,omitempty"`
	Payload     string `json:"payload,omitempty"`
	Envelope    string `json:"envelope,omitempty"`
	PayloadType string `json:"payloadType,omitempty"`
	// Signers has one item a signature.
	Signers []SearchSigner `json:"signers"`
	// Problem says why the body could not be read as a whole.
	Problem string `json:"problem,omitempty"`
}

// SearchSigner is who made a signature.
type SearchSigner struct {
	Identities []string `json:"identities"`
	Issuers    []string `json:"issuers"`
	// PublicKeySHA256 is the SHA-256 of the canonical PEM of key or certificate, in
	// hexadecimal; empty if it cannot be read.
	PublicKeySHA256 string `json:"publicKeySHA256,omitempty"`
}
