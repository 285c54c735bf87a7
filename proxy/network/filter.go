package network

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/tokenbucket"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// Filter is one network filter of a filter chain. All loops share it: its own state must be immutable
// or safe for concurrent use.
type Filter interface {
	// OnNewConnection is called once for each connection, on its loop, after the listener filters and
	// before the terminal filter sees a byte. It must not block, and not allocate in steady state. c is
	// valid until it returns.
	OnNewConnection(c *Connection) Verdict
}

// Closer is a Filter that wants to hear of the end of each connection it admitted, also of one that a
// later filter refused.
type Closer interface {
	// OnConnectionClosed is called once, on the connection's loop. facts are valid until it returns.
	OnConnectionClosed(facts *streaminfo.Connection)
}

// PeerJudge is a Filter that asks what the TLS handshake found out about the client (facts' Peer). It and
// the filters behind it see the connections of a chain with TLS when their handshake is done, and the
// terminal filter begins only then. On plain connections nothing is different.
type PeerJudge interface {
	Filter
	// JudgesPeer says whether this filter does ask.
	JudgesPeer() bool
}

// Verdict is a filter's answer. The zero value admits the connection.
type Verdict struct {
	// Close refuses the connection: later filters do not see it, and it is closed without a byte being
	// sent, after Delay, in which nothing is read.
	Close bool
	Delay time.Duration
	// Reason is why, for logs; None reads as reason.NetworkFilterRefused. Details replace those of the
	// reason unless empty, and must outlive the connection.
	Reason  reason.Reason
	Details string
}

// Connection is a new connection as filters see it. Each loop has one, which it fills in anew for every
// connection. Loop-owned.
type Connection struct {
	// Facts of the connection. Filters change its Extra only, and get that from Extra.
	Facts *streaminfo.Connection
	// Worker is the connection's loop: clock, statistics, random numbers.
	Worker *worker.Worker

	info streaminfo.Info // what formats read; filled in by stream
	text []byte          // of the format printed last
}

// Extra returns what filters may write to, made on first use.
func (c *Connection) Extra() *streaminfo.Extra {
	if c.Facts.Extra == nil {
		c.Facts.Extra = c.Worker.Extra()
	}
	return c.Facts.Extra
}

// stream describes the connection to formats: there are only its facts, and when it began.
func (c *Connection) stream() *streaminfo.Info {
	loop := c.Worker.Loop
	c.info.Conn, c.info.RemoteAddress, c.info.Start = c.Facts, c.Facts.Remote, c.Facts.StartNs
	c.info.StartUnixNs = loop.WallNow().UnixNano() - (loop.Now() - c.Facts.StartNs)
	return &c.info
}

// Factory makes an embedder's filter for a filter chain that names it (conf.NetworkFilter.Name,
// proxy.Options.NetworkFilters). An error refuses the configuration. Called on any goroutine.
type Factory func(name string) (Filter, error)

// Deps are the process-wide parts that filters are compiled against.
type Deps struct {
	Registry *stats.Registry
	// Runtime has the values of runtime keys; nil: defaults.
	Runtime *runtime.Loader
	// Buckets are what share_key shares; nil where no filter may have one.
	Buckets *tokenbucket.Buckets
	// Custom are the embedder's filters by name.
	Custom map[string]Factory
}

// Compile makes the runtime form of a network filter. Errors carry the path within c.
func Compile(c *conf.NetworkFilter, d Deps) (Filter, error) {
	switch {
	case c.SNICluster:
		return sniCluster{}, nil
	case c.SetFilterState != nil:
		return newSetFilterState(c.SetFilterState, d)
	case c.RBAC != nil:
		return newRBAC(c.RBAC, d)
	case c.ConnectionLimit != nil:
		return newConnectionLimit(c.ConnectionLimit, d)
	case c.LocalRateLimit != nil:
		return newRateLimit(c.LocalRateLimit, d)
	}
	return newCustom(c.Name, d.Custom)
}

func newCustom(name string, registered map[string]Factory) (Filter, error) {
	factory := registered[name]
	if factory == nil {
		return nil, fmt.Errorf("no network filter %q is registered; there are: %s", name, strings.Join(slices.Sorted(maps.Keys(registered)), ", "))
	}
	f, err := factory(name)
	if err == nil && f == nil {
		err = errors.New("the factory returned no filter")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if closer, ok := f.(Closer); ok {
		return customCloser{custom{f}, closer}, nil
	}
	return custom{f}, nil
}

// JudgesPeer implements PeerJudge for filters that do.
func (f custom) JudgesPeer() bool {
	j, ok := f.Filter.(PeerJudge)
	return ok && j.JudgesPeer()
}

// custom is an embedder's filter; it sees to it that a refusal has a reason.
type custom struct{ Filter }

// OnNewConnection implements Filter.
func (f custom) OnNewConnection(c *Connection) Verdict {
	v := f.Filter.OnNewConnection(c)
	if v.Close && v.Reason == reason.None {
		v.Reason = reason.NetworkFilterRefused
	}
	return v
}

type customCloser struct {
	custom
	Closer
}

// sniCluster is envoy.filters.network.sni_cluster.
type sniCluster struct{}

// OnNewConnection makes the requested server name the TCP proxy's cluster.
func (sniCluster) OnNewConnection(c *Connection) Verdict {
	if name := c.Facts.ServerName(); len(name) > 0 {
		c.Extra().State.Set(streaminfo.KeyTCPCluster, name, false)
	}
	return Verdict{}
}
