package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// answerLines answers the lines of the test protocol over TLS, until the client ends.
func answerLines(c *tls.Conn) {
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		words := strings.Fields(line)
		if _, err := fmt.Fprintf(c, "%s 200 %s\n", words[0], strings.Join(words[1:], " ")); err != nil {
			return
		}
	}
}

// Requests come and go over TLS on either side and on both, many in flight at a time, with connections of the
// pool and with a bound one.
func TestGenericOverTLS(t *testing.T) {
	a := harness.NewAuthority(t)
	for _, bind := range []bool{false, true} {
		for _, side := range []struct{ down, up bool }{{true, false}, {false, true}, {true, true}} {
			t.Run(fmt.Sprintf("bound %v, downstream %v, upstream %v", bind, side.down, side.up), func(t *testing.T) {
				harness.NoLeaks(t)
				top := harness.GenericTopology{}
				if side.down {
					top.Chain = secured(t, a, "in.test", "")
				}
				var o harness.Origin = harness.NewRaw(t, answering)
				if side.up {
					o = harness.NewTLSServer(t, serverConfig(t, a, "origin.test"), answerLines)
					top.Clusters = overTLS(o, harness.ClientSocket(a.Trust("match_typed_subject_alt_names: [{ san_type: DNS, matcher: { exact: origin.test } }]"), "sni: origin.test"))
				}
				p := startLines(t, "ids", bind, top, o)
				var c io.ReadWriter
				if side.down {
					c = p.DialTLS(a.Client("in.test"))
				} else {
					c = p.Dial().Conn
				}
				const rounds, flight = 20, 50
				text := strings.Repeat("x", 1000)
				in := bufio.NewReader(c)
				for round := range rounds {
					var b strings.Builder
					for i := range flight {
						fmt.Fprintf(&b, "%d get %s\n", round*flight+i, text)
					}
					if _, err := io.WriteString(c, b.String()); err != nil {
						t.Fatal(err)
					}
					got := map[string]bool{}
					for range flight {
						line, err := in.ReadString('\n')
						if err != nil {
							t.Fatal(err)
						}
						id, rest, _ := strings.Cut(line, " ")
						got[id] = rest == "200 get "+text+"\n"
					}
					for i := range flight {
						if id := fmt.Sprint(round*flight + i); !got[id] {
							t.Fatalf("request %s was not answered, or with something else", id)
						}
					}
				}
				p.WantStats(harness.Stats{inGeneric + "downstream_rq_total": rounds * flight, onOrigin + "upstream_rq_total": rounds * flight})
			})
		}
	}
}

// What goes wrong with the upstream's certificate is said in the access log of the request.
func TestGenericUpstreamCertificateIsRefused(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	o := harness.NewTLSServer(t, serverConfig(t, a, "other.test"), answerLines)
	for _, bind := range []bool{false, true} {
		p := startLines(t, "ids", bind, harness.GenericTopology{
			Clusters:  overTLS(o, harness.ClientSocket(a.Trust("match_typed_subject_alt_names: [{ san_type: DNS, matcher: { exact: origin.test } }]"), "sni: origin.test")),
			LogFormat: "%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%",
		})
		p.Dial().Send("1 get a\n").WantText("1 501 get connection_failure\n").Close()
		p.WantLines("UF TLS_error:CERTIFICATE_VERIFY_FAILED:SAN_matcher")
		p.WantStats(harness.Stats{onOrigin + "ssl.fail_verify_san": 1, onOrigin + "upstream_cx_connect_fail": 1})
	}
}
