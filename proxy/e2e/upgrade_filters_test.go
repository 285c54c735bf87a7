package e2e

import (
	"net"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// startFiltered is a proxy whose manager has these HTTP filters.
func startFiltered(t *testing.T, top harness.Topology, filters string) *harness.Proxy {
	t.Helper()
	log := t.TempDir() + "/log"
	yaml := top.YAML(log)
	const router = "          - name: router\n"
	if !strings.Contains(yaml, router) {
		t.Fatal("the topology's router is elsewhere")
	}
	b := harness.Load(t, strings.Replace(yaml, router, filters+router, 1))
	return harness.StartConf(t, b, 1, log, top.Clusters[0].Origins...)
}

const bufferFilter = "          - name: buffer\n            typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 16 }\n"

// UP-4, UP-6: the payload passes the filters of all requests, or those of its type alone, whoever enabled
// it; one that buffers is in the way.
func TestUP6Filters(t *testing.T) {
	const own = "upgrade_configs: [{ upgrade_type: websocket, enabled: false, filters: [{ name: router, typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router } }] }]"
	for _, row := range []struct {
		name, manager, action string
		passes                bool
	}{
		{"those of all requests", "", "upgrade_configs: [{ upgrade_type: foo }]", false},
		{"its own", strings.Replace(own, "websocket, enabled: false", "foo", 1), "", true},
		{"its own, enabled by the route", strings.Replace(own, "websocket", "foo", 1), "upgrade_configs: [{ upgrade_type: foo }]", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			o, _ := upgradeOrigin(t, switching("foo"))
			top := one(o)
			top.Manager, top.Action = row.manager, row.action
			p := startFiltered(t, top, bufferFilter)
			w := harness.DialWire(t, "tcp", p.Addr)
			defer w.Close()
			w.Send(askUpgrade("foo") + "more than sixteen bytes of payload")
			m := w.ReadHead()
			if !row.passes {
				if m.Status() != 413 {
					t.Error(m.Start)
				}
				return
			}
			if m.Status() != 101 {
				t.Fatal(m.Start)
			}
			got := make([]byte, 34)
			if _, err := readFull(w, got); err != nil || string(got) != "more than sixteen bytes of payload" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func readFull(w *harness.Wire, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		k, err := w.In.Read(b[n:])
		if n += k; err != nil {
			return n, err
		}
	}
	return n, nil
}

// UP-52: the target of CONNECT says where to only with an ORIGINAL_DST cluster, and only for the domains of
// the table.
func TestUP52OriginalDestination(t *testing.T) {
	o := tunnelEcho(t)
	_, port, _ := net.SplitHostPort(o.Address())
	top := harness.Topology{}
	top.VirtualHosts = "- name: one\n  domains: [\"127.0.0.1:" + port + "\"]\n  routes:\n" +
		"  - match: { connect_matcher: {} }\n    route: { cluster: origin, upgrade_configs: [{ upgrade_type: CONNECT, connect_config: {} }] }\n"
	log := t.TempDir() + "/log"
	yaml := strings.Replace(top.YAML(log), "  type: STATIC\n", "  type: ORIGINAL_DST\n    lb_policy: CLUSTER_PROVIDED\n"+
		"    original_dst_lb_config: { use_http_header: true, http_header_name: \":authority\" }\n", 1)
	if i := strings.Index(yaml, "    load_assignment:"); i >= 0 {
		j := strings.Index(yaml[i:], "cluster_name: origin\n")
		yaml = yaml[:i] + yaml[i+j+len("cluster_name: origin\n"):]
	}
	p := harness.StartConf(t, harness.Load(t, yaml), 1, log, o)
	ask := func(target string) *harness.Wire {
		w := harness.DialWire(t, "tcp", p.Addr)
		w.Send("CONNECT " + target + " HTTP/1.1\r\nHost: x\r\n\r\n")
		return w
	}
	w := ask("127.0.0.1:" + port)
	if m := w.ReadHead(); m.Status() != 200 {
		t.Fatal(m.Start)
	}
	wantEcho(t, w.Conn, w.In, "there")
	w.Close()
	w = ask("127.0.0.2:" + port)
	if m := w.Read(); m.Status() != 404 {
		t.Error(m.Start)
	}
	w.WantClosed()
}
