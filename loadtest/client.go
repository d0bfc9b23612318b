package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// answerTime bounds one request, connection included.
const answerTime = 30 * time.Second

// client is one HTTP/1.1 connection, used by one goroutine, that is made again
// when it breaks. It does less than net/http's client, and so takes less of the
// machine away from the server that it measures.
type client struct {
	address string
	conn    net.Conn
	in      *bufio.Reader
	request []byte
	body    bytes.Buffer
}

// get asks for a path. The body is valid until the next request.
func (c *client) get(path string) (status int, body []byte, err error) {
	c.request = fmt.Appendf(c.request[:0], "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: application/json\r\n\r\n", path, c.address)
	return c.do()
}

// post sends JSON to a path. The body is valid until the next request.
func (c *client) post(path string, content []byte) (status int, body []byte, err error) {
	c.request = append(c.request[:0], "POST "+path+" HTTP/1.1\r\nHost: "+c.address+
		"\r\nContent-Type: application/json\r\nAccept: application/json\r\nContent-Length: "+strconv.Itoa(len(content))+"\r\n\r\n"...)
	c.request = append(c.request, content...)
	return c.do()
}

func (c *client) do() (status int, body []byte, err error) {
	keep := false
	defer func() {
		if !keep {
			c.close()
		}
	}()
	if c.conn == nil {
		if c.conn, err = net.DialTimeout("tcp", c.address, answerTime); err != nil {
			return 0, nil, err
		}
		c.in = bufio.NewReader(c.conn)
	}
	if err := c.conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return 0, nil, err
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return 0, nil, err
	}
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	c.body.Reset()
	if _, err := c.body.ReadFrom(answer.Body); err != nil {
		return 0, nil, err
	}
	keep = !answer.Close
	return answer.StatusCode, c.body.Bytes(), nil
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}
