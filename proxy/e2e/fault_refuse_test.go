package e2e

import (
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// Requests that no endpoint gets to see.
func TestRequestsThatAreNotForwarded(t *testing.T) {
	harness.NoLeaks(t)
	const all = "- match: { prefix: / }\n  route: "
	for _, tc := range []struct {
		name, routes, send string
		none               bool
		status             int
		body, line         string
		ends               bool
		stats              harness.Stats
	}{
		{
			name: "the cluster is empty", none: true, send: plainGet, status: 503, body: "no healthy upstream", line: "503 UH no_healthy_upstream GET /",
			stats: harness.Stats{onOrigin + "upstream_cx_none_healthy": 1, onOrigin + "upstream_rq_503": 1, onOrigin + "upstream_rq_total": 0},
		},
		{
			name: "no virtual host or route matches", routes: "- match: { path: /only }\n  route: { cluster: origin }", send: plainGet,
			status: 404, line: "404 NR route_not_found GET /", stats: harness.Stats{inHTTP + "no_route": 1, inHTTP + "rq_total": 1, inHTTP + "downstream_rq_4xx": 1, onOrigin + "upstream_rq_404": 0},
		},
		{
			name: "cluster_header names no cluster", routes: all + "{ cluster_header: x-to }", send: "GET / HTTP/1.1\r\nHost: test\r\nX-To: nowhere\r\n\r\n",
			status: 503, line: "503 NC cluster_not_found GET /", stats: harness.Stats{inHTTP + "no_cluster": 1, inHTTP + "downstream_rq_5xx": 1, onOrigin + "upstream_rq_503": 0},
		},
		{
			name: "cluster_header names no cluster, NOT_FOUND", routes: all + "{ cluster_header: x-to, cluster_not_found_response_code: NOT_FOUND }",
			send: "GET / HTTP/1.1\r\nHost: test\r\nX-To: nowhere\r\n\r\n", status: 404, line: "404 NC cluster_not_found GET /", stats: harness.Stats{inHTTP + "no_cluster": 1},
		},
		{
			name: "cluster_header names no cluster, INTERNAL_SERVER_ERROR", routes: all + "{ cluster_header: x-to, cluster_not_found_response_code: INTERNAL_SERVER_ERROR }",
			send: "GET / HTTP/1.1\r\nHost: test\r\nX-To: nowhere\r\n\r\n", status: 500, line: "500 NC cluster_not_found GET /", stats: harness.Stats{inHTTP + "no_cluster": 1},
		},
		{
			name: "cluster_header is absent", routes: all + "{ cluster_header: x-to }", send: plainGet,
			status: 503, line: "503 NC cluster_not_found GET /", stats: harness.Stats{inHTTP + "no_cluster": 1},
		},
		{
			name: "a WebSocket upgrade that is not enabled", send: "GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
			status: 403, line: "403 - upgrade_failed GET /", ends: true, stats: harness.Stats{inHTTP + "downstream_rq_ws_on_non_ws_route": 1, inHTTP + "downstream_rq_4xx": 1},
		},
		{
			name: "CONNECT that is not enabled", send: "CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n", status: 403, line: "403 - upgrade_failed CONNECT -", ends: true,
			stats: harness.Stats{inHTTP + "downstream_rq_4xx": 1},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := harness.NewRaw(t, func(*harness.Peer) { t.Error("a connection to the origin") })
			cl := harness.Cluster{Name: "origin"}
			if !tc.none {
				cl.Origins = []harness.Origin{o}
			}
			p := harness.Start(t, harness.Topology{Clusters: []harness.Cluster{cl}, Routes: tc.routes})
			c := p.Dial()
			if r := c.Send(tc.send).Read("GET").Want(tc.status, tc.body); r.Closes != tc.ends {
				t.Errorf("connection: close is %t, want %t", r.Closes, tc.ends)
			}
			p.WantLine(tc.line)
			p.WantStats(tc.stats)
			if tc.ends {
				c.WantEnd()
			} else {
				c.Send(tc.send).Read("GET").Want(tc.status, tc.body) // the connection goes on
			}
			c.Close()
		})
	}
}

// An endpoint that is configured unhealthy gets nothing while enough others are healthy; when too few
// are, all get something (CL-22: the panic threshold is 50 %).
func TestUnhealthyEndpoints(t *testing.T) {
	for _, tc := range []struct {
		name    string
		healthy bool // there is a healthy endpoint beside the unhealthy one
		body    string
		stats   harness.Stats
	}{
		{"beside a healthy one", true, "hello from healthy\n", harness.Stats{onOrigin + "membership_healthy": 1, onOrigin + "membership_total": 2, onOrigin + "lb_healthy_panic": 0}},
		{"alone", false, "hello from unhealthy\n", harness.Stats{onOrigin + "membership_healthy": 0, onOrigin + "membership_total": 1, onOrigin + "lb_healthy_panic": 10}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			harness.NoLeaks(t)
			origins := []harness.Origin{harness.NewOrigin(t, "unhealthy")}
			if tc.healthy {
				origins = append(origins, harness.NewOrigin(t, "healthy"))
			}
			top := harness.Topology{Clusters: []harness.Cluster{{Name: "origin", Origins: origins}}}
			b := harness.Load(t, top.YAML("/dev/null"))
			b.Clusters[0].Endpoints[0].Health = conf.EndpointUnhealthy
			p := harness.StartConf(t, b, 1, "", origins...)
			c := p.Dial()
			for range 10 {
				c.Get("/").Want(200, tc.body)
			}
			p.WantStats(tc.stats)
		})
	}
}
