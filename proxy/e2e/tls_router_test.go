package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// askBy sends a GET of /x?y=1 to shop.test:8443 by a protocol, with TLS or in the clear.
func askBy(t *testing.T, p *harness.Proxy, a *harness.Authority, secure, h2 bool, proto string) *http.Response {
	t.Helper()
	config := a.Client("a.test")
	client := p.HTTPS(config)
	tr := client.Transport.(*http.Transport)
	tr.Protocols = new(http.Protocols)
	scheme := "http"
	switch {
	case secure && h2:
		tr.Protocols.SetHTTP2(true)
	case h2:
		tr.Protocols.SetUnencryptedHTTP2(true)
	default:
		tr.Protocols.SetHTTP1(true)
	}
	if secure {
		scheme = "https"
	}
	r, err := http.NewRequest("GET", scheme+"://shop.test:8443/x?y=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if proto != "" {
		r.Header.Set("X-Forwarded-Proto", proto)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if want := 1 + map[bool]int{true: 1}[h2]; resp.ProtoMajor != want {
		t.Fatalf("%s", resp.Proto)
	}
	client.CloseIdleConnections()
	return resp
}

// startEither is a proxy of the topology with TLS, or without.
func startEither(t *testing.T, a *harness.Authority, top harness.Topology, secure bool) *harness.Proxy {
	t.Helper()
	if secure {
		return harness.StartSecured(t, top, secured(t, a, "a.test", "alpn_protocols: [h2, http/1.1]"))
	}
	return harness.Start(t, top)
}

const (
	atTheEdge    = "use_remote_address: true"
	behindOne    = "use_remote_address: true\nxff_num_trusted_hops: 1"
	inside       = "use_remote_address: false"
	internalLoop = "use_remote_address: true\ninternal_address_config: { cidr_ranges: [{ address_prefix: 127.0.0.0, prefix_len: 8 }] }"
)

// RT-96, RT-98: what the origin and the log are told of the scheme, by how the client came, what it says,
// and whether it is believed.
func TestTLSSchemeAndForwardedProto(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, manager := range []struct{ title, fields string }{{"at the edge", atTheEdge}, {"behind a proxy", behindOne}, {"inside", inside}, {"overwritten", inside + "\nscheme_header_transformation: { scheme_to_overwrite: https }"}} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprint(manager.title, ", TLS ", secure), func(t *testing.T) {
				o := harness.NewRecorder(t, nil)
				p := startEither(t, a, harness.Topology{Clusters: to(o), Manager: manager.fields, LogFormat: "%REQ(X-FORWARDED-PROTO)% %REQ(:SCHEME)%"}, secure)
				own, lines := "http", 0
				if secure {
					own = "https"
				}
				for _, h2 := range []bool{false, true} {
					for _, said := range []string{"", "http", "https"} {
						askBy(t, p, a, secure, h2, said)
						proto := own
						if said != "" && manager.fields != atTheEdge {
							proto = said
						}
						// HTTP/2 has a scheme of its own; HTTP/1's is the forwarded one.
						scheme := proto
						if h2 {
							scheme = own
						}
						if manager.title == "overwritten" {
							proto, scheme = "https", "https"
						}
						if got := o.Last(t).Get("x-forwarded-proto"); got != proto {
							t.Errorf("HTTP/2 %v, said %q: the origin got %q, want %q", h2, said, got, proto)
						}
						lines++
						if got := p.AwaitLines(lines)[lines-1]; got != proto+" "+scheme {
							t.Errorf("HTTP/2 %v, said %q: the log has %q, want %q", h2, said, got, proto+" "+scheme)
						}
					}
				}
			})
		}
	}
}

// RT-30, RT-31: a virtual host that requires TLS sends away, with host, port and query, who did not come
// by it, as far as the forwarded proto says; EXTERNAL_ONLY not those from inside.
func TestTLSRequiredByVirtualHosts(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, row := range []struct {
		manager, require string
		secure           bool
		said             string
		redirected       bool
	}{
		{atTheEdge, "ALL", false, "", true},
		{atTheEdge, "ALL", false, "https", true}, // not believed
		{atTheEdge, "ALL", true, "", false},
		{atTheEdge, "ALL", true, "http", false}, // not believed
		{behindOne, "ALL", false, "https", false},
		{behindOne, "ALL", true, "http", true},
		{inside, "ALL", false, "", true},
		{inside, "ALL", false, "https", false},
		{inside, "ALL", true, "http", true},
		{inside, "ALL", true, "", false},
		{atTheEdge, "EXTERNAL_ONLY", false, "", true},
		{atTheEdge, "EXTERNAL_ONLY", true, "", false},
		{internalLoop, "EXTERNAL_ONLY", false, "", false},
		{internalLoop, "ALL", false, "", true},
		{atTheEdge, "NONE", false, "", false},
	} {
		t.Run(fmt.Sprintf("%s, %s, TLS %v, says %q", row.manager, row.require, row.secure, row.said), func(t *testing.T) {
			p := startEither(t, a, harness.Topology{Clusters: to(harness.NewRecorder(t, nil)), Manager: row.manager, VirtualHost: "require_tls: " + row.require}, row.secure)
			for _, h2 := range []bool{false, true} {
				r := askBy(t, p, a, row.secure, h2, row.said)
				status, location := 200, ""
				if row.redirected {
					status, location = 301, "https://shop.test:8443/x?y=1"
				}
				if r.StatusCode != status || r.Header.Get("Location") != location {
					t.Errorf("HTTP/2 %v: %d %q, want %d %q", h2, r.StatusCode, r.Header.Get("Location"), status, location)
				}
			}
			redirects := map[bool]int64{true: 2}[row.redirected]
			p.WantStats(harness.Stats{inHTTP + "rq_redirect": redirects, inHTTP + "rq_direct_response": redirects, onOrigin + "upstream_rq_total": 2 - redirects})
		})
	}
}
