// Package httpframe is a codec of the generic proxy for HTTP/1.1, over package http1.
//
//	single frame:  head and body are one frame of known length, however the body came
//	streaming:     the head is the header frame, runs of the body follow
//
// Heads are parsed and written anew, with exactly one framing and without the fields that concern one
// connection. Host, path and method are those of the request, fields are properties. Upgrades are not
// passed on and CONNECT is refused; an Expect is answered here (GP-23), interim responses are dropped, and
// so are trailers. Requests and responses go one by one.
package httpframe

import (
	"bytes"

	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
)

// Complaints that are not http1's.
const (
	errConnect frame.Error = "http1: CONNECT"
	errTunnel  frame.Error = "http1: an upgrade nobody asked for"
	errBody    frame.Error = "http1: a body larger than max_buffer_size"
)

// complaints are http1's.
var complaints = func() (out [256]error) {
	for e := range out {
		out[e] = frame.Error("http1: malformed")
		if e > 0 && e <= int(http1.ErrTruncated) {
			out[e] = frame.Error(http1.Err(e).Explain())
		}
	}
	return out
}()

// Codec is the protocol. Make it with New.
type Codec struct {
	options http1.Options
	single  bool
	maxBody int
}

var (
	_ frame.Codec      = (*Codec)(nil)
	_ frame.Properties = (*Codec)(nil)
	_ frame.Editor     = (*Codec)(nil)
)

// New returns the codec; maxBody bounds a body in bytes when each message is a single frame.
func New(single bool, maxBody int) *Codec {
	return &Codec{options: http1.DefaultOptions(), single: single, maxBody: maxBody}
}

// Protocol implements frame.Codec.
func (*Codec) Protocol() string { return "http1" }

// Matching implements frame.Codec.
func (*Codec) Matching() frame.Matching { return frame.OneByOne }

// chunkRoom is what chunks may have around a body.
const chunkRoom = 64 << 10

// MaxBuffered implements frame.Codec.
func (c *Codec) MaxBuffered() int {
	n := c.options.MaxHeadBytes + 4096
	if c.single {
		n += c.maxBody + chunkRoom
	}
	return n
}

// NewRequestDecoder implements frame.Codec.
func (c *Codec) NewRequestDecoder() frame.Decoder { return &decoder{c: c} }

// NewResponseDecoder implements frame.Codec.
func (c *Codec) NewResponseDecoder() frame.Decoder { return &decoder{c: c, response: true} }

// AppendReply appends a response without a body; the details are in the field reason.
func (*Codec) AppendReply(dst []byte, request *frame.Frame, s frame.Status, details string) ([]byte, uint16) {
	code := [...]int{frame.NotFound: 404, frame.Unavailable: 503, frame.DeadlineExceeded: 504, frame.InvalidArgument: 400, frame.Internal: 500}[s]
	dst = http1.AppendStatusLine(dst, header.HTTP11, code, nil)
	dst = append(append(append(dst, "reason: "...), details...), "\r\n"...)
	if request.Note&noteClose != 0 {
		dst = append(dst, "connection: close\r\n"...)
	}
	return append(dst, "content-length: 0\r\n\r\n"...), uint16(code)
}

// noteClose is beside the method in a Note: the client's connection ends with the response.
const noteClose = 1 << 8

// decoder reads one direction.
type decoder struct {
	c        *Codec
	response bool
	seen     int // bytes of the head that were looked at
	head     header.Head
	headLen  int // 0: the head is to come
	pos      int // bytes of a single frame that were looked at
	data     int // of them, those of the body
	body     http1.Body
	streams  bool // the header is out, the body follows
	rechunk  bool // and goes out in chunks
	answered bool // the Expect
	out      []byte
}

// Reset implements frame.Decoder.
func (d *decoder) Reset() {
	d.head.Reset(nil)
	*d = decoder{c: d.c, response: d.response, head: d.head, out: d.out[:0]}
}

// next readies the decoder for the next message.
func (d *decoder) next() {
	d.seen, d.headLen, d.pos, d.data = 0, 0, 0, 0
	d.streams, d.rechunk, d.answered = false, false, false
	if cap(d.out) > 64<<10 {
		d.out = nil
	}
}

// Next implements frame.Decoder.
func (d *decoder) Next(b []byte, f *frame.Frame) (int, error) {
	if d.streams {
		return d.run(b, f)
	}
	if d.headLen == 0 {
		n, err := d.parse(b, f)
		if n != 0 || err != nil || d.headLen == 0 {
			return n, err
		}
	}
	if d.head.Expect100 && !d.answered && !d.response {
		d.answered = true
		f.Flags, f.Reply = frame.Answer, continue100
		return 0, nil
	}
	if !d.c.single {
		return d.begin(b, f)
	}
	return d.whole(b, f, false)
}

var continue100 = []byte(http1.Continue100)

// parse reads the head. n is not 0 for an interim response, which is dropped.
func (d *decoder) parse(b []byte, f *frame.Frame) (n int, err error) {
	var e http1.Err
	if d.response {
		n, e = http1.ParseResponse(b, d.seen, &d.c.options, http1.RequestInfo{Method: header.Method(f.Note & 0xff)}, &d.head)
	} else {
		n, e = http1.ParseRequest(b, d.seen, &d.c.options, &d.head)
	}
	switch {
	case e != http1.OK:
		return 0, complaints[e]
	case n == 0:
		d.seen = len(b)
		return 0, nil
	case d.response && d.head.Transfer == header.Tunnel:
		return 0, errTunnel
	case d.response && d.head.Status < 200:
		d.seen = 0
		return n, nil
	case !d.response && d.head.Method == header.MethodConnect:
		return 0, errConnect
	}
	if e := http1.StripHopByHop(&d.head, !d.response, false); e != http1.OK {
		return 0, complaints[e]
	}
	if d.c.single && d.head.ContentLength > int64(d.c.maxBody) && d.head.Transfer == header.Length {
		return 0, errBody
	}
	d.headLen, d.pos = n, n
	d.body.Init(&d.head)
	return 0, nil
}

// describe fills in what the message says.
func (d *decoder) describe(f *frame.Frame) {
	h := &d.head
	if d.response {
		note := f.Note
		f.Code, f.Failed = h.Status, h.Status >= 500
		if h.Close || note&noteClose != 0 {
			f.Flags |= frame.Close
		}
		return
	}
	f.Host, f.Path, f.Method = h.Bytes(h.Authority), h.Bytes(h.Path), h.Bytes(h.MethodText)
	f.Note = uint64(h.Method)
	if h.Close {
		f.Note |= noteClose
		f.Flags |= frame.Close
	}
}

// write appends the head in its new form.
func (d *decoder) write(t header.TransferKind, length int64, f *frame.Frame) {
	h := &d.head
	fr := http1.Framing{Transfer: t, Length: length, Version: header.HTTP11}
	if d.response {
		fr.ConnectionClose = f.Flags.Has(frame.Close)
		d.out = http1.AppendResponseHead(d.out[:0], h, fr)
		return
	}
	h.Remove(header.Expect)
	d.out = http1.AppendRequestHead(d.out[:0], h, fr)
}

// none says whether the message has no body, and how long it says that it would be.
func (d *decoder) none() (length int64, none bool) {
	if d.head.Transfer != header.NoBody {
		return 0, false
	}
	if d.response || d.head.ContentLength == 0 {
		return d.head.ContentLength, true
	}
	return -1, true
}

// whole waits for the end of the message and makes one frame of it. closed: no more bytes will come.
func (d *decoder) whole(b []byte, f *frame.Frame, closed bool) (int, error) {
	done := d.body.Complete()
	for !done && d.pos < len(b) {
		data, n, end, e := d.body.Next(b[d.pos:])
		if e != http1.OK {
			return 0, complaints[e]
		}
		d.pos += n
		d.data += len(data)
		if done = end; n == 0 {
			break
		}
	}
	if d.data > d.c.maxBody || !done && len(b) >= d.c.MaxBuffered() {
		return 0, errBody
	}
	if !done && !(closed && d.body.OnClose() == http1.OK) {
		return 0, nil
	}
	total := d.pos
	d.head.SetBase(b[:d.headLen])
	f.Flags = frame.Header | frame.End
	if closed {
		f.Flags |= frame.Close
	}
	d.describe(f)
	if length, none := d.none(); none {
		d.write(header.NoBody, length, f)
	} else {
		d.write(header.Length, int64(d.data), f)
		d.collect(b[d.headLen:total])
	}
	f.Bytes = d.out
	d.next()
	return total, nil
}

// collect appends the body found in b.
func (d *decoder) collect(b []byte) {
	if d.head.Transfer != header.Chunked {
		d.out = append(d.out, b...)
		return
	}
	var body http1.Body
	body.Init(&d.head)
	for len(b) > 0 {
		data, n, done, e := body.Next(b)
		if e != http1.OK || n == 0 {
			return
		}
		d.out = append(d.out, data...)
		if b = b[n:]; done {
			return
		}
	}
}

// begin makes a frame of the head; the body follows.
func (d *decoder) begin(b []byte, f *frame.Frame) (int, error) {
	n := d.headLen
	d.head.SetBase(b[:n])
	f.Flags = frame.Header
	d.describe(f)
	length, none := d.none()
	switch {
	case none:
		d.write(header.NoBody, length, f)
		f.Flags |= frame.End
	case d.head.Transfer == header.Length:
		d.write(header.Length, d.head.ContentLength, f)
	default:
		d.rechunk = true
		d.write(header.Chunked, 0, f)
	}
	f.Bytes = d.out
	if none {
		d.next()
	} else {
		d.streams = true
	}
	return n, nil
}

// run passes a run of the body on.
func (d *decoder) run(b []byte, f *frame.Frame) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	data, n, done, e := d.body.Next(b)
	switch {
	case e != http1.OK:
		return 0, complaints[e]
	case n == 0:
		return 0, nil
	}
	f.Flags, f.Bytes = frame.Common, data
	if d.rechunk {
		d.out = d.chunk(data, done)
		f.Bytes = d.out
	}
	if f.Bytes == nil {
		f.Bytes = d.out[:0]
	}
	if done {
		f.Flags |= frame.End
		d.next()
	}
	return n, nil
}

func (d *decoder) chunk(data []byte, last bool) []byte {
	out := d.out[:0]
	if len(data) > 0 {
		out = http1.AppendChunkEnd(append(http1.AppendChunk(out, len(data)), data...))
	}
	if last {
		out = http1.AppendLastChunk(out, nil)
	}
	return out
}

// Finish implements frame.Finisher: a response may end with its connection.
func (d *decoder) Finish(b []byte, f *frame.Frame) (int, error) {
	if !d.response || d.headLen == 0 {
		return 0, complaints[http1.ErrTruncated]
	}
	if !d.streams {
		n, err := d.whole(b, f, true)
		if err == nil && f.Flags == 0 {
			err = complaints[http1.ErrTruncated]
		}
		return n, err
	}
	if e := d.body.OnClose(); e != http1.OK {
		return 0, complaints[e]
	}
	d.out = d.chunk(nil, true)
	f.Flags, f.Bytes = frame.Common|frame.End, d.out
	d.next()
	return len(b), nil
}

// lines calls visit for each field of a head, as it is written, until it says false. It returns where the
// fields end.
func lines(head []byte, visit func(name, value []byte, from, to int) bool) int {
	at := bytes.IndexByte(head, '\n') + 1
	for at > 0 && at < len(head) {
		end := bytes.IndexByte(head[at:], '\n')
		if end <= 1 { // the empty line
			return at
		}
		line := bytes.TrimSuffix(head[at:at+end], []byte{'\r'})
		colon := bytes.IndexByte(line, ':')
		if colon < 0 {
			return at
		}
		if !visit(line[:colon], bytes.TrimSpace(line[colon+1:]), at, at+end+1) {
			return at
		}
		at += end + 1
	}
	return at
}

// Property implements frame.Properties: a field.
func (*Codec) Property(head []byte, _ bool, name string) (value []byte, ok bool) {
	lines(head, func(n, v []byte, _, _ int) bool {
		if equalFold(n, name) {
			value, ok = v, true
		}
		return !ok
	})
	return value, ok
}

// VisitProperties implements frame.Properties.
func (*Codec) VisitProperties(head []byte, _ bool, f func(name, value []byte) bool) {
	lines(head, func(n, v []byte, _, _ int) bool { return f(n, v) })
}

func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		d := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if 'A' <= d && d <= 'Z' {
			d |= 0x20
		}
		if c != d {
			return false
		}
	}
	return true
}

// AppendEdited implements frame.Editor. The fields that frame the message stay as they are.
func (*Codec) AppendEdited(dst, head []byte, _ bool, name string, value []byte, erase bool) ([]byte, bool) {
	for _, fixed := range []string{"content-length", "transfer-encoding", "connection", "host"} {
		if equalFold([]byte(name), fixed) {
			return dst, false
		}
	}
	if name == "" || bytes.ContainsAny([]byte(name), " \t\r\n:\x00") || bytes.ContainsAny(value, "\r\n\x00") {
		return dst, false
	}
	copied := 0
	end := lines(head, func(n, _ []byte, from, to int) bool {
		if equalFold(n, name) {
			dst = append(dst, head[copied:from]...)
			copied = to
		}
		return true
	})
	if end <= 0 {
		return dst, false
	}
	dst = append(dst, head[copied:end]...)
	if !erase {
		dst = append(append(append(append(dst, name...), ": "...), value...), "\r\n"...)
	}
	return append(dst, head[end:]...), true
}
