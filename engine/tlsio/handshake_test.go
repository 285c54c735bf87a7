package tlsio_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/tlsio"
)

func TestWhatIsNoHandshakeIsRefused(t *testing.T) {
	whole := hello(t)
	corrupt := bytes.Clone(whole)
	corrupt[6] = 0xff // the message's length: a hello of 16 MiB
	for _, tc := range []struct {
		name, sent string
		fin        bool
		want       error // nil for any
	}{
		{"an HTTP request", "GET / HTTP/1.1\r\n\r\n", false, nil},
		{"one byte of an HTTP request", "G", false, nil},
		{"an SSL 2 hello", "\x80\x2e\x01\x03\x01", false, nil},
		{"a record of no version", "\x16\x16", false, nil},
		{"application data", "\x17\x03\x03\x00\x01a", false, nil},
		{"a hello that claims 16 MiB, in 16 KiB", string(corrupt) + strings.Repeat("\x16\x03\x01\x01\x00"+strings.Repeat("a", 256), 80), false, nil},
		{"a record that claims 64 KiB", "\x16\x03\x01\xff\xff", false, nil},
		{"an empty record", "\x16\x03\x01\x00\x00" + "\x16\x03\x01\x00\x00", false, nil},
		{"an alert", "\x15\x03\x01\x00\x02\x02\x28", false, nil},
		{"nothing", "", true, io.EOF},
		{"half a hello", string(whole[:100]), true, io.ErrUnexpectedEOF},
		{"a hello and no more", string(whole), true, io.ErrUnexpectedEOF},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := echo()
			addr, _, layer := one(t, serverConfig(0), p)
			c := dial(t, addr)
			_, _ = io.WriteString(c, tc.sent)
			if tc.fin {
				_ = c.CloseWrite()
			}
			if err := p.wantClosed(t, engine.HandshakeFailed); err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			if want := "closed HandshakeFailed"; p.log() != want {
				t.Errorf("events %s, want %s", p.log(), want)
			}
			eventually(t, "counted", func() bool { return layer.Counters() == tlsio.Counters{Started: 1, Failed: 1} })
		})
	}
}

// TestSilentClientsTimeOut: neither those that say nothing nor those that stop.
func TestSilentClientsTimeOut(t *testing.T) {
	whole := hello(t)
	for _, sent := range [][]byte{nil, whole[:10], whole} {
		t.Run(fmt.Sprintf("after %d bytes", len(sent)), func(t *testing.T) {
			p := echo()
			layer := tlsio.New(tlsio.Options{})
			addr, g := serve(t, layer, serverConfig(0), 100*time.Millisecond, func(*engine.Conn) *peer { return p })
			c := dial(t, addr)
			_, _ = c.Write(sent)
			p.wantClosed(t, engine.HandshakeTimeout)
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Errorf("the connection ended with %v", err)
			}
			eventually(t, "counted", func() bool { return layer.Counters() == tlsio.Counters{Started: 1, TimedOut: 1} })
			on(t, g.Loops()[0], func() {})
		})
	}
}

// TestTimeoutEndsWithTheHandshake: a connection that is open has none.
func TestTimeoutEndsWithTheHandshake(t *testing.T) {
	p := echo()
	const timeout = 300 * time.Millisecond
	addr, g := serve(t, tlsio.New(tlsio.Options{}), serverConfig(0), timeout, func(c *engine.Conn) *peer { return p })
	c, _ := dialTLS(t, addr, clientConfig(0))
	l := g.Loops()[0]
	var opened int64
	on(t, l, func() { opened = l.Now() })
	eventually(t, "twice the timeout passed", func() (past bool) {
		on(t, l, func() { past = l.Now() > opened+int64(2*timeout) })
		return past
	})
	exchange(t, c, []byte("still here"))
}

// TestDialTimeoutBoundsTheHandshake: connecting succeeds, the server then says nothing.
func TestDialTimeoutBoundsTheHandshake(t *testing.T) {
	for _, ofDial := range []bool{false, true} {
		t.Run(fmt.Sprintf("the time-out is that of Dial: %v", ofDial), func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			layer := tlsio.New(tlsio.Options{})
			l := group(t, engine.Options{Loops: 1}).Loops()[0]
			p := &peer{}
			on(t, l, func() {
				spec, timeout := engine.DialSpec{Addr: ln.Addr().(*net.TCPAddr).AddrPort()}, 100*time.Millisecond
				if ofDial {
					spec.Timeout, timeout = timeout, time.Hour
				}
				layer.Client(l.Dial(spec, p), clientConfig(0), timeout)
			})
			p.wantClosed(t, engine.ConnectTimeout)
			eventually(t, "counted", func() bool { return layer.Counters() == tlsio.Counters{Started: 1, TimedOut: 1} })
		})
	}
}

func TestNobodyListens(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	layer := tlsio.New(tlsio.Options{})
	l := group(t, engine.Options{Loops: 1}).Loops()[0]
	p := &peer{}
	on(t, l, func() {
		layer.Client(l.Dial(engine.DialSpec{Addr: ln.Addr().(*net.TCPAddr).AddrPort()}, p), clientConfig(0), time.Minute)
	})
	p.wantClosed(t, engine.ConnectRefused)
	eventually(t, "counted", func() bool { return layer.Counters() == tlsio.Counters{Started: 1, Failed: 1} })
}

func TestHandshakesBeyondTheBoundAreShed(t *testing.T) {
	layer := tlsio.New(tlsio.Options{MaxHandshakes: 1})
	made := make(chan *peer, 3)
	addr, _ := serve(t, layer, serverConfig(0), time.Minute, func(*engine.Conn) *peer {
		p := echo()
		made <- p
		return p
	})
	stalled := dial(t, addr)
	_, _ = stalled.Write(hello(t))
	eventually(t, "the first is under way", func() bool { return layer.Counters().Busy == 1 })
	<-made
	c := dial(t, addr)
	if err := tls.Client(c, clientConfig(0)).Handshake(); err == nil {
		t.Fatal("the second handshake succeeded")
	}
	(<-made).wantClosed(t, engine.HandshakeShed)
	stalled.Close()
	eventually(t, "there is room again", func() bool { return layer.Counters().Busy == 0 })
	ok, _ := dialTLS(t, addr, clientConfig(0))
	exchange(t, ok, []byte("served"))
	if got := layer.Counters(); got != (tlsio.Counters{Started: 3, Completed: 1, Failed: 1, Shed: 1}) {
		t.Errorf("counters %+v", got)
	}
}

func TestResumption(t *testing.T) {
	for _, version := range versions {
		t.Run("as a server, "+tls.VersionName(version), func(t *testing.T) {
			layer := tlsio.New(tlsio.Options{})
			g := group(t, engine.Options{Loops: 2}) // tickets of one loop are good on the other
			addr := listen(t, g, &server{layer, serverConfig(version), time.Minute, func(*engine.Conn) *peer { return echo() }})
			cc := clientConfig(version)
			cc.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			for i := range 6 {
				c, raw := dialTLS(t, addr, cc)
				exchange(t, c, []byte("the ticket of TLS 1.3 comes before this"))
				if got := c.ConnectionState().DidResume; got != (i > 0) {
					t.Errorf("connection %d resumed: %v", i, got)
				}
				raw.Close()
			}
			if got := layer.Counters(); got.Completed != 6 || got.Resumed != 5 {
				t.Errorf("counters %+v", got)
			}
		})
		t.Run("as a client, "+tls.VersionName(version), func(t *testing.T) {
			cc, sc := clientConfig(version), serverConfig(0)
			cc.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			for i := range 2 {
				p := &peer{}
				p.onConnected = func(c *engine.Conn) { c.Write([]byte("x")) }
				p.onData = func(c *engine.Conn, view []byte) int { c.CloseWrite(); return len(view) }
				dialled(t, cc, sc, p, echoServer)
				p.wantClosed(t, engine.PeerClosed)
				if got := p.connected().DidResume; got != (i > 0) {
					t.Errorf("connection %d resumed: %v", i, got)
				}
			}
		})
	}
}

func TestClientCertificates(t *testing.T) {
	a := authority()
	good, stranger := certificate("client", &a), certificate("stranger", nil)
	for _, version := range versions {
		for _, tc := range []struct {
			name string
			cert *tls.Certificate
			ok   bool
		}{
			{"a good one", &good, true},
			{"none", nil, false},
			{"one of an unknown authority", &stranger, false},
		} {
			t.Run(tls.VersionName(version)+", "+tc.name, func(t *testing.T) {
				p := echo()
				sc := serverConfig(version)
				sc.ClientAuth, sc.ClientCAs = tls.RequireAndVerifyClientCert, roots()
				addr, _, _ := one(t, sc, p)
				cc := clientConfig(version)
				if tc.cert != nil {
					cc.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return tc.cert, nil }
				}
				c := tls.Client(dial(t, addr), cc)
				_, err := c.Write([]byte("hi"))
				if err == nil {
					_, err = io.ReadFull(c, make([]byte, 2))
				}
				if !tc.ok {
					var alert *net.OpError
					if !errors.As(err, &alert) || alert.Op != "remote error" {
						t.Errorf("the client got %v, want an alert", err)
					}
					p.wantClosed(t, engine.HandshakeFailed)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if st := p.connected(); len(st.PeerCertificates) != 1 || st.PeerCertificates[0].Subject.CommonName != "client" {
					t.Errorf("peer certificates %v", st.PeerCertificates)
				}
			})
		}
	}
}

// TestServerCertificateIsVerified: the reason and the error say what was wrong.
func TestServerCertificateIsVerified(t *testing.T) {
	cc := clientConfig(0)
	cc.ServerName = "b.test"
	p := &peer{}
	_, layer := dialled(t, cc, serverConfig(0), p, func(c *tls.Conn) { _ = c.Handshake() })
	var wrong *tls.CertificateVerificationError
	var name x509.HostnameError
	if err := p.wantClosed(t, engine.HandshakeFailed); !errors.As(err, &wrong) || !errors.As(err, &name) {
		t.Errorf("error %v", err)
	}
	if want := "closed HandshakeFailed"; p.log() != want {
		t.Errorf("events %s, want %s", p.log(), want)
	}
	eventually(t, "counted", func() bool { return layer.Counters() == tlsio.Counters{Started: 1, Failed: 1} })
}

func TestCallbacks(t *testing.T) {
	other := certificate("b.test", nil)
	for _, tc := range []struct {
		name string
		set  func(c *tls.Config)
		ok   bool
	}{
		{"GetConfigForClient by name and addresses", func(c *tls.Config) {
			b := &tls.Config{Certificates: []tls.Certificate{other}}
			c.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
				if h.ServerName != "b.test" || h.Conn.RemoteAddr().(*net.TCPAddr).Port == 0 || h.Conn.LocalAddr().(*net.TCPAddr).Port == 0 {
					return nil, errors.New("unexpected")
				}
				return b, nil
			}
		}, true},
		{"GetCertificate", func(c *tls.Config) {
			c.Certificates = nil
			c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &other, nil }
		}, true},
		{"one that fails", func(c *tls.Config) {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("no") }
		}, false},
		{"one that panics", func(c *tls.Config) {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { panic("at the disco") }
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sc := serverConfig(0)
			tc.set(sc)
			p := echo()
			addr, _, layer := one(t, sc, p)
			c := tls.Client(dial(t, addr), &tls.Config{ServerName: "b.test", InsecureSkipVerify: true})
			if err := c.Handshake(); (err == nil) != tc.ok {
				t.Errorf("handshake: %v", err)
			}
			if tc.ok {
				if got := c.ConnectionState().PeerCertificates[0].Subject.CommonName; got != "b.test" {
					t.Errorf("certificate of %s", got)
				}
				return
			}
			if err := p.wantClosed(t, engine.HandshakeFailed); err == nil {
				t.Error("no error")
			}
			eventually(t, "nothing is left", func() bool { return layer.Counters().Busy == 0 })
		})
	}
}

// inspector looks at the first bytes as a listener filter does, and starts TLS when
// they begin a hello of at least need bytes.
type inspector struct {
	*peer
	layer *tlsio.Layer
	need  int
}

func (i *inspector) OnAccept(*engine.Conn) engine.Handler { return i }

func (i *inspector) OnData(c *engine.Conn, view []byte) int {
	if len(view) < i.need {
		return 0
	}
	i.layer.Server(c, serverConfig(0), time.Minute)
	c.SetHandler(i.peer)
	return 0
}

// TestBytesSeenBeforeAreFedIn starts TLS when a part of the hello, all of it, or as
// much as may be kept has been looked at.
func TestBytesSeenBeforeAreFedIn(t *testing.T) {
	whole := len(hello(t))
	for _, need := range []int{1, 100, whole - 10} {
		for _, limit := range []int{need, 64 << 10} { // kept up to the limit, reading was paused
			t.Run(fmt.Sprintf("at %d bytes, limit %d", need, limit), func(t *testing.T) {
				p := echo()
				g := group(t, engine.Options{Loops: 1})
				i := &inspector{p, tlsio.New(tlsio.Options{}), need}
				ln, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"}, func(*engine.Loop) engine.Acceptor {
					return limited{i, limit}
				})
				if err != nil {
					t.Fatal(err)
				}
				c, _ := dialTLS(t, ln.Addr().String(), clientConfig(0))
				exchange(t, c, random(20_000))
				_ = c.CloseWrite()
				p.wantClosed(t, engine.PeerClosed)
			})
		}
	}
}

type limited struct {
	*inspector
	limit int
}

func (l limited) OnAccept(c *engine.Conn) engine.Handler {
	c.SetReadLimit(l.limit)
	return l.inspector
}

// TestHandlersMayEndAHandshake: each way, at each stage.
func TestHandlersMayEndAHandshake(t *testing.T) {
	whole := hello(t)
	for _, sent := range [][]byte{nil, whole[:10], whole} {
		for _, tc := range []struct {
			name string
			end  func(c *engine.Conn)
			want engine.CloseReason
		}{
			{"Close", (*engine.Conn).Close, engine.LocalClose},
			{"Reset", (*engine.Conn).Reset, engine.LocalReset},
			{"CloseAfterFlush", func(c *engine.Conn) { c.CloseAfterFlush(time.Second) }, engine.LocalClose},
		} {
			t.Run(fmt.Sprintf("%s after %d bytes", tc.name, len(sent)), func(t *testing.T) {
				p := echo()
				addr, l, layer := one(t, serverConfig(0), p)
				c := dial(t, addr)
				_, _ = c.Write(sent)
				eventually(t, "the bytes arrived", func() (ok bool) {
					on(t, l, func() { ok = p.conn != nil && p.conn.BytesRead() == uint64(len(sent)) })
					return ok
				})
				on(t, l, func() { tc.end(p.conn) })
				p.wantClosed(t, tc.want)
				eventually(t, "counted, and the goroutine gone", func() bool {
					return layer.Counters() == tlsio.Counters{Started: 1, Failed: 1}
				})
				eventually(t, "the slabs are back", func() (ok bool) {
					on(t, l, func() { ok = l.Slabs().InUse() == 0 })
					return ok
				})
			})
		}
	}
}

// TestStopEndsHandshakes leaves some in each stage; goleak sees to the goroutines.
func TestStopEndsHandshakes(t *testing.T) {
	whole := hello(t)
	layer := tlsio.New(tlsio.Options{})
	g, err := engine.New(engine.Options{Loops: 2})
	if err == nil {
		err = g.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	addr := listen(t, g, &server{layer, serverConfig(0), time.Minute, func(*engine.Conn) *peer { return echo() }})
	const each = 20
	for i := range 3 * each {
		c := dial(t, addr)
		_, _ = c.Write([][]byte{nil, whole[:10], whole}[i%3])
	}
	eventually(t, "all started", func() bool { c := layer.Counters(); return c.Open == 3*each && c.Busy == each })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := g.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all ended", func() bool { c := layer.Counters(); return c.Open == 0 && c.Busy == 0 && c.Failed == 3*each })
}

// TestWorkersBoundWhatRuns: one callback at a time, the others wait.
func TestWorkersBoundWhatRuns(t *testing.T) {
	layer := tlsio.New(tlsio.Options{Workers: 1})
	var running, most atomic.Int32
	release := make(chan struct{})
	sc := serverConfig(0)
	sc.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		most.Store(max(most.Load(), running.Add(1)))
		<-release
		running.Add(-1)
		return nil, nil
	}
	addr, _ := serve(t, layer, sc, time.Minute, func(*engine.Conn) *peer { return echo() })
	const conns = 5
	errs := make(chan error, conns)
	for range conns {
		c := tls.Client(dial(t, addr), clientConfig(0))
		go func() { errs <- c.Handshake() }()
	}
	eventually(t, "all wait for the one turn", func() bool { return layer.Counters().Busy == conns && running.Load() == 1 })
	close(release)
	for range conns {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if most.Load() != 1 {
		t.Errorf("%d ran at once", most.Load())
	}
}

// TestRenegotiationIsNeverAllowed: a config that allows it is used without.
func TestRenegotiationIsNeverAllowed(t *testing.T) {
	cc := clientConfig(tls.VersionTLS12)
	cc.Renegotiation = tls.RenegotiateFreelyAsClient
	p := &peer{}
	p.onConnected = func(c *engine.Conn) { c.CloseWrite() }
	dialled(t, cc, serverConfig(0), p, echoServer)
	p.wantClosed(t, engine.PeerClosed)
	if cc.Renegotiation != tls.RenegotiateFreelyAsClient {
		t.Error("the caller's config was changed")
	}
}

// A preface goes out ahead of the handshake, as it is.
func TestClientsMaySendSomethingFirst(t *testing.T) {
	for _, size := range []int{0, 1, 100, 1 << 20} {
		preface := bytes.Repeat([]byte("p"), size)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() {
			c, err := ln.Accept()
			if err != nil {
				served <- err
				return
			}
			defer c.Close()
			got := make([]byte, size)
			if _, err = io.ReadFull(c, got); err == nil && !bytes.Equal(got, preface) {
				err = errors.New("another preface")
			}
			if err == nil {
				err = tls.Server(c, serverConfig(0)).Handshake()
			}
			served <- err
		}()
		l := group(t, engine.Options{Loops: 1}).Loops()[0]
		p, layer := &peer{}, tlsio.New(tlsio.Options{})
		on(t, l, func() {
			c := l.Dial(engine.DialSpec{Addr: ln.Addr().(*net.TCPAddr).AddrPort(), Timeout: time.Minute}, p)
			mine := bytes.Clone(preface)
			layer.ClientAfter(c, mine, clientConfig(0), 0)
			clear(mine) // it was copied
		})
		if err := <-served; err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		_ = ln.Close()
	}
}
