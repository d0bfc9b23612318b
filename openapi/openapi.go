// Package openapi is the wire form of the Rekor v1 API: its specification file,
// the types of its answers, and the checks that every request passes before
// anything else looks at it.
//
// A request that breaks the specification is answered as Rekor's generated layer
// (go-openapi) answers it: HTTP status 422, and in the JSON body one of its codes
// above 600 with its message. Clients show both to people, and some test for
// them. Only the first fault of a request is told.
package openapi

import _ "embed"

//go:embed rekor-v1.yaml
var rekorV1 string

// RekorV1 returns the specification of the Rekor v1 API as this server speaks it,
// an OpenAPI 3.0 document in YAML.
func RekorV1() string { return rekorV1 }

//go:embed rekor-v1.swagger.json
var rekorV1Swagger string

// The conversion is done by a test, so that the converter is not linked in.
//go:generate go test -run ^TestSwagger$ -update

// RekorV1Swagger returns RekorV1 converted to OpenAPI 2, as JSON, which is what
// Rekor's clients were generated from. After a change of rekor-v1.yaml, run
// go generate.
func RekorV1Swagger() string { return rekorV1Swagger }
