package origin

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"net/url"
	"strconv"
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
)

// route sets what is to be done for a path.
func (x *exchange) route(path []byte) {
	if len(path) == 1 {
		x.action = actHello
		return
	}
	path, query, _ := bytes.Cut(path, []byte("?"))
	for i := range routes {
		r := &routes[i]
		if !bytes.HasPrefix(path, []byte(r.path)) {
			continue
		}
		rest := path[len(r.path):]
		if !r.number {
			if len(rest) == 0 {
				x.action = r.action
			}
			break
		}
		if n, ok := number(rest); ok && n >= r.least && n <= r.most {
			x.action, x.number = r.action, n
		} else {
			x.action = actBad
			x.text = fmt.Appendf(x.text[:0], "%s takes a number from %d to %d\n", r.path, r.least, r.most)
		}
		break
	}
	switch x.action {
	case actSlow:
		x.routeSlow(string(query))
	case actClose:
		x.closes = true
	}
}

// routes are tried in this order: the one for large benchmarks first.
var routes = []struct {
	path        string
	number      bool
	least, most int64
	action      action
}{
	{"/bytes/", true, 0, 1 << 40, actBytes},
	{"/drain", false, 0, 0, actDrain},
	{"/chunked/", true, 0, 1 << 40, actChunked},
	{"/checksum/", true, 0, maxChecksum, actChecksum},
	{"/status/", true, 200, 599, actStatus},
	{"/delay/", true, 0, 3_600_000, actDelay},
	{"/slow", false, 0, 0, actSlow},
	{"/echo", false, 0, 0, actEcho},
	{"/headers", false, 0, 0, actHeaders},
	{"/close", false, 0, 0, actClose},
	{"/reset", false, 0, 0, actReset},
}

func (x *exchange) routeSlow(query string) {
	v, err := url.ParseQuery(query)
	n, errN := strconv.ParseInt(v.Get("bytes"), 10, 32)
	ms, errMs := strconv.ParseInt(v.Get("every"), 10, 32)
	if err != nil || errN != nil || errMs != nil || n < 1 || ms < 1 {
		x.action, x.text = actBad, append(x.text[:0], "/slow takes bytes and every (milliseconds), both at least 1\n"...)
		return
	}
	x.number, x.every = n, time.Duration(ms)*time.Millisecond
}

// answer is called when the request is complete. It writes the answer, or as much as goes now.
func (x *exchange) answer() {
	switch x.action {
	case actHello:
		if x.headOnly || x.closes {
			x.respond(200, []byte("hello from "+x.shard.name+"\n"))
		} else {
			x.conn.Write(x.shard.hello)
		}
	case actBytes, actChunked, actChecksum:
		x.beginPump()
		return
	case actStatus:
		x.respond(int(x.number), append(appendNumber([]byte("status "), x.number), '\n'))
	case actDelay, actSlow:
		x.beginTimed()
		return
	case actEcho:
		if x.chunked && !x.headOnly {
			x.conn.Write(http1.AppendLastChunk(x.conn.Loop().Scratch(), nil))
		}
	case actDrain:
		x.respond(200, fmt.Appendf(nil, "%d %08x\n", x.received, x.sum))
	case actHeaders:
		x.respond(200, x.text)
	case actClose:
		x.respond(200, []byte("closing\n"))
	case actReset:
		x.conn.Reset()
		x.state = ending
		return
	case actBad:
		x.respond(400, x.text)
	default:
		x.respond(404, []byte("no such path\n"))
	}
	x.finish()
}

// finish ends the exchange once its last byte is written.
func (x *exchange) finish() {
	if x.closes {
		x.state = ending
		x.conn.CloseAfterFlush(lingerTimeout)
		return
	}
	if x.state == answering {
		x.conn.ResumeRead()
	}
	x.state = inHead
	x.seen = 0
}

// wait keeps further requests out until finish.
func (x *exchange) wait() {
	x.state = answering
	x.conn.PauseRead()
}

// respond writes a whole answer with one system call.
func (x *exchange) respond(status int, body []byte) {
	b := appendHead(x.conn.Loop().Scratch(), status, int64(len(body)), "", x.closes)
	if x.headOnly || status == 204 || status == 304 {
		body = nil
	}
	x.conn.Write2(b, body)
}

// appendHead appends a response head. length < 0 is chunked; sum, unless empty, goes into X-Checksum.
func appendHead(b []byte, status int, length int64, sum string, closes bool) []byte {
	b = http1.AppendStatusLine(b, header.HTTP11, status, nil)
	switch {
	case length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case status != 204:
		b = append(appendNumber(append(b, "Content-Length: "...), length), "\r\n"...)
	}
	b = append(b, "Content-Type: text/plain\r\n"...)
	if sum != "" {
		b = append(append(append(b, "X-Checksum: "...), sum...), "\r\n"...)
	}
	if closes {
		b = append(b, "Connection: close\r\n"...)
	}
	return append(b, "\r\n"...)
}

func appendNumber(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }

// number reads a decimal of at most 13 digits.
func number(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 13 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// beginPump starts a long answer: the head and the first piece leave together.
func (x *exchange) beginPump() {
	length, sum := x.number, ""
	switch x.action {
	case actChecksum:
		sum = fmt.Sprintf("%08x", patternSum(x.number))
	case actChunked:
		// An HTTP/1.0 client knows no chunks; it gets the body until close.
		x.chunked = x.head.Version != header.HTTP10
		length = -1
	}
	b := x.conn.Loop().Scratch()
	if x.action == actChunked && !x.chunked {
		x.closes = true
		b = append(b, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"...)
	} else {
		b = appendHead(b, 200, length, sum, x.closes)
	}
	if x.headOnly {
		x.conn.Write(b)
		x.finish()
		return
	}
	if !x.chunked {
		x.sent = min(x.number, pieceBytes)
		x.conn.Write2(b, pattern(0, x.sent))
	} else {
		x.conn.Write(b)
	}
	x.pump()
}

// pump writes until the answer is complete or enough waits for the socket.
func (x *exchange) pump() {
	for x.sent < x.number && !x.conn.Above() {
		if x.chunked {
			n := min(x.number-x.sent, chunkBytes)
			b := http1.AppendChunk(x.conn.Loop().Scratch(), int(n))
			b = http1.AppendChunkEnd(append(b, pattern(x.sent, n)...))
			x.conn.Write(b)
			x.sent += n
		} else {
			n := min(x.number-x.sent, pieceBytes)
			x.conn.Write(pattern(x.sent, n))
			x.sent += n
		}
		if x.conn.WriteClosed() {
			return // the connection failed; OnClosed follows
		}
	}
	if x.sent < x.number {
		if x.state != answering {
			x.wait()
		}
		return
	}
	if x.chunked {
		x.conn.Write(http1.AppendLastChunk(x.conn.Loop().Scratch(), nil))
	}
	x.finish()
}

func patternSum(n int64) (sum uint32) {
	for at := int64(0); at < n; at += pieceBytes {
		sum = crc32.Update(sum, crc32.IEEETable, pattern(at, min(n-at, pieceBytes)))
	}
	return sum
}

// beginTimed starts /delay and /slow.
func (x *exchange) beginTimed() {
	d := time.Duration(x.number) * time.Millisecond
	if x.action == actSlow {
		x.conn.Write(appendHead(x.conn.Loop().Scratch(), 200, x.number, "", x.closes))
		if x.headOnly {
			x.finish()
			return
		}
		d = x.every
	}
	x.wait()
	x.conn.Loop().Arm(&x.timer, d)
}

// beginEcho writes the head of an echo: the length is the request's, or chunks when that came in chunks.
func (x *exchange) beginEcho() {
	length := max(0, x.head.ContentLength)
	if x.head.Transfer == header.Chunked {
		x.chunked, length = true, -1
	}
	x.conn.Write(appendHead(x.conn.Loop().Scratch(), 200, length, "", x.closes))
}

func (x *exchange) echo(data []byte) {
	if len(data) == 0 || x.headOnly {
		return
	}
	if x.chunked {
		x.conn.Write(http1.AppendChunk(x.conn.Loop().Scratch(), len(data)))
		x.conn.Write(data)
		x.conn.Write(http1.AppendChunkEnd(x.conn.Loop().Scratch()))
	} else {
		x.conn.Write(data)
	}
	if x.conn.Above() {
		x.conn.PauseRead()
	}
}
