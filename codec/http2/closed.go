package http2

// resetRingLen is how many resets are remembered: frames that were under way when a stream was reset
// arrive within a round trip.
const resetRingLen = 64

// resetRing remembers the streams that were reset last, to tell frames that crossed our RST_STREAM from
// errors. The lowest bit of a number is always one and tells here who reset: one for us.
type resetRing struct {
	ids   [resetRingLen]uint32
	count uint64
}

func (c *Conn) remember(id uint32, byUs bool) {
	if c.resets == nil {
		c.resets = new(resetRing)
	}
	if !byUs {
		id &^= 1
	}
	c.resets.ids[c.resets.count%resetRingLen] = id
	c.resets.count++
}

// wasResetByUs says whether the stream is among the last that we have reset. A server's RST_STREAM with
// NO_ERROR follows its whole response, at which a client that is not done with the request resets first.
func (c *Conn) wasResetByUs(id uint32) bool {
	r := c.resets
	if r == nil {
		return false
	}
	for i := range min(r.count, resetRingLen) {
		if r.ids[i] == id {
			return true
		}
	}
	return false
}

// onClosedStream judges a DATA or HEADERS frame on a stream that is closed (RFC 9113 5.1). Streams that
// were reset so long ago that the ring has lost them get the mildest answer.
func (c *Conn) onClosedStream(id uint32) Err {
	if !c.client && id > c.sentLast {
		return OK // RFC 9113 6.8: after GOAWAY, ignored
	}
	if c.wasResetByUs(id) {
		return OK
	}
	known := false
	if r := c.resets; r != nil {
		for i := range min(r.count, resetRingLen) {
			known = known || r.ids[i] == id&^1
		}
		known = known || r.count > resetRingLen
	}
	if !known {
		if id >= c.gapLow && id <= c.gapHigh {
			return ErrStreamID // RFC 9113 5.1.1: skipped, so closed without ever being used
		}
		return ErrStreamEnded
	}
	c.writeReset(id, StreamClosed)
	return OK
}
