package hcm

import (
	"net/netip"

	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// This file is the router's upstream_log: lines about attempts. A line has the facts of its own attempt where
// the stream's line has those of the whole request: times count from the attempt's beginning, the code is
// that of its response (0 without one), flags and details say why it ended early, and BYTES_SENT and
// BYTES_RECEIVED are the bodies on the way to the origin and back. Copies for request_mirror_policies have no
// lines.

// logsAttempts says whether the stream's attempts have lines.
func (st *stream) logsAttempts() bool { return len(st.cfg.router.logs) > 0 && !st.isShadow }

// ready is the moment the attempt has a connection, and in it a stream.
func (w *attemptWatch) ready() {
	if st := w.a.st; st.cfg.conf.Router.LogOnUpstreamStream && st.logsAttempts() {
		w.log(streaminfo.UpstreamPoolReady)
	}
}

// OnTimer is the wheel's callback: another upstream_log_flush_interval is over.
func (w *attemptWatch) OnTimer(*wheel.Timer) {
	if w.a == nil {
		return
	}
	st := w.a.st
	w.log(streaminfo.UpstreamPeriodic)
	st.w.Loop.Arm(&w.timer, st.cfg.conf.Router.UpstreamLogInterval)
}

// log writes the attempt's lines.
func (w *attemptWatch) log(t streaminfo.LogType) {
	st := w.a.st
	line := &st.parts().line
	w.describe(line, t)
	for _, l := range st.cfg.router.logs {
		l.Log(st.w.Logs, line)
	}
	line.Reset()
}

// describe makes of the stream's facts those of the attempt.
func (w *attemptWatch) describe(line *streaminfo.Info, t streaminfo.LogType) {
	a := w.a
	st, now := a.st, a.st.w.Loop.Now()
	*line = *a.info
	line.LogType, line.Attempts = t, w.number
	line.Start, line.StartUnixNs = w.since, st.info.StartUnixNs+w.since-st.info.Start
	line.DownstreamTxBegin, line.End = 0, 0
	if t == streaminfo.UpstreamEnd {
		line.End = now
	}
	for _, at := range [...]*int64{&line.UpstreamReady, &line.UpstreamTxBegin, &line.UpstreamTxEnd, &line.UpstreamRxEnd} {
		if *at < w.since {
			*at = 0 // an earlier attempt's
		}
	}
	line.UpstreamRxBegin = w.rxBegin
	if line.UpstreamReady == 0 {
		line.UpstreamLocal, line.UpstreamConnectionID, line.UpstreamProtocol = netip.AddrPort{}, 0, 0
	}
	wire := countsOf(a.info).minus(w.before)
	line.UpstreamWireSent, line.UpstreamWireReceived = wire.sent+moving(&a.upload), wire.received+moving(&a.download)
	line.UpstreamHeaderBytesSent, line.UpstreamHeaderBytesReceived = wire.headSent, wire.headReceived
	line.BytesSent, line.BytesReceived = a.rqBody+moving(&a.upload), a.rsBody+moving(&a.download)

	line.ResponseCode, line.Response, line.ResponseTrailers, line.LocalReplyBody = w.status, nil, nil, nil
	line.Reason, line.Flags, line.Details = w.why, w.why.Entry().Flag, ""
	switch {
	case w.why != reason.None && w.status != 0:
		line.Details = w.why.DetailsAfterStart()
	case w.why != reason.None:
		line.Details = w.why.Entry().Details
	case w.status != 0:
		line.Reason, line.Details = reason.ViaUpstream, reason.ViaUpstream.Entry().Details
	}
	if w.status != 0 && st.cfg.router.logsResponses {
		line.Response = &w.resp
		if t == streaminfo.UpstreamEnd && st.trail.Count() > 0 {
			line.ResponseTrailers = &st.trail
		}
	}
}
