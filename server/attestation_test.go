package server

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/tlog"
)

// An attestation that is not what it is stored as, or not the one that the body names, is
// damage: counted, told to the operator, and neither shown nor served. The entry is
// answered as one whose attestation is gone.
func TestDamagedAttestation(t *testing.T) {
	evil := statementOf(t, "ghcr.io/mallory/evil", "https://slsa.dev/provenance/v1", object{})
	for name, damage := range map[string]func(l *fakeLog, leaf int){
		"other bytes": func(l *fakeLog, leaf int) { l.data[l.leaves[leaf].Attestation] = []byte(evil) },
		"no bytes":    func(l *fakeLog, leaf int) { l.data[l.leaves[leaf].Attestation] = nil },
		"other attestation": func(l *fakeLog, leaf int) {
			l.leaves[leaf].Attestation = sha256.Sum256([]byte(evil))
			l.data[l.leaves[leaf].Attestation] = []byte(evil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			s := newSite(t, logTo(&log))
			_, id := s.last()
			l := s.logOf(id)
			leaf := len(l.leaves) - 2
			if data := s.want(200, 0, "GET", "/api/v1/log/entries/"+id, ""); !strings.Contains(data.Body.String(), `"attestation"`) {
				t.Fatalf("without an attestation: %s", data.Body)
			}
			whole := s.do("GET", "/entry/"+id, "").Body.String()
			if w := s.do("GET", "/entry/"+id+"/attestation", ""); w.Code != 200 || w.Body.String() != s.statement || !strings.Contains(whole, "ghcr.io/acme/widgets") {
				t.Fatalf("the attestation: %d %s", w.Code, w.Body)
			}
			if n := s.counter("tallystick_damaged_entries_total"); n != 0 {
				t.Fatalf("%v damages", n)
			}
			damage(l, leaf)
			if w := s.do("GET", "/entry/"+id+"/attestation", ""); w.Code != 404 {
				t.Errorf("served with status %d: %s", w.Code, w.Body)
			}
			w := s.do("GET", "/entry/"+id, "")
			if w.Code != 200 || strings.Contains(w.Body.String(), "mallory") || strings.Contains(w.Body.String(), "/attestation") {
				t.Errorf("the page, status %d, shows it", w.Code)
			}
			if n := s.counter("tallystick_damaged_entries_total"); n != 2 || !strings.Contains(log.String(), "DAMAGE") {
				t.Errorf("%v damages; log: %s", n, log.String())
			}
			// What a client of the v1 API gets is bound to the body by its own check only; what is
			// stored under a wrong digest it does not get.
			for _, w := range []string{
				s.want(200, 0, "GET", "/api/v1/log/entries/"+id, "").Body.String(),
				s.want(200, 0, "POST", "/api/v1/log/entries/retrieve", `{"entryUUIDs":["`+id+`"]}`).Body.String(),
			} {
				if strings.Contains(w, `"attestation"`) != (name == "other attestation") {
					t.Errorf("%.300s", w)
				}
			}
			if l.leaves[leaf].Attestation == (tlog.Hash{}) {
				t.Error("nothing was damaged")
			}
			s.idle()
		})
	}
}
