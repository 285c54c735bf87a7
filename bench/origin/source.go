//go:build unix

package origin

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/sluiceproxy/sluice/bench"
)

// source sends bench.Pattern without end on every connection, as fast as the peer takes it. The bytes
// come from a file by sendfile(2), which on loopback costs the sender a small part of what copying them
// into the socket would; a goroutine for each connection costs little beside it, since one call sends as
// much as the socket takes.
type source struct {
	listener net.Listener
	file     *os.File // has no name any more
	serving  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
}

// sourceBytes is the size of the file: whole pages, and whole periods of the pattern, so that it can be
// sent over and over.
const sourceBytes = 24 * 4096 * patternPeriod

func newSource(addr string) (*source, error) {
	s := &source{conns: map[net.Conn]struct{}{}}
	var err error
	if s.file, err = os.CreateTemp("", "origin-source-"); err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	_, err = s.file.Write(bench.Pattern(make([]byte, 0, sourceBytes), sourceBytes))
	if err = errors.Join(err, os.Remove(s.file.Name())); err == nil {
		s.listener, err = net.Listen("tcp", addr)
	}
	if err != nil {
		_ = s.file.Close()
		return nil, fmt.Errorf("source: %w", err)
	}
	s.serving.Go(s.accept)
	return s, nil
}

func (s *source) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			_ = c.Close()
		} else {
			s.conns[c] = struct{}{}
			s.serving.Go(func() { s.send(c.(*net.TCPConn)) })
		}
		s.mu.Unlock()
	}
}

// send ends when c does.
func (s *source) send(c *net.TCPConn) {
	defer func() {
		_ = c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	at := int64(0)
	for err == nil {
		waits := raw.Write(func(fd uintptr) (done bool) {
			offset := at // some systems move it, others do not
			var n int
			n, err = syscall.Sendfile(int(fd), int(s.file.Fd()), &offset, int(sourceBytes-at))
			at = (at + int64(max(0, n))) % sourceBytes
			switch {
			case errors.Is(err, syscall.EAGAIN):
				err = nil
				return n > 0
			case errors.Is(err, syscall.EINTR):
				err = nil
			}
			return true
		})
		err = errors.Join(err, waits)
	}
}

// stop ends all connections and waits for their goroutines.
func (s *source) stop() {
	s.mu.Lock()
	s.closed = true
	_ = s.listener.Close()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
	_ = s.file.Close()
}
