package streaminfo

import "net/netip"

// Extra is what few connections have: what listener filters found out, and what network filters left
// for one another. Loop-owned and reused; whatever it returns is valid until its connection is over.
type Extra struct {
	// DirectRemote and DirectLocal are the addresses of the socket when Connection's were replaced
	// (PROXY protocol, original_dst); invalid when they were not.
	DirectRemote, DirectLocal netip.AddrPort
	// ServerName is the SNI of a ClientHello, lower case.
	ServerName []byte
	// ALPN are the application protocols offered, each after its length in one byte (RFC 7301 3.1).
	ALPN []byte
	// Transport is conf.TransportTLS or conf.TransportRawBuffer once a filter knows; else empty.
	Transport string
	// JA3 and JA4 are fingerprints of a ClientHello; empty when they were not asked for.
	JA3, JA4 []byte
	// PrefaceBytes counts what listener filters consumed: a PROXY header.
	PrefaceBytes uint64
	// TLVs are those of a received PROXY header that may go on to an upstream, in their wire form.
	TLVs []byte

	State    FilterState
	Metadata Metadata
	// Kept are what HTTP filters keep for the connection, by themselves. Few.
	Kept []Kept
	// Admitted hears when the connection is over; nil when nobody wants to.
	Admitted Admitted
}

// Kept is what one filter keeps for a connection.
type Kept struct{ Key, Value any }

// Admitted is a filter chain whose network filters let the connection in.
type Admitted interface{ Leave(facts *Connection) }

// Reset clears everything but keeps the memory, as far as a connection usually needs it.
func (x *Extra) Reset() {
	x.State.reset()
	x.Metadata.reset()
	clear(x.Kept)
	*x = Extra{
		ServerName: emptied(x.ServerName), ALPN: emptied(x.ALPN), JA3: emptied(x.JA3), JA4: emptied(x.JA4), TLVs: emptied(x.TLVs),
		State: x.State, Metadata: x.Metadata, Kept: x.Kept[:0],
	}
}

// maxKeptBytes and maxKeptEntries bound what an Extra keeps for the next connection.
const (
	maxKeptBytes   = 512
	maxKeptEntries = 16
)

// emptied is b without its bytes, nil when it is too large to be kept.
func emptied(b []byte) []byte {
	if cap(b) > maxKeptBytes {
		return nil
	}
	return b[:0]
}

// HasALPN says whether the application protocol was offered.
func (x *Extra) HasALPN(name string) bool {
	for list := x.ALPN; len(list) > 0; {
		n := int(list[0])
		if len(list) < 1+n {
			return false
		}
		if string(list[1:1+n]) == name {
			return true
		}
		list = list[1+n:]
	}
	return false
}

// AddALPN adds an application protocol; at most 255 bytes of name count.
func (x *Extra) AddALPN(name string) {
	name = name[:min(len(name), 255)]
	x.ALPN = append(append(x.ALPN, byte(len(name))), name...)
}

// Keys of filter state that the TCP proxy reads (tcp_proxy.md 11). Values are text.
const (
	KeyTCPCluster              = "envoy.tcp_proxy.cluster"
	KeyTCPReceiveBeforeConnect = "envoy.tcp_proxy.receive_before_connect"         // "true" or "false"
	KeyTCPDisableTunneling     = "envoy.tcp_proxy.disable_tunneling"              // "true" or "false"
	KeyTCPIdleTimeoutMs        = "envoy.tcp_proxy.per_connection_idle_timeout_ms" // decimal
	KeyTCPTunnelHeaders        = "envoy.tcp_proxy.propagate_response_headers"
	KeyTCPTunnelTrailers       = "envoy.tcp_proxy.propagate_response_trailers"
	KeyUpstreamServerName      = "envoy.network.upstream_server_name"       // SNI
	KeyUpstreamALPN            = "envoy.network.application_protocols"      // comma separated
	KeyUpstreamSANs            = "envoy.network.upstream_subject_alt_names" // comma separated
	KeyUpstreamDynamicHost     = "envoy.upstream.dynamic_host"              // name or address
	KeyUpstreamDynamicPort     = "envoy.upstream.dynamic_port"              // decimal
	// KeyUpstreamAddress is where dynamic forward proxies note the address that a name has
	// (save_upstream_address).
	KeyUpstreamAddress = "envoy.stream.upstream_address"
)

// FilterState holds named values of one connection. Few, so it is searched in order. The zero value
// is empty.
type FilterState struct{ entries []stateEntry }

type stateEntry struct {
	key      string
	value    []byte
	readOnly bool
}

// Get returns the value of key. The bytes change with the next Set of it.
func (s *FilterState) Get(key string) (value []byte, ok bool) {
	for i := range s.entries {
		if s.entries[i].key == key {
			return s.entries[i].value, true
		}
	}
	return nil, false
}

// Set stores a copy of value. It reports false, and changes nothing, when the key is read-only. No
// allocation once a connection's memory has held as much before.
func (s *FilterState) Set(key string, value []byte, readOnly bool) bool {
	for i := range s.entries {
		if e := &s.entries[i]; e.key == key {
			if e.readOnly {
				return false
			}
			e.value, e.readOnly = append(e.value[:0], value...), readOnly
			return true
		}
	}
	if n := len(s.entries); n < cap(s.entries) {
		s.entries = s.entries[:n+1] // keeps the old entry's buffer
	} else {
		s.entries = append(s.entries, stateEntry{})
	}
	e := &s.entries[len(s.entries)-1]
	e.key, e.value, e.readOnly = key, append(e.value[:0], value...), readOnly
	return true
}

// Visit calls f for each value in the order they were first set.
func (s *FilterState) Visit(f func(key string, value []byte)) {
	for i := range s.entries {
		f(s.entries[i].key, s.entries[i].value)
	}
}

func (s *FilterState) reset() {
	if len(s.entries) > maxKeptEntries {
		s.entries = nil
	}
	for i := range s.entries {
		s.entries[i].value = emptied(s.entries[i].value)
	}
	s.entries = s.entries[:0]
}

// Metadata is the dynamic metadata of one connection: text by namespace and key. The zero value is
// empty.
type Metadata struct{ entries []metadataEntry }

type metadataEntry struct {
	namespace, key string
	value          []byte
}

// Get returns the value of a key.
func (m *Metadata) Get(namespace, key string) (value []byte, ok bool) {
	for i := range m.entries {
		if e := &m.entries[i]; e.key == key && e.namespace == namespace {
			return e.value, true
		}
	}
	return nil, false
}

// Set stores a copy of value. Memory as FilterState.Set.
func (m *Metadata) Set(namespace, key string, value []byte) {
	for i := range m.entries {
		if e := &m.entries[i]; e.key == key && e.namespace == namespace {
			e.value = append(e.value[:0], value...)
			return
		}
	}
	if n := len(m.entries); n < cap(m.entries) {
		m.entries = m.entries[:n+1]
	} else {
		m.entries = append(m.entries, metadataEntry{})
	}
	e := &m.entries[len(m.entries)-1]
	e.namespace, e.key, e.value = namespace, key, append(e.value[:0], value...)
}

// Next returns the first value of a namespace at or after position *at, which it moves behind it:
//
//	for at := 0; ; {
//		key, value, ok := m.Next("envoy.lb", &at)
//		if !ok {
func (m *Metadata) Next(namespace string, at *int) (key string, value []byte, ok bool) {
	for *at < len(m.entries) {
		e := &m.entries[*at]
		*at++
		if e.namespace == namespace {
			return e.key, e.value, true
		}
	}
	return "", nil, false
}

func (m *Metadata) reset() {
	if len(m.entries) > maxKeptEntries {
		m.entries = nil
	}
	for i := range m.entries {
		m.entries[i].value = emptied(m.entries[i].value)
	}
	m.entries = m.entries[:0]
}
