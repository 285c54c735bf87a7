package sniff

import "slices"

// DefaultMaxHelloBytes is Envoy's max_client_hello_size when it is not set, and the most it may be.
const DefaultMaxHelloBytes = 16 << 10

// Status is what ParseClientHello knows of a connection.
type Status uint8

// What the bytes seen so far say.
const (
	// NeedMore: nothing speaks against a ClientHello, but it is not whole.
	NeedMore Status = iota
	// TLS: a whole ClientHello was read.
	TLS
	// NotTLS: the bytes do not begin like a ClientHello in a TLS record.
	NotTLS
	// TooLarge: the hello ends after more bytes than allowed.
	TooLarge
	// Malformed: what began like a ClientHello breaks the rules of its records or of its fields.
	Malformed
)

var statusNames = [...]string{"need more", "TLS", "not TLS", "too large", "malformed"}

// String returns a name for logs.
func (s Status) String() string { return statusNames[s] }

// Record layer, RFC 8446 5.1.
const (
	recordHeaderBytes    = 5
	handshakeHeaderBytes = 4
	maxRecordBytes       = 1 << 14
	recordHandshake      = 22
	handshakeClientHello = 1
)

// ClientHello is what the first message of a TLS client says. The zero value is ready; it is made to
// be used again, one for each loop and not for each connection: it keeps the room that fingerprints
// are made in, a few times the largest hello.
//
// Loop-owned. Everything it returns is valid until the next ParseClientHello; what is not the server
// name lives in the view parsed, or in Join, and only as long as that.
type ClientHello struct {
	// Join is the caller's room for a hello that came in several records, whose bytes are not
	// contiguous in the view. It is written only then, and replaced by a larger one, of at most the
	// limit given, when it is too small.
	Join []byte

	// LegacyVersion is the version field of the message, 0x0303 from every current client; see Supports.
	LegacyVersion uint16
	// Size counts the bytes from the connection's first to the hello's last, record headers included.
	Size int
	// BadServerName says that the client named a server by something that is no host name (RFC 6066 3:
	// no trailing dot; here letters, digits, hyphens and underscores): ServerName is then nil, so that
	// an unchecked name matches no chain and reaches no log.
	BadServerName bool

	hasServerName bool
	nameLen       uint8
	name          [maxNameBytes]byte

	// Lists as sent, without their length prefix, checked to be whole elements.
	ciphers    []byte // two bytes each
	extensions []byte // type(2) length(2) value
	groups     []byte // two bytes each
	points     []byte // one byte each
	signatures []byte // two bytes each
	versions   []byte // two bytes each
	protocols  []byte // length(1) value

	text   []byte   // the text a fingerprint is the hash of
	sorted []uint16 // the values of a list in order
}

// reset forgets the last hello and keeps the room.
func (h *ClientHello) reset() {
	h.LegacyVersion, h.Size, h.BadServerName, h.hasServerName, h.nameLen = 0, 0, false, false, 0
	h.ciphers, h.extensions, h.groups, h.points, h.signatures, h.versions, h.protocols = nil, nil, nil, nil, nil, nil, nil
}

// ParseClientHello reads the hello that begins at view[0]; h is filled when the answer is TLS.
//
//	view: | 22 3 x len len | 1 len len len hello... | 22 3 x len len | ...hello | whatever follows |
//
// The view begins at the connection's first byte; each call is given all of it again. maxBytes bounds
// the place in the view at which the hello ends, 0 or less means DefaultMaxHelloBytes; a hello that
// says it is larger is refused without waiting for it. A hello may be split over records at any byte.
//
// Malformed is only what breaks a rule of the RFC, and crypto/tls or BoringSSL refuses. No allocation for a hello in one
// record, nor with enough room in Join. A call costs a step for each record until the hello is whole,
// then one for each of its extensions.
//
// Source: RFC 8446 4.1.2, 5.1; Envoy's tls_inspector.
func ParseClientHello(view []byte, maxBytes int, h *ClientHello) Status {
	h.reset()
	if maxBytes <= 0 {
		maxBytes = DefaultMaxHelloBytes
	}
	f, status := findHello(view, maxBytes)
	if status != TLS {
		return status
	}
	message := view[recordHeaderBytes:f.end]
	if f.records > 1 {
		message = h.join(view, f.size)
	}
	if !h.parse(message[handshakeHeaderBytes:]) {
		h.reset()
		return Malformed
	}
	h.Size = f.end
	return TLS
}

// frame is where the message lies that begins a view.
type frame struct {
	end     int // place in the view after its last byte
	size    int // bytes of the message with its header, record headers excluded
	records int // that it is in
}

// findHello walks the records up to the end of the hello; status TLS means that it is whole. Checks
// come in the order of the bytes, so that the answer does not depend on how many there are.
func findHello(view []byte, maxBytes int) (f frame, status Status) {
	size, have := handshakeHeaderBytes, 0 // size is a lower bound until the header is read
	length := 0
	for pos := 0; ; {
		if pos+recordHeaderBytes+size-have > maxBytes {
			return f, TooLarge
		}
		n, status := recordLength(view[min(pos, len(view)):], f.records == 0)
		if status != TLS {
			return f, status
		}
		f.records++
		pos += recordHeaderBytes
		end := pos + n
		for ; have < handshakeHeaderBytes && pos < end; pos++ {
			if pos >= len(view) {
				return f, NeedMore
			}
			if have == 0 && view[pos] != handshakeClientHello {
				return f, NotTLS
			}
			if have > 0 {
				length = length<<8 | int(view[pos])
			}
			have++
		}
		if have == handshakeHeaderBytes {
			size = handshakeHeaderBytes + length
		}
		left := size - have
		if pos+left > maxBytes {
			return f, TooLarge
		}
		if have >= handshakeHeaderBytes && left <= end-pos {
			f.end, f.size = pos+left, size
			if f.end > len(view) {
				return f, NeedMore
			}
			return f, TLS
		}
		have += end - pos
		pos = end
	}
}

// recordLength reads the header of a handshake record and returns the bytes of its payload. What is
// wrong in the first record shows another protocol, in a later one a broken hello.
func recordLength(b []byte, first bool) (n int, status Status) {
	wrong := Malformed
	if first {
		wrong = NotTLS
	}
	if len(b) > 0 && b[0] != recordHandshake ||
		len(b) > 1 && b[1] != 3 || // RFC 8446 5.1: the minor version must be ignored
		len(b) > 3 && b[3] > maxRecordBytes>>8 {
		return 0, wrong
	}
	if len(b) < recordHeaderBytes {
		return 0, NeedMore
	}
	n = int(b[3])<<8 | int(b[4])
	if n == 0 || n > maxRecordBytes { // an empty handshake record is forbidden
		return 0, wrong
	}
	return n, TLS
}

// join copies the message of size bytes out of its records, which are all in view.
func (h *ClientHello) join(view []byte, size int) []byte {
	b := slices.Grow(h.Join[:0], size)
	for len(b) < size {
		n := int(view[3])<<8 | int(view[4])
		view = view[recordHeaderBytes:]
		b = append(b, view[:min(n, size-len(b))]...)
		view = view[min(n, len(view)):]
	}
	h.Join = b
	return b
}
