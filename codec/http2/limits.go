package http2

// limits counts what a peer could do without end. All of it lives as long as the connection.
type limits struct {
	emptyInRow    uint32 // frames without payload, one after the other
	priorities    uint64
	windowUpdates uint64
	opened        uint64 // streams
	closed        uint64
	dataSent      uint64 // DATA frames
	premature     uint64 // streams reset soon after they were opened
	requests      int    // begun in this Feed
}

func (c *Conn) countEmpty(empty bool) Err {
	if !empty {
		c.limits.emptyInRow = 0
		return OK
	}
	if c.limits.emptyInRow++; c.limits.emptyInRow > c.o.MaxConsecutiveEmptyFrames {
		return ErrEmptyFrames
	}
	return OK
}

func (c *Conn) countPriority() Err {
	c.limits.priorities++
	if c.limits.priorities > uint64(c.o.MaxPriorityFramesPerStream)*(1+c.limits.opened) {
		return ErrPriorityFlood
	}
	return OK
}

func (c *Conn) countWindowUpdate() Err {
	c.limits.windowUpdates++
	if c.limits.windowUpdates > 5+2*(c.limits.opened+uint64(c.o.MaxWindowUpdatesPerDataFrame)*c.limits.dataSent) {
		return ErrWindowFlood
	}
	return OK
}

// isPremature says whether the client would take st back sooner than an honest one does.
func (c *Conn) isPremature(st *Stream) bool {
	return !c.client && c.NowNs-st.openedNs < int64(c.o.PrematureResetLifetime)
}

// afterReset ends the connection when half of its requests were taken back early, as soon as that is
// certain to be so after PrematureResetTotal of them.
func (c *Conn) afterReset(premature bool) Err {
	l, total := &c.limits, c.o.PrematureResetTotal
	if !premature || c.client || total == 0 {
		return OK
	}
	l.premature++
	if 2*l.premature >= max(total, l.closed) {
		return ErrPrematureResets
	}
	return OK
}
