// Package memcache is a codec of the generic proxy for memcached's binary protocol.
//
//	| 0x80 or 0x81 | opcode | key length 2 | extras length | 0 | vbucket or status 2 | body length 4 | opaque 4 | cas 8 | extras | key | value |
//
// The id is the opaque, the method the opcode's name, the path the key. Quiet requests are one-way: their
// responses, which come only sometimes, are pushes, so they need a bound connection. A Stat answers with
// several packets, of which the last one has no key. A packet has at most 128 MiB.
package memcache

import (
	"encoding/binary"

	"github.com/sluiceproxy/sluice/codec/frame"
)

const (
	headerBytes = 24
	maxKey      = 250
	maxBody     = 128 << 20
	maxBuffered = headerBytes + 255 + maxKey

	magicRequest  = 0x80
	magicResponse = 0x81

	opQuit = 0x07
	opStat = 0x10
)

// Complaints.
const (
	errWithin frame.Error = "memcache: another response within those of a Stat"
	errMagic  frame.Error = "memcache: not a packet of this direction"
	errType   frame.Error = "memcache: a data type other than raw bytes"
	errKey    frame.Error = "memcache: a key of more than 250 bytes"
	errBody   frame.Error = "memcache: a body of more than 128 MiB, or less than its key and extras"
)

// names are the methods by opcode.
var names = [256]string{
	0x00: "Get", 0x01: "Set", 0x02: "Add", 0x03: "Replace", 0x04: "Delete", 0x05: "Increment", 0x06: "Decrement", 0x07: "Quit", 0x08: "Flush",
	0x09: "GetQ", 0x0a: "Noop", 0x0b: "Version", 0x0c: "GetK", 0x0d: "GetKQ", 0x0e: "Append", 0x0f: "Prepend", 0x10: "Stat", 0x11: "SetQ", 0x12: "AddQ",
	0x13: "ReplaceQ", 0x14: "DeleteQ", 0x15: "IncrementQ", 0x16: "DecrementQ", 0x17: "QuitQ", 0x18: "FlushQ", 0x19: "AppendQ", 0x1a: "PrependQ",
	0x1b: "Verbosity", 0x1c: "Touch", 0x1d: "GAT", 0x1e: "GATQ", 0x20: "SASLList", 0x21: "SASLAuth", 0x22: "SASLStep", 0x23: "GATK", 0x24: "GATKQ",
}

var unknown = []byte("Unknown")

// texts are names as bytes.
var texts = func() (out [256][]byte) {
	for op, name := range names {
		out[op] = unknown
		if name != "" {
			out[op] = []byte(name)
		}
	}
	return out
}()

// quiet says whether an opcode may be without a response.
func quiet(op byte) bool {
	return op == 0x09 || op == 0x0d || 0x11 <= op && op <= 0x1a || op == 0x1e || op == 0x24
}

// sticky says whether an opcode is about its connection.
func sticky(op byte) bool { return op == opQuit || 0x20 <= op && op <= 0x22 || quiet(op) }

// Codec is the protocol.
type Codec struct{}

var _ frame.Codec = Codec{}

// Protocol implements frame.Codec.
func (Codec) Protocol() string { return "memcache" }

// Matching implements frame.Codec.
func (Codec) Matching() frame.Matching { return frame.ByID }

// MaxBuffered implements frame.Codec.
func (Codec) MaxBuffered() int { return maxBuffered }

// NewRequestDecoder implements frame.Codec.
func (Codec) NewRequestDecoder() frame.Decoder { return &decoder{} }

// NewResponseDecoder implements frame.Codec.
func (Codec) NewResponseDecoder() frame.Decoder { return &decoder{response: true} }

// Statuses of local replies.
const (
	statusInvalid   = 0x04
	statusUnhandled = 0x83 // not supported
	statusInternal  = 0x84
	statusTemporary = 0x86
)

// AppendReply appends an error response with the details as its value. Note is the request's opcode.
func (Codec) AppendReply(dst []byte, request *frame.Frame, s frame.Status, details string) ([]byte, uint16) {
	status := uint16(statusTemporary)
	switch s {
	case frame.NotFound:
		status = statusUnhandled
	case frame.InvalidArgument:
		status = statusInvalid
	case frame.Internal:
		status = statusInternal
	}
	dst = append(dst, magicResponse, byte(request.Note), 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, status)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(details)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(request.ID))
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	return append(dst, details...), status
}

// decoder reads one direction.
type decoder struct {
	response bool
	left     int // bytes of the packet to come
	flags    frame.Flags
	id       uint64
	// stat: a Stat is being answered; last: by its last packet.
	stat, last bool
}

// Reset implements frame.Decoder.
func (d *decoder) Reset() { *d = decoder{response: d.response} }

// Next implements frame.Decoder.
func (d *decoder) Next(b []byte, f *frame.Frame) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if d.left > 0 {
		n := min(d.left, len(b))
		d.left -= n
		f.Flags, f.ID = frame.Common|d.flags, d.id
		d.end(f)
		return n, nil
	}
	magic := byte(magicRequest)
	if d.response {
		magic = magicResponse
	}
	if b[0] != magic {
		return 0, errMagic
	}
	if len(b) < headerBytes {
		return 0, nil
	}
	op, extras := b[1], int(b[4])
	key, body := int(binary.BigEndian.Uint16(b[2:])), binary.BigEndian.Uint32(b[8:])
	switch {
	case b[5] != 0:
		return 0, errType
	case key > maxKey:
		return 0, errKey
	case body > maxBody || int(body) < key+extras:
		return 0, errBody
	}
	head := headerBytes + extras + key
	if len(b) < head {
		return 0, nil
	}
	id := uint64(binary.BigEndian.Uint32(b[12:]))
	if d.stat && (op != opStat || id != d.id) {
		return 0, errWithin
	}
	d.id, d.flags, d.last = id, 0, true
	f.ID, f.Flags = d.id, frame.Header
	if d.response {
		d.describe(b, op, key, f)
	} else {
		f.Method, f.Path, f.Note = texts[op], b[headerBytes+extras:head], uint64(op)
		if quiet(op) {
			f.Flags |= frame.OneWay
		}
		if sticky(op) {
			f.Flags |= frame.Sticky
		}
	}
	n := min(len(b), headerBytes+int(body))
	d.left = headerBytes + int(body) - n
	d.end(f)
	return n, nil
}

// describe fills in what a response says.
func (d *decoder) describe(b []byte, op byte, key int, f *frame.Frame) {
	f.Code = binary.BigEndian.Uint16(b[6:])
	f.Failed = f.Code != 0
	if quiet(op) {
		d.flags = frame.Push
	}
	if op == opStat {
		if d.stat {
			f.Flags = frame.Common
		}
		d.last = key == 0 || f.Failed
		d.stat = !d.last
	}
	f.Flags |= d.flags
	if op == opQuit {
		f.Flags |= frame.Close
	}
}

// end marks the end of a message.
func (d *decoder) end(f *frame.Frame) {
	if d.left == 0 && d.last {
		f.Flags |= frame.End
	}
}
