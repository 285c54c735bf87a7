package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// mirrored is a topology whose only route goes to the origins and mirrors to the mirrors' clusters.
func mirrored(action string, o harness.Origin, mirrors ...harness.Origin) harness.Topology {
	top := retrying(action, o)
	for i, m := range mirrors {
		top.Clusters = append(top.Clusters, harness.Cluster{Name: fmt.Sprint("mirror", i), Origins: []harness.Origin{m}})
	}
	return top
}

// RT-82: whatever becomes of the copy, the request is answered as without one.
func TestRT82AMirrorThatFailsTouchesNothing(t *testing.T) {
	harness.NoLeaks(t)
	body := strings.Repeat("0123456789abcdef", 4000)
	stalled := harness.NewRaw(t, stalls)
	broken := harness.NewRaw(t, headThen("", closes))
	list := "request_mirror_policies: ["
	for i := range 3 {
		list += fmt.Sprintf("{ cluster: mirror%d }, ", i)
	}
	o := harness.NewRecorder(t, nil)
	p := harness.Start(t, mirrored("timeout: 15s\n"+list+"{ cluster: mirror3 }]", o, harness.Refusing(t), broken, stalled, inTurn(t, answered(500))))
	w := harness.DialWire(t, "tcp", p.Addr)
	for range 3 {
		if r := w.Do(fmt.Sprintf("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body)); r.Status() != 200 || string(r.Body) != "ok" {
			t.Errorf("got %s", r.Head())
		}
		if got := o.Last(t); string(got.Body) != body {
			t.Errorf("the origin saw %d bytes", len(got.Body))
		}
	}
	w.Close()
	p.WantStats(harness.Stats{
		inHTTP + "rq_shadowed": 12, inHTTP + "downstream_rq_total": 3, inHTTP + "downstream_rq_2xx": 3, inHTTP + "downstream_rq_completed": 3,
		"cluster.mirror0.upstream_cx_connect_fail": 3, "cluster.mirror3.upstream_rq_500": 3, "cluster.mirror2.upstream_rq_active": 3,
	})
	stalled.Stop()
}

// RT-82: which clusters get a copy, and of what host.
func TestRT82WhoGetsACopy(t *testing.T) {
	for _, row := range []struct {
		policy, request string
		copies          int
		host            string
	}{
		{"cluster: mirror0", getA, 1, "test-shadow"},
		{"cluster: mirror0", "GET /a HTTP/1.1\r\nHost: [::1]:81\r\n\r\n", 1, "[::1]-shadow:81"},
		{"cluster: mirror0", "GET /a HTTP/1.1\r\nHost: [::1]\r\n\r\n", 1, "[::1]-shadow"},
		{"cluster: mirror0, disable_shadow_host_suffix_append: true", getA, 1, "test"},
		{"cluster: mirror0, host_rewrite_literal: new.test", getA, 1, "new.test"},
		{"cluster: mirror0, runtime_fraction: { default_value: { numerator: 0 } }", getA, 0, ""},
		{"cluster: mirror0, runtime_fraction: { default_value: { numerator: 0 }, runtime_key: all }", getA, 1, "test-shadow"},
		{"cluster_header: x-mirror", getA, 0, ""},
		{"cluster_header: x-mirror", "GET /a HTTP/1.1\r\nHost: test\r\nX-Mirror: nowhere\r\n\r\n", 0, ""},
		{"cluster_header: x-mirror", "GET /a HTTP/1.1\r\nHost: test\r\nX-Mirror: mirror0\r\n\r\n", 1, "test-shadow"},
		{"cluster: mirror0", "GET /gone HTTP/1.1\r\nHost: test\r\n\r\n", 0, ""}, // the request's own cluster is missing
		{"cluster: mirror0", "GET /up HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 0, ""},
	} {
		t.Run(row.policy+row.request, func(t *testing.T) {
			harness.NoLeaks(t)
			o, m := harness.NewRecorder(t, nil), harness.NewRecorder(t, nil)
			top := mirrored("", o, m)
			top.Manager += "\nupgrade_configs: [{ upgrade_type: websocket }]"
			top.Bootstrap = runtimeLayer("all", "100")
			top.VirtualHost = "request_mirror_policies: [{ " + row.policy + " }]"
			top.Routes = "- { match: { path: /gone }, route: { cluster_header: x-none } }\n- { match: { prefix: / }, route: { cluster: origin } }"
			p := harness.Start(t, top)
			w := harness.DialWire(t, "tcp", p.Addr)
			w.Do(row.request)
			w.Close()
			p.WantStats(harness.Stats{inHTTP + "rq_shadowed": int64(row.copies)})
			harness.Eventually(t, "the copies", func() bool { return len(m.Seen()) == row.copies })
			if row.copies > 0 && m.Last(t).Get("host") != row.host {
				t.Errorf("the mirror saw %s", m.Last(t).Head())
			}
		})
	}
}

// RT-82, RT-78: mirrors of the route stand in the place of its virtual host's, and these in the place of the
// table's.
func TestRT82TheMostSpecificMirrorsCount(t *testing.T) {
	harness.NoLeaks(t)
	names := []string{"route", "host", "table"}
	o := harness.NewRecorder(t, nil)
	top := retrying("", o)
	all := map[string]*harness.Recorder{}
	origins := []harness.Origin{o}
	for _, n := range names {
		all[n] = harness.NewRecorder(t, nil)
		origins = append(origins, all[n])
		top.Clusters = append(top.Clusters, harness.Cluster{Name: n, Origins: []harness.Origin{all[n]}})
	}
	to := func(name string) string { return "request_mirror_policies: [{ cluster: " + name + " }]" }
	top.VirtualHosts = "- { name: a, domains: [a.test], " + to("host") + ", routes: [{ match: { path: /own }, route: { cluster: origin, " + to("route") + " } }, { match: { prefix: / }, route: { cluster: origin } }] }\n" +
		"- { name: b, domains: [b.test], routes: [{ match: { prefix: / }, route: { cluster: origin } }] }\n"
	p := withTable(t, top, to("table"), origins...)
	for i, row := range []struct{ host, path, want string }{{"a.test", "/own", "route"}, {"a.test", "/", "host"}, {"b.test", "/", "table"}} {
		ask(t, p, row.host, row.path)
		harness.Eventually(t, "a copy", func() bool { return len(all[row.want].Seen()) == 1 })
		p.WantStats(harness.Stats{inHTTP + "rq_shadowed": int64(i + 1)})
	}
}

// RT-82: the copy has the whole body, also where the origin begins to answer, or sends an interim response,
// while the request is still arriving.
func TestRT82TheCopyIsWhole(t *testing.T) {
	for _, row := range []struct{ title, first string }{
		{"after an answer has begun", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"},
		{"after an interim response", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			raw := harness.NewRaw(t, func(c *harness.Peer) {
				c.ReadHead()
				c.Send(row.first)
				b := make([]byte, 10)
				for n := 0; n < len(b); {
					k, err := c.In.Read(b[n:])
					if n += k; err != nil {
						return
					}
				}
				if strings.HasSuffix(row.first, "o") {
					c.Send("k")
				} else {
					c.Send(harness.Reply("ok"))
				}
				c.Drain()
			})
			m := harness.NewRecorder(t, nil)
			p := harness.Start(t, mirrored("request_mirror_policies: [{ cluster: mirror0 }]", raw, m))
			c := p.Dial().Send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n01234")
			if !strings.HasSuffix(row.first, "o") {
				if r := c.ReadAny("POST"); r.Status != 103 {
					t.Fatalf("got %v", r)
				}
			} else {
				harness.Eventually(t, "the answer's head", func() bool { return p.Stat(inHTTP+"downstream_rq_response_before_rq_complete") == 1 })
			}
			c.Send("56789")
			c.Read("POST").Want(200, "ok")
			harness.Eventually(t, "the copy", func() bool { return len(m.Seen()) == 1 })
			if got := string(m.Last(t).Body); got != "0123456789" {
				t.Errorf("the mirror saw %q", got)
			}
			c.Close()
		})
	}
}

// RT-82, ROUTER-62: a body beyond the limit goes to the origin, and no part of it to the mirror.
func TestRT82ABodyBeyondTheLimitIsNotMirrored(t *testing.T) {
	harness.NoLeaks(t)
	o, m := harness.NewRecorder(t, nil), harness.NewRecorder(t, nil)
	top := mirrored("request_mirror_policies: [{ cluster: mirror0 }]", o, m)
	top.VirtualHost = "request_body_buffer_limit: 100"
	p := harness.Start(t, top)
	w := harness.DialWire(t, "tcp", p.Addr)
	for n := range 2 {
		body := strings.Repeat("x", 100+n)
		if r := w.Do(fmt.Sprintf("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body)); r.Status() != 200 || len(o.Last(t).Body) != len(body) {
			t.Errorf("got %s, the origin saw %d bytes", r.Head(), len(o.Last(t).Body))
		}
	}
	w.Close()
	harness.Eventually(t, "the copy", func() bool { return len(m.Seen()) == 1 })
	p.WantStats(harness.Stats{inHTTP + "rq_shadowed": 1, onOrigin + "retry_or_shadow_abandoned": 1})
	if got := len(m.Last(t).Body); got != 100 {
		t.Errorf("the mirror saw %d bytes", got)
	}
}

// RT-82: a mirror that answers nobody gets copies up to a limit; those beyond it are counted, and their requests are
// served as the others are.
func TestRT82MirrorsAreBounded(t *testing.T) {
	harness.NoLeaks(t)
	const most, more = 1024, 5
	o := harness.NewRecorder(t, nil)
	top := retrying("timeout: 0s\nrequest_mirror_policies: [{ cluster: mirror }]", o)
	top.Clusters = append(top.Clusters, harness.Cluster{
		Name: "mirror", Origins: []harness.Origin{harness.NewRaw(t, func(p *harness.Peer) { <-p.Stopped() })},
		Fields: "circuit_breakers: { thresholds: [{ max_connections: 10000, max_pending_requests: 10000, max_requests: 10000 }] }",
	})
	top.NotSettled = true // the copies end with the mirror
	p := harness.Start(t, top)
	w := harness.DialWire(t, "tcp", p.Addr)
	for range most + more {
		if m := w.Do(get); m.Status() != 200 {
			t.Fatalf("got %s", m.Head())
		}
	}
	p.WantStats(harness.Stats{inHTTP + "rq_shadowed": most, inHTTP + "rq_shadow_overflow": more, inHTTP + "downstream_rq_2xx": most + more})
}
