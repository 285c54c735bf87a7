package envoy

import (
	"slices"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// withHTTP is the plain configuration with lines added to its connection manager and to its cluster.
func withHTTP(t *testing.T, manager, cluster string) string {
	t.Helper()
	insert := func(text, after, lines, indent string) string {
		if lines == "" {
			return text
		}
		return strings.Replace(text, after, after+indent+strings.ReplaceAll(lines, "\n", "\n"+indent)+"\n", 1)
	}
	text := insert(string(plainText(t)), "stat_prefix: in\n", manager, "          ")
	return insert(text, "- name: origin\n", cluster, "    ")
}

// httpOptions is HttpProtocolOptions for a cluster, of one line.
func httpOptions(body string) string {
	return "typed_extension_protocol_options:\n  " + upstreamHTTP + ": { \"@type\": type.googleapis.com/" + upstreamHTTP + ", " + body + " }"
}

// TestHTTP2IsRefusedWhereItIsNotServed: a configuration with HTTP/2 must not run without it.
func TestHTTP2IsRefusedWhereItIsNotServed(t *testing.T) {
	inCertificates(t)
	http2Ready = false
	defer func() { http2Ready = true }()
	const manager = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config."
	const cluster, typed = "static_resources.clusters[0].", "static_resources.clusters[0].typed_extension_protocol_options[\"" + upstreamHTTP + "\"]."
	const not = ": not supported: HTTP/2 is not part of this version"
	offer := ", alpn_protocols: [h2] }"
	for text, want := range map[string]string{
		withHTTP(t, "codec_type: HTTP2", ""):                                                         manager + "codec_type: HTTP2 is not supported: HTTP/2 is not part of this version",
		withHTTP(t, "http2_protocol_options: {}", ""):                                                manager + "http2_protocol_options" + not,
		withHTTP(t, "stream_error_on_invalid_http_message: true", ""):                                manager + "stream_error_on_invalid_http_message: not supported: " + alwaysClosed,
		withHTTP(t, "", httpOptions("explicit_http_config: { http2_protocol_options: {} }")):         typed + "explicit_http_config.http2_protocol_options" + not,
		withHTTP(t, "", httpOptions("use_downstream_protocol_config: {http2_protocol_options: {}}")): typed + "use_downstream_protocol_config.http2_protocol_options" + not,
		withHTTP(t, "", httpOptions("auto_config: {}")):                                              typed + "auto_config" + not,
		withHTTP(t, "", "http2_protocol_options: {}"):                                                cluster + "http2_protocol_options" + not,
		withHTTP(t, "", "protocol_selection: USE_DOWNSTREAM_PROTOCOL"):                               cluster + "protocol_selection" + not,
		withTLS(t, strings.TrimSuffix(serverContext, " }")+offer, ""):                                "alpn_protocols: h2 is not supported before an http_connection_manager: HTTP/2 is not part of this version",
		withTLS(t, "", "common_tls_context: {"+strings.TrimPrefix(offer, ",")):                       `route.cluster: "origin" offers h2 in alpn_protocols: HTTP/2 is not part of this version`,
	} {
		_, err := Load(Source{Path: "f.yaml", Data: []byte(text)})
		if err == nil {
			t.Errorf("loads, want %s", want)
			continue
		}
		if first, _, _ := strings.Cut(err.Error(), "\n"); !strings.HasSuffix(first, want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if got := mustLoad(t, withHTTP(t, "codec_type: AUTO", "")).Conf.Listeners[0].FilterChains[0].HTTP.CodecType; got != conf.CodecHTTP1 {
		t.Errorf("AUTO is %d", got)
	}
	if got := mustLoad(t, withHTTP(t, "", httpOptions("use_downstream_protocol_config: {}"))).Conf.Clusters[0].Protocol; got != conf.UpstreamHTTP1 {
		t.Errorf("without HTTP/2 options the cluster's protocol is %d", got)
	}
}

// TestHTTP2IsOfferedWhereItIsServed: on both sides, also where connections are not HTTP to us.
func TestHTTP2IsOfferedWhereItIsServed(t *testing.T) {
	inCertificates(t)
	offer := ", alpn_protocols: [h2, http/1.1] }"
	r := mustLoad(t, withTLS(t, strings.TrimSuffix(serverContext, " }")+offer, "common_tls_context: {"+strings.TrimPrefix(offer, ",")))
	want := []string{"h2", "http/1.1"}
	if got := r.Conf.Listeners[0].FilterChains[0].TLS.ALPN; !slices.Equal(got, want) {
		t.Errorf("downstream offers %q", got)
	}
	if got := r.Conf.Clusters[0].TLS.ALPN; !slices.Equal(got, want) {
		t.Errorf("upstream offers %q", got)
	}
	one, err := parseCluster("c.yaml", []byte("name: a\ntransport_socket:\n  name: tls\n  typed_config: { \"@type\": type.googleapis.com/"+
		upstreamTLS+", common_tls_context: { alpn_protocols: [h2] } }\n"))
	if err != nil || !slices.Equal(one.TLS.ALPN, want[:1]) {
		t.Errorf("a cluster on demand: %+v, %v", one, err)
	}
}

// TestALPNOfAutoConfig: a context says itself what it offers. One that does not leaves it to whoever makes
// the connection: both for requests, nothing for TCP sessions.
func TestALPNOfAutoConfig(t *testing.T) {
	for context, want := range map[string][]string{
		"sni: a.example": nil,
		"common_tls_context: { alpn_protocols: [http/1.1, h2] }": {"http/1.1", "h2"},
		"common_tls_context: { alpn_protocols: [h2] }":           {"h2"},
	} {
		text := strings.Replace(withTLS(t, "", context), "- name: origin\n", "- name: origin\n    "+strings.ReplaceAll(httpOptions("auto_config: {}"), "\n", "\n    ")+"\n", 1)
		r := mustLoad(t, text)
		if got := r.Conf.Clusters[0]; got.Protocol != conf.UpstreamByALPN || !slices.Equal(got.TLS.ALPN, want) || len(r.Warnings) > 0 {
			t.Errorf("%s: protocol %d offers %q, warnings %q", context, got.Protocol, got.TLS.ALPN, r.Warnings)
		}
	}
}

// TestWhoSaysWhatInvalidMessagesEnd: the override, then the manager, then the deprecated field (HC-62).
func TestWhoSaysWhatInvalidMessagesEnd(t *testing.T) {
	const manager, deprecated, override = "stream_error_on_invalid_http_message: ", "stream_error_on_invalid_http_messaging: ", "override_stream_error_on_invalid_http_message: "
	for _, row := range []struct {
		manager, options string
		want             bool
	}{
		{"", "", false},
		{"", deprecated + "true", true},
		{"", override + "true", true},
		{"", deprecated + "true, " + override + "false", false},
		{manager + "true\n", "", true},
		{manager + "false\n", deprecated + "true", false},
		{manager + "true\n", deprecated + "false", true},
		{manager + "true\n", override + "false", false},
		{manager + "false\n", override + "true", true},
	} {
		options := "http2_protocol_options: { " + row.options + " }"
		r := mustLoad(t, withHTTP(t, "codec_type: HTTP2\n"+row.manager+options, httpOptions("explicit_http_config: { "+options+" }")))
		if got := r.Conf.Listeners[0].FilterChains[0].HTTP.HTTP2.StreamErrorOnInvalidMessage; got != row.want {
			t.Errorf("%q, %q: a stream ends: %v", row.manager, row.options, got)
		}
		if got := r.Conf.Clusters[0].HTTP2.StreamErrorOnInvalidMessage; row.manager == "" && got != row.want {
			t.Errorf("cluster, %q: a stream ends: %v", row.options, got)
		}
	}
}

// TestProtocolOfACluster is clusters.md 8.
func TestProtocolOfACluster(t *testing.T) {
	for options, want := range map[string]conf.UpstreamProtocol{
		"": conf.UpstreamHTTP1,
		httpOptions("explicit_http_config: { http_protocol_options: {} }"):                                       conf.UpstreamHTTP1,
		httpOptions("explicit_http_config: { http2_protocol_options: {} }"):                                      conf.UpstreamHTTP2,
		httpOptions("use_downstream_protocol_config: {}"):                                                        conf.UpstreamHTTP1,
		httpOptions("use_downstream_protocol_config: { http_protocol_options: {} }"):                             conf.UpstreamHTTP1,
		httpOptions("use_downstream_protocol_config: { http2_protocol_options: {} }"):                            conf.UpstreamSameAsDownstream,
		httpOptions("use_downstream_protocol_config: { http_protocol_options: {}, http2_protocol_options: {} }"): conf.UpstreamSameAsDownstream,
		"http_protocol_options: {}":                   conf.UpstreamHTTP1,
		"http2_protocol_options: {}":                  conf.UpstreamHTTP2,
		"protocol_selection: USE_CONFIGURED_PROTOCOL": conf.UpstreamHTTP1,
		"protocol_selection: USE_DOWNSTREAM_PROTOCOL": conf.UpstreamSameAsDownstream,
		"protocol_selection: USE_DOWNSTREAM_PROTOCOL\nhttp_protocol_options: {}\nhttp2_protocol_options: {}": conf.UpstreamSameAsDownstream,
	} {
		r := mustLoad(t, withHTTP(t, "", options))
		if got := r.Conf.Clusters[0].Protocol; got != want || len(r.Warnings) > 0 {
			t.Errorf("%s: got %d, want %d, warnings %q", options, got, want, r.Warnings)
		}
	}
}
