// Package dubbo is a codec of the generic proxy for Dubbo with Hessian2 bodies.
//
//	| 0xdabb | flags | status | id 8 | length 4 | body |
//	request body:  Dubbo version, service, service version, method, parameter types, arguments, attachments
//	response body: what it is: 0 exception, 1 value, 2 null, 3 to 5 the same with attachments; value; attachments
//
// The method is the method, host and path are the service, the property "version" is the service's
// version and all others are attachments. Those are read of messages of up to 1 MiB; larger ones are
// passed on as they come, and have no properties but version. A body has at most 16 MiB.
//
// Heartbeats are answered here, in both directions (GP-23).
package dubbo

import (
	"encoding/binary"

	"github.com/sluiceproxy/sluice/codec/frame"
)

const (
	headerBytes = 16
	maxBody     = 16 << 20
	maxWhole    = 1 << 20
	maxEvent    = 1 << 10
	maxNames    = 64 << 10

	flagRequest = 0x80
	flagTwoWay  = 0x40
	flagEvent   = 0x20
	serialMask  = 0x1f
	hessian2    = 2

	statusOK         = 20
	statusBadRequest = 40
	statusError      = 80
)

// Complaints.
const (
	errMagic     frame.Error = "dubbo: not a message"
	errDirection frame.Error = "dubbo: a message of the other direction"
	errSerial    frame.Error = "dubbo: a body that is not Hessian2"
	errBody      frame.Error = "dubbo: a body of more than 16 MiB"
	errEvent     frame.Error = "dubbo: an event of more than 1 KiB"
	errNames     frame.Error = "dubbo: a request that does not begin with versions, service and method"
)

// Codec is the protocol.
type Codec struct{}

var (
	_ frame.Codec      = Codec{}
	_ frame.Properties = Codec{}
	_ frame.Editor     = Codec{}
)

// Protocol implements frame.Codec.
func (Codec) Protocol() string { return "dubbo" }

// Matching implements frame.Codec.
func (Codec) Matching() frame.Matching { return frame.ByID }

// MaxBuffered implements frame.Codec.
func (Codec) MaxBuffered() int { return headerBytes + maxWhole }

// NewRequestDecoder implements frame.Codec.
func (Codec) NewRequestDecoder() frame.Decoder { return &decoder{} }

// NewResponseDecoder implements frame.Codec.
func (Codec) NewResponseDecoder() frame.Decoder { return &decoder{response: true} }

// AppendReply appends an error response: the details as its message, and as the attachment reason.
func (Codec) AppendReply(dst []byte, request *frame.Frame, s frame.Status, details string) ([]byte, uint16) {
	status := byte(statusError)
	if s == frame.InvalidArgument {
		status = statusBadRequest
	}
	start := len(dst)
	dst = appendHeader(dst, hessian2, status, request.ID)
	dst = appendText(dst, details)
	dst = append(dst, 'H')
	dst = appendText(appendText(dst, "reason"), details)
	dst = append(dst, 'Z')
	binary.BigEndian.PutUint32(dst[start+12:], uint32(len(dst)-start-headerBytes))
	return dst, uint16(status)
}

func appendHeader(dst []byte, flags, status byte, id uint64) []byte {
	dst = append(dst, 0xda, 0xbb, flags, status)
	return append(binary.BigEndian.AppendUint64(dst, id), 0, 0, 0, 0)
}

// decoder reads one direction.
type decoder struct {
	response bool
	left     int
	id       uint64
	reply    [headerBytes + 1]byte
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
		f.Flags, f.ID = frame.Common, d.id
		if d.left -= n; d.left == 0 {
			f.Flags |= frame.End
		}
		return n, nil
	}
	if b[0] != 0xda || len(b) > 1 && b[1] != 0xbb {
		return 0, errMagic
	}
	if len(b) < headerBytes {
		return 0, nil
	}
	flags, size := b[2], binary.BigEndian.Uint32(b[12:])
	d.id = binary.BigEndian.Uint64(b[4:])
	request := flags&flagRequest != 0
	switch {
	case size > maxBody:
		return 0, errBody
	case flags&flagEvent != 0:
		return d.event(b, f, request)
	case request == d.response:
		return 0, errDirection
	case request && flags&serialMask != hessian2:
		return 0, errSerial
	}
	total := headerBytes + int(size)
	if len(b) < total && int(size) <= maxWhole {
		return 0, nil
	}
	n := min(len(b), total)
	if request {
		ok, whole := names(b[headerBytes:n], f)
		if !ok {
			if whole || n == total || n >= headerBytes+maxNames {
				return 0, errNames
			}
			return 0, nil
		}
		if flags&flagTwoWay == 0 {
			f.Flags = frame.OneWay
		}
	} else {
		f.Code = uint16(b[3])
		f.Failed = f.Code != statusOK
		if size > 0 {
			if n == headerBytes {
				return 0, nil
			}
			if kind := b[headerBytes]; kind == 0x90 || kind == 0x93 { // an exception
				f.Failed = true
			}
		}
	}
	f.ID = d.id
	f.Flags |= frame.Header
	if d.left = total - n; d.left == 0 {
		f.Flags |= frame.End
	}
	return n, nil
}

// event answers a heartbeat, and drops the answer to one.
func (d *decoder) event(b []byte, f *frame.Frame, request bool) (int, error) {
	size := int(binary.BigEndian.Uint32(b[12:]))
	if size > maxEvent {
		return 0, errEvent
	}
	if len(b) < headerBytes+size {
		return 0, nil
	}
	if request && b[2]&flagTwoWay != 0 {
		r := append(appendHeader(d.reply[:0], flagEvent|b[2]&serialMask, statusOK, d.id), 'N')
		r[15] = 1
		f.Flags, f.Reply = frame.Answer, r
	}
	return headerBytes + size, nil
}

// names reads what a request begins with. whole says that more bytes would not help.
func names(b []byte, f *frame.Frame) (ok, whole bool) {
	at := 0
	var parts [4][]byte
	for i := range parts {
		if at < len(b) && !isText(b[at]) {
			return false, true
		}
		var ok bool
		if parts[i], at, ok = text(b, at); !ok {
			return false, false
		}
	}
	f.Host, f.Path, f.Method = parts[1], parts[1], parts[3]
	return true, true
}

func isText(c byte) bool { return c <= 0x1f || 0x30 <= c && c <= 0x33 || c == 'S' }

// attachments finds where the attachments of a message begin, which must be there whole; 0: it has none.
func attachments(head []byte, response bool) int {
	if len(head) < headerBytes || len(head) != headerBytes+int(binary.BigEndian.Uint32(head[12:])) {
		return 0
	}
	var w walker
	at, ok := headerBytes, true
	if response {
		kind, next, ok := number(head, at)
		if !ok || kind < 3 || kind > 5 {
			return 0
		}
		if at = next; kind != 5 {
			if at, ok = w.skip(head, at, 0); !ok {
				return 0
			}
		}
		return at
	}
	for range 4 {
		if _, at, ok = text(head, at); !ok {
			return 0
		}
	}
	types, at, ok := text(head, at)
	n := arguments(types)
	if !ok || n < 0 {
		return 0
	}
	for ; n > 0; n-- {
		if at, ok = w.skip(head, at, 0); !ok {
			return 0
		}
	}
	return at
}

// entries calls visit for each attachment that is a text, with where it begins and ends.
func entries(head []byte, at int, visit func(name, value []byte, from, to int) bool) (end int, ok bool) {
	if at == 0 || at >= len(head) {
		return at, false
	}
	var w walker
	switch head[at] {
	case 'H':
		at++
	case 'M':
		if at, ok = w.skip(head, at+1, 0); !ok {
			return at, false
		}
	default:
		return at, false
	}
	for at < len(head) && head[at] != 'Z' {
		from := at
		name, next, isText := text(head, at)
		if !isText {
			if next, ok = w.skip(head, at, 0); !ok {
				return at, false
			}
		}
		value, end, valueText := text(head, next)
		if !valueText {
			if end, ok = w.skip(head, next, 0); !ok {
				return at, false
			}
		}
		at = end
		if isText && valueText && !visit(name, value, from, end) {
			return at, true
		}
	}
	return at, at < len(head)
}

const versionProperty = "version"

// version returns the service's version.
func version(head []byte) ([]byte, bool) {
	at, ok := headerBytes, true
	for range 2 {
		if _, at, ok = text(head, at); !ok {
			return nil, false
		}
	}
	v, _, ok := text(head, at)
	return v, ok
}

// Property implements frame.Properties.
func (Codec) Property(head []byte, response bool, name string) (value []byte, ok bool) {
	if !response && name == versionProperty {
		return version(head)
	}
	entries(head, attachments(head, response), func(n, v []byte, _, _ int) bool {
		if string(n) == name {
			value, ok = v, true
		}
		return !ok
	})
	return value, ok
}

// VisitProperties implements frame.Properties.
func (Codec) VisitProperties(head []byte, response bool, f func(name, value []byte) bool) {
	if v, ok := version(head); ok && !response && !f([]byte(versionProperty), v) {
		return
	}
	entries(head, attachments(head, response), func(n, v []byte, _, _ int) bool { return f(n, v) })
}

// AppendEdited implements frame.Editor, for attachments of requests that are there whole.
func (Codec) AppendEdited(dst, head []byte, response bool, name string, value []byte, erase bool) ([]byte, bool) {
	at := attachments(head, response)
	if at == 0 || at > len(head) || response || name == versionProperty || len(value) > 1<<16-1 {
		return dst, false
	}
	start := len(dst)
	from, to, entriesFrom := -1, -1, at+1
	end := at
	if at < len(head) && head[at] != 'N' {
		if head[at] == 'M' {
			var w walker
			entriesFrom, _ = w.skip(head, at+1, 0)
		}
		var ok bool
		end, ok = entries(head, at, func(n, _ []byte, f, t int) bool {
			if from < 0 && string(n) == name {
				from, to = f, t
			}
			return true
		})
		if !ok {
			return dst, false
		}
		dst = append(dst, head[:entriesFrom]...)
		if from < 0 {
			from, to = entriesFrom, entriesFrom
		}
		dst = append(dst, head[entriesFrom:from]...)
		dst = append(dst, head[to:end]...)
	} else {
		dst = append(append(dst, head[:at]...), 'H')
	}
	if !erase {
		dst = appendText(appendText(dst, name), string(value))
	}
	dst = append(dst, 'Z')
	binary.BigEndian.PutUint32(dst[start+12:], uint32(len(dst)-start-headerBytes))
	return dst, true
}
