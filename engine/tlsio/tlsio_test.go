package tlsio_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/tlsio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority signs the certificates of the tests.
var authority = sync.OnceValue(func() tls.Certificate { return certificate("authority", nil) })

// certificate makes one for name, signed by parent or by itself.
func certificate(name string, parent *tls.Certificate) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: parent == nil, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	by, signer := tmpl, any(key)
	if parent != nil {
		by, signer = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, by, &key.PublicKey, signer)
	if err != nil {
		panic(err)
	}
	leaf, _ := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

var serverCert = sync.OnceValue(func() tls.Certificate { a := authority(); return certificate("a.test", &a) })

func roots() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(authority().Leaf)
	return p
}

// serverConfig speaks version only, 0 for any.
func serverConfig(version uint16) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{serverCert()}, MinVersion: version, MaxVersion: version,
		NextProtos: []string{"h2", "http/1.1"},
	}
}

func clientConfig(version uint16) *tls.Config {
	return &tls.Config{RootCAs: roots(), ServerName: "a.test", MinVersion: version, MaxVersion: version}
}

var versions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

// group starts a group and stops it at the end of the test, when no descriptor may
// be left over.
func group(t testing.TB, o engine.Options) *engine.Group {
	t.Helper()
	before := openFDs(t)
	g, err := engine.New(o)
	if err == nil {
		err = g.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := g.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
		if after := 0; !poll(func() bool { after = openFDs(t); return after <= before }) {
			t.Errorf("descriptors leak: %d before, %d after", before, after)
		}
	})
	return g
}

// openFDs counts this process's sockets and pipes.
func openFDs(t testing.TB) (n int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	ents, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range ents {
		name, _ := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if strings.HasPrefix(name, "socket:") || strings.HasPrefix(name, "pipe:") {
			n++
		}
	}
	return n
}

// poll waits until ok, thirty seconds at most.
func poll(ok func() bool) bool {
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(time.Millisecond)
	}
	return true
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !poll(ok) {
		t.Fatalf("never: %s", what)
	}
}

type job struct{ f func() }

func (j *job) Run() { j.f() }

// on runs f on the loop and waits for it.
func on(t testing.TB, l *engine.Loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	if !l.Post(&job{func() { defer close(done); f() }}) {
		t.Fatal("post refused")
	}
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("posted work never ran")
	}
}

// peer is a scripted handler that records its events. Set the functions before the
// connection starts.
type peer struct {
	mu     sync.Mutex
	events []string
	data   []byte
	closed bool
	reason engine.CloseReason
	err    error
	state  *tls.ConnectionState
	conn   *engine.Conn // loop only

	onDialled, onConnected, onReadClosed, onWritable, onClosed func(c *engine.Conn)
	onData                                                     func(c *engine.Conn, view []byte) int
}

func (p *peer) add(format string, v ...any) {
	p.mu.Lock()
	p.events = append(p.events, fmt.Sprintf(format, v...))
	p.mu.Unlock()
}

func (p *peer) OnConnected(c *engine.Conn) {
	p.add("connected")
	p.mu.Lock()
	p.conn, p.state = c, tlsio.State(c)
	p.mu.Unlock()
	if p.onConnected != nil {
		p.onConnected(c)
	}
}

func (p *peer) OnData(c *engine.Conn, view []byte) int {
	n := len(view)
	if p.onData != nil {
		n = p.onData(c, view)
	}
	p.mu.Lock()
	p.data = append(p.data, view[:n]...)
	p.mu.Unlock()
	return n
}

func (p *peer) OnReadClosed(c *engine.Conn) {
	p.add("readclosed")
	if p.onReadClosed != nil {
		p.onReadClosed(c)
	}
}

func (p *peer) OnWritable(c *engine.Conn) {
	p.add("writable")
	if p.onWritable != nil {
		p.onWritable(c)
	}
}

func (p *peer) OnClosed(c *engine.Conn, r engine.CloseReason) {
	if p.onClosed != nil {
		p.onClosed(c)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, "closed "+r.String())
	p.closed, p.reason, p.err = true, r, c.Err()
}

func (p *peer) got() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.data)
}

func (p *peer) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.events, ", ")
}

func (p *peer) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

func (p *peer) connected() *tls.ConnectionState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

func (p *peer) wantClosed(t testing.TB, want engine.CloseReason) error {
	t.Helper()
	closed := poll(p.isClosed)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !closed || p.reason != want {
		t.Fatalf("events %v, error %v; want closed %v", p.events, p.err, want)
	}
	return p.err
}

// echo writes back what it gets, and the end.
func echo() *peer {
	return &peer{
		onData:       func(c *engine.Conn, view []byte) int { c.Write(view); return len(view) },
		onReadClosed: (*engine.Conn).CloseWrite,
	}
}

// server accepts TLS connections for the peers that next makes.
type server struct {
	layer   *tlsio.Layer
	config  *tls.Config
	timeout time.Duration
	next    func(c *engine.Conn) *peer
}

func (s *server) OnAccept(c *engine.Conn) engine.Handler {
	p := s.next(c)
	s.layer.Server(c, s.config, s.timeout)
	return p
}

// serve listens with one loop.
func serve(t testing.TB, layer *tlsio.Layer, config *tls.Config, timeout time.Duration, next func(c *engine.Conn) *peer) (addr string, g *engine.Group) {
	t.Helper()
	g = group(t, engine.Options{Loops: 1})
	return listen(t, g, &server{layer, config, timeout, next}), g
}

func listen(t testing.TB, g *engine.Group, a engine.Acceptor) (addr string) {
	t.Helper()
	ln, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"}, func(*engine.Loop) engine.Acceptor { return a })
	if err != nil {
		t.Fatal(err)
	}
	return ln.Addr().String()
}

// one serves a single peer.
func one(t testing.TB, config *tls.Config, p *peer) (addr string, l *engine.Loop, layer *tlsio.Layer) {
	t.Helper()
	layer = tlsio.New(tlsio.Options{})
	addr, g := serve(t, layer, config, 10*time.Second, func(c *engine.Conn) *peer { p.conn = c; return p })
	return addr, g.Loops()[0], layer
}

func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// dialTLS returns the connection below as well.
func dialTLS(t testing.TB, addr string, config *tls.Config) (*tls.Conn, *net.TCPConn) {
	t.Helper()
	raw := dial(t, addr)
	c := tls.Client(raw, config)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c, raw
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// hello returns what a client sends first.
func hello(t testing.TB) []byte {
	t.Helper()
	r := &recorder{}
	_ = tls.Client(r, clientConfig(0)).Handshake()
	return r.sent.Bytes()
}

// recorder is a connection whose peer never answers.
type recorder struct {
	net.Conn
	sent bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error)      { return r.sent.Write(p) }
func (r *recorder) Read([]byte) (int, error)         { return 0, net.ErrClosed }
func (r *recorder) SetWriteDeadline(time.Time) error { return nil }

// exchange sends b, reads as many back, and compares.
func exchange(t testing.TB, c io.ReadWriter, b []byte) {
	t.Helper()
	go func() { _, _ = c.Write(b) }()
	got := make([]byte, len(b))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, b) {
		t.Fatalf("%d of %d bytes came back, same %v, %v", n, len(b), bytes.Equal(got, b), err)
	}
}

func TestServerSpeaksTLS(t *testing.T) {
	for _, version := range versions {
		for _, size := range []int{1, 100, 16 << 10, 16<<10 + 1, 1 << 20} {
			t.Run(fmt.Sprintf("%s, %d bytes there and back", tls.VersionName(version), size), func(t *testing.T) {
				p := echo()
				addr, l, layer := one(t, serverConfig(0), p)
				cc := clientConfig(version)
				cc.NextProtos = []string{"http/1.1"}
				c, _ := dialTLS(t, addr, cc)
				exchange(t, c, random(size))
				st := p.connected()
				if st == nil || st.Version != version || st.NegotiatedProtocol != "http/1.1" || st.ServerName != "a.test" {
					t.Errorf("state %+v", st)
				}
				if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if n, err := c.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("read %d, %v after close_notify both ways", n, err)
				}
				p.wantClosed(t, engine.PeerClosed)
				if want := "connected, readclosed, closed PeerClosed"; p.log() != want {
					t.Errorf("events %s, want %s", p.log(), want)
				}
				on(t, l, func() {
					if n := l.Slabs().InUse(); n != 0 {
						t.Errorf("%d bytes of slabs in use", n)
					}
				})
				if got := layer.Counters(); got != (tlsio.Counters{Started: 1, Completed: 1}) {
					t.Errorf("counters %+v", got)
				}
			})
		}
	}
}

// dialled starts a client for p to a crypto/tls server that serves its one
// connection with f.
func dialled(t *testing.T, config, serverConfig *tls.Config, p *peer, f func(c *tls.Conn)) (*engine.Loop, *tlsio.Layer) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	t.Cleanup(func() { ln.Close(); done.Wait() })
	done.Add(1)
	go func() {
		defer done.Done()
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		f(tls.Server(c, serverConfig))
	}()
	layer := tlsio.New(tlsio.Options{})
	l := group(t, engine.Options{Loops: 1}).Loops()[0]
	on(t, l, func() {
		c := l.Dial(engine.DialSpec{Addr: ln.Addr().(*net.TCPAddr).AddrPort(), Timeout: 10 * time.Second}, p)
		layer.Client(c, config, 0)
		p.conn = c
		if p.onDialled != nil {
			p.onDialled(c)
		}
	})
	return l, layer
}

func echoServer(c *tls.Conn) {
	_, _ = io.Copy(c, c)
	_ = c.CloseWrite()
	_, _ = io.Copy(io.Discard, c)
}

func TestClientSpeaksTLS(t *testing.T) {
	for _, version := range versions {
		for _, early := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, written before the handshake: %v", tls.VersionName(version), early), func(t *testing.T) {
				sent := random(300_000)
				p := &peer{}
				send := func(c *engine.Conn) { c.Write2(sent[:10], sent[10:]); c.CloseWrite() }
				if early {
					p.onDialled = send
				} else {
					p.onConnected = send
				}
				cc := clientConfig(version)
				cc.NextProtos = []string{"h2"}
				l, layer := dialled(t, cc, serverConfig(0), p, echoServer)
				p.wantClosed(t, engine.PeerClosed)
				if p.got() != string(sent) {
					t.Errorf("%d bytes came back, same: false", len(p.got()))
				}
				if st := p.connected(); st == nil || st.Version != version || st.NegotiatedProtocol != "h2" || len(st.VerifiedChains) == 0 {
					t.Errorf("state %+v", st)
				}
				if want := "connected, readclosed, closed PeerClosed"; p.log() != want {
					t.Errorf("events %s, want %s", p.log(), want)
				}
				on(t, l, func() {
					if n := l.Slabs().InUse(); n != 0 {
						t.Errorf("%d bytes of slabs in use", n)
					}
				})
				if got := layer.Counters(); got != (tlsio.Counters{Started: 1, Completed: 1}) {
					t.Errorf("counters %+v", got)
				}
			})
		}
	}
}

// echoAcceptor echoes with no bookkeeping.
type echoAcceptor struct {
	layer  *tlsio.Layer
	config *tls.Config
}

func (a echoAcceptor) OnAccept(c *engine.Conn) engine.Handler {
	a.layer.Server(c, a.config, 0)
	return a
}
func (echoAcceptor) OnConnected(*engine.Conn)                  {}
func (echoAcceptor) OnWritable(*engine.Conn)                   {}
func (echoAcceptor) OnReadClosed(c *engine.Conn)               { c.CloseWrite() }
func (echoAcceptor) OnClosed(*engine.Conn, engine.CloseReason) {}
func (echoAcceptor) OnData(c *engine.Conn, view []byte) int {
	c.Write2(view[:1], view[1:])
	return len(view)
}

// blockingEcho serves connections with a goroutine each, until the end of the test.
func blockingEcho(t testing.TB, version uint16) string {
	config := serverConfig(version)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			done.Go(func() {
				defer raw.Close()
				c := tls.Server(raw, config)
				b := make([]byte, 16<<10)
				for {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					if _, err := c.Write(b[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}
