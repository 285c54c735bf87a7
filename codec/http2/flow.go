package http2

import "encoding/binary"

// Consumed says that n bytes of data of st have been dealt with: the peer may send as many more. The
// update goes out when half of a window is free again, so that there are few (HC-66).
func (c *Conn) Consumed(st *Stream, n int) {
	st.mustBeHeld()
	if int64(n) > st.held {
		n = int(st.held)
	}
	st.held -= int64(n)
	c.creditConn(int64(n))
	c.creditStream(st, int32(n))
}

func (c *Conn) creditStream(st *Stream, n int32) {
	if !st.canReceive() {
		return
	}
	if st.credit += n; st.credit >= c.o.InitialStreamWindow/2 {
		c.writeWindowUpdate(st.id, uint32(st.credit))
		st.recvWindow += st.credit
		st.credit = 0
	}
}

func (c *Conn) creditConn(n int64) {
	if c.state == readNothing {
		return
	}
	// No more than the window can be outstanding, so the sum fits.
	if c.credit += int32(n); c.credit >= max(c.o.InitialConnWindow, 65535)/2 {
		c.writeWindowUpdate(0, uint32(c.credit))
		c.recvWindow += c.credit
		c.credit = 0
	}
}

// windowUpdate takes WINDOW_UPDATE (RFC 9113 6.9).
func (c *Conn) windowUpdate(f frame, p []byte) Err {
	if f.length != 4 {
		return ErrFrameSize
	}
	if e := c.countWindowUpdate(); e != OK {
		return e
	}
	n := int64(binary.BigEndian.Uint32(p) & maxWindow)
	if f.stream == 0 {
		switch {
		case n == 0:
			return ErrConnWindowUpdate
		case int64(c.sendWindow)+n > maxWindow:
			return ErrConnWindowOverflow
		}
		c.sendWindow += int32(n)
		c.wake()
		return OK
	}
	st := c.streams.get(f.stream)
	if st == nil {
		if c.isIdle(f.stream) {
			return ErrStreamID
		}
		return OK
	}
	switch {
	case n == 0:
		return c.streamError(st, ErrStreamWindowUpdate)
	case int64(st.sendWindow)+n > maxWindow:
		return c.streamError(st, ErrStreamWindowOverflow)
	}
	st.sendWindow += int32(n)
	if st.flags&isBlocked != 0 && st.sendWindow > 0 && c.sendWindow > 0 {
		c.blocked.remove(st)
		c.ev.OnWindow(st)
	}
	return OK
}

// wake tells the streams that wait for a window, in the order they began to, as long as there is one.
func (c *Conn) wake() {
	for n := c.blocked.count; n > 0 && c.sendWindow > 0 && c.blocked.first != nil; n-- {
		st := c.blocked.first
		c.blocked.remove(st)
		if st.sendWindow <= 0 {
			c.blocked.push(st)
			continue
		}
		c.ev.OnWindow(st)
	}
}

// settings takes SETTINGS and acknowledges them (RFC 9113 6.5).
func (c *Conn) settings(f frame, p []byte) Err {
	switch {
	case f.stream != 0:
		return ErrStreamID
	case f.flags&flagAck != 0:
		return c.settingsAck(f)
	case f.length%6 != 0:
		return ErrFrameSize
	}
	window := c.peerWindow
	for ; len(p) > 0; p = p[6:] {
		if e := c.setting(binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:]), &window); e != OK {
			return e
		}
	}
	at := c.begin(frameSettings, flagAck, 0)
	setLength(c.out, at, 0)
	c.queue.control++
	c.peerSettings = true
	grown := window > c.peerWindow
	if e := c.setPeerWindow(window); e != OK {
		return e
	}
	c.ev.OnSettings()
	if grown {
		c.wake()
	}
	return OK
}

// settingsAck makes our settings binding for the peer; only the table size needs to wait for that.
func (c *Conn) settingsAck(f frame) Err {
	if f.length != 0 {
		return ErrFrameSize
	}
	if c.unacked == 0 {
		return ErrSetting
	}
	c.unacked--
	c.dec.SetLimit(c.o.TableSize)
	return OK
}

func (c *Conn) setting(id uint16, v uint32, window *int32) Err {
	switch id {
	case settingTableSize:
		c.enc.SetLimit(v)
	case settingPush:
		if v > 1 || v == 1 && c.client {
			return ErrSetting
		}
	case settingMaxStreams:
		c.peerStreams = v
	case settingInitialWindow:
		if v > maxWindow {
			return ErrInitialWindow
		}
		*window = int32(v)
	case settingMaxFrame:
		if v < maxFrame || v > 1<<24-1 {
			return ErrSetting
		}
		// Larger frames than maxFrame are not sent in any case.
	case settingConnectProtocol:
		if v > 1 || v == 0 && c.peerConnect {
			return ErrSetting // RFC 8441 3
		}
		c.peerConnect = v == 1
	}
	return OK
}

// setPeerWindow changes the send window of every open stream by as much as the initial one changes; it
// may become negative (RFC 9113 6.9.2).
func (c *Conn) setPeerWindow(window int32) Err {
	change := int64(window) - int64(c.peerWindow)
	c.peerWindow = window
	if change == 0 {
		return OK
	}
	for _, st := range c.streams.slots {
		if st == nil {
			continue
		}
		w := int64(st.sendWindow) + change
		if w > maxWindow {
			return ErrInitialWindow
		}
		st.sendWindow = int32(w)
	}
	return OK
}
