package proxy

import (
	"slices"
	"strings"
	"sync"

	"github.com/sluiceproxy/sluice/engine"
)

// socketCounts are what the sockets of a name in statistics have counted: of all listeners that have
// the name, and had it before, so that no counter goes back when one takes another's place.
type socketCounts struct {
	mu       sync.Mutex
	open     []*engine.Listener
	overflow uint64 // of those that are not in open any more
	global   uint64
	fdPauses uint64
	limited  map[*engine.Listener]bool // has a connection limit of its own
}

// countSockets makes a listener that is now in force part of its name's counts.
func (s *Server) countSockets(l *activeListener) {
	c := s.sockets[l.statName]
	if c == nil {
		c = &socketCounts{limited: make(map[*engine.Listener]bool)}
		s.sockets[l.statName] = c
	}
	c.mu.Lock()
	c.open = append(c.open, l.sockets...)
	for _, sock := range l.sockets {
		c.limited[sock] = l.conf.ConnectionLimit > 0
	}
	c.mu.Unlock()
	prefix := "listener." + l.statName + "."
	s.registry.CounterFunc(prefix+"downstream_cx_overflow", func() uint64 { n, _, _ := c.read(); return n })
	s.registry.CounterFunc(prefix+"downstream_global_cx_overflow", func() uint64 { _, n, _ := c.read(); return n })
	s.registry.CounterFunc(prefix+"accept_paused_fd_limit", func() uint64 { _, _, n := c.read(); return n })
}

// read adds up. Connections refused by a listener without a limit of its own were too many for the
// server; of one with a limit the engine does not say which it was.
func (c *socketCounts) read() (overflow, global, fdPauses uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	overflow, global, fdPauses = c.overflow, c.global, c.fdPauses
	for _, sock := range c.open {
		st := sock.Stats()
		if c.limited[sock] {
			overflow += st.Refused
		} else {
			global += st.Refused
		}
		fdPauses += st.FDPauses
	}
	return overflow, global, fdPauses
}

// retire keeps the counts of sockets that are closed, and lets go of the sockets.
func (c *socketCounts) retire(sockets []*engine.Listener) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, sock := range sockets {
		i := slices.Index(c.open, sock)
		if i < 0 {
			continue
		}
		st := sock.Stats()
		if c.limited[sock] {
			c.overflow += st.Refused
		} else {
			c.global += st.Refused
		}
		c.fdPauses += st.FDPauses
		c.open = slices.Delete(c.open, i, i+1)
		delete(c.limited, sock)
	}
}

// releaseStats takes a listener's series out of the output, unless another one that is in force or
// leaving counts under the same name, or under one that begins with it. Needs mu.
func (s *Server) releaseStats(statName string) {
	prefix := "listener." + statName + "."
	used := func(l *activeListener) bool { return strings.HasPrefix("listener."+l.statName+".", prefix) }
	for _, l := range s.listeners {
		if used(l) {
			return
		}
	}
	for l := range s.leaving {
		if used(l) {
			return
		}
	}
	delete(s.sockets, statName)
	s.registry.ReleasePrefix(prefix)
}
