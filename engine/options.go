package engine

import (
	"log/slog"
	"runtime"
	"time"

	"github.com/sluiceproxy/sluice/engine/sock"
)

const (
	defaultReadBuffer = 16 << 10
	defaultReadLimit  = 64 << 10
	defaultHighMark   = 1 << 20

	// turnBytes is how much one connection may read before the others of the
	// loop get their turn.
	turnBytes = 256 << 10

	scratchBytes    = 64 << 10
	mailboxMessages = 4096
)

// Options configure a Group. The zero value is usable.
type Options struct {
	// Loops is how many loops run; 0 means GOMAXPROCS (the usable cores).
	Loops int

	// ReadBufferBytes is the size of each loop's read buffer, the most one system
	// call reads; 0 means 16 KiB. Larger ones showed no gain: with 16, 32 and 64 KiB
	// the CPU per request, as a share of nginx's in the same run, was 0.85, 0.89 and
	// 0.88 (h1-10k), 0.80, 0.85 and 0.87 (h1-upload-64k), 0.50, 0.51 and 0.56 (h1-1m);
	// medians of 12 rounds of bench/cmd/bench whose ranges overlap (0.76 to 0.97 for
	// h1-10k), on a 2-core machine with other work. Bulk data is spliced in any case.
	ReadBufferBytes int

	// MaxConns bounds the accepted connections of all loops; further ones are
	// closed at once and counted. 0 means no bound.
	MaxConns int

	// Logger gets the engine's rare messages; nil means slog.Default.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Loops <= 0 {
		o.Loops = runtime.GOMAXPROCS(0)
	}
	if o.ReadBufferBytes <= 0 {
		o.ReadBufferBytes = defaultReadBuffer
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// KeepAlive are TCP keep-alive settings. The zero value leaves them off; with any
// field set they are on, and zero fields keep the system's values.
type KeepAlive struct {
	// Idle is the silence before the first probe, Interval that between probes.
	// Both are rounded up to seconds.
	Idle, Interval time.Duration
	// Count is how many probes go unanswered before the connection is dead.
	Count int
}

func (k KeepAlive) apply(fd int) {
	if k != (KeepAlive{}) {
		sock.SetKeepAlive(fd, k.Idle, k.Interval, k.Count)
	}
}

// base is the origin of the loops' clock.
var base = time.Now()
