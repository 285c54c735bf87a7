package e2e

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// RT-103: x-forwarded-client-cert in every mode, by what the client showed and which protocol it speaks.
func TestTLSForwardedClientCertificateInEveryMode(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	const theirs = "By=them"
	own := `Hash=[0-9a-f]{64};Subject="CN=client\.test";URI=;DNS=client\.test`
	for _, row := range []struct{ mode, mutual, other string }{
		{"SANITIZE", "-", "-"},
		{"FORWARD_ONLY", theirs, "-"},
		{"APPEND_FORWARD", theirs + "," + own, "-"},
		{"SANITIZE_SET", own, "-"},
		{"ALWAYS_FORWARD_ONLY", theirs, theirs},
	} {
		for _, shown := range []string{"certificate", "none", "plain"} {
			t.Run(row.mode+" "+shown, func(t *testing.T) {
				o := harness.NewRecorder(t, nil)
				top := harness.Topology{
					Clusters: to(o), Manager: "forward_client_cert_details: " + row.mode + "\nset_current_client_cert_details: { subject: true, dns: true, uri: true }",
				}
				var p *harness.Proxy
				scheme, want := "https", row.other
				if shown == "plain" {
					p, scheme = harness.Start(t, top), "http"
				} else {
					p = harness.StartSecured(t, top, secured(t, a, "a.test", "alpn_protocols: [h2, http/1.1], "+a.Trust()))
				}
				config := a.Client("a.test")
				if shown == "certificate" {
					config.Certificates = append(config.Certificates, a.Certificate(t, "client.test"))
					want = row.mutual
				}
				for _, h2 := range []bool{false, true} {
					client := p.HTTPS(config.Clone())
					tr := client.Transport.(*http.Transport)
					tr.Protocols = new(http.Protocols)
					tr.Protocols.SetHTTP1(!h2)
					tr.Protocols.SetHTTP2(h2)
					tr.Protocols.SetUnencryptedHTTP2(h2 && scheme == "http")
					r, err := http.NewRequest("GET", scheme+"://a.test/", nil)
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("X-Forwarded-Client-Cert", theirs)
					resp, err := client.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					client.CloseIdleConnections()
					got := o.Last(t).Get("x-forwarded-client-cert")
					if !regexp.MustCompile(`\A` + want + `\z`).MatchString(got) {
						t.Errorf("HTTP/2 %v: %s, want %s", h2, got, want)
					}
					if want := fmt.Sprintf("HTTP/%d", 1+map[bool]int{true: 1}[h2]); resp.Proto[:6] != want {
						t.Errorf("%s, want %s", resp.Proto, want)
					}
				}
			})
		}
	}
}
