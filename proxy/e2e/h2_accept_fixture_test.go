package e2e

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// wireKind is how one side of the proxy speaks.
type wireKind uint8

const (
	overH1 wireKind = iota
	overH1TLS
	overH2C
	overH2TLS
)

func (s wireKind) String() string {
	return [...]string{"HTTP1", "HTTP1 over TLS", "h2c", "H2 over TLS"}[s]
}

func (s wireKind) secure() bool { return s == overH1TLS || s == overH2TLS }

func (s wireKind) http2() bool { return s >= overH2C }

// sides are all pairs of downstream and upstream.
func sides(t *testing.T, f func(t *testing.T, down, up wireKind)) {
	t.Helper()
	for down := overH1; down <= overH2TLS; down++ {
		for up := overH1; up <= overH2TLS; up++ {
			t.Run(down.String()+" to "+up.String(), func(t *testing.T) { f(t, down, up) })
		}
	}
}

const (
	acceptName   = "a.test"
	acceptOrigin = "origin.test"
)

// startSides starts a proxy whose two sides speak so; change may be nil.
func startSides(t testing.TB, a *harness.Authority, down, up wireKind, o harness.Origin, change func(m *conf.HTTPConnectionManager, c *conf.Cluster)) *harness.Proxy {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	top := with(one(o), "http_protocol_options: { enable_trailers: true }")
	top.Action = "timeout: 0s"
	if up.secure() {
		top.Clusters[0].Fields = harness.ClientSocket(a.Trust(), "sni: "+acceptOrigin)
	}
	yaml := top.YAML(dir)
	if down.secure() {
		yaml = top.Secured(dir, harness.ServerSocket(a.Pair(t, acceptName), "", ""))
	}
	b := harness.Load(t, yaml)
	chain, c := b.Listeners[0].FilterChains[0], b.Clusters[0]
	chain.HTTP.CodecType = conf.CodecAuto
	c.HTTP1.EnableTrailers = true
	if down.secure() {
		chain.TLS.ALPN = []string{"h2", "http/1.1"}
	}
	if up.http2() {
		c.Protocol = conf.UpstreamHTTP2
	}
	if change != nil {
		change(chain.HTTP, c)
	}
	return harness.StartConf(t, b, 1, dir, o)
}

// only makes the kind the one protocol of net/http's.
func (s wireKind) only(p *http.Protocols) {
	p.SetHTTP1(!s.http2())
	p.SetUnencryptedHTTP2(s == overH2C)
	p.SetHTTP2(s == overH2TLS)
}

// clientOf is net/http's client that speaks so to the proxy, whatever name a URL has, and the URL's beginning.
func clientOf(t testing.TB, a *harness.Authority, p *harness.Proxy, s wireKind) (*http.Client, string) {
	var d net.Dialer
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, p.Addr)
		},
		DisableCompression: true, Protocols: new(http.Protocols), MaxIdleConnsPerHost: 100,
	}
	url := "http://" + acceptName
	s.only(tr.Protocols)
	if s.secure() {
		tr.TLSClientConfig = a.Client(acceptName)
		url = "https://" + acceptName
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: harness.Patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, url
}

// httpOrigin is net/http's server.
type httpOrigin struct {
	ln   net.Listener
	s    *http.Server
	done chan struct{}
	stop sync.Once
}

// newHTTPOrigin starts one that speaks so.
func newHTTPOrigin(t *testing.T, a *harness.Authority, s wireKind, h http.HandlerFunc) *httpOrigin {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &httpOrigin{ln: ln, done: make(chan struct{}), s: &http.Server{
		Handler: h, Protocols: new(http.Protocols), ErrorLog: log.New(io.Discard, "", 0), MaxHeaderBytes: 1 << 20,
	}}
	serve := o.s.Serve
	s.only(o.s.Protocols)
	if s.secure() {
		o.s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{a.Certificate(t, acceptOrigin)}, MinVersion: tls.VersionTLS12}
		serve = func(ln net.Listener) error { return o.s.ServeTLS(ln, "", "") }
	}
	go func() {
		defer close(o.done)
		_ = serve(ln)
	}()
	t.Cleanup(o.Stop)
	return o
}

// Address implements harness.Origin.
func (o *httpOrigin) Address() string { return o.ln.Addr().String() }

// Stop implements harness.Origin.
func (o *httpOrigin) Stop() {
	o.stop.Do(func() { _ = o.s.Close() })
	<-o.done
}
