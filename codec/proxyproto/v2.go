package proxyproto

import (
	"encoding/binary"
	"net/netip"
)

// Command says on whose behalf a connection is made.
type Command uint8

// The commands of version 2.
const (
	// Local: the sender's own, such as a health check; no addresses are sent.
	Local Command = iota
	// Proxy: that of the addresses.
	Proxy
)

// The fixed part of version 2.
const (
	v2Version      = 2
	v2Bytes        = 16
	v2IPv4Bytes    = 4 + 4 + 2 + 2
	v2IPv6Bytes    = 16 + 16 + 2 + 2
	v2MaxRestBytes = 1<<16 - 1
)

// family is the byte of version 2 that says what kind of addresses there are. Others are refused.
type family uint8

const (
	familyNone family = 0x00
	familyTCP4 family = 0x11
	familyTCP6 family = 0x21
)

// parseV2 reads a header that begins with the signature. Addresses that are not TCP's, such as those of
// UDP and of UNIX sockets, are refused: what is carried here is a TCP connection.
func (h *Header) parseV2(view []byte, maxBytes int) (n int, st Status) {
	b := view[len(v2Signature):]
	if len(b) < 1 {
		return 0, NeedMore
	}
	command := Command(b[0] & 15)
	if b[0]>>4 != v2Version || command > Proxy {
		return 0, Malformed
	}
	if len(b) < 2 {
		return 0, NeedMore
	}
	least := 0 // bytes of addresses
	h.Local = command == Local || family(b[1]) == familyNone
	switch {
	case h.Local: // the family and all that follows is to be ignored
	case family(b[1]) == familyTCP4:
		least = v2IPv4Bytes
	case family(b[1]) == familyTCP6:
		least = v2IPv6Bytes
	default:
		return 0, Malformed
	}
	if len(b) < 4 {
		return 0, NeedMore
	}
	rest := int(binary.BigEndian.Uint16(b[2:]))
	n = v2Bytes + rest
	switch {
	case rest < least:
		return 0, Malformed
	case maxBytes > 0 && rest > maxBytes:
		return 0, TooLarge
	case len(view) < n:
		return 0, NeedMore
	case h.Local:
		return n, Done
	}
	source, destination := addressesOf(view[v2Bytes : v2Bytes+least])
	h.TLVs = TLVs(view[v2Bytes+least : n : n])
	if !h.setAddresses(source, destination) || !h.TLVs.check(view[:n]) {
		return 0, Malformed
	}
	return n, Done
}

// addressesOf reads source, destination, source port, destination port; the length tells the family.
func addressesOf(b []byte) (source, destination netip.AddrPort) {
	ports := b[len(b)-4:]
	var from, to netip.Addr
	if len(b) == v2IPv4Bytes {
		from, to = netip.AddrFrom4([4]byte(b)), netip.AddrFrom4([4]byte(b[4:]))
	} else {
		from, to = netip.AddrFrom16([16]byte(b)), netip.AddrFrom16([16]byte(b[16:]))
	}
	return netip.AddrPortFrom(from, binary.BigEndian.Uint16(ports)), netip.AddrPortFrom(to, binary.BigEndian.Uint16(ports[2:]))
}

// AppendV2 appends a header of version 2 for the connection from source to destination, whose bytes
// follow it. With Local, and with addresses of two families or unset ones, it has no addresses;
// zones are left out.
//
// tlvs were made with AppendTLV or come from a Header; a checksum among them is computed anew. If they
// do not fit the 65535 bytes there can be with the addresses, they are left out, all of them: the
// addresses matter more. No allocation when dst has room.
func AppendV2(dst []byte, command Command, source, destination netip.AddrPort, tlvs []byte) []byte {
	f := familyNone
	if command == Proxy {
		source, destination, f = familyOf(source, destination)
	}
	addressBytes := 0
	switch f {
	case familyTCP4:
		addressBytes = v2IPv4Bytes
	case familyTCP6:
		addressBytes = v2IPv6Bytes
	}
	if addressBytes+len(tlvs) > v2MaxRestBytes {
		tlvs = nil
	}
	start := len(dst)
	dst = append(dst, v2Signature...)
	dst = append(dst, v2Version<<4|byte(command), byte(f))
	dst = binary.BigEndian.AppendUint16(dst, uint16(addressBytes+len(tlvs)))
	switch f {
	case familyTCP4:
		from, to := source.Addr().As4(), destination.Addr().As4()
		dst = append(append(dst, from[:]...), to[:]...)
	case familyTCP6:
		from, to := source.Addr().As16(), destination.Addr().As16()
		dst = append(append(dst, from[:]...), to[:]...)
	}
	if f != familyNone {
		dst = binary.BigEndian.AppendUint16(dst, source.Port())
		dst = binary.BigEndian.AppendUint16(dst, destination.Port())
	}
	dst = append(dst, tlvs...)
	setChecksum(dst[start:], v2Bytes+addressBytes)
	return dst
}

// familyOf returns the family both addresses are of, and them as of that family: mapped ones are IPv4
// unless the other end is IPv6.
func familyOf(source, destination netip.AddrPort) (from, to netip.AddrPort, f family) {
	from, to = unmapBoth(source, destination)
	a, b := from.Addr().WithZone(""), to.Addr().WithZone("")
	switch {
	case a.Is4() && b.Is4():
		f = familyTCP4
	case a.Is6() && b.Is6():
		f = familyTCP6
	}
	return netip.AddrPortFrom(a, from.Port()), netip.AddrPortFrom(b, to.Port()), f
}
