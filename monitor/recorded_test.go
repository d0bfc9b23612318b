package monitor

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/tallystick/tallystick/client"
	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

// vectors are a tree of 7 leaves, checkpoints at three of its sizes and all its proofs, which Rekor's own code (v1.5.4) made or takes.
type vectors struct {
	Checkpoints []struct {
		Note     string
		TreeSize int64
		RootHash string
	}
	Leaves            []struct{ BodyBase64 []byte }
	ConsistencyProofs []struct {
		FirstSize, LastSize int64
		Hashes              []string
	}
	InclusionProofs []struct {
		LeafIndex, TreeSize int64
		Hashes              []string
	}
}

// recorded is a log that answers with vectors. Of entry 4 there is all that the API answers; of the others the body.
type recorded struct {
	vectors
	size  int64 // of the checkpoint that it shows
	four  *verify.Entry
	shift int64 // by how much its indexes are wrong
	trust *verify.Trust
}

func readJSON(t testing.TB, path string, v any) {
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func newRecorded(t testing.TB) *recorded {
	r := &recorded{}
	readJSON(t, "../tlog/testdata/checkpoint.json", &r.vectors)
	readJSON(t, "../tlog/testdata/merkle-7.json", &r.vectors)
	data, err := os.ReadFile("../verify/testdata/rekor/log-entry.json")
	if err != nil {
		t.Fatal(err)
	}
	if r.four, err = verify.ParseEntry(part(t, data, "vectors 0 response")); err != nil {
		t.Fatal(err)
	}
	var sets struct{ Vectors []struct{ PublicKey string } }
	readJSON(t, "../tlog/testdata/set.json", &sets)
	if r.trust, err = verify.TrustLogKey([]byte(sets.Vectors[0].PublicKey)); err != nil {
		t.Fatal(err)
	}
	return r
}

func hashes(texts []string) (all []tlog.Hash) {
	for _, text := range texts {
		h, err := tlog.ParseHash(text)
		if err != nil {
			panic(err)
		}
		all = append(all, h)
	}
	return all
}

func (r *recorded) Trees(context.Context) ([]client.RawTree, error) {
	for _, c := range r.Checkpoints {
		if c.TreeSize == r.size {
			return []client.RawTree{{ID: strconv.Itoa(newTree), Head: tlog.Head{Size: r.size, Root: hashes([]string{c.RootHash})[0]}, Signed: []byte(c.Note)}}, nil
		}
	}
	return nil, client.ErrNotFound
}

func (r *recorded) ConsistencyPath(_ context.Context, _, first, second int64) ([]tlog.Hash, error) {
	for _, p := range r.ConsistencyProofs {
		if p.FirstSize == first && p.LastSize == second {
			return hashes(p.Hashes), nil
		}
	}
	return nil, client.ErrNotFound
}

func (r *recorded) Leaves(_ context.Context, from, to int64) (all []client.RawLeaf, err error) {
	for i := from; i < to; i++ {
		l := client.RawLeaf{LogIndex: i, Body: r.vectors.Leaves[i].BodyBase64}
		if i == 4 {
			l = client.RawLeaf{UUID: r.four.UUID, LogID: tlog.Hash(r.four.LogID).String(), LogIndex: i, IntegratedTime: r.four.IntegratedTime, Body: r.four.Body, SET: r.four.SET}
		}
		l.LogIndex += r.shift
		all = append(all, l)
	}
	return all, nil
}

func (r *recorded) Entry(_ context.Context, index int64) (*verify.Entry, error) {
	for _, p := range r.InclusionProofs {
		if p.LeafIndex == index && p.TreeSize == r.size {
			return &verify.Entry{LogIndex: index, Body: r.vectors.Leaves[index].BodyBase64, Proof: &verify.InclusionProof{Index: index, Head: tlog.Head{Size: r.size}, Path: hashes(p.Hashes)}}, nil
		}
	}
	return nil, client.ErrNotFound
}

// What Rekor signs and proves is understood.
func TestRecorded(t *testing.T) {
	for _, fromNow := range []bool{false, true} {
		r := newRecorded(t)
		o := Options{Dir: t.TempDir(), Source: r, NoSETs: true, Rules: rules(t, testRules), Now: newClock().Now}
		m, err := Open(Log{Name: "test", Trust: r.trust, FromNow: fromNow}, o)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		round := func(size int64) Report {
			r.size = size
			report, err := m.Round(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return report
		}
		for _, size := range []int64{1, 3, 3, 7} {
			if report := round(size); report.Trouble != nil || len(m.Status().Active) > 0 {
				t.Fatalf("at size %d: %+v", size, report)
			}
		}
		want := upTo(7)
		if fromNow {
			want = want[1:]
		}
		if got := matched(t, m, "all"); !slices.Equal(got, want) {
			t.Errorf("matches are of %v", got)
		}
		if round(3); m.Status().Active[0].Kind != KindStale {
			t.Errorf("alarms are %+v", m.Status().Active)
		}
	}
	// Its timestamp is checked, although the others have none; and so are indexes.
	for kind, change := range map[Kind]func(r *recorded){
		KindSET:         func(r *recorded) { r.four.IntegratedTime++ },
		KindWrongAnswer: func(r *recorded) { r.shift = 1 },
	} {
		r := newRecorded(t)
		r.size = 7
		change(r)
		m, err := Open(Log{Name: "test", Trust: r.trust}, Options{Dir: t.TempDir(), Source: r, NoSETs: true})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if _, err := m.Round(t.Context()); err != nil || len(m.Status().Active) != 1 || m.Status().Active[0].Kind != kind {
			t.Errorf("alarms are %+v, %v", m.Status().Active, err)
		}
	}
}

// What the public instance promised is a promise of the log in its trusted root.
func TestPublicReceipts(t *testing.T) {
	data, err := os.ReadFile("../verify/testdata/public-good/trusted_root.json")
	if err != nil {
		t.Fatal(err)
	}
	trust, err := verify.ParseTrustedRoot(data)
	if err != nil {
		t.Fatal(err)
	}
	if trust, err = client.Narrow(trust, "https://rekor.sigstore.dev", ""); err != nil {
		t.Fatal(err)
	}
	p, err := entry.New(entry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := rules(t, "rules: [{name: build, when: {issuer: '"+actions+"', extensions: {sourceRepositoryURI: https://github.com/sigstore/sigstore-js}}}]").of("test")
	found := 0
	for _, name := range []string{"dsse", "provenance", "publish"} {
		data, err := os.ReadFile("../verify/testdata/public-good/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		all, err := ParseReceipts(data)
		if err == nil {
			err = checkReceipts(all, trust)
		}
		if err != nil || len(all) != 1 {
			t.Errorf("%s: %v", name, err)
			continue
		}
		matches, d, unreadable := search(r, p, all[0].body)
		if unreadable || len(d.Signers) != 1 {
			t.Errorf("%s: %+v", name, d)
		}
		found += len(matches)
		for _, f := range matches {
			t.Logf("%+v", f.describe(&d).Signer)
		}
	}
	if found != 1 {
		t.Errorf("%d found", found)
	}
}
