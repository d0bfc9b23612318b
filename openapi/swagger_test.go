package openapi

import (
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
)

const swaggerFile = "rekor-v1.swagger.json"

var update = flag.Bool("update", false, "write "+swaggerFile+" anew")

// TestSwagger checks that the OpenAPI 2 document is the conversion of the OpenAPI 3
// one, and reads back with the same operations.
func TestSwagger(t *testing.T) {
	v3, err := openapi3.NewLoader().LoadFromData([]byte(RekorV1()))
	if err != nil {
		t.Fatal(err)
	}
	v2, err := openapi2conv.FromV3(v3)
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.MarshalIndent(v2, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(swaggerFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return // what is embedded is still the old one
	}
	if RekorV1Swagger() != string(want) {
		t.Fatalf("%s is not the conversion of rekor-v1.yaml: run go generate ./openapi", swaggerFile)
	}
	var back openapi2.T
	if err := json.Unmarshal([]byte(RekorV1Swagger()), &back); err != nil {
		t.Fatal(err)
	}
	if back.Swagger != "2.0" || len(back.Paths) != v3.Paths.Len() {
		t.Errorf("version %q, %d paths, not 2.0 and %d", back.Swagger, len(back.Paths), v3.Paths.Len())
	}
	for path, item := range v3.Paths.Map() {
		for method, op := range item.Operations() {
			if got := back.Paths[path].GetOperation(method); got.OperationID != op.OperationID {
				t.Errorf("%s %s is %q, not %q", method, path, got.OperationID, op.OperationID)
			}
		}
	}
}
