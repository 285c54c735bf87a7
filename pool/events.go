package pool

import (
	"time"

	"github.com/sluiceproxy/sluice/engine"
)

// Breaker bounds connections and waiting requests over all loops; every Try
// that said yes is followed by exactly one Release. Called on the loop, and on
// other loops at the same time.
type Breaker interface {
	// TryConnection asks for one more connection. first says that the pool has
	// none: then one is allowed whatever the limit, or its requests would wait for
	// nothing (Envoy's circuit_breakers.max_connections).
	TryConnection(first bool) bool
	ReleaseConnection()
	// TryPending asks to let one more request wait.
	TryPending() bool
	ReleasePending()
}

// Events are what a pool tells its owner for the statistics. They are called on
// the loop, some of them from inside Acquire, Cancel and Release, and must not
// call the pool.
type Events interface {
	// OnCreated counts a connection that is being dialled. Every one of them ends
	// in OnDestroyed.
	OnCreated()
	// OnConnected says that it is up, and how long that took.
	OnConnected(took time.Duration)
	// OnConnectFailed says that it will not come up, and why; ConnectTimeout when
	// connect_timeout passed. OnDestroyed follows.
	OnConnectFailed(why engine.CloseReason)
	OnDestroyed(d Destroyed)

	// OnIdleTimeout, OnMaxDuration and OnMaxRequests say why a connection is retired.
	OnIdleTimeout()
	OnMaxDuration()
	OnMaxRequests()
	// OnUnsolicited says that bytes arrived which no request asked for; the
	// connection is being closed. view is valid until return (HC-48: a 408 is how
	// origins end keep-alive, anything else is a protocol error).
	OnUnsolicited(view []byte)

	// OnPending and OnPendingDone bracket the time a request waits.
	OnPending()
	OnPendingDone()
	// OnPendingOverflow: a request was refused, too many wait. OnConnectionOverflow:
	// a connection was wanted and the breaker is open.
	OnPendingOverflow()
	OnConnectionOverflow()
}

// Destroyed is how a connection ended.
type Destroyed struct {
	// Remote is true when the peer ended it first: FIN or reset.
	Remote bool
	// ActiveRequest is true when a request was not finished.
	ActiveRequest bool
	// Connected is false when it never came up.
	Connected bool
	// Length is the time since dialling began.
	Length time.Duration
	// Requests is how many requests were given the connection.
	Requests int
}

// Failure is why a request gets no connection.
type Failure uint8

const (
	// Overflow: too many requests wait already.
	Overflow Failure = iota
	// ConnectFailure: the host refused, could not be reached, or reset; or the opening exchange of
	// Options.Secure failed.
	ConnectFailure
	// LocalConnectFailure: this machine has no descriptor or address left, or too many opening exchanges
	// under way.
	LocalConnectFailure
	// ConnectTimeout: the host did not answer in time, Options.Secure's exchange included.
	ConnectTimeout
	// Closed: the loop stopped.
	Closed
)

var failureNames = [...]string{
	Overflow: "Overflow", ConnectFailure: "ConnectFailure", LocalConnectFailure: "LocalConnectFailure",
	ConnectTimeout: "ConnectTimeout", Closed: "Closed",
}

// String returns the constant's name.
func (f Failure) String() string {
	if int(f) < len(failureNames) {
		return failureNames[f]
	}
	return "Failure(?)"
}

// unlimited is the Breaker of a pool that was given none.
type unlimited struct{}

func (unlimited) TryConnection(bool) bool { return true }
func (unlimited) ReleaseConnection()      {}
func (unlimited) TryPending() bool        { return true }
func (unlimited) ReleasePending()         {}

// discard is the Events of a pool that was given none.
type discard struct{}

func (discard) OnCreated()                         {}
func (discard) OnConnected(time.Duration)          {}
func (discard) OnConnectFailed(engine.CloseReason) {}
func (discard) OnDestroyed(Destroyed)              {}
func (discard) OnIdleTimeout()                     {}
func (discard) OnMaxDuration()                     {}
func (discard) OnMaxRequests()                     {}
func (discard) OnUnsolicited([]byte)               {}
func (discard) OnPending()                         {}
func (discard) OnPendingDone()                     {}
func (discard) OnPendingOverflow()                 {}
func (discard) OnConnectionOverflow()              {}
