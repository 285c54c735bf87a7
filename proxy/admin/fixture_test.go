package admin_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluiceproxy/sluice/bench/origin"
	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/admin"
	"github.com/sluiceproxy/sluice/proxy/envoy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const bootstrap = `
node: { id: node-1, cluster: edge, locality: { zone: z1 } }
admin:
  address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
static_resources:
  listeners:
  - name: in
    stat_prefix: in
    traffic_direction: INBOUND
    address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config: &manager
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          route_config:
            name: local
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { prefix: "/" }
                route: { cluster: origin }
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  - name: out
    stat_prefix: out
    drain_type: MODIFY_ONLY
    address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config: *manager
  clusters:
  - name: origin
    alt_stat_name: alt
    load_assignment:
      cluster_name: origin
      endpoints:
      - locality: { region: r1, zone: z1, sub_zone: s1 }
        lb_endpoints:
        - { load_balancing_weight: 3, endpoint: { hostname: one.example, address: { socket_address: { address: 127.0.0.1, port_value: 9 } } } }
  - name: spare
    circuit_breakers: { thresholds: [ { max_connections: 1, max_pending_requests: 2, max_requests: 3, max_retries: 4 }, { priority: HIGH, max_connections: 5 } ] }
    load_assignment:
      cluster_name: spare
      endpoints:
      - lb_endpoints:
        - { health_status: UNHEALTHY, endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 9001 } } } }
        - { health_status: DEGRADED, endpoint: { address: { pipe: { path: /run/spare.sock } } } }
`

// level is a Levels without a log.
type level struct {
	mu   sync.Mutex
	name string
}

func (l *level) Level() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.name
}

func (l *level) SetLevel(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if name != "debug" && name != "info" {
		return false
	}
	l.name = name
	return true
}

// fixture is a proxy in front of an origin, with its admin interface.
type fixture struct {
	t      *testing.T
	server *proxy.Server
	origin *origin.Server
	admin  string // http://ip:port
	in     string
	out    string
	quits  chan struct{}
	client *http.Client
}

// start runs the bootstrap with some of its text replaced; live false leaves the server before Start.
func start(t *testing.T, live bool, replace ...string) *fixture {
	t.Helper()
	f := &fixture{t: t, quits: make(chan struct{}, 1), client: &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}}
	t.Cleanup(f.client.CloseIdleConnections)
	var err error
	if f.origin, err = origin.New(origin.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.origin.Stop)
	_, port, _ := strings.Cut(f.origin.Addr().String(), ":")
	text := strings.NewReplacer(append(replace, "port_value: 9 }", "port_value: "+port+" }")...).Replace(bootstrap)
	loaded, err := envoy.Load(envoy.Source{Path: "admin.yaml", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	f.server, err = proxy.New(proxy.Options{Config: loaded.Conf, Concurrency: 2, DrainTime: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.server.Close() })
	a, err := admin.New(admin.Options{
		Server: f.server, Config: loaded.Conf.Admin, Version: "rev/1.2.3/Clean/RELEASE/go", Levels: &level{name: "info"},
		CommandLine: map[string]any{"mode": "Serve", "concurrency": 2},
		Quit:        func() { f.quits <- struct{}{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	f.admin = "http://" + a.Addr().String()
	if live {
		if err := f.server.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range f.server.Listeners() {
		switch l.Name {
		case "in":
			f.in = l.Addresses[0].String()
		case "out":
			f.out = l.Addresses[0].String()
		}
	}
	return f
}

// answer is a response read to its end.
type answer struct {
	status int
	header http.Header
	body   string
	close  bool
}

func (f *fixture) do(method, url string) answer {
	f.t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body), resp.Close}
}

func (f *fixture) get(path string) answer  { f.t.Helper(); return f.do("GET", f.admin+path) }
func (f *fixture) post(path string) answer { f.t.Helper(); return f.do("POST", f.admin+path) }

// proxied sends n requests through the "in" listener.
func (f *fixture) proxied(n int) {
	f.t.Helper()
	for range n {
		if a := f.do("GET", "http://"+f.in+"/"); a.status != 200 {
			f.t.Fatalf("proxied: %d %s", a.status, a.body)
		}
	}
}

func (f *fixture) json(path string) map[string]any {
	f.t.Helper()
	a := f.get(path)
	if got := a.header.Get("Content-Type"); a.status != 200 || got != "application/json" {
		f.t.Fatalf("%s: %d %s", path, a.status, got)
	}
	var out map[string]any
	if err := json.Unmarshal([]byte(a.body), &out); err != nil {
		f.t.Fatalf("%s: %v in %s", path, err, a.body)
	}
	return out
}

// await polls until ok says so.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}
