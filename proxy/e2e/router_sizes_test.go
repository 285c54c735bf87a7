//lint:file-ignore SA1019 the HTTP/2 of x/net is the peer

package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// wantHistogram waits for a histogram of the cluster "origin" to have these values' count and sum.
func wantHistogram(p *harness.Proxy, name string, count, sum uint64) {
	p.T.Helper()
	harness.Eventually(p.T, name, func() bool {
		h := p.Histogram(onOrigin + name)
		return h != nil && h.Count >= count
	})
	if h := p.Histogram(onOrigin + name); h.Count != count || h.Sum != sum {
		p.T.Errorf("%s has %d values that make %d, want %d that make %d", name, h.Count, h.Sum, count, sum)
	}
}

// A timeout that is over was used whole, one that there is not was not used; the request's timeout counts
// once, a try's for each try.
func TestROUTER84TimeoutBudgets(t *testing.T) {
	for _, row := range []struct {
		title, action   string
		origin          func(t *testing.T) harness.Origin
		whole, tries    uint64 // values
		wholly, tryOver bool   // the values are 100 and more; else 0
	}{
		{"no timeouts", "timeout: 0s", func(t *testing.T) harness.Origin { return harness.NewRecorder(t, nil) }, 1, 1, false, false},
		{"a long timeout", "timeout: 1000000s", func(t *testing.T) harness.Origin { return harness.NewRecorder(t, nil) }, 1, 1, false, false},
		{"the request's timeout", "timeout: 0.05s", func(t *testing.T) harness.Origin { return harness.NewRaw(t, stalls) }, 1, 1, true, false},
		{
			"each try's timeout", "timeout: 0s, retry_policy: { retry_on: 5xx, num_retries: 2, per_try_timeout: 0.05s }",
			func(t *testing.T) harness.Origin { return harness.NewRaw(t, stalls) }, 1, 3, false, true,
		},
		{
			"no answer is not an answer", "timeout: 0s, retry_policy: { retry_on: connect-failure, num_retries: 1, per_try_timeout: 1000000s }",
			func(t *testing.T) harness.Origin { return harness.Refusing(t) }, 0, 2, false, false,
		},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			top := retrying("", row.origin(t))
			top.Routes = "- { match: { prefix: / }, route: { cluster: origin, " + row.action + " } }"
			top.Clusters[0].Fields = "track_cluster_stats: { timeout_budgets: true }"
			p := harness.Start(t, top)
			ask(t, p, "h", "/a")
			for _, h := range []struct {
				name  string
				count uint64
				over  bool
			}{{"percent_used", row.whole, row.wholly}, {"per_try_percent_used", row.tries, row.tryOver}} {
				d := p.Histogram(onOrigin + "upstream_rq_timeout_budget_" + h.name)
				if d.Count != h.count || h.over != (d.Sum >= 100*h.count && h.count > 0) || !h.over && d.Sum != 0 {
					t.Errorf("%s has %d values that make %d; want %d, over: %v", h.name, d.Count, d.Sum, h.count, h.over)
				}
			}
		})
	}
}

// sizesOf are the values of one attempt: heads without what HTTP/1 needs between fields.
type sizesOf struct {
	rqFields, rqHead, rqBody, rsFields, rsHead, rsBody uint64
}

func wantSizes(p *harness.Proxy, count uint64, want sizesOf) {
	p.T.Helper()
	wantHistogram(p, "upstream_rq_headers_size", count, want.rqHead)
	wantHistogram(p, "upstream_rq_headers_count", count, want.rqFields)
	wantHistogram(p, "upstream_rq_body_size", count, want.rqBody)
	wantHistogram(p, "upstream_rs_headers_size", count, want.rsHead)
	wantHistogram(p, "upstream_rs_headers_count", count, want.rsFields)
	wantHistogram(p, "upstream_rs_body_size", count, want.rsBody)
}

// fieldsOf counts what an origin has received in fields, Host as the authority, without framing that the
// codec has put there.
func fieldsOf(m *harness.Message) (fields, bytes uint64) {
	for _, f := range m.Fields {
		switch strings.ToLower(f.Name) {
		case "transfer-encoding":
			continue
		case "host":
			f.Name = ":authority"
		}
		fields++
		bytes += uint64(len(f.Name) + len(f.Value))
	}
	method, _, _ := strings.Cut(m.Start, " ")
	return fields + 3, bytes + uint64(len(":method")+len(method)+len(":path")+len(m.Path())+len(":scheme")+len("http"))
}

func TestROUTER84RequestAndResponseSizes(t *testing.T) {
	large := strings.Repeat("x", 300_000)
	for _, row := range []struct {
		title, request, answer string
		rqBody                 uint64
		rs                     sizesOf
	}{
		{
			"no bodies", "GET /a HTTP/1.1\r\nHost: h\r\nX-Some: thing\r\n\r\n", "HTTP/1.1 204 None\r\nX-Other: y\r\n\r\n",
			0, sizesOf{rsFields: 2, rsHead: uint64(len(":status204X-Othery"))},
		},
		{
			"a length", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", harness.Reply("ok"),
			5, sizesOf{rsFields: 2, rsHead: uint64(len(":status200Content-Length2")), rsBody: 2},
		},
		{
			"chunks", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n",
			5, sizesOf{rsFields: 2, rsHead: uint64(len(":status200Transfer-Encodingchunked")), rsBody: 4},
		},
		{
			"bulk", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n" + large, harness.Reply(large),
			300_000, sizesOf{rsFields: 2, rsHead: uint64(len(":status200Content-Length300000")), rsBody: 300_000},
		},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			o := harness.NewRecorder(t, func(*harness.Message) string { return row.answer })
			top := one(o)
			top.Clusters[0].Fields = "track_cluster_stats: { request_response_sizes: true }"
			p := harness.Start(t, top)
			w := harness.DialWire(t, "tcp", p.Addr)
			w.Do(row.request)
			w.Close()
			want := row.rs
			want.rqFields, want.rqHead = fieldsOf(o.Last(t))
			want.rqBody = row.rqBody
			wantSizes(p, 1, want)
		})
	}
}

// Each attempt has sizes; one without a response has none of a response.
func TestROUTER84SizesOfEachAttempt(t *testing.T) {
	harness.NoLeaks(t)
	o := inTurn(t, answered(503), answered(200))
	top := retrying(quick("retry_on: 5xx"), o)
	top.Clusters[0].Fields = "track_cluster_stats: { request_response_sizes: true }"
	top.Clusters = append(top.Clusters, harness.Cluster{Name: "gone", Origins: []harness.Origin{harness.Refusing(t)}, Fields: top.Clusters[0].Fields})
	top.Routes = "- match: { path: /gone }\n  route: { cluster: gone }\n- match: { prefix: / }\n  route:\n    cluster: origin\n    " + top.Action
	p := harness.Start(t, top)
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Do("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
	w.Do("GET /gone HTTP/1.1\r\nHost: h\r\n\r\n")
	w.Close()
	wantHistogram(p, "upstream_rq_body_size", 2, 10)
	wantHistogram(p, "upstream_rs_body_size", 2, 6)
	p.WantStats(harness.Stats{"cluster.gone.upstream_cx_connect_fail": 1})
	if h := p.Histogram("cluster.gone.upstream_rq_headers_size"); h.Count != 1 {
		t.Errorf("%d requests have a size, want 1", h.Count)
	}
	if h := p.Histogram("cluster.gone.upstream_rs_headers_size"); h != nil && h.Count != 0 {
		t.Errorf("%d responses have a size, want none", h.Count)
	}
}

// HTTP/2 counts the same: what HPACK makes of it does not matter.
func TestROUTER84SizesOverHTTP2(t *testing.T) {
	harness.NoLeaks(t)
	rs := sizesOf{rsFields: 3, rsHead: uint64(len(":status200x-ay" + "content-length100000")), rsBody: 100_000}
	o := newH2Origin(t, &http2.Server{}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header()["Date"] = nil
		w.Header()["Content-Type"] = nil
		w.Header().Set("X-A", "y")
		w.Header().Set("Content-Length", "100000")
		_, _ = w.Write(filler(100_000))
	})
	top := one(o)
	p := startH2Upstream(t, top, func(c *conf.Cluster) { c.TrackRequestResponseSizes = true })
	resp, err := h1Client(t, 1).Post("http://"+p.Addr+"/a", "text/plain", strings.NewReader(strings.Repeat("x", 70_000)))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, resp.Body); n != 100_000 || err != nil {
		t.Fatal(n, err)
	}
	resp.Body.Close()
	wantHistogram(p, "upstream_rq_body_size", 1, 70_000)
	wantHistogram(p, "upstream_rs_body_size", 1, rs.rsBody)
	wantHistogram(p, "upstream_rs_headers_count", 1, rs.rsFields)
	wantHistogram(p, "upstream_rs_headers_size", 1, rs.rsHead)
}

// Without track_cluster_stats the names are not there.
func TestROUTER84NothingIsTrackedByDefault(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.Start(t, one(harness.NewRecorder(t, nil)))
	ask(t, p, "h", "/a")
	for _, h := range p.Server.Registry().Collect().Histograms {
		if strings.Contains(h.Name, "budget") || strings.Contains(h.Name, "_size") || strings.Contains(h.Name, "_headers_") {
			t.Errorf("there is %s", h.Name)
		}
	}
}
