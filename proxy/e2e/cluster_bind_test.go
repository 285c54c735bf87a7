package e2e

import (
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// nobodysAddress is for documentation (RFC 5737): no interface has it, so nothing can be bound to it.
const nobodysAddress = "upstream_bind_config: { source_address: { address: 192.0.2.1, port_value: 0 } }"

// bind_errors counts connections whose source address could not be had; the host is not to blame
// (clusters.md 9).
func TestBindErrorsOfRequests(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, nil)
	top := one(o)
	top.Clusters[0].Fields = nobodysAddress
	p := harness.Start(t, top)
	m := ask(t, p, "h", "/a")
	if m.Status() != 503 || !strings.Contains(string(m.Body), "local connection failure") {
		t.Errorf("got %s%s", m.Head(), m.Body)
	}
	p.WantLine("503 UF upstream_reset_before_response_started{local_connection_failure}")
	wantCounts(p, map[string]int64{"bind_errors": 1, "upstream_cx_connect_fail": 1, "upstream_cx_connect_timeout": 0, "upstream_cx_total": 1})
	if total, _ := o.Connections(); total != 0 {
		t.Errorf("the origin has %d connections", total)
	}
}

func TestBindErrorsOfTCPSessions(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: []harness.Cluster{{
		Name: "origin", Origins: []harness.Origin{harness.NewRecorder(t, nil)}, Fields: nobodysAddress,
	}}})
	w := harness.DialWire(t, "tcp", p.Addr)
	w.WantClosed()
	w.Close()
	p.WantStats(harness.Stats{onOrigin + "bind_errors": 1, onOrigin + "upstream_cx_connect_fail": 1})
}

// A host that refuses, and a source address that is there, are no errors of binding.
func TestNoBindErrors(t *testing.T) {
	harness.NoLeaks(t)
	const own = "upstream_bind_config: { source_address: { address: 127.0.0.1, port_value: 0 } }"
	top := one(harness.NewRecorder(t, nil))
	top.Clusters[0].Fields = own
	top.Clusters = append(top.Clusters, harness.Cluster{Name: "gone", Origins: []harness.Origin{harness.Refusing(t)}, Fields: own})
	top.Routes = "- { match: { path: /gone }, route: { cluster: gone } }\n- { match: { prefix: / }, route: { cluster: origin } }"
	p := harness.Start(t, top)
	ask(t, p, "h", "/a")
	ask(t, p, "h", "/gone")
	p.WantStats(harness.Stats{
		onOrigin + "bind_errors": 0, onOrigin + "upstream_rq_200": 1, "cluster.gone.bind_errors": 0, "cluster.gone.upstream_cx_connect_fail": 1,
	})
}
