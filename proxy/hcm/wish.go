package hcm

import (
	"bytes"
	"net/netip"

	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// wish says what the request asks of the TLS to its host, and whether that is anything. What a network
// filter left in the connection's filter state comes before auto_sni and auto_san_validation. Views are
// valid until the stream's next change. No allocation.
func (st *stream) wish(w *worker.Wish) bool {
	named := st.cluster.NamesTLS
	if named {
		c := st.cluster.C.Conf
		host := st.tlsHost()
		if c.AutoSNI && !isAddress(host) { // an address is no server name (RFC 6066 3)
			w.ServerName = host
		}
		if c.AutoSANValidation {
			if w.SANs = host; len(host) == 0 || bytes.IndexByte(host, ',') >= 0 {
				w.SANs = nobody // not: whoever answers
			}
		}
	}
	if x := st.info.Conn.Extra; x != nil && w.FromState(&x.State) {
		named = true
	}
	return named
}

// nobody is a name that no certificate has.
var nobody = []byte{0}

// tlsHost returns the host of tlsName in lower case.
func (st *stream) tlsHost() []byte {
	host := http1.StripPort(st.tlsName)
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	for i, c := range host {
		if 'A' <= c && c <= 'Z' {
			host[i] = c | 0x20
		}
	}
	return host
}

// longestAddress is the length of an IPv6 address with an embedded IPv4 one.
const longestAddress = len("0000:0000:0000:0000:0000:ffff:255.255.255.255")

func isAddress(host []byte) bool {
	if len(host) == 0 || len(host) > longestAddress {
		return false
	}
	if bytes.IndexByte(host, ':') < 0 {
		for _, c := range host {
			if c != '.' && (c < '0' || c > '9') {
				return false // no need to look any closer
			}
		}
	}
	_, err := netip.ParseAddr(string(host))
	return err == nil
}
