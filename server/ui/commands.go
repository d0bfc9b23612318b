package ui

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/entry"
)

// command is something to paste into a shell.
type command struct {
	Title string
	Words string // what it needs, and what it shows
	Text  string
}

// commands are ready-made for an entry. What strangers wrote is quoted; a name that
// cannot be quoted safely is left out, and the words say so.
func (p *Pages) commands(e *Entry, st *statement) []command {
	url, ok := quote(strings.TrimSuffix(p.site.URL, "/"))
	if !ok || p.site.URL == "" {
		url = "LOG_URL"
	}
	index := strconv.FormatInt(e.LogIndex, 10)
	list := []command{{
		"Check the log's proof",
		"The log's key comes from a file that you have from elsewhere, or once from the log: " + "curl -so log.pub " + url + "/api/v1/log/publicKey",
		"tallystick proof --rekor-url " + url + " --log-key log.pub --log-index " + index,
	}, {
		"Get the entry",
		"rekor-cli is the client of the Rekor project; the API answers JSON.",
		"rekor-cli get --rekor_server " + url + " --log-index " + index + "\n" +
			"curl -s " + url + "/api/v1/log/entries/" + e.UUID,
	}}
	if len(e.Description.Signers) == 0 || e.Description.Signers[0].Key == nil {
		return list
	}
	flags, hazard := whoFlags(e.Description.Signers[0])
	switch e.Description.Kind {
	case "hashedrekord", "rekord":
		if made := blobCommands(e, url, flags, hazard); made != nil {
			list = append(made, list...)
		}
	case "dsse", "intoto":
		list = append(attestationCommands(st, url, flags, hazard), list...)
	}
	return list
}

// whoFlags are the flags, of cosign and of tallystick, that say who has to have signed.
func whoFlags(s entry.Signer) (flags, hazard string) {
	if len(s.Key.Certificates) == 0 {
		return "--key signer.pem", ""
	}
	name, issuer := "IDENTITY", "ISSUER"
	const warning = " A name in the certificate is not safe to paste; put in the one that you expect."
	if len(s.Key.Identities) > 0 {
		if q, ok := argument(s.Key.Identities[0]); ok {
			name = q
		} else {
			hazard = warning
		}
	}
	if len(s.Key.Issuers) > 0 {
		if q, ok := argument(s.Key.Issuers[0]); ok {
			issuer = q
		} else {
			hazard = warning
		}
	}
	return "--certificate-identity " + name + " --certificate-oidc-issuer " + issuer, hazard
}

// keyFile writes the signer's key or certificate, which the entry holds, to a file. A
// PEM text that package sig wrote has nothing in it that a shell would look at.
func keyFile(s entry.Signer) string {
	return "cat > signer.pem <<'END'\n" + string(s.Key.PEM) + "END\n"
}

func blobCommands(e *Entry, url, flags, hazard string) []command {
	s := e.Description.Signers[0]
	if len(s.Signature) == 0 {
		return nil
	}
	certificate := ""
	if len(s.Key.Certificates) > 0 {
		certificate = " --certificate signer.pem"
	}
	files := keyFile(s) + "echo " + base64.StdEncoding.EncodeToString(s.Signature) + " > signature.b64\n"
	return []command{{
		"Verify a file with tallystick",
		"FILE is what was signed. trusted-root.json says which log and authorities you believe; have it from elsewhere, or once from the log." + hazard,
		files + "curl -so entry.json " + url + "/api/v1/log/entries/" + e.UUID + "\n" +
			"tallystick verify --trusted-root trusted-root.json " + flags + certificate + " \\\n  --signature signature.b64 --entry entry.json FILE",
	}, {
		"Verify a file with cosign",
		"With the same files, and the log's key in log.pub." + hazard,
		"SIGSTORE_REKOR_PUBLIC_KEY=log.pub cosign verify-blob --rekor-url " + url + " " + flags + certificate + " \\\n  --signature signature.b64 FILE",
	}}
}

func attestationCommands(st *statement, url, flags, hazard string) []command {
	kind, image := "TYPE", "IMAGE@DIGEST"
	if st != nil && st.IsStatement {
		if q, ok := argument(st.PredicateType); ok && st.PredicateType != "" {
			kind = q
		}
		if len(st.Subjects) > 0 {
			image = imageOf(st.Subjects[0])
		}
	}
	what := "TYPE is the predicate's type, and IMAGE@DIGEST what the statement is about."
	if kind != "TYPE" {
		what = "The image's signatures are read from its registry."
	}
	return []command{{
		"Verify the attestation with tallystick",
		what + " trusted-root.json says which log and authorities you believe." + hazard,
		"tallystick verify --trusted-root trusted-root.json " + flags + " \\\n  --type " + kind + " " + image,
	}, {
		"Verify the attestation with cosign",
		"With the log's key in log.pub." + hazard,
		"SIGSTORE_REKOR_PUBLIC_KEY=log.pub cosign verify-attestation --rekor-url " + url + " " + flags + " \\\n  --type " + kind + " " + image,
	}}
}

// imageOf is the image that a subject names, if it looks like one.
func imageOf(s subject) string {
	for _, d := range s.Digests {
		if !strings.HasPrefix(d.Text, "sha256:") || d.Href == "" {
			continue
		}
		q, ok := argument(s.Name + "@" + d.Text)
		if ok && s.Name != "" && strings.Contains(s.Name, "/") {
			return q
		}
		return "IMAGE@" + d.Text
	}
	return "IMAGE@DIGEST"
}
