// Package tlsio puts TLS between an engine.Conn and its handler, with stock
// crypto/tls. The handler keeps the contract it has on plain TCP and sees plaintext.
//
//	socket -> whole records in a slab -> tls.Conn -> OnData
//	Write  -> tls.Conn -> records -> socket, the rest in the Conn's out chain
//	CloseWrite: close_notify, then FIN        peer's close_notify: OnReadClosed
//
// The handshake is computed off the loop, on a goroutine of its own that holds the
// stream while it runs and gives it back whenever it needs bytes:
//
//	loop:       collect a whole ClientHello --> | send, collect records --> | OnConnected
//	goroutine:                  ServerHello...  |             Finished      |
//
// A peer that never completes a hello costs no goroutine; one that stalls after it
// costs a parked one (25 KiB in all, see TestHalfOpenHandshakesAreBounded), and
// Options.MaxHandshakes bounds those. Options.Workers bounds how many run at a time, so
// that a flood of hellos does not queue in front of the loops.
//
// After the handshake everything happens on the loop. tls.Conn is only asked to read
// when a whole record is at hand, through a connection that answers "nothing yet" with
// a temporary net.Error, after which it resumes; writes to that connection are always
// accepted. Key updates and session tickets work, renegotiation is refused.
//
// An idle connection holds 5 to 8 KiB, 18 KiB once it has received a full record:
// the buffer inside tls.Conn grows to the largest record and stays. A record that is
// on its way in is kept apart, in a slab of at most 32 KiB that an idle connection
// does not have.
//
// A FIN without close_notify is no orderly end but one anybody on the way can make:
// what came before is delivered, then OnClosed says Truncated.
//
// The package knows nothing of certificates and names: that is in the tls.Config.
// Start reading at stream.go.
package tlsio
