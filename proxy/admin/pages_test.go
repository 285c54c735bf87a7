package admin_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Every line of /clusters, in order (operations.md section 2).
func TestClustersText(t *testing.T) {
	f := start(t, true)
	f.proxied(3)
	o := "origin::" + f.origin.Addr().String()
	want := `origin::observability_name::alt
origin::default_priority::max_connections::1024
origin::default_priority::max_pending_requests::1024
origin::default_priority::max_requests::1024
origin::default_priority::max_retries::3
origin::high_priority::max_connections::1024
origin::high_priority::max_pending_requests::1024
origin::high_priority::max_requests::1024
origin::high_priority::max_retries::3
origin::added_via_api::false
` + o + `::cx_active::1
` + o + `::cx_connect_fail::0
` + o + `::cx_total::1
` + o + `::rq_active::0
` + o + `::rq_error::0
` + o + `::rq_success::3
` + o + `::rq_timeout::0
` + o + `::rq_total::3
` + o + `::hostname::one.example
` + o + `::health_flags::healthy
` + o + `::weight::3
` + o + `::region::r1
` + o + `::zone::z1
` + o + `::sub_zone::s1
` + o + `::canary::false
` + o + `::priority::0
` + o + `::success_rate::-1
` + o + `::local_origin_success_rate::-1
spare::observability_name::spare
spare::default_priority::max_connections::1
spare::default_priority::max_pending_requests::2
spare::default_priority::max_requests::3
spare::default_priority::max_retries::4
spare::high_priority::max_connections::5
`
	got := f.get("/clusters").body
	if !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, line := range []string{
		"spare::127.0.0.1:9001::health_flags::/failed_eds_health", "spare::/run/spare.sock::health_flags::/degraded_eds_health",
		"spare::/run/spare.sock::weight::1", "spare::127.0.0.1:9001::hostname::",
	} {
		if !slices.Contains(strings.Split(got, "\n"), line) {
			t.Errorf("no line %q", line)
		}
	}
}

func TestClustersJSON(t *testing.T) {
	f := start(t, true)
	f.proxied(2)
	type address struct {
		Socket struct {
			Address string
			Port    int `json:"port_value"`
		} `json:"socket_address"`
		Pipe struct{ Path string }
	}
	var got struct {
		Statuses []struct {
			Name          string
			Observability string `json:"observability_name"`
			Hosts         []struct {
				Address address
				Stats   []struct{ Name, Value, Type string }
				Health  struct {
					EDS string `json:"eds_health_status"`
				} `json:"health_status"`
				Weight   int
				Hostname string
				Locality struct{ Region string }
			} `json:"host_statuses"`
			Breakers struct {
				Thresholds []struct {
					Priority       string
					MaxConnections int `json:"max_connections"`
				}
			} `json:"circuit_breakers"`
		} `json:"cluster_statuses"`
	}
	if err := json.Unmarshal([]byte(f.get("/clusters?format=json").body), &got); err != nil {
		t.Fatal(err)
	}
	one, spare := got.Statuses[0], got.Statuses[1]
	host := one.Hosts[0]
	if one.Name != "origin" || one.Observability != "alt" || host.Weight != 3 || host.Hostname != "one.example" || host.Locality.Region != "r1" || host.Health.EDS != "HEALTHY" {
		t.Errorf("%+v", one)
	}
	if a := net.JoinHostPort(host.Address.Socket.Address, strconv.Itoa(host.Address.Socket.Port)); a != f.origin.Addr().String() {
		t.Errorf("address %s", a)
	}
	stats := map[string]string{}
	for _, s := range host.Stats {
		stats[s.Name] = s.Value + " " + s.Type
	}
	if stats["rq_total"] != "2 COUNTER" || stats["cx_active"] != "1 GAUGE" || len(stats) != 8 {
		t.Errorf("%v", stats)
	}
	if spare.Breakers.Thresholds[1].Priority != "HIGH" || spare.Breakers.Thresholds[1].MaxConnections != 5 || spare.Hosts[1].Address.Pipe.Path != "/run/spare.sock" {
		t.Errorf("%+v", spare)
	}
}

func TestListenersShowTheRealPort(t *testing.T) {
	f := start(t, true)
	if got, want := f.get("/listeners").body, fmt.Sprintf("in::%s\nout::%s\n", f.in, f.out); got != want || strings.Contains(got, ":0\n") {
		t.Errorf("%q, want %q", got, want)
	}
	list := f.json("/listeners?format=json")["listener_statuses"].([]any)
	first := list[0].(map[string]any)
	port := first["local_address"].(map[string]any)["socket_address"].(map[string]any)["port_value"].(float64)
	if len(list) != 2 || first["name"] != "in" || !strings.HasSuffix(f.in, ":"+strconv.Itoa(int(port))) {
		t.Errorf("%v", list)
	}
}

func TestConfigDumpHasEveryPartInOrder(t *testing.T) {
	f := start(t, true)
	kinds := func(path string) (out []string) {
		for _, c := range f.json(path)["configs"].([]any) {
			out = append(out, strings.TrimPrefix(c.(map[string]any)["@type"].(string), "type.googleapis.com/envoy.admin.v3."))
		}
		return out
	}
	for path, want := range map[string]string{
		"/config_dump":                                         "BootstrapConfigDump ClustersConfigDump ListenersConfigDump ScopedRoutesConfigDump RoutesConfigDump SecretsConfigDump",
		"/config_dump?include_eds":                             "BootstrapConfigDump ClustersConfigDump EndpointsConfigDump ListenersConfigDump ScopedRoutesConfigDump RoutesConfigDump SecretsConfigDump",
		"/config_dump?resource=bootstrap":                      "BootstrapConfigDump",
		"/config_dump?resource=static_clusters":                "ClustersConfigDump.StaticCluster ClustersConfigDump.StaticCluster",
		"/config_dump?resource=static_listeners":               "ListenersConfigDump.StaticListener ListenersConfigDump.StaticListener",
		"/config_dump?resource=static_route_configs":           "RoutesConfigDump.StaticRouteConfig RoutesConfigDump.StaticRouteConfig",
		"/config_dump?resource=static_endpoint_configs":        "EndpointsConfigDump.StaticEndpointConfig EndpointsConfigDump.StaticEndpointConfig",
		"/config_dump?resource=static_clusters&name_regex=^sp": "ClustersConfigDump.StaticCluster",
	} {
		if got := strings.Join(kinds(path), " "); got != want {
			t.Errorf("%s:\n%s, want\n%s", path, got, want)
		}
	}
	dump := f.get("/config_dump?include_eds").body
	for _, want := range []string{
		`"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster"`, `"@type": "type.googleapis.com/envoy.config.listener.v3.Listener"`,
		`"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"`, `"stat_prefix": "ingress"`, `"cluster_name": "spare"`, `"last_updated": "20`,
	} {
		if !strings.Contains(dump, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(dump, "error_state") {
		t.Error("error_state without an error")
	}
}

func TestConfigDumpTellsOfARejectedUpdate(t *testing.T) {
	f := start(t, true)
	f.server.Reject(errors.New("envoy.yaml:3:1: that was wrong"))
	state := f.json("/config_dump")["error_state"].(map[string]any)
	if state["details"] != "envoy.yaml:3:1: that was wrong" || state["last_update_attempt"] == "" {
		t.Errorf("%v", state)
	}
	if got := f.get("/stats?filter=config_update").body; got != "server.config_update_attempt: 2\nserver.config_update_rejected: 1\nserver.config_update_success: 1\n" {
		t.Errorf("%q", got)
	}
	c, _ := f.server.Config()
	if err := f.server.Apply(c); err != nil {
		t.Fatal(err)
	}
	if f.json("/config_dump")["error_state"] != nil {
		t.Error("error_state stays after a good update")
	}
}

func TestServerInfo(t *testing.T) {
	f := start(t, true)
	info := f.json("/server_info")
	uptime := regexp.MustCompile(`^\d+s$`)
	if info["version"] != "rev/1.2.3/Clean/RELEASE/go" || info["state"] != "LIVE" || info["hot_restart_version"] != "disabled" ||
		!uptime.MatchString(info["uptime_current_epoch"].(string)) || !uptime.MatchString(info["uptime_all_epochs"].(string)) {
		t.Errorf("%v", info)
	}
	node, options := info["node"].(map[string]any), info["command_line_options"].(map[string]any)
	if node["id"] != "node-1" || node["cluster"] != "edge" || node["locality"].(map[string]any)["zone"] != "z1" || options["mode"] != "Serve" {
		t.Errorf("%v", info)
	}
}

// The states of /ready and /server_info over a server's life; OP-50 for the health check.
func TestStates(t *testing.T) {
	f := start(t, false)
	expect := func(status int, state string, live string) {
		t.Helper()
		a := f.get("/ready")
		if a.status != status || a.body != state+"\n" || f.json("/server_info")["state"] != state {
			t.Errorf("%d %q, want %d %s", a.status, a.body, status, state)
		}
		if got := f.get("/stats?filter=^server.live$").body; got != "server.live: "+live+"\n" {
			t.Errorf("%q", got)
		}
	}
	expect(503, "PRE_INITIALIZING", "0")
	if err := f.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(200, "LIVE", "1")
	if a := f.post("/healthcheck/fail"); a.body != "OK\n" {
		t.Errorf("%q", a.body)
	}
	expect(503, "DRAINING", "0")
	f.post("/healthcheck/ok")
	expect(200, "LIVE", "1")
	f.server.Drain(t.Context())
	expect(503, "DRAINING", "0")
}

func TestInitDumpNamesWhatIsWaitedFor(t *testing.T) {
	// A resolver that never answers keeps the cluster warming.
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_, port, _ := net.SplitHostPort(silent.LocalAddr().String())
	f := start(t, false, "  - name: spare\n", `  - name: named
    type: STRICT_DNS
    typed_dns_resolver_config:
      name: envoy.network.dns_resolver.cares
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
        resolvers: [ { socket_address: { address: 127.0.0.1, port_value: `+port+` } } ]
    load_assignment: { cluster_name: named, endpoints: [ { lb_endpoints: [ { endpoint: { address: { socket_address: { address: a.example, port_value: 80 } } } } ] } ] }
  - name: spare
`)
	dumps := f.json("/init_dump")["unready_targets_dumps"].([]any)
	if got := fmt.Sprint(dumps); got != "[map[name:init manager Server target_names:[cluster named]]]" {
		t.Errorf("%s", got)
	}
	g := start(t, true)
	if got := g.json("/init_dump")["unready_targets_dumps"].([]any); len(got) != 0 {
		t.Errorf("live, and waits for %v", got)
	}
}

// OP-30, OP-31.
func TestRuntimeShowsEveryLayer(t *testing.T) {
	f := start(t, true, "static_resources:", `layered_runtime:
  layers:
  - { name: base, static_layer: { a: { b: 1, c: x }, only: true } }
  - { name: over, static_layer: { a: { b: 2 }, share: { numerator: 5, denominator: TEN_THOUSAND } } }
  - { name: hand, admin_layer: {} }
static_resources:`)
	got, err := json.Marshal(f.json("/runtime"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"entries":{"a.b":{"final_value":"2","layer_values":["1","2",""]},"a.c":{"final_value":"x","layer_values":["x","",""]},` +
		`"only":{"final_value":"true","layer_values":["true","",""]},` +
		`"share":{"final_value":"{\"denominator\":\"TEN_THOUSAND\",\"numerator\":5}","layer_values":["","{\"denominator\":\"TEN_THOUSAND\",\"numerator\":5}",""]}},` +
		`"layers":["base","over","hand"]}`
	if normal := strings.ReplaceAll(string(got), `": `, `":`); normal != want {
		t.Errorf("got  %s\nwant %s", normal, want)
	}
	// Overrides take their layer's place, and a layer after it still overrides them.
	if a := f.do("POST", f.admin+"/runtime_modify?a.b=3&new=%7Bnumerator:1%7D"); a.status != 200 {
		t.Errorf("%d %q", a.status, a.body)
	}
	if got := fmt.Sprint(f.json("/runtime")["entries"].(map[string]any)["a.b"], f.json("/runtime")["entries"].(map[string]any)["new"]); got != "map[final_value:3 layer_values:[1 2 3]] map[final_value:{numerator:1} layer_values:[  {numerator:1}]]" {
		t.Error(got)
	}
	g := start(t, true, "static_resources:", "layered_runtime: { layers: [{ name: base, static_layer: { a: 1 } }] }\nstatic_resources:")
	if a := g.do("POST", g.admin+"/runtime_modify?a=3"); a.status != 503 || a.body != "no admin layer specified\n" {
		t.Errorf("without an admin layer: %d %q", a.status, a.body)
	}
	if got := fmt.Sprint(start(t, true).json("/runtime")); got != "map[entries:map[] layers:[admin]]" {
		t.Errorf("without layered_runtime: %s", got)
	}
}

func TestMemoryIsNumbersInStrings(t *testing.T) {
	f := start(t, true)
	m := f.json("/memory")
	for _, name := range []string{"allocated", "heap_size", "pageheap_unmapped", "pageheap_free", "total_thread_cache", "total_physical_bytes"} {
		text, isText := m[name].(string)
		if _, err := strconv.ParseUint(text, 10, 64); !isText || err != nil {
			t.Errorf("%s: %v", name, m[name])
		}
	}
	if a, _ := strconv.Atoi(m["allocated"].(string)); a < 1<<16 {
		t.Errorf("allocated %d", a)
	}
}
