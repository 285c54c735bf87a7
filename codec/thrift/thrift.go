// Package thrift is a codec of the generic proxy for Apache Thrift: framed and header transport, binary
// and compact protocol.
//
//	framed:  | length 4 | message                       |
//	header:  | length 4 | 0x0fff | flags 2 | sequence 4 | header size/4 2 | protocol, transforms, infos, padding | message |
//	binary:  | 0x8001 0 type | name length 4 | name | sequence 4 | struct... |
//	compact: | 0x82 | type<<5 | 1 | varint sequence | varint name length | name | struct... |
//
// The id is the message's sequence number, the method its name; of "Service:method" (multiplexed
// protocol) the service is host and path. Info headers of the header transport are properties. Messages
// that are transformed (compressed) cannot be read and are refused, as are strict-less binary messages.
//
// A frame has at most 16 MiB, and what a message is routed by must be within its first 64 KiB.
package thrift

import (
	"bytes"
	"encoding/binary"

	"github.com/sluiceproxy/sluice/codec/frame"
)

// Protocol is which protocol clients may use.
type Protocol uint8

// Protocols.
const (
	Auto Protocol = iota
	Binary
	Compact
)

const (
	maxFrame = 16 << 20
	maxHead  = 64 << 10
	maxName  = 4 << 10
)

// Complaints.
const (
	errFrame     frame.Error = "thrift: a frame of no or more than 16 MiB"
	errHead      frame.Error = "thrift: what the message is routed by is not in its first 64 KiB"
	errProtocol  frame.Error = "thrift: neither a binary nor a compact message, or not the one configured"
	errType      frame.Error = "thrift: a message of the wrong type"
	errName      frame.Error = "thrift: a name that is too long"
	errShort     frame.Error = "thrift: the frame ends within the beginning of its message"
	errHeader    frame.Error = "thrift: a header that contradicts itself"
	errTransform frame.Error = "thrift: transformed messages cannot be read"
)

// Message types.
const (
	typeCall      = 1
	typeReply     = 2
	typeException = 3
	typeOneWay    = 4
)

// Codec is the protocol. The zero value takes both protocols.
type Codec struct{ Only Protocol }

var (
	_ frame.Codec      = Codec{}
	_ frame.Properties = Codec{}
)

// codecProtocol is the wire's numbers of protocols in the header transport.
const (
	wireBinary  = 0
	wireCompact = 2
)

// Note bits: how a request was written, which is how it is answered.
const (
	noteCompact = 1 << iota
	noteHeader
)

// Protocol implements frame.Codec.
func (Codec) Protocol() string { return "thrift" }

// decoder reads one direction.
type decoder struct {
	codec    Codec
	response bool
	left     int // bytes of the frame to come
	id       uint64
}

// Reset implements frame.Decoder.
func (d *decoder) Reset() { d.left, d.id = 0, 0 }

// Next implements frame.Decoder.
func (d *decoder) Next(b []byte, f *frame.Frame) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if d.left > 0 {
		n := min(d.left, len(b))
		f.Flags, f.ID = frame.Common, d.id
		if d.left -= n; d.left == 0 {
			f.Flags |= frame.End
		}
		return n, nil
	}
	if len(b) < 4 {
		return 0, nil
	}
	size := binary.BigEndian.Uint32(b)
	if size == 0 || size > maxFrame {
		return 0, errFrame
	}
	total := 4 + int(size)
	whole := len(b) >= total
	body := b[4:min(len(b), total)]
	used, note, kind, err := d.message(body, f)
	switch {
	case err != nil:
		return 0, err
	case used == 0 && whole:
		return 0, errShort
	case used > maxHead || used == 0 && len(b) >= maxHead:
		return 0, errHead
	case used == 0:
		return 0, nil
	}
	f.Flags = frame.Header
	if d.response {
		switch kind {
		case typeReply:
		case typeException:
			f.Failed, f.Code = true, 1
		default:
			return 0, errType
		}
	} else {
		f.Note = note
		switch kind {
		case typeCall:
		case typeOneWay:
			f.Flags |= frame.OneWay
		default:
			return 0, errType
		}
	}
	d.id = f.ID
	if whole {
		f.Flags |= frame.End
		return total, nil
	}
	d.left = total - len(b)
	return len(b), nil
}

// message reads the beginning of a message, behind the length. used is 0 when it is not there yet.
func (d *decoder) message(b []byte, f *frame.Frame) (used int, note uint64, kind byte, err error) {
	if len(b) < 2 {
		return 0, 0, 0, nil
	}
	at := 0
	if b[0] == 0x0f && b[1] == 0xff {
		note |= noteHeader
		at, err = headerEnd(b)
		if at == 0 || err != nil {
			return 0, note, 0, err
		}
		if len(b) < at+2 {
			return 0, note, 0, nil
		}
	}
	used, kind, compact, err := beginning(b[at:], f)
	if compact {
		note |= noteCompact
	}
	if used == 0 || err != nil {
		return 0, note, kind, err
	}
	if p := d.codec.Only; p == Binary && compact || p == Compact && !compact {
		return 0, note, kind, errProtocol
	}
	if !d.response {
		if i := bytes.IndexByte(f.Method, ':'); i >= 0 {
			f.Host, f.Method = f.Method[:i], f.Method[i+1:]
			f.Path = f.Host
		}
	}
	return at + used, note, kind, nil
}

// beginning reads type, name and sequence number of a message.
func beginning(b []byte, f *frame.Frame) (used int, kind byte, compact bool, err error) {
	switch {
	case b[0] == 0x80 && b[1] == 0x01:
		if len(b) < 8 {
			return 0, 0, false, nil
		}
		kind = b[3]
		n := binary.BigEndian.Uint32(b[4:])
		if n > maxName {
			return 0, kind, false, errName
		}
		end := 8 + int(n)
		if len(b) < end+4 {
			return 0, kind, false, nil
		}
		f.Method, f.ID = b[8:end], uint64(binary.BigEndian.Uint32(b[end:]))
		return end + 4, kind, false, nil
	case b[0] == 0x82 && b[1]&0x1f == 1:
		kind = b[1] >> 5
		seq, n := binary.Uvarint(b[2:min(len(b), 2+5)])
		if n < 0 || n == 0 && len(b) >= 2+5 {
			return 0, kind, true, errHeader
		}
		if n == 0 {
			return 0, kind, true, nil
		}
		at := 2 + n
		size, m := binary.Uvarint(b[at:min(len(b), at+5)])
		switch {
		case m < 0 || m == 0 && len(b) >= at+5 || size > maxName:
			return 0, kind, true, errName
		case m == 0 || len(b) < at+m+int(size):
			return 0, kind, true, nil
		}
		at += m
		f.Method, f.ID = b[at:at+int(size)], uint64(uint32(seq))
		return at + int(size), kind, true, nil
	}
	return 0, 0, false, errProtocol
}

// headerEnd checks a header and says where its message begins; 0 when it is not there whole.
func headerEnd(b []byte) (int, error) {
	if len(b) < 10 {
		return 0, nil
	}
	end := 10 + 4*int(binary.BigEndian.Uint16(b[8:]))
	if end > maxHead {
		return 0, errHead
	}
	if len(b) < end {
		return 0, nil
	}
	h := b[10:end]
	protocol, n := binary.Uvarint(h)
	if n <= 0 {
		return 0, errHeader
	}
	transforms, m := binary.Uvarint(h[n:])
	switch {
	case m <= 0:
		return 0, errHeader
	case transforms > 0:
		return 0, errTransform
	case protocol != wireBinary && protocol != wireCompact:
		return 0, errProtocol
	}
	return end, nil
}

// infos calls visit for each info header of a frame's head until it says false.
func infos(head []byte, visit func(name, value []byte) bool) {
	if len(head) < 14 || head[4] != 0x0f || head[5] != 0xff {
		return
	}
	b := head[4:]
	end := 10 + 4*int(binary.BigEndian.Uint16(b[8:]))
	if end > len(b) {
		return
	}
	h := reader(b[10:end])
	h.uvarint() // protocol
	h.uvarint() // transforms: none
	for {
		kind, ok := h.uvarint()
		if !ok || kind != 1 && kind != 2 { // key-values, and those of a persistent kind
			return
		}
		count, ok := h.uvarint()
		for ; ok && count > 0; count-- {
			name, ok1 := h.text()
			value, ok2 := h.text()
			if !ok1 || !ok2 || !visit(name, value) {
				return
			}
		}
		if !ok {
			return
		}
	}
}

// reader takes values off bytes.
type reader []byte

func (r *reader) uvarint() (uint64, bool) {
	v, n := binary.Uvarint(*r)
	if n <= 0 {
		return 0, false
	}
	*r = (*r)[n:]
	return v, true
}

func (r *reader) text() ([]byte, bool) {
	n, ok := r.uvarint()
	if !ok || n > uint64(len(*r)) {
		return nil, false
	}
	v := (*r)[:n]
	*r = (*r)[n:]
	return v, true
}
