package envoy

import (
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

func (c *compiler) connectionManager(m *hcmv3.HttpConnectionManager, at place) *conf.HTTPConnectionManager {
	out := conf.NewHTTPConnectionManager(m.GetStatPrefix())
	if m.GetServerName() != "" {
		out.ServerName = m.GetServerName()
	}
	out.ServerHeaderTransformation = conf.ServerHeaderTransformation(m.GetServerHeaderTransformation())
	out.Via = m.GetVia()
	if n := m.GetMaxRequestHeadersKb(); n != nil {
		out.MaxRequestHeadersKiB = int(n.GetValue())
	}
	out.UseRemoteAddress = m.GetUseRemoteAddress().GetValue()
	out.XFFNumTrustedHops = int(m.GetXffNumTrustedHops())
	out.SkipXFFAppend = m.GetSkipXffAppend()
	out.AppendXForwardedPort = m.GetAppendXForwardedPort()
	out.SchemeToOverwrite = m.GetSchemeHeaderTransformation().GetSchemeToOverwrite()
	out.AddUserAgent = m.GetAddUserAgent().GetValue()
	out.GenerateRequestID = boolean(m.GetGenerateRequestId(), true)
	out.PreserveExternalRequestID = m.GetPreserveExternalRequestId()
	out.AlwaysSetRequestIDInResp = m.GetAlwaysSetRequestIdInResponse()
	out.ForwardClientCert = conf.ClientCertDetails(m.GetForwardClientCertDetails())
	c.currentClientCert(m, at, out)
	out.Proxy100Continue = m.GetProxy_100Continue()
	c.managerTimeouts(m, at, out)
	c.managerProtocol(m, at, out)
	c.managerHTTP2(m, at, out)
	c.managerPaths(m, at, out)
	c.internalAddresses(m, at, out)
	if packed := m.GetRequestIdExtension().GetTypedConfig(); packed != nil {
		if id, ok := c.unpack(packed, at.field("request_id_extension")).(*uuidv3.UuidRequestIdConfig); ok {
			out.PackTraceReason = boolean(id.GetPackTraceReason(), true)
		}
	}
	out.AccessLogs = c.accessLogs(m.GetAccessLog(), at.field("access_log"))
	out.LocalReply = c.localReply(m.GetLocalReplyConfig(), at.field("local_reply_config"))
	out.LogOnTunnel = m.GetAccessLogOptions().GetFlushLogOnTunnelSuccessfullyEstablished()
	c.httpFilters(m.GetHttpFilters(), at.field("http_filters"), out)
	c.managerUpgrades(m, at, out)
	switch routes := m.GetRouteSpecifier().(type) { // RT-10
	case *hcmv3.HttpConnectionManager_RouteConfig:
		out.Routes = c.routeConfiguration(routes.RouteConfig, at.field("route_config"))
	case *hcmv3.HttpConnectionManager_ScopedRoutes:
		out.Scoped = c.scopedRoutes(routes.ScopedRoutes, at.field("scoped_routes"))
	default:
		c.errs.at(at, "route_config or scoped_routes is required")
	}
	if out.Routes != nil {
		c.checkRouteFilters(out, out.Routes, at.field("route_config"))
	}
	if out.Scoped != nil {
		scopes := at.field("scoped_routes").field("scoped_route_configurations_list").field("scoped_route_configurations")
		for i := range out.Scoped.Scopes {
			if rc := out.Scoped.Scopes[i].Routes; rc != nil {
				c.checkRouteFilters(out, rc, scopes.index(i).field("route_configuration"))
			}
		}
	}
	return out
}

// currentClientCert compiles set_current_client_cert_details (RT-103).
func (c *compiler) currentClientCert(m *hcmv3.HttpConnectionManager, at place, out *conf.HTTPConnectionManager) {
	set := m.GetSetCurrentClientCertDetails()
	if set == nil {
		return
	}
	out.CurrentClientCert = conf.CurrentClientCert{
		Subject: set.GetSubject().GetValue(), Cert: set.GetCert(), Chain: set.GetChain(), DNS: set.GetDns(), URI: set.GetUri(),
	}
	if mode := out.ForwardClientCert; mode != conf.ClientCertAppendForward && mode != conf.ClientCertSanitizeSet {
		c.warn(at.field("set_current_client_cert_details"), "has no effect with forward_client_cert_details %s", m.GetForwardClientCertDetails())
	}
}

func (c *compiler) managerTimeouts(m *hcmv3.HttpConnectionManager, at place, out *conf.HTTPConnectionManager) {
	out.StreamIdleTimeout = c.duration(m.GetStreamIdleTimeout(), at.field("stream_idle_timeout"), out.StreamIdleTimeout)
	if d := m.GetStreamFlushTimeout(); d != nil {
		out.StreamFlushTimeout, out.HasStreamFlushTimeout = c.duration(d, at.field("stream_flush_timeout"), 0), true
	}
	out.RequestTimeout = c.duration(m.GetRequestTimeout(), at.field("request_timeout"), 0)
	out.RequestHeadersTimeout = c.duration(m.GetRequestHeadersTimeout(), at.field("request_headers_timeout"), 0)
	out.DrainTimeout = c.duration(m.GetDrainTimeout(), at.field("drain_timeout"), out.DrainTimeout)
	out.DelayedCloseTimeout = c.duration(m.GetDelayedCloseTimeout(), at.field("delayed_close_timeout"), out.DelayedCloseTimeout)
}

// managerProtocol compiles common_http_protocol_options and http_protocol_options.
func (c *compiler) managerProtocol(m *hcmv3.HttpConnectionManager, at place, out *conf.HTTPConnectionManager) {
	common, here := m.GetCommonHttpProtocolOptions(), at.field("common_http_protocol_options")
	out.IdleTimeout = c.duration(common.GetIdleTimeout(), here.field("idle_timeout"), out.IdleTimeout)
	out.MaxConnectionDuration = c.duration(common.GetMaxConnectionDuration(), here.field("max_connection_duration"), 0)
	out.MaxStreamDuration = c.duration(common.GetMaxStreamDuration(), here.field("max_stream_duration"), 0)
	out.MaxHeadersCount = int(number(common.GetMaxHeadersCount(), uint32(out.MaxHeadersCount)))
	out.MaxRequestsPerConnection = int(number(common.GetMaxRequestsPerConnection(), 0))
	out.HeadersWithUnderscores = conf.UnderscoresAction(common.GetHeadersWithUnderscoresAction())
	if common.GetMaxResponseHeadersKb() != nil {
		c.warn(here.field("max_response_headers_kb"), "has no effect: a connection manager reads no response from the network")
	}
	h1 := at.field("http_protocol_options")
	out.HTTP1 = c.http1(m.GetHttpProtocolOptions(), h1)
	if out.HTTP1.SendFullyQualifiedURL {
		c.warn(h1.field("send_fully_qualified_url"), "has no effect: a connection manager sends no requests; set it on the cluster")
		out.HTTP1.SendFullyQualifiedURL = false
	}
}

// managerPaths compiles what is done to paths and hosts (HC-90 to HC-94).
func (c *compiler) managerPaths(m *hcmv3.HttpConnectionManager, at place, out *conf.HTTPConnectionManager) {
	out.MergeSlashes = m.GetMergeSlashes()
	out.NormalizePath = m.GetNormalizePath().GetValue()
	if m.GetNormalizePath() == nil {
		switch percent := c.runtimeNumber("http_connection_manager.normalize_path", 0); {
		case percent >= 100:
			out.NormalizePath = true
		case percent > 0:
			c.errs.at(at, "not supported: runtime http_connection_manager.normalize_path other than 0 and 100")
		}
	}
	action := m.GetPathWithEscapedSlashesAction()
	if action == hcmv3.HttpConnectionManager_IMPLEMENTATION_SPECIFIC_DEFAULT {
		if n := c.runtimeNumber("http_connection_manager.path_with_escaped_slashes_action", 0); n <= 4 {
			action = hcmv3.HttpConnectionManager_PathWithEscapedSlashesAction(n)
		}
	}
	switch action {
	case hcmv3.HttpConnectionManager_REJECT_REQUEST:
		out.EscapedSlashes = conf.EscapedSlashesReject
	case hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT:
		out.EscapedSlashes = conf.EscapedSlashesRedirect
	case hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD:
		out.EscapedSlashes = conf.EscapedSlashesForward
	}
	out.StripMatchingHostPort = m.GetStripMatchingHostPort()
	out.StripAnyHostPort = m.GetStripAnyHostPort()
	out.StripTrailingHostDot = m.GetStripTrailingHostDot()
	if out.StripMatchingHostPort && out.StripAnyHostPort {
		c.errs.at(at.field("strip_any_host_port"), "excludes strip_matching_host_port: only one of them may be set")
	}
}

// oldInternalRanges were internal without any configuration before Envoy 1.33 (AMB-8).
var oldInternalRanges = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("::1/128"),
}

func (c *compiler) internalAddresses(m *hcmv3.HttpConnectionManager, at place, out *conf.HTTPConnectionManager) {
	internal, ranges := m.GetInternalAddressConfig(), at.field("internal_address_config").field("cidr_ranges")
	if internal == nil {
		if !c.runtimeFlag("envoy.reloadable_features.explicit_internal_address_config", true) {
			out.InternalAddresses = oldInternalRanges
		}
		return
	}
	out.InternalUnixSockets = internal.GetUnixSockets()
	for i, r := range internal.GetCidrRanges() {
		here := ranges.index(i)
		prefix, ok := c.prefix(r, here)
		if !ok {
			continue
		}
		if prefix.Bits() == 0 {
			c.warn(here, "prefix_len 0 makes every address internal")
		}
		out.InternalAddresses = append(out.InternalAddresses, prefix)
	}
}

func (c *compiler) localReply(m *hcmv3.LocalReplyConfig, at place) (out conf.LocalReply) {
	out.BodyFormat = c.format(m.GetBodyFormat(), at.field("body_format"))
	for i, mapper := range m.GetMappers() {
		here := at.field("mappers").index(i)
		compiled := conf.LocalReplyMapper{
			Filter:     c.logFilter(mapper.GetFilter(), here.field("filter")),
			StatusCode: uint16(mapper.GetStatusCode().GetValue()),
			BodyFormat: c.format(mapper.GetBodyFormatOverride(), here.field("body_format_override")),
			HeadersAdd: c.headerValues(mapper.GetHeadersToAdd(), here.field("headers_to_add")),
		}
		if mapper.GetBody() != nil {
			body := string(c.dataSource(mapper.GetBody(), here.field("body"), maxSourceBytes))
			compiled.Body = &body
		}
		out.Mappers = append(out.Mappers, compiled)
	}
	return out
}

// http1 compiles the HTTP/1 options of a manager or cluster.
func (c *compiler) http1(m *corev3.Http1ProtocolOptions, at place) conf.HTTP1Options {
	out := conf.HTTP1Options{
		AllowAbsoluteURL:      boolean(m.GetAllowAbsoluteUrl(), true),
		AcceptHTTP10:          m.GetAcceptHttp_10(),
		DefaultHostForHTTP10:  m.GetDefaultHostForHttp_10(),
		EnableTrailers:        m.GetEnableTrailers(),
		AllowChunkedLength:    m.GetAllowChunkedLength(),
		AllowCustomMethods:    m.GetAllowCustomMethods(),
		SendFullyQualifiedURL: m.GetSendFullyQualifiedUrl(),
	}
	format, here := m.GetHeaderKeyFormat(), at.field("header_key_format")
	switch {
	case format.GetProperCaseWords() != nil:
		out.HeaderCase = conf.HeaderCaseProper
	case format.GetStatefulFormatter() != nil:
		c.statefulFormatter(format.GetStatefulFormatter(), here.field("stateful_formatter"), &out)
	}
	return out
}
