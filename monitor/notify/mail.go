package notify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"strings"
	"time"

	"github.com/tallystick/tallystick/monitor"
)

// Mail sends alerts by SMTP: one mail with all that are waiting of one log, at most 100 of them. Evidence is attached.
type Mail struct {
	name     string
	server   string // host and port
	security security
	user     string
	password string
	from     *mail.Address
	to       []*mail.Address
	tls      *tls.Config
	timeout  time.Duration
	now      func() time.Time
}

// security is how a connection to a mail server is secured.
type security string

const (
	startTLS security = "starttls" // RFC 3207; without it, no mail is sent
	fullTLS  security = "tls"      // from the first byte (RFC 8314)
	noTLS    security = "none"     // to this machine only
)

// Name implements Sink.
func (m *Mail) Name() string { return m.name }

// Most implements Sink.
func (m *Mail) Most() int { return 100 }

// Deliver implements Sink.
func (m *Mail) Deliver(ctx context.Context, alerts []Delivery) error {
	text, err := m.compose(alerts)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	err = m.send(ctx, text)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("the mail server: %w", err)
	var said *textproto.Error
	if errors.As(err, &said) {
		// 552: too large; 554: not wanted (RFC 5321, section 4.2.3).
		return &Error{Err: err, Refused: said.Code == 552 || said.Code == 554}
	}
	return err
}

// send hands a message to the mail server.
func (m *Mail) send(ctx context.Context, text []byte) error {
	host, _, err := net.SplitHostPort(m.server)
	if err != nil {
		return err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.server)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })() // at the end of the time, or of the program
	config := m.tls.Clone()
	config.ServerName = host
	stream := conn
	if m.security == fullTLS {
		stream = tls.Client(conn, config)
	}
	c, err := smtp.NewClient(stream, host)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	defer c.Close()
	if err := m.enter(c, host, config); err != nil {
		return err
	}
	if err := c.Mail(m.from.Address); err != nil {
		return err
	}
	for _, to := range m.to {
		if err := c.Rcpt(to.Address); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_ = c.Quit() // the message was taken, whatever becomes of this
	return nil
}

// enter greets the server, secures the connection, and logs in.
func (m *Mail) enter(c *smtp.Client, host string, config *tls.Config) error {
	_, domain, _ := strings.Cut(m.from.Address, "@")
	if err := c.Hello(domain); err != nil {
		return err
	}
	if m.security == startTLS {
		if err := c.StartTLS(config); err != nil {
			return fmt.Errorf("STARTTLS: %w", err)
		}
	}
	if m.user == "" {
		return nil
	}
	if err := c.Auth(smtp.PlainAuth("", m.user, m.password, host)); err != nil {
		return fmt.Errorf("AUTH: %w", err)
	}
	return nil
}

// compose writes the message (RFC 5322). What stands in alerts is encoded, in headers too, so that it stays where it is put.
func (m *Mail) compose(alerts []Delivery) ([]byte, error) {
	var text bytes.Buffer
	parts := multipart.NewWriter(&text)
	m.header(&text, alerts, parts.Boundary())
	w, err := parts.CreatePart(textproto.MIMEHeader{"Content-Type": {"text/plain; charset=utf-8"}, "Content-Transfer-Encoding": {"quoted-printable"}})
	if err != nil {
		return nil, err
	}
	words := quotedprintable.NewWriter(w)
	for i := range alerts {
		if _, err := words.Write([]byte(paragraph(&alerts[i].Alert))); err != nil {
			return nil, err
		}
	}
	if err := words.Close(); err != nil {
		return nil, err
	}
	for i := range alerts {
		if alerts[i].Evidence != nil {
			if err := attach(parts, &alerts[i]); err != nil {
				return nil, err
			}
		}
	}
	if err := parts.Close(); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

// header writes the header, and the line that ends it. The Message-ID is the same for the same alerts.
func (m *Mail) header(text *bytes.Buffer, alerts []Delivery, boundary string) {
	ids := sha256.New()
	for i := range alerts {
		ids.Write([]byte(alerts[i].Alert.ID))
	}
	_, domain, _ := strings.Cut(m.from.Address, "@")
	var to []string
	for _, a := range m.to {
		to = append(to, a.String())
	}
	for _, h := range [][2]string{
		{"From", m.from.String()},
		{"To", strings.Join(to, ",\r\n ")},
		{"Subject", mime.QEncoding.Encode("utf-8", subject(alerts))},
		{"Date", m.now().Format(time.RFC1123Z)},
		{"Message-ID", fmt.Sprintf("<%x@%s>", ids.Sum(nil)[:16], domain)},
		{"Auto-Submitted", "auto-generated"}, // RFC 3834: nobody's absence is answered to it
		{"MIME-Version", "1.0"},
		{"Content-Type", `multipart/mixed; boundary="` + boundary + `"`},
	} {
		fmt.Fprintf(text, "%s: %s\r\n", h[0], h[1])
	}
	text.WriteString("\r\n")
}

// attach attaches the evidence of an alert.
func attach(parts *multipart.Writer, d *Delivery) error {
	w, err := parts.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/json"}, "Content-Transfer-Encoding": {"base64"},
		"Content-Disposition": {mime.FormatMediaType("attachment", map[string]string{"filename": d.Alert.Evidence})}})
	if err != nil {
		return err
	}
	for coded := base64.StdEncoding.EncodeToString(d.Evidence); coded != ""; {
		n := min(76, len(coded)) // RFC 2045, section 6.8
		if _, err := w.Write([]byte(coded[:n] + "\r\n")); err != nil {
			return err
		}
		coded = coded[n:]
	}
	return nil
}

// subject says in short what there is. Alarms come first.
func subject(alerts []Delivery) string {
	matches, over := 0, 0
	var alarms, what []string
	for i := range alerts {
		switch a := &alerts[i].Alert; {
		case a.Kind == monitor.KindMatch:
			matches++
		case a.Ends != "":
			over++
		default:
			alarms = append(alarms, string(a.Kind))
		}
	}
	switch {
	case len(alarms) > 3:
		what = append(what, fmt.Sprintf("%d ALARMS", len(alarms)))
	case len(alarms) > 0:
		what = append(what, "ALARM "+strings.Join(alarms, ", "))
	}
	if matches > 0 {
		what = append(what, fmt.Sprintf("entries that rules ask for: %d", matches))
	}
	if over > 0 {
		what = append(what, fmt.Sprintf("alarms that are over: %d", over))
	}
	return fmt.Sprintf("[tallystick] log %s: %s", alerts[0].Alert.Log, strings.Join(what, "; "))
}

// paragraph says in words what an alert says.
func paragraph(a *monitor.Alert) string {
	var b strings.Builder
	title := "ALARM: " + string(a.Kind)
	switch {
	case a.Match != nil:
		title = "Rule: " + a.Match.Rule
	case a.Ends != "":
		title = "Over: " + string(a.Kind)
	}
	fmt.Fprintf(&b, "%s\n%s\n\n", oneLine(title), oneLine(a.Text))
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %-10s %s\n", name, oneLine(value))
		}
	}
	field("log", a.Log)
	field("found", a.Time.Format(time.RFC3339))
	field("tree", a.Tree)
	if m := a.Match; m != nil {
		field("log index", fmt.Sprint(m.LogIndex))
		field("entry ID", m.UUID)
		field("logged", time.Unix(m.IntegratedTime, 0).UTC().Format(time.RFC3339))
		field("kind", m.EntryKind+" "+m.Version)
		field("about", strings.Join(m.Digests, " "))
		if s := m.Signer; s != nil {
			field("subject", strings.Join(s.Subjects, " "))
			field("issuer", strings.Join(s.Issuers, " "))
			field("key", s.Key)
		}
	}
	field("evidence", a.Evidence)
	field("ends", a.Ends)
	field("alert", a.ID)
	b.WriteString("\n")
	return b.String()
}
