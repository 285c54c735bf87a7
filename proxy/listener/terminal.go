package listener

import (
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// Terminal is one loop's end of a filter chain: the terminal filter of its connections. hcm.Acceptor
// and tcp.Acceptor are the two. All methods run on the loop.
type Terminal interface {
	// Serve takes a connection over and returns who hears its events from now on, never nil. facts are
	// copied. The Terminal calls Account.Closed when the connection is over.
	Serve(c *engine.Conn, facts *streaminfo.Connection) engine.Handler
	// Drain lets connections end in order: all of them, or with over > 0 a share that grows from none
	// to all in that time.
	Drain(over time.Duration)
	// FailHealth drains until it is called with false (/healthcheck/fail).
	FailHealth(failed bool)
	// CloseIdle ends connections that have nothing under way, CloseAll every one.
	CloseIdle()
	CloseAll()
	// Conns counts the connections, Busy those with something under way.
	Conns() int
	Busy() int
}
