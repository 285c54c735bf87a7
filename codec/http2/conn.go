package http2

import (
	"github.com/sluiceproxy/sluice/codec/http2/hpack"
)

// reading is what the next byte fed belongs to.
type reading uint8

const (
	readPreface reading = iota // the client's preface
	readFirst                  // a SETTINGS frame, the first of all
	readFrames                 // a frame header
	readData                   // the data of a DATA frame
	readSkip                   // payload nobody wants: padding, data of a dead stream, unknown frames
	readNothing                // the connection is over
)

// Conn is one side of an HTTP/2 connection. Loop-owned; meant to be embedded in the owner's connection.
//
//	per batch: Feed bytes as they come; call writers; give Output to the transport; call Taken.
//
// Nothing is allocated in steady state; buffers come from the Workspace and go back when empty.
type Conn struct {
	// NowNs is the owner's clock, to be set before Feed; streams' lifetimes are measured with it.
	NowNs int64

	ev     Events
	ws     *Workspace
	o      *Options
	out    []byte
	dec    hpack.Decoder
	enc    hpack.Encoder
	client bool

	// reading
	state   reading
	yielded bool
	dataEnd bool   // the DATA frame being read ends its stream
	dataID  uint32 // its stream
	left    uint32 // bytes of payload to come, for readData and readSkip
	pad     uint32 // of padding behind the data
	block   pending
	wire    uint32 // bytes of the frames of the last field block

	// streams
	streams  streamTable
	blocked  blockedList
	nextID   uint32 // clients: the next stream
	lastPeer uint32 // servers: the highest stream the client has used
	gapLow   uint32 // servers: the streams the client skipped last, from gapLow to gapHigh
	gapHigh  uint32
	resets   *resetRing // streams that were reset; nil until one is

	// flow control
	sendWindow int32
	recvWindow int32
	credit     int32

	// the peer's settings
	peerStreams  uint32
	peerWindow   int32
	peerConnect  bool
	peerSettings bool // received at least once
	unacked      int  // SETTINGS of ours not acknowledged

	// going away
	sentLast  uint32 // of our last GOAWAY; maxStreamID+1 before
	peerLast  uint32 // of the peer's
	gotGoAway bool

	limits limits
	queue  queue
}

// Init makes c ready for a new connection and puts what the side must send first into Output. o and ws
// stay in use; ev gets the events. A server's Feed begins at the preface.
func (c *Conn) Init(client bool, o *Options, ws *Workspace, ev Events) {
	*c = Conn{
		ev: ev, ws: ws, o: o, client: client, nextID: 1,
		sendWindow: 65535, recvWindow: 65535,
		peerStreams: maxStreamID, peerWindow: 65535,
		sentLast: maxStreamID + 1, peerLast: maxStreamID,
	}
	c.dec.Init()
	c.enc.Init(o.TableSize)
	if client {
		c.state = readFirst
		c.peerStreams = 100 // RFC 9113 6.5.2 recommends no less; until the server has said
		c.out = append(c.room(), Preface...)
	}
	c.writeSettings()
	if more := o.InitialConnWindow - c.recvWindow; more > 0 {
		c.recvWindow += more
		c.writeWindowUpdate(0, uint32(more))
	}
}

func (c *Conn) writeSettings() {
	at := c.begin(frameSettings, 0, 0)
	if c.o.TableSize != 4096 {
		c.out = appendSetting(c.out, settingTableSize, c.o.TableSize)
	}
	if c.client {
		c.out = appendSetting(c.out, settingPush, 0)
	} else {
		c.out = appendSetting(c.out, settingMaxStreams, c.o.MaxConcurrentStreams)
		if c.o.AllowConnect {
			c.out = appendSetting(c.out, settingConnectProtocol, 1)
		}
	}
	if c.o.InitialStreamWindow != 65535 {
		c.out = appendSetting(c.out, settingInitialWindow, uint32(c.o.InitialStreamWindow))
	}
	setLength(c.out, at, len(c.out)-at-frameHeaderLen)
	c.queue.control++
	c.unacked++
}

// Active returns how many streams are not closed.
func (c *Conn) Active() int { return c.streams.count }

// Over says that the connection has failed or was closed: Feed takes bytes and does nothing.
func (c *Conn) Over() bool { return c.state == readNothing }

// Yielded says that the last Feed stopped because of MaxRequestsPerFeed: feed the rest again in a later
// turn, though no byte may have come since.
func (c *Conn) Yielded() bool { return c.yielded }

// HeadPending says that a field block has begun and is not complete: CONTINUATION frames are to come.
func (c *Conn) HeadPending() bool { return c.block.id != 0 }

// SettingsAcked says whether the peer has acknowledged our settings; the owner times that (HC-70).
func (c *Conn) SettingsAcked() bool { return c.unacked == 0 }

// PeerReady says whether the peer's settings have come.
func (c *Conn) PeerReady() bool { return c.peerSettings }

// PeerConnect says whether the server takes extended CONNECT (UP-12).
func (c *Conn) PeerConnect() bool { return c.peerConnect && c.o.AllowConnect }

// GoingAway says whether either side has sent GOAWAY, the notice of it included.
func (c *Conn) GoingAway() bool { return c.gotGoAway || c.sentLast <= maxStreamID }

// CanOpen says whether Open would give a stream.
func (c *Conn) CanOpen() bool {
	return c.client && c.state != readNothing && !c.GoingAway() && c.nextID <= maxStreamID &&
		uint32(c.streams.count) < min(c.peerStreams, c.o.MaxConcurrentStreams)
}

// StreamLimit returns how many streams a client may have open: the peer's limit and our own.
func (c *Conn) StreamLimit() uint32 { return min(c.peerStreams, c.o.MaxConcurrentStreams) }

// Close ends the connection for a reason of the owner's: every stream gets OnReset with e, and nothing is
// read or written any more. ErrClosed when the transport is gone. Idempotent.
func (c *Conn) Close(e Err) {
	c.state = readNothing
	for c.streams.count > 0 {
		for i := 0; i < len(c.streams.slots); i++ {
			if st := c.streams.slots[i]; st != nil {
				c.forget(st)
				c.ev.OnReset(st, e.Code(), e)
				i-- // closing the gap may have put another one here
			}
		}
	}
	c.ws.putBuffer(c.block.bytes)
	c.block = pending{}
}

// fail ends the connection for an error of the peer's.
func (c *Conn) fail(e Err) {
	if c.state == readNothing {
		return
	}
	c.count(errTexts[e].counter)
	c.writeGoAway(min(c.lastPeer, c.sentLast), e.Code())
	c.Close(e)
}

func (c *Conn) count(n Counter) {
	if n != NoCounter {
		c.ev.OnCount(n)
	}
}

// forget takes a stream off the connection: it is closed on the wire.
func (c *Conn) forget(st *Stream) {
	st.state = StateClosed
	c.streams.remove(st)
	c.blocked.remove(st)
	c.limits.closed++
}

// sentEnd and gotEnd move a stream on END_STREAM.
func (c *Conn) sentEnd(st *Stream) {
	c.blocked.remove(st)
	if st.state == StateOpen {
		st.state = StateHalfClosedLocal
		return
	}
	c.forget(st)
}

func (c *Conn) gotEnd(st *Stream) {
	if st.state == StateOpen {
		st.state = StateHalfClosedRemote
		return
	}
	c.forget(st)
}

// Release gives a stream back: the owner must not touch it again. One that is not closed is reset:
// NO_ERROR when a server has sent its whole response (HC-72), else CANCEL. Data not consumed counts as
// consumed.
func (c *Conn) Release(st *Stream) {
	st.mustBeHeld()
	switch st.state {
	case StateFree:
		return
	case StateOpen, StateHalfClosedLocal, StateHalfClosedRemote:
		code := Cancel
		if !c.client && !st.canSend() {
			code = NoError
		}
		c.Reset(st, code)
	case StateClosed:
	}
	c.creditConn(st.held)
	c.ws.putStream(st)
}

// Reset ends a stream with RST_STREAM. There is no OnReset for it. Nothing happens to a closed one.
func (c *Conn) Reset(st *Stream, code ErrCode) {
	st.mustBeHeld()
	if st.state == StateClosed || st.state == StateFree {
		return
	}
	c.forget(st)
	c.writeReset(st.id, code)
}

// streamError resets a stream for an error of the peer's and tells the owner.
func (c *Conn) streamError(st *Stream, e Err) Err {
	c.count(errTexts[e].counter)
	// A request that was begun and that its client then makes us reset is as much work for nothing as one
	// it resets itself, and counts like that. One whose head is refused began nothing.
	premature := st.flags&wantHead == 0 && c.isPremature(st)
	c.Reset(st, e.Code())
	c.ev.OnReset(st, e.Code(), e)
	return c.afterReset(premature)
}

// refuse ends a stream, or the connection, for a message that cannot be accepted (HC-62).
func (c *Conn) refuse(st *Stream, e Err) Err {
	switch s := errTexts[e].scope; {
	case s == wholeConn, s == message && !c.o.StreamErrorOnInvalidMessage:
		return e
	}
	return c.streamError(st, e)
}
