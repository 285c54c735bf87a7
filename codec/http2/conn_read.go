package http2

import "encoding/binary"

// pending is a field block that comes in pieces.
type pending struct {
	bytes  []byte
	id     uint32 // its stream; 0 when no block is pending
	frames int
	end    bool // END_STREAM
}

// Feed takes bytes from the peer. It returns how many it used; the rest, less than one frame, must be
// fed again with what follows. An error ends the connection: write Output, then close the transport.
// After that, Feed uses whatever it is given.
//
//	view: | ...rest of a frame | frame | frame | begin of a frame |
//
// Data is passed on as it comes; other frames once they are whole. Not to be called from an event.
func (c *Conn) Feed(view []byte) (consumed int, e Err) {
	c.yielded = false
	c.limits.requests = 0
	for {
		n := 0
		switch c.state {
		case readFrames, readFirst:
			n, e = c.frame(view[consumed:])
		case readData:
			n, e = c.data(view[consumed:])
		case readSkip:
			n = c.skip(len(view) - consumed)
			if c.state == readFrames {
				consumed += n // none, when the frame had no payload: not the end of what there is
				continue
			}
		case readPreface:
			n, e = c.preface(view[consumed:])
		case readNothing:
			return len(view), OK
		}
		if e != OK {
			c.fail(e)
			return len(view), e
		}
		if n == 0 {
			return consumed, OK
		}
		consumed += n
	}
}

func (c *Conn) skip(n int) int {
	n = min(n, int(c.left))
	if c.left -= uint32(n); c.left == 0 {
		c.state = readFrames
	}
	return n
}

func (c *Conn) preface(b []byte) (int, Err) {
	n := min(len(b), len(Preface))
	if string(b[:n]) != Preface[:n] {
		return 0, ErrPreface
	}
	if n < len(Preface) {
		return 0, OK
	}
	c.state = readFirst
	return n, OK
}

// frame reads one frame; 0 when more bytes are needed. Of DATA and unknown frames only the header.
func (c *Conn) frame(b []byte) (int, Err) {
	if len(b) < frameHeaderLen {
		return 0, OK
	}
	f := parseFrame(b)
	switch {
	case f.length > maxFrame:
		return 0, ErrFrameSize
	case c.state == readFirst && (f.typ != frameSettings || f.flags&flagAck != 0):
		return 0, ErrPreface
	case c.block.id != 0 && (f.typ != frameContinuation || f.stream != c.block.id):
		return 0, ErrFrame // RFC 9113 6.10
	case f.typ == frameData:
		return c.beginData(f, b)
	case f.typ > frameContinuation:
		c.state, c.left = readSkip, f.length // RFC 9113 5.5
		return frameHeaderLen, OK
	}
	n := frameHeaderLen + int(f.length)
	if len(b) < n {
		return 0, OK
	}
	if f.typ == frameHeaders && c.isYielding(f.stream) {
		c.yielded = true
		return 0, OK
	}
	c.state = readFrames
	return n, c.dispatch(f, b[frameHeaderLen:n])
}

func (c *Conn) dispatch(f frame, p []byte) Err {
	switch f.typ {
	case frameHeaders:
		return c.headers(f, p)
	case frameContinuation:
		return c.continuation(f, p)
	case framePriority:
		return c.priority(f, p)
	case frameReset:
		return c.reset(f, p)
	case frameSettings:
		return c.settings(f, p)
	case framePing:
		return c.ping(f, p)
	case frameGoAway:
		return c.goAway(f, p)
	case frameWindow:
		return c.windowUpdate(f, p)
	case framePush, frameData: // PUSH_PROMISE: never allowed (HC-69); DATA does not come here
	}
	return ErrFrame
}

// isYielding says whether a HEADERS frame would begin one request too many for this turn.
func (c *Conn) isYielding(id uint32) bool {
	return c.o.MaxRequestsPerFeed > 0 && id > c.lastPeer && !c.client && c.limits.requests >= c.o.MaxRequestsPerFeed
}

// isIdle says whether a stream number has not been used yet (RFC 9113 5.1.1): servers open none.
func (c *Conn) isIdle(id uint32) bool {
	if id&1 == 0 {
		return true
	}
	if c.client {
		return id >= c.nextID
	}
	return id > c.lastPeer
}

// beginData reads the header of a DATA frame and its pad length (RFC 9113 6.1). The whole frame counts
// against the windows at once.
func (c *Conn) beginData(f frame, b []byte) (n int, e Err) {
	n = frameHeaderLen
	data := f.length
	c.pad = 0
	if f.flags&flagPadded != 0 {
		if f.length == 0 {
			return 0, ErrFrameSize
		}
		if len(b) == n {
			return 0, OK
		}
		c.pad = uint32(b[n])
		n++
		if c.pad >= f.length {
			return 0, ErrPadding
		}
		data -= 1 + c.pad
	}
	if f.stream == 0 {
		return 0, ErrStreamID
	}
	end := f.flags&flagEndStream != 0
	if e = c.countEmpty(data == 0 && !end); e != OK {
		return 0, e
	}
	if int64(f.length) > int64(c.recvWindow) {
		return 0, ErrConnWindow
	}
	c.recvWindow -= int32(f.length)
	st, e := c.dataStream(f, data, end)
	if e != OK {
		return 0, e
	}
	if st == nil {
		c.creditConn(int64(f.length))
		c.state, c.left = readSkip, data+c.pad
		return n, OK
	}
	st.recvWindow -= int32(f.length)
	st.wireIn += uint64(n) + uint64(data+c.pad)
	if overhead := f.length - data; overhead > 0 {
		c.creditConn(int64(overhead))
		c.creditStream(st, int32(overhead))
	}
	c.state, c.left, c.dataID, c.dataEnd = readData, data, f.stream, end
	if data == 0 {
		return n, c.endData(st, nil)
	}
	return n, OK
}

// dataStream returns the stream of a DATA frame when it may take it; nil when the frame is to be skipped.
func (c *Conn) dataStream(f frame, data uint32, end bool) (*Stream, Err) {
	st := c.streams.get(f.stream)
	if st == nil {
		if c.isIdle(f.stream) {
			return nil, ErrStreamID
		}
		return nil, c.onClosedStream(f.stream)
	}
	e := OK
	switch {
	case !st.canReceive():
		e = ErrHalfClosed
	case int64(f.length) > int64(st.recvWindow):
		e = ErrStreamWindow
	case st.flags&wantHead != 0:
		e = ErrNoHead
	case st.expect >= 0 && (int64(data) > st.expect || end && int64(data) < st.expect), data > 0 && st.flags&noBody != 0:
		e = ErrLength
	}
	if e != OK {
		return nil, c.refuse(st, e)
	}
	if st.expect >= 0 {
		st.expect -= int64(data)
	}
	return st, OK
}

// data passes on what has come of a DATA frame.
func (c *Conn) data(b []byte) (int, Err) {
	n := min(len(b), int(c.left))
	if n == 0 {
		return 0, OK
	}
	c.left -= uint32(n)
	st := c.streams.get(c.dataID)
	if st == nil {
		// It was reset since the frame began.
		c.creditConn(int64(n))
		if c.left == 0 {
			c.endFrame()
		}
		return n, OK
	}
	st.held += int64(n)
	if c.left == 0 {
		return n, c.endData(st, b[:n])
	}
	c.ev.OnData(st, b[:n], false)
	return n, OK
}

// endData passes on the last piece of a DATA frame.
func (c *Conn) endData(st *Stream, p []byte) Err {
	c.endFrame()
	switch {
	case c.dataEnd:
		c.gotEnd(st)
		c.ev.OnData(st, p, true)
	case len(p) > 0:
		c.ev.OnData(st, p, false)
	}
	return OK
}

func (c *Conn) endFrame() {
	c.state, c.left = readFrames, c.pad
	if c.pad > 0 {
		c.state = readSkip
	}
}

// priority counts PRIORITY frames; what they say is not used (RFC 9113 5.3.2), but must not be absurd.
func (c *Conn) priority(f frame, p []byte) Err {
	if f.stream == 0 {
		return ErrStreamID
	}
	if f.length != priorityBytes {
		return ErrFrameSize
	}
	if dependsOn(p) == f.stream {
		return ErrStreamID
	}
	return c.countPriority()
}

// priorityBytes is the length of a priority: dependency(4) weight(1).
const priorityBytes = 5

// dependsOn returns the stream that a priority names. One that depends on itself is an error by RFC
// 7540 5.3.1; RFC 9113 leaves priorities out, and nobody sends that.
func dependsOn(p []byte) uint32 { return binary.BigEndian.Uint32(p) &^ (1 << 31) }

// reset takes RST_STREAM (RFC 9113 6.4).
func (c *Conn) reset(f frame, p []byte) Err {
	switch {
	case f.length != 4:
		return ErrFrameSize
	case f.stream == 0 || c.isIdle(f.stream):
		return ErrStreamID
	}
	st, code := c.streams.get(f.stream), ErrCode(binary.BigEndian.Uint32(p))
	if c.client && code == NoError && (st != nil || c.wasResetByUs(f.stream)) {
		c.count(RxResetNoError)
	}
	if st == nil {
		return OK
	}
	c.count(RxReset)
	premature := c.isPremature(st)
	c.forget(st)
	c.remember(st.id, false)
	c.ev.OnReset(st, code, ErrPeerReset)
	return c.afterReset(premature)
}

// ping answers a PING, or passes the answer to ours on (RFC 9113 6.7).
func (c *Conn) ping(f frame, p []byte) Err {
	switch {
	case f.stream != 0:
		return ErrStreamID
	case f.length != 8:
		return ErrFrameSize
	}
	if f.flags&flagAck != 0 {
		c.ev.OnPong(binary.BigEndian.Uint64(p))
		return OK
	}
	c.begin(framePing, flagAck, 0)
	c.out = append(c.out, p...)
	setLength(c.out, len(c.out)-8-frameHeaderLen, 8)
	c.queue.control++
	return OK
}

// goAway takes GOAWAY (RFC 9113 6.8, HC-76).
func (c *Conn) goAway(f frame, p []byte) Err {
	switch {
	case f.stream != 0:
		return ErrStreamID
	case f.length < 8:
		return ErrFrameSize
	}
	last := binary.BigEndian.Uint32(p) & maxStreamID
	if c.gotGoAway && last > c.peerLast {
		return ErrGoAwayRaised
	}
	c.gotGoAway, c.peerLast = true, last
	c.ev.OnGoAway(last, ErrCode(binary.BigEndian.Uint32(p[4:])))
	if !c.client {
		return OK // last is of streams a server would have opened
	}
	for st := c.above(last); st != nil; st = c.above(last) {
		c.forget(st)
		c.remember(st.id, true)
		c.ev.OnReset(st, RefusedStream, ErrGoneAway)
	}
	return OK
}

// above returns a stream with a number over last, nil when there is none.
func (c *Conn) above(last uint32) *Stream {
	if c.streams.count == 0 || last >= c.nextID {
		return nil
	}
	for _, st := range c.streams.slots {
		if st != nil && st.id > last {
			return st
		}
	}
	return nil
}
