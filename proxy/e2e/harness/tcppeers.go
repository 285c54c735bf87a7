package harness

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Echo sends back what comes, and a FIN after a FIN.
func (p *Peer) Echo() { _, _ = io.Copy(struct{ io.Writer }{p.TCPConn}, struct{ io.Reader }{p.In}) }

// Greet is an origin that speaks first, then echoes.
func Greet(text string) func(*Peer) {
	return func(p *Peer) {
		p.Send(text)
		p.Echo()
	}
}

// Named is an origin that says its name and a line end, then echoes.
func Named(name string) func(*Peer) { return Greet(name + "\n") }

// Hold is an origin that neither reads nor writes until it is stopped.
func Hold(p *Peer) { <-p.Stopped() }

// FinishFirst is an origin that sends text and a FIN, and reads on until the other side's.
func FinishFirst(text string) func(*Peer) {
	return func(p *Peer) {
		p.Send(text)
		_ = p.CloseWrite()
		p.Drain()
	}
}

// ResetAfter is an origin that reads n bytes and resets the connection.
func ResetAfter(n int) func(*Peer) {
	return func(p *Peer) {
		_, _ = io.CopyN(io.Discard, p.In, int64(n))
		p.Reset()
	}
}

// Dialing says how a client connects; zero values are the system's.
type Dialing struct {
	// From is the client's address, without port or with one.
	From string
	// SendBuffer and ReceiveBuffer are SO_SNDBUF and SO_RCVBUF in bytes; the kernel doubles them.
	SendBuffer, ReceiveBuffer int
}

// Dial connects; the connection is closed at the end of the test.
func (d Dialing) Dial(t testing.TB, addr string) *Client {
	t.Helper()
	dialer := net.Dialer{Timeout: Patience, Control: d.control}
	if d.From != "" {
		from, err := net.ResolveTCPAddr("tcp", d.From)
		if err != nil {
			from, err = net.ResolveTCPAddr("tcp", net.JoinHostPort(d.From, "0"))
		}
		if err != nil {
			t.Fatal(err)
		}
		dialer.LocalAddr = from
	}
	c, err := dialer.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return Wrap(t, c.(*net.TCPConn))
}

func (d Dialing) control(_, _ string, raw syscall.RawConn) error {
	var failed error
	set := func(fd uintptr, option, n int) {
		if err := syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, option, n); n > 0 && err != nil {
			failed = err
		}
	}
	err := raw.Control(func(fd uintptr) {
		if d.SendBuffer > 0 {
			set(fd, syscall.SO_SNDBUF, d.SendBuffer)
		}
		if d.ReceiveBuffer > 0 {
			set(fd, syscall.SO_RCVBUF, d.ReceiveBuffer)
		}
	})
	if err == nil {
		err = failed
	}
	return err
}

// DialFrom connects to the proxy from another local address, such as 127.0.0.2.
func (p *Proxy) DialFrom(from string) *Client {
	p.T.Helper()
	return Dialing{From: from}.Dial(p.T, p.Addr)
}

// WantText reads as many bytes as text has, which must be the same.
func (c *Client) WantText(text string) *Client {
	c.T.Helper()
	_ = c.Conn.SetDeadline(time.Now().Add(Patience))
	b := make([]byte, len(text))
	if n, err := io.ReadFull(c.in, b); err != nil {
		c.T.Fatalf("read %s, then %v; want %s", short(string(b[:n])), err, short(text))
	}
	if string(b) != text {
		c.T.Fatalf("read %s, want %s", short(string(b)), short(text))
	}
	return c
}

// Line reads a line and returns it without its end.
func (c *Client) Line() string {
	c.T.Helper()
	_ = c.Conn.SetDeadline(time.Now().Add(Patience))
	line, err := c.in.ReadString('\n')
	if err != nil {
		c.T.Fatalf("read %q, then %v; want a line", line, err)
	}
	return line[:len(line)-1]
}

// Reader reads what comes, for tests that set deadlines themselves.
func (c *Client) Reader() io.Reader { return c.in }

// Push writes bytes of Stream's content from position at on for as long as they are taken: until nothing
// moves for a while, or most bytes went. It returns how many went.
func (c *Client) Push(at, most int64) int64 {
	c.T.Helper()
	sent := int64(0)
	s := &Stream{At: at}
	block := make([]byte, 16<<10)
	for sent < most {
		n := min(int64(len(block)), most-sent)
		s.At = at + sent
		_, _ = s.Read(block[:n])
		_ = c.Conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		w, err := c.Conn.Write(block[:n])
		sent += int64(w)
		if err != nil {
			break
		}
	}
	_ = c.Conn.SetDeadline(time.Now().Add(Patience))
	return sent
}

// Stream is an endless sequence of bytes in which each position has its own content, so that lost,
// doubled and reordered bytes show. Reading fills from At on; writing compares from At on.
type Stream struct{ At int64 }

// at is the content: the bytes of the position's multiples, mixed.
func (*Stream) content(at int64) byte {
	x := uint64(at>>3) * 0x9e3779b97f4a7c15
	return byte(x>>(8*uint(at&7))) ^ byte(at)
}

// Read fills b; it never fails.
func (s *Stream) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = s.content(s.At + int64(i))
	}
	s.At += int64(len(b))
	return len(b), nil
}

// Write compares b with the content.
func (s *Stream) Write(b []byte) (int, error) {
	for i, got := range b {
		if want := s.content(s.At + int64(i)); got != want {
			return i, fmt.Errorf("byte %d is %#x, want %#x", s.At+int64(i), got, want)
		}
	}
	s.At += int64(len(b))
	return len(b), nil
}

// SendStream writes the first n bytes of a Stream to w.
func SendStream(w io.Writer, n int64) error {
	_, err := io.Copy(struct{ io.Writer }{w}, io.LimitReader(&Stream{}, n))
	return err
}

// TakeStream reads r to its end, compares it with a Stream, and returns how many bytes came.
func TakeStream(r io.Reader) (int64, error) {
	s := &Stream{}
	_, err := io.Copy(s, struct{ io.Reader }{r})
	return s.At, err
}

// Socket is an origin on any kind of socket, with a function for each connection; it is closed when the
// function returns.
type Socket struct {
	ln   net.Listener
	done sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// NewSocket listens; network and addr are as in net.Listen.
func NewSocket(t testing.TB, network, addr string, serve func(c io.ReadWriter)) *Socket {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &Socket{ln: ln, conns: make(map[net.Conn]struct{})}
	s.done.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[c] = struct{}{}
			s.mu.Unlock()
			s.done.Go(func() {
				serve(c)
				_ = c.Close()
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
			})
		}
	})
	t.Cleanup(s.Stop)
	return s
}

// Address implements Origin: host:port, or the path of a unix socket.
func (s *Socket) Address() string { return s.ln.Addr().String() }

// Stop implements Origin.
func (s *Socket) Stop() {
	_ = s.ln.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.done.Wait()
}
