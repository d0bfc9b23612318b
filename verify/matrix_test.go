package verify_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/verify"
)

// classes are the classes that a refusal may be of.
type classes []error

func (c classes) match(err error) bool {
	return slices.ContainsFunc(c, func(class error) bool { return errors.Is(err, class) })
}

// expected says which classes a refusal has if what is at a path was altered into
// something that can be read. The first pattern that fits counts.
var expected = []struct {
	path *regexp.Regexp
	classes
}{
	{regexp.MustCompile(`mediaType$`), classes{verify.ErrMalformed}},
	{regexp.MustCompile(`signedEntryTimestamp$|SignedEntryTimestamp$`), classes{verify.ErrBadProof}},
	{regexp.MustCompile(`(integratedTime|logIndex)$`), classes{verify.ErrBadProof}},
	{regexp.MustCompile(`(keyId|logID)$`), classes{verify.ErrUntrustedLog, verify.ErrBadProof}},
	{regexp.MustCompile(`kindVersion`), classes{verify.ErrMalformed}},
	{regexp.MustCompile(`canonicalizedBody$|\.body$`), classes{verify.ErrMalformed, verify.ErrBadProof}},
	{regexp.MustCompile(`(treeSize|rootHash)$|hashes(\[\d\])?$`), classes{verify.ErrBadProof, verify.ErrMalformed}},
	{regexp.MustCompile(`checkpoint(\.envelope)?$`), classes{verify.ErrBadProof, verify.ErrUntrustedLog, verify.ErrMalformed, verify.ErrWitness}},
	{regexp.MustCompile(`inclusionP[a-z]+$|verification$|Payload$|rekorBundle$|tlogEntries(\[\d\])?$|logId$|bundle$|^entry`),
		classes{verify.ErrBadProof, verify.ErrMalformed, verify.ErrUntrustedLog, verify.ErrPolicy}},
	{regexp.MustCompile(`messageDigest`), classes{verify.ErrWrongArtifact, verify.ErrMalformed}},
	{regexp.MustCompile(`^payload|dsseEnvelope|^envelope`), classes{verify.ErrWrongArtifact, verify.ErrBadSignature, verify.ErrBadProof, verify.ErrMalformed}},
	{regexp.MustCompile(`[sS]ignature$`), classes{verify.ErrBadSignature, verify.ErrBadProof, verify.ErrWrongArtifact, verify.ErrMalformed}},
	{regexp.MustCompile(`^cert$|[cC]ertificate|verificationMaterial$`), classes{verify.ErrMalformed, verify.ErrBadSignature, verify.ErrBadProof,
		verify.ErrIdentity, verify.ErrUntrustedCertificate, verify.ErrPolicy}},
	{regexp.MustCompile(`chain$`), classes{verify.ErrMalformed, verify.ErrUntrustedCertificate}},
	{regexp.MustCompile(`[tT]imestamp`), classes{verify.ErrTimestamp, verify.ErrMalformed, verify.ErrPolicy, verify.ErrExpired}},
	{regexp.MustCompile(`publicKey$`), classes{verify.ErrMalformed, verify.ErrIdentity}},
	{regexp.MustCompile(`attestation`), classes{verify.ErrBadProof, verify.ErrMalformed}},
}

func expect(path forge.Path) classes {
	for _, e := range expected {
		if e.path.MatchString(path.String()) {
			return e.classes
		}
	}
	panic("no classes for " + path.String())
}

// hint is the one member that says nothing.
var hint = regexp.MustCompile(`publicKey\.hint$`)

// variant is a sample that was changed in one place.
type variant struct {
	name string
	tree forge.Node
	classes
}

// malformed is what JSON that strays from its format is.
var malformed = classes{verify.ErrMalformed}

// variants returns all that the matrix does to what is at path.
func (s *sample) variants(path forge.Path) []variant {
	var all []variant
	old := forge.Get(s.tree, path...)
	add := func(name string, c classes, tree forge.Node) { all = append(all, variant{name, tree, c}) }
	put := func(name string, c classes, v forge.Node) { add(name, c, forge.With(s.tree, v, path...)) }
	argument := s.args && len(path) == 1

	gone := expect(path)
	add("left out", append(slices.Clone(gone), verify.ErrMalformed, verify.ErrPolicy), forge.Without(s.tree, path...))
	if !argument {
		put("null", append(slices.Clone(gone), verify.ErrMalformed, verify.ErrPolicy), nil)
		for name, v := range map[string]forge.Node{"a number": forge.Number("1"), "a string": "MQ==", "an array": forge.Array{}, "an object": forge.Object{}, "a boolean": true} {
			if fmt.Sprintf("%T", v) != fmt.Sprintf("%T", old) {
				put(name, malformed, v)
			}
		}
	}
	parent := forge.Get(s.tree, path[:len(path)-1]...)
	switch last := path[len(path)-1].(type) {
	case int:
		twice := slices.Insert(slices.Clone(parent.(forge.Array)), last, old)
		add("twice", expect(path), forge.With(s.tree, twice, path[:len(path)-1]...))
	case string:
		if argument {
			break
		}
		text := string(forge.Encode(old))
		put("twice", malformed, forge.Verbatim(text+`,"`+last+`":`+text))
		put("twice, null first", malformed, forge.Verbatim(`null,"`+last+`":`+text))
		put("twice, null last", malformed, forge.Verbatim(text+`,"`+last+`":null`))
		for _, other := range []string{strings.ToUpper(last), strings.ToUpper(last[:1]) + last[1:], strings.ToLower(last), snake(last), last + "\u0000", last + " "} {
			if other != last {
				add("named "+strconv.Quote(other), malformed, forge.With(forge.Without(s.tree, path...), old, append(slices.Clone(path[:len(path)-1]), other)...))
				put("and also "+strconv.Quote(other), malformed, forge.Verbatim(text+`,`+string(forge.Encode(other))+`:`+text))
			}
		}
	}
	switch v := old.(type) {
	case forge.Object:
		if !argument || v["payload"] != nil { // a whole envelope is JSON too
			with := func(name string, member forge.Node) {
				o := forge.Object{name: member}
				for k, m := range v {
					o[k] = m
				}
				put("with a stranger "+strconv.Quote(name), classes{verify.ErrMalformed, verify.ErrBadProof}, o)
			}
			with("zzz", forge.Number("1"))
			with("", nil)
		}
		put("closed too early", malformed, forge.Verbatim(forge.Encode(v)[:len(forge.Encode(v))-1]))
	case forge.Array:
		put("with null", classes{verify.ErrMalformed, verify.ErrTimestamp, verify.ErrBadProof}, append(slices.Clone(v), nil))
		put("with a string", classes{verify.ErrMalformed, verify.ErrBadProof}, append(slices.Clone(v), "MQ=="))
		put("with a comma", malformed, forge.Verbatim(strings.Replace(string(forge.Encode(v)), "]", ",]", 1)))
	case forge.Number:
		n, _ := strconv.ParseInt(string(v), 10, 64)
		put("+1", expect(path), forge.Int(n+1))
		put("-1", expect(path), forge.Int(n-1))
		for _, other := range []string{"-" + string(v), "0" + string(v), string(v) + ".0", string(v) + "e0", string(v) + "0e-1", "9223372036854775808", "1e999", "0x1"} {
			put(other, malformed, forge.Number(other))
		}
		put("quoted", malformed, string(v))
	case string:
		for _, t := range texts(v) {
			c := t.classes
			if c == nil {
				c = append(slices.Clone(expect(path)), verify.ErrMalformed)
			}
			put(t.name, c, t.text)
		}
	}
	for name, donor := range s.donors {
		if v, ok := forge.LookUp(donor, path...); ok && !bytes.Equal(forge.Encode(v), forge.Encode(old)) {
			put("that of "+name, expect(path), v)
		}
	}
	return all
}

func snake(name string) string {
	return regexp.MustCompile(`[A-Z]`).ReplaceAllStringFunc(name, func(c string) string { return "_" + strings.ToLower(c) })
}

// changed is a text that was changed. Without classes, they depend on where it stands.
type changed struct {
	name, text string
	classes
}

var (
	digits    = regexp.MustCompile(`^[0-9]+$`)
	hexDigits = regexp.MustCompile(`^([0-9a-f]{2}){20,}$`)
)

// texts returns what the matrix does to a text: it depends on what the text looks like.
func texts(s string) []changed {
	all := []changed{
		{"empty", "", nil},
		{"a byte more", s + "A", nil},
		{"cut short", s[:max(0, len(s)-2)], nil},
		{"with a zero byte", s + "\x00", nil},
	}
	raw, err := base64.StdEncoding.DecodeString(s)
	switch {
	case strings.Contains(s, "\n— "):
		return append(all, notes(s)...)
	case strings.HasPrefix(s, "-----BEGIN"):
		return append(all, changed{"another type", strings.ReplaceAll(s, "CERTIFICATE", "PUBLIC KEY"), nil},
			changed{"a letter changed", s[:100] + string(s[100]^1) + s[101:], nil})
	case digits.MatchString(s):
		n, _ := strconv.ParseInt(s, 10, 64)
		for _, other := range []int64{n + 1, n - 1, n * 2} {
			all = append(all, changed{strconv.FormatInt(other-n, 10) + " more", strconv.FormatInt(other, 10), nil})
		}
		for _, other := range []string{"-" + s, "+" + s, "0" + s, " " + s, s + " ", s + ".0", s + "e0", "9223372036854775808", "18446744073709551617"} {
			all = append(all, changed{strconv.Quote(other), other, malformed})
		}
		return all
	case hexDigits.MatchString(s):
		b, _ := hex.DecodeString(s)
		for _, i := range []int{0, len(b) / 2, len(b) - 1} {
			all = append(all, changed{fmt.Sprintf("a bit of byte %d", i), hex.EncodeToString(flip(b, i)), nil})
		}
		return append(all, changed{"in capitals", strings.ToUpper(s), malformed}, changed{"a byte short", s[2:], nil})
	case err == nil && len(raw) > 8:
		last := len(raw) - 1
		if pem := bytes.HasPrefix(raw, []byte("-----BEGIN")); pem {
			last-- // the newline at the end of PEM text says nothing
		}
		for _, i := range []int{0, len(raw) / 3, len(raw) / 2, last} {
			all = append(all, changed{fmt.Sprintf("a bit of byte %d", i), forge.Base64(flip(raw, i)), nil})
		}
		all = append(all, changed{"first byte short", forge.Base64(raw[1:]), nil},
			changed{"last byte short", forge.Base64(raw[:last]), nil},
			changed{"a zero byte longer", forge.Base64(append(slices.Clone(raw), 0)), nil},
			changed{"broken in lines", s[:8] + "\n" + s[8:], malformed},
			changed{"with a space", s[:8] + " " + s[8:], malformed},
			changed{"padded too much", s + "====", malformed})
		if url := base64.URLEncoding.EncodeToString(raw); url != s {
			all = append(all, changed{"in the URL-safe alphabet", url, malformed})
		}
		if bare := strings.TrimRight(s, "="); bare != s {
			end := []byte(bare)
			end[len(end)-1] = nextDigit(end[len(end)-1])
			all = append(all, changed{"without padding", bare, malformed},
				changed{"with bits in the padding", string(end) + s[len(bare):], malformed})
		}
		return all
	}
	return append(all, changed{"other", "other", nil}, changed{"a bit of byte 0", string(flip([]byte(s), 0)), nil})
}

func flip(b []byte, i int) []byte {
	b = slices.Clone(b)
	b[i] ^= 1
	return b
}

// nextDigit returns the base64 digit after c, which differs in the last bit.
func nextDigit(c byte) byte {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	return digits[strings.IndexByte(digits, c)^1]
}

// notes returns what the matrix does to a signed note, beyond what it does to any text.
func notes(s string) []changed {
	var all []changed
	body, signatures, _ := strings.Cut(s, "\n\n")
	lines := strings.SplitAfter(signatures, "\n")
	lines = lines[:len(lines)-1]
	for i, line := range strings.Split(body, "\n") {
		other := strings.Split(body, "\n")
		other[i] = line + "1"
		all = append(all, changed{fmt.Sprintf("line %d changed", i+1), strings.Join(other, "\n") + "\n\n" + signatures, nil})
		all = append(all, changed{fmt.Sprintf("line %d left out", i+1), strings.Join(slices.Delete(other, i, i+1), "\n") + "\n\n" + signatures, nil})
	}
	for i, line := range lines {
		others := slices.Clone(lines)
		name, sig, _ := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "— "), " ")
		raw, _ := base64.StdEncoding.DecodeString(sig)
		for _, c := range []struct{ name, line string }{
			{"left out", ""},
			{"with a bit changed", forge.NoteLine(name, raw[:4], flip(raw[4:], len(raw)-6))},
			{"with another hint", forge.NoteLine(name, flip(raw[:4], 0), raw[4:])},
			{"with another name", forge.NoteLine(name+"x", raw[:4], raw[4:])},
			{"with a hyphen", strings.Replace(line, "—", "-", 1)},
		} {
			others[i] = c.line
			all = append(all, changed{fmt.Sprintf("signature %d %s", i, c.name), body + "\n\n" + strings.Join(others, ""), nil})
		}
	}
	return append(all,
		changed{"with an extension", body + "\nextension\n\n" + signatures, nil},
		changed{"with another blank line", body + "\n\n\n" + signatures, nil},
		changed{"with carriage returns", strings.ReplaceAll(s, "\n", "\r\n"), nil},
		changed{"without signatures", body + "\n\n", nil})
}

// free reports whether the change is one that the sample allows.
func (s *sample) isFree(path forge.Path, name string) bool {
	if name != "left out" && name != "null" && name != "empty" {
		return false
	}
	star := regexp.MustCompile(`[0-9a-f]{80}`).ReplaceAllString(path.String(), "*")
	return slices.Contains(s.free, star)
}

// Whatever of evidence is altered, left out, repeated, cut short or swapped with that of
// other evidence, it is refused, with a class that says why. Only the hint may say what it likes.
func TestMatrix(t *testing.T) {
	w := newWorld(t)
	total := 0
	for _, s := range w.samples(t) {
		t.Run(s.name, func(t *testing.T) {
			n := 0
			for _, path := range forge.Paths(s.tree) {
				if hint.MatchString(path.String()) {
					continue
				}
				for _, v := range s.variants(path) {
					err, ok := s.attempt(v.tree)
					if !ok {
						continue
					}
					n++
					switch {
					case s.isFree(path, v.name) && err == nil:
					case err == nil:
						t.Errorf("%s, %s: accepted", path, v.name)
					case errors.Is(err, verify.ErrInternal) || !v.match(err):
						t.Errorf("%s, %s: %v; want %v", path, v.name, err, v.classes)
					}
				}
			}
			t.Logf("%d variants", n)
			total += n
		})
	}
	t.Logf("%d variants of %s", total, "every field")
	if total < 200 {
		t.Errorf("only %d variants", total)
	}
}

// attempt verifies a variant, if it is one.
func (s *sample) attempt(tree forge.Node) (err error, ok bool) {
	defer func() {
		switch r := recover(); r {
		case nil:
		case errArgument:
			ok = false
		default:
			panic(r)
		}
	}()
	return s.try(tree), true
}

// The hint of the key is free.
func TestHintIsFree(t *testing.T) {
	w := newWorld(t)
	n := 0
	for _, s := range w.samples(t) {
		path := []any{"verificationMaterial", "publicKey", "hint"}
		if _, ok := forge.LookUp(s.tree, path...); !ok {
			continue
		}
		n++
		for _, other := range []forge.Node{"", "other"} {
			if err := s.try(forge.With(s.tree, other, path...)); err != nil {
				t.Errorf("%s: hint %v: %v", s.name, other, err)
			}
		}
		if err := s.try(forge.Without(s.tree, path...)); err != nil {
			t.Errorf("%s: no hint: %v", s.name, err)
		}
		if err := s.try(forge.With(s.tree, forge.Number("1"), path...)); !errors.Is(err, verify.ErrMalformed) {
			t.Errorf("%s: hint is a number: %v", s.name, err)
		}
	}
	if n == 0 {
		t.Error("no sample has a hint")
	}
}
