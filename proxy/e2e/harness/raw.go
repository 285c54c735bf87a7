package harness

import (
	"bufio"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Raw is an origin made of a function: it runs once for each connection, on its own goroutine, and
// may do anything. The connection is closed when it returns.
type Raw struct {
	t     testing.TB
	ln    net.Listener
	serve func(*Peer)
	done  sync.WaitGroup

	mu      sync.Mutex
	peers   []*Peer
	stopped chan struct{} // closed by Stop
}

// Peer is one connection of a Raw origin.
type Peer struct {
	*net.TCPConn
	In *bufio.Reader
	// Number counts the origin's connections from 0.
	Number int

	stopped <-chan struct{}

	mu   sync.Mutex
	read int64
	end  string
}

// NewRaw starts an origin on a free port.
func NewRaw(t testing.TB, serve func(*Peer)) *Raw {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newRaw(t, ln, serve)
}

func newRaw(t testing.TB, ln net.Listener, serve func(*Peer)) *Raw {
	r := &Raw{t: t, ln: ln, serve: serve, stopped: make(chan struct{})}
	r.done.Add(1)
	go r.accept()
	t.Cleanup(r.Stop)
	return r
}

func (r *Raw) accept() {
	defer r.done.Done()
	for {
		c, err := r.ln.Accept()
		if err != nil {
			return
		}
		p := &Peer{TCPConn: c.(*net.TCPConn), stopped: r.stopped}
		p.In = bufio.NewReader(countingReader{p})
		r.mu.Lock()
		if r.isStopped() {
			r.mu.Unlock()
			_ = c.Close()
			return
		}
		p.Number = len(r.peers)
		r.peers = append(r.peers, p)
		r.done.Add(1)
		r.mu.Unlock()
		go func() {
			defer r.done.Done()
			defer c.Close()
			r.serve(p)
			p.ended("over")
		}()
	}
}

// countingReader reads a Peer's socket and notes how much came and how it ended.
type countingReader struct{ p *Peer }

func (c countingReader) Read(b []byte) (int, error) {
	n, err := c.p.TCPConn.Read(b)
	c.p.mu.Lock()
	c.p.read += int64(n)
	c.p.mu.Unlock()
	if err != nil {
		c.p.ended(err.Error())
	}
	return n, err
}

// ended notes how the connection ended, once.
func (p *Peer) ended(how string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.end == "" {
		p.end = how
	}
}

// Address implements Origin.
func (r *Raw) Address() string { return r.ln.Addr().String() }

// Stop implements Origin: it closes everything and waits for the function's calls to return.
func (r *Raw) Stop() {
	r.mu.Lock()
	if !r.isStopped() {
		close(r.stopped)
	}
	_ = r.ln.Close()
	for _, p := range r.peers {
		_ = p.TCPConn.Close()
	}
	r.mu.Unlock()
	r.done.Wait()
}

func (r *Raw) isStopped() bool {
	select {
	case <-r.stopped:
		return true
	default:
		return false
	}
}

// Connections returns how many connections there have been.
func (r *Raw) Connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.peers)
}

// Read returns how many bytes have come on a connection, 0 for one that is not there yet.
func (r *Raw) Read(number int) int64 {
	if p := r.peer(number); p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.read
	}
	return 0
}

func (r *Raw) peer(number int) *Peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if number < len(r.peers) {
		return r.peers[number]
	}
	return nil
}

// WantEnd waits until the function has met the end of a connection, or returned.
func (r *Raw) WantEnd(number int) {
	r.t.Helper()
	Eventually(r.t, "the origin to see the end of its connection", func() bool {
		p := r.peer(number)
		if p == nil {
			return false
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.end != ""
	})
}

// Stopped is closed when the origin is stopped, for functions that wait without reading.
func (p *Peer) Stopped() <-chan struct{} { return p.stopped }

// ReadHead reads one request head; "" when the connection ended before.
func (p *Peer) ReadHead() string {
	var head strings.Builder
	for {
		line, err := p.In.ReadString('\n')
		head.WriteString(line)
		if err != nil {
			return ""
		}
		if line == "\r\n" {
			return head.String()
		}
	}
}

// Send writes text; errors show in what the other side gets.
func (p *Peer) Send(text string) { _, _ = io.WriteString(p.TCPConn, text) }

// Fill writes n bytes, and reports whether all of them went.
func (p *Peer) Fill(n int) bool { return Fill(p.TCPConn, n) }

// Fill writes n bytes of body to w, and reports whether all of them went.
func Fill(w io.Writer, n int) bool {
	block := make([]byte, 64<<10)
	for i := range block {
		block[i] = 'a' + byte(i%26)
	}
	for n > 0 {
		m, err := w.Write(block[:min(n, len(block))])
		if err != nil {
			return false
		}
		n -= m
	}
	return true
}

// Reset ends the connection with a RST.
func (p *Peer) Reset() {
	_ = p.SetLinger(0)
	_ = p.Close()
}

// Drain reads until the connection ends.
func (p *Peer) Drain() { _, _ = io.Copy(io.Discard, struct{ io.Reader }{p.In}) }

// Well answers every request (which must have no body) with 200 and its target as the body, until the
// connection ends.
func (p *Peer) Well() {
	for {
		head := p.ReadHead()
		if head == "" {
			return
		}
		p.Respond(strings.Fields(head)[1])
	}
}

// Respond writes a 200 with a body of known length.
func (p *Peer) Respond(body string) {
	p.Send(Reply(body))
}

// BlackHole returns an address that answers no connection attempt: its backlog is full and nobody
// accepts.
func BlackHole(t testing.TB) Origin {
	t.Helper()
	o, _ := Reluctant(t, nil)
	return o
}

// Reluctant is a BlackHole until open is called, which has it accept: attempts under way succeed when
// the kernel repeats them, after a second or so. The connections that filled the backlog come first.
func Reluctant(t testing.TB, serve func(*Peer)) (o Origin, open func() *Raw) {
	t.Helper()
	fd, addr := bound(t)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for range 16 {
		c, err := net.DialTimeout("tcp", addr.String(), 100*time.Millisecond)
		if err != nil {
			return At(addr.String()), func() *Raw { return listening(t, fd, serve) }
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("this system's backlog does not fill")
	return nil, nil
}

// listening makes a Raw of a socket that stays the caller's.
func listening(t testing.TB, fd int, serve func(*Peer)) *Raw {
	t.Helper()
	if err := syscall.Listen(fd, 128); err != nil {
		t.Fatal(err)
	}
	again, err := syscall.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(again)
	f := os.NewFile(uintptr(again), "listener")
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	raw := newRaw(t, ln, serve)
	t.Cleanup(raw.Stop)
	return raw
}

// bound returns a socket that has a port of 127.0.0.1 and does not listen.
func bound(t testing.TB) (fd int, addr *net.TCPAddr) {
	t.Helper()
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}
}

// Gate is a Raw origin that refuses connections until it is opened.
type Gate struct {
	t    testing.TB
	fd   int
	addr string
	// Raw is nil until Open.
	*Raw
	serve func(*Peer)
}

// NewGate takes a port without listening on it.
func NewGate(t testing.TB, serve func(*Peer)) *Gate {
	t.Helper()
	fd, addr := bound(t)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	return &Gate{t: t, fd: fd, addr: addr.String(), serve: serve}
}

// Open begins to accept.
func (g *Gate) Open() {
	g.t.Helper()
	g.Raw = listening(g.t, g.fd, g.serve)
}

// Address implements Origin.
func (g *Gate) Address() string { return g.addr }

// Stop implements Origin.
func (g *Gate) Stop() {
	if g.Raw != nil {
		g.Raw.Stop()
	}
}
