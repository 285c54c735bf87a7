package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// starter starts a topology's proxy and returns a client for it.
type starter func(top harness.Topology) (*harness.Proxy, *http.Client)

// everyPair runs a test with a client and an origin of each version.
func everyPair(t *testing.T, run func(t *testing.T, up wireKind, start starter)) {
	for _, up := range []wireKind{overH1, overH2C} {
		for _, down := range []string{"HTTP/1.1", "HTTP/2"} {
			t.Run(fmt.Sprintf("%s to %v", down, up), func(t *testing.T) {
				harness.NoLeaks(t)
				protocol := map[wireKind]conf.UpstreamProtocol{overH1: conf.UpstreamHTTP1, overH2C: conf.UpstreamHTTP2}[up]
				run(t, up, func(top harness.Topology) (*harness.Proxy, *http.Client) {
					b := harness.Load(t, top.YAML(t.TempDir()+"/log"))
					var origins []harness.Origin
					for i, c := range top.Clusters {
						b.Clusters[i].Protocol = protocol
						origins = append(origins, c.Origins...)
					}
					b.Listeners[0].FilterChains[0].HTTP.CodecType = conf.CodecAuto
					p := harness.StartConf(t, b, 1, "", origins...)
					if down == "HTTP/2" {
						return p, clientH2(t)
					}
					return p, h1Client(t, 4)
				})
			})
		}
	}
}

// post sends a body and returns the status and the whole answer.
func post(t *testing.T, client *http.Client, url, body string) (int, string) {
	t.Helper()
	resp, err := client.Post(url, "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// ROUTER-53: the first good answer wins over every pair of versions, with a long body each way, whichever try
// brings it; the other is reset.
func TestROUTER53HedgingThroughEveryPairOfVersions(t *testing.T) {
	everyPair(t, func(t *testing.T, up wireKind, start starter) {
		for _, winner := range []int64{1, 2} {
			var n, whole atomic.Int64
			second, gone := make(chan struct{}), make(chan struct{})
			answer := strings.Repeat("0123456789abcdef", 20_000)
			o := newHTTPOrigin(t, nil, up, func(w http.ResponseWriter, r *http.Request) {
				b, err := io.ReadAll(r.Body)
				me := n.Add(1)
				if err == nil && len(b) == 100_000 {
					whole.Add(1)
				}
				if me == 2 {
					close(second)
				}
				<-second
				if me != winner {
					<-r.Context().Done() // the proxy gives it up
					close(gone)
					return
				}
				_, _ = io.WriteString(w, answer)
			})
			p, client := start(retrying(hedged+quick("retry_on: 5xx, per_try_timeout: 0.2s"), o))
			status, body := post(t, client, "http://"+p.Addr+"/a", strings.Repeat("x", 100_000))
			if status != 200 || body != answer {
				t.Errorf("got %d with %d bytes", status, len(body))
			}
			<-gone
			if whole.Load() != 2 {
				t.Errorf("%d tries had the whole body", whole.Load())
			}
			wantCounts(p, map[string]int64{"upstream_rq_total": 2, "upstream_rq_200": 1, "upstream_rq_active": 0, "upstream_rq_tx_reset": 1})
		}
	})
}

// ROUTER-65: a redirect is followed with the body over every pair of versions.
func TestROUTER65RedirectsThroughEveryPairOfVersions(t *testing.T) {
	everyPair(t, func(t *testing.T, up wireKind, start starter) {
		o := newHTTPOrigin(t, nil, up, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			if r.URL.Path == "/a" {
				w.Header().Set("Location", "http://other.test/b?x")
				w.WriteHeader(307)
				_, _ = w.Write(b)
				return
			}
			_, _ = fmt.Fprintf(w, "%s %s %s %d", r.Method, r.Host, r.URL, len(b))
		})
		p, client := start(retrying("internal_redirect_policy: { redirect_response_codes: [307] }", o))
		if status, body := post(t, client, "http://"+p.Addr+"/a", strings.Repeat("x", 100_000)); status != 200 || body != "POST other.test /b?x 100000" {
			t.Errorf("got %d %s", status, body)
		}
	})
}

// RT-82: a copy has the whole body over every pair of versions, and the client hears of the origin alone.
func TestRT82MirrorsThroughEveryPairOfVersions(t *testing.T) {
	everyPair(t, func(t *testing.T, up wireKind, start starter) {
		var mu sync.Mutex
		seen := map[string]string{}
		serve := func(name string, status int) *httpOrigin {
			return newHTTPOrigin(t, nil, up, func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				mu.Lock()
				seen[name] = fmt.Sprint(r.Method, " ", strings.Contains(r.Host, "-shadow"), " ", len(b))
				mu.Unlock()
				w.WriteHeader(status)
				_, _ = io.WriteString(w, name)
			})
		}
		p, client := start(mirrored("request_mirror_policies: [{ cluster: mirror0 }]", serve("origin", 200), serve("mirror", 500)))
		if status, body := post(t, client, "http://"+p.Addr+"/a", strings.Repeat("x", 100_000)); status != 200 || body != "origin" {
			t.Errorf("got %d %s", status, body)
		}
		harness.Eventually(t, "the copy", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return seen["mirror"] != ""
		})
		mu.Lock()
		defer mu.Unlock()
		if seen["origin"] != "POST false 100000" || seen["mirror"] != "POST true 100000" {
			t.Errorf("seen %v", seen)
		}
	})
}

// RT-79: each priority has a connection of its own to the same host, over HTTP/2 too.
func TestRT79PrioritiesOverHTTP2HaveTheirOwnConnections(t *testing.T) {
	harness.NoLeaks(t)
	var mu sync.Mutex
	from := map[string]string{}
	o := newHTTPOrigin(t, nil, overH2C, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		from[r.URL.Path+r.RemoteAddr] = r.RemoteAddr
		mu.Unlock()
	})
	top := one(o)
	top.Routes = "- { match: { prefix: /high }, route: { cluster: origin, priority: HIGH } }\n- { match: { prefix: / }, route: { cluster: origin } }"
	p := startH2Upstream(t, top, nil)
	for range 3 {
		ask(t, p, "h", "/high")
		ask(t, p, "h", "/low")
	}
	mu.Lock()
	defer mu.Unlock()
	all := map[string]bool{}
	for _, addr := range from {
		all[addr] = true
	}
	if len(from) != 2 || len(all) != 2 {
		t.Errorf("connections %v", from)
	}
	wantCounts(p, map[string]int64{"upstream_cx_total": 2})
}
