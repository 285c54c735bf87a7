package resp

import (
	"github.com/sluiceproxy/sluice/codec/frame"
)

const (
	maxBulk   = 512 << 20
	maxArgs   = 1 << 20
	maxInline = 64 << 10
	maxHead   = 1 << 20
	maxDepth  = 64
	// maxName bounds the name of a command.
	maxName = 64
)

// Complaints.
const (
	errType    frame.Error = "resp: a byte that begins no type"
	errLength  frame.Error = "resp: not a length"
	errBulk    frame.Error = "resp: a bulk of more than 512 MiB"
	errArgs    frame.Error = "resp: too many elements"
	errEnd     frame.Error = "resp: no CRLF where one must be"
	errDepth   frame.Error = "resp: nested too deep"
	errInline  frame.Error = "resp: an inline command of more than 64 KiB"
	errName    frame.Error = "resp: no command has so long a name"
	errHead    frame.Error = "resp: what the request is routed by is not in its first MiB"
	errConfirm frame.Error = "resp: a confirmation that is none"
)

// Codec is the protocol. The zero value sends a request when the one before it was answered.
type Codec struct {
	// Pipelined sends the requests of a bound connection as they come: the place in the order is what
	// tells them apart, as it is for the client.
	Pipelined bool
}

var _ frame.Codec = Codec{}

// Protocol implements frame.Codec.
func (Codec) Protocol() string { return "redis" }

// Matching implements frame.Codec.
func (c Codec) Matching() frame.Matching {
	if c.Pipelined {
		return frame.InOrder
	}
	return frame.OneByOne
}

// MaxBuffered implements frame.Codec.
func (Codec) MaxBuffered() int { return maxHead }

// NewRequestDecoder implements frame.Codec.
func (Codec) NewRequestDecoder() frame.Decoder { return new(requestDecoder) }

// NewResponseDecoder implements frame.Codec.
func (Codec) NewResponseDecoder() frame.Decoder { return new(replyDecoder) }

// AppendReply appends an error reply: "-ERR " and the details. Its code is 1.
func (Codec) AppendReply(dst []byte, _ *frame.Frame, _ frame.Status, details string) ([]byte, uint16) {
	dst = append(dst, "-ERR "...)
	for i := range len(details) {
		c := details[i]
		if c == '\r' || c == '\n' {
			c = ' '
		}
		dst = append(dst, c)
	}
	return append(dst, '\r', '\n'), 1
}

// Line results.
const (
	lineMore = -1
	lineBad  = -2
)

// maxLine is the longest line that holds a length: a sign, 19 digits and CRLF.
const maxLine = 22

// length reads "<integer>CRLF" at the front of b: -1, or a number without leading zeros. It returns how
// many bytes the line has, or lineMore, or lineBad.
func length(b []byte) (v int64, n int) {
	i := 0
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		i = 1
	}
	start := i
	for ; i < len(b) && i < maxLine && '0' <= b[i] && b[i] <= '9'; i++ {
		v = v*10 + int64(b[i]-'0')
	}
	digits := i - start
	if i == len(b) && i < maxLine {
		return 0, lineMore
	}
	if digits == 0 || digits > 18 || digits > 1 && b[start] == '0' || b[i] != '\r' {
		return 0, lineBad
	}
	if i+1 == len(b) {
		return 0, lineMore
	}
	if b[i+1] != '\n' {
		return 0, lineBad
	}
	if negative {
		if v != 1 {
			return 0, lineBad
		}
		v = -1
	}
	return v, i + 2
}
