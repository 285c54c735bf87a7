package engine

// CloseReason says why a connection ended.
type CloseReason uint8

const (
	// LocalClose: Close, or CloseAfterFlush with everything written.
	LocalClose CloseReason = iota
	// LocalReset: Reset.
	LocalReset
	// FlushTimeout: CloseAfterFlush ran out of time with bytes unsent.
	FlushTimeout
	// PeerReset: ECONNRESET or EPIPE on a read or a write.
	PeerReset
	// PeerClosed: both directions ended in order.
	PeerClosed
	// ConnectRefused: nobody listens at the address (ECONNREFUSED; for unix
	// sockets also no such file, or a full backlog).
	ConnectRefused
	// ConnectTimeout: DialSpec.Timeout passed, or the kernel gave up first.
	ConnectTimeout
	// ConnectUnreachable: no route to the host or network.
	ConnectUnreachable
	// ConnectError: any other failure to connect; see Conn.Err.
	ConnectError
	// FDLimit: no file descriptor was left to dial with.
	FDLimit
	// IOError: any other error on an established connection; see Conn.Err.
	IOError
	// LoopStopped: the group stopped.
	LoopStopped
	// HandshakeFailed: the opening exchange of a Transform failed (TLS: no hello, no
	// common version, a certificate refused by either side, an early FIN); see
	// Conn.Err.
	HandshakeFailed
	// HandshakeTimeout: the opening exchange of an accepted connection took too long.
	// On dialled ones that is ConnectTimeout.
	HandshakeTimeout
	// HandshakeShed: too many opening exchanges were under way to begin another.
	HandshakeShed
	// TransformFailed: the peer sent what the Transform cannot accept, or said that
	// it failed (TLS: a bad record, an alert); see Conn.Err.
	TransformFailed
	// Truncated: the peer's FIN came without the Transform's end mark (TLS:
	// close_notify), so what was received may be cut short by anybody.
	Truncated
	// BindFailed: DialSpec.Bind could not be had; see Conn.Err.
	BindFailed
)

var reasonNames = [...]string{
	LocalClose: "LocalClose", LocalReset: "LocalReset", FlushTimeout: "FlushTimeout",
	PeerReset: "PeerReset", PeerClosed: "PeerClosed",
	ConnectRefused: "ConnectRefused", ConnectTimeout: "ConnectTimeout",
	ConnectUnreachable: "ConnectUnreachable", ConnectError: "ConnectError",
	FDLimit: "FDLimit", IOError: "IOError", LoopStopped: "LoopStopped",
	HandshakeFailed: "HandshakeFailed", HandshakeTimeout: "HandshakeTimeout", HandshakeShed: "HandshakeShed",
	TransformFailed: "TransformFailed", Truncated: "Truncated", BindFailed: "BindFailed",
}

// String returns the constant's name.
func (r CloseReason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "CloseReason(?)"
}
