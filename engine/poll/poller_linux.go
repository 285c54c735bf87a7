package poll

import (
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Selective says that Reads and Room keep events away.
const Selective = true

// clock is the wake-up and the timer of a poller: an eventfd and a timerfd,
// registered edge-triggered so neither is ever read (each write and each expiry
// makes a new edge; the eventfd's counter cannot overflow in practice).
type clock struct {
	wakeFD, timerFD int
}

func (p *Poller) openClock() (err error) {
	p.wakeFD, p.timerFD = -1, -1
	if p.wakeFD, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	p.timerFD, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		p.closeClock()
		return os.NewSyscallError("timerfd_create", err)
	}
	if err = p.AddReader(p.wakeFD); err == nil {
		err = p.AddReader(p.timerFD)
	}
	if err != nil {
		p.closeClock()
	}
	return err
}

func (p *Poller) closeClock() {
	for _, fd := range []int{p.wakeFD, p.timerFD} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// Wake makes OnWake follow, after the events of the batch being dispatched. Any
// goroutine; one system call; no allocation. Not after Close.
func (p *Poller) Wake() {
	one := uint64(1)
	syscall.RawSyscall(unix.SYS_WRITE, uintptr(p.wakeFD), uintptr(unsafe.Pointer(&one)), 8)
}

// SetTimer makes OnTimer follow after d (at least one nanosecond), in place of
// an earlier setting. One system call.
func (p *Poller) SetTimer(d time.Duration) {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(d, 1)))}
	_ = unix.TimerfdSettime(p.timerFD, 0, &spec, nil)
}

// dispatch is what gnet calls for each event.
func (p *Poller) dispatch() func(fd int, ev uint32, _ uint16) error {
	h, wakeFD, timerFD := p.handler, p.wakeFD, p.timerFD
	return func(fd int, ev uint32, _ uint16) error {
		switch fd {
		case wakeFD:
			h.OnWake()
		case timerFD:
			h.OnTimer()
		default:
			h.OnEvent(fd, hints(ev))
		}
		if p.stopped {
			return stopPolling
		}
		return nil
	}
}

func hints(ev uint32) (h Events) {
	if ev&(unix.EPOLLIN|unix.EPOLLPRI) != 0 {
		h |= Readable
	}
	if ev&unix.EPOLLOUT != 0 {
		h |= Writable
	}
	if ev&unix.EPOLLRDHUP != 0 {
		h |= Readable | Hangup
	}
	if ev&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		h |= Readable | Writable | Hangup | Failed
	}
	return h
}
