package e2e

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// Routes that end tunnels at the first cluster.
const (
	connectRoute = "- match: { connect_matcher: {} }\n  route: { cluster: origin, timeout: 0s, upgrade_configs: [{ upgrade_type: CONNECT, connect_config: {} }] }"
	postRoute    = "- match: { path: /tunnel }\n  route: { cluster: origin, timeout: 0s, upgrade_configs: [{ upgrade_type: CONNECT, connect_config: { allow_post: true } }] }"
)

// terminator ends tunnels at o.
func terminator(t testing.TB, o harness.Origin, routes string) *harness.Proxy {
	t.Helper()
	top := one(o)
	top.Routes, top.Manager = routes, h2Connect
	_, inner := t.(innerHop)
	top.NotSettled = inner
	return harness.Start(t, top)
}

// encapsulator is a TCP proxy that tunnels to o.
func encapsulator(t testing.TB, o harness.Origin, h2 bool, tunneling string, more ...string) *harness.Proxy {
	t.Helper()
	top := harness.TCPTopology{
		Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}}},
		Proxy:    "tunneling_config: { " + tunneling + " }\n" + strings.Join(more, "\n"),
	}
	if h2 {
		top.Clusters[0].Fields = h2Cluster
	}
	return harness.StartTCP(t, top)
}

// tunnelTransport is a way of a tunnel between two proxies.
type tunnelTransport struct {
	name      string
	h2        bool
	tunneling string
	routes    string
}

// transports are the four there are (TCP-40, UP-61).
var transports = []tunnelTransport{
	{"CONNECT over HTTP1", false, "hostname: host.example:443", connectRoute},
	{"CONNECT over HTTP2", true, "hostname: host.example:443", connectRoute},
	{"POST over HTTP1", false, "hostname: host.example, use_post: true, post_path: /tunnel", postRoute},
	{"POST over HTTP2", true, "hostname: host.example, use_post: true, post_path: /tunnel", postRoute},
}

// throughTunnel runs f for each transport, with a client's address in front of an origin.
func throughTunnel(t *testing.T, o func(t *testing.T) harness.Origin, f func(t *testing.T, first, second *harness.Proxy)) {
	for _, x := range transports {
		t.Run(x.name, func(t *testing.T) {
			second := terminator(innerHop{t}, o(t), x.routes)
			first := encapsulator(t, asOrigin{second}, x.h2, x.tunneling)
			f(t, first, second)
		})
	}
}

func tunnelBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

// sent writes all and ends the direction.
func sent(c *net.TCPConn, b []byte) chan error {
	done := make(chan error, 1)
	go func() {
		_, err := c.Write(b)
		if err == nil {
			err = c.CloseWrite()
		}
		done <- err
	}()
	return done
}

func wantSame(t testing.TB, what string, r io.Reader, want []byte) {
	t.Helper()
	got, err := io.ReadAll(r)
	if err != nil || sha256.Sum256(got) != sha256.Sum256(want) {
		t.Fatalf("%s: %d bytes of %d, equal %v: %v", what, len(got), len(want), bytes.Equal(got, want), err)
	}
}
