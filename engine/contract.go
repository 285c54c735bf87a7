package engine

// Handler receives the events of one connection, all on its loop. No method of
// Conn or Loop calls a Handler synchronously: events come only from the loop's
// dispatch, so a handler need not be re-entrant.
type Handler interface {
	// OnConnected says that a dialled connection is up. For accepted ones only when
	// they have a Transform, once its opening exchange is done.
	OnConnected(c *Conn)

	// OnData hands over bytes: what was kept before, then what just arrived,
	// contiguous. view is valid until return. It returns how many bytes from the
	// front were consumed; the engine keeps the rest, at most the read limit, and
	// delivers it again together with more bytes or after ResumeRead. Returning 0
	// with the read limit reached pauses reading until ResumeRead.
	OnData(c *Conn, view []byte) int

	// OnReadClosed says that the peer will send no more (FIN). All its bytes were
	// delivered before. It is an event, not an end: writing goes on until
	// CloseWrite or one of the closing methods.
	OnReadClosed(c *Conn)

	// OnWritable says that the bytes waiting to be written fell to the low
	// watermark after having reached the high one.
	OnWritable(c *Conn)

	// OnClosed is the last event, exactly once, whoever closed. c must not be
	// used after it returns.
	OnClosed(c *Conn, r CloseReason)
}

// RawReader takes over reading: OnReadable is called when the socket may have
// bytes, in place of a read and OnData. It must read until EAGAIN or remember
// that it did not (readiness is edge-triggered), see Conn.ReadLater.
type RawReader interface{ OnReadable(c *Conn) }

// Passer is a RawReader whose connection passes bytes on by itself, see Conn.PassTo.
type Passer interface {
	RawReader

	// OnPassed tells of an attempt to pass a piece that was not all there was to do;
	// the results are those of Conn.Forward. The passer goes on as in OnReadable.
	OnPassed(c *Conn, n int, drained bool, st IOState)
}

// RawWriter is told that the socket may take bytes, once the bytes given to
// Write before are out.
type RawWriter interface{ OnRawWritable(c *Conn) }

// Acceptor is one loop's end of a listener.
type Acceptor interface {
	// OnAccept returns the handler of a new connection, or nil to refuse it (it is
	// closed at once, with no event).
	OnAccept(c *Conn) Handler
}

// Task is work deferred to a safe point, see Loop.Defer.
type Task interface{ Run(l *Loop) }
