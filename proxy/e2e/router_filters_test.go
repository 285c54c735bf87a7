package e2e

import (
	"sync/atomic"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
	"github.com/sluiceproxy/sluice/proxy/filter"
)

// Filters see the response that the client gets, not those that retries drop; while one holds its head, the
// choice stands: an origin that then breaks off costs the client an answer of this proxy, and no other try.
func TestRetriesWhileAFilterHoldsAResponse(t *testing.T) {
	for _, row := range []struct {
		title  string
		breaks bool
		status int
		line   string
	}{
		{"which goes on", false, 200, "200 - via_upstream"},
		{"whose origin breaks off", true, 503, "503 UC upstream_reset_before_response_started{connection_termination}"},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			held, broken := make(chan filter.Stream, 1), make(chan struct{})
			var heads, tries atomic.Int64
			f := &scripted{responseHead: func(s filter.Stream, _ bool) filter.Status {
				if heads.Add(1); s.Response().Status != 200 {
					return filter.Continue // of this proxy
				}
				held <- s
				return filter.Buffer
			}}
			var release atomic.Bool
			f.responseData = func(_ filter.Stream, _ []byte, end bool) filter.Status {
				if end && release.Load() {
					return filter.Continue
				}
				return filter.Buffer
			}
			raw := harness.NewRaw(t, func(c *harness.Peer) {
				for c.ReadHead() != "" {
					if tries.Add(1) == 1 {
						c.Send(answered(503))
						continue
					}
					c.Send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhel")
					<-broken
					if row.breaks {
						return
					}
					c.Send("lo.")
				}
			})
			p := serveFilters(t, retrying(quick("retry_on: \"5xx,reset\", num_retries: 3"), raw), nil, goFilter{name: "hold", spec: f.spec()})
			c := p.Dial().Send(getA)
			<-held
			release.Store(true)
			close(broken)
			r := c.Read("GET")
			if r.Status != row.status || row.status == 200 && r.Body != "hello." {
				t.Errorf("got %v", r)
			}
			c.Close()
			p.WantLine(row.line)
			if n := tries.Load(); n != 2 {
				t.Errorf("%d tries", n)
			}
			wanted := int64(1)
			if row.breaks {
				wanted = 2
			}
			if n := heads.Load(); n != wanted {
				t.Errorf("the filter saw %d heads", n)
			}
			wantCounts(p, map[string]int64{"upstream_rq_retry": 1, "upstream_rq_retry_success": 1, "retry.upstream_rq_503": 1, "upstream_rq_active": 0})
		})
	}
}

// A request whose body a filter keeps is tried again with the whole of it.
func TestRetriesOfABodyThatAFilterKept(t *testing.T) {
	harness.NoLeaks(t)
	o := inTurn(t, answered(503), answered(503), answered(200))
	top := retrying(quick("retry_on: 5xx, num_retries: 2"), o)
	top.HTTPFilters = httpFilter("buffer", "buffer.v3.Buffer", "max_request_bytes: 1000")
	p := harness.Start(t, top)
	c := p.Dial().Send("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
	c.Read("POST").Want(200, "200")
	c.Close()
	seen := o.Seen()
	if len(seen) != 3 {
		t.Fatalf("%d tries", len(seen))
	}
	for i, m := range seen {
		if string(m.Body) != "abcdefg" || m.Get("content-length") != "7" {
			t.Errorf("try %d: %s%s", i+1, m.Head(), m.Body)
		}
	}
}

// RT-74: typed_per_filter_config of a weighted cluster counts where the cluster was chosen, over the route's
// and the virtual host's.
func TestRT74FilterConfigOfWeightedClusters(t *testing.T) {
	harness.NoLeaks(t)
	clusters, _ := namedClusters(t, "a", "b", "c")
	set := func(value string) string {
		return "typed_per_filter_config: { " + perRoute("mutate", "header_mutation.v3.HeaderMutationPerRoute", "mutations: { response_mutations: [{ append: { header: { key: x-level, value: "+value+" }, append_action: OVERWRITE_IF_EXISTS_OR_ADD } }] }") + " }"
	}
	top := harness.Topology{Clusters: clusters}
	top.HTTPFilters = httpFilter("mutate", "header_mutation.v3.HeaderMutation", "most_specific_header_mutations_wins: true")
	top.HTTPFilters += httpFilter("fault", "fault.v3.HTTPFault", "max_active_faults: 100")
	top.VirtualHost = set("host")
	abort := "typed_per_filter_config: { " + perRoute("fault", "fault.v3.HTTPFault", "abort: { http_status: 418, percentage: { numerator: 100 } }") + " }"
	top.Routes = `
- match: { prefix: /route }
  ` + set("route") + `
  route: { weighted_clusters: { header_name: x-n, clusters: [{ name: a, weight: 1, ` + set("cluster") + ` }, { name: b, weight: 1 }, { name: c, weight: 1, ` + abort + ` }] } }
- match: { prefix: / }
  route: { weighted_clusters: { header_name: x-n, clusters: [{ name: a, weight: 1, ` + set("cluster") + ` }, { name: b, weight: 1 }] } }
`
	p := harness.Start(t, top)
	for _, row := range []struct{ path, n, want, level string }{
		{"/route", "0", "a", "cluster"}, {"/route", "1", "b", "route"}, {"/", "0", "a", "cluster"}, {"/", "1", "b", "host"},
	} {
		if m := ask(t, p, "h", row.path, "x-n: "+row.n); string(m.Body) != row.want || m.Get("x-level") != row.level {
			t.Errorf("%s %s: %s%s, want %s of %s", row.path, row.n, m.Head(), m.Body, row.want, row.level)
		}
	}
	if m := ask(t, p, "h", "/route", "x-n: 2"); m.Status() != 418 {
		t.Errorf("got %s", m.Head())
	}
}
