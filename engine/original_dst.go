package engine

import (
	"net/netip"

	"github.com/sluiceproxy/sluice/engine/sock"
)

// OriginalDst returns the address an accepted connection was made to before a packet filter
// redirected it here; invalid when none did, and on systems without SO_ORIGINAL_DST. One system call.
func (c *Conn) OriginalDst() netip.AddrPort {
	if c.fd < 0 || c.flags&fUnix != 0 {
		return netip.AddrPort{}
	}
	return sock.OriginalDst(int(c.fd), c.remote.Addr().Is4())
}
