package secure

import (
	"context"
	"crypto/tls"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/tlsio"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// end is one end of a connection on a loop, that counts as a proxy does: an echo on
// the server's side, one word on the client's.
type end struct {
	rig   *rig
	layer *tlsio.Layer
	down  *Downstream
	up    *Upstream
	said  chan string // what became of it: a failure, or what was described
}

func (e *end) OnAccept(c *engine.Conn) engine.Handler {
	e.layer.Server(c, e.down.Config(), 20*time.Second)
	return e
}

func (e *end) OnConnected(c *engine.Conn) {
	st := tlsio.State(c)
	if e.up != nil {
		e.up.Stats().Finished(e.rig.shard, st)
		c.Write([]byte("word"))
		return
	}
	e.down.Stats().Finished(e.rig.shard, st)
	p := NewPeer(st, e.down.Local(st))
	e.said <- p.Version() + " " + p.ALPN() + " " + p.Remote().Subject + " " + p.Local().Subject
}

func (e *end) OnData(c *engine.Conn, view []byte) int {
	if e.up == nil {
		c.Write(view)
		return len(view)
	}
	if len(view) == 4 {
		e.said <- string(view)
		c.CloseWrite()
		return 4
	}
	return 0
}

func (e *end) OnReadClosed(c *engine.Conn) { c.CloseWrite() }
func (e *end) OnWritable(*engine.Conn)     {}

func (e *end) OnClosed(c *engine.Conn, why engine.CloseReason) {
	if why != engine.HandshakeFailed && why != engine.TransformFailed {
		return
	}
	stats := e.down.Stats
	if e.up != nil {
		stats = e.up.Stats
	}
	stats().Failed(e.rig.shard, c.Err())
	e.said <- Failure(c.Err())
}

func TestContextsOnALoop(t *testing.T) {
	w := newWorld(t)
	r := newRig(t)
	g, err := engine.New(engine.Options{Loops: 1})
	must(t, err)
	must(t, g.Start())
	stop := func() { must(t, g.Stop(context.Background())) }
	layer := tlsio.New(tlsio.Options{})
	d := r.down(&conf.DownstreamTLS{RequireClientCertificate: true, SessionTickets: true, CommonTLS: conf.CommonTLS{
		Certificates: []*conf.TLSCertificate{w.server.inline()}, ALPN: []string{"h2"},
		Validation: &conf.CertificateValidation{TrustedCA: w.root.trust()},
	}})
	server := &end{rig: r, layer: layer, down: d, said: make(chan string, 8)}
	ln, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"}, func(*engine.Loop) engine.Acceptor { return server })
	must(t, err)
	hear := func(e *end, want string) {
		t.Helper()
		select {
		case got := <-e.said:
			if got != want {
				t.Errorf("%q, want %q", got, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("never: %s", want)
		}
	}

	// Other clients.
	for _, row := range []struct {
		client *tls.Config
		want   string
	}{
		{anyone(presents(w.good), speaks("h2")), "TLSv1.3 h2 CN=client CN=server.test,O=Example"},
		{anyone(presents(w.deep), only(tls.VersionTLS12)), "TLSv1.2  CN=client CN=server.test,O=Example"},
		{anyone(presents(w.wrong)), "TLS_error:CERTIFICATE_VERIFY_FAILED:unable_to_get_local_issuer_certificate"},
		{anyone(), "TLS_error:PEER_DID_NOT_RETURN_A_CERTIFICATE"},
		{anyone(only(tls.VersionTLS11)), "TLS_error:UNSUPPORTED_PROTOCOL"},
	} {
		if c, err := tls.Dial("tcp", ln.Addr().String(), row.client); err == nil {
			_, _ = io.WriteString(c, "x")
			_, _ = c.Read(make([]byte, 1))
			c.Close()
		}
		hear(server, row.want)
	}

	// The upstream context as the client of the downstream one.
	for _, row := range []struct {
		conf       conf.UpstreamTLS
		want, last string
	}{
		{
			conf.UpstreamTLS{SNI: "server.test", AutoSANValidation: true, MaxSessionKeys: 1, CommonTLS: conf.CommonTLS{
				Certificates: []*conf.TLSCertificate{w.good.inline()}, Validation: &conf.CertificateValidation{TrustedCA: w.root.trust()},
			}},
			"TLSv1.2 h2 CN=client CN=server.test,O=Example", "word",
		},
		{
			conf.UpstreamTLS{SNI: "server.test", CommonTLS: conf.CommonTLS{
				Certificates: []*conf.TLSCertificate{w.good.inline()}, Validation: &conf.CertificateValidation{TrustedCA: w.stranger.trust()},
			}},
			"TLS_error:SSLV3_ALERT_BAD_CERTIFICATE", "TLS_error:CERTIFICATE_VERIFY_FAILED:unable_to_get_local_issuer_certificate",
		},
	} {
		u := r.up(&row.conf)
		client := &end{rig: r, layer: layer, up: u, said: make(chan string, 8)}
		g.Loops()[0].Post(&dial{g.Loops()[0], client, netip.MustParseAddrPort(ln.Addr().String())})
		hear(server, row.want)
		hear(client, row.last)
	}
	stop()
	r.want("handshake", 3, "connection_error", 2, "fail_verify_error", 1, "fail_verify_no_cert", 1, "versions.TLSv1.2", 2, "sigalgs.ecdsa_secp256r1_sha256", 1)
	for name, want := range map[string]int{"handshake": 1, "fail_verify_error": 1, "connection_error": 0} {
		if got := r.cluster(name); got != want {
			t.Errorf("the cluster's %s is %d, want %d", name, got, want)
		}
	}
}

// dial connects on the loop.
type dial struct {
	loop *engine.Loop
	e    *end
	to   netip.AddrPort
}

func (m *dial) Run() {
	c := m.loop.Dial(engine.DialSpec{Addr: m.to}, m.e)
	m.e.layer.Client(c, m.e.up.ConfigFor(&Want{FallbackALPN: "h2"}), 20*time.Second)
}
