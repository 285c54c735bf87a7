package engine

import (
	"net/netip"
	"os"
	"runtime"
	"slices"

	"github.com/sluiceproxy/sluice/engine/sock"
)

// queued is an accepted connection that its loop has yet to get.
type queued struct {
	fd     int
	remote netip.AddrPort
}

// Close stops listening: when it returns, new clients are refused. Connections
// stay, and clients that were let in before are not lost: those that wait to be
// accepted are accepted here, also while the listener is paused, and their loop
// hands them to its Acceptor before it runs anything posted after. What the
// kernel still resets are clients whose handshake is not complete, and those for
// whom no descriptor is left (counted as a pause).
func (l *Listener) Close() error {
	l.close(true)
	return nil
}

// close is Close, or with serve false leaves those that wait to be reset. Who
// closes second waits for the first: Drain must not miss those that are taken.
func (l *Listener) close(serve bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Swap(true) {
		return
	}
	for l.placing.Load() > 0 { // for the time of a few instructions
		runtime.Gosched()
	}
	l.removeFile()
	waited := l.stop(serve)
	for i, s := range l.sockets {
		leave := func() {
			s.receiveAll()
			for _, q := range waited[i] {
				s.receive(q)
			}
			s.leave()
		}
		if !s.loop.do(leave) { // the loop has stopped, and closed its socket
			for _, q := range waited[i] {
				s.drop(q)
			}
		}
	}
	l.group.forget(l)
}

// stop makes the sockets refuse, and returns for each of their loops who waited.
func (l *Listener) stop(serve bool) [][]queued {
	n := len(l.sockets)
	waited := make([][]queued, n)
	took := 0
	for i, s := range l.sockets {
		if s.fd < 0 {
			continue
		}
		if !serve {
			sock.StopListening(s.fd)
			continue
		}
		for _, q := range l.takeQueue(s.fd) {
			to := i
			if s.inbox != nil {
				to = l.fewest(s).loop.index
			} else if l.shared { // all wait on one socket: spread them
				to = took % n
			}
			took++
			waited[to] = append(waited[to], q)
		}
	}
	return waited
}

// takeQueue accepts what waits on fd and makes it refuse from then on. TCP resets
// its queue when it stops listening, so new arrivals are held off first; a unix
// socket keeps its queue, so what came in between is taken last.
func (l *Listener) takeQueue(fd int) []queued {
	if !l.unix {
		sock.HoldOff(fd)
	}
	all := l.acceptQueue(fd, nil)
	sock.StopListening(fd)
	return l.acceptQueue(fd, all)
}

// acceptQueue appends the connections that wait on fd, a backlog of them at most.
func (l *Listener) acceptQueue(fd int, to []queued) []queued {
	for range l.backlog {
		c, remote, e := sock.Accept(fd)
		switch sock.Classify(e) {
		case sock.OK:
			if l.admit() {
				to = append(to, queued{c, remote})
			} else {
				sock.Close(c)
			}
		case sock.Reset: // gave up while it waited
		case sock.Limit, sock.Memory:
			l.fdPauses.Add(1)
			return to
		default: // nobody waits, or fd no longer listens
			return to
		}
	}
	return to
}

// removeFile removes the unix socket's file, unless another listener's has taken
// its place.
func (l *Listener) removeFile() {
	if l.file == nil {
		return
	}
	path := l.addr.String()
	if now, err := os.Lstat(path); err == nil && os.SameFile(now, l.file) {
		_ = os.Remove(path)
	}
}

// leave closes s and takes it off its loop.
func (s *acceptSocket) leave() {
	s.close()
	if s.ln.memoryBytes > 0 {
		s.leaveMemory()
		return
	}
	if i := slices.Index(s.loop.accepts, s); i >= 0 {
		s.loop.accepts = slices.Delete(s.loop.accepts, i, i+1)
	}
}

// close frees the socket, on the loop (or with no loop running).
func (s *acceptSocket) close() {
	if s.starved {
		s.starved = false
		s.loop.starved--
	}
	s.loop.Disarm(&s.timer)
	if s.fd >= 0 {
		s.loop.poller.Remove(s.fd) // a duplicate may keep the registration alive
	}
	s.shut()
}

// shut closes the descriptor, unless that was done, and what is on its way here:
// nothing unless the loop has stopped.
func (s *acceptSocket) shut() {
	s.dropAll()
	s.ln.mu.Lock()
	defer s.ln.mu.Unlock()
	if s.fd >= 0 {
		sock.StopListening(s.fd)
		sock.Close(s.fd)
		s.fd = -1
	}
}
