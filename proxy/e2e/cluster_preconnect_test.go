//lint:file-ignore SA1019 the HTTP/2 of x/net is the peer

package e2e

import (
	"net/http"
	"testing"

	"golang.org/x/net/http2"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

const preconnect = "preconnect_policy: { per_upstream_preconnect_ratio: 2 }"

// Each request that is served has a second connection made for those to come (clusters.md 1).
func TestConnectionsAreMadeAheadOfRequests(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRaw(t, (*harness.Peer).Well)
	clusters := to(o)
	clusters[0].Fields = preconnect
	p := harness.Start(t, harness.Topology{Clusters: clusters})
	c := p.Dial()
	c.Get("/").Want(200, "/")
	harness.Eventually(t, "a second connection", func() bool { return o.Connections() == 2 && p.Stat(onOrigin+"upstream_cx_active") == 2 })
	for range 5 { // of those two one is in use at a time
		c.Get("/").Want(200, "/")
	}
	p.WantStats(harness.Stats{onOrigin + "upstream_cx_total": 2, onOrigin + "upstream_rq_total": 6, onOrigin + "upstream_cx_connect_fail": 0})
}

// Connections ahead of requests count as others do, and give way to the limit of connections.
func TestConnectionsAheadOfRequestsKeepTheLimit(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRaw(t, (*harness.Peer).Well)
	clusters := to(o)
	clusters[0].Fields = preconnect + "\ncircuit_breakers: { thresholds: [{ max_connections: 1 }] }"
	p := harness.Start(t, harness.Topology{Clusters: clusters})
	p.Dial().Get("/").Want(200, "/")
	p.WantStats(harness.Stats{onOrigin + "upstream_cx_total": 1, onOrigin + "upstream_cx_overflow": 1, onOrigin + "upstream_rq_pending_overflow": 0})
}

// Over HTTP/2 a connection counts as many requests as it takes.
func TestHTTP2ConnectionsAreMadeAheadOfRequests(t *testing.T) {
	harness.NoLeaks(t)
	release := make(chan struct{})
	o := newH2Origin(t, &http2.Server{MaxConcurrentStreams: 2}, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-release
		}
	})
	clusters := to(o)
	clusters[0].Fields = preconnect + "\n" + naming("", upstreamProtocols[1].options)
	p := harness.Start(t, harness.Topology{Clusters: clusters})
	p.Dial().Get("/").Want(200, "") // how many streams the origin takes is known then
	first, second := p.Dial(), p.Dial()
	first.Send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
	harness.Eventually(t, "one request waits", func() bool { return p.Stat(onOrigin+"upstream_rq_active") == 1 })
	p.WantStats(harness.Stats{onOrigin + "upstream_cx_total": 1}) // room for two
	second.Send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
	harness.Eventually(t, "a second connection", func() bool { return p.Stat(onOrigin+"upstream_cx_active") == 2 })
	close(release)
	first.Read("GET").Want(200, "")
	second.Read("GET").Want(200, "")
	p.WantStats(harness.Stats{onOrigin + "upstream_cx_total": 2, onOrigin + "upstream_rq_total": 3})
}
