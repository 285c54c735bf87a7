package stats

// TLSInspectorStats is tls_inspector., shared by all listeners (tcp_proxy.md 13).
type TLSInspectorStats struct {
	ClientHelloTooLarge Counter `stat:"client_hello_too_large"`
	TLSFound            Counter `stat:"tls_found"`
	TLSNotFound         Counter `stat:"tls_not_found"`
	ALPNFound           Counter `stat:"alpn_found"`
	ALPNNotFound        Counter `stat:"alpn_not_found"`
	SNIFound            Counter `stat:"sni_found"`
	SNINotFound         Counter `stat:"sni_not_found"`

	BytesProcessed Histogram `stat:"bytes_processed,bytes"`
}

// NewTLSInspectorStats registers tls_inspector.
func NewTLSInspectorStats(r *Registry) *TLSInspectorStats {
	s := new(TLSInspectorStats)
	register(r, "tls_inspector.", s)
	return s
}

// HTTPInspectorStats is http_inspector., shared by all listeners.
type HTTPInspectorStats struct {
	HTTP10Found  Counter `stat:"http10_found"`
	HTTP11Found  Counter `stat:"http11_found"`
	HTTP2Found   Counter `stat:"http2_found"`
	HTTPNotFound Counter `stat:"http_not_found"`
}

// NewHTTPInspectorStats registers http_inspector.
func NewHTTPInspectorStats(r *Registry) *HTTPInspectorStats {
	s := new(HTTPInspectorStats)
	register(r, "http_inspector.", s)
	return s
}

// ProxyProtocolStats is proxy_proto.[<stat_prefix>.].
type ProxyProtocolStats struct {
	NotFoundDisallowed Counter `stat:"not_found_disallowed"`
	NotFoundAllowed    Counter `stat:"not_found_allowed"`

	V1Found      Counter `stat:"versions.v1.found"`
	V1Disallowed Counter `stat:"versions.v1.disallowed"`
	V1Error      Counter `stat:"versions.v1.error"`
	V2Found      Counter `stat:"versions.v2.found"`
	V2Disallowed Counter `stat:"versions.v2.disallowed"`
	V2Error      Counter `stat:"versions.v2.error"`
}

// NewProxyProtocolStats registers proxy_proto.; statPrefix may be empty.
func NewProxyProtocolStats(r *Registry, statPrefix string) *ProxyProtocolStats {
	s := new(ProxyProtocolStats)
	prefix := "proxy_proto."
	if statPrefix != "" {
		prefix += Clean(statPrefix) + "."
	}
	register(r, prefix, s)
	return s
}
