package e2e

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/bench"
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
	"github.com/sluiceproxy/sluice/proxy/filter"
)

// A filter may answer at any of its events; the reply passes the filters, and the request is over.
func TestFiltersMayReplyAtAnyEvent(t *testing.T) {
	harness.NoLeaks(t)
	var done atomic.Int64
	reply := func(s filter.Stream, on string) filter.Status {
		if v := s.Request().Find(header.Unknown, "x-on"); v >= 0 && string(s.Request().Bytes(s.Request().Fields[v].Value)) == on {
			s.Reply(filter.Reply{Status: 499, Body: []byte(on), Details: "own"})
		}
		return filter.Continue
	}
	inner := &scripted{
		requestHead:  func(s filter.Stream, _ bool) filter.Status { return reply(s, "request-head") },
		requestData:  func(s filter.Stream, _ []byte, _ bool) filter.Status { return reply(s, "request-data") },
		requestTrail: func(s filter.Stream) filter.Status { return reply(s, "request-trailers") },
		responseHead: func(s filter.Stream, _ bool) filter.Status {
			if s.Response().Status == 499 {
				return filter.Continue
			}
			return reply(s, "response-head")
		},
		responseData: func(s filter.Stream, _ []byte, _ bool) filter.Status {
			if s.Response().Status == 499 {
				return filter.Continue
			}
			return reply(s, "response-data")
		},
		done: func(filter.Stream) { done.Add(1) },
	}
	outer := &scripted{responseHead: func(s filter.Stream, _ bool) filter.Status {
		s.Response().AddString(header.Unknown, "x-outer", "seen")
		return filter.Continue
	}}
	top := one(harness.NewRecorder(t, func(*harness.Message) string { return harness.Reply("ok") }))
	top.Manager = "http_protocol_options: { enable_trailers: true }"
	p := serveFilters(t, top, nil, goFilter{name: "outer", spec: outer.spec()}, goFilter{name: "inner", spec: inner.spec()})
	for _, on := range []string{"nothing", "request-head", "request-data", "request-trailers", "response-head", "response-data"} {
		c := p.Dial().Send(request("POST", "/", "Transfer-Encoding: chunked", "X-On: "+on) + "3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n")
		r := c.Read("POST")
		switch on {
		case "nothing":
			r.Want(200, "ok")
		case "response-data": // the head has gone
			if r.Status != 200 || r.Err == nil {
				t.Errorf("%s: %v", on, r)
			}
		default:
			r.Want(499, on)
		}
		r.WantHeader("x-outer", "seen")
	}
	harness.Eventually(t, "every stream is done", func() bool { return done.Load() == 6 })
}

// Filters that answer one another's replies end the stream instead of going on for ever.
func TestFiltersThatReplyToRepliesEndTheStream(t *testing.T) {
	harness.NoLeaks(t)
	f := &scripted{responseHead: func(s filter.Stream, _ bool) filter.Status {
		s.Reply(filter.Reply{Status: 500})
		return filter.Continue
	}}
	p := serveFilters(t, one(recorder(t)), nil, goFilter{name: "a", spec: f.spec()}, goFilter{name: "b", spec: f.spec()})
	if r := p.Dial().Get("/"); r.Status != 0 {
		t.Errorf("%v", r)
	}
}

func TestResponsesThatFiltersKeepAreBounded(t *testing.T) {
	harness.NoLeaks(t)
	f := &scripted{
		responseHead: func(s filter.Stream, end bool) filter.Status { return filter.Buffer },
		responseData: func(s filter.Stream, _ []byte, end bool) filter.Status {
			if end {
				return filter.Continue
			}
			return filter.Buffer
		},
	}
	top := one(harness.NewOrigin(t, "a"))
	top.Listener = "per_connection_buffer_limit_bytes: 65536"
	p := serveFilters(t, top, nil, goFilter{name: "keep", spec: f.spec()})
	if r := p.Dial().Get("/chunked/60000"); r.Status != 200 || r.Body != string(bench.Pattern(nil, 60_000)) {
		t.Errorf("%.60v", r)
	}
	p.Dial().Get("/chunked/600000").Want(500, "Internal Server Error")
	p.WantStats(harness.Stats{"http.in.rs_too_large": 1})
	if got := p.AwaitLines(2)[1]; !strings.HasPrefix(got, "500 - response_payload_too_large") {
		t.Errorf("%q", got)
	}
}

// A filter that changes the head may have the route looked up again; its own configuration and metadata are there.
func TestFiltersRouteAgainAndLeaveMetadata(t *testing.T) {
	harness.NoLeaks(t)
	f := &scripted{requestHead: func(s filter.Stream, _ bool) filter.Status {
		if c, ok := s.RouteConfig().(string); ok {
			s.Metadata().Set("own", "config", []byte(c))
			s.Request().SetPath([]byte("/new"))
			s.ClearRoute()
		}
		return filter.Continue
	}}
	top := one(recorder(t))
	top.Routes = "- match: { prefix: /old }\n  direct_response: { status: 400 }\n- match: { prefix: /new }\n  route: { cluster: origin }"
	top.LogFormat = "%RESPONSE_CODE% %REQ(:PATH)% %DYNAMIC_METADATA(own:config)%"
	p := serveFilters(t, top, func(m *conf.HTTPConnectionManager) {
		m.Routes.VirtualHosts[0].Routes[0].Filters = conf.FilterConfigs{"own": {Config: "value"}}
	}, goFilter{name: "own", spec: f.spec()})
	p.Dial().Get("/old").Want(200, "ok")
	p.Dial().Get("/new").Want(200, "ok")
	p.WantLines("200 /new value", "200 /new -")
}

// pausing is a filter that lets each request wait for a moment, as the fault filter does.
type pausing struct {
	filter.PassThrough
	filter.Timer
	s filter.Stream
}

func (f *pausing) RequestHead(s filter.Stream, _ bool) filter.Status {
	f.s = s
	s.After(&f.Timer, time.Millisecond)
	return filter.Pause
}

func (f *pausing) OnTimer(*filter.Timer) { f.s.Continue(filter.Request) }

func (f *pausing) Done(s filter.Stream) {
	s.Stop(&f.Timer)
	f.s = nil
}

func TestPausedRequestsGoOnWhole(t *testing.T) {
	harness.NoLeaks(t)
	o := recorder(t)
	spec := filter.Spec{Sees: filter.RequestHead, New: func() filter.Filter {
		f := new(pausing)
		f.Handler = f
		return f
	}}
	p := serveFilters(t, one(o), nil, goFilter{name: "first", spec: spec}, goFilter{name: "second", spec: spec})
	body := string(bench.Pattern(nil, 300_000))
	for range 5 {
		c := p.Dial()
		c.Send(request("POST", "/", "Content-Length: 300000")+body).Read("POST").Want(200, "ok")
		c.Send(request("POST", "/", "Transfer-Encoding: chunked")+chunks(body, 9999)).Read("POST").Want(200, "ok")
		c.Get("/").Want(200, "ok")
	}
	for _, m := range o.Seen() {
		if !strings.HasPrefix(m.Start, "GET") && string(m.Body) != body {
			t.Fatalf("%d bytes arrived", len(m.Body))
		}
	}
}

// Requests that wait in a filter end with their client, their timeout and the server.
func TestPausedStreamsEndLikeOthers(t *testing.T) {
	harness.NoLeaks(t)
	f := &scripted{requestHead: func(s filter.Stream, _ bool) filter.Status { return filter.Pause }}
	p := serveFilters(t, one(recorder(t)), func(m *conf.HTTPConnectionManager) { m.StreamIdleTimeout = 300 * time.Millisecond }, goFilter{name: "stop", spec: f.spec()})
	p.Dial().Get("/").Want(504, "stream timeout")
	c := p.Dial().Send(request("POST", "/", "Content-Length: 5") + "ab")
	harness.Eventually(t, "the request is there", func() bool { return p.Stats()["http.in.downstream_rq_active"] == 1 })
	c.Close()
	harness.Eventually(t, "the request is over", func() bool { return p.Stats()["http.in.downstream_rq_active"] == 0 })
}
