package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/hcm"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// listener is one configured listener: its sockets, its live Config and each loop's acceptor.
type listener struct {
	conf      *conf.Listener
	live      *hcm.Live
	sockets   []*engine.Listener
	acceptors []*hcm.Acceptor // one per loop, shared by the listener's sockets
	statName  string
	draining  bool
	stopped   bool // stopListening closed the sockets
}

// statName is how a listener is called in statistics: stat_prefix, else its address with ':' as '_'
// (OP-13).
func statName(l *conf.Listener) string {
	if l.StatPrefix != "" {
		return stats.Clean(l.StatPrefix)
	}
	return strings.NewReplacer(":", "_", "/", "_").Replace(l.Addresses[0].String())
}

// openListener opens the sockets. Connections wait in the kernel until the loops run, and with what
// they send until commit opens the acceptors. With an error the listener is to be undone.
func (s *Server) openListener(c *conf.Listener, cfg *hcm.Config) (*listener, error) {
	l := &listener{conf: c, live: new(hcm.Live), statName: statName(c)}
	l.live.Store(cfg)
	ls := stats.NewListenerStats(s.registry, l.statName)
	for i, w := range s.workers {
		ws := stats.NewListenerWorkerStats(s.registry, l.statName, i)
		l.acceptors = append(l.acceptors, hcm.NewAcceptor(w, l.live, ls, ws))
	}
	if s.healthFailed.Load() {
		l.failHealth(s, true)
	}
	for i := range c.Addresses {
		bound := c.Addresses[i].IP
		if !bound.IsValid() || bound.Addr().IsUnspecified() || bound.Port() == 0 {
			bound = netip.AddrPort{}
		}
		sock, err := s.group.Listen(listenSpec(c, &c.Addresses[i]), func(loop *engine.Loop) engine.Acceptor {
			return l.acceptors[loop.Index()].Socket(bound)
		})
		if err != nil {
			return l, fmt.Errorf("listener %q: address %s: %w", c.Name, c.Addresses[i], err)
		}
		l.sockets = append(l.sockets, sock)
	}
	return l, nil
}

func listenSpec(c *conf.Listener, a *conf.Address) engine.ListenSpec {
	spec := engine.ListenSpec{
		Network: "tcp", Backlog: c.Backlog, NoReusePort: !c.ReusePort,
		MaxConns: c.ConnectionLimit, AcceptsPerEvent: c.AcceptsPerEvent,
	}
	switch {
	case a.Pipe != "":
		spec.Network, spec.Addr, spec.Mode = "unix", a.Pipe, os.FileMode(a.Mode)
	case a.IP.Addr().Is4():
		spec.Network, spec.Addr = "tcp4", a.IP.String()
	case a.IPv4Compat:
		spec.Network, spec.Addr = "tcp", a.IP.String()
	default:
		spec.Network, spec.Addr = "tcp6", a.IP.String()
	}
	return spec
}

// sameSockets says whether a changed listener can keep its sockets.
func sameSockets(a, b *conf.Listener) bool {
	if len(a.Addresses) != len(b.Addresses) || a.Backlog != b.Backlog || a.ReusePort != b.ReusePort ||
		a.ConnectionLimit != b.ConnectionLimit || a.AcceptsPerEvent != b.AcceptsPerEvent || statName(a) != statName(b) {
		return false
	}
	for i := range a.Addresses {
		if a.Addresses[i] != b.Addresses[i] {
			return false
		}
	}
	return true
}

// close stops listening at once; connections stay.
func (l *listener) close() {
	for _, sock := range l.sockets {
		sock.Close()
	}
}

// addrs returns the addresses really bound.
func (l *listener) addrs() []net.Addr {
	out := make([]net.Addr, len(l.sockets))
	for i, sock := range l.sockets {
		out[i] = sock.Addr()
	}
	return out
}

// drain tells every loop's acceptor; see hcm.Acceptor.Drain.
func (l *listener) drain(s *Server) {
	over := time.Duration(0)
	if s.o.GradualDrain {
		over = s.o.DrainTime
	}
	l.each(s, func(a *hcm.Acceptor) { a.Drain(over) })
}

// failHealth drains while the health check fails, unless only changes are to drain the listener
// (OP-50).
func (l *listener) failHealth(s *Server, failed bool) {
	failed = failed && l.conf.DrainType == conf.DrainDefault
	l.each(s, func(a *hcm.Acceptor) { a.FailHealth(failed) })
}

// each runs f with every loop's acceptor on its loop.
func (l *listener) each(s *Server, f func(a *hcm.Acceptor)) {
	for i, w := range s.workers {
		a := l.acceptors[i]
		s.onLoop(w, func() { f(a) })
	}
}

// load returns the open connections and how many of them have a request under way. A loop that does
// not answer counts as a busy one.
func (l *listener) load(s *Server) (conns, busy int) {
	for i, w := range s.workers {
		a := l.acceptors[i]
		if !s.onLoop(w, func() { conns, busy = conns+a.Conns(), busy+a.Busy() }) {
			conns, busy = conns+1, busy+1
		}
	}
	return conns, busy
}

// uses says whether a stream on any loop needs cfg; yes when a loop does not answer.
func (l *listener) uses(s *Server, cfg *hcm.Config) bool {
	for i, w := range s.workers {
		a, used := l.acceptors[i], false
		if !s.onLoop(w, func() { used = a.Uses(cfg) }) || used {
			return true
		}
	}
	return false
}

// ListenerInfo is what /listeners shows of one listener.
type ListenerInfo struct {
	Name      string
	Addresses []net.Addr
	Config    *conf.Listener
	Draining  bool
}

// Listeners returns the listeners sorted as configured, leaving ones last.
func (s *Server) Listeners() []ListenerInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []ListenerInfo
	for _, c := range s.config.Listeners {
		if l := s.listeners[c.Name]; l != nil {
			out = append(out, ListenerInfo{c.Name, l.addrs(), l.conf, l.draining})
		}
	}
	for l := range s.leaving {
		out = append(out, ListenerInfo{l.conf.Name, l.addrs(), l.conf, true})
	}
	return out
}
