package proxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/generic"
	"github.com/sluiceproxy/sluice/proxy/hcm"
	"github.com/sluiceproxy/sluice/proxy/listener"
	"github.com/sluiceproxy/sluice/proxy/tcp"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// chain is a filter chain that connections live in: the place its loops read the terminal filter's
// Config from, and the terminal filter's ends. It stays the same object, and its connections stay,
// while configurations change that keep it. One of http, tcp and generic is set.
type chain struct {
	key     string
	http    *hcm.Live
	tcp     *tcp.Live
	generic *generic.Live
	ends    []listener.Terminal // one per loop
}

// terminal is a terminal filter's compiled form: one of the three.
type terminal struct {
	http    *hcm.Config
	tcp     *tcp.Config
	generic *generic.Config
}

// chainKey is what makes a filter chain of one configuration the same one in the next: its name, or
// what it matches, and the kind of its terminal filter.
func chainKey(c *conf.FilterChain) string {
	kind := "tcp"
	switch {
	case c.HTTP != nil:
		kind = "http"
	case c.Generic != nil:
		kind = "generic"
	}
	if c.Name != "" {
		return kind + " named " + c.Name
	}
	return fmt.Sprintf("%s for %+v", kind, c.Match)
}

// compileTerminal makes the runtime form of a chain's terminal filter. statName names the listener.
func (s *Server) compileTerminal(l *conf.Listener, c *conf.FilterChain, b *conf.Bootstrap) (terminal, error) {
	var t terminal
	var err error
	switch {
	case c.Generic != nil && c.HTTP == nil && c.TCP == nil:
		t.generic, err = generic.Compile(l, c.Generic, &generic.Deps{
			Registry: s.registry, Logs: s.logs, Runtime: s.runtime, Log: s.log, Codecs: s.o.GenericCodecs, Filters: s.o.GenericFilters,
		})
	case c.Generic != nil:
		err = errors.New(oneTerminal)
	case c.HTTP != nil && c.TCP == nil:
		t.http, err = hcm.Compile(l, c.HTTP, statName(l), &hcm.Deps{
			Registry: s.registry, Logs: s.logs, Node: b.Node, Runtime: s.runtime,
			Filters: s.o.HTTPFilters, Loops: len(s.workers), HealthFailed: s.healthFailed.Load,
		})
	case c.TCP != nil && c.HTTP == nil:
		t.tcp, err = tcp.Compile(l, c.TCP, &tcp.Deps{Registry: s.registry, Logs: s.logs, Provider: s.provider})
	default:
		err = errors.New(oneTerminal)
	}
	return t, err
}

const oneTerminal = "needs one terminal filter, an HTTP connection manager, a TCP proxy or a generic proxy"

// close gives back what compiling took. Nothing may use the terminal any more.
func (t terminal) close() {
	if t.http != nil {
		t.http.Close()
	}
	if t.tcp != nil {
		t.tcp.Close()
	}
	if t.generic != nil {
		t.generic.Close()
	}
}

// newChain makes the loops' ends of a chain.
func (s *Server) newChain(key string, t terminal, accounts []*listener.Account) *chain {
	c := &chain{key: key}
	switch {
	case t.http != nil:
		c.http = new(hcm.Live)
	case t.generic != nil:
		c.generic = new(generic.Live)
	default:
		c.tcp = new(tcp.Live)
	}
	c.swap(t)
	for i, w := range s.workers {
		var end listener.Terminal
		switch {
		case c.http != nil:
			end = hcm.NewAcceptor(w, c.http, accounts[i])
		case c.generic != nil:
			end = generic.NewAcceptor(w, c.generic, accounts[i])
		default:
			end = tcp.NewAcceptor(w, c.tcp, accounts[i])
		}
		if a, ok := end.(worker.Settler); ok {
			s.onLoop(w, func() { w.AddSettler(a) })
		}
		c.ends = append(c.ends, end)
	}
	return c
}

// retireEnds undoes what newChain did on the loops.
func (c *chain) retireEnds(s *Server) {
	for i, w := range s.workers {
		if a, ok := c.ends[i].(worker.Settler); ok {
			s.onLoop(w, func() { w.RemoveSettler(a) })
		}
	}
}

// swap makes a Config the live one and returns the one it replaces.
func (c *chain) swap(t terminal) terminal {
	switch {
	case c.http != nil:
		return terminal{http: c.http.Swap(t.http)}
	case c.generic != nil:
		return terminal{generic: c.generic.Swap(t.generic)}
	}
	return terminal{tcp: c.tcp.Swap(t.tcp)}
}

// each runs f with every loop's end on its loop.
func (c *chain) each(s *Server, f func(t listener.Terminal)) {
	for i, w := range s.workers {
		end := c.ends[i]
		s.onLoop(w, func() { f(end) })
	}
}

// load is activeListener.load for one chain.
func (c *chain) load(s *Server) (conns, busy int) {
	for i, w := range s.workers {
		end := c.ends[i]
		if !s.onLoop(w, func() { conns, busy = conns+end.Conns(), busy+end.Busy() }) {
			conns, busy = conns+1, busy+1
		}
	}
	return conns, busy
}

// uses says whether a stream or session on any loop needs t; yes when a loop does not answer.
func (c *chain) uses(s *Server, t terminal) bool {
	for i, w := range s.workers {
		end, used := c.ends[i], false
		if !s.onLoop(w, func() {
			switch a := end.(type) {
			case *hcm.Acceptor:
				used = a.Uses(t.http)
			case *tcp.Acceptor:
				used = a.Uses(t.tcp)
			case *generic.Acceptor:
				used = a.Uses(t.generic)
			}
		}) || used {
			return true
		}
	}
	return false
}

// retireInterval is how often it is looked whether a replaced Config is still in use.
const retireInterval = time.Second

// retire closes a replaced Config, and with it its log files, when the last stream or session that
// began with it is over.
func (s *Server) retire(c *chain, old terminal) {
	s.background.Go(func() {
		for c.uses(s, old) && s.sleep(retireInterval) {
		}
		old.close()
	})
}

// dismiss ends a chain that the configuration has no more: its connections drain, and are closed when
// the drain time is over. New ones do not come any more.
func (s *Server) dismiss(c *chain) {
	s.drainingChains.Add(1)
	s.manager.TotalFilterChainsDraining.Set(s.drainingChains.Load())
	c.each(s, func(t listener.Terminal) { t.Drain(0) })
	s.background.Go(func() {
		ctx, cancel := context.WithTimeout(s.running, s.o.DrainTime)
		defer cancel()
		s.awaitEmpty(ctx, func() (int, int) { return c.load(s) }, func() { c.each(s, listener.Terminal.CloseIdle) })
		if s.running.Err() != nil {
			return // Close ends the connections
		}
		c.end(s)
		s.drainingChains.Add(-1)
		s.manager.TotalFilterChainsDraining.Set(s.drainingChains.Load())
	})
}

// end closes what connections are left, and the chain's Config.
func (c *chain) end(s *Server) {
	c.each(s, listener.Terminal.CloseAll)
	c.retireEnds(s) // after OnClosed of every session, which comes at the end of the message before
	c.swap(terminal{}).close()
}
