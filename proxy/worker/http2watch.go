package worker

import (
	"time"

	"github.com/sluiceproxy/sluice/codec/http2"
	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// settingsTimeout is how long a server may take to acknowledge our SETTINGS (HC-70).
const settingsTimeout = 10 * time.Second

// HTTP2Watched is an upstream HTTP/2 connection as its watch sees it.
type HTTP2Watched interface {
	// Stopped says that the connection is being closed.
	Stopped() bool
	// Wrote says that there is something in the codec's output.
	Wrote()
	// Abandon ends every stream and the connection.
	Abandon()
}

// HTTP2Watch finds an upstream HTTP/2 connection dead: by the PINGs of connection_keepalive, and by the
// acknowledgement of our settings (HC-70). Embedded in its connection. Loop-owned.
type HTTP2Watch struct {
	owner HTTP2Watched
	h2    *http2.Conn
	up    *Upstream
	keep  *conf.HTTP2KeepAlive

	readNs   int64 // when the peer was last heard
	pings    uint64
	timer    wheel.Timer
	settings int64 // when the peer must have acknowledged our settings; 0: it has
	ping     int64 // when the next PING is due; 0: none is
	pong     int64 // when the answer to the last one is; 0: it has come
}

// Start begins with a connection whose SETTINGS are on their way.
func (x *HTTP2Watch) Start(owner HTTP2Watched, h2 *http2.Conn, up *Upstream) {
	x.owner, x.h2, x.up, x.keep = owner, h2, up, &up.C.Conf.HTTP2.KeepAlive
	x.timer.Handler = x
	x.readNs = up.w.Loop.Now()
	x.settings = x.readNs + int64(settingsTimeout)
	x.plan()
	x.arm()
}

// Stop ends it, when the connection is closed.
func (x *HTTP2Watch) Stop() { x.up.w.Loop.Disarm(&x.timer) }

// Heard notes that the peer was heard now, for the codec as well.
func (x *HTTP2Watch) Heard() {
	x.readNs = x.up.w.Loop.Now()
	x.h2.NowNs = x.readNs
}

// plan sets when the next PING is due: interval and a random part of interval_jitter from now.
func (x *HTTP2Watch) plan() {
	if x.keep.Interval <= 0 {
		return
	}
	x.ping = x.up.w.Loop.Now() + int64(x.keep.Interval)
	if jitter := int64(float64(x.keep.Interval) * x.keep.JitterPercent / 100); jitter > 0 {
		x.ping += x.up.w.Random.Int64N(jitter)
	}
}

// BeforeStream sends a PING ahead of a stream that follows a silence of connection_idle_interval.
func (x *HTTP2Watch) BeforeStream() {
	if d := x.keep.IdleInterval; d > 0 && x.pong == 0 && x.up.w.Loop.Now()-x.readNs >= int64(d) {
		x.send()
		x.arm()
	}
}

func (x *HTTP2Watch) send() {
	x.pings++
	x.h2.Ping(x.pings)
	x.ping, x.pong = 0, x.up.w.Loop.Now()+int64(x.keep.Timeout)
	x.owner.Wrote()
}

// Answered ends the wait for a PING's answer.
func (x *HTTP2Watch) Answered(payload uint64) {
	if payload == x.pings && x.pong != 0 {
		x.pong = 0
		x.plan()
		x.arm()
	}
}

// arm sets the timer for the earliest deadline, unless it is already due at or before that.
func (x *HTTP2Watch) arm() {
	deadlines := [...]int64{x.settings, x.ping, x.pong}
	x.up.w.Loop.ArmFirst(&x.timer, deadlines[:])
}

// OnTimer is the wheel's callback.
func (x *HTTP2Watch) OnTimer(*wheel.Timer) {
	if x.owner.Stopped() {
		return
	}
	now, sh := x.up.w.Loop.Now(), x.up.w.Stats
	if x.settings != 0 && x.h2.SettingsAcked() && x.h2.PeerReady() {
		x.settings = 0
	}
	switch {
	case x.settings != 0 && x.settings <= now:
		sh.Inc(x.up.C.Stats.UpstreamCxProtocolError)
		x.h2.GoAway(http2.SettingsTimeout)
		x.owner.Abandon()
		return
	case x.pong != 0 && x.pong <= now:
		sh.Inc(x.up.HTTP2Stats().KeepaliveTimeout)
		x.owner.Abandon()
		return
	case x.ping != 0 && x.ping <= now:
		x.send()
	}
	x.arm()
}
