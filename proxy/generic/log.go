package generic

import (
	"time"

	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// account counts a request that is over, and writes its line.
func (st *stream) account() {
	a := st.s.a
	sh, c := a.w.Stats, st.cfg.stats
	sh.GaugeAdd(c.DownstreamRqActive, -1)
	if st.isReset {
		sh.Inc(c.DownstreamRqReset)
	}
	if st.local && !st.isReset {
		sh.Inc(c.DownstreamRqLocal)
	}
	if st.failed {
		sh.Inc(c.DownstreamRqError)
	}
	sh.Record(c.DownstreamRqTime, uint64(st.endNs-st.startNs)/uint64(time.Millisecond))
	if st.txEndNs != 0 {
		sh.Record(c.DownstreamRqTxTime, uint64(st.txEndNs-st.startNs)/uint64(time.Microsecond))
	}
	st.cfg.codes.Charge(sh, st.code, st.flags)
	if len(st.cfg.logs) > 0 {
		st.describe()
		for _, l := range st.cfg.logs {
			l.Log(a.w.Logs, &a.info)
		}
	}
}

// describe fills in what is known of the request.
func (st *stream) describe() {
	s, a := st.s, st.s.a
	now := a.w.Loop.Now()
	a.message = streaminfo.Generic{
		Protocol: st.cfg.codec.Protocol(), Method: st.text[:st.methodTo], Path: st.text[st.methodTo:st.pathTo], Host: st.text[st.pathTo:],
		Request: st.head, Response: st.respHead, Properties: st.cfg.props,
	}
	i := &a.info
	*i = streaminfo.Info{
		Generic: &a.message, LogType: streaminfo.DownstreamEnd, Conn: &s.facts, RemoteAddress: s.facts.Remote,
		Start: st.startNs, StartUnixNs: a.w.Loop.WallNow().UnixNano() - (now - st.startNs), RequestEnd: st.requestEndNs,
		UpstreamReady: st.readyNs, UpstreamTxBegin: st.readyNs, UpstreamTxEnd: st.txEndNs, UpstreamRxBegin: st.rxNs, DownstreamTxBegin: st.rxNs, End: st.endNs,
		Reason: st.why, Flags: st.flags, Details: st.details, ResponseCode: st.code,
		BytesReceived: st.bytesIn, BytesSent: st.bytesOut, DownstreamWireReceived: st.bytesIn, DownstreamWireSent: st.bytesOut,
		Attempts: st.attempts, UpstreamFailure: st.failure, UpstreamConnectionID: st.upID,
	}
	if st.route != nil {
		i.RouteName, i.Timeout = st.route.conf.Name, st.route.timeout
	}
	if st.upstream != nil {
		i.UpstreamCluster, i.UpstreamClusterRaw = st.upstream.C.Conf.StatName, st.upstream.C.Conf.Name
	}
	if e := st.endpoint; e != nil {
		i.UpstreamPipe, i.UpstreamHostName = e.Host.Pipe, e.Host.Hostname
		if e.Host.Pipe == "" {
			i.UpstreamAddress = e.Host.Address()
		}
	}
}
