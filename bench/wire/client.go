package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"
)

// client plays the client's part of one case.
type client struct {
	conn    *net.TCPConn
	r       *bufio.Reader
	timeout time.Duration
	cut     int
}

func dial(addr string, timeout time.Duration, cut int) (*client, error) {
	c, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return nil, err
	}
	tc := c.(*net.TCPConn)
	return &client{conn: tc, r: bufio.NewReader(tc), timeout: timeout, cut: cut}, nil
}

// play runs the steps and returns what did not hold. It stops at the first step that failed.
func (c *client) play(steps []Step) []string {
	for _, s := range steps {
		var bad []string
		switch s.Op {
		case Send:
			c.send(s.Bytes)
		case Pause:
			time.Sleep(pauseTime)
		case Shut:
			c.conn.CloseWrite()
		case Reset:
			c.conn.SetLinger(0)
			c.conn.Close()
		case Gets:
			bad = c.gets(s.Want)
		case Closes:
			bad = c.closes()
		case StaysOpen:
			bad = c.staysOpen()
		default:
		}
		if len(bad) > 0 {
			return bad
		}
	}
	return nil
}

// send writes b, in pieces when cut is set. An error is not reported: a proxy may refuse a message
// before its last byte, and what it answered says more.
func (c *client) send(b []byte) {
	c.conn.SetWriteDeadline(time.Now().Add(c.timeout))
	// Dribbling megabytes would only test patience.
	if c.cut <= 0 || len(b) > 4096*c.cut {
		c.conn.Write(b)
		return
	}
	// The PROXY protocol lets receivers count on its line arriving whole.
	if end := bytes.IndexByte(b, '\n'); end >= 0 && bytes.HasPrefix(b, []byte("PROXY ")) {
		c.conn.Write(b[:end+1])
		b = b[end+1:]
	}
	for piece := range slices.Chunk(b, c.cut) {
		if _, err := c.conn.Write(piece); err != nil {
			return
		}
	}
}

// gets reads one response and compares it.
func (c *client) gets(want *Message) []string {
	name := statuses(want.Statuses)
	c.conn.SetReadDeadline(time.Now().Add(c.timeout))
	m, status, err := readResponse(c.r, want.To)
	if m == nil {
		return []string{fmt.Sprintf("client: want %s, got %s", name, ending(err))}
	}
	if err == nil {
		err = m.readBody(c.r)
	}
	bad := want.compare(m)
	if !slices.Contains(want.Statuses, status) {
		got := fmt.Sprint(status)
		if status == 0 {
			got = "no HTTP/1.1 response"
		}
		bad = append([]string{fmt.Sprintf("got %s, want %s", got, name)}, bad...)
	}
	if m.cut && !want.Cut {
		bad = append(bad, "cut short: "+ending(err))
	}
	for i := range bad {
		bad[i] = "client: " + bad[i]
	}
	if len(bad) > 0 {
		bad = append(bad, "  the response was "+m.String())
	}
	return bad
}

func statuses(list []int) string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(list), "[]"), " ", " or ")
}

// ending names the way in which a connection stopped giving bytes.
func ending(err error) string {
	var ne net.Error
	switch {
	case errors.As(err, &ne) && ne.Timeout():
		return "nothing more in time"
	case errors.Is(err, syscall.ECONNRESET):
		return "a reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the end of the connection"
	case err == nil:
		return "no error"
	}
	return err.Error()
}

// closes wants the end of the connection and not a byte before it. A reset is an end too: whether the
// responses survived it, the steps before have seen.
func (c *client) closes() []string {
	c.conn.SetReadDeadline(time.Now().Add(c.timeout))
	rest := make([]byte, 512)
	n, err := io.ReadAtLeast(c.r, rest, 1)
	if n > 0 {
		return []string{"client: want the connection closed, got " + quote(rest[:n])}
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return []string{"client: want the connection closed, it stays open"}
	}
	return nil
}

// staysOpen has a further request served on the same connection.
func (c *client) staysOpen() []string {
	c.send([]byte("GET " + openPath + " HTTP/1.1\r\nHost: wire\r\n\r\n"))
	body := openPath
	bad := c.gets(&Message{Statuses: []int{200}, Body: &body})
	if len(bad) > 0 {
		return append([]string{"client: the connection is not good for a further request"}, bad...)
	}
	return nil
}
