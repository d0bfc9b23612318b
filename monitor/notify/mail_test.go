package notify

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/monitor"
)

// mailServer is a mail server that speaks enough of SMTP (RFC 5321).
type mailServer struct {
	address  string
	starttls bool              // it offers STARTTLS
	certs    *tls.Config       // its certificate
	answers  map[string]string // what it says to a command, instead of yes; "" closes the connection
	lines    chan string       // all that it was told, but for messages
	messages chan []byte
}

// startMail starts a server; full: TLS from the first byte. It returns how to trust it.
func startMail(t *testing.T, s *mailServer, full bool) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	s.certs = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.lines, s.messages = make(chan string, 1000), make(chan []byte, 10)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	if full {
		l = tls.NewListener(l, s.certs)
	}
	done := make(chan bool)
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.talk(conn)
			conn.Close()
		}
	}()
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{RootCAs: roots}
}

func (s *mailServer) talk(conn net.Conn) {
	r := bufio.NewReader(conn)
	secure := false
	say := func(text string) { fmt.Fprintf(conn, "%s\r\n", text) }
	if text, ok := s.answers["greeting"]; ok {
		if text == "silence" {
			r.ReadByte() // until the client closes the connection
			return
		}
		say(text)
	} else {
		say("220 here")
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		s.lines <- line
		command, _, _ := strings.Cut(line, " ")
		if text, ok := s.answers[command]; ok {
			if text == "" {
				return
			}
			say(text)
			continue
		}
		switch command {
		case "EHLO":
			if s.starttls && !secure {
				say("250-here\r\n250-STARTTLS")
			} else {
				say("250-here")
			}
			say("250 AUTH PLAIN")
		case "STARTTLS":
			if !s.starttls {
				say("502 no such command")
				continue
			}
			say("220 go on")
			up := tls.Server(conn, s.certs)
			if up.Handshake() != nil {
				return
			}
			conn, r, secure = up, bufio.NewReader(up), true
		case "AUTH":
			say("235 welcome")
		case "DATA":
			say("354 go on")
			var text bytes.Buffer
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				text.WriteString(strings.TrimPrefix(line, "."))
			}
			if said, ok := s.answers["end"]; ok {
				if said == "" {
					return
				}
				say(said)
				continue
			}
			s.messages <- text.Bytes()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 yes")
		}
	}
}

// told returns what the server was told.
func (s *mailServer) told() (all []string) {
	for {
		select {
		case line := <-s.lines:
			all = append(all, line)
		default:
			return all
		}
	}
}

// mailTo returns a mail sink to the server, with more of its fields.
func mailTo(t *testing.T, s *mailServer, trust *tls.Config, more string) *Mail {
	t.Helper()
	r := files(map[string]string{"pw": "pass word"})
	r.TLS = trust
	r.Now = func() time.Time { return time.Unix(1_800_000_000, 0).UTC() }
	if err := parse(r, "mail: [{name: ops, server: '"+s.address+"', from: Tally <t@example.com>, to: [a@example.com, b@example.com], timeout: 20s"+more+"}]"); err != nil {
		t.Fatal(err)
	}
	return r.Sinks[0].(*Mail)
}

type mailPart struct{ kind, file, text string }

// readMail reads a message as a mail reader does.
func readMail(t *testing.T, message []byte) (mail.Header, []mailPart) {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(message))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, message)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	var all []mailPart
	parts := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return m.Header, all
		}
		if err != nil {
			t.Fatal(err)
		}
		kind, _, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		if err != nil {
			t.Fatal(err)
		}
		var body io.Reader = quotedprintable.NewReader(p)
		if p.Header.Get("Content-Transfer-Encoding") == "base64" {
			body = base64.NewDecoder(base64.StdEncoding, p)
		}
		text, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, mailPart{kind, p.FileName(), strings.ReplaceAll(string(text), "\r\n", "\n")})
	}
}

// One mail has all alerts of a batch, and their evidence; over STARTTLS, over TLS, and without either to this machine.
func TestMail(t *testing.T) {
	for name, more := range map[string]string{"starttls": ", username: u, passwordFile: pw", "tls": ", security: tls, username: u, passwordFile: pw", "none": ", security: none"} {
		t.Run(name, func(t *testing.T) {
			s := &mailServer{starttls: name == "starttls"}
			trust := startMail(t, s, name == "tls")
			m := mailTo(t, s, trust, more)
			evidence := `{"e": "` + strings.Repeat("é", 100) + `"}`
			over := alarm(3)
			over.Ends, over.Evidence = id(1), ""
			if err := m.Deliver(t.Context(), []Delivery{delivery(alarm(1), evidence), delivery(match(2), ""), delivery(over, "")}); err != nil {
				t.Fatal(err)
			}
			told := strings.Join(s.told(), "\n")
			want := "EHLO example.com\n"
			switch name {
			case "starttls":
				want += "STARTTLS\nEHLO example.com\n"
				fallthrough
			case "tls":
				want += "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00u\x00pass word")) + "\n"
			}
			if want += "MAIL FROM:<t@example.com>\nRCPT TO:<a@example.com>\nRCPT TO:<b@example.com>\nDATA\nQUIT"; told != want {
				t.Errorf("the server was told\n%s\nnot\n%s", told, want)
			}
			header, parts := readMail(t, <-s.messages)
			for name, want := range map[string]string{
				"From": `"Tally" <t@example.com>`, "To": "<a@example.com>, <b@example.com>", "Auto-Submitted": "auto-generated",
				"Subject": "[tallystick] log here: ALARM fork; entries that rules ask for: 1; alarms that are over: 1", "Date": "Fri, 15 Jan 2027 08:00:00 +0000",
			} {
				if got := header.Get(name); got != want {
					t.Errorf("%s: %q, not %q", name, got, want)
				}
			}
			if len(parts) != 2 || parts[0].kind != "text/plain" || parts[1] != (mailPart{"application/json", alarm(1).Evidence, evidence}) {
				t.Fatalf("parts: %q", parts)
			}
			for _, want := range []string{"ALARM: fork\nthe log signed two histories\n", "Rule: r\nrule \"r\": log entry 2\n", "  log index  2\n", "Over: fork\n", id(1), id(2), id(3)} {
				if !strings.Contains(parts[0].text, want) {
					t.Errorf("%q is not in:\n%s", want, parts[0].text)
				}
			}
		})
	}
}

// What strangers wrote stays in its place: no header, part or command comes of it.
func TestMailInjection(t *testing.T) {
	s := &mailServer{}
	m := mailTo(t, s, startMail(t, s, false), ", security: none")
	const nasty = "x\r\nBcc: evil@example.com\r\n\r\n.\r\nRCPT TO:<evil@example.com>\u202e\u2028--boundary"
	a := match(1)
	a.Log, a.Text, a.Tree, a.Kind, a.Match.Rule, a.Match.UUID, a.Match.EntryKind, a.Match.Digests = nasty, nasty, nasty, monitor.KindMatch, nasty, nasty, nasty, []string{nasty}
	a.Match.Signer = &monitor.Signer{Key: nasty, Subjects: []string{nasty}, Issuers: []string{nasty}}
	a.Evidence = nasty
	if err := m.Deliver(t.Context(), []Delivery{delivery(a, "{}")}); err != nil {
		t.Fatal(err)
	}
	if told := s.told(); len(told) != 6 {
		t.Errorf("the server was told %q", told)
	}
	header, parts := readMail(t, <-s.messages)
	if len(header) != 8 || header.Get("Bcc") != "" || len(parts) != 2 {
		t.Errorf("header %q, %d parts", header, len(parts))
	}
	for _, line := range strings.Split(parts[0].text, "\n") {
		if strings.HasPrefix(line, "Bcc") || strings.HasPrefix(line, "RCPT") || strings.ContainsAny(line, "\r\u202e\u2028") {
			t.Errorf("a line of its own: %q", line)
		}
	}
	if len(s.messages) != 0 {
		t.Error("there is another message")
	}
}

// A password goes to nobody but the server that is meant, and a mail that was not taken is not counted as sent.
func TestMailRefusals(t *testing.T) {
	const login = ", username: u, passwordFile: pw"
	foreign := startMail(t, &mailServer{}, false)
	for _, c := range []struct {
		name     string
		server   mailServer
		full     bool
		foreign  bool // the server's certificate is not trusted
		more     string
		want     string
		refused  bool
		password bool // the server gets the password
	}{
		{name: "no STARTTLS", more: login, want: "STARTTLS"},
		{name: "STARTTLS without end", server: mailServer{starttls: true, answers: map[string]string{"STARTTLS": ""}}, more: login, want: "STARTTLS"},
		{name: "foreign certificate", server: mailServer{starttls: true}, foreign: true, more: login, want: "certificate"},
		{name: "foreign certificate, TLS", full: true, foreign: true, more: ", security: tls" + login, want: "certificate"},
		{name: "TLS where there is none", more: ", security: tls" + login, want: "tls"},
		{name: "greeting", server: mailServer{answers: map[string]string{"greeting": "421 busy"}}, more: ", security: none", want: "421"},
		{name: "nonsense", server: mailServer{answers: map[string]string{"greeting": "HTTP/1.1 200 OK"}}, more: ", security: none", want: "mail server"},
		{name: "wrong password", server: mailServer{starttls: true, answers: map[string]string{"AUTH": "535 no"}}, more: login, want: "AUTH: 535", password: true},
		{name: "sender", server: mailServer{answers: map[string]string{"MAIL": "550 no"}}, more: ", security: none", want: "550"},
		{name: "recipient", server: mailServer{answers: map[string]string{"RCPT": "550 nobody"}}, more: ", security: none", want: "550"},
		{name: "data", server: mailServer{answers: map[string]string{"DATA": "451 later"}}, more: ", security: none", want: "451"},
		{name: "not wanted", server: mailServer{answers: map[string]string{"end": "554 spam"}}, more: ", security: none", want: "554", refused: true},
		{name: "too large", server: mailServer{answers: map[string]string{"end": "552 large"}}, more: ", security: none", want: "552", refused: true},
		{name: "later", server: mailServer{answers: map[string]string{"end": "452 full"}}, more: ", security: none", want: "452"},
		{name: "broken off", server: mailServer{answers: map[string]string{"end": ""}}, more: ", security: none", want: "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &c.server
			trust := startMail(t, s, c.full)
			if c.foreign {
				trust = foreign
			}
			m := mailTo(t, s, trust, c.more)
			if c.name == "TLS where there is none" {
				m.timeout = 100 * time.Millisecond // the server waits for a line
			}
			err := m.Deliver(t.Context(), []Delivery{delivery(match(1), "")})
			var said *Error
			if err == nil || !strings.Contains(err.Error(), c.want) && c.name != "TLS where there is none" || c.refused != (errors.As(err, &said) && said.Refused) {
				t.Errorf("%#v", err)
			}
			if len(s.messages) != 0 {
				t.Error("a message was taken")
			}
			told := strings.Join(s.told(), "\n")
			if strings.Contains(told, "AUTH") != c.password || !c.password && strings.Contains(told, "pass") {
				t.Errorf("the server was told %s", told)
			}
		})
	}
	if err := mailTo(t, &mailServer{address: "127.0.0.1:1"}, foreign, ", security: none").Deliver(t.Context(), []Delivery{delivery(match(1), "")}); err == nil {
		t.Error("nobody took it")
	}
}

// A server that says nothing is not waited for longer than the time that it has, nor than the program runs. One that breaks off
// after it took the message took it.
func TestMailHangs(t *testing.T) {
	s := &mailServer{answers: map[string]string{"greeting": "silence"}}
	m := mailTo(t, s, startMail(t, s, false), ", security: none")
	m.timeout = 50 * time.Millisecond
	if err := m.Deliver(t.Context(), []Delivery{delivery(match(1), "")}); err == nil {
		t.Error("nobody took it")
	}
	m.timeout = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Deliver(ctx, []Delivery{delivery(match(1), "")}); err == nil {
		t.Error("nobody took it")
	}
	s = &mailServer{answers: map[string]string{"QUIT": ""}}
	m = mailTo(t, s, startMail(t, s, false), ", security: none")
	if err := m.Deliver(t.Context(), []Delivery{delivery(match(1), "")}); err != nil || len(s.messages) != 1 {
		t.Errorf("%v, %d messages", err, len(s.messages))
	}
}

func TestSubject(t *testing.T) {
	var many []Delivery
	for i := range 5 {
		many = append(many, delivery(alarm(i), ""))
	}
	if got := subject(many); got != "[tallystick] log here: 5 ALARMS" {
		t.Error(got)
	}
	if got := subject(many[:2]); got != "[tallystick] log here: ALARM fork, fork" {
		t.Error(got)
	}
}
