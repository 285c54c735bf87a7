package wire

import "sort"

// profile is one proxy configuration, in the words of each target. Every profile proxies "/" to the
// origin over kept-alive HTTP/1.1 connections.
type profile struct {
	// preamble is what a client connection begins with (the PROXY line of a load balancer). Cases of
	// such a profile send their own.
	preamble string

	listener string // Envoy Listener fields
	hcm      string // Envoy HttpConnectionManager fields
	upstream string // Envoy HttpProtocolOptions fields of the cluster (the upstream codec)

	// A peer without the feature has nil here; the cases do not apply to it.
	nginx   *nginxProfile
	haproxy *haproxyProfile
}

// nginxProfile is what differs from the plain nginx configuration.
type nginxProfile struct {
	listen   string // added to the listen directive
	server   string // directives of the server
	location string // directives of its only location
	passPath string // appended to proxy_pass: "/" sends the normalised path
	host     string // the upstream Host; $http_host when empty
}

// haproxyProfile is what differs from the plain HAProxy configuration.
type haproxyProfile struct {
	global   string
	bind     string
	frontend string
}

const (
	proxyFilter = `listener_filters:
- name: envoy.filters.listener.proxy_protocol
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol`
	internalTen   = `internal_address_config: { cidr_ranges: [{ address_prefix: 10.0.0.0, prefix_len: 8 }] }`
	proxyPreamble = "PROXY TCP4 127.0.0.1 127.0.0.1 1 1\r\n"
	underscores   = "underscores_in_headers on;"
	experimental  = "expose-experimental-directives"
	nginxPeer     = underscores + "\nset_real_ip_from 127.0.0.1;\nreal_ip_header proxy_protocol;"
	nginxAppend   = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
)

// profiles holds every configuration a case can ask for. The sluice side is plain Envoy v3.
var profiles = map[string]*profile{
	"default": {nginx: &nginxProfile{}, haproxy: &haproxyProfile{}},

	"http10": {
		hcm:     `http_protocol_options: { accept_http_10: true, default_host_for_http_10: default.example }`,
		nginx:   &nginxProfile{host: "$host", server: "server_name default.example;"},
		haproxy: &haproxyProfile{frontend: "http-request set-header Host default.example unless { req.hdr(host) -m found }"},
	},
	"http10-no-default-host": {
		hcm:     `http_protocol_options: { accept_http_10: true }`,
		nginx:   &nginxProfile{},
		haproxy: &haproxyProfile{},
	},
	"custom-methods": {
		hcm:   `http_protocol_options: { allow_custom_methods: true }`,
		nginx: &nginxProfile{}, haproxy: &haproxyProfile{},
	},
	"no-absolute-url": {hcm: `http_protocol_options: { allow_absolute_url: false }`},
	"chunked-length":  {hcm: `http_protocol_options: { allow_chunked_length: true }`, haproxy: &haproxyProfile{}},
	"trailers": {
		hcm:      `http_protocol_options: { enable_trailers: true }`,
		upstream: `explicit_http_config: { http_protocol_options: { enable_trailers: true } }`,
		haproxy:  &haproxyProfile{},
	},
	"proxy-100": {hcm: `proxy_100_continue: true`, haproxy: &haproxyProfile{}},
	"proper-case": {
		hcm:      `http_protocol_options: { header_key_format: { proper_case_words: {} } }`,
		upstream: `explicit_http_config: { http_protocol_options: { header_key_format: { proper_case_words: {} } } }`,
	},
	"limits": {
		hcm: "max_request_headers_kb: 2\ncommon_http_protocol_options: { max_headers_count: 20 }",
		upstream: "explicit_http_config: { http_protocol_options: {} }\n" +
			"common_http_protocol_options: { max_headers_count: 20, max_response_headers_kb: 2 }",
	},
	"max-requests": {
		hcm:   `common_http_protocol_options: { max_requests_per_connection: 2 }`,
		nginx: &nginxProfile{server: "keepalive_requests 2;"},
	},

	"underscore-reject": {
		hcm:     `common_http_protocol_options: { headers_with_underscores_action: REJECT_REQUEST }`,
		haproxy: &haproxyProfile{frontend: `http-request deny deny_status 400 if { req.hdrs -m reg (?m)^[^:]*_[^:]*: }`},
	},
	"underscore-drop": {
		hcm:     `common_http_protocol_options: { headers_with_underscores_action: DROP_HEADER }`,
		nginx:   &nginxProfile{server: "underscores_in_headers off;"},
		haproxy: &haproxyProfile{frontend: `http-request del-header _ -m reg`},
	},

	"normalize": {
		hcm:   `normalize_path: true`,
		nginx: &nginxProfile{passPath: "/", server: underscores + "\nmerge_slashes off;"},
		haproxy: &haproxyProfile{global: experimental, frontend: `http-request normalize-uri path-strip-dot
http-request normalize-uri path-strip-dotdot full
http-request normalize-uri percent-decode-unreserved`},
	},
	"merge-slashes": {
		hcm:     `merge_slashes: true`,
		haproxy: &haproxyProfile{global: experimental, frontend: `http-request normalize-uri path-merge-slashes`},
	},
	"escaped-reject":   {hcm: `path_with_escaped_slashes_action: REJECT_REQUEST`},
	"escaped-redirect": {hcm: `path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT`},
	"escaped-forward":  {hcm: `path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD`},
	"path-all": {
		hcm:   "normalize_path: true\nmerge_slashes: true\npath_with_escaped_slashes_action: UNESCAPE_AND_FORWARD",
		nginx: &nginxProfile{passPath: "/", server: underscores},
	},

	"strip-port":          {hcm: `strip_any_host_port: true`, nginx: &nginxProfile{host: "$host"}},
	"strip-matching-port": {hcm: `strip_matching_host_port: true`},
	"strip-dot":           {hcm: `strip_trailing_host_dot: true`, nginx: &nginxProfile{host: "$host"}},

	// The peer profiles take the client's address from a PROXY line, the others see 127.0.0.1.
	"edge": {
		hcm:     `use_remote_address: true`,
		nginx:   &nginxProfile{location: nginxAppend},
		haproxy: &haproxyProfile{frontend: "option forwardfor"},
	},
	"edge-peer": {
		hcm:      `use_remote_address: true`,
		listener: proxyFilter, preamble: proxyPreamble,
		nginx:   &nginxProfile{listen: "proxy_protocol", server: nginxPeer, location: nginxAppend},
		haproxy: &haproxyProfile{bind: "accept-proxy", frontend: "option forwardfor"},
	},
	"edge-two-hops": {
		hcm:     "use_remote_address: true\nxff_num_trusted_hops: 2",
		nginx:   &nginxProfile{location: nginxAppend},
		haproxy: &haproxyProfile{frontend: "option forwardfor"},
	},
	"edge-two-hops-peer": {
		hcm:      "use_remote_address: true\nxff_num_trusted_hops: 2",
		listener: proxyFilter, preamble: proxyPreamble,
		nginx:   &nginxProfile{listen: "proxy_protocol", server: nginxPeer, location: nginxAppend},
		haproxy: &haproxyProfile{bind: "accept-proxy", frontend: "option forwardfor"},
	},
	"edge-skip-append": {
		hcm:   "use_remote_address: true\nskip_xff_append: true",
		nginx: &nginxProfile{}, haproxy: &haproxyProfile{},
	},
	"edge-internal-peer": {
		hcm:      "use_remote_address: true\n" + internalTen,
		listener: proxyFilter, preamble: proxyPreamble,
	},
	"inner":          {hcm: internalTen},
	"inner-peer":     {hcm: internalTen, listener: proxyFilter, preamble: proxyPreamble},
	"inner-two-hops": {hcm: "xff_num_trusted_hops: 2\n" + internalTen},

	"named":              {hcm: "server_name: wire\nvia: wire-proxy"},
	"server-if-absent":   {hcm: `server_header_transformation: APPEND_IF_ABSENT`},
	"server-passthrough": {hcm: `server_header_transformation: PASS_THROUGH`},
	"id-in-response":     {hcm: `always_set_request_id_in_response: true`},
}

// KnownProfile says whether cases can ask for that profile.
func KnownProfile(name string) bool { return profiles[name] != nil }

// Profiles returns the names of all profiles, sorted.
func Profiles() []string {
	var names []string
	for name := range profiles {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
