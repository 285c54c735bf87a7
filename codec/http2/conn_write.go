package http2

import (
	"encoding/binary"
	"strconv"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http2/hpack"
)

// room returns the output, with a buffer under it.
func (c *Conn) room() []byte {
	if c.out == nil {
		c.out = c.ws.buffer()
	}
	return c.out
}

// begin appends the header of a frame whose length is not known, and returns its place.
func (c *Conn) begin(typ frameType, flags uint8, stream uint32) (at int) {
	b := c.room()
	c.out = appendFrame(b, 0, typ, flags, stream)
	c.queue.frames++
	return len(b)
}

func (c *Conn) writeReset(id uint32, code ErrCode) {
	c.count(TxReset)
	c.remember(id, true)
	at := c.begin(frameReset, 0, id)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(code))
	setLength(c.out, at, 4)
	c.queue.control++
}

func (c *Conn) writeWindowUpdate(id, n uint32) {
	at := c.begin(frameWindow, 0, id)
	c.out = binary.BigEndian.AppendUint32(c.out, n)
	setLength(c.out, at, 4)
}

func (c *Conn) writeGoAway(last uint32, code ErrCode) {
	c.count(GoAwaySent)
	at := c.begin(frameGoAway, 0, 0)
	c.out = binary.BigEndian.AppendUint32(c.out, last)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(code))
	setLength(c.out, at, 8)
}

// Ping sends a PING; OnPong brings its payload back.
func (c *Conn) Ping(payload uint64) {
	if c.state == readNothing {
		return
	}
	at := c.begin(framePing, 0, 0)
	c.out = binary.BigEndian.AppendUint64(c.out, payload)
	setLength(c.out, at, 8)
	c.queue.control++
}

// ShutdownNotice is the first step of a graceful end (HC-75): it asks the client for no more streams and
// still takes those that come. GoAway is the second.
func (c *Conn) ShutdownNotice() {
	if c.state != readNothing && !c.client && c.sentLast > maxStreamID {
		c.sentLast = maxStreamID
		c.writeGoAway(maxStreamID, NoError)
	}
}

// GoAway takes no streams beyond those that have come; these go on. The owner closes the transport when
// Active is 0.
func (c *Conn) GoAway(code ErrCode) {
	if c.state != readNothing && (c.lastPeer < c.sentLast || code != NoError) {
		c.sentLast = min(c.lastPeer, c.sentLast)
		c.writeGoAway(c.sentLast, code)
	}
}

// Open sends a request on a new stream; end says that neither data nor trailers follow. Nil when CanOpen
// is false, or when h is an upgrade and the server takes none (PeerConnect). h is read before Open returns.
//
// A head with HasUpgrade goes out as extended CONNECT with the value of Upgrade as its protocol, method
// CONNECT as plain CONNECT. Fields of HTTP/1 connections are left out, and so is Host: :authority is
// h.Authority. Content-Length is h.ContentLength when that is not negative.
func (c *Conn) Open(h *header.Head, end bool) *Stream {
	if !c.CanOpen() || h.HasUpgrade && !c.PeerConnect() {
		return nil
	}
	st := c.open(c.nextID)
	c.nextID += 2
	switch {
	case h.HasUpgrade:
		st.flags |= isUpgrade
	case h.Method == header.MethodHead:
		st.flags |= isHead
	case h.Method == header.MethodConnect:
		st.flags |= isConnect
	}
	at := c.begin(frameHeaders, 0, st.id)
	c.out = c.appendRequest(c.enc.Begin(c.out), st, h)
	c.endBlock(at, st.id, end)
	if end {
		c.sentEnd(st)
	}
	return st
}

func (c *Conn) appendRequest(b []byte, st *Stream, h *header.Head) []byte {
	e := &c.enc
	method := h.Bytes(h.MethodText)
	if st.flags&isUpgrade != 0 {
		method = methodConnect
	}
	b = e.Pseudo(b, hpack.Method, method)
	if st.flags&isConnect == 0 {
		scheme, path := h.Bytes(h.Scheme), h.Bytes(h.Path)
		if len(scheme) == 0 {
			scheme = schemeHTTP
		}
		if len(path) == 0 {
			path = pathRoot
		}
		b = e.Pseudo(b, hpack.Scheme, scheme)
		b = e.Pseudo(b, hpack.Path, path)
	}
	if h.Authority.Len > 0 {
		b = e.Pseudo(b, hpack.Authority, h.Bytes(h.Authority))
	}
	if st.flags&isUpgrade != 0 {
		return c.appendFields(e.Pseudo(b, hpack.Protocol, h.Get(header.Upgrade)), h)
	}
	if h.ContentLength >= 0 && st.flags&isConnect == 0 {
		b = c.appendLength(b, h.ContentLength)
	}
	return c.appendFields(b, h)
}

var (
	methodConnect = []byte("CONNECT")
	schemeHTTP    = []byte("http")
	pathRoot      = []byte("/")
	valueTrailers = []byte("trailers")
)

// WriteHeaders sends a response head; end says that neither data nor trailers follow. Interim ones (1xx)
// may come before, never with end. 101 goes out as 200 (UP-11). What is left out is as with Open;
// content-length also for 1xx, 204 and tunnels. Nothing happens on a stream that can no longer send.
func (c *Conn) WriteHeaders(st *Stream, h *header.Head, end bool) {
	st.mustBeHeld()
	if !st.canSend() {
		return
	}
	status := h.Status
	if status == 101 {
		status = 200
	}
	at := c.begin(frameHeaders, 0, st.id)
	b := c.enc.Status(c.enc.Begin(c.out), status)
	if h.ContentLength >= 0 && status >= 200 && status != 204 && h.Transfer != header.Tunnel {
		b = c.appendLength(b, h.ContentLength)
	}
	c.out = c.appendFields(b, h)
	c.endBlock(at, st.id, end)
	if end {
		c.sentEnd(st)
	}
}

// WriteTrailers ends the message with trailers, or without when none of them may be sent.
func (c *Conn) WriteTrailers(st *Stream, t *header.Head) {
	st.mustBeHeld()
	if !st.canSend() {
		return
	}
	at := c.begin(frameHeaders, 0, st.id)
	b := c.enc.Begin(c.out)
	mark := len(b)
	for i := range t.Fields {
		if f := &t.Fields[i]; !f.Dead && care[f.ID]&careNoTrailer == 0 {
			b = c.appendField(b, t, f)
		}
	}
	c.out = b
	if len(b) == mark && mark == at+frameHeaderLen {
		c.out = appendFrame(b[:at], 0, frameData, flagEndStream, st.id)
		c.limits.dataSent++
	} else {
		c.endBlock(at, st.id, true)
	}
	c.sentEnd(st)
}

func (c *Conn) appendLength(b []byte, n int64) []byte {
	var digits [20]byte
	return c.enc.Field(b, header.ContentLength, nil, strconv.AppendInt(digits[:0], n, 10), false)
}

// appendFields appends the live fields of h that HTTP/2 may carry.
func (c *Conn) appendFields(b []byte, h *header.Head) []byte {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Dead {
			continue
		}
		if care[f.ID]&careNotForwarded != 0 {
			if f.ID == header.TE && header.EqualFold(h.Bytes(f.Value), "trailers") {
				b = c.enc.Field(b, header.TE, nil, valueTrailers, false)
			}
			continue
		}
		b = c.appendField(b, h, f)
	}
	return b
}

func (c *Conn) appendField(b []byte, h *header.Head, f *header.Field) []byte {
	var name []byte
	if f.ID == header.Unknown {
		name = c.lower(h.Bytes(f.Name))
	}
	return c.enc.Field(b, f.ID, name, h.Bytes(f.Value), false)
}

// lower returns a name in lower case: itself when it is, as nearly all are.
func (c *Conn) lower(name []byte) []byte {
	for i, b := range name {
		if b-'A' > 25 {
			continue
		}
		w := append(c.ws.lower[:0], name...)
		for ; i < len(w); i++ {
			if w[i]-'A' <= 25 {
				w[i] |= 0x20
			}
		}
		c.ws.lower = w
		return w
	}
	return name
}

// endBlock completes the HEADERS frame at c.out[at:], and cuts a block that is too long for one frame
// into CONTINUATION frames, from the back so that every byte moves once.
func (c *Conn) endBlock(at int, id uint32, end bool) {
	flags := uint8(flagEndHeaders)
	n := len(c.out) - at - frameHeaderLen
	if n > maxFrame {
		c.splitBlock(at, id, n)
		n, flags = maxFrame, 0
	}
	if end {
		flags |= flagEndStream
	}
	setLength(c.out, at, n)
	c.out[at+4] = flags
}

func (c *Conn) splitBlock(at int, id uint32, n int) {
	more := (n - 1) / maxFrame // CONTINUATION frames
	for range more {
		c.out = append(c.out, make([]byte, frameHeaderLen)...)
	}
	c.queue.frames += uint64(more)
	block := c.out[at+frameHeaderLen:]
	for k := more; k > 0; k-- {
		from, to := k*maxFrame, min((k+1)*maxFrame, n)
		moved := from + k*frameHeaderLen
		copy(block[moved:], block[from:to])
		flags := uint8(0)
		if k == more {
			flags = flagEndHeaders
		}
		appendFrame(block[:moved-frameHeaderLen], to-from, frameContinuation, flags, id)
	}
}

// WriteData sends as much of p as the windows allow, and end with the last of it. It returns how much it
// took; the owner keeps the rest and tries again at OnWindow. Everything is taken, for nothing, on a
// stream that can no longer send.
func (c *Conn) WriteData(st *Stream, p []byte, end bool) (n int) {
	st.mustBeHeld()
	if !st.canSend() {
		return len(p)
	}
	for {
		room := max(0, min(len(p)-n, maxFrame, int(st.sendWindow), int(c.sendWindow)))
		if room == 0 && n < len(p) {
			c.blocked.push(st)
			return n
		}
		if room == 0 && !end {
			return n
		}
		last := end && n+room == len(p)
		flags := uint8(0)
		if last {
			flags = flagEndStream
		}
		c.out = appendFrame(c.room(), room, frameData, flags, st.id)
		c.out = append(c.out, p[n:n+room]...)
		c.queue.frames++
		c.limits.dataSent++
		st.sendWindow -= int32(room)
		c.sendWindow -= int32(room)
		n += room
		if last {
			c.sentEnd(st)
			return n
		}
	}
}
