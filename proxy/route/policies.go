package route

import (
	"fmt"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/retry"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// Policies are what a route, or else what is above it, says of the tries of a request, compiled. Immutable;
// routes that say nothing themselves share those of their virtual host.
type Policies struct {
	// Retry is nil where there is no retry policy.
	Retry *retry.Policy
	// Hedge: a try that takes longer than its timeout is joined by another one (ROUTER-51).
	Hedge    bool
	Mirrors  []Mirror
	Redirect *InternalRedirect

	bodyLimit, requestLimit       uint64
	hasBodyLimit, hasRequestLimit bool
}

// BodyLimit returns how many bytes of a request body are kept for another try; connection is the
// listener's limit (ROUTER-61). p may be nil.
func (p *Policies) BodyLimit(connection int) int {
	switch {
	case p == nil:
	case p.hasBodyLimit:
		return int(min(p.bodyLimit, maxBodyLimit))
	case p.hasRequestLimit:
		return int(min(p.requestLimit, uint64(connection)))
	}
	return connection
}

// maxBodyLimit keeps a limit within an int on every machine.
const maxBodyLimit = 1<<31 - 1

// Mirror is a compiled mirror policy.
type Mirror struct {
	Config        *conf.MirrorPolicy
	Fraction      *runtime.Fraction
	cluster       []byte
	clusterHeader *match.Name
	headers       *level
}

// Cluster returns the name of the mirror's cluster; empty when the header that has it is missing.
func (m *Mirror) Cluster(h *header.Head) []byte {
	if m.clusterHeader == nil {
		return m.cluster
	}
	if m.clusterHeader.Lower == authorityName {
		return h.Bytes(h.Authority)
	}
	v, _ := m.clusterHeader.First(h)
	return v
}

// Mutate applies the mirror's own header mutations.
func (m *Mirror) Mutate(h *header.Head, i *streaminfo.Info, scratch []byte) {
	if m.headers != nil {
		m.headers.apply(h, i, scratch)
	}
}

// InternalRedirect is a compiled internal redirect policy.
type InternalRedirect struct {
	Config *conf.InternalRedirectPolicy
	Copy   []match.Name // response_headers_to_copy
}

// Follows says whether responses with that status are followed.
func (r *InternalRedirect) Follows(status uint16) bool {
	for _, c := range r.Config.Codes {
		if c == status {
			return true
		}
	}
	return false
}

// hostPolicies are the policies of a virtual host and what is above it, which its routes fall back to.
type hostPolicies struct {
	conf   *conf.RoutePolicies
	shared *Policies // of routes that say nothing; nil: nothing is said at all
}

func (b *builder) hostPolicies(c *conf.RoutePolicies) (hostPolicies, error) {
	whole := *c
	if whole.Mirrors == nil {
		whole.Mirrors = b.conf.Mirrors
	}
	p, err := compilePolicies(&whole, b.runtime)
	return hostPolicies{&whole, p}, err
}

// of compiles a route's policies over those of its virtual host (RT-78).
func (h *hostPolicies) of(c *conf.RoutePolicies, rt *runtime.Loader) (*Policies, error) {
	if c.Retry == nil && c.Hedge == nil && c.Mirrors == nil && c.InternalRedirect == nil && !c.HasBodyBufferLimit && !c.HasPerRequestBufferLimit {
		return h.shared, nil
	}
	whole := *c
	if whole.Retry == nil {
		whole.Retry = h.conf.Retry
	}
	if whole.Hedge == nil {
		whole.Hedge = h.conf.Hedge
	}
	if whole.Mirrors == nil {
		whole.Mirrors = h.conf.Mirrors
	}
	if !whole.HasBodyBufferLimit && !whole.HasPerRequestBufferLimit {
		whole.BodyBufferLimit, whole.HasBodyBufferLimit = h.conf.BodyBufferLimit, h.conf.HasBodyBufferLimit
		whole.PerRequestBufferLimit, whole.HasPerRequestBufferLimit = h.conf.PerRequestBufferLimit, h.conf.HasPerRequestBufferLimit
	}
	return compilePolicies(&whole, rt)
}

func compilePolicies(c *conf.RoutePolicies, rt *runtime.Loader) (*Policies, error) {
	p := &Policies{
		Hedge: c.Hedge != nil && c.Hedge.OnPerTryTimeout, bodyLimit: c.BodyBufferLimit, requestLimit: c.PerRequestBufferLimit,
		hasBodyLimit: c.HasBodyBufferLimit, hasRequestLimit: c.HasPerRequestBufferLimit,
	}
	var err error
	if c.Retry != nil {
		if p.Retry, err = retry.Compile(c.Retry); err != nil {
			return nil, fmt.Errorf("retry_policy.%w", err)
		}
	}
	for i := range c.Mirrors {
		m, err := compileMirror(&c.Mirrors[i], rt)
		if err != nil {
			return nil, fmt.Errorf("request_mirror_policies[%d].%w", i, err)
		}
		p.Mirrors = append(p.Mirrors, m)
	}
	if r := c.InternalRedirect; r != nil {
		for i, n := range r.HeadersToCopy {
			if err := match.CheckName(n); err != nil {
				return nil, fmt.Errorf("internal_redirect_policy.response_headers_to_copy[%d]: %w", i, err)
			}
		}
		p.Redirect = &InternalRedirect{Config: r, Copy: match.NewNames(r.HeadersToCopy)}
	}
	if p.Retry == nil && !p.Hedge && p.Mirrors == nil && p.Redirect == nil && !p.hasBodyLimit && !p.hasRequestLimit {
		return nil, nil
	}
	return p, nil
}

func compileMirror(c *conf.MirrorPolicy, rt *runtime.Loader) (Mirror, error) {
	m := Mirror{Config: c, Fraction: rt.Fraction(c.RuntimeKey, c.Fraction), cluster: []byte(c.Cluster)}
	if (c.Cluster == "") == (c.ClusterHeader == "") {
		return m, fmt.Errorf("cluster: exactly one of cluster and cluster_header is needed")
	}
	if c.ClusterHeader != "" {
		if c.ClusterHeader != authorityName {
			if err := match.CheckName(c.ClusterHeader); err != nil {
				return m, fmt.Errorf("cluster_header: %w", err)
			}
		}
		n := match.NewName(c.ClusterHeader)
		m.clusterHeader = &n
	}
	l, err := compileLevel("request", c.Headers.RequestAdd, c.Headers.RequestRemove)
	m.headers = l
	return m, err
}
