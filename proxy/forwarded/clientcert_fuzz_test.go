package forwarded

import (
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/secure"
)

// The element stands behind everything the client wrote, and outside of its quotes.
func FuzzRT103AppendedElementStandsAlone(f *testing.F) {
	proxy, client := identity(f, "proxy"), identity(f, "client")
	peer := accepted(f, proxy, client)
	p := policy(func(c *conf.HTTPConnectionManager) { c.ForwardClientCert = conf.ClientCertAppendForward })
	ours := string(peer.AppendXFCCElement(nil, secure.XFCCFields{}))
	for _, seed := range []string{"", "By=x", `Subject="`, `Subject="\"`, `a"b"c\"d"`, `\"`, "a,b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for i := range len(value) {
			if value[i] < ' ' || value[i] > '~' {
				t.Skip()
			}
		}
		h := request(t, "/", "x-forwarded-client-cert: "+value)
		in := facts("192.0.2.1")
		in.TLS, in.Secure = true, peer
		p.Request(h, in)
		got := fields(h, "x-forwarded-client-cert")
		elements := splitClientCerts(got)
		if elements[len(elements)-1] != ours {
			t.Fatalf("%q became %q, whose last element is %q", value, got, elements[len(elements)-1])
		}
	})
}

// splitClientCerts reads a list as its readers do.
func splitClientCerts(list string) (elements []string) {
	quoted, start := false, 0
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			elements, start = append(elements, list[start:i]), i+1
		}
	}
	return append(elements, strings.TrimSpace(list[start:]))
}
