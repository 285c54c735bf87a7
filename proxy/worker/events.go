package worker

import (
	"bytes"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// poolEvents counts what a host's connections do, in the cluster's series and the host's own.
type poolEvents Endpoint

var _ pool.Events = (*poolEvents)(nil)

func (e *poolEvents) series() (*stats.Shard, *stats.ClusterStats) { return e.up.w.Stats, e.up.C.Stats }

func (e *poolEvents) OnCreated() {
	s, c := e.series()
	s.Inc(c.UpstreamCxTotal)
	e.up.C.Use()
	s.GaugeAdd(c.UpstreamCxActive, 1)
	e.Load.CxTotal++
	e.Load.CxActive++
}

// http1Events and http2Events are those of connections whose protocol is known from the beginning;
// endpointCodec counts the others.
type (
	http1Events struct{ *poolEvents }
	http2Events struct{ *poolEvents }
)

// OnCreated is poolEvents', with http1_total.
func (e http1Events) OnCreated() {
	e.poolEvents.OnCreated()
	s, c := e.series()
	s.Inc(c.UpstreamCxHTTP1Total)
}

// OnCreated is poolEvents', with http2_total.
func (e http2Events) OnCreated() {
	e.poolEvents.OnCreated()
	s, c := e.series()
	s.Inc(c.UpstreamCxHTTP2Total)
}

// tcpEvents are those of TCP sessions.
type tcpEvents struct{ *poolEvents }

func (e *poolEvents) OnConnected(took time.Duration) {
	s, c := e.series()
	s.Record(c.UpstreamCxConnectMs, uint64(took/time.Millisecond))
}

func (e *poolEvents) OnConnectFailed(why engine.CloseReason) {
	s, c := e.series()
	s.Inc(c.UpstreamCxConnectFail)
	switch why {
	case engine.ConnectTimeout:
		s.Inc(c.UpstreamCxConnectTimeout)
	case engine.BindFailed:
		s.Inc(c.BindErrors)
	}
	e.Load.CxConnectFail++
}

func (e *poolEvents) OnDestroyed(d pool.Destroyed) {
	e.destroyed(d)
	if d.Connected {
		s, c := e.series()
		s.Record(c.UpstreamRqPerCx, uint64(d.Requests))
	}
}

// OnDestroyed is poolEvents', without requests per connection.
func (e tcpEvents) OnDestroyed(d pool.Destroyed) { e.destroyed(d) }

func (e *poolEvents) destroyed(d pool.Destroyed) {
	s, c := e.series()
	s.GaugeAdd(c.UpstreamCxActive, -1)
	e.Load.CxActive--
	s.Inc(c.UpstreamCxDestroy)
	which, active := c.UpstreamCxDestroyLocal, c.UpstreamCxDestroyLocalWithActiveRq
	if d.Remote {
		which, active = c.UpstreamCxDestroyRemote, c.UpstreamCxDestroyRemoteWithActiveRq
	}
	s.Inc(which)
	if d.ActiveRequest {
		s.Inc(c.UpstreamCxDestroyWithActiveRq)
		s.Inc(active)
	}
	if d.Connected {
		s.Record(c.UpstreamCxLengthMs, uint64(d.Length/time.Millisecond))
	}
}

func (e *poolEvents) OnIdleTimeout() {
	s, c := e.series()
	s.Inc(c.UpstreamCxIdleTimeout)
}

func (e *poolEvents) OnMaxDuration() {
	s, c := e.series()
	s.Inc(c.UpstreamCxMaxDurationReached)
}

func (e *poolEvents) OnMaxRequests() {
	s, c := e.series()
	s.Inc(c.UpstreamCxMaxRequests)
}

// OnUnsolicited: a 408 is how origins end an idle connection, anything else is a protocol error
// (HC-48).
func (e *poolEvents) OnUnsolicited(view []byte) {
	s, c := e.series()
	if bytes.HasPrefix(view, []byte("HTTP/1.1 408")) || bytes.HasPrefix(view, []byte("HTTP/1.0 408")) {
		s.Inc(c.UpstreamCxCloseNotify)
		return
	}
	s.Inc(c.UpstreamCxProtocolError)
}

func (e *poolEvents) OnPending() {
	s, c := e.series()
	s.Inc(c.UpstreamRqPendingTotal)
	s.GaugeAdd(c.UpstreamRqPendingActive, 1)
}

func (e *poolEvents) OnPendingDone() {
	s, c := e.series()
	s.GaugeAdd(c.UpstreamRqPendingActive, -1)
}

func (e *poolEvents) OnPendingOverflow() {
	s, c := e.series()
	s.Inc(c.UpstreamRqPendingOverflow)
}

func (e *poolEvents) OnConnectionOverflow() {
	s, c := e.series()
	s.Inc(c.UpstreamCxOverflow)
}
