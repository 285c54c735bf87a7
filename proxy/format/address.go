package format

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// endpoint is one end of a connection: an address, or the path of a unix socket.
type endpoint struct {
	addr netip.AddrPort
	pipe string
}

// form is which part of an address an operator shows.
type form uint8

const (
	whole form = iota // 10.0.0.1:80, [::1]:80, or a path
	ipOnly
	portOnly
)

func (e endpoint) append(dst []byte, f form) ([]byte, bool) {
	if !e.addr.IsValid() {
		if f == portOnly {
			return dst, false
		}
		return appendText(dst, e.pipe)
	}
	ip := e.addr.Addr().Unmap().WithZone("")
	switch f {
	case ipOnly:
		return ip.AppendTo(dst), true
	case portOnly:
		return strconv.AppendUint(dst, uint64(e.addr.Port()), 10), true
	}
	return netip.AddrPortFrom(ip, e.addr.Port()).AppendTo(dst), true
}

func upstream(i *streaminfo.Info) endpoint { return endpoint{i.UpstreamAddress, i.UpstreamPipe} }

func upstreamLocal(i *streaminfo.Info) endpoint { return endpoint{addr: i.UpstreamLocal} }

func local(i *streaminfo.Info) endpoint {
	if i.Conn == nil {
		return endpoint{}
	}
	return endpoint{i.Conn.Local, i.Conn.Pipe()}
}

// directLocal is the socket's own end, which local is not behind a PROXY header or original_dst.
func directLocal(i *streaminfo.Info) endpoint {
	if i.Conn == nil {
		return endpoint{}
	}
	return endpoint{i.Conn.DirectLocal(), i.Conn.Pipe()}
}

func directRemote(i *streaminfo.Info) endpoint {
	if i.Conn == nil {
		return endpoint{}
	}
	return endpoint{addr: i.Conn.DirectRemote()}
}

// remote is the trusted client address; while none was worked out, the connection's.
func remote(i *streaminfo.Info) endpoint {
	switch {
	case i.RemoteAddress.IsValid():
		return endpoint{addr: i.RemoteAddress}
	case i.Conn == nil:
		return endpoint{}
	}
	return endpoint{addr: i.Conn.Remote}
}

// address is the operator that shows one part of one end.
func address(end func(*streaminfo.Info) endpoint, f form) op {
	return op{bare: f == portOnly, eval: func(_ *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
		return end(i).append(dst, f)
	}}
}

// appendUpstreamName writes the endpoint's host name, or its address when it has none.
func appendUpstreamName(_ *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	if i.UpstreamHostName != "" {
		return append(dst, i.UpstreamHostName...), true
	}
	return upstream(i).append(dst, whole)
}

func appendUpstreamNameOnly(_ *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	name := i.UpstreamHostName
	if name == "" {
		return upstream(i).append(dst, ipOnly)
	}
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, ']') {
		name = name[:colon]
	}
	return append(dst, name...), true
}
