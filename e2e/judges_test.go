package e2e

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-openapi/runtime"
	"github.com/go-openapi/strfmt"
	"github.com/go-openapi/swag/conv"
	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	dssepb "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/rekor/pkg/client"
	rekorclient "github.com/sigstore/rekor/pkg/generated/client"
	"github.com/sigstore/rekor/pkg/generated/client/entries"
	"github.com/sigstore/rekor/pkg/generated/client/index"
	"github.com/sigstore/rekor/pkg/generated/client/pubkey"
	"github.com/sigstore/rekor/pkg/generated/client/tlog"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/tle"
	"github.com/sigstore/rekor/pkg/types"
	_ "github.com/sigstore/rekor/pkg/types/dsse/v0.0.1"
	_ "github.com/sigstore/rekor/pkg/types/hashedrekord/v0.0.1"
	_ "github.com/sigstore/rekor/pkg/types/intoto/v0.0.1"
	_ "github.com/sigstore/rekor/pkg/types/intoto/v0.0.2"
	_ "github.com/sigstore/rekor/pkg/types/rekord/v0.0.1"
	"github.com/sigstore/rekor/pkg/util"
	"github.com/sigstore/rekor/pkg/verify"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	sgverify "github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
)

// judge asks a log through rekor's own client and believes nothing that rekor's
// own verifier does not accept.
type judge struct {
	t        *testing.T
	log      *testLog
	rekor    *rekorclient.Rekor
	verifier signature.Verifier
}

func newJudge(t *testing.T, l *testLog) *judge {
	t.Helper()
	rekor, err := client.GetRekorClient(l.url, client.WithRetryCount(0))
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := signature.LoadVerifier(l.publicKey(), crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return &judge{t, l, rekor, verifier}
}

// publicKey returns the log's key, read from the file that operators hand out.
func (l *testLog) publicKey() crypto.PublicKey {
	l.t.Helper()
	text, err := os.ReadFile(l.keyFile)
	if err != nil {
		l.t.Fatal(err)
	}
	b, _ := pem.Decode(text)
	if b == nil {
		l.t.Fatalf("the log's public key is not PEM: %q", text)
	}
	key, err := x509.ParsePKIXPublicKey(b.Bytes)
	if err != nil {
		l.t.Fatal(err)
	}
	return key
}

// propose turns a submission into what rekor's client sends.
func propose(t *testing.T, s submission) models.ProposedEntry {
	t.Helper()
	p := types.ArtifactProperties{ArtifactBytes: s.artifact, SignatureBytes: s.signature,
		PublicKeyBytes: [][]byte{s.verifier}, PKIFormat: "x509", ArtifactHash: s.digest}
	proposed, err := types.NewProposedEntry(t.Context(), s.kind, s.version, p)
	if err != nil {
		t.Fatalf("%s: rekor does not take the submission: %v", s, err)
	}
	if several, ok := proposed.(types.ProposedEntryIterator); ok {
		return several.Get()
	}
	return proposed
}

// upload logs an entry and judges the answer.
func (j *judge) upload(proposed models.ProposedEntry) (id string, entry models.LogEntryAnon) {
	j.t.Helper()
	answer, err := j.rekor.Entries.CreateLogEntryContext(j.t.Context(), entries.NewCreateLogEntryParams().WithProposedEntry(proposed))
	if err != nil {
		j.t.Fatalf("%s: upload: %v", proposed.Kind(), err)
	}
	id, entry = j.single(answer.Payload)
	if answer.ETag != id || !strings.HasSuffix(string(answer.Location), "/api/v1/log/entries/"+id) {
		j.t.Errorf("entry %s was answered with ETag %q and Location %q", id, answer.ETag, answer.Location)
	}
	return id, entry
}

// single takes the only entry out of an answer and verifies it: leaf hash,
// inclusion proof, checkpoint and SET.
func (j *judge) single(answer models.LogEntry) (string, models.LogEntryAnon) {
	j.t.Helper()
	if len(answer) != 1 {
		j.t.Fatalf("answer has %d entries, want 1", len(answer))
	}
	for id, entry := range answer {
		if err := verify.VerifyLogEntry(j.t.Context(), &entry, j.verifier); err != nil {
			j.t.Fatalf("rekor does not accept entry %s: %v", id, err)
		}
		return id, entry
	}
	panic("not reached: the answer has one entry")
}

// Every kind of entry: rekor's client logs it, rekor's verifier accepts every
// answer about it, and what was logged is byte for byte what rekor would log.
func TestRekorJudges(t *testing.T) {
	eachStorage(t, func(t *testing.T, storage newStorage) {
		j := newJudge(t, startLog(t, storage(t)))
		a := newAuthor(t)
		for _, s := range a.submissions("judged") {
			proposed := propose(t, s)
			id, entry := j.upload(proposed)
			body := bodyOf(t, entry)
			implementation, err := types.CreateVersionedEntry(proposed)
			if err != nil {
				t.Fatalf("%s: %v", s, err)
			}
			want, err := types.CanonicalizeEntry(t.Context(), implementation)
			if err != nil {
				t.Fatalf("%s: %v", s, err)
			}
			if !bytes.Equal(body, want) {
				t.Errorf("%s: body is\n%s\nrekor's is\n%s", s, body, want)
			}
			j.read(id, entry, proposed)
			keys, err := implementation.IndexKeys()
			if err != nil {
				t.Fatalf("%s: %v", s, err)
			}
			j.findable(id, s, keys)
		}
	})
}

// read gets an entry in every way there is and wants the same one every time.
func (j *judge) read(id string, entry models.LogEntryAnon, proposed models.ProposedEntry) {
	j.t.Helper()
	ctx := j.t.Context()
	byID, err := j.rekor.Entries.GetLogEntryByUUIDContext(ctx, entries.NewGetLogEntryByUUIDParams().WithEntryUUID(id))
	if err != nil {
		j.t.Fatal(err)
	}
	byHash, err := j.rekor.Entries.GetLogEntryByUUIDContext(ctx, entries.NewGetLogEntryByUUIDParams().WithEntryUUID(id[16:]))
	if err != nil {
		j.t.Fatal(err)
	}
	byIndex, err := j.rekor.Entries.GetLogEntryByIndexContext(ctx, entries.NewGetLogEntryByIndexParams().WithLogIndex(*entry.LogIndex))
	if err != nil {
		j.t.Fatal(err)
	}
	answers := []models.LogEntry{byID.Payload, byHash.Payload, byIndex.Payload}
	query := &models.SearchLogQuery{EntryUUIDs: []string{id}, LogIndexes: []*int64{entry.LogIndex}}
	query.SetEntries([]models.ProposedEntry{proposed})
	retrieved, err := j.rekor.Entries.SearchLogQueryContext(ctx, entries.NewSearchLogQueryParams().WithEntry(query))
	if err != nil {
		j.t.Fatal(err)
	}
	if len(retrieved.Payload) != 3 {
		j.t.Errorf("retrieve by ID, index and proposed entry returned %d answers, want 3", len(retrieved.Payload))
	}
	for i, answer := range append(answers, retrieved.Payload...) {
		gotID, got := j.single(answer)
		if gotID != id || *got.LogIndex != *entry.LogIndex || *got.IntegratedTime != *entry.IntegratedTime || got.Body != entry.Body {
			j.t.Errorf("answer %d is entry %s at %d, not %s at %d, or differs from what the upload answered", i, gotID, *got.LogIndex, id, *entry.LogIndex)
		}
	}
}

// findable searches for an entry by every key that rekor would index it under.
func (j *judge) findable(id string, s submission, keys []string) {
	j.t.Helper()
	queries := []*models.SearchIndex{{PublicKey: &models.SearchIndexPublicKey{
		Format: conv.Pointer("x509"), Content: strfmt.Base64(s.verifier)}}}
	for _, k := range keys {
		// A key's hash without prefix is what a search by public key looks for.
		if strings.HasPrefix(k, "sha") {
			queries = append(queries, &models.SearchIndex{Hash: k})
		} else if len(k) != 64 {
			j.t.Errorf("%s: rekor indexes under %q, which this test does not search for", s, k)
		}
	}
	for _, q := range queries {
		answer, err := j.rekor.Index.SearchIndexContext(j.t.Context(), index.NewSearchIndexParams().WithQuery(q))
		if err != nil {
			j.t.Fatalf("%s: search for %+v: %v", s, q, err)
		}
		if !slices.Contains(answer.Payload, id) {
			j.t.Errorf("%s: search for %+v found %v, want %s among them", s, q, answer.Payload, id)
		}
	}
}

// A checkpoint remembered from any earlier answer is consistent with the log now.
func TestRekorJudgesConsistency(t *testing.T) {
	eachStorage(t, func(t *testing.T, storage newStorage) {
		j := newJudge(t, startLog(t, storage(t)))
		a := newAuthor(t)
		var remembered []*util.SignedCheckpoint
		for _, label := range []string{"one", "two", "three"} {
			for _, s := range a.submissions(label) {
				_, entry := j.upload(propose(t, s))
				remembered = append(remembered, checkpointOf(t, *entry.Verification.InclusionProof.Checkpoint))
			}
		}
		for i, old := range remembered {
			if old.Size != uint64(i)+1 {
				t.Errorf("entry %d was answered under a checkpoint of size %d, want %d", i, old.Size, i+1)
			}
			if _, err := verify.VerifyCurrentCheckpoint(t.Context(), j.rekor, j.verifier, old); err != nil {
				t.Errorf("checkpoint of size %d: %v", old.Size, err)
			}
		}
		other := newJudge(t, startLog(t, storage(t)))
		for _, s := range a.submissions("another log") {
			other.upload(propose(t, s))
		}
		if _, err := verify.VerifyCurrentCheckpoint(t.Context(), other.rekor, j.verifier, remembered[2]); err == nil {
			t.Error("another log passed for a continuation of this one")
		}
	})
}

// The same entry again is answered with the entry that is there.
func TestRekorJudgesRetries(t *testing.T) {
	eachStorage(t, func(t *testing.T, storage newStorage) {
		j := newJudge(t, startLog(t, storage(t)))
		for _, s := range newAuthor(t).submissions("retried") {
			proposed := propose(t, s)
			firstID, first := j.upload(proposed)
			againID, again := j.upload(proposed)
			if firstID != againID || *first.LogIndex != *again.LogIndex || *first.IntegratedTime != *again.IntegratedTime {
				t.Errorf("%s: logged as %s at %d, and again as %s at %d", s, firstID, *first.LogIndex, againID, *again.LogIndex)
			}
		}
		j.log.grew(0, 5)
	})
}

// What rekor's client sees of the log itself.
func TestRekorJudgesLogInfo(t *testing.T) {
	j := newJudge(t, startLog(t, "sqlite:"))
	j.upload(propose(t, newAuthor(t).submissions("info")[0]))
	info, err := j.rekor.Tlog.GetLogInfoContext(t.Context(), tlog.NewGetLogInfoParams())
	if err != nil {
		t.Fatal(err)
	}
	checkpoint := checkpointOf(t, *info.Payload.SignedTreeHead)
	if !checkpoint.Verify(j.verifier) || checkpoint.Size != 1 || hex.EncodeToString(checkpoint.Hash) != *info.Payload.RootHash {
		t.Errorf("log info %+v does not fit its checkpoint", info.Payload)
	}
	key, err := j.rekor.Pubkey.GetPublicKeyContext(t.Context(), pubkey.NewGetPublicKeyParams().WithTreeID(info.Payload.TreeID))
	if err != nil {
		t.Fatal(err)
	}
	if want, err := os.ReadFile(j.log.keyFile); err != nil || key.Payload != string(want) {
		t.Errorf("public key of tree %s is %q, want %q (%v)", *info.Payload.TreeID, key.Payload, want, err)
	}
}

// sigstore-go, which knows hashedrekord, dsse and intoto 0.0.2, verifies bundles
// made from the log's answers, and refuses every one of them after a lie.
func TestSigstoreGoJudges(t *testing.T) {
	eachStorage(t, func(t *testing.T, storage newStorage) {
		j := newJudge(t, startLog(t, storage(t)))
		stranger := newJudge(t, startLog(t, storage(t)))
		a := newAuthor(t)
		for _, s := range a.submissions("bundled") {
			if s.kind == "rekord" || s.String() == "intoto:0.0.1" {
				continue
			}
			_, entry := j.upload(propose(t, s))
			if err := verifyBundle(t, j.log, a, s, entry, nil); err != nil {
				t.Errorf("%s: sigstore-go does not accept the log's answer: %v", s, err)
			}
			if err := verifyBundle(t, stranger.log, a, s, entry, nil); err == nil {
				t.Errorf("%s: sigstore-go accepted an entry of another log", s)
			}
			for name, lie := range entryLies() {
				if err := verifyBundle(t, j.log, a, s, entry, lie); err == nil {
					t.Errorf("%s: sigstore-go accepted a lie about the %s", s, name)
				}
			}
		}
	})
}

// entryLies are changes to an entry that must not pass.
func entryLies() map[string]func(*rekorpb.TransparencyLogEntry) {
	return map[string]func(*rekorpb.TransparencyLogEntry){
		"time":       func(e *rekorpb.TransparencyLogEntry) { e.IntegratedTime++ },
		"index":      func(e *rekorpb.TransparencyLogEntry) { e.LogIndex++ },
		"tree index": func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof.LogIndex++ },
		"tree size":  func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof.TreeSize += 8 },
		"root":       func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof.RootHash[0] ^= 1 },
		"SET":        func(e *rekorpb.TransparencyLogEntry) { e.InclusionPromise.SignedEntryTimestamp[20] ^= 1 },
		"checkpoint": func(e *rekorpb.TransparencyLogEntry) {
			e.InclusionProof.Checkpoint.Envelope = "evil" + e.InclusionProof.Checkpoint.Envelope
		},
	}
}

// verifyBundle makes a Sigstore bundle of a submission and the log's answer,
// tells a lie in it if there is one, and lets sigstore-go verify it offline with
// a trusted root that names only that log.
func verifyBundle(t *testing.T, l *testLog, a *author, s submission, entry models.LogEntryAnon, lie func(*rekorpb.TransparencyLogEntry)) error {
	t.Helper()
	logged, err := tle.GenerateTransparencyLogEntry(entry)
	if err != nil {
		t.Fatal(err)
	}
	if lie != nil {
		lie(logged)
	}
	b, err := bundle.NewBundle(pack(t, s, logged))
	if err != nil {
		return err
	}
	verifier, err := sgverify.NewVerifier(trustIn(t, l, a), sgverify.WithTransparencyLog(1), sgverify.WithIntegratedTimestamps(1))
	if err != nil {
		t.Fatal(err)
	}
	policy := sgverify.NewPolicy(sgverify.WithoutArtifactUnsafe(), sgverify.WithKey())
	if s.signature != nil {
		policy = sgverify.NewPolicy(sgverify.WithArtifact(bytes.NewReader(s.artifact)), sgverify.WithKey())
	}
	_, err = verifier.Verify(b, policy)
	return err
}

// pack makes the bundle message.
func pack(t *testing.T, s submission, logged *rekorpb.TransparencyLogEntry) *bundlepb.Bundle {
	t.Helper()
	out := &bundlepb.Bundle{
		MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
		VerificationMaterial: &bundlepb.VerificationMaterial{
			Content:     &bundlepb.VerificationMaterial_PublicKey{PublicKey: &commonpb.PublicKeyIdentifier{Hint: "author"}},
			TlogEntries: []*rekorpb.TransparencyLogEntry{logged},
		},
	}
	if s.signature != nil {
		digest, err := hex.DecodeString(s.digest)
		if err != nil {
			t.Fatal(err)
		}
		out.Content = &bundlepb.Bundle_MessageSignature{MessageSignature: &commonpb.MessageSignature{
			MessageDigest: &commonpb.HashOutput{Algorithm: commonpb.HashAlgorithm_SHA2_256, Digest: digest},
			Signature:     s.signature,
		}}
		return out
	}
	var envelope struct {
		PayloadType string
		Payload     []byte
		Signatures  []struct{ Sig []byte }
	}
	if err := json.Unmarshal(s.artifact, &envelope); err != nil {
		t.Fatal(err)
	}
	out.Content = &bundlepb.Bundle_DsseEnvelope{DsseEnvelope: &dssepb.Envelope{
		Payload: envelope.Payload, PayloadType: envelope.PayloadType,
		Signatures: []*dssepb.Signature{{Sig: envelope.Signatures[0].Sig}},
	}}
	return out
}

// trustIn returns trust in one log and one author.
func trustIn(t *testing.T, l *testLog, a *author) root.TrustedMaterial {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(l.publicKey())
	if err != nil {
		t.Fatal(err)
	}
	hash := crypto.SHA256.New()
	hash.Write(spki)
	id := hash.Sum(nil)
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01, nil, nil, nil, map[string]*root.TransparencyLog{
		hex.EncodeToString(id): {BaseURL: l.url, ID: id, HashFunc: crypto.SHA256, PublicKey: l.publicKey(),
			SignatureHashFunc: crypto.SHA256, ValidityPeriodStart: time.Now().Add(-time.Hour)},
	})
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := signature.LoadVerifier(&a.key.PublicKey, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	key := root.NewExpiringKey(verifier, time.Time{}, time.Time{})
	keys := root.NewTrustedPublicKeyMaterialFromMapping(map[string]*root.ExpiringKey{"author": key})
	return root.TrustedMaterialCollection{trusted, keys}
}

// Bodies read back from the log parse as rekor's own types: what rekor-monitor does
// with every entry.
func TestRekorParsesEveryBody(t *testing.T) {
	j := newJudge(t, startLog(t, "sqlite:"))
	kinds := map[string]bool{}
	for _, s := range newAuthor(t).submissions("parsed") {
		_, entry := j.upload(propose(t, s))
		parsed, err := models.UnmarshalProposedEntry(bytes.NewReader(bodyOf(t, entry)), runtime.JSONConsumer())
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		implementation, err := types.UnmarshalEntry(parsed)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		if _, err := implementation.Verifiers(); err != nil {
			t.Errorf("%s: %v", s, err)
		}
		kinds[parsed.Kind()+":"+implementation.APIVersion()] = true
	}
	if len(kinds) != 5 {
		t.Errorf("logged %v, want 5 kinds and versions", slices.Sorted(maps.Keys(kinds)))
	}
}

func bodyOf(t *testing.T, entry models.LogEntryAnon) []byte {
	t.Helper()
	body, err := base64.StdEncoding.DecodeString(entry.Body.(string))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func checkpointOf(t *testing.T, text string) *util.SignedCheckpoint {
	t.Helper()
	var c util.SignedCheckpoint
	if err := c.UnmarshalText([]byte(text)); err != nil {
		t.Fatalf("checkpoint %q: %v", text, err)
	}
	return &c
}
