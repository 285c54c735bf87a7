package forwarded

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
)

// request parses a GET of target with the given "name: value" fields, as a listener would.
func request(t testing.TB, target string, fields ...string) *header.Head {
	t.Helper()
	text := "GET " + target + " HTTP/1.1\r\nhost: a.example\r\n"
	for _, f := range fields {
		text += f + "\r\n"
	}
	text += "\r\n"
	h := new(header.Head)
	o := http1.Options{MaxHeadBytes: 1 << 20, MaxFields: 100, AllowAbsoluteURL: true}
	if n, e := http1.ParseRequest([]byte(text), 0, &o, h); n != len(text) || e != 0 {
		t.Fatalf("ParseRequest(%q) = %d, %v", text, n, e)
	}
	return h
}

// fields lists the live fields of a name, joined with "|"; "-" when there are none.
func fields(h *header.Head, name string) string {
	var out []string
	for i := range h.Fields {
		if f := &h.Fields[i]; !f.Dead && strings.EqualFold(string(h.NameOf(f)), name) {
			out = append(out, string(h.Bytes(f.Value)))
		}
	}
	if out == nil {
		return "-"
	}
	return strings.Join(out, "|")
}

// manager is a connection manager with Envoy's defaults, changed by set.
func manager(set func(c *conf.HTTPConnectionManager)) *conf.HTTPConnectionManager {
	c := conf.NewHTTPConnectionManager("test")
	set(c)
	return c
}

// policy compiles manager(set); loopback peers are written as 192.0.2.254.
func policy(set func(c *conf.HTTPConnectionManager)) *Policy {
	p := Compile(manager(set), conf.Node{})
	p.own = netip.MustParseAddr("192.0.2.254")
	return p
}

func defaults(*conf.HTTPConnectionManager) {}

func useRemote(c *conf.HTTPConnectionManager) { c.UseRemoteAddress = true }

// tens makes 10/8 and fd00::/8 internal.
func tens(c *conf.HTTPConnectionManager) {
	c.InternalAddresses = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
}

func facts(peer string) *Facts {
	return &Facts{Peer: netip.MustParseAddr(peer), Local: netip.MustParseAddrPort("198.51.100.7:8080"), Random: NewRandom(), InternalOnly: match.NewNames([]string{"x-secret"})}
}
