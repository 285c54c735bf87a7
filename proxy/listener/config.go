package listener

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sluiceproxy/sluice/engine/tlsio"
	"github.com/sluiceproxy/sluice/proxy/accesslog"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/network"
	"github.com/sluiceproxy/sluice/proxy/secure"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// Config is a listener compiled for use by every loop. Immutable.
type Config struct {
	filters   []filter
	keepBytes int // the most a filter may have to wait for
	timeout   time.Duration
	goOn      bool // at the timeout, with what is known
	match     *matcher
	logs      []*accesslog.Logger
	chains    []*Chain
	// facts of connections that no chain has taken yet; pipe for those to a unix socket.
	shared, sharedPipe streaminfo.Listener
}

// Live is the place a listener's loops read its current Config from.
type Live = atomic.Pointer[Config]

// Chain is a filter chain compiled for use by every loop. Immutable.
type Chain struct {
	conf    *conf.FilterChain
	filters []network.Filter
	// closers are those of filters that want to hear of ends; nil where one does not.
	closers []network.Closer
	needs   bool // some filter wants to hear: connections need an Extra
	late    int  // filters[late:] wait for the TLS handshake
	shared  streaminfo.Listener
	pipe    streaminfo.Listener
	ends    []Terminal         // by loop
	secure  *secure.Downstream // nil: plain
	layer   *tlsio.Layer
	timeout time.Duration // of the TLS handshake
}

// handshakeTimeout bounds a TLS handshake when transport_socket_connect_timeout does not: what a
// client that stalls holds must come back.
const handshakeTimeout = 15 * time.Second

// Deps are the process-wide parts a Config is compiled against.
type Deps struct {
	Registry *stats.Registry
	Logs     *accesslog.Manager
	Network  network.Deps
	// Secure makes TLS contexts, TLS runs them.
	Secure *secure.Manager
	TLS    *tlsio.Layer
	// StatName is how statistics call the listener.
	StatName string
}

// NewChain compiles what comes before the terminal filter. ends are the terminal filter's, one for
// each loop. Errors carry the path within the chain.
func NewChain(l *conf.Listener, c *conf.FilterChain, ends []Terminal, d *Deps) (*Chain, error) {
	out := &Chain{
		conf: c, ends: ends,
		shared: streaminfo.Listener{Name: l.Name, FilterChain: c.Name},
		pipe:   streaminfo.Listener{Name: l.Name, FilterChain: c.Name, Pipe: firstPipe(l), Internal: isInternal(l)},
	}
	for i := range c.Filters {
		f, err := network.Compile(&c.Filters[i], d.Network)
		if err != nil {
			return nil, fmt.Errorf("filters[%d]: %w", i, err)
		}
		closer, _ := f.(network.Closer)
		out.filters, out.closers = append(out.filters, f), append(out.closers, closer)
		out.needs = out.needs || closer != nil
	}
	if c.TLS != nil {
		var err error
		if out.secure, err = d.Secure.Downstream(c.TLS, d.StatName, c.Match.ServerNames); err != nil {
			return nil, fmt.Errorf("transport_socket: %w", err)
		}
		out.layer, out.timeout = d.TLS, c.TransportSocketConnectTimeout
		if out.timeout <= 0 {
			out.timeout = handshakeTimeout
		}
	}
	out.late = len(out.filters)
	if out.secure != nil {
		if i := slices.IndexFunc(out.filters, judgesPeer); i >= 0 {
			out.late = i
		}
	}
	return out, nil
}

func judgesPeer(f network.Filter) bool {
	j, ok := f.(network.PeerJudge)
	return ok && j.JudgesPeer()
}

// Close gives back what NewChain took.
func (c *Chain) Close() {
	if c.secure != nil {
		c.secure.Release()
	}
}

// Leave tells the network filters that a connection they admitted is over; see streaminfo.Extra.
func (c *Chain) Leave(facts *streaminfo.Connection) { c.leave(facts, len(c.closers)) }

// leave tells the first n filters.
func (c *Chain) leave(facts *streaminfo.Connection, n int) {
	for _, closer := range c.closers[:n] {
		if closer != nil {
			closer.OnConnectionClosed(facts)
		}
	}
}

// Compile makes the runtime form of a listener. chains are those of l.FilterChains in order; fallback
// that of l.DefaultFilterChain, nil for none. Without an error they are closed with the Config.
func Compile(l *conf.Listener, chains []*Chain, fallback *Chain, d *Deps) (*Config, error) {
	out := &Config{
		timeout: l.FiltersTimeout, goOn: l.ContinueOnFiltersTimeout,
		chains: chains, shared: streaminfo.Listener{Name: l.Name}, sharedPipe: streaminfo.Listener{Name: l.Name, Pipe: firstPipe(l), Internal: isInternal(l)},
	}
	var err error
	if out.match, err = compileMatch(chains, fallback); err != nil {
		return nil, err
	}
	for i := range l.Filters {
		f, err := compileFilter(&l.Filters[i], d.Registry)
		if err != nil {
			return nil, fmt.Errorf("listener_filters[%d]: %w", i, err)
		}
		out.filters = append(out.filters, f)
		out.keepBytes = max(out.keepBytes, f.keepBytes())
	}
	for i, lc := range l.AccessLogs {
		logger, err := d.Logs.Compile(lc)
		if err != nil {
			out.chains = nil // still the caller's
			out.Close()
			return nil, fmt.Errorf("access_log[%d]: %w", i, err)
		}
		out.logs = append(out.logs, logger)
	}
	if fallback != nil {
		out.chains = append(slices.Clone(chains), fallback)
	}
	return out, nil
}

// Close gives back what Compile took: log files and TLS contexts. Nothing may use the Config any more.
func (c *Config) Close() {
	for _, chain := range c.chains {
		chain.Close()
	}
	for _, l := range c.logs {
		l.Close()
	}
}

func isInternal(l *conf.Listener) bool { return len(l.Addresses) > 0 && l.Addresses[0].Internal != "" }

// firstPipe returns the listener's unix socket, or what it is called when it is internal; a socket does not say which of several it came to.
func firstPipe(l *conf.Listener) string {
	for i := range l.Addresses {
		if p := l.Addresses[i].Local(); p != "" {
			return p
		}
	}
	return ""
}
