package hcm

import (
	"github.com/sluiceproxy/sluice/codec/http2"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

// This file is upgrades over upstream HTTP/2: extended CONNECT (RFC 8441), which a server has to offer in
// its SETTINGS. A request on a connection whose server has not sent them yet waits for them, with a
// clientStream that has no stream on the wire.

// mayUpgrade says whether an upgrade may go out now. When it may not, it waits or has failed.
func (s *clientStream) mayUpgrade() bool {
	c := s.c
	switch {
	case c.h2.PeerConnect():
		return true
	case c.h2.PeerReady() || !c.up.C.Conf.HTTP2.AllowConnect:
		s.a.broken(reason.UpstreamNoUpgrade) // UP-12
		return false
	}
	c.unopened++
	return false
}

// openUpgrades opens the streams that waited for the server's settings.
func (c *h2Client) openUpgrades() {
	if c.unopened == 0 || c.stopped {
		return
	}
	c.unopened = 0
	for s := c.first; s != nil; {
		next := s.next
		if s.hs == nil {
			s.openUpgrade()
		}
		s = next
	}
}

func (s *clientStream) openUpgrade() {
	a := s.a
	switch {
	case !s.c.h2.PeerConnect():
		a.broken(reason.UpstreamNoUpgrade)
	case !s.c.h2.CanOpen():
		a.broken(reason.UpstreamRefused)
	default:
		st := a.st
		end := st.request == halfDone
		a.requestHead(&st.req, end)
		if !end {
			st.onUpstreamDrained()
		}
	}
}

// dropUnopened fails those that waited, of which the codec does not know.
func (c *h2Client) dropUnopened() {
	c.unopened = 0
	for s := c.first; s != nil; {
		next := s.next
		if s.hs == nil {
			s.broken(http2.Cancel, http2.ErrClosed)
		}
		s = next
	}
}

// endTunnel ends the attempt of a tunnel both of whose directions have ended.
func (s *clientStream) endTunnel() {
	if a := s.a; a.sent {
		a.tunnelOver()
	}
}
