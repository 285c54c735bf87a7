//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

const (
	// tcpClusterKey is the filter state that names the cluster of a connection (TCP-10).
	tcpClusterKey = "envoy.tcp_proxy.cluster"
	// defaultOnDemandTimeout is on_demand.timeout when it is not set (TCP-30).
	defaultOnDemandTimeout = 60 * time.Second
	// lbNamespace is the only metadata that balancing reads (TCP-21).
	lbNamespace = "envoy.lb"
	// socketNamespace is what transport_socket_matches read of an endpoint.
	socketNamespace = "envoy.transport_socket_match"
)

// tcpProxy compiles a tcp_proxy that follows the filters before.
func (c *compiler) tcpProxy(m *tcpv3.TcpProxy, at place, before []conf.NetworkFilter) *conf.TCPProxy {
	out := conf.NewTCPProxy(m.GetStatPrefix(), m.GetCluster())
	c.tcpClusters(m, at, before, out)
	c.tcpTimes(m, at, out)
	if policies := m.GetHashPolicy(); len(policies) > 0 { // at most one: a constraint of the message
		switch p := policies[0].GetPolicySpecifier().(type) {
		case *typev3.HashPolicy_SourceIp_:
			out.HashPolicy.Kind = conf.HashSourceIP
		case *typev3.HashPolicy_FilterState_:
			out.HashPolicy = conf.TCPHashPolicy{Kind: conf.HashFilterState, Key: p.FilterState.GetKey()}
		}
	}
	out.ConnectMode = conf.ConnectMode(m.GetUpstreamConnectMode())
	if early := m.GetMaxEarlyDataBytes(); early != nil {
		out.EarlyData, out.MaxEarlyDataBytes = true, early.GetValue()
	} else if out.ConnectMode == conf.ConnectOnDownstreamData {
		c.errs.at(at.field("upstream_connect_mode"), "ON_DOWNSTREAM_DATA needs max_early_data_bytes: the first data has to wait somewhere")
	}
	c.tcpLogs(m, at, out)
	out.ProxyProtocolTLVs = c.tlvs(m.GetProxyProtocolTlvs(), at.field("proxy_protocol_tlvs"))
	out.TLVMerge = conf.TLVMerge(m.GetProxyProtocolTlvMergePolicy())
	out.Tunnel = c.tunneling(m.GetTunnelingConfig(), at.field("tunneling_config"), out)
	out.CheckDrainClose = m.GetCheckDrainClose().GetValue()
	return out
}

// tcpClusters compiles what a connection's cluster and hosts are chosen by.
func (c *compiler) tcpClusters(m *tcpv3.TcpProxy, at place, before []conf.NetworkFilter, out *conf.TCPProxy) {
	out.MetadataMatch = c.metadataMatch(m.GetMetadataMatch(), at.field("metadata_match"))
	out.OnDemand = c.onDemand(m.GetOnDemand(), at.field("on_demand"))
	if _, ok := m.GetClusterSpecifier().(*tcpv3.TcpProxy_Cluster); ok {
		here := at.field("cluster")
		switch {
		case out.Cluster == "":
			c.errs.at(here, "must not be empty")
		case c.clusters[out.Cluster] != nil || out.OnDemand != nil:
		case slices.ContainsFunc(before, setsCluster):
			c.warn(here, "there is no cluster %s: connections for which no filter names another are closed", shorten(out.Cluster))
		default:
			c.errs.at(here, "there is no cluster %s", shorten(out.Cluster))
		}
		c.dropsNothing(out.Cluster, here)
		return
	}
	list := at.field("weighted_clusters").field("clusters")
	sum := uint64(0)
	for i, w := range m.GetWeightedClusters().GetClusters() {
		here := list.index(i)
		if c.clusters[w.GetName()] == nil && out.OnDemand == nil {
			c.errs.at(here.field("name"), "there is no cluster %s", shorten(w.GetName()))
		}
		c.dropsNothing(w.GetName(), here.field("name"))
		sum += uint64(w.GetWeight())
		out.Weighted = append(out.Weighted, conf.WeightedCluster{
			Name: w.GetName(), Weight: w.GetWeight(),
			MetadataMatch: c.metadataMatch(w.GetMetadataMatch(), here.field("metadata_match")),
		})
	}
	if sum > 1<<32-1 {
		c.errs.at(list, "the weights add up to %d; the limit is %d", sum, uint32(1<<32-1))
	}
}

// dropsNothing looks at whether a cluster of what is not HTTP would drop requests.
func (c *compiler) dropsNothing(name string, at place) {
	if cluster := c.clusters[name]; cluster != nil && cluster.DropOverload.Numerator > 0 {
		c.warn(at, "drop_overloads of %s has no effect here: it is for HTTP requests", shorten(name))
	}
}

// setsCluster says whether a filter can name the cluster of a connection.
func setsCluster(f conf.NetworkFilter) bool {
	switch {
	case f.SNICluster:
		return true
	case f.SetFilterState != nil:
		return slices.ContainsFunc(f.SetFilterState.OnNewConnection, func(v conf.FilterStateValue) bool { return v.Key == tcpClusterKey })
	}
	return f.RBAC == nil && f.ConnectionLimit == nil && f.LocalRateLimit == nil // one of the program's own
}

// tcpTimes compiles timeouts, attempts and back-off.
func (c *compiler) tcpTimes(m *tcpv3.TcpProxy, at place, out *conf.TCPProxy) {
	out.IdleTimeout = c.duration(m.GetIdleTimeout(), at.field("idle_timeout"), out.IdleTimeout)
	out.MaxDownstreamConnectionDuration = m.GetMaxDownstreamConnectionDuration().AsDuration()
	if jitter := m.GetMaxDownstreamConnectionDurationJitterPercentage(); jitter != nil {
		out.MaxDurationJitterPercent = jitter.GetValue()
		if m.GetMaxDownstreamConnectionDuration() == nil {
			c.warn(at.field("max_downstream_connection_duration_jitter_percentage"), "has no effect without max_downstream_connection_duration")
		}
	}
	out.MaxConnectAttempts = number(m.GetMaxConnectAttempts(), out.MaxConnectAttempts)
	if backOff := m.GetBackoffOptions(); backOff != nil {
		here := at.field("backoff_options")
		out.BackOffBase = backOff.GetBaseInterval().AsDuration()
		out.BackOffMax = c.duration(backOff.GetMaxInterval(), here.field("max_interval"), 10*out.BackOffBase)
		if out.BackOffMax < out.BackOffBase {
			c.errs.at(here.field("max_interval"), "must not be less than base_interval")
		}
	}
}

// tcpLogs compiles access logs and when they are written, in either of the two ways to say it.
func (c *compiler) tcpLogs(m *tcpv3.TcpProxy, at place, out *conf.TCPProxy) {
	out.AccessLogs = c.accessLogs(m.GetAccessLog(), at.field("access_log"))
	out.LogInterval = m.GetAccessLogFlushInterval().AsDuration()
	out.LogOnConnected = m.GetFlushAccessLogOnConnected()
	options := m.GetAccessLogOptions()
	if options == nil {
		return
	}
	if m.GetAccessLogFlushInterval() != nil {
		c.errs.at(at.field("access_log_flush_interval"), "excludes access_log_options: only one of them may be set")
	}
	if m.GetFlushAccessLogOnConnected() {
		c.errs.at(at.field("flush_access_log_on_connected"), "excludes access_log_options: only one of them may be set")
	}
	out.LogInterval = options.GetAccessLogFlushInterval().AsDuration()
	out.LogOnConnected, out.LogOnStart = options.GetFlushAccessLogOnConnected(), options.GetFlushAccessLogOnStart()
}

// onDemand compiles on_demand; nil when it is off.
func (c *compiler) onDemand(m *tcpv3.TcpProxy_OnDemand, at place) *conf.OnDemand {
	if m == nil {
		return nil
	}
	source := m.GetOdcdsConfig().GetPathConfigSource()
	if source == nil {
		c.warn(at, "has no effect without odcds_config")
		return nil
	}
	out := &conf.OnDemand{Path: source.GetPath(), Timeout: c.duration(m.GetTimeout(), at.field("timeout"), defaultOnDemandTimeout)}
	if out.Timeout == 0 {
		c.errs.at(at.field("timeout"), "must be greater than 0")
	}
	// The directory may come later, when the first cluster is put there.
	if info, err := os.Stat(out.Path); err == nil && !info.IsDir() {
		c.errs.at(at.field("odcds_config").field("path_config_source").field("path"), "%s is not a directory", shorten(out.Path))
	}
	return out
}

// metadataMatch compiles criteria that choose among hosts.
func (c *compiler) metadataMatch(m *corev3.Metadata, at place) conf.LBMetadata {
	namespaces := m.GetFilterMetadata()
	for _, name := range slices.Sorted(maps.Keys(namespaces)) {
		if name != lbNamespace {
			c.warn(at.field("filter_metadata").key(name), "has no effect: only %s is read", lbNamespace)
		}
	}
	return lbMetadata(namespaces[lbNamespace])
}

// lbMetadata writes each value as canonical JSON; nil for no values.
func lbMetadata(s *structpb.Struct) conf.LBMetadata {
	if len(s.GetFields()) == 0 {
		return nil
	}
	out := conf.LBMetadata{}
	for key, v := range s.GetFields() {
		out[key] = canonicalJSON(v)
	}
	return out
}

// canonicalJSON is v as JSON without white space, members sorted, equal for equal values.
func canonicalJSON(v *structpb.Value) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v.AsInterface()); err != nil {
		return "null" // a number that JSON cannot write, which no text can hold
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// tlvs compiles TLVs for an upstream PROXY header.
func (c *compiler) tlvs(list []*corev3.TlvEntry, at place) (out []conf.ProxyProtocolTLV) {
	for i, m := range list {
		here := at.index(i)
		tlv := conf.ProxyProtocolTLV{Type: uint8(m.GetType()), Value: m.GetValue()} // a byte: a constraint of the message
		tlv.Format = c.format(m.GetFormatString(), here.field("format_string"))
		if (len(tlv.Value) > 0) == (tlv.Format != nil) {
			c.errs.at(here, "needs exactly one of a value that is not empty and a format_string")
		}
		if len(tlv.Value) > maxTLVBytes {
			c.errs.at(here.field("value"), "has %d bytes; the limit is %d", len(tlv.Value), maxTLVBytes)
		}
		out = append(out, tlv)
	}
	return out
}

// maxTLVBytes is what the length of a PROXY v2 header leaves for one TLV beside IPv6 addresses.
const maxTLVBytes = 1<<16 - 1 - 36 - 3
