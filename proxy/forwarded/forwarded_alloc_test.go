//go:build !race

package forwarded

import (
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// allocates asserts that f, run on a copy of base each time, does not allocate once warm.
func allocates(t *testing.T, name string, base *header.Head, f func(h *header.Head)) {
	t.Helper()
	h := new(header.Head)
	run := func() {
		h.Reset(base.Base())
		h.Path, h.Authority = base.Path, base.Authority
		for _, field := range base.Fields {
			h.Push(field.Name, field.Value, field.ID)
		}
		f(h)
	}
	run()
	if n := testing.AllocsPerRun(200, run); n != 0 {
		t.Errorf("%s: %v allocations", name, n)
	}
}

func TestPolicyDoesNotAllocate(t *testing.T) {
	all := func(c *conf.HTTPConnectionManager) {
		tens(c)
		c.Via, c.AddUserAgent, c.AppendXForwardedPort, c.AlwaysSetRequestIDInResp = "1.1 sluice", true, true, true
	}
	edge := func(c *conf.HTTPConnectionManager) { all(c); c.UseRemoteAddress, c.XFFNumTrustedHops = true, 1 }
	full := []string{
		"x-forwarded-for: 2001:db8::1, 10.0.0.1", "x-forwarded-for: 2001:db8::192.0.2.1", "x-envoy-retry-on: 5xx", "x-secret: s", "x-envoy-internal: true",
		"referer: http://a.example/p", "x-forwarded-client-cert: a", "via: b", "x-forwarded-proto: HTTPS",
	}
	mutual := accepted(t, identity(t, "proxy"), identity(t, "client"))
	cert := func(m conf.ClientCertDetails) func(c *conf.HTTPConnectionManager) {
		return func(c *conf.HTTPConnectionManager) {
			edge(c)
			c.ForwardClientCert, c.CurrentClientCert = m, conf.CurrentClientCert{Subject: true, DNS: true, URI: true}
		}
	}
	for _, row := range []struct {
		name   string
		set    func(c *conf.HTTPConnectionManager)
		peer   string
		fields []string
	}{
		{"a plain request to a default manager", defaults, "192.0.2.1", nil},
		{"a plain request at the edge", useRemote, "2001:db8::1234:5678:9abc:def0", nil},
		{"everything at the edge", edge, "192.0.2.1", full},
		{"everything inside", all, "10.0.0.1", full},
		{"a client certificate appended", cert(conf.ClientCertAppendForward), "192.0.2.1", full},
		{"a client certificate set", cert(conf.ClientCertSanitizeSet), "192.0.2.1", full},
	} {
		p := policy(row.set)
		in := facts(row.peer)
		in.Scratch, in.TLS, in.Secure = make([]byte, 0, 512), true, mutual
		allocates(t, row.name, request(t, "/", row.fields...), func(h *header.Head) { p.Request(h, in) })
		out := &ResponseFacts{Request: request(t, "/", "x-request-id: abc"), Date: []byte("Sat, 21 Nov 2026 00:00:00 GMT")}
		allocates(t, row.name+", response", request(t, "/", "server: origin"), func(h *header.Head) { p.Response(h, out) })
	}
}
