package http2

import "github.com/sluiceproxy/sluice/codec/header"

// Bounds of what a Workspace keeps between uses.
const (
	keepText    = 64 << 10
	keepStreams = 4096
	keepBuffers = 64
	keepBuffer  = 64 << 10
)

// Workspace is what all connections of one loop share, so that an idle one owns no memory: the text of
// the head being decoded, free streams, and the buffers of output and of blocks in pieces. Loop-owned.
// The zero value is ready.
type Workspace struct {
	text    []byte
	crumbs  []header.Span
	lower   []byte
	free    *Stream
	numFree int
	buffers [][]byte
}

func (ws *Workspace) stream() *Stream {
	st := ws.free
	if st == nil {
		return new(Stream)
	}
	ws.free, st.nextFree = st.nextFree, nil
	ws.numFree--
	return st
}

func (ws *Workspace) putStream(st *Stream) {
	*st = Stream{}
	if debugging {
		return
	}
	if ws.numFree < keepStreams {
		st.nextFree, ws.free = ws.free, st
		ws.numFree++
	}
}

func (ws *Workspace) buffer() []byte {
	n := len(ws.buffers)
	if n == 0 {
		return make([]byte, 0, 2048)
	}
	b := ws.buffers[n-1]
	ws.buffers[n-1] = nil
	ws.buffers = ws.buffers[:n-1]
	return b
}

func (ws *Workspace) putBuffer(b []byte) {
	if len(ws.buffers) < keepBuffers && cap(b) > 0 && cap(b) <= keepBuffer {
		ws.buffers = append(ws.buffers, b[:0])
	}
}

// keep takes the text of a decoded block back.
func (ws *Workspace) keep(text []byte) {
	if cap(text) > keepText {
		text = nil
	}
	ws.text = text[:0]
	if cap(ws.crumbs) > keepText/8 {
		ws.crumbs = nil
	}
}
