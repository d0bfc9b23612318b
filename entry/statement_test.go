package entry

import (
	"slices"
	"testing"

	"github.com/tallystick/tallystick/tlog"
)

func TestKeysOfStatement(t *testing.T) {
	digest := func(values ...string) (keys []tlog.Key) {
		for _, v := range values {
			keys = append(keys, tlog.Key{Type: tlog.KeyDigest, Value: v})
		}
		return keys
	}
	for payload, want := range map[string][]tlog.Key{
		`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a","digest":{"sha256":"AB","gitCommit":"cd"}}]}`:  digest("sha256:ab", "gitcommit:cd"),
		`{"_type":"https://in-toto.io/Statement/v0.1","subject":[],"predicate":{"materials":[{"digest":{"sha1":"01"}}]}}`: digest("sha1:01"),
		`{"_type":"https://in-toto.io/Statement/v1"}`:                                                                     nil,
		`{"_type":"https://example.test/v1","subject":[{"digest":{"sha256":"ab"}}]}`:                                      nil,
		`{"subject":[{"digest":{"sha256":"ab"}}]}`:                                                                        nil,
		`{"_type":7,"subject":[{"digest":{"sha256":"ab"}}]}`:                                                              nil,
		`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"ab"`:                                  nil,
		`[]`: nil, ``: nil,
	} {
		if got := StatementKeys([]byte(payload)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, not %v", payload, got, want)
		}
	}
}
