package poll

import (
	"fmt"
	"log/slog"

	gneterrors "github.com/panjf2000/gnet/v2/pkg/errors"
	"github.com/panjf2000/gnet/v2/pkg/logging"
	"github.com/panjf2000/gnet/v2/pkg/netpoll"
)

// Events is a set of hints about one descriptor.
type Events uint8

const (
	// Readable: bytes, a connection or the end of the stream may be waiting.
	Readable Events = 1 << iota
	// Writable: there may be room to write.
	Writable
	// Hangup: the peer may have closed its direction; always with Readable.
	Hangup
	// Failed: both directions may be dead; always with Readable, Writable and Hangup.
	Failed
)

// Handler is what a Poller reports to, on the goroutine of Run.
type Handler interface {
	// OnEvent reports readiness of fd, perhaps of another socket that had the
	// same number before.
	OnEvent(fd int, ev Events)
	// OnWake follows one or more calls of Wake.
	OnWake()
	// OnTimer follows the time given to SetTimer.
	OnTimer()
}

// Poller waits for readiness. One goroutine calls Run; only Wake may be called
// from others.
type Poller struct {
	np      *netpoll.Poller
	handler Handler
	stopped bool
	clock
}

// New opens a poller. Its own errors go to log.
func New(h Handler, log *slog.Logger) (*Poller, error) {
	routeLogs(log)
	np, err := netpoll.OpenPoller()
	if err != nil {
		return nil, err
	}
	p := &Poller{np: np, handler: h}
	if err := p.openClock(); err != nil {
		_ = np.Close()
		return nil, err
	}
	return p, nil
}

// Run dispatches events until Stop. It returns an error when waiting fails.
func (p *Poller) Run() error {
	err := p.np.Polling(p.dispatch())
	if p.stopped {
		return nil
	}
	return err
}

// Stop makes Run return after the event being dispatched. Only from within one.
func (p *Poller) Stop() { p.stopped = true }

// Close frees the descriptors. Run must have returned, or never been called.
func (p *Poller) Close() error {
	p.closeClock()
	return p.np.Close()
}

// Add registers fd for reading and writing. One system call, no allocation on
// Linux. Closing fd undoes it.
func (p *Poller) Add(fd int) error {
	pa := netpoll.PollAttachment{FD: fd}
	return p.np.AddReadWrite(&pa, true)
}

// AddReader registers fd for reading only, see Reads.
func (p *Poller) AddReader(fd int) error {
	pa := netpoll.PollAttachment{FD: fd}
	return p.np.AddRead(&pa, true)
}

// Reads makes the poller report for fd only what reading would meet, All everything, and
// Room only room to write. Hangups and failures are reported always. What is true at
// the call follows as an event. One system call each, two for Room, after whose errors
// fd may be registered no more; no allocation. Where they are not Selective they do nothing.
func (p *Poller) Reads(fd int) error {
	if !Selective {
		return nil
	}
	pa := netpoll.PollAttachment{FD: fd}
	return p.np.ModRead(&pa, true)
}

// All undoes Reads and Room.
func (p *Poller) All(fd int) error {
	if !Selective {
		return nil
	}
	pa := netpoll.PollAttachment{FD: fd}
	return p.np.ModReadWrite(&pa, true)
}

// Room is described with Reads.
func (p *Poller) Room(fd int) error {
	if !Selective {
		return nil
	}
	if err := p.np.Delete(fd); err != nil { // gnet does not modify a registration to be for writing only
		return err
	}
	pa := netpoll.PollAttachment{FD: fd}
	return p.np.AddWrite(&pa, true)
}

// Remove undoes Add for an fd that stays open.
func (p *Poller) Remove(fd int) { _ = p.np.Delete(fd) }

// stopPolling, returned by what gnet calls, makes Polling return.
var stopPolling = gneterrors.ErrEngineShutdown

// routeLogs sends gnet's messages to log. gnet has one logger for the process:
// the last caller's is used.
func routeLogs(log *slog.Logger) {
	logging.SetDefaultLoggerAndFlusher(slogAdapter{log}, nil)
}

type slogAdapter struct{ log *slog.Logger }

func (a slogAdapter) Debugf(f string, v ...any) { a.log.Debug(fmt.Sprintf(f, v...), "from", "gnet") }
func (a slogAdapter) Infof(f string, v ...any)  { a.log.Info(fmt.Sprintf(f, v...), "from", "gnet") }
func (a slogAdapter) Warnf(f string, v ...any)  { a.log.Warn(fmt.Sprintf(f, v...), "from", "gnet") }
func (a slogAdapter) Errorf(f string, v ...any) { a.log.Error(fmt.Sprintf(f, v...), "from", "gnet") }
func (a slogAdapter) Fatalf(f string, v ...any) { a.log.Error(fmt.Sprintf(f, v...), "from", "gnet") }
