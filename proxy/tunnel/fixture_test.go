package tunnel

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/accesslog"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/envoy"
	"github.com/sluiceproxy/sluice/proxy/secure"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait.
const patience = 20 * time.Second

// fixture is a loop with clusters of one server, to which tests dial tunnels.
type fixture struct {
	t        testing.TB
	w        *worker.Worker
	registry *stats.Registry
	conns    chan *net.TCPConn // what the server accepted
}

// open starts it. options are fields of http2_protocol_options.
func open(t testing.TB, options string, clusters ...string) *fixture {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, registry: stats.NewRegistry(), conns: make(chan *net.TCPConn, 16)}
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			f.conns <- c.(*net.TCPConn)
		}
	}()
	log := slog.New(slog.DiscardHandler)
	g, err := engine.New(engine.Options{Loops: 1, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	logs := accesslog.NewManager(time.Hour, log)
	contexts := secure.New(secure.Options{Registry: f.registry, Log: log})
	manager := cluster.NewManager(cluster.Options{Stats: f.registry, Logger: log, Secure: contexts})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := g.Stop(ctx); err != nil {
			t.Error(err)
		}
		_ = ln.Close()
		<-accepted
		for len(f.conns) > 0 {
			_ = (<-f.conns).Close()
		}
		manager.Close()
		contexts.Close()
		logs.Close()
	})
	if err := manager.Apply(loadClusters(t, ln.Addr().(*net.TCPAddr).Port, options, append(clusters, "origin"))); err != nil {
		t.Fatal(err)
	}
	f.w = worker.New(g.Loops()[0], f.registry.NewShard(), logs.NewShard(), manager)
	f.registry.SetCollector(func(visit func(*stats.Shard)) { f.w.Do(func() { visit(f.w.Stats) }, patience) })
	return f
}

func loadClusters(t testing.TB, port int, options string, names []string) []*conf.Cluster {
	t.Helper()
	var text strings.Builder
	text.WriteString("static_resources:\n  clusters:\n")
	for _, name := range names {
		fmt.Fprintf(&text, `  - name: %s
    load_assignment: { cluster_name: %s, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: %d } } } }] }] }
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: { %s } }
`, name, name, port, options)
	}
	r, err := envoy.Load(envoy.Source{Data: []byte(text.String())})
	if err != nil {
		t.Fatal(err)
	}
	return r.Conf.Clusters
}

// on runs f on the loop.
func (f *fixture) on(do func()) {
	f.t.Helper()
	if !f.w.Do(do, patience) {
		f.t.Fatal("the loop does not answer")
	}
}

// eventually waits for what is to become true.
func (f *fixture) eventually(what string, is func() bool) {
	f.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// until is eventually of what is true on the loop.
func (f *fixture) until(what string, is func() bool) {
	f.t.Helper()
	f.eventually(what, func() (ok bool) {
		f.on(func() { ok = is() })
		return ok
	})
}

// stat returns a statistic of the cluster "origin".
func (f *fixture) stat(name string) int64 {
	f.t.Helper()
	m := f.registry.Collect()
	for _, c := range m.Counters {
		if c.Name == "cluster.origin."+name {
			return int64(c.Value)
		}
	}
	for _, g := range m.Gauges {
		if g.Name == "cluster.origin."+name {
			return g.Value
		}
	}
	f.t.Fatalf("there is no %s", name)
	return 0
}

// wants waits for statistics.
func (f *fixture) wants(want map[string]int64) {
	f.t.Helper()
	for name, v := range want {
		f.eventually(fmt.Sprintf("%s to be %d", name, v), func() bool { return f.stat(name) == v })
	}
}

// session is the owner of a tunnel; it notes what it hears. Loop-owned.
type session struct {
	req    pool.Request
	stream *Stream
	head   header.Head
	opened chan struct{}

	heard strings.Builder // but for data
	data  bytes.Buffer
	rooms int
	keeps bool // what comes is not consumed
	// quiet keeps no data, for measurements.
	quiet bool
}

// dial asks for a tunnel of a cluster.
func (f *fixture) dial(cluster string) *session {
	f.t.Helper()
	s := &session{opened: make(chan struct{})}
	s.req.Owner = s
	f.on(func() {
		if !f.w.Cluster([]byte(cluster)).PickFor(nil).AcquireTunnel(&s.req, Sessions{}) {
			s.heard.WriteString("overflow\n")
		}
	})
	return s
}

// tunnel is dial, until the request is out.
func (f *fixture) tunnel(cluster string) *session {
	f.t.Helper()
	s := f.dial(cluster)
	select {
	case <-s.opened:
	case <-time.After(patience):
		f.t.Fatal("no stream")
	}
	return s
}

func (s *session) OnPoolReady(*pool.Conn) { panic("a connection in place of a stream") }

func (s *session) OnPoolFailure(f pool.Failure, _ error) {
	fmt.Fprintf(&s.heard, "failure %v\n", f)
	close(s.opened)
}

func (s *session) OnTunnel(x *Stream) {
	s.stream = x
	s.head.Reset(nil)
	s.head.Version, s.head.Transfer = header.HTTP11, header.Tunnel
	s.head.SetMethod(header.MethodPost, "POST")
	s.head.SetPath([]byte("/"))
	s.head.SetScheme("http")
	s.head.SetAuthority([]byte("h"))
	x.Open(&s.head)
	close(s.opened)
}

func (s *session) OnTunnelHead(_ *Stream, h *header.Head, end bool) {
	fmt.Fprintf(&s.heard, "head %d %v\n", h.Status, end)
}

func (s *session) OnTunnelData(x *Stream, p []byte, end bool) {
	if !s.quiet {
		s.data.Write(p)
	}
	if end {
		s.heard.WriteString("end\n")
	}
	if !s.keeps {
		x.Consumed(len(p))
	}
}

func (s *session) OnTunnelTrailers(_ *Stream, t *header.Head) {
	fmt.Fprintf(&s.heard, "trailers %d\n", len(t.Fields))
}

func (s *session) OnTunnelRoom(*Stream) { s.rooms++ }

func (s *session) OnTunnelReset(_ *Stream, why string) {
	fmt.Fprintf(&s.heard, "reset %s\n", why)
	s.stream = nil
}

// server is the other end of a connection, frame by frame.
type server struct {
	*http2.Framer
	t    testing.TB
	c    *net.TCPConn
	text bytes.Buffer
	enc  *hpack.Encoder
}

// accept takes the next connection, and says hello.
func (f *fixture) accept(settings ...http2.Setting) *server {
	f.t.Helper()
	var c *net.TCPConn
	select {
	case c = <-f.conns:
	case <-time.After(patience):
		f.t.Fatal("no connection")
	}
	f.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.CopyN(io.Discard, c, int64(len(http2.ClientPreface))); err != nil {
		f.t.Fatal(err)
	}
	s := &server{Framer: http2.NewFramer(c, c), t: f.t, c: c}
	s.enc = hpack.NewEncoder(&s.text)
	s.must(s.WriteSettings(settings...))
	s.must(s.WriteSettingsAck())
	return s
}

func (s *server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// block is a header block of "name=value" words.
func (s *server) block(words ...string) []byte {
	s.text.Reset()
	for _, word := range words {
		i := strings.IndexByte(word[1:], '=') + 1
		s.must(s.enc.WriteField(hpack.HeaderField{Name: word[:i], Value: word[i+1:]}))
	}
	return s.text.Bytes()
}

// answer sends a head with a status.
func (s *server) answer(id uint32, end bool) {
	s.t.Helper()
	s.must(s.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: s.block(":status=200"), EndHeaders: true, EndStream: end}))
}

// next returns the next frame that is of none of the types to skip; nil at the end.
func (s *server) next(skip ...http2.FrameType) http2.Frame {
	s.t.Helper()
next:
	for {
		f, err := s.ReadFrame()
		if err == io.EOF {
			return nil
		}
		s.must(err)
		for _, typ := range append(skip, http2.FrameSettings) {
			if f.Header().Type == typ {
				continue next
			}
		}
		return f
	}
}

// stream waits for the HEADERS of a stream and returns its number.
func (s *server) stream() uint32 {
	s.t.Helper()
	f := s.next(http2.FrameWindowUpdate)
	if f == nil || f.Header().Type != http2.FrameHeaders {
		s.t.Fatalf("%v", f)
	}
	return f.Header().StreamID
}
