package verify_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/verify"
)

// A checkpoint says and is signed what its generation of Rekor says and signs.
func TestLiesOfCheckpoints(t *testing.T) {
	w := newWorld(t)
	v1, v2 := w.Spec(forge.Message, w.V1).Make(), w.Spec(forge.Message, w.V2).Make()
	note := func(m *forge.Made, checkpoint string) forge.Node {
		return forge.With(m.Bundle(), checkpoint, entry(proof, "checkpoint", "envelope")...)
	}
	text := func(m *forge.Made) string {
		s, _, _ := strings.Cut(m.Entries[0].Log.Checkpoint(m.Entries[0].Size), "\n\n")
		return s + "\n"
	}
	resigned := func(m *forge.Made, change func(lines []string) []string) forge.Node {
		lines := change(strings.Split(strings.TrimSuffix(text(m), "\n"), "\n"))
		return note(m, m.Entries[0].Log.SignCheckpoint(strings.Join(lines, "\n")+"\n"))
	}
	line := func(m *forge.Made, i int, v string) forge.Node {
		return resigned(m, func(lines []string) []string { lines[i] = v; return lines })
	}
	root := m256("another root")
	good1, good2 := v1.Entries[0].Log.Checkpoint(v1.Entries[0].Size), v2.Entries[0].Log.Checkpoint(v2.Entries[0].Size)
	stranger := forge.NewWitness("stranger.example.test", w.Now)
	signedBy := func(m *forge.Made, name string, hint []byte, key *forge.Key) string {
		return text(m) + "\n" + forge.NoteLine(name, hint, key.SignMessage([]byte(text(m))))
	}
	l1, l2 := w.V1, w.V2
	key1, key2 := l1.ID()[:4], l2.ID()[:4]
	c2spECDSA := sha256.Sum256(append([]byte(w.V2ECDSA.Host+"\n\x02"), w.V2ECDSA.Key.SPKI...))
	v2e := w.Spec(forge.Message, w.V2ECDSA).Make()
	bad := is(verify.ErrBadProof)
	either := is(verify.ErrBadProof, verify.ErrMalformed, verify.ErrUntrustedLog)
	w.judge(t, []lie{
		{name: "v1 another root", want: bad, tree: line(v1, 2, forge.Base64(root))},
		{name: "v2 another root", want: bad, tree: line(v2, 2, forge.Base64(root))},
		{name: "v1 another size", want: bad, tree: line(v1, 1, "13")},
		{name: "v2 another size", want: bad, tree: line(v2, 1, "13")},
		{name: "v1 size 0", want: bad, tree: line(v1, 1, "0")},
		{name: "v1 negative size", want: either, tree: line(v1, 1, "-6")},
		{name: "v1 size with a zero", want: either, tree: line(v1, 1, "06")},
		{name: "v1 size with a plus", want: either, tree: line(v1, 1, "+6")},
		{name: "v1 size too large", want: either, tree: line(v1, 1, "18446744073709551622")},
		{name: "v1 root without padding", want: either, tree: line(v1, 2, strings.TrimRight(forge.Base64(root), "="))},
		{name: "v1 root in hexadecimal", want: either, tree: line(v1, 2, fmt.Sprintf("%x", root))},
		{name: "v1 origin of v2", want: bad, tree: line(v1, 0, l1.Host)},
		{name: "v2 origin of v1", want: bad, tree: line(v2, 0, l2.Host+" - 1")},
		{name: "v1 origin of another host", want: either, tree: line(v1, 0, "evil.example.test - 1")},
		{name: "v1 origin without host", want: either, tree: line(v1, 0, " - 1")},
		{name: "v1 origin without tree", want: either, tree: line(v1, 0, l1.Host+" - ")},
		{name: "v1 origin with tree 0", want: either, tree: line(v1, 0, l1.Host+" - 0")},
		{name: "v1 origin with a negative tree", want: either, tree: line(v1, 0, l1.Host+" - -1")},
		{name: "v1 origin with a tree too large", want: either, tree: line(v1, 0, l1.Host+" - 18446744073709551615")},
		{name: "v1 origin of another tree of the log", tree: line(v1, 0, l1.Host+" - 7")},
		{name: "v2 origin of another host", want: either, tree: line(v2, 0, "evil.example.test")},
		{name: "v2 origin with a path", want: either, tree: line(v2, 0, l2.Host+"/log")},
		{name: "v2 origin in capitals", want: either, tree: line(v2, 0, strings.ToUpper(l2.Host))},
		{name: "v2 with an extension", tree: resigned(v2, func(l []string) []string { return append(l, "extension") })},
		{name: "v1 with an extension", tree: resigned(v1, func(l []string) []string { return append(l, "extension") })},
		{name: "v1 with a tab", want: either, tree: resigned(v1, func(l []string) []string { return append(l, "a\tb") })},
		{name: "v2 with a tab", want: either, tree: resigned(v2, func(l []string) []string { return append(l, "a\tb") })},
		{name: "v1 with carriage returns", want: either, tree: resigned(v1, func(l []string) []string { return append(l, "x\r") })},
		{name: "v1 with an empty line", want: either, tree: resigned(v1, func(l []string) []string { return append(l, "", "x") })},
		{name: "v2 with an empty line", want: either, tree: resigned(v2, func(l []string) []string { return append(l, "", "x") })},
		{name: "v1 two lines", want: either, tree: resigned(v1, func(l []string) []string { return l[:2] })},
		{name: "v2 two lines", want: either, tree: resigned(v2, func(l []string) []string { return l[:2] })},

		{name: "v1 with a second signature", want: either, tree: note(v1, good1+stranger.Cosign(text(v1)))},
		{name: "v1 with its signature twice", want: either, tree: note(v1, good1+signatureLines(good1))},
		{name: "v1 with a second key's signature first", want: either, tree: note(v1, strings.Replace(good1, "\n\n", "\n\n"+stranger.Cosign(text(v1)), 1))},
		{name: "v1 signed under another name", want: either, tree: note(v1, signedBy(v1, "evil.example.test", key1, l1.Key))},
		{name: "v1 signed under its origin", want: either, tree: note(v1, signedBy(v1, l1.Origin(), key1, l1.Key))},
		{name: "v1 signed with another hint", want: either, tree: note(v1, signedBy(v1, l1.Host, key2, l1.Key))},
		{name: "v1 signed by the author", want: either, tree: note(v1, signedBy(v1, l1.Host, key1, w.Author))},
		{name: "v1 signed by the v2 log", want: either, tree: note(v1, signedBy(v1, l1.Host, key2, l2.Key))},
		{name: "v2 signed under another name", want: either, tree: note(v2, signedBy(v2, "evil.example.test", key2, l2.Key))},
		{name: "v2 signed with another hint", want: either, tree: note(v2, signedBy(v2, l2.Host, key1, l2.Key))},
		{name: "v2 signed by the author", want: either, tree: note(v2, signedBy(v2, l2.Host, key2, w.Author))},
		{name: "v2 signed by the v1 log", want: either, tree: note(v2, signedBy(v2, l2.Host, key1, l1.Key))},
		{name: "v2 with a stranger's line", tree: note(v2, good2+stranger.Cosign(text(v2)))},
		{name: "v2 with a stranger's line first", tree: note(v2, strings.Replace(good2, "\n\n", "\n\n"+stranger.Cosign(text(v2)), 1))},
		{name: "v2 with a stranger's line alone", want: either, tree: note(v2, text(v2)+"\n"+stranger.Cosign(text(v2)))},
		{name: "v2 with a broken line of the log besides", want: either, tree: note(v2, good2+forge.NoteLine(l2.Host, key2, make([]byte, 64)))},
		{name: "v2 with a broken line of the log first", want: either, tree: note(v2, strings.Replace(good2, "\n\n", "\n\n"+forge.NoteLine(l2.Host, key2, make([]byte, 64)), 1))},
		{name: "v2 ECDSA with C2SP's key hash", want: either, tree: note(v2e, signedBy(v2e, w.V2ECDSA.Host, c2spECDSA[:4], w.V2ECDSA.Key))},
		{name: "v2 with too much", want: is(verify.ErrMalformed, verify.ErrBadProof), tree: note(v2, good2+strings.Repeat(stranger.Cosign(text(v2)), 200))},
	})
}

func m256(s string) []byte { return digest([]byte(s)) }

// signatureLines returns the signature lines of a note.
func signatureLines(note string) string {
	_, lines, _ := strings.Cut(note, "\n\n")
	return lines
}

// A quorum is of distinct witnesses who signed this very checkpoint.
func TestLiesOfWitnesses(t *testing.T) {
	w := newWorld(t)
	asking := func(k int) *verify.Verifier {
		p := w.byKey()
		p.Witnesses = w.quorum(k)
		return w.verifier(t, p)
	}
	made := func(l *forge.Log, ws ...*forge.Witness) *forge.Made {
		s := w.Spec(forge.Message, l)
		s.Witnesses = ws
		return s.Make()
	}
	cosigned := func(ws ...*forge.Witness) forge.Node { return made(w.V2, ws...).Bundle() }
	m := made(w.V2, w.Witnesses[0])
	e := m.Entries[0]
	body, _, _ := strings.Cut(e.Log.Checkpoint(e.Size), "\n\n")
	body += "\n"
	plus := func(lines string) forge.Node {
		return forge.With(m.Bundle(), e.Log.Checkpoint(e.Size, w.Witnesses[0])+lines, entry(proof, "checkpoint", "envelope")...)
	}
	second := w.Witnesses[1]
	stranger := forge.NewWitness("stranger.example.test", w.Now)
	impostor := forge.NewWitness(second.Name, w.Now)
	impostor.Key = forge.Ed25519("impostor")
	mid := func(line string, i int) string { // a bit of a signature line changed
		b := []byte(line)
		b[i] = nextDigit(b[i])
		return string(b)
	}
	never := forge.NewWitness(second.Name, time.Unix(0, 0))
	older := forge.NewWitness(w.Witnesses[0].Name, w.Now.Add(-time.Hour))
	plain := second.Key.SignMessage([]byte(body))
	two := made(w.V1)
	none := is(verify.ErrWitness)
	some := is(verify.ErrWitness, verify.ErrBadProof, verify.ErrMalformed)
	w.judge(t, []lie{
		{name: "two of two", tree: cosigned(w.Witnesses[0], second), v: asking(2)},
		{name: "three of two", tree: cosigned(w.Witnesses...), v: asking(2)},
		{name: "in another order", tree: cosigned(second, w.Witnesses[0]), v: asking(2)},
		{name: "one of two", want: none, tree: cosigned(second), v: asking(2)},
		{name: "none of one", want: none, tree: cosigned(), v: asking(1)},
		{name: "a stranger", want: none, tree: cosigned(stranger), v: asking(1)},
		{name: "a stranger besides", tree: cosigned(w.Witnesses[0], stranger), v: asking(1)},
		{name: "one twice", want: some, tree: cosigned(second, second), v: asking(2)},
		{name: "one at two times", want: some, tree: plus(older.Cosign(body)), v: asking(2)},
		{name: "another checkpoint's", want: some, tree: plus(second.Cosign("x\n1\n" + forge.Base64(m256("x")) + "\n")), v: asking(2)},
		{name: "another checkpoint's, not needed", want: some, tree: plus(second.Cosign("x\n1\n" + forge.Base64(m256("x")) + "\n")), v: asking(1)},
		{name: "an impostor's", want: some, tree: plus(impostor.Cosign(body)), v: asking(2)},
		{name: "a bit changed", want: some, tree: plus(mid(second.Cosign(body), 60)), v: asking(2)},
		{name: "a bit changed, not needed", want: some, tree: plus(mid(second.Cosign(body), 60)), v: asking(1)},
		{name: "without a time", want: some, tree: plus(forge.NoteLine(second.Name, hintOf(second), plain)), v: asking(2)},
		{name: "at time 0", want: some, tree: plus(never.Cosign(body)), v: asking(2)},
		{name: "a v1 checkpoint", want: is(verify.ErrWitness, verify.ErrBadProof, verify.ErrPolicy), tree: two.Bundle(), v: asking(1)},
		{name: "a v1 checkpoint, cosigned", want: some, tree: made(w.V1, w.Witnesses...).Bundle(), v: asking(1)},
		{name: "SET alone", want: some, tree: changedSpec(w.Spec(forge.Message, w.V1), func(s *forge.Spec) { s.Version, s.Has = "0.1", forge.SETOnly }).Make().Bundle(), v: asking(1)},
		{name: "cosigned before the log's line", tree: forge.With(m.Bundle(), body+"\n"+w.Witnesses[0].Cosign(body)+signatureLines(e.Log.Checkpoint(e.Size)), entry(proof, "checkpoint", "envelope")...), v: asking(1)},
		{name: "not signed by the log", want: is(verify.ErrBadProof, verify.ErrUntrustedLog), tree: forge.With(m.Bundle(), body+"\n"+w.Witnesses[0].Cosign(body), entry(proof, "checkpoint", "envelope")...), v: asking(1)},
	})
}

// hintOf returns the key hash of a witness, as its verifier key gives it.
func hintOf(w *forge.Witness) []byte {
	var hint []byte
	_, err := fmt.Sscanf(strings.Split(w.VKey(), "+")[1], "%x", &hint)
	if err != nil {
		panic(err)
	}
	return hint
}
