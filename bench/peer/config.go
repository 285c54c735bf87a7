package peer

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// render writes text to dir/name with each {key} replaced, and returns the path.
func render(dir, name, text string, keys ...string) (string, error) {
	path := filepath.Join(dir, name)
	text = strings.NewReplacer(keys...).Replace(text)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// nginxHTTP: upstream keep-alive needs version 1.1 and an empty Connection field; buffers of 16 x 16k are
// what 10 KiB and 1 MiB bodies want; nothing is written to disk; requests are passed on as they come.
const nginxHTTP = `daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile {nofile};
error_log {dir}/error.log crit;
pid {dir}/nginx.pid;
events { worker_connections {nofile}; multi_accept on; }
http {
  access_log off;
  sendfile on;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  keepalive_timeout 3600s;
  client_max_body_size 0;
  client_body_buffer_size 128k;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  upstream origin {
    server {upstream};
    keepalive 1024;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
  }
  server {
    listen {listen}{wire} backlog=4096;
{tls}    location / {
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
      proxy_buffer_size 16k;
      proxy_buffers 16 16k;
      proxy_max_temp_file_size 0;
    }
  }
}
`

// nginxTLS is without tickets and without a cache of sessions, as everywhere.
const nginxTLS = `    ssl_certificate {cert};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites {cipher};
    ssl_session_cache off;
    ssl_session_tickets off;
`

// nginxWire is what listen has to say for each wire.
var nginxWire = [...]string{H1: "", H1TLS: " ssl", H2C: " http2", H2TLS: " ssl http2"}

const nginxTCP = `load_module {module};
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile {nofile};
error_log {dir}/error.log crit;
pid {dir}/nginx.pid;
events { worker_connections {nofile}; multi_accept on; }
stream {
  server {
    listen {listen} backlog=4096;
    proxy_pass {upstream};
    proxy_buffer_size {buffer};
    proxy_timeout 3600s;
    proxy_half_close on;
    tcp_nodelay on;
{await}  }
}
`

// nginxAwait has nginx look at the first bytes before it connects. They are no TLS, which is fine.
const nginxAwait = "    ssl_preread on;\n    preread_timeout 3600s;\n"

func nginxConfig(dir string, s Spec) ([]string, error) {
	text, module, buffer, await := nginxHTTP, "", "16k", ""
	if s.Mode.bytes() {
		var err error
		if module, err = nginxStreamModule(); err != nil {
			return nil, err
		}
		text = nginxTCP
		if s.Bulk {
			buffer = "256k"
		}
		if s.AwaitData {
			await = nginxAwait
		}
	}
	if os.Geteuid() != 0 {
		text = strings.Replace(text, "user root;\n", "", 1)
	}
	tls := ""
	if s.Wire.Secure() {
		tls = nginxTLS
	}
	path, err := render(dir, "nginx.conf", strings.Replace(text, "{tls}", tls, 1), "{wire}", nginxWire[s.Wire],
		"{cert}", s.Identity.cert(), "{key}", s.Identity.key(), "{cipher}", identityCipher, "{dir}", dir, "{listen}", s.Listen, "{upstream}", s.Upstream,
		"{module}", module, "{buffer}", buffer, "{await}", await,
		"{nofile}", fmt.Sprint(2*s.MaxConns+1000))
	return []string{"-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", path}, err
}

// haproxyText: http-reuse always shares upstream connections between downstream ones from their first
// request on; splice pays for bulk only. Without "no strict-limits" it wants two files for every connection
// of maxconn before it starts, though upstream connections are few.
const haproxyText = `global
  nbthread 1
  maxconn {maxconn}
  no strict-limits
  tune.bufsize 16384
  tune.ssl.cachesize 0
  ssl-default-bind-ciphersuites {cipher}
{globalbulk}
defaults
  mode {mode}
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
  backlog 4096
{http}{bulk}
frontend in
  bind {listen}{wire}
{await}  default_backend origin
backend origin
  server origin {upstream}
`

// haproxyWire is what bind has to say for each wire.
var haproxyWire = [...]string{
	H1:    "",
	H1TLS: " ssl crt {both} alpn http/1.1 ssl-min-ver TLSv1.3 no-tls-tickets",
	H2C:   " proto h2",
	H2TLS: " ssl crt {both} alpn h2 ssl-min-ver TLSv1.3 no-tls-tickets",
}

// haproxyAwait has haproxy connect once there is a byte.
const haproxyAwait = "  tcp-request inspect-delay 1h\n  tcp-request content accept if { req.len gt 0 }\n"

func haproxyConfig(dir string, s Spec) ([]string, error) {
	mode, http, bulk, globalBulk, await := "http", "  http-reuse always\n", "", "", ""
	if s.Mode.bytes() {
		mode, http = "tcp", ""
	}
	if s.AwaitData {
		await = haproxyAwait
	}
	if s.Bulk {
		globalBulk = "  tune.pipesize 1048576\n  maxpipes 1024\n"
		bulk = "  option splice-auto\n  option splice-request\n  option splice-response\n"
	}
	text := strings.Replace(haproxyText, "{wire}", haproxyWire[s.Wire], 1)
	path, err := render(dir, "haproxy.cfg", text, "{both}", s.Identity.both(), "{cipher}", identityCipher, "{listen}", s.Listen, "{upstream}", s.Upstream, "{mode}", mode,
		"{http}", http, "{bulk}", bulk, "{globalbulk}", globalBulk, "{await}", await, "{maxconn}", fmt.Sprint(s.MaxConns+100))
	return []string{"-db", "-f", path}, err
}

// h2oText: a keep-alive timeout is what turns upstream keep-alive on.
const h2oText = `num-threads: 1
max-connections: {maxconn}
{user}error-log: {dir}/error.log
pid-file: {dir}/h2o.pid
http1-request-timeout: 3600
http2-idle-timeout: 3600
limit-request-body: 1073741824
ssl-session-resumption:
  mode: off
listen:
  host: {host}
  port: {port}
{tls}hosts:
  default:
    paths:
      "/":
        proxy.reverse.url: "http://{upstream}/"
        proxy.preserve-host: ON
        proxy.timeout.keepalive: 3600000
        proxy.timeout.io: 3600000
`

// h2oTLS takes the first cipher of its clients', which is identityCipher for all of ours. There is no
// staple for a certificate that nobody issued.
const h2oTLS = `  ssl:
    certificate-file: {cert}
    key-file: {key}
    cipher-preference: client
    ocsp-update-interval: 0
`

func h2oConfig(dir string, s Spec) ([]string, error) {
	host, port, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return nil, err
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user: root\n"
	}
	tls := ""
	if s.Wire.Secure() {
		tls = h2oTLS
	}
	path, err := render(dir, "h2o.conf", strings.Replace(h2oText, "{tls}", tls, 1), "{cert}", s.Identity.cert(), "{key}", s.Identity.key(),
		"{dir}", dir, "{host}", host, "{port}", port, "{user}", user,
		"{upstream}", s.Upstream, "{maxconn}", fmt.Sprint(s.MaxConns+100))
	return []string{"-m", "worker", "-c", path}, err
}

// sluiceText is a bootstrap any Envoy would run too. Circuit breakers are out of the way, as the peers have
// none; so are the request id and the x-envoy fields, which the peers do not add either.
const sluiceText = `admin:
  address: {socket_address: {address: {adminhost}, port_value: {adminport}}}
static_resources:
  listeners:
  - name: bench
    address: {socket_address: {address: {host}, port_value: {port}}}
    filter_chains:
    - {tls}filters:
{filter}  clusters:
  - name: origin
    type: STATIC
    connect_timeout: 5s
    circuit_breakers:
      thresholds:
      - {max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: {socket_address: {address: {uphost}, port_value: {upport}}}
`

const sluiceHTTPFilter = `      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          codec_type: {codec}
          generate_request_id: false
          route_config:
            name: bench
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: "/"}
                route: {cluster: origin, timeout: 0s}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              suppress_envoy_headers: true
`

const sluiceTLS = `transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          disable_stateless_session_resumption: true
          common_tls_context:
            alpn_protocols: ["{alpn}"]
            tls_params: {tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3}
            tls_certificates:
            - {certificate_chain: {filename: "{cert}"}, private_key: {filename: "{key}"}}
      `

const sluiceTCPFilter = `      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: bench
          cluster: origin
{await}`

const sluiceRedisFilter = `      - name: envoy.filters.network.generic_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.generic_proxy.v3.GenericProxy
          stat_prefix: bench
          codec_config:
            name: sluice.generic_proxy.codecs.resp
            typed_config:
              "@type": type.googleapis.com/xds.type.v3.TypedStruct
              type_url: type.googleapis.com/sluice.generic_proxy.codecs.resp.v1.RespCodecConfig
              value: {pipelining: true}
          filters:
          - name: envoy.filters.generic.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.network.generic_proxy.router.v3.Router
              bind_upstream_connection: true
          route_config:
            name: bench
            routes:
              on_no_match:
                action:
                  name: all
                  typed_config:
                    "@type": type.googleapis.com/envoy.extensions.filters.network.generic_proxy.action.v3.RouteAction
                    cluster: origin
                    timeout: 0s
`

const sluiceAwait = `          upstream_connect_mode: ON_DOWNSTREAM_DATA
          max_early_data_bytes: 16384
`

func sluiceConfig(dir string, s Spec) ([]string, error) {
	filter := sluiceHTTPFilter
	switch s.Mode {
	case TCP:
		filter = sluiceTCPFilter
	case Table:
		filter = sluiceTable(dir)
	case Redis:
		filter = sluiceRedisFilter
	case Hops, TunnelH1, TunnelH2:
		return hopsConfig(dir, s)
	}
	await := ""
	if s.AwaitData {
		await = sluiceAwait
	}
	codec, tls := "HTTP1", ""
	if s.Wire.HTTP2() {
		codec = "HTTP2"
	}
	if s.Wire.Secure() {
		tls = sluiceTLS
	}
	text := strings.NewReplacer("{filter}", filter, "{tls}", tls).Replace(sluiceText)
	keys := []string{"{await}", await, "{codec}", codec, "{alpn}", s.Wire.protocol(), "{cert}", s.Identity.cert(), "{key}", s.Identity.key()}
	keys, err := appendAddresses(keys, s, "")
	if err != nil {
		return nil, err
	}
	path, err := render(dir, "sluice.yaml", text, keys...)
	return []string{"-c", path, "--concurrency", "1", "-l", "error"}, err
}
