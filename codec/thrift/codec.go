package thrift

import (
	"encoding/binary"

	"github.com/sluiceproxy/sluice/codec/frame"
)

// Matching implements frame.Codec.
func (Codec) Matching() frame.Matching { return frame.ByID }

// MaxBuffered implements frame.Codec.
func (Codec) MaxBuffered() int { return maxHead }

// NewRequestDecoder implements frame.Codec.
func (c Codec) NewRequestDecoder() frame.Decoder { return &decoder{codec: c} }

// NewResponseDecoder implements frame.Codec.
func (c Codec) NewResponseDecoder() frame.Decoder { return &decoder{codec: c, response: true} }

// Types of TApplicationException.
const (
	unknownMethod = 1
	internalError = 6
	protocolError = 7
)

// AppendReply appends an exception with the details as its message, written as the request was.
func (Codec) AppendReply(dst []byte, request *frame.Frame, s frame.Status, details string) ([]byte, uint16) {
	kind := uint32(internalError)
	switch s {
	case frame.NotFound:
		kind = unknownMethod
	case frame.InvalidArgument:
		kind = protocolError
	}
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	compact := request.Note&noteCompact != 0
	if request.Note&noteHeader != 0 {
		dst = append(dst, 0x0f, 0xff, 0, 0)
		dst = binary.BigEndian.AppendUint32(dst, uint32(request.ID))
		protocol := byte(wireBinary)
		if compact {
			protocol = wireCompact
		}
		dst = append(dst, 0, 1, protocol, 0, 0, 0) // one word: protocol, no transforms, padding
	}
	if compact {
		dst = append(dst, 0x82, typeException<<5|1)
		dst = binary.AppendUvarint(dst, uint64(uint32(request.ID)))
		dst = appendCompactText(dst, string(request.Method))
		dst = append(dst, 0x18) // field 1, binary
		dst = appendCompactText(dst, details)
		dst = append(dst, 0x15) // field 2, i32
		dst = binary.AppendUvarint(dst, uint64(kind)<<1)
		dst = append(dst, 0)
	} else {
		dst = append(dst, 0x80, 0x01, 0, typeException)
		dst = appendText(dst, string(request.Method))
		dst = binary.BigEndian.AppendUint32(dst, uint32(request.ID))
		dst = append(dst, 11, 0, 1) // field 1, string
		dst = appendText(dst, details)
		dst = append(dst, 8, 0, 2) // field 2, i32
		dst = binary.BigEndian.AppendUint32(dst, kind)
		dst = append(dst, 0)
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst, 1
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(s))), s...)
}

func appendCompactText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// Property implements frame.Properties: an info header.
func (Codec) Property(head []byte, _ bool, name string) (value []byte, ok bool) {
	infos(head, func(n, v []byte) bool {
		if string(n) == name {
			value, ok = v, true
		}
		return !ok
	})
	return value, ok
}

// VisitProperties implements frame.Properties.
func (Codec) VisitProperties(head []byte, _ bool, f func(name, value []byte) bool) { infos(head, f) }
