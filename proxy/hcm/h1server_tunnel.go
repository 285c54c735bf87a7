package hcm

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
)

// tunnelHead writes the head that begins a tunnel: nothing frames what follows, and nothing but the
// tunnel ends the connection (UP-19, UP-22).
func (s *serverConn) tunnelHead(st *stream, h *header.Head) {
	s.lastOne = true
	st.encoding = transfer{kind: header.Tunnel}
	f := http1.Framing{
		Transfer: header.Tunnel, Upgrade: h.Status == 101, Case: st.cfg.hcase, KeepReason: st.cfg.conf.HTTP1.ForwardReasonPhrase,
	}
	b := http1.AppendResponseHead(s.a.w.HeadBuffer(s.c), h, f)
	n := uint64(s.a.w.HoldHead(s.c, b))
	st.info.DownstreamHeaderBytesSent += n
	st.info.DownstreamWireSent += n
	s.a.w.FlushHeads() // bytes of the tunnel may be long in coming
}

// tunnelData writes bytes of a tunnel, and a FIN behind the last where the client's direction goes on.
func (s *serverConn) tunnelData(st *stream, p []byte, end bool) {
	st.info.DownstreamWireSent += uint64(len(p))
	s.a.w.WriteData(s.c, p, false)
	if end && st.request != halfDone && st.halfOpen() {
		s.c.CloseWrite()
	}
}

// tunnelFIN says that the client's FIN has come; false when it means that the client is gone.
func (s *serverConn) tunnelFIN() bool {
	st := s.cur
	if st == nil || st.tun.kind == noTunnel || s.closing {
		return false
	}
	if s.paused || s.c.Kept() > 0 {
		// What came before it goes first; OnData or resumeRequest comes back to it.
		return st.tun.kind != upgradeTunnel || st.tun.up
	}
	return st.clientEndsTunnel()
}

// afterTunnelData ends the client's direction when its last bytes were before its FIN.
func (s *serverConn) afterTunnelData() {
	if st := s.cur; st != nil && st.tun.kind != noTunnel && !s.paused && !s.closing && s.c.ReadClosed() {
		st.clientEndsTunnel()
	}
}
