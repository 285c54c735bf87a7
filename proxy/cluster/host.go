package cluster

import (
	"net/netip"
	"sync/atomic"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/secure"
)

// Host is one upstream host of a cluster. It stays the same object as long as
// the cluster has the address, over any number of DNS answers. Immutable but for
// the address of a LOGICAL_DNS host; any goroutine may read it.
type Host struct {
	// Addr is the address the host was made with; dial Address, which a
	// LOGICAL_DNS host changes. Invalid for a pipe.
	Addr netip.AddrPort
	// Pipe is a unix socket path, or what an internal listener is called; empty for TCP.
	Pipe string
	// Internal is the internal listener's name.
	Internal string
	// AddrText is Addr or Pipe as text.
	AddrText string
	// Hostname is the endpoint's hostname, else the name that was resolved, else empty.
	Hostname              string
	Region, Zone, SubZone string
	Weight                uint32 // 1 or more
	Priority              uint32
	Health                conf.EndpointHealth
	Canary                bool
	// Metadata is the endpoint's envoy.lb metadata. Read-only.
	Metadata conf.LBMetadata
	// Index is small and unique among the cluster's present hosts; a host that
	// comes later may get the index of one that left.
	Index int

	// Secure is the TLS context of connections to the host; nil: they are plain. Proxy says what PROXY
	// header comes before all that; nil: none.
	Secure *secure.Upstream
	Proxy  *conf.UpstreamProxyProtocol

	breakers  [2]*HostBreaker
	wanted    atomic.Bool // of a host that came when it was wanted: somebody went there since the last look
	check     conf.EndpointHealthCheck
	ejection  *ejection // nil without outlier detection
	unchecked bool      // the cluster's mu: no active check is done
	left      bool      // the cluster's mu: it is not in the cluster any more
	record    *record   // nil: nobody minds what becomes of requests
	// healthySince is when the host came, or became healthy, on slow start's clock; 0 is long ago.
	healthySince   atomic.Int64
	flags          atomic.Uint32 // HealthFlags but for those of Health
	localityWeight uint32
	moved          atomic.Pointer[netip.AddrPort] // nil until a LOGICAL_DNS host moved
}

// Address returns where to connect now; for LOGICAL_DNS the first address of the
// latest answer. Invalid for a pipe. One atomic load.
func (h *Host) Address() netip.AddrPort {
	if a := h.moved.Load(); a != nil {
		return *a
	}
	return h.Addr
}

// Breaker returns what bounds the connections to the host at a priority
// (conf.PriorityDefault, conf.PriorityHigh).
func (h *Host) Breaker(priority int) *HostBreaker { return h.breakers[priority] }

func (h *Host) begins(t transport) { h.Secure, h.Proxy = t.context, t.proxy }

func newHost(e *conf.Endpoint, addr netip.AddrPort) *Host {
	h := &Host{
		Addr: addr, Pipe: e.Address.Local(), Internal: e.Address.Internal, Hostname: e.Hostname, Weight: max(1, e.Weight),
		Region: e.Region, Zone: e.Zone, SubZone: e.SubZone,
		Priority: e.Priority, Health: e.Health, Canary: e.Canary,
		Metadata: e.Metadata, localityWeight: e.LocalityWeight,
	}
	if h.Hostname == "" {
		h.Hostname = e.Address.Host
	}
	h.AddrText = h.Pipe
	if h.Pipe == "" {
		h.AddrText = addr.String()
	}
	return h
}

// HostLoad is what one loop did with one host, for balancing and for /clusters.
// Loop-owned; the sum over the loops is what Envoy shows.
type HostLoad struct {
	CxTotal, CxActive, CxConnectFail                 uint64
	RqTotal, RqSuccess, RqError, RqTimeout, RqActive uint64
	// What outlier detection computes rates of: answers, and tries to get one where those are counted
	// apart; only with outlier detection.
	Answers, GoodAnswers, Tries, GoodTries uint64
}

// Add adds another loop's counts.
func (l *HostLoad) Add(o *HostLoad) {
	l.CxTotal += o.CxTotal
	l.CxActive += o.CxActive
	l.CxConnectFail += o.CxConnectFail
	l.RqTotal += o.RqTotal
	l.RqSuccess += o.RqSuccess
	l.RqError += o.RqError
	l.RqTimeout += o.RqTimeout
	l.RqActive += o.RqActive
	l.Answers += o.Answers
	l.GoodAnswers += o.GoodAnswers
	l.Tries += o.Tries
	l.GoodTries += o.GoodTries
}
