package e2e

import (
	"crypto/tls"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// A new configuration leaves connections alone. Sessions of a context that it keeps still resume; another
// context is for new connections.
func TestTLSReload(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	one, two := harness.NewRecorder(t, func(*harness.Message) string { return harness.Reply("one") }), harness.NewRecorder(t, func(*harness.Message) string { return harness.Reply("two") })
	socket := secured(t, a, "a.test", "")
	p := harness.StartSecured(t, harness.Topology{Clusters: to(one), Loops: 2}, socket)
	config := a.Client("a.test")
	config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	old := p.DialTLS(config)
	wantBody := func(c *harness.TLSClient, want string) {
		t.Helper()
		if m := c.Do(get); string(m.Body) != want {
			t.Errorf("%s %q, want %q", m.Start, m.Body, want)
		}
	}
	wantBody(old, "one")
	first := serial(old.Conn)

	p.ApplySecured(harness.Topology{Clusters: []harness.Cluster{{Name: "other", Origins: []harness.Origin{two}}}}, socket)
	wantBody(old, "two")
	c := p.DialTLS(config)
	wantBody(c, "two")
	if !c.ConnectionState().DidResume || serial(c.Conn) != first {
		t.Error("the session does not outlive a change of the routes")
	}
	c.Close()

	p.ApplySecured(harness.Topology{Clusters: to(one)}, secured(t, a, "a.test", "tls_params: { tls_maximum_protocol_version: TLSv1_2 }"))
	wantBody(old, "one")
	c = p.DialTLS(a.Client("a.test"))
	wantBody(c, "one")
	if serial(c.Conn) == first || c.ConnectionState().Version != tls.VersionTLS12 {
		t.Errorf("the new context is not in force: %s", tls.VersionName(c.ConnectionState().Version))
	}
	c.Close()

	// The listener may even lose its TLS.
	p.Apply(harness.Topology{Clusters: to(one)})
	wantBody(old, "one")
	plain := p.Dial()
	plain.Get("/").Want(200, "one")
	plain.Close()
	old.Close()
	p.WantStats(harness.Stats{inSSL + "handshake": 3, inSSL + "connection_error": 0})
}

// A handshake that is under way ends as it began.
func TestTLSReloadDuringHandshakes(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	o := harness.NewRecorder(t, nil)
	p := harness.StartSecured(t, harness.Topology{Clusters: to(o)}, secured(t, a, "a.test", ""))
	waiting := p.Dial()
	p.WantStats(harness.Stats{inListener + "downstream_cx_active": 1})
	p.ApplySecured(harness.Topology{Clusters: to(o), Manager: "server_name: other"}, secured(t, a, "b.test", ""))
	c := tls.Client(waiting.Conn, a.Client("a.test"))
	if m := harness.NewWire(t, c).Do(get); m.Status() != 200 {
		t.Errorf("%s", m.Start)
	}
	_ = c.Close()
	next := p.DialTLS(a.Client("b.test"))
	next.Do(get)
	next.Close()
}
