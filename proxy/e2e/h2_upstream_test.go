//lint:file-ignore SA1019 the HTTP/2 of x/net is the peer

package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// h2Origin is an origin that speaks HTTP/2 with prior knowledge, by somebody else's implementation.
type h2Origin struct {
	ln    net.Listener
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]bool
	total int
	// active and most count requests being served.
	active, most atomic.Int64
}

func newH2Origin(t *testing.T, s *http2.Server, h http.HandlerFunc) *h2Origin {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &h2Origin{ln: ln, conns: map[net.Conn]bool{}}
	counted := func(w http.ResponseWriter, r *http.Request) {
		n := o.active.Add(1)
		for m := o.most.Load(); n > m && !o.most.CompareAndSwap(m, n); m = o.most.Load() {
		}
		defer o.active.Add(-1)
		h(w, r)
	}
	o.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			o.mu.Lock()
			o.conns[c] = true
			o.total++
			o.mu.Unlock()
			o.wg.Go(func() {
				s.ServeConn(c, &http2.ServeConnOpts{Handler: http.HandlerFunc(counted)})
				o.mu.Lock()
				delete(o.conns, c)
				o.mu.Unlock()
			})
		}
	})
	t.Cleanup(o.Stop)
	return o
}

func (o *h2Origin) Address() string { return o.ln.Addr().String() }

func (o *h2Origin) Stop() {
	_ = o.ln.Close()
	o.mu.Lock()
	for c := range o.conns {
		_ = c.Close()
	}
	o.mu.Unlock()
	o.wg.Wait()
}

// startH2Upstream starts a proxy whose first cluster speaks HTTP/2 to its origins; change may be nil.
func startH2Upstream(t *testing.T, top harness.Topology, change func(c *conf.Cluster), manager ...func(m *conf.HTTPConnectionManager)) *harness.Proxy {
	t.Helper()
	log := t.TempDir() + "/log"
	b := harness.Load(t, top.YAML(log))
	b.Clusters[0].Protocol = conf.UpstreamHTTP2
	if change != nil {
		change(b.Clusters[0])
	}
	for _, change := range manager {
		change(b.Listeners[0].FilterChains[0].HTTP)
	}
	var origins []harness.Origin
	for _, c := range top.Clusters {
		origins = append(origins, c.Origins...)
	}
	return harness.StartConf(t, b, max(1, top.Loops), log, origins...)
}

// bodyHandler answers /bytes/<n> with so many bytes, and anything else with the request's body and
// trailers.
func bodyHandler(w http.ResponseWriter, r *http.Request) {
	if n, ok := strings.CutPrefix(r.URL.Path, "/bytes/"); ok {
		size, _ := strconv.Atoi(n)
		if r.URL.Query().Get("length") != "" {
			w.Header().Set("Content-Length", n)
		}
		_, _ = w.Write(filler(size))
		return
	}
	if r.ContentLength >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	_, _ = io.Copy(w, r.Body)
}

func filler(n int) []byte {
	return bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-"), n/64+1)[:n]
}

// h1Client is a net/http client that speaks HTTP/1 to the proxy.
func h1Client(t *testing.T, conns int) *http.Client {
	tr := &http.Transport{MaxConnsPerHost: conns, MaxIdleConnsPerHost: conns, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: harness.Patience}
}

func TestHTTP2UpstreamCarriesBodiesOfAllSizes(t *testing.T) { // HC-64, HC-66
	harness.NoLeaks(t)
	o := newH2Origin(t, &http2.Server{}, bodyHandler)
	p := startH2Upstream(t, one(o), nil)
	client := h1Client(t, 1)
	sizes := []int{0, 1, 100, 16383, 16384, 16385, 65535, 65536, 1 << 20, 16 << 20}
	for _, n := range sizes {
		want := sha256.Sum256(filler(n))
		for _, path := range []string{fmt.Sprintf("/bytes/%d", n), fmt.Sprintf("/bytes/%d?length=1", n)} {
			resp, err := client.Get("http://" + p.Addr + path)
			if err != nil {
				t.Fatal(err)
			}
			checkBody(t, resp, n, want)
		}
		for _, length := range []int64{int64(n), -1} {
			req, _ := http.NewRequest(http.MethodPost, "http://"+p.Addr+"/echo", io.NopCloser(bytes.NewReader(filler(n))))
			req.ContentLength = length
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			checkBody(t, resp, n, want)
		}
	}
	p.WantStats(harness.Stats{
		"cluster.origin.upstream_cx_http2_total": 1, "cluster.origin.upstream_cx_http1_total": 0, "cluster.origin.upstream_cx_total": 1,
		"cluster.origin.upstream_rq_total": int64(4 * len(sizes)), "cluster.origin.upstream_rq_200": int64(4 * len(sizes)),
		"cluster.origin.upstream_rq_active": 0, "cluster.origin.upstream_cx_active": 1,
		"cluster.origin.http2.tx_reset": 0, "cluster.origin.http2.rx_reset": 0, "cluster.origin.http2.streams_active": 0,
	})
}

func checkBody(t *testing.T, resp *http.Response, n int, want [32]byte) {
	t.Helper()
	sum := sha256.New()
	got, err := io.Copy(sum, resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != 200 || got != int64(n) || [32]byte(sum.Sum(nil)) != want {
		t.Errorf("%s: %s, %d bytes of %d, %v", resp.Request.URL.Path, resp.Status, got, n, err)
	}
}

func TestAThousandRequestsShareFewConnections(t *testing.T) { // CL-50
	harness.NoLeaks(t)
	const requests = 1000
	var arrived atomic.Int64
	all := make(chan struct{})
	o := newH2Origin(t, &http2.Server{MaxConcurrentStreams: 250}, func(w http.ResponseWriter, r *http.Request) {
		if arrived.Add(1) == requests {
			close(all) // every one of them is under way at the same time
		}
		select {
		case <-all:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, r.URL.Path)
	})
	p := startH2Upstream(t, one(o), nil)
	client := h1Client(t, requests)
	var wg sync.WaitGroup
	var wrong atomic.Int64
	for i := range requests {
		wg.Go(func() {
			resp, err := client.Get(fmt.Sprintf("http://%s/%d", p.Addr, i))
			if err != nil {
				wrong.Add(1)
				t.Error(err)
				return
			}
			b, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if string(b) != fmt.Sprintf("/%d", i) {
				wrong.Add(1)
			}
		})
	}
	wg.Wait()
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d wrong answers", n)
	}
	p.WantStats(harness.Stats{
		"cluster.origin.upstream_rq_200": requests, "cluster.origin.http2.rx_reset": 0,
		"cluster.origin.upstream_rq_pending_active": 0, "cluster.origin.http2.streams_active": 0,
	})
	if n := p.Stat("cluster.origin.upstream_cx_http2_total"); n > 12 {
		t.Errorf("%d connections for %d requests, 250 at a time on each", n, requests)
	}
}

func TestRequestsWaitForAStream(t *testing.T) { // CL-50, HC-67
	for _, row := range []struct {
		title  string
		server *http2.Server
		change func(c *conf.Cluster)
	}{
		{"the server's limit", &http2.Server{MaxConcurrentStreams: 3}, nil},
		{"the cluster's limit", &http2.Server{}, func(c *conf.Cluster) { c.HTTP2.MaxConcurrentStreams = 3 }},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			o := newH2Origin(t, row.server, func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(time.Millisecond) // so that they meet
				bodyHandler(w, r)
			})
			p := startH2Upstream(t, one(o), func(c *conf.Cluster) {
				c.Breakers[conf.PriorityDefault].MaxConnections = 1
				if row.change != nil {
					row.change(c)
				}
			})
			const requests, clients = 200, 50
			client := h1Client(t, clients)
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					for range requests / clients {
						resp, err := client.Get("http://" + p.Addr + "/bytes/100")
						if err != nil {
							t.Error(err)
							return
						}
						checkBody(t, resp, 100, sha256.Sum256(filler(100)))
					}
				})
			}
			wg.Wait()
			if n := o.most.Load(); n > 3 || n < 2 {
				t.Errorf("%d requests at a time, 3 are allowed", n)
			}
			p.WantStats(harness.Stats{
				"cluster.origin.upstream_cx_total": 1, "cluster.origin.upstream_rq_200": requests,
				"cluster.origin.upstream_rq_pending_active": 0, "cluster.origin.http2.rx_reset": 0,
			})
			if p.Stat("cluster.origin.upstream_cx_overflow") == 0 {
				t.Error("no connection was wanted beyond the breaker's one")
			}
		})
	}
}

func TestHTTP2UpstreamHeadersAreTranslated(t *testing.T) { // HC-63, HC-65, HC-71
	harness.NoLeaks(t)
	got := make(chan *http.Request, 1)
	o := newH2Origin(t, &http2.Server{}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		got <- r
		w.Header().Set("Trailer", "grpc-status")
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("grpc-status", "0")
	})
	top := with(one(o), "http_protocol_options: { enable_trailers: true }")
	top.LogFormat = "%PROTOCOL% %UPSTREAM_PROTOCOL% %RESPONSE_CODE% %BYTES_SENT% %TRAILER(grpc-status)%"
	p := startH2Upstream(t, top, nil)
	c := p.Dial()
	c.Send("POST /a?b HTTP/1.1\r\nHost: Example.com:80\r\nConnection: te, x-gone\r\nTE: trailers\r\nX-Gone: 1\r\nKeep-Alive: 5\r\n" +
		"Cookie: a=b\r\nX-Mixed: Value\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n")
	resp := c.Read("POST")
	if resp.Status != 200 || resp.Body != "body" {
		t.Fatalf("%d %q", resp.Status, resp.Body)
	}
	if v := resp.Header["Set-Cookie"]; len(v) != 2 {
		t.Errorf("set-cookie is %q", v)
	}
	r := <-got
	if r.Host != "Example.com:80" || r.URL.RequestURI() != "/a?b" || r.Proto != "HTTP/2.0" {
		t.Errorf("%s %s %s", r.Host, r.URL.RequestURI(), r.Proto)
	}
	for name, want := range map[string]string{
		"Te": "trailers", "X-Mixed": "Value", "Cookie": "a=b", "X-Gone": "", "Keep-Alive": "", "Connection": "", "Transfer-Encoding": "",
		"X-Forwarded-Proto": "http",
	} {
		if v := r.Header.Get(name); v != want {
			t.Errorf("%s is %q, want %q", name, v, want)
		}
	}
	if v := r.Trailer.Get("X-Sum"); v != "7" {
		t.Errorf("the request's trailer is %q", v)
	}
	p.WantLines("HTTP/1.1 HTTP/2 200 4 0")
}

func TestHTTP2UpstreamTrailersReachTheClient(t *testing.T) { // HC-13, HC-71
	harness.NoLeaks(t)
	o := newH2Origin(t, &http2.Server{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "grpc-status")
		w.WriteHeader(200)
		_, _ = io.WriteString(w, "body")
		w.(http.Flusher).Flush() // else there is a content-length, and HTTP/1 has no trailers then
		w.Header().Set("grpc-status", "5")
	})
	p := startH2Upstream(t, with(one(o), "http_protocol_options: { enable_trailers: true }"), nil)
	resp, err := h1Client(t, 1).Get("http://" + p.Addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || string(b) != "body" || resp.Trailer.Get("grpc-status") != "5" {
		t.Errorf("%q %v %v", b, resp.Trailer, err)
	}
}

func TestHTTP2UpstreamWithoutBodies(t *testing.T) { // HC-45
	harness.NoLeaks(t)
	o := newH2Origin(t, &http2.Server{}, func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.URL.Path[1:])
		if r.Method == http.MethodHead {
			w.Header().Set("Content-Length", "1234")
		}
		w.WriteHeader(code)
	})
	p := startH2Upstream(t, one(o), nil)
	c := p.Dial()
	for _, row := range []struct{ method, path, length string }{
		{"HEAD", "/200", "1234"}, {"GET", "/204", ""}, {"GET", "/304", ""}, {"GET", "/500", "0"},
	} {
		c.Send(row.method + " " + row.path + " HTTP/1.1\r\nHost: test\r\n\r\n")
		resp := c.Read(row.method)
		if strconv.Itoa(resp.Status) != row.path[1:] || resp.Body != "" || resp.Header.Get("Content-Length") != row.length || resp.Closes {
			t.Errorf("%s %s: %d %v %q", row.method, row.path, resp.Status, resp.Header, resp.Body)
		}
	}
}

func TestHTTP2UpstreamInterimResponses(t *testing.T) { // HC-40
	harness.NoLeaks(t)
	o := newH2Origin(t, &http2.Server{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(103)
		w.WriteHeader(200)
	})
	p := startH2Upstream(t, one(o), nil)
	c := p.Dial().Send("GET / HTTP/1.1\r\nHost: test\r\n\r\n")
	if r := c.ReadAny("GET"); r.Status != 103 || r.Header.Get("Link") == "" {
		t.Errorf("%d %v", r.Status, r.Header)
	}
	if r := c.ReadAny("GET"); r.Status != 200 {
		t.Errorf("%d %v", r.Status, r.Header)
	}
}

func TestASlowClientDoesNotHoldUpItsSiblings(t *testing.T) { // HC-66
	harness.NoLeaks(t)
	o := newH2Origin(t, &http2.Server{}, bodyHandler)
	const window = 256 << 10
	p := startH2Upstream(t, one(o), func(c *conf.Cluster) {
		c.HTTP2.InitialStreamWindowSize, c.HTTP2.InitialConnectionWindowSize = window, 16*window
		c.PerConnectionBufferLimitBytes = 64 << 10
	})
	const size = 64 << 20
	slow := p.Dial().Send(fmt.Sprintf("GET /bytes/%d HTTP/1.1\r\nHost: test\r\n\r\n", size))
	p.WantStats(harness.Stats{"cluster.origin.upstream_rq_active": 1})
	harness.Eventually(t, "the proxy stops reading for the slow client", func() bool {
		return p.Stat("cluster.origin.upstream_flow_control_paused_reading_total") > 0
	})
	fast := h1Client(t, 1)
	for range 50 {
		resp, err := fast.Get("http://" + p.Addr + "/bytes/100000")
		if err != nil {
			t.Fatal(err)
		}
		checkBody(t, resp, 100000, sha256.Sum256(filler(100000)))
	}
	if n := p.Buffered(); n > 3*(1<<20)+2*window {
		t.Errorf("%d bytes wait for the slow client", n)
	}
	h := slow.ReadHead("GET")
	if n, err := io.Copy(io.Discard, h.Reader()); n != size || err != nil {
		t.Errorf("the slow client got %d bytes, %v", n, err)
	}
	p.WantStats(harness.Stats{"cluster.origin.upstream_cx_total": 1, "cluster.origin.upstream_rq_200": 51})
}

func TestHTTP2UpstreamLimitsOfConnections(t *testing.T) { // HC-37, HC-75
	harness.NoLeaks(t)
	o := newH2Origin(t, &http2.Server{}, bodyHandler)
	p := startH2Upstream(t, one(o), func(c *conf.Cluster) { c.MaxRequestsPerConnection = 3 })
	c := p.Dial()
	for range 7 {
		if r := c.Get("/bytes/10"); r.Status != 200 {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
	}
	p.WantStats(harness.Stats{
		"cluster.origin.upstream_cx_http2_total": 3, "cluster.origin.upstream_cx_max_requests": 2, "cluster.origin.upstream_cx_active": 1,
		"cluster.origin.upstream_cx_destroy_local": 2, "cluster.origin.http2.goaway_sent": 2, "cluster.origin.upstream_cx_destroy_with_active_rq": 0,
	})
}

func TestAnIdleHTTP2UpstreamConnectionIsClosed(t *testing.T) { // HC-75
	harness.NoLeaks(t)
	o := newH2Origin(t, &http2.Server{}, bodyHandler)
	p := startH2Upstream(t, one(o), func(c *conf.Cluster) { c.IdleTimeout = 50 * time.Millisecond })
	c := p.Dial()
	for n := range int64(2) {
		if r := c.Get("/bytes/10"); r.Status != 200 {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
		p.WantStats(harness.Stats{
			"cluster.origin.upstream_cx_active": 0, "cluster.origin.upstream_cx_idle_timeout": n + 1, "cluster.origin.upstream_cx_destroy_local": n + 1,
		})
	}
}

func TestHTTP2UpstreamCircuitBreakers(t *testing.T) { // ROUTER-71, clusters.md 6
	harness.NoLeaks(t)
	release := make(chan struct{})
	o := newH2Origin(t, &http2.Server{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-release
		}
	})
	p := startH2Upstream(t, one(o), func(c *conf.Cluster) { c.Breakers[conf.PriorityDefault].MaxRequests = 1 })
	busy := p.Dial().Send("GET /wait HTTP/1.1\r\nHost: test\r\n\r\n")
	p.WantStats(harness.Stats{"cluster.origin.upstream_rq_active": 1})
	if r := p.Dial().Get("/"); r.Status != 503 || !strings.HasSuffix(r.Body, "overflow") {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	close(release)
	if r := busy.Read("GET"); r.Status != 200 {
		t.Errorf("%d", r.Status)
	}
	if r := busy.Get("/"); r.Status != 200 {
		t.Errorf("%d", r.Status)
	}
	p.WantStats(harness.Stats{
		"cluster.origin.upstream_rq_active_overflow": 1, "cluster.origin.upstream_rq_pending_overflow": 1,
		"cluster.origin.upstream_cx_total": 1, "cluster.origin.upstream_rq_total": 2,
	})
}
