package sniff

import "encoding/binary"

// Bounds of a host name as text, without the trailing dot (RFC 1035 2.3.4).
const (
	maxNameBytes  = 253
	maxLabelBytes = 63
)

// Extensions that are read; the others count for fingerprints only.
const (
	extServerName        = 0
	extSupportedGroups   = 10
	extPointFormats      = 11
	extSignatures        = 13
	extProtocols         = 16
	extSupportedVersions = 43
)

const (
	randomBytes       = 32
	maxSessionIDBytes = 32
	nameTypeHost      = 0
	versionTLS10      = 0x0301
)

// cursor reads fields from the front of b. Once a field is not there, bad stays true and every
// further field is empty.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.b, c.bad = nil, true
		return nil
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) uint8() int {
	if v := c.take(1); v != nil {
		return int(v[0])
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if v := c.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

// list8 and list16 read a list after its length in one or two bytes; an empty one is bad, since none
// of those read here may be.
func (c *cursor) list8() []byte  { return c.list(c.uint8()) }
func (c *cursor) list16() []byte { return c.list(int(c.uint16())) }

func (c *cursor) list(n int) []byte {
	v := c.take(n)
	c.bad = c.bad || n == 0
	return v
}

// pairs is a list of elements of two bytes.
func (c *cursor) pairs(list []byte) []byte {
	c.bad = c.bad || len(list)%2 != 0
	return list
}

// parse reads the message b (RFC 8446 4.1.2):
//
//	version(2) random(32) session<0..32> ciphers<2..> compressions<1..> [ extensions<0..> ]
//
// False when it is malformed; h is then scratch.
func (h *ClientHello) parse(b []byte) bool {
	c := cursor{b: b}
	h.LegacyVersion = c.uint16()
	c.take(randomBytes)
	session := c.uint8()
	c.take(session)
	h.ciphers = c.pairs(c.list16())
	c.list8() // compression methods
	if c.bad || session > maxSessionIDBytes {
		return false
	}
	if len(c.b) == 0 {
		return true // clients before TLS 1.2 may leave the extensions out
	}
	h.extensions = c.take(int(c.uint16()))
	return !c.bad && len(c.b) == 0 && h.parseExtensions()
}

func (h *ClientHello) parseExtensions() bool {
	var seen [1 << 16 / 64]uint64 // a bit for each type
	all := cursor{b: h.extensions}
	for len(all.b) > 0 {
		kind := all.uint16()
		e := cursor{b: all.take(int(all.uint16()))}
		word, bit := &seen[kind/64], uint64(1)<<(kind%64)
		if all.bad || *word&bit != 0 { // RFC 8446 4.2: a type at most once
			return false
		}
		*word |= bit
		switch kind {
		case extServerName:
			h.hasServerName = true
			h.parseServerName(&e)
		case extSupportedGroups:
			h.groups = e.pairs(e.list16())
		case extPointFormats:
			h.points = e.list8()
		case extSignatures:
			h.signatures = e.pairs(e.list16())
		case extProtocols:
			h.protocols = e.list16()
			for p := (cursor{b: h.protocols}); len(p.b) > 0; {
				p.list8()
				e.bad = e.bad || p.bad
			}
		case extSupportedVersions:
			h.versions = e.pairs(e.list8())
		default:
			continue // not ours to judge
		}
		if e.bad || len(e.b) > 0 {
			return false
		}
	}
	return true
}

// parseServerName reads server_name (RFC 6066 3): a list of type(1) name<1..>, with one host name.
func (h *ClientHello) parseServerName(e *cursor) {
	names := cursor{b: e.list16()}
	for hosts := 0; len(names.b) > 0; {
		kind := names.uint8()
		name := names.list16()
		if kind == nameTypeHost {
			hosts++
			h.setName(name)
		}
		e.bad = e.bad || names.bad || hosts > 1
	}
}

// setName keeps the host name in lower case, or marks it as bad.
func (h *ClientHello) setName(name []byte) {
	if !isHostName(name) {
		h.BadServerName = true
		return
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		h.name[i] = c
	}
	h.nameLen = uint8(len(name))
}

// isHostName says whether name is labels of letters, digits, hyphens and underscores between dots.
func isHostName(name []byte) bool {
	label := 0 // bytes since the last dot
	for _, c := range name {
		switch {
		case c == '.' && label > 0:
			label = 0
		case label < maxLabelBytes && (alphanumeric(c) || c == '-' || c == '_'):
			label++
		default:
			return false
		}
	}
	return label > 0 && len(name) <= maxNameBytes
}

// ServerName returns the host the client asks for (SNI) in lower case, nil when it names none or none
// that is a host name. It lives in h.
func (h *ClientHello) ServerName() []byte {
	if h.nameLen == 0 {
		return nil
	}
	return h.name[:h.nameLen]
}

// Protocols returns the application protocols offered (ALPN), the one preferred first.
func (h *ClientHello) Protocols() Protocols { return h.protocols }

// Protocols is a list of application protocol names, as sent: length(1) name. Never malformed.
type Protocols []byte

// Next removes the first name and returns it; false at the end. No allocation:
//
//	list := h.Protocols()
//	for name, ok := list.Next(); ok; name, ok = list.Next() {
func (p *Protocols) Next() (name []byte, ok bool) {
	b := *p
	if len(b) == 0 {
		return nil, false
	}
	n := 1 + int(b[0])
	*p = b[n:]
	return b[1:n], true
}

// Supports says whether the client offers a version, such as tls.VersionTLS13. Without the extension
// supported_versions it offers TLS 1.0 up to LegacyVersion (RFC 8446 4.2.1).
func (h *ClientHello) Supports(version uint16) bool {
	if h.versions == nil {
		return version >= versionTLS10 && version <= h.LegacyVersion
	}
	for v := h.versions; len(v) > 0; v = v[2:] {
		if binary.BigEndian.Uint16(v) == version {
			return true
		}
	}
	return false
}

// MaxVersion returns the highest version offered.
func (h *ClientHello) MaxVersion() uint16 {
	highest := uint16(0)
	for v := h.versions; len(v) > 0; v = v[2:] {
		if version := binary.BigEndian.Uint16(v); version > highest && !isGREASE(version) {
			highest = version
		}
	}
	if highest == 0 {
		return h.LegacyVersion
	}
	return highest
}

// isGREASE says whether v is one of the values that stand for nothing (RFC 8701): 0x0a0a, 0x1a1a, ...
func isGREASE(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }
