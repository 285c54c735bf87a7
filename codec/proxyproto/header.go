package proxyproto

import "net/netip"

// Status is what Parse knows of a connection.
type Status uint8

// What the bytes seen so far say.
const (
	// NeedMore: nothing speaks against a header, but it is not whole.
	NeedMore Status = iota
	// Done: a whole header was read.
	Done
	// NotProxy: the bytes begin like neither version.
	NotProxy
	// TooLarge: a header of version 2 with more addresses and TLVs than the limit.
	TooLarge
	// Malformed: it begins like the version in the Header, and goes on as it must not.
	Malformed
)

var statusNames = [...]string{"need more", "done", "not a PROXY header", "too large", "malformed"}

// String returns a name for logs.
func (s Status) String() string { return statusNames[s] }

// Header is what a PROXY header says. The zero value is ready.
type Header struct {
	// Version is 1 or 2 once the first bytes have shown which, also when the header is then refused.
	Version uint8
	// Local says that the connection is the sender's own or of a kind that has no addresses here
	// (LOCAL, UNKNOWN, AF_UNSPEC): the addresses of the socket hold, and the others are unset.
	Local bool
	// Source and Destination are the ends of the connection that is carried. IPv4 is IPv4 even when
	// both came mapped into IPv6, as with the addresses of sockets.
	Source, Destination netip.AddrPort
	// TLVs is a view of the bytes parsed: what a header of version 2 says besides.
	TLVs TLVs
}

// MaxV1Bytes is the longest header of version 1, with its CRLF.
const MaxV1Bytes = 107

// v1Prefix shows version 1: whatever begins so is no other protocol.
const v1Prefix = "PROXY"

// v2Signature shows version 2.
const v2Signature = "\r\n\r\n\x00\r\nQUIT\n"

// Parse reads the header that begins at view[0] into h.
//
//	view: | PROXY SP TCP4 SP source SP destination SP port SP port CRLF | the connection's own bytes |
//	      | signature(12) version/command(1) family(1) length(2) | addresses, TLVs | the same |
//
// The view begins at the connection's first byte; each call is given all of it again. n is the bytes
// of the header when the status is Done, else 0. maxBytes bounds the addresses and TLVs of version 2,
// which its sender may make 65535; 0 or less is no bound but that.
//
// No allocation. A call costs the bytes of a version 1 line, or for version 2 a few steps until the
// header is whole, and then a step for each TLV and the checksum if there is one.
func Parse(view []byte, maxBytes int, h *Header) (n int, st Status) {
	*h = Header{}
	if begins(view, v1Prefix) {
		if len(view) < len(v1Prefix) {
			return 0, NeedMore
		}
		h.Version = 1
		n, st = h.parseV1(view)
	} else if begins(view, v2Signature) {
		if len(view) < len(v2Signature) {
			return 0, NeedMore
		}
		h.Version = 2
		n, st = h.parseV2(view, maxBytes)
	} else {
		return 0, NotProxy
	}
	if st != Done {
		*h = Header{Version: h.Version}
	}
	return n, st
}

// begins says whether b and s are the same as far as both go.
func begins(b []byte, s string) bool {
	n := min(len(b), len(s))
	return string(b[:n]) == s[:n]
}

// setAddresses keeps the ends of a connection, and says whether they can be: both unicast, as TCP
// needs and Envoy asks for. Two addresses mapped into IPv6 are an IPv4 connection; one alone stays so.
func (h *Header) setAddresses(source, destination netip.AddrPort) bool {
	h.Source, h.Destination = unmapBoth(source, destination)
	return unicast(h.Source.Addr()) && unicast(h.Destination.Addr())
}

func unmapBoth(a, b netip.AddrPort) (netip.AddrPort, netip.AddrPort) {
	a4, b4 := a.Addr().Unmap(), b.Addr().Unmap()
	if !a4.Is4() || !b4.Is4() {
		return a, b
	}
	return netip.AddrPortFrom(a4, a.Port()), netip.AddrPortFrom(b4, b.Port())
}

func unicast(a netip.Addr) bool {
	a = a.Unmap()
	return !a.IsUnspecified() && !a.IsMulticast() && a != broadcast
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
