package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// endingHandler serves /hang, which says when it came and when the client had gone, /abort, which breaks
// off in the middle of a body, /slow, which ends when told to, and what acceptHandler does.
type endingHandler struct {
	came, gone, finish chan struct{}
}

func newEndingHandler() *endingHandler {
	return &endingHandler{came: make(chan struct{}, 1), gone: make(chan struct{}, 1), finish: make(chan struct{})}
}

func (e *endingHandler) serve(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/hang":
		_, _ = io.WriteString(w, "begun")
		w.(http.Flusher).Flush()
		e.came <- struct{}{}
		<-r.Context().Done()
		e.gone <- struct{}{}
	case "/abort":
		_, _ = io.WriteString(w, "begun")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	case "/slow":
		_, _ = io.WriteString(w, "begun ")
		w.(http.Flusher).Flush()
		select {
		case <-e.finish:
		case <-r.Context().Done():
			return
		}
		_, _ = io.WriteString(w, "and done")
	default:
		acceptHandler(w, r)
	}
}

// A client that takes its request back is noticed by the origin, and the origin's reset by the client;
// a response that was cut never looks whole (HC-64, HC-78).
func TestEveryPairHandsResetsOn(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	sides(t, func(t *testing.T, down, up wireKind) {
		e := newEndingHandler()
		o := newHTTPOrigin(t, a, up, e.serve)
		p := startSides(t, a, down, up, o, nil)
		c, url := clientOf(t, a, p, down)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "GET", url+"/hang", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		<-e.came
		cancel()
		resp.Body.Close()
		select {
		case <-e.gone:
		case <-time.After(harness.Patience):
			t.Fatal("the origin does not know that the client has gone")
		}
		resp, err = c.Get(url + "/abort")
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("a response that was cut looks whole: %q", b)
		}
		resp.Body.Close()
		// Codecs with streams keep their connections.
		if r := mustAskH2(t, c, "GET", url+"/bytes/10", nil); r.status != 200 {
			t.Errorf("%d", r.status)
		}
		want := harness.Stats{inHTTP + "downstream_rq_active": 0, onOrigin + "upstream_rq_active": 0, inHTTP + "downstream_rq_total": 3}
		if down.http2() {
			want[inHTTP+"downstream_cx_total"] = 1
		}
		if up.http2() {
			want[onOrigin+"upstream_cx_total"] = 1
		}
		p.WantStats(want)
		c.CloseIdleConnections()
	})
}

// A client that does not read stops neither the other requests nor, over HTTP/2, those of its own
// connection, and only a bounded part of its response waits (HC-66).
func TestEveryPairBearsASlowReader(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	sides(t, func(t *testing.T, down, up wireKind) {
		o := newHTTPOrigin(t, a, up, acceptHandler)
		const limit = 64 << 10
		p := startSides(t, a, down, up, o, func(m *conf.HTTPConnectionManager, c *conf.Cluster) {
			c.PerConnectionBufferLimitBytes = limit
			c.HTTP2.InitialStreamWindowSize = limit
		})
		c, url := clientOf(t, a, p, down)
		const size = 32 << 20
		resp, err := c.Get(fmt.Sprintf("%s/bytes/%d", url, size))
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if r := mustAskH2(t, c, "GET", url+"/bytes/100000", nil); len(r.body) != 100000 {
				t.Errorf("%d bytes", len(r.body))
			}
		}
		if down.http2() || up.http2() { // HTTP/1 has such a body relayed, and then counts no pauses
			harness.Eventually(t, "the proxy to stop reading", func() bool { return p.Stat(onOrigin+"upstream_flow_control_paused_reading_total") > 0 })
		}
		// The listener's limit is 1 MiB.
		if n := p.Buffered(); n > 1<<20+8*limit {
			t.Errorf("%d bytes wait for the slow reader", n)
		}
		if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
			t.Errorf("the slow reader got %d bytes, %v", n, err)
		}
		resp.Body.Close()
		if n := p.Stat(inHTTP + "downstream_cx_total"); down.http2() && n != 1 {
			t.Errorf("%d connections", n)
		}
		c.CloseIdleConnections()
	})
}

// A server that drains finishes what is under way (HC-75).
func TestEveryPairDrains(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	sides(t, func(t *testing.T, down, up wireKind) {
		e := newEndingHandler()
		o := newHTTPOrigin(t, a, up, e.serve)
		p := startSides(t, a, down, up, o, func(m *conf.HTTPConnectionManager, _ *conf.Cluster) { m.DrainTimeout = 50 * time.Millisecond })
		c, url := clientOf(t, a, p, down)
		const streams = 5
		var under []*http.Response
		for range streams {
			resp, err := c.Get(url + "/slow")
			if err != nil {
				t.Fatal(err)
			}
			under = append(under, resp)
		}
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			p.Server.Drain(context.Background())
		}()
		harness.Eventually(t, "the drain to begin", func() bool { return p.Stat("server.state") == 1 })
		close(e.finish)
		for _, resp := range under {
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(b) != "begun and done" {
				t.Errorf("%q, %v", b, err)
			}
		}
		c.CloseIdleConnections()
		select {
		case <-drained:
		case <-time.After(harness.Patience):
			t.Fatal("the drain does not end")
		}
		p.WantStats(harness.Stats{inHTTP + "downstream_rq_2xx": streams, inHTTP + "downstream_cx_active": 0})
	})
}
