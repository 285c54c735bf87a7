package http2

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http2/hpack"
)

// headers takes HEADERS (RFC 9113 6.2). A block that is whole is read where it lies.
func (c *Conn) headers(f frame, p []byte) Err {
	if f.stream == 0 {
		return ErrStreamID
	}
	pad := 0
	if f.flags&flagPadded != 0 {
		if len(p) == 0 {
			return ErrFrameSize
		}
		pad = int(p[0])
		p = p[1:]
	}
	if f.flags&flagPriority != 0 {
		if len(p) < priorityBytes {
			return ErrFrameSize
		}
		if dependsOn(p) == f.stream {
			return ErrStreamID
		}
		p = p[priorityBytes:]
	}
	if pad > len(p) {
		return ErrPadding
	}
	p = p[:len(p)-pad]
	end := f.flags&flagEndStream != 0
	if e := c.countEmpty(len(p) == 0 && !end); e != OK {
		return e
	}
	c.wire = frameHeaderLen + f.length
	if f.flags&flagEndHeaders != 0 {
		return c.onBlock(f.stream, p, end)
	}
	c.block = pending{bytes: append(c.ws.buffer(), p...), id: f.stream, end: end}
	return OK
}

// continuation takes CONTINUATION (RFC 9113 6.10); frame has seen that it belongs here. The limits are
// on the whole block: one that is a little too large ends its stream when it is decoded, one that is far
// too large ends the connection, because it would have to be kept until its end.
func (c *Conn) continuation(f frame, p []byte) Err {
	b := &c.block
	if b.id == 0 {
		return ErrFrame
	}
	last := f.flags&flagEndHeaders != 0
	if e := c.countEmpty(len(p) == 0 && !last); e != OK {
		return e
	}
	b.frames++
	if len(b.bytes)+len(p) > c.o.MaxHeadBytes+maxFrame || b.frames > 16+c.o.MaxHeadBytes>>10 {
		return ErrBlockTooLarge
	}
	b.bytes = append(b.bytes, p...)
	c.wire += frameHeaderLen + f.length
	if !last {
		return OK
	}
	whole := *b
	*b = pending{}
	e := c.onBlock(whole.id, whole.bytes, whole.end)
	c.ws.putBuffer(whole.bytes)
	return e
}

// onBlock finds the stream of a whole field block and what the block is there.
func (c *Conn) onBlock(id uint32, b []byte, end bool) Err {
	st := c.streams.get(id)
	switch {
	case st != nil && !st.canReceive():
		if e := c.discard(b); e != OK {
			return e
		}
		return c.streamError(st, ErrHalfClosed)
	case st != nil && st.flags&wantHead != 0:
		return c.readHead(st, b, end)
	case st != nil:
		return c.readTrailers(st, b, end)
	case id&1 == 0 || c.client && id >= c.nextID:
		return ErrStreamID
	case c.client || id <= c.lastPeer:
		if e := c.discard(b); e != OK {
			return e
		}
		return c.onClosedStream(id)
	}
	return c.openPeer(id, b, end)
}

// openPeer opens a stream for a client's request.
func (c *Conn) openPeer(id uint32, b []byte, end bool) Err {
	if id > c.lastPeer+2 || c.lastPeer == 0 && id > 1 {
		c.gapLow, c.gapHigh = c.lastPeer+1, id-1
	}
	c.lastPeer = id
	switch {
	case id > c.sentLast:
		return c.discard(b) // RFC 9113 6.8: after GOAWAY, ignored
	case uint32(c.streams.count) >= c.o.MaxConcurrentStreams:
		if e := c.discard(b); e != OK {
			return e
		}
		c.count(StreamRefusedErrors)
		c.writeReset(id, RefusedStream)
		return OK
	}
	c.limits.requests++
	return c.readHead(c.open(id), b, end)
}

// open puts a new stream into the table.
func (c *Conn) open(id uint32) *Stream {
	st := c.ws.stream()
	st.id, st.state, st.flags = id, StateOpen, wantHead
	st.sendWindow, st.recvWindow = c.peerWindow, c.o.InitialStreamWindow
	st.expect, st.openedNs = -1, c.NowNs
	c.streams.put(st)
	c.limits.opened++
	return st
}

// readHead reads a request head, or a response head, interim or final.
func (c *Conn) readHead(st *Stream, b []byte, end bool) Err {
	st.wireIn += uint64(c.wire)
	h := c.ev.HeadFor(st, HeadBlock)
	m := fields{h: h, kind: requestFields}
	if c.client {
		m.kind = responseFields
	}
	if e := c.decode(b, &m); e != OK {
		return e
	}
	e := m.flaw
	if e == OK {
		if c.client {
			e = c.finishResponse(st, &m, end)
		} else {
			e = c.finishRequest(st, &m, end)
		}
	}
	if e != OK {
		return c.refuse(st, e)
	}
	if c.client && h.Status < 200 && h.Status != 101 {
		c.ev.OnHeaders(st, h, false)
		return OK
	}
	st.flags &^= wantHead
	if h.Transfer == header.Tunnel {
		st.flags |= isTunnel
	}
	if end {
		c.gotEnd(st)
	}
	c.ev.OnHeaders(st, h, end)
	return OK
}

// readTrailers reads the fields behind the data (HC-71).
func (c *Conn) readTrailers(st *Stream, b []byte, end bool) Err {
	st.wireIn += uint64(c.wire)
	h := c.ev.HeadFor(st, TrailerBlock)
	m := fields{h: h, kind: trailerFields}
	if e := c.decode(b, &m); e != OK {
		return e
	}
	e := m.flaw
	switch {
	case e != OK:
	case st.flags&isTunnel != 0:
		e = ErrConnect
	case !end:
		e = ErrTrailers
	case st.expect > 0:
		e = ErrLength
	}
	if e != OK {
		return c.refuse(st, e)
	}
	c.count(Trailers)
	c.gotEnd(st)
	c.ev.OnTrailers(st, h)
	return OK
}

// decode reads a block into m. The error is one of the block's code; what is wrong with the message is
// m.flaw. After the first flaw the rest is only read to keep the tables in step.
func (c *Conn) decode(b []byte, m *fields) Err {
	d := &c.dec
	m.h.Reset(nil)
	m.h.Version = header.HTTP2
	m.maxBytes, m.left = c.o.MaxHeadBytes, min(c.o.MaxFields, header.MaxFields)
	if !c.client {
		m.underscores = c.o.Underscores // requests only
	}
	m.crumbs = c.ws.crumbs[:0]
	i, he := d.Begin(b, c.ws.text)
	var f hpack.Field
	for he == hpack.OK && i < len(b) {
		if i, he = d.Next(b, i, &f); he != hpack.OK || m.flaw != OK {
			continue
		}
		if m.flaw = m.add(d.Text, &f); m.flaw != OK {
			d.Discard()
		}
	}
	if m.flaw == OK && he == hpack.OK {
		d.Text = m.joinCookies(d.Text)
	}
	m.h.SetBase(d.Text)
	c.ws.crumbs = m.crumbs
	c.ws.keep(d.Text)
	d.Text = nil
	if m.h.DroppedUnderscores > 0 {
		for range m.h.DroppedUnderscores {
			c.count(DroppedHeadersWithUnderscores)
		}
	}
	if he != hpack.OK {
		return ErrCompression
	}
	return OK
}

// discard reads a block that belongs to no stream, for the sake of the table.
func (c *Conn) discard(b []byte) Err {
	d := &c.dec
	i, he := d.Begin(b, c.ws.text)
	d.Discard()
	var f hpack.Field
	for he == hpack.OK && i < len(b) {
		i, he = d.Next(b, i, &f)
	}
	c.ws.keep(d.Text)
	d.Text = nil
	c.count(HeadersCbNoStream)
	if he != hpack.OK {
		return ErrCompression
	}
	return OK
}
