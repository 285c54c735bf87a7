package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	proxyprotov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// Defaults of listener filters.
const (
	defaultClientHelloBytes = 16 << 10                                // max_client_hello_size
	defaultTLVNamespace     = "envoy.filters.listener.proxy_protocol" // metadata_namespace
)

// listenerFilters compiles listener_filters.
func (c *compiler) listenerFilters(list []*listenerv3.ListenerFilter, at place, out *conf.Listener) {
	reader := ""
	for i, m := range list {
		here := at.index(i)
		if m.GetTypedConfig() == nil {
			c.errs.at(here, "typed_config is required; supported here: %s", alternatives(payloadsOf(listenerFilters)))
			continue
		}
		config := here.field("typed_config")
		var f conf.ListenerFilter
		switch m := c.unpack(m.GetTypedConfig(), here).(type) {
		case *tlsinspectorv3.TlsInspector:
			reader = "tls_inspector"
			f.TLSInspector = &conf.TLSInspector{
				MaxClientHelloBytes: number(m.GetMaxClientHelloSize(), defaultClientHelloBytes),
				JA3:                 m.GetEnableJa3Fingerprinting().GetValue(),
				JA4:                 m.GetEnableJa4Fingerprinting().GetValue(),
				CloseOnParseErrors:  m.GetCloseConnectionOnClientHelloParsingErrors(),
			}
		case *httpinspectorv3.HttpInspector:
			reader = "http_inspector"
			f.HTTPInspector = &conf.HTTPInspector{}
		case *proxyprotov3.ProxyProtocol:
			if reader != "" {
				c.warn(here, "should come before %s, which looks at the PROXY header as it stands", reader)
			}
			f.ProxyProtocol = c.proxyProtocol(m, config)
		case *originaldstv3.OriginalDst:
			f.OriginalDst = &conf.OriginalDst{}
		}
		out.Filters = append(out.Filters, f)
	}
}

func (c *compiler) proxyProtocol(m *proxyprotov3.ProxyProtocol, at place) *conf.ProxyProtocol {
	out := &conf.ProxyProtocol{
		StatPrefix: m.GetStatPrefix(), AllowWithout: m.GetAllowRequestsWithoutProxyProtocol(),
		InFilterState: m.GetTlvLocation() == proxyprotov3.ProxyProtocol_FILTER_STATE,
		PassThrough:   c.tlvMatch(m.GetPassThroughTlvs(), at.field("pass_through_tlvs")),
	}
	for i, r := range m.GetRules() {
		here := at.field("rules").index(i)
		if r.GetOnTlvPresent() == nil {
			c.errs.at(here, "on_tlv_present is required")
			continue
		}
		rule := conf.TLVRule{
			Type: uint8(r.GetTlvType()), Key: r.GetOnTlvPresent().GetKey(), // a byte: a constraint of the message
			Namespace: r.GetOnTlvPresent().GetMetadataNamespace(),
		}
		if rule.Namespace == "" {
			rule.Namespace = defaultTLVNamespace
		}
		out.Rules = append(out.Rules, rule)
	}
	for _, v := range m.GetDisallowedVersions() {
		switch v {
		case corev3.ProxyProtocolConfig_V1:
			out.DisallowV1 = true
		case corev3.ProxyProtocolConfig_V2:
			out.DisallowV2 = true
		}
	}
	if out.DisallowV1 && out.DisallowV2 && !out.AllowWithout {
		c.errs.at(at.field("disallowed_versions"), "leaves no version: every connection would be closed")
	}
	return out
}

// tlvMatch compiles pass_through_tlvs; not set, nothing passes.
func (c *compiler) tlvMatch(m *corev3.ProxyProtocolPassThroughTLVs, at place) (out conf.TLVMatch) {
	if m == nil {
		return out
	}
	if m.GetMatchType() == corev3.ProxyProtocolPassThroughTLVs_INCLUDE_ALL {
		if len(m.GetTlvType()) > 0 {
			c.warn(at.field("tlv_type"), "has no effect: match_type INCLUDE_ALL passes every type")
		}
		return conf.TLVMatch{All: true}
	}
	for _, t := range m.GetTlvType() {
		out.Types = append(out.Types, uint8(t))
	}
	return out
}

// needTLSInspector adds the filter that chains are chosen by when it is not configured, as Envoy does.
func (c *compiler) needTLSInspector(out *conf.Listener, at place) {
	for i := range out.Filters {
		if out.Filters[i].TLSInspector != nil {
			return
		}
	}
	for i, chain := range out.FilterChains {
		m := &chain.Match
		if m.TransportProtocol != conf.TransportTLS &&
			(m.TransportProtocol != "" || len(m.ServerNames) == 0 && len(m.ApplicationProtocols) == 0) {
			continue
		}
		c.warn(at.field("filter_chains").index(i).field("filter_chain_match"),
			"needs the listener filter envoy.filters.listener.tls_inspector, which was added: list it in listener_filters")
		out.Filters = append(out.Filters, conf.ListenerFilter{TLSInspector: &conf.TLSInspector{MaxClientHelloBytes: defaultClientHelloBytes}})
		return
	}
}
