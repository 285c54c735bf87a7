//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

func (c *compiler) cluster(m *clusterv3.Cluster, at place) *conf.Cluster {
	out := conf.NewCluster(m.GetName())
	out.StatName = strings.ReplaceAll(m.GetName(), ":", "_")
	if m.GetAltStatName() != "" {
		out.StatName = strings.ReplaceAll(m.GetAltStatName(), ":", "_")
	}
	switch m.GetType() {
	case clusterv3.Cluster_STRICT_DNS:
		out.Type = conf.ClusterStrictDNS
	case clusterv3.Cluster_LOGICAL_DNS:
		out.Type = conf.ClusterLogicalDNS
	case clusterv3.Cluster_ORIGINAL_DST:
		out.Type = conf.ClusterOriginalDst
		c.originalDst(m, at, out)
	}
	forward := c.dynamicForward(m, at, out)
	out.ConnectTimeout = c.duration(m.GetConnectTimeout(), at.field("connect_timeout"), out.ConnectTimeout)
	out.PerConnectionBufferLimitBytes = number(m.GetPerConnectionBufferLimitBytes(), defaultBufferLimitBytes)
	if out.PerConnectionBufferLimitBytes == 0 {
		c.errs.at(at.field("per_connection_buffer_limit_bytes"), "must be greater than 0: buffers are always bounded")
	}
	if r := m.GetPreconnectPolicy().GetPerUpstreamPreconnectRatio(); r != nil {
		out.PreconnectRatio = r.GetValue()
	}
	out.WaitForWarm = boolean(m.GetWaitForWarmOnInit(), true)
	c.balancing(m, at, out)
	c.endpoints(m, at, out)
	options := c.clusterProtocol(m, at, out)
	c.healthCheck(m, at, out)
	c.internalEndpoints(m, at, out)
	c.outlierDetection(m.GetOutlierDetection(), at.field("outlier_detection"), out)
	out.CloseOnHealthFailure, out.DropUnhealthyOnRemoval = m.GetCloseConnectionsOnHostHealthFailure(), m.GetIgnoreHealthOnHostRemoval()
	out.TrackTimeoutBudgets = m.GetTrackTimeoutBudgets() || m.GetTrackClusterStats().GetTimeoutBudgets()
	out.TrackRequestResponseSizes = m.GetTrackClusterStats().GetRequestResponseSizes()
	c.breakers(m.GetCircuitBreakers(), at.field("circuit_breakers"), out)
	c.dns(m, at, out)
	c.sources = nil
	c.clusterSockets(m, at, out)
	c.protocolSockets(&options, at, out)
	if forward != nil {
		c.forwardNames(m, forward, &options, at, out)
	}
	if c.sources != nil { // a cluster whose Raw is the same counts as unchanged
		c.errs.at(at.field("transport_socket"), "not supported: formats of a cluster from a file or variable; write them inline")
	}
	if source := m.GetUpstreamBindConfig().GetSourceAddress(); source != nil {
		here := at.field("upstream_bind_config").field("source_address")
		out.BindAddress = c.socketAddress(source, here, bindAddress).IP
	}
	if keep := m.GetUpstreamConnectionOptions().GetTcpKeepalive(); keep != nil {
		out.TCPKeepAlive = conf.TCPKeepAlive{
			KeepAlive: true, KeepAliveProbes: keep.GetKeepaliveProbes().GetValue(),
			KeepAliveTime:     seconds(keep.GetKeepaliveTime().GetValue()),
			KeepAliveInterval: seconds(keep.GetKeepaliveInterval().GetValue()),
		}
	}
	out.Raw = c.raw(m, at)
	return out
}

// originalDst compiles original_dst_lb_config.
func (c *compiler) originalDst(m *clusterv3.Cluster, at place, out *conf.Cluster) {
	o, here := &conf.OriginalDstOptions{HTTPHeader: defaultOriginalDstHeader}, at.field("original_dst_lb_config")
	l := m.GetOriginalDstLbConfig()
	o.UseHTTPHeader = l.GetUseHttpHeader()
	if l.GetHttpHeaderName() != "" {
		o.HTTPHeader = strings.ToLower(l.GetHttpHeaderName())
		if !o.UseHTTPHeader {
			c.errs.at(here.field("http_header_name"), "needs use_http_header")
		}
	}
	o.PortOverride = uint16(l.GetUpstreamPortOverride().GetValue())
	if k := l.GetMetadataKey(); len(k.GetPath()) > 0 {
		o.MetadataNamespace, o.MetadataKey = k.GetKey(), k.GetPath()[0].GetKey()
		if len(k.GetPath()) > 1 {
			c.errs.at(here.field("metadata_key").field("path"), "not supported: more than one segment")
		}
	}
	o.CleanupInterval = c.duration(m.GetCleanupInterval(), at.field("cleanup_interval"), 5*time.Second)
	if len(m.GetHealthChecks()) > 0 {
		c.errs.at(at.field("health_checks"), "not supported for ORIGINAL_DST: its hosts come and go with those who want them")
	}
	if len(m.GetLoadAssignment().GetEndpoints()) > 0 {
		c.errs.at(at.field("load_assignment"), "excludes type ORIGINAL_DST")
	}
	out.OriginalDst = o
}

const defaultOriginalDstHeader = "x-envoy-original-dst-host"

// maxLocalityPriority is the highest value LocalityLbEndpoints.priority may have.
const maxLocalityPriority = 128

// endpoints compiles load_assignment (clusters.md 2).
func (c *compiler) endpoints(m *clusterv3.Cluster, at place, out *conf.Cluster) {
	assignment, here := m.GetLoadAssignment(), at.field("load_assignment")
	if assignment == nil {
		if out.Type == conf.ClusterLogicalDNS {
			c.errs.at(at, "a LOGICAL_DNS cluster needs exactly one endpoint, not none")
		}
		return
	}
	var used [maxLocalityPriority + 1]bool
	highest := uint32(0)
	for i, locality := range assignment.GetEndpoints() {
		group := here.field("endpoints").index(i)
		priority := locality.GetPriority()
		if priority > maxLocalityPriority {
			continue // does not pass the constraints
		}
		used[priority], highest = true, max(highest, priority)
		for j, endpoint := range locality.GetLbEndpoints() {
			compiled := c.endpoint(endpoint, group.field("lb_endpoints").index(j), out.Type)
			l := locality.GetLocality()
			compiled.Region, compiled.Zone, compiled.SubZone = l.GetRegion(), l.GetZone(), l.GetSubZone()
			compiled.Priority, compiled.LocalityWeight = priority, locality.GetLoadBalancingWeight().GetValue()
			compiled.LocalitySocketMetadata = lbMetadata(locality.GetMetadata().GetFilterMetadata()[socketNamespace])
			out.Endpoints = append(out.Endpoints, compiled)
		}
	}
	if len(assignment.GetEndpoints()) > 0 {
		for p := range highest {
			if !used[p] {
				c.errs.at(here.field("endpoints"), "priorities must have no gaps: there is a priority %d and no %d", highest, p)
				break
			}
		}
	}
	if out.Type == conf.ClusterLogicalDNS && len(out.Endpoints) != 1 {
		c.errs.at(here, "a LOGICAL_DNS cluster needs exactly one endpoint, not %d", len(out.Endpoints))
	}
}

func (c *compiler) endpoint(m *endpointv3.LbEndpoint, at place, kind conf.ClusterType) *conf.Endpoint {
	out := &conf.Endpoint{Hostname: m.GetEndpoint().GetHostname(), Weight: number(m.GetLoadBalancingWeight(), 1)}
	metadata := m.GetMetadata().GetFilterMetadata()[lbNamespace]
	out.SocketMetadata = lbMetadata(m.GetMetadata().GetFilterMetadata()[socketNamespace])
	out.Canary, out.Metadata = metadata.GetFields()["canary"].GetBoolValue(), lbMetadata(metadata)
	switch m.GetHealthStatus() {
	case corev3.HealthStatus_DEGRADED:
		out.Health = conf.EndpointDegraded
	case corev3.HealthStatus_UNHEALTHY, corev3.HealthStatus_TIMEOUT:
		out.Health = conf.EndpointUnhealthy
	case corev3.HealthStatus_DRAINING:
		out.Health = conf.EndpointDraining
	}
	if check := m.GetEndpoint().GetHealthCheckConfig(); check != nil {
		out.HealthCheck = c.endpointHealthCheck(check, at.field("endpoint").field("health_check_config"))
	}
	if m.GetEndpoint().GetAddress() == nil {
		c.errs.at(at, "endpoint.address is required")
		return out
	}
	use := resolvedAddress
	if kind == conf.ClusterStatic {
		use = staticEndpoint
	}
	out.Address = c.address(m.GetEndpoint().GetAddress(), at.field("endpoint").field("address"), use)
	return out
}

// breakers compiles circuit_breakers: of several entries with one priority the first counts
// (clusters.md 6).
func (c *compiler) breakers(m *clusterv3.CircuitBreakers, at place, out *conf.Cluster) {
	var seen [2]bool
	for i, t := range m.GetThresholds() {
		here := at.field("thresholds").index(i)
		p := int(t.GetPriority())
		if p > conf.PriorityHigh {
			continue // does not pass the constraints
		}
		if seen[p] {
			c.warn(here, "has no effect: an earlier entry has the priority %s", t.GetPriority())
			continue
		}
		seen[p] = true
		b := &out.Breakers[p]
		b.MaxConnections = number(t.GetMaxConnections(), b.MaxConnections)
		b.MaxPendingRequests = number(t.GetMaxPendingRequests(), b.MaxPendingRequests)
		b.MaxRequests = number(t.GetMaxRequests(), b.MaxRequests)
		b.MaxRetries = number(t.GetMaxRetries(), b.MaxRetries)
		b.MaxConnectionPools = number(t.GetMaxConnectionPools(), b.MaxConnectionPools)
		b.TrackRemaining = t.GetTrackRemaining()
		if budget := t.GetRetryBudget(); budget != nil {
			b.RetryBudget = &conf.RetryBudget{Percent: 20, MinConcurrency: number(budget.GetMinRetryConcurrency(), 3)}
			if budget.GetBudgetPercent() != nil {
				b.RetryBudget.Percent = budget.GetBudgetPercent().GetValue()
			}
		}
	}
	for i, t := range m.GetPerHostThresholds() {
		here := at.field("per_host_thresholds").index(i)
		switch {
		case t.GetPriority() != corev3.RoutingPriority_DEFAULT:
			c.errs.at(here.field("priority"), "not supported: thresholds per host have the DEFAULT priority")
		case t.GetMaxPendingRequests() != nil || t.GetMaxRequests() != nil || t.GetMaxRetries() != nil || t.GetMaxConnectionPools() != nil || t.GetTrackRemaining() || t.GetRetryBudget() != nil:
			c.errs.at(here, "only max_connections can be limited per host")
		case i > 0:
			c.warn(here, "has no effect: an earlier entry has the priority %s", t.GetPriority())
		case t.GetMaxConnections() != nil:
			out.Breakers[conf.PriorityDefault].MaxConnectionsPerHost = t.GetMaxConnections().GetValue()
			if t.GetMaxConnections().GetValue() == 0 {
				c.errs.at(here.field("max_connections"), "must be greater than 0: no host could be used")
			}
		}
	}
}
