package forwarded

import (
	"bytes"
	"net"
	"net/netip"

	"github.com/sluiceproxy/sluice/codec/header"
)

// addrLen fits any address text: eight groups of four digits with colons, or less.
const addrLen = 48

// trust finds the trusted client address and what follows from it (RT-91 table, RT-92, RT-94):
//
//	use_remote_address  N    address
//	true                0    peer
//	true                >0   N-th entry of x-forwarded-for from the right, before this proxy's own
//	false               any  (N+1)-th entry from the right
//
// An entry that is missing or no address means the peer.
func (p *Policy) trust(h *header.Head, in *Facts) Decision {
	peer := plain(in.Peer)
	if in.UnixPeer {
		peer = netip.Addr{}
	}
	hops := p.conf.XFFNumTrustedHops
	d := Decision{Trusted: peer}
	if p.conf.UseRemoteAddress {
		if hops > 0 {
			if a, ok := parseAddr(fromRight(h, hops-1)); ok {
				d.Trusted = a
			}
		}
		d.Internal = !h.Has(header.XForwardedFor) && p.internal(d.Trusted, in.UnixPeer)
	} else if a, ok := parseAddr(fromRight(h, hops)); ok {
		d.Trusted = a
		// With trusted hops there is more than one entry by now, so the request is external.
		d.Internal = singleXFF(h) && p.internal(a, false)
	}
	d.Edge = p.conf.UseRemoteAddress && !d.Internal
	return d
}

// internal says whether an address belongs to internal_address_config (RT-93).
func (p *Policy) internal(a netip.Addr, unix bool) bool {
	if unix && !a.IsValid() {
		return p.conf.InternalUnixSockets
	}
	for _, prefix := range p.conf.InternalAddresses {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// plain returns an address as it is compared and written: IPv4 as such, without a zone.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// fromRight returns the n-th entry, from 0, of x-forwarded-for counted from its end over all fields,
// without the space around it; nil when there are not so many.
func fromRight(h *header.Head, n int) []byte {
	if !h.Has(header.XForwardedFor) {
		return nil
	}
	for i := len(h.Fields) - 1; i >= 0; i-- {
		f := &h.Fields[i]
		if f.ID != header.XForwardedFor || f.Dead {
			continue
		}
		for list := h.Bytes(f.Value); ; n-- {
			comma := bytes.LastIndexByte(list, ',')
			if n == 0 {
				return bytes.Trim(list[comma+1:], " \t")
			}
			if comma < 0 {
				n--
				break
			}
			list = list[:comma]
		}
	}
	return nil
}

// singleXFF says whether x-forwarded-for is one field with one entry.
func singleXFF(h *header.Head) bool {
	i := h.Index(header.XForwardedFor)
	return i >= 0 && h.Next(i) < 0 && bytes.IndexByte(h.Bytes(h.Fields[i].Value), ',') < 0
}

// appendXFF adds the peer to x-forwarded-for (RT-91). A list spread over several fields becomes one,
// so that an upstream that reads a single field cannot be shown only the client's part.
func (p *Policy) appendXFF(h *header.Head, in *Facts) {
	if in.UnixPeer {
		return
	}
	peer := plain(in.Peer)
	if peer.IsLoopback() {
		peer = p.own
	}
	if !peer.IsValid() {
		return
	}
	var b [addrLen]byte
	text := peer.AppendTo(b[:0])
	i := h.Index(header.XForwardedFor)
	if i < 0 || h.Next(i) < 0 {
		h.Append(header.XForwardedFor, ",", text)
		return
	}
	out := append(in.Scratch[:0], h.Bytes(h.Fields[i].Value)...)
	for j := h.Next(i); j >= 0; j = h.Next(j) {
		out = append(out, ',')
		out = append(out, h.Bytes(h.Fields[j].Value)...)
	}
	out = append(out, ',')
	h.Set(header.XForwardedFor, append(out, text...))
}

// ownAddress returns an address of this machine others can reach, IPv4 first; loopback when it has none.
func ownAddress() netip.Addr {
	own := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return own
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		ip = ip.Unmap()
		switch {
		case !ok || ip.IsLoopback() || ip.IsLinkLocalUnicast():
		case ip.Is4():
			return ip
		case own.IsLoopback():
			own = ip
		}
	}
	return own
}
