package stats

import "strings"

// tag is a part of a name that Prometheus shows as a label.
type tag struct{ name, value string }

// A tagRule finds a tag by the dot-separated parts of a name: "$" is the value, "*" any one part,
// "**" one or more to the end; "$+" is a value that may hold dots, as long as what follows it allows.
// The value's part leaves the name (OP-10).
type tagRule struct {
	tag     string
	pattern []string
}

// tagRules in Envoy's order, which is the order of the labels. Rules for the ends of names
// (response codes), for workers and for listener addresses are code: see extract.
var tagRules = compileRules(
	"envoy.ssl_cipher listener.*.ssl.ciphers.$+",
	"envoy.ssl_curve listener.*.ssl.curves.$+",
	"envoy.ssl_curve cluster.*.ssl.curves.$+",
	"envoy.ssl_sigalg listener.*.ssl.sigalgs.$+",
	"envoy.ssl_sigalg cluster.*.ssl.sigalgs.$+",
	"envoy.ssl_version listener.*.ssl.versions.$+",
	"envoy.ssl_version cluster.*.ssl.versions.$+",
	"envoy.tls_certificate listener.*.ssl.certificate.$+.*",
	"envoy.tls_certificate cluster.*.ssl.certificate.$+.*",
	"envoy.ssl_cipher_suite cluster.*.ssl.ciphers.$+",
	"envoy.http_conn_manager_prefix listener.*.http.$.**",
	"envoy.rds_route_config http.*.rds.$+.*",
	"envoy.scoped_rds_config http.*.scoped_rds.$+.*",
	"envoy.grpc_bridge_method cluster.*.grpc.*.$.**",
	"envoy.http_user_agent http.*.user_agent.$.**",
	"envoy.virtual_cluster vhost.*.vcluster.$.**",
	"envoy.grpc_bridge_service cluster.*.grpc.$.**",
	"envoy.tcp_prefix tcp.$.**",
	"envoy.cluster_name cluster.$.**",
	"envoy.http_conn_manager_prefix http.$.**",
	"envoy.virtual_host vhost.$.**",
	"envoy.route vhost.*.route.$.**",
	"envoy.thrift_prefix thrift.$.**",
	"envoy.redis_prefix redis.$.**",
	"envoy.connection_limit_prefix connection_limit.$.**",
	"envoy.local_http_ratelimit_prefix $.http_local_rate_limit.**",
	"envoy.local_network_ratelimit_prefix local_rate_limit.$.**",
	"envoy.local_listener_ratelimit_prefix listener_local_ratelimit.$.**",
)

func compileRules(rows ...string) []tagRule {
	rules := make([]tagRule, len(rows))
	for i, row := range rows {
		name, pattern, _ := strings.Cut(row, " ")
		rules[i] = tagRule{name, strings.Split(pattern, ".")}
	}
	return rules
}

// match returns the parts [from, to) that hold the value.
func (r *tagRule) match(parts []string) (from, to int, ok bool) {
	for i, p := range r.pattern {
		if p == "**" {
			return from, to, i < len(parts)
		}
		if i >= len(parts) {
			return 0, 0, false
		}
		switch p {
		case "*":
		case "$":
			from, to = i, i+1
		case "$+":
			to = len(parts) - (len(r.pattern) - 1 - i)
			return i, to, to > i
		default:
			if parts[i] != p {
				return 0, 0, false
			}
		}
	}
	return from, to, len(parts) == len(r.pattern)
}

// extract returns the name without its tags, and the tags.
func extract(name string) (rest string, tags []tag) {
	name, tags = extractCode(name, nil)
	parts := split(name)
	gone := make([]bool, len(parts))
	for i := range tagRules {
		rule := &tagRules[i]
		from, to, ok := rule.match(parts)
		if !ok {
			continue
		}
		tags = append(tags, tag{rule.tag, strings.Join(parts[from:to], ".")})
		for j := from; j < to; j++ {
			gone[j] = true
		}
	}
	tags = extractListener(parts, gone, tags)
	var b strings.Builder
	glue := ""
	for i, p := range parts {
		if gone[i] {
			continue
		}
		b.WriteString(glue)
		b.WriteString(p)
		glue = "."
		if p == "worker_" {
			glue = "" // listener.worker_downstream_cx_total
		}
	}
	return b.String(), tags
}

// extractCode takes _rq_<ddd> and _rq_<d>xx at the end of a name.
func extractCode(name string, tags []tag) (string, []tag) {
	n := len(name)
	if n < 7 || name[n-7:n-3] != "_rq_" || !digit(name[n-3]) {
		return name, tags
	}
	switch {
	case digit(name[n-2]) && digit(name[n-1]):
		return name[:n-4], append(tags, tag{"envoy.response_code", name[n-3:]})
	case name[n-2:] == "xx":
		return name[:n-3] + "xx", append(tags, tag{"envoy.response_code_class", name[n-3 : n-2]})
	}
	return name, tags
}

// extractListener takes worker_<n> of listener.<a>., listener_manager. and server., and the
// address or prefix of listener.<a>., but not of the admin listener.
func extractListener(parts []string, gone []bool, tags []tag) []tag {
	worker := 1
	switch parts[0] {
	case "listener":
		worker = 2
	case "listener_manager", "server":
	default:
		return tags
	}
	if len(parts) > worker+1 {
		if n, ok := strings.CutPrefix(parts[worker], "worker_"); ok && n != "" && strings.Trim(n, "0123456789") == "" {
			tags = append(tags, tag{"envoy.worker_id", n})
			parts[worker] = "worker_"
		}
	}
	if worker == 2 && len(parts) > 2 && parts[1] != "admin" {
		tags = append(tags, tag{"envoy.listener_address", parts[1]})
		gone[1] = true
	}
	return tags
}

// split cuts a name at its dots, but keeps a listener's IPv4 address in one part (OP-13).
func split(name string) []string {
	parts := strings.Split(name, ".")
	if parts[0] != "listener" || len(parts) < 6 {
		return parts
	}
	for _, octet := range parts[1:4] {
		if octet == "" || len(octet) > 3 || strings.Trim(octet, "0123456789") != "" {
			return parts
		}
	}
	octet, port, ok := strings.Cut(parts[4], "_")
	if !ok || octet == "" || port == "" || strings.Trim(octet+port, "0123456789") != "" {
		return parts
	}
	joined := append(make([]string, 0, len(parts)), "listener", strings.Join(parts[1:5], "."))
	return append(joined, parts[5:]...)
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
