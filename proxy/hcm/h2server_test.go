package hcm

import (
	"reflect"
	"testing"

	"github.com/sluiceproxy/sluice/codec/http2"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// Every field of the configuration reaches the codec, and no option of the codec is left at zero.
func TestHTTP2OptionsAreCompiled(t *testing.T) {
	m := conf.NewHTTPConnectionManager("in")
	compile := func() http2.Options {
		c := &Config{conf: m, stats: stats.NewHTTPStats(stats.NewRegistry(), "in")}
		c.parse.MaxHeadBytes, c.parse.MaxFields = 60<<10, 100
		c.compileHTTP2(stats.NewRegistry())
		return c.h2
	}
	defaults := http2.DefaultOptions()
	defaults.MaxRequestsPerFeed = requestsPerFeed
	if got := compile(); got != defaults {
		t.Errorf("Envoy's defaults become %+v, want %+v", got, defaults)
	}
	v := reflect.ValueOf(&m.HTTP2).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Name == "KeepAlive" {
			continue // the connection's own
		}
		before := compile()
		switch f := v.Field(i); f.Kind() {
		case reflect.Bool:
			f.SetBool(true)
		default:
			f.SetUint(f.Uint() + 1)
		}
		if compile() == before {
			t.Errorf("%s has no effect", v.Type().Field(i).Name)
		}
	}
}

func TestEveryCounterOfTheCodecIsCounted(t *testing.T) {
	c := &Config{conf: conf.NewHTTPConnectionManager("in"), stats: stats.NewHTTPStats(stats.NewRegistry(), "in")}
	c.compileHTTP2(stats.NewRegistry())
	for n := http2.NoCounter + 1; n < http2.NumCounters; n++ {
		if c.http2Counters[n] == 0 && n != http2.RxResetNoError {
			t.Errorf("%s is not counted", n)
		}
	}
}

func TestResetClearsEveryFieldOfAServerStream(t *testing.T) {
	// The head keeps storage and is tested where it lives; the timer is not armed.
	keep := map[string]bool{"trail": true, "timer": true}
	x := &serverStream{}
	v := reflect.ValueOf(x).Elem()
	for i := range v.NumField() {
		if !keep[v.Type().Field(i).Name] {
			fill(t, v.Field(i))
		}
	}
	x.trail.AddString(0, "x-sum", "1")
	x.reset()
	for i := range v.NumField() {
		name, f := v.Type().Field(i).Name, v.Field(i)
		if f = reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem(); !keep[name] && !f.IsZero() {
			t.Errorf("%s is %+v after reset", name, f)
		}
	}
	if x.trail.Count() != 0 {
		t.Error("trailers are left over")
	}
}

func TestFreeListsOfHTTP2AreBounded(t *testing.T) {
	a := &Acceptor{}
	x := &serverStream{}
	a.h2.putStream(x)
	if a.h2.stream() != x {
		t.Error("a stream that was put back is not used again")
	}
	for range maxKeptServerStreams + 10 {
		a.h2.putStream(&serverStream{})
	}
	h := &h2Conn{requests: 5, going: leaving}
	a.putHTTP2(h)
	if a.h2.conns != h || h.requests != 0 || h.going != staying || !h.closing {
		t.Errorf("a connection comes back as %+v", h)
	}
	for range maxKeptH2Conns + 10 {
		a.putHTTP2(&h2Conn{})
	}
	if a.h2.numFree != maxKeptServerStreams || a.h2.kept != maxKeptH2Conns {
		t.Errorf("%d streams and %d connections are kept", a.h2.numFree, a.h2.kept)
	}
}

// A batch that was asked for comes although its connection is gone meanwhile.
func TestABatchFindsNoConnection(t *testing.T) {
	h := &h2Conn{scheduled: true}
	(&Acceptor{}).putHTTP2(h)
	if !h.scheduled {
		t.Fatal("the next connection would ask for a second batch")
	}
	(*h2Batch)(h).Run()
	if h.scheduled {
		t.Error("no batch can be asked for any more")
	}
}

func TestResetCodes(t *testing.T) {
	for _, row := range []struct {
		why  reason.Reason
		want http2.ErrCode
	}{
		{reason.StreamIdle, http2.Cancel},
		{reason.MaxStreamDuration, http2.Cancel},
		{reason.Stopped, http2.Cancel},
		{reason.DownstreamProtocol, http2.ProtocolError},
		{reason.ResetAfterStart, http2.InternalError},
		{reason.UpstreamProtocol, http2.InternalError},
	} {
		if got := resetCode(row.why); got != row.want {
			t.Errorf("%s: %v, want %v", row.why.Entry().Name, got, row.want)
		}
	}
}
