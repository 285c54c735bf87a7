package peer

import (
	"fmt"
	"path/filepath"
	"strings"
)

// tableRoutes is how many routes the virtual host of Table mode has; the last one takes the requests.
const tableRoutes = 200

const sluiceTableFilter = `      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          codec_type: {codec}
          generate_request_id: false
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {log}
          route_config:
            name: bench
            response_headers_to_remove: [x-powered-by]
            virtual_hosts:
            - name: other
              domains: ["other.example.com", "*.other.example.com"]
              routes: [{match: {prefix: "/"}, route: {cluster: origin}}]
            - name: all
              domains: ["*"]
              request_headers_to_add: [{header: {key: x-gateway, value: bench}}]
              response_headers_to_add: [{header: {key: x-served-by, value: "%UPSTREAM_CLUSTER%"}}]
              routes:
{routes}          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              suppress_envoy_headers: true
`

// sluiceTable is the connection manager of Table mode. What is not of its title (request ids, x-envoy fields)
// is as in sluiceHTTPFilter. Of its routes most are of other paths; ten are of
// every path, with a rule about a header field that the load does not send.
func sluiceTable(dir string) string {
	var routes strings.Builder
	for i := range tableRoutes - 1 {
		match := fmt.Sprintf("prefix: /service-%d/", i)
		switch {
		case i%20 == 10:
			match = fmt.Sprintf("prefix: /, headers: [{name: x-tenant, string_match: {exact: tenant-%d}}]", i)
		case i%4 == 1:
			match = fmt.Sprintf("path: /exact-%d", i)
		}
		fmt.Fprintf(&routes, "              - {name: route-%d, match: {%s}, route: {cluster: origin}}\n", i, match)
	}
	routes.WriteString(`              - name: rest
                match: {prefix: "/"}
                route: {cluster: origin, timeout: 15s, retry_policy: {retry_on: "5xx,reset", num_retries: 2}}
                request_headers_to_remove: [x-internal]
`)
	return strings.NewReplacer("{routes}", routes.String(), "{log}", filepath.Join(dir, "access.log")).Replace(sluiceTableFilter)
}
