package origin

import (
	"hash/crc32"
	"time"

	"github.com/sluiceproxy/sluice/bench"
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/wheel"
)

// exchange is one connection and the request it is at. Loop-owned; reused by later connections.
//
//	state    event                      -> next
//	inHead   head complete              -> inBody, or as "body complete"
//	inBody   body complete              -> inHead when the answer is written at once; else answering
//	answering the last piece is written -> inHead
//	any      answer with close, error   -> ending (nothing more is read)
//
// While answering, reading is paused: pipelined requests wait in the engine.
type exchange struct {
	shard  *shard
	conn   *engine.Conn
	timer  wheel.Timer
	head   header.Head
	body   http1.Body
	state  state
	action action

	seen     int  // bytes of an incomplete head looked at already
	closes   bool // the connection ends with this answer
	headOnly bool // HEAD: the answer has no body
	chunked  bool // the answer's body is in chunks

	number   int64         // N of the path
	every    time.Duration // of /slow
	sent     int64         // body bytes of the answer so far
	received int64         // body bytes of the request so far
	sum      uint32        // their CRC-32
	text     []byte        // /headers: the head as received
}

type state uint8

const (
	inHead state = iota
	inBody
	answering
	ending
)

// action is what a path asks for.
type action uint8

const (
	actNotFound action = iota
	actHello
	actBytes
	actChunked
	actChecksum
	actStatus
	actDelay
	actSlow
	actEcho
	actDrain
	actHeaders
	actClose
	actReset
	actBad
)

const (
	// pieceBytes of a long body are written at a time; writeAheadBytes may wait for the socket.
	pieceBytes      = 64 << 10
	writeAheadBytes = 128 << 10
	chunkBytes      = 16 << 10
	patternPeriod   = 89
	maxChecksum     = 64 << 20
	lingerTimeout   = 2 * time.Second
)

// block holds a piece of bench.Pattern from any phase.
var block = bench.Pattern(nil, pieceBytes+patternPeriod)

// pattern returns n <= pieceBytes bytes of the pattern from offset at.
func pattern(at, n int64) []byte {
	phase := at % patternPeriod
	return block[phase : phase+n]
}

func newExchange(sh *shard) *exchange {
	x := &exchange{shard: sh}
	x.timer.Handler = x
	return x
}

// reset forgets the connection and the request; the shard and storage stay.
func (x *exchange) reset() {
	x.begin()
	x.conn, x.state = nil, inHead
}

// begin makes x ready for the next request.
func (x *exchange) begin() {
	x.action, x.seen, x.closes, x.headOnly, x.chunked = actNotFound, 0, false, false, false
	x.number, x.every, x.sent, x.received, x.sum = 0, 0, 0, 0, 0
	x.text = x.text[:0]
	if cap(x.text) > 4096 {
		x.text = nil
	}
}

// OnConnected implements engine.Handler; accepted connections have no such event.
func (x *exchange) OnConnected(*engine.Conn) {}

// OnData implements engine.Handler.
func (x *exchange) OnData(c *engine.Conn, view []byte) int {
	x.conn = c
	used := 0
	for used < len(view) && !c.ReadPaused() {
		var n int
		switch x.state {
		case inHead:
			n = x.onHead(view[used:])
		case inBody:
			n = x.onBody(view[used:])
		default:
			return len(view) // ending: the rest is not wanted
		}
		if n == 0 {
			break
		}
		used += n
	}
	return used
}

func (x *exchange) onHead(b []byte) int {
	n, e := http1.ParseRequest(b, x.seen, &x.shard.options, &x.head)
	switch {
	case e != http1.OK:
		x.begin()
		x.action, x.closes = actBad, true
		x.text = append(append(x.text[:0], e.String()...), '\n')
		x.answer()
		return len(b)
	case n == 0:
		x.seen = len(b)
		return 0
	}
	x.begin()
	x.shard.requests.Add(1)
	x.route(x.head.Bytes(x.head.Path))
	x.closes = x.closes || x.head.Close
	x.headOnly = x.head.Method == header.MethodHead
	if x.action == actHeaders {
		x.text = append(x.text[:0], b[:n]...)
	}
	if x.head.Expect100 {
		x.conn.Write([]byte(http1.Continue100))
	}
	if x.action == actEcho {
		x.beginEcho()
	}
	if x.head.Transfer == header.NoBody {
		x.answer()
		return n
	}
	x.body.Init(&x.head)
	x.state = inBody
	return n
}

func (x *exchange) onBody(b []byte) int {
	data, n, done, e := x.body.Next(b)
	if e != http1.OK {
		x.conn.Close()
		x.state = ending
		return len(b)
	}
	x.received += int64(len(data))
	switch x.action {
	case actDrain:
		x.sum = crc32.Update(x.sum, crc32.IEEETable, data)
	case actEcho:
		x.echo(data)
	}
	if done {
		x.answer()
	}
	return n
}

// OnWritable implements engine.Handler.
func (x *exchange) OnWritable(c *engine.Conn) {
	switch {
	case x.state != answering:
		c.ResumeRead() // an echo waited for room, maybe at its end
	case x.action == actBytes || x.action == actChunked || x.action == actChecksum:
		x.pump()
	}
}

// OnTimer implements wheel.Handler: a delay is over.
func (x *exchange) OnTimer(*wheel.Timer) {
	switch x.action {
	case actDelay:
		x.respond(200, append(appendNumber([]byte("delayed "), x.number), '\n'))
		x.finish()
	case actSlow:
		x.conn.Write(pattern(x.sent, 1))
		if x.sent++; x.sent == x.number {
			x.finish()
			return
		}
		x.conn.Loop().Arm(&x.timer, x.every)
	}
}

// OnReadClosed implements engine.Handler. What was asked before the end of the stream has been answered:
// reading is paused while an answer is on its way, and the event comes after the pause.
func (x *exchange) OnReadClosed(c *engine.Conn) {
	if x.state != ending {
		x.state = ending
		c.CloseAfterFlush(lingerTimeout)
	}
}

// OnClosed implements engine.Handler.
func (x *exchange) OnClosed(c *engine.Conn, _ engine.CloseReason) {
	c.Loop().Disarm(&x.timer)
	x.shard.put(x)
}
