package worker

import (
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/cluster"
)

// breaker bounds a host's connections by the host's and the cluster's limits, and its waiting
// requests by the cluster's.
type breaker struct {
	*cluster.Breaker
	host *cluster.HostBreaker
}

var _ pool.Breaker = breaker{}

func (b breaker) TryConnection(first bool) bool { return b.host.TryConnection(first) }
func (b breaker) ReleaseConnection()            { b.host.ReleaseConnection() }
