//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"math"
	"regexp"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	rewritev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/rewrite/uri_template/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// coreExtension is the payload of a TypedExtensionConfig; nil, reported, when there is none.
func (c *compiler) coreExtension(m *corev3.TypedExtensionConfig, at place) proto.Message {
	if m.GetTypedConfig() == nil {
		c.errs.at(at.field("typed_config"), "is required")
		return nil
	}
	return c.unpack(m.GetTypedConfig(), at)
}

// groupsOf counts the groups of an expression; one that is broken is reported elsewhere.
func groupsOf(pattern string) int {
	r, err := regexp.Compile(pattern)
	if err != nil {
		return 9
	}
	return r.NumSubexp()
}

// routeClusters compiles where an action sends a request.
func (c *compiler) routeClusters(m *routev3.RouteAction, at place, config *conf.RouteConfiguration, out *conf.RouteAction) {
	out.MetadataMatch = c.metadataMatch(m.GetMetadataMatch(), at.field("metadata_match"))
	switch m.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		c.routeCluster(out.Cluster, at.field("cluster"), config)
	case *routev3.RouteAction_ClusterHeader:
		out.ClusterHeader = c.headerField(m.GetClusterHeader(), at.field("cluster_header"))
	case *routev3.RouteAction_WeightedClusters:
		out.Weighted = c.weightedClusters(m.GetWeightedClusters(), at.field("weighted_clusters"), config)
	}
	for i, p := range m.GetHashPolicy() {
		out.HashPolicies = append(out.HashPolicies, c.hashPolicy(p, at.field("hash_policy").index(i)))
	}
	if n := len(m.GetHashPolicy()); n > maxHashPolicies {
		c.errs.at(at.field("hash_policy"), "%d entries are more than %d", n, maxHashPolicies)
	}
}

// maxHashPolicies is what a route's table has room for.
const maxHashPolicies = 64

// routeCluster checks a cluster that a route names.
func (c *compiler) routeCluster(name string, at place, config *conf.RouteConfiguration) {
	switch cluster := c.clusters[name]; {
	case cluster == nil && config.ValidateClusters:
		c.errs.at(at, "there is no cluster %s", shorten(name))
	case cluster == nil:
	case anySocket(cluster, func(_ *conf.UpstreamTLS, p *conf.UpstreamProxyProtocol) bool { return p != nil }):
		c.errs.at(at, "%s begins its connections with a PROXY header, which names one client: only a tcp_proxy can use it", shorten(name))
	default:
		c.routedALPN(cluster, at)
	}
}

// weightedClusters compiles a division of requests (RT-70 to RT-75).
func (c *compiler) weightedClusters(m *routev3.WeightedCluster, at place, config *conf.RouteConfiguration) *conf.WeightedClusters {
	out := &conf.WeightedClusters{
		RuntimeKeyPrefix: m.GetRuntimeKeyPrefix(), UseHashPolicy: m.GetUseHashPolicy().GetValue(),
		HeaderName: c.headerField(m.GetHeaderName(), at.field("header_name")),
	}
	list, sum := at.field("clusters"), uint64(0)
	for i, w := range m.GetClusters() {
		here := list.index(i)
		entry := conf.RouteCluster{
			Name: w.GetName(), ClusterHeader: c.headerField(w.GetClusterHeader(), here.field("cluster_header")),
			Weight: number(w.GetWeight(), 0), Headers: c.mutations(w, here), HostRewriteLiteral: w.GetHostRewriteLiteral(),
			MetadataMatch: c.metadataMatch(w.GetMetadataMatch(), here.field("metadata_match")),
			Filters:       c.filterConfigs(w.GetTypedPerFilterConfig(), here.field(perFilter)),
		}
		switch {
		case (entry.Name == "") == (entry.ClusterHeader == ""):
			c.errs.at(here, "exactly one of name and cluster_header is needed") // RT-71
		case entry.Name != "":
			c.routeCluster(entry.Name, here.field("name"), config)
		}
		sum += uint64(entry.Weight)
		out.Clusters = append(out.Clusters, entry)
	}
	if sum == 0 || sum > math.MaxUint32 {
		c.errs.at(list, "the weights add up to %d; the sum must be from 1 to %d", sum, uint32(math.MaxUint32)) // RT-70
	}
	return out
}

// hashPolicy compiles one (routing.md 13).
func (c *compiler) hashPolicy(m *routev3.RouteAction_HashPolicy, at place) conf.HashPolicy {
	out := conf.HashPolicy{Terminal: m.GetTerminal()}
	switch p := m.GetPolicySpecifier().(type) {
	case *routev3.RouteAction_HashPolicy_Header_:
		here := at.field("header")
		out.Input, out.Name = conf.HashHeader, c.headerField(p.Header.GetHeaderName(), here.field("header_name"))
		out.Rewrite = c.regexRewrite(p.Header.GetRegexRewrite(), here.field("regex_rewrite"))
	case *routev3.RouteAction_HashPolicy_Cookie_:
		out.Input, out.Name, out.CookiePath = conf.HashCookie, p.Cookie.GetName(), p.Cookie.GetPath()
		if ttl := p.Cookie.GetTtl(); ttl != nil {
			out.Generate, out.TTL = true, c.duration(ttl, at.field("cookie").field("ttl"), 0)
		}
		for _, a := range p.Cookie.GetAttributes() {
			out.Attributes = append(out.Attributes, [2]string{a.GetName(), a.GetValue()})
		}
	case *routev3.RouteAction_HashPolicy_ConnectionProperties_:
		out.Input = conf.HashRemoteIP
		if !p.ConnectionProperties.GetSourceIp() {
			c.errs.at(at.field("connection_properties"), "hashes nothing: source_ip is the only property, and it is not set")
		}
	case *routev3.RouteAction_HashPolicy_QueryParameter_:
		out.Input, out.Name = conf.HashQueryParameter, p.QueryParameter.GetName()
	case *routev3.RouteAction_HashPolicy_FilterState_:
		out.Input, out.Name = conf.HashState, p.FilterState.GetKey()
	}
	return out
}

// routeTimes compiles the timeouts of an action (routing.md 7.2).
func (c *compiler) routeTimes(m *routev3.RouteAction, at place, out *conf.RouteAction) {
	out.Timeout = c.duration(m.GetTimeout(), at.field("timeout"), out.Timeout)
	if d := m.GetIdleTimeout(); d != nil {
		out.IdleTimeout, out.HasIdleTimeout = c.duration(d, at.field("idle_timeout"), 0), true
	}
	if d := m.GetFlushTimeout(); d != nil {
		out.FlushTimeout, out.HasFlushTimeout = c.duration(d, at.field("flush_timeout"), 0), true
	}
	optional := func(d *durationpb.Duration, at place) *time.Duration {
		if d == nil {
			return nil
		}
		v := c.duration(d, at, 0)
		return &v
	}
	out.MaxGRPCTimeout = optional(m.GetMaxGrpcTimeout(), at.field("max_grpc_timeout"))
	out.MaxGRPCTimeoutOffset = c.duration(m.GetGrpcTimeoutOffset(), at.field("grpc_timeout_offset"), 0)
	if m.GetGrpcTimeoutOffset() != nil && out.MaxGRPCTimeout == nil {
		c.warn(at.field("grpc_timeout_offset"), "has no effect without max_grpc_timeout")
	}
	stream := m.GetMaxStreamDuration()
	if stream == nil {
		return
	}
	here := at.field("max_stream_duration")
	out.NewTimeouts = true // RT-77
	if d := stream.GetMaxStreamDuration(); d != nil {
		out.MaxStreamDuration, out.HasMaxStreamDuration = c.duration(d, here.field("max_stream_duration"), 0), true
	}
	out.GRPCTimeoutMax = optional(stream.GetGrpcTimeoutHeaderMax(), here.field("grpc_timeout_header_max"))
	out.GRPCTimeoutOffset = c.duration(stream.GetGrpcTimeoutHeaderOffset(), here.field("grpc_timeout_header_offset"), 0)
	if stream.GetGrpcTimeoutHeaderOffset() != nil && out.GRPCTimeoutMax == nil {
		c.warn(here.field("grpc_timeout_header_offset"), "has no effect without grpc_timeout_header_max")
	}
}

// routeRewrites compiles what an action does to path and host.
func (c *compiler) routeRewrites(m *routev3.RouteAction, match *conf.RouteMatch, at place, out *conf.RouteAction) {
	out.PrefixRewrite = m.GetPrefixRewrite()
	out.RegexRewrite = c.regexRewrite(m.GetRegexRewrite(), at.field("regex_rewrite"))
	out.PathRewrite = m.GetPathRewrite()
	c.formatString(out.PathRewrite, at.field("path_rewrite"))
	if policy := m.GetPathRewritePolicy(); policy != nil {
		out.PathTemplateRewrite = c.templateRewrite(policy, match, at.field("path_rewrite_policy"))
	}
	set := ""
	for _, one := range []struct {
		name  string
		there bool
	}{
		{"prefix_rewrite", out.PrefixRewrite != ""}, {"regex_rewrite", out.RegexRewrite != nil},
		{"path_rewrite_policy", m.GetPathRewritePolicy() != nil}, {"path_rewrite", out.PathRewrite != ""},
	} {
		switch {
		case !one.there:
		case set != "":
			c.errs.at(at.field(one.name), "excludes %s: only one of them may be set", set) // RT-85
		default:
			set = one.name
		}
	}
	switch rewrite := m.GetHostRewriteSpecifier().(type) {
	case *routev3.RouteAction_HostRewriteLiteral:
		out.HostRewriteLiteral = rewrite.HostRewriteLiteral
	case *routev3.RouteAction_AutoHostRewrite:
		out.AutoHostRewrite = rewrite.AutoHostRewrite.GetValue()
	case *routev3.RouteAction_HostRewriteHeader:
		out.HostRewriteHeader = strings.ToLower(rewrite.HostRewriteHeader)
	case *routev3.RouteAction_HostRewritePathRegex:
		out.HostRewritePathRegex = c.regexRewrite(rewrite.HostRewritePathRegex, at.field("host_rewrite_path_regex"))
	case *routev3.RouteAction_HostRewrite:
		out.HostRewrite = rewrite.HostRewrite
		c.formatString(out.HostRewrite, at.field("host_rewrite"))
	}
	out.AppendXForwardedHost = m.GetAppendXForwardedHost()
}

// templateRewrite compiles a path_rewrite_policy, which puts the variables of the route's path_match_policy
// together.
func (c *compiler) templateRewrite(m *corev3.TypedExtensionConfig, match *conf.RouteMatch, at place) string {
	r, ok := c.coreExtension(m, at).(*rewritev3.UriTemplateRewriteConfig)
	if !ok {
		c.errs.at(at.field("typed_config"), "is not a path rewriter; supported here: %s", uriTemplateRewrite)
		return ""
	}
	if match.Kind != conf.PathTemplate {
		c.errs.at(at, "needs a path_match_policy, whose variables it puts together")
		return ""
	}
	if t, err := conf.ParseURITemplate(match.Path); err == nil {
		if _, err := t.Rewrite(r.GetPathTemplateRewrite()); err != nil {
			c.errs.at(at.field("typed_config").field("path_template_rewrite"), "%v", err)
		}
	}
	return r.GetPathTemplateRewrite()
}
