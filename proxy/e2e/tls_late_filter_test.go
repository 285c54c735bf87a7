package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
	"github.com/sluiceproxy/sluice/proxy/network"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// byName lets clients in whose certificate has a name, and counts who came and went.
type byName struct {
	name       string
	delay      time.Duration
	asks       bool
	seen, gone atomic.Int64
}

func (f *byName) JudgesPeer() bool { return f.asks }

func (f *byName) OnNewConnection(c *network.Connection) network.Verdict {
	if f.seen.Add(1); !f.asks {
		return network.Verdict{}
	}
	p := c.Facts.Peer()
	if p == nil || !p.Presented() || p.Remote().Subject != "CN="+f.name {
		return network.Verdict{Close: true, Delay: f.delay, Details: "not_" + f.name}
	}
	c.Extra().State.Set("who", []byte(f.name), false)
	return network.Verdict{}
}

func (f *byName) OnConnectionClosed(*streaminfo.Connection) { f.gone.Add(1) }

// late is a topology whose chain has TLS with client certificates, and filters before, that judge and
// behind.
func late(t *testing.T, a *harness.Authority, o harness.Origin, http bool, delay time.Duration) (top harness.TCPTopology, filters []*byName) {
	t.Helper()
	filters = []*byName{{}, {name: "good.test", asks: true, delay: delay}, {}}
	top = harness.TCPTopology{
		Clusters: to(o), NetworkFilters: make(map[string]network.Factory), ListenerLog: true,
		LogFormat: "%RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS% %DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
		Chains:    []harness.Chain{{HTTP: http, Match: harness.With("", "transport_socket_connect_timeout: 0.5s", secured(t, a, "a.test", a.Trust()))}},
	}
	for i, f := range filters {
		name := fmt.Sprintf("acme.%d", i)
		top.NetworkFilters[name] = func(string) (network.Filter, error) { return f, nil }
		top.Chains[0].Filters += "- name: " + name + "\n"
	}
	return top, filters
}

// Filters that judge the client's certificate see the connection when its handshake is done, those before
// them when it comes, and the terminal filter begins only after all.
func TestTLSFiltersThatJudgeThePeer(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, http := range []bool{false, true} {
		for _, row := range []struct {
			client string
			delay  time.Duration
			good   bool
		}{{"good.test", 0, true}, {"bad.test", 0, false}, {"bad.test", 50 * time.Millisecond, false}, {"", 0, false}} {
			t.Run(fmt.Sprint("http ", http, " ", row.client, " ", row.delay), func(t *testing.T) {
				var o harness.Origin = harness.NewRaw(t, (*harness.Peer).Echo)
				prefix := inTCP
				if http {
					o, prefix = harness.NewRecorder(t, nil), inHTTP
				}
				top, filters := late(t, a, o, http, row.delay)
				p := harness.StartTCP(t, top)
				config := a.Client("a.test")
				if row.client != "" {
					config.Certificates = append(config.Certificates, a.Certificate(t, row.client))
				}
				c := p.DialTLS(config)
				served, want := int64(0), int64(1)
				switch {
				case row.good && http:
					if m := c.Do(get); m.Status() != 200 {
						t.Error(m.Start)
					}
					served, want = 1, 3
				case row.good:
					c.Send("hello").WantText("hello")
					served, want = 1, 3
				default:
					c.WantEnd()
					want = 2
				}
				c.Close()
				p.WantStats(harness.Stats{
					prefix + "downstream_cx_total": served, inListener + "downstream_cx_total": 1, inListener + "downstream_cx_destroy": 1, inListener + "downstream_cx_active": 0,
					inListener + "downstream_pre_cx_active": 0, inSSL + "handshake": 1, inSSL + "connection_error": 0, onOrigin + "upstream_cx_total": served,
				})
				seen, gone := int64(0), int64(0)
				for _, f := range filters {
					seen, gone = seen+f.seen.Load(), gone+f.gone.Load()
				}
				if wantGone := want - 1 + served; seen != want || gone != wantGone {
					t.Errorf("%d filters saw the connection, %d heard of its end; want %d, %d", seen, gone, want, wantGone)
				}
				if !row.good {
					subject := "-"
					if row.client != "" {
						subject = "CN=" + row.client
					}
					p.WantLines("listener - not_good.test " + subject + " -")
				}
			})
		}
	}
}

// What goes wrong before the filters are asked is theirs to hear of, too.
func TestTLSFiltersThatJudgeThePeerAndHandshakesThatFail(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, row := range []struct {
		title, sent, log string
		finish           bool
		errors, timeouts int64
	}{
		{"plain text", "GET / HTTP/1.1\r\n\r\n", "TLS_error:WRONG_VERSION_NUMBER", false, 1, 0},
		{"silence", "", "-", false, 0, 1},
		{"a FIN", "", "TLS_error:UNEXPECTED_EOF", true, 0, 0},
	} {
		t.Run(row.title, func(t *testing.T) {
			top, filters := late(t, a, harness.NewRaw(t, (*harness.Peer).Echo), false, 0)
			p := harness.StartTCP(t, top)
			c := p.Dial().Send(row.sent)
			if row.finish {
				c.Finish()
			}
			_, _ = c.Rest()
			c.Close()
			p.WantStats(harness.Stats{
				inSSL + "connection_error": row.errors, inListener + "downstream_cx_transport_socket_connect_timeout": row.timeouts, inSSL + "handshake": 0,
				inListener + "downstream_cx_active": 0, inListener + "downstream_cx_destroy": 1, inTCP + "downstream_cx_total": 0,
			})
			if filters[0].gone.Load() != 1 || filters[1].seen.Load() != 0 {
				t.Errorf("the first heard of %d ends, the second saw %d connections", filters[0].gone.Load(), filters[1].seen.Load())
			}
			p.WantLines("listener - - - " + row.log)
		})
	}
}

// A handshake that outlives its filter chain ends with it; one whose chain stays is served.
func TestTLSFiltersThatJudgeThePeerWhileTheListenerChanges(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, stays := range []bool{true, false} {
		t.Run(fmt.Sprint("stays ", stays), func(t *testing.T) {
			top, _ := late(t, a, harness.NewRaw(t, (*harness.Peer).Echo), false, 0)
			top.Chains[0].Name = "one"
			top.Chains[0].Match = strings.Replace(top.Chains[0].Match, "0.5s", "60s", 1)
			p := harness.StartTCP(t, top)
			raw := p.Dial()
			p.WantStats(harness.Stats{inListener + "downstream_cx_active": 1})
			other := top
			other.Chains = append([]harness.Chain(nil), top.Chains...)
			if stays {
				other.Chains[0].Proxy = "idle_timeout: 77s"
			} else {
				other.Chains[0].Name = "two"
			}
			p.ApplyTCP(other)
			config := a.Client("a.test")
			config.Certificates = append(config.Certificates, a.Certificate(t, "good.test"))
			c := tls.Client(raw.Conn, config)
			b := make([]byte, 5)
			_, err := io.WriteString(c, "hello")
			if err == nil {
				_, err = io.ReadFull(c, b)
			}
			if stays && string(b) != "hello" || !stays && err == nil {
				t.Errorf("%q, %v", b, err)
			}
			_ = c.Close()
			raw.Close()
		})
	}
}
