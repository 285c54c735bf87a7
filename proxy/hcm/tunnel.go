package hcm

import (
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// A tunnel is a stream whose data is opaque. Between two HTTP/1 or TCP connections the engine relays it
// (tunnel_relay.go); else it passes as the stream's data, with its pauses, limits and timers.
//
//	event                            what follows
//	request                          payload waits in the codec where the answer decides what it is (UP-16, UP-41)
//	answer is a tunnel's             payload goes on; handshake timers end (UP-20); one log line
//	answer is another                a response like others; both HTTP/1 connections close (UP-14, UP-42)
//	client ends its direction        CONNECT: the origin is told, the rest goes on. Upgrade: also, and the
//	                                 origin has tunnelLinger to end it too (UP-19)
//	origin ends its direction        CONNECT passed on: the client is told, the rest goes on. Upgrade, and CONNECT
//	                                 that ends here: the client gets what is left, and the stream is over (UP-49)

// tunnel is what a stream has of its tunnel. Part of its stream.
type tunnel struct {
	kind tunnelKind
	// webSocket: the upgrade is to websocket.
	webSocket bool
	// keyed: the proxy has made the key of the handshake.
	keyed bool
	// body: the request's head declared a body.
	body bool
	// bare: a POST without framing, complete unless its route makes a tunnel of it.
	bare bool
	// counted in downstream_cx_upgrades_active.
	counted bool
	// held: payload of the client waits for the answer.
	held bool
	// up: established.
	up bool
	// ending: the client of an upgrade ended its direction.
	ending bool
	// connect makes the router end the tunnel; nil: the origin does.
	connect *conf.ConnectConfig
	// authority of a CONNECT as it came.
	authority header.Span
	// filters are the upgrade's own; ownFilters: and none but those (UP-4).
	filters    *filterChain
	ownFilters bool
	// relay moves the bytes; nil: the stream does.
	relay *relayed
}

// tunnelLinger is how long the origin of an upgrade may go on when its client has ended.
const tunnelLinger = 5 * time.Second

// holdPayload makes what follows the request wait in the codec until there is an answer.
func (st *stream) holdPayload() {
	if st.tun.kind == noTunnel || st.request == halfDone || st.cfg.conf.Router.RejectConnectEarlyData && st.tun.kind == connectTunnel {
		return
	}
	if st.tun.kind == upgradeTunnel && !st.tun.webSocket || st.requestPaused {
		return
	}
	st.tun.held, st.requestPaused = true, true
	st.w.Stats.Inc(st.cfg.stats.DownstreamFlowControlPausedReadingTotal)
	st.down.pauseRequest(st)
}

// handshakeTimer starts the route's timeout for the answer to a WebSocket request, which is never
// complete (UP-20).
func (st *stream) handshakeTimer() {
	if st.tun.webSocket && st.info.Timeout > 0 {
		st.setDeadline(deadlineResponse, st.info.Timeout)
	}
}

// early says whether data of the client comes before the answer to its CONNECT where that is an error.
func (st *stream) early(n int) bool {
	return n > 0 && st.tun.kind == connectTunnel && !st.tun.up && st.response == halfHead && st.cfg.conf.Router.RejectConnectEarlyData
}

// answersTunnel says whether a response establishes the tunnel that was asked for.
func (st *stream) answersTunnel(h *header.Head) bool {
	switch st.tun.kind {
	case upgradeTunnel:
		return h.Status == 101
	case connectTunnel:
		return h.Status/100 == 2
	case postTunnel:
		return true
	}
	return false
}

// tunnelAnswer completes the head of a response to a request for a tunnel: what came by HTTP/2 says
// nothing of the upgrade (UP-11).
func (st *stream) tunnelAnswer(h *header.Head) {
	if st.tun.kind == upgradeTunnel && h.Status == 101 && !h.Has(header.Upgrade) {
		h.Add(header.Upgrade, "upgrade", st.req.Get(header.Upgrade))
		st.webSocketAccept(h)
	}
}

// tunnelUp runs when the answer is on its way to the client.
func (st *stream) tunnelUp() {
	t := &st.tun
	t.up = true
	st.deadlines[deadlineRequest], st.deadlines[deadlineResponse] = 0, 0
	if st.cfg.conf.LogOnTunnel {
		st.info.LogType = streaminfo.DownstreamTunnelEstablished
		for _, l := range st.cfg.logs {
			l.Log(st.w.Logs, &st.info)
		}
		st.info.LogType = streaminfo.NotSet
	}
	relayed := st.startRelay()
	if !t.held {
		return
	}
	t.held = false
	if !relayed {
		st.onUpstreamDrained()
		return
	}
	st.requestPaused = false
	st.w.Stats.Inc(st.cfg.stats.DownstreamFlowControlResumedReadingTotal)
}

// halfOpen says whether the client's direction goes on when the origin's has ended.
func (st *stream) halfOpen() bool {
	return st.tun.kind == connectTunnel && st.tun.up && st.tun.connect == nil
}

// clientEndsTunnel says that the client has ended its direction, after all of its bytes. It reports false
// for a request that cannot go on without its client.
func (st *stream) clientEndsTunnel() bool {
	t := &st.tun
	if t.kind == noTunnel || st.request == halfDone || t.kind == upgradeTunnel && !t.up || st.localReply {
		return false
	}
	if t.held {
		return true // comes again with the answer
	}
	if t.kind == upgradeTunnel {
		t.ending = true
		if st.idle == 0 || st.idle > tunnelLinger {
			st.idle = tunnelLinger
			st.setDeadline(deadlineIdle, tunnelLinger)
		}
	}
	st.onRequestData(nil, true)
	return true
}

// tunnelIdle ends a stream that was idle for too long; an upgrade whose client had ended it ended in order.
func (st *stream) tunnelIdle() {
	if st.tun.ending {
		st.fail(reason.DownstreamClosed, 0)
		return
	}
	st.timedOut(reason.StreamIdle)
}

// endTunnel takes a finished stream out of the gauges.
func (st *stream) endTunnel() {
	if st.tun.counted {
		st.tun.counted = false
		st.w.Stats.GaugeAdd(st.cfg.stats.DownstreamCxUpgradesActive, -1)
	}
}
