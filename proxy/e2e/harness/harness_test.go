package harness_test

import (
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

func TestATopologyServes(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewOrigin(t, "a")
	p := harness.Start(t, harness.Topology{Loops: 2, Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}}}})
	c := p.Dial()
	c.Get("/").Want(200, "hello from a\n").WantHeader("server", "envoy")
	c.Get("/status/404").Want(404, "status 404\n")
	p.WantLines("200 - via_upstream GET /", "404 - via_upstream GET /status/404")
	p.WantStats(harness.Stats{"http.in.downstream_rq_total": 2, "cluster.origin.upstream_rq_404": 1, "cluster.origin.upstream_rq_503": 0})
	if n := p.Histogram("cluster.origin.upstream_cx_connect_ms").Count; n != 1 {
		t.Errorf("%d connects", n)
	}
}

func TestNobodyListensAtARefusingAddress(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.Start(t, harness.Topology{Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{harness.Refusing(t)}}}})
	if r := p.Dial().Get("/"); r.Status != 503 {
		t.Errorf("got %v", r)
	}
}
