//go:build darwin || freebsd

package poll

import (
	"os"
	"time"

	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"
)

// Selective says that Reads and Room keep events away. gnet does not delete the filters
// of a kqueue one by one.
const Selective = false

// clock is the wake-up and the timer of a poller: a second kqueue with one user
// event and one timer event, itself readable in gnet's kqueue while either is
// pending. gnet does not give out its own kqueue, and this needs no goroutine.
type clock struct {
	kq int
}

const (
	wakeIdent  = 1
	timerIdent = 2
)

func (p *Poller) openClock() (err error) {
	if p.kq, err = unix.Kqueue(); err != nil {
		return os.NewSyscallError("kqueue", err)
	}
	unix.CloseOnExec(p.kq)
	var ev unix.Kevent_t
	unix.SetKevent(&ev, wakeIdent, unix.EVFILT_USER, unix.EV_ADD|unix.EV_CLEAR)
	if err = p.change(ev); err == nil {
		pa := netpoll.PollAttachment{FD: p.kq}
		err = p.np.AddRead(&pa, false)
	}
	if err != nil {
		p.closeClock()
	}
	return err
}

func (p *Poller) change(ev unix.Kevent_t) error {
	_, err := unix.Kevent(p.kq, []unix.Kevent_t{ev}, nil, nil)
	return os.NewSyscallError("kevent", err)
}

func (p *Poller) closeClock() { _ = unix.Close(p.kq) }

// Wake makes OnWake follow, after the events of the batch being dispatched. Any
// goroutine; one system call. Not after Close.
func (p *Poller) Wake() {
	var ev unix.Kevent_t
	unix.SetKevent(&ev, wakeIdent, unix.EVFILT_USER, 0)
	ev.Fflags = unix.NOTE_TRIGGER
	_ = p.change(ev)
}

// SetTimer makes OnTimer follow after d, rounded up to a millisecond (kqueue's
// unit), in place of an earlier setting. One system call.
func (p *Poller) SetTimer(d time.Duration) {
	var ev unix.Kevent_t
	unix.SetKevent(&ev, timerIdent, unix.EVFILT_TIMER, unix.EV_ADD|unix.EV_ONESHOT)
	ev.Data = max(int64((d+time.Millisecond-1)/time.Millisecond), 1)
	_ = p.change(ev)
}

// dispatch is what gnet calls for each event.
func (p *Poller) dispatch() func(fd int, filter int16, flags uint16) error {
	return func(fd int, filter int16, flags uint16) error {
		if fd == p.kq {
			p.drainClock()
		} else {
			p.handler.OnEvent(fd, hints(filter, flags))
		}
		if p.stopped {
			return stopPolling
		}
		return nil
	}
}

func (p *Poller) drainClock() {
	var evs [2]unix.Kevent_t
	n, err := unix.Kevent(p.kq, nil, evs[:], &unix.Timespec{})
	if err != nil {
		return
	}
	for _, ev := range evs[:n] {
		switch ev.Filter {
		case unix.EVFILT_USER:
			p.handler.OnWake()
		case unix.EVFILT_TIMER:
			p.handler.OnTimer()
		}
	}
}

func hints(filter int16, flags uint16) (h Events) {
	switch filter {
	case unix.EVFILT_READ:
		h = Readable
		if flags&unix.EV_EOF != 0 {
			h |= Hangup
		}
	case unix.EVFILT_WRITE:
		h = Writable
		if flags&unix.EV_EOF != 0 { // nobody reads any more: the connection is dead
			h |= Readable | Hangup | Failed
		}
	}
	if flags&unix.EV_ERROR != 0 {
		h |= Readable | Writable | Hangup | Failed
	}
	return h
}
