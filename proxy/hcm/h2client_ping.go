package hcm

import (
	"github.com/sluiceproxy/sluice/codec/http2"
	"github.com/sluiceproxy/sluice/engine/wheel"
)

// This file is how an upstream HTTP/2 connection is found dead: PINGs of connection_keepalive, and the
// acknowledgement of our settings (HC-70).

// planPing sets when the next PING is due: interval and a random part of interval_jitter from now.
func (c *h2Client) planPing() {
	if c.keep.Interval <= 0 {
		return
	}
	c.ping = c.w.Loop.Now() + int64(c.keep.Interval)
	if jitter := int64(float64(c.keep.Interval) * c.keep.JitterPercent / 100); jitter > 0 {
		c.ping += c.w.Random.Int64N(jitter)
	}
}

// pingBefore sends a PING ahead of a stream that follows a silence of connection_idle_interval.
func (c *h2Client) pingBefore() {
	if d := c.keep.IdleInterval; d > 0 && c.pong == 0 && c.w.Loop.Now()-c.readNs >= int64(d) {
		c.sendPing()
		c.arm()
	}
}

func (c *h2Client) sendPing() {
	c.pings++
	c.h2.Ping(c.pings)
	c.ping, c.pong = 0, c.w.Loop.Now()+int64(c.keep.Timeout)
	c.wrote()
}

// answered ends the wait for a PING's answer.
func (c *h2Client) answered(payload uint64) {
	if payload == c.pings && c.pong != 0 {
		c.pong = 0
		c.planPing()
		c.arm()
	}
}

// arm sets the timer for the earliest deadline, unless it is already due at or before that.
func (c *h2Client) arm() {
	deadlines := [...]int64{c.settings, c.ping, c.pong}
	c.w.Loop.ArmFirst(&c.timer, deadlines[:])
}

// OnTimer is the wheel's callback.
func (c *h2Client) OnTimer(*wheel.Timer) {
	if c.stopped {
		return
	}
	now := c.w.Loop.Now()
	if c.settings != 0 && c.h2.SettingsAcked() && c.h2.PeerReady() {
		c.settings = 0
	}
	switch {
	case c.settings != 0 && c.settings <= now:
		c.w.Stats.Inc(c.up.C.Stats.UpstreamCxProtocolError)
		c.h2.GoAway(http2.SettingsTimeout)
		c.abandon()
		return
	case c.pong != 0 && c.pong <= now:
		c.w.Stats.Inc(c.stats.KeepaliveTimeout)
		c.abandon()
		return
	case c.ping != 0 && c.ping <= now:
		c.sendPing()
	}
	c.arm()
}
