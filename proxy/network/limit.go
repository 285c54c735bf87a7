package network

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// connectionLimit is envoy.filters.network.connection_limit: so many connections of the filter chain at
// a time, over all loops. A changed configuration begins to count anew.
type connectionLimit struct {
	max    uint64
	delay  time.Duration
	stats  *stats.ConnectionLimitStats
	active atomic.Uint64 // admitted and not over
}

var _ Closer = (*connectionLimit)(nil)

func newConnectionLimit(c *conf.ConnectionLimit, d Deps) (Filter, error) {
	switch {
	case c.MaxConnections == 0:
		return nil, errors.New("max_connections: must be at least 1")
	case c.Delay < 0:
		return nil, errors.New("delay: must not be negative")
	}
	return &connectionLimit{max: c.MaxConnections, delay: c.Delay, stats: stats.NewConnectionLimitStats(d.Registry, c.StatPrefix)}, nil
}

// OnNewConnection admits the connection while there are fewer than max.
func (l *connectionLimit) OnNewConnection(c *Connection) Verdict {
	// Not one addition that is taken back: for that moment another loop could refuse for no reason.
	for n := l.active.Load(); n < l.max; n = l.active.Load() {
		if l.active.CompareAndSwap(n, n+1) {
			l.stats.ActiveConnections.Add(1)
			return Verdict{}
		}
	}
	c.Worker.Stats.Inc(l.stats.LimitedConnections)
	return Verdict{Close: true, Delay: l.delay, Reason: reason.ConnectionLimited}
}

// OnConnectionClosed makes room for another.
func (l *connectionLimit) OnConnectionClosed(*streaminfo.Connection) {
	l.active.Add(^uint64(0))
	l.stats.ActiveConnections.Add(-1)
}
