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
	"github.com/sluiceproxy/sluice/proxy/listener"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// activeListener is one configured listener: its sockets, its live Config, each loop's acceptor, and
// its filter chains.
type activeListener struct {
	conf      *conf.Listener
	live      listener.Live
	sockets   []*engine.Listener
	acceptors []*listener.Acceptor // one per loop, shared by the listener's sockets
	accounts  []*listener.Account  // one per loop
	chains    map[string]*chain    // by key, those in force
	statName  string
	draining  bool
	stopped   bool // stopListening closed the sockets
}

// internal says whether only this proxy's own clusters connect to the listener.
func (l *activeListener) internal() bool { return l.conf.Addresses[0].Internal != "" }

// statName is how a listener is called in statistics: stat_prefix, else its address with ':' as '_'
// (OP-13), or the name of an internal one.
func statName(l *conf.Listener) string {
	switch {
	case l.StatPrefix != "":
		return stats.Clean(l.StatPrefix)
	case l.Addresses[0].Internal != "":
		return stats.Clean("envoy_internal_" + l.Name)
	}
	return strings.NewReplacer(":", "_", "/", "_").Replace(l.Addresses[0].String())
}

// newListener makes a listener without sockets.
func (s *Server) newListener(c *conf.Listener) *activeListener {
	l := &activeListener{conf: c, statName: statName(c)}
	ls := stats.NewListenerStats(s.registry, l.statName)
	for i, w := range s.workers {
		account := listener.NewAccount(w, &l.live, ls, stats.NewListenerWorkerStats(s.registry, l.statName, i))
		l.accounts = append(l.accounts, account)
		l.acceptors = append(l.acceptors, listener.NewAcceptor(w, &l.live, account))
	}
	return l
}

// open opens the sockets. Connections wait in the kernel until the loops run, and with what they send
// until commit opens the acceptors. With an error the listener is to be undone.
func (l *activeListener) open(s *Server) error {
	c := l.conf
	for i := range c.Addresses {
		bound, pipe := c.Addresses[i].IP, c.Addresses[i].Local() != ""
		if !bound.IsValid() || bound.Addr().IsUnspecified() || bound.Port() == 0 {
			bound = netip.AddrPort{}
		}
		sock, err := s.group.Listen(listenSpec(c, &c.Addresses[i]), func(loop *engine.Loop) engine.Acceptor {
			return l.acceptors[loop.Index()].Socket(bound, pipe)
		})
		if err != nil {
			return fmt.Errorf("listener %q: address %s: %w", c.Name, c.Addresses[i], err)
		}
		l.sockets = append(l.sockets, sock)
	}
	return nil
}

func listenSpec(c *conf.Listener, a *conf.Address) engine.ListenSpec {
	spec := engine.ListenSpec{
		Network: "tcp", Backlog: c.Backlog, NoReusePort: !c.ReusePort,
		MaxConns: c.ConnectionLimit, AcceptsPerEvent: c.AcceptsPerEvent, ExactBalance: c.ExactBalance,
	}
	switch {
	case a.Internal != "":
		spec.Network, spec.Addr, spec.MemoryBytes = engine.Memory, a.Internal, c.InternalBufferBytes
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
		a.ConnectionLimit != b.ConnectionLimit || a.ExactBalance != b.ExactBalance || a.AcceptsPerEvent != b.AcceptsPerEvent || a.InternalBufferBytes != b.InternalBufferBytes || statName(a) != statName(b) {
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
func (l *activeListener) close() {
	for _, sock := range l.sockets {
		sock.Close()
	}
}

// addrs returns the addresses really bound.
func (l *activeListener) addrs() []net.Addr {
	out := make([]net.Addr, len(l.sockets))
	for i, sock := range l.sockets {
		out[i] = sock.Addr()
		if a := &l.conf.Addresses[i]; a.Internal != "" {
			out[i] = internalAddr(a.Local())
		}
	}
	return out
}

// internalAddr is the address of an internal listener as it is shown.
type internalAddr string

func (internalAddr) Network() string  { return engine.Memory }
func (a internalAddr) String() string { return string(a) }

// drain tells every loop's terminal filters; see listener.Terminal.
func (l *activeListener) drain(s *Server) {
	over := time.Duration(0)
	if s.o.GradualDrain {
		over = s.o.DrainTime
	}
	l.each(s, func(t listener.Terminal) { t.Drain(over) })
}

// failHealth drains while the health check fails, unless only changes are to drain the listener
// (OP-50).
func (l *activeListener) failHealth(s *Server, failed bool) {
	failed = failed && l.conf.DrainType == conf.DrainDefault
	l.each(s, func(t listener.Terminal) { t.FailHealth(failed) })
}

// each runs f with every loop's end of every filter chain on its loop.
func (l *activeListener) each(s *Server, f func(t listener.Terminal)) {
	for _, c := range l.chains {
		c.each(s, f)
	}
}

// onLoops runs f with every loop's acceptor on its loop.
func (l *activeListener) onLoops(s *Server, f func(a *listener.Acceptor)) {
	for i, w := range s.workers {
		a := l.acceptors[i]
		s.onLoop(w, func() { f(a) })
	}
}

// closeIdle ends the connections that have nothing under way.
func (l *activeListener) closeIdle(s *Server) {
	l.onLoops(s, (*listener.Acceptor).CloseAll)
	l.each(s, listener.Terminal.CloseIdle)
}

// load returns the open connections and how many of them have something under way. A loop that does
// not answer counts as a busy one.
func (l *activeListener) load(s *Server) (conns, busy int) {
	for i, w := range s.workers {
		a := l.acceptors[i]
		if !s.onLoop(w, func() { conns += a.Conns() }) {
			conns, busy = conns+1, busy+1
		}
	}
	for _, c := range l.chains {
		n, b := c.load(s)
		conns, busy = conns+n, busy+b
	}
	return conns, busy
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
