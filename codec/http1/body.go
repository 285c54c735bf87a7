package http1

import (
	"math"

	"github.com/sluiceproxy/sluice/codec/header"
)

// Body finds the body of one message in the bytes that follow its head. A value; loop-owned with its
// stream. It keeps no bytes: what it returns are views into what it was given.
//
// States of a chunked body (RFC 9112 7.1); the other framings stay in atData or atRaw until atDone.
//
//	atSize    first digit due      digit -> atDigits
//	atDigits  digits               ";" -> atExt   SP, HT -> atPad   CR -> atSizeLF
//	atPad     space after a size   ";" -> atExt   (anything else is an error)
//	atExt     extensions           CR -> atSizeLF
//	atSizeLF  LF due               LF -> atData, or atTrailer for size 0
//	atData    left bytes of data   left == 0 -> atDataCR
//	atDataCR  CR due               CR -> atDataLF
//	atDataLF  LF due               LF -> atSize
//	atTrailer a line due           field -> atTrailer   empty line -> atDone
//	atFailed  an error was found; Next repeats it
type Body struct {
	o        *Options
	trailers *header.Head
	// left is the bytes to come of the body (Length) or of the chunk; while a size is read, its value.
	left int64
	// extBytes counts extensions over the whole message.
	extBytes int
	// trailerBytes and trailerFields count the trailer lines used; seen is how much of the next,
	// partial one was scanned.
	trailerBytes, trailerFields, seen int
	digits                            uint8
	state                             bodyState
	chunked                           bool
	err                               Err
}

type bodyState uint8

const (
	atDone    bodyState = iota // the message is complete
	atData                     // left bytes of data are due
	atRaw                      // data until the connection ends
	atSize                     // the first digit of a chunk size is due
	atDigits                   // digits of a chunk size
	atPad                      // whitespace after a chunk size
	atExt                      // chunk extensions
	atSizeLF                   // the LF of a chunk-size line is due
	atDataCR                   // the CR after chunk data is due
	atDataLF                   // the LF after chunk data is due
	atTrailer                  // a trailer line or the empty line is due
	atFailed                   // err says why
)

const (
	maxExtBytes  = 16 << 10 // per message (HC-25)
	maxSizeChars = 16       // more digits than 63 bits need
)

var defaultOptions = DefaultOptions()

// Init readies d for the message of h, whose Transfer must be one of HTTP/1.
func (d *Body) Init(h *header.Head) {
	*d = Body{o: &defaultOptions}
	switch h.Transfer {
	case header.Length:
		if h.ContentLength > 0 {
			d.state, d.left = atData, h.ContentLength
		}
	case header.Chunked:
		d.state, d.chunked = atSize, true
	case header.UntilClose, header.Tunnel:
		d.state = atRaw
	case header.NoBody, header.Framed:
		d.state = atDone
	}
}

// InitTunnel readies d for bytes without end: after an upgrade or a CONNECT.
func (d *Body) InitTunnel() { *d = Body{o: &defaultOptions, state: atRaw} }

// SetLimits makes o bound the trailers; without it the defaults do. o must outlive d.
func (d *Body) SetLimits(o *Options) { d.o = o }

// SetTrailers makes d collect the trailers into t, which is reset and owns what it is given. Without
// it, or with nil, trailers are checked and dropped. EnableTrailers is the caller's question.
func (d *Body) SetTrailers(t *header.Head) {
	d.trailers = t
	if t != nil {
		t.Reset(nil)
	}
}

// Complete says whether the message has ended.
func (d *Body) Complete() bool { return d.state == atDone }

// Remaining returns the body bytes still to come (Length) or those of the current chunk; -1 when only
// the end of the connection will tell.
func (d *Body) Remaining() int64 {
	switch d.state {
	case atRaw:
		return -1
	case atData:
		return d.left
	}
	return 0
}

// Skip accounts for n bytes of body, at most Remaining, that were relayed by other means.
func (d *Body) Skip(n int64) {
	if d.state != atData {
		return
	}
	d.left -= min(n, d.left)
	d.endRun()
}

// OnClose says how the end of the connection leaves the message: OK when it is complete or was
// to end so, ErrTruncated otherwise.
func (d *Body) OnClose() Err {
	switch d.state {
	case atRaw:
		d.state = atDone
	case atDone:
	case atFailed:
		return d.err
	default:
		return d.fail(ErrTruncated)
	}
	return OK
}

// Next takes the next run of body bytes out of p.
//
//	p: | framing | data | framing |    data is a view into p, maybe empty; n counts all three
//
// n is the bytes of p used; the rest must come first in the next p. done is true from the end of the
// message on; bytes after it are not used. Call again while n > 0 && !done; n == 0 asks for more
// bytes. e != OK: the message is broken and Next says so ever after; data then is nil.
// No allocation, except to grow the head given to SetTrailers.
func (d *Body) Next(p []byte) (data []byte, n int, done bool, e Err) {
	if d.state != atData && d.state != atRaw {
		n = d.frame(p)
	}
	switch d.state {
	case atRaw:
		return p, len(p), false, OK
	case atData:
		end := len(p)
		if int64(end-n) > d.left {
			end = n + int(d.left)
		}
		data = p[n:end:end]
		d.left -= int64(len(data))
		n = end
		if d.endRun(); d.state == atDataCR {
			// The framing after the data goes with it; an error there is reported by the next call,
			// for which it leaves at least one byte.
			n += d.frame(p[n:])
		}
		return data, n, d.state == atDone, OK
	case atFailed:
		return nil, n, false, d.err
	}
	return nil, n, d.state == atDone, OK
}

// endRun leaves atData when nothing of it is left.
func (d *Body) endRun() {
	if d.left > 0 {
		return
	}
	d.state = atDone
	if d.chunked {
		d.state = atDataCR
	}
}

func (d *Body) fail(e Err) Err {
	d.state, d.err = atFailed, e
	return e
}

// frame reads chunked framing from the front of p until data is due, the message ends, p does, or an
// error is found. Returns the bytes used, never the one an error was found at.
func (d *Body) frame(p []byte) int {
	for i, c := range p {
		switch d.state {
		case atSize:
			v := hexDigit[c]
			if v > 15 {
				d.fail(ErrChunkSize)
				return i
			}
			d.left, d.digits, d.state = int64(v), 1, atDigits
		case atDigits:
			if e := d.sizeByte(c); e != OK {
				d.fail(e)
				return i
			}
		case atPad, atExt:
			if e := d.extByte(c); e != OK {
				d.fail(e)
				return i
			}
		case atSizeLF:
			if c != '\n' {
				d.fail(ErrChunkSize)
				return i
			}
			if d.state = atData; d.left > 0 {
				return i + 1
			}
			d.state = atTrailer
		case atDataCR:
			if c != '\r' {
				d.fail(ErrChunkEnd)
				return i
			}
			d.state = atDataLF
		case atDataLF:
			if c != '\n' {
				d.fail(ErrChunkEnd)
				return i
			}
			d.state = atSize
		case atTrailer:
			return i + d.trailerLines(p[i:])
		default:
			return i
		}
	}
	return len(p)
}

// sizeByte takes a byte after the first digit of a chunk size (HC-24).
func (d *Body) sizeByte(c byte) Err {
	if v := hexDigit[c]; v <= 15 {
		if d.digits++; d.digits > maxSizeChars || d.left > math.MaxInt64>>4 {
			return ErrChunkSize
		}
		d.left = d.left<<4 | int64(v)
		return OK
	}
	switch c {
	case '\r':
		d.state = atSizeLF
	case ';':
		d.state = atExt
	case ' ', '\t':
		d.state = atPad
	default:
		return ErrChunkSize
	}
	return d.countExt(c)
}

// extByte takes a byte of the extensions, or of the space before them (HC-25).
func (d *Body) extByte(c byte) Err {
	switch {
	case d.state == atPad && c == ';':
		d.state = atExt
	case d.state == atPad && c != ' ' && c != '\t':
		return ErrChunkSize
	case c == '\r':
		d.state = atSizeLF
	case class[c]&valueByte == 0:
		return ErrChunkExtension
	}
	return d.countExt(c)
}

func (d *Body) countExt(c byte) Err {
	if c == '\r' {
		return OK
	}
	if d.extBytes++; d.extBytes > maxExtBytes {
		return ErrChunkExtension
	}
	return OK
}
