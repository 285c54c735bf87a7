package envoy

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"text/template"
)

// Simple is what `sluice run --from --to` can say.
type Simple struct {
	// From is where to listen: ":8080", "127.0.0.1:8080", "[::1]:8080" or "unix:/path".
	From string
	// To are the origins: "127.0.0.1:9000", "name:9000" or "unix:/path"; at least one.
	To []string
	// AccessLog writes Envoy's default line for every request to stdout.
	AccessLog bool
	// Admin is the address of the admin listener; empty for none.
	Admin string
}

// Write returns the bootstrap that proxies every request from one address to others, as YAML meant
// to be read, saved and grown. Load accepts it.
func Write(s Simple) (string, error) {
	if len(s.To) == 0 {
		return "", fmt.Errorf("no address to proxy to")
	}
	page := simplePage{AccessLog: s.AccessLog, ClusterType: "STATIC"}
	var err error
	if page.From, err = parseSimple(s.From, "listen on", true); err != nil {
		return "", err
	}
	if s.Admin != "" {
		if page.Admin, err = parseSimple(s.Admin, "serve the admin interface on", true); err != nil {
			return "", err
		}
		if *page.Admin == *page.From && page.Admin.Port != 0 {
			return "", fmt.Errorf("%s cannot be both the proxy's and the admin interface's address", s.Admin)
		}
	}
	pipe, name := false, false
	for _, to := range s.To {
		a, err := parseSimple(to, "proxy to", false)
		if err != nil {
			return "", err
		}
		pipe, name = pipe || a.Path != "", name || a.Path == "" && net.ParseIP(a.IP) == nil
		page.To = append(page.To, a)
	}
	if name {
		page.ClusterType = "STRICT_DNS"
		if pipe {
			return "", fmt.Errorf("a host name and a unix socket cannot be mixed: %s", strings.Join(s.To, ", "))
		}
	}
	var b strings.Builder
	if err := simpleTemplate.Execute(&b, page); err != nil {
		return "", err
	}
	return b.String(), nil
}

type simplePage struct {
	From, Admin *simpleAddress
	To          []*simpleAddress
	AccessLog   bool
	ClusterType string
}

// simpleAddress is one address of the page: a unix socket when Path is not empty.
type simpleAddress struct {
	Path string
	IP   string // or host name
	Port uint16
}

// YAML is the address as a flow mapping.
func (a *simpleAddress) YAML() string {
	if a.Path != "" {
		return "{ pipe: { path: " + strconv.Quote(a.Path) + " } }"
	}
	return fmt.Sprintf("{ socket_address: { address: %q, port_value: %d } }", a.IP, a.Port)
}

// parseSimple reads "host:port" or "unix:path"; what says what the address is for.
func parseSimple(text, what string, listen bool) (*simpleAddress, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		if path == "" || strings.ContainsFunc(path, func(r rune) bool { return !strconv.IsPrint(r) }) {
			return nil, fmt.Errorf("cannot %s %q: not a socket's path", what, text)
		}
		return &simpleAddress{Path: path}, nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return nil, fmt.Errorf("cannot %s %q: expected host:port or unix:path", what, text)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 && !listen {
		return nil, fmt.Errorf("cannot %s %q: %q is not a port", what, text, port)
	}
	switch {
	case net.ParseIP(host) != nil:
	case host == "" && listen:
		host = "0.0.0.0"
	case host == "":
		host = "127.0.0.1"
	case host == "localhost":
		host = "127.0.0.1"
	case listen || !validHost(host):
		return nil, fmt.Errorf("cannot %s %q: %q is not an IP address", what, text, host)
	}
	return &simpleAddress{IP: host, Port: uint16(n)}, nil
}

var simpleTemplate = template.Must(template.New("bootstrap").Parse(`{{if .Admin -}}
admin:
  address: {{.Admin.YAML}}

{{end -}}
static_resources:
  listeners:
  - name: ingress
    address: {{.From.YAML}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          use_remote_address: true
{{- if .AccessLog}}
          access_log:
          - name: envoy.access_loggers.stdout
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
{{- end}}
          route_config:
            name: local
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { prefix: "/" }
                route: { cluster: origin }
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router

  clusters:
  - name: origin
    type: {{.ClusterType}}
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
{{- range .To}}
        - endpoint: { address: {{.YAML}} }
{{- end}}
`))
