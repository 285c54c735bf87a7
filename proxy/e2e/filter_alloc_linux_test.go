//go:build !sluicedebug

package e2e

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// maxMallocsPerFiltered leaves room for the runtime's own.
const maxMallocsPerFiltered = 0.05

// rawH1 asks over a plain socket and allocates nothing.
type rawH1 struct {
	t    *testing.T
	fd   int
	text []byte
	buf  []byte
}

func dialRawH1(t *testing.T, addr netip.AddrPort, text string) *rawH1 {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	return &rawH1{t, fd, []byte(text), make([]byte, 64<<10)}
}

var headEnd = []byte("\r\n\r\n")

// ask sends the request and reads an answer with a body of n bytes.
func (c *rawH1) ask(n int) {
	for sent := 0; sent < len(c.text); {
		k, err := unix.Write(c.fd, c.text[sent:])
		if err != nil {
			c.t.Fatal(err)
		}
		sent += k
	}
	for have := 0; ; {
		k, err := unix.Read(c.fd, c.buf[have:])
		if k <= 0 {
			c.t.Fatal("the client read ", k, err)
		}
		have += k
		if i := bytes.Index(c.buf[:have], headEnd); i >= 0 && have >= i+len(headEnd)+n {
			if !bytes.HasPrefix(c.buf, []byte("HTTP/1.1 200")) {
				c.t.Fatalf("%.200q", c.buf[:have])
			}
			return
		}
	}
}

func TestFilterChainsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	const all = "filter_enabled: { default_value: { numerator: 100 } }\nfilter_enforced: { default_value: { numerator: 100 } }"
	router := 0.0 // what is allocated without filters, by the test itself too
	for _, row := range []struct{ title, filters string }{
		{"only the router", ""},
		{"buffer", httpFilter("buffer", "buffer.v3.Buffer", "max_request_bytes: 100000")},
		{"cors", httpFilter("cors", "cors.v3.Cors", "")},
		{"fault", httpFilter("fault", "fault.v3.HTTPFault", "abort: { header_abort: {}, percentage: { numerator: 100 } }\ndelay: { fixed_delay: 0.001s, percentage: { numerator: 0 } }")},
		{"local_ratelimit", httpFilter("limit", "local_ratelimit.v3.LocalRateLimit", "stat_prefix: l\ntoken_bucket: { max_tokens: 4000000000, fill_interval: 1s }\nenable_x_ratelimit_headers: DRAFT_VERSION_03\nrate_limits: [{ actions: [{ remote_address: {} }] }]\n"+all)},
		{"header_mutation", httpFilter("mutate", "header_mutation.v3.HeaderMutation", `mutations: { request_mutations: [{ append: { header: { key: x-a, value: "%PROTOCOL%" } } }] }`)},
		{"rbac", httpFilter("rbac", "rbac.v3.RBAC", "rules: { action: DENY, policies: { p: { permissions: [{ url_path: { path: { exact: /no } } }], principals: [{ any: true }] } } }\nshadow_rules: { policies: { p: { permissions: [{ any: true }], principals: [{ any: true }] } } }")},
		{"dynamic_forward_proxy", "in forwarding"},
		{"health_check", httpFilter("health", "health_check.v3.HealthCheck", "pass_through_mode: true\nheaders: [{ name: x-h, present_match: true }]")},
	} {
		t.Run(row.title, func(t *testing.T) {
			o := harness.NewOrigin(t, "a")
			top := one(o)
			top.HTTPFilters = row.filters
			if row.title == "dynamic_forward_proxy" {
				d := harness.NewDNS(t)
				d.Set("one.test", "127.0.0.1")
				top = forwarding(dnsCache(d), o)
				top.HTTPFilters = forwardFilter(dnsCache(d), "save_upstream_address: true")
				top.VirtualHost = "typed_per_filter_config: { " + perRoute(forwardName, "dynamic_forward_proxy.v3.PerRouteConfig", `host_rewrite_literal: "`+at("one.test", o)+`"`) + " }"
			}
			if row.title == "cors" {
				top.VirtualHost = "typed_per_filter_config: { " + perRoute("cors", "cors.v3.CorsPolicy", "allow_origin_string_match: [{ exact: o }]") + " }"
			}
			p := harness.Start(t, top)
			body := strings.Repeat("x", 20_000)
			c := dialRawH1(t, netip.MustParseAddrPort(p.Addr), request("POST", "/bytes/100", fmt.Sprintf("Content-Length: %d", len(body)), "Origin: o")+body)
			run := func(n int) {
				for range n {
					c.ask(100)
				}
			}
			run(200)
			least := math.MaxFloat64
			const n = 1000
			for range 3 {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				run(n)
				runtime.ReadMemStats(&after)
				least = min(least, float64(after.Mallocs-before.Mallocs)/n)
			}
			if row.filters == "" {
				router = least
			}
			t.Logf("%.3f allocations for each request", least)
			if least > router+maxMallocsPerFiltered {
				t.Errorf("%.3f allocations for each request, %.3f without filters", least, router)
			}
		})
	}
}
