package harness

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Client is one raw client connection. Operations fail the test when they take longer than Patience.
type Client struct {
	T    testing.TB
	Conn *net.TCPConn
	in   *bufio.Reader
}

// Dial connects to the proxy; the connection is closed at the end of the test.
func (p *Proxy) Dial() *Client {
	p.T.Helper()
	return Dial(p.T, p.Addr)
}

// Dial connects to any address.
func Dial(t testing.TB, addr string) *Client {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, Patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return Wrap(t, c.(*net.TCPConn))
}

// Wrap makes a Client of a connection.
func Wrap(t testing.TB, c *net.TCPConn) *Client {
	_ = c.SetDeadline(time.Now().Add(Patience))
	return &Client{T: t, Conn: c, in: bufio.NewReader(c)}
}

// Send writes text. A connection that the proxy has ended already is not an error here: what the
// proxy answered is asserted by reading.
func (c *Client) Send(text string) *Client {
	c.T.Helper()
	_ = c.Conn.SetDeadline(time.Now().Add(Patience))
	if _, err := io.WriteString(c.Conn, text); err != nil && !ended(err) {
		c.T.Fatalf("write: %v", err)
	}
	return c
}

// Get sends a GET for path on this connection and reads the response.
func (c *Client) Get(path string) *Response {
	c.T.Helper()
	return c.Send("GET " + path + " HTTP/1.1\r\nHost: test\r\n\r\n").Read("GET")
}

// Finish sends a FIN.
func (c *Client) Finish() *Client {
	c.T.Helper()
	if err := c.Conn.CloseWrite(); err != nil {
		c.T.Fatal(err)
	}
	return c
}

// Close closes the connection in order.
func (c *Client) Close() { _ = c.Conn.Close() }

// Reset ends the connection with a RST.
func (c *Client) Reset() {
	_ = c.Conn.SetLinger(0)
	_ = c.Conn.Close()
}

// Response is what a client got.
type Response struct {
	t testing.TB
	// Status is 0 when the connection ended before a whole head; Err then says how.
	Status int
	Header http.Header
	Body   string
	// Closes says that the response announced the end of the connection.
	Closes bool
	// Err is why the body is not whole; nil when it is.
	Err error
}

// Read reads one final response to a request with that method; interim ones are skipped.
func (c *Client) Read(method string) *Response {
	c.T.Helper()
	for {
		r := c.ReadAny(method)
		if r.Status < 100 || r.Status >= 200 {
			return r
		}
	}
}

// ReadAny reads one response, which may be an interim one.
func (c *Client) ReadAny(method string) *Response {
	c.T.Helper()
	r := c.ReadHead(method)
	if r.Status == 0 {
		return r.Response
	}
	body, err := io.ReadAll(r.body)
	_ = r.body.Close()
	r.Body, r.Err = string(body), err
	c.tooLate(err)
	return r.Response
}

// Head is a response whose body is still to be read.
type Head struct {
	*Response
	body io.ReadCloser
}

// Body returns the reader of the response's body.
func (h *Head) Reader() io.Reader { return h.body }

// ReadHead reads the head of a response.
func (c *Client) ReadHead(method string) *Head {
	c.T.Helper()
	_ = c.Conn.SetDeadline(time.Now().Add(Patience))
	h, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		c.tooLate(err)
		return &Head{Response: &Response{t: c.T, Err: err}}
	}
	return &Head{Response: &Response{t: c.T, Status: h.StatusCode, Header: h.Header, Closes: h.Close}, body: h.Body}
}

func (c *Client) tooLate(err error) {
	c.T.Helper()
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		c.T.Fatalf("read: %v", err)
	}
}

// WantEnd reads until the proxy ends the connection; nothing more may arrive. It returns the error, nil for a FIN.
func (c *Client) WantEnd() error {
	c.T.Helper()
	rest, err := c.Rest()
	if rest != "" {
		c.T.Errorf("before the end of the connection there was %q", rest)
	}
	return err
}

// Rest reads until the proxy ends the connection.
func (c *Client) Rest() (string, error) {
	c.T.Helper()
	_ = c.Conn.SetDeadline(time.Now().Add(Patience))
	b, err := io.ReadAll(c.in)
	c.tooLate(err)
	if err != nil && !ended(err) {
		c.T.Fatalf("read: %v", err)
	}
	return string(b), err
}

// ended says whether err is the other side's end of the connection.
func ended(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}

// Want checks status and whole body.
func (r *Response) Want(status int, body string) *Response {
	r.t.Helper()
	if r.Status != status || r.Err != nil || r.Body != body {
		r.t.Errorf("got %v, want %d %s", r, status, short(body))
	}
	return r
}

// WantHeader checks one field; "" wants it absent.
func (r *Response) WantHeader(name, value string) *Response {
	r.t.Helper()
	if got := strings.Join(r.Header.Values(name), "|"); got != value {
		r.t.Errorf("%s is %q, want %q", name, got, value)
	}
	return r
}

// String shows the response for messages.
func (r *Response) String() string {
	if r.Err != nil {
		return fmt.Sprintf("%d %s, then %v", r.Status, short(r.Body), r.Err)
	}
	return fmt.Sprintf("%d %s", r.Status, short(r.Body))
}

func short(s string) string {
	if len(s) <= 200 {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q... (%d bytes)", s[:200], len(s))
}
