// Package streaminfo holds what is known of one stream (an HTTP request or a TCP session) while it
// lives and when it ends: the one source of access-log lines, header formatters and local replies.
package streaminfo

import (
	"net/netip"
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/secure"
)

// Info is filled in by the connection manager and the router as a stream goes on. Loop-owned and
// part of its stream: it must not be kept after the stream ended. Times are nanoseconds of the
// loop's monotonic clock, 0 while the event has not happened.
type Info struct {
	// Request is the request head; nil when none was parsed. Response is the head sent downstream,
	// ResponseTrailers the trailers; nil until there are some.
	Request, Response, ResponseTrailers *header.Head

	// Generic is what a request of a generic proxy has in place of heads; nil for others.
	Generic *Generic

	StartUnixNs       int64 // wall clock of Start
	Start             int64 // first byte of the request
	RequestEnd        int64 // last byte of the request received
	UpstreamReady     int64 // connection from the pool at hand
	UpstreamTxBegin   int64
	UpstreamTxEnd     int64
	UpstreamRxBegin   int64 // first byte of the response
	UpstreamRxEnd     int64
	DownstreamTxBegin int64
	End               int64 // stream over; last byte handed to the kernel or the ending known

	Protocol, UpstreamProtocol header.Version
	ResponseCode               uint16 // 0 when no response was started
	Reason                     reason.Reason
	Flags                      reason.Flag
	// Details is %RESPONSE_CODE_DETAILS%; empty until known.
	Details string
	// TerminationDetails is %CONNECTION_TERMINATION_DETAILS%.
	TerminationDetails string

	BytesReceived, BytesSent                                 uint64 // bodies (HTTP), connection bytes (TCP)
	DownstreamWireReceived, DownstreamWireSent               uint64
	UpstreamWireReceived, UpstreamWireSent                   uint64
	DownstreamHeaderBytesReceived, DownstreamHeaderBytesSent uint64
	UpstreamHeaderBytesReceived, UpstreamHeaderBytesSent     uint64

	// Conn holds the facts of the downstream connection; never nil for a real stream.
	Conn *Connection
	// RemoteAddress is the trusted client address (RT-91 to RT-94); the direct peer is Conn.Remote.
	RemoteAddress netip.AddrPort

	UpstreamAddress      netip.AddrPort // the endpoint tried last; invalid for none or a pipe
	UpstreamPipe         string
	UpstreamHostName     string
	UpstreamLocal        netip.AddrPort
	UpstreamConnectionID uint64
	UpstreamCluster      string // observability name
	UpstreamClusterRaw   string
	// UpstreamPeer is what the TLS handshake with the endpoint tried last found out; nil when that
	// connection is plain, or before its handshake is done.
	UpstreamPeer *secure.Peer
	// UpstreamFailure is the transport failure reason.
	UpstreamFailure string
	Attempts        uint32
	// Timeout is the router's global timeout in force; 0 none.
	Timeout time.Duration

	// LogType is %ACCESS_LOG_TYPE% of the line being written; NotSet in headers and local replies.
	LogType LogType

	// State is the stream's own filter state, nil while there is none; the connection's is Conn's.
	State *FilterState
	// Metadata is the stream's own dynamic metadata, nil while there is none; the connection's is Conn's.
	Metadata *Metadata

	RouteName, VirtualHostName string
	VirtualClusterName         string // empty for none
	StreamID                   uint64
	LocalReplyBody             []byte
	HealthCheck                bool
}

// LogType says on which occasion a log line is written (data.accesslog.v3.AccessLogType).
type LogType uint8

// Log types.
const (
	NotSet LogType = iota
	TCPUpstreamConnected
	TCPPeriodic
	TCPConnectionStart
	TCPConnectionEnd
	DownstreamStart
	DownstreamPeriodic
	DownstreamEnd
	DownstreamTunnelEstablished
	UpstreamPoolReady
	UpstreamPeriodic
	UpstreamEnd
	NumLogTypes
)

// String returns the name as logs print it.
func (t LogType) String() string {
	return [...]string{
		"NotSet", "TcpUpstreamConnected", "TcpPeriodic", "TcpConnectionStart", "TcpConnectionEnd", "DownstreamStart", "DownstreamPeriodic", "DownstreamEnd",
		"DownstreamTunnelSuccessfullyEstablished", "UpstreamPoolReady", "UpstreamPeriodic", "UpstreamEnd",
	}[t]
}

// Connection holds the facts of a downstream connection. Owned by its connection, read-only. Small,
// because an idle connection keeps it.
type Connection struct {
	ID uint64
	// Remote is the peer, Local this end, as a PROXY header says or the socket; Remote is invalid for
	// unix sockets.
	Remote, Local netip.AddrPort
	// StartNs is when the connection was accepted, on the loop clock.
	StartNs int64
	// Listener holds what all connections of the filter chain share.
	Listener *Listener
	// Secure holds what TLS found out; nil on plain connections.
	Secure *Secure
	// Extra holds what listener and network filters found or set; nil on most connections.
	Extra *Extra
}

// Listener is what every connection of a listener's filter chain has in common. Immutable.
type Listener struct {
	Name, FilterChain string
	// Pipe is the unix socket path, or what an internal listener is called; empty for TCP.
	Pipe string
	// Internal says that the other end is one of this proxy's own.
	Internal bool
}

// Secure is what is known of a connection with TLS. Loop-owned, its connection's.
type Secure struct {
	// Context is what the connection is served with.
	Context *secure.Downstream
	// Peer is what the handshake found out; nil until it is done.
	Peer *secure.Peer
	// HandshakeNs is when the handshake was done, on the loop clock; 0 until then.
	HandshakeNs int64
	// TransportFailure is why TLS failed, in Envoy's words; empty when it did not.
	TransportFailure string

	validation uint8 // 0: Validated was not asked yet; 1: no; 2: yes
}

// Validated says whether the client presented a certificate that holds. Where the listener lets untrusted
// certificates in, the first call of a connection verifies the certificate.
func (s *Secure) Validated() bool {
	if s.validation == 0 {
		if s.Peer == nil || s.Context == nil {
			return false
		}
		s.validation = 1
		if s.Context.ValidatedPeer(s.Peer) {
			s.validation = 2
		}
	}
	return s.validation == 2
}

// TLS says whether the connection is encrypted.
func (c *Connection) TLS() bool { return c.Secure != nil }

// Restored returns where the connection was going before it came here, as a listener filter found out;
// invalid when none did.
func (c *Connection) Restored() netip.AddrPort {
	if c.Extra == nil || !c.Extra.DirectLocal.IsValid() {
		return netip.AddrPort{}
	}
	return c.Local
}

// Unix says whether the connection came over a unix socket.
func (c *Connection) Unix() bool { return c.Pipe() != "" && !c.Listener.Internal }

// Pipe returns the unix socket the connection came to, or what its internal listener is called; empty for TCP.
func (c *Connection) Pipe() string {
	if c.Listener == nil {
		return ""
	}
	return c.Listener.Pipe
}

// FilterChain returns the name of the filter chain; empty when it has none.
func (c *Connection) FilterChain() string {
	if c.Listener == nil {
		return ""
	}
	return c.Listener.FilterChain
}

// ServerName returns the SNI that a listener filter has seen, in lower case; empty when none did. What
// TLS has seen is Peer's.
func (c *Connection) ServerName() []byte {
	if c.Extra == nil {
		return nil
	}
	return c.Extra.ServerName
}

// Peer returns what the TLS handshake found out; nil on plain connections, and until it is done.
func (c *Connection) Peer() *secure.Peer {
	if c.Secure == nil {
		return nil
	}
	return c.Secure.Peer
}

// DirectRemote returns the peer of the socket, which Remote is not behind a PROXY header.
func (c *Connection) DirectRemote() netip.AddrPort {
	if c.Extra != nil && c.Extra.DirectRemote.IsValid() {
		return c.Extra.DirectRemote
	}
	return c.Remote
}

// DirectLocal returns the socket's own address.
func (c *Connection) DirectLocal() netip.AddrPort {
	if c.Extra != nil && c.Extra.DirectLocal.IsValid() {
		return c.Extra.DirectLocal
	}
	return c.Local
}

// FilterState returns a value that a network filter set.
func (c *Connection) FilterState(key string) (value []byte, ok bool) {
	if c.Extra == nil {
		return nil, false
	}
	return c.Extra.State.Get(key)
}

// TransportFailure returns why TLS failed; empty when it did not.
func (c *Connection) TransportFailure() string {
	if c.Secure == nil {
		return ""
	}
	return c.Secure.TransportFailure
}

// FilterState returns a value of the stream's filter state, or else of its connection's.
func (i *Info) FilterState(key string) (value []byte, ok bool) {
	if i.State != nil {
		if value, ok = i.State.Get(key); ok {
			return value, true
		}
	}
	if i.Conn == nil {
		return nil, false
	}
	return i.Conn.FilterState(key)
}

// DynamicMetadata returns a value of the stream's metadata, or else of its connection's.
func (i *Info) DynamicMetadata(namespace, key string) (value []byte, ok bool) {
	if i.Metadata != nil {
		if value, ok = i.Metadata.Get(namespace, key); ok {
			return value, ok
		}
	}
	if i.Conn == nil || i.Conn.Extra == nil {
		return nil, false
	}
	return i.Conn.Extra.Metadata.Get(namespace, key)
}

// TakeUpstream makes what from knows of the upstream i's: from is of the try whose response goes to the
// client. Bytes add up over all tries.
func (i *Info) TakeUpstream(from *Info) {
	i.UpstreamReady, i.UpstreamTxBegin, i.UpstreamTxEnd = from.UpstreamReady, from.UpstreamTxBegin, from.UpstreamTxEnd
	i.UpstreamRxBegin, i.UpstreamRxEnd = from.UpstreamRxBegin, from.UpstreamRxEnd
	i.UpstreamProtocol = from.UpstreamProtocol
	i.UpstreamWireReceived += from.UpstreamWireReceived
	i.UpstreamWireSent += from.UpstreamWireSent
	i.UpstreamHeaderBytesReceived += from.UpstreamHeaderBytesReceived
	i.UpstreamHeaderBytesSent += from.UpstreamHeaderBytesSent
	i.UpstreamAddress, i.UpstreamPipe, i.UpstreamHostName = from.UpstreamAddress, from.UpstreamPipe, from.UpstreamHostName
	i.UpstreamLocal, i.UpstreamConnectionID = from.UpstreamLocal, from.UpstreamConnectionID
	i.UpstreamPeer, i.UpstreamFailure = from.UpstreamPeer, from.UpstreamFailure
}

// Reset clears everything.
func (i *Info) Reset() { *i = Info{} }
