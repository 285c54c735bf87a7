package e2e

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
	"github.com/sluiceproxy/sluice/proxy/filter"
)

// midway is a filter that reads the payload of a tunnel: it stops each side once in the middle of it, and
// turns the case of what the client sends.
type midway struct {
	filter.PassThrough
	filter.Timer
	s       filter.Stream
	seen    [2]int
	stopped [2]bool
	total   *[2]atomic.Int64
}

const stopsAfter = 100_000

func (f *midway) stops(side filter.Side, p []byte) bool {
	f.seen[side] += len(p)
	f.total[side].Add(int64(len(p)))
	if f.stopped[side] || f.seen[side] < stopsAfter {
		return false
	}
	f.stopped[side] = true
	return true
}

func (f *midway) RequestData(s filter.Stream, p []byte, end bool) filter.Status {
	stop := f.stops(filter.Request, p)
	turned := make([]byte, len(p))
	for i := range p {
		turned[i] = p[i] ^ 0x20
	}
	s.Send(filter.Request, turned, end)
	if stop {
		s.Hold(filter.Request, true)
		f.wait(s)
	}
	return filter.Consume
}

func (f *midway) ResponseData(s filter.Stream, p []byte, _ bool) filter.Status {
	if !f.stops(filter.Response, p) {
		return filter.Continue
	}
	f.wait(s)
	return filter.Pause
}

func (f *midway) wait(s filter.Stream) {
	if !f.Armed() {
		f.s, f.Handler = s, f
		s.After(&f.Timer, 5*time.Millisecond)
	}
}

// OnTimer lets both sides go on.
func (f *midway) OnTimer(*filter.Timer) {
	if f.stopped[filter.Request] {
		f.s.Hold(filter.Request, false)
	}
	f.s.Continue(filter.Response)
}

// Done forgets the stream.
func (f *midway) Done(s filter.Stream) {
	s.Stop(&f.Timer)
	f.s = nil
}

// UP-6, UP-40, UP-46: a filter that reads the payload is in the middle of the tunnel, which the engine's relay
// then does not carry: each way, whatever is on both sides, with its own pauses; ends pass as well.
func TestUP6FiltersReadTheTunnel(t *testing.T) {
	for _, row := range []struct {
		name             string
		passedOn, h2, up bool
	}{
		{"ends here, HTTP1", false, false, false},
		{"ends here, HTTP2", false, true, false},
		{"passed on, HTTP1 to HTTP1", true, false, false},
		{"passed on, HTTP1 to HTTP2", true, false, true},
		{"passed on, HTTP2 to HTTP1", true, true, false},
		{"passed on, HTTP2 to HTTP2", true, true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			harness.NoLeaks(t)
			var o harness.Origin = tunnelEcho(t)
			top := one(o)
			top.Manager, top.Routes = h2Connect, connectRoute
			if row.passedOn {
				top = one(asOrigin{terminator(innerHop{t}, o, connectRoute)})
				top.Manager, top.Routes = h2Connect+connectOn, "- match: { connect_matcher: {} }\n  route: { cluster: origin, timeout: 0s }"
				if row.up {
					top.Clusters[0].Fields = h2Cluster
				}
			}
			top.NotSettled = true
			var total [2]atomic.Int64
			spec := filter.Spec{Sees: filter.Everything, New: func() filter.Filter { return &midway{total: &total} }}
			inner := serveFilters(innerHop{t}, top, nil, goFilter{name: "midway", spec: spec})
			first := encapsulator(t, asOrigin{inner}, row.h2, "hostname: host.example:443")
			up := tunnelBytes(1 << 20)
			down := make([]byte, len(up))
			for i := range up {
				down[i] = up[i] ^ 0x20
			}
			c := dialTCP(t, first.Addr)
			done := sent(c, up)
			wantSame(t, "echo", c, down)
			if err := <-done; err != nil {
				t.Error(err)
			}
			_ = c.Close()
			if up, down := total[0].Load(), total[1].Load(); up != 1<<20 || down != 1<<20 {
				t.Errorf("the filter saw %d and %d bytes", up, down)
			}
			harness.Eventually(t, "the tunnel to be over", func() bool { return inner.Stat("http.in.downstream_cx_upgrades_active") == 0 })
		})
	}
}

// A filter that answers in the middle of a tunnel breaks it off, for both sides.
func TestUP6FilterBreaksTheTunnelOff(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprint("HTTP2 ", h2), func(t *testing.T) {
			ended := make(chan struct{}, 1)
			o := harness.NewRaw(t, func(p *harness.Peer) {
				p.Echo()
				ended <- struct{}{}
			})
			f := &scripted{requestData: func(s filter.Stream, p []byte, _ bool) filter.Status {
				if string(p) == "forbidden" {
					s.Reply(filter.Reply{Status: 403, Details: "forbidden_payload"})
					return filter.Pause
				}
				return filter.Continue
			}}
			top := one(o)
			top.Manager, top.Routes = h2Connect, connectRoute
			top.LogFormat = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED%"
			inner := serveFilters(t, top, nil, goFilter{name: "censor", spec: f.spec()})
			if h2 {
				w := dialH2(t, inner)
				w.connect(1, "h:1")
				w.want("head 1 200")
				w.must(w.WriteData(1, false, []byte("allowed")))
				w.want(`data 1 "allowed"`)
				w.must(w.WriteData(1, false, []byte("forbidden")))
				if got := w.next(); got[:min(7, len(got))] != "reset 1" {
					t.Error(got)
				}
				_ = w.Conn.Close()
			} else {
				w := harness.DialWire(t, "tcp", inner.Addr)
				w.Send(askConnect)
				w.ReadHead()
				wantEcho(t, w.Conn, w.In, "allowed")
				w.Send("forbidden")
				w.WantClosed()
			}
			<-ended
			inner.WantLines("200 forbidden_payload 16")
		})
	}
}
