package stats

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

type promSample struct {
	name   string
	labels map[string]string
	value  float64
}

// parseProm is a strict reader of the text exposition format: every line is a TYPE or a sample, a
// metric's lines are one group behind its TYPE, no sample occurs twice, histograms are cumulative
// and end in +Inf, which equals the count. Metrics without TYPE are allowed when untyped is set.
func parseProm(text string, untyped bool) (types map[string]string, samples []promSample, err error) {
	types = make(map[string]string)
	closed, seen := make(map[string]bool), make(map[string]bool)
	current := ""
	if text != "" && !strings.HasSuffix(text, "\n") {
		return nil, nil, fmt.Errorf("no newline at the end")
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, ok := strings.Cut(rest, " ")
			if !ok || types[name] != "" || closed[name] || !metricName.MatchString(name) {
				return nil, nil, fmt.Errorf("bad or repeated %q", line)
			}
			closed[current], current, types[name] = true, name, kind
			continue
		}
		s, err := parseSample(line)
		if err != nil {
			return nil, nil, fmt.Errorf("%q: %w", line, err)
		}
		base := s.name
		if k := types[current]; k == "histogram" || k == "summary" {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				base = strings.TrimSuffix(base, suffix)
			}
		}
		if base != current && (!untyped || types[base] != "") {
			return nil, nil, fmt.Errorf("%q is not in its group", line)
		}
		if key := fmt.Sprint(s.name, s.labels); seen[key] {
			return nil, nil, fmt.Errorf("%q is there twice", line)
		} else {
			seen[key] = true
		}
		samples = append(samples, s)
	}
	return types, samples, checkHistograms(types, samples)
}

var (
	metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
	labelName  = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
)

func parseSample(line string) (s promSample, err error) {
	s.labels = make(map[string]string)
	i := strings.IndexAny(line, "{ ")
	if i < 0 || !metricName.MatchString(line[:i]) {
		return s, fmt.Errorf("bad name")
	}
	s.name, line = line[:i], line[i:]
	if line[0] == '{' {
		line = line[1:]
		for line != "" && line[0] != '}' {
			name, rest, ok := strings.Cut(line, `="`)
			if !ok || !labelName.MatchString(name) {
				return s, fmt.Errorf("bad label")
			}
			value, rest, ok := unquote(rest)
			if _, twice := s.labels[name]; !ok || twice {
				return s, fmt.Errorf("bad value of label %s", name)
			}
			s.labels[name] = value
			if line = rest; strings.HasPrefix(line, ",") {
				if line = strings.TrimPrefix(line[1:], " "); strings.HasPrefix(line, "}") {
					return s, fmt.Errorf("comma at the end of the labels")
				}
			}
		}
		if line == "" {
			return s, fmt.Errorf("labels do not end")
		}
		line = line[1:]
	}
	if !strings.HasPrefix(line, " ") {
		return s, fmt.Errorf("no space before the value")
	}
	s.value, err = strconv.ParseFloat(line[1:], 64)
	return s, err
}

func unquote(text string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			return b.String(), text[i+1:], true
		case '\\':
			if i++; i == len(text) {
				return "", "", false
			}
			switch text[i] {
			case 'n':
				b.WriteByte('\n')
			case '\\', '"':
				b.WriteByte(text[i])
			default:
				return "", "", false
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

func checkHistograms(types map[string]string, samples []promSample) error {
	last, bound := make(map[string]float64), make(map[string]float64)
	for _, s := range samples {
		metric, isBucket := strings.CutSuffix(s.name, "_bucket")
		if types[metric] != "histogram" || !isBucket {
			if metric, isCount := strings.CutSuffix(s.name, "_count"); isCount && types[metric] == "histogram" {
				key := fmt.Sprint(metric, s.labels)
				if !math.IsInf(bound[key], 1) || last[key] != s.value {
					return fmt.Errorf("%s: +Inf and _count differ", key)
				}
			}
			continue
		}
		le, err := strconv.ParseFloat(s.labels["le"], 64)
		delete(s.labels, "le")
		key := fmt.Sprint(metric, s.labels)
		if err != nil || le <= bound[key] || s.value < last[key] {
			return fmt.Errorf("%s: bucket %v is out of order", key, le)
		}
		last[key], bound[key] = s.value, le
	}
	return nil
}

func TestOP10NamesAndTags(t *testing.T) {
	for _, row := range []struct{ title, name, want string }{
		{"response code", "cluster.c.upstream_rq_200", `envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="c"}`},
		{"response code class", "cluster.c.upstream_rq_5xx", `envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="c"}`},
		{"a prefix between", "cluster.c.external.upstream_rq_2xx", `envoy_cluster_external_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="c"}`},
		{"no code: too short", "cluster.c.upstream_rq_20", `envoy_cluster_upstream_rq_20{envoy_cluster_name="c"}`},
		{"no code: a word", "cluster.c.upstream_rq_time", `envoy_cluster_upstream_rq_time{envoy_cluster_name="c"}`},
		{"cluster name", "cluster.c.membership_total", `envoy_cluster_membership_total{envoy_cluster_name="c"}`},
		{"dots below the cluster", "cluster.c.circuit_breakers.default.cx_open", `envoy_cluster_circuit_breakers_default_cx_open{envoy_cluster_name="c"}`},
		{"cluster manager has no tag", "cluster_manager.active_clusters", `envoy_cluster_manager_active_clusters{}`},
		{"http prefix", "http.in.downstream_cx_total", `envoy_http_downstream_cx_total{envoy_http_conn_manager_prefix="in"}`},
		{"http class", "http.in.downstream_rq_4xx", `envoy_http_downstream_rq_xx{envoy_response_code_class="4",envoy_http_conn_manager_prefix="in"}`},
		{"OP-13 IPv4 listener", "listener.0.0.0.0_10000.downstream_cx_total", `envoy_listener_downstream_cx_total{envoy_listener_address="0.0.0.0_10000"}`},
		{"OP-13 IPv6 listener", "listener.[__1]_10000.downstream_cx_total", `envoy_listener_downstream_cx_total{envoy_listener_address="[__1]_10000"}`},
		{"OP-13 listener stat_prefix", "listener.edge.downstream_cx_total", `envoy_listener_downstream_cx_total{envoy_listener_address="edge"}`},
		{"numbers that are no address", "listener.1.2.3.4.x", `envoy_listener_2_3_4_x{envoy_listener_address="1"}`},
		{"the admin listener has no address", "listener.admin.downstream_cx_total", `envoy_listener_admin_downstream_cx_total{}`},
		{"http on a listener", "listener.127.0.0.1_80.http.in.downstream_rq_2xx", `envoy_listener_http_downstream_rq_xx{envoy_response_code_class="2",envoy_http_conn_manager_prefix="in",envoy_listener_address="127.0.0.1_80"}`},
		{"worker", "listener.0.0.0.0_80.worker_12.downstream_cx_active", `envoy_listener_worker_downstream_cx_active{envoy_worker_id="12",envoy_listener_address="0.0.0.0_80"}`},
		{"worker of the server", "server.worker_0.watchdog_miss", `envoy_server_worker_watchdog_miss{envoy_worker_id="0"}`},
		{"no worker: not a number", "listener_manager.worker_x.y", `envoy_listener_manager_worker_x_y{}`},
		{"tcp prefix", "tcp.p.downstream_cx_total", `envoy_tcp_downstream_cx_total{envoy_tcp_prefix="p"}`},
		{"virtual cluster", "vhost.v.vcluster.x.upstream_rq_200", `envoy_vhost_vcluster_upstream_rq{envoy_response_code="200",envoy_virtual_cluster="x",envoy_virtual_host="v"}`},
		{"route", "vhost.v.route.r.upstream_rq_total", `envoy_vhost_route_upstream_rq_total{envoy_virtual_host="v",envoy_route="r"}`},
		{"user agent", "http.in.user_agent.ios.downstream_cx_total", `envoy_http_user_agent_downstream_cx_total{envoy_http_user_agent="ios",envoy_http_conn_manager_prefix="in"}`},
		{"rds, with dots in the name", "http.in.rds.my.routes.update_success", `envoy_http_rds_update_success{envoy_rds_route_config="my.routes",envoy_http_conn_manager_prefix="in"}`},
		{"scoped rds", "http.in.scoped_rds.s.update_success", `envoy_http_scoped_rds_update_success{envoy_scoped_rds_config="s",envoy_http_conn_manager_prefix="in"}`},
		{"cipher of a listener", "listener.0.0.0.0_443.ssl.ciphers.TLS_AES_128_GCM_SHA256", `envoy_listener_ssl_ciphers{envoy_ssl_cipher="TLS_AES_128_GCM_SHA256",envoy_listener_address="0.0.0.0_443"}`},
		{"cipher of a cluster", "cluster.c.ssl.ciphers.X", `envoy_cluster_ssl_ciphers{envoy_ssl_cipher_suite="X",envoy_cluster_name="c"}`},
		{"TLS version", "listener.0.0.0.0_443.ssl.versions.TLSv1.3", `envoy_listener_ssl_versions{envoy_ssl_version="TLSv1.3",envoy_listener_address="0.0.0.0_443"}`},
		{"curve", "cluster.c.ssl.curves.X25519", `envoy_cluster_ssl_curves{envoy_ssl_curve="X25519",envoy_cluster_name="c"}`},
		{"curve of a listener", "listener.edge.ssl.curves.X25519MLKEM768", `envoy_listener_ssl_curves{envoy_ssl_curve="X25519MLKEM768",envoy_listener_address="edge"}`},
		{"TLS version of a cluster", "cluster.c.ssl.versions.TLSv1.2", `envoy_cluster_ssl_versions{envoy_ssl_version="TLSv1.2",envoy_cluster_name="c"}`},
		{"signature algorithm of a cluster", "cluster.c.ssl.sigalgs.ecdsa_secp256r1_sha256", `envoy_cluster_ssl_sigalgs{envoy_ssl_sigalg="ecdsa_secp256r1_sha256",envoy_cluster_name="c"}`},
		{"certificate, with dots in the name", "listener.[__1]_443.ssl.certificate.a.test.expiration_unix_time_seconds", `envoy_listener_ssl_certificate_expiration_unix_time_seconds{envoy_tls_certificate="a.test",envoy_listener_address="[__1]_443"}`},
		{"certificate of a cluster", "cluster.c.ssl.certificate.mesh.expiration_unix_time_seconds", `envoy_cluster_ssl_certificate_expiration_unix_time_seconds{envoy_tls_certificate="mesh",envoy_cluster_name="c"}`},
		{"TLS without a tag", "listener.0.0.0.0_443.ssl.handshake", `envoy_listener_ssl_handshake{envoy_listener_address="0.0.0.0_443"}`},
		{"names of TLS without one", "cluster.c.ssl.ciphers", `envoy_cluster_ssl_ciphers{envoy_cluster_name="c"}`},
		{"signature algorithm", "listener.l.ssl.sigalgs.rsa", `envoy_listener_ssl_sigalgs{envoy_ssl_sigalg="rsa",envoy_listener_address="l"}`},
		{"redis, thrift", "redis.r.x", `envoy_redis_x{envoy_redis_prefix="r"}`},
		{"generic proxy has none", "generic_proxy.p.downstream_rq_total", `envoy_generic_proxy_p_downstream_rq_total{}`},
		{"server", "server.uptime", `envoy_server_uptime{}`},
		{"odd bytes", "http.a-b/c.x-y", `envoy_http_x_y{envoy_http_conn_manager_prefix="a-b/c"}`},
		{"escapes", "cluster.a\"b\\c\nd.x", `envoy_cluster_x{envoy_cluster_name="a\"b\\c\nd"}`},
		{"only a prefix", "cluster.c", `envoy_cluster_c{}`},
		{"nothing", "", `envoy_{}`},
	} {
		t.Run(row.title, func(t *testing.T) {
			s := newSample(row.name, 0)
			if got := s.metric + "{" + s.labels + "}"; got != row.want {
				t.Errorf("%s is\n%s, want\n%s", row.name, got, row.want)
			}
		})
	}
}

func TestPrometheusOutput(t *testing.T) {
	r := sampleRegistry()
	got := text(t, func(w *bytes.Buffer) error { return r.WritePrometheus(w, Options{UsedOnly: true}) })
	bucket := func(le, n string) string {
		return `envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix="in",le="` + le + `"} ` + n + "\n"
	}
	want := "# TYPE envoy_cluster_upstream_rq counter\n" +
		`envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="c"} 12` + "\n" +
		"# TYPE envoy_http_downstream_cx_active gauge\n" +
		`envoy_http_downstream_cx_active{envoy_http_conn_manager_prefix="in"} 3` + "\n" +
		"# TYPE envoy_http_downstream_rq_time histogram\n" +
		bucket("0.5", "0") + bucket("1", "0") + bucket("5", "0") + bucket("10", "1")
	for _, le := range strings.Fields("25 50 100 250 500 1000 2500 5000 10000 30000 60000 300000 600000 1800000 3600000 +Inf") {
		want += bucket(le, "2")
	}
	want += `envoy_http_downstream_rq_time_sum{envoy_http_conn_manager_prefix="in"} 30` + "\n" +
		`envoy_http_downstream_rq_time_count{envoy_http_conn_manager_prefix="in"} 2` + "\n"
	if got != want {
		t.Errorf("OP-10, OP-11, OP-12: got\n%s\nwant\n%s", got, want)
	}
}

func TestOP11SummaryForm(t *testing.T) {
	r := sampleRegistry()
	got := text(t, func(w *bytes.Buffer) error {
		return r.WritePrometheus(w, Options{Type: TypeHistograms, Buckets: BucketsSummary})
	})
	for _, line := range []string{
		"# TYPE envoy_http_downstream_rq_time summary\n",
		`envoy_http_downstream_rq_time{envoy_http_conn_manager_prefix="in",quantile="0.999"} 10` + "\n",
		`envoy_http_downstream_cx_length_ms{envoy_http_conn_manager_prefix="in",quantile="0.5"} NaN` + "\n",
		`envoy_http_downstream_rq_time_count{envoy_http_conn_manager_prefix="in"} 2` + "\n",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("%q is missing in\n%s", line, got)
		}
	}
	if _, _, err := parseProm(got, false); err != nil {
		t.Error(err)
	}
}

// Everything a server has, read by a strict parser.
func TestPrometheusOutputParses(t *testing.T) {
	r := NewRegistry()
	s := r.NewShard()
	for i, name := range []string{"a", "b", `odd"\name`} {
		c := NewClusterStats(r, name)
		s.Add(c.UpstreamCxTotal, uint64(i))
		s.Record(c.UpstreamCxConnectMs, uint64(1000*i))
		codes := NewCodeStats(r, "cluster."+name+".")
		codes.Charge(s, 200, 3, false, false)
		codes.Charge(s, 503, 3000000, true, true)
		NewHTTPStats(r, name)
	}
	for _, address := range []string{"0.0.0.0:80", "[::1]:80", "edge"} {
		NewListenerStats(r, address)
		NewListenerHTTPStats(r, address, "a")
		NewListenerWorkerStats(r, address, 0)
	}
	NewServerStats(r, func() int64 { return 1 })
	NewListenerManagerStats(r)
	NewClusterManagerStats(r)
	r.Set().NewCounter("embedder_total").Inc()

	var ours bytes.Buffer
	if err := r.Collect().WritePrometheus(&ours, Options{}); err != nil {
		t.Fatal(err)
	}
	types, samples, err := parseProm(ours.String(), false)
	if err != nil {
		t.Fatal(err)
	}
	if types["envoy_cluster_upstream_rq"] != "counter" || types["envoy_server_live"] != "gauge" || types["envoy_cluster_upstream_rq_time"] != "histogram" {
		t.Errorf("types are %v", types)
	}
	if !bytes.Contains(ours.Bytes(), []byte(`envoy_cluster_name="odd\"\\name"`)) {
		t.Error("the odd cluster is missing")
	}
	if len(samples) < 500 {
		t.Errorf("only %d samples", len(samples))
	}

	all := text(t, func(w *bytes.Buffer) error { return r.WritePrometheus(w, Options{}) })
	for _, want := range []string{"embedder_total 1\n", "go_goroutines ", "envoy_server_live{} 0\n"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if _, _, err := parseProm(all, true); err != nil {
		t.Errorf("with the process's metrics: %v", err)
	}
}
