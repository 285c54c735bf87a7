//go:build linux && (amd64 || arm64)

package bench

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Echo is an origin that sends back what it gets, and ends a stream when the peer does. A Load with it does
// the echoing on its own thread, with the events of one epoll instance for both: the two ends of a proxy
// then need no switch from one process to another, and cost the least that messages can cost them.
type Echo struct {
	listener net.Listener
	file     *os.File // what listenFD is of
	listenFD int
	epfd     int

	mu      sync.Mutex // held by whoever handles events
	buf     []byte
	waiting map[int][]byte // by descriptor: what its socket had no room for; nothing more is read until it has
	open    map[int]struct{}
	closed  bool
	done    chan struct{}
}

// ListenEcho starts an echo on a free port of the loopback address. It serves by itself until Close, but for the
// time of a Load that has it.
func ListenEcho() (*Echo, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &Echo{
		listener: ln, epfd: -1, buf: make([]byte, 16<<10),
		waiting: map[int][]byte{}, open: map[int]struct{}{}, done: make(chan struct{}),
	}
	if err := e.start(ln.(*net.TCPListener)); err != nil {
		e.release()
		return nil, fmt.Errorf("echo: %w", err)
	}
	go e.serve()
	return e, nil
}

func (e *Echo) start(ln *net.TCPListener) error {
	f, err := ln.File()
	if err != nil {
		return err
	}
	e.file, e.listenFD = f, int(f.Fd())
	if err := syscall.SetNonblock(e.listenFD, true); err != nil {
		return err
	}
	if e.epfd, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return err
	}
	return e.watch(e.listenFD, syscall.EPOLLIN)
}

// watch registers a descriptor; what tells its events from those of a load's connections is below timerIndex.
func (e *Echo) watch(fd int, events uint32) error {
	ev := syscall.EpollEvent{Events: events, Fd: int32(timerIndex - 1 - fd)}
	return syscall.EpollCtl(e.epfd, syscall.EPOLL_CTL_ADD, fd, &ev)
}

// Addr returns where bytes are echoed.
func (e *Echo) Addr() string { return e.listener.Addr().String() }

// Close closes all connections and returns when nothing is left of the echo.
func (e *Echo) Close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	<-e.done
	e.release()
}

func (e *Echo) release() {
	for fd := range e.open {
		e.drop(fd)
	}
	if e.epfd >= 0 {
		rawClose(e.epfd)
	}
	if e.file != nil {
		_ = e.file.Close()
	}
	_ = e.listener.Close()
}

// serve handles events while no load does.
func (e *Echo) serve() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(e.done)
	events := make([]syscall.EpollEvent, 64)
	for {
		e.mu.Lock() // a load that waits for it gets its turn after a millisecond
		if e.closed {
			e.mu.Unlock()
			return
		}
		n, _ := syscall.EpollWait(e.epfd, events, int(tickNs/int64(time.Millisecond)))
		for i := range max(0, n) {
			e.onEvent(&events[i])
		}
		e.mu.Unlock()
	}
}

// onEvent handles an event of the listener or of an accepted connection.
func (e *Echo) onEvent(ev *syscall.EpollEvent) {
	fd := timerIndex - 1 - int(ev.Fd)
	switch {
	case fd == e.listenFD:
		e.accept()
	case len(e.waiting) == 0 || e.flush(fd):
		e.echo(fd, ev.Events&(syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0)
	}
}

func (e *Echo) accept() {
	for {
		fd, _, err := syscall.Accept4(e.listenFD, sockNonblock)
		if errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return // there is none, or no descriptor for it: then the client notices
		}
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		e.open[fd] = struct{}{}
		if e.watch(fd, syscall.EPOLLIN|syscall.EPOLLOUT|syscall.EPOLLRDHUP|epollET) != nil {
			e.drop(fd)
		}
	}
}

// echo sends back what fd has. A short read means that there is no more, so that a message costs one read;
// not so when the end of the stream is to be read too.
func (e *Echo) echo(fd int, ends bool) {
	for {
		n, errno := rawRead(fd, e.buf)
		if errno == syscall.EAGAIN {
			return
		}
		if errno != 0 || n == 0 {
			e.drop(fd)
			return
		}
		w, errno := rawWrite(fd, e.buf[:n])
		if errno == syscall.EAGAIN {
			w, errno = 0, 0
		}
		switch {
		case errno != 0:
			e.drop(fd)
			return
		case w < n:
			e.waiting[fd] = slices.Clone(e.buf[w:n])
			return // the edge comes
		case n < len(e.buf) && !ends:
			return
		}
	}
}

// flush writes what waits for room at fd, and reports whether fd may go on.
func (e *Echo) flush(fd int) bool {
	p, ok := e.waiting[fd]
	if !ok {
		return true
	}
	n, errno := rawWrite(fd, p)
	switch {
	case errno == syscall.EAGAIN:
	case errno != 0:
		e.drop(fd)
	case n < len(p):
		e.waiting[fd] = p[n:]
	default:
		delete(e.waiting, fd)
		return true
	}
	return false
}

func (e *Echo) drop(fd int) {
	rawClose(fd)
	delete(e.open, fd)
	delete(e.waiting, fd)
}
