package hcm

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/codec/proxyproto"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// This file is what an attempt does for tunnels over HTTP/1 and over TCP.

// connectedTCP answers the client once the TCP connection is there (UP-47).
func (a *attempt) connectedTCP() {
	st := a.st
	pc := a.pc
	a.opts = &st.cluster.Parse
	pc.SetHandler(a)
	a.rxFrom, a.txFrom = pc.BytesRead(), pc.BytesWritten()
	a.info.UpstreamConnectionID = pc.ID()
	a.info.UpstreamLocal = pc.LocalAddr()
	a.connected(0)
	a.encoding = header.Tunnel
	if st.tun.connect.ProxyProtocol != nil {
		pc.Write(st.proxyHeader())
	}
	a.body.InitTunnel()
	a.setState(attemptBody)
	h := a.resp
	h.Reset(nil)
	h.Status, h.Version, h.Transfer = 200, header.HTTP11, header.Tunnel
	if w := a.watch; w != nil {
		w.head(h)
	}
	if st.tun.kind == postTunnel && !st.tun.bare {
		h.Transfer = header.Framed // an ordinary response to an ordinary request
	}
	starting := a.starting
	if st.tries != nil {
		st.tries.win(a)
	}
	st.onResponseHead(false)
	if !starting {
		st.w.FlushHeads()
	}
	if a.pc != nil && st.request != halfDone {
		st.onUpstreamDrained()
	} else if a.pc != nil && !a.sent {
		a.requestData(nil, true) // a request that was complete with its head
	}
}

// proxyHeader makes the PROXY header of connect_config (UP-48). Cold: it allocates.
func (st *stream) proxyHeader() []byte {
	p, facts := st.tun.connect.ProxyProtocol, st.info.Conn
	from, to := facts.Remote, facts.Local
	if !p.Version2 {
		return proxyproto.AppendV1(nil, from, to)
	}
	var tlvs []byte
	for i := range st.cfg.upgrades.tlvs[st.tun.connect] {
		t := &st.cfg.upgrades.tlvs[st.tun.connect][i]
		value := t.Value
		if t.Format != nil {
			if value = t.Format.Append(nil, &st.info); len(value) == 0 {
				continue
			}
		}
		tlvs = proxyproto.AppendTLV(tlvs, t.Kind, value)
	}
	tlvs = appendPassed(tlvs, p.PassThrough.Has, facts)
	command := proxyproto.Proxy
	if !from.IsValid() || !to.IsValid() { // a unix socket
		command = proxyproto.Local
	}
	return proxyproto.AppendV2(nil, command, from, to, tlvs)
}

// appendPassed appends the TLVs received that pass and are not there already.
func appendPassed(dst []byte, passes func(uint8) bool, facts *streaminfo.Connection) []byte {
	if facts.Extra == nil {
		return dst
	}
	own := proxyproto.TLVs(dst)
	received := proxyproto.TLVs(facts.Extra.TLVs)
	for kind, value, ok := received.Next(); ok; kind, value, ok = received.Next() {
		has, it := false, own
		for k, _, more := it.Next(); more; k, _, more = it.Next() {
			has = has || k == kind
		}
		if passes(kind) && !has {
			dst = proxyproto.AppendTLV(dst, kind, value)
		}
	}
	return dst
}

// tunnelFraming says how the head of a request for a tunnel is written over HTTP/1: what follows is not
// framed, and a content-length goes on as it came (UP-17).
func (a *attempt) tunnelFraming(h *header.Head, f *http1.Framing) {
	f.Transfer = header.Tunnel
	if f.Upgrade = a.st.tun.kind == upgradeTunnel; f.Upgrade && h.ContentLength >= 0 {
		f.Transfer, f.Length = header.Length, h.ContentLength
	}
}

// responseEnds is finished, but where the client's direction of a tunnel goes on.
func (a *attempt) responseEnds() {
	if a.st.halfOpen() && !a.sent {
		a.ended = true
		return
	}
	a.finished()
}

// tunnelOver ends the attempt, and its stream, when the direction that went on has ended too.
func (a *attempt) tunnelOver() {
	st := a.st
	if a.h2 != nil {
		a.finished()
	} else {
		a.tunnelDone(true)
	}
	st.maybeFinish()
}

// tunnelDone ends an attempt whose connection is gone, or has been given to somebody else.
func (a *attempt) tunnelDone(well bool) {
	a.setState(attemptIdle)
	if well {
		a.endpoint.Load.RqSuccess++
	} else {
		a.endsFor(reason.ResetAfterStart)
		a.endpoint.Load.RqError++
		a.endpoint.Failed(cluster.Broke, 0)
	}
	a.info.UpstreamRxEnd = a.st.w.Loop.Now()
	a.uncount()
}
