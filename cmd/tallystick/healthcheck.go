package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// healthcheckCmd asks a server's /readyz. It is for container images that hold
// nothing but this program: by default it asks the server that has the same
// settings, from environment or file.
type healthcheckCmd struct {
	URL     string        `name:"url" help:"URL of the server (default: that of --listen, with HTTPS if there is a --tls-cert)."`
	Timeout time.Duration `name:"timeout" default:"5s" help:"How long it may take to answer."`
	Listen  string        `name:"listen" default:"127.0.0.1:3000" group:"network" help:"Address and port that the server listens on."`
	TLSCert string        `name:"tls-cert" placeholder:"FILE" group:"network" help:"The server's certificate chain (PEM)."`
}

func (c *healthcheckCmd) Run(ctx context.Context, p *program) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	url, err := c.url()
	if err != nil {
		return usageError{err}
	}
	address := strings.TrimSuffix(url, "/") + "/readyz"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return usageError{err}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: c.tlsConfig(req.URL.Hostname())}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", address, resp.Status, strings.TrimSpace(string(body)))
	}
	_, err = fmt.Fprintln(p.Stdout, "ready")
	return err
}

// url returns the URL by which this machine reaches the server.
func (c *healthcheckCmd) url() (string, error) {
	if c.URL != "" {
		return c.URL, nil
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return "", fmt.Errorf("--listen %q is not an address and port such as 127.0.0.1:3000", c.Listen)
	}
	if port == "" || port == "0" {
		return "", fmt.Errorf("--listen %q does not say which port the server got; give --url", c.Listen)
	}
	switch ip := net.ParseIP(host); {
	case host == "", ip.Equal(net.IPv4zero):
		host = "127.0.0.1"
	case ip.Equal(net.IPv6unspecified):
		host = "::1"
	}
	scheme := "http"
	if c.TLSCert != "" {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port), nil
}

// tlsConfig says which certificate the server must show. The own server (that of
// --listen, or one on this machine) is asked by an address that its certificate does
// not name, so the name is not verified; the certificate must be the one in
// --tls-cert instead, unless that cannot be read. Any other server's is verified as
// usual.
func (c *healthcheckCmd) tlsConfig(host string) *tls.Config {
	ip := net.ParseIP(host)
	own := c.URL == "" || host == "localhost" || ip != nil && ip.IsLoopback()
	if !own {
		return nil
	}
	config := &tls.Config{InsecureSkipVerify: true}
	if want := firstCertificate(c.TLSCert); want != nil {
		config.VerifyConnection = func(s tls.ConnectionState) error {
			if !bytes.Equal(s.PeerCertificates[0].Raw, want) {
				return errors.New("the server's certificate is not the one in " + c.TLSCert)
			}
			return nil
		}
	}
	return config
}

// firstCertificate returns the first certificate in a PEM file (DER); nil if it
// cannot be read.
func firstCertificate(path string) []byte {
	if path == "" {
		return nil
	}
	data, err := readLimited(path, 1<<20)
	if err != nil {
		return nil
	}
	for {
		block, rest := pem.Decode(data)
		switch {
		case block == nil:
			return nil
		case block.Type == "CERTIFICATE":
			return block.Bytes
		}
		data = rest
	}
}
